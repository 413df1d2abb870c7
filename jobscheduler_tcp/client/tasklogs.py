"""
The log of each task, line by line as JobScheduler writes it::

    2026-11-22 14:27:59.582 [info]   (Job  report) SCHEDULER-930  Task 743 started
    2026-11-22 14:27:59.991 [info]   (Job  report) [stdout] what it prints
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobscheduler_tcp.client.lines import Lines, readable
from jobscheduler_tcp.client.logfiles import LogFiles, LogPart, fileName
from jobscheduler_tcp.client.observers import Bystander
from jobscheduler_tcp.client.positions import UNKNOWN, Position, Positions
from jobscheduler_tcp.client.shown import failureOf
from jobscheduler_tcp.messages import Stream, TaskAttached
from jobscheduler_tcp.outcome import Outcome
from jobscheduler_tcp.plaincommands import timestamp

if TYPE_CHECKING:
    from jobscheduler_tcp.client.startedtask import StartedTask

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

    @ivar heard: how many bytes of each stream came.
    @ivar kept: how many of them are on the disk.
    @ivar waiting: what is not on the disk, and its size.
    @ivar started: whether it says that the program was started.
    @ivar settled: fires when nothing waits any more.
    @ivar over: whether this is its end.
    @ivar closed: whether nobody will come back to the task any more.
    """

    name: str
    lines: dict[Stream, Lines] = field(
        default_factory=lambda: {Stream.STDOUT: Lines(), Stream.STDERR: Lines()}
    )
    heard: dict[Stream, int] = field(default_factory=lambda: {Stream.STDOUT: 0, Stream.STDERR: 0})
    kept: tuple[int, int] = (0, 0)
    waiting: list[bytes] = field(default_factory=list)
    size: int = 0
    started: bool = False
    paused: bool = False
    settled: Deferred[None] | None = None
    over: bool = False
    closed: bool = False

    def position(self) -> Position:
        """
        How far it is written when nothing waits, but for its size.
        """
        stdout, stderr = (
            self.heard[stream] - self.lines[stream].pending
            for stream in (Stream.STDOUT, Stream.STDERR)
        )
        return Position(stdout, stderr, started=self.started)


@dataclass(frozen=True, slots=True)
class _Batch:
    """
    What is written to one log at once.
    """

    number: int
    name: str
    data: bytes
    position: Position
    over: bool


