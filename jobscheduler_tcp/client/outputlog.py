"""
The output of a task, line by line into the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.interfaces import IConfirmationReceiver, ITaskConfirmation
from jobscheduler_tcp.messages import Stream, TaskAttached, TaskEnded, TaskStarted

# The longest line in one piece: what JobScheduler takes for one log text
# (protocol document, 8.1).
MAX_LINE = 10000


@implementer(IConfirmationReceiver)
class OutputLog:
    """
    Log what one task prints. At most one unfinished line of each stream is
    kept.

    @ivar began: when the program was said to run, seconds since 1970; 0 before.
    """

    _log = Logger()

    def __init__(self, job: str, task: int, wallClock: Callable[[], float] = time.time) -> None:
        self.began = 0.0
        self._wallClock = wallClock
        self._job = job
        self._task = task
        self._rests = {Stream.STDOUT: b"", Stream.STDERR: b""}

    def taskAttached(self, confirmation: ITaskConfirmation, message: TaskAttached) -> None:
        """
        The remote is there.
        """

    def taskStarted(self, message: TaskStarted) -> None:
        """
        The program runs.
        """
        self.began = self._wallClock()

    def outputReceived(self, stream: Stream, data: bytes) -> None:
        """
        Log the lines that are complete, and those that are too long in pieces.
        """
        *lines, rest = (self._rests[stream] + data).split(b"\n")
        for line in lines:
            self._say(stream, line.removesuffix(b"\r"))
        whole = len(rest) - len(rest) % MAX_LINE
        if whole:
            self._say(stream, rest[:whole])
        self._rests[stream] = rest[whole:]

    def taskEnded(self, message: TaskEnded) -> Deferred[None] | None:
        """
        Log the lines that have no end.
        """
        self._flush()
        return None

    def confirmationLost(self, reason: Failure) -> None:
        """
        Log what came.
        """
        self._flush()

    def _flush(self) -> None:
        for stream, rest in self._rests.items():
            if rest:
                self._say(stream, rest)
            self._rests[stream] = b""

    def _say(self, stream: Stream, line: bytes) -> None:
        for start in range(0, len(line) or 1, MAX_LINE):
            # Bytes that are no text, and control characters, which could make a
            # terminal do things, are shown as in Python.
            text = line[start : start + MAX_LINE].decode("utf-8", "backslashreplace")
            if not text.isprintable():
                text = "".join(map(_visible, text))
            self._log.info(
                "Task {task} of job {job}, {stream}: {line}",
                task=self._task,
                job=self._job,
                stream=stream.name.lower(),
                line=text,
            )


def _visible(character: str) -> str:
    if character.isprintable() or character == "\t":
        return character
    return character.encode("unicode_escape").decode("ascii")
