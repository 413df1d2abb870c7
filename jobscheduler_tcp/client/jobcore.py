"""
What a job has in its hands, and what it does with it; when it does what stands
in L{client.job}.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from secrets import token_bytes
from typing import cast
from uuid import uuid4

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobscheduler_tcp.client import verdicts
from jobscheduler_tcp.client.callback import CallbackFactory
from jobscheduler_tcp.client.callbackmodes import BLOCKED
from jobscheduler_tcp.client.classiccommand import ClassicCommandConnection
from jobscheduler_tcp.client.classictask import ClassicListener
from jobscheduler_tcp.client.comingback import ComingBack
from jobscheduler_tcp.client.connection import ATTACH, CommandConnection
from jobscheduler_tcp.client.hearing import Hearing
from jobscheduler_tcp.client.jobinputs import JobInputs, JobListener
from jobscheduler_tcp.client.means import Means
from jobscheduler_tcp.client.ports import CallbackPort
from jobscheduler_tcp.client.processclass import Dialect, ProcessClass
from jobscheduler_tcp.client.standing import StandingProtocol, StandingTask
from jobscheduler_tcp.client.standings import StandingConnection
from jobscheduler_tcp.client.taskchannel import TaskChannel
from jobscheduler_tcp.client.taskkey import Lasting, TaskKey
from jobscheduler_tcp.errors import (
    CommandRefused,
    ConnectionClosed,
    NoConfirmation,
    NotExpressible,
    NotStarted,
)
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
from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.proof import TOKEN_SIZE

SIGTERM = 15


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
    @ivar lasting: what the remote does with the task when we are gone.
    @ivar key: what it takes to come back, C{None} where nobody can.
    @ivar comingBack: the attempts to do so, C{None} while there are none.
    @ivar givenUp: whether nobody wants the task any more.
    """

    # As many attributes would take five times the memory in a dict.
    __slots__ = (
        "_blocked",
        "_onGone",
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
        "sharedPort",
        "start",
        "started",
        "task",
        "token",
        "work",
    )

    inputs: JobInputs
    hearing: Hearing
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
        lasting: Lasting | None = None,
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
        self.lasting = means.lasting if lasting is None else lasting
        self.key: TaskKey | None = None
        self.comingBack: ComingBack | None = None
        self.givenUp = False
        self._onGone: Callable[[], None] | None = onGone
        self._timer: IDelayedCall | None = None
        self._tried: list[CallbackMode] = []
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

    def queue(self) -> None:
        """
        Wait for a place.
        """
        if self.deadline:
            self.setTimer(self.deadline)
        place = self.processClass.acquire()
        self.place = place.addCallback(self._placed).addCallback(lambda _: self._tell())
        self.place.addCallbacks(self.inputs.placed, self._notPlaced)

    def _tell(self) -> Deferred[None]:
        """
        Let it be known under which UUID the task will be asked for.
        """
        self._makeKey()
        if self._witness is None:
            return succeed(None)
        key = self.key.text if self.key is not None else ""
        leaves = self._witness.startLeaves(self.task, self.processClass.address, key)
        return leaves or succeed(None)

    def _makeKey(self) -> None:
        self.key = None
        welcome = self.connection.welcome
        known = welcome is not None and ATTACH not in welcome.capabilities
        if self.lasting and not known and self.processClass.speaks is not Dialect.CLASSIC:
            instance = welcome.instance if welcome is not None else ""
            self.key = TaskKey(instance, token_bytes(TOKEN_SIZE))
        self.hearing.lasting = self.key is not None

    def _placed(self, _: None) -> Deferred[None] | None:
        """
        Find out what the remote speaks, if nobody knows.
        """
        self.placed = True
        speaks = self.processClass.speaks
        if speaks is Dialect.EXTENDED and self._witness is not None and self.lasting:
            # Who writes it down needs the name of the remote.
            return self.connection.greet() if self.connection.welcome is None else None
        if speaks is not Dialect.AUTO:
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
            self.inputs.notListening(reason)

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
                self.inputs.notListening(Failure(error))
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
            self.inputs.listening, self.inputs.notListening
        )

    def _stands(self, protocol: StandingProtocol) -> None:
        if self.mode is CallbackMode.SHARED:
            self.sharedPort = protocol.port
        lasting = self.key is not None
        self.listener = protocol.expect(self.task, self.hearing, self.inputs, lasting=lasting)
        self.inputs.listening(None)

    def _standsNot(self, reason: Failure) -> None:
        if reason.check(NoConfirmation) and self._isOpenOtherwise():
            self.inputs.blocked(verdicts.notAsked(reason))
        elif self._blocked is not None:
            first = self._blocked
            self.inputs.notListening(Failure(NoConfirmation(first.reason, first.text, first.errno)))
        else:
            self.inputs.notListening(reason)

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
        self.portWait.addCallbacks(lambda _: self._confirmBy(mode), self.inputs.notListening)

    def _extendedFactory(self) -> ServerFactory:
        means = self.means
        self.token = token_bytes(TOKEN_SIZE)
        self.listener = factory = CallbackFactory(
            self.task,
            self.token,
            self.hearing,
            means.heart,
            means.clock,
            window=means.window,
            watcher=self.inputs,
            log=means.strangers,
            lasting=self.key is not None,
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
            receiver=self.hearing,
            watcher=self.inputs,
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
            self._say(start)
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
            self.inputs.callerClaims()
            self._say(start)

    def _say(self, start: StartTask) -> None:
        if self.key is not None:
            lasting = self.lasting
            start = replace(
                start,
                onDisconnect=lasting.onDisconnect,
                hold=lasting.seconds,
                secret=self.key.secret,
            )
        self.answer = self._requests.request(start)
        self.answer.addCallbacks(self._answered, self._notAnswered)

    def mayRun(self) -> None:
        """
        Whoever called may be the remote: another one must not be asked.
        """
        if self.classic is None and self.answer is not None:
            self.connection.pin(self.answer)

    @property
    def _requests(self) -> CommandConnection | ClassicCommandConnection:
        return self.connection if self.classic is None else self.classic

    def _answered(self, answer: Answer) -> None:
        if not isinstance(answer, TaskRefused):
            self._whoHasIt()
            self.inputs.taken()
            return
        outcome = verdicts.refused(answer)
        if outcome.reason in BLOCKED and self._mayTryAgain():
            self.inputs.blocked(outcome)
        else:
            self.inputs.refused(outcome)

    def _whoHasIt(self) -> None:
        welcome = self.connection.welcome
        if self.key is not None and not self.key.instance and welcome is not None:
            self.key = replace(self.key, instance=welcome.instance)

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
            self.inputs.refused(outcome)
        else:
            self.inputs.unanswered(outcome)

    def despair(self) -> None:
        """
        Give up if nobody is left who could tell what became of the task.
        """
        listener = self.listener
        assert listener is not None
        if self.answered and listener.proven is None and not listener.claims:
            self.inputs.hopeless(verdicts.LOST_BEFORE_START)

    def confirmed(self, message: TaskStarted) -> None:
        """
        The program runs: the answer to the start is no news any more.
        """
        self.start = message
        self.portWait = None  # it is over, and some tasks live for days
        self._whoHasIt()
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
        self.setTimer(self.means.startTimeout)

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
        self.inputs.overdue()

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
        comingBack, self.comingBack = self.comingBack, None
        if comingBack is not None:
            comingBack.stop()
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
        self.hearing.lastWord(Failure(ConnectionClosed(str(outcome.reason))))
        if self.started is not None and self.start is None:
            self.started.errback(NotStarted(outcome.reason, outcome.text))
        if not self.done.called:  # by who cancelled it, and knows
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
        onGone, self._onGone = self._onGone, None
        if onGone is not None:
            onGone()

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
