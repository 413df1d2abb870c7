"""
What was measured: figures of several rounds, their medians and ranges, as JSON
and as a table.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

# What the figures depend on most.
PACKAGES = ("Twisted", "msgspec", "Automat", "xxhash")


@dataclass(slots=True)
class Row:
    """
    One figure, of each round.

    @ivar values: as they were measured.
    @ivar ratios: the same as shares or multiples of the floor of their rounds.
    """

    name: str
    unit: str
    values: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)


class Report:
    """
    All rows, in the order in which they were first measured.
    """

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Row] = {}
        self._skipped: dict[str, str] = {}

    def add(self, name: str, unit: str, value: float, ratio: float | None = None) -> None:
        """
        A figure of this round.
        """
        row = self._rows.setdefault((name, unit), Row(name, unit))
        row.values.append(value)
        if ratio is not None:
            row.ratios.append(ratio)

    def skip(self, name: str, why: str) -> None:
        """
        Say what is not measured.
        """
        self._skipped[name] = why

    def markdown(self) -> str:
        """
        The table.
        """
        lines = ["| what | unit | median (min-max) | x floor (min-max) |", "|---|---|---|---|"]
        for row in self._rows.values():
            lines.append(f"| {row.name} | {row.unit} | {_span(row.values)} | {_span(row.ratios)} |")
        lines += [f"| {name} | | skipped: {why} | |" for name, why in self._skipped.items()]
        return "\n".join(lines) + "\n"

    def json(self, **about: Any) -> str:
        """
        Everything, for programs.
        """
        rows = [
            {
                "name": row.name,
                "unit": row.unit,
                "values": row.values,
                "ratios": row.ratios,
                "median": median(row.values),
                "ratio": median(row.ratios) if row.ratios else None,
            }
            for row in self._rows.values()
        ]
        whole = {**about, "machine": machine(), "rows": rows, "skipped": self._skipped}
        return json.dumps(whole, indent=1) + "\n"


def machine() -> dict[str, str]:
    """
    Where and with what it was measured.
    """
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processors": f"{os.cpu_count()} x {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        **versions,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def _span(values: list[float]) -> str:
    if not values:
        return ""
    low, middle, high = (_number(each) for each in (min(values), median(values), max(values)))
    return f"{middle} ({low}-{high})" if len(values) > 1 else middle


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
