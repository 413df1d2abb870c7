"""
Tests for L{jobscheduler_tcp.client.history} and where it is kept.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from jobscheduler_tcp.client.database import RETRY, Cursor, Database, opened
from jobscheduler_tcp.client.history import MOST, RESERVE, History, TaskRecord
from jobscheduler_tcp.client.observers import Forgetful, Observers
from jobscheduler_tcp.client.restored import restoredFrom
from jobscheduler_tcp.client.started import StartedTasks
from jobscheduler_tcp.client.startedtask import StartedTask
from jobscheduler_tcp.client.statedirectory import StateDirectory
from jobscheduler_tcp.config.model import ConfiguredJob
from jobscheduler_tcp.config.places import stateDirectory
from jobscheduler_tcp.errors import CommandRefused, HistoryUnusable
from jobscheduler_tcp.interfaces import IConfirmationReceiver, ISchedulerObserver, ITaskLedger
from jobscheduler_tcp.messages import TaskEnded, TaskKilled, TaskStarted, Work
from jobscheduler_tcp.outcome import Outcome, Reason

NOW = 1000000000.0
REPORT = ConfiguredJob("report", "", "night", Work(script="true"), "scheduler.xml:5")
TIDY = ConfiguredJob("folder/tidy", "", "", Work(script="true"), "scheduler.xml:9")


class GivenTask:
    """
    A task of a client that is not there.
    """

    state = "waiting for end of task"
    why = ""
    task = "00000000-0000-4000-8000-000000000001"
    pid = 4711

    def __init__(self, receiver: IConfirmationReceiver) -> None:
        self.receiver = receiver
        self.done: Deferred[Outcome] = Deferred()

    def kill(self, signal: int, grace: float) -> Deferred[TaskKilled]:
        """
        Nobody asks for that.
        """
        raise AssertionError("killed")

    def cancel(self) -> None:
        """
        Nobody asks for that.
        """
        raise AssertionError("cancelled")


class Disk:
    """
    Does at once what a thread would do, or fails.
    """

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.full = False

    def __call__(self, work: Callable[[Cursor], object]) -> Deferred[object]:
        """
        Do it.
        """
        try:
            if self.full:
                raise sqlite3.OperationalError("database or disk is full")
            result = work(self.connection.cursor())
            self.connection.commit()
        except Exception:
            self.connection.rollback()
            return fail(Failure())
        return succeed(result)


class HistoryTestCase(SynchronousTestCase):
    """
    Help with histories.
    """

    def setUp(self) -> None:
        """
        A client that keeps a history.
        """
        self.path = Path(self.mktemp())
        self.clock = Clock()
        self.now = NOW
        self.begin()

    def begin(self) -> None:
        """
        Start the client, perhaps after it was killed.
        """
        following = restoredFrom(self.path).nextTask
        self.disk = Disk(self.path)
        self.addCleanup(self.disk.connection.close)
        database = Database(self.disk, self.clock)  # type: ignore[arg-type]  # it is generic
        self.history = History(database, following, lambda: self.now)
        observers = Observers()
        observers.add(self.history)
        self.given: list[GivenTask] = []
        self.tasks = StartedTasks(self.give, lambda: self.now, observers, ledger=self.history)

    def give(self, work: Work, processClass: str, receiver: IConfirmationReceiver) -> GivenTask:
        """
        Take a task.
        """
        self.given.append(GivenTask(receiver))
        return self.given[-1]

    def start(self, job: ConfiguredJob = REPORT) -> StartedTask:
        """
        Start a task.
        """
        task = self.tasks.add(job, parameters=(("day", "monday"),))
        self.tasks.start(task)
        self.given[-1].receiver.taskStarted(TaskStarted(4711, NOW + 3600, 50.0))
        return task

    def end(self, message: TaskEnded) -> Deferred[None] | None:
        """
        The remote tells the end of the last one.
        """
        return self.given[-1].receiver.taskEnded(message)

    def record(self, number: int) -> TaskRecord:
        """
        What is known of a task.
        """
        found = self.successResultOf(Deferred.fromCoroutine(self.history.task(number)))
        assert found is not None
        return found

    def numbers(
        self, job: str = "", *, before: int = 0, after: int = 0, count: int = 10
    ) -> list[int]:
        """
        The numbers of tasks in the history.
        """
        found = self.history.tasksOf(job, before=before, after=after, count=count)
        return [each.number for each in self.successResultOf(Deferred.fromCoroutine(found))]


class KeptTests(HistoryTestCase):
    """
    What is kept of a task.
    """

    def test_interfaces(self) -> None:
        """
        It is an observer and a ledger.
        """
        verifyObject(ISchedulerObserver, self.history)
        verifyObject(ITaskLedger, self.history)
        verifyObject(ITaskLedger, Forgetful())

    def test_whole(self) -> None:
        """
        A task is there with its parameters, both clocks and all that the remote
        said of its end.
        """
        task = self.start()
        self.assertIsNone(self.record(1).outcome)
        self.assertEqual(self.numbers(), [])
        self.now += 60
        message = TaskEnded(
            Reason.EXITED,
            exitCode=3,
            note="it is over",
            clock=NOW + 3660,
            seconds=59.5,
            userSeconds=1.5,
            systemSeconds=0.25,
            maxResident=1 << 20,
            stdoutSize=11,
            stderrSize=2,
            stdoutDigest=bytes(range(32)),
            stderrDigest=bytes(32),
        )
        kept = self.end(message)
        assert kept is not None
        self.successResultOf(kept)

        found = self.record(1)
        self.assertEqual(found.job, "report")
        self.assertEqual(found.processClass, "night")
        self.assertEqual(found.cause, "queue_at")
        self.assertEqual(found.parameters, (("day", "monday"),))
        self.assertEqual(found.uuid, GivenTask.task)
        self.assertEqual((found.enqueued, found.startAt), (NOW, NOW))
        self.assertEqual((found.began, found.ended), (NOW, NOW + 60))
        self.assertEqual((found.remoteBegan, found.remoteEnded), (NOW + 3600, NOW + 3660))
        outcome = Outcome(
            Reason.EXITED,
            "it is over",
            3,
            pid=4711,
            seconds=59.5,
            userSeconds=1.5,
            systemSeconds=0.25,
            maxResident=1 << 20,
            stdoutSize=11,
            stderrSize=2,
            stdoutDigest=bytes(range(32)).hex(),
            stderrDigest=bytes(32).hex(),
        )
        self.assertEqual(found.outcome, outcome)

        self.given[0].done.callback(outcome)
        self.assertEqual(self.record(1), found)
        self.assertEqual(task.outcome, outcome)

    def test_outcome(self) -> None:
        """
        The last word is the outcome: also where the remote said nothing.
        """
        self.start()
        self.given[-1].done.callback(Outcome(Reason.LOST, "the connection broke", pid=4711))
        found = self.record(1)
        self.assertEqual(found.outcome, Outcome(Reason.LOST, "the connection broke", pid=4711))
        self.assertEqual(found.ended, self.now)

    def test_neverGiven(self) -> None:
        """
        A task that never had its turn is there, with its outcome.
        """
        task = self.tasks.add(REPORT)
        self.tasks.discard(task, Outcome(Reason.CANCELLED))
        self.assertEqual(self.record(1).outcome, Outcome(Reason.CANCELLED))

    def test_unknown(self) -> None:
        """
        A number that was never given has no record.
        """
        found = self.successResultOf(Deferred.fromCoroutine(self.history.task(7)))
        self.assertIsNone(found)

    def test_select(self) -> None:
        """
        Tasks are found by job, before and after a number, as many as are asked
        for, the latest first.
        """
        for number in range(12):
            self.start(TIDY if number % 3 == 0 else REPORT)
            self.given[-1].done.callback(Outcome(Reason.EXITED, exitCode=0))
        self.start()
        self.assertEqual(self.numbers(), [12, 11, 10, 9, 8, 7, 6, 5, 4, 3])
        self.assertEqual(self.numbers("folder/tidy"), [10, 7, 4, 1])
        self.assertEqual(self.numbers("folder/tidy", before=7), [4, 1])
        self.assertEqual(self.numbers("report", after=3, count=2), [5, 6])
        self.assertEqual(self.numbers("nosuch"), [])
        self.assertEqual(len(self.numbers(count=MOST + 1)), 12)


class TroubleTests(HistoryTestCase):
    """
    When the disk is full.
    """

    def test_full(self) -> None:
        """
        Tasks that run go on, new ones are refused, and the end of a task is
        acknowledged when it could be written.
        """
        self.start()
        self.disk.full = True
        kept = self.end(TaskEnded(Reason.EXITED, exitCode=0))
        assert kept is not None
        self.assertNoResult(kept)
        with self.assertRaises(CommandRefused) as raised:
            self.tasks.add(REPORT)
        self.assertEqual(raised.exception.code, "SCHEDULER-184")
        self.assertIn("disk is full", raised.exception.text)

        self.disk.full = False
        self.clock.advance(RETRY)
        self.successResultOf(kept)
        self.assertEqual(self.start().number, 2)

    def test_noAnswer(self) -> None:
        """
        While the disk does not answer as many tasks are started as there are
        numbers that were reserved.
        """
        waiting: Deferred[object] = Deferred()
        database = Database(lambda work: waiting, self.clock)  # type: ignore[arg-type]
        history = History(database, 1)
        self.assertEqual(
            [history.nextNumber() for _ in range(RESERVE)], list(range(1, RESERVE + 1))
        )
        self.assertRaises(CommandRefused, history.nextNumber)


class RestartTests(HistoryTestCase):
    """
    What a client finds that was started again.
    """

    def test_stopped(self) -> None:
        """
        After an orderly end the numbers go on without a gap.
        """
        self.start()
        self.given[-1].done.callback(Outcome(Reason.EXITED, exitCode=0))
        self.successResultOf(self.history.stop())
        self.begin()
        self.assertEqual(self.start().number, 2)

    def test_killed(self) -> None:
        """
        After a kill the numbers go on behind those that were reserved.
        """
        self.start()
        self.begin()
        self.assertEqual(self.start().number, 1 + RESERVE)

    def test_reserve(self) -> None:
        """
        However many tasks there were, no number comes again.
        """
        used = {self.history.nextNumber() for _ in range(3 * RESERVE)}
        self.assertEqual(len(used), 3 * RESERVE)
        self.begin()
        self.assertNotIn(self.history.nextNumber(), used)


class KillTests(SynchronousTestCase):
    """
    A client that is killed while it writes.
    """

    def test_kill(self) -> None:
        """
        After kill -9 the file is sound; every end that was acknowledged is in
        it, and no number that was given out is given again.
        """
        path = Path(self.mktemp()).absolute()
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        seen = 0
        for _ in range(3):
            with subprocess.Popen(
                [sys.executable, "-m", "tests.historywriter", str(path)],
                stdout=subprocess.PIPE,
                env=env,
            ) as process:
                assert process.stdout is not None
                lines: list[bytes] = []
                # However slow the disk is, some ends are on it then.
                while sum(line.startswith(b"ended") for line in lines) < 20:
                    lines.append(process.stdout.readline())
                    self.assertNotEqual(lines[-1], b"")
                process.send_signal(signal.SIGKILL)
                lines += process.stdout.readlines()
            with opened(path) as connection:
                self.assertEqual(connection.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
                ended = {
                    number
                    for (number,) in connection.execute("SELECT id FROM tasks WHERE exit_code = 0")
                }
            words = [line.split() for line in lines if line.endswith(b"\n")]
            acknowledged = {int(number) for word, number in words if word == b"ended"}
            started = [int(number) for word, number in words if word == b"started"]
            self.assertGreater(len(acknowledged), 0)
            self.assertLessEqual(acknowledged, ended)
            self.assertGreater(min(started), seen)
            seen = max(started)


class StateDirectoryTests(SynchronousTestCase):
    """
    L{StateDirectory}.
    """

    def test_default(self) -> None:
        """
        Root has the system's place, others have theirs.
        """
        xdg = {"XDG_STATE_HOME": "/s"}
        self.assertEqual(stateDirectory(xdg, 0, 4444), "/var/lib/jsremote/client-4444")
        self.assertEqual(stateDirectory(xdg, 7, 0), "/s/jsremote/client-PORT")
        for environment in ({"HOME": "/h"}, {"HOME": "/h", "XDG_STATE_HOME": "relative"}):
            expected = "/h/.local/state/jsremote/client-4444"
            self.assertEqual(stateDirectory(environment, 7, 4444), expected)

    def test_private(self) -> None:
        """
        Nobody else can read what is in it.
        """
        directory = StateDirectory(Path(self.mktemp()) / "deeper" / "state")
        self.addCleanup(directory.release)
        restoredFrom(directory.history)
        for path in (directory.path, directory.logs, directory.history):
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)

    def test_taken(self) -> None:
        """
        Two clients do not share one.
        """
        path = Path(self.mktemp())
        directory = StateDirectory(path)
        with self.assertRaises(HistoryUnusable) as raised:
            StateDirectory(path)
        self.assertIn("another client", str(raised.exception))
        directory.release()
        StateDirectory(path).release()

    def test_noFolder(self) -> None:
        """
        What cannot be one is told by its name, with what to do.
        """
        path = Path(self.mktemp())
        path.write_text("")
        with self.assertRaises(HistoryUnusable) as raised:
            StateDirectory(path)
        self.assertIn(str(path), str(raised.exception))
        self.assertIn("--state-dir", str(raised.exception))
