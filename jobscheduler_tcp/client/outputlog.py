"""
The output of a task, line by line into the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.client.lines import Lines
from jobscheduler_tcp.interfaces import IConfirmationReceiver, ITaskConfirmation
from jobscheduler_tcp.messages import Stream, TaskAttached, TaskEnded, TaskStarted

# Characters of the first line that are remembered (protocol document, 5.8).
_FIRST = 100


@implementer(IConfirmationReceiver)
class OutputLog:
    """
    Log what one task prints. At most one unfinished line of each stream is
    kept.

    @ivar began: when the program was said to run, seconds since 1970; 0 before.
    @ivar first: the beginning of its first line on stdout, as JobScheduler tells
        it of a job.
    @ivar sizes: the bytes of each stream that were heard here.
    """

    _log = Logger()

    def __init__(self, job: str, task: int, wallClock: Callable[[], float] = time.time) -> None:
        self.began = 0.0
        self.first = ""
        self.sizes = {Stream.STDOUT: 0, Stream.STDERR: 0}
        self._wallClock = wallClock
        self._job = job
        self._task = task
        self._lines = {Stream.STDOUT: Lines(), Stream.STDERR: Lines()}

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
        self.sizes[stream] += len(data)
        self._say(stream, self._lines[stream].feed(data))

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
        for stream, lines in self._lines.items():
            self._say(stream, lines.end())

    def _say(self, stream: Stream, lines: Iterable[str]) -> None:
        for line in lines:
            if not self.first and stream is Stream.STDOUT:
                self.first = line[:_FIRST]
            self._log.info(
                "Task {task} of job {job}, {stream}: {line}",
                task=self._task,
                job=self._job,
                stream=stream.name.lower(),
                line=line,
            )
