"""
Tests for L{jobscheduler_tcp.logfile}.
"""

import signal
import sys
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.logger import (
    FileLogObserver,
    LogEvent,
    LogLevel,
    formatEventAsClassicLogText,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.logfile import LineFormat, logFileObserver, observerFor


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


class ObserverTests(SynchronousTestCase):
    """
    The log goes to where the options of twistd say.
    """

    def observer(self, **options: Any) -> FileLogObserver | None:
        """
        What some options mean.
        """
        return observerFor(options, lambda what: what())

    def test_writes(self) -> None:
        """
        A line is in the file as soon as it was said.
        """
        file = StringIO()
        logFileObserver(file)(event())
        self.assertTrue(file.getvalue().endswith(" Task one runs\n"))

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
        self.assertTrue(callable(signal.getsignal(signal.SIGUSR1)))

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
