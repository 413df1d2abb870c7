"""
The client of the measurements: a client service in a process of its own, which
logs to a file as the service does, and is told by lines of JSON what to run.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IReactorCore, IReactorTCP
from twisted.internet.protocol import connectionDone
from twisted.internet.stdio import StandardIO
from twisted.logger import globalLogBeginner
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.client.job import RunningJob
from jobscheduler_tcp.client.ports import CallbackPorts, tcpListen
from jobscheduler_tcp.client.processclass import Dialect, ProcessClass
from jobscheduler_tcp.client.service import ClientService
from jobscheduler_tcp.dialing import Dialer
from jobscheduler_tcp.interfaces import (
    ICallbackReactor,
    IConfirmationReceiver,
    IDialReactor,
    ITaskConfirmation,
)
from jobscheduler_tcp.logfile import ILogReactor, LogFileObserver
from jobscheduler_tcp.messages import Stream, TaskAttached, TaskEnded, TaskStarted, Work
from jobscheduler_tcp.reactor import install
from jobscheduler_tcp.tap import keepMemory

Answer = dict[str, Any]

# The callback ports: below the ephemeral range of Linux, so that no connection
# of this host sits on one of them.
LOWEST_PORT, HIGHEST_PORT = 20000, 31999

# More than any measurement has at once: the driver counts for itself.
PLACES = 100_000


@implementer(IConfirmationReceiver)
class Observed:
    """
    When a task started, and how much it printed.
    """

    __slots__ = ("output", "started")

    def __init__(self) -> None:
        self.started = 0.0
        self.output = 0

    def taskAttached(self, confirmation: ITaskConfirmation, message: TaskAttached) -> None:
        """
        Nothing to be measured.
        """

    def taskStarted(self, message: TaskStarted) -> None:
        """
        The start is confirmed.
        """
        self.started = time.perf_counter()

    def outputReceived(self, stream: Stream, data: bytes) -> None:
        """
        Count.
        """
        self.output += len(data)

    def taskEnded(self, message: TaskEnded) -> None:
        """
        Nothing to be measured.
        """

    def confirmationLost(self, reason: Failure) -> None:
        """
        Nothing to be measured.
        """


class Sleeping(Observed):
    """
    Many tasks that shall start, and not end: one for all, so that what they weigh
    is the services' own.
    """

    def __init__(self, onStarted: Callable[[], None], onOver: Callable[[object], None]) -> None:
        super().__init__()
        self._onStarted = onStarted
        self._onOver = onOver

    def taskStarted(self, message: TaskStarted) -> None:
        """
        The start is confirmed.
        """
        self._onStarted()

    def taskEnded(self, message: TaskEnded) -> None:
        """
        Too early.
        """
        self._onOver(message)

    def confirmationLost(self, reason: Failure) -> None:
        """
        Nor may that be.
        """
        self._onOver(reason)


class Driver(LineReceiver):
    """
    Do what a line says, answer with a line when it is done.
    """

    delimiter = b"\n"

    def __init__(self, reactor: IReactorCore, client: ClientService) -> None:
        self._reactor = reactor
        self._client = client
        self._sleeping: list[RunningJob] = []
        self._orders = {
            "tasks": self._tasks,
            "sleep": self._sleep,
            "wake": self._wake,
        }

    def lineReceived(self, line: bytes) -> None:
        """
        An order.
        """
        order = json.loads(line)
        work = Work(**{name: _frozen(value) for name, value in order.get("work", {}).items()})
        doing = Deferred.fromCoroutine(self._orders[order["do"]](work, order))
        doing.addCallbacks(self._done, self._failed)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Nobody measures any more.
        """
        self._reactor.stop()

    def _done(self, answer: Answer) -> None:
        self.sendLine(json.dumps(answer).encode())  # type: ignore[no-untyped-call]  # it has no types

    def _failed(self, reason: Failure) -> None:
        self._done({"failed": reason.getTraceback()})

    async def _tasks(self, work: Work, order: Answer) -> Answer:
        """
        Run so many, so many at once.
        """
        wanted, inFlight = order["tasks"], order["inFlight"]
        toEnd: list[float] = []
        toStart: list[float] = []
        reasons: Counter[str] = Counter()
        printed = 0
        left = wanted
        allDone: Deferred[None] = Deferred()

        def begin() -> None:
            nonlocal left
            left -= 1
            observed = Observed()
            begun = time.perf_counter()
            job = self._client.run(work, receiver=observed, sha256=order["sha256"])
            job.done.addCallback(ended, observed, begun)

        def ended(outcome: Any, observed: Observed, begun: float) -> None:
            nonlocal printed
            toEnd.append(time.perf_counter() - begun)
            toStart.append(observed.started - begun)
            printed += observed.output
            reasons[f"{outcome.reason.value} {outcome.exitCode}"] += 1
            if left:
                begin()
            elif len(toEnd) == wanted:
                allDone.callback(None)

        since = time.perf_counter()
        for _ in range(min(inFlight, wanted)):
            begin()
        await allDone
        seconds = time.perf_counter() - since
        return {
            # The same clock in all processes, on Linux.
            "since": since,
            "seconds": seconds,
            "rate": wanted / seconds,
            "output": printed,
            "reasons": dict(reasons),
            **{f"end{p}": percentile(toEnd, p) for p in (50, 99)},
            **{f"start{p}": percentile(toStart, p) for p in (50, 99)},
        }

    async def _sleep(self, work: Work, order: Answer) -> Answer:
        """
        Start tasks and leave them, 16 starts at a time.
        """
        left = total = order["tasks"]
        started = 0
        allStarted: Deferred[None] = Deferred()
        since = time.perf_counter()

        def begin() -> None:
            nonlocal left
            left -= 1
            self._sleeping.append(self._client.run(work, receiver=sleeping))

        def tooEarly(why: object) -> None:
            if not allStarted.called:
                allStarted.errback(RuntimeError(f"a sleeping task ended: {why}"))

        def next_() -> None:
            nonlocal started
            started += 1
            if left:
                begin()
            elif started == total:
                allStarted.callback(None)

        sleeping = Sleeping(next_, tooEarly)
        for _ in range(min(16, total)):
            begin()
        await allStarted
        return {"seconds": time.perf_counter() - since}

    async def _wake(self, work: Work, order: Answer) -> Answer:
        """
        End those.
        """
        sleeping, self._sleeping = self._sleeping, []
        for job in sleeping:
            job.cancel()
        for job in sleeping:
            await job.done
        return {}


