"""
The project's diagram as text: two lifelines, and arrows between them.
"""

from __future__ import annotations

# A line fits a terminal of 80 columns: the time, two lifelines, and this
# many columns between them.
WIDTH = 69
_MARGIN = 8

_BOLD = "\x1b[1m"
_DIM = "\x1b[2m"
_PLAIN = "\x1b[0m"


class Diagram:
    """
    Draw line by line, from the top down.

    @ivar colour: whether escape codes are welcome.
    """

    def __init__(self, *, colour: bool = False) -> None:
        self._colour = colour

    def heads(self, left: str, right: str) -> str:
        """
        The names at the top of the lifelines.
        """
        names = left + right.rjust(WIDTH + 2 - len(left))
        return self._paint(_BOLD, " " * _MARGIN + names)

    def gap(self) -> str:
        """
        Nothing happens.
        """
        return self._between("", " " * WIDTH)

    def left(self, time: str, text: str) -> str:
        """
        Something happens at the client.
        """
        return self._between(time, f"  {_cut(text, WIDTH - 4)}".ljust(WIDTH))

    def right(self, time: str, text: str) -> str:
        """
        Something happens at the remote.
        """
        return self._between(time, f"{_cut(text, WIDTH - 4)}  ".rjust(WIDTH))

    def toRemote(self, time: str, text: str, line: str = "-") -> str:
        """
        An arrow from the client to the remote; C{line} is C{=} for a connection.
        """
        arrow = f"{line * 6} {_cut(text, WIDTH - 14)} ".ljust(WIDTH - 1, line) + ">"
        return self._between(time, arrow, _BOLD if line == "=" else "")

    def toClient(self, time: str, text: str, line: str = "-") -> str:
        """
        An arrow from the remote to the client.
        """
        arrow = f"<{line * 6} {_cut(text, WIDTH - 14)} ".ljust(WIDTH, line)
        return self._between(time, arrow, _BOLD if line == "=" else "")

    def _between(self, time: str, inner: str, style: str = "") -> str:
        margin = self._paint(_DIM, time.rjust(_MARGIN - 2)) + "  "
        return f"{margin}|{self._paint(style, inner)}|"

    def _paint(self, style: str, text: str) -> str:
        return f"{style}{text}{_PLAIN}" if self._colour and style and text.strip() else text


def _cut(text: str, width: int) -> str:
    """
    What comes from a process may be long, or move the cursor.
    """
    text = "".join(each if each.isprintable() else "?" for each in text)
    return text if len(text) <= width else text[: width - 3] + "..."
