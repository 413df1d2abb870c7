"""
The elements of job chains, process classes and orders, which stand in
C{scheduler.xml} or in files of their own, as jobs do.
"""

from __future__ import annotations

from dataclasses import replace

from jobscheduler_tcp.callbackhosts import callbackHost
from jobscheduler_tcp.config import unsupported, values
from jobscheduler_tcp.config.jobs import JobReader, count, visible
from jobscheduler_tcp.config.model import (
    MAX_PROCESSES,
    ConfiguredChain,
    ConfiguredClass,
    ConfiguredNode,
    ConfiguredOrder,
)
from jobscheduler_tcp.config.parts import Pairs
from jobscheduler_tcp.wire.documents import Element

_NODE_ATTRIBUTES = ("state", "job", "next_state", "error_state", "on_error", "delay", "action")


class ObjectReader(JobReader):
    """
    A file that has objects.
    """

    def processClass(self, element: Element, name: str, ownPort: int | None) -> ConfiguredClass:
        """
        A C{<process_class>}.
        """
        known = ("name", "max_processes", "remote_scheduler", "timeout", "select")
        ours = ("dialect", "callback", "advertise")
        self.attributes(element, (*known, *ours), unsupported.PROCESS_CLASS_ATTRIBUTES)
        remotes: list[tuple[str, int]] = []
        # Without a port JobScheduler takes its own (protocol document, 7.1).
        if element.attributes.get("remote_scheduler"):
            remotes.append(self._remote(element, ownPort))
        rotates = self.value(element, "select", _select, False)
        for several in self.children(element, ("remote_schedulers",)):
            self.attributes(several, ("select",))
            rotates = self.value(several, "select", _select, rotates)
            for child in self.children(several, ("remote_scheduler",)):
                periods = unsupported.REMOTE_SCHEDULER_ATTRIBUTES
                self.attributes(child, ("remote_scheduler",), periods)
                self.required(child, "remote_scheduler")
                remotes.append(self._remote(child, ownPort))
        host, port = remotes[0] if remotes else ("", 0)
        return ConfiguredClass(
            name,
            host,
            port,
            self.value(element, "max_processes", count, MAX_PROCESSES),
            self.place(element),
            tuple(dict.fromkeys(remotes[1:])),
            rotates,
            self.value(element, "timeout", values.duration, 0.0),
            self.value(element, "dialect", _dialect, "auto"),
            self.value(element, "callback", values.callback, ""),
            self.value(element, "advertise", callbackHost, ""),
        )

    def jobChain(self, element: Element, name: str) -> ConfiguredChain:
        """
        A C{<job_chain>}.
        """
        known = ("name", "title", "visible", "orders_recoverable")
        self.attributes(element, known, unsupported.CHAIN_ATTRIBUTES)
        nodes: dict[str, ConfiguredNode] = {}
        names = ("job_chain_node", "job_chain_node.end", "file_order_sink")
        for child in self.children(element, names, unsupported.CHAIN_ELEMENTS):
            state = self.printable(child, self.required(child, "state"))
            if child.name == "job_chain_node":
                self.attributes(child, _NODE_ATTRIBUTES, unsupported.NODE_ATTRIBUTES)
            elif child.name == "job_chain_node.end":
                self.attributes(child, ("state",))
            else:
                self.attributes(child, ("state",), unsupported.SINK_ATTRIBUTES)
            list(self.children(child, (), unsupported.NODE_ELEMENTS))
            node = ConfiguredNode(
                state,
                self.name(child, "job"),
                self._state(child, "next_state"),
                self._state(child, "error_state"),
                self.value(child, "on_error", _onError, ""),
                self.value(child, "delay", values.duration, 0.0),
                self.value(child, "action", _action, ""),
            )
            self.add(nodes, state, node, child)
        if not any(node.job for node in nodes.values()):
            raise self.error(element, f"expected a <job_chain_node> with a job in {name}")
        return ConfiguredChain(
            name,
            element.attributes.get("title", ""),
            _linked(list(nodes.values())),
            self.place(element),
            self.value(element, "visible", visible, True),
            self.value(element, "orders_recoverable", values.boolean, True),
        )

    def order(self, element: Element, chain: str, identifier: str) -> ConfiguredOrder:
        """
        An C{<order>}.
        """
        known = ("id", "job_chain", "title", "state", "end_state", "priority", "at", "suspended")
        self.attributes(element, known, unsupported.ORDER_ATTRIBUTES)
        parameters: Pairs = ()
        waits = False
        at = 0.0
        if element.attributes.get("at", "now") != "now":
            at = self.value(element, "at", values.date, 0.0)
        parts = ("params", "payload", "run_time")
        for child in self.children(element, parts, unsupported.ORDER_ELEMENTS):
            if child.name == "run_time":
                # Nothing is said there of when it runs: it runs when it is told to.
                waits = True
                at = self.runTime(child, element) or at
            elif child.name == "params":
                parameters = self.values(child, "param")
            else:
                for inner in self.children(child, ("params",)):
                    parameters = self.values(inner, "param")
        return ConfiguredOrder(
            chain,
            self.printable(element, identifier),
            element.attributes.get("title", ""),
            self.place(element),
            self._state(element, "state"),
            self._state(element, "end_state"),
            self.value(element, "priority", values.integer, 0),
            parameters,
            waits,
            at,
            self.value(element, "suspended", values.boolean, False),
        )

    def _state(self, element: Element, attribute: str) -> str:
        return self.printable(element, element.attributes.get(attribute, "").strip())

    def _remote(self, element: Element, ownPort: int | None) -> tuple[str, int]:
        """
        The address of a remote. JobScheduler 1.9 wants http:// before each of
        several.
        """

        def convert(text: str) -> tuple[str, int]:
            # Without a port JobScheduler takes its own (protocol document, 7.1).
            if not text.startswith("http://"):
                return values.remote(text, ownPort)
            found = values.remote(text.removeprefix("http://").removesuffix("/"))
            self.warn(element, "http", f"http:// in {text!r}, we do not speak HTTP to remotes")
            return found

        return self.value(element, "remote_scheduler", convert, ("", 0))


def _linked(nodes: list[ConfiguredNode]) -> tuple[ConfiguredNode, ...]:
    """
    Lead each node that does not say where to, to the one after it.
    """
    following = [*(node.state for node in nodes[1:]), ""]
    return tuple(
        replace(node, nextState=node.nextState or after if node.job else "")
        for node, after in zip(nodes, following, strict=True)
    )


def _select(text: str) -> bool:
    if text not in ("first", "next"):
        raise ValueError(f"expected first or next, found {text!r}")
    return text == "next"


def _dialect(text: str) -> str:
    # Ours: JobScheduler knows but one.
    if text not in ("auto", "classic", "extended"):
        raise ValueError(f"expected auto, classic or extended, found {text!r}")
    return text


def _action(text: str) -> str:
    if text not in ("", "process", "stop", "next_state"):
        raise ValueError(f"expected process, stop or next_state, found {text!r}")
    return "" if text == "process" else text


def _onError(text: str) -> str:
    if text not in ("", "suspend", "setback"):
        raise ValueError(f"expected suspend or setback, found {text!r}")
    return text
