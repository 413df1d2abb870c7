"""
The elements of jobs, job chains, process classes and orders, which stand in
C{scheduler.xml} or in files of their own.
"""

from __future__ import annotations

import re
from functools import partial
from signal import Signals

from jobscheduler_tcp.callbackhosts import callbackHost
from jobscheduler_tcp.config import unsupported, values
from jobscheduler_tcp.config.model import (
    MAX_PROCESSES,
    STOP,
    ConfiguredChain,
    ConfiguredClass,
    ConfiguredJob,
    ConfiguredNode,
    ConfiguredOrder,
)
from jobscheduler_tcp.config.parts import Pairs, PartReader
from jobscheduler_tcp.messages import Work
from jobscheduler_tcp.wire.documents import Element

# The highest number that fits a message.
_MAX = 2**31 - 1

_count = partial(values.number, low=0, high=_MAX)
_some = partial(values.number, low=1, high=_MAX)

_JOB_ATTRIBUTES = (
    "name",
    "title",
    "process_class",
    "timeout",
    "silence",
    "order",
    "tasks",
    "enabled",
    "visible",
    "stop_on_error",
    "ignore_signals",
    # Tasks of ours do not wait for an order, so none is idle.
    "idle_timeout",
    "force_idle_timeout",
)
_JOB_PARTS = (
    "script",
    "process",
    "params",
    "environment",
    "description",
    "delay_after_error",
    "delay_order_after_setback",
)
_NODE_ATTRIBUTES = ("state", "job", "next_state", "error_state", "on_error", "delay")


class ObjectReader(PartReader):
    """
    A file that has objects.
    """

    def job(self, element: Element, name: str) -> ConfiguredJob:
        """
        A C{<job>}.
        """
        self.attributes(element, _JOB_ATTRIBUTES, unsupported.JOB_ATTRIBUTES)
        script = ""
        ignoreError = False
        ignored = self.value(element, "ignore_signals", _signals, frozenset())
        parameters: Pairs = ()
        environment: Pairs = ()
        delays: list[tuple[int, float]] = []
        setbacks: list[tuple[int, float]] = []
        maxSetbacks = 0
        description = ""
        for child in self.children(element, _JOB_PARTS, unsupported.JOB_ELEMENTS):
            match child.name:
                case "script" | "process" if script:
                    raise self.error(child, f"expected one <script> or <process> in job {name}")
                case "script":
                    script = self._script(child)
                case "process":
                    script, own = self._process(child)
                    environment = tuple(dict((*environment, *own)).items())
                    ignoreError = self.value(child, "ignore_error", values.yesNo, False)
                    if self.value(child, "ignore_signal", values.yesNo, False):
                        ignored = _signals("all")
                case "params":
                    parameters = self.values(child, "param")
                case "environment":
                    environment = tuple(
                        dict((*environment, *self.values(child, "variable"))).items()
                    )
                case "delay_after_error":
                    self.attributes(child, ("error_count", "delay"))
                    self.required(child, "error_count")
                    self.required(child, "delay")
                    number = self.value(child, "error_count", _some, 1)
                    delays.append((number, self.value(child, "delay", _delayOrStop, 0.0)))
                case "delay_order_after_setback":
                    self.attributes(child, ("setback_count", "delay", "is_maximum"))
                    self.required(child, "setback_count")
                    number = self.value(child, "setback_count", _some, 1)
                    if self.value(child, "is_maximum", values.yesNo, False):
                        maxSetbacks = number
                    if "delay" in child.attributes:
                        setbacks.append((number, self.value(child, "delay", values.duration, 0.0)))
                case _:
                    description = child.text.strip()
        if not script:
            raise self.error(element, f"expected a <script> in job {name}")
        return ConfiguredJob(
            name,
            element.attributes.get("title", ""),
            self.name(element, "process_class"),
            Work(
                script=script,
                parameters=parameters,
                environment=environment,
                wallTime=self.value(element, "timeout", values.duration, 0.0),
                silence=self.value(element, "silence", values.duration, 0.0),
            ),
            self.place(element),
            order=self.value(element, "order", values.yesNo, False),
            tasks=self.value(element, "tasks", _count, 1),
            enabled=self.value(element, "enabled", values.yesNo, True),
            visible=self.value(element, "visible", _visible, True),
            stopOnError=self.value(element, "stop_on_error", values.yesNo, True),
            ignoreError=ignoreError,
            ignoreSignals=ignored,
            delaysAfterError=tuple(sorted(delays)),
            setbackDelays=tuple(sorted(setbacks)),
            maxSetbacks=maxSetbacks,
            description=description,
        )

    def processClass(self, element: Element, name: str, ownPort: int | None) -> ConfiguredClass:
        """
        A C{<process_class>}.
        """
        known = ("name", "max_processes", "remote_scheduler", "timeout", "select")
        ours = ("dialect", "callback", "advertise")
        self.attributes(element, (*known, *ours), unsupported.PROCESS_CLASS_ATTRIBUTES)
        remotes: list[tuple[str, int]] = []
        # Without a port JobScheduler takes its own (protocol document, 7.1).
        convert = partial(values.remote, defaultPort=ownPort)
        if element.attributes.get("remote_scheduler"):
            remotes.append(self.value(element, "remote_scheduler", convert, ("", 0)))
        rotates = self.value(element, "select", _select, False)
        for several in self.children(element, ("remote_schedulers",)):
            self.attributes(several, ("select",))
            rotates = self.value(several, "select", _select, rotates)
            for child in self.children(several, ("remote_scheduler",)):
                periods = unsupported.REMOTE_SCHEDULER_ATTRIBUTES
                self.attributes(child, ("remote_scheduler",), periods)
                self.required(child, "remote_scheduler")
                remotes.append(self.value(child, "remote_scheduler", convert, ("", 0)))
        host, port = remotes[0] if remotes else ("", 0)
        return ConfiguredClass(
            name,
            host,
            port,
            self.value(element, "max_processes", _count, MAX_PROCESSES),
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
        names = ("job_chain_node", "job_chain_node.end")
        for child in self.children(element, names, unsupported.CHAIN_ELEMENTS):
            state = self.printable(child, self.required(child, "state"))
            if child.name == "job_chain_node":
                self.attributes(child, _NODE_ATTRIBUTES, unsupported.NODE_ATTRIBUTES)
            else:
                self.attributes(child, ("state",))
            list(self.children(child, (), unsupported.NODE_ELEMENTS))
            node = ConfiguredNode(
                state,
                self.name(child, "job"),
                self._state(child, "next_state"),
                self._state(child, "error_state"),
                self.value(child, "on_error", _onError, ""),
                self.value(child, "delay", values.duration, 0.0),
            )
            self.add(nodes, state, node, child)
        if not any(node.job for node in nodes.values()):
            raise self.error(element, f"expected a <job_chain_node> with a job in {name}")
        return ConfiguredChain(
            name,
            element.attributes.get("title", ""),
            _linked(list(nodes.values())),
            self.place(element),
            self.value(element, "visible", _visible, True),
            self.value(element, "orders_recoverable", values.yesNo, True),
        )

    def order(self, element: Element, chain: str, identifier: str) -> ConfiguredOrder:
        """
        An C{<order>}.
        """
        known = ("id", "job_chain", "title", "state", "end_state", "priority")
        self.attributes(element, known, unsupported.ORDER_ATTRIBUTES)
        parameters: Pairs = ()
        waits = False
        parts = ("params", "payload", "run_time")
        for child in self.children(element, parts, unsupported.ORDER_ELEMENTS):
            if child.name == "run_time":
                # Nothing is said there of when it runs: it runs when it is told to.
                waits = True
                if child.attributes or child.children:
                    told = f"<{child.name}> in <{element.name}> is not supported yet"
                    self.warn(child, f"in {element.name}", told)
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
        )

    def _state(self, element: Element, attribute: str) -> str:
        return self.printable(element, element.attributes.get(attribute, "").strip())

    def _script(self, element: Element) -> str:
        self.attributes(element, ("language",))
        language = self.required(element, "language")
        if language.lower() != "shell":
            raise self.error(element, f'expected <script language="shell">, found {language!r}')
        text = self.text(element).strip()
        if not text:
            raise self.error(element, "expected a shell script in <script>, found nothing")
        return text

    def _process(self, element: Element) -> tuple[str, Pairs]:
        known = ("file", "param", "ignore_error", "ignore_signal")
        self.attributes(element, known, unsupported.PROCESS_ATTRIBUTES)
        environment: Pairs = ()
        for child in self.children(element, ("environment",)):
            environment = self.values(child, "variable")
        words = [self.required(element, "file"), *self.value(element, "param", values.words, [])]
        # The remote's shell puts in what its environment has for $NAME, as the
        # original does; all else stands for itself.
        return "exec " + " ".join(map(_quoted, words)), environment


