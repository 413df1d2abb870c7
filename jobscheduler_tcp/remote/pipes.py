"""
The pipes to and from the process of a task.

A descriptor leaves the reactor before it is closed: the kernel may go on
reporting a closed one while a child that was just started has a copy of it.
"""

from __future__ import annotations

import fcntl
import os
import select
from collections import deque
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorFDSet,
    IReadDescriptor,
    IWriteDescriptor,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.interfaces import ILaunchReactor
from jobscheduler_tcp.messages import Stream

# The size of a pipe on Linux unless told otherwise (pipe(7)), and of one that is
# found half full (short lines do not fill its pages), the most that everybody may
# have: the more is read at once, the seldomer the writer, and the client, are woken
# up. What is read at once fits into one frame, where it is not copied.
_PIPE_SIZE = 64 * 1024
_LARGE_PIPE_SIZE = 1024 * 1024
_MUCH = 1000 * 1024

# A task that prints line after line, or block after block, would give both ends a turn
# of their reactors for each. After a few pieces shorter than half a pipe, as long as
# more than one comes in so many seconds, its pipe rests for as long after each reading
# that did not find it half full. A line that comes alone does not wait.
_LITTLE = _PIPE_SIZE // 2
_REST = 0.001
_FEW = 4

# An empty deque takes 700 bytes, and most tasks have no input: they share one.
_NOTHING: deque[memoryview] = deque()

# The reactor asks for its name before each event of a stream.
_NAMES = tuple(stream.name.lower() for stream in Stream)

# fcntl.F_SETPIPE_SZ and F_GETPIPE_SZ, which only Linux has.
_F_SETPIPE_SZ = getattr(fcntl, "F_SETPIPE_SZ", None)
_F_GETPIPE_SZ = getattr(fcntl, "F_GETPIPE_SZ", None)


class OutputReader(Protocol):
    """
    Who reads the output of a process.
    """

    def outputHeard(self, stream: Stream, data: bytes) -> None:
        """
        Something was read.
        """

    def outputEnded(self) -> None:
        """
        The last holder of a stream has closed it; called once.
        """


