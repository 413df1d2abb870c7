"""
The log file of the services: the lines that C{twistd} writes, those of tasks
together. A task has three of them at either end. Each on its own, it would be
formatted and written by code that the processor has forgotten since the last one.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping
from threading import Lock
from types import FrameType
from typing import IO, Any

from twisted.internet.interfaces import IReactorCore, IReactorFromThreads, IReactorTime
from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    formatEventAsClassicLogText,
    formatTime,
)
from twisted.python.logfile import LogFile
from zope.interface import implementer

from jobscheduler_tcp.logger import TaskLogger

_INFO = LogLevel.info

# Seconds that a line waits for others: a few tasks one after another, and nobody
# who looks at a file sees it.
_LATEST = 0.01

# So many lines do not wait: they are less than a megabyte as events.
_MOST = 1000


class ILogReactor(IReactorCore, IReactorTime, IReactorFromThreads):
    """
    What is needed of a reactor.
    """


class LineFormat:
    """
    Format events as C{twisted.logger.formatEventAsClassicLogText} does.
    """

    def __init__(self) -> None:
        self._second: int | None = None
        self._stamp = ""
        self._systems: dict[tuple[object, object], str] = {}

    def __call__(self, event: LogEvent) -> str | None:
        """
        Make the line of an event.
        """
        form = event.get("log_format")
        # Twisted calls what stands as {name()}; that and what has a traceback
        # is left to it, and so is what cannot be formatted.
        if (
            type(form) is str
            and "()" not in form
            and "log_failure" not in event
            and "log_flattened" not in event
        ):
            try:
                text = form.format_map(event)
                system = self._system(event)
            except Exception:
                text = system = ""
            if text:
                if "\n" in text:
                    text = text.replace("\n", "\n\t")
                return f"{self._time(event.get('log_time'))} [{system}] {text}\n"
        return formatEventAsClassicLogText(event, self._time)

    def _time(self, when: float | None) -> str:
        # The same for all events of a second.
        if when is None:
            return formatTime(when)
        second = int(when)
        if second != self._second:
            self._stamp = formatTime(when)
            self._second = second
        return self._stamp

    def _system(self, event: LogEvent) -> str:
        if "log_system" in event and event["log_system"] is not None:
            return str(event["log_system"])
        key = event.get("log_namespace", "-"), event.get("log_level")
        try:
            return self._systems[key]
        except KeyError:
            level = getattr(key[1], "name", "-")
            known = self._systems[key] = f"{key[0]}#{level}"
            return known


@implementer(ILogObserver)
class LogFileObserver:
    """
    Write lines to a file. What a L{TaskLogger} informs of waits a little for more,
    while the reactor runs; everything else is written at once, after what waits.
    """

    _log = Logger()

    def __init__(self, file: IO[str], reactor: ILogReactor) -> None:
        self._file = file
        self._reactor = reactor
        self._encoding = getattr(file, "encoding", None) or "utf-8"
        self._line = LineFormat()
        self._kept: deque[LogEvent] = deque()
        self._armed = False
        self._writing = Lock()
        reactor.addSystemEventTrigger("after", "shutdown", self.flush)
        atexit.register(self.flush)  # SystemExit leaves the loop of asyncio without a shutdown

    def __call__(self, event: LogEvent) -> None:
        """
        Keep an event, or write it.
        """
        self._kept.append(event)
        if (
            event.get("log_level") is _INFO
            and type(event.get("log_logger")) is TaskLogger
            and self._reactor.running
            and len(self._kept) < _MOST
        ):
            if not self._armed:
                self._armed = True
                self._reactor.callLater(_LATEST, self._late)
        else:
            self._write()

    def flush(self) -> None:
        """
        Write what waits.
        """
        try:
            self._write()
        except Exception:
            # Told as what is said now; who emitted them has gone on.
            self._log.failure("Lines of the log are lost")

    def _late(self) -> None:
        self._armed = False
        self.flush()

    def _write(self) -> None:
        kept, line = self._kept, self._line
        while kept:
            # Whoever writes already, another thread, or we, where a signal or a field that
            # logs has interrupted us, looks here once more afterwards.
            if not self._writing.acquire(blocking=False):
                return
            try:
                lines = []
                while kept:
                    lines.append(line(kept.popleft()) or "")
                # One character that the file cannot have must not cost the other lines.
                text = "".join(lines).encode(self._encoding, "backslashreplace")
                self._file.write(text.decode(self._encoding))
                self._file.flush()
            finally:
                self._writing.release()


def observerFor(options: Mapping[str, Any], reactor: ILogReactor) -> LogFileObserver | None:
    """
    Log to where the options of C{twistd} say: C{--logfile}, where SIGUSR1 begins
    a new file; the standard output of C{--nodaemon}; C{twistd.log}.

    @return: C{None} if they name another kind of log.
    @raise SystemExit: this, or the file for the pid, cannot be written. Twisted would
        have a traceback for it.
    """
    _checkPidfile(options)
    if options.get("logger") is not None or options.get("syslog"):
        return None
    name, foreground = options.get("logfile"), options.get("nodaemon")
    if name == "-" or (foreground and not name):
        # Without the foreground, twistd says what is wrong.
        return LogFileObserver(sys.stdout, reactor) if foreground else None
    try:
        file = LogFile.fromFullPath(name or "twistd.log")
    except OSError as error:
        raise _unwritable(name or "twistd.log", error, "name another with --logfile") from error
    observer = LogFileObserver(file, reactor)

    def rotate() -> None:
        observer.flush()
        file.rotate()

    def rotateLater(number: int, frame: FrameType | None) -> None:
        reactor.callFromThread(rotate)

    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, rotateLater)
    return observer


def _checkPidfile(options: Mapping[str, Any]) -> None:
    """
    Try the file for the pid, while somebody is there to read why it is none.
    """
    path = options.get("pidfile")
    if not path or options.get("chroot"):
        return
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.unlink(path)
    except FileExistsError:
        pass  # somebody was quicker than we are; twistd overwrites it
    except OSError as error:
        hint = "name another with --pidfile=, or none at all with nothing after it"
        raise _unwritable(path, error, hint) from error


def _unwritable(path: str, error: OSError, hint: str) -> SystemExit:
    return SystemExit(f"jsremote: {path}: cannot be written: {error.strerror or error}; {hint}")
