"""
What both roles of the classic dialect do with calls and answers.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.conversation import Role
from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.objects import MAX_AHEAD
from jobscheduler_tcp.objectspeaker import ObjectSpeaker
from jobscheduler_tcp.wire.classic import (
    Call,
    CallAnswer,
    Done,
    KeepAlive,
    Release,
    decodeAnswer,
    encodeCall,
)
from jobscheduler_tcp.wire.frames import FrameDecoder, frame
from tests.test_replay import Wire

NONSENSE = b"O" + bytes(8) + b"?"


class Echo(ObjectSpeaker):
    """
    A remote that does what is called at once, and remembers it.
    """

    def __init__(self) -> None:
        super().__init__(Role.REMOTE)
        self.messages: list[Call | CallAnswer] = []
        self.errors: list[RemoteProtocolError] = []
        self.wire = Wire()
        self.makeConnection(self.wire)

    def heard(self, message: Call | CallAnswer) -> None:
        """
        Done.
        """
        self.messages.append(message)
        self.answer(Done())

    def misled(self, error: RemoteProtocolError) -> None:
        """
        Hang up.
        """
        self.errors.append(error)
        self.abort()

    def said(self) -> list[CallAnswer]:
        """
        The answers, of releases all of them.
        """
        payloads = FrameDecoder(1000).feed(self.wire.value())
        return [decodeAnswer(payload, Release(1)) for payload in payloads]


class ObjectSpeakerTests(SynchronousTestCase):
    """
    A remote that is called.
    """

    def setUp(self) -> None:
        """
        The connection stands.
        """
        self.remote = Echo()

    def test_misunderstood(self) -> None:
        """
        A call that cannot be read is answered with its code, and the next one is heard.
        """
        self.remote.dataReceived(frame(NONSENSE) + frame(encodeCall(Release(1))))

        refused, done = self.remote.said()
        self.assertIn("Z-REMOTE-106  ", str(refused))
        self.assertEqual(done, Done())
        self.assertEqual(self.remote.messages, [Release(1)])

    def test_ahead(self) -> None:
        """
        A peer that runs far ahead is heard message by message.
        """
        self.remote.dataReceived(frame(b"K") * MAX_AHEAD)

        self.assertEqual(self.remote.messages, [KeepAlive()] * MAX_AHEAD)
        self.assertEqual(self.remote.said(), [Done()] * MAX_AHEAD)

    def test_misled(self) -> None:
        """
        Behind nonsense nothing is heard, and nothing is said.
        """
        self.remote.dataReceived(frame(b"") + frame(b"K"))
        self.remote.dataReceived(frame(b"K"))

        self.assertEqual(len(self.remote.errors), 1)
        self.assertEqual(self.remote.messages, [])
        self.assertEqual(self.remote.wire.value(), b"")
        self.assertTrue(self.remote.wire.disconnecting)
