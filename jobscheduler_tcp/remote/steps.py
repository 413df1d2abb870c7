"""
What the remote does for one task: answer, launch, confirm, kill. When it does
which is the subject of L{jobscheduler_tcp.remote.task}.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from signal import SIGTERM
from typing import cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from jobscheduler_tcp.errors import LaunchFailed
from jobscheduler_tcp.heartbeat import Heart
from jobscheduler_tcp.interfaces import (
    IDialReactor,
    IPreparedLaunch,
    ITaskLauncher,
    ITaskProcess,
    ITaskReceiver,
    KillReport,
    Launch,
    ProcessExit,
)
from jobscheduler_tcp.logger import TaskLogger
from jobscheduler_tcp.messages import (
    OnDisconnect,
    Stream,
    TaskEnded,
    TaskRefused,
    TaskStarted,
    TaskTaken,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.remote.confirmation import ConfirmationFactory
from jobscheduler_tcp.remote.holding import MOST_HOLD, Held, Hold
from jobscheduler_tcp.remote.limits import NOTHING_DIGESTED, NOTHING_PRINTED, Printed
from jobscheduler_tcp.remote.returnvalues import VARIABLE, ReturnValues
from jobscheduler_tcp.remote.standing import TaskLine

# Seconds that a task has to end when the remote stops, even if its own grace is
# longer: systemd waits 90 for the whole of a service.
STOP_GRACE = 30.0

# Bytes of return values that fit into the frame of the end, of which there is one
# (wire.extended.MAX_PROVEN), and what msgpack needs for each pair beside them.
MAX_RETURNED = 1_000_000
_PAIR = 16

_log = TaskLogger(__name__)


@dataclass(frozen=True, slots=True)
class Workplace:
    """
    What the tasks of one remote share.

    @ivar mostHold: seconds that a task is held for at most.
    @ivar resting: the UUIDs of those that are over, and held.
    """

    reactor: IDialReactor
    launcher: ITaskLauncher
    heart: Heart
    wallClock: Callable[[], float]
    mostHold: float = MOST_HOLD
    resting: set[str] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class Steps:
    """
    The steps of one task, and what has to be known for them.

    @ivar launch: what to start; forgotten once it is prepared.
    @ivar prepared: it can be started, or why it cannot; C{None} before and afterwards.
    @ivar returnValues: the file where the task leaves what it returns.
    @ivar kept: what is kept for a client that is gone, C{None} as long as there is
        nothing: some tasks sleep for days (see L{hold}).
    @ivar patience: seconds for which the task is held.
    @ivar secret: what a client has to know that comes back.
    @ivar inputGiven: bytes of input that came.
    @ivar inputTaken: how many of them the task was given.
    @ivar cause: why the task is being killed.
    @ivar state: the same as the machine's, in JobScheduler's words, for people.
    """

    task: str
    receiver: ITaskReceiver
    place: Workplace
    launch: Launch | None
    number: int
    host: str
    port: int
    grace: float
    callback: ConfirmationFactory | TaskLine
    limits: Printed
    answered: Callable[[TaskTaken | TaskRefused], None]
    over: Callable[[str], None]
    onDisconnect: OnDisconnect = OnDisconnect.KILL
    patience: float = 0.0
    secret: bytes = b""
    kept: Hold | None = None
    inputGiven: int = 0
    inputTaken: int = 0
    inputEnded: bool = False
    process: ITaskProcess | None = None
    prepared: IPreparedLaunch | LaunchFailed | None = None
    returnValues: ReturnValues | None = None
    cause: Reason = Reason.KILLED
    note: str = ""
    pid: int = 0
    began: float = 0.0
    runningSince: float = 0.0
    state: str = "starting"

    @property
    def hold(self) -> Hold | None:
        """
        Where to keep something for a client that is gone, C{None} if the task is not
        held.
        """
        if self.kept is None and self.onDisconnect is not OnDisconnect.KILL:
            policy, seconds = self.onDisconnect, self.patience
            self.kept = Hold(
                self.place.reactor, policy, seconds, self.secret, cast(Held, self.receiver)
            )
        return self.kept

    def take(self) -> None:
        """
        Answer that the confirmation connection stands.
        """
        _log.info(
            "Task {task} is taken from {host}, confirmed from port {outgoing} to port {port}",
            task=self.task,
            host=self.host,
            outgoing=self.callback.outgoing,
            port=self.port,
        )
        self.answered(TaskTaken(0, self.task, self.number))

    def refuse(self, reason: Reason, text: str, errno: int = 0) -> None:
        """
        Answer that nothing was executed, and never will be.
        """
        _log.info(
            "Task {task} of {host} is refused: {reason}, {text}",
            task=self.task,
            host=self.host,
            reason=reason.value,
            text=text,
        )
        self.answered(TaskRefused(0, self.task, reason, text, errno))
        self.finish()

    def prepare(self) -> None:
        """
        Make what the program will need, while the client proves itself. What cannot
        be made is told to nobody but the client, once it has.
        """
        launch, self.launch = self.launch, None
        if launch is None:
            return  # it is prepared, or over
        try:
            self.returnValues = ReturnValues()
        except OSError as error:
            text = f"cannot make a file for return values: {error.strerror}"
            self.prepared = LaunchFailed(text, error.errno or 0)
            return
        environment = {**launch.environment, VARIABLE: self.returnValues.path}
        launch = Launch(launch.task, launch.work, environment)
        try:
            self.prepared = self.place.launcher.prepare(launch, self.receiver)
        except BaseException as error:  # an output must not raise
            self.prepared = self._launcherFailed(error)

    def start(self) -> None:
        """
        Launch the program. That the connection stands is said while its process
        is already being loaded.
        """
        self.prepare()
        failed = self._launch()
        self.take()
        if failed is not None:
            self.receiver.processNotStarted(failed)

    def _launch(self) -> LaunchFailed | None:
        prepared, self.prepared = self.prepared, None
        assert prepared is not None
        if isinstance(prepared, LaunchFailed):
            return prepared
        try:
            self.process = prepared.launch()
        except BaseException as error:  # an output must not raise
            return self._launcherFailed(error)
        return None

    def _launcherFailed(self, error: BaseException) -> LaunchFailed:
        _log.failure("The launcher failed with task {task}", task=self.task)
        return LaunchFailed(f"the launcher failed: {error}")

    def confirmStart(self, pid: int) -> None:
        """
        Tell the client that the program runs.
        """
        self.pid = pid
        self.began = self.place.reactor.seconds()
        self.runningSince = self.place.wallClock()
        _log.info("Task {task} runs as process {pid}", task=self.task, pid=pid)
        self._sayStart()

    def _sayStart(self) -> None:
        if self.callback.connection is not None:
            started = TaskStarted(self.pid, self.runningSince, max(self.began, 0.0))
            self.callback.connection.taskStarted(started)

    def print(self, stream: Stream, data: bytes) -> None:
        """
        Give the client what the task printed, as far as it may.
        """
        limits = self.limits
        if limits is NOTHING_PRINTED or limits is NOTHING_DIGESTED:
            limits = self.limits = Printed(sha256=limits is NOTHING_DIGESTED)
        data = limits.printed(stream, data)
        if not data:
            return
        hold = self.hold
        if hold is not None:
            end = limits.stderrSize if stream is Stream.STDERR else limits.stdoutSize
            hold.keep(stream, end, data)
            if hold.full:
                self.pause()
        if self.callback.connection is not None:
            self.callback.connection.output(stream, data)

    def pause(self) -> None:
        """
        Nobody takes its output.
        """
        self.limits.pause()
        if self.process is not None:
            self.process.pauseProducing()

    # ------------------------------------------------------- a client that comes back

    @property
    def absence(self) -> str:
        """
        That the client is gone, for people.
        """
        hold = self.hold
        if hold is None or not hold.seconds:
            return "the client is gone"
        return f"the client was gone for {hold.seconds:g} seconds"

    def waitForClient(self) -> None:
        """
        The client is gone, and waited for.
        """
        hold = self.hold
        assert hold is not None
        _log.info(
            "Task {task} is held for {seconds:g} seconds: its client is gone",
            task=self.task,
            seconds=hold.seconds,
        )
        if hold.end is not None:
            self.place.resting.add(self.task)

    def wasPrinted(self, stdout: int, stderr: int) -> bool:
        """
        Whether the task has printed so much.
        """
        return stdout <= self.limits.stdoutSize and stderr <= self.limits.stderrSize

    def forgo(self) -> None:
        """
        Nobody came back: the task goes on without its client.
        """
        hold = self.hold
        assert hold is not None
        _log.info("Task {task} goes on without its client: {why}", task=self.task, why=self.absence)
        hold.drop(self.limits.stdoutSize, self.limits.stderrSize)

    def confirmTo(
        self,
        callback: ConfirmationFactory | TaskLine,
        host: str,
        port: int,
        stdout: int,
        stderr: int,
    ) -> None:
        """
        Confirm the task here from now on, from the beginning of what the client
        has not.
        """
        hold = self.hold
        connection = callback.connection
        assert hold is not None and connection is not None
        self.callback, before = callback, self.callback
        before.dismiss()
        self.host, self.port = host, port
        self.place.resting.discard(self.task)
        hold.returned(stdout, stderr)
        _log.info(
            "The client of task {task} is back at {host}, from port {outgoing} to port {port}",
            task=self.task,
            host=host,
            outgoing=callback.outgoing,
            port=port,
        )
        if self.pid:
            self._sayStart()
        for stream, data in hold.unacknowledged():
            connection.output(stream, data)
        if hold.end is not None:
            connection.taskEnded(hold.end)

    def kill(self, signal: int, grace: float, killed: Deferred[KillReport] | None = None) -> None:
        """
        End the process and its descendants.
        """
        self.state = "killing"
        self.limits.stop()
        if self.process is None:
            report = maybeDeferred(KillReport, 0)
        else:
            report = maybeDeferred(self.process.kill, signal, grace)
        if killed is not None:
            report.chainDeferred(killed)
        else:
            report.addErrback(self.killFailed)

    def killFailed(self, failure: Failure) -> None:
        """
        A launcher's kill may not fail.
        """
        _log.failure("Task {task} cannot be killed", failure=failure, task=self.task)

    def killFor(self, reason: Reason, note: str) -> None:
        """
        End it for a reason of our own.
        """
        self.cause = reason
        self.note = note
        self.kill(SIGTERM, self.grace)

    def giveUp(self) -> None:
        """
        The client is gone: what is printed from now on is thrown away.
        """
        self.kill(SIGTERM, self.grace)
        if self.process is not None:
            self.process.resumeProducing()

    def confirmEnd(self, message: TaskEnded) -> None:
        """
        Tell the client that it is over.
        """
        self.limits.stop()
        self.process = None
        self.state = "ended"
        hold = self.hold
        if hold is not None:
            hold.ended(message)
            if hold.away:
                self.place.resting.add(self.task)
        if self.callback.connection is not None:
            self.callback.connection.taskEnded(message)
        self._discard()  # the client need not wait for that
        self.logEnd(message)

    def ended(self, ending: ProcessExit, reason: Reason) -> TaskEnded:
        """
        Sum up how a program that ran has ended.
        """
        stdoutChecksum, stderrChecksum = self.limits.checksums()
        digests = self.limits.digests
        stdoutDigest, stderrDigest = (b"", b"") if digests is None else digests.finished()
        values, problem = self._takeReturned()
        dropped = ""
        if self.kept is not None and self.kept.dropped:
            dropped = f"{self.kept.dropped} bytes of its output were dropped: {self.absence}"
        return TaskEnded(
            reason,
            ending.exitCode,
            ending.signal,
            0,
            "; ".join(note for note in (self.note, ending.note, problem, dropped) if note),
            self.place.wallClock(),
            max(self.place.reactor.seconds() - self.began, ending.seconds),
            ending.userSeconds,
            ending.systemSeconds,
            ending.maxResident,
            self.limits.stdoutSize,
            self.limits.stderrSize,
            stdoutChecksum,
            stderrChecksum,
            stdoutDigest,
            stderrDigest,
            values,
        )

    def _takeReturned(self) -> tuple[tuple[tuple[bytes, bytes], ...], str]:
        """
        The values that the task returned, and what is wrong with them. That is
        no failure of the task: nobody may have needed them.
        """
        if self.returnValues is None:
            return (), ""
        returned = self.returnValues.read()
        if not returned.values:
            return (), returned.problem
        if sum(len(name) + len(value) + _PAIR for name, value in returned.values) > MAX_RETURNED:
            return (), f"more than {MAX_RETURNED} bytes of return values"
        return returned.values, returned.problem

    def _discard(self) -> None:
        """
        Undo what was prepared, and is not needed any more.
        """
        values, self.returnValues = self.returnValues, None
        if values is not None:
            values.discard()
        prepared, self.prepared = self.prepared, None
        if prepared is not None and not isinstance(prepared, LaunchFailed):
            try:
                prepared.discard()
            except BaseException as error:  # an output must not raise
                self._launcherFailed(error)

    def notStarted(self, reason: Reason, note: str, errno: int = 0) -> TaskEnded:
        """
        Sum up that nothing ran.
        """
        return TaskEnded(reason, errno=errno, note=note, clock=self.place.wallClock())

    def logEnd(self, message: TaskEnded) -> None:
        """
        Log how it ended.
        """
        how = "" if message.exitCode is None else f", exit code {message.exitCode}"
        how += "" if message.signal is None else f", signal {message.signal}"
        _log.info(
            "Task {task} is over: {reason}{how}{note}",
            task=self.task,
            reason=message.reason.value,
            how=how,
            code=message.exitCode,
            note=message.note and f"; {message.note}",
        )

    def finish(self) -> None:
        """
        There is nothing left to do.
        """
        self.limits.stop()
        self.onDisconnect = OnDisconnect.KILL  # nothing more is kept
        if self.kept is not None:
            self.kept.lost = True
            self.kept.stop()
            self.place.resting.discard(self.task)
        self._discard()
        self.process = None
        self.launch = None
        self.state = "closed"
        self.over(self.task)

    def part(self) -> None:
        """
        Nothing more will be heard of the task either: forget who knows us. Else
        only the garbage collector would find that.
        """
        self.callback.part()
        self.kept = None
        del self.receiver, self.limits
