"""
The elements of jobs, and when objects run.
"""

from __future__ import annotations

import re
from functools import partial
from signal import Signals

from jobscheduler_tcp.config import unsupported, values
from jobscheduler_tcp.config.model import STOP, ConfiguredJob
from jobscheduler_tcp.config.parts import Pairs, PartReader
from jobscheduler_tcp.messages import Work
from jobscheduler_tcp.wire.documents import Element

# The highest number that fits a message.
_MAX = 2**31 - 1

count = partial(values.number, low=0, high=_MAX)
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
    "run_time",
)
_MIDNIGHT = ("00:00", "00:00:00", "0:00", "24:00", "24:00:00")


class JobReader(PartReader):
    """
    A file that has jobs.
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
                    ignoreError = self.value(child, "ignore_error", values.boolean, False)
                    if self.value(child, "ignore_signal", values.boolean, False):
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
                    if self.value(child, "is_maximum", values.boolean, False):
                        maxSetbacks = number
                    if "delay" in child.attributes:
                        setbacks.append((number, self.value(child, "delay", values.duration, 0.0)))
                case "run_time":
                    self.runTime(child, element)
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
            order=self.value(element, "order", values.boolean, False),
            tasks=self.value(element, "tasks", count, 1),
            enabled=self.value(element, "enabled", values.boolean, True),
            visible=self.value(element, "visible", visible, True),
            stopOnError=self.value(element, "stop_on_error", values.boolean, True),
            ignoreError=ignoreError,
            ignoreSignals=ignored,
            delaysAfterError=tuple(sorted(delays)),
            setbackDelays=tuple(sorted(setbacks)),
            maxSetbacks=maxSetbacks,
            description=description,
        )

    def runTime(self, element: Element, parent: Element) -> float:
        """
        A C{<run_time>}: of an order, one date may be said; all else that asks for
        a start is passed over.

        @return: seconds since 1970; 0 where nothing is said.
        """
        at = 0.0
        if parent.name == "order":
            for child in element.children:
                if child.name == "at" and not at:
                    self.required(child, "at")
                    at = self.value(child, "at", values.date, 0.0)
                    element.children.remove(child)
        if not startsNothing(element):
            told = f"<{element.name}> in <{parent.name}> is not supported yet"
            self.warn(element, f"in {parent.name}", told)
        return at

    def _script(self, element: Element) -> str:
        self.attributes(element, ("language",), unsupported.SCRIPT_ATTRIBUTES)
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


def visible(text: str) -> bool:
    """
    Whether lists show an object; C{never} is C{no}.
    """
    if text not in ("yes", "no", "never"):
        raise ValueError(f"expected yes, no or never, found {text!r}")
    return text == "yes"


def startsNothing(period: Element) -> bool:
    """
    Whether a C{<run_time>}, or a C{<period>} in it, lets a job run at any time and
    starts it at none.
    """
    whole = {"let_run": ("no",), "once": ("no",), "begin": _MIDNIGHT, "end": _MIDNIGHT}
    return all(
        value.strip() in whole.get(name, ()) for name, value in period.attributes.items()
    ) and all(
        startsNothing(child)
        if child.name == "period"
        else child.name == "holidays" and not (child.attributes or child.children)
        for child in period.children
    )


def _quoted(word: str) -> str:
    escaped = re.sub(r'["\\`]|\$(?![A-Za-z_{])', r"\\\g<0>", word)
    return f'"{escaped}"'


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
