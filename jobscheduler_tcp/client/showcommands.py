"""
JobScheduler's commands that show how the client stands: the whole of it, jobs,
tasks, process classes, job chains and orders.
"""

from __future__ import annotations

import os
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from typing import Protocol

from jobscheduler_tcp import __version__
from jobscheduler_tcp.client import said
from jobscheduler_tcp.client.jobs import Job
from jobscheduler_tcp.client.order import NEVER, Order
from jobscheduler_tcp.client.overview import Overview
from jobscheduler_tcp.client.placing import Placing
from jobscheduler_tcp.client.portreport import PortEntry
from jobscheduler_tcp.client.scheduler import Scheduler
from jobscheduler_tcp.client.shown import jobElement, taskElement
from jobscheduler_tcp.client.shownchains import chainElement
from jobscheduler_tcp.client.shownclasses import portsElement, processClassElement
from jobscheduler_tcp.client.shownfolders import folderElement
from jobscheduler_tcp.client.shownorders import orderElement, queueElement
from jobscheduler_tcp.client.shownparts import LISTED, MOST_LISTED
from jobscheduler_tcp.client.what import What, whatOf
from jobscheduler_tcp.config.model import ConfiguredChain
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.plaincommands import Handler, Peer, secondstamp, timestamp
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.wire.documents import Element, element

# The words of C{subsystems} for what we have; others ask for nothing.
_SUBSYSTEMS = {"job": "jobs", "order": "job_chains", "process_class": "process_classes"}


class IConnection(Protocol):
    """
    What is asked of a L{CommandPortProtocol<jobscheduler_tcp.commandport.CommandPortProtocol>}.
    """

    peer: Peer
    received: int
    sent: int


class ShowCommands:
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
        self._placing = placing
        self._ports = ports
        self._connections = connections
        self._wallClock = wallClock
        self._about = {
            "spooler_running_since": secondstamp(wallClock()),
            "version": __version__,
            "pid": str(os.getpid()),
            "host": platform.node(),
            "db": "",
            **(about or {}),
        }

    def commands(self) -> dict[str, tuple[Level, Handler]]:
        """
        The commands by name, each with the level that it needs (protocol
        document, 2.1).
        """
        return {
            "show_state": (Level.INFO, self._showState),
            "s": (Level.INFO, self._showState),
            "show_jobs": (Level.INFO, self._showJobs),
            "show_job": (Level.INFO, self._showJob),
            "show_task": (Level.INFO, self._showTask),
            "show_process_classes": (Level.INFO, self._showProcessClasses),
            "show_job_chains": (Level.INFO, self._showJobChains),
            "show_job_chain": (Level.INFO, self._showJobChain),
            "show_order": (Level.INFO, self._showOrder),
        }

    def _showState(self, command: Element, peer: Peer) -> Element:
        # The short word asks for the long answer.
        what = whatOf(command) | ({"folders"} if command.name == "s" else frozenset())
        view = _View(self._scheduler, self._placing, command, what)
        wanted = command.attributes.get("subsystems", "").replace(",", " ").split()
        groups: dict[str, Iterable[tuple[str, Element]]] = {
            "jobs": view.jobs(),
            "process_classes": view.processClasses(),
            "job_chains": view.chains() if what & {"folders", "job_chains"} else (),
        }
        if wanted:
            kept = {_SUBSYSTEMS.get(word) for word in wanted}
            groups = {name: found for name, found in groups.items() if name in kept}
        if "folders" in what:
            path = said.path(command, "path").strip("/")
            children = [folderElement(groups, path, deep="no_subfolders" not in what)]
        else:
            children = [
                element(name, {}, (each for _, each in found)) for name, found in groups.items()
            ]
            if "job_chains" in groups:
                count = len(self._scheduler.book.chains)
                children[-1].attributes["count"] = str(count)
        if self._ports is not None and "ports" in what:
            children.append(portsElement(*self._ports(), self._scheduler.tasks.alive.values()))
        else:
            children += self._others(peer)
        return element("state", self._stateAttributes(), children)

    def _stateAttributes(self) -> dict[str, str]:
        now = self._wallClock()
        following = self._scheduler.nextTime()
        return {
            "time": secondstamp(now),
            "state": self._scheduler.state,
            **self._about,
            "wait_until": "never" if following == NEVER else timestamp(following),
        }

    def _others(self, asking: Peer) -> Iterable[Element]:
        """
        What a reader of JobScheduler's answers may look for.
        """
        yield element("subprocesses")
        yield element("remote_schedulers", {"count": "0", "connected": "0"})
        yield element("http_server")
        connections = [
            element(
                "connection",
                {
                    "state": "processing/ready" if each.peer is asking else "ready",
                    "responses": "0",  # that wait to be sent
                    "received_bytes": str(each.received),
                    "sent_bytes": str(each.sent),
                    "operation_type": "TCP",
                },
                [element("peer", {"host_ip": each.peer.host, "port": str(each.peer.port)})],
            )
            for each in islice(self._connections(), LISTED)
        ]
        yield element("connections", {}, connections)

    def _showJobs(self, command: Element, peer: Peer) -> Element:
        view = _View(self._scheduler, self._placing, command, whatOf(command))
        return element("jobs", {}, (each for _, each in view.jobs()))

    def _showJob(self, command: Element, peer: Peer) -> Element:
        job = self._scheduler.job(said.path(command, "job"))
        return _View(self._scheduler, self._placing, command, whatOf(command)).job(job)

    def _showTask(self, command: Element, peer: Peer) -> Element:
        whatOf(command)
        number = said.taskNumber(command)
        task = self._scheduler.tasks.find(number)
        if task is None:
            raise CommandRefused("SCHEDULER-207", f"There is no task {number}")
        return taskElement(task, Overview(self._scheduler.tasks.alive.values()))

    def _showProcessClasses(self, command: Element, peer: Peer) -> Element:
        view = _View(self._scheduler, self._placing, command, whatOf(command))
        return element("process_classes", {}, (each for _, each in view.processClasses()))

    def _showJobChains(self, command: Element, peer: Peer) -> Element:
        # With their jobs, whatever is asked for.
        what = whatOf(command) | {"job_chain_jobs"}
        view = _View(self._scheduler, self._placing, command, what)
        return element("job_chains", {}, (each for _, each in view.chains()))

    def _showJobChain(self, command: Element, peer: Peer) -> Element:
        chain = self._scheduler.book.chain(said.path(command, "job_chain"))
        return _View(self._scheduler, self._placing, command, whatOf(command)).chain(chain)

    def _showOrder(self, command: Element, peer: Peer) -> Element:
        what = whatOf(command)
        chain, identifier = said.path(command, "job_chain"), command.attributes.get("order", "")
        return orderElement(self._scheduler.book.find(chain, identifier), what)


