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
from jobscheduler_tcp.client.scheduler import Scheduler
from jobscheduler_tcp.client.schedulercommands import SchedulerCommands
from jobscheduler_tcp.client.started import StartedTask
from jobscheduler_tcp.commandport import CommandPortFactory
from jobscheduler_tcp.config.livefolder import LiveFolder
from jobscheduler_tcp.plaincommands import Handler
from jobscheduler_tcp.security import AllowedHosts, Level
from tests.placed import FakeRunner, placingWith


class CommandedClient:
    """
    A client.

    @ivar told: what it was told to do with itself.
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
            connections=lambda: [each.peer for each in self.factory.connections],
        ).commands()
        table |= SchedulerCommands(
            self.scheduler, self, lambda: None, placing.classes.keys
        ).commands()
        past = HistoryCommands(
            RememberedTasks(self.scheduler),
            lambda job, number, start, most: succeed(LogPart(b"", 0, 0)),
            self.scheduler.jobs.__contains__,
            table["show_task"][1],
            "client",
        )
        self.table: dict[str, tuple[Level, Handler]] = table | past.commands()
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
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._tasks = scheduler.tasks

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
