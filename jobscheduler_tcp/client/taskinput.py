"""
The input of a task, kept until the remote has room for it, and until it was
taken.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from twisted.internet.interfaces import IPushProducer

from jobscheduler_tcp.wire.extended import MAX_DATA

# An empty deque takes 700 bytes, and most tasks have no input: they share one.
_NOTHING: deque[memoryview] = deque()


class InputWay(Protocol):
    """
    How input gets to the remote.
    """

    def inputRoom(self) -> int:
        """
        How many bytes the remote would take now.
        """

    def sendInput(self, data: bytes | memoryview) -> None:
        """
        Send so many, at least one.
        """

    def sendInputEnd(self) -> None:
        """
        Say that there is no more.
        """


class InputBuffer:
    """
    Hand the input on as there is room, and hold its producer back meanwhile.
    """

    __slots__ = (
        "_endSaid",
        "_ended",
        "_kept",
        "_offset",
        "_paused",
        "_producer",
        "_sent",
        "_stopped",
        "_suspended",
        "_way",
    )

    def __init__(self, way: InputWay) -> None:
        self._way = way
        self._kept = _NOTHING
        # What was sent and not yet taken, from this offset on: it is sent again
        # if the connection breaks before the remote has it.
        self._sent = _NOTHING
        self._offset = 0
        self._producer: IPushProducer | None = None
        self._paused = self._suspended = False
        self._ended = self._endSaid = self._stopped = False

    def write(self, data: bytes) -> None:
        """
        Send bytes, now or later. After the end they are dropped.
        """
        if data and not self._ended:
            if self._kept is _NOTHING:
                self._kept = deque()
            self._kept.append(memoryview(data))
            self._flush()

    def end(self) -> None:
        """
        There is no more input.
        """
        if not self._ended:
            self._ended = True
            self._flush()

    def taken(self, offset: int) -> None:
        """
        So many bytes were taken since the beginning: there is room again.
        """
        self._forget(offset)
        self._flush()

    def suspend(self) -> None:
        """
        The connection is gone; another one may come.
        """
        self._suspended = True
        self._pause()

    def resume(self, offset: int, ended: bool) -> None:
        """
        There is a connection, whose remote has so many bytes of the input.

        @param ended: whether it has its end, too.
        """
        self._forget(offset)
        self._offset = offset
        if self._sent:
            self._sent.extend(self._kept)
            self._kept, self._sent = self._sent, _NOTHING
        self._endSaid = ended or self._stopped
        self._suspended = False
        self._flush()

    def register(self, producer: IPushProducer) -> None:
        """
        Pause and resume a producer from now on; stop it if no more is taken.
        """
        if self._stopped:
            producer.stopProducing()
            return
        self._producer = producer
        self._paused = False
        if self._kept or self._suspended:
            self._pause()

    def stop(self) -> None:
        """
        The task takes no more input: drop what is left.
        """
        self._ended = self._endSaid = self._stopped = True
        self._kept = self._sent = _NOTHING
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()

    def _flush(self) -> None:
        if self._suspended:
            self._pause()
            return
        while self._kept and (room := min(self._way.inputRoom(), MAX_DATA)) > 0:
            first = self._kept.popleft()
            if len(first) > room:
                self._kept.appendleft(first[room:])
                first = first[:room]
            if self._sent is _NOTHING:
                self._sent = deque()
            self._sent.append(first)
            self._way.sendInput(first)
        if self._kept:
            self._pause()
            return
        if self._ended and not self._endSaid:
            self._endSaid = True
            self._way.sendInputEnd()
        self._resume()

    def _forget(self, offset: int) -> None:
        while self._sent and self._offset < offset:
            first = self._sent.popleft()
            size = min(len(first), offset - self._offset)
            self._offset += size
            if size < len(first):
                self._sent.appendleft(first[size:])

    def _pause(self) -> None:
        if self._producer is not None and not self._paused:
            self._paused = True
            self._producer.pauseProducing()

    def _resume(self) -> None:
        if self._producer is not None and self._paused:
            self._paused = False
            self._producer.resumeProducing()
