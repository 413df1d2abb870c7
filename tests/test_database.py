"""
Tests for L{jobscheduler_tcp.client.database}.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobscheduler_tcp.client.database import (
    RETRY,
    Cursor,
    Database,
    migrate,
    migrations,
    opened,
    pool,
    runIn,
)
from jobscheduler_tcp.errors import HistoryUnusable


class SlowThread:
    """
    A thread that does its work when the test says so.
    """

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.execute("CREATE TABLE said (word TEXT NOT NULL)")
        self.waiting: list[Callable[[], None]] = []
        self.error: Exception | None = None

    def __call__(self, work: Callable[[Cursor], object]) -> Deferred[object]:
        """
        Do it later.
        """
        done: Deferred[object] = Deferred()

        def do() -> None:
            try:
                if self.error is not None:
                    raise self.error
                result = work(self.connection.cursor())
                self.connection.commit()
            except Exception:
                self.connection.rollback()
                done.errback(Failure())
            else:
                done.callback(result)

        self.waiting.append(do)
        return done

    def do(self) -> None:
        """
        Do what waits.
        """
        self.waiting.pop(0)()

    @property
    def said(self) -> list[str]:
        """
        What is in the table.
        """
        return [word for (word,) in self.connection.execute("SELECT word FROM said")]


class DatabaseTests(SynchronousTestCase):
    """
    L{Database}: written in order, committed together, never lost.
    """

    def setUp(self) -> None:
        """
        A database whose thread is slow.
        """
        self.clock = Clock()
        self.thread = SlowThread()
        self.addCleanup(self.thread.connection.close)
        self.database = Database(self.thread, self.clock)  # type: ignore[arg-type]  # it is generic

    def say(self, word: str | None) -> Deferred[None]:
        """
        Write a word.
        """
        return self.database.write("INSERT INTO said VALUES (?)", (word,))

    def test_together(self) -> None:
        """
        What comes while the thread is busy is one transaction; each Deferred
        fires when its own is committed.
        """
        first, second, third = (self.say(word) for word in ("one", "two", "three"))
        self.assertNoResult(first)
        self.thread.do()
        self.successResultOf(first)
        self.assertNoResult(second)
        self.assertEqual(self.thread.said, ["one"])

        self.thread.do()
        self.successResultOf(second)
        self.successResultOf(third)
        self.assertEqual(self.thread.said, ["one", "two", "three"])
        self.assertEqual(self.thread.waiting, [])

    def test_whole(self) -> None:
        """
        What is written together is committed together or not at all, however
        much else waits; C{whenCommitted} waits for what came before.
        """
        self.successResultOf(self.database.whenCommitted())
        for number in range(1500):
            self.say(f"word {number}")
        with self.database.together():
            good = self.say("good")
            with self.database.together():
                bad = self.say(None)
        committed = self.database.whenCommitted()
        last = self.say("last")
        while not committed.called:
            self.thread.do()
        self.assertEqual(len(self.thread.said), 1500)
        self.failureResultOf(good, sqlite3.IntegrityError)
        self.failureResultOf(bad, sqlite3.IntegrityError)
        self.assertNoResult(last)
        self.thread.do()
        self.successResultOf(last)

    def test_trouble(self) -> None:
        """
        A full disk is told once and tried again each second; what was to be
        written is, in its order, as soon as it can be.
        """
        self.thread.error = sqlite3.OperationalError("database or disk is full")
        first = self.say("one")
        self.thread.do()
        second = self.say("two")
        self.assertEqual(self.database.trouble, "database or disk is full")
        self.assertEqual(self.thread.waiting, [])
        self.clock.advance(RETRY)
        self.thread.do()
        self.assertNoResult(first)

        self.thread.error = None
        self.clock.advance(RETRY)
        self.thread.do()
        self.assertEqual(self.database.trouble, "")
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.thread.said, ["one", "two"])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.flushLoggedErrors()

    def test_mistake(self) -> None:
        """
        What can never be written fails alone; the rest of its transaction is
        written.
        """
        writes = [self.say(word) for word in ("zero", "one", None, "three", "\ud800", "five")]
        while self.thread.waiting:
            self.thread.do()
        self.assertEqual(self.thread.said, ["zero", "one", "three", "five"])
        self.failureResultOf(writes[2], sqlite3.IntegrityError)
        self.failureResultOf(writes[4], UnicodeEncodeError)
        for each in (writes[0], writes[1], writes[3], writes[5]):
            self.successResultOf(each)
        self.assertEqual(self.database.trouble, "")

    def test_whenWritten(self) -> None:
        """
        C{whenWritten} fires when nothing is left, and may be given up.
        """
        self.successResultOf(self.database.whenWritten())
        self.say("one")
        given, waiting = self.database.whenWritten(), self.database.whenWritten()
        given.addErrback(lambda _: None).cancel()
        self.assertNoResult(waiting)
        self.thread.do()
        self.successResultOf(waiting)

    def test_stop(self) -> None:
        """
        After C{stop} nothing is tried again.
        """
        self.thread.error = sqlite3.OperationalError("database is locked")
        self.say("one")
        self.thread.do()
        self.database.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.flushLoggedErrors()


class MigrationTests(SynchronousTestCase):
    """
    L{migrate}: from every older schema to this one.
    """

    def setUp(self) -> None:
        """
        No file yet.
        """
        self.path = Path(self.mktemp())

    def test_new(self) -> None:
        """
        A new file gets every step, once; the steps have the numbers 1, 2, ...
        """
        steps = migrations()
        self.assertEqual([number for number, _ in steps], list(range(1, len(steps) + 1)))
        for _ in range(2):
            with opened(self.path) as connection:
                migrate(connection, self.path, steps)
                versions = connection.execute("SELECT version FROM schema_version").fetchall()
        self.assertEqual(versions, [(number,) for number, _ in steps])

    def test_older(self) -> None:
        """
        An older file keeps what is in it and gets the steps that it has not
        had.
        """
        steps = [(1, "CREATE TABLE words (word TEXT);"), (2, "ALTER TABLE words ADD rank INT;")]
        with opened(self.path) as connection:
            migrate(connection, self.path, steps[:1])
            connection.execute("INSERT INTO words VALUES ('old')")
        with opened(self.path) as connection:
            migrate(connection, self.path, steps)
            self.assertEqual(connection.execute("SELECT * FROM words").fetchall(), [("old", None)])

    def test_whole(self) -> None:
        """
        A step that fails leaves nothing behind, and is done again next time.
        """
        wrong = "CREATE TABLE one (a); INSERT INTO nowhere VALUES (1);"
        with self.assertRaises(HistoryUnusable), opened(self.path) as connection:
            migrate(connection, self.path, [(1, wrong)])
        with opened(self.path) as connection:
            migrate(connection, self.path, [(1, "CREATE TABLE one (a);")])

    def test_newer(self) -> None:
        """
        A file of a later version is not touched.
        """
        with self.assertRaises(HistoryUnusable) as raised, opened(self.path) as connection:
            migrate(connection, self.path, migrations())
            connection.execute("INSERT INTO schema_version VALUES (9999, 0)")
            migrate(connection, self.path, migrations())
        self.assertIn("version 9999", str(raised.exception))

    def test_noDatabase(self) -> None:
        """
        A file that is something else is told by its name.
        """
        self.path.write_text("These are words, and many of them. " * 100)
        with self.assertRaises(HistoryUnusable) as raised, opened(self.path):
            pass
        self.assertIn(str(self.path), str(raised.exception))


class ThreadTests(TestCase):
    """
    A database in its thread.
    """

    async def test_thread(self) -> None:
        """
        What was written is read again; it is on the disk as it should be.
        """
        path = Path(self.mktemp())
        with opened(path) as connection:
            migrate(connection, path, [(1, "CREATE TABLE said (word TEXT PRIMARY KEY);")])
        connections = pool(path, reactor)
        connections.start()
        self.addCleanup(connections.close)
        database = Database(runIn(connections), Clock())
        words = [f"word {number}" for number in range(3000)]
        for word in words:
            database.write("INSERT INTO said VALUES (?)", (word,))
        await database.whenWritten()
        self.assertEqual(len(await database.read("SELECT word FROM said")), len(words))
        for pragma, value in (("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)):
            self.assertEqual(await database.read(f"PRAGMA {pragma}"), [(value,)])
