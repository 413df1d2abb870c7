"""
What C{jsremote doctor} does: go the way of a job, with a task that does nothing,
and take notes of every leg.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any, cast

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import TimeoutError as NoAnswer
from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.cli.diagnosis import ClockOffset, Diagnosis, Verdict, roundTrips
from jobscheduler_tcp.cli.reasons import NEXT_STEP
from jobscheduler_tcp.cli.run import routeTo
from jobscheduler_tcp.cli.taskleg import PROGRAM, WAY_BACK, TaskLegs, notAuthorised
from jobscheduler_tcp.cli.values import shown
from jobscheduler_tcp.client.callbackmodes import AUTO
from jobscheduler_tcp.client.command import CommandClientFactory, CommandClientProtocol
from jobscheduler_tcp.client.connection import CONNECT_TIMEOUT
from jobscheduler_tcp.client.portbudget import PortBudget
from jobscheduler_tcp.client.ports import CallbackPorts, tcpListen
from jobscheduler_tcp.client.processclass import Dialect, ProcessClass
from jobscheduler_tcp.client.service import ClientService
from jobscheduler_tcp.client.verdicts import isRefusal
from jobscheduler_tcp.config.settings import endpoint
from jobscheduler_tcp.errors import CommandRefused, JobSchedulerError, NotAdmitted
from jobscheduler_tcp.heartbeat import Heart
from jobscheduler_tcp.interfaces import (
    ICallbackReactor,
    IConfirmationReceiver,
    ITaskConfirmation,
)
from jobscheduler_tcp.messages import (
    CallbackMode,
    Ping,
    Stream,
    TaskAttached,
    TaskEnded,
    TaskStarted,
    Work,
)
from jobscheduler_tcp.outcome import Outcome, Reason

# How many round trips are measured.
PINGS = 5

# Seconds that the clocks may differ before it is worth a word: what NTP keeps by
# far, and what nobody takes for a time zone.
CLOCKS = 2.0

_OK, _WARNING, _ERROR, _UNTRIED = Verdict


@implementer(IConfirmationReceiver)
class _Probe:
    """
    Hear when the confirmation connection stands.
    """

    def __init__(self, attached: Callable[[], None]) -> None:
        self._attached = attached

    def taskAttached(self, confirmation: ITaskConfirmation, message: TaskAttached) -> None:
        self._attached()

    def taskStarted(self, message: TaskStarted) -> None:
        pass

    def outputReceived(self, stream: Stream, data: bytes) -> None:
        pass

    def taskEnded(self, message: TaskEnded) -> None:
        pass

    def confirmationLost(self, reason: Failure) -> None:
        pass


@dataclass(slots=True)
class _Tried:
    """
    What became of a task.

    @ivar seconds: until its end was acknowledged, or until it was clear that it
        does not run.
    @ivar attached: seconds until its confirmation connection stood, 0 if it
        never did.
    """

    mode: str
    outcome: Outcome = field(default_factory=lambda: Outcome(Reason.NOT_STARTED))
    seconds: float = 0.0
    attached: float = 0.0
    peer: str = ""
    port: int = 0
    strangers: int = 0


class Examination:
    """
    Go the way of a job, and take notes.

    @ivar found: the notes.
    """

    def __init__(
        self,
        reactor: PosixReactorBase,
        remote: tuple[str, int],
        budget: PortBudget,
        startTimeout: float,
        *,
        callback: str = AUTO,
        advertise: str = "",
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        """
        @param budget: has the callback ports.
        @param advertise: where the remote shall call back; empty for where we
            come from.
        """
        self.found = Diagnosis(shown(remote))
        self._reactor = reactor
        self._remote = remote
        self._budget = budget
        self._startTimeout = startTimeout
        self._callback = callback
        self._advertise = advertise
        self._wallClock = wallClock
        self._asked = 0.0  # when the remote was asked for its clock
        self._dialect = Dialect.AUTO
        self._portTrouble: list[str] = []

    def logged(self, event: LogEvent) -> None:
        """
        Remember what the callback ports complain of (an C{ILogObserver}).
        """
        ports = str(event.get("log_namespace", "")).endswith("CallbackPorts")
        if ports and event.get("log_level", LogLevel.info) >= LogLevel.warn:
            self._portTrouble.append(formatEvent(event))

    def whole(self) -> Deferred[None]:
        """
        All legs.
        """
        return Deferred.fromCoroutine(self._whole())

    async def _whole(self) -> None:
        try:
            await self._way()
        except Exception as error:
            # Ours, and still no reason for a traceback.
            self.found.add("internal error", _ERROR, repr(error), step="report it")
        self._sum()

    async def _way(self) -> None:
        began = self._reactor.seconds()
        host, port = self._remote
        try:
            address, ours = routeTo(host, port)
        except (OSError, UnicodeError) as error:
            text = getattr(error, "strerror", None) or str(error)
            step = f"check the name {host}: getent hosts {host}"
            self.found.add("name resolution", _ERROR, f"{host}: {text}", step=step)
            return
        seconds = self._reactor.seconds() - began
        called = f"{host} is {address}" if host != address else f"{host} is an address"
        self.found.add(
            *("name resolution", _OK, f"{called}; we are {ours} on the way there", seconds),
            address=address,
            own_address=ours,
        )
        remote = HostnameEndpoint(self._reactor, address, port, timeout=CONNECT_TIMEOUT)
        if await self._command(remote, endpoint(address, port)):
            await self._task(remote, address, ours)

    # ------------------------------------------------------- the command connection

    async def _command(self, remote: HostnameEndpoint, where: str) -> bool:
        """
        Connect, and talk.

        @return: whether it is worth to ask for a task.
        """
        began = self._reactor.seconds()
        heart = Heart(self._reactor)
        factory = CommandClientFactory(heart, wallClock=self._readClock)
        try:
            protocol = cast(CommandClientProtocol, await remote.connect(factory))
        except Exception as error:
            self._notConnected(error, where, self._reactor.seconds() - began)
            return False
        mine = protocol.transport.getHost()
        own = endpoint(mine.host, mine.port)
        seconds = self._reactor.seconds() - began
        self.found.add("command connection", _OK, f"{own} to {where}", seconds, own=own)
        try:
            return await self._talk(protocol)
        finally:
            protocol.transport.abortConnection()
            await protocol.closed

    def _readClock(self) -> float:
        self._asked = self._wallClock()
        return self._asked

    def _notConnected(self, error: Exception, where: str, seconds: float) -> None:
        number = getattr(error, "osError", None) or getattr(error, "errno", None)
        if not isinstance(number, int):
            # Twisted's own timer gives none, and an answer by ICMP leaves none.
            silent = isinstance(error, NoAnswer)
            number = errno.ETIMEDOUT if silent else errno.EHOSTUNREACH
        text = f"{os.strerror(number)} (errno {number})"
        kind = "refused" if number == errno.ECONNREFUSED else "filtered"
        step = NEXT_STEP[Reason.REMOTE_UNREACHABLE].format(remote=self.found.remote, ports="")
        self.found.add(
            *("command connection", _ERROR, f"{where} {kind}: {text}", seconds),
            step=step,
            errno=number,
            kind=kind,
        )

    async def _talk(self, protocol: CommandClientProtocol) -> bool:
        began = self._reactor.seconds()
        try:
            welcome = await protocol.greeting.addTimeout(CONNECT_TIMEOUT, self._reactor)
        except CommandRefused as error:
            if isRefusal(error):
                notAuthorised(self.found, str(error))
                return False
            self._dialect = Dialect.CLASSIC
            text = f"classic dialect: it does not know ours ({error})"
            self.found.add("negotiation", _OK, text, dialect="classic")
            return True
        except NotAdmitted as error:
            notAuthorised(self.found, str(error))
            return False
        except (JobSchedulerError, TimeoutError) as error:
            text = str(error)
            if isinstance(error, TimeoutError):
                text = f"no answer to our hello within {CONNECT_TIMEOUT:g} seconds"
            step = f"check that {self.found.remote} is a remote of jsremote or a JobScheduler"
            self.found.add("negotiation", _ERROR, text, step=step)
            return False
        answered = self._wallClock()
        self._dialect = Dialect.EXTENDED
        self.found.add(
            *("negotiation", _OK, f"extended dialect, version {welcome.version}"),
            self._reactor.seconds() - began,
            dialect="extended",
            version=welcome.version,
            instance=welcome.instance,
            modes=[mode.value for mode in CallbackMode if mode.value in welcome.capabilities],
        )
        times = []
        for _ in range(PINGS):
            asked = self._reactor.seconds()
            await protocol.request(Ping(0)).addTimeout(CONNECT_TIMEOUT, self._reactor)
            times.append(self._reactor.seconds() - asked)
        self.found.add(
            *("round trip", _OK, roundTrips(times)), round_trip=median(times), pings=times
        )
        self._compare(ClockOffset.between(self._asked, welcome.clock, answered))
        return True

    def _compare(self, offset: ClockOffset) -> None:
        facts: dict[str, Any] = {"offset": offset.seconds, "error": offset.error}
        if abs(offset.seconds) - offset.error > CLOCKS:
            text = f"the remote's clock differs by {offset}; times of the two do not compare"
            step = "set the clocks of both hosts, with NTP"
            self.found.add("clocks", _WARNING, text, step=step, **facts)
        else:
            self.found.add("clocks", _OK, f"the remote's differs by {offset}", **facts)

    # ------------------------------------------------------------------- the task

    async def _task(self, remote: HostnameEndpoint, address: str, ours: str) -> None:
        auto = self._callback == AUTO
        tried = await self._try(remote, ours, CallbackMode.OWN.value if auto else self._callback)
        other = None
        if auto and tried.outcome.reason in WAY_BACK and self._dialect is Dialect.EXTENDED:
            # What a job of mode auto ends at where nobody can call us.
            other = await self._try(remote, ours, CallbackMode.PASSIVE.value)
            if not other.outcome.succeeded:
                other = None
        back = endpoint(self._advertise or ours, tried.port)
        legs = TaskLegs(self.found, f"{self._budget.last}-{self._budget.first}")
        legs.authorisation(tried.outcome)
        legs.listening(tried.port, back, tried.outcome, self._portTrouble)
        if tried.attached:
            legs.called(tried.mode, tried.peer or address, back, tried.attached)
        else:
            legs.noCall(tried.outcome, address, back, tried.seconds, passive=other is not None)
        final = other or tried
        legs.ran(final.outcome, final.seconds, final.mode)
        if tried.strangers:
            text = f"{tried.strangers} strangers called at the port and were sent away"
            self.found.add("strangers", _WARNING, text, step=f"find out who calls at {back}")

    async def _try(self, remote: HostnameEndpoint, ours: str, mode: str) -> _Tried:
        high, low = self._budget.first, self._budget.last
        # Another address may be one of ours.
        listen = tcpListen(cast(ICallbackReactor, self._reactor), "" if self._advertise else ours)
        ports = CallbackPorts(self._reactor, listen, high, low)
        processClass = ProcessClass(
            *("", remote, 1, self.found.remote, self._dialect),
            callback=mode,
            advertise=self._advertise,
        )
        service = ClientService(
            self._reactor,
            ports,
            [processClass],
            startTimeout=self._startTimeout,
            connectTimeout=0.0,
        )
        service.startService()
        tried = _Tried(mode)
        began = self._reactor.seconds()

        def attached() -> None:
            tried.attached = self._reactor.seconds() - began
            tried.peer = job.peer
            tried.port = max(ports.held, default=0)

        try:
            job = service.run(Work(command=(PROGRAM,)), "", _Probe(attached))
            tried.outcome = await job.done
            tried.seconds = self._reactor.seconds() - began
            tried.port = tried.port or job.port
            tried.strangers = service.strangers.count
        finally:
            await service.stopService()
        return tried

    # ----------------------------------------------------------------- the ports

    def _sum(self) -> None:
        findings = list(self._budget.findings())
        for finding in findings:
            verdict = _ERROR if finding.serious else _WARNING
            self.found.add("port budget", verdict, finding.text, step=finding.cure)
        if not findings:
            self.found.add("port budget", _OK, str(self._budget), needed=self._budget.needed)
