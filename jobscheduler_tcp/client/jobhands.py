"""
What a job has in its hands, how it comes back for its task, and how it gives
everything back.
"""

from __future__ import annotations

from typing import Protocol as TypingProtocol
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from jobscheduler_tcp.client import verdicts
from jobscheduler_tcp.client.callback import CallbackFactory
from jobscheduler_tcp.client.classiccommand import ClassicCommandConnection
from jobscheduler_tcp.client.classictask import ClassicListener
from jobscheduler_tcp.client.comingback import ComingBack
from jobscheduler_tcp.client.connection import CommandConnection
from jobscheduler_tcp.client.hearing import Hearing
from jobscheduler_tcp.client.jobinputs import JobInputs, JobListener
from jobscheduler_tcp.client.means import Means
from jobscheduler_tcp.client.ports import CallbackPort
from jobscheduler_tcp.client.processclass import ProcessClass
from jobscheduler_tcp.client.standing import StandingTask
from jobscheduler_tcp.client.taskchannel import TaskChannel
from jobscheduler_tcp.client.taskkey import Lasting, TaskKey
from jobscheduler_tcp.deadlines import Deadlines
from jobscheduler_tcp.errors import (
    NotStarted,
)
from jobscheduler_tcp.interfaces import IConfirmationReceiver, IStartWitness
from jobscheduler_tcp.logger import TaskLogger
from jobscheduler_tcp.messages import (
    Answer,
    CallbackMode,
    KillTask,
    TaskEnded,
    TaskKilled,
    TaskStarted,
    Work,
)
from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.proof import TOKEN_SIZE

SIGTERM = 15


# The token of a task that needs none, or none any more: one for all.
NO_TOKEN = bytes(TOKEN_SIZE)


class JobOwner(TypingProtocol):
    """
    Whose hands they are.
    """

    def gone(self) -> None:
        """
        They are empty.
        """


