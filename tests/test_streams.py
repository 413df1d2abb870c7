"""
L{jobscheduler_tcp.streams} and L{jobscheduler_tcp.endofturn} on a kernel that does as
it is told.
"""

from __future__ import annotations

import os
import socket
import sys
from errno import ECONNRESET, EMSGSIZE, ENOBUFS, ENOSPC, EPIPE
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IPushProducer,
    IReadWriteDescriptor,
    ISystemHandle,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from jobscheduler_tcp.endofturn import endOfTurn
from jobscheduler_tcp.interfaces import IStreamTransport
from jobscheduler_tcp.sockets import promptly
from jobscheduler_tcp.streams import Stream

MUCH = b"x" * 20000
ENOUGH = 64 * 1024
IOV_MAX = os.sysconf("SC_IOV_MAX")


class Reactor(Clock):
    """
    A clock that knows whom it watches.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[object] = []
        self.writers: list[object] = []
        self.refuses = 0

    def addReader(self, reader: object) -> None:
        """
        Watch for something to read.
        """
        if self.refuses:
            raise OSError(self.refuses, "refused")
        self.readers.append(reader)

    def addWriter(self, writer: object) -> None:
        """
        Watch for room.
        """
        self.writers.append(writer)

    def removeReader(self, reader: object) -> None:
        """
        Watch no more.
        """
        self.readers.remove(reader)

    def removeWriter(self, writer: object) -> None:
        """
        Watch no more.
        """
        self.writers.remove(writer)

    def turn(self) -> None:
        """
        Come to the end of a turn. What is put off meanwhile is for the next.
        """
        calls, self.calls = self.calls, []
        for call in calls:
            call.called = 1
            call.func(*call.args, **call.kw)


class Kernel:
    """
    A socket that takes as much as it has room for.

    @ivar error: of whatever is written.
    @ivar arrived: what can be read; an C{OSError} is raised, and an empty one is
        the end.
    @ivar calls: how often something was written.
    """

    def __init__(self) -> None:
        self.room = 10**9
        self.taken = b""
        self.error = 0
        self.arrived: list[bytes | OSError] = []
        self.calls = 0
        self.end: list[object] = []
        self.closed = False

    def send(self, data: bytes) -> int:
        """
        Take what there is room for.
        """
        return self.sendmsg([data])

    def sendmsg(self, pieces: list[bytes]) -> int:
        """
        Take what there is room for.
        """
        self.calls += 1
        if self.error:
            raise OSError(self.error, "no")
        if not self.room:
            raise BlockingIOError
        if len(pieces) > IOV_MAX:
            raise OSError(EMSGSIZE, "too many")
        taken = b"".join(pieces)[: self.room]
        self.room -= len(taken)
        self.taken += taken
        return len(taken)

    def recv(self, size: int) -> bytes:
        """
        Give what has arrived.
        """
        if not self.arrived:
            raise BlockingIOError
        arrived = self.arrived.pop(0)
        if isinstance(arrived, OSError):
            raise arrived
        if len(arrived) > size:
            self.arrived.insert(0, arrived[size:])
        return arrived[:size]

    def shutdown(self, how: int) -> None:
        """
        Say that nothing more comes.
        """
        self.end.append(how)

    def setsockopt(self, *option: object) -> None:
        """
        Remember.
        """
        self.end.append(option[1])

    def close(self) -> None:
        """
        It is over.
        """
        self.closed = True


class Hearing(Protocol):
    """
    A protocol that writes down what it hears.
    """

    def __init__(self) -> None:
        self.heard = b""
        self.reasons: list[type] = []
        self.onHearing: Any = lambda: None

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes.
        """
        self.heard += data
        self.onHearing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The end.
        """
        assert reason.type is not None
        self.reasons.append(reason.type)


class Talking(Hearing):
    """
    The same, with something to do first.
    """

    def __init__(self, first: Any) -> None:
        super().__init__()
        self.first = first

    def connectionMade(self) -> None:
        """
        Do it.
        """
        self.first(self.transport)


@implementer(IPushProducer)
class Producer:
    """
    Counts how it is held back.
    """

    def __init__(self) -> None:
        self.told: list[str] = []
        self.onResume: Any = lambda: None

    def pauseProducing(self) -> None:
        """
        Hold.
        """
        self.told.append("pause")

    def resumeProducing(self) -> None:
        """
        Go on.
        """
        self.told.append("resume")
        self.onResume()

    def stopProducing(self) -> None:
        """
        End.
        """
        self.told.append("stop")


class StreamTestCase(SynchronousTestCase):
    """
    A stream and its protocol.
    """

    def setUp(self) -> None:
        """
        Begin.
        """
        self.begin()

    def begin(self) -> None:
        """
        Make a connection.
        """
        self.reactor = Reactor()
        self.kernel = Kernel()
        self.stream = Stream(
            cast(Any, self.reactor), cast(socket.socket, self.kernel), ("192.0.2.1", 4711)
        )
        self.protocol = Hearing()
        self.stream.begin(self.protocol)
        self.producer = Producer()

    def assertOver(self, reason: type) -> None:
        """
        The protocol was told so once, and nothing is left.
        """
        self.assertEqual(self.protocol.reasons, [reason])
        self.assertTrue(self.kernel.closed)
        self.assertEqual((self.reactor.readers, self.reactor.writers), ([], []))
        self.reactor.turn()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.protocol.reasons, [reason])


class WritingTests(StreamTestCase):
    """
    What is written arrives in its order, in few calls.
    """

    def test_interfaces(self) -> None:
        """
        It is what a reactor would have made.
        """
        for interface in (
            IStreamTransport,
            IReadWriteDescriptor,
            IHalfCloseableDescriptor,
            ISystemHandle,
        ):
            self.assertTrue(verifyObject(interface, self.stream))

    def test_oneTurn(self) -> None:
        """
        The words of one turn are one call at its end, for which the reactor need not
        watch the socket.
        """
        self.stream.write(b"one")
        self.stream.writeSequence([b"two", b"", b"three"])
        self.assertEqual(self.kernel.calls, 0)
        self.reactor.turn()
        self.assertEqual((self.kernel.taken, self.kernel.calls), (b"onetwothree", 1))
        self.assertEqual(self.reactor.writers, [])

    def test_firstWords(self) -> None:
        """
        What the protocol says when it is connected leaves at once.
        """
        stream = Stream(
            cast(Any, self.reactor), cast(socket.socket, self.kernel), ("192.0.2.1", 4711)
        )
        protocol = Hearing()
        self.patch(protocol, "connectionMade", lambda: stream.write(b"hello"))
        stream.begin(protocol)
        self.assertEqual(self.kernel.taken, b"hello")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_firstWordsFail(self) -> None:
        """
        Whatever comes of what it says then, nobody is called before C{begin} returns.
        """
        for what, ends in (
            (lambda stream: stream.write(b"hello"), 1),
            (Stream.abortConnection, 1),
            (Stream.loseConnection, 1),
            (Stream.loseWriteConnection, 0),
        ):
            self.begin()
            self.kernel.error = ECONNRESET
            self.kernel.arrived = [b"last words", b""]
            protocol = Talking(what)
            stream = Stream(
                cast(Any, self.reactor), cast(socket.socket, self.kernel), ("192.0.2.1", 1)
            )
            stream.begin(protocol)
            self.assertEqual((protocol.heard, protocol.reasons), (b"", []))
            self.reactor.turn()
            self.assertEqual(len(protocol.reasons), ends)

    def test_hurry(self) -> None:
        """
        Who is in a hurry does not wait for the end of the turn, and hears nothing from
        inside, even if the connection is broken.
        """
        self.stream.write(b"one")
        self.stream.hurry()
        self.assertEqual(self.kernel.taken, b"one")
        self.kernel.room = 1
        self.stream.write(b"two")
        self.stream.hurry()
        self.stream.write(b"three")
        self.assertEqual(self.kernel.taken, b"onet")
        self.kernel.error = EPIPE
        self.kernel.arrived = [b"last words"]
        self.stream.hurry()
        self.assertEqual((self.protocol.heard, self.protocol.reasons), (b"", []))
        self.reactor.turn()
        self.assertEqual(self.protocol.heard, b"last words")
        self.assertOver(ConnectionLost)
        self.stream.hurry()

    def test_much(self) -> None:
        """
        Much output goes to the kernel at once, and what waited goes before it.
        """
        self.stream.write(b"word")
        self.stream.writeSequence([b"head", MUCH])
        self.assertEqual((self.kernel.taken, self.kernel.calls), (b"wordhead" + MUCH, 1))

        self.reactor.turn()
        self.stream.write(MUCH)
        self.assertEqual((self.kernel.calls, self.reactor.getDelayedCalls()), (2, []))

    def test_promptly(self) -> None:
        """
        What is to be answered before more is said leaves at once, as far as the kernel
        takes it and nothing waits.
        """
        write = promptly(cast(ITCPTransport, self.stream))
        write(b"one")
        self.assertEqual(self.kernel.taken, b"one")
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.kernel.room = 1
        write(b"two")
        write(b"three")
        self.assertEqual(self.kernel.taken, b"onet")
        self.kernel.room = 10**9
        self.reactor.turn()
        self.assertEqual(self.kernel.taken, b"onetwothree")
        self.stream.loseConnection()
        write(b"four")
        self.assertEqual(self.kernel.taken, b"onetwothree")
        self.reactor.turn()
        self.assertEqual(self.kernel.taken, b"onetwothreefour")
        write(b"too late")
        self.assertOver(ConnectionDone)

    def test_part(self) -> None:
        """
        What the kernel does not take waits until it has room. A producer is paused
        meanwhile, if it is much.
        """
        self.stream.registerProducer(self.producer, True)
        for room in (0, 2, 4, 5, 1000):
            self.kernel.room, self.kernel.taken = room, b""
            self.producer.told.clear()
            self.stream.writeSequence([b"head", MUCH])
            self.reactor.turn()
            self.assertEqual(self.reactor.writers, [self.stream])
            self.assertEqual(self.producer.told, [])
            self.stream.writeSequence([b"more", MUCH * 3])
            self.assertEqual(self.producer.told, ["pause"])
            self.kernel.room = 10**9
            self.stream.doWrite()
            self.assertEqual(self.kernel.taken, b"head" + MUCH + b"more" + MUCH * 3)
            self.assertEqual(self.producer.told, ["pause", "resume"])
            self.assertEqual(self.reactor.writers, [])

    def test_manyPieces(self) -> None:
        """
        However many pieces wait, and however much is asked of the kernel in vain, each
        is sent once.
        """
        self.kernel.room = 0
        pieces = [b"%7d" % number for number in range(3 * IOV_MAX)]
        for piece in pieces:
            self.stream.write(piece)
        self.assertEqual(self.kernel.calls, 1)
        self.kernel.room = 10**9
        while self.reactor.writers:
            self.stream.doWrite()
        self.assertEqual(self.kernel.taken, b"".join(pieces))
        self.assertLess(self.kernel.calls, 10)

    def test_noMemory(self) -> None:
        """
        A kernel without memory may have some later.
        """
        self.kernel.error = ENOBUFS
        self.stream.write(b"word")
        self.reactor.turn()
        self.assertEqual(self.reactor.writers, [self.stream])
        self.kernel.error = 0
        self.stream.doWrite()
        self.assertEqual(self.kernel.taken, b"word")

    def test_broken(self) -> None:
        """
        Who cannot send hears what was said before, and then that the connection is
        lost.
        """
        self.kernel.error = EPIPE
        self.kernel.arrived = [b"last ", b"words"]
        self.protocol.onHearing = lambda: self.stream.write(b"answer")
        self.stream.write(b"word")
        self.reactor.turn()
        self.assertEqual(self.protocol.heard, b"last words")
        self.assertOver(ConnectionLost)

    def test_brokenWithMuch(self) -> None:
        """
        Nobody is called while they write.
        """
        self.kernel.error = ECONNRESET
        self.stream.registerProducer(self.producer, True)
        self.stream.write(MUCH)
        self.assertEqual(self.protocol.reasons, [])
        self.reactor.turn()
        self.assertOver(ConnectionLost)
        self.assertEqual(self.producer.told, ["stop"])

    def test_brokenAtTheEnd(self) -> None:
        """
        The same of one that should be closed: nothing more is read then.
        """
        self.kernel.error = EPIPE
        self.kernel.arrived = [b"last words"]
        self.stream.write(b"word")
        self.stream.loseConnection()
        self.reactor.turn()
        self.assertEqual(self.protocol.heard, b"")
        self.assertOver(ConnectionLost)

    def test_pull(self) -> None:
        """
        A pull producer is asked whenever nothing waits.
        """
        self.producer.onResume = lambda: self.stream.write(b"x")
        self.stream.registerProducer(self.producer, False)
        self.assertEqual(self.producer.told, ["resume"])
        self.reactor.turn()
        self.reactor.turn()
        self.assertEqual(self.producer.told, ["resume"] * 3)
        self.stream.unregisterProducer()
        self.reactor.turn()
        self.assertEqual(self.kernel.taken, b"xxx")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_producerFails(self) -> None:
        """
        An exception of a producer is logged, and its connection is closed.
        """
        self.stream.registerProducer(self.producer, False)
        self.producer.onResume = lambda: 1 / 0
        self.stream.write(b"x")
        self.reactor.turn()
        self.assertOver(ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    @settings(deadline=None)
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("write"), st.integers(0, 70_000)),
                st.tuples(st.just("pieces"), st.lists(st.integers(0, 30_000), max_size=20)),
                st.tuples(st.just("room"), st.integers(0, 200_000)),
                st.tuples(st.just("turn"), st.none()),
            )
        )
    )
    def test_anyOrder(self, steps: list[tuple[str, Any]]) -> None:
        """
        Whatever is written, however little the kernel takes: every byte arrives
        once and in its order, a producer is paused while more than enough waits
        and resumed when nothing does, and the end comes after the last byte.
        """
        self.begin()
        self.kernel.room = 0
        self.stream.registerProducer(self.producer, True)
        whole = b""
        for what, how in steps:
            if what == "room":
                self.kernel.room += how
                if self.reactor.writers and self.kernel.room:
                    self.stream.doWrite()
            elif what == "turn":
                self.reactor.turn()
            else:
                sizes = [how] if what == "write" else how
                pieces = [bytes([(len(whole) + size) % 251]) * size for size in sizes]
                whole += b"".join(pieces)
                if what == "write":
                    self.stream.write(pieces[0])
                else:
                    self.stream.writeSequence(pieces)
            waiting = len(whole) - len(self.kernel.taken)
            self.assertEqual(self.kernel.taken, whole[: len(self.kernel.taken)])
            paused = self.producer.told[-1:] == ["pause"]
            if waiting > ENOUGH:
                self.assertTrue(paused)
            if not waiting and not self.reactor.getDelayedCalls():
                self.assertFalse(paused)
        told = list(self.producer.told)
        self.assertEqual(told, (["pause", "resume"] * len(told))[: len(told)])
        self.stream.unregisterProducer()
        self.stream.loseConnection()
        self.reactor.turn()
        if len(self.kernel.taken) < len(whole):
            self.assertEqual(self.protocol.reasons, [])
        self.kernel.room = 10**9
        if self.reactor.writers:
            self.stream.doWrite()
        self.assertEqual(self.kernel.taken, whole)
        self.assertOver(ConnectionDone)


class ReadingTests(StreamTestCase):
    """
    What arrives is heard.
    """

    def test_hear(self) -> None:
        """
        The protocol hears what has arrived; nothing, which may be, is nothing.
        """
        self.stream.doRead()
        self.kernel.arrived = [b"hello"]
        self.stream.doRead()
        self.assertEqual(self.protocol.heard, b"hello")

    def test_more(self) -> None:
        """
        Where much comes, more is read at once.
        """
        self.kernel.arrived = [b"x" * 10**6]
        for size in (64, 256, 256):
            self.protocol.heard = b""
            self.stream.doRead()
            self.assertEqual(len(self.protocol.heard), size * 1024)

    def test_ends(self) -> None:
        """
        The end is told as it is.
        """
        for arrived, reason in ((b"", ConnectionDone), (OSError(ECONNRESET, ""), ConnectionLost)):
            self.begin()
            self.kernel.arrived = [arrived]
            self.stream.doRead()
            self.assertOver(reason)
            self.assertEqual(self.kernel.end, [socket.SHUT_RDWR])

    def test_paused(self) -> None:
        """
        Who is paused hears nothing, whatever the reactor says.
        """
        self.kernel.arrived = [b"hello"]
        self.stream.pauseProducing()
        self.stream.doRead()
        self.assertEqual((self.protocol.heard, self.reactor.readers), (b"", []))
        self.stream.resumeProducing()
        self.stream.resumeProducing()
        self.assertEqual(self.reactor.readers, [self.stream])
        self.stream.doRead()
        self.assertEqual(self.protocol.heard, b"hello")

    def test_otherOnesEnd(self) -> None:
        """
        The reactor takes us out when it hears that the peer is gone. That may have
        been meant for another one, which had the same descriptor.
        """
        self.reactor.removeReader(self.stream)
        self.stream.readConnectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.protocol.reasons, self.reactor.readers), ([], [self.stream]))
        self.reactor.removeReader(self.stream)
        self.kernel.arrived = [b""]
        self.stream.readConnectionLost(Failure(ConnectionDone()))
        self.assertOver(ConnectionDone)

    def test_reactorStops(self) -> None:
        """
        When the reactor stops, or the protocol has failed, it is over.
        """
        self.stream.connectionLost(Failure(ConnectionLost()))
        self.stream.connectionLost(Failure(ConnectionLost()))
        self.assertOver(ConnectionLost)

    def test_hearFails(self) -> None:
        """
        A protocol that fails at its first bytes, or before, loses its connection.
        """
        self.protocol.onHearing = lambda: 1 / 0
        self.kernel.arrived = [b"hello"]
        self.stream.hear()
        self.assertOver(ZeroDivisionError)

        self.kernel = Kernel()
        self.protocol = Hearing()
        self.patch(self.protocol, "connectionMade", lambda: 1 / 0)
        stream = Stream(cast(Any, self.reactor), cast(Any, self.kernel), ("192.0.2.1", 4711))
        stream.begin(self.protocol)
        self.assertOver(ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_cannotBeWatched(self) -> None:
        """
        A socket that the reactor does not take is closed.
        """
        self.reactor.refuses = ENOSPC
        kernel = Kernel()
        stream = Stream(cast(Any, self.reactor), cast(Any, kernel), ("192.0.2.1", 4711))
        self.assertRaises(OSError, stream.begin, Hearing())
        self.assertTrue(kernel.closed)


class EndTests(StreamTestCase):
    """
    How we end it.
    """

    def test_close(self) -> None:
        """
        It is closed after what waits, and nobody is called from inside.
        """
        self.kernel.room = 2
        self.stream.write(b"word")
        self.stream.loseConnection()
        self.stream.write(b"s")
        self.assertEqual(self.reactor.readers, [])
        self.reactor.turn()
        self.assertEqual(self.protocol.reasons, [])
        self.kernel.room = 10
        self.stream.doWrite()
        self.assertEqual(self.kernel.taken, b"words")
        self.assertOver(ConnectionDone)
        self.stream.write(b"too late")
        self.stream.abortConnection()
        self.stream.loseConnection()
        self.stream.registerProducer(self.producer, True)
        self.assertEqual(self.producer.told, ["stop"])
        self.assertOver(ConnectionDone)

    def test_closeWithProducer(self) -> None:
        """
        A producer that is paused is heard first.
        """
        self.stream.registerProducer(self.producer, True)
        self.kernel.room = 0
        self.stream.write(b"x" * (ENOUGH + 1))
        self.stream.loseConnection()
        self.reactor.turn()
        self.kernel.room = 10**9
        self.stream.doWrite()
        self.assertEqual(self.protocol.reasons, [])
        self.stream.unregisterProducer()
        self.reactor.turn()
        self.assertEqual(self.producer.told, ["pause", "resume"])
        self.assertOver(ConnectionDone)

    def test_abort(self) -> None:
        """
        It is reset without what waits, and nobody is called from inside.
        """
        for full in (False, True):
            self.begin()
            self.stream.write(b"word")
            if full:
                self.kernel.room = 0
                self.reactor.turn()
            self.stream.abortConnection()
            self.stream.abortConnection()
            self.stream.write(b"more")
            self.stream.resumeProducing()
            self.assertEqual(self.protocol.reasons, [])
            self.kernel.room = 10
            self.reactor.turn()
            self.assertEqual(self.kernel.end, [socket.SO_LINGER])
            self.assertEqual(self.kernel.taken, b"")
            self.assertOver(ConnectionAborted)

    def test_halfClose(self) -> None:
        """
        The peer is told that nothing more comes after what waits.
        """
        self.stream.write(b"word")
        self.stream.loseWriteConnection()
        self.reactor.turn()
        self.stream.write(b"too late")
        self.stream.loseWriteConnection()
        self.reactor.turn()
        self.assertEqual((self.kernel.taken, self.kernel.end), (b"word", [socket.SHUT_WR]))
        self.assertEqual(self.reactor.readers, [self.stream])


class EndOfTurnTests(StreamTestCase):
    """
    What was put off happens once, in its order.
    """

    def test_wordsOfCalls(self) -> None:
        """
        The words of calls that were put off leave with those that wait already.
        """
        end = endOfTurn(cast(Any, self.reactor))
        self.stream.write(b"one ")
        end.call(cast(Any, self.reactor), lambda: self.stream.write(b"two "))
        end.call(cast(Any, self.reactor), lambda: 1 / 0)
        again = [lambda: self.stream.write(b"three")]
        end.call(cast(Any, self.reactor), lambda: end.call(cast(Any, self.reactor), again.pop()))
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.reactor.turn()
        self.assertEqual((self.kernel.taken, self.kernel.calls), (b"one two three", 1))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_next(self) -> None:
        """
        What is written by who was told so at the end of a turn leaves at the end of
        the next.
        """
        self.stream.registerProducer(self.producer, False)
        self.producer.onResume = lambda: self.stream.write(b"next")
        self.stream.write(b"now, ")
        self.reactor.turn()
        self.assertEqual(self.kernel.taken, b"now, ")
        self.reactor.turn()
        self.assertEqual(self.kernel.taken, b"now, next")

    def test_forgotten(self) -> None:
        """
        A reactor that was stopped may go on without what was put off; then it is done
        at the end of a later turn.
        """
        self.stream.write(b"one")
        [call] = self.reactor.getDelayedCalls()
        call.cancel()
        called: list[bool] = []
        end = endOfTurn(cast(Any, self.reactor))
        end.call(cast(Any, self.reactor), lambda: called.append(True))
        self.reactor.turn()
        self.assertEqual((self.kernel.taken, called), (b"one", [True]))

    def test_lastWords(self) -> None:
        """
        A protocol that fails when it hears of its end does not keep others from
        sending.
        """
        self.patch(self.protocol, "connectionLost", lambda reason: 1 / 0)
        kernel = Kernel()
        other = Stream(cast(Any, self.reactor), cast(Any, kernel), ("192.0.2.1", 4712))
        other.begin(Hearing())
        self.kernel.error = EPIPE
        self.kernel.arrived = [b"hello"]
        self.protocol.onHearing = lambda: 1 / 0
        self.stream.write(b"one")
        other.write(b"two")
        self.reactor.turn()
        self.assertEqual(kernel.taken, b"two")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_exit(self) -> None:
        """
        Who wants to end the program, which no reactor lets it do, keeps others neither
        from being called nor from sending.
        """
        kernel = Kernel()
        other = Stream(cast(Any, self.reactor), cast(Any, kernel), ("192.0.2.1", 4712))
        other.begin(Hearing())
        self.stream.registerProducer(self.producer, False)
        self.producer.onResume = sys.exit
        self.stream.write(b"one")
        end = endOfTurn(cast(Any, self.reactor))
        end.call(cast(Any, self.reactor), sys.exit)
        end.call(cast(Any, self.reactor), lambda: other.write(b"two"))
        self.reactor.turn()
        self.assertEqual((self.kernel.taken, kernel.taken), (b"one", b"two"))
        self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 2)

    def test_each(self) -> None:
        """
        Each reactor has its own.
        """
        mine = endOfTurn(cast(Any, self.reactor))
        self.assertIs(endOfTurn(cast(Any, self.reactor)), mine)
        self.assertIsNot(endOfTurn(cast(Any, Reactor())), mine)
