"""
The commands that bring orders into job chains, change and remove them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from jobscheduler_tcp.client import said
from jobscheduler_tcp.client.order import NewOrder, OrderChange, Pairs
from jobscheduler_tcp.client.scheduler import Scheduler
from jobscheduler_tcp.client.shownorders import orderElement
from jobscheduler_tcp.config.jobs import startsNothing
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.plaincommands import Handler, Peer
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.wire.documents import Element, element


class OrderCommands:
    """
    Obey commands about orders.
    """

    def __init__(self, scheduler: Scheduler, wallClock: Callable[[], float] = time.time) -> None:
        self._scheduler = scheduler
        self._wallClock = wallClock

    def commands(self) -> dict[str, tuple[Level, Handler]]:
        """
        The commands by name, each with the level that it needs (protocol
        document, 2.1).
        """
        return {
            "add_order": (Level.ALL, self._addOrder),
            "order": (Level.ALL, self._addOrder),
            "modify_order": (Level.NO_ADD, self._modifyOrder),
            "remove_order": (Level.NO_ADD, self._removeOrder),
        }

    def _addOrder(self, command: Element, peer: Peer) -> Element:
        _refuse(command, "web_service")
        now = self._wallClock()
        attributes = command.attributes
        new = NewOrder(
            said.path(command, "job_chain"),
            _line(command, "id"),
            _line(command, "title"),
            _line(command, "state"),
            _line(command, "end_state"),
            said.integer(command, "priority") or 0,
            _parameters(command),
            _later(said.when(command, "at", now), now),
            said.flag(command, "suspended") or False,
        )
        replaces = said.flag(command, "replace") if attributes.get("replace") else True
        order = self._scheduler.addOrder(new, replaces=bool(replaces))
        return element("ok", {}, [orderElement(order)])

    def _modifyOrder(self, command: Element, peer: Peer) -> Element:
        now = self._wallClock()
        action = command.attributes.get("action", "")
        if action not in ("", "reset"):
            raise said.wrong("action", "reset", action)
        setback = command.attributes.get("setback", "")
        if setback and said.flag(command, "setback") is not False:
            raise CommandRefused("SCHEDULER-351", f"setback: expected no, found {setback[:100]!r}")
        at = said.when(command, "at", now)
        change = OrderChange(
            state=_line(command, "state") or None,
            endState=_line(command, "end_state") or None,
            title=_line(command, "title") if "title" in command.attributes else None,
            priority=said.integer(command, "priority"),
            at=at if at is None else _later(at, now),
            suspended=said.flag(command, "suspended"),
            parameters=_parameters(command),
            clearsSetback=bool(setback),
            resets=bool(action),
        )
        self._scheduler.modifyOrder(
            said.path(command, "job_chain"), _line(command, "order"), change
        )
        return element("ok")

    def _removeOrder(self, command: Element, peer: Peer) -> Element:
        self._scheduler.removeOrder(said.path(command, "job_chain"), _line(command, "order"))
        return element("ok")


def _line(command: Element, name: str) -> str:
    text = command.attributes.get(name, "")
    if not text.isprintable():
        raise said.wrong(name, "a word that can be printed", text)
    return text


def _later(at: float | None, now: float) -> float:
    """
    Zero, for at once, where a time is not later.
    """
    return at if at is not None and at > now else 0.0


def _parameters(command: Element) -> Pairs:
    found: Pairs = ()
    for child in command.children:
        if child.name == "params":
            found += said.pairs(child, "param")
        elif child.name == "payload":
            for inner in child.children:
                if inner.name != "params":
                    raise said.unexpected("params", inner)
                found += said.pairs(inner, "param")
        elif child.name == "run_time" and startsNothing(child):
            continue
        elif child.name in ("run_time", "xml_payload"):
            raise CommandRefused("jsremote-unsupported", f"<{child.name}> is not supported")
        else:
            raise said.unexpected("params", child)
    return found


def _refuse(command: Element, *names: str) -> None:
    for name in names:
        if command.attributes.get(name):
            value = command.attributes[name][:100]
            raise CommandRefused("jsremote-unsupported", f'{name}="{value}" is not supported')
