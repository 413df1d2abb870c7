"""
Recorded conversations of the classic dialect, in which bytes are others now and
then.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client.classic import ClassicCallbackFactory
from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.remote.classic import ClassicConfirmationProtocol, ClassicTask
from jobscheduler_tcp.testing import FakeLauncher, FakeProcess
from jobscheduler_tcp.wire.classic import Call, CallMethod, InstanceCreated, decodeAnswer
from jobscheduler_tcp.wire.frames import FrameDecoder, frame
from jobscheduler_tcp.wire.shelljob import decodeConstruct
from tests.test_replay import UUID, Conversation, Receiver, Wire, shellConversations

# How many conversations, the share of disturbed messages, where chance begins.
COUNT = 300
SHARE = 0.08
SEED = 7


class DisturbedTests(SynchronousTestCase):
    """
    No bytes break either end, which trial would see by an error in the log.
    """

    def setUp(self) -> None:
        """
        The same chance each time.
        """
        self.chance = Random(SEED)
        self.conversations = list(shellConversations())

    def disturbed(self, payload: bytes) -> bytes:
        """
        A message whose bytes may be others.
        """
        changed = bytearray(payload)
        if self.chance.random() < SHARE:
            for _ in range(self.chance.randint(1, 3)):
                changed[self.chance.randrange(len(changed))] = self.chance.randrange(256)
        return bytes(changed)

    def wire(self) -> Wire:
        """
        A transport.
        """
        return Wire(peerAddress=IPv4Address("TCP", "127.0.0.1", 4455))

    def test_remote(self) -> None:
        """
        The remote is done with each task once, whatever its client said.
        """
        launched = 0
        for _ in range(COUNT):
            launched += self.serve(self.chance.choice(self.conversations))
        self.assertGreater(launched, COUNT // 3)

    def serve(self, conversation: Conversation) -> int:
        """
        Serve one client.

        @return: how many programs were launched.
        """

        def play(process: FakeProcess) -> None:
            process.start()
            conversation.play(process)
            process.end(0)

        clock = Clock()
        launcher = FakeLauncher(clock, play)
        over: list[None] = []
        remote = ClassicConfirmationProtocol(
            ClassicTask(UUID, 1, {}), launcher, lambda: over.append(None)
        )
        wire = self.wire()
        remote.makeConnection(wire)
        server = b""
        for message in conversation.messages:
            if message.speaker != "client":
                continue
            payload = message.payload
            if server and message.isCall:
                payload = payload[:1] + server + payload[9:]
            remote.dataReceived(frame(self.disturbed(payload)))
            if not server:
                server = self.serverIn(wire.value(), message.call)
            clock.advance(0.1)
        remote.connectionLost(Failure(ConnectionDone()))
        clock.advance(1)
        self.assertEqual(over, [None], conversation.name)
        return len(launcher.launched)

    def serverIn(self, said: bytes, call: Call) -> bytes:
        """
        The number of the remote's object, if it answers with one.
        """
        for payload in FrameDecoder(1 << 20).feed(said):
            try:
                created = decodeAnswer(payload, call)
            except RemoteProtocolError:  # it answers what was disturbed
                continue
            if isinstance(created, InstanceCreated) and created.objects:
                return created.objects[0][1].id.to_bytes(8, "big")
        return b""

    def test_client(self) -> None:
        """
        The client comes to one end of each job, whatever its remote said.
        """
        ends: Counter[str] = Counter()
        for _ in range(COUNT):
            events = self.drive(self.chance.choice(self.conversations))
            told = [each for each in events if each in ("returned", "lost") or "failed" in each]
            self.assertEqual(len(told), 1, events)
            self.assertEqual(events[-1], "closed")
            ends[told[0]] += 1
        self.assertGreater(ends["returned"], COUNT // 3)
        self.assertGreater(ends["lost"], 0)

    def drive(self, conversation: Conversation) -> list[str]:
        """
        Drive one remote.

        @return: what was heard of the job.
        """
        construct = next(
            call
            for call in conversation.calls()
            if isinstance(call, CallMethod) and call.name == "construct"
        )
        receiver = Receiver()
        job = decodeConstruct(construct.arguments[0])
        client = ClassicCallbackFactory(job, receiver, lambda host: True).buildProtocol(None)
        client.makeConnection(self.wire())
        for message in conversation.messages:
            if message.speaker == "remote":
                client.dataReceived(frame(self.disturbed(message.payload)))
        client.connectionLost(Failure(ConnectionDone()))
        return receiver.events
