"""
The output of one task that its client has not acknowledged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import merge
from itertools import count

from jobscheduler_tcp.messages import Stream

# Small pieces that follow each other are kept as one of at most so many bytes:
# each takes a hundred beside its own.
MAX_JOINED = 4096


class Unacknowledged:
    """
    Keep what was printed, in the order of printing, until it is acknowledged.

    @ivar size: bytes that are kept.
    """

    __slots__ = ("_last", "_numbers", "_streams", "size")

    def __init__(self) -> None:
        self.size = 0
        self._numbers = count()
        self._last: Stream | None = None
        # The number of a piece, the offset of its end, and the piece. A client
        # may acknowledge one stream and not the other.
        self._streams: dict[Stream, deque[tuple[int, int, bytes]]] = {}

    def add(self, stream: Stream, end: int, data: bytes) -> None:
        """
        The task printed something.

        @param end: bytes of the stream up to the end of these.
        """
        if stream not in self._streams:
            self._streams[stream] = deque()
        pieces = self._streams[stream]
        self.size += len(data)
        if pieces and self._last is stream and len(pieces[-1][2]) + len(data) <= MAX_JOINED:
            number, _, before = pieces[-1]
            pieces[-1] = number, end, before + data
            return
        self._last = stream
        pieces.append((next(self._numbers), end, data))

    def acknowledge(self, stdout: int, stderr: int) -> None:
        """
        Forget so many bytes of each stream. Pieces that were joined, and one of
        which the client has a part, are kept as a whole.
        """
        for stream, pieces in self._streams.items():
            offset = stderr if stream is Stream.STDERR else stdout
            while pieces and pieces[0][1] <= offset:
                self.size -= len(pieces.popleft()[2])

    def after(self, stdout: int, stderr: int) -> Iterator[tuple[Stream, bytes]]:
        """
        All that is kept beyond these offsets, in the order of printing.
        """
        streams = (
            [(number, stream, end, data) for number, end, data in pieces]
            for stream, pieces in self._streams.items()
        )
        for _, stream, end, data in merge(*streams):
            offset = stderr if stream is Stream.STDERR else stdout
            if end > offset:
                had = max(0, offset - end + len(data))
                yield stream, data[had:] if had else data