@implementer(IReadDescriptor)
class OutputPipe:
    """
    One stream of output of a process. It is not read before C{resume}, and rests
    now and then while little comes often.
    """

    __slots__ = (
        "_calm",
        "_descriptor",
        "_reactor",
        "_reader",
        "_reading",
        "_rest",
        "_size",
        "stream",
    )

    def __init__(
        self,
        reactor: ILaunchReactor,
        stream: Stream,
        descriptor: int,
        reader: OutputReader,
    ) -> None:
        self._reactor = reactor
        self.stream = stream
        self._descriptor = descriptor
        self._reader = reader
        self._reading = False
        self._rest: IDelayedCall | None = None
        self._calm = 0.0  # when what came will be as if it had come slowly
        self._size = _PIPE_SIZE

    @property
    def closed(self) -> bool:
        """
        Whether nothing more will come.
        """
        return self._descriptor < 0

    def resume(self) -> None:
        """
        Read.
        """
        if not self.closed and not self._reading:
            self._reading = True
            self._reactor.addReader(self)

    def pause(self) -> None:
        """
        Hold the writers back by their full pipe.
        """
        if self._reading:
            self._reading = False
            if self._rest is None:
                self._reactor.removeReader(self)
            else:
                self._rest.cancel()
                self._rest = None

    def hurry(self) -> None:
        """
        The process was given input, and somebody may wait for the answer: do not
        rest.
        """
        if self._rest is not None:
            self._rest.cancel()
            self._rested()
        self._calm = 0.0

    def close(self) -> None:
        """
        Read no more; who still writes gets a SIGPIPE.
        """
        self.pause()
        if not self.closed:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def drain(self) -> None:
        """
        Read what is there now, unless paused meanwhile. Twice, because an
        end of file comes alone.
        """
        for _ in range(2):
            if self._reading:
                self.doRead()

    def readOut(self) -> None:
        """
        Read what is there now of a stream that was not read before, and go on if
        that was not all. If it was, the reactor never knows of it.
        """
        pieces: list[bytes] = []
        more = True
        try:
            while more and len(pieces) < 2:
                data = os.read(self._descriptor, self._size)
                more = bool(data)
                if more:
                    pieces.append(data)
        except BlockingIOError:
            pass
        if more:
            self.resume()
        else:
            self.close()
        for piece in pieces:
            self._reader.outputHeard(self.stream, piece)
        if not more:
            self._reader.outputEnded()

    def state(self) -> tuple[bool, bool]:
        """
        Look without reading.

        @return: whether bytes wait, and whether more can come.
        """
        if self.closed:
            return False, False
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        events = poll.poll(0)
        event = events[0][1] if events else 0
        return bool(event & select.POLLIN), not event & (select.POLLHUP | select.POLLERR)

    def inode(self) -> int:
        """
        The number by which /proc names this pipe.
        """
        return os.fstat(self._descriptor).st_ino

    def fileno(self) -> int:
        """
        See C{IReadDescriptor}.
        """
        return self._descriptor

    def logPrefix(self) -> str:
        """
        See C{IReadDescriptor}.
        """
        return _NAMES[self.stream]

    def doRead(self) -> None:
        """
        Read once, and not without end, so that other descriptors have their turn.
        """
        try:
            data = os.read(self._descriptor, self._size)
        except BlockingIOError:
            return
        if not data:
            self.close()
            self._reader.outputEnded()
            return
        size = len(data)
        if size >= _LITTLE and self._size == _PIPE_SIZE:
            self._enlarge()
        self._reader.outputHeard(self.stream, data)
        if size < self._size // 2:
            self._mayRest(size)

    def _mayRest(self, size: int) -> None:
        now = self._reactor.seconds()
        if size < _LITTLE:
            self._calm = max(self._calm, now) + _REST
        if (
            self._calm - now > _FEW * _REST
            and self._reading
            and self._rest is None
            and size * 2 < self._capacity()
        ):
            self._reactor.removeReader(self)
            self._rest = self._reactor.callLater(_REST, self._rested)

    def _capacity(self) -> int:
        # Where a user has many pipes, further ones are smaller (pipe(7)), and who fills
        # one would wait until it has rested.
        if _F_GETPIPE_SZ is not None:
            try:
                return fcntl.fcntl(self._descriptor, _F_GETPIPE_SZ)
            except OSError:
                pass
        return _PIPE_SIZE

    def _rested(self) -> None:
        self._rest = None
        self._reactor.addReader(self)
        # If there is something soon, it rests once more.
        self._calm = self._reactor.seconds() + (_FEW + 1) * _REST

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor found the stream closed and empty, and has removed us.
        """
        if self._rest is None:
            self._reading = False
        if not self.closed:
            self.close()
            self._reader.outputEnded()

    def _enlarge(self) -> None:
        self._size = _MUCH
        if _F_SETPIPE_SZ is not None:
            try:
                fcntl.fcntl(self._descriptor, _F_SETPIPE_SZ, _LARGE_PIPE_SIZE)
            except OSError:  # EPERM: this user's share of pipe memory is used up
                pass


@implementer(IWriteDescriptor)
class InputPipe:
    """
    The input of a process. Nothing is written before C{start}.

    @param descriptor: -1 if the process has no input: what is written then is
        dropped at once.
    @param taken: called with the number of bytes that the process took, or that
        were dropped because it closed its input.
    """

    __slots__ = ("_buffer", "_descriptor", "_ending", "_reactor", "_started", "_taken", "_writing")

    def __init__(
        self, reactor: IReactorFDSet, descriptor: int, taken: Callable[[int], None]
    ) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._taken = taken
        self._buffer = _NOTHING
        self._started = False
        self._writing = False
        self._ending = False

    def attach(self, descriptor: int) -> None:
        """
        The pipe was made.
        """
        self._descriptor = descriptor

    def start(self) -> None:
        """
        Write what there is.
        """
        self._started = True
        self._advance()

    def write(self, data: bytes) -> None:
        """
        Keep bytes for the process until it takes them.
        """
        if data:
            if self._buffer is _NOTHING:
                self._buffer = deque()
            self._buffer.append(memoryview(data))
            self._advance()

    def end(self) -> None:
        """
        Close the input after what was written.
        """
        self._ending = True
        self._advance()

    def close(self) -> int:
        """
        Close the input now.

        @return: how many bytes were dropped.
        """
        dropped = sum(map(len, self._buffer))
        self._buffer.clear()
        if self._writing:
            self._writing = False
            self._reactor.removeWriter(self)
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
        return dropped

    def fileno(self) -> int:
        """
        See C{IWriteDescriptor}.
        """
        return self._descriptor

    def logPrefix(self) -> str:
        """
        See C{IWriteDescriptor}.
        """
        return "stdin"

    def doWrite(self) -> None:
        """
        Write as much as the process has room for.
        """
        try:
            count = os.write(self._descriptor, self._buffer[0])
        except BlockingIOError:
            return
        except OSError:  # EPIPE: nobody will ever read it
            self._drop()
            return
        if count == len(self._buffer[0]):
            self._buffer.popleft()
        else:
            self._buffer[0] = self._buffer[0][count:]
        self._advance()
        self._taken(count)

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor found the input closed, and has removed us.
        """
        self._drop()

    def _drop(self) -> None:
        dropped = self.close()
        if dropped:
            self._taken(dropped)

    def _advance(self) -> None:
        """
        Be with the reactor exactly while there is something to write.
        """
        if not self._started:
            return
        if self._descriptor < 0:
            self._drop()
        elif self._buffer and not self._writing:
            self._writing = True
            self._reactor.addWriter(self)
        elif not self._buffer and self._writing:
            self._writing = False
            self._reactor.removeWriter(self)
        if self._ending and not self._buffer:
            self.close()
