"""
The framing that both languages of the confirmation connection share: a length
of 4 bytes, big-endian, and so many bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from jobscheduler_tcp.errors import RemoteProtocolError

_LENGTH = Struct(">I")

# A piece of a frame that is shorter is copied to those before it.
_SHORT = 4096

# What is kept where all was given out: most decoders of a service.
_NOTHING: list[bytes | bytearray | memoryview] = []


def frame(payload: bytes) -> bytes:
    """
    Put the length before a payload.
    """
    return _LENGTH.pack(len(payload)) + payload


class Frames:
    """
    Cut a stream of bytes into payloads. What was fed and not given out yet
    takes no more memory than C{limit} and the bytes of one C{cut}.

    @ivar limit: the longest payload allowed. It may be changed between two
        payloads, and holds from the next one on, also if its bytes were fed
        already.
    """

    __slots__ = ("_have", "_kept", "_needed", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        # The beginning of a payload that is not complete, its length with it:
        # how many bytes there are, and how many the next step needs.
        self._kept = _NOTHING
        self._have = 0
        self._needed = _LENGTH.size

    def cut(self, data: bytes, start: int = 0) -> Iterator[bytes]:
        """
        Give out the payloads that are complete now. Read the iterator to its
        end before feeding more.

        @param start: where to begin; 0 if a payload has begun.
        @raise RemoteProtocolError: the peer announced a frame above the limit.
        """
        if self._kept:
            missing = self._needed - self._have
            if len(data) < missing:
                self._keep(data)
                return
            if self._needed > _LENGTH.size:
                # Most of a long frame came in pieces: they are joined only once.
                payload = self._joined(memoryview(data)[:missing])
                start = missing
                self._forget()
                yield payload
            else:
                data = b"".join([*self._kept, data])
                self._forget()
        available = len(data)
        while True:
            body = start + _LENGTH.size
            if available < body:
                break
            (size,) = _LENGTH.unpack_from(data, start)
            if size > self.limit:
                raise RemoteProtocolError(f"a frame of {size} bytes where {self.limit} are allowed")
            if available < body + size:
                self._needed = _LENGTH.size + size
                break
            start = body + size
            yield data[body:start]
        if start < available:
            self._keep(memoryview(data)[start:] if available - start >= _SHORT else data[start:])

    def whole(self, data: bytes) -> bytes | None:
        """
        The payload, if these bytes are one frame and nothing else, as they are
        where the ends speak in turn. Else they are still to be fed.
        """
        size = len(data) - _LENGTH.size
        if self._kept or not 0 <= size <= self.limit or _LENGTH.unpack_from(data)[0] != size:
            return None
        return data[_LENGTH.size :]

    def takeBeginning(self, firsts: bytes) -> tuple[memoryview, int] | None:
        """
        Take out the beginning of a payload that is not complete, if it is long
        and came in one piece.

        @param firsts: the bytes with one of which it begins.
        @return: it, and the number of bytes that are missing, which are not to
            be fed.
        """
        if self._have < _SHORT or len(self._kept) > 1:
            return None
        beginning = memoryview(self._kept[0])[_LENGTH.size :]
        if beginning[0] not in firsts:
            return None
        missing = self._needed - self._have
        self._forget()
        return beginning, missing

    def _keep(self, data: bytes | memoryview) -> None:
        self._have += len(data)
        if self._kept is _NOTHING:
            self._kept = []
        if len(data) >= _SHORT:
            self._kept.append(data)
        elif self._kept and type(self._kept[-1]) is bytearray:
            # A frame that comes byte by byte takes no more memory than its bytes.
            self._kept[-1] += data
        else:
            self._kept.append(bytearray(data))

    def _joined(self, last: memoryview) -> bytes:
        first = self._kept[0]
        if len(first) < _LENGTH.size:
            return b"".join([*self._kept, last])[_LENGTH.size :]
        return b"".join([memoryview(first)[_LENGTH.size :], *self._kept[1:], last])

    def _forget(self) -> None:
        self._kept = _NOTHING
        self._have = 0
        self._needed = _LENGTH.size


class FrameDecoder(Frames):
    """
    Give out payloads as they are.
    """

    __slots__ = ()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """
        Give out the payloads that are complete now. Read the iterator to its
        end before feeding more.

        @raise RemoteProtocolError: the peer announced a frame above the limit.
        """
        return self.cut(data)
