"""
The way of orders, line by line into the log.
"""

from __future__ import annotations

from twisted.logger import Logger
from zope.interface import implementer

from jobscheduler_tcp.client.order import Order, Verdict
from jobscheduler_tcp.client.startedtask import StartedTask
from jobscheduler_tcp.interfaces import ISchedulerObserver
from jobscheduler_tcp.messages import Stream


@implementer(ISchedulerObserver)
class OrderLog:
    """
    Logs what becomes of orders. Tasks log themselves.
    """

    _log = Logger()

    def taskQueued(self, task: StartedTask) -> None:
        """
        Its start will be told.
        """

    def taskGiven(self, task: StartedTask) -> None:
        """
        Tell why it is there, in JobScheduler's words.
        """
        order = task.order
        cause = task.cause if order is None else f"Order {order.chain}:{order.id}"
        self._log.info(
            "SCHEDULER-930  Task {task} of job {job} - cause: {cause}",
            task=task.number,
            job=task.job.name,
            cause=cause,
        )

    def taskStarted(self, task: StartedTask) -> None:
        """
        The client's job tells it.
        """

    def taskPrinted(self, task: StartedTask, stream: Stream, data: bytes) -> None:
        """
        The task's own log has it.
        """

    def taskEnded(self, task: StartedTask) -> None:
        """
        It is told already.
        """

    def orderAdded(self, order: Order) -> None:
        """
        Tell it.
        """
        self._tell(order, "is added, state {state}", state=order.state)

    def orderTaken(self, order: Order) -> None:
        """
        The start of its task tells it.
        """

    def orderStepped(self, order: Order, verdict: Verdict, text: str) -> None:
        """
        Tell what went wrong.
        """
        if verdict is not Verdict.SUCCEEDED:
            told = "state {state}: task {task} {verdict}: {text}"
            self._tell(
                order,
                told,
                state=order.state,
                task=order.task,
                verdict=verdict.value,
                text=text,
            )

    def orderMoved(self, order: Order) -> None:
        """
        Tell it.
        """
        self._tell(order, "goes to state {state}", state=order.state)

    def orderChanged(self, order: Order) -> None:
        """
        Who changed it knows.
        """

    def orderEnded(self, order: Order) -> None:
        """
        Tell it.
        """
        self._tell(order, "came to its end: {state}", state=order.state)

    def orderRemoved(self, order: Order) -> None:
        """
        Tell it.
        """
        self._tell(order, "is removed, state {state}", state=order.state)

    def _tell(self, order: Order, format: str, /, **facts: object) -> None:
        self._log.info(
            f"Order {{chain}}:{{order}} {format}", chain=order.chain, order=order.id, **facts
        )
