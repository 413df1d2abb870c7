"""
L{jobscheduler_tcp.remote.confirmation}: dial back, prove, confirm one task.
"""

from __future__ import annotations

import errno
import socket
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import (
    ConnectBindError,
    ConnectError,
    ConnectionDone,
    ConnectionLost,
    NoRouteError,
    TCPTimedOutError,
    TimeoutError,
)
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from jobscheduler_tcp import streams
from jobscheduler_tcp.books import INPUT_WINDOW
from jobscheduler_tcp.heartbeat import INTERVAL, SILENCE, Heart
from jobscheduler_tcp.interfaces import IConfirmedTask, IStreamReactor
from jobscheduler_tcp.messages import (
    CallerProof,
    Challenge,
    EndAcknowledged,
    Heartbeat,
    InputEnded,
    InputTaken,
    Stream,
    TaskAttached,
    TaskEnded,
    TaskStarted,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.proof import selector
from jobscheduler_tcp.remote.caller import CONNECT_TIMEOUT, MAX_WINDOW, PROOF_TIMEOUT
from jobscheduler_tcp.remote.confirmation import ConfirmationFactory, ConfirmationProtocol
from jobscheduler_tcp.testing import End, MemoryNetwork
from jobscheduler_tcp.wire.extended import MAX_DATA
from tests.listener import TASK, TOKEN, ListenerPort
from tests.test_streams import Kernel, Reactor

CLIENT = "10.0.0.1"
REMOTE = "10.0.0.2"
PORT = 59999

STARTED = TaskStarted(4711, 1795361629.5, 12.5)
ENDED = TaskEnded(Reason.EXITED, 0)


@implementer(IConfirmedTask)
class Confirmed:
    """
    A task that writes down what it is told.
    """

    def __init__(self) -> None:
        self.events: list[object] = []
        self.input = b""
        self.acknowledged = 0, 0

    def opens(self) -> TaskAttached:
        """
        See L{IConfirmedTask}.
        """
        return TaskAttached(TASK, window=INPUT_WINDOW)

    def callbackTaken(self) -> None:
        """
        See L{IConfirmedTask}.
        """
        self.events.append("taken")

    def callbackFailed(self, reason: Reason, text: str, errno: int) -> None:
        """
        See L{IConfirmedTask}.
        """
        self.events.append((reason, errno))
        self.text = text

    def callbackLost(self) -> None:
        """
        See L{IConfirmedTask}.
        """
        self.events.append("lost")

    def outputAcknowledged(self, stdout: int, stderr: int) -> None:
        """
        See L{IConfirmedTask}.
        """
        self.acknowledged = stdout, stderr

    def inputReceived(self, data: bytes) -> None:
        """
        See L{IConfirmedTask}.
        """
        self.input += data

    def inputEnded(self) -> None:
        """
        See L{IConfirmedTask}.
        """
        self.events.append("input ended")

    def endAcknowledged(self) -> None:
        """
        See L{IConfirmedTask}.
        """
        self.events.append("acknowledged")

    def pauseProducing(self) -> None:
        """
        See L{IConfirmedTask}.
        """
        self.events.append("pause")

    def resumeProducing(self) -> None:
        """
        See L{IConfirmedTask}.
        """
        self.events.append("resume")


class ConfirmationTestCase(SynchronousTestCase):
    """
    A remote that dials a client.
    """

    def setUp(self) -> None:
        """
        Nobody listens yet.
        """
        self.begin()

    def begin(self) -> None:
        """
        Begin with a new network.
        """
        self.network = MemoryNetwork()
        self.clock = self.network.clock
        self.client = self.network.host(CLIENT)
        self.remote = self.network.host(REMOTE)
        self.task = Confirmed()
        self.factory = ConfirmationFactory(TASK, TOKEN, self.task, self.clock)

    def dial(self) -> None:
        """
        Dial, and wait until nothing is on its way.
        """
        self.factory.dial(self.remote, CLIENT, PORT)
        self.network.flush()

    def connect(self, **how: object) -> ConfirmationProtocol:
        """
        A connection that a client has taken.
        """
        self.port = ListenerPort(self.client, PORT, **how)  # type: ignore[arg-type]  # as there
        self.dial()
        self.listener = self.port.caller
        self.assertEqual(self.task.events.pop(0), "taken")
        assert self.factory.connection is not None
        return self.factory.connection

    def assertNothingLeft(self) -> None:
        """
        No timer waits, no connection is open.
        """
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])


