"""
A client that can be killed at any moment, with a disk and remotes that go on
without it, for tests of what it finds again.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from jobscheduler_tcp.client.database import Cursor, Database
from jobscheduler_tcp.client.history import History
from jobscheduler_tcp.client.restored import RestoredTask, restoredFrom
from jobscheduler_tcp.client.scheduler import Scheduler
from jobscheduler_tcp.client.startedtask import StartedTask
from jobscheduler_tcp.client.taskreceiver import TaskReceiver
from jobscheduler_tcp.config.model import Objects
from jobscheduler_tcp.interfaces import IConfirmationReceiver
from jobscheduler_tcp.messages import TaskEnded, TaskKilled, TaskStarted, Work
from jobscheduler_tcp.outcome import Outcome, Reason

NOW = 1_000_000_000.0
REMOTE = "r.example:4455"


@dataclass(eq=False)
class RemoteTask:
    """
    A task at the remote.

    @ivar order: the id of the order that it works on, and its state.
    """

    uuid: str
    work: Work
    order: tuple[str, str]
    end: TaskEnded | None = None
    acknowledged: bool = False


class Given:
    """
    A task as the client has it; dead with the client.
    """

    why = ""
    pid = 4711

    def __init__(self, world: World, receiver: IConfirmationReceiver) -> None:
        assert isinstance(receiver, TaskReceiver)
        self.receiver = receiver
        self.done: Deferred[Outcome] = Deferred()
        self.task = ""
        self.state = "waiting for a process"
        self._world = world

    def leave(self, work: Work) -> None:
        """
        Ask the remote, when that is written down.
        """
        self.task = f"00000000-0000-4000-8000-{next(self._world.uuids):012}"
        written = self.receiver.startLeaves(self.task, REMOTE, f"key of {self.task}")
        assert written is not None
        written.addCallback(lambda _: self._leave(work))

    def _leave(self, work: Work) -> None:
        self.state = "waiting for response"
        self._world.listeners[self.task] = self
        self._world.onTheWay.append((self.task, work))

    def hear(self, task: RemoteTask) -> None:
        """
        The remote has it.
        """
        self.state = "waiting for end of task"
        self.receiver.taskStarted(TaskStarted(4711, NOW, 1.0))
        if task.end is not None:
            self.ended(task)

    def ended(self, task: RemoteTask) -> None:
        """
        The remote tells the end.
        """
        assert task.end is not None
        kept = self.receiver.taskEnded(task.end) or succeed(None)
        kept.addCallback(lambda _: self._acknowledge(task))

    def _acknowledge(self, task: RemoteTask) -> None:
        task.acknowledged = True
        self.over(Outcome(Reason.EXITED, exitCode=task.end.exitCode if task.end else None))

    def over(self, outcome: Outcome) -> None:
        """
        It is over.
        """
        self.state = "over"
        self.done.callback(outcome)

    def kill(self, signal: int, grace: float) -> Deferred[TaskKilled]:
        """
        Nobody asks for that.
        """
        raise AssertionError("killed")

    def cancel(self) -> None:
        """
        Let it not run.
        """
        if self.state == "waiting for a process":
            self.over(Outcome(Reason.CANCELLED))


@dataclass
class World:
    """
    The remotes, and a client that comes and goes.

    @ivar onTheWay: starts that were said and not heard.
    @ivar later: what the client does next, when it lives so long.
    @ivar tasks: by UUID, what was executed.
    @ivar runs: the UUIDs that worked on an order in a state.
    @ivar refused: UUIDs that will never be executed.
    @ivar disk: transactions that are not committed yet.
    """

    path: Path
    objects: Objects
    classic: bool = False
    uuids: count[int] = field(default_factory=lambda: count(1))
    onTheWay: list[tuple[str, Work]] = field(default_factory=list)
    later: list[Callable[[], None]] = field(default_factory=list)
    listeners: dict[str, Given] = field(default_factory=dict)
    tasks: dict[str, RemoteTask] = field(default_factory=dict)
    runs: defaultdict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    refused: set[str] = field(default_factory=set)
    disk: list[Callable[[], None]] = field(default_factory=list)
    now: float = NOW
    given: list[Given] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start()

    # ------------------------------------------------------------------ the client

    def start(self) -> None:
        """
        Start the client, perhaps after it was killed.
        """
        self.clock = Clock()
        restored = restoredFrom(self.path)
        connection = sqlite3.connect(self.path, isolation_level=None)
        connection.execute("PRAGMA synchronous = OFF")
        self.connection = connection
        self.database = Database(partial(self._do, connection), self.clock)  # type: ignore[arg-type]  # it is generic
        self.history = History(self.database, restored.nextTask, lambda: self.now)
        self.scheduler = Scheduler(
            self.clock,
            self.give,
            wallClock=lambda: self.now,
            ledger=self.history,
            restored=restored,
            attach=self.attach,
        )
        self.scheduler.observers.add(self.history)
        self.scheduler.observers.add(self.history.orders)
        self.scheduler.configure(self.objects)
        self.clock.advance(0)

    def crash(self) -> None:
        """
        Kill the client: nothing of what it wanted happens.
        """
        self.disk.clear()
        self.later.clear()
        self.listeners.clear()
        self.given.clear()
        self.connection.close()

    def close(self) -> None:
        """
        The test is over.
        """
        self.connection.close()

    def _do(
        self, connection: sqlite3.Connection, work: Callable[[Cursor], object]
    ) -> Deferred[object]:
        done: Deferred[object] = Deferred()
        self.disk.append(lambda: self._commit(connection, work, done))
        return done

    def _commit(
        self,
        connection: sqlite3.Connection,
        work: Callable[[Cursor], object],
        done: Deferred[object],
    ) -> None:
        try:
            result = work(connection.cursor())
            if connection.in_transaction:
                connection.execute("COMMIT")
        except Exception:
            connection.rollback()
            fail(Failure()).chainDeferred(done)
        else:
            done.callback(result)

    def give(self, work: Work, processClass: str, receiver: IConfirmationReceiver) -> Given:
        """
        Be the process classes.
        """
        given = Given(self, receiver)
        self.given.append(given)
        self.later.append(lambda: given.leave(work))
        return given

    def attach(
        self, task: StartedTask, was: RestoredTask, receiver: IConfirmationReceiver
    ) -> Given:
        """
        Come back to a task.
        """
        assert (was.remote, was.key) == (REMOTE, f"key of {was.uuid}")
        given = Given(self, receiver)
        given.task = was.uuid
        given.state = "waiting for response"
        self.given.append(given)
        self.later.append(lambda: self._answer(given))
        return given

    def _answer(self, given: Given) -> None:
        task = self.tasks.get(given.task)
        if self.classic:
            given.over(Outcome(Reason.LOST, "nobody can tell"))
        elif task is None:
            self.refused.add(given.task)
            given.over(Outcome(Reason.NOT_STARTED, "it was never executed"))
        elif task.acknowledged:
            raise AssertionError("the client has acknowledged the end, and forgotten it")
        else:
            self.listeners[given.task] = given
            given.hear(task)

    # ----------------------------------------------------------- what happens next

    def commit(self) -> bool:
        """
        The disk has done something.
        """
        if self.disk:
            self.disk.pop(0)()
            self.clock.advance(0)
            return True
        return False

    def step(self, which: int = 0) -> bool:
        """
        The client does something that it was about to do.
        """
        if self.later:
            self.later.pop(which % len(self.later))()
            self.clock.advance(0)
            return True
        return False

    def execute(self, which: int = 0) -> bool:
        """
        The remote hears a start.
        """
        if not self.onTheWay:
            return False
        uuid, work = self.onTheWay.pop(which % len(self.onTheWay))
        if uuid not in self.refused and uuid not in self.tasks:
            environment = dict(work.environment)
            order = environment["SCHEDULER_ORDER_ID"], environment["SCHEDULER_JOB_NAME"]
            self.runs[order].append(uuid)
            task = self.tasks[uuid] = RemoteTask(uuid, work, order)
            if uuid in self.listeners:
                self.listeners[uuid].hear(task)
                self.clock.advance(0)
        return True

    def finish(self, which: int = 0, exitCode: int = 0) -> bool:
        """
        A task at the remote ends; it returns its UUID under the name of its job.
        """
        running = [task for task in self.tasks.values() if task.end is None]
        if not running:
            return False
        task = running[which % len(running)]
        returned = ((f"by_{task.order[1]}".encode(), task.uuid.encode()),)
        task.end = TaskEnded(Reason.EXITED, exitCode=exitCode, returned=returned)
        if task.uuid in self.listeners:
            self.listeners[task.uuid].ended(task)
            self.clock.advance(0)
        return True

    def settle(self) -> None:
        """
        Let all happen that will.
        """
        self.clock.advance(0)
        while self.commit() or self.step() or self.execute() or self.finish():
            pass
