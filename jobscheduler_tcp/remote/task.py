"""
One task at the remote, and who talks to it: its client, its process, and the
service. When it does what is the subject of L{jobscheduler_tcp.remote.tasklife},
how long it is kept for a client that is gone that of
L{jobscheduler_tcp.remote.holding}.
"""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from jobscheduler_tcp.books import INPUT_WINDOW
from jobscheduler_tcp.endofturn import endOfTurn
from jobscheduler_tcp.errors import LaunchFailed
from jobscheduler_tcp.interfaces import (
    IConfirmedTask,
    ITaskReceiver,
    KillReport,
    Launch,
    ProcessExit,
)
from jobscheduler_tcp.messages import (
    AttachRefused,
    AttachTask,
    CallbackMode,
    StartTask,
    Stream,
    TaskAttached,
    TaskRefused,
    TaskTaken,
    Work,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.plaincommands import timestamp
from jobscheduler_tcp.remote.confirmation import ConfirmationFactory
from jobscheduler_tcp.remote.limits import NOTHING_DIGESTED, NOTHING_PRINTED, Limits
from jobscheduler_tcp.remote.returning import Returning
from jobscheduler_tcp.remote.standing import StandingConfirmation, TaskLine
from jobscheduler_tcp.remote.steps import Steps, Workplace
from jobscheduler_tcp.remote.tasklife import TaskLife


@implementer(ITaskReceiver, IConfirmedTask)
class Task:
    """
    A task, from the command to start it until its end is acknowledged.

    @ivar id: its UUID.
    """

    __slots__ = ("_machine", "_stdin", "_steps", "id")

    def __init__(
        self,
        place: Workplace,
        message: StartTask,
        launch: Launch,
        host: str,
        *,
        number: int,
        answered: Callable[[TaskTaken | TaskRefused], None],
        over: Callable[[str], None],
        standing: StandingConfirmation | None = None,
    ) -> None:
        """
        @param standing: the connection that the start names, if there is one.
        @param launch: what to start, all decided.
        @param number: the remote's own number for it.
        @param host: where the client listens.
        @param answered: called once, with the answer to the start; its id is 0.
        @param over: called once with the UUID, when there is nothing left to do.
        """
        self.id = message.task
        self._stdin = launch.work.stdin
        reactor = place.reactor
        work = launch.work
        callback: ConfirmationFactory | TaskLine
        if message.mode is CallbackMode.OWN:
            callback = ConfirmationFactory(message.task, message.token, self, reactor, place.heart)
        else:
            callback = TaskLine(standing, self)
        limits = NOTHING_DIGESTED if message.sha256 else NOTHING_PRINTED
        if work.wallTime or work.silence or work.outputLimit:
            # The limits need no script, and some tasks sleep for days.
            bounds = Work(
                wallTime=work.wallTime, silence=work.silence, outputLimit=work.outputLimit
            )
            limits = Limits(reactor, bounds, self, sha256=message.sha256)
        self._steps = Steps(
            task=message.task,
            receiver=self,
            place=place,
            launch=launch,
            number=number,
            host=host,
            port=standing.port if standing is not None else message.port,
            grace=work.grace,
            callback=callback,
            limits=limits,
            answered=answered,
            over=over,
            onDisconnect=message.onDisconnect,
            patience=min(message.hold, place.mostHold),
            secret=message.secret,
        )
        self._machine = TaskLife(self._steps)

    # ---------------------------------------------------------------- the service

    def dial(self) -> None:
        """
        Begin: call the client.
        """
        self._machine.dial()
        steps = self._steps
        if steps.launch is not None:
            # The client has to answer first. Others that start in this turn are called
            # before anything is prepared, so that their clients answer meanwhile, too.
            reactor = steps.place.reactor
            endOfTurn(reactor).call(reactor, steps.prepare)

    def kill(self, signal: int, grace: float) -> Deferred[KillReport]:
        """
        End the task and all its descendants.

        @return: fires when none is left, or some survived.
        """
        killed: Deferred[KillReport] = Deferred()
        self._machine.kill(signal, grace, killed)
        return killed

    def stop(self) -> None:
        """
        Refuse the task, or end it and tell the client, if that is there.
        """
        hold = self._steps.hold
        if hold is not None:
            hold.stop()
        self._machine.stop()
        if hold is not None and hold.away:
            self._machine.callbackLost()

    def abandon(self) -> None:
        """
        Wait for the client no longer.
        """
        self._steps.callback.abort()

    @property
    def descriptors(self) -> int:
        """
        How many descriptors of this process it takes: those of its process, and
        its confirmation connection if that is its own.
        """
        steps = self._steps
        if self.id in steps.place.resting:
            return 0
        own = isinstance(steps.callback, ConfirmationFactory)
        # One that is not launched yet may become a child: two pipes and a pidfd.
        launched = steps.process
        return own + (3 + self._stdin if launched is None else launched.descriptors)

    @property
    def grace(self) -> float:
        """
        Seconds that it has to end when it is killed.
        """
        return self._steps.grace

    def describe(self) -> dict[str, str]:
        """
        Tell people how it stands, in JobScheduler's words.
        """
        steps = self._steps
        isHeld = steps.kept is not None and steps.kept.away
        described = {
            "task": str(steps.number),
            "uuid": self.id,
            "state": "held" if isHeld else steps.state,
            "client": f"{steps.host}:{steps.port}",
        }
        if steps.pid:
            described["pid"] = str(steps.pid)
            described["running_since"] = timestamp(steps.runningSince)
        return described

    # ------------------------------------------------------- a client that comes back

    def attach(
        self, message: AttachTask, host: str, standing: StandingConfirmation | None
    ) -> Deferred[TaskTaken | AttachRefused]:
        """
        Confirm the task anew to a client that comes back for it. Until it has
        proved itself, nothing changes.

        @param host: where it listens.
        @param standing: the connection that it names, if there is one.
        """
        steps = self._steps
        hold = steps.hold
        reason, refusal = Reason.LOST, ""
        if hold is None or not hold.secret or not compare_digest(hold.secret, message.secret):
            refusal = "the remote does not hold it for this client"
        elif hold.lost:
            refusal = steps.absence
        elif not steps.wasPrinted(message.stdout, message.stderr):
            reason, refusal = Reason.PROTOCOL_ERROR, "it has not printed as much as that"
        if hold is None or refusal:
            return succeed(AttachRefused(message.id, self.id, reason, refusal))
        attempt = hold.attempt
        if attempt is not None and attempt.isSame(message):
            return attempt.answer(message.id)
        if attempt is not None:
            attempt.giveUp()
        attempt = hold.attempt = Returning(self, message, steps.place, standing)
        answer = attempt.answer(message.id)
        attempt.dial(host)
        return answer

    def opensAt(self, stdout: int, stderr: int) -> TaskAttached:
        """
        What the channel of a client begins with that has so much output.
        """
        hold = self._steps.hold
        assert hold is not None
        return TaskAttached(
            self.id,
            max(stdout, hold.stdout),
            max(stderr, hold.stderr),
            INPUT_WINDOW,
            self._steps.inputGiven,
            self._steps.inputTaken,
            self._steps.inputEnded,
        )

    def returned(
        self, callback: ConfirmationFactory | TaskLine, host: str, message: AttachTask
    ) -> int:
        """
        A client has come back and is proven: say again what it may not know.

        @return: the remote's number of the task, 0 if it is too late.
        """
        steps = self._steps
        hold = steps.hold
        connection = callback.connection
        if hold is None or hold.lost or connection is None:
            return 0
        connection.confirmed = self
        port = callback.port if isinstance(callback, TaskLine) else message.port
        steps.confirmTo(callback, host, port, message.stdout, message.stderr)
        if not connection.blocked:
            self.resumeProducing()
        return steps.number

    def holdIsOver(self) -> None:
        """
        See L{Held<jobscheduler_tcp.remote.holding.Held>}.
        """
        steps = self._steps
        assert steps.hold is not None
        if steps.hold.goesOn:
            steps.forgo()
            self.resumeProducing()
        else:
            steps.hold.lost = True
            self._machine.callbackLost()

    # ------------------------------------------------------- the confirmation connection

    def opens(self) -> TaskAttached:
        """
        See L{IConfirmedTask}.
        """
        return TaskAttached(self.id, window=INPUT_WINDOW)

    def callbackTaken(self) -> None:
        """
        See L{IConfirmedTask}.
        """
        self._machine.callbackTaken()

    def callbackFailed(self, reason: Reason, text: str, errno: int) -> None:
        """
        See L{IConfirmedTask}.
        """
        self._machine.callbackFailed(reason, text, errno)

    def callbackLost(self) -> None:
        """
        See L{IConfirmedTask}.
        """
        steps = self._steps
        if steps.hold is None or not steps.hold.left():
            self._machine.callbackLost()
            return
        steps.waitForClient()
        if not steps.hold.full:
            self.resumeProducing()

    def outputAcknowledged(self, stdout: int, stderr: int) -> None:
        """
        See L{IConfirmedTask}.
        """
        if self._steps.kept is not None:
            self._steps.kept.acknowledge(stdout, stderr)

    def endAcknowledged(self) -> None:
        """
        See L{IConfirmedTask}.
        """
        self._machine.endAcknowledged()

    def inputReceived(self, data: bytes) -> None:
        """
        See L{IConfirmedTask}.
        """
        steps = self._steps
        steps.inputGiven += len(data)
        if self._stdin and steps.process is not None:
            steps.process.writeInput(data)

    def inputEnded(self) -> None:
        """
        See L{IConfirmedTask}.
        """
        self._steps.inputEnded = True
        if self._stdin and self._steps.process is not None:
            self._steps.process.endInput()

    def pauseProducing(self) -> None:
        """
        See L{IConfirmedTask}.
        """
        self._steps.pause()

    def resumeProducing(self) -> None:
        """
        See L{IConfirmedTask}.
        """
        self._steps.limits.resume()
        if self._steps.process is not None:
            self._steps.process.resumeProducing()

    # ------------------------------------------------------------------ the process

    def processStarted(self, pid: int) -> None:
        """
        See L{ITaskReceiver}.
        """
        self._machine.processStarted(pid)

    def processNotStarted(self, error: LaunchFailed) -> None:
        """
        See L{ITaskReceiver}.
        """
        self._machine.processNotStarted(error)

    def outputReceived(self, stream: Stream, data: bytes) -> None:
        """
        See L{ITaskReceiver}.
        """
        self._machine.outputReceived(stream, data)

    def inputTaken(self, count: int) -> None:
        """
        See L{ITaskReceiver}.
        """
        steps = self._steps
        steps.inputTaken += count
        if steps.callback.connection is not None:
            steps.callback.connection.inputTaken(steps.inputTaken)

    def processEnded(self, ending: ProcessExit) -> None:
        """
        See L{ITaskReceiver}.
        """
        self._machine.processEnded(ending)

    def limitReached(self, reason: Reason, note: str) -> None:
        """
        See L{Limited<jobscheduler_tcp.remote.limits.Limited>}.
        """
        self._machine.limitReached(reason, note)
