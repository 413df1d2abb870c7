"""
The output of a task as the texts of log calls of the classic dialect.
"""

from __future__ import annotations

from collections import deque

from jobscheduler_tcp.messages import Stream

# The longest text of one log call (protocol document 5.7).
MAX_TEXT = 10000


class LogLines:
    """
    Cut output into texts: whole lines, the streams in the order in which they
    came, several lines of a stream in one text while nobody takes it. A line
    beyond 10,000 bytes is cut, as by the original.

    @ivar size: how many bytes wait to be taken, unfinished lines not counted.
    """

    def __init__(self) -> None:
        self.size = 0
        self._texts: deque[tuple[Stream, bytearray]] = deque()
        self._tails: dict[Stream, bytes] = {}

    def feed(self, stream: Stream, data: bytes) -> None:
        """
        The task printed something.
        """
        data = self._tails.pop(stream, b"") + data
        start = 0
        while start < len(data):
            # The last line that ends within the longest text, or a cut.
            end = data.rfind(b"\n", start, start + MAX_TEXT) + 1
            if end == 0:
                if len(data) - start < MAX_TEXT:
                    self._tails[stream] = data[start:]
                    return
                end = start + MAX_TEXT
            self._append(stream, data[start:end])
            start = end

    def finish(self) -> None:
        """
        Nothing more is printed: unfinished lines are texts too.
        """
        for stream in sorted(self._tails):
            self._append(stream, self._tails[stream])
        self._tails.clear()

    def take(self) -> str | None:
        """
        The next text, without its last line end; C{None} if there is none.
        """
        if not self._texts:
            return None
        text = bytes(self._texts.popleft()[1])
        self.size -= len(text)
        if text.endswith(b"\n"):
            text = text[:-1].removesuffix(b"\r")
        return text.decode("latin-1")

    def _append(self, stream: Stream, text: bytes) -> None:
        self.size += len(text)
        if self._texts:
            last, lines = self._texts[-1]
            whole = lines.endswith(b"\n")
            if last is stream and whole and len(lines) + len(text) <= MAX_TEXT:
                lines += text
                return
        self._texts.append((stream, bytearray(text)))
