"""
The streams of the command line: what a job prints is written, what it reads is
read, and neither side is overrun.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from jobscheduler_tcp.cli.session import HIGH, Session, statusOfBroken
from jobscheduler_tcp.cli.streams import CHUNK, Hand, Inlet, Outlet, hasInput
from jobscheduler_tcp.errors import ConnectionClosed
from jobscheduler_tcp.interfaces import IConfirmationReceiver, ITaskConfirmation
from jobscheduler_tcp.messages import Stream, TaskAttached, TaskEnded, TaskStarted
from jobscheduler_tcp.outcome import Reason

TASK = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f10"


class SlowHand:
    """
    An L{InThread} that does a call when the test says so.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def __call__(self, call: Callable[[], Any]) -> Deferred[Any]:
        """
        Keep it for later.
        """
        done: Deferred[Any] = Deferred()
        self.calls.append((call, done))
        return done

    def work(self) -> None:
        """
        Do everything, also what comes of it.
        """
        while self.calls:
            call, done = self.calls.pop(0)
            try:
                result = call()
            except OSError:
                done.errback(Failure())
            else:
                done.callback(result)


@implementer(ITaskConfirmation)
class Confirmation:
    """
    Remember what the session wants of the remote.
    """

    def __init__(self) -> None:
        self.said: list[str] = []
        self.input = b""
        self.inlet: Inlet | None = None

    def pauseProducing(self) -> None:
        """
        No more output.
        """
        self.said.append("pause")

    def resumeProducing(self) -> None:
        """
        More output.
        """
        self.said.append("resume")

    def stopProducing(self) -> None:
        """
        Nothing at all.
        """
        self.said.append("stop")

    def kept(self, stdout: int, stderr: int) -> None:
        """
        Nobody asks for that.
        """

    def writeInput(self, data: bytes) -> None:
        """
        Keep it.
        """
        self.input += data

    def endInput(self) -> None:
        """
        That was all.
        """
        self.said.append("end")

    def registerInputProducer(self, producer: object) -> None:
        """
        Keep it.
        """
        assert isinstance(producer, Inlet)
        self.inlet = producer


class PipeTestCase(SynchronousTestCase):
    """
    With a pipe of the test's own.
    """

    def setUp(self) -> None:
        """
        Make the pipe.
        """
        self.reading, self.writing = os.pipe()
        self.open = {self.reading, self.writing}

        def closeAll() -> None:
            for each in list(self.open):
                self.close(each)

        self.addCleanup(closeAll)

    def close(self, descriptor: int) -> None:
        """
        Close one end.
        """
        self.open.discard(descriptor)
        os.close(descriptor)


class OutletTests(PipeTestCase):
    """
    Writing to a descriptor.
    """

    def setUp(self) -> None:
        """
        Put its use on one end of the pipe.
        """
        super().setUp()
        self.hand = SlowHand()
        self.wrote = 0
        self.errors: list[OSError] = []
        self.outlet = Outlet(self.writing, self.hand, self.count, self.errors.append)

    def count(self) -> None:
        """
        Something was written.
        """
        self.wrote += 1

    def test_order(self) -> None:
        """
        Everything is written in order; what came meanwhile goes in one piece.
        """
        for data in (b"one ", b"two ", b"three"):
            self.outlet.write(data)
        self.assertEqual((len(self.hand.calls), self.outlet.pending), (1, 13))
        self.hand.work()
        self.assertEqual(os.read(self.reading, 100), b"one two three")
        self.assertEqual((self.outlet.pending, self.wrote), (0, 2))

    def test_flushed(self) -> None:
        """
        C{flushed} fires when all is written, at once where there is nothing.
        """
        self.successResultOf(self.outlet.flushed())
        self.outlet.write(b"one")
        self.outlet.write(b"two")
        flushed = self.outlet.flushed()
        self.assertNoResult(flushed)
        self.hand.work()
        self.successResultOf(flushed)
        self.assertEqual(os.read(self.reading, 100), b"onetwo")

    def test_nobodyReads(self) -> None:
        """
        A broken pipe is told once; what follows is dropped, and nobody waits
        for it.
        """
        self.close(self.reading)
        self.outlet.write(b"one")
        self.outlet.write(b"two")
        flushed = self.outlet.flushed()
        self.hand.work()
        self.assertEqual([error.errno for error in self.errors], [errno.EPIPE])
        self.successResultOf(flushed)
        self.outlet.write(b"three")
        self.assertEqual((self.outlet.pending, self.hand.calls), (0, []))


