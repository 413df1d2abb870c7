"""
Stand-ins for what an application plugs in.
"""

from __future__ import annotations

from collections.abc import Callable
from signal import SIGKILL

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.errors import LaunchFailed
from jobscheduler_tcp.interfaces import (
    IConfirmationReceiver,
    IPreparedLaunch,
    ITaskConfirmation,
    ITaskLauncher,
    ITaskProcess,
    ITaskReceiver,
    KillReport,
    Launch,
    ProcessExit,
)
from jobscheduler_tcp.messages import Stream, Survivor, TaskAttached, TaskEnded, TaskStarted


@implementer(ITaskProcess)
class FakeProcess:
    """
    A process that does what the test says.

    @ivar task: the UUID of the task.
    @ivar descriptors: those of a child: two pipes and a pidfd, and its input.
    @ivar launch: what was asked for.
    @ivar receiver: who hears of the process.
    @ivar input: all that was written to it; it takes everything at once.
    @ivar inputEnded: whether its input was closed.
    @ivar paused: whether its output is held back.
    @ivar kills: signal and grace of each kill.
    @ivar ignores: signals that do not end it; SIGKILL does, after the grace,
        unless it stands here too.
    @ivar survivors: what a kill tells that it could not end.
    @ivar ended: whether it is over.
    """

    def __init__(self, clock: IReactorTime, launch: Launch, receiver: ITaskReceiver) -> None:
        self.task = launch.task
        self.descriptors = 3 + launch.work.stdin
        self.launch = launch
        self.receiver = receiver
        self.input = bytearray()
        self.inputEnded = False
        self.paused = False
        self.kills: list[tuple[int, float]] = []
        self.ignores: set[int] = set()
        self.survivors: tuple[Survivor, ...] = ()
        self.ended = False
        self._clock = clock
        self._started = False
        self._held: list[tuple[Stream, bytes]] = []
        self._exit: ProcessExit | None = None
        self._killed: list[Deferred[KillReport]] = []

    # what the test does

    def start(self, pid: int = 4711) -> None:
        """
        The program runs.
        """
        self._started = True
        self.receiver.processStarted(pid)

    def refuse(self, text: str = "no such program", errno: int = 2) -> None:
        """
        The program could not be started.
        """
        self.ended = True
        self.receiver.processNotStarted(LaunchFailed(text, errno))
        self._reportKills()

    def print(self, stream: Stream, data: bytes) -> None:
        """
        The program prints; while it is held back, nothing of it is heard.
        """
        self._held.append((stream, data))
        self._drain()

    def end(self, exitCode: int | None = None, signal: int | None = None, note: str = "") -> None:
        """
        The program ends: with C{exitCode}, which is 0 if neither is given, or by
        C{signal}. It is told when the output was heard.
        """
        if exitCode is None and signal is None:
            exitCode = 0
        if self._exit is None and not self.ended:
            self._exit = ProcessExit(exitCode, signal, note)
            self._drain()

    # ITaskProcess

    def pauseProducing(self) -> None:
        """
        Hold the output back.
        """
        self.paused = True

    def resumeProducing(self) -> None:
        """
        Let the output be heard again, from the next turn of the clock on.
        """
        self.paused = False
        if self._held or self._exit is not None:
            self._clock.callLater(0, self._drain)

    def writeInput(self, data: bytes) -> None:
        """
        Remember the input, and tell at the next turn that it was taken.
        """
        if not self.ended:
            self.input += data
            self._clock.callLater(0, self._taken, len(data))

    def endInput(self) -> None:
        """
        Remember that the input ends.
        """
        self.inputEnded = True

    def kill(self, signal: int, grace: float) -> Deferred[KillReport]:
        """
        Die of it at the next turn, or after the grace, or not at all.
        """
        self.kills.append((signal, grace))
        if self.ended:
            return succeed(KillReport(0))
        killed: Deferred[KillReport] = Deferred()
        self._killed.append(killed)
        if signal not in self.ignores:
            self._clock.callLater(0, self._die, signal)
        elif SIGKILL not in self.ignores:
            self._clock.callLater(grace, self._die, int(SIGKILL))
        else:
            self._clock.callLater(grace, self._reportKills)
        return killed

    def _die(self, signal: int) -> None:
        if self.ended:
            return
        if self._started:
            self.end(signal=signal)
        else:
            self.refuse("killed before it was started", 0)

    def _taken(self, count: int) -> None:
        if not self.ended:
            self.receiver.inputTaken(count)

    def _drain(self) -> None:
        while self._held and not self.paused:
            self.receiver.outputReceived(*self._held.pop(0))
        if self._exit is not None and not self._held and not self.ended:
            self.ended = True
            self.receiver.processEnded(self._exit)
            self._reportKills()

    def _reportKills(self) -> None:
        killed, self._killed = self._killed, []
        for each in killed:
            each.callback(KillReport(1 if self.ended else 0, self.survivors))