def percentile(values: list[float], percent: int) -> float:
    """
    The value below which so many percent are.
    """
    return sorted(values)[min(len(values) * percent // 100, len(values) - 1)]


def _frozen(value: Any) -> Any:
    return tuple(_frozen(each) for each in value) if isinstance(value, list) else value


def main() -> None:
    """
    C{driver PORT DIALECT CALLBACK LOG}.
    """
    install()
    from twisted.internet import reactor  # noqa: PLC0415 - installed now

    keepMemory()
    port, dialect = int(sys.argv[1]), Dialect(sys.argv[2])
    callback, log = sys.argv[3], Path(sys.argv[4])
    observer = LogFileObserver(log.open("w"), cast(ILogReactor, reactor))
    globalLogBeginner.beginLoggingTo([observer], discardBuffer=True, redirectStandardIO=False)
    capable = cast(ICallbackReactor, reactor)
    dialer = cast(IReactorTCP, Dialer(cast(IDialReactor, reactor)))
    endpoint = TCP4ClientEndpoint(dialer, "127.0.0.1", port)
    ports = CallbackPorts(capable, tcpListen(capable), HIGHEST_PORT, LOWEST_PORT)
    remote = ProcessClass("remote", endpoint, PLACES, dialect=dialect, callback=callback)
    client = ClientService(capable, ports, [remote])
    client.startService()
    core = cast(IReactorCore, reactor)
    StandardIO(Driver(core, client))
    core.run()


if __name__ == "__main__":
    main()
