"""
The tasks of all jobs: those under way, and the last that are over.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.client.observers import Forgetful, Observers
from jobscheduler_tcp.client.order import Order, Pairs, merged
from jobscheduler_tcp.client.outputlog import OutputLog
from jobscheduler_tcp.config.model import ConfiguredJob
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.interfaces import (
    IConfirmationReceiver,
    ISchedulerObserver,
    ITaskConfirmation,
    ITaskLedger,
)
from jobscheduler_tcp.messages import (
    Stream,
    TaskAttached,
    TaskEnded,
    TaskKilled,
    TaskStarted,
    Work,
)
from jobscheduler_tcp.outcome import Outcome, Reason

# How many tasks that are over are remembered, and how many may be under way: as
# many as JobScheduler 1.6 has at most (protocol document, 7.2).
HISTORY = 100
MAX_TASKS = 10000


class GivenJob(Protocol):
    """
    What is asked of a L{PlacedTask<jobscheduler_tcp.client.placing.PlacedTask>}.
    """

    done: Deferred[Outcome]

    @property
    def task(self) -> str:
        """
        The UUID of its task; empty where it has none yet.
        """

    @property
    def state(self) -> str:
        """
        Where it stands.
        """

    @property
    def why(self) -> str:
        """
        What it waits for, for people; empty where it waits for nothing, or for
        its turn.
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

# The words of RunningJob.state and PlacedTask.state, and JobScheduler's.
WAITING = "waiting for a process"
WAITING_FOR_REMOTE = "waiting for a remote"
_WORDS = {
    WAITING: "waiting_for_process",
    WAITING_FOR_REMOTE: "waiting_for_process",
    "waiting for a callback port": "starting",
    "waiting for response": "starting",
    "waiting for end of task": "running_remote_process",
    "over": "closed",
}


