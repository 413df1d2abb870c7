"""
C{jsremote doctor}: run a task that does nothing, and tell of every leg of its way
whether it stands.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from typing import cast

from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import ILogObserver, globalLogBeginner

from jobscheduler_tcp.cli.configured import configured
from jobscheduler_tcp.cli.examination import Examination
from jobscheduler_tcp.cli.screen import isColourful
from jobscheduler_tcp.client.localports import ephemeralPorts, reservedPorts
from jobscheduler_tcp.client.portbudget import Demand, PortBudget
from jobscheduler_tcp.tap import budgetOf


def doctor(arguments: argparse.Namespace) -> int:
    """
    Examine, and tell.

    @return: 0 if all is well, 1 with warnings, 2 with errors.
    """
    budget = _budget(arguments)
    from twisted.internet import reactor as installed  # noqa: PLC0415 - chosen now

    reactor = cast(PosixReactorBase, installed)
    # Twisted's clock is the wall clock, which may be set.
    reactor.seconds = time.monotonic
    examination = Examination(
        *(reactor, arguments.remote, budget, arguments.start_timeout),
        callback=arguments.callback,
        advertise=arguments.advertise,
    )
    observer = cast(ILogObserver, examination.logged)  # any function is one
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os._exit(128 + number))
    reactor.callWhenRunning(lambda: examination.whole().addBoth(lambda _: reactor.stop()))
    reactor.run(installSignalHandlers=False)
    found = examination.found
    if arguments.json:
        print(json.dumps(found.plain()))
    else:
        print("\n".join(found.lines(colour=isColourful(sys.stdout))))
    return found.status


def _budget(arguments: argparse.Namespace) -> PortBudget:
    settings = configured("client", arguments.config, arguments.callback_ports)
    budget = budgetOf(settings)
    if budget.demands:
        return budget
    # Nobody says how many tasks there will be: the sum is for this one.
    return PortBudget(
        (Demand("", 1),), budget.first, budget.last, ephemeralPorts(), reservedPorts()
    )
