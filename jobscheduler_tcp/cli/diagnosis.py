"""
What C{jsremote doctor} found, leg by leg: for people in 80 columns, and as JSON.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from statistics import median

from jobscheduler_tcp.cli.reasons import oneLine

_WIDTH = 80
_NAME = 20


class Verdict(str, Enum):
    """
    How a leg fares.
    """

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"
    UNTRIED = "untried"


# What the command exits with, the worst of all legs.
_STATUS = {Verdict.OK: 0, Verdict.UNTRIED: 0, Verdict.WARNING: 1, Verdict.ERROR: 2}
_COLOURS = {Verdict.OK: "32", Verdict.WARNING: "33", Verdict.ERROR: "31"}


@dataclass(frozen=True, slots=True)
class Leg:
    """
    One leg of a job's way.

    @ivar seconds: what it took, where that says anything.
    @ivar facts: the same for programs, such as C{errno}.
    @ivar step: what to do about it.
    """

    name: str
    verdict: Verdict
    text: str
    seconds: float | None = None
    facts: dict[str, object] = field(default_factory=dict)
    step: str = ""


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """
    How far the remote's clock is ahead of ours.

    The remote read its clock between our question and its answer, so the offset
    is known to half of that time.

    @ivar seconds: negative if it is behind.
    @ivar error: by which the offset may be wrong, at most.
    """

    seconds: float
    error: float

    @classmethod
    def between(cls, asked: float, remote: float, answered: float) -> ClockOffset:
        """
        From our clock at the question, the remote's in the answer, and ours when
        it came.
        """
        return cls(remote - (asked + answered) / 2, (answered - asked) / 2)

    def __str__(self) -> str:
        return f"{self.seconds:+.4f} s +- {self.error:.4f} s"


@dataclass(slots=True)
class Diagnosis:
    """
    All that was found.

    @ivar remote: as it was named.
    """

    remote: str
    legs: list[Leg] = field(default_factory=list)

    def add(
        self,
        name: str,
        verdict: Verdict,
        text: str,
        seconds: float | None = None,
        *,
        step: str = "",
        **facts: object,
    ) -> None:
        """
        One leg more.
        """
        self.legs.append(Leg(name, verdict, oneLine(text), seconds, facts, step))

    @property
    def status(self) -> int:
        """
        The exit code: 0, 1 with warnings, 2 with errors.
        """
        return max((_STATUS[leg.verdict] for leg in self.legs), default=0)

    @property
    def step(self) -> str:
        """
        The one thing to do now.
        """
        for verdict in (Verdict.ERROR, Verdict.WARNING):
            for leg in self.legs:
                if leg.verdict is verdict and leg.step:
                    return leg.step
        return "nothing to do: jobs can run there"

    def plain(self) -> dict[str, object]:
        """
        For programs.
        """
        return {
            "remote": self.remote,
            "status": ("ok", "warnings", "errors")[self.status],
            "exit_status": self.status,
            "legs": [
                {
                    "leg": leg.name,
                    "verdict": leg.verdict.value,
                    "text": leg.text,
                    "seconds": leg.seconds,
                    **leg.facts,
                    "step": leg.step,
                }
                for leg in self.legs
            ],
            "next": self.step,
        }

    def lines(self, *, colour: bool) -> Iterator[str]:
        """
        For people.
        """
        yield f"jsremote doctor {self.remote}"
        yield ""
        for leg in self.legs:
            word = "-" if leg.verdict is Verdict.UNTRIED else leg.verdict.value
            text = leg.text
            if leg.seconds is not None:
                text += f", {shownTime(leg.seconds)}"
            indent = " " * (_NAME + 11)
            first, *rest = textwrap.wrap(
                f"{word:7}  {leg.name:{_NAME}}{text}",
                _WIDTH - 2,
                subsequent_indent=indent[2:],
                break_on_hyphens=False,
            )
            if colour and leg.verdict in _COLOURS:
                first = f"\x1b[{_COLOURS[leg.verdict]}m{first}\x1b[0m"
            yield f"  {first}"
            yield from (f"  {line}" for line in rest)
        yield ""
        # Not wrapped: it may be a line to copy.
        yield f"next: {self.step}"


def shownTime(seconds: float) -> str:
    """
    A short time, for people.
    """
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def roundTrips(times: list[float]) -> str:
    """
    Some round trips, for people.
    """
    return (
        f"{shownTime(median(times))}, between {shownTime(min(times))} and "
        f"{shownTime(max(times))} in {len(times)} pings"
    )
