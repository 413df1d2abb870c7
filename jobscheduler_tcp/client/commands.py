"""
What the client role obeys on its own port: JobScheduler's commands to start
jobs, to kill tasks and to show how they stand.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping

from jobscheduler_tcp import __version__
from jobscheduler_tcp.client.portreport import PortEntry
from jobscheduler_tcp.client.processclass import ProcessClass
from jobscheduler_tcp.client.shown import (
    jobElement,
    portsElement,
    processClassElement,
    taskElement,
)
from jobscheduler_tcp.client.started import Give, Overview, Pairs, StartedTasks
from jobscheduler_tcp.config.model import ConfiguredJob
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.plaincommands import Handler, Peer, secondstamp
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.wire.documents import Element, element

_SIGKILL = 9
_SIGTERM = 15

# Of start_job: what is supported only with the values that ask for nothing more
# than to start now.
_NOW = {"at": ("now", ""), "after": ("0", ""), "web_service": ("",)}


class ClientCommands:
    """
    Obey commands.
    """

    def __init__(
        self,
        give: Give,
        jobs: Iterable[ConfiguredJob],
        processClasses: Iterable[ProcessClass],
        about: Mapping[str, str] | None = None,
        wallClock: Callable[[], float] = time.time,
        *,
        ports: Callable[[], tuple[list[PortEntry], int]] | None = None,
    ) -> None:
        """
        @param give: gives a job to the client, such as C{ClientService.run}.
        @param about: attributes of the answer to C{show_state}, such as
            C{tcp_port}.
        @param ports: tells of the callback ports, and how many jobs wait for one.
        """
        self._jobs = {job.name: job for job in jobs}
        self._processClasses = list(processClasses)
        self._ports = ports
        self._wallClock = wallClock
        self._tasks = StartedTasks(give, wallClock)
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
        }

    def _startJob(self, command: Element, peer: Peer) -> Element:
        job = self._job(command)
        for name, values in _NOW.items():
            if command.attributes.get(name, "") not in (*values, ""):
                value = command.attributes[name]
                raise CommandRefused("jsremote-unsupported", f'{name}="{value}" is not supported')
        parameters: Pairs = ()
        environment: Pairs = ()
        for child in command.children:
            if child.name == "params":
                parameters = _pairs(child, "param")
            elif child.name == "environment":
                environment = _pairs(child, "variable")
            else:
                raise _unexpected("params or environment", child)
        task = self._tasks.add(job)
        # As JobScheduler answers: enqueued, nothing done yet.
        answer = element("ok", {}, [taskElement(task, Overview(()))])
        self._tasks.start(task, parameters, environment)
        return answer

    def _killTask(self, command: Element, peer: Peer) -> Element:
        job = self._job(command)
        task = self._tasks.alive.get(_number(command, "id"))
        # A real JobScheduler says ok to a task that it does not know, too.
        if task is not None and task.job is job:
            if command.attributes.get("immediately", "no") in ("yes", "true", "1"):
                timeout = command.attributes.get("timeout", "")
                if timeout.isdecimal() and timeout.isascii():
                    self._tasks.kill(task, _SIGTERM, float(timeout[:9]))
                else:
                    self._tasks.kill(task, _SIGKILL, 0.0)
            elif task.waits:
                # One that runs is asked to end, which shell tasks do not hear
                # (protocol document, 6.1).
                self._tasks.withdraw(task)
        return element("ok")

    def _showState(self, command: Element, peer: Peer) -> Element:
        overview = self._overview()
        jobs = [jobElement(job, self._tasks, overview) for job in self._jobs.values()]
        classes = [processClassElement(each, overview) for each in self._processClasses]
        groups = [element("jobs", {}, jobs), element("process_classes", {}, classes)]
        if self._ports is not None and "ports" in command.attributes.get("what", "").split():
            groups.append(portsElement(*self._ports(), self._tasks.alive.values()))
        attributes = {"time": secondstamp(self._wallClock()), **self._about}
        return element("state", attributes, groups)

    def _showJob(self, command: Element, peer: Peer) -> Element:
        return jobElement(self._job(command), self._tasks, self._overview())

    def _showTask(self, command: Element, peer: Peer) -> Element:
        number = _number(command, "id")
        task = self._tasks.find(number)
        if task is None:
            raise CommandRefused("SCHEDULER-207", f"There is no task {number}")
        return taskElement(task, self._overview())

    def _overview(self) -> Overview:
        return Overview(self._tasks.alive.values())

    def _job(self, command: Element) -> ConfiguredJob:
        path = command.attributes.get("job", "")
        name = path.removeprefix("/")
        if name not in self._jobs:
            raise CommandRefused("SCHEDULER-161", f"There is no Job '{path and '/' + name}'")
        return self._jobs[name]


def _pairs(section: Element, child: str) -> Pairs:
    found = []
    for each in section.children:
        name = each.attributes.get("name", "").strip()
        if each.name != child or not name or "=" in name:
            raise _unexpected(f"{child} with a name", each)
        found.append((name, each.attributes.get("value", "")))
    return tuple(found)


def _number(command: Element, name: str) -> int:
    text = command.attributes.get(name, "")
    if not (text.isdecimal() and text.isascii() and len(text) < 10):
        raise CommandRefused(
            "jsremote-protocol-error",
            f"{name}: expected the number of a task, found {text[:100]!r}",
        )
    return int(text)


def _unexpected(expected: str, found: Element) -> CommandRefused:
    return CommandRefused("SCHEDULER-409", f"Expected {expected}, found <{found.name}>")
