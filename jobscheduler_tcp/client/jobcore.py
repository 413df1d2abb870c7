"""
How a job comes to its task: its turn, what its remote speaks, a way to be
confirmed, and the start. When it does what stands in L{client.job}.
"""

from __future__ import annotations

from dataclasses import replace
from os import urandom

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.protocol import ServerFactory
from twisted.python.failure import Failure

from jobscheduler_tcp.client import verdicts
from jobscheduler_tcp.client.callback import CallbackFactory
from jobscheduler_tcp.client.callbackmodes import BLOCKED
from jobscheduler_tcp.client.classiccommand import ClassicCommandConnection
from jobscheduler_tcp.client.classictask import ClassicListener
from jobscheduler_tcp.client.connection import ATTACH
from jobscheduler_tcp.client.jobhands import NO_TOKEN, JobHands
from jobscheduler_tcp.client.ports import CallbackPort
from jobscheduler_tcp.client.processclass import Dialect
from jobscheduler_tcp.client.standing import StandingProtocol, StandingTask
from jobscheduler_tcp.client.standings import StandingConnection
from jobscheduler_tcp.client.taskkey import TaskKey, newTask
from jobscheduler_tcp.errors import (
    CommandRefused,
    NoConfirmation,
    NotExpressible,
)
from jobscheduler_tcp.messages import (
    Answer,
    CallbackMode,
    OnDisconnect,
    StartTask,
    TaskRefused,
    TaskStarted,
)
from jobscheduler_tcp.outcome import Outcome
from jobscheduler_tcp.proof import TOKEN_SIZE


class JobCore(JobHands):
    """
    What a job does until its task runs.
    """

    __slots__ = ()

    def queue(self) -> None:
        """
        Wait for a place.
        """
        if self.deadline:
            self.setTimer(self.deadline)
        if not self.processClass.take():
            self.place = self.processClass.acquire().addCallback(self._placed)
        else:
            try:
                self.place = self._placed(None)
            except Exception:
                self._notPlaced(Failure())
                return
        if self.place is None:
            self.inputs.placed(None)
        else:
            self.place.addCallbacks(self.inputs.placed, self._notPlaced)

    def _tell(self, _: None) -> Deferred[None] | None:
        """
        Let it be known under which UUID the task will be asked for.
        """
        self._makeKey()
        if self._witness is None:
            return None
        key = self.key.text if self.key is not None else ""
        return self._witness.startLeaves(self.task, self.processClass.address, key)

    def _makeKey(self) -> None:
        self.key = None
        welcome = self.connection.welcome
        known = welcome is not None and ATTACH not in welcome.capabilities
        if self.lasting and not known and self.processClass.speaks is not Dialect.CLASSIC:
            instance = welcome.instance if welcome is not None else ""
            self.key = TaskKey(instance, urandom(TOKEN_SIZE))
        self.hearing.lasting = self.key is not None

    def _placed(self, _: None) -> Deferred[None] | None:
        """
        Find out what the remote speaks, if nobody knows.
        """
        self.placed = True
        speaks = self.processClass.speaks
        if speaks is Dialect.AUTO:
            greeted = self.connection.greet().addCallbacks(self._extended, self._isItClassic)
            return greeted.addCallback(self._tell)
        # Who writes it down needs the name of the remote.
        if (
            self._witness is not None
            and speaks is Dialect.EXTENDED
            and self.connection.welcome is None
            and self.lasting
        ):
            return self.connection.greet().addCallback(self._tell)
        return self._tell(None)

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
            self.setStartTimer()
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
            self._tried = (*self._tried, mode)
        if mode is CallbackMode.OWN:
            self._acquire(self._extendedFactory())
        elif (protocol := self._standing.stands) is not None:
            self._stands(protocol)
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
        self.task = newTask()
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
        self.portWait = self._tell(None) or succeed(None)
        self.portWait.addCallbacks(lambda _: self._confirmBy(mode), self.inputs.notListening)

    def _extendedFactory(self) -> ServerFactory:
        means = self.means
        self.token = urandom(TOKEN_SIZE)
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
            sha256=self.sha256,
        )
        self.listener = listener
        self.classic = ClassicCommandConnection(
            remote.endpoint,
            means.clock,
            remote.address,
            means.connectTimeout,
            means.classic,
            idle=remote.idleCommands,
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
            self._say(port.number, self.token, host=self.processClass.advertise)
        else:
            self._log.info(
                "Task {task} is asked for at {remote}, callback mode {mode}",
                task=self.task,
                remote=self.processClass.address,
                mode=self.mode.value,
            )
            assert isinstance(self.listener, StandingTask)
            # The remote is known: from now on the task may run.
            self.inputs.callerClaims()
            self._say(0, b"", connection=self.listener.subject)

    def _say(self, port: int, token: bytes, connection: str = "", host: str = "") -> None:
        key, lasting = self.key, self.lasting
        start = StartTask(
            0,
            self.task,
            port,
            token,
            self.work,
            self.mode,
            lasting.onDisconnect if key is not None else OnDisconnect.KILL,
            connection,
            host,
            lasting.seconds if key is not None else 0.0,
            key.secret if key is not None else b"",
            self.sha256,
        )
        self.answer = self.requests.request(start)
        if self.processClass.running == 1 and self.classic is None:
            self.connection.hurry()
        self.answer.addCallbacks(self._answered, self._notAnswered)

    def mayRun(self) -> None:
        """
        Whoever called may be the remote: another one must not be asked.
        """
        if self.classic is None and self.answer is not None:
            self.connection.pin(self.answer)

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
        # All that is over, and some tasks live for days.
        self.portWait = None
        self._tried = ()
        self.token = NO_TOKEN
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
