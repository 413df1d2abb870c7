"""
The tasks that were started by command: those under way, and the last that are
over.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from jobscheduler_tcp.client.outputlog import OutputLog
from jobscheduler_tcp.config.model import ConfiguredJob
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.interfaces import IConfirmationReceiver
from jobscheduler_tcp.messages import Work
from jobscheduler_tcp.outcome import Outcome

# How many tasks that are over are remembered, and how many may be under way: as
# many as JobScheduler 1.6 has at most (protocol document, 7.2).
HISTORY = 100
MAX_TASKS = 10000

Pairs = tuple[tuple[str, str], ...]


class RunningJob(Protocol):
    """
    A job that was given to the client, such as a
    L{Job<jobscheduler_tcp.client.job.Job>}.

    @ivar done: fires once with the outcome, never fails.
    @ivar position: in the queue of the process class, 0 if it does not wait.
    """

    done: Deferred[Outcome]

    @property
    def position(self) -> int:
        """
        1 for the next.
        """

    def kill(self, signal: int, grace: float) -> object:
        """
        End it, wherever it stands.
        """


# How to give a job to the client: what to run, in which process class, and who
# hears of it.
Run = Callable[[Work, str, IConfirmationReceiver], RunningJob]


@dataclass(slots=True, eq=False)
class StartedTask:
    """
    A task that was started by command.

    @ivar number: counts from 1.
    @ivar enqueued: when it was asked for, seconds since 1970.
    @ivar ended: when it was over; 0 before.
    @ivar killed: whether a command asked for its end.
    """

    number: int
    job: ConfiguredJob
    output: OutputLog
    enqueued: float
    ended: float = 0.0
    killed: bool = False
    running: RunningJob | None = None
    outcome: Outcome | None = None

    @property
    def position(self) -> int:
        """
        The place in the queue of its process class, 0 if it does not wait.
        """
        return self.running.position if self.running is not None else 0

    @property
    def state(self) -> str:
        """
        JobScheduler's word for where it stands.
        """
        if self.running is None:
            return "none"
        if self.outcome is not None:
            return "closed"
        if self.killed:
            return "killing"
        if self.position:
            return "waiting_for_process"
        return "running_remote_process" if self.output.began else "starting"


class StartedTasks:
    """
    Start them, end them, remember them.

    @ivar alive: by number, those under way.
    @ivar over: those that are over, the latest last.
    @ivar ended: how many tasks of each job are over.
    """

    _log = Logger()

    def __init__(self, run: Run, wallClock: Callable[[], float] = time.time) -> None:
        self._run = run
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

    def aliveOf(self, job: ConfiguredJob) -> list[StartedTask]:
        """
        The tasks of a job that are under way.
        """
        return [task for task in self.alive.values() if task.job is job]

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
        task.running = self._run(work, task.job.processClass, task.output)
        task.running.done.addCallback(self._ended, task)

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
