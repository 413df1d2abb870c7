"""
The C{jsremote} command.

What a subcommand needs is imported when it is asked for: C{jsremote version}
answers without Twisted, and C{jsremote state} without a reactor.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from jobscheduler_tcp.cli.arguments import parse

# A shell tool that Ctrl-C ended: 128 and the number of SIGINT.
INTERRUPTED = 130
# The same with SIGPIPE.
UNREAD = 141

# sysexits.h
EX_IOERR = 74


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """
    Do what the command line says, and exit with its exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        # What a terminal has no characters for shall not end us.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            status = _command(parse(sys.argv[1:] if argv is None else argv))
        finally:
            # Here, and not while the interpreter ends, where nothing can catch it.
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        # Nobody reads on; what is left goes nowhere, without a complaint.
        _silence()
        status = UNREAD
    except OSError as error:
        _silence()
        print(f"jsremote: cannot write: {error.strerror or error}", file=sys.stderr)
        status = EX_IOERR
    sys.exit(status)


def _silence() -> None:
    """
    Have what was not written yet go nowhere.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _command(arguments: argparse.Namespace) -> int:
    match arguments.subcommand:
        case "run":
            from jobscheduler_tcp.cli.run import run

            return run(arguments)
        case "demo":
            from jobscheduler_tcp.cli.demo import demo

            return demo()
        case "state":
            from jobscheduler_tcp.cli.state import state

            return state(arguments.remote, arguments.json)
        case "doctor":
            from jobscheduler_tcp.cli.doctor import doctor

            return doctor(arguments)
        case "firewall":
            from jobscheduler_tcp.cli.firewall import firewall

            return firewall(arguments.config, arguments.role, arguments.format)
        case "ports":
            from jobscheduler_tcp.cli.ports import ports

            return ports(arguments.remote, arguments.json)
        case "drain":
            from jobscheduler_tcp.cli.drain import drain

            return drain(
                arguments.remote,
                resume=arguments.resume,
                terminate=arguments.terminate,
                wait=not arguments.no_wait,
                asJSON=arguments.json,
            )
        case "start-job":
            from jobscheduler_tcp.cli.tasks import startJob

            given = arguments
            return startJob(
                *(given.remote, given.job, given.param, given.at),
                wait=given.wait,
                asJSON=given.json,
            )
        case "modify-job":
            from jobscheduler_tcp.cli.tasks import modifyJob

            return modifyJob(arguments.remote, arguments.job, arguments.command, arguments.json)
        case "kill":
            from jobscheduler_tcp.cli.tasks import kill

            return kill(arguments.remote, arguments.task, arguments.grace, arguments.json)
        case "history":
            from jobscheduler_tcp.cli.history import history

            given = arguments
            return history(given.remote, given.job, given.count, given.before, given.json)
        case "log":
            from jobscheduler_tcp.cli.history import log

            return log(arguments.remote, arguments.task, arguments.follow, arguments.json)
        case "add-order":
            from jobscheduler_tcp.cli.orders import addOrder

            return addOrder(arguments)
        case "orders":
            from jobscheduler_tcp.cli.orders import orders, pastOrders

            given = arguments
            show = pastOrders if given.history else orders
            return show(given.remote, given.chain, given.count, given.json)
        case "modify-order":
            from jobscheduler_tcp.cli.orders import modifyOrder

            return modifyOrder(arguments)
        case "remove-order":
            from jobscheduler_tcp.cli.orders import removeOrder

            return removeOrder(arguments)
        case "check-config":
            from jobscheduler_tcp.cli.checkconfig import checkConfig

            return checkConfig(arguments.path, arguments.json)
        case _:
            return _version(arguments.json)


def _version(asJSON: bool) -> int:
    from importlib.metadata import version
    from json import dumps
    from platform import python_version

    from jobscheduler_tcp import __version__

    versions = {"jsremote": __version__, "python": python_version(), "twisted": version("Twisted")}
    if asJSON:
        print(dumps(versions))
    else:
        print("jsremote {jsremote} (Python {python}, Twisted {twisted})".format(**versions))
    return 0
