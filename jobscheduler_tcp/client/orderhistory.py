"""
The history of orders: what is read of it. L{client.orderstore} writes it.
"""

from __future__ import annotations

from dataclasses import dataclass

from jobscheduler_tcp.client.database import Database, Row
from jobscheduler_tcp.client.order import Verdict
from jobscheduler_tcp.outcome import Reason

_COLUMNS = "id, number, chain, order_id, title, cause, state, began, ended, removed"
_STEPS = (
    "SELECT step.task, step.state, step.job, step.began, step.ended, verdict, step.text,"
    " tasks.reason, tasks.exit_code FROM order_steps AS step"
    " LEFT JOIN tasks ON tasks.id = step.task WHERE order_number = ? ORDER BY step.task"
)


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """
    What the history knows of one run of an order. Times are seconds since 1970
    by the client's clock.

    @ivar entry: counts the runs, in the order in which they began.
    @ivar number: that of L{Order<jobscheduler_tcp.client.order.Order>}.
    @ivar chain: the path of its job chain without the leading slash.
    @ivar cause: C{order} for one that was added by a command, C{file} for one
        that stands in a file.
    @ivar state: at its end; where it began, while it is under way.
    @ivar began: when it was first worked on; 0 if it never was.
    @ivar ended: C{None} while it is under way.
    @ivar removed: whether it did not come to its end.
    """

    entry: int
    number: int
    chain: str
    id: str
    title: str
    cause: str
    state: str
    began: float
    ended: float | None
    removed: bool


@dataclass(frozen=True, slots=True)
class StepRecord:
    """
    A task that worked on an order, and is over.

    @ivar task: its number.
    @ivar reason: of the task's outcome; C{None} if that is not known.
    @ivar exitCode: likewise.
    @ivar text: what became of it, for people.
    """

    task: int
    state: str
    job: str
    began: float
    ended: float
    verdict: Verdict
    text: str
    reason: Reason | None
    exitCode: int | None


async def readOrders(
    database: Database, chain: str, identifier: str, before: int, count: int
) -> list[OrderRecord]:
    """
    Read runs of orders; L{History.ordersOf<jobscheduler_tcp.client.history.History.ordersOf>}.
    """
    where, values = ["1"], list[object]()
    for sql, value in (("chain = ?", chain), ("order_id = ?", identifier), ("id < ?", before)):
        if value:
            where.append(sql)
            values.append(value)
    sql = (
        f"SELECT {_COLUMNS} FROM order_history WHERE {' AND '.join(where)}"  # noqa: S608
        " ORDER BY id DESC LIMIT ?"
    )
    return [_record(row) for row in await database.read(sql, (*values, count))]


async def readSteps(database: Database, number: int) -> list[StepRecord]:
    """
    Read the steps of an order; L{History.stepsOf<jobscheduler_tcp.client.history.History.stepsOf>}.
    """
    return [_step(row) for row in await database.read(_STEPS, (number,))]


def _record(row: Row) -> OrderRecord:
    entry, number, chain, identifier, title, cause, state, began, ended, removed = row
    return OrderRecord(
        entry, number, chain, identifier, title, cause, state, began, ended, bool(removed)
    )


def _step(row: Row) -> StepRecord:
    task, state, job, began, ended, verdict, text, reason, exitCode = row
    known = Reason(reason) if reason is not None else None
    return StepRecord(task, state, job, began, ended, Verdict(verdict), text, known, exitCode)
