"""
C{jsremote run}: one job, as if it ran here.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import time
from errno import EFBIG
from types import FrameType
from typing import BinaryIO, cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogBeginner
from zope.interface import implementer

from jobscheduler_tcp.cli.reasons import asJSON, oneLine, signalName, told
from jobscheduler_tcp.cli.session import Session, statusOfBroken
from jobscheduler_tcp.cli.streams import Hand, hasInput, occupyStandardDescriptors
from jobscheduler_tcp.cli.values import shown
from jobscheduler_tcp.client.connection import CONNECT_TIMEOUT
from jobscheduler_tcp.client.job import RunningJob
from jobscheduler_tcp.client.ports import CallbackPorts, tcpListen
from jobscheduler_tcp.client.processclass import Dialect, ProcessClass
from jobscheduler_tcp.client.service import ClientService
from jobscheduler_tcp.client.taskkey import Lasting
from jobscheduler_tcp.interfaces import ICallbackReactor
from jobscheduler_tcp.messages import OnDisconnect, Stream, TaskKilled, Work
from jobscheduler_tcp.outcome import EX_SOFTWARE, Outcome, Reason
from jobscheduler_tcp.tap import raiseDescriptorLimit
from jobscheduler_tcp.wire.splitters import MAX_GREETED

# sysexits.h: an input file could not be read.
EX_NOINPUT = 66

# Seconds: more than anybody waits, as the protocol has it.
FOR_EVER = 1e12

# Seconds for the output of a killed task to be read.
FLUSH = 3.0

# Seconds, beyond the task's grace, for the end of a killed task to arrive.
PATIENCE = 10.0


def run(arguments: argparse.Namespace) -> int:
    """
    Run a job.

    @return: the exit code.
    """
    occupyStandardDescriptors()
    try:
        work = workOf(arguments)
    except OSError as error:
        print(f"jsremote: cannot read {arguments.script}: {error.strerror}", file=sys.stderr)
        return EX_NOINPUT
    from twisted.internet import reactor as installed  # noqa: PLC0415 - chosen now

    reactor = cast(PosixReactorBase, installed)
    # Twisted's clock is the wall clock, which may be set.
    reactor.seconds = time.monotonic
    raiseDescriptorLimit()
    return _Run(reactor, arguments, work).go()


def workOf(arguments: argparse.Namespace) -> Work:
    """
    What the command line says about the task.

    @raise OSError: the script cannot be read.
    """
    script, stdin = "", False
    if arguments.script == "-":
        with open(Stream.STDIN.value, "rb", closefd=False) as file:
            script = _script(file)
    else:
        if arguments.script is not None:
            with open(arguments.script, "rb") as file:
                script = _script(file)
        if arguments.stdin is not None or arguments.dialect != Dialect.CLASSIC.value:
            stdin = hasInput(Stream.STDIN.value, arguments.stdin)
    return Work(
        script=script,
        command=arguments.argv,
        parameters=tuple(arguments.param),
        orderParameters=tuple(arguments.order_param) or None,
        environment=tuple(arguments.env),
        directory=arguments.directory,
        stdin=stdin,
        wallTime=arguments.timeout,
        silence=arguments.silence,
        outputLimit=arguments.output_limit,
        grace=arguments.grace,
    )


def _script(file: BinaryIO) -> str:
    # No more than a start carries, whatever the file is.
    content = file.read(MAX_GREETED + 1)
    if len(content) > MAX_GREETED:
        raise OSError(EFBIG, f"it is longer than {MAX_GREETED} bytes, as a start cannot be")
    # An empty script does nothing, as in a shell; the protocol knows no empty one.
    return (content or b":\n").decode("utf-8", "surrogateescape")


def routeTo(host: str, port: int) -> tuple[str, str]:
    """
    The remote's address, and ours on the way there: where it will call back.

    IPv4 is taken if there is any, for a JobScheduler knows nothing else.

    @raise OSError: there is none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found.sort(key=lambda each: each[0] != socket.AF_INET)
    family, _, _, _, address = found[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(address)  # sends nothing
        ours = probe.getsockname()
    return str(address[0]), str(ours[0])


@implementer(ILogObserver)
class _Log:
    """
    Show what is logged, from a level on, a line each.
    """

    def __init__(self, session: Session, *, verbose: bool) -> None:
        self._session = session
        self._level = LogLevel.info if verbose else LogLevel.critical

    def __call__(self, event: LogEvent) -> None:
        """
        Say it on stderr.
        """
        if event.get("log_level", LogLevel.info) < self._level:
            return
        text = formatEvent(event)
        if "log_failure" in event:
            text += f": {event['log_failure'].getErrorMessage()}"
        self._session.say(f"jsremote: {oneLine(text)}")


class _Run:
    """
    The job between the reactor, the signals and the streams.
    """

    def __init__(
        self, reactor: PosixReactorBase, arguments: argparse.Namespace, work: Work
    ) -> None:
        self._reactor = reactor
        self._arguments = arguments
        self._work = work
        self._remote = shown(arguments.remote)
        high, low = arguments.callback_ports
        self._ports = f"{low}-{high}" if low != high else f"{high}"
        self._session = Session(
            (Hand(reactor), Hand(reactor), Hand(reactor)), self._broken, hasInput=work.stdin
        )
        self._job: RunningJob | None = None
        self._patience: IDelayedCall | None = None
        self._status: int | None = None  # our own, where the job's does not count

    def go(self) -> int:
        """
        Run until everything is told.
        """
        log = _Log(self._session, verbose=self._arguments.verbose)
        globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # One that is ignored, as SIGHUP under nohup, stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._signalled)
        self._reactor.callWhenRunning(lambda: Deferred.fromCoroutine(self._run()))
        self._reactor.run(installSignalHandlers=False)
        self._session.close()
        assert self._status is not None
        return self._status

    async def _run(self) -> None:
        try:
            outcome = await self._runJob()
            # Whoever killed the job knows why it ended, unless nobody knows.
            mysterious = outcome.reason in (Reason.LOST, Reason.PROTOCOL_ERROR)
            line = told(outcome, self._remote, self._ports)
            if line and (mysterious or self._status is None):
                self._session.say(f"jsremote: {line}")
            if self._status is None:
                self._status = outcome.exitStatus
            if self._arguments.json:
                self._session.say(asJSON(outcome, self._status))
            await self._session.flushed()
        except Exception as error:
            # Ours, and still no reason for a traceback.
            self._status = EX_SOFTWARE
            self._session.say(f"jsremote: internal error: {error!r}")
            await self._session.flushed()
        finally:
            self._reactor.stop()

    async def _runJob(self) -> Outcome:
        try:
            address, ours = routeTo(*self._arguments.remote)
        except (OSError, UnicodeError) as error:
            text = getattr(error, "strerror", None) or "that is no name of a host"
            return Outcome(Reason.REMOTE_UNREACHABLE, f"there is no way to {self._remote}: {text}")
        high, low = self._arguments.callback_ports
        remote = HostnameEndpoint(
            self._reactor, address, self._arguments.remote[1], timeout=CONNECT_TIMEOUT
        )
        processClass = ProcessClass(
            *("", remote, 1, self._remote, Dialect(self._arguments.dialect)),
            callback=self._arguments.callback,
            advertise=self._arguments.advertise,
        )
        # Another address may be one of ours.
        ours = "" if self._arguments.advertise else ours
        listen = tcpListen(cast(ICallbackReactor, self._reactor), ours)
        service = ClientService(
            self._reactor,
            CallbackPorts(self._reactor, listen, high, low),
            [processClass],
            startTimeout=self._arguments.start_timeout or FOR_EVER,
            # Somebody waits for the answer: what is refused is told at once.
            connectTimeout=0.0,
            lasting=Lasting(OnDisconnect(self._arguments.on_disconnect), self._arguments.hold),
        )
        service.startService()
        try:
            # Only there it is shown.
            sha256 = self._arguments.json
            self._job = service.run(self._work, "", self._session, sha256=sha256)
            return await self._job.done
        finally:
            await service.stopService()

    # ------------------------------------------------------- what comes between

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if self._status is not None:
            # The second time: the remote was told to kill the task, or does it when
            # nobody comes back.
            os._exit(128 + number)
        self._status = 128 + number
        # A handler may interrupt anything: it only wakes the reactor.
        self._reactor.callFromThread(self._interrupted, number)

    def _interrupted(self, number: int) -> None:
        self._session.say(
            f"jsremote: {signalName(number)}: the job is killed; once more to leave at once"
        )
        self._kill()

    def _broken(self, stream: Stream, error: OSError) -> None:
        if self._status is None:
            self._status = statusOfBroken(error)
            if not isinstance(error, BrokenPipeError):
                self._session.say(f"jsremote: cannot write {stream.name.lower()}: {error.strerror}")
            self._kill()

    def _kill(self) -> None:
        """
        Kill the task, and wait for its end, but not for ever.
        """
        if self._job is None:
            return
        job = self._job
        killed = job.kill(signal.SIGTERM, self._work.grace)
        killed.addCallbacks(self._killed, lambda _: job.abandon())
        self._patience = self._reactor.callLater(self._work.grace + PATIENCE, self._giveUp)

    def _killed(self, killed: TaskKilled) -> None:
        # No more output comes into being; what there is has a moment to get out.
        if self._patience is not None and self._patience.active():
            self._patience.reset(FLUSH)
        for survivor in killed.survivors:
            command = oneLine(survivor.command)
            self._session.say(f"jsremote: process {survivor.pid} is still there: {command}")

    def _giveUp(self) -> None:
        self._session.say("jsremote: the end of the job does not come, or nobody reads its output")
        # Nothing may be able to write that line either.
        assert self._status is not None
        self._reactor.callLater(1.0, os._exit, self._status)
