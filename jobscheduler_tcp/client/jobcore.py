"""
What a job has in its hands, and what it does with it; when it does what stands
in L{client.job}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from secrets import token_bytes
from typing import cast
from uuid import uuid4

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobscheduler_tcp.channels import WINDOW
from jobscheduler_tcp.client import verdicts
from jobscheduler_tcp.client.callback import CallbackFactory
from jobscheduler_tcp.client.callbackmodes import BLOCKED
from jobscheduler_tcp.client.classiccommand import ClassicCommandConnection
from jobscheduler_tcp.client.classictask import ClassicListener
from jobscheduler_tcp.client.connection import CONNECT_TIMEOUT, CommandConnection
from jobscheduler_tcp.client.hearing import Hearing
from jobscheduler_tcp.client.jobinputs import JobInputs, JobListener
from jobscheduler_tcp.client.ports import CallbackPort, CallbackPorts
from jobscheduler_tcp.client.processclass import Dialect, ProcessClass
from jobscheduler_tcp.client.standing import StandingProtocol, StandingTask
from jobscheduler_tcp.client.standings import StandingConnection, Standings
from jobscheduler_tcp.client.strangers import Strangers
from jobscheduler_tcp.errors import (
    CommandRefused,
    ConnectionClosed,
    NoConfirmation,
    NotExpressible,
    NotStarted,
)
from jobscheduler_tcp.heartbeat import Heart
from jobscheduler_tcp.interfaces import IConfirmationReceiver, IStartWitness
from jobscheduler_tcp.messages import (
    Answer,
    CallbackMode,
    KillTask,
    StartTask,
    TaskEnded,
    TaskKilled,
    TaskRefused,
    TaskStarted,
    Work,
)
from jobscheduler_tcp.outcome import Outcome
from jobscheduler_tcp.proof import TOKEN_SIZE

# Seconds from leaving the queue until the start is confirmed, unless the service
# says otherwise: a remote under load needs some, a person waits no longer.
START_TIMEOUT = 60.0
SIGTERM = 15


@dataclass(frozen=True, slots=True)
class Means:
    """
    What the jobs of a service share.

    @ivar numbers: what tasks are called where a UUID is not understood.
    @ivar classic: the command connections of classic tasks that are not closed.
    @ivar standings: the confirmation connections that carry many tasks.
    """

    clock: IReactorTime
    ports: CallbackPorts
    heart: Heart
    strangers: Strangers
    startTimeout: float = START_TIMEOUT
    connectTimeout: float = CONNECT_TIMEOUT
    window: int = WINDOW
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    classic: set[ClassicCommandConnection] = field(default_factory=set)
    standings: Standings = field(init=False)

    def __post_init__(self) -> None:
        """
        Nothing stands yet.
        """
        standings = Standings(self.clock, self.ports, self.heart, self.strangers, self.window)
        object.__setattr__(self, "standings", standings)  # as a frozen dataclass does it


class JobCore:
    """
    What a job has in its hands.

    @ivar placed: whether it has a place in the process class.
    @ivar asked: whether the task was asked for.
    @ivar mode: how it shall be confirmed.
    @ivar sharedPort: the callback port, where it is not the task's own.
    @ivar answered: whether no answer to the start can tell any more that the
        task was not started.
    @ivar acknowledged: whether the end was.
    @ivar gone: whether the remote's connection is closed.
    """

    # As many attributes would take five times the memory in a dict.
    __slots__ = (
        "_blocked",
        "_hearing",
        "_inputs",
        "_onGone",
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
        "connection",
        "deadline",
        "done",
        "end",
        "gone",
        "listener",
        "means",
        "mode",
        "outcome",
        "place",
        "placed",
        "port",
        "portWait",
        "processClass",
        "sharedPort",
        "start",
        "started",
        "task",
        "token",
        "work",
    )

    _inputs: JobInputs
    _hearing: Hearing
    _log = Logger()

    def __init__(
        self,
        task: str,
        means: Means,
        processClass: ProcessClass,
        connection: CommandConnection,
        work: Work,
        *,
        done: Deferred[Outcome],
        onGone: Callable[[], None],
        deadline: float = 0.0,
    ) -> None:
        self.task = task
        self.means = means
        self.processClass = processClass
        self.connection = connection
        self.work = work
        self.deadline = deadline
        self.done = done
        self.outcome: Outcome | None = None
        self.started: Deferred[TaskStarted] | None = None
        self.place: Deferred[None] | None = None
        self.placed = False
        self.listener: JobListener | None = None
        self.token = bytes(TOKEN_SIZE)
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
        self._onGone: Callable[[], None] | None = onGone
        self._timer: IDelayedCall | None = None
        self._tried: list[CallbackMode] = []
        self._blocked: Outcome | None = None  # why the first of them did not work
        self._retried = self._retrying = False

    def enter(self, inputs: JobInputs, receiver: IConfirmationReceiver | None) -> None:
        """
        Belong to a machine.
        """
        self._inputs = inputs
        self._hearing = Hearing(inputs, receiver)
        self._witness = receiver if IStartWitness.providedBy(receiver) else None

    @property
    def pid(self) -> int:
        """
        Of the task's program, 0 if it is not known to run.
        """
        return self.start.pid if self.start is not None else 0

    def queue(self) -> None:
        """
        Wait for a place.
        """
        if self.deadline:
            self.setTimer(self.deadline)
        place = self.processClass.acquire()
        self.place = place.addCallback(self._placed).addCallback(lambda _: self._tell())
        self.place.addCallbacks(self._inputs.placed, self._notPlaced)

    def _tell(self) -> Deferred[None]:
        """
        Let it be known under which UUID the task will be asked for.
        """
        if self._witness is None:
            return succeed(None)
        leaves = self._witness.startLeaves(self.task, self.processClass.address, "")
        return leaves or succeed(None)

    def _placed(self, _: None) -> Deferred[None] | None:
        """
        Find out what the remote speaks, if nobody knows.
        """
        self.placed = True
        if self.processClass.speaks is not Dialect.AUTO:
            return None
        return self.connection.greet().addCallbacks(self._extended, self._isItClassic)

    def _extended(self, _: None) -> None:
        self.processClass.speaks = Dialect.EXTENDED

    def _isItClassic(self, reason: Failure) -> None:
        # Any answer that is not about us says that our hello is not known.
        error = reason.value
        if not isinstance(error, CommandRefused) or verdicts.isRefusal(error):
            reason.raiseException()
        if self.processClass.speaks is Dialect.AUTO:
            self.processClass.speaks = Dialect.CLASSIC
            self._log.info(
                "The remote {remote} speaks the classic dialect: {error}",
                remote=self.processClass.address,
                error=error,
            )

    def _notPlaced(self, reason: Failure) -> None:
        if not reason.check(CancelledError):
            self._inputs.notListening(reason)

    def listen(self) -> None:
        """
        Be ready to hear before we speak.
        """
        self.place = None
        if not self.deadline:
            self.setTimer(self.means.startTimeout)
        if self.processClass.speaks is Dialect.CLASSIC:
            try:
                if self.processClass.callback.pinned:
                    self._onlyOwn()
                self._onlyHere()
                factory = self._classicFactory()
            except NotExpressible as error:
                self._inputs.notListening(Failure(error))
                return
            self._acquire(factory)
        else:
            self._confirmBy(self.processClass.callback.best)

    def _onlyOwn(self) -> None:
        mode = self.processClass.callback.best
        if mode is not CallbackMode.OWN:
            raise NotExpressible(f"the callback mode {mode.value}")

    def _onlyHere(self) -> None:
        address = self.processClass.advertise
        if address:
            raise NotExpressible(f"that it shall call back at {address}")

    def _confirmBy(self, mode: CallbackMode) -> None:
        self.mode = mode
        if mode not in self._tried:
            self._tried.append(mode)
        if mode is CallbackMode.OWN:
            self._acquire(self._extendedFactory())
        else:
            self.portWait = self._standing.open().addCallbacks(self._stands, self._standsNot)

    @property
    def _standing(self) -> StandingConnection:
        return self.means.standings.of(self.processClass, self.connection, self.mode)

    def _acquire(self, factory: ServerFactory) -> None:
        self.portWait = self.means.ports.acquire(factory).addCallbacks(
            self._inputs.listening, self._inputs.notListening
        )

    def _stands(self, protocol: StandingProtocol) -> None:
        if self.mode is CallbackMode.SHARED:
            self.sharedPort = protocol.port
        self.listener = protocol.expect(self.task, self._hearing, self._inputs)
        self._inputs.listening(None)

    def _standsNot(self, reason: Failure) -> None:
        if reason.check(NoConfirmation) and self._isOpenOtherwise():
            self._inputs.blocked(verdicts.notAsked(reason))
        elif self._blocked is not None:
            first = self._blocked
            self._inputs.notListening(
                Failure(NoConfirmation(first.reason, first.text, first.errno))
            )
        else:
            self._inputs.notListening(reason)

    def _isOpenOtherwise(self) -> bool:
        return self.processClass.callback.after(self._tried) is not None

    def tryOtherwise(self, outcome: Outcome) -> None:
        """
        Nothing ran: ask for the task in another way. It has another UUID then,
        for the remote remembers what it refused.
        """
        self._blocked = self._blocked or outcome
        listener, self.listener = self.listener, None
        if isinstance(listener, (CallbackFactory, StandingTask)):
            listener.dismiss()
        if self.port is not None:
            self.port.release()
            self.port = None
        self.sharedPort = 0
        self.answer = None
        self.asked = self.answered = False
        self.task = str(uuid4())
        mode = self.mode
        if not self._retrying:
            mode = self.processClass.callback.after(self._tried) or mode
        self._retrying = False
        self._log.debug(
            "The task is called {task} from now on, callback mode {mode}: {outcome}",
            task=self.task,
            mode=mode.value,
            outcome=verdicts.told(outcome),
        )
        self.portWait = self._tell()
        self.portWait.addCallbacks(lambda _: self._confirmBy(mode), self._inputs.notListening)

    def _extendedFactory(self) -> ServerFactory:
        means = self.means
        self.token = token_bytes(TOKEN_SIZE)
        self.listener = factory = CallbackFactory(
            self.task,
            self.token,
            self._hearing,
            means.heart,
            means.clock,
            window=means.window,
            watcher=self._inputs,
            log=means.strangers,
        )
        return factory

    def _classicFactory(self) -> ServerFactory:
        means = self.means
        remote = self.processClass
        listener = ClassicListener(
            self.task,
            self.work,
            number=next(means.numbers),
            clock=means.clock,
            receiver=self._hearing,
            watcher=self._inputs,
            isRemote=lambda host: self.classic is not None and self.classic.isRemote(host),
            kill=self.killOrHangUp,
            stranger=lambda host: means.strangers.add(host, self.task, "it is not the remote"),
        )
        self.listener = listener
        self.classic = ClassicCommandConnection(
            remote.endpoint, means.clock, remote.address, means.connectTimeout, means.classic
        )
        return listener.factory

    def ask(self, port: CallbackPort | None) -> None:
        """
        Speak.
        """
        self.port = port
        self.asked = True
        if port is not None:
            self._log.info(
                "Task {task} is asked for at {remote}, callback port {port}",
                task=self.task,
                remote=self.processClass.address,
                port=port.number,
            )
            start = StartTask(
                *(0, self.task, port.number, self.token, self.work),
                host=self.processClass.advertise,
            )
        else:
            self._log.info(
                "Task {task} is asked for at {remote}, callback mode {mode}",
                task=self.task,
                remote=self.processClass.address,
                mode=self.mode.value,
            )
            assert isinstance(self.listener, StandingTask)
            subject = self.listener.subject
            start = StartTask(0, self.task, 0, b"", self.work, self.mode, connection=subject)
            # The remote is known: from now on the task may run.
            self._inputs.callerClaims()
        self.answer = self._requests.request(start)
        self.answer.addCallbacks(self._answered, self._notAnswered)

    @property
    def _requests(self) -> CommandConnection | ClassicCommandConnection:
        return self.connection if self.classic is None else self.classic

    def _answered(self, answer: Answer) -> None:
        if not isinstance(answer, TaskRefused):
            self._inputs.taken()
            return
        outcome = verdicts.refused(answer)
        if outcome.reason in BLOCKED and self._mayTryAgain():
            self._inputs.blocked(outcome)
        else:
            self._inputs.refused(outcome)

    def _mayTryAgain(self) -> bool:
        listener = self.listener
        if self.classic is not None or (listener is not None and listener.proven is not None):
            return False
        if isinstance(listener, StandingTask) and not self._retried:
            # The remote has lost the connection, which we shall notice soon.
            self._retried = self._retrying = True
            self._standing.discard(listener.subject)
            return True
        return self._isOpenOtherwise()

    def _notAnswered(self, reason: Failure) -> None:
        outcome = verdicts.notAsked(reason)
        if isinstance(self.listener, StandingTask) and verdicts.isRefused(reason):
            self._inputs.refused(outcome)
        else:
            self._inputs.unanswered(outcome)

    def despair(self) -> None:
        """
        Give up if nobody is left who could tell what became of the task.
        """
        listener = self.listener
        assert listener is not None
        if self.answered and listener.proven is None and not listener.claims:
            self._inputs.hopeless(verdicts.LOST_BEFORE_START)

    def confirmed(self, message: TaskStarted) -> None:
        """
        The program runs: the answer to the start is no news any more.
        """
        self.start = message
        if self.classic is None:
            remote = self.processClass.address
            self.processClass.callback.works(self.mode, remote, self._blocked)
        self.stopTimer()
        self.withdraw()
        self._log.info(
            "Task {task} runs at {remote}, pid {pid}",
            task=self.task,
            remote=self.processClass.address,
            pid=message.pid,
        )
        if self.started is not None:
            self.started.callback(message)

    def requestKill(self, signal: int, grace: float, result: Deferred[TaskKilled]) -> None:
        """
        Have the remote kill the task.
        """
        if isinstance(self.listener, ClassicListener):
            self.listener.killing()
        killed = self._requests.request(KillTask(0, self.task, signal, grace))
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
        self._log.warn(
            "Task {task} cannot be killed, its connection is dropped: {error}",
            task=self.task,
            error=reason.getErrorMessage(),
        )
        self.hangUp()

    def setTimer(self, seconds: float) -> None:
        """
        Be overdue then.
        """
        self.stopTimer()
        self._timer = self.means.clock.callLater(seconds, self._overdue)

    def stopTimer(self) -> None:
        """
        Not be overdue any more.
        """
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _overdue(self) -> None:
        self._timer = None
        self._inputs.overdue()

    def withdraw(self) -> None:
        """
        Need no answer any more.
        """
        if self.answer is not None:
            self._requests.withdraw(self.answer)
            self.answer = None

    def finish(self, outcome: Outcome) -> None:
        """
        Give everything back, and tell.
        """
        self.outcome = outcome
        self.stopTimer()
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
        if self.listener is None or self.listener.proven is None or self.gone:
            self.close()
        if self.placed:
            self.processClass.release()
        if self._witness is not None and not outcome.reason.mayHaveRun:
            self._witness.startReturned(self.task)
        self._hearing.lastWord(Failure(ConnectionClosed(str(outcome.reason))))
        if self.started is not None and self.start is None:
            self.started.errback(NotStarted(outcome.reason, outcome.text))
        if not self.done.called:  # by who cancelled it, and knows
            self.done.callback(outcome)

    def close(self) -> None:
        """
        Give the port back: nobody is connected to it any more.
        """
        if self.port is not None:
            self.port.release()
        if self.classic is not None:
            self.classic.close()
        onGone, self._onGone = self._onGone, None
        if onGone is not None:
            onGone()
