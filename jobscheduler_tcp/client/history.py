"""
The history of tasks: what is written when, and read again.

Nothing here waits. A row begins when a task gets its number; its UUID is written
before its remote is asked for it, and its end before the remote is told that we
know it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.client.database import Database, Row
from jobscheduler_tcp.client.observers import Bystander
from jobscheduler_tcp.client.orderhistory import OrderRecord, StepRecord, readOrders, readSteps
from jobscheduler_tcp.client.orderstore import OrderStore
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.interfaces import ITaskLedger
from jobscheduler_tcp.messages import TaskEnded, TaskStarted
from jobscheduler_tcp.outcome import Outcome, Reason

if TYPE_CHECKING:
    from jobscheduler_tcp.client.order import NewOrder
    from jobscheduler_tcp.client.startedtask import StartedTask

# Numbers are reserved in the file before they are given out, so that there are
# as many for what one document may start (1,024 elements), and more while the
# disk is busy. What was reserved when a client is killed is passed over.
RESERVE = 2000

# So many are given out until the reserve is filled up again.
_USED = 200

# The most entries that are read at once, as in JobScheduler (protocol document,
# 6.1).
MOST = 1000

_COLUMNS = (
    "id, job, process_class, name, cause, order_chain, order_id, parameters, enqueued, start_at,"
    " uuid, began, ended, remote_began, remote_ended, seconds, reason, text, exit_code, signal,"
    " errno, pid, user_seconds, system_seconds, max_resident, stdout_size, stderr_size,"
    " stdout_sha256, stderr_sha256"
)
_QUEUED = (
    "INSERT INTO tasks (id, job, process_class, name, cause, order_chain, order_id, parameters,"
    " enqueued, start_at, environment) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_LEAVES = "UPDATE tasks SET uuid = ?, remote = ?, attach_key = ? WHERE id = ?"
_RETURNED = (
    "UPDATE tasks SET uuid = '', remote = '', attach_key = '' WHERE id = ? AND uuid = ?"
    " AND reason IS NULL"
)
_STARTED = "UPDATE tasks SET uuid = ?, began = ?, remote_began = ?, pid = ? WHERE id = ?"
_ENDED = (
    "UPDATE tasks SET uuid = ?, began = ?, ended = ?, remote_ended = coalesce(?, remote_ended),"
    " seconds = ?, reason = ?, text = ?, exit_code = ?, signal = ?, errno = ?, pid = ?,"
    " user_seconds = ?, system_seconds = ?, max_resident = ?, stdout_size = ?, stderr_size = ?,"
    " stdout_sha256 = ?, stderr_sha256 = ? WHERE id = ?"
)
_RESERVED = "UPDATE numbers SET next = ? WHERE name = 'task'"


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """
    What the history knows of a task. Times are seconds since 1970, C{None} where
    they are not known.

    @ivar outcome: C{None} while it is not over.
    """

    number: int
    job: str
    processClass: str
    name: str
    cause: str
    orderChain: str
    orderId: str
    parameters: tuple[tuple[str, str], ...]
    enqueued: float
    startAt: float
    uuid: str
    began: float | None
    ended: float | None
    remoteBegan: float | None
    remoteEnded: float | None
    outcome: Outcome | None


@implementer(ITaskLedger)
class History(Bystander):
    """
    Keep what becomes of tasks.

    @ivar orders: keeps what becomes of orders.
    """

    lasting = True
    _log = Logger()

    def __init__(
        self, database: Database, following: int, wallClock: Callable[[], float] = time.time
    ) -> None:
        """
        @param following: the number of the next task
            (L{restored<jobscheduler_tcp.client.restored>}).
        """
        self.orders = OrderStore(database, wallClock)
        self._database = database
        self._following = following
        self._reserved = following + RESERVE
        self._reserving = False
        self._wallClock = wallClock
        self._ends: dict[int, Outcome] = {}

    # ---------------------------------------------------------------- the ledger

    def nextNumber(self) -> int:
        """
        Number a task. No number is ever given twice, whatever becomes of us.

        @raise CommandRefused: it could not be remembered.
        """
        self.requireDisk()
        if self._following == self._reserved:
            raise _noDatabase("it does not answer")
        number = self._following
        self._following += 1
        if self._reserved - self._following <= RESERVE - _USED and not self._reserving:
            self._reserving = True
            upTo = self._following + RESERVE
            self._database.write(_RESERVED, (upTo,)).addCallbacks(
                self._haveReserved, self._failed, (upTo,)
            )
        return number

    def requireDisk(self) -> None:
        """
        Refuse if nothing can be written now.

        @raise CommandRefused: it cannot.
        """
        if self._database.trouble:
            raise _noDatabase(self._database.trouble)

    def whenKept(self) -> Deferred[None]:
        """
        Wait until all that has happened is on the disk.
        """
        return self._database.whenCommitted()

    def _haveReserved(self, _: None, upTo: int) -> None:
        self._reserving = False
        self._reserved = upTo

    def together(self) -> AbstractContextManager[None]:
        """
        Have all that happens meanwhile committed at once, or nothing of it.
        """
        return self.orders.together()

    def stands(self, definition: NewOrder) -> None:
        """
        Remember the order of a file as the file is now.
        """
        self.orders.stands(definition)

    def standsNot(self, chain: str, identifier: str) -> None:
        """
        There is no such file any more.
        """
        self.orders.standsNot(chain, identifier)

    def taskLeaves(self, task: StartedTask, uuid: str, remote: str, key: str) -> Deferred[None]:
        """
        Its remote will be asked for it.
        """
        return self._database.write(_LEAVES, (uuid, remote, key, task.number))

    def taskReturns(self, task: StartedTask, uuid: str) -> None:
        """
        Its remote did not begin it.
        """
        self._database.write(_RETURNED, (task.number, uuid)).addErrback(self._failed)

    def taskStarts(self, task: StartedTask, message: TaskStarted) -> None:
        """
        The remote says that its program runs.
        """
        uuid = task.given.task if task.given is not None else ""
        values = (uuid, self._wallClock(), message.clock, message.pid, task.number)
        self._database.write(_STARTED, values).addErrback(self._failed)

    def taskEnds(self, task: StartedTask, message: TaskEnded, outcome: Outcome) -> Deferred[None]:
        """
        The remote says that it is over.

        @return: fires when that is on the disk.
        """
        self._ends[task.number] = outcome
        return self._end(task, outcome, self._wallClock(), message.clock or None)

    # ----------------------------------------------------------------- observing

    def taskQueued(self, task: StartedTask) -> None:
        """
        It has its number.
        """
        order = task.order
        values = (
            task.number,
            task.job.name,
            task.job.processClass,
            task.name,
            task.cause,
            order.chain if order is not None else "",
            order.id if order is not None else "",
            json.dumps(task.parameters),
            task.enqueued,
            task.startAt,
            json.dumps(task.environment),
        )
        self._database.write(_QUEUED, values).addErrback(self._failed)

    def taskEnded(self, task: StartedTask) -> None:
        """
        Keep its outcome, unless it is what the remote said.
        """
        outcome = task.outcome
        if outcome is not None and self._ends.pop(task.number, None) != outcome:
            self._end(task, outcome, task.ended, None).addErrback(self._failed)

    # ------------------------------------------------------------------- reading

    async def task(self, number: int) -> TaskRecord | None:
        """
        Find a task.
        """
        sql = f"SELECT {_COLUMNS} FROM tasks WHERE id = ?"  # noqa: S608
        rows = await self._database.read(sql, (number,))
        return _record(rows[0]) if rows else None

    async def tasksOf(
        self, job: str = "", *, before: int = 0, after: int = 0, count: int = 10
    ) -> list[TaskRecord]:
        """
        Tasks that are over, the latest first.

        @param job: its path without the leading slash; empty for all jobs.
        @param before: only tasks with a smaller number, unless 0.
        @param after: the next ones after this number, unless 0; the earliest
            come first then.
        """
        where, values = ["reason IS NOT NULL"], list[object]()
        for sql, value in (("job = ?", job), ("id < ?", before), ("id > ?", after)):
            if value:
                where.append(sql)
                values.append(value)
        direction = "ASC" if after else "DESC"
        sql = (
            f"SELECT {_COLUMNS} FROM tasks WHERE {' AND '.join(where)}"  # noqa: S608
            f" ORDER BY id {direction} LIMIT ?"
        )
        rows = await self._database.read(sql, (*values, min(count, MOST)))
        return [_record(row) for row in rows]

    async def ordersOf(
        self, chain: str = "", identifier: str = "", *, before: int = 0, count: int = 10
    ) -> list[OrderRecord]:
        """
        Runs of orders that were worked on or removed, the latest first: those
        that are over, and those under way (C{ended} is C{None}).

        @param chain: its path without the leading slash; empty for all chains.
        @param identifier: of an order; empty for all.
        @param before: only those with a smaller C{entry}, unless 0.
        """
        return await readOrders(self._database, chain, identifier, before, min(count, MOST))

    async def stepsOf(self, number: int) -> list[StepRecord]:
        """
        The tasks that worked on an order and are over, the earliest first.

        @param number: of the order, as in L{OrderRecord}.
        """
        return await readSteps(self._database, number)

    def stop(self) -> Deferred[None]:
        """
        Give the numbers back that were not used.

        @return: fires when all is written.
        """
        self._database.write(_RESERVED, (self._following,)).addErrback(self._failed)
        return self._database.whenWritten()

    # ------------------------------------------------------------------- writing

    def _end(
        self, task: StartedTask, outcome: Outcome, now: float, remote: float | None
    ) -> Deferred[None]:
        return self._database.write(
            _ENDED,
            (
                task.given.task if task.given is not None else "",
                task.output.began or None,
                now,
                remote,
                outcome.seconds,
                outcome.reason.value,
                outcome.text,
                outcome.exitCode,
                outcome.signal,
                outcome.errno,
                outcome.pid,
                outcome.userSeconds,
                outcome.systemSeconds,
                outcome.maxResident,
                outcome.stdoutSize,
                outcome.stderrSize,
                outcome.stdoutDigest,
                outcome.stderrDigest,
                task.number,
            ),
        )

    def _failed(self, failure: Failure) -> None:
        self._log.failure("Something could not be written into the history", failure)


def _noDatabase(why: str) -> CommandRefused:
    text = f"Scheduler database cannot be accessed due to a database problem ({why})"
    return CommandRefused("SCHEDULER-184", text)


def _record(row: Row) -> TaskRecord:
    outcome = None
    if row[16] is not None:
        outcome = Outcome(
            Reason(row[16]),
            text=row[17],
            exitCode=row[18],
            signal=row[19],
            errno=row[20],
            pid=row[21],
            seconds=row[15],
            userSeconds=row[22],
            systemSeconds=row[23],
            maxResident=row[24],
            stdoutSize=row[25],
            stderrSize=row[26],
            stdoutDigest=row[27],
            stderrDigest=row[28],
        )
    parameters = tuple((str(name), str(value)) for name, value in json.loads(row[7]))
    number, job, processClass, name, cause, chain, order = row[:7]
    enqueued, startAt, uuid, began, ended, remoteBegan, remoteEnded = row[8:15]
    return TaskRecord(
        number,
        job,
        processClass,
        name,
        cause,
        chain,
        order,
        parameters,
        enqueued,
        startAt,
        uuid,
        began,
        ended,
        remoteBegan,
        remoteEnded,
        outcome,
    )
