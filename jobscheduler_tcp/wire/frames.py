"""
The framing that both languages of the confirmation connection share: a length
of 4 bytes, big-endian, and so many bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from jobscheduler_tcp.errors import RemoteProtocolError

_LENGTH = Struct(">I")


def frame(payload: bytes) -> bytes:
    """
    Put the length before a payload.
    """
    return _LENGTH.pack(len(payload)) + payload


class FrameDecoder:
    """
    Cut a stream of bytes into payloads. What was fed and not given out yet
    takes no more memory than C{limit} and the bytes of one C{feed}.

    @ivar limit: the longest payload allowed. It may be changed between two
        payloads, and holds from the next one on, also if its bytes were fed
        already.
    """

    __slots__ = ("_needed", "_rest", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._rest = bytearray()
        self._needed = _LENGTH.size

    def feed(self, data: bytes) -> Iterator[bytes]:
        """
        Give out the payloads that are complete now. Read the iterator to its
        end before feeding more.

        @raise RemoteProtocolError: the peer announced a frame above the limit.
        """
        if self._rest:
            self._rest += data
            # Nothing is copied before a frame is complete, so that a frame that
            # comes byte by byte costs no more than its length.
            if len(self._rest) < self._needed:
                return
            data = bytes(self._rest)
            self._rest.clear()
        start = 0
        available = len(data)
        while True:
            body = start + _LENGTH.size
            if available < body:
                self._needed = _LENGTH.size
                break
            (size,) = _LENGTH.unpack_from(data, start)
            if size > self.limit:
                raise RemoteProtocolError(f"a frame of {size} bytes where {self.limit} are allowed")
            if available < body + size:
                self._needed = _LENGTH.size + size
                break
            start = body + size
            yield data[body:start]
        self._rest += data[start:]