class JobHands:
    """
    What a job has in its hands.

    @ivar done: fires with the outcome, C{None} if nobody asked for it.
    @ivar placed: whether it has a place in the process class.
    @ivar asked: whether the task was asked for.
    @ivar mode: how it shall be confirmed.
    @ivar sharedPort: the callback port, where it is not the task's own.
    @ivar answered: whether no answer to the start can tell any more that the
        task was not started.
    @ivar acknowledged: whether the end was.
    @ivar gone: whether the remote's connection is closed.
    @ivar lasting: what the remote does with the task when we are gone.
    @ivar sha256: whether the outcome shall have that of the output.
    @ivar key: what it takes to come back, C{None} where nobody can.
    @ivar comingBack: the attempts to do so, C{None} while there are none.
    @ivar givenUp: whether nobody wants the task any more.
    """

    # As many attributes would take five times the memory in a dict.
    __slots__ = (
        "_blocked",
        "_owner",
        "_parted",
        "_retried",
        "_retrying",
        "_timer",
        "_tried",
        "_witness",
        "acknowledged",
        "answer",
        "answered",
        "asked",
        "classic",
        "comingBack",
        "connection",
        "deadline",
        "done",
        "end",
        "givenUp",
        "gone",
        "hearing",
        "inputs",
        "key",
        "lasting",
        "listener",
        "means",
        "mode",
        "outcome",
        "place",
        "placed",
        "port",
        "portWait",
        "processClass",
        "sha256",
        "sharedPort",
        "start",
        "started",
        "task",
        "token",
        "work",
    )

    inputs: JobInputs
    hearing: Hearing
    _log = TaskLogger()

    def __init__(
        self,
        task: str,
        means: Means,
        processClass: ProcessClass,
        connection: CommandConnection,
        work: Work,
        *,
        owner: JobOwner,
        deadline: float = 0.0,
        lasting: Lasting | None = None,
        sha256: bool = True,
    ) -> None:
        self.task = task
        self.means = means
        self.processClass = processClass
        self.connection = connection
        self.work = work
        self.deadline = deadline
        self.done: Deferred[Outcome] | None = None
        self.outcome: Outcome | None = None
        self.started: Deferred[TaskStarted] | None = None
        self.place: Deferred[None] | None = None
        self.placed = False
        self.listener: JobListener | None = None
        self.token = NO_TOKEN
        self.classic: ClassicCommandConnection | None = None
        self.portWait: Deferred[None] | None = None
        self.port: CallbackPort | None = None
        self.answer: Deferred[Answer] | None = None
        self.asked = False
        self.answered = False
        self.mode = CallbackMode.OWN
        self.sharedPort = 0
        self.start: TaskStarted | None = None
        self.end: TaskEnded | None = None
        self.acknowledged = False
        self.gone = False
        self.lasting = means.lasting if lasting is None else lasting
        self.sha256 = sha256
        self.key: TaskKey | None = None
        self.comingBack: ComingBack | None = None
        self.givenUp = False
        self._owner: JobOwner | None = owner
        self._timer: IDelayedCall | Deadlines | None = None
        self._tried: tuple[CallbackMode, ...] = ()
        self._blocked: Outcome | None = None  # why the first of them did not work
        self._retried = self._retrying = self._parted = False

    def enter(self, inputs: JobInputs, receiver: IConfirmationReceiver | None) -> None:
        """
        Belong to a machine.
        """
        self.inputs = inputs
        self.hearing = Hearing(inputs, receiver)
        self._witness = receiver if IStartWitness.providedBy(receiver) else None

    @property
    def pid(self) -> int:
        """
        Of the task's program, 0 if it is not known to run.
        """
        return self.start.pid if self.start is not None else 0

    @property
    def requests(self) -> CommandConnection | ClassicCommandConnection:
        """
        Where the remote of the task is asked.
        """
        return self.connection if self.classic is None else self.classic

    # ------------------------------------------------------- after a connection broke

    def comeBack(self, verdict: Outcome) -> None:
        """
        Have the task confirmed on another connection.

        @param verdict: how it comes out if that is not possible.
        """
        listener = self.listener
        channel = None
        if isinstance(listener, (CallbackFactory, StandingTask)):
            channel = listener.channel
        unwanted = self.givenUp or (channel is not None and channel.givenUp)
        if self.key is None or unwanted or verdict.reason is not Reason.LOST:
            self.giveUp()
            self.inputs.hopeless(verdict)
            return
        self._return(channel or TaskChannel(self.task, self.hearing, lasting=True), verdict)

    def resume(self, stdout: int, stderr: int) -> None:
        """
        Come back for a task of another life, of which so much output is there.
        """
        if self.key is None:
            self.inputs.hopeless(Outcome(Reason.LOST, "no remote holds the task for this client"))
            return
        text = "the remote that has the task could not be reached"
        channel = TaskChannel(self.task, self.hearing, lasting=True, stdout=stdout, stderr=stderr)
        self.processClass.occupy()
        self.placed = self.asked = True
        self.mode = self.processClass.callback.best
        self.hearing.lasting = True
        self._return(channel, Outcome(Reason.LOST, text))

    def _return(self, channel: TaskChannel, verdict: Outcome) -> None:
        assert self.key is not None
        self.stopTimer()
        self.withdraw()
        seconds = self.lasting.seconds
        self.comingBack = ComingBack(self, self.key, channel, verdict, seconds)
        self.comingBack.begin()

    def cameBack(self) -> None:
        """
        The task is confirmed again: it stands where it stood.
        """
        self.comingBack = None
        self.gone = False
        if self.end is not None:
            self.inputs.returnedEnded()
        elif self.start is not None:
            self.inputs.returnedRunning()
        else:
            self.inputs.returned()

    def awaitStart(self) -> None:
        """
        The remote will tell of the start, or of the end.
        """
        self.answered = True
        self.setStartTimer()

    def giveUp(self) -> None:
        """
        Have the remote kill a task that it would hold for us, if it can be told.
        """
        if self.key is not None and self.asked:
            killed: Deferred[TaskKilled] = Deferred()
            killed.addErrback(lambda _: None)
            self.requestKill(SIGTERM, self.work.grace, killed)

    def requestKill(self, signal: int, grace: float, result: Deferred[TaskKilled]) -> None:
        """
        Have the remote kill the task.
        """
        if isinstance(self.listener, ClassicListener):
            self.listener.killing()
        killed = self.requests.request(KillTask(0, self.task, signal, grace))
        # The connection lets no other answer through.
        cast("Deferred[TaskKilled]", killed).addCallbacks(result.callback, result.errback)

    def killOrHangUp(self) -> None:
        """
        End the task by whatever way is left: the remote kills it, too, when its
        connection breaks.
        """
        result: Deferred[TaskKilled] = Deferred()
        result.addErrback(self._notKilled)
        self.requestKill(SIGTERM, self.work.grace, result)

    def hangUp(self) -> None:
        """
        Drop whoever is connected.
        """
        if self.listener is not None:
            self.listener.abort()

    def _notKilled(self, reason: Failure) -> None:
        if self.outcome is not None:
            return  # it was over before the answer came
        self._log.warn(
            "Task {task} cannot be killed, its connection is dropped: {error}",
            task=self.task,
            error=reason.getErrorMessage(),
        )
        self.givenUp = True
        if self.comingBack is not None:
            text = f"it could not be killed: {reason.getErrorMessage()}"
            self.inputs.hopeless(Outcome(Reason.LOST, text, pid=self.pid))
        else:
            self.hangUp()

    def setTimer(self, seconds: float) -> None:
        """
        Be overdue then.
        """
        self.stopTimer()
        self._timer = self.means.clock.callLater(seconds, self.overdue)

    def setStartTimer(self) -> None:
        """
        Be overdue when a start has to be confirmed.
        """
        self.stopTimer()
        self._timer = self.means.starting
        self._timer.add(self)

    def stopTimer(self) -> None:
        """
        Not be overdue any more.
        """
        timer, self._timer = self._timer, None
        if isinstance(timer, Deadlines):
            timer.remove(self)
        elif timer is not None:
            timer.cancel()

    def overdue(self) -> None:
        """
        The time is over.
        """
        self._timer = None
        self.inputs.overdue()

    def withdraw(self) -> None:
        """
        Need no answer any more.
        """
        if self.answer is not None:
            self.requests.withdraw(self.answer)
            self.answer = None

    def finish(self, outcome: Outcome) -> None:
        """
        Give everything back, and tell.
        """
        self.outcome = outcome
        if self._timer is not None:
            self.stopTimer()
        comingBack, self.comingBack = self.comingBack, None
        if comingBack is not None:
            comingBack.stop()
        if self.answer is not None:
            self.withdraw()
        for waiting in (self.place, self.portWait):
            if waiting is not None:
                waiting.cancel()
        if not self.acknowledged:
            self.hangUp()
        self._log.info(
            "Task {task} is over: {ending}",
            task=self.task,
            ending=verdicts.told(outcome),
            outcome=outcome,
        )
        isGone = self.listener is None or self.listener.proven is None or self.gone
        if isGone:
            self.close()
        if self.placed:
            self.processClass.release()
        if self._witness is not None and not outcome.reason.mayHaveRun:
            self._witness.startReturned(self.task)
        self.hearing.isOver(str(outcome.reason))
        if self.started is not None and self.start is None:
            self.started.errback(NotStarted(outcome.reason, outcome.text))
        if self.done is not None and not self.done.called:  # by who cancelled it, and knows
            self.done.callback(outcome)
        if isGone:
            self.part()

    def close(self) -> None:
        """
        Give the port back: nobody is connected to it any more.
        """
        if self.port is not None:
            self.port.release()
        if self.classic is not None:
            self.classic.close()
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.gone()

    def part(self) -> None:
        """
        Nothing more will be heard: forget who knows us. The garbage collector
        would find that in the end, and take a tenth of the client's time for it.
        """
        if not self._parted:
            self._parted = True
            self.listener = None
            if self.port is not None:
                self.sharedPort, self.port = self.port.number, None
            del self.inputs, self.hearing
