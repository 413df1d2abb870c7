"""
Tests for L{jobscheduler_tcp.logfile}.
"""

import atexit
import errno
import signal
import sys
from collections.abc import Callable
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from threading import Thread
from typing import IO, Any, cast

from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    LogPublisher,
    formatEventAsClassicLogText,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from jobscheduler_tcp.logfile import ILogReactor, LineFormat, LogFileObserver, observerFor
from jobscheduler_tcp.logger import TaskLogger


def event(**fields: Any) -> LogEvent:
    """
    An event of a task.
    """
    return {
        "log_format": "Task {task} runs",
        "log_namespace": "jobscheduler_tcp.remote.steps",
        "log_level": LogLevel.info,
        "log_time": 1700000000.25,
        "task": "one",
        **fields,
    }


class Unspeakable:
    """
    What cannot be formatted.
    """

    def __str__(self) -> str:
        raise ValueError("not this")


@implementer(IReactorFromThreads)
class Reactor(MemoryReactorClock):
    """
    A reactor without threads that runs, until it stops as the real one does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.running = True

    def callFromThread(
        self, callable: Callable[..., object], *args: object, **kwargs: object
    ) -> None:
        """
        Call it in this turn.
        """
        self.callLater(0, callable, *args, **kwargs)

    def stop(self) -> None:
        """
        Call who wants to hear of it.
        """
        super().stop()
        for what, args, kwargs in self.triggers["after"]["shutdown"]:
            what(*args, **kwargs)


class Disk(StringIO):
    """
    A file that counts how often it is written, on a disk that may be full.

    @ivar failing: so many writes fail from now on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failing = 0
        self.writes = 0
        self.flushes = 0

    def write(self, text: str) -> int:
        """
        Write, if there is room.
        """
        if self.failing:
            self.failing -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        self.writes += 1
        return super().write(text)

    def flush(self) -> None:
        """
        Count.
        """
        self.flushes += 1


class LineFormatTests(SynchronousTestCase):
    """
    Lines are those of Twisted's own log file, character by character.
    """

    def assertSame(self, *events: LogEvent) -> None:
        """
        Compare the lines of one formatter for all events with Twisted's.
        """
        lines = LineFormat()
        for each in events:
            self.assertEqual(lines(each), formatEventAsClassicLogText(each))

    def test_fields(self) -> None:
        """
        Fields are filled in, with their formats.
        """
        self.assertSame(event(), event(log_format="{task!r} {number:>5} {{}}", number=7))

    def test_times(self) -> None:
        """
        Each line has its own time, also when it is of the same second, or earlier.
        """
        self.assertSame(
            event(), event(log_time=1700000000.75), event(log_time=1700000001.0), event()
        )
        self.assertSame(event(log_time=None))

    def test_systems(self) -> None:
        """
        A line names who says it: its module and level, or its system.
        """
        self.assertSame(
            event(),
            event(log_level=LogLevel.warn),
            event(log_system="-"),
            event(log_system=Unspeakable()),
            event(log_level=None),
            {"log_format": "nobody"},
        )

    def test_lines(self) -> None:
        """
        The further lines of a text are indented.
        """
        self.assertSame(event(task="one\ntwo"))

    def test_calls(self) -> None:
        """
        A field that is called is called.
        """
        self.assertSame(event(log_format="{task()}", task=lambda: "called"))

    def test_failure(self) -> None:
        """
        A traceback stands behind the text.
        """
        try:
            raise ValueError("wrong")
        except ValueError:
            failure = Failure()
        self.assertSame(event(log_failure=failure))

    def test_unformattable(self) -> None:
        """
        What cannot be formatted is told as Twisted tells it.
        """
        lines = LineFormat()
        line = lines(event(log_format="{missing}"))
        self.assertIn("Unable to format event", line or "")

    def test_nothing(self) -> None:
        """
        An event without a text has no line.
        """
        self.assertSame(event(log_format=""), {"log_time": 1.0})


