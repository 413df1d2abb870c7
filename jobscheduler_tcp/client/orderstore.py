"""
Orders on the disk: those that are in a job chain now, so that they outlive the
client, and what became of all.

An order is written whole, whenever something about it has changed, in one
transaction with whatever else that change has caused (L{OrderStore.together}).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from sqlite3 import Connection
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobscheduler_tcp.client.database import Database, Row
from jobscheduler_tcp.client.observers import Bystander
from jobscheduler_tcp.client.order import NEVER, NewOrder, Order, Verdict

_WRITE = f"INSERT OR REPLACE INTO orders VALUES ({', '.join('?' * 25)})"  # noqa: S608
_DELETE = "DELETE FROM orders WHERE number = ?"
_BEGUN = (
    "INSERT OR IGNORE INTO order_history (number, chain, order_id, title, cause, state, began)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_ENDED = (
    "INSERT INTO order_history (number, chain, order_id, title, cause, state, began, ended,"
    " removed)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (number) DO UPDATE SET"
    " title = excluded.title, state = excluded.state, ended = excluded.ended,"
    " removed = excluded.removed"
)
_STEPPED = "INSERT OR REPLACE INTO order_steps VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_NUMBERED = "INSERT OR REPLACE INTO numbers VALUES (?, ?)"
_STANDS = "INSERT OR REPLACE INTO standing_orders VALUES (?, ?, ?)"
_STANDS_NOT = "DELETE FROM standing_orders WHERE chain = ? AND id = ?"

# Before the name of a chain, the name of what numbers its orders.
_IDS = "order of "


class OrderStore(Bystander):
    """
    Write what becomes of orders.
    """

    _log = Logger()

    def __init__(self, database: Database, wallClock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._wallClock = wallClock
        self._changed: dict[Order, bool] = {}
        self._depth = 0

    @contextmanager
    def together(self) -> Iterator[None]:
        """
        Have all that changes meanwhile committed at once, or nothing of it.
        """
        with self._database.together():
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if not self._depth:
                    self._flush()

    def stands(self, definition: NewOrder) -> None:
        """
        Remember the order of a file as the file is now.
        """
        self._write(_STANDS, definition.chain, definition.id, _json(definition))

    def standsNot(self, chain: str, identifier: str) -> None:
        """
        There is no such file any more.
        """
        self._write(_STANDS_NOT, chain, identifier)

    # ----------------------------------------------------------------- observing

    def orderAdded(self, order: Order) -> None:
        """
        Write it, and do not make its id again.
        """
        if not order.asked.id:
            self._write(_NUMBERED, f"{_IDS}{order.chain}", int(order.id) + 1)
        self._keep(order)

    def orderTaken(self, order: Order) -> None:
        """
        Write which task works on it, and that it has begun.
        """
        self._write(_BEGUN, *_past(order), order.began)
        self._keep(order)

    def orderStepped(self, order: Order, verdict: Verdict, text: str) -> None:
        """
        Write how the step came out; where it goes is written with it.
        """
        now = self._wallClock()
        step = (order.number, order.task, order.state, order.job, order.inProcessSince, now)
        self._write(_STEPPED, *step, verdict.value, text)
        self._keep(order)

    def orderMoved(self, order: Order) -> None:
        """
        Write it.
        """
        self._keep(order)

    def orderChanged(self, order: Order) -> None:
        """
        Write it.
        """
        self._keep(order)

    def orderEnded(self, order: Order) -> None:
        """
        It is history.
        """
        self._write(_ENDED, *_past(order), order.began, order.ended, False)
        self._keep(order, gone=True)

    def orderRemoved(self, order: Order) -> None:
        """
        It is history, too.
        """
        self._write(_ENDED, *_past(order), order.began, order.ended or self._wallClock(), True)
        self._keep(order, gone=True)

    def _keep(self, order: Order, *, gone: bool = False) -> None:
        self._changed[order] = gone or self._changed.get(order, False)
        if not self._depth:
            self._flush()

    def _flush(self) -> None:
        changed, self._changed = self._changed, {}
        for order, gone in changed.items():
            if gone:
                self._write(_DELETE, order.number)
            else:
                self._write(_WRITE, *_row(order))

    def _write(self, sql: str, *values: object) -> Deferred[None]:
        return self._database.write(sql, values).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        self._log.failure("Something of an order could not be written", failure)


def keptOrders(connection: Connection) -> list[Order]:
    """
    Read the orders that there are, in the order in which they came.
    """
    return [_order(row) for row in connection.execute("SELECT * FROM orders ORDER BY number")]


def keptStanding(connection: Connection) -> dict[tuple[str, str], NewOrder]:
    """
    Read the orders of files as the files were.
    """
    rows = connection.execute("SELECT chain, id, definition FROM standing_orders")
    return {(chain, identifier): _asked(json.loads(text)) for chain, identifier, text in rows}


def keptNumbers(connection: Connection) -> tuple[int, dict[str, int]]:
    """
    Read the number of the next order, and the next ids of each chain.
    """
    ((following,),) = connection.execute(
        "SELECT 1 + max((SELECT coalesce(max(number), 0) FROM orders),"
        " (SELECT coalesce(max(number), 0) FROM order_history))"
    )
    rows = connection.execute("SELECT name, next FROM numbers")
    ids = {name[len(_IDS) :]: number for name, number in rows if name.startswith(_IDS)}
    return following, ids


def _past(order: Order) -> tuple[object, ...]:
    cause = "file" if order.asked.standing else "order"
    return order.number, order.chain, order.id, order.title, cause, order.state


def _row(order: Order) -> tuple[object, ...]:
    return (
        order.number,
        order.chain,
        order.id,
        order.state,
        order.initialState,
        order.endState,
        order.title,
        order.priority,
        json.dumps(order.parameters),
        order.created,
        None if order.at == NEVER else order.at,
        order.suspended,
        order.setBack,
        order.setbacks,
        order.task,
        order.inProcessSince,
        order.arrived,
        order.began,
        order.touched,
        order.lost,
        order.text,
        order.removed,
        order.entry,
        _json(order.asked),
        None if order.successor is None else _json(order.successor),
    )


def _order(row: Row) -> Order:
    number, chain, identifier, state, initial, end, title, priority, parameters = row[:9]
    created, at, suspended, setBack, setbacks, task, since, arrived, began = row[9:18]
    touched, lost, text, removed, position, asked, successor = row[18:]
    return Order(
        number,
        _asked(json.loads(asked)),
        identifier,
        chain,
        state,
        initial,
        end,
        title,
        priority,
        _pairs(json.loads(parameters)),
        created,
        NEVER if at is None else at,
        bool(suspended),
        setBack=bool(setBack),
        setbacks=setbacks,
        task=task,
        inProcessSince=since,
        arrived=arrived,
        began=began,
        touched=bool(touched),
        lost=bool(lost),
        text=text,
        removed=bool(removed),
        successor=None if successor is None else _asked(json.loads(successor)),
        entry=position,
    )


def _json(new: NewOrder) -> str:
    return json.dumps(asdict(new) | {"at": None if new.at == NEVER else new.at})


def _asked(said: Mapping[str, Any]) -> NewOrder:
    at = NEVER if said["at"] is None else said["at"]
    return NewOrder(**{**said, "at": at, "parameters": _pairs(said["parameters"])})


def _pairs(said: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in said)