class InletTests(PipeTestCase):
    """
    Reading a descriptor for a task.
    """

    def setUp(self) -> None:
        """
        Put its use on one end of the pipe.
        """
        super().setUp()
        self.hand = SlowHand()
        self.confirmation = Confirmation()
        self.inlet = Inlet(self.reading, self.hand, self.confirmation)

    def test_toTheEnd(self) -> None:
        """
        All bytes go to the task, then its input ends.
        """
        verifyObject(IPushProducer, self.inlet)
        os.write(self.writing, b"x" * (CHUNK // 2) + b"end")
        self.close(self.writing)
        self.inlet.start()
        self.hand.work()
        self.assertEqual(self.confirmation.input, b"x" * (CHUNK // 2) + b"end")
        self.assertEqual(self.confirmation.said, ["end"])
        self.inlet.resumeProducing()
        self.assertEqual(self.hand.calls, [])

    def test_paused(self) -> None:
        """
        Nothing is read while the task has no room.
        """
        self.inlet.pauseProducing()
        self.inlet.start()
        self.assertEqual(self.hand.calls, [])
        self.inlet.resumeProducing()
        self.inlet.resumeProducing()
        self.assertEqual(len(self.hand.calls), 1)
        self.inlet.pauseProducing()
        os.write(self.writing, b"x")
        self.hand.work()
        self.assertEqual(self.confirmation.input, b"x")

    def test_stopped(self) -> None:
        """
        What is read after the end of the task goes nowhere.
        """
        self.inlet.start()
        self.inlet.stopProducing()
        self.close(self.writing)
        self.hand.work()
        self.assertEqual((self.confirmation.input, self.confirmation.said), (b"", []))

    def test_unreadable(self) -> None:
        """
        A stdin that cannot be read is an empty one.
        """
        directory = os.open(os.curdir, os.O_RDONLY)
        self.open.add(directory)
        Inlet(directory, self.hand, self.confirmation).start()
        self.hand.work()
        self.assertEqual((self.confirmation.input, self.confirmation.said), (b"", ["end"]))

    def test_hasInput(self) -> None:
        """
        A pipe or a file is passed on, /dev/null is not, unless the command line
        says it.
        """
        null = os.open(os.devnull, os.O_RDONLY)
        terminal, other = os.openpty()
        self.open |= {null, terminal, other}
        for descriptor, said, passed in (
            (self.reading, None, True),
            (self.reading, False, False),
            (null, None, False),
            (null, True, True),
            (other, None, False),
            (other, True, True),
        ):
            self.assertIs(hasInput(descriptor, said), passed)


class SessionTests(SynchronousTestCase):
    """
    One job between the confirmation connection and our streams.
    """

    def setUp(self) -> None:
        """
        Begin before the confirmation connection.
        """
        self.hands = (SlowHand(), SlowHand(), SlowHand())
        self.broken: list[tuple[Stream, OSError]] = []
        self.session = Session(self.hands, lambda *what: self.broken.append(what), hasInput=True)
        self.confirmation = Confirmation()

    def attach(self) -> None:
        """
        The remote has proved itself.
        """
        self.session.taskAttached(self.confirmation, TaskAttached(TASK))
        self.session.taskStarted(TaskStarted(1, 0, 0))

    def written(self, stream: Stream) -> None:
        """
        Our reader takes everything of one stream.
        """
        hand = self.hands[stream]
        while hand.calls:
            hand.calls.pop(0)[1].callback(None)

    def test_interface(self) -> None:
        """
        It provides what a confirmation connection expects.
        """
        verifyObject(IConfirmationReceiver, self.session)
        verifyObject(ITaskConfirmation, self.confirmation)

    def test_heldBack(self) -> None:
        """
        A reader that does not read stops the task; when it reads on, so does
        the task.
        """
        self.attach()
        self.session.outputReceived(Stream.STDOUT, b"x" * HIGH)
        self.assertEqual(self.confirmation.said, [])
        self.session.outputReceived(Stream.STDERR, b"x")
        self.session.outputReceived(Stream.STDERR, b"x")
        self.assertEqual(self.confirmation.said, ["pause"])
        self.written(Stream.STDERR)
        self.assertEqual(self.confirmation.said, ["pause"])
        self.written(Stream.STDOUT)
        self.assertEqual(self.confirmation.said, ["pause", "resume"])

    def test_endIsAcknowledgedWhenWritten(self) -> None:
        """
        The end waits until our readers have every byte of both streams.
        """
        self.attach()
        self.session.outputReceived(Stream.STDOUT, b"out")
        self.session.outputReceived(Stream.STDERR, b"err")
        ended = self.session.taskEnded(TaskEnded(Reason.EXITED, exitCode=0))
        self.written(Stream.STDERR)
        self.assertNoResult(ended)
        self.written(Stream.STDOUT)
        self.successResultOf(ended)
        self.assertEqual(self.confirmation.said, [])

    def test_nobodyReads(self) -> None:
        """
        A broken stream is told with its error, and holds nobody back any more.
        """
        self.attach()
        self.session.outputReceived(Stream.STDOUT, b"x" * (HIGH + 1))
        error = BrokenPipeError(errno.EPIPE, "Broken pipe")
        self.hands[1].calls.pop()[1].errback(error)
        self.assertEqual(self.broken, [(Stream.STDOUT, error)])
        self.assertEqual(self.confirmation.said, ["pause", "resume"])
        self.assertEqual(statusOfBroken(error), 141)
        self.assertEqual(statusOfBroken(OSError(errno.ENOSPC, "No space")), 74)

    def test_input(self) -> None:
        """
        Stdin is read once the task is there, and no more when it is over.
        """
        self.assertEqual(self.hands[0].calls, [])
        self.attach()
        self.assertEqual(len(self.hands[0].calls), 1)
        self.hands[0].calls.pop()[1].callback(b"hello")
        self.assertEqual(self.confirmation.input, b"hello")
        self.session.confirmationLost(Failure(ConnectionClosed()))
        self.hands[0].calls.pop()[1].callback(b"late")
        self.assertEqual((self.confirmation.input, self.hands[0].calls), (b"hello", []))

    def test_noInput(self) -> None:
        """
        Without input nothing is read.
        """
        session = Session(self.hands, lambda *what: None, hasInput=False)
        session.taskAttached(self.confirmation, TaskAttached(TASK))
        self.assertEqual((self.hands[0].calls, self.confirmation.inlet), ([], None))

    def test_ourOwnLine(self) -> None:
        """
        A line of our own comes after the task's output on stderr, also one that
        cannot be encoded.
        """
        self.session.say("jsremote: \udcff")
        self.assertEqual(len(self.hands[2].calls), 1)
        flushed = self.session.flushed()
        self.written(Stream.STDERR)
        self.successResultOf(flushed)

    def test_lastWords(self) -> None:
        """
        When the program ends nothing is begun to be written any more: the
        thread that it takes would not start, and be waited for.
        """
        self.session.close()
        self.session.say("jsremote: late")
        self.assertEqual(self.hands[2].calls, [])


class Threads:
    """
    The part of a reactor that threads know, driven by the test.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def callFromThread(self, function: Callable[..., None], *arguments: object) -> None:
        """
        Keep it for the test's own thread.
        """
        self._calls.put(lambda: function(*arguments))

    def turn(self) -> None:
        """
        Do what one thread asked for.
        """
        self._calls.get(timeout=60)()


class HandTests(PipeTestCase):
    """
    The thread behind a stream.
    """

    def setUp(self) -> None:
        """
        No reactor is needed.
        """
        super().setUp()
        self.reactor = Threads()
        self.hand = Hand(self.reactor)  # type: ignore[arg-type]  # only the part that is used

    def test_oneAfterAnother(self) -> None:
        """
        Calls are done in order; results and errors come back through the
        reactor.
        """

        def fail() -> None:
            raise OSError(errno.EIO, "broken")

        first, second = self.hand(lambda: "first"), self.hand(fail)
        self.reactor.turn()
        self.assertEqual(self.successResultOf(first), "first")
        self.assertNoResult(second)
        self.reactor.turn()
        self.failureResultOf(second, OSError)

    def test_nonBlocking(self) -> None:
        """
        A pipe that somebody made non-blocking is waited for, in either
        direction.
        """
        for end in (self.reading, self.writing):
            os.set_blocking(end, False)
        confirmation = Confirmation()
        inlet = Inlet(self.reading, self.hand, confirmation)
        inlet.start()
        data = os.urandom(5 * CHUNK)
        writer = Hand(self.reactor)  # type: ignore[arg-type]
        outlet = Outlet(self.writing, writer, lambda: None, self.fail)
        outlet.write(data)
        while len(confirmation.input) < len(data) or outlet.pending:
            self.reactor.turn()
        self.assertEqual(confirmation.input, data)
        inlet.stopProducing()
        os.write(self.writing, b"last")
        self.reactor.turn()
