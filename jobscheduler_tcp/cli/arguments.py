"""
The command line as plain data: what may be said, and what is meant by it.

Nothing of Twisted is imported here, so that a mistyped option, C{--help} and
C{version} answer at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from jobscheduler_tcp.cli.clientarguments import addClientCommands
from jobscheduler_tcp.cli.orderarguments import addOrderCommands
from jobscheduler_tcp.cli.parsers import Subcommands
from jobscheduler_tcp.cli.values import (
    CALLBACK_PORTS,
    REMOTE,
    address,
    callbackAddress,
    pair,
    portRange,
    seconds,
    shown,
    size,
)

# An element each, of the 16,384 that a remote takes (docs/protocol/extended,
# "Command connection"); a few are for the rest of the start.
MAX_WORDS = 16000

_DESCRIPTION = """\
Run jobs on a remote that confirms them on a connection of its own.

A remote runs tasks for clients; a client has jobs and orders, and gives them to
remotes. Both are services: twistd jsremote --role remote|client.
"""

# What people do, and with what.
_GROUPS = {
    "without a client service": ("demo", "run", "doctor"),
    "jobs and tasks of a client": ("start-job", "modify-job", "kill", "log", "history"),
    "orders of a client": ("add-order", "orders", "modify-order", "remove-order"),
    "services": ("state", "ports", "drain", "check-config", "firewall", "version"),
}

_DOCTOR = """\
Run a task that does nothing at a remote, and tell of every leg of its way whether it stands:
name, command connection, negotiation, round trip, clocks, authorisation, callback port,
connect-back, task, and whether the callback ports suffice.
"""

_RUN = """\
Run a shell script or a program at a remote, as if it ran here: its output is
this command's output, its exit code this command's exit code.
"""

_RUN_EPILOG = """\
examples:
  jsremote run -- /bin/echo hello
  jsremote run build.example:4455 -s nightly.sh --param day=monday
  tar c . | jsremote run backup.example:4455 -- sh -c 'cat > site.tar'

Without a code of its own a job exits with 128 + the signal's number, 126 or
127 if its program could not be started, 124 after --timeout or --silence, 69
if the remote cannot be reached, 77 if it refuses, 75 if it is worth trying
again later; the reason is told in one line on stderr. Ctrl-C kills the job, a
second Ctrl-C leaves without waiting for it.
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """
    Read the command line; C{subcommand} of the result says which.

    @raise SystemExit: help was asked for, or the command line makes no sense.
    """
    argv = ["version"] if list(argv) == ["--version"] else list(argv)
    command: list[str] | None = None
    if argv[:1] == ["run"] and "--" in argv:
        # Everything after the first -- belongs to the job, whatever it looks like.
        place = argv.index("--")
        argv, command = argv[:place], argv[place + 1 :]
    commands = _commands()
    run = commands.parsers["run"]
    arguments, left = commands.parse(argv)
    said = commands.parsers[arguments.subcommand]
    if left:
        unknown = f"unrecognized arguments: {' '.join(left)}"
        if said is not run:
            said.error(unknown)
        hint = "; a command stands after --" if command is None else ""
        run.error(f"{unknown}{hint}")
    if arguments.subcommand == "run":
        arguments.argv = tuple(command or ())
        if arguments.script is None and not command:
            run.error("nothing to run: give -s SCRIPT, or -- and a command")
        if arguments.script is not None and command is not None:
            run.error("give -s SCRIPT or a command after --, not both")
        words = (arguments.argv, arguments.param, arguments.order_param, arguments.env)
        if sum(map(len, words)) > MAX_WORDS:
            run.error(f"a start carries at most {MAX_WORDS} arguments, parameters and variables")
        if arguments.script == "-" and arguments.stdin:
            run.error("stdin is the script already: --stdin makes no sense with -s -")
    if getattr(arguments, "client", None) is not None:
        arguments.remote = arguments.client
    return arguments