@dataclass(slots=True, eq=False)
class StartedTask:
    """
    A task: of a command, of an order, or one more after a failure.

    @ivar number: counts from 1.
    @ivar enqueued: when it was asked for, seconds since 1970.
    @ivar startAt: when it shall start, likewise.
    @ivar cause: JobScheduler's word for why it is there.
    @ivar name: as the command called it.
    @ivar parameters: beyond those of the job.
    @ivar environment: likewise.
    @ivar order: what it works on.
    @ivar ended: when it was over; 0 before.
    @ivar killed: whether a command asked for its end.
    @ivar given: C{None} until it is given to the client.
    @ivar confirmation: lets its remote wait when its output cannot be taken.
    """

    number: int
    job: ConfiguredJob
    output: OutputLog
    enqueued: float
    startAt: float
    cause: str = "queue_at"
    name: str = ""
    parameters: Pairs = ()
    environment: Pairs = ()
    order: Order | None = None
    ended: float = 0.0
    killed: bool = False
    given: GivenJob | None = None
    confirmation: ITaskConfirmation | None = None
    outcome: Outcome | None = None

    @property
    def waits(self) -> bool:
        """
        Whether it is in the queue of its process class.
        """
        return self.given is not None and self.given.state in (WAITING, WAITING_FOR_REMOTE)

    @property
    def failed(self) -> bool:
        """
        Whether it is over, and its job counts that as a failure.
        """
        outcome, job = self.outcome, self.job
        if outcome is None or outcome.succeeded:
            return False
        if outcome.reason is Reason.EXITED:
            return not job.ignoreError
        return outcome.signal not in job.ignoreSignals

    @property
    def state(self) -> str:
        """
        JobScheduler's word for where it stands.
        """
        if self.given is None:
            return "none" if self.outcome is None else "closed"
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

    def __init__(
        self,
        give: Give,
        wallClock: Callable[[], float] = time.time,
        observer: ISchedulerObserver | None = None,
        onEnded: Callable[[StartedTask], None] = lambda task: None,
        ledger: ITaskLedger | None = None,
    ) -> None:
        """
        @param give: gives a job to the client, such as C{ClientService.run}.
        @param onEnded: told of each task that is over.
        @param ledger: numbers the tasks and remembers them; without one the
            numbers begin with 1 each time.
        """
        self._give = give
        self._wallClock = wallClock
        self._observer = observer or Observers()
        self._onEnded = onEnded
        self._ledger = ledger or Forgetful()
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

    def add(
        self,
        job: ConfiguredJob,
        *,
        startAt: float = 0.0,
        cause: str = "queue_at",
        name: str = "",
        parameters: Pairs = (),
        environment: Pairs = (),
        take: Callable[[int], Order | None] = lambda number: None,
    ) -> StartedTask:
        """
        Give a task its number.

        @param startAt: seconds since 1970; 0 for now.
        @param take: takes the order for the task of a number.
        """
        if len(self.alive) >= MAX_TASKS:
            raise CommandRefused("SCHEDULER-210", f"More than {MAX_TASKS} tasks are under way")
        number, now = self._ledger.nextNumber(), self._wallClock()
        task = StartedTask(
            number,
            job,
            OutputLog(job.name, number, self._wallClock),
            now,
            startAt or now,
            cause,
            name,
            parameters,
            environment,
            take(number),
        )
        self.alive[number] = task
        self._observer.taskQueued(task)
        return task

    def start(self, task: StartedTask, variables: Pairs = ()) -> None:
        """
        Start it.

        @param variables: what the client tells every script of itself.
        """
        configured = task.job.work
        order = task.order
        own = [*variables]
        own.append(("SCHEDULER_JOB_NAME", _base(task.job.name)))
        own.append(("SCHEDULER_TASK_ID", str(task.number)))
        if order is not None:
            own.append(("SCHEDULER_ORDER_ID", order.id))
            own.append(("SCHEDULER_JOB_CHAIN", _base(order.chain)))
        environment = (*configured.environment, *task.environment, *own)
        work = replace(
            configured,
            parameters=merged(configured.parameters, task.parameters),
            orderParameters=order.parameters if order is not None else None,
            environment=tuple(dict(environment).items()),
        )
        self._observer.taskGiven(task)
        receiver = TaskReceiver(task, self._observer, self._ledger)
        task.given = self._give(work, task.job.processClass, receiver)
        task.given.done.addCallback(self._ended, task)

    def discard(self, task: StartedTask, outcome: Outcome) -> None:
        """
        Let a task that was never given to the client be over.
        """
        self._ended(outcome, task)

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
        self._observer.taskEnded(task)
        self._log.info(
            "Task {task} of job {job} is over: {reason} {exitCode} {text}",
            task=task.number,
            job=task.job.name,
            reason=outcome.reason,
            exitCode="" if outcome.exitCode is None else outcome.exitCode,
            text=outcome.text,
        )
        self._onEnded(task)
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
            if task.given is None:
                continue  # it waits for its job, not yet for a process
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


@implementer(IConfirmationReceiver)
class TaskReceiver:
    """
    Hears one task, for its log, for the ledger and for the observers.
    """

    def __init__(
        self, task: StartedTask, observer: ISchedulerObserver, ledger: ITaskLedger
    ) -> None:
        self._task = task
        self._observer = observer
        self._ledger = ledger

    def taskAttached(self, confirmation: ITaskConfirmation, message: TaskAttached) -> None:
        """
        The remote is there.
        """
        self._task.confirmation = confirmation
        self._task.output.taskAttached(confirmation, message)

    def taskStarted(self, message: TaskStarted) -> None:
        """
        The program runs.
        """
        self._task.output.taskStarted(message)
        self._ledger.taskStarts(self._task, message)
        self._observer.taskStarted(self._task)

    def outputReceived(self, stream: Stream, data: bytes) -> None:
        """
        It printed something.
        """
        self._task.output.outputReceived(stream, data)
        self._observer.taskPrinted(self._task, stream, data)

    def taskEnded(self, message: TaskEnded) -> Deferred[None] | None:
        """
        It is over: the remote may forget it when the ledger has it.
        """
        self._task.output.taskEnded(message)
        return self._ledger.taskEnds(self._task, message)

    def confirmationLost(self, reason: Failure) -> None:
        """
        Nothing more will be heard.
        """
        self._task.output.confirmationLost(reason)


def _base(path: str) -> str:
    return path.rpartition("/")[2]
