"""
A client that runs many tasks, in a process of its own: what came of them is one
JSON object on stdout.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from typing import cast

from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import react
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogBeginner

from jobscheduler_tcp.client.ports import CallbackPorts, tcpListen
from jobscheduler_tcp.client.processclass import ProcessClass
from jobscheduler_tcp.client.service import ClientService
from jobscheduler_tcp.interfaces import ICallbackReactor
from jobscheduler_tcp.messages import Work


def main() -> None:
    """
    Read the command line and run.
    """
    parser = ArgumentParser()
    parser.add_argument("remote")
    parser.add_argument("--tasks", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--callback", default="auto")
    parser.add_argument("--low", type=int, default=59900)
    parser.add_argument("--high", type=int, default=59999)
    react(run, (parser.parse_args(),))


async def run(reactor: ICallbackReactor, arguments: Namespace) -> None:
    """
    Run the tasks.
    """
    warnings: list[str] = []

    def observe(event: LogEvent) -> None:
        if event.get("log_level", LogLevel.info) >= LogLevel.warn:
            warnings.append(formatEvent(event))

    globalLogBeginner.beginLoggingTo([cast(ILogObserver, observe)], redirectStandardIO=False)
    # Twisted's clock is the wall clock, which may be set.
    IReactorTime(reactor).seconds = time.monotonic  # type: ignore[method-assign]
    host, _, port = arguments.remote.rpartition(":")
    remote = HostnameEndpoint(reactor, host, int(port))
    ports = CallbackPorts(reactor, tcpListen(reactor), arguments.high, arguments.low)
    processClass = ProcessClass("", remote, arguments.parallel, callback=arguments.callback)
    service = ClientService(reactor, ports, [processClass])
    service.startService()
    begin = time.monotonic()
    jobs = [service.run(Work(command=("/bin/true",))) for _ in range(arguments.tasks)]
    outcomes = [await job.done for job in jobs]
    seconds = time.monotonic() - begin
    used = sorted({job.port for job in jobs})
    await service.stopService()
    reasons = Counter(f"{each.reason} {each.exitCode}" for each in outcomes)
    json.dump(
        {"outcomes": reasons, "warnings": warnings, "ports": used, "seconds": seconds}, sys.stdout
    )


if __name__ == "__main__":
    main()
