"""
Tests for L{jobscheduler_tcp.client.callback} and the modules under it.
"""

from __future__ import annotations

from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from xxhash import xxh3_128_digest
from zope.interface import implementer
from zope.interface.verify import verifyObject

from jobscheduler_tcp.client.callback import MAX_UNPROVEN, CallbackFactory
from jobscheduler_tcp.client.strangers import MAX_SOURCES, Strangers
from jobscheduler_tcp.errors import ConnectionClosed, RemoteProtocolError
from jobscheduler_tcp.heartbeat import Heart
from jobscheduler_tcp.interfaces import ITaskConfirmation
from jobscheduler_tcp.messages import (
    CallerProof,
    Challenge,
    EndAcknowledged,
    Heartbeat,
    InputEnded,
    InputTaken,
    ListenerProof,
    OutputAcknowledged,
    Stream,
    TaskAttached,
    TaskInput,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.testing import MemoryNetwork, RecordingReceiver, Stranger
from jobscheduler_tcp.wire.extended import MAX_DATA
from jobscheduler_tcp.wire.frames import frame
from tests.scripted import CLIENT, NONCE, REMOTE, Caller, ScriptedRemote

TASK = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f10"
TOKEN = bytes(range(100, 116))
WINDOW = 1000
PORT = 59999


class Watcher:
    """
    Remembers how the connections fare.
    """

    def __init__(self) -> None:
        self.events: list[str] = []

    def callerClaims(self) -> None:
        """
        Remember.
        """
        self.events.append("callerClaims")

    def claimLost(self) -> None:
        """
        Remember.
        """
        self.events.append("claimLost")

    def callerProven(self) -> None:
        """
        Remember.
        """
        self.events.append("callerProven")

    def endAcknowledged(self) -> None:
        """
        Remember.
        """
        self.events.append("endAcknowledged")

    def callerGone(self) -> None:
        """
        Remember.
        """
        self.events.append("callerGone")


class CallbackTests(SynchronousTestCase):
    """
    A listener for one task, on a network in memory.
    """

    def setUp(self) -> None:
        """
        Listen.
        """
        self.network = MemoryNetwork()
        self.clock = self.network.clock
        self.remote = ScriptedRemote(self.network, listens=False)
        self.receiver = RecordingReceiver()
        self.watcher = Watcher()
        self.heart = Heart(self.clock)
        self.factory = CallbackFactory(
            TASK,
            TOKEN,
            self.receiver,
            self.heart,
            self.clock,
            window=WINDOW,
            watcher=self.watcher,
        )
        self.network.host(CLIENT).listen(PORT, self.factory)

    def dial(self, task: str = TASK, token: bytes = TOKEN) -> Caller:
        """
        Call.
        """
        return self.remote.dial(task, token, PORT)

    def stranger(self) -> Stranger:
        """
        Call without knowing anything.
        """
        stranger = self.network.host("10.6.6.6").stranger(CLIENT, PORT)
        self.network.flush()
        return stranger

    def proven(self) -> Caller:
        """
        Call and prove it.
        """
        caller = self.dial()
        caller.challenge()
        self.network.flush()
        caller.prove()
        self.network.flush()
        return caller

    def running(self, window: int = 1000) -> Caller:
        """
        Call, and have the program run.
        """
        caller = self.proven()
        caller.attach(window)
        caller.start()
        self.network.flush()
        return caller

    def assertReset(self, lost: object) -> None:
        """
        The connection was reset, not closed: no TIME_WAIT is left.
        """
        self.assertIsNotNone(lost)
        self.assertIsNone(lost.check(ConnectionDone))  # type: ignore[attr-defined]  # a Failure
        self.assertEqual(self.network.host(CLIENT).timeWait, [])


class ProofTests(CallbackTests):
    """
    Who may speak of the task.
    """

    def test_proof(self) -> None:
        """
        The remote speaks first, the client proves itself, then the remote does.
        """
        caller = self.dial()
        self.assertEqual(caller.bytes, b"")
        self.assertFalse(self.factory.claimed)
        caller.challenge()
        self.network.flush()
        (shown,) = caller.said(ListenerProof)
        self.assertEqual(shown.window, WINDOW)
        self.assertTrue(self.factory.claimed)
        self.assertEqual(self.factory.claims, 1)
        self.assertIsNone(self.factory.proven)
        caller.prove()
        self.network.flush()
        self.assertIsNotNone(self.factory.proven)
        self.assertEqual(self.factory.claims, 0)
        self.assertEqual(self.watcher.events, ["callerClaims", "callerProven"])
        self.assertEqual(self.factory.strangers, 0)

    def test_silence(self) -> None:
        """
        A caller that says nothing is reset after two seconds, told nothing.
        """
        stranger = self.stranger()
        self.network.advance(1.9)
        self.assertIsNone(stranger.lost)
        self.network.advance(0.2)
        self.assertReset(stranger.lost)
        self.assertEqual(stranger.heard, b"")
        self.assertEqual(self.factory.strangers, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nonsense(self) -> None:
        """
        A caller that says anything else is reset, told nothing.
        """
        for said in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\xff\xff\xff\xff",
            b"\x00\x00\x10\x01",
            frame(b"h\0\0\0\0"),
            frame(b"C\0\0\0\0nonsense"),
            frame(b"S\0\0\0\1"),
            frame(b""),
            b"<jsremote.hello/>",
        ):
            stranger = self.stranger()
            stranger.transport.write(said)
            self.network.flush()
            self.assertReset(stranger.lost)
            self.assertEqual(stranger.heard, b"")
        self.assertEqual(self.factory.strangers, 8)
        self.assertFalse(self.factory.claimed)
        self.assertEqual(self.receiver.events, [])

    def test_wrongSelector(self) -> None:
        """
        A caller that wants somebody else is reset without our proof.
        """
        caller = self.dial(token=b"another token!!!")
        caller.challenge()
        self.network.flush()
        self.assertReset(caller.lost)
        self.assertEqual(caller.bytes, b"")
        self.assertFalse(self.factory.claimed)

    def test_wrongProof(self) -> None:
        """
        A caller that knows only what it overheard gets our proof, which tells
        nothing, and is reset when it cannot show its own.
        """
        caller = self.dial()
        caller.challenge()
        self.network.flush()
        caller.say(CallerProof(bytes(32)), 0)
        self.network.flush()
        self.assertReset(caller.lost)
        self.assertIsNone(self.factory.proven)
        self.assertNotIn(TOKEN, caller.bytes)
        self.assertNotIn(TASK.encode(), caller.bytes)
        self.assertEqual(self.watcher.events, ["callerClaims", "claimLost"])
        self.assertEqual(self.receiver.events, [])
        # The listener stays.
        self.proven()
        self.assertIsNotNone(self.factory.proven)

    def test_slowProof(self) -> None:
        """
        Who was shown our proof may be the remote, and has as long as any remote
        to show its own; not for ever.
        """
        caller = self.dial()
        caller.challenge()
        self.network.advance(14)
        self.assertIsNone(caller.lost)
        self.network.advance(2)
        self.assertReset(caller.lost)
        self.assertEqual(self.watcher.events, ["callerClaims", "claimLost"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_claimHangsUp(self) -> None:
        """
        A caller that goes after it was shown our proof is told of, for it may
        have been the remote.
        """
        caller = self.dial()
        caller.challenge()
        self.network.flush()
        caller.transport.loseConnection()
        self.network.flush()
        self.assertEqual(self.watcher.events, ["callerClaims", "claimLost"])
        self.assertEqual(self.factory.claims, 0)
        self.assertEqual(self.factory.strangers, 1)

    def test_secondClaim(self) -> None:
        """
        When the remote is known, others are reset: those who are there, and
        those who come.
        """
        stranger = self.stranger()
        self.proven()
        self.assertReset(stranger.lost)
        late = self.dial()
        self.assertReset(late.lost)
        self.assertEqual(late.bytes, b"")
        self.assertEqual(self.factory.strangers, 2)

    def test_crowd(self) -> None:
        """
        When too many callers have proved nothing the oldest goes, but rather one
        that was shown nothing.
        """
        claiming = self.dial()
        claiming.challenge()
        self.network.flush()
        strangers = [self.stranger() for _ in range(MAX_UNPROVEN)]
        self.assertReset(strangers[0].lost)
        self.assertIsNone(strangers[1].lost)
        claiming.prove()
        self.network.flush()
        self.assertIsNone(claiming.lost)
        for stranger in strangers:
            self.assertReset(stranger.lost)

    def test_crowdOfClaims(self) -> None:
        """
        When all of them claim, it is the last that goes.
        """
        claiming = [self.dial() for _ in range(MAX_UNPROVEN)]
        for caller in claiming:
            caller.challenge()
        self.network.flush()
        self.assertReset(self.stranger().lost)
        self.assertEqual(self.factory.claims, MAX_UNPROVEN)

    def test_told(self) -> None:
        """
        A source of strangers is told of once a minute, and counted each time.
        """
        with capturedLogs() as events:
            for _ in range(3):
                self.stranger().transport.write(b"nonsense")
                self.network.flush()
            told = [formatEvent(event) for event in events]
            self.assertEqual(len(told), 1)
            self.assertIn("10.6.6.6", told[0])
            self.assertIn(TASK, told[0])
            self.network.advance(60)
            self.stranger().transport.write(b"nonsense")
            self.network.flush()
            self.assertEqual(len(events), 2)
        self.assertEqual(self.factory.strangers, 4)
        self.assertEqual(self.factory.log.count, 4)

    def test_manySources(self) -> None:
        """
        What is remembered of sources is bounded.
        """
        strangers = Strangers(self.clock)
        with capturedLogs() as events:
            for number in range(MAX_SOURCES + 1):
                strangers.add(f"source {number}", TASK, "nonsense")
            strangers.add("source 0", TASK, "nonsense")
        self.assertEqual(len(events), MAX_SOURCES + 2)

    def test_abort(self) -> None:
        """
        All callers can be hung up on at once.
        """
        stranger = self.stranger()
        self.factory.abort()
        self.network.flush()
        self.assertReset(stranger.lost)
        caller = self.proven()
        self.factory.abort()
        self.network.flush()
        self.assertReset(caller.lost)
        self.assertEqual(self.receiver.events, ["confirmationLost"])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class TaskTests(CallbackTests):
    """
    What the receiver hears, and what the remote is answered.
    """

    def test_whole(self) -> None:
        """
        The receiver hears the start, each byte of output, and the end, which is
        acknowledged; the remote closes first.
        """
        caller = self.running()
        caller.print(Stream.STDOUT, b"hello\n")
        caller.print(Stream.STDERR, b"oops\n")
        caller.end(exitCode=7)
        self.network.flush()
        self.assertEqual(
            self.receiver.events, ["taskAttached", "taskStarted", "outputReceived", "taskEnded"]
        )
        self.assertEqual(self.receiver.output[Stream.STDOUT], b"hello\n")
        self.assertEqual(self.receiver.output[Stream.STDERR], b"oops\n")
        assert self.receiver.ended is not None
        self.assertEqual(self.receiver.ended.exitCode, 7)
        self.assertEqual(caller.said(EndAcknowledged), [EndAcknowledged()])
        # That little output needs no word of its own.
        self.assertEqual(caller.said(OutputAcknowledged), [])
        self.assertIsNone(caller.lost)
        caller.transport.loseConnection()
        self.network.flush()
        self.assertEqual(
            self.watcher.events, ["callerClaims", "callerProven", "endAcknowledged", "callerGone"]
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.network.host(CLIENT).timeWait, [])

    def test_notStarted(self) -> None:
        """
        A task whose program could not be started ends without a start.
        """
        caller = self.proven()
        caller.attach()
        caller.end(Reason.START_FAILED, errno=2, stdoutChecksum=b"", stderrChecksum=b"")
        self.network.flush()
        self.assertEqual(self.receiver.events, ["taskAttached", "taskEnded"])
        self.assertEqual(caller.said(EndAcknowledged), [EndAcknowledged()])

    def test_remoteDoesNotClose(self) -> None:
        """
        A remote that does not close in two seconds is closed.
        """
        caller = self.running()
        caller.end()
        self.network.advance(1.9)
        self.assertIsNone(caller.lost)
        self.network.advance(0.2)
        self.assertIsNotNone(caller.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_endIsKept(self) -> None:
        """
        The end is acknowledged when the receiver says that it has it.
        """
        kept: Deferred[None] = Deferred()
        self.receiver.holdEnd = kept
        caller = self.running()
        caller.end()
        self.network.advance(10)
        self.assertEqual(caller.said(EndAcknowledged), [])
        kept.callback(None)
        self.network.flush()
        self.assertEqual(caller.said(EndAcknowledged), [EndAcknowledged()])

    def test_endIsNotKept(self) -> None:
        """
        If the receiver fails to keep the end, it is not acknowledged.
        """
        kept: Deferred[None] = Deferred()
        self.receiver.holdEnd = kept
        caller = self.running()
        caller.end()
        self.network.flush()
        kept.errback(OSError("disk full"))
        self.network.flush()
        self.assertReset(caller.lost)
        self.assertEqual(caller.said(EndAcknowledged), [])
        self.assertEqual(self.watcher.events[2:], ["callerGone"])
        self.assertEqual(self.receiver.events[-1], "taskEnded")
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_endIsKeptTooLate(self) -> None:
        """
        If the connection breaks before the receiver has kept the end, it is not
        acknowledged.
        """
        kept: Deferred[None] = Deferred()
        self.receiver.holdEnd = kept
        caller = self.running()
        caller.end()
        self.network.flush()
        caller.transport.abortConnection()
        self.network.flush()
        kept.callback(None)
        self.assertEqual(self.watcher.events[2:], ["callerGone"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lost(self) -> None:
        """
        If the connection breaks before the end, the receiver hears that, once.
        """
        self.running().transport.abortConnection()
        self.network.flush()
        self.assertEqual(self.receiver.events[-1], "confirmationLost")
        assert self.receiver.lost is not None
        self.assertIsNotNone(self.receiver.lost.check(ConnectionLost))
        self.assertEqual(self.watcher.events[-1], "callerGone")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lostBeforeAttached(self) -> None:
        """
        So it does if the remote says nothing of the task.
        """
        self.proven().transport.loseConnection()
        self.network.flush()
        self.assertEqual(self.receiver.events, ["confirmationLost"])

    def test_notAsSent(self) -> None:
        """
        An end that counts more or other bytes than came is no end.
        """
        other = xxh3_128_digest(b"hello")
        for fields in (
            {"stdoutSize": 5},
            {"stderrSize": 1},
            {"stdoutSize": 3, "stdoutChecksum": other},
            {"stderrChecksum": other},
            {"stdoutChecksum": b""},
        ):
            self.setUp()
            caller = self.running()
            caller.print(Stream.STDOUT, b"hullo\n"[:4])
            caller.end(**fields)
            self.network.flush()
            self.assertReset(caller.lost)
            self.assertEqual(self.receiver.events[-1], "confirmationLost")
            assert self.receiver.lost is not None
            self.assertIsNotNone(self.receiver.lost.check(RemoteProtocolError))
            self.assertEqual(caller.said(EndAcknowledged), [])

    def test_wrongTask(self) -> None:
        """
        A proven remote that speaks of another task, from another offset, on
        another channel, or opens a second one, is hung up on.
        """
        attached = TaskAttached(TASK)
        for said in (
            [(1, TaskAttached(str(uuid4())))],
            [(1, TaskAttached(TASK, stdout=1))],
            [(1, TaskAttached(TASK, stderr=1))],
            [(2, attached)],
            [(1, attached), (2, attached)],
        ):
            self.setUp()
            caller = self.proven()
            for channel, message in said:
                caller.say(message, channel)
            self.network.flush()
            self.assertReset(caller.lost)
            assert self.receiver.lost is not None
            self.assertIsNotNone(self.receiver.lost.check(RemoteProtocolError))

    def test_afterEnd(self) -> None:
        """
        What a remote says after the end changes nothing.
        """
        caller = self.running()
        caller.end()
        self.network.flush()
        caller.transport.write(frame(b"S\0\0\0\1"))
        self.network.flush()
        self.assertEqual(self.receiver.events[-1], "taskEnded")
        self.assertReset(caller.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_anyPieces(self) -> None:
        """
        It makes no difference how the bytes come.
        """
        self.network.split(1)
        caller = self.running()
        caller.print(Stream.STDOUT, b"hello\n")
        caller.end()
        self.network.flush()
        self.assertEqual(self.receiver.output[Stream.STDOUT], b"hello\n")
        self.assertEqual(self.receiver.events[-1], "taskEnded")


class WindowTests(CallbackTests):
    """
    Output is acknowledged as the receiver takes it.
    """

    def test_halves(self) -> None:
        """
        Half of the window is acknowledged at once.
        """
        caller = self.running()
        caller.print(Stream.STDOUT, bytes(499))
        self.network.flush()
        self.assertEqual(caller.said(OutputAcknowledged), [])
        caller.print(Stream.STDERR, b"x")
        self.network.flush()
        self.assertEqual(caller.said(OutputAcknowledged), [OutputAcknowledged(499, 1)])

    def test_rest(self) -> None:
        """
        What is less is acknowledged with the next heartbeat.
        """
        caller = self.running()
        caller.print(Stream.STDOUT, b"x")
        self.network.advance(5)
        self.assertEqual(caller.said(OutputAcknowledged), [OutputAcknowledged(1, 0)])
        self.assertEqual(caller.said(Heartbeat), [Heartbeat()])
        caller.say(Heartbeat(), 0)
        self.network.advance(5)
        self.assertEqual(len(caller.said(OutputAcknowledged)), 1)

    def test_pause(self) -> None:
        """
        While the receiver is paused nothing is acknowledged, so the remote
        stops when the window is used up.
        """
        caller = self.running()
        confirmation = self.receiver.confirmation
        assert confirmation is not None
        verifyObject(ITaskConfirmation, confirmation)
        confirmation.pauseProducing()
        caller.print(Stream.STDOUT, bytes(1000))
        self.network.advance(5)
        self.assertEqual(caller.said(OutputAcknowledged), [])
        self.assertEqual(caller.channels.outputRoom(1), 0)
        confirmation.resumeProducing()
        self.network.flush()
        self.assertEqual(caller.said(OutputAcknowledged), [OutputAcknowledged(1000, 0)])
        self.assertEqual(caller.channels.outputRoom(1), 1000)
        confirmation.resumeProducing()
        caller.end()
        self.network.flush()
        self.assertEqual(len(caller.said(OutputAcknowledged)), 1)

    def test_giveUp(self) -> None:
        """
        The receiver can give the task up; it hears nothing more but that.
        """
        caller = self.running()
        confirmation = self.receiver.confirmation
        assert confirmation is not None
        output = self.receiver.outputReceived

        def giveUp(stream: Stream, data: bytes) -> None:
            output(stream, data)
            confirmation.stopProducing()

        self.patch(self.receiver, "outputReceived", giveUp)
        caller.print(Stream.STDOUT, b"one")
        caller.print(Stream.STDOUT, b"two")
        caller.end()
        self.network.flush()
        self.assertReset(caller.lost)
        self.assertEqual(self.receiver.output[Stream.STDOUT], b"one")
        self.assertEqual(self.receiver.events[-2:], ["outputReceived", "confirmationLost"])


class HeartbeatTests(CallbackTests):
    """
    A remote that is silent is dead.
    """

    def test_beats(self) -> None:
        """
        As long as the remote says a word now and then, the connection stands.
        """
        caller = self.running()
        for _ in range(10):
            self.network.advance(5)
            caller.say(Heartbeat(), 0)
        self.assertEqual(len(caller.said(Heartbeat)), 10)
        self.assertIsNone(self.receiver.lost)

    def test_keepAlive(self) -> None:
        """
        The kernel is asked to look after a connection when it lasts longer than most.
        """
        self.running()
        assert self.factory.proven is not None
        transport = self.factory.proven.transport
        self.assertTrue(transport.getTcpNoDelay())
        self.assertFalse(transport.getTcpKeepAlive())
        self.network.advance(5)
        self.assertTrue(transport.getTcpKeepAlive())

    def test_silent(self) -> None:
        """
        Without one, it is given up.
        """
        self.running()
        self.network.cut(CLIENT, REMOTE)
        self.network.advance(21)
        assert self.receiver.lost is not None
        self.assertIsNotNone(self.receiver.lost.check(ConnectionClosed))
        self.assertIn("15 seconds", self.receiver.lost.getErrorMessage())
        self.assertEqual(self.clock.getDelayedCalls(), [])


@implementer(IPushProducer)
class Producer:
    """
    Makes input, and remembers when it may not.
    """

    def __init__(self) -> None:
        self.events: list[str] = []

    def pauseProducing(self) -> None:
        """
        Remember.
        """
        self.events.append("pause")

    def resumeProducing(self) -> None:
        """
        Remember.
        """
        self.events.append("resume")

    def stopProducing(self) -> None:
        """
        Remember.
        """
        self.events.append("stop")


class InputTests(CallbackTests):
    """
    The task's input waits for the remote's room.
    """

    def sent(self, caller: Caller) -> bytes:
        """
        The input that came.
        """
        return b"".join(bytes(message.data) for message in caller.said(TaskInput))

    def test_input(self) -> None:
        """
        Input is sent as far as there is room; the rest follows.
        """
        caller = self.running(window=10)
        confirmation = self.receiver.confirmation
        assert confirmation is not None
        confirmation.writeInput(b"")
        confirmation.writeInput(b"0123456")
        confirmation.writeInput(b"789abc")
        confirmation.endInput()
        confirmation.endInput()
        confirmation.writeInput(b"too late")
        self.network.flush()
        self.assertEqual(self.sent(caller), b"0123456789")
        self.assertEqual(caller.said(InputEnded), [])
        caller.say(InputTaken(2))
        self.network.flush()
        self.assertEqual(self.sent(caller), b"0123456789ab")
        caller.say(InputTaken(12))
        self.network.flush()
        self.assertEqual(self.sent(caller), b"0123456789abc")
        self.assertEqual(caller.said(InputEnded), [InputEnded()])

    def test_empty(self) -> None:
        """
        An input that ends without a byte is ended at once.
        """
        caller = self.running()
        assert self.receiver.confirmation is not None
        self.receiver.confirmation.endInput()
        self.network.flush()
        self.assertEqual(caller.said(InputEnded), [InputEnded()])

    def test_long(self) -> None:
        """
        What does not fit one frame is sent in several.
        """
        caller = self.running(window=2 * MAX_DATA)
        assert self.receiver.confirmation is not None
        self.receiver.confirmation.writeInput(bytes(MAX_DATA + 1))
        self.network.flush()
        self.assertEqual([len(said.data) for said in caller.said(TaskInput)], [MAX_DATA, 1])

    def test_producer(self) -> None:
        """
        A producer of input is paused while there is no room, and stopped when
        the task needs no more.
        """
        caller = self.running(window=4)
        confirmation = self.receiver.confirmation
        assert confirmation is not None
        confirmation.writeInput(b"12345")
        producer = Producer()
        confirmation.registerInputProducer(producer)
        self.assertEqual(producer.events, ["pause"])
        confirmation.writeInput(b"6")
        self.network.flush()
        caller.say(InputTaken(4))
        self.network.flush()
        self.assertEqual(producer.events, ["pause", "resume"])
        confirmation.writeInput(b"789")
        self.assertEqual(producer.events, ["pause", "resume", "pause"])
        caller.end()
        self.network.flush()
        self.assertEqual(producer.events[3:], ["stop"])
        confirmation.writeInput(b"more")
        late = Producer()
        confirmation.registerInputProducer(late)
        self.assertEqual(late.events, ["stop"])

    def test_lost(self) -> None:
        """
        So it is when the connection is lost.
        """
        caller = self.running(window=4)
        confirmation = self.receiver.confirmation
        assert confirmation is not None
        producer = Producer()
        confirmation.registerInputProducer(producer)
        caller.transport.abortConnection()
        self.network.flush()
        self.assertEqual(producer.events, ["stop"])
        confirmation.writeInput(b"more")
        confirmation.endInput()

    def test_producerAnswersAtOnce(self) -> None:
        """
        A producer may write, and end, when it is resumed.
        """
        caller = self.running(window=4)
        confirmation = self.receiver.confirmation
        assert confirmation is not None

        class Eager(Producer):
            def resumeProducing(self) -> None:
                assert confirmation is not None
                confirmation.writeInput(b"6789")
                confirmation.endInput()

        confirmation.writeInput(b"12345")
        confirmation.registerInputProducer(Eager())
        for taken in (4, 5, 9):
            self.network.flush()
            caller.say(InputTaken(taken))
        self.network.flush()
        self.assertEqual(self.sent(caller), b"123456789")
        self.assertEqual(caller.said(InputEnded), [InputEnded()])


class AloneTests(SynchronousTestCase):
    """
    The factory needs nothing but a receiver, a heart and a clock.
    """

    def test_alone(self) -> None:
        """
        Without a service, and without a watcher, a task can be heard.
        """
        network = MemoryNetwork()
        remote = ScriptedRemote(network, listens=False)
        receiver = RecordingReceiver()
        factory = CallbackFactory(TASK, TOKEN, receiver, Heart(network.clock), network.clock)
        network.host(CLIENT).listenTCP(PORT, factory)
        first = remote.dial(TASK, TOKEN, PORT)
        first.say(Challenge(NONCE, factory.selector), 0)
        network.flush()
        first.transport.loseConnection()
        network.flush()
        caller = remote.dial(TASK, TOKEN, PORT)
        caller.challenge()
        network.flush()
        caller.prove()
        caller.attach()
        caller.start()
        caller.end()
        network.flush()
        caller.transport.loseConnection()
        network.flush()
        self.assertEqual(receiver.events, ["taskAttached", "taskStarted", "taskEnded"])
        self.assertEqual(network.clock.getDelayedCalls(), [])