class DialTests(ConfirmationTestCase):
    def test_taken(self) -> None:
        """
        A listener that proves itself is shown our proof and which task it is;
        before that it hears a nonce and a selector, and the token never travels.
        """
        self.port = ListenerPort(self.client, PORT, proves=False)
        self.dial()
        listener = self.port.caller
        [challenge] = listener.messages
        assert isinstance(challenge, Challenge)
        self.assertEqual(challenge.selector, selector(TOKEN))
        self.assertEqual(self.task.events, [])
        self.assertNotIn(TASK.encode(), listener.heard)

        listener.prove(challenge)
        self.network.flush()
        self.assertEqual(self.task.events, ["taken"])
        self.assertIsInstance(listener.messages[1], CallerProof)
        self.assertEqual(listener.messages[2], TaskAttached(TASK, 0, 0, INPUT_WINDOW))
        self.assertNotIn(TOKEN, listener.heard)

    def test_refused(self) -> None:
        """
        Nobody listens: C{callback-refused}, with the address and the errno.
        """
        self.dial()
        self.assertEqual(self.task.events, [(Reason.CALLBACK_REFUSED, errno.ECONNREFUSED)])
        self.assertEqual(self.task.text, "10.0.0.1:59999: Connection refused")
        self.assertNothingLeft()

    def test_filtered(self) -> None:
        """
        Silence: C{callback-filtered} after ten seconds.
        """
        self.client.filter(PORT)
        self.dial()
        self.network.advance(CONNECT_TIMEOUT - 0.1)
        self.assertEqual(self.task.events, [])
        self.network.advance(0.1)
        self.assertEqual(self.task.events, [(Reason.CALLBACK_FILTERED, errno.ETIMEDOUT)])
        self.assertNothingLeft()

    def test_errors(self) -> None:
        """
        What prevents a connection on the way is C{callback-filtered}, what we
        lack ourselves is C{rejected-capacity}.
        """
        for error, expected in (
            (NoRouteError(errno.ENETUNREACH), (Reason.CALLBACK_FILTERED, errno.ENETUNREACH)),
            (ConnectError(errno.EHOSTUNREACH), (Reason.CALLBACK_FILTERED, errno.EHOSTUNREACH)),
            (ConnectError(errno.EACCES), (Reason.CALLBACK_FILTERED, errno.EACCES)),
            (TCPTimedOutError(errno.ETIMEDOUT), (Reason.CALLBACK_FILTERED, errno.ETIMEDOUT)),
            (TimeoutError(), (Reason.CALLBACK_FILTERED, errno.ETIMEDOUT)),
            (ConnectError(string="lost"), (Reason.CALLBACK_FILTERED, errno.EHOSTUNREACH)),
            (OSError(), (Reason.CALLBACK_FILTERED, errno.ETIMEDOUT)),
            (ConnectBindError(errno.EMFILE), (Reason.REJECTED_CAPACITY, errno.EMFILE)),
            (ConnectError(errno.EADDRNOTAVAIL), (Reason.REJECTED_CAPACITY, errno.EADDRNOTAVAIL)),
        ):
            self.begin()
            self.client.filter(PORT)
            connector = self.remote.connectTCP(CLIENT, PORT, self.factory)
            self.factory.clientConnectionFailed(connector, Failure(error))
            self.assertEqual(self.task.events, [expected])

    def test_silentListener(self) -> None:
        """
        A listener that takes the connection and says nothing is the wrong one,
        after five seconds.
        """
        ListenerPort(self.client, PORT, proves=False)
        self.dial()
        self.network.advance(PROOF_TIMEOUT - 0.1)
        self.assertEqual(self.task.events, [])
        self.network.advance(0.2)
        self.assertEqual(self.task.events, [(Reason.CALLBACK_WRONG_LISTENER, 0)])
        self.assertNothingLeft()

    def test_wrongProof(self) -> None:
        """
        A listener with another token is the wrong one at once, and learns
        nothing of the task.
        """
        for token, task in ((bytes(16), TASK), (TOKEN, TASK.replace("4", "5"))):
            self.begin()
            port = ListenerPort(self.client, PORT, token=token, task=task)
            self.dial()
            self.assertEqual(self.task.events, [(Reason.CALLBACK_WRONG_LISTENER, 0)])
            self.assertEqual(len(port.caller.messages), 1)
            assert port.caller.lost is not None
            port.caller.lost.trap(ConnectionLost)
            self.assertNothingLeft()

    def test_stranger(self) -> None:
        """
        A listener that speaks another language is the wrong one at once; so is
        one that closes.
        """
        for said in (b"SSH-2.0-OpenSSH_9.6\r\n", b"\xff\xff\xff\xff", b"\0\0\0\x05h\0\0\0\0", b""):
            self.begin()
            port = ListenerPort(self.client, PORT, proves=False)
            self.dial()
            port.caller.transport.write(said)
            port.caller.transport.loseConnection()
            self.network.flush()
            self.assertEqual(self.task.events, [(Reason.CALLBACK_WRONG_LISTENER, 0)])
            self.assertNothingLeft()

    def test_replayedProof(self) -> None:
        """
        The proof of another connection is worth nothing.
        """
        port = ListenerPort(self.client, PORT)
        self.dial()
        connection = self.network.connections[0]
        replayed = connection.data[End.SERVER]
        self.assertIn(b"L\0\0\0\0", replayed)
        port.proves = False
        self.task = Confirmed()
        self.factory = ConfirmationFactory(TASK, TOKEN, self.task, self.clock)
        self.dial()
        port.callers[1].transport.write(replayed)
        self.network.flush()
        self.assertEqual(self.task.events, [(Reason.CALLBACK_WRONG_LISTENER, 0)])

    def test_abort(self) -> None:
        """
        Who does not want it any more can give it up at each stage.
        """
        self.client.filter(PORT)
        self.dial()
        self.factory.abort()
        self.assertEqual(len(self.task.events), 1)
        self.assertNothingLeft()
        self.factory.abort()

        self.begin()
        port = ListenerPort(self.client, PORT, proves=False)
        self.dial()
        self.factory.abort()
        self.network.flush()
        self.assertIsNotNone(port.caller.lost)
        self.assertEqual(self.task.events, [(Reason.CALLBACK_WRONG_LISTENER, 0)])
        self.assertNothingLeft()

        self.begin()
        self.connect()
        self.factory.abort()
        self.factory.abort()
        self.network.flush()
        self.assertEqual(self.task.events, ["lost"])
        self.assertNothingLeft()


