"""
What the client role obeys on its own port: JobScheduler's commands to start
jobs, to kill tasks and to show how they stand.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping

from jobscheduler_tcp import __version__
from jobscheduler_tcp.client import said
from jobscheduler_tcp.client.jobs import Job
from jobscheduler_tcp.client.order import Pairs
from jobscheduler_tcp.client.ordercommands import OrderCommands
from jobscheduler_tcp.client.placing import Placing
from jobscheduler_tcp.client.portreport import PortEntry
from jobscheduler_tcp.client.scheduler import Scheduler
from jobscheduler_tcp.client.shown import (
    jobElement,
    portsElement,
    processClassElement,
    taskElement,
)
from jobscheduler_tcp.client.started import Overview
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.plaincommands import Handler, Peer, secondstamp
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
    ) -> None:
        """
        @param scheduler: has jobs and orders.
        @param placing: has the process classes.
        @param about: attributes of the answer to C{show_state}, such as
            C{tcp_port}.
        @param ports: tells of the callback ports, and how many jobs wait for one.
        """
        self._scheduler = scheduler
        self._placing = placing
        self._orders = OrderCommands(scheduler, wallClock)
        self._ports = ports
        self._wallClock = wallClock
        self._about = {
            "spooler_running_since": secondstamp(wallClock()),
            "state": "running",
            "version": __version__,
            "pid": str(os.getpid()),
            "host": platform.node(),
            **(about or {}),
        }

    def commands(self) -> dict[str, tuple[Level, Handler]]:
        """
        The commands by name, each with the level that it needs (protocol
        document, 2.1).
        """
        return {
            "start_job": (Level.NO_ADD, self._startJob),
            "kill_task": (Level.NO_ADD, self._killTask),
            "show_state": (Level.INFO, self._showState),
            "s": (Level.INFO, self._showState),
            "show_job": (Level.INFO, self._showJob),
            "show_task": (Level.INFO, self._showTask),
            "modify_job": (Level.NO_ADD, self._modifyJob),
            **self._orders.commands(),
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
            if command.attributes.get("immediately", "no") in ("yes", "true", "1"):
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

    def _showState(self, command: Element, peer: Peer) -> Element:
        overview = self._overview()
        jobs = [
            self._jobElement(job, overview)
            for job in self._scheduler.jobs.values()
            if job.configured.visible
        ]
        classes = [
            processClassElement(each, overview)
            for each in self._placing.classes.values()
            if each.configured is not None
        ]
        groups = [element("jobs", {}, jobs), element("process_classes", {}, classes)]
        if self._ports is not None and "ports" in command.attributes.get("what", "").split():
            groups.append(portsElement(*self._ports(), self._scheduler.tasks.alive.values()))
        attributes = {"time": secondstamp(self._wallClock()), **self._about}
        return element("state", attributes, groups)

    def _showJob(self, command: Element, peer: Peer) -> Element:
        return self._jobElement(self._job(command), self._overview())

    def _showTask(self, command: Element, peer: Peer) -> Element:
        number = said.taskNumber(command)
        task = self._scheduler.tasks.find(number)
        if task is None:
            raise CommandRefused("SCHEDULER-207", f"There is no task {number}")
        return taskElement(task, self._overview())

    def _overview(self) -> Overview:
        return Overview(self._scheduler.tasks.alive.values())

    def _jobElement(self, job: Job, overview: Overview) -> Element:
        trouble = self._placing.trouble(job.configured.processClass)
        return jobElement(job, self._scheduler.tasks, overview, trouble)

    def _job(self, command: Element) -> Job:
        return self._scheduler.job(said.path(command, "job"))
