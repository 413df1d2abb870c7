"""
A task of a classic remote, as a job's life and an application hear of any task:
what is missing in the classic dialect is made up for here.

The remote sends lines for a log; they are the task's stdout, for the streams are
not told apart. Warnings and errors, which the remote itself says, are its stderr.
The limits of a task are the client's business. Sizes and SHA-256 are reckoned from
what arrived.
"""

from __future__ import annotations

import shlex
import socket
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.client.callback import CallbackWatcher
from jobscheduler_tcp.client.classic import ClassicCallbackFactory
from jobscheduler_tcp.digests import OutputDigests
from jobscheduler_tcp.errors import CommandRefused, NotExpressible
from jobscheduler_tcp.interfaces import IConfirmationReceiver, ITaskConfirmation
from jobscheduler_tcp.logger import TaskLogger
from jobscheduler_tcp.messages import Stream, TaskAttached, TaskEnded, TaskStarted, Work
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.wire.documents import isCarried
from jobscheduler_tcp.wire.shelljob import Pairs, ShellJob, StepResult

# The name of a job that has none, in the log of the remote.
JOB_NAME = "jsremote"

# Seconds without a word of the remote after the end of the script, until the rest
# of its output is given up. A real one needs up to 2, to remove its files (5.10).
RELEASE_TIMEOUT = 60.0

# Where a remote cuts a line that is too long (5.7).
_CUT = 10000

# What a client of 1.6 says of itself in every environment (5.5); what it does
# not have is empty.
_ENVIRONMENT = (
    "SCHEDULER_CONFIGURATION_DIRECTORY",
    "SCHEDULER_JOB_CONFIGURATION_DIRECTORY",
    "SCHEDULER_SUPERVISOR_HOST",
    "SCHEDULER_SUPERVISOR_PORT",
    "SCHEDULER_TCP_PORT",
    "SCHEDULER_UDP_PORT",
    "SCHEDULER_TASK_TRIGGER_FILES",
)


def shellJob(work: Work, number: int) -> ShellJob:
    """
    Say a piece of work as a shell job.

    @param number: our number of the task.
    @raise NotExpressible: the classic dialect has no words for it.
    """
    if work.job:
        raise NotExpressible("a job of the remote's own configuration")
    if work.directory:
        raise NotExpressible("a working directory")
    if work.stdin:
        raise NotExpressible("input for the task (say --no-stdin, or give no input)")
    own = dict.fromkeys(_ENVIRONMENT, "")
    own |= {
        "SCHEDULER_HOST": socket.gethostname(),
        "SCHEDULER_JOB_NAME": JOB_NAME,
        "SCHEDULER_TASK_ID": str(number),
        **dict(work.environment),
    }
    # A remote replaces variables in the parameter line of a program, which no
    # quoting prevents; a shell does not.
    script = _latin(work.script or f"exec {shlex.join(work.command)}\n")
    if not isCarried(script):
        raise NotExpressible("control characters in a script or command")
    return ShellJob(
        script=script,
        job=_latin(own["SCHEDULER_JOB_NAME"]),
        taskId=_latin(own["SCHEDULER_TASK_ID"]),
        environment=latin(tuple(own.items())),
        hasOrder=work.orderParameters is not None,
    )


def latin(pairs: Pairs) -> Pairs:
    """
    Names and values as they travel.

    @raise NotExpressible: ISO-8859-1 has not all of their characters.
    """
    if "".join([name + value for name, value in pairs]).isascii():
        return pairs
    return tuple((_latin(name), _latin(value)) for name, value in pairs)


def _latin(text: str) -> str:
    # What were bytes in the first place (surrogates) are bytes again.
    if text.isascii():
        return text
    try:
        return text.encode("latin-1", "surrogateescape").decode("latin-1")
    except UnicodeEncodeError as error:
        raise NotExpressible(f"the character {text[error.start]!r}") from error


