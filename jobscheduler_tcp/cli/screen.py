"""
Tables, and a line that tells how something stands: in a terminal as well as
that can, with the package rich if it is installed, and elsewhere plain.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.status import Status

# Columns are not made narrower than that: less says nothing.
_NARROWEST = 8

_GAP = 2

_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?")

# Puts rows into columns.
Draw = Callable[[list[dict[str, str]]], Iterable[str]]


def isLively(stream: TextIO) -> bool:
    """
    Whether something may be written over, and cut to a width: a terminal, and
    one that can.
    """
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def isColourful(stream: TextIO) -> bool:
    """
    Whether escape codes are welcome (no-color.org).
    """
    return isLively(stream) and not os.environ.get("NO_COLOR")


def hasRich() -> bool:
    """
    Whether rich is installed.
    """
    return importlib.util.find_spec("rich") is not None


def printable(text: str) -> str:
    """
    What cannot move the cursor of a terminal.
    """
    return "".join(each if each.isprintable() else "?" for each in text)


def shortTime(text: str, now: str) -> str:
    """
    A time without its milliseconds, and without the date if that is today's.

    @param now: the time of who tells it.
    """
    if _TIME.fullmatch(text) is None:
        return text
    return text[:19].removeprefix(f"{now[:10]} ")


def drawn(rows: list[dict[str, str]]) -> Iterable[str]:
    """
    Rows in columns for stdout: so that they fit if it is a terminal, elsewhere
    as they are.
    """
    if not isLively(sys.stdout):
        return columns(rows)
    if hasRich():
        return _richColumns(rows)
    return columns(rows, shutil.get_terminal_size().columns)


def columns(rows: list[dict[str, str]], width: int = 0) -> Iterator[str]:
    """
    Rows in columns, each with its name; those with nothing in them are left out.

    @param width: what a line may have, 0 for any; the widest columns are cut.
    """
    names = _namesOf(rows)
    lines = [names, *([printable(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(names))]
    while width and sum(widths) + _GAP * len(widths) > width and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
    for line in lines:
        cells = (_fitted(cell, width) for cell, width in zip(line, widths, strict=True))
        yield (" " * _GAP + (" " * _GAP).join(cells)).rstrip()


def _namesOf(rows: list[dict[str, str]]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if any(row.get(name) for row in rows)]


def _fitted(cell: str, width: int) -> str:
    return cell.ljust(width) if len(cell) <= width else f"{cell[: width - 1]}~"


def _richColumns(rows: list[dict[str, str]]) -> list[str]:
    from rich.console import Console  # noqa: PLC0415 - an extra
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, header_style="bold")
    names = _namesOf(rows)
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(row.get(name, ""))) for name in names))
    console = Console()
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()


class Progress:
    """
    How something stands, on stderr: on a terminal one line that is written
    over, elsewhere a line each time that it stands otherwise.
    """

    def __init__(self) -> None:
        self._lively = isLively(sys.stderr)
        self._told = ""
        self._attempts: set[str] = set()
        self._written = 0
        self._status: Status | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        """
        Leave nothing behind on a terminal.
        """
        if self._status is not None:
            self._status.stop()
        elif self._written:
            self._write("")
            print("\r", end="", file=sys.stderr, flush=True)

    def tell(self, text: str, passing: str = "", *, attempt: bool = False) -> None:
        """
        Tell.

        @param passing: what changes all the time, such as seconds.
        @param attempt: whether it is one of many attempts, of which only the first
            is a line of its own.
        """
        if not self._lively:
            if text != self._told and text not in self._attempts:
                print(printable(text), file=sys.stderr, flush=True)
                self._told = text
                if attempt:
                    self._attempts.add(text)
        else:
            whole = printable(f"{text}{passing}")
            if hasRich():
                self._spin(whole)
            else:
                self._write(whole)

    def _write(self, text: str) -> None:
        # The last column is left free: some terminals go to the next line there.
        text = text[: shutil.get_terminal_size().columns - 1]
        print(f"\r{text:{self._written}}", end="", file=sys.stderr, flush=True)
        self._written = len(text)

    def _spin(self, text: str) -> None:
        from rich.console import Console  # noqa: PLC0415 - an extra
        from rich.text import Text  # noqa: PLC0415

        line = Text(text, no_wrap=True, overflow="ellipsis")
        if self._status is None:
            self._status = Console(stderr=True).status(line)
            self._status.start()
        else:
            self._status.update(line)
