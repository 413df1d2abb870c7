"""
The command line of what is asked of a client's command port.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Protocol


class Commands(Protocol):
    """
    Where parsers of subcommands are added.
    """

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser:
        """
        Add one.
        """


def addClientCommands(
    commands: Commands,
    addClient: Callable[[argparse.ArgumentParser], None],
    pair: Callable[[str], tuple[str, str]],
    seconds: Callable[[str], float],
) -> None:
    """
    Add the subcommands.

    @param addClient: adds where the client is.
    @param pair: reads C{NAME=VALUE}.
    @param seconds: reads a number of seconds.
    """

    def add(name: str, help: str, description: str, json: bool = True) -> argparse.ArgumentParser:
        parser = commands.add_parser(name, help=help, description=description, allow_abbrev=False)
        if json:
            parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
        return parser

    start = add(
        "start-job",
        "have a client start one of its jobs",
        "Have a client start one of its jobs. Exit code 0: it is queued; with --wait that of the "
        "task, as of jsremote run.",
    )
    start.add_argument("job", metavar="JOB", help="its path, as in /folder/report")
    addClient(start)
    start.add_argument(
        "--param",
        metavar="NAME=VALUE",
        type=pair,
        action="append",
        default=[],
        help="a parameter beyond those of the job, or instead of one",
    )
    start.add_argument(
        "--at", default="", metavar="TIME", help="now+SECONDS, now+HH:MM, 'YYYY-MM-DD HH:MM'"
    )
    start.add_argument(
        "--wait", action="store_true", help="wait for its end, and tell how it stands on a terminal"
    )

    kill = add(
        "kill",
        "have a client end a task",
        "Have a client end a task: at once, or take it out of its queue.",
    )
    kill.add_argument("task", metavar="TASK", type=_number, help="its number")
    addClient(kill)
    kill.add_argument(
        "--grace",
        type=seconds,
        metavar="SECONDS",
        help="from SIGTERM to SIGKILL (default: SIGKILL at once)",
    )

    history = add(
        "history",
        "ask a client which tasks are over",
        "Ask a client which tasks are over, the latest first.",
    )
    addClient(history)
    history.add_argument("--job", default="", metavar="JOB", help="of this job alone")
    history.add_argument(
        "-n", "--count", type=_few, default=20, metavar="COUNT", help="how many (default: 20)"
    )
    history.add_argument(
        "--before", type=_number, default=0, metavar="TASK", help="before the task of this number"
    )

    log = add("log", "print the log of a task", "Print the log of a task of a client.", json=False)
    log.add_argument("task", metavar="TASK", type=_number, help="its number")
    addClient(log)
    log.add_argument("-f", "--follow", action="store_true", help="go on until the task is over")


def _number(text: str) -> int:
    if not (text.isdecimal() and text.isascii() and 0 < len(text) < 10 and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of a task")
    return int(text)


def _few(text: str) -> int:
    count = _number(text) if text.isdecimal() else 0
    # As many as a client shows at most.
    if not 0 < count <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 1000")
    return count