class LogFileObserverTests(SynchronousTestCase):
    """
    Lines of tasks are written together, all others at once.
    """

    def setUp(self) -> None:
        """
        A file that is logged to while the reactor runs.
        """
        self.atExit: list[Callable[[], None]] = []
        self.patch(atexit, "register", self.atExit.append)
        self.reactor = Reactor()
        self.disk = Disk()
        self.others: list[LogEvent] = []
        self.logTo(self.disk)

    def logTo(self, file: IO[str]) -> None:
        """
        Log to a file, and to somebody else.
        """
        self.observer = LogFileObserver(file, cast(ILogReactor, self.reactor))
        publisher = LogPublisher(self.observer, cast(ILogObserver, self.others.append))
        self.tasks = TaskLogger("tasks", observer=publisher)
        self.log = Logger("others", observer=publisher)
        self.patch(LogFileObserver, "_log", self.log)

    def texts(self) -> list[str]:
        """
        The lines that are in the file, without their times.
        """
        return [line.partition(" [")[2] for line in self.disk.getvalue().splitlines()]

    def test_interface(self) -> None:
        """
        It is an observer.
        """
        verifyObject(ILogObserver, self.observer)

    def test_together(self) -> None:
        """
        Lines of tasks are written by one write after 10 ms; others hear of them at
        once.
        """
        self.tasks.info("Task {task} runs", task=1)
        self.reactor.advance(0.006)
        self.tasks.info("Task {task} is over", task=1)
        self.reactor.advance(0.003)
        self.assertEqual(self.texts(), [])
        self.assertEqual(len(self.others), 2)

        self.reactor.advance(0.002)
        self.assertEqual(self.texts(), ["tasks#info] Task 1 runs", "tasks#info] Task 1 is over"])
        self.assertEqual((self.disk.writes, self.disk.flushes), (1, 1))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

        self.tasks.info("Task {task} runs", task=2)
        self.reactor.advance(0.011)
        self.assertEqual(self.texts()[2:], ["tasks#info] Task 2 runs"])

    def test_same(self) -> None:
        """
        A line is what it would be at once, with the time at which it was said.
        """
        events = [
            event(log_time=1700000000.0, log_logger=self.tasks),
            event(log_time=1700000001.5, log_logger=self.tasks, task="two\nlines"),
            event(log_time=1700000001.6, log_logger=self.tasks, log_format="{missing}"),
            event(log_time=1700000002.0, log_logger=self.tasks),
        ]
        atOnce = [LineFormat()(each) for each in events]
        for each in events:
            self.observer(each)
        self.assertEqual(self.disk.writes, 0)
        self.reactor.advance(0.011)
        self.assertEqual(self.disk.getvalue(), "".join(filter(None, atOnce)))

    def test_order(self) -> None:
        """
        What does not wait is written at once, after what does; nothing is written
        twice, and no second timer is needed.
        """
        self.tasks.info("Task {task} runs", task=1)
        self.log.info("something")
        said = ["tasks#info] Task 1 runs", "others#info] something"]
        self.assertEqual(self.texts(), said)
        self.assertEqual(self.disk.writes, 1)

        self.tasks.info("Task {task} runs", task=2)
        self.tasks.warn("Task {task} is lost", task=2)
        said += ["tasks#info] Task 2 runs", "tasks#warn] Task 2 is lost"]
        self.assertEqual(self.texts(), said)

        self.tasks.info("Task {task} runs", task=3)
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.reactor.advance(0.011)
        self.assertEqual(self.texts(), [*said, "tasks#info] Task 3 runs"])

    def test_stop(self) -> None:
        """
        When the reactor stops what waits is written, and everything afterwards at
        once.
        """
        self.tasks.info("Task {task} is over", task=1)
        self.reactor.stop()
        self.assertEqual(self.texts(), ["tasks#info] Task 1 is over"])
        self.tasks.info("Task {task} is over", task=2)
        self.assertEqual(self.texts()[1:], ["tasks#info] Task 2 is over"])

    def test_early(self) -> None:
        """
        Before the reactor runs nothing waits.
        """
        self.reactor.running = False
        self.tasks.info("Task {task} runs", task=1)
        self.assertEqual(self.texts(), ["tasks#info] Task 1 runs"])

    def test_exit(self) -> None:
        """
        What waits when the process exits without a stop of the reactor is written.
        """
        self.tasks.info("Task {task} runs", task=1)
        (end,) = self.atExit
        end()
        self.assertEqual(self.texts(), ["tasks#info] Task 1 runs"])

    def test_many(self) -> None:
        """
        A thousand lines do not wait.
        """
        for number in range(1001):
            self.tasks.info("Task {task} runs", task=number)
        self.assertEqual((len(self.texts()), self.disk.writes), (1000, 1))
        self.reactor.advance(0.011)
        self.assertEqual(self.texts()[-1], "tasks#info] Task 1000 runs")

    def test_fullDisk(self) -> None:
        """
        A disk that is full costs the lines that it has no room for, which is told
        as soon as it has, and to other observers; not those that come later.
        """
        self.disk.failing = 3
        self.tasks.info("Task {task} runs", task=1)
        self.reactor.advance(0.011)
        told = [each["log_format"] for each in self.others]
        self.assertEqual(told[:2], ["Task {task} runs", "Lines of the log are lost"])
        self.log.warn("something")
        self.assertIn("Temporarily disabling observer", self.others[-1]["log_format"])

        self.tasks.info("Task {task} runs", task=2)
        self.reactor.advance(0.011)
        self.assertEqual(self.texts(), ["tasks#info] Task 2 runs"])

        self.disk.failing = 1
        self.tasks.info("Task {task} runs", task=3)
        self.reactor.advance(0.011)
        self.assertIn("LogFileObserver#critical] Lines of the log are lost", self.texts()[1])
        self.assertIn("No space left on device", self.disk.getvalue())

    def test_characters(self) -> None:
        """
        A character that the file cannot have is written in its stead, and no line
        is lost.
        """
        written = BytesIO()
        self.logTo(TextIOWrapper(written, encoding="latin-1"))
        for file in ("plain", "\xf6", "\u20ac", "\udcff", "last"):
            self.tasks.info("Task of {file}", file=file)
        self.reactor.advance(0.011)
        files = [line.rpartition(b" ")[2] for line in written.getvalue().splitlines()]
        self.assertEqual(files, [b"plain", b"\xf6", b"\\u20ac", b"\\udcff", b"last"])

    def test_whileWriting(self) -> None:
        """
        What is said while lines are made, by a field, a signal or another thread, is
        written after them.
        """
        said = self.log.info

        class Talkative:
            def __str__(self) -> str:
                said("By the way")
                thread = Thread(target=said, args=("Elsewhere",))
                thread.start()
                thread.join()
                return "field"

        self.tasks.info("A {field}", field=Talkative())
        self.tasks.info("Task {task} runs", task=1)
        self.reactor.advance(0.011)
        told = ["tasks#info] A field", "tasks#info] Task 1 runs"]
        self.assertEqual(self.texts(), [*told, "others#info] By the way", "others#info] Elsewhere"])


