"""
The command line of orders: the words of JobScheduler's commands, as options.
"""

from __future__ import annotations

import argparse
import re

from jobscheduler_tcp.cli.clientarguments import addAt, addClient, addParameters, number
from jobscheduler_tcp.cli.parsers import Subcommands


def addOrderCommands(commands: Subcommands) -> None:
    """
    Add the subcommands.
    """
    add = commands.add_parser(
        "add-order",
        help="bring an order into a job chain",
        description="Bring an order into a job chain. Exit code 0: it is there; with --wait that "
        "of its last task, as of jsremote run, 75 if it stands suspended, 69 if it is lost. "
        "Ctrl-C ends the waiting, and not the order.",
    )
    _addChain(add)
    add.add_argument(
        "id", nargs="?", metavar="ID", default="", help="its name (default: the next number)"
    )
    addClient(add)
    addParameters(add, "a parameter of the order")
    add.add_argument("--state", default="", help="where it begins (default: the first node)")
    add.add_argument("--end-state", default="", metavar="STATE", help="where it ends")
    _addProperties(add)
    add.add_argument("--suspended", action="store_true", help="it waits until it is resumed")
    add.add_argument(
        "--no-replace", action="store_true", help="refuse it if there is one of this name"
    )
    add.add_argument(
        "--wait", action="store_true", help="wait for its end, and tell on stderr how it stands"
    )

    orders = commands.add_parser(
        "orders",
        help="ask a client for the orders in its job chains",
        description="Ask a client for the orders in its job chains: where they stand, which task "
        "works on them, and why they wait.",
    )
    orders.add_argument(
        "chain", nargs="?", metavar="CHAIN", type=_path, default="", help="of this one alone"
    )
    addClient(orders)
    orders.add_argument(
        "--history", action="store_true", help="those that are over, the latest first"
    )
    orders.add_argument(
        "-n",
        "--count",
        type=number,
        default=100,
        metavar="COUNT",
        help="how many of each place at most (default: 100)",
    )

    modify = commands.add_parser(
        "modify-order",
        help="change an order, suspend it or let it go on",
        description="Change an order. What is not said stays as it is.",
    )
    _addOrder(modify)
    addClient(modify)
    addParameters(modify, "a parameter of the order, beside those it has")
    modify.add_argument("--state", default="", help="send it there")
    modify.add_argument("--end-state", default="", metavar="STATE", help="where it ends")
    _addProperties(modify)
    hold = modify.add_mutually_exclusive_group()
    hold.add_argument("--suspend", action="store_true", help="let it stay where it is")
    hold.add_argument(
        "--resume",
        action="store_true",
        help="let it go on; one that is lost is worked on once more where it is",
    )
    modify.add_argument("--reset", action="store_true", help="send it back to its first state")
    modify.add_argument(
        "--no-setback", action="store_true", help="do not wait for the end of its setback"
    )

    remove = commands.add_parser(
        "remove-order",
        help="take an order out of its job chain",
        description="Take an order out of its job chain; a task that works on it runs to its end.",
    )
    _addOrder(remove)
    addClient(remove)


def _addChain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "chain", metavar="CHAIN", type=_path, help="the path of the job chain, as in /nightly"
    )


def _addOrder(parser: argparse.ArgumentParser) -> None:
    _addChain(parser)
    parser.add_argument("id", metavar="ID", help="the name of the order")


def _addProperties(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--title", default="", help="a line for people")
    parser.add_argument(
        "--priority", type=_integer, metavar="NUMBER", help="higher ones are worked on first"
    )
    addAt(parser)


def _path(text: str) -> str:
    if re.fullmatch(r"[^/]*:[0-9]{1,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no path; say --client {text}")
    return text


def _integer(text: str) -> int:
    digits = text.removeprefix("-").removeprefix("+")
    if not (digits.isdecimal() and digits.isascii() and len(digits) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)
