"""
The tasks that were started by command: those under way, and the last that are
over.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobscheduler_tcp.client.outputlog import OutputLog
from jobscheduler_tcp.config.model import ConfiguredJob
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.interfaces import IConfirmationReceiver
from jobscheduler_tcp.messages import TaskKilled, Work
from jobscheduler_tcp.outcome import Outcome

# How many tasks that are over are remembered, and how many may be under way: as
# many as JobScheduler 1.6 has at most (protocol document, 7.2).
HISTORY = 100
MAX_TASKS = 10000

Pairs = tuple[tuple[str, str], ...]


class GivenJob(Protocol):
    """
    What is asked of a L{RunningJob<jobscheduler_tcp.client.job.RunningJob>}.
    """

    done: Deferred[Outcome]
    task: str

    @property
    def state(self) -> str:
        """
        Where it stands.
        """

    @property
    def pid(self) -> int:
        """
        Of the task's program, 0 if it is not known to run.
        """

    def kill(self, signal: int, grace: float) -> Deferred[TaskKilled]:
        """
        End it, wherever it stands.
        """

    def cancel(self) -> None:
        """
        Let it not run.
        """


# How to give a job to the client: what to run, in which process class, and who
# hears of it.
Give = Callable[[Work, str, IConfirmationReceiver], GivenJob]

# The words of RunningJob.state, and JobScheduler's.
WAITING = "waiting for a process"
_WORDS = {
    WAITING: "waiting_for_process",
    "waiting for a callback port": "starting",
    "waiting for response": "starting",
    "waiting for end of task": "running_remote_process",
    "over": "closed",
}


@dataclass(slots=True, eq=False)
class StartedTask:
    """
    A task that was started by command.

    @ivar number: counts from 1.
    @ivar enqueued: when it was asked for, seconds since 1970.
    @ivar ended: when it was over; 0 before.
    @ivar killed: whether a command asked for its end.
    @ivar given: C{None} until it is given to the client.
    """

    number: int
    job: ConfiguredJob
    output: OutputLog
    enqueued: float
    ended: float = 0.0
    killed: bool = False
    given: GivenJob | None = None
    outcome: Outcome | None = None

    @property
    def waits(self) -> bool:
        """
        Whether it is in the queue of its process class.
        """
        return self.given is not None and self.given.state == WAITING

    @property
    def state(self) -> str:
        """
        JobScheduler's word for where it stands.
        """
        if self.given is None:
            return "none"
        if self.killed and self.outcome is None:
            return "killing"
        return _WORDS[self.given.state]


class StartedTasks:
    """
    Start them, end them, remember them.

    @ivar alive: by number, those under way.
    @ivar over: those that are over, the latest last.
    @ivar ended: how many tasks of each job are over.
    """

    _log = Logger()

    def __init__(self, give: Give, wallClock: Callable[[], float] = time.time) -> None:
        self._give = give
        self._wallClock = wallClock
        self._numbers = count(1)
        self.alive: dict[int, StartedTask] = {}
        self.over: deque[StartedTask] = deque(maxlen=HISTORY)
        self.ended: Counter[str] = Counter()

    def find(self, number: int) -> StartedTask | None:
        """
        A task under way, or one of the last that are over.
        """
        return self.alive.get(number) or next(
            (task for task in self.over if task.number == number), None
        )

    def add(self, job: ConfiguredJob) -> StartedTask:
        """
        Give a task its number.
        """
        if len(self.alive) >= MAX_TASKS:
            raise CommandRefused("SCHEDULER-210", f"More than {MAX_TASKS} tasks are under way")
        number = next(self._numbers)
        task = StartedTask(
            number, job, OutputLog(job.name, number, self._wallClock), self._wallClock()
        )
        self.alive[number] = task
        return task

    def start(self, task: StartedTask, parameters: Pairs, environment: Pairs) -> None:
        """
        Start it, with what the command says beyond the configuration.
        """
        configured = task.job.work
        # What the client tells every script of itself (protocol document, 5.5).
        own = (("SCHEDULER_JOB_NAME", task.job.name), ("SCHEDULER_TASK_ID", str(task.number)))
        work = replace(
            configured,
            parameters=merged(configured.parameters, parameters),
            environment=tuple(dict((*configured.environment, *environment, *own)).items()),
        )
        task.given = self._give(work, task.job.processClass, task.output)
        task.given.done.addCallback(self._ended, task)

    def kill(self, task: StartedTask, signal: int, grace: float) -> None:
        """
        End a task, and log what became of that.
        """
        assert task.given is not None
        task.killed = True
        killing = task.given.kill(signal, grace)
        killing.addCallback(self._killed, task).addErrback(self._notKilled, task)

    def withdraw(self, task: StartedTask) -> None:
        """
        Take a task that waits out of the queue.
        """
        assert task.given is not None
        task.killed = True
        task.given.cancel()

    def _ended(self, outcome: Outcome, task: StartedTask) -> Outcome:
        task.outcome = outcome
        task.ended = self._wallClock()
        del self.alive[task.number]
        self.over.append(task)
        self.ended[task.job.name] += 1
        self._log.info(
            "Task {task} of job {job} is over: {reason} {exitCode} {text}",
            task=task.number,
            job=task.job.name,
            reason=outcome.reason,
            exitCode="" if outcome.exitCode is None else outcome.exitCode,
            text=outcome.text,
        )
        return outcome

    def _killed(self, report: TaskKilled, task: StartedTask) -> None:
        for survivor in report.survivors:
            self._log.warn(
                "Task {task} was killed, but process {pid} ({command}) survived",
                task=task.number,
                pid=survivor.pid,
                command=survivor.command,
            )

    def _notKilled(self, reason: Failure, task: StartedTask) -> None:
        self._log.warn(
            "Task {task} could not be killed: {why}",
            task=task.number,
            why=reason.getErrorMessage(),
        )


class Overview:
    """
    Who has which tasks under way, at one moment. Each list is in the order of
    the commands, which is that of the queues.

    @ivar position: of each task that waits, by number, in the queue of its
        process class.
    """

    def __init__(self, tasks: Iterable[StartedTask]) -> None:
        self.position: dict[int, int] = {}
        self._of: defaultdict[tuple[str, str, bool], list[StartedTask]] = defaultdict(list)
        for task in tasks:
            waits = task.waits
            self._of["job", task.job.name, waits].append(task)
            queue = self._of["class", task.job.processClass, waits]
            queue.append(task)
            if waits:
                self.position[task.number] = len(queue)

    def ofJob(self, name: str, *, waiting: bool) -> list[StartedTask]:
        """
        The tasks of a job.
        """
        return self._of["job", name, waiting]

    def ofClass(self, name: str, *, waiting: bool) -> list[StartedTask]:
        """
        The tasks of a process class.
        """
        return self._of["class", name, waiting]


def merged(first: Pairs, second: Pairs) -> Pairs:
    """
    Two sets of parameters as one: JobScheduler compares names without regard to
    case, the spelling of the first stays and the value of the second counts.
    """
    found: dict[str, tuple[str, str]] = {}
    for name, value in (*first, *second):
        spelling, _ = found.get(name.lower(), (name, ""))
        found[name.lower()] = (spelling, value)
    return tuple(found.values())
