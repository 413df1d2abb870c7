"""
What a client hears of one of its tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.interfaces import (
    IConfirmationReceiver,
    ISchedulerObserver,
    IStartWitness,
    ITaskConfirmation,
    ITaskLedger,
)
from jobscheduler_tcp.messages import Stream, TaskAttached, TaskEnded, TaskStarted

if TYPE_CHECKING:
    from jobscheduler_tcp.client.startedtask import StartedTask


class Ended(Protocol):
    """
    Take the end of a task.
    """

    def __call__(self, task: StartedTask, message: TaskEnded, /) -> Deferred[None] | None:
        """
        Take it; it is kept when this returns or what it returns has fired.
        """


@implementer(IConfirmationReceiver, IStartWitness)
class TaskReceiver:
    """
    Hears one task, for its log, for the ledger and for the observers.
    """

    def __init__(
        self,
        task: StartedTask,
        observer: ISchedulerObserver,
        ledger: ITaskLedger,
        ended: Ended,
        attached: Callable[[StartedTask, TaskAttached], None] | None = None,
    ) -> None:
        self._attached = attached
        self._task = task
        self._observer = observer
        self._ledger = ledger
        self._ended = ended

    def startLeaves(self, task: str, remote: str, key: str) -> Deferred[None] | None:
        """
        A remote will be asked for it.
        """
        return self._ledger.taskLeaves(self._task, task, remote, key)

    def startReturned(self, task: str) -> None:
        """
        The remote did not begin it.
        """
        self._ledger.taskReturns(self._task, task)

    def taskAttached(self, confirmation: ITaskConfirmation, message: TaskAttached) -> None:
        """
        The remote is there.
        """
        self._task.confirmation = confirmation
        self._task.output.taskAttached(confirmation, message)
        if self._attached is not None:
            self._attached(self._task, message)

    def taskStarted(self, message: TaskStarted) -> None:
        """
        The program runs.
        """
        if not self._task.output.began:  # else it is said once more after a restart
            self._task.output.taskStarted(message)
            self._ledger.taskStarts(self._task, message)
        self._observer.taskStarted(self._task)

    def outputReceived(self, stream: Stream, data: bytes) -> None:
        """
        It printed something.
        """
        self._task.output.outputReceived(stream, data)
        self._observer.taskPrinted(self._task, stream, data)

    def taskEnded(self, message: TaskEnded) -> Deferred[None] | None:
        """
        It is over: the remote may forget it when the ledger has it.
        """
        self._task.output.taskEnded(message)
        return self._ended(self._task, message)

    def confirmationLost(self, reason: Failure) -> None:
        """
        Nothing more will be heard.
        """
        self._task.output.confirmationLost(reason)
