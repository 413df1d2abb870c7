"""
A database file with one writer, whose thread alone ever waits for the disk.

What is written together is committed together: everything that came while the
thread was busy is its next transaction.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobscheduler_tcp.errors import HistoryUnusable

# Seconds to wait for another program that has the file locked, such as a backup.
BUSY = 5.0

# Seconds after which a write that failed is tried again.
RETRY = 1.0

# The most writes in one transaction.
_BATCH = 1000

# What the next try may not have: a full disk, a lock, a disk that does not
# answer. Anything else would fail for ever.
_PASSING = (sqlite3.OperationalError, sqlite3.DatabaseError)
_LASTING = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError)

Row: TypeAlias = tuple[Any, ...]  # what a column may hold, only its reader knows

_T = TypeVar("_T")


class Cursor(Protocol):
    """
    What is asked of a cursor.
    """

    def execute(self, sql: str, parameters: Sequence[object] = (), /) -> object:
        """
        Do it.
        """

    def fetchall(self) -> list[Row]:
        """
        Give what was found.
        """


class Run(Protocol):
    """
    How something is done in the thread, such as C{ConnectionPool.runInteraction}.
    """

    def __call__(self, work: Callable[[Cursor], _T], /) -> Deferred[_T]:
        """
        Do it, and commit unless it raises.
        """


@dataclass(slots=True, eq=False)
class _Write:
    """
    What is committed together or not at all, and who waits for that.
    """

    statements: list[tuple[str, Sequence[object]]] = field(default_factory=list)
    written: list[Deferred[None]] = field(default_factory=list)


class Database:
    """
    Write and read, without waiting.

    @ivar trouble: why nothing can be written now; empty while all is well.
    """

    _log = Logger()

    def __init__(self, run: Run, clock: IReactorTime) -> None:
        self.trouble = ""
        self._run = run
        self._clock = clock
        self._writes: deque[_Write] = deque()
        self._together: _Write | None = None
        self._busy = False
        self._batch = _BATCH
        self._timer: IDelayedCall | None = None
        self._idle: list[Deferred[None]] = []

    def write(self, sql: str, parameters: Sequence[object] = ()) -> Deferred[None]:
        """
        Write something, after all that was to be written before.

        @return: fires when it is committed, however long that takes; it fails if
            it never can be.
        """
        written: Deferred[None] = Deferred()
        with self.together() as write:
            write.statements.append((sql, parameters))
            write.written.append(written)
        return written

    @contextmanager
    def together(self) -> Iterator[_Write]:
        """
        Have all that is written meanwhile committed at once, or nothing of it.
        """
        if self._together is not None:
            yield self._together
            return
        self._together = write = _Write()
        try:
            yield write
        finally:
            self._together = None
            if write.written:
                self._writes.append(write)
                self._work()

    def read(self, sql: str, parameters: Sequence[object] = ()) -> Deferred[list[Row]]:
        """
        Read rows.
        """

        def work(cursor: Cursor) -> list[Row]:
            cursor.execute(sql, parameters)
            return cursor.fetchall()

        return self._run(work)

    def whenCommitted(self) -> Deferred[None]:
        """
        Wait until all that was to be written before is committed, or never can
        be.
        """
        committed: Deferred[None] = Deferred()
        if self._together is not None:
            self._together.written.append(committed)
        elif self._writes:
            self._writes.append(_Write([], [committed]))
        else:
            committed.callback(None)
        return committed

    def whenWritten(self) -> Deferred[None]:
        """
        Wait until nothing is left to be written.
        """
        idle: Deferred[None] = Deferred(self._idle.remove)
        self._idle.append(idle)
        self._work()
        return idle

    def stop(self) -> None:
        """
        Try nothing more.
        """
        self._writes.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _work(self) -> None:
        if self._busy or self._timer is not None:
            return
        if not self._writes:
            idle, self._idle = self._idle, []
            for each in idle:
                each.callback(None)
            return
        batch = [self._writes[at] for at in range(min(self._batch, len(self._writes)))]

        def work(cursor: Cursor) -> None:
            cursor.execute("BEGIN IMMEDIATE")
            for each in batch:
                for sql, parameters in each.statements:
                    cursor.execute(sql, parameters)

        self._busy = True
        self._run(work).addCallbacks(self._written, self._failed, (batch,), {}, (batch,))

    def _written(self, _: None, batch: list[_Write]) -> None:
        self._busy = False
        self._batch = _BATCH
        if self.trouble:
            self._log.info("The history can be written again")
            self.trouble = ""
        self._forget(batch)
        for each in batch:
            for written in each.written:
                written.callback(None)
        self._work()

    def _failed(self, failure: Failure, batch: list[_Write]) -> None:
        self._busy = False
        if not failure.check(*_PASSING, OSError) or failure.check(*_LASTING):
            # One of them is our mistake: find out which, the others count.
            if len(batch) == 1:
                self._forget(batch)
                for written in batch[0].written:
                    written.errback(failure)
            self._batch = 1
            self._work()
            return
        if not self.trouble:
            self._log.error(
                "The history cannot be written: {why}; no task is started until it can",
                why=failure.getErrorMessage(),
            )
        self.trouble = failure.getErrorMessage() or failure.value.__class__.__name__
        self._timer = self._clock.callLater(RETRY, self._again)

    def _again(self) -> None:
        self._timer = None
        self._work()

    def _forget(self, batch: list[_Write]) -> None:
        for _ in batch:
            if self._writes:  # unless stopped meanwhile
                self._writes.popleft()


def pool(path: Path, reactor: object) -> ConnectionPool:
    """
    Make the thread of a database and its connection, both when they are used
    first.
    """
    return ConnectionPool(
        "sqlite3",
        str(path),
        timeout=BUSY,
        isolation_level=None,
        check_same_thread=False,  # the pool closes it from another
        cp_min=1,
        cp_max=1,
        cp_noisy=False,
        cp_openfun=_configure,
        cp_reactor=reactor,
    )


def runIn(connections: ConnectionPool) -> Run:
    """
    How something is done in the thread of a pool.
    """
    return cast(Run, connections.runInteraction)  # it has no types


def _configure(connection: sqlite3.Connection) -> None:
    # FULL: what was committed outlives a power cut.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """
    Open a database file here and now, for what is done before a reactor runs.

    @raise HistoryUnusable: it cannot be used.
    """
    try:
        with closing(sqlite3.connect(path, timeout=BUSY, isolation_level=None)) as connection:
            _configure(connection)
            yield connection
    except (sqlite3.Error, OSError) as error:
        raise HistoryUnusable(str(path), str(error)) from error


def migrations() -> list[tuple[int, str]]:
    """
    The steps that lead to the schema of this version: their numbers and SQL.
    """
    folder = files("jobscheduler_tcp.client") / "migrations"
    found = [each for each in folder.iterdir() if each.name.endswith(".sql")]
    return sorted((int(each.name[:4]), each.read_text("utf-8")) for each in found)


def migrate(connection: sqlite3.Connection, path: Path, steps: Sequence[tuple[int, str]]) -> None:
    """
    Bring a database to the latest schema, step by step. Each step is done whole
    or not at all.

    @raise HistoryUnusable: it was written by a later version.
    """
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, applied REAL)"
    )
    ((version,),) = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version")
    latest = max(number for number, _ in steps)
    if version > latest:
        raise HistoryUnusable(
            str(path), f"its schema has version {version}, this program knows {latest}"
        )
    for number, sql in steps:
        if number > version:
            # executescript takes no parameters; these are numbers.
            applied = f"INSERT INTO schema_version VALUES ({number:d}, {time.time()!r});"  # noqa: S608
            connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\n{applied}\nCOMMIT;")
