"""
What happens to a task at the remote, and what follows: the machine behind a
L{Task<jobscheduler_tcp.remote.task.Task>}.

The client is dialed first, and the program launched only after it has taken the
confirmation connection: what is refused was not executed.
"""

from __future__ import annotations

from signal import SIGTERM
from typing import Protocol

from automat import TypeMachineBuilder
from twisted.internet.defer import Deferred

from jobscheduler_tcp.errors import LaunchFailed, LaunchLost
from jobscheduler_tcp.interfaces import KillReport, ProcessExit
from jobscheduler_tcp.machines import indexed
from jobscheduler_tcp.messages import Stream
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.remote.steps import STOP_GRACE, Steps


class TaskInputs(Protocol):
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
        It broke, and nobody comes back for the task.
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


_builder = TypeMachineBuilder(TaskInputs, Steps)

_told = _builder.state("Told what to run")
_calling = _builder.state("Waiting for the confirmation connection")
_condemned = _builder.state("Killed while waiting for the confirmation connection")
_starting = _builder.state("Start a separate process for the task")
_executing = _builder.state("Execute the task")
_killing = _builder.state("Waiting for the end of a task that is being killed")
_abandoned = _builder.state("Waiting for the end of a task whose client is gone")
_confirmingEnd = _builder.state("Confirm the end of the task")
_over = _builder.state("The task is over")


@_told.upon(TaskInputs.dial).to(_calling)
def _dial(task: TaskInputs, steps: Steps) -> None:
    steps.callback.dial(steps.place.reactor, steps.host, steps.port)


# ------------------------------------------- waiting for the confirmation connection


@_calling.upon(TaskInputs.callbackTaken).to(_starting)
def _launch(task: TaskInputs, steps: Steps) -> None:
    steps.start()


@_calling.upon(TaskInputs.callbackFailed).to(_over)
def _refuse(task: TaskInputs, steps: Steps, reason: Reason, text: str, errno: int) -> None:
    steps.refuse(reason, text, errno)


@_calling.upon(TaskInputs.kill).to(_condemned)
@_condemned.upon(TaskInputs.kill).loop()
def _condemn(
    task: TaskInputs, steps: Steps, signal: int, grace: float, killed: Deferred[KillReport]
) -> None:
    steps.state = "killing"
    killed.callback(KillReport(0))


@_condemned.upon(TaskInputs.callbackTaken).to(_confirmingEnd)
def _confirmNothing(task: TaskInputs, steps: Steps) -> None:
    steps.take()
    steps.confirmEnd(steps.notStarted(Reason.KILLED, "killed before it was started"))


@_condemned.upon(TaskInputs.callbackFailed).to(_over)
def _refuseKilled(task: TaskInputs, steps: Steps, reason: Reason, text: str, errno: int) -> None:
    steps.refuse(Reason.KILLED, "killed before it was started")


@_told.upon(TaskInputs.stop).to(_over)
@_calling.upon(TaskInputs.stop).to(_over)
@_condemned.upon(TaskInputs.stop).to(_over)
def _refuseStopping(task: TaskInputs, steps: Steps) -> None:
    steps.refuse(Reason.REJECTED_DRAINING, "the remote is stopping")
    steps.callback.abort()


# ----------------------------------------------------------- the separate process


@_starting.upon(TaskInputs.processStarted).to(_executing)
def _confirmStart(task: TaskInputs, steps: Steps, pid: int) -> None:
    steps.state = "running"
    steps.confirmStart(pid)
    steps.limits.start()


@_killing.upon(TaskInputs.processStarted).loop()
@_abandoned.upon(TaskInputs.processStarted).loop()
def _confirmLateStart(task: TaskInputs, steps: Steps, pid: int) -> None:
    steps.confirmStart(pid)


@_starting.upon(TaskInputs.processNotStarted).to(_confirmingEnd)
def _confirmFailure(task: TaskInputs, steps: Steps, error: LaunchFailed) -> None:
    lost = isinstance(error, LaunchLost)
    reason = Reason.LOST if lost else Reason.START_FAILED
    steps.confirmEnd(steps.notStarted(reason, str(error), error.errno))


@_executing.upon(TaskInputs.outputReceived).loop()
@_killing.upon(TaskInputs.outputReceived).loop()
def _print(task: TaskInputs, steps: Steps, stream: Stream, data: bytes) -> None:
    steps.print(stream, data)


_abandoned.upon(TaskInputs.outputReceived).loop().returns(None)


