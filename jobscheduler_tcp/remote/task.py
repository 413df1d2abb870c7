"""
One task's life at the remote.

The client is dialed first, and the program launched only after it has taken the
confirmation connection: what is refused was not executed.
"""

from __future__ import annotations

from collections.abc import Callable
from signal import SIGTERM
from typing import Protocol

from automat import TypeMachineBuilder
from twisted.internet.defer import Deferred
from zope.interface import implementer

from jobscheduler_tcp.errors import LaunchFailed
from jobscheduler_tcp.interfaces import (
    IConfirmedTask,
    ITaskReceiver,
    KillReport,
    Launch,
    ProcessExit,
)
from jobscheduler_tcp.machines import indexed
from jobscheduler_tcp.messages import (
    CallbackMode,
    StartTask,
    Stream,
    TaskRefused,
    TaskTaken,
    Work,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.plaincommands import timestamp
from jobscheduler_tcp.remote.confirmation import ConfirmationFactory
from jobscheduler_tcp.remote.limits import Limits
from jobscheduler_tcp.remote.standing import StandingCall, StandingConfirmation
from jobscheduler_tcp.remote.steps import STOP_GRACE, Steps, Workplace


class _Inputs(Protocol):
    """
    What can happen to a task.
    """

    def dial(self) -> None:
        """
        The command was heard.
        """

    def callbackTaken(self) -> None:
        """
        The confirmation connection stands.
        """

    def callbackFailed(self, reason: Reason, text: str, errno: int) -> None:
        """
        It will not.
        """

    def callbackLost(self) -> None:
        """
        It broke.
        """

    def processStarted(self, pid: int) -> None:
        """
        The program runs.
        """

    def processNotStarted(self, error: LaunchFailed) -> None:
        """
        It does not.
        """

    def outputReceived(self, stream: Stream, data: bytes) -> None:
        """
        It printed something.
        """

    def processEnded(self, ending: ProcessExit) -> None:
        """
        It is over.
        """

    def limitReached(self, reason: Reason, note: str) -> None:
        """
        It ran for too long, or printed too little or too much.
        """

    def kill(self, signal: int, grace: float, killed: Deferred[KillReport]) -> None:
        """
        Somebody wants it to end.
        """

    def stop(self) -> None:
        """
        The remote is stopping.
        """

    def endAcknowledged(self) -> None:
        """
        The client knows how it ended.
        """


_builder = TypeMachineBuilder(_Inputs, Steps)

_told = _builder.state("Told what to run")
_calling = _builder.state("Waiting for the confirmation connection")
_condemned = _builder.state("Killed while waiting for the confirmation connection")
_starting = _builder.state("Start a separate process for the task")
_executing = _builder.state("Execute the task")
_killing = _builder.state("Waiting for the end of a task that is being killed")
_abandoned = _builder.state("Waiting for the end of a task whose client is gone")
_confirmingEnd = _builder.state("Confirm the end of the task")
_over = _builder.state("The task is over")


@_told.upon(_Inputs.dial).to(_calling)
def _dial(task: _Inputs, steps: Steps) -> None:
    steps.callback.dial(steps.place.reactor, steps.host, steps.port)


# ------------------------------------------- waiting for the confirmation connection


@_calling.upon(_Inputs.callbackTaken).to(_starting)
def _launch(task: _Inputs, steps: Steps) -> None:
    steps.take()
    steps.start()


@_calling.upon(_Inputs.callbackFailed).to(_over)
def _refuse(task: _Inputs, steps: Steps, reason: Reason, text: str, errno: int) -> None:
    steps.refuse(reason, text, errno)


@_calling.upon(_Inputs.kill).to(_condemned)
@_condemned.upon(_Inputs.kill).loop()
def _condemn(
    task: _Inputs, steps: Steps, signal: int, grace: float, killed: Deferred[KillReport]
) -> None:
    steps.state = "killing"
    killed.callback(KillReport(0))


@_condemned.upon(_Inputs.callbackTaken).to(_confirmingEnd)
def _confirmNothing(task: _Inputs, steps: Steps) -> None:
    steps.take()
    steps.confirmEnd(steps.notStarted(Reason.KILLED, "killed before it was started"))


@_condemned.upon(_Inputs.callbackFailed).to(_over)
def _refuseKilled(task: _Inputs, steps: Steps, reason: Reason, text: str, errno: int) -> None:
    steps.refuse(Reason.KILLED, "killed before it was started")


@_told.upon(_Inputs.stop).to(_over)
@_calling.upon(_Inputs.stop).to(_over)
@_condemned.upon(_Inputs.stop).to(_over)
def _refuseStopping(task: _Inputs, steps: Steps) -> None:
    steps.refuse(Reason.REJECTED_DRAINING, "the remote is stopping")
    steps.callback.abort()


# ----------------------------------------------------------- the separate process


@_starting.upon(_Inputs.processStarted).to(_executing)
def _confirmStart(task: _Inputs, steps: Steps, pid: int) -> None:
    steps.state = "running"
    steps.confirmStart(pid)
    steps.limits.start()


@_killing.upon(_Inputs.processStarted).loop()
@_abandoned.upon(_Inputs.processStarted).loop()
def _confirmLateStart(task: _Inputs, steps: Steps, pid: int) -> None:
    steps.confirmStart(pid)


@_starting.upon(_Inputs.processNotStarted).to(_confirmingEnd)
def _confirmFailure(task: _Inputs, steps: Steps, error: LaunchFailed) -> None:
    steps.confirmEnd(steps.notStarted(Reason.START_FAILED, str(error), error.errno))


@_executing.upon(_Inputs.outputReceived).loop()
@_killing.upon(_Inputs.outputReceived).loop()
def _print(task: _Inputs, steps: Steps, stream: Stream, data: bytes) -> None:
    steps.print(stream, data)


_abandoned.upon(_Inputs.outputReceived).loop().returns(None)


@_executing.upon(_Inputs.processEnded).to(_confirmingEnd)
def _confirmEnd(task: _Inputs, steps: Steps, ending: ProcessExit) -> None:
    exited = Reason.SIGNALLED if ending.exitCode is None else Reason.EXITED
    steps.confirmEnd(steps.ended(ending, exited))


# ------------------------------------------------------------------- being killed


@_starting.upon(_Inputs.kill).to(_killing)
@_executing.upon(_Inputs.kill).to(_killing)
@_killing.upon(_Inputs.kill).loop()
@_abandoned.upon(_Inputs.kill).loop()
def _kill(
    task: _Inputs, steps: Steps, signal: int, grace: float, killed: Deferred[KillReport]
) -> None:
    steps.kill(signal, grace, killed)


@_executing.upon(_Inputs.limitReached).to(_killing)
def _killForLimit(task: _Inputs, steps: Steps, reason: Reason, note: str) -> None:
    steps.killFor(reason, note)


@_starting.upon(_Inputs.stop).to(_killing)
@_executing.upon(_Inputs.stop).to(_killing)
def _killStopping(task: _Inputs, steps: Steps) -> None:
    steps.note = "the remote is stopping"
    steps.kill(SIGTERM, min(steps.grace, STOP_GRACE))


@_killing.upon(_Inputs.stop).loop()
def _hurry(task: _Inputs, steps: Steps) -> None:
    steps.kill(SIGTERM, min(steps.grace, STOP_GRACE))


@_starting.upon(_Inputs.callbackLost).to(_abandoned)
@_executing.upon(_Inputs.callbackLost).to(_abandoned)
def _giveUp(task: _Inputs, steps: Steps) -> None:
    steps.note = "the client is gone"
    steps.giveUp()


@_killing.upon(_Inputs.callbackLost).to(_abandoned)
def _giveUpKilled(task: _Inputs, steps: Steps) -> None:
    steps.giveUp()


@_killing.upon(_Inputs.processNotStarted).to(_confirmingEnd)
def _confirmKilledEarly(task: _Inputs, steps: Steps, error: LaunchFailed) -> None:
    steps.confirmEnd(steps.notStarted(steps.cause, steps.note or str(error)))


@_killing.upon(_Inputs.processEnded).to(_confirmingEnd)
def _confirmKilled(task: _Inputs, steps: Steps, ending: ProcessExit) -> None:
    steps.confirmEnd(steps.ended(ending, steps.cause))


@_abandoned.upon(_Inputs.processNotStarted).to(_over)
def _neverBegan(task: _Inputs, steps: Steps, error: LaunchFailed) -> None:
    steps.logEnd(steps.notStarted(steps.cause, steps.note))
    steps.finish()


@_abandoned.upon(_Inputs.processEnded).to(_over)
def _endedAlone(task: _Inputs, steps: Steps, ending: ProcessExit) -> None:
    steps.logEnd(steps.ended(ending, steps.cause))
    steps.finish()


# ---------------------------------------------------------------------- the end


@_confirmingEnd.upon(_Inputs.endAcknowledged).to(_over)
@_confirmingEnd.upon(_Inputs.callbackLost).to(_over)
def _finish(task: _Inputs, steps: Steps) -> None:
    steps.finish()


@_confirmingEnd.upon(_Inputs.kill).loop()
@_over.upon(_Inputs.kill).loop()
def _tooLate(
    task: _Inputs, steps: Steps, signal: int, grace: float, killed: Deferred[KillReport]
) -> None:
    killed.callback(KillReport(0))


@_over.upon(_Inputs.callbackTaken).loop()
def _tooLateToTake(task: _Inputs, steps: Steps) -> None:
    steps.callback.abort()


# The client, a stop, or a timer of before may still be heard of.
_abandoned.upon(_Inputs.stop).loop().returns(None)
_confirmingEnd.upon(_Inputs.stop).loop().returns(None)
_over.upon(_Inputs.stop).loop().returns(None)
_over.upon(_Inputs.callbackFailed).loop().returns(None)
_over.upon(_Inputs.callbackLost).loop().returns(None)
_killing.upon(_Inputs.limitReached).loop().returns(None)
_abandoned.upon(_Inputs.limitReached).loop().returns(None)
_confirmingEnd.upon(_Inputs.limitReached).loop().returns(None)
_over.upon(_Inputs.limitReached).loop().returns(None)

_Machine = indexed(_builder.build())


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
        callback: ConfirmationFactory | StandingCall
        if message.mode is CallbackMode.OWN:
            callback = ConfirmationFactory(message.task, message.token, self, reactor, place.heart)
        else:
            callback = StandingCall(message.task, standing, self)
        # The limits need no script, and some tasks sleep for days.
        limits = Work(wallTime=work.wallTime, silence=work.silence, outputLimit=work.outputLimit)
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
            limits=Limits(reactor, limits, self._limitReached),
            answered=answered,
            over=over,
        )
        self._machine = _Machine(self._steps)

    # ---------------------------------------------------------------- the service

    def dial(self) -> None:
        """
        Begin: call the client.
        """
        self._machine.dial()

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
        Refuse the task, or end it and tell the client.
        """
        self._machine.stop()

    def abandon(self) -> None:
        """
        Wait for the client no longer.
        """
        self._steps.callback.abort()

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
        described = {
            "task": str(steps.number),
            "uuid": self.id,
            "state": steps.state,
            "client": f"{steps.host}:{steps.port}",
        }
        if steps.pid:
            described["pid"] = str(steps.pid)
            described["running_since"] = timestamp(steps.runningSince)
        return described

    # ------------------------------------------------------- the confirmation connection

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
        self._machine.callbackLost()

    def endAcknowledged(self) -> None:
        """
        See L{IConfirmedTask}.
        """
        self._machine.endAcknowledged()

    def inputReceived(self, data: bytes) -> None:
        """
        See L{IConfirmedTask}.
        """
        if self._stdin and self._steps.process is not None:
            self._steps.process.writeInput(data)

    def inputEnded(self) -> None:
        """
        See L{IConfirmedTask}.
        """
        if self._stdin and self._steps.process is not None:
            self._steps.process.endInput()

    def pauseProducing(self) -> None:
        """
        See L{IConfirmedTask}.
        """
        self._steps.limits.pause()
        if self._steps.process is not None:
            self._steps.process.pauseProducing()

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
        if self._steps.callback.connection is not None:
            self._steps.callback.connection.inputTaken(count)

    def processEnded(self, ending: ProcessExit) -> None:
        """
        See L{ITaskReceiver}.
        """
        self._machine.processEnded(ending)

    def _limitReached(self, reason: Reason, note: str) -> None:
        self._machine.limitReached(reason, note)
