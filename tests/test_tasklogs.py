"""
Tests for L{jobscheduler_tcp.client.tasklogs} and the files of the logs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hypothesis import given, strategies
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from jobscheduler_tcp.client.lines import MAX_LINE
from jobscheduler_tcp.client.logfiles import LogFiles, fileName
from jobscheduler_tcp.client.observers import Bystander, Observers
from jobscheduler_tcp.client.positions import Positions
from jobscheduler_tcp.client.started import StartedTasks
from jobscheduler_tcp.client.startedtask import StartedTask
from jobscheduler_tcp.client.tasklogs import MAX_WAITING, TaskLogs, logLine
from jobscheduler_tcp.config.model import ConfiguredJob
from jobscheduler_tcp.interfaces import (
    IConfirmationReceiver,
    ISchedulerObserver,
    ITaskConfirmation,
)
from jobscheduler_tcp.messages import Stream, TaskAttached, TaskStarted, Work
from jobscheduler_tcp.outcome import Outcome, Reason
from tests.test_history import GivenTask

_T = TypeVar("_T")

NOW = 1000000000.582
LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \[(?:info|warn|error)\] {2,3}?"
    r"\(Job  [^\n]+\) [^\n]*"
)


@implementer(ITaskConfirmation)
class HeldConfirmation:
    """
    A confirmation connection that counts its pauses.
    """

    paused = False
    pauses = 0

    def pauseProducing(self) -> None:
        """
        Pause.
        """
        self.paused = True
        self.pauses += 1

    def resumeProducing(self) -> None:
        """
        Go on.
        """
        self.paused = False

    def stopProducing(self) -> None:
        """
        Nobody asks for that.
        """

    def kept(self, stdout: int, stderr: int) -> None:
        """
        Nobody asks for that.
        """

    def writeInput(self, data: bytes) -> None:
        """
        Nobody asks for that.
        """

    def endInput(self) -> None:
        """
        Nobody asks for that.
        """

    def registerInputProducer(self, producer: object) -> None:
        """
        Nobody asks for that.
        """


class TaskLogsTests(SynchronousTestCase):
    """
    L{TaskLogs}: JobScheduler's lines, whatever is printed.
    """

    def setUp(self) -> None:
        """
        A client that logs.
        """
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        positions = Positions(Path(self.mktemp()))
        self.addCleanup(positions.close)
        self.waiting: list[Callable[[], None]] | None = None
        self.given: list[GivenTask] = []
        observers = Observers()
        self.logs = TaskLogs(LogFiles(self.folder), positions, self.inThread, lambda: NOW)
        observers.add(self.logs)
        self.tasks = StartedTasks(self.give, lambda: NOW, observers)

    def give(self, work: Work, processClass: str, receiver: IConfirmationReceiver) -> GivenTask:
        """
        Take a task.
        """
        self.given.append(GivenTask(receiver))
        return self.given[-1]

    def inThread(self, work: Callable[[], _T]) -> Deferred[_T]:
        """
        Do it now, or when the test says so.
        """
        done: Deferred[_T] = Deferred()

        def do() -> None:
            try:
                result = work()
            except OSError:
                done.errback(Failure())
            else:
                done.callback(result)

        if self.waiting is None:
            do()
        else:
            self.waiting.append(do)
        return done

    def start(self, name: str = "folder/report") -> StartedTask:
        """
        Start a task.
        """
        task = self.tasks.add(ConfiguredJob(name, "", "", Work(script="true"), "scheduler.xml:5"))
        self.tasks.start(task)
        self.confirmation = HeldConfirmation()
        receiver = self.given[-1].receiver
        receiver.taskAttached(self.confirmation, TaskAttached(GivenTask.task, 1))
        receiver.taskStarted(TaskStarted(4711, 0.0, 0.0))
        return task

    def test_interfaces(self) -> None:
        """
        It is an observer.
        """
        verifyObject(ISchedulerObserver, self.logs)
        verifyObject(ISchedulerObserver, Bystander())
        verifyObject(ITaskConfirmation, HeldConfirmation())

    def test_droppedInALine(self) -> None:
        """
        Where output was dropped, the line before it ends, and what is kept counts
        from behind it.
        """
        task = self.start()
        receiver = self.given[-1].receiver
        receiver.outputReceived(Stream.STDOUT, b"hel")
        self.logs.attached(task, TaskAttached(GivenTask.task, 100))
        receiver.outputReceived(Stream.STDOUT, b"after\n")
        log = (self.folder / "task.folder,report.1.log").read_text("utf-8")
        said = [line.partition("report) ")[2] for line in log.splitlines()[2:]]
        self.assertEqual(
            said, ["[stdout] hel", "97 bytes of its stdout were dropped", "[stdout] after"]
        )
        self.assertEqual(self.logs._logOf(task).kept, (106, 0))

    def test_format(self) -> None:
        """
        The lines are those of JobScheduler: what happens, and what is printed
        with the name of its stream.
        """
        self.start()
        receiver = self.given[-1].receiver
        receiver.outputReceived(Stream.STDOUT, b"hel")
        receiver.outputReceived(Stream.STDERR, b"oh\r\n")
        receiver.outputReceived(Stream.STDOUT, b"lo\n\x1b[2J \xff\tend")
        self.given[-1].done.callback(Outcome(Reason.EXITED, exitCode=3))
        log = (self.folder / "task.folder,report.1.log").read_text("utf-8")
        prefix = logLine(NOW, "info", "folder/report", "")
        self.assertRegex(prefix, r"\.58\d \[info\]   \(Job  folder/report\) $")
        wrong = logLine(NOW, "error", "folder/report", "")
        self.assertEqual(
            log.splitlines(),
            [
                prefix + "SCHEDULER-930  Task 1 started - cause: queue_at",
                prefix + "The remote has started it, pid 4711",
                prefix + "[stderr] oh",
                prefix + "[stdout] hello",
                prefix + "[stdout] \\x1b[2J \\xff\tend",
                wrong + "SCHEDULER-280  Process terminated with exit code 3 (0x3)",
                prefix + "Task 1 ended: exited",
            ],
        )

    @given(
        strategies.text(min_size=1),
        strategies.lists(
            strategies.tuples(
                strategies.sampled_from([Stream.STDOUT, Stream.STDERR]), strategies.binary()
            )
        ),
    )
    def test_anything(self, name: str, printed: list[tuple[Stream, bytes]]) -> None:
        """
        Whatever a job is called and whatever it prints, its log is lines of that
        form, without control characters, and as many as were printed.
        """
        task = self.start(name)
        for stream, data in printed:
            self.given[-1].receiver.outputReceived(stream, data)
        self.given[-1].done.callback(Outcome(Reason.EXITED, exitCode=0))
        log = (self.folder / fileName(name, task.number)).read_bytes().decode("utf-8")
        self.assertTrue(log.endswith("\n"))
        lines = log[:-1].split("\n")
        for line in lines:
            self.assertRegex(line, f"^{LINE.pattern}$")
            self.assertTrue(line.replace("\t", "").isprintable(), line)
        expected = 0
        for wanted in (Stream.STDOUT, Stream.STDERR):
            whole = b"".join(data for stream, data in printed if stream is wanted)
            expected += whole.count(b"\n") + (not whole.endswith(b"\n") and whole != b"")
        self.assertEqual(len(lines), 3 + expected)

    def test_longLine(self) -> None:
        """
        A line without an end comes in pieces, and is not kept in memory.
        """
        self.start()
        for _ in range(10):
            self.given[-1].receiver.outputReceived(Stream.STDOUT, b"x" * MAX_LINE)
        log = (self.folder / "task.folder,report.1.log").read_text()
        self.assertEqual(log.count("[stdout] " + "x" * MAX_LINE + "\n"), 10)

    def test_slowDisk(self) -> None:
        """
        While the disk does not keep up the task waits, and goes on afterwards.
        """
        self.waiting = []
        self.start()
        for _ in range(2 * MAX_WAITING // 1000):
            self.given[-1].receiver.outputReceived(Stream.STDOUT, b"y" * 999 + b"\n")
        self.assertTrue(self.confirmation.paused)
        written = self.logs.whenWritten()
        while self.waiting:
            self.waiting.pop(0)()
        self.successResultOf(written)
        self.assertFalse(self.confirmation.paused)
        self.assertEqual(self.confirmation.pauses, 1)
        part = self.successResultOf(self.readAll("folder/report", 1))
        self.assertEqual(part.count(b"[stdout] yyy"), 2 * MAX_WAITING // 1000)

    def readAll(self, job: str, number: int) -> Deferred[bytes]:
        """
        Read a whole log.
        """
        self.waiting = None
        return self.logs.read(job, number, 0, 1 << 30).addCallback(lambda part: part.data)

    def test_fullDisk(self) -> None:
        """
        A disk that cannot be written is told once, and the task goes on.
        """
        os.rmdir(self.folder)
        with capturedLogs() as logged:
            self.start()
            self.given[-1].receiver.outputReceived(Stream.STDOUT, b"lost\n")
        told = [event for event in logged if "incomplete" in event.get("log_format", "")]
        self.assertEqual(len(told), 1)
        self.folder.mkdir()
        self.given[-1].receiver.outputReceived(Stream.STDOUT, b"kept\n")
        self.assertIn(b"kept", self.successResultOf(self.readAll("folder/report", 1)))


class LogFilesTests(SynchronousTestCase):
    """
    L{LogFiles}: bounded, and read by offsets that stay true.
    """

    def setUp(self) -> None:
        """
        A folder.
        """
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def test_rotation(self) -> None:
        """
        Of a long log the end is kept; an offset means the same as ever.
        """
        files = LogFiles(self.folder, maxFile=1000)
        whole = b""
        for number in range(200):
            line = b"line %d\n" % number
            whole += line
            files.append([("task.a.1.log", line)], {"task.a.1.log"})
        names = sorted(path.name for path in self.folder.iterdir())
        self.assertEqual(len(names), 2)
        part = files.read("task.a.1.log", 0, 1 << 20)
        self.assertEqual(part.size, len(whole))
        self.assertEqual(part.data, whole[part.start :])
        self.assertGreater(len(part.data), 1000)
        for start in range(part.start, part.size + 1, 7):
            again = files.read("task.a.1.log", start, 100)
            self.assertEqual((again.start, again.data), (start, whole[start : start + 100]))
        self.assertEqual(files.read("task.a.1.log", -10, 100).data, whole[-10:])
        self.assertEqual(files.read("task.a.1.log", 10**9, 100).start, part.size)

    def test_quota(self) -> None:
        """
        When there are too many logs the oldest go, those of tasks under way
        stay; a client that is started anew counts what is there.
        """
        for number in range(1, 31):
            files = LogFiles(self.folder, quota=20 * 4096)
            files.append([(f"task.a.{number}.log", b"text\n")], {"task.a.1.log"})
            os.utime(self.folder / f"task.a.{number}.log", (number, number))
        kept = {path.name for path in self.folder.iterdir()}
        self.assertLessEqual(len(kept), 20)
        self.assertIn("task.a.1.log", kept)
        self.assertIn("task.a.30.log", kept)
        self.assertNotIn("task.a.2.log", kept)

    def test_names(self) -> None:
        """
        A job's name stays within the folder, whatever it is.
        """
        self.assertEqual(fileName("folder/report", 3), "task.folder,report.3.log")
        for name in ("../../etc/passwd", "a\nb\0c", "\ud800", "x" * 1000, "\xf6" * 300):
            made = fileName(name, 12345678)
            self.assertNotIn("/", made)
            self.assertLess(len(made), 255)
            self.assertTrue(made.isprintable())
            self.assertTrue(made.startswith("task.") and made.endswith(".12345678.log"))

    def test_link(self) -> None:
        """
        A link that somebody put into the folder is not followed.
        """
        target = Path(self.mktemp())
        (self.folder / "task.a.1.log").symlink_to(target)
        self.assertRaises(
            OSError, LogFiles(self.folder).append, [("task.a.1.log", b"text\n")], set[str]()
        )
        self.assertFalse(target.exists())

    def test_missing(self) -> None:
        """
        A log that is not there is an error of its own.
        """
        self.assertRaises(FileNotFoundError, LogFiles(self.folder).read, "task.a.1.log", 0, 10)