@implementer(ITaskConfirmation)
class ClassicListener:
    """
    Listen for one classic task. It has what a job asks of its callback factory.

    @ivar factory: to listen with.
    @ivar claims: how many callers may still prove themselves; a classic caller
        has nothing to prove.
    """

    claims = 0
    _log = TaskLogger()

    def __init__(
        self,
        task: str,
        work: Work,
        *,
        number: int,
        clock: IReactorTime,
        receiver: IConfirmationReceiver,
        watcher: CallbackWatcher,
        isRemote: Callable[[str], bool],
        kill: Callable[[], None],
        stranger: Callable[[str], None],
        sha256: bool,
    ) -> None:
        """
        @param number: our number of the task.
        @param isRemote: tells whether an address may be the remote's.
        @param kill: kills the task.
        @param sha256: whether to reckon that of the output.
        @raise NotExpressible: the classic dialect has no words for the work.
        """
        self._task = task
        self._work = work
        self._clock = clock
        self._receiver = receiver
        self._watcher = watcher
        self._kill = kill
        self._cause: Reason | None = None
        self._mayRun = False
        self._begun: float | None = None
        self._sizes = {Stream.STDOUT: 0, Stream.STDERR: 0}
        self._digests = OutputDigests() if sha256 else None
        self._wall: IDelayedCall | None = None
        self._silence: IDelayedCall | None = None
        self._release: IDelayedCall | None = None
        # As in sets of variables, upper and lower case are the same.
        self._returned: dict[str, tuple[str, str]] = {}
        self.factory = ClassicCallbackFactory(
            shellJob(work, number),
            self,
            isRemote,
            parameters=latin(work.parameters),
            orderParameters=(None if work.orderParameters is None else latin(work.orderParameters)),
            stranger=stranger,
        )

    @property
    def proven(self) -> object:
        """
        The connection of the remote, C{None} before it called.
        """
        return self.factory.caller

    def abort(self) -> None:
        """
        Hang up.
        """
        self.factory.abort()

    def killing(self, reason: Reason = Reason.KILLED) -> None:
        """
        The task is being killed, for a reason.
        """
        if self._cause is None:
            self._cause = reason

    # ------------------------------------------------------- what the remote says

    def remoteCalled(self) -> None:
        """
        The confirmation connection stands.
        """
        self._watcher.callerClaims()
        self._watcher.callerProven()
        self._receiver.taskAttached(self, TaskAttached(self._task))

    def beginning(self) -> None:
        """
        From here on nobody knows, unless the remote tells it.
        """
        self._mayRun = True

    def scriptStarted(self) -> None:
        """
        The remote has begun the job; it does not tell the pid.
        """
        self._begun = self._clock.seconds()
        work = self._work
        if work.wallTime:
            self._wall = self._clock.callLater(work.wallTime, self._limit, Reason.TIMEOUT)
        if work.silence:
            self._silence = self._clock.callLater(work.silence, self._limit, Reason.SILENT)
        self._receiver.taskStarted(TaskStarted(0, 0.0, 0.0))

    def logged(self, level: int, text: str) -> None:
        """
        A line of the remote before the start; lines of the task afterwards.
        """
        if self._begun is None or level < 0:
            self._log.info("Task {task}: {text}", task=self._task, text=text)
            return
        data = text.encode("latin-1", "replace")
        if len(data) != _CUT or b"\n" in data:  # else the rest of the line follows
            data += b"\n"
        stream = Stream.STDOUT if level == 0 else Stream.STDERR
        self._sizes[stream] += len(data)
        if self._digests is not None:
            self._digests.add(stream, data)
        if self._silence is not None and self._silence.active():
            self._silence.reset(self._work.silence)
        if self._release is not None:
            self._release.reset(RELEASE_TIMEOUT)
        if self._work.outputLimit and sum(self._sizes.values()) > self._work.outputLimit:
            self._limit(Reason.OUTPUT_LIMIT)
        self._receiver.outputReceived(stream, data)

    def valuesReturned(self, values: Pairs) -> None:
        """
        The job returned values.
        """
        for name, value in values:
            spelling, _ = self._returned.get(name.lower(), (name, ""))
            self._returned[name.lower()] = spelling, value

    def scriptEnded(self) -> None:
        """
        It is too late for limits; but the rest must come.
        """
        self._stop()
        self._release = self._clock.callLater(RELEASE_TIMEOUT, self._notReleased)

    def stepReturned(self, result: StepResult) -> None:
        """
        The script is over.
        """
        if result.signal:
            reason = self._cause or Reason.SIGNALLED
            self._end(reason, signal=result.signal if 1 <= result.signal <= 64 else 9)
        else:
            limited = self._cause not in (None, Reason.KILLED)
            reason = self._cause if limited and self._cause else Reason.EXITED
            if 0 <= result.exitCode <= 255:
                self._end(reason, exitCode=result.exitCode)
            else:  # of another system
                note = f"the exit code is {result.exitCode}"
                self._end(reason, exitCode=result.exitCode & 0xFF or 255, note=note)

    def callFailed(self, during: str, code: str, text: str) -> None:
        """
        The remote refused: before the step nothing ran; in it, the script may
        have ended in any way.
        """
        if during == "step":
            self._stop()
            self._receiver.confirmationLost(Failure(CommandRefused(code, text)))
        else:
            self._end(self._cause or Reason.START_FAILED, note=text)

    def remoteLost(self, reason: Failure) -> None:
        """
        The connection broke.
        """
        if not self._mayRun:
            text = f"the connection broke before the job began: {reason.getErrorMessage()}"
            self._end(self._cause or Reason.NOT_STARTED, note=text)
            return
        self._stop()
        self._receiver.confirmationLost(reason)

    def connectionClosed(self) -> None:
        """
        The remote may be told to close the task.
        """
        self._stop()
        self._watcher.callerGone()

    # ---------------------------------------------------- what the receiver wants

    def pauseProducing(self) -> None:
        """
        Read nothing: the remote waits for the answer to its last log line.
        """
        if self.factory.caller is not None:
            self.factory.caller.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """
        Go on.
        """
        if self.factory.caller is not None:
            self.factory.caller.transport.resumeProducing()

    def stopProducing(self) -> None:
        """
        Give the task up.
        """
        self.abort()

    def kept(self, stdout: int, stderr: int) -> None:
        """
        The protocol knows no acknowledgement.
        """

    def writeInput(self, data: bytes) -> None:
        """
        Nothing: work with input is refused.
        """

    def endInput(self) -> None:
        """
        Nothing, as well.
        """

    def registerInputProducer(self, producer: object) -> None:
        """
        Nothing, as well.
        """

    # ---------------------------------------------------------------------- ends

    def _notReleased(self) -> None:
        self._release = None
        self.factory.abort(f"no word for {RELEASE_TIMEOUT:g} seconds after the end of the script")

    def _limit(self, reason: Reason) -> None:
        if self._cause is None:
            self.killing(reason)
            self._kill()

    def _end(
        self,
        reason: Reason,
        exitCode: int | None = None,
        signal: int | None = None,
        note: str = "",
    ) -> None:
        self._stop()
        seconds, stdoutDigest, stderrDigest = 0.0, b"", b""
        if self._begun is not None:
            seconds = self._clock.seconds() - self._begun
            if self._digests is not None:
                stdoutDigest, stderrDigest = self._digests.finished()
        kept = self._receiver.taskEnded(
            TaskEnded(
                reason,
                exitCode,
                signal,
                note=note,
                seconds=seconds,
                stdoutSize=self._sizes[Stream.STDOUT],
                stderrSize=self._sizes[Stream.STDERR],
                stdoutDigest=stdoutDigest,
                stderrDigest=stderrDigest,
                returned=tuple((n.encode(), v.encode()) for n, v in self._returned.values()),
            )
        )
        # The classic dialect has no acknowledgement that could be held back.
        if kept is not None:
            kept.addErrback(self._notKept)
        self._watcher.endAcknowledged()

    def _notKept(self, reason: Failure) -> None:
        self._log.failure("The end of task {task} was not kept", reason, task=self._task)

    def _stop(self) -> None:
        for timer in (self._wall, self._silence, self._release):
            if timer is not None and timer.active():
                timer.cancel()
        self._wall = self._silence = self._release = None
