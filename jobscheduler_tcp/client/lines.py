"""
What a task prints, cut into lines that people can read.
"""

from __future__ import annotations

from collections.abc import Iterator

# The longest line in one piece: what JobScheduler takes for one log text
# (protocol document, 8.1).
MAX_LINE = 10000


class Lines:
    """
    Cut one stream. At most one unfinished line is kept.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[str]:
        """
        Give the lines that are complete, and those that are too long in pieces.
        """
        *lines, rest = (self._rest + data).split(b"\n")
        whole = len(rest) - len(rest) % MAX_LINE
        self._rest = rest[whole:]
        for line in lines:
            yield from _pieces(line.removesuffix(b"\r"))
        if whole:
            yield from _pieces(rest[:whole])

    @property
    def pending(self) -> int:
        """
        How many bytes of an unfinished line are kept.
        """
        return len(self._rest)

    def end(self) -> Iterator[str]:
        """
        Give the line that has no end.
        """
        rest, self._rest = self._rest, b""
        if rest:
            yield from _pieces(rest)


def readable(text: str) -> str:
    """
    Show control characters, which could make a terminal do things, as in
    Python.
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def _pieces(line: bytes) -> Iterator[str]:
    for start in range(0, len(line) or 1, MAX_LINE):
        # Bytes that are no text are shown as in Python, too.
        yield readable(line[start : start + MAX_LINE].decode("utf-8", "backslashreplace"))


def _visible(character: str) -> str:
    if character.isprintable() or character == "\t":
        return character
    return character.encode("unicode_escape").decode("ascii")
