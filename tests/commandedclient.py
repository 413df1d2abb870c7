"""
A client whose port obeys all its commands, in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from twisted.internet.defer import succeed
from twisted.internet.task import Clock

from jobscheduler_tcp.client.commands import ClientCommands
from jobscheduler_tcp.client.history import TaskRecord
from jobscheduler_tcp.client.historycommands import HistoryCommands
from jobscheduler_tcp.client.logfiles import LogPart
from jobscheduler_tcp.client.orderhistory import OrderRecord, StepRecord
from jobscheduler_tcp.client.pastcommands import PastCommands
from jobscheduler_tcp.client.scheduler import Scheduler
from jobscheduler_tcp.client.schedulercommands import SchedulerCommands
from jobscheduler_tcp.client.startedtask import StartedTask
from jobscheduler_tcp.commandport import CommandPortFactory
from jobscheduler_tcp.config.livefolder import LiveFolder
from jobscheduler_tcp.plaincommands import Handler
from jobscheduler_tcp.security import AllowedHosts, Level
from tests.placed import FakeRunner, placingWith


class CommandedClient:
    """
    A client.

    @ivar told: what it was told to do with itself.
    @ivar history: what is read of it.
    """

    def __init__(
        self,
        clock: Clock,
        live: Path,
        runner: FakeRunner,
        wallClock: Callable[[], float],
        about: Mapping[str, str],
    ) -> None:
        """
        @param live: its live folder, which is read once.
        """
        self.told: list[str] = []
        placing = placingWith(clock, runner)
        self.scheduler = Scheduler(clock, placing.run, wallClock=wallClock)
        objects = LiveFolder(str(live)).read().objects
        placing.configure(objects.processClasses)
        self.scheduler.configure(objects)
        table = ClientCommands(
            self.scheduler,
            placing,
            about,
            wallClock,
            connections=lambda: self.factory.connections,
        ).commands()
        table |= SchedulerCommands(
            self.scheduler, self, lambda: None, placing.classes.keys
        ).commands()
        self.history = RememberedTasks(self.scheduler)
        past = HistoryCommands(
            self.history,
            lambda job, number, start, most: succeed(LogPart(b"", 0, 0)),
            self.scheduler.jobs.__contains__,
            table["show_task"][1],
            "client",
        )
        table |= past.commands()
        find = self.scheduler.book.find
        table |= PastCommands(self.history, table, find, "client").commands()
        self.table: dict[str, tuple[Level, Handler]] = table
        hosts = AllowedHosts([("127.0.0.1", Level.ALL)])
        self.factory = CommandPortFactory(hosts.levelOf, self.table, clock, wallClock=wallClock)

    def terminate(self, timeout: float | None) -> None:
        """
        Remember it.
        """
        self.told.append(f"terminate {timeout}")

    def abort(self) -> None:
        """
        Remember it.
        """
        self.told.append("abort")


class RememberedTasks:
    """
    A history without a file.

    @ivar orders: the runs of orders, the latest first.
    @ivar steps: of each of them.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._tasks = scheduler.tasks
        self.orders: list[OrderRecord] = []
        self.steps: list[StepRecord] = []

    async def task(self, number: int) -> TaskRecord | None:
        """
        Find a task.
        """
        found = self._tasks.find(number)
        return None if found is None else _record(found)

    async def tasksOf(
        self, job: str = "", *, before: int = 0, after: int = 0, count: int = 10
    ) -> list[TaskRecord]:
        """
        Find tasks that are over.
        """
        found = [_record(task) for task in reversed(self._tasks.over) if task.job.name == job]
        return found[:count]

    async def ordersOf(
        self, chain: str = "", identifier: str = "", *, before: int = 0, count: int = 10
    ) -> list[OrderRecord]:
        """
        Find runs of orders.
        """
        found = [
            each
            for each in self.orders
            if (not chain or each.chain == chain)
            and (not identifier or each.id == identifier)
            and (not before or each.entry < before)
        ]
        return found[:count]

    async def stepsOf(self, number: int) -> list[StepRecord]:
        """
        Find the tasks that worked on an order.
        """
        return self.steps


def _record(task: StartedTask) -> TaskRecord:
    order = task.order
    return TaskRecord(
        task.number,
        task.job.name,
        task.job.processClass,
        task.name,
        task.cause,
        order.chain if order is not None else "",
        order.id if order is not None else "",
        task.parameters,
        task.enqueued,
        task.startAt,
        "",
        task.output.began or None,
        task.ended,
        None,
        None,
        task.outcome,
    )