@implementer(IPreparedLaunch)
class FakePreparedLaunch:
    """
    A process that a L{FakeLauncher} can start.
    """

    def __init__(self, launcher: FakeLauncher, process: FakeProcess) -> None:
        self._launcher = launcher
        self._process = process

    def launch(self) -> FakeProcess:
        """
        Start it.
        """
        self._launcher.prepared.remove(self)
        self._launcher.launch(self._process)
        return self._process

    def discard(self) -> None:
        """
        Do not start it.
        """
        self._launcher.prepared.remove(self)


@implementer(ITaskLauncher)
class FakeLauncher:
    """
    A launcher that starts nothing.

    @ivar prepared: what was prepared, and neither launched nor discarded.
    @ivar launched: the processes that were asked for.
    @ivar stopped: whether it was stopped.
    """

    def __init__(
        self, clock: IReactorTime, script: Callable[[FakeProcess], object] | None = None
    ) -> None:
        """
        @param script: what each process does, at the turn after its launch; else
            the test calls L{FakeProcess.start} and so on itself.
        """
        self.prepared: list[FakePreparedLaunch] = []
        self.launched: list[FakeProcess] = []
        self.stopped = False
        self._clock = clock
        self._script = script

    def prepare(self, launch: Launch, receiver: ITaskReceiver) -> FakePreparedLaunch:
        """
        Make a process that the test can play once it is launched.
        """
        prepared = FakePreparedLaunch(self, FakeProcess(self._clock, launch, receiver))
        self.prepared.append(prepared)
        return prepared

    def launch(self, process: FakeProcess) -> None:
        """
        Have a process follow the script.
        """
        self.launched.append(process)
        if self._script is not None:
            self._clock.callLater(0, self._script, process)

    def stop(self) -> Deferred[None]:
        """
        Kill what still runs.
        """
        self.stopped = True
        kills = [each.kill(int(SIGKILL), 0.0) for each in self.launched if not each.ended]
        return DeferredList(kills).addCallback(lambda reports: None)


@implementer(IConfirmationReceiver)
class RecordingReceiver:
    """
    A receiver that remembers what it hears of one task.

    @ivar events: the names of the methods that were called, in order; output
        only once in a row.
    @ivar confirmation: to pause, resume and to send input.
    @ivar attached: C{None} until it was heard, as the next three.
    @ivar started: the start of the task.
    @ivar ended: its end.
    @ivar lost: why the end will not be heard.
    @ivar output: what each stream printed.
    @ivar holdEnd: give it a Deferred, and the end is acknowledged when it fires.
    """

    def __init__(self) -> None:
        self.events: list[str] = []
        self.confirmation: ITaskConfirmation | None = None
        self.attached: TaskAttached | None = None
        self.started: TaskStarted | None = None
        self.ended: TaskEnded | None = None
        self.lost: Failure | None = None
        self.output = {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()}
        self.holdEnd: Deferred[None] | None = None

    def taskAttached(self, confirmation: ITaskConfirmation, message: TaskAttached) -> None:
        """
        Remember the confirmation.
        """
        self.events.append("taskAttached")
        self.confirmation = confirmation
        self.attached = message

    def taskStarted(self, message: TaskStarted) -> None:
        """
        Remember the start.
        """
        self.events.append("taskStarted")
        self.started = message

    def outputReceived(self, stream: Stream, data: bytes) -> None:
        """
        Remember the output.
        """
        if self.events[-1:] != ["outputReceived"]:
            self.events.append("outputReceived")
        self.output[stream] += data

    def taskEnded(self, message: TaskEnded) -> Deferred[None] | None:
        """
        Remember the end.
        """
        self.events.append("taskEnded")
        self.ended = message
        return self.holdEnd

    def confirmationLost(self, reason: Failure) -> None:
        """
        Remember why.
        """
        self.events.append("confirmationLost")
        self.lost = reason