class TaskLogs(Bystander):
    """
    Write the logs of all tasks.
    """

    _log = Logger()

    def __init__(
        self,
        files: LogFiles,
        positions: Positions,
        inThread: InThread,
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        self._files = files
        self._positions = positions
        self._sizes: dict[str, int] = {}  # the thread's
        self._inThread = inThread
        self._wallClock = wallClock
        self._logs: dict[StartedTask, _Log] = {}
        self._ending: dict[StartedTask, _Log] = {}
        self._dirty: dict[StartedTask, _Log] = {}
        self._writing = False
        self._beingWritten: dict[StartedTask, _Log] = {}
        self._failed = False
        self._idle: list[Deferred[None]] = []

    def taskGiven(self, task: StartedTask) -> None:
        """
        Begin its log, anew if it was begun before a restart and the task was not.
        """
        if task in self._logs or task.number in self._positions.found:
            self._logs.pop(task, None)
            begun = self._inThread(lambda: self._positions.write(task.number, Position()))
            begun.addErrback(self._notWritten)
            self._cut(self._logOf(task).name, 0)
        self._begin(task)

    def taskStarted(self, task: StartedTask) -> None:
        """
        Its program runs. It is said once more after a restart.
        """
        log = self._logOf(task)
        if log.started:
            return
        log.started = True
        pid = task.given.pid if task.given is not None else 0
        self._say(task, [f"The remote has started it, pid {pid}"])

    def taskPrinted(self, task: StartedTask, stream: Stream, data: bytes) -> None:
        """
        Log the lines that are complete.
        """
        log = self._logOf(task)
        log.heard[stream] += len(data)
        self._print(task, stream, log.lines[stream].feed(data))

    def taskEnded(self, task: StartedTask) -> None:
        """
        Log the lines that have no end, and how the task ended.
        """
        self._printRest(task)
        assert task.outcome is not None
        log = self._logOf(task)
        log.over = True
        for level, text in _ending(task.number, task.outcome):
            self._say(task, [text], level)
        del self._logs[task]
        self._ending[task] = log

    def closed(self, task: StartedTask) -> None:
        """
        The history has the end of a task: its log will not be gone on with.
        """
        log = self._ending.get(task)
        if log is not None:
            log.closed = True
            self._forget(task, log)

    def _forget(self, task: StartedTask, log: _Log) -> None:
        if log.closed and not log.waiting and task not in self._beingWritten:
            del self._ending[task]
            self._inThread(lambda: self._positions.forget(task.number))

    def resume(self, task: StartedTask) -> Position:
        """
        Go on with the log of a task that there was before a restart.

        @return: how far it is written: its remote may go on there.
        """
        position = self._positions.found.get(task.number, Position())
        log = self._logOf(task)
        log.heard = {Stream.STDOUT: position.stdout, Stream.STDERR: position.stderr}
        log.kept = position.stdout, position.stderr
        log.started = position.started
        self._cut(log.name, position.size)
        if not position.size:
            self._begin(task)
        return position

    def finish(self, job: str, number: int, outcome: Outcome) -> None:
        """
        Write the last lines of a log that a client, when it was killed, had not
        written. The history had the end already.
        """
        name = fileName(job, number)
        now = self._wallClock()
        lines = "".join(
            f"{logLine(now, level, job, readable(text))}\n"
            for level, text in _ending(number, outcome)
        )
        data = lines.encode("utf-8", "backslashreplace")
        size = self._positions.found[number].size
        if size:  # else there is its beginning, if anything
            self._cut(name, size)
        batch = _Batch(number, name, data, Position(), over=True)
        self._inThread(lambda: self._store([batch], set())).addErrback(self._notWritten)
        self._inThread(lambda: self._positions.forget(number))

    def drop(self, number: int) -> None:
        """
        Throw the log of a task away that nobody knows: the client was killed
        before it was written down.
        """
        self._inThread(lambda: self._files.remove(number)).addErrback(self._notWritten)
        self._inThread(lambda: self._positions.forget(number))

    def attached(self, task: StartedTask, message: TaskAttached) -> None:
        """
        Its remote is there: have nothing acknowledged that is not on the disk.
        """
        log = self._logOf(task)
        for stream, offset in ((Stream.STDOUT, message.stdout), (Stream.STDERR, message.stderr)):
            missing = offset - log.heard[stream]
            if missing > 0:
                self._print(task, stream, log.lines[stream].end())
                log.heard[stream] = offset
                name = stream.name.lower()
                self._say(task, [f"{missing} bytes of its {name} were dropped"], "warn")
        if task.confirmation is not None:
            task.confirmation.kept(*log.kept)

    def settle(self, task: StartedTask) -> Deferred[None] | None:
        """
        Bring all that a task has printed to the disk.

        @return: fires when it is there, or cannot be; C{None} if it is.
        """
        self._printRest(task)
        log = self._logOf(task)
        if not (log.waiting or task in self._beingWritten):
            return None
        log.settled = Deferred()
        return log.settled

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

    def _begin(self, task: StartedTask) -> None:
        self._say(task, [f"SCHEDULER-930  Task {task.number} started - cause: {task.cause}"])

    def _printRest(self, task: StartedTask) -> None:
        for stream, lines in self._logOf(task).lines.items():
            self._print(task, stream, lines.end())

    def _cut(self, name: str, size: int) -> None:
        def cut() -> None:
            self._sizes[name] = size
            self._files.cut(name, size)

        self._inThread(cut).addErrback(self._notWritten)

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
        batches = []
        for task, log in dirty.items():
            data = b"".join(log.waiting)
            batches.append(_Batch(task.number, log.name, data, log.position(), log.over))
        alive = {log.name for log in (*self._logs.values(), *dirty.values())}
        for log in dirty.values():
            log.waiting.clear()
            log.size = 0
        self._writing = True
        self._beingWritten = dirty
        writing = self._inThread(lambda: self._store(batches, alive))
        writing.addCallbacks(self._written, self._notWritten)
        writing.addCallback(self._goOn, dirty, batches)

    def _store(self, batches: list[_Batch], alive: set[str]) -> None:
        """
        Write logs, and then how far they are written.
        """
        sizes = self._sizes
        try:
            for each in batches:
                if not each.over:  # else it is whole at once, if that is its first
                    self._positions.begin(each.number)
            self._files.append([(each.name, each.data) for each in batches], alive)
        except OSError:
            sizes |= dict.fromkeys((each.name for each in batches), UNKNOWN)
            raise
        else:
            for each in batches:
                before = sizes.get(each.name, 0)
                known = before != UNKNOWN
                sizes[each.name] = before + len(each.data) if known else self._files.size(each.name)
        finally:
            for each in batches:
                if each.over:
                    # What is behind its position is written anew if the history
                    # does not get its end.
                    del sizes[each.name]
                else:
                    position = replace(each.position, size=sizes[each.name])
                    self._positions.write(each.number, position)

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

    def _goOn(self, _: None, dirty: dict[StartedTask, _Log], batches: list[_Batch]) -> None:
        self._writing = False
        self._beingWritten = {}
        for (task, log), batch in zip(dirty.items(), batches, strict=True):
            log.kept = batch.position.stdout, batch.position.stderr
            if task.confirmation is not None and not log.over:
                task.confirmation.kept(*log.kept)
            if log.over:
                self._forget(task, log)
            if log.settled is not None and not log.waiting:
                settled, log.settled = log.settled, None
                settled.callback(None)
            if log.paused:
                log.paused = False
                assert task.confirmation is not None
                task.confirmation.resumeProducing()
        self._write()


def _ending(number: int, outcome: Outcome) -> list[tuple[str, str]]:
    """
    The last lines of a log, each with its level.
    """
    failure = failureOf(outcome)
    lines = [("error", "  ".join(failure))] if failure is not None else []
    return [*lines, ("info", f"Task {number} ended: {outcome.reason}")]
