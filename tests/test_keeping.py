"""
Tests for L{jobscheduler_tcp.client.keeping}.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import cast

from twisted.application.service import Service
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from jobscheduler_tcp.client import database, keeping
from jobscheduler_tcp.client.keeping import IKeepingReactor, Keeping
from jobscheduler_tcp.client.positions import Position, Positions
from jobscheduler_tcp.client.statedirectory import StateDirectory


class SlowService(Service):
    """
    A service that ends when the test says so.
    """

    def __init__(self) -> None:
        self.stopping: Deferred[None] = Deferred()

    def stopService(self) -> Deferred[None]:
        """
        Take some time.
        """
        return self.stopping


class KeepingTests(TestCase):
    """
    L{Keeping}: what is kept is on the disk when the services have ended.
    """

    def setUp(self) -> None:
        """
        A client's state directory.
        """
        self.path = Path(self.mktemp())

    def begin(self) -> Keeping:
        """
        Start to keep account.
        """
        directory = StateDirectory(self.path)
        kept = Keeping(cast(IKeepingReactor, reactor), directory, 1 << 20)
        kept.startService()
        return kept

    async def test_order(self) -> None:
        """
        The services end first; then everything is written, and another client
        may have the directory.
        """
        kept = self.begin()
        slow = SlowService()
        slow.setServiceParent(kept)
        number = kept.history.nextNumber()
        stopping = maybeDeferred(kept.stopService)
        self.assertNoResult(stopping)
        self.assertEqual(kept.history.nextNumber(), number + 1)
        slow.stopping.callback(None)
        await stopping

        again = self.begin()
        self.assertEqual(again.history.nextNumber(), number + 2)
        await maybeDeferred(again.stopService)

    async def test_logs(self) -> None:
        """
        Logs that a client, when it was killed, had not written to their ends get
        their last lines; those of tasks that it had not written down go.
        """
        kept = self.begin()
        await maybeDeferred(kept.stopService)
        with closing(sqlite3.connect(self.path / "history.sqlite")) as history:
            history.execute(
                "INSERT INTO tasks (id, job, process_class, name, cause, order_chain, order_id,"
                " parameters, enqueued, start_at, reason, exit_code)"
                " VALUES (7, 'report', '', '', '', '', '', '[]', 0, 0, 'exited', 0)"
            )
            history.commit()
        positions = Positions(self.path / "positions")
        for number in (7, 8):
            positions.write(number, Position(0, 0, 6))
            (self.path / "logs" / f"task.report.{number}.log").write_text("begun\nlost\n")
        positions.close()

        kept = self.begin()
        await maybeDeferred(kept.stopService)
        (log,) = (self.path / "logs").iterdir()
        self.assertRegex(log.read_text(), r"^begun\n.*Task 7 ended: exited\n$")
        self.assertEqual((self.path / "positions").read_bytes().strip(b"\0"), b"")

    async def test_locked(self) -> None:
        """
        What cannot be written to the end is told, and does not hold the end up.
        """
        self.patch(database, "BUSY", 0.05)
        self.patch(keeping, "PATIENCE", 0.2)
        kept = self.begin()
        with closing(sqlite3.connect(self.path / "history.sqlite")) as other:
            other.execute("BEGIN EXCLUSIVE")
            with capturedLogs() as logged:
                await maybeDeferred(kept.stopService)
        told = [event["why"] for event in logged if "to its end" in event.get("log_format", "")]
        self.assertEqual(told, ["database is locked"])
        self.flushLoggedErrors()