class ObserverTests(SynchronousTestCase):
    """
    The log goes to where the options of twistd say.
    """

    def setUp(self) -> None:
        """
        The reactor, whose observers do not outlive the test.
        """
        self.patch(atexit, "register", lambda what: None)
        self.reactor = Reactor()

    def observer(self, **options: Any) -> LogFileObserver | None:
        """
        What some options mean.
        """
        return observerFor(options, cast(ILogReactor, self.reactor))

    def test_standardOutput(self) -> None:
        """
        In the foreground it is the standard output.
        """
        output = StringIO()
        self.patch(sys, "stdout", output)
        observer = self.observer(nodaemon=1, logfile=None)
        assert observer is not None
        observer(event())
        self.assertIn("Task one runs", output.getvalue())
        self.assertIsNotNone(self.observer(nodaemon=1, logfile="-"))

    def test_file(self) -> None:
        """
        Otherwise it is the file of that name, and SIGUSR1 begins a new one.
        """
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        path = Path(self.mktemp()).absolute()
        observer = self.observer(nodaemon=0, logfile=str(path))
        assert observer is not None
        observer(event())
        self.assertIn("Task one runs", path.read_text())

        observer(event(task="two", log_logger=TaskLogger("tasks")))
        signal.raise_signal(signal.SIGUSR1)
        observer(event(task="three", log_logger=TaskLogger("tasks")))
        self.reactor.advance(0)
        observer(event(task="four"))
        older = path.with_name(path.name + ".1").read_text()
        self.assertEqual([older.count(f"Task {n} runs") for n in ("one", "two", "three")], [1] * 3)
        self.assertTrue(path.read_text().endswith(" Task four runs\n"))
        self.assertNotIn("three", path.read_text())

    def test_unwritable(self) -> None:
        """
        A file that cannot be written ends the program with one line that tells
        which, and what to do; nothing is left of one that can.
        """
        for option in ("logfile", "pidfile"):
            path = str(Path(self.mktemp()) / "nowhere" / "it")
            stop = self.assertRaises(SystemExit, self.observer, nodaemon=1, **{option: path})
            words = f"jsremote: {path}: cannot be written: No such file or directory; name another"
            self.assertIn(words, str(stop.code))
            self.assertIn(f"--{option}", str(stop.code))
        pidfile = Path(self.mktemp())
        self.observer(nodaemon=1, pidfile=str(pidfile))
        self.assertFalse(pidfile.exists())
        pidfile.write_text("7")
        self.observer(nodaemon=1, pidfile=str(pidfile))
        self.assertEqual(pidfile.read_text(), "7")

    def test_others(self) -> None:
        """
        Another kind of log is left to twistd, and so is what it refuses.
        """
        self.assertIsNone(self.observer(syslog=1))
        self.assertIsNone(self.observer(logger="some.module"))
        self.assertIsNone(self.observer(nodaemon=0, logfile="-"))
