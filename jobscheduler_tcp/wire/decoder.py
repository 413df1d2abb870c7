"""
The extended language as it is heard: a stream of bytes to messages.

A frame of output is as long as what was read at once, and comes in pieces. They
are given out as they come, as if each were a frame of its own: to join them
would take longer than to receive them.
"""

from __future__ import annotations

from collections.abc import Iterator

from jobscheduler_tcp.messages import Confirmation, Stream, TaskOutput
from jobscheduler_tcp.wire.extended import MAX_UNPROVEN, OUTPUT, decode, decodeBeginning
from jobscheduler_tcp.wire.frames import Frames


class MessageDecoder(Frames):
    """
    Cut a stream of bytes into messages and their channels.
    """

    __slots__ = ("_channel", "_missing", "_offset", "_stream")

    def __init__(self) -> None:
        super().__init__(MAX_UNPROVEN)
        # Of a frame of output whose beginning was given out.
        self._missing = 0
        self._channel = 0
        self._stream = Stream.STDOUT
        self._offset = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, Confirmation]]:
        """
        Give out what is said now. Read the iterator to its end before feeding
        more.

        @raise RemoteProtocolError: it is not understood, or too long.
        """
        start = min(self._missing, len(data)) if self._missing else 0
        if start:
            self._missing -= start
            yield self._channel, self._piece(data[:start])
        for payload in self.cut(data, start):
            yield decode(payload)
        # Most pieces end with a frame.
        beginning = self.takeBeginning(OUTPUT) if self._kept else None
        if beginning is not None:
            begun, self._missing = beginning
            self._channel, self._stream, self._offset, first = decodeBeginning(begun)
            yield self._channel, self._piece(first)

    def _piece(self, data: bytes) -> TaskOutput:
        offset = self._offset
        self._offset += len(data)
        return TaskOutput(self._stream, offset, data)
