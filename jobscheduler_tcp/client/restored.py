"""
What a client finds in its history when it starts: the tasks that were under way
when it ended, however that was, and its orders.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from sqlite3 import Connection

from jobscheduler_tcp.client.database import migrate, migrations, opened
from jobscheduler_tcp.client.history import RESERVE
from jobscheduler_tcp.client.order import NewOrder, Order, Pairs
from jobscheduler_tcp.client.orderstore import keptNumbers, keptOrders, keptStanding
from jobscheduler_tcp.errors import HistoryUnusable
from jobscheduler_tcp.outcome import Outcome, Reason

_UNDER_WAY = (
    "SELECT id, job, process_class, name, cause, parameters, environment, enqueued, start_at, uuid,"
    " remote, attach_key, coalesce(began, 0) FROM tasks WHERE reason IS NULL ORDER BY id"
)
_OVER = "SELECT job, reason, text, exit_code, signal FROM tasks WHERE id = ? AND reason IS NOT NULL"


@dataclass(frozen=True, slots=True)
class RestoredTask:
    """
    A task that was under way.

    @ivar uuid: under which its remote was asked for it, or was about to be;
        empty if it waited.
    @ivar remote: the address of that remote.
    @ivar key: a secret by which the remote can be asked after it.
    @ivar began: when its program was said to run, seconds since 1970; 0 if it
        was not.
    """

    number: int
    job: str
    processClass: str
    name: str
    cause: str
    parameters: Pairs
    environment: Pairs
    enqueued: float
    startAt: float
    uuid: str
    remote: str
    key: str = field(repr=False)
    began: float


@dataclass(frozen=True, slots=True)
class Restored:
    """
    What there was.

    @ivar nextTask: the number of the next task.
    @ivar tasks: in the order of their numbers.
    @ivar ended: jobs, numbers and outcomes of those that are over, but for the
        last lines of their logs.
    @ivar unknown: the numbers of tasks that have logs, and never had begun.
    @ivar orders: in the order in which they came.
    @ivar standing: the orders of files, by chain and id, as the files were.
    @ivar nextOrder: the number of the next order.
    @ivar nextIds: the next id that is made for an order of each chain.
    """

    nextTask: int = 1
    tasks: tuple[RestoredTask, ...] = ()
    orders: tuple[Order, ...] = ()
    standing: dict[tuple[str, str], NewOrder] = field(default_factory=dict)
    nextOrder: int = 1
    nextIds: dict[str, int] = field(default_factory=dict)
    ended: tuple[tuple[str, int, Outcome], ...] = ()
    unknown: tuple[int, ...] = ()


def restoredFrom(path: Path, logged: Iterable[int] = ()) -> Restored:
    """
    Make a history ready to be written, before a reactor runs, and read what was
    under way.

    @param logged: the numbers of tasks whose logs are not written to their ends.
    @raise HistoryUnusable: it is none, or cannot be written.
    """
    with opened(path) as connection:
        migrate(connection, path, migrations())
        connection.execute("BEGIN IMMEDIATE")
        ((following,),) = connection.execute(
            "SELECT max((SELECT next FROM numbers WHERE name = 'task'),"
            " (SELECT coalesce(max(id), 0) + 1 FROM tasks))"
        )
        connection.execute(
            "UPDATE numbers SET next = ? WHERE name = 'task'", (following + RESERVE,)
        )
        connection.execute("COMMIT")
        try:
            return _read(connection, int(following), logged)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise HistoryUnusable(str(path), f"it cannot be understood: {error}") from error


def _read(connection: Connection, following: int, logged: Iterable[int]) -> Restored:
    tasks = []
    for row in connection.execute(_UNDER_WAY):
        pairs = (tuple((name, value) for name, value in json.loads(text)) for text in row[5:7])
        tasks.append(RestoredTask(*row[:5], *pairs, *row[7:]))
    ended = []
    unknown = set(logged) - {task.number for task in tasks}
    for number in list(unknown):
        for job, reason, text, exitCode, signal in connection.execute(_OVER, (number,)):
            outcome = Outcome(Reason(reason), text, exitCode=exitCode, signal=signal)
            ended.append((job, number, outcome))
            unknown.discard(number)
    nextOrder, nextIds = keptNumbers(connection)
    return Restored(
        following,
        tuple(tasks),
        tuple(keptOrders(connection)),
        keptStanding(connection),
        nextOrder,
        nextIds,
        tuple(ended),
        tuple(unknown),
    )