@_executing.upon(TaskInputs.processEnded).to(_confirmingEnd)
def _confirmEnd(task: TaskInputs, steps: Steps, ending: ProcessExit) -> None:
    if ending.exitCode is not None:
        reason = Reason.EXITED
    else:
        reason = Reason.LOST if ending.signal is None else Reason.SIGNALLED
    steps.confirmEnd(steps.ended(ending, reason))


# ------------------------------------------------------------------- being killed


@_starting.upon(TaskInputs.kill).to(_killing)
@_executing.upon(TaskInputs.kill).to(_killing)
@_killing.upon(TaskInputs.kill).loop()
@_abandoned.upon(TaskInputs.kill).loop()
def _kill(
    task: TaskInputs, steps: Steps, signal: int, grace: float, killed: Deferred[KillReport]
) -> None:
    steps.kill(signal, grace, killed)


@_executing.upon(TaskInputs.limitReached).to(_killing)
def _killForLimit(task: TaskInputs, steps: Steps, reason: Reason, note: str) -> None:
    steps.killFor(reason, note)


@_starting.upon(TaskInputs.stop).to(_killing)
@_executing.upon(TaskInputs.stop).to(_killing)
def _killStopping(task: TaskInputs, steps: Steps) -> None:
    steps.note = "the remote is stopping"
    steps.kill(SIGTERM, min(steps.grace, STOP_GRACE))


@_killing.upon(TaskInputs.stop).loop()
def _hurry(task: TaskInputs, steps: Steps) -> None:
    steps.kill(SIGTERM, min(steps.grace, STOP_GRACE))


@_starting.upon(TaskInputs.callbackLost).to(_abandoned)
@_executing.upon(TaskInputs.callbackLost).to(_abandoned)
def _giveUp(task: TaskInputs, steps: Steps) -> None:
    steps.note = steps.absence
    steps.giveUp()


@_killing.upon(TaskInputs.callbackLost).to(_abandoned)
def _giveUpKilled(task: TaskInputs, steps: Steps) -> None:
    steps.giveUp()


@_killing.upon(TaskInputs.processNotStarted).to(_confirmingEnd)
def _confirmKilledEarly(task: TaskInputs, steps: Steps, error: LaunchFailed) -> None:
    steps.confirmEnd(steps.notStarted(steps.cause, steps.note or str(error)))


@_killing.upon(TaskInputs.processEnded).to(_confirmingEnd)
def _confirmKilled(task: TaskInputs, steps: Steps, ending: ProcessExit) -> None:
    steps.confirmEnd(steps.ended(ending, steps.cause))


@_abandoned.upon(TaskInputs.processNotStarted).to(_over)
def _neverBegan(task: TaskInputs, steps: Steps, error: LaunchFailed) -> None:
    steps.logEnd(steps.notStarted(steps.cause, steps.note))
    steps.finish()


@_abandoned.upon(TaskInputs.processEnded).to(_over)
def _endedAlone(task: TaskInputs, steps: Steps, ending: ProcessExit) -> None:
    steps.logEnd(steps.ended(ending, steps.cause))
    steps.finish()


# ---------------------------------------------------------------------- the end


@_confirmingEnd.upon(TaskInputs.endAcknowledged).to(_over)
@_confirmingEnd.upon(TaskInputs.callbackLost).to(_over)
def _finish(task: TaskInputs, steps: Steps) -> None:
    steps.finish()
    steps.part()


@_confirmingEnd.upon(TaskInputs.kill).loop()
@_over.upon(TaskInputs.kill).loop()
def _tooLate(
    task: TaskInputs, steps: Steps, signal: int, grace: float, killed: Deferred[KillReport]
) -> None:
    killed.callback(KillReport(0))


@_over.upon(TaskInputs.callbackTaken).loop()
def _tooLateToTake(task: TaskInputs, steps: Steps) -> None:
    steps.callback.abort()


# The client, a stop, or a timer of before may still be heard of.
_abandoned.upon(TaskInputs.stop).loop().returns(None)
_abandoned.upon(TaskInputs.callbackLost).loop().returns(None)
_confirmingEnd.upon(TaskInputs.stop).loop().returns(None)
_over.upon(TaskInputs.stop).loop().returns(None)
_over.upon(TaskInputs.callbackFailed).loop().returns(None)
_over.upon(TaskInputs.callbackLost).loop().returns(None)
_killing.upon(TaskInputs.limitReached).loop().returns(None)
_abandoned.upon(TaskInputs.limitReached).loop().returns(None)
_confirmingEnd.upon(TaskInputs.limitReached).loop().returns(None)
_over.upon(TaskInputs.limitReached).loop().returns(None)

TaskLife = indexed(_builder.build())
