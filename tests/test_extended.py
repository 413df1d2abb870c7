"""
The extended language of the confirmation connection.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import msgpack
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.errors import LocalProtocolError, RemoteProtocolError
from jobscheduler_tcp.messages import (
    Challenge,
    Confirmation,
    EndAcknowledged,
    Heartbeat,
    InputTaken,
    OutputAcknowledged,
    Stream,
    TaskAttached,
    TaskEnded,
    TaskInput,
    TaskOutput,
    TaskStarted,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.wire.extended import (
    MAX_DATA,
    MAX_PROVEN,
    decode,
    encode,
    outputHeader,
)
from jobscheduler_tcp.wire.frames import FrameDecoder
from tests.strategies import channels, confirmations, mutated

TASK = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f10"

frames = st.builds(encode, channels, confirmations)


def payloadOf(stream: bytes) -> bytes:
    """
    The one payload in a frame.
    """
    (payload,) = FrameDecoder(MAX_PROVEN).feed(stream)
    return payload


class RoundTripTests(SynchronousTestCase):
    """
    Whatever is said is heard.
    """

    @settings(deadline=None, max_examples=100)
    @given(channels, confirmations)
    def test_anyMessage(self, channel: int, message: Confirmation) -> None:
        """
        Every message comes out as it went in, on the same channel.
        """
        self.assertEqual(decode(payloadOf(encode(channel, message))), (channel, message))

    @settings(deadline=None, max_examples=100)
    @given(mutated(frames.map(payloadOf)))
    def test_mutations(self, payload: bytes) -> None:
        """
        Damage gives a message or a L{RemoteProtocolError}.
        """
        try:
            channel, message = decode(payload)
        except RemoteProtocolError:
            return
        encode(channel, message)

    @settings(deadline=None, max_examples=100)
    @given(st.sampled_from(b"CLPhASiEa012eK"), st.binary(max_size=80))
    def test_noise(self, letter: int, body: bytes) -> None:
        """
        Noise behind a type that is known gives a message or a
        L{RemoteProtocolError}.
        """
        try:
            decode(bytes([letter]) + b"\0\0\0\1" + body)
        except RemoteProtocolError:
            pass

    def test_nested(self) -> None:
        """
        Arrays in each other without end are refused, not followed.
        """
        with self.assertRaises(RemoteProtocolError):
            decode(b"A\0\0\0\1" + b"\x81\xa1x" + b"\x91" * 1000000)

    def test_fieldsOfLaterVersions(self) -> None:
        """
        A field that is not known is ignored.
        """
        body = msgpack.encode({"pid": 5, "clock": 1.5, "monotonic": 2.5, "mood": ["fine"]})
        self.assertEqual(decode(b"S\0\0\0\1" + body), (1, TaskStarted(5, 1.5, 2.5)))


class BytesTests(SynchronousTestCase):
    """
    The bytes are those of the protocol's page.
    """

    def test_layout(self) -> None:
        """
        What is said often is a struct.
        """
        for message, expected in (
            (Heartbeat(), b"\0\0\0\x05h\0\0\0\x09"),
            (
                TaskOutput(Stream.STDOUT, 258, b"hi"),
                b"\0\0\0\x0f1\0\0\0\x09" + b"\0" * 6 + b"\1\2hi",
            ),
            (TaskOutput(Stream.STDERR, 1, b"hi"), b"\0\0\0\x0f2\0\0\0\x09" + b"\0" * 7 + b"\1hi"),
            (TaskInput(1, b"x"), b"\0\0\0\x0e0\0\0\0\x09" + b"\0" * 7 + b"\1x"),
            (InputTaken(3), b"\0\0\0\x0di\0\0\0\x09" + b"\0" * 7 + b"\3"),
            (
                OutputAcknowledged(1, 2),
                b"\0\0\0\x15a\0\0\0\x09" + b"\0" * 7 + b"\1" + b"\0" * 7 + b"\2",
            ),
            (EndAcknowledged(), b"\0\0\0\x05K\0\0\0\x09"),
        ):
            with self.subTest(message=message):
                self.assertEqual(encode(9, message), expected)

    def test_map(self) -> None:
        """
        What is said once is a msgpack map from the names of the fields.
        """
        payload = payloadOf(encode(1, TaskAttached(TASK, 1, 2, 3)))
        self.assertEqual(payload[:5], b"A\0\0\0\1")
        self.assertEqual(
            msgpack.decode(payload[5:]),
            {"task": TASK, "stdout": 1, "stderr": 2, "window": 3}
            | {"stdin": 0, "taken": 0, "inputEnded": False},
        )
        ended = payloadOf(encode(1, TaskEnded(Reason.OUTPUT_LIMIT, stdoutChecksum=b"x" * 16)))
        fields = msgpack.decode(ended[5:])
        self.assertEqual(fields["reason"], "output-limit")
        self.assertEqual(fields["stdoutChecksum"], b"x" * 16)

    def test_header(self) -> None:
        """
        Output can follow its header without being copied, as much as fits.
        """
        data = bytes(MAX_DATA)
        stream = outputHeader(7, Stream.STDERR, 5, len(data)) + data
        self.assertEqual(len(stream), 4 + MAX_PROVEN)
        self.assertEqual(stream, encode(7, TaskOutput(Stream.STDERR, 5, data)))

    def test_memoryview(self) -> None:
        """
        Data may be a view of other bytes.
        """
        view = memoryview(b"abcd")[1:3]
        self.assertEqual(
            encode(1, TaskInput(0, view)),
            encode(1, TaskInput(0, b"bc")),
        )


class RefusalTests(SynchronousTestCase):
    """
    What is refused, and whose fault it is.
    """

    def test_remote(self) -> None:
        """
        What breaks the bounds of a field or the shape of a body is the peer's
        fault.
        """
        head = b"\0\0\0\1"
        for payload in (
            b"",
            b"h",
            b"h\0\0\0",
            b"?" + head,
            b"h" + head + b"x",
            b"1" + head,
            b"1" + head + bytes(8),
            b"1" + head + b"\xff" * 8 + b"data",
            b"0" + head + bytes(3),
            b"i" + head + bytes(7),
            b"i" + head + b"\xff" * 8,
            b"a" + head + bytes(15),
            b"a" + head + bytes(17),
            b"S" + head,
            b"S" + head + msgpack.encode({"pid": -1, "clock": 0.0, "monotonic": 0.0}),
            b"S" + head + msgpack.encode({"pid": 1, "clock": float("nan"), "monotonic": 0.0}),
            b"S" + head + msgpack.encode({"pid": 1, "clock": 0.0, "monotonic": 0.0}) + b"\0",
            b"A" + head + msgpack.encode({"task": TASK.upper()}),
            b"A" + head + msgpack.encode({"task": TASK + "\n"}),
            b"A" + head + b"\x81\xa4task\xa2\xff\xff",
            b"A" + head + b"\x81\xa1x\xdd\xff\xff\xff\xff",
            b"A" + head + b"\xdf\xff\xff\xff\xff",
            b"A" + head + b"\x81\xa4task\xdb\xff\xff\xff\xff",
            b"C" + head + msgpack.encode({"nonce": bytes(15), "selector": bytes(8)}),
            b"E" + head + msgpack.encode({"reason": "exited", "note": "x" * 2001}),
            b"E" + head + msgpack.encode({"reason": "exited", "stdoutChecksum": bytes(17)}),
            b"E" + head + msgpack.encode({"reason": "exited", "stdoutDigest": bytes(33)}),
            b"E" + head + msgpack.encode({"reason": "bored"}),
        ):
            with self.subTest(payload=payload), self.assertRaises(RemoteProtocolError):
                decode(payload)

    def test_oneLine(self) -> None:
        """
        An error that quotes the peer is one printable line.
        """
        said = msgpack.encode({"reason": "\nforged: line\x1b" + "x" * 5000})
        with self.assertRaises(RemoteProtocolError) as caught:
            decode(b"E\0\0\0\1" + said)
        text = str(caught.exception)
        self.assertTrue(text.isprintable())
        self.assertLess(len(text), 400)

    def test_local(self) -> None:
        """
        What does not fit a frame is our fault.
        """
        challenge = Challenge(bytes(16), bytes(8))
        for channel, message in (
            (-1, Heartbeat()),
            (2**32, challenge),
            (1, TaskOutput(Stream.STDIN, 0, b"x")),
            (1, TaskOutput(Stream.STDOUT, 0, b"")),
            (1, TaskOutput(Stream.STDOUT, 0, bytes(MAX_DATA + 1))),
            (1, TaskOutput(Stream.STDOUT, -1, b"x")),
            (1, InputTaken(-1)),
            (1, TaskAttached("\ud800")),
        ):
            with self.subTest(message=message), self.assertRaises(LocalProtocolError):
                encode(channel, message)

    def test_notesAreMadeToFit(self) -> None:
        """
        A note for people never hinders the end of a task from being told.
        """
        ended = TaskEnded(Reason.EXITED, 0, note="bad \udcff" + "x" * 5000)
        _, heard = decode(payloadOf(encode(1, ended)))
        self.assertEqual(heard, replace(ended, note="bad ?" + "x" * 1995))
