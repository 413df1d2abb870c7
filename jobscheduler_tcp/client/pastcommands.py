"""
JobScheduler's commands that show what is, asked for what was as well: the tasks
of a job, the orders of a job chain, and one order of long ago.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from twisted.internet.defer import Deferred

from jobscheduler_tcp.client import said
from jobscheduler_tcp.client.history import TaskRecord
from jobscheduler_tcp.client.historycommands import FEW, count, entryElement
from jobscheduler_tcp.client.order import Order, Verdict
from jobscheduler_tcp.client.orderhistory import OrderRecord, StepRecord
from jobscheduler_tcp.client.what import whatOf
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.plaincommands import Handler, Peer, timestamp
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.wire.documents import Element, element


class IPast(Protocol):
    """
    What is asked of a L{History<jobscheduler_tcp.client.history.History>}.
    """

    async def tasksOf(
        self, job: str = "", *, before: int = 0, after: int = 0, count: int = 10
    ) -> list[TaskRecord]:
        """
        Find tasks that are over.
        """

    async def ordersOf(
        self, chain: str = "", identifier: str = "", *, before: int = 0, count: int = 10
    ) -> list[OrderRecord]:
        """
        Find runs of orders.
        """

    async def stepsOf(self, number: int) -> list[StepRecord]:
        """
        Find the tasks that worked on an order.
        """


class PastCommands:
    """
    Obey commands.
    """

    def __init__(
        self,
        history: IPast,
        table: Mapping[str, tuple[Level, Handler]],
        find: Callable[[str, str], Order],
        schedulerId: str = "",
    ) -> None:
        """
        @param table: has the same commands, which show what is now.
        @param find: finds an order by its job chain and its id.
        """
        self._history = history
        self._find = find
        self._now = {name: handler for name, (_, handler) in table.items()}
        self._schedulerId = schedulerId

    def commands(self) -> dict[str, tuple[Level, Handler]]:
        """
        The commands by name, each with the level that it needs.
        """
        return {
            "show_job": (
                Level.INFO,
                lambda command, peer: Deferred.fromCoroutine(self._showJob(command, peer)),
            ),
            "show_job_chain": (
                Level.INFO,
                lambda command, peer: Deferred.fromCoroutine(self._showChain(command, peer)),
            ),
            "show_job_chains": (
                Level.INFO,
                lambda command, peer: Deferred.fromCoroutine(self._showChains(command, peer)),
            ),
            "show_order": (
                Level.INFO,
                lambda command, peer: Deferred.fromCoroutine(self._showOrder(command, peer)),
            ),
        }

    def _shown(self, command: Element, peer: Peer) -> Element:
        shown = self._now[command.name](command, peer)
        assert isinstance(shown, Element)
        return shown

    async def _showJob(self, command: Element, peer: Peer) -> Element:
        shown = self._shown(command, peer)
        if "task_history" in whatOf(command):
            most = count(command, "max_task_history") or FEW
            records = await self._history.tasksOf(shown.attributes["job"], count=most)
            for child in shown.children:
                if child.name == "history":
                    child.children = [entryElement(each, self._schedulerId) for each in records]
        return shown

    async def _showChain(self, command: Element, peer: Peer) -> Element:
        shown = self._shown(command, peer)
        await self._addHistory(shown, command)
        return shown

    async def _showChains(self, command: Element, peer: Peer) -> Element:
        shown = self._shown(command, peer)
        for chain in shown.children:
            await self._addHistory(chain, command)
        return shown

    async def _addHistory(self, chain: Element, command: Element) -> None:
        if "order_history" not in whatOf(command):
            return
        most = count(command, "max_order_history") or FEW
        path = chain.attributes["path"].removeprefix("/")
        records = await self._history.ordersOf(path, count=most)
        over = [_order(each) for each in records if each.ended is not None]
        chain.children.append(element("order_history", {}, over))

    async def _showOrder(self, command: Element, peer: Peer) -> Element:
        entry = said.integer(command, "history_id") or 0
        what = whatOf(command)
        chain = said.path(command, "job_chain")
        identifier = command.attributes.get("order", "")
        if not entry:
            shown = self._shown(command, peer)
            if "log" in what:
                steps = await self._history.stepsOf(self._find(chain, identifier).number)
                for child in shown.children:
                    if child.name == "log":
                        child.text = "".join(map(_lines, steps))
            return shown
        found = await self._history.ordersOf(chain, identifier, before=entry + 1, count=1)
        if not found or found[0].entry != entry:
            text = f'There is no order {identifier or entry} in the history of "/{chain}"'
            raise CommandRefused("SCHEDULER-162", text)
        shown = _order(found[0])
        steps = await self._history.stepsOf(found[0].number)
        shown.children.append(element("order_step_history", {}, map(_step, steps)))
        if "log" in what:
            text = "".join(map(_lines, steps))
            shown.children.append(element("log", {"level": "info"}, text=text))
        return shown


def _order(record: OrderRecord) -> Element:
    attributes = {
        "order": record.id,
        "id": record.id,
        "history_id": str(record.entry),
        "job_chain": f"/{record.chain}",
        "state": record.state,
        "cause": record.cause,
    }
    if record.title:
        attributes["title"] = record.title
    if record.began:
        attributes["start_time"] = timestamp(record.began)
    if record.ended is not None:
        attributes["end_time"] = timestamp(record.ended)
    if record.removed:
        attributes["removed"] = "yes"
    return element("order", attributes)


def _lines(record: StepRecord) -> str:
    """
    What the log of an order says of a step, in the form of the original's lines.
    """
    task = f"(Task {record.job}:{record.task})"
    level = "info" if record.verdict is Verdict.SUCCEEDED else "warn"
    return (
        f"{timestamp(record.began)} [info]   {task} works on the order in state {record.state}\n"
        f"{timestamp(record.ended)} [{level}]   {task} {record.verdict.value}: {record.text}\n"
    )


def _step(record: StepRecord) -> Element:
    attributes = {
        "task": str(record.task),
        "state": record.state,
        "job": f"/{record.job}",
        "start_time": timestamp(record.began),
        "end_time": timestamp(record.ended),
        "error": "0" if record.verdict is Verdict.SUCCEEDED else "1",
        "verdict": record.verdict.value,
    }
    if record.text:
        attributes["text"] = record.text
    if record.reason is not None:
        attributes["reason"] = record.reason.value
    if record.exitCode is not None:
        attributes["exit_code"] = str(record.exitCode)
    return element("order_step.entry", attributes)
