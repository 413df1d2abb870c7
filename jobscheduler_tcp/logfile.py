"""
The log file of the services: the lines that C{twistd} writes, written in a
fifth of the time. A task has seven of them, in which Twisted's own observer
spends as much as in all of its messages.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import IO, Any

from twisted.logger import (
    FileLogObserver,
    LogEvent,
    formatEventAsClassicLogText,
    formatTime,
)
from twisted.python.logfile import LogFile


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
            except Exception:
                text = ""
            if text:
                if "\n" in text:
                    text = text.replace("\n", "\n\t")
                return f"{self._time(event.get('log_time'))} [{self._system(event)}] {text}\n"
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


def logFileObserver(file: IO[Any]) -> FileLogObserver:
    """
    Write lines to a file, each as soon as it is there.
    """
    return FileLogObserver(file, LineFormat())


def observerFor(
    options: Mapping[str, Any], later: Callable[[Callable[[], None]], object]
) -> FileLogObserver | None:
    """
    Log to where the options of C{twistd} say: C{--logfile}, where SIGUSR1 begins
    a new file; the standard output of C{--nodaemon}; C{twistd.log}.

    @param later: calls something when no signal is being handled.
    @return: C{None} if they name another kind of log.
    @raise SystemExit: this, or the file for the pid, cannot be written. Twisted would
        have a traceback for it.
    """
    _checkPidfile(options)
    if options.get("logger") is not None or options.get("syslog"):
        return None
    name, foreground = options.get("logfile"), options.get("nodaemon")
    if name == "-" or (foreground and not name):
        return logFileObserver(sys.stdout) if foreground else None  # twistd says what is wrong
    try:
        file = LogFile.fromFullPath(name or "twistd.log")
    except OSError as error:
        raise _unwritable(name or "twistd.log", error, "name another with --logfile") from error

    def rotate(number: int, frame: FrameType | None) -> None:
        later(file.rotate)

    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, rotate)
    return logFileObserver(file)


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
