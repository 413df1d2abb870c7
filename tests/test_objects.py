"""
Calls within calls.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.conversation import Role
from jobscheduler_tcp.errors import LocalProtocolError, RemoteProtocolError
from jobscheduler_tcp.objects import MAX_AHEAD, MisunderstoodCall, ObjectConversation
from jobscheduler_tcp.wire.classic import (
    CallMethod,
    Done,
    KeepAlive,
    MethodCalled,
    Release,
    failed,
)
from jobscheduler_tcp.wire.frames import frame
from tests import recordings


class ObjectConversationTests(SynchronousTestCase):
    """
    Two ends, joined by hand.
    """

    def setUp(self) -> None:
        """
        Nothing was said yet.
        """
        self.client = ObjectConversation(Role.CLIENT)
        self.remote = ObjectConversation(Role.REMOTE)

    def test_nested(self) -> None:
        """
        The remote may call back while it works on a call, and each answer goes
        to the last call.
        """
        self.remote.hear(self.client.call(CallMethod(1, "step")))
        self.assertEqual(self.remote.next(), CallMethod(1, "step"))
        self.client.hear(self.remote.call(KeepAlive()))
        self.assertEqual(self.client.next(), KeepAlive())
        self.remote.hear(self.client.answer(Done()))
        self.assertEqual(self.remote.next(), Done())
        self.client.hear(self.remote.answer(MethodCalled()))
        self.assertEqual(self.client.next(), MethodCalled())
        self.assertTrue(self.client.idle)
        self.assertTrue(self.remote.idle)

    def test_turns(self) -> None:
        """
        Nothing can be said out of turn.
        """
        self.assertRaises(LocalProtocolError, self.remote.call, Release(1))
        self.assertRaises(LocalProtocolError, self.client.answer, Done())
        self.client.call(Release(1))
        self.assertRaises(LocalProtocolError, self.client.call, Release(1))
        self.assertRaises(LocalProtocolError, self.client.answer, Done())

    def test_ahead(self) -> None:
        """
        A message that comes too early is heard in its turn, up to a bound.
        """
        self.remote.hear(frame(b"K") + frame(b"K"))
        self.assertEqual(self.remote.next(), KeepAlive())
        self.assertIsNone(self.remote.next())
        self.remote.answer(Done())
        self.assertEqual(self.remote.next(), KeepAlive())
        self.assertRaises(RemoteProtocolError, self.remote.hear, frame(b"K") * (MAX_AHEAD + 1))

    def test_misunderstood(self) -> None:
        """
        A call that cannot be read can be answered, and the next one is heard.
        """
        self.remote.hear(frame(b"O" + bytes(8) + b"?") + frame(b"K"))
        self.assertRaises(MisunderstoodCall, self.remote.next)
        self.remote.answer(Done())
        self.assertEqual(self.remote.next(), KeepAlive())

    def test_unknownClass(self) -> None:
        """
        A message of a class that does not exist is answered as by the original.
        """
        self.remote.hear(frame(b"N") + frame(b"K"))
        error = self.assertRaises(MisunderstoodCall, self.remote.next)
        self.assertIn("Z-REMOTE-106", str(error))
        self.remote.answer(failed("Z-REMOTE-106", "x"))
        self.assertEqual(self.remote.next(), KeepAlive())

    def test_nonsense(self) -> None:
        """
        An empty message, an answer to nothing, no answer, endless nesting: hang up.
        """
        for data in (frame(b""), frame(b"A"), frame(b"E")):
            remote = ObjectConversation(Role.REMOTE)
            remote.hear(data)
            error = self.assertRaises(RemoteProtocolError, remote.next)
            self.assertNotIsInstance(error, MisunderstoodCall)
        self.client.call(Release(1))
        self.client.hear(frame(b"N"))
        error = self.assertRaises(RemoteProtocolError, self.client.next)
        self.assertNotIsInstance(error, MisunderstoodCall)
        remote = ObjectConversation(Role.REMOTE)
        for _ in range(4):
            remote.hear(frame(b"K"))
            remote.next()
            remote.call(KeepAlive())
        remote.hear(frame(b"K"))
        self.assertRaises(RemoteProtocolError, remote.next)

    @settings(deadline=None, max_examples=40)
    @given(st.sampled_from(recordings.names()), st.data())
    def test_recordings(self, name: str, data: st.DataObject) -> None:
        """
        Each recorded conversation is allowed, split at any byte or glued.
        """
        for connection in {event.connection for event in recordings.events(name)}:
            if not connection.startswith("REV"):
                continue
            ends = {
                "client": ObjectConversation(Role.CLIENT),
                "remote": ObjectConversation(Role.REMOTE),
            }
            for event in recordings.events(name):
                if event.connection != connection or event.kind != "MSG":
                    continue
                hearer = ends["remote" if event.speaker == "client" else "client"]
                at = data.draw(st.integers(0, len(event.data)))
                hearer.hear(event.data[:at])
                hearer.hear(event.data[at:])
                message = hearer.next()
                assert message is not None
                self._say(ends[event.speaker], message)
            self.assertTrue(ends["client"].idle)

    def _say(self, speaker: ObjectConversation, message: object) -> None:
        # Calls and answers are of disjoint types.
        if type(message).__name__ in (
            "CreateInstance",
            "CallMethod",
            "GetId",
            "Invoke",
            "Release",
            "QueryInterface",
        ):
            speaker.call(message)  # type: ignore[arg-type]  # as the name says
        else:
            speaker.answer(message)  # type: ignore[arg-type]  # all else answers
