"""
C{python -m benchmarks}: measure, and print a table.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.figures import Report, machine
from benchmarks.measurements import MEASUREMENTS, SMOKE, Round, Size
from benchmarks.peers import PEERS, Peers
from jobscheduler_tcp.tap import raiseDescriptorLimit


def main() -> None:
    """
    Run the rounds.
    """
    parser = ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS))
    parser.add_argument("--peers", nargs="+", choices=["all", *PEERS], default=[])
    parser.add_argument("--json", type=Path, help="write everything there")
    parser.add_argument("--markdown", type=Path, help="write the table there")
    parser.add_argument("--smoke", action="store_true", help="only show that it runs")
    arguments = parser.parse_args()
    size, rounds = (SMOKE, 1) if arguments.smoke else (Size(), arguments.rounds)
    peers = list(PEERS) if "all" in arguments.peers else arguments.peers

    raiseDescriptorLimit()  # also of all that is started from here
    report = Report()
    before = machine()
    with TemporaryDirectory(prefix="jsremote-") as directory:
        measured = Round(report, size, Path(directory))
        with Peers(Path(directory), peers, report) as others:
            for number in range(rounds):
                print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
                measured.floor()
                for name in arguments.only:
                    print(f"  {name}", file=sys.stderr, flush=True)
                    MEASUREMENTS[name](measured)
                others.measure(measured, size)
                # After each round, so that one may stop when it takes too long.
                if arguments.markdown:
                    arguments.markdown.write_text(report.markdown())
                if arguments.json:
                    arguments.json.write_text(report.json(rounds=number + 1, started=before))
    for name, value in before.items():
        print(f"{name}: {value}")
    print(f"rounds: {rounds}\n")
    print(report.markdown(), end="")


if __name__ == "__main__":
    main()
