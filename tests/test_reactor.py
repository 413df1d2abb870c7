"""
Tests for L{jobscheduler_tcp.reactor}.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import cast

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from jobscheduler_tcp.endofturn import endOfTurn

try:
    from jobscheduler_tcp.reactor import ServiceReactor
except ImportError:  # no epoll
    ServiceReactor = None  # type: ignore[assignment,misc]

# What a process of its own does to tell which reactor it got.
_CHOOSE = """
import sys
{before}
from jobscheduler_tcp.tap import chooseReactor
assert 'twisted.internet.reactor' not in sys.modules or {installed}
chooseReactor()
from twisted.internet import reactor
print(type(reactor).__name__)
"""


@implementer(IReadDescriptor, IWriteDescriptor)
class Pipe:
    """
    Both ends of a pipe.

    @ivar told: what the reactor said.
    """

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.watched = self.reading
        self.told: list[str] = []
        self.onRead: Callable[[], object] = lambda: os.read(self.reading, 100)
        self.onLost: Callable[[], object] = list

    def close(self) -> None:
        """
        Close both.
        """
        os.close(self.reading)
        self.closeWriting()

    def closeWriting(self) -> None:
        """
        Close one.
        """
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    def fileno(self) -> int:
        """
        See C{IFileDescriptor}.
        """
        return self.watched

    def logPrefix(self) -> str:
        """
        See C{ILoggingContext}.
        """
        return "pipe"

    def doRead(self) -> None:
        """
        See C{IReadDescriptor}.
        """
        self.told.append("read")
        self.onRead()

    def doWrite(self) -> None:
        """
        See C{IWriteDescriptor}.
        """
        self.told.append("write")

    def connectionLost(self, reason: Failure) -> None:
        """
        See C{IFileDescriptor}.
        """
        self.told.append(cast(type, reason.type).__name__)
        self.onLost()


class ServiceReactorTests(SynchronousTestCase):
    """
    It tells what Twisted's would tell.
    """

    if ServiceReactor is None:
        skip = "there is no epoll(7) here"

    def setUp(self) -> None:
        """
        Have one that does not run.
        """
        self.reactor = ServiceReactor()
        self.addCleanup(self._forget)
        self.pipe = self.newPipe()

    def _forget(self) -> None:
        self.reactor._poller.close()
        for waker in self.reactor._internalReaders:
            waker.connectionLost(Failure(ConnectionDone()))

    def newPipe(self) -> Pipe:
        """
        One that is closed in the end.
        """
        pipe = Pipe()
        self.addCleanup(pipe.close)
        self.addCleanup(self.reactor.removeReader, pipe)
        self.addCleanup(self.reactor.removeWriter, pipe)
        return pipe

    def test_read(self) -> None:
        """
        Who is watched hears that there is something to read, as long as it is
        watched.
        """
        self.reactor.addReader(self.pipe)
        self.reactor.doIteration(0)
        self.assertEqual(self.pipe.told, [])
        os.write(self.pipe.writing, b"words")
        self.reactor.doIteration(None)
        self.assertEqual(self.pipe.told, ["read"])
        os.write(self.pipe.writing, b"words")
        self.reactor.removeReader(self.pipe)
        self.reactor.doIteration(0)
        self.assertEqual(self.pipe.told, ["read"])

    def test_write(self) -> None:
        """
        So does who waits for room.
        """
        self.pipe.watched = self.pipe.writing
        self.reactor.addWriter(self.pipe)
        self.reactor.doIteration(60)
        self.assertEqual(self.pipe.told, ["write"])

    def test_closed(self) -> None:
        """
        Who is watched hears that nothing more can come, and is removed.
        """
        self.reactor.addReader(self.pipe)
        self.pipe.closeWriting()
        self.reactor.doIteration(60)
        self.reactor.doIteration(0)
        self.assertEqual(self.pipe.told, ["ConnectionDone"])
        self.assertEqual(self.reactor.getReaders(), [self.reactor.waker])

    def test_removedByAnother(self) -> None:
        """
        Who was removed by one that heard before it is not told.
        """
        pipes = [self.pipe, self.newPipe()]
        for pipe in pipes:
            pipe.onRead = lambda: [self.reactor.removeReader(each) for each in pipes]
            self.reactor.addReader(pipe)
            os.write(pipe.writing, b"words")
        self.reactor.doIteration(60)
        self.assertEqual(sorted(pipe.told for pipe in pipes), [[], ["read"]])

    def test_failed(self) -> None:
        """
        Who fails is logged and removed, and the others hear.
        """
        other = self.newPipe()
        self.pipe.onRead = lambda: 1 / 0
        for pipe in (self.pipe, other):
            self.reactor.addReader(pipe)
            os.write(pipe.writing, b"words")
        self.reactor.doIteration(60)
        self.assertEqual(self.pipe.told, ["read", "ZeroDivisionError"])
        self.assertEqual(other.told, ["read"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertNotIn(self.pipe, self.reactor.getReaders())

    def test_failedAtItsEnd(self) -> None:
        """
        So do they when it fails once more as it is told that it is lost.
        """
        pipes = [self.pipe, self.newPipe()]
        for pipe in pipes:
            pipe.onRead = lambda: 1 / 0
            pipe.onLost = iter(()).__next__
            self.reactor.addReader(pipe)
            os.write(pipe.writing, b"words")
        self.reactor.doIteration(60)
        self.assertEqual([pipe.told for pipe in pipes], [["read", "ZeroDivisionError"]] * 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual(len(self.flushLoggedErrors(StopIteration)), 2)

    def test_endOfTurn(self) -> None:
        """
        What is put off is done when all have heard, without another turn.
        """
        pipes = [self.pipe, self.newPipe()]
        told: list[str] = []
        end = endOfTurn(self.reactor)

        def heard() -> None:
            told.append("read")
            end.call(self.reactor, lambda: told.append("end"))

        for pipe in pipes:
            pipe.onRead = heard
            self.reactor.addReader(pipe)
            os.write(pipe.writing, b"words")
        self.reactor.doIteration(60)
        self.assertEqual(told, ["read", "read", "end", "end"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_endOfTimedCalls(self) -> None:
        """
        What is put off by a call whose time had come does not wait for an event.
        """
        told: list[str] = []
        end = endOfTurn(self.reactor)
        end.call(self.reactor, lambda: told.append("end"))
        self.reactor.doIteration(60)
        self.assertEqual(told, ["end"])

    def test_again(self) -> None:
        """
        What is put off at the end of a turn is done at the end of the next one, which
        comes without an event.
        """
        told: list[str] = []
        again = [lambda: told.append("again")]
        self.reactor.callAtEndOfTurn(lambda: self.reactor.callAtEndOfTurn(again.pop()))
        self.reactor.doIteration(0)
        self.reactor.doIteration(0)
        self.assertEqual(told, ["again"])

    def test_stop(self) -> None:
        """
        What was put off when the reactor is told to stop is done before anything stops,
        so that words of the same turn leave.
        """
        told: list[str] = []
        self.reactor.addSystemEventTrigger("before", "shutdown", told.append, "stop")
        self.reactor.callWhenRunning(self.reactor.callFromThread, self.reactor.stop)
        end = endOfTurn(self.reactor)
        self.reactor.callWhenRunning(end.call, self.reactor, lambda: told.append("end"))
        self.reactor.run(installSignalHandlers=False)
        self.assertEqual(told, ["end", "stop"])

    def test_choice(self) -> None:
        """
        The services have it, unless somebody has chosen another one.
        """
        other = "from twisted.internet.selectreactor import install; install()"
        for before, name in (("", "ServiceReactor"), (other, "SelectReactor")):
            code = _CHOOSE.format(before=before, installed=bool(before))
            command = [sys.executable, "-W", "ignore", "-c", code]
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
            self.assertEqual((ran.stdout.strip(), ran.stderr), (name, ""))
