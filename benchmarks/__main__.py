"""
C{python -m benchmarks sleeping} and C{python -m benchmarks rate}.
"""

from argparse import ArgumentParser

from benchmarks import rate, sleeping


def main() -> None:
    """
    Run one benchmark.
    """
    parser = ArgumentParser(prog="python -m benchmarks")
    commands = parser.add_subparsers(dest="benchmark", required=True)
    for name, module in (("sleeping", sleeping), ("rate", rate)):
        command = commands.add_parser(name, help=(module.__doc__ or "").strip().splitlines()[0])
        command.add_argument("--tasks", type=int, default=1000)
        command.add_argument("--smoke", action="store_true", help="only show that it runs")
        if module is rate:
            command.add_argument("--in-flight", type=int, default=64)
        command.set_defaults(run=module.run)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
