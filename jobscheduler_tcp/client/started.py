"""
The tasks of all jobs: those under way, and the last that are over.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobscheduler_tcp.client import verdicts
from jobscheduler_tcp.client.observers import Forgetful, Observers
from jobscheduler_tcp.client.order import Order, Pairs, merged
from jobscheduler_tcp.client.outputlog import OutputLog
from jobscheduler_tcp.client.restored import RestoredTask
from jobscheduler_tcp.client.startedtask import GivenJob, StartedTask
from jobscheduler_tcp.client.taskreceiver import TaskReceiver
from jobscheduler_tcp.config.model import ConfiguredJob
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.interfaces import (
    IConfirmationReceiver,
    ISchedulerObserver,
    ITaskLedger,
)
from jobscheduler_tcp.messages import TaskAttached, TaskEnded, TaskKilled, Work
from jobscheduler_tcp.outcome import Outcome, Reason

# How many tasks that are over are remembered, and how many may be under way: as
# many as JobScheduler 1.6 has at most (protocol document, 7.2).
HISTORY = 100
MAX_TASKS = 10000


# How to give a job to the client: what to run, in which process class, and who
# hears of it.
Give = Callable[[Work, str, IConfirmationReceiver], GivenJob]

# How to come back to one that a remote was asked for before a restart.
Attach = Callable[[StartedTask, RestoredTask, IConfirmationReceiver], GivenJob]


class Keeper(Protocol):
    """
    Who keeps what tasks print, such as L{TaskLogs<jobscheduler_tcp.client.tasklogs.TaskLogs>}.
    """

    def attached(self, task: StartedTask, message: TaskAttached, /) -> None:
        """
        The remote of a task is there.
        """

    def settle(self, task: StartedTask, /) -> Deferred[None] | None:
        """
        Bring what a task printed to where it is kept; C{None} if it is there.
        """

    def closed(self, task: StartedTask, /) -> None:
        """
        The end of a task is remembered: nobody will come back to it.
        """


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
        *,
        attach: Attach | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        """
        @param give: gives a job to the client, such as C{ClientService.run}.
        @param onEnded: told of each task that is over.
        @param ledger: numbers the tasks and remembers them; without one the
            numbers begin with 1 each time.
        @param attach: comes back to a task that its remote has; without it such a
            task is lost.
        @param keeper: keeps what tasks print; the end of a task counts when that
            is kept.
        """
        self._give = give
        self._wallClock = wallClock
        self._observer = observer or Observers()
        self._onEnded = onEnded
        self._ledger = ledger or Forgetful()
        self._attach = attach
        self._keeper = keeper
        self._leaving = False
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
        @raise CommandRefused: there are too many, or it could not be remembered.
        """
        if len(self.alive) >= MAX_TASKS:
            raise CommandRefused("SCHEDULER-210", f"More than {MAX_TASKS} tasks are under way")
        number, now = self._ledger.nextNumber(), self._wallClock()
        with self._ledger.together():
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

    def restore(self, job: ConfiguredJob, was: RestoredTask, order: Order | None) -> StartedTask:
        """
        Have a task that there was before a restart.
        """
        output = OutputLog(job.name, was.number, self._wallClock)
        output.began = was.began
        task = StartedTask(
            was.number,
            job,
            output,
            was.enqueued,
            was.startAt,
            was.cause,
            was.name,
            was.parameters,
            was.environment,
            order,
        )
        self.alive[was.number] = task
        return task

    def start(self, task: StartedTask, variables: Pairs = ()) -> None:
        """
        Start it.

        @param variables: what the client tells every script of itself.
        """
        self._observer.taskGiven(task)
        task.given = self._give(
            self._work(task, variables), task.job.processClass, self._receiver(task)
        )
        task.given.done.addCallback(self._done, task)

    def comeBack(self, task: StartedTask, was: RestoredTask, variables: Pairs = ()) -> None:
        """
        Come back to a task that its remote was, perhaps, asked for. If it was
        not, start it.
        """
        if self._attach is None:
            text = "the client ended before its end was known"
            self.discard(task, Outcome(Reason.LOST, text))
            return
        task.given = self._attach(task, was, self._receiver(task))
        task.given.done.addCallback(self._cameBack, task, variables)

    def leave(self) -> None:
        """
        End no task any more: those whose ends nobody has told are there again
        after a restart.
        """
        self._leaving = True
        for task in list(self.alive.values()):
            if task.given is None:
                del self.alive[task.number]
            elif task.waits:
                task.given.cancel()

    def _receiver(self, task: StartedTask) -> TaskReceiver:
        attached = self._keeper.attached if self._keeper is not None else None
        return TaskReceiver(task, self._observer, self._ledger, self._heard, attached)

    def _work(self, task: StartedTask, variables: Pairs) -> Work:
        configured = task.job.work
        order = task.order
        own = [*variables]
        own.append(("SCHEDULER_JOB_NAME", _base(task.job.name)))
        own.append(("SCHEDULER_TASK_ID", str(task.number)))
        if order is not None:
            own.append(("SCHEDULER_ORDER_ID", order.id))
            own.append(("SCHEDULER_JOB_CHAIN", _base(order.chain)))
        environment = (*configured.environment, *task.environment, *own)
        return replace(
            configured,
            parameters=merged(configured.parameters, task.parameters),
            orderParameters=order.parameters if order is not None else None,
            environment=tuple(dict(environment).items()),
        )

    def discard(self, task: StartedTask, outcome: Outcome) -> None:
        """
        Let a task that was never given to the client be over.
        """
        self._done(outcome, task)

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

    def _heard(self, task: StartedTask, message: TaskEnded) -> Deferred[None] | None:
        """
        The remote told the end. What it means is in the ledger, whole, before
        the remote may forget the task.
        """
        task.heard = verdicts.ended(message, task.given.pid if task.given is not None else 0)
        settled = self._keeper.settle(task) if self._keeper is not None else None
        if settled is None:
            return self._keep(None, task, message)
        return settled.addCallback(self._keep, task, message)

    def _keep(self, _: None, task: StartedTask, message: TaskEnded) -> Deferred[None] | None:
        assert task.heard is not None
        with self._ledger.together():
            kept = self._ledger.taskEnds(task, message, task.heard)
            self._ended(task, task.heard)
        if kept is None:
            self._close(task)
            return None
        return kept.addCallback(lambda _: self._close(task))

    def _cameBack(self, outcome: Outcome, task: StartedTask, variables: Pairs) -> Outcome:
        if task.heard is not None or outcome.reason.mayHaveRun or self._leaving or task.killed:
            return self._done(outcome, task)
        self._log.info("Task {task} had not begun: it is started", task=task.number)
        self.start(task, variables)
        return outcome

    def _done(self, outcome: Outcome, task: StartedTask) -> Outcome:
        if task.heard is None:
            if self._leaving:
                del self.alive[task.number]
            else:
                with self._ledger.together():
                    self._ended(task, outcome)
                    kept = self._ledger.whenKept()
                if kept is None:
                    self._close(task)
                else:
                    kept.addBoth(lambda _: self._close(task))
        return outcome

    def _ended(self, task: StartedTask, outcome: Outcome) -> None:
        task.outcome = outcome
        task.ended = self._wallClock()
        del self.alive[task.number]
        self.over.append(task)
        self.ended[task.job.name] += 1
        self._observer.taskEnded(task)
        self._onEnded(task)

    def _close(self, task: StartedTask) -> None:
        if self._keeper is not None:
            self._keeper.closed(task)
        outcome = task.outcome
        assert outcome is not None
        self._log.info(
            "Task {task} of job {job} is over: {reason} {exitCode} {text}",
            task=task.number,
            job=task.job.name,
            reason=outcome.reason,
            exitCode="" if outcome.exitCode is None else outcome.exitCode,
            text=outcome.text,
        )

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


def _base(path: str) -> str:
    return path.rpartition("/")[2]