class ConversationTests(ConfirmationTestCase):
    def test_life(self) -> None:
        """
        Start, output of both streams, end; the client acknowledges, and the
        remote closes first.
        """
        connection = self.connect()
        connection.taskStarted(STARTED)
        connection.output(Stream.STDOUT, b"hello")
        connection.output(Stream.STDERR, b"oops")
        connection.output(Stream.STDOUT, b" world")
        connection.output(Stream.STDOUT, b"")
        connection.taskEnded(ENDED)
        self.network.flush()
        self.assertEqual(self.listener.messages[3:], [STARTED, ENDED])
        self.assertEqual(self.listener.output, {1: b"hello world", 2: b"oops"})
        self.assertEqual(self.task.events, ["acknowledged"])
        assert self.listener.lost is not None
        self.listener.lost.trap(ConnectionDone)
        self.assertEqual(self.client.timeWait, [])
        self.assertNothingLeft()
        # Afterwards nothing does harm.
        connection.taskStarted(STARTED)
        connection.output(Stream.STDOUT, b"late")
        connection.inputTaken(1)
        connection.taskEnded(ENDED)
        connection.abort()

    def test_lastWord(self) -> None:
        """
        On a stream the end leaves at once, unless something waits that it can leave with.
        """
        for started in (False, True):
            self.begin()
            connection = self.connect()
            reactor, kernel = Reactor(), Kernel()
            stream = streams.Stream(
                cast(IStreamReactor, reactor), cast(socket.socket, kernel), (CLIENT, PORT)
            )
            stream.begin(Protocol())
            connection.transport = stream
            if started:
                connection.taskStarted(STARTED)
            connection.taskEnded(ENDED)
            self.assertEqual(kernel.calls, 0 if started else 1)
            reactor.turn()
            self.assertEqual(kernel.calls, 1)

    def test_input(self) -> None:
        """
        Input goes to the task, and what it takes is told to the client.
        """
        connection = self.connect()
        self.listener.give(b"early ")
        connection.taskStarted(STARTED)
        self.network.flush()
        self.listener.give(b"late")
        self.listener.say(InputEnded())
        self.network.flush()
        connection.inputTaken(6)
        connection.inputTaken(10)
        self.network.flush()
        self.assertEqual(self.task.input, b"early late")
        self.assertEqual(self.task.events, ["input ended"])
        self.assertEqual(self.listener.messages[4:], [InputTaken(6), InputTaken(10)])
        connection.taskEnded(ENDED)
        connection.inputTaken(11)
        self.network.flush()
        self.assertEqual(self.task.events, ["input ended", "acknowledged"])

    def test_vastWindow(self) -> None:
        """
        However much room a client has, what may be under way is bounded: it is
        kept until it is acknowledged.
        """
        connection = self.connect(window=2**40, acknowledges=False)
        connection.taskStarted(STARTED)
        for _ in range(5):
            connection.output(Stream.STDOUT, bytes(2**20))
        self.network.advance(1)
        self.assertEqual(len(self.listener.output[Stream.STDOUT]), MAX_WINDOW)
        self.assertEqual(self.task.events[-1], "pause")
        self.listener.acknowledge()
        self.network.advance(1)
        self.assertEqual(self.task.acknowledged, (MAX_WINDOW, 0))
        self.assertEqual(len(self.listener.output[Stream.STDOUT]), 5 * 2**20)

    def test_window(self) -> None:
        """
        More is never on the way than the client has room for; the task pauses
        meanwhile, and the end waits for the output before it.
        """
        connection = self.connect(window=10, acknowledges=False)
        connection.taskStarted(STARTED)
        connection.output(Stream.STDOUT, b"12345678")
        self.assertEqual(self.task.events, [])
        connection.output(Stream.STDERR, b"abcd")
        self.assertEqual(self.task.events, ["pause"])
        connection.output(Stream.STDOUT, b"90")
        connection.taskEnded(ENDED)
        self.network.flush()
        self.assertEqual(self.listener.output, {1: b"12345678", 2: b"ab"})
        self.listener.acknowledge()
        self.network.flush()
        self.assertEqual(self.listener.output, {1: b"1234567890", 2: b"abcd"})
        self.assertEqual(self.task.events, ["pause", "resume"])
        self.assertEqual(self.listener.ended, ENDED)
        self.listener.say(EndAcknowledged())
        self.network.flush()
        self.assertEqual(self.task.events, ["pause", "resume", "acknowledged"])

    def test_transport(self) -> None:
        """
        The task pauses too when the network takes nothing.
        """
        connection = self.connect(window=10_000_000)
        connection.taskStarted(STARTED)
        self.listener.transport.pauseProducing()
        while "pause" not in self.task.events:
            connection.output(Stream.STDOUT, b"x" * 50000)
        self.network.flush()
        self.assertEqual(self.task.events, ["pause"])
        self.listener.transport.resumeProducing()
        self.network.flush()
        self.assertEqual(self.task.events, ["pause", "resume"])

    def test_longOutput(self) -> None:
        """
        Output that does not fit one frame is said in several.
        """
        connection = self.connect(window=5 * MAX_DATA)
        connection.taskStarted(STARTED)
        data = bytes(range(256)) * 12000
        connection.output(Stream.STDOUT, data)
        connection.taskEnded(ENDED)
        self.network.flush()
        self.assertEqual(self.listener.output[Stream.STDOUT], data)
        self.assertEqual(self.listener.ended, ENDED)

    @settings(deadline=None, max_examples=60)
    @given(
        st.integers(1, 40),
        st.integers(0, 7),
        st.lists(
            st.tuples(st.sampled_from([Stream.STDOUT, Stream.STDERR]), st.binary(max_size=60)),
            max_size=12,
        ),
        st.lists(st.booleans(), max_size=12),
    )
    def test_anyOutput(
        self, window: int, pieces: int, said: list[tuple[Stream, bytes]], turns: list[bool]
    ) -> None:
        """
        Whatever is printed, however small the window and the pieces: each byte of
        a stream arrives once and in order, and then the end.
        """
        self.begin()
        self.network.split(pieces)
        connection = self.connect(window=window, acknowledges=False)
        connection.taskStarted(STARTED)
        for number, (stream, data) in enumerate(said):
            connection.output(stream, data)
            if turns[number : number + 1] == [True]:
                self.network.flush()
                self.listener.acknowledge()
        connection.taskEnded(ENDED)
        for _ in range(1000):
            self.network.flush()
            if self.listener.ended is not None:
                break
            self.listener.acknowledge()
        for stream in (Stream.STDOUT, Stream.STDERR):
            expected = b"".join(data for one, data in said if one is stream)
            self.assertEqual(self.listener.output[stream], expected)
        self.listener.say(EndAcknowledged())
        self.network.flush()
        self.assertEqual(self.task.events[-1], "acknowledged")
        self.assertNothingLeft()

    def test_lost(self) -> None:
        """
        A connection that breaks before the end was acknowledged is told once,
        even if the end was said.
        """
        for end in (False, True):
            self.begin()
            connection = self.connect(acknowledges=False)
            connection.taskStarted(STARTED)
            if end:
                connection.taskEnded(ENDED)
            self.listener.transport.abortConnection()
            self.network.flush()
            self.assertEqual(self.task.events, ["lost"])
            self.assertNothingLeft()

    def test_nonsense(self) -> None:
        """
        A client that says what it may not is hung up on.
        """
        connection = self.connect()
        connection.taskStarted(STARTED)
        self.listener.transport.write(b"\0\0\0\x05K\0\0\0\x01")
        self.network.flush()
        self.assertEqual(self.task.events, ["lost"])
        assert self.listener.lost is not None
        self.listener.lost.trap(ConnectionLost)
        self.assertNothingLeft()

    def test_heartbeat(self) -> None:
        """
        Both ends beat; a client that does not is dead after 15 seconds.
        """
        self.connect()
        for _ in range(10):
            self.network.advance(INTERVAL)
            self.listener.say(Heartbeat(), 0)
        self.network.flush()
        self.assertEqual(self.listener.beats, 10)
        self.network.advance(SILENCE)
        self.assertEqual(self.task.events, [])
        self.network.advance(INTERVAL)
        self.assertEqual(self.task.events, ["lost"])
        self.assertNothingLeft()

    def test_keepAlive(self) -> None:
        """
        The kernel is asked to look after a connection when it lasts longer than most.
        """
        transport = self.connect().transport
        self.assertTrue(transport.getTcpNoDelay())
        self.assertFalse(transport.getTcpKeepAlive())
        self.network.advance(INTERVAL)
        self.assertTrue(transport.getTcpKeepAlive())

    def test_sharedHeart(self) -> None:
        """
        A service has one heart for all its connections, and one timer.
        """
        heart = Heart(self.clock)
        self.factory = ConfirmationFactory(TASK, TOKEN, self.task, self.clock, heart)
        first = self.connect()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        heart.remove(first)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closesAtOnce(self) -> None:
        """
        What a client says behind its last word is not heard.
        """
        connection = self.connect(acknowledges=False)
        connection.taskStarted(STARTED)
        connection.taskEnded(ENDED)
        self.network.flush()
        self.listener.say(EndAcknowledged())
        self.listener.say(Heartbeat(), 0)
        self.listener.transport.write(b"nonsense")
        self.network.flush()
        self.assertEqual(self.task.events, ["acknowledged"])
        self.assertNothingLeft()

    def test_provides(self) -> None:
        """
        Protocol and task provide what they say.
        """
        self.assertTrue(verifyObject(IPushProducer, self.factory.buildProtocol(None)))
        self.assertTrue(verifyObject(IConfirmedTask, self.task))