def _commands() -> Subcommands:
    commands = Subcommands("jsremote", _DESCRIPTION, _GROUPS)

    run = commands.add_parser(
        "run",
        help="run a script or a program at a remote",
        description=_RUN,
        epilog=_RUN_EPILOG,
        usage="%(prog)s [HOST:PORT] [options] (-s SCRIPT | -- COMMAND [ARGUMENT ...])",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _addRemote(run)
    run.add_argument("-s", "--script", metavar="SCRIPT", help="a shell script; - reads it on stdin")
    _addWork(run)
    _addClient(run)

    commands.add_parser(
        "demo",
        help="watch one job go from a client to a remote and back",
        description="Start a client and a remote on this host, run a job of about two seconds, "
        "and draw what happens between the two while it happens.",
    )

    state = commands.add_parser(
        "state",
        help="ask a remote or a client what it is doing",
        description="Ask a remote (or the command port of a client) for its state.",
    )
    _addRemote(state)
    state.add_argument("--json", action="store_true", help="one JSON object on stdout")

    doctor = commands.add_parser(
        "doctor",
        help="examine the whole way of a job to a remote and back",
        description=_DOCTOR,
        epilog="exit code: 0 all is well, 1 there are warnings, 2 there are errors",
    )
    _addRemote(doctor)
    _addConfig(doctor, "for its process classes and callback ports")
    doctor.add_argument(
        "--callback-ports",
        type=portRange,
        metavar="LOW-HIGH",
        help="where the remote may connect back to (default: the file's, else 59900-59999)",
    )
    doctor.add_argument(
        "--start-timeout",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait for the task to be confirmed (default: 60)",
    )
    doctor.add_argument(
        "--callback",
        choices=("auto", "own", "shared", "passive"),
        default="auto",
        help="the callback mode to try; auto tries own, and passive if that fails (default: auto)",
    )
    _addAdvertise(doctor)
    doctor.add_argument("--json", action="store_true", help="one JSON object on stdout")

    firewall = commands.add_parser(
        "firewall",
        help="print the rules that a firewall needs",
        description="Print the rules for incoming connections that a client, or a remote, needs. "
        "Nothing is changed.",
    )
    _addConfig(firewall, "for addresses and ports")
    firewall.add_argument(
        "--role", choices=("client", "remote"), help="whose host it is (default: the file tells)"
    )
    firewall.add_argument(
        "--format",
        choices=("all", "nftables", "firewalld", "ufw", "table"),
        default="all",
        help="for which firewall; table is for people who fill in forms (default: all)",
    )

    check = commands.add_parser(
        "check-config",
        help="say what is wrong with a configuration, or passed over",
        description="Read scheduler.xml and its live folder, or a live folder alone, as a service "
        "would. Exit code 0: all is understood, 1: something is passed over or missing, "
        "2: something is wrong.",
    )
    check.add_argument(
        "path",
        nargs="?",
        metavar="PATH",
        default=".",
        help="the file, or the directory that has it, or a live folder (default: .)",
    )
    check.add_argument("--json", action="store_true", help="one JSON object on stdout")

    drain = commands.add_parser(
        "drain",
        help="have a service start nothing more, and wait for its tasks",
        description="Have a remote, or a client, start no more tasks, and wait until those that "
        "run are over. It stays so until it is resumed or started anew.",
    )
    _addRemote(drain)
    after = drain.add_mutually_exclusive_group()
    after.add_argument("--resume", action="store_true", help="let it start tasks again")
    after.add_argument(
        "--terminate", action="store_true", help="have the service end when its tasks are over"
    )
    drain.add_argument("--no-wait", action="store_true", help="do not wait for the tasks")
    drain.add_argument("--json", action="store_true", help="one JSON object on stdout")

    addClientCommands(commands)
    addOrderCommands(commands)

    version = commands.add_parser("version", help="say which version this is")
    version.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return commands


def _addRemote(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "remote",
        nargs="?",
        metavar="HOST:PORT",
        type=address,
        default=REMOTE,
        help=f"where it listens (default: {shown(REMOTE)})",
    )


def _addConfig(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--config", metavar="FILE", help=f"a scheduler.xml, {what}")


def _addWork(parser: argparse.ArgumentParser) -> None:
    """
    What the task finds, and its limits.
    """
    group = parser.add_argument_group("the task")
    group.add_argument(
        "--param",
        metavar="NAME=VALUE",
        type=pair,
        action="append",
        default=[],
        help="a parameter; the task finds it as SCHEDULER_PARAM_NAME",
    )
    group.add_argument(
        "--order-param",
        metavar="NAME=VALUE",
        type=pair,
        action="append",
        default=[],
        help="a parameter of the order that the task works on; wins over --param",
    )
    group.add_argument(
        "--env",
        metavar="NAME=VALUE",
        type=pair,
        action="append",
        default=[],
        help="a variable of the task's environment",
    )
    group.add_argument("--directory", default="", metavar="DIR", help="where it runs")
    group.add_argument(
        "--stdin",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="pass stdin on to the task (default: unless it is a terminal)",
    )
    for name, text in (
        ("--timeout", "seconds until it is killed"),
        ("--silence", "seconds without output until it is killed"),
    ):
        group.add_argument(name, type=seconds, default=0.0, metavar="SECONDS", help=text)
    group.add_argument(
        "--output-limit",
        type=size,
        default=0,
        metavar="BYTES",
        help="bytes of output until it is killed; 10K, 5M and 1G are understood",
    )
    group.add_argument(
        "--grace",
        type=seconds,
        default=5.0,
        metavar="SECONDS",
        help="from SIGTERM to SIGKILL when it is killed (default: 5)",
    )


def _addClient(parser: argparse.ArgumentParser) -> None:
    """
    How this end behaves.
    """
    group = parser.add_argument_group("this end")
    group.add_argument(
        "--dialect",
        choices=("auto", "classic", "extended"),
        default="auto",
        help="what to speak with the remote: classic, as JobScheduler 1.x does, extended, as this "
        "program does, or what the remote answers (default: auto)",
    )
    group.add_argument(
        "--callback-ports",
        type=portRange,
        default=CALLBACK_PORTS,
        metavar="LOW-HIGH",
        help="where the remote may connect back to (default: 59900-59999)",
    )
    group.add_argument(
        "--callback",
        choices=("auto", "own", "shared", "passive"),
        default="auto",
        help="how the start and the end come back: on a connection that the remote makes for this "
        "task (own) or for all tasks (shared), on one that we make (passive), or on whichever "
        "can be made (default: auto)",
    )
    _addAdvertise(group)
    group.add_argument(
        "--on-disconnect",
        choices=("kill", "hold", "finish"),
        default="hold",
        help="what the remote does with the job when the connections break: kill it; hold it until "
        "they are made again, which is tried at once; or hold it, and let it finish alone if they "
        "are not made in time. Ctrl-C kills it in any case (default: hold)",
    )
    group.add_argument(
        "--hold",
        type=seconds,
        default=600.0,
        metavar="SECONDS",
        help="for how long it is held (default: 600)",
    )
    group.add_argument(
        "--start-timeout",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait for the start to be confirmed, 0: for ever (default: 60)",
    )
    group.add_argument(
        "--json",
        action="store_true",
        help="the whole outcome as one JSON object, the last line on stderr",
    )
    group.add_argument(
        "-v", "--verbose", action="store_true", help="what happens at this end, on stderr"
    )


def _addAdvertise(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--advertise",
        type=callbackAddress,
        default="",
        metavar="ADDRESS",
        help="where the remote shall connect back to, if it is another address than the one it "
        "sees us come from (NAT, two networks); its configuration has to list it for us",
    )
