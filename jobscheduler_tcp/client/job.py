"""
One job's life, from the queue to its outcome.

The states are those of the diagram. What the client itself knows decides what
became of a task when the remote does not say it: the program runs only after a
caller was shown our proof (L{client.callback}). Before that, a job that fails
was not started; afterwards it may have run, and is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from automat import TypeMachineBuilder
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import ITransport
from twisted.python.failure import Failure

from jobscheduler_tcp.client import verdicts
from jobscheduler_tcp.client.connection import CommandConnection
from jobscheduler_tcp.client.jobcore import JobCore
from jobscheduler_tcp.client.jobhands import SIGTERM
from jobscheduler_tcp.client.jobinputs import JobInputs
from jobscheduler_tcp.client.means import Means
from jobscheduler_tcp.client.ports import CallbackPort
from jobscheduler_tcp.client.processclass import ProcessClass
from jobscheduler_tcp.client.taskkey import Lasting, TaskKey, newTask
from jobscheduler_tcp.config.settings import endpoint
from jobscheduler_tcp.errors import NotStarted
from jobscheduler_tcp.interfaces import IConfirmationReceiver
from jobscheduler_tcp.machines import indexed
from jobscheduler_tcp.messages import CallbackMode, TaskEnded, TaskKilled, TaskStarted, Work
from jobscheduler_tcp.outcome import Outcome, Reason

_builder = TypeMachineBuilder(JobInputs, JobCore)

_queued = _builder.state("Queued")
_waitingForPort = _builder.state("Waiting for a callback port")
_waitingForResponse = _builder.state("Waiting for response")
# A caller was shown our proof: from here on the task may run.
_waitingForStart = _builder.state("Waiting for start of task")
# The caller is gone: only the answer to the start can tell that nothing ran.
_waitingForAnswer = _builder.state("Waiting for answer")
_waitingForEnd = _builder.state("Waiting for end of task")
_acknowledging = _builder.state("Acknowledging end of task")
# Its connection broke, or it was asked for in another life: the remote can tell.
_comingBack = _builder.state("Coming back to the task")
_over = _builder.state("Over")

# ------------------------------------------------------- before the task may run


@_queued.upon(JobInputs.begin).loop()
def _queue(inputs: JobInputs, core: JobCore) -> None:
    core.queue()


@_queued.upon(JobInputs.placed).to(_waitingForPort)
def _listen(inputs: JobInputs, core: JobCore, _: None) -> None:
    core.listen()


@_waitingForPort.upon(JobInputs.listening).to(_waitingForResponse)
def _ask(inputs: JobInputs, core: JobCore, port: CallbackPort | None) -> None:
    core.ask(port)


@_waitingForPort.upon(JobInputs.blocked).loop()
@_waitingForResponse.upon(JobInputs.blocked).to(_waitingForPort)
@_waitingForStart.upon(JobInputs.blocked).to(_waitingForPort)
@_waitingForAnswer.upon(JobInputs.blocked).to(_waitingForPort)
def _blocked(inputs: JobInputs, core: JobCore, outcome: Outcome) -> None:
    core.tryOtherwise(outcome)


@_queued.upon(JobInputs.notListening).to(_over)
@_waitingForPort.upon(JobInputs.notListening).to(_over)
def _notListening(inputs: JobInputs, core: JobCore, reason: Failure) -> None:
    core.finish(verdicts.notAsked(reason))


@_queued.upon(JobInputs.overdue).to(_over)
def _overdueInQueue(inputs: JobInputs, core: JobCore) -> None:
    core.finish(Outcome(Reason.NOT_STARTED, "its turn did not come before the deadline"))


@_waitingForPort.upon(JobInputs.overdue).to(_over)
def _overdueWithoutPort(inputs: JobInputs, core: JobCore) -> None:
    ports = core.means.ports
    text = f"no callback port from {ports.first} to {ports.last} was free"
    if core.mode is not CallbackMode.OWN:
        text = "the standing confirmation connection did not come about in time"
    core.finish(Outcome(Reason.NOT_STARTED, text))


@_waitingForResponse.upon(JobInputs.overdue).to(_over)
def _overdueWithoutCaller(inputs: JobInputs, core: JobCore) -> None:
    if core.answered:
        core.finish(Outcome(Reason.CALLBACK_TIMEOUT, "the remote did not call back"))
    else:
        core.finish(Outcome(Reason.NOT_STARTED, "the remote did not answer in time"))


@_waitingForResponse.upon(JobInputs.taken).loop()
def _taken(inputs: JobInputs, core: JobCore) -> None:
    core.answered = True


@_waitingForResponse.upon(JobInputs.refused).to(_over)
@_waitingForResponse.upon(JobInputs.unanswered).to(_over)
@_waitingForStart.upon(JobInputs.refused).to(_over)
@_waitingForAnswer.upon(JobInputs.refused).to(_over)
def _refused(inputs: JobInputs, core: JobCore, outcome: Outcome) -> None:
    core.finish(outcome)


@_queued.upon(JobInputs.cancel).to(_over)
@_queued.upon(JobInputs.abandon).to(_over)
@_waitingForPort.upon(JobInputs.cancel).to(_over)
@_waitingForPort.upon(JobInputs.abandon).to(_over)
@_waitingForResponse.upon(JobInputs.cancel).to(_over)
@_waitingForResponse.upon(JobInputs.abandon).to(_over)
def _cancel(inputs: JobInputs, core: JobCore) -> None:
    core.finish(Outcome(Reason.CANCELLED))


@_queued.upon(JobInputs.kill).to(_over)
@_waitingForPort.upon(JobInputs.kill).to(_over)
@_waitingForResponse.upon(JobInputs.kill).to(_over)
def _killNothing(
    inputs: JobInputs, core: JobCore, signal: int, grace: float, result: Deferred[TaskKilled]
) -> None:
    core.finish(Outcome(Reason.CANCELLED))
    result.callback(TaskKilled(0, core.task))


# ------------------------------------------------------------ the task may run


@_waitingForResponse.upon(JobInputs.callerClaims).to(_waitingForStart)
def _claimed(inputs: JobInputs, core: JobCore) -> None:
    core.mayRun()


@_waitingForStart.upon(JobInputs.callerProven).loop()
def _proven(inputs: JobInputs, core: JobCore) -> None:
    assert core.port is not None
    core.port.stopListening()


@_waitingForStart.upon(JobInputs.claimLost).loop()
def _claimLost(inputs: JobInputs, core: JobCore) -> None:
    core.despair()


@_waitingForStart.upon(JobInputs.taken).loop()
def _takenFromCaller(inputs: JobInputs, core: JobCore) -> None:
    core.answered = True
    core.despair()


@_waitingForStart.upon(JobInputs.unanswered).loop()
def _unanswered(inputs: JobInputs, core: JobCore, outcome: Outcome) -> None:
    core.answered = True
    core.despair()


@_waitingForStart.upon(JobInputs.started).to(_waitingForEnd)
def _started(inputs: JobInputs, core: JobCore, message: TaskStarted) -> None:
    core.confirmed(message)


@_waitingForStart.upon(JobInputs.ended).to(_acknowledging)
@_waitingForEnd.upon(JobInputs.ended).to(_acknowledging)
def _ended(inputs: JobInputs, core: JobCore, message: TaskEnded) -> None:
    core.end = message
    core.stopTimer()
    core.withdraw()


@_waitingForStart.upon(JobInputs.lost).to(_waitingForAnswer)
def _lostBeforeStart(inputs: JobInputs, core: JobCore, reason: Failure) -> None:
    verdict = verdicts.lost(reason)
    if core.answered or verdict.reason is Reason.PROTOCOL_ERROR:
        inputs.hopeless(verdict)


@_waitingForEnd.upon(JobInputs.lost).to(_comingBack)
def _lost(inputs: JobInputs, core: JobCore, reason: Failure) -> None:
    core.comeBack(verdicts.lost(reason, core.pid))


@_waitingForStart.upon(JobInputs.hopeless).to(_comingBack)
@_waitingForAnswer.upon(JobInputs.hopeless).to(_comingBack)
def _hopeless(inputs: JobInputs, core: JobCore, outcome: Outcome) -> None:
    core.comeBack(outcome)


@_waitingForAnswer.upon(JobInputs.taken).to(_comingBack)
@_waitingForAnswer.upon(JobInputs.overdue).to(_comingBack)
def _lostAfterCall(inputs: JobInputs, core: JobCore) -> None:
    core.comeBack(verdicts.LOST_BEFORE_START)


@_waitingForAnswer.upon(JobInputs.unanswered).to(_comingBack)
def _lostWithoutAnswer(inputs: JobInputs, core: JobCore, outcome: Outcome) -> None:
    core.comeBack(verdicts.LOST_BEFORE_START)


@_waitingForStart.upon(JobInputs.overdue).to(_over)
def _overdueAfterCall(inputs: JobInputs, core: JobCore) -> None:
    core.giveUp()
    core.finish(Outcome(Reason.LOST, "the start was not confirmed in time"))


@_waitingForStart.upon(JobInputs.kill).loop()
@_waitingForAnswer.upon(JobInputs.kill).loop()
@_waitingForEnd.upon(JobInputs.kill).loop()
@_acknowledging.upon(JobInputs.kill).loop()
@_comingBack.upon(JobInputs.kill).loop()
def _kill(
    inputs: JobInputs, core: JobCore, signal: int, grace: float, result: Deferred[TaskKilled]
) -> None:
    core.requestKill(signal, grace, result)


@_waitingForStart.upon(JobInputs.cancel).loop()
@_waitingForEnd.upon(JobInputs.cancel).loop()
@_comingBack.upon(JobInputs.cancel).loop()
def _cancelTask(inputs: JobInputs, core: JobCore) -> None:
    core.killOrHangUp()


@_waitingForStart.upon(JobInputs.abandon).to(_over)
@_waitingForAnswer.upon(JobInputs.abandon).to(_over)
@_waitingForEnd.upon(JobInputs.abandon).to(_over)
@_acknowledging.upon(JobInputs.abandon).to(_over)
@_comingBack.upon(JobInputs.abandon).to(_over)
def _abandon(inputs: JobInputs, core: JobCore) -> None:
    core.finish(Outcome(Reason.LOST, "the client stopped before its end", pid=core.pid))


@_acknowledging.upon(JobInputs.endAcknowledged).to(_over)
def _acknowledged(inputs: JobInputs, core: JobCore) -> None:
    core.acknowledged = True
    assert core.end is not None
    core.finish(verdicts.ended(core.end, core.pid))


@_acknowledging.upon(JobInputs.callerGone).to(_comingBack)
def _notAcknowledged(inputs: JobInputs, core: JobCore) -> None:
    core.gone = True
    text = "the connection broke before the end could be acknowledged"
    core.comeBack(Outcome(Reason.LOST, text, pid=core.pid))


@_waitingForAnswer.upon(JobInputs.callerGone).loop()
@_comingBack.upon(JobInputs.callerGone).loop()
def _gone(inputs: JobInputs, core: JobCore) -> None:
    core.gone = True


# ----------------------------------------------------------------- coming back


@_queued.upon(JobInputs.comeBack).to(_comingBack)
def _resume(inputs: JobInputs, core: JobCore, stdout: int, stderr: int) -> None:
    core.resume(stdout, stderr)


@_comingBack.upon(JobInputs.returned).to(_waitingForStart)
def _returned(inputs: JobInputs, core: JobCore) -> None:
    core.awaitStart()


@_comingBack.upon(JobInputs.returnedRunning).to(_waitingForEnd)
@_comingBack.upon(JobInputs.returnedEnded).to(_acknowledging)
def _returnedLater(inputs: JobInputs, core: JobCore) -> None:
    """
    What the remote has to tell follows.
    """


@_comingBack.upon(JobInputs.hopeless).to(_over)
def _neverBack(inputs: JobInputs, core: JobCore, outcome: Outcome) -> None:
    core.finish(outcome)


# ------------------------------------------------------------------ afterwards


@_over.upon(JobInputs.callerGone).loop()
def _close(inputs: JobInputs, core: JobCore) -> None:
    core.close()
    core.part()


@_over.upon(JobInputs.kill).loop()
def _killLate(
    inputs: JobInputs, core: JobCore, signal: int, grace: float, result: Deferred[TaskKilled]
) -> None:
    result.callback(TaskKilled(0, core.task))


@_over.upon(JobInputs.abandon).loop()
def _hangUp(inputs: JobInputs, core: JobCore) -> None:
    core.hangUp()


# What means nothing now.

_waitingForStart.upon(JobInputs.callerClaims).loop().returns(None)
_waitingForAnswer.upon(JobInputs.cancel).loop().returns(None)
_acknowledging.upon(JobInputs.cancel).loop().returns(None)
_comingBack.upon(JobInputs.lost).loop().returns(None)
_over.upon(JobInputs.cancel).loop().returns(None)
_over.upon(JobInputs.notListening).loop().returns(None)
_over.upon(JobInputs.claimLost).loop().returns(None)
_over.upon(JobInputs.lost).loop().returns(None)
_over.upon(JobInputs.ended).loop().returns(None)
_over.upon(JobInputs.endAcknowledged).loop().returns(None)

_Machine = indexed(_builder.build())


class RunningJob:
    """
    A job, as the application sees it.

    """

    __slots__ = ("_core", "_inputs", "_onGone")

    def __init__(
        self,
        means: Means,
        processClass: ProcessClass,
        connection: CommandConnection,
        work: Work,
        *,
        receiver: IConfirmationReceiver | None = None,
        deadline: float = 0.0,
        lasting: Lasting | None = None,
        sha256: bool = True,
        onGone: Callable[[RunningJob], None] = lambda job: None,
    ) -> None:
        """
        @param receiver: hears of the task.
        @param deadline: seconds until its start must be confirmed, the queue
            included; 0 if it may wait there for ever.
        @param lasting: what the remote shall do with the task when we are gone; by
            default, what the service says.
        @param sha256: whether its outcome shall have that of the output.
        @param onGone: called when it is over and has given back all that it
            used.
        """
        self._onGone = onGone
        self._core = JobCore(
            newTask(),
            means,
            processClass,
            connection,
            work,
            owner=self,
            deadline=deadline,
            lasting=lasting,
            sha256=sha256,
        )
        self._inputs = _Machine(self._core)
        self._core.enter(self._inputs, receiver)

    @property
    def work(self) -> Work:
        """
        What it runs.
        """
        return self._core.work

    @property
    def processClass(self) -> ProcessClass:
        """
        Where it runs.
        """
        return self._core.processClass

    @property
    def done(self) -> Deferred[Outcome]:
        """
        Fires once, with the outcome. It never fails, unless it is cancelled, which
        cancels the job.
        """
        core = self._core
        if core.done is None:
            # Who watches a task by its receiver never asks, and it weighs 0.3 KB.
            over = core.outcome
            core.done = Deferred(self._cancelled) if over is None else succeed(over)
        return core.done

    @property
    def task(self) -> str:
        """
        The UUID of its task. It changes when the remote could not call back, and
        the task is asked for in another callback mode.
        """
        return self._core.task

    @property
    def outcome(self) -> Outcome | None:
        """
        How it came out, C{None} while it is not over.
        """
        return self._core.outcome

    @property
    def started(self) -> Deferred[TaskStarted]:
        """
        Fires when the program runs; fails with L{NotStarted} if the job ends
        without.
        """
        core = self._core
        if core.started is None:
            if core.start is not None:
                core.started = succeed(core.start)
            elif core.outcome is not None:
                core.started = fail(NotStarted(core.outcome.reason, core.outcome.text))
            else:
                core.started = Deferred()
        return core.started

    @property
    def position(self) -> int:
        """
        Its place in the queue of its process class, 1 for the next one; 0 when
        it has left the queue.
        """
        place = self._core.place
        return self.processClass.position(place) if place is not None else 0

    @property
    def port(self) -> int:
        """
        Its callback port, which others may share; 0 while it has none.
        """
        core = self._core
        return core.port.number if core.port is not None else core.sharedPort

    @property
    def peer(self) -> str:
        """
        The remote's end of the confirmation connection, as C{HOST:PORT}; empty
        while there is none.
        """
        core = self._core
        caller = None if core.listener is None or core.gone else core.listener.proven
        if caller is None:
            return ""
        address = cast("ITransport", getattr(caller, "transport", None)).getPeer()
        return endpoint(getattr(address, "host", ""), getattr(address, "port", 0))

    @property
    def pid(self) -> int:
        """
        Of the task's program at the remote, 0 if it is not known to run.
        """
        return self._core.pid

    @property
    def state(self) -> str:
        """
        Where it stands, in the words of the diagram.
        """
        core = self._core
        if core.outcome is not None:
            return "over"
        if core.comingBack is not None:
            return "coming back to the task"
        if core.start is not None:
            return "waiting for end of task"
        if core.asked:
            return "waiting for response"
        return "waiting for a callback port" if core.placed else "waiting for a process"

    def begin(self) -> None:
        """
        Queue up. The service does it.
        """
        self._inputs.begin()

    @property
    def isHeld(self) -> bool:
        """
        Whether the remote holds its task for a client that comes back.
        """
        core = self._core
        return core.key is not None and core.asked and core.outcome is None

    def comeBack(self, task: str, key: TaskKey | None, stdout: int, stderr: int) -> None:
        """
        Go on with a task of another life, instead of C{begin}. The service does
        it.

        @param task: its UUID.
        @param key: what its remote wants to know, C{None} where it cannot be had.
        @param stdout: how many bytes of its stdout are there.
        """
        self._core.task, self._core.key = task, key
        self._inputs.comeBack(stdout, stderr)

    def kill(self, signal: int = SIGTERM, grace: float = 5.0) -> Deferred[TaskKilled]:
        """
        End the task and all its descendants. A job whose task cannot have
        started yet is cancelled.

        @param grace: seconds until SIGKILL for those that are left.
        @return: what died and what survived; fails if the remote cannot be
            asked.
        """
        result: Deferred[TaskKilled] = Deferred()
        self._inputs.kill(signal, grace, result)
        return result

    def cancel(self) -> None:
        """
        Let the job not run; if its task may have started, kill it.
        """
        self._inputs.cancel()

    def abandon(self) -> None:
        """
        Have nothing to do with it any more, at once: a task that runs is killed
        by the remote, which finds its connection broken.
        """
        self._inputs.abandon()

    def gone(self) -> None:
        """
        It is over, and has given back all that it used. Its core tells.
        """
        self._onGone(self)

    def _cancelled(self, done: Deferred[Outcome]) -> None:
        self.cancel()
