"""
The scheduler: jobs, and the orders that they work on. It knows whose turn it
is; where a task runs is the business of L{jobscheduler_tcp.client.placing}.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from jobscheduler_tcp.client.jobs import Job
from jobscheduler_tcp.client.observers import Forgetful, Observers
from jobscheduler_tcp.client.order import NewOrder, Order, OrderChange, Pairs, Verdict
from jobscheduler_tcp.client.orderbook import OrderBook
from jobscheduler_tcp.client.recovery import recover
from jobscheduler_tcp.client.restored import Restored
from jobscheduler_tcp.client.standingorders import StandingOrders
from jobscheduler_tcp.client.started import Attach, Give, Keeper, StartedTasks
from jobscheduler_tcp.client.startedtask import StartedTask
from jobscheduler_tcp.client.turns import Turns
from jobscheduler_tcp.config.model import Objects
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.interfaces import ITaskLedger
from jobscheduler_tcp.outcome import Outcome, Reason

# Seconds after which a task is tried again that was refused: there were too
# many, or none could be remembered.
_AGAIN = 5.0

# A step whose end nobody knows.
_UNKNOWN = frozenset({Reason.LOST, Reason.PROTOCOL_ERROR})


class Scheduler:
    """
    Gives each job its turns.

    @ivar jobs: by their paths without the leading slash.
    @ivar tasks: all of them.
    @ivar book: job chains and their orders.
    @ivar observers: hear what becomes of tasks and orders.
    @ivar variables: of the environment of every task.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        give: Give,
        *,
        wallClock: Callable[[], float] = time.time,
        variables: Pairs = (),
        ledger: ITaskLedger | None = None,
        restored: Restored | None = None,
        attach: Attach | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        """
        @param give: gives a task to a process class, such as C{Placing.run}.
        @param wallClock: seconds since 1970: tasks and orders wait for dates.
        @param ledger: numbers the tasks and remembers them, and the orders.
        @param restored: what the ledger found of the time before a restart.
        @param attach: comes back to a task that a remote was asked for then.
        @param keeper: keeps what tasks print.
        """
        self.jobs: dict[str, Job] = {}
        self.observers = Observers()
        self.variables = variables
        self._ledger = ledger or Forgetful()
        self.tasks = StartedTasks(
            give,
            wallClock,
            self.observers,
            self._ended,
            self._ledger,
            attach=attach,
            keeper=keeper,
        )
        self.book = OrderBook(self._wake, self.observers)
        self._turns = Turns(clock, wallClock, self._look, self.book.nextTime)
        self._standing = StandingOrders(self.book, self._ledger)
        self._restored = restored
        if restored is not None:
            self.book.restore(restored.orders, restored.nextOrder, restored.nextIds)
            self._standing.restore(restored.standing)
        self._wallClock = wallClock
        self._starved: set[str] = set()
        self._stopping = False
        self._paused = ""

    @property
    def state(self) -> str:
        """
        JobScheduler's word for how it stands.
        """
        if self._paused == "stopped" and any(job.running for job in self.jobs.values()):
            return "stopping"
        return self._paused or "running"

    def pause(self, state: str = "paused") -> None:
        """
        Give no turns. What runs goes on, and what comes is queued.

        @param state: the word for it; from C{stopping} there is no way back.
        """
        if self._paused != "stopping":
            self._paused = state

    def resume(self) -> None:
        """
        Give turns again.
        """
        if self._paused != "stopping":
            self._paused = ""
            for name in self.jobs:
                self._wake(name)

    def nextTime(self) -> float:
        """
        When something that waits for a time may go on, as far as is known;
        C{NEVER} if nothing does.
        """
        return self._turns.nextTime()

    def configure(self, objects: Objects) -> None:
        """
        Have these jobs, chains and standing orders from now on. Tasks that run
        go on as they were started.
        """
        with self._ledger.together():
            self._configure(objects, self._wallClock())
        for name in self.jobs:
            self._wake(name)

    def _configure(self, objects: Objects, now: float) -> None:
        wanted = {job.name: job for job in objects.jobs}
        for name, configured in wanted.items():
            if name in self.jobs:
                self.jobs[name].configure(configured)
            else:
                self.jobs[name] = Job(configured, stopped=not configured.enabled)
        self.book.configure(objects.chains, wanted, now)
        if self._restored is not None:
            recover(self, self._restored)
            self._restored = None
        for job in list(self.jobs.values()):
            if job.name not in wanted:
                self._removeJob(job)
        self._standing.configure(objects.orders, now)

    def job(self, name: str) -> Job:
        """
        A job by its path without the leading slash.

        @raise CommandRefused: there is none.
        """
        if name not in self.jobs:
            raise CommandRefused("SCHEDULER-161", f"There is no Job '{name and '/' + name}'")
        return self.jobs[name]

    def startJob(
        self,
        name: str,
        *,
        startAt: float = 0.0,
        taskName: str = "",
        parameters: Pairs = (),
        environment: Pairs = (),
        cause: str = "queue_at",
    ) -> StartedTask:
        """
        Have a job start a task, when it is time and its turn.

        @param startAt: seconds since 1970; 0 for now.
        @raise CommandRefused: that cannot be.
        """
        job = self.job(name)
        if job.removed:
            # Its last tasks run; a new one would never have its turn.
            raise CommandRefused("SCHEDULER-161", f"There is no Job '/{name}'")
        task = self.tasks.add(
            job.configured,
            startAt=startAt,
            cause=cause,
            name=taskName,
            parameters=parameters,
            environment=environment,
        )
        job.queue(task)
        self._wake(name)
        return task

    def withdraw(self, task: StartedTask) -> None:
        """
        Let a task not run that waits.
        """
        if task.given is None:
            task.killed = True
            self.tasks.discard(task, Outcome(Reason.CANCELLED))
        elif task.waits:
            self.tasks.withdraw(task)

    def kill(self, task: StartedTask, signal: int, grace: float) -> None:
        """
        End a task, wherever it stands.
        """
        if task.given is None:
            self.withdraw(task)
        else:
            self.tasks.kill(task, signal, grace)

    def modifyJob(self, name: str, command: str) -> None:
        """
        Obey one of JobScheduler's words for a job.

        @raise CommandRefused: there is no such job or word.
        """
        job = self.job(name)
        match command:
            case "stop":
                job.stopped = True
            case "unstop":
                job.unstop()
            case "start":
                job.unstop()
                if not job.configured.order:
                    self.startJob(name)
            case "wake":
                job.delayUntil = 0.0
                if not (job.stopped or job.configured.order or job.running or job.queued):
                    self.startJob(name)
            case "suspend":
                job.suspended = True
            case "continue":
                job.suspended = False
            case "end" | "reread":
                # A shell task cannot be asked to end; files are read when they change.
                pass
            case "remove":
                raise CommandRefused(
                    "jsremote-unsupported", f"Job '/{name}' is configured: remove its file"
                )
            case _:
                raise CommandRefused("SCHEDULER-106", f"Unknown command for task: {command}")
        self._wake(name)

    def addOrder(self, new: NewOrder, *, replaces: bool = True) -> Order:
        """
        Take an order; L{OrderBook.add}.
        """
        with self._ledger.together():
            order = self.book.add(new, self._wallClock(), replaces=replaces)
        self._turns.soon()
        return order

    def modifyOrder(self, chain: str, identifier: str, change: OrderChange) -> None:
        """
        Change an order; L{OrderBook.modify}.
        """
        with self._ledger.together():
            self.book.modify(chain, identifier, change, self._wallClock())
        self._turns.soon()

    def removeOrder(self, chain: str, identifier: str) -> None:
        """
        Remove an order; L{OrderBook.remove}.
        """
        with self._ledger.together():
            self.book.remove(chain, identifier, self._wallClock())

    def forgo(self, order: Order, text: str) -> None:
        """
        Nobody will ever tell what became of the task that works on an order.
        """
        self.book.finished(order, Verdict.LOST, (), self._wallClock(), text)

    def stop(self) -> Deferred[None]:
        """
        Start nothing more and end what runs; with a ledger that lasts, leave what
        runs to those who run it, for it is there again after a restart.

        @return: fires when all tasks are over that are ended.
        """
        self._stopping = True
        self._turns.stop()
        if self._ledger.lasting:
            self.tasks.leave()
            return succeed(None)
        given = []
        for task in list(self.tasks.alive.values()):
            if task.given is None:
                self.tasks.discard(task, Outcome(Reason.CANCELLED))
            else:
                given.append(task.given.done)
                task.given.cancel()
        return DeferredList(given).addCallback(lambda _: None)

    # ------------------------------------------------------------------ turns

    def _wake(self, name: str) -> None:
        self._turns.wake(name)

    def _look(self, name: str, now: float) -> None:
        job = self.jobs.get(name)
        if job is None:
            return
        while job.mayStart(now) and not self._paused:
            task = job.next(now)
            if task is None:
                if not self.book.hasReady(name, now):
                    break
                try:
                    task = self.tasks.add(
                        job.configured,
                        cause="order",
                        take=lambda number: self.book.take(name, number, now),
                    )
                except CommandRefused:
                    self._starved.add(name)
                    self._turns.wakeAt(now + _AGAIN, name)
                    break
            task.job = job.configured
            job.running[task.number] = task
            self.tasks.start(task, self.variables)
        if now < job.delayUntil:
            self._turns.wakeAt(job.delayUntil, name)
        elif job.nextTime() > now:
            self._turns.wakeAt(job.nextTime(), name)

    def _ended(self, task: StartedTask) -> None:
        now = self._wallClock()
        outcome = task.outcome
        assert outcome is not None
        if task.order is not None:
            text = _told(outcome)
            verdict = _verdict(task, outcome)
            self.book.finished(task.order, verdict, outcome.returnValues, now, text)
        job = self.jobs.get(task.job.name)
        if job is None:
            return
        again = job.ended(task, now)
        if again is not None and task.order is None and not (job.removed or self._stopping):
            try:
                self.startJob(
                    job.name,
                    startAt=now + again,
                    taskName=task.name,
                    parameters=task.parameters,
                    environment=task.environment,
                    cause="delay_after_error",
                )
            except CommandRefused as refused:
                self._log.error(
                    "Job {job} is not tried again: {why}", job=job.name, why=refused.text
                )
        if job.removed and not job.running:
            del self.jobs[job.name]
        self._wake(job.name)
        for name in self._starved:
            self._wake(name)
        self._starved.clear()

    # ---------------------------------------------------------- configuration

    def _removeJob(self, job: Job) -> None:
        job.removed = True
        for task in job.queued:
            self.withdraw(task)
        if not job.running:
            # The last task that was withdrawn may have done it.
            self.jobs.pop(job.name, None)


def _told(outcome: Outcome) -> str:
    if outcome.text:
        return outcome.text
    if outcome.exitCode is not None:
        return f"exit code {outcome.exitCode}"
    return f"signal {outcome.signal}" if outcome.signal is not None else str(outcome.reason)


def _verdict(task: StartedTask, outcome: Outcome) -> Verdict:
    if outcome.reason in _UNKNOWN:
        return Verdict.LOST
    if outcome.reason is Reason.CANCELLED and not task.killed:
        return Verdict.UNDONE
    return Verdict.FAILED if task.failed else Verdict.SUCCEEDED
