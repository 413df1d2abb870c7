"""
What the client role obeys on its own port: JobScheduler's commands. Here are
those that start jobs, change them and kill tasks; the others are made here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from jobscheduler_tcp.client import said
from jobscheduler_tcp.client.jobs import Job
from jobscheduler_tcp.client.order import Pairs
from jobscheduler_tcp.client.ordercommands import OrderCommands
from jobscheduler_tcp.client.overview import Overview
from jobscheduler_tcp.client.placing import Placing
from jobscheduler_tcp.client.portreport import PortEntry
from jobscheduler_tcp.client.scheduler import Scheduler
from jobscheduler_tcp.client.showcommands import IConnection, ShowCommands
from jobscheduler_tcp.client.shown import taskElement
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.plaincommands import Handler, Peer
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.wire.documents import Element, element

_SIGKILL = 9
_SIGTERM = 15


class ClientCommands:
    """
    Obey commands.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        placing: Placing,
        about: Mapping[str, str] | None = None,
        wallClock: Callable[[], float] = time.time,
        *,
        ports: Callable[[], tuple[list[PortEntry], int]] | None = None,
        connections: Callable[[], Iterable[IConnection]] = lambda: (),
    ) -> None:
        """
        @param scheduler: has jobs and orders.
        @param placing: has the process classes.
        @param about: attributes of the answer to C{show_state}, such as
            C{tcp_port}.
        @param ports: tells of the callback ports, and how many jobs wait for one.
        @param connections: who is connected to the command port.
        """
        self._scheduler = scheduler
        self._wallClock = wallClock
        self._orders = OrderCommands(scheduler, wallClock)
        self._shows = ShowCommands(
            scheduler, placing, about, wallClock, ports=ports, connections=connections
        )

    def commands(self) -> dict[str, tuple[Level, Handler]]:
        """
        The commands by name, each with the level that it needs (protocol
        document, 2.1).
        """
        return {
            "start_job": (Level.NO_ADD, self._startJob),
            "kill_task": (Level.NO_ADD, self._killTask),
            "modify_job": (Level.NO_ADD, self._modifyJob),
            **self._orders.commands(),
            **self._shows.commands(),
        }

    def _startJob(self, command: Element, peer: Peer) -> Element:
        job = self._job(command)
        if command.attributes.get("web_service"):
            raise CommandRefused("jsremote-unsupported", "web_service is not supported")
        if job.configured.order:
            raise CommandRefused(
                "jsremote-unsupported",
                f"Job '/{job.name}' works on orders: add one to a job chain with add_order",
            )
        now = self._wallClock()
        after = said.integer(command, "after")
        startAt = said.when(command, "at", now) if after is None else now + after
        parameters: Pairs = ()
        environment: Pairs = ()
        for child in command.children:
            if child.name == "params":
                parameters = said.pairs(child, "param")
            elif child.name == "environment":
                environment = said.pairs(child, "variable")
            else:
                raise said.unexpected("params or environment", child)
        task = self._scheduler.startJob(
            job.name,
            startAt=startAt if startAt is not None and startAt > now else 0.0,
            taskName=command.attributes.get("name", ""),
            parameters=parameters,
            environment=environment,
        )
        # As JobScheduler answers: enqueued, nothing done yet.
        return element("ok", {}, [taskElement(task, Overview(()))])

    def _modifyJob(self, command: Element, peer: Peer) -> Element:
        job = self._job(command)
        for child in command.children:
            raise CommandRefused("jsremote-unsupported", f"<{child.name}> is not supported")
        self._scheduler.modifyJob(job.name, command.attributes.get("cmd", ""))
        return element("ok")

    def _killTask(self, command: Element, peer: Peer) -> Element:
        job = self._job(command)
        task = self._scheduler.tasks.alive.get(said.taskNumber(command))
        # A real JobScheduler says ok to a task that it does not know, too.
        if task is not None and task.job.name == job.name:
            if said.flag(command, "immediately"):
                timeout = command.attributes.get("timeout", "")
                if timeout.isdecimal() and timeout.isascii():
                    self._scheduler.kill(task, _SIGTERM, float(timeout[:9]))
                else:
                    self._scheduler.kill(task, _SIGKILL, 0.0)
            else:
                # One that runs is asked to end, which shell tasks do not hear
                # (protocol document, 6.1).
                self._scheduler.withdraw(task)
        return element("ok")

    def _job(self, command: Element) -> Job:
        return self._scheduler.job(said.path(command, "job"))