def _quoted(word: str) -> str:
    escaped = re.sub(r'["\\`]|\$(?![A-Za-z_{])', r"\\\g<0>", word)
    return f'"{escaped}"'


def _linked(nodes: list[ConfiguredNode]) -> tuple[ConfiguredNode, ...]:
    """
    Lead each node that does not say where to, to the one after it.
    """
    following = [*(node.state for node in nodes[1:]), ""]
    return tuple(
        ConfiguredNode(
            node.state,
            node.job,
            node.nextState or after if node.job else "",
            node.errorState,
            node.onError,
            node.delay,
        )
        for node, after in zip(nodes, following, strict=True)
    )


def _signals(text: str) -> frozenset[int]:
    if text == "all":
        return frozenset(range(1, 65))
    if text == "no":
        return frozenset()
    found = set()
    for word in text.replace(",", " ").split():
        name = word.upper()
        name = name if name.startswith("SIG") else f"SIG{name}"
        if word.isdecimal() and 0 < int(word) < 65:
            found.add(int(word))
        elif name in Signals.__members__:
            found.add(int(Signals[name]))
        else:
            raise ValueError(f"expected all or names of signals, found {word!r}")
    return frozenset(found)


def _delayOrStop(text: str) -> float:
    return STOP if text.lower() == "stop" else values.duration(text)


def _select(text: str) -> bool:
    if text not in ("first", "next"):
        raise ValueError(f"expected first or next, found {text!r}")
    return text == "next"


def _dialect(text: str) -> str:
    # Ours: JobScheduler knows but one.
    if text not in ("auto", "classic", "extended"):
        raise ValueError(f"expected auto, classic or extended, found {text!r}")
    return text


def _onError(text: str) -> str:
    if text not in ("", "suspend", "setback"):
        raise ValueError(f"expected suspend or setback, found {text!r}")
    return text


def _visible(text: str) -> bool:
    if text not in ("yes", "no", "never"):
        raise ValueError(f"expected yes, no or never, found {text!r}")
    return text == "yes"
