"""
Who hears what becomes of tasks and orders, such as a history.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from itertools import count
from typing import TYPE_CHECKING

from twisted.logger import Logger
from zope.interface import implementer

from jobscheduler_tcp.interfaces import ISchedulerObserver, ITaskLedger

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobscheduler_tcp.client.order import NewOrder, Order, Verdict
    from jobscheduler_tcp.client.startedtask import StartedTask
    from jobscheduler_tcp.messages import Stream, TaskEnded, TaskStarted
    from jobscheduler_tcp.outcome import Outcome


@implementer(ISchedulerObserver)
class Observers:
    """
    Tells several observers. The mistake of one is logged, and is none of the
    others' business.
    """

    _log = Logger()

    def __init__(self) -> None:
        self._observers: list[ISchedulerObserver] = []

    def add(self, observer: ISchedulerObserver) -> None:
        """
        Tell one more, from now on.
        """
        self._observers.append(observer)

    def taskQueued(self, task: StartedTask) -> None:
        """
        Pass it on.
        """
        self._tell(lambda observer: observer.taskQueued(task))

    def taskGiven(self, task: StartedTask) -> None:
        """
        Pass it on.
        """
        self._tell(lambda observer: observer.taskGiven(task))

    def taskStarted(self, task: StartedTask) -> None:
        """
        Pass it on.
        """
        self._tell(lambda observer: observer.taskStarted(task))

    def taskPrinted(self, task: StartedTask, stream: Stream, data: bytes) -> None:
        """
        Pass it on.
        """
        self._tell(lambda observer: observer.taskPrinted(task, stream, data))

    def taskEnded(self, task: StartedTask) -> None:
        """
        Pass it on.
        """
        self._tell(lambda observer: observer.taskEnded(task))

    def orderAdded(self, order: Order) -> None:
        """
        Pass it on.
        """
        self._tell(lambda observer: observer.orderAdded(order))

    def orderTaken(self, order: Order) -> None:
        """
        Pass it on.
        """
        self._tell(lambda observer: observer.orderTaken(order))

    def orderStepped(self, order: Order, verdict: Verdict, text: str) -> None:
        """
        Pass it on.
        """
        self._tell(lambda observer: observer.orderStepped(order, verdict, text))

    def orderMoved(self, order: Order) -> None:
        """
        Pass it on.
        """
        self._tell(lambda observer: observer.orderMoved(order))

    def orderChanged(self, order: Order) -> None:
        """
        Pass it on.
        """
        self._tell(lambda observer: observer.orderChanged(order))

    def orderEnded(self, order: Order) -> None:
        """
        Pass it on.
        """
        self._tell(lambda observer: observer.orderEnded(order))

    def orderRemoved(self, order: Order) -> None:
        """
        Pass it on.
        """
        self._tell(lambda observer: observer.orderRemoved(order))

    def _tell(self, say: Callable[[ISchedulerObserver], None]) -> None:
        for observer in self._observers:
            try:
                say(observer)
            except Exception:
                self._log.failure("An observer of tasks and orders failed")


@implementer(ISchedulerObserver)
class Bystander:
    """
    Hears everything and does nothing: for those who want to hear less.
    """

    def taskQueued(self, task: StartedTask) -> None:
        """
        Do nothing.
        """

    def taskGiven(self, task: StartedTask) -> None:
        """
        Do nothing.
        """

    def taskStarted(self, task: StartedTask) -> None:
        """
        Do nothing.
        """

    def taskPrinted(self, task: StartedTask, stream: Stream, data: bytes) -> None:
        """
        Do nothing.
        """

    def taskEnded(self, task: StartedTask) -> None:
        """
        Do nothing.
        """

    def orderAdded(self, order: Order) -> None:
        """
        Do nothing.
        """

    def orderTaken(self, order: Order) -> None:
        """
        Do nothing.
        """

    def orderStepped(self, order: Order, verdict: Verdict, text: str) -> None:
        """
        Do nothing.
        """

    def orderMoved(self, order: Order) -> None:
        """
        Do nothing.
        """

    def orderChanged(self, order: Order) -> None:
        """
        Do nothing.
        """

    def orderEnded(self, order: Order) -> None:
        """
        Do nothing.
        """

    def orderRemoved(self, order: Order) -> None:
        """
        Do nothing.
        """


@implementer(ITaskLedger)
class Forgetful:
    """
    Numbers tasks from 1 and remembers none.
    """

    lasting = False

    def __init__(self) -> None:
        self._numbers = count(1)

    def together(self) -> AbstractContextManager[None]:
        """
        Do nothing.
        """
        return nullcontext()

    def stands(self, definition: NewOrder) -> None:
        """
        Do nothing.
        """

    def standsNot(self, chain: str, identifier: str) -> None:
        """
        Do nothing.
        """

    def taskLeaves(self, task: StartedTask, uuid: str, remote: str, key: str) -> None:
        """
        Do nothing.
        """

    def whenKept(self) -> None:
        """
        Do nothing.
        """

    def taskReturns(self, task: StartedTask, uuid: str) -> None:
        """
        Do nothing.
        """

    def nextNumber(self) -> int:
        """
        Count.
        """
        return next(self._numbers)

    def taskStarts(self, task: StartedTask, message: TaskStarted) -> None:
        """
        Do nothing.
        """

    def taskEnds(self, task: StartedTask, message: TaskEnded, outcome: Outcome) -> None:
        """
        Do nothing.
        """
