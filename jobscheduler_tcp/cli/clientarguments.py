"""
The command line of what is asked of a client's command port about its jobs and
tasks.
"""

from __future__ import annotations

import argparse

from jobscheduler_tcp.cli.parsers import Subcommands
from jobscheduler_tcp.cli.values import CLIENT, address, pair, seconds, shown

# The words of modify_job that a person may need.
JOB_COMMANDS = ("stop", "unstop", "start", "wake", "suspend", "continue")


def addClientCommands(commands: Subcommands) -> None:
    """
    Add the subcommands.
    """
    start = commands.add_parser(
        "start-job",
        help="have a client start one of its jobs",
        description="Have a client start one of its jobs. Exit code 0: it is queued; with --wait "
        "that of the task, as of jsremote run. Ctrl-C ends the waiting, and not the task.",
    )
    _addJob(start)
    addClient(start, positional=True)
    addParameters(start, "a parameter beyond those of the job, or instead of one")
    addAt(start)
    start.add_argument(
        "--wait", action="store_true", help="wait for its end, and tell on stderr how it stands"
    )

    modify = commands.add_parser(
        "modify-job",
        help="stop a job, let it go on after a failure, suspend it",
        description="stop: start no more tasks; unstop: start tasks again, also after a failure; "
        "start: unstop, and start a task; wake: start a task if none waits; suspend and continue: "
        "as stop and unstop, but a failure counts on.",
    )
    _addJob(modify)
    modify.add_argument("command", metavar="COMMAND", choices=JOB_COMMANDS, help=_or(JOB_COMMANDS))
    addClient(modify, positional=True)

    kill = commands.add_parser(
        "kill",
        help="have a client end a task",
        description="Have a client end a task: at once, or take it out of its queue.",
    )
    _addTask(kill)
    addClient(kill, positional=True)
    kill.add_argument(
        "--grace",
        type=seconds,
        metavar="SECONDS",
        help="from SIGTERM to SIGKILL (default: SIGKILL at once)",
    )

    log = commands.add_parser(
        "log", help="print the log of a task", description="Print the log of a task of a client."
    )
    _addTask(log)
    addClient(log, positional=True)
    log.add_argument("-f", "--follow", action="store_true", help="go on until the task is over")

    history = commands.add_parser(
        "history",
        help="ask a client which tasks are over",
        description="Ask a client which tasks are over, the latest first.",
    )
    addClient(history, positional=True)
    history.add_argument("--job", default="", metavar="JOB", help="of this job alone")
    history.add_argument(
        "-n", "--count", type=_few, default=20, metavar="COUNT", help="how many (default: 20)"
    )
    history.add_argument(
        "--before", type=number, default=0, metavar="TASK", help="before the task of this number"
    )

    ports = commands.add_parser(
        "ports",
        help="ask a client who has which callback port",
        description="Ask the command port of a client for the state of its callback ports.",
    )
    addClient(ports, positional=True)


def addClient(parser: argparse.ArgumentParser, *, positional: bool = False) -> None:
    """
    Add what all commands to a client have.

    @param positional: whether the client may also be said without C{--client}.
    """
    if positional:
        parser.add_argument(
            "remote",
            nargs="?",
            metavar="HOST:PORT",
            type=_address,
            default=CLIENT,
            help="the same as --client",
        )
    else:
        parser.set_defaults(remote=CLIENT)
    parser.add_argument(
        "--client",
        metavar="HOST:PORT",
        type=_address,
        help=f"where the client takes commands (default: {shown(CLIENT)})",
    )
    parser.add_argument("--json", action="store_true", help="JSON on stdout")


def addParameters(parser: argparse.ArgumentParser, help: str) -> None:
    """
    Add parameters, which may be several.
    """
    parser.add_argument(
        "--param",
        metavar="NAME=VALUE",
        type=pair,
        action="append",
        default=[],
        help=f"{help}; may be repeated",
    )


def addAt(parser: argparse.ArgumentParser) -> None:
    """
    Add a time.
    """
    parser.add_argument(
        "--at",
        default="",
        metavar="TIME",
        help="when: now, now+SECONDS, now+HH:MM, 'YYYY-MM-DD HH:MM'",
    )


def number(text: str) -> int:
    """
    A whole number from 1 on.
    """
    if not (text.isdecimal() and text.isascii() and 0 < len(text) < 10 and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _address(text: str) -> tuple[str, int]:
    return address(text, CLIENT)


def _addJob(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="its path, as in /folder/report")


def _addTask(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", type=number, help="its number")


def _few(text: str) -> int:
    count = number(text)
    # As many as a client shows at most.
    if count > 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 1000")
    return count


def _or(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
