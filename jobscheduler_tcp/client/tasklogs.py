"""
The log of each task, line by line as JobScheduler writes it::

    2026-11-22 14:27:59.582 [info]   (Job  report) SCHEDULER-930  Task 743 started
    2026-11-22 14:27:59.991 [info]   (Job  report) [stdout] what it prints
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobscheduler_tcp.client.lines import Lines, readable
from jobscheduler_tcp.client.logfiles import LogFiles, LogPart, fileName
from jobscheduler_tcp.client.observers import Bystander
from jobscheduler_tcp.client.shown import failureOf
from jobscheduler_tcp.messages import Stream
from jobscheduler_tcp.plaincommands import timestamp

if TYPE_CHECKING:
    from jobscheduler_tcp.client.started import StartedTask

# Bytes of a log that may wait for the disk; then the task waits, too.
MAX_WAITING = 1 << 20

_T = TypeVar("_T")


class InThread(Protocol):
    """
    Do something in a thread, one thing after the other.
    """

    def __call__(self, work: Callable[[], _T], /) -> Deferred[_T]:
        """
        Do it.
        """


def logLine(seconds: float, level: str, job: str, text: str) -> str:
    """
    Write one line of a log, without its end.

    @param seconds: since 1970; the line has local time, as JobScheduler's.
    @param level: C{info}, C{warn} or C{error}.
    """
    return f"{timestamp(seconds)} {f'[{level}]':8} (Job  {readable(job)}) {text}"


@dataclass(slots=True, eq=False)
class _Log:
    """
    The log of a task under way.
    """

    name: str
    lines: dict[Stream, Lines] = field(
        default_factory=lambda: {Stream.STDOUT: Lines(), Stream.STDERR: Lines()}
    )
    waiting: list[bytes] = field(default_factory=list)
    size: int = 0
    paused: bool = False


class TaskLogs(Bystander):
    """
    Write the logs of all tasks.
    """

    _log = Logger()

    def __init__(
        self,
        files: LogFiles,
        inThread: InThread,
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        self._files = files
        self._inThread = inThread
        self._wallClock = wallClock
        self._logs: dict[StartedTask, _Log] = {}
        self._dirty: dict[StartedTask, _Log] = {}
        self._writing = False
        self._failed = False
        self._idle: list[Deferred[None]] = []

    def taskGiven(self, task: StartedTask) -> None:
        """
        Begin its log.
        """
        self._say(task, [f"SCHEDULER-930  Task {task.number} started - cause: {task.cause}"])

    def taskStarted(self, task: StartedTask) -> None:
        """
        Its program runs.
        """
        pid = task.given.pid if task.given is not None else 0
        self._say(task, [f"The remote has started it, pid {pid}"])

    def taskPrinted(self, task: StartedTask, stream: Stream, data: bytes) -> None:
        """
        Log the lines that are complete.
        """
        self._print(task, stream, self._logOf(task).lines[stream].feed(data))

    def taskEnded(self, task: StartedTask) -> None:
        """
        Log the lines that have no end, and how the task ended.
        """
        for stream, lines in self._logOf(task).lines.items():
            self._print(task, stream, lines.end())
        assert task.outcome is not None
        failure = failureOf(task.outcome)
        if failure is not None:
            self._say(task, ["  ".join(failure)], "error")
        self._say(task, [f"Task {task.number} ended: {task.outcome.reason}"])
        del self._logs[task]

    def read(self, job: str, number: int, start: int, most: int) -> Deferred[LogPart]:
        """
        Read a part of a log; L{LogFiles.read}.
        """
        return self._inThread(lambda: self._files.read(fileName(job, number), start, most))

    def whenWritten(self) -> Deferred[None]:
        """
        Wait until nothing is left to be written.
        """
        idle: Deferred[None] = Deferred(self._idle.remove)
        self._idle.append(idle)
        self._write()
        return idle

    def _logOf(self, task: StartedTask) -> _Log:
        if task not in self._logs:
            self._logs[task] = _Log(fileName(task.job.name, task.number))
        return self._logs[task]

    def _print(self, task: StartedTask, stream: Stream, lines: Iterable[str]) -> None:
        self._say(task, [f"[{stream.name.lower()}] {line}" for line in lines])

    def _say(self, task: StartedTask, texts: list[str], level: str = "info") -> None:
        if not texts:
            return
        now, job = self._wallClock(), task.job.name
        lines = "".join(f"{logLine(now, level, job, readable(text))}\n" for text in texts)
        log = self._logOf(task)
        log.waiting.append(lines.encode("utf-8", "backslashreplace"))
        log.size += len(log.waiting[-1])
        if log.size > MAX_WAITING and not log.paused and task.confirmation is not None:
            log.paused = True
            task.confirmation.pauseProducing()
        self._dirty[task] = log
        self._write()

    def _write(self) -> None:
        if self._writing:
            return
        if not self._dirty:
            idle, self._idle = self._idle, []
            for each in idle:
                each.callback(None)
            return
        dirty, self._dirty = self._dirty, {}
        texts = [(log.name, b"".join(log.waiting)) for log in dirty.values()]
        alive = {log.name for log in (*self._logs.values(), *dirty.values())}
        for log in dirty.values():
            log.waiting.clear()
            log.size = 0
        self._writing = True
        writing = self._inThread(lambda: self._files.append(texts, alive))
        writing.addCallbacks(self._written, self._notWritten)
        writing.addCallback(self._goOn, dirty)

    def _written(self, _: None) -> None:
        if self._failed:
            self._failed = False
            self._log.info("Task logs can be written again")

    def _notWritten(self, failure: Failure) -> None:
        if not self._failed:  # once, not for each line
            self._failed = True
            self._log.error(
                "Task logs are incomplete, they cannot be written: {why}",
                why=failure.getErrorMessage(),
            )

    def _goOn(self, _: None, dirty: dict[StartedTask, _Log]) -> None:
        self._writing = False
        for task, log in dirty.items():
            if log.paused:
                log.paused = False
                assert task.confirmation is not None
                task.confirmation.resumeProducing()
        self._write()