class _View:
    """
    How all objects look at one moment, for one command.
    """

    def __init__(
        self, scheduler: Scheduler, placing: Placing, command: Element, what: What
    ) -> None:
        self._scheduler = scheduler
        self._placing = placing
        self._what = what
        self._overview = Overview(scheduler.tasks.alive.values())
        most = said.integer(command, "max_orders")
        self._most = None if most is None else max(0, min(most, MOST_LISTED))
        self._left = {"job_orders": LISTED, "job_chain_orders": LISTED}
        history = said.integer(command, "max_task_history")
        self._history = LISTED if history is None else max(0, history)
        self._orders: dict[str, list[Order]] | None = None
        self._priorities: dict[str, int] = {}
        for chain in scheduler.book.chains.values():
            for number, node in enumerate((node for node in chain.nodes if node.job), 1):
                self._priorities[node.job] = max(number, self._priorities.get(node.job, 0))

    def jobs(self) -> Iterable[tuple[str, Element]]:
        for name, job in self._scheduler.jobs.items():
            if job.configured.visible:
                yield name, self.job(job)

    def job(self, job: Job) -> Element:
        configured = job.configured
        orders = None
        if configured.order:
            waiting = self._waiting(job.name)
            shown = self._shown("job_orders", len(waiting))
            orders = queueElement(waiting, shown, self._what, times=False)
        over = []
        if "task_history" in self._what:
            tasks = reversed(self._scheduler.tasks.over)
            over = [task for task in tasks if task.job.name == job.name][: self._history]
        return jobElement(
            job,
            self._overview,
            ended=self._scheduler.tasks.ended[job.name],
            over=over,
            orders=orders,
            priority=self._priorities.get(job.name, 0) if configured.order else 0,
            trouble=self._placing.trouble(configured.processClass),
            what=self._what,
        )

    def processClasses(self) -> Iterable[tuple[str, Element]]:
        for name, found in self._placing.classes.items():
            if found.configured is not None:
                yield name, processClassElement(found, self._overview)

    def chains(self) -> Iterable[tuple[str, Element]]:
        for name, chain in self._scheduler.book.chains.items():
            if chain.visible:
                yield name, self.chain(chain)

    def chain(self, chain: ConfiguredChain) -> Element:
        orders = self._scheduler.book.orders(chain.name)
        shown = partial(self._shown, "job_chain_orders")
        return chainElement(chain, orders, self._worker, shown=shown, what=self._what)

    def _worker(self, name: str) -> Element | None:
        if "job_chain_jobs" not in self._what or name not in self._scheduler.jobs:
            return None
        return self.job(self._scheduler.jobs[name])

    def _shown(self, where: str, count: int) -> int:
        """
        How many orders of a queue are shown. If nobody says how many, an answer
        has not more than can be made without holding everything else up.
        """
        if where not in self._what:
            return 0
        if self._most is not None:
            return self._most
        shown = min(count, self._left[where])
        self._left[where] -= shown
        return shown

    def _waiting(self, job: str) -> list[Order]:
        if self._orders is None:
            found: defaultdict[str, list[Order]] = defaultdict(list)
            for chain in self._scheduler.book.chains:
                for order in self._scheduler.book.orders(chain):
                    if not order.task:
                        found[order.job].append(order)
            self._orders = dict(found)
        return self._orders.get(job, [])
