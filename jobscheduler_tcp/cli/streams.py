"""
Our own stdin, stdout and stderr, whatever they are.

They may be pipes, terminals, regular files or devices, shared with other
processes. Non-blocking mode would be switched on for those too, and epoll
refuses regular files; so each stream has a thread that does one blocking call
after another, and the reactor never waits.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer, IReactorFromThreads
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.interfaces import ITaskConfirmation

# What is read at once: a pipe's whole capacity on Linux (pipe(7)).
CHUNK = 65536


class InThread(Protocol):
    """
    Do a blocking call elsewhere.
    """

    def __call__(self, call: Callable[[], Any]) -> Deferred[Any]:
        """
        Fire with its result.
        """


class Hand:
    """
    A thread that does one blocking call after another (L{InThread}). It never
    keeps the process alive.
    """

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._calls: SimpleQueue[tuple[Callable[[], Any], Deferred[Any]]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def __call__(self, call: Callable[[], Any]) -> Deferred[Any]:
        """
        Do C{call}, after those that were asked for before.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        done: Deferred[Any] = Deferred()
        self._calls.put((call, done))
        return done

    def _work(self) -> None:
        while True:
            call, done = self._calls.get()
            try:
                self._reactor.callFromThread(done.callback, call())
            except Exception:
                self._reactor.callFromThread(done.errback, Failure())
            # Nothing large stays referenced while the thread waits.
            del call, done


class Outlet:
    """
    Write to a descriptor, in order.

    @ivar pending: bytes that are not written yet.
    """

    def __init__(
        self,
        descriptor: int,
        inThread: InThread,
        wrote: Callable[[], None],
        failed: Callable[[OSError], None],
    ) -> None:
        self.pending = 0
        self._descriptor = descriptor
        self._inThread = inThread
        self._wrote = wrote
        self._failed = failed
        self._chunks: list[bytes] = []
        self._writing = False
        self._broken = False
        self._waiting: list[Deferred[None]] = []

    def write(self, data: bytes) -> None:
        """
        Write C{data} after what was given before.
        """
        if self._broken:
            return
        self._chunks.append(data)
        self.pending += len(data)
        self._next()

    def flushed(self) -> Deferred[None]:
        """
        Fire when everything is written, or nothing more can be.
        """
        if not self._writing:
            return succeed(None)
        self._waiting.append(waiting := Deferred[None]())
        return waiting

    def _next(self) -> None:
        if self._writing:
            return
        if not self._chunks:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)
            return
        data, self._chunks = b"".join(self._chunks), []
        self._writing = True
        self._inThread(lambda: _writeAll(self._descriptor, data)).addCallbacks(
            self._written, self._stop, callbackArgs=(len(data),)
        )

    def _written(self, ignored: None, size: int) -> None:
        self._writing = False
        self.pending -= size
        self._next()
        self._wrote()

    def _stop(self, failure: Failure) -> None:
        self._broken = True
        self._writing = False
        self._chunks.clear()
        self.pending = 0
        assert isinstance(failure.value, OSError)  # nothing else comes from a write
        self._failed(failure.value)
        self._next()
        self._wrote()


def _writeAll(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            # Somebody else who shares it made it non-blocking.
            _waitFor(descriptor, writing=True)


def _read(descriptor: int) -> bytes:
    while True:
        try:
            return os.read(descriptor, CHUNK)
        except BlockingIOError:
            _waitFor(descriptor, writing=False)
        except OSError as error:
            if error.errno == errno.EIO:
                # A terminal that is gone.
                return b""
            raise


def _waitFor(descriptor: int, *, writing: bool) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT if writing else select.POLLIN)
    poll.poll()


@implementer(IPushProducer)
class Inlet:
    """
    Read a descriptor to its end, as fast as the task takes its input.
    """

    def __init__(
        self, descriptor: int, inThread: InThread, confirmation: ITaskConfirmation
    ) -> None:
        self._descriptor = descriptor
        self._inThread = inThread
        self._confirmation = confirmation
        self._paused = False
        self._reading = False
        self._over = False

    def start(self) -> None:
        """
        Read, unless paused already.
        """
        self._next()

    def resumeProducing(self) -> None:
        """
        The task has room for more.
        """
        self._paused = False
        self._next()

    def pauseProducing(self) -> None:
        """
        The task has none; what is being read now will still come.
        """
        self._paused = True

    def stopProducing(self) -> None:
        """
        The task is over.
        """
        self._over = True

    def _next(self) -> None:
        if self._paused or self._reading or self._over:
            return
        self._reading = True
        self._inThread(lambda: _read(self._descriptor)).addCallbacks(self._heard, self._broken)

    def _heard(self, data: bytes) -> None:
        self._reading = False
        if self._over:
            return
        if data:
            self._confirmation.writeInput(data)
            self._next()
        else:
            self._over = True
            self._confirmation.endInput()

    def _broken(self, failure: Failure) -> None:
        # Such as a directory as stdin: the task reads an empty input.
        failure.trap(OSError)
        self._heard(b"")


def occupyStandardDescriptors() -> None:
    """
    Put C{/dev/null} where 0, 1 or 2 is closed, so that no socket gets the number
    and somebody's output with it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def hasInput(descriptor: int, wanted: bool | None) -> bool:
    """
    Whether there is something to pass on.

    @param wanted: what the command line says; C{None}: unless it is a terminal.
    """
    if wanted is not None:
        return wanted
    found = os.fstat(descriptor)
    if stat.S_ISCHR(found.st_mode) and found.st_rdev == os.stat(os.devnull).st_rdev:
        return False
    return not os.isatty(descriptor)
