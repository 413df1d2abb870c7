"""
The extended language as it is heard.
"""

from __future__ import annotations

from dataclasses import astuple

from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.messages import (
    Confirmation,
    EndAcknowledged,
    Stream,
    TaskEnded,
    TaskInput,
    TaskOutput,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.wire.decoder import MessageDecoder
from jobscheduler_tcp.wire.extended import MAX_DATA, MAX_PROVEN, encode

PRINTED = bytes(range(256)) * 256


class MessageDecoderTests(SynchronousTestCase):
    """
    Messages come out as they went in, but long output in pieces.
    """

    def setUp(self) -> None:
        """
        Both ends are proven.
        """
        self.decoder = MessageDecoder()
        self.decoder.limit = MAX_PROVEN

    def heard(self, stream: bytes, size: int) -> list[tuple[int, Confirmation]]:
        """
        What comes out if the stream comes in pieces of that size.
        """
        heard: list[tuple[int, Confirmation]] = []
        for start in range(0, len(stream), size):
            heard += self.decoder.feed(stream[start : start + size])
        return heard

    def test_longOutput(self) -> None:
        """
        Output of a long frame is given out as it comes; the offsets of its pieces
        tell where each belongs, whatever its size.
        """
        said: list[tuple[int, Confirmation]] = [
            (7, TaskOutput(Stream.STDERR, 10, PRINTED)),
            (9, TaskOutput(Stream.STDOUT, 0, PRINTED)),
            (7, TaskOutput(Stream.STDERR, 10 + len(PRINTED), b"x")),
            (7, EndAcknowledged()),
        ]
        stream = b"".join(encode(channel, message) for channel, message in said)
        for size in (1, 1000, 5000, 65536, 65549, 70000, len(stream)):
            heard = self.heard(stream, size)
            self.assertEqual(heard.pop(), said[-1])
            printed = {7: bytearray(10), 9: bytearray()}
            for channel, message in heard:
                assert isinstance(message, TaskOutput)
                self.assertEqual(message.offset, len(printed[channel]))
                self.assertEqual(message.stream, Stream.STDERR if channel == 7 else Stream.STDOUT)
                self.assertIsInstance(message.data, bytes)
                printed[channel] += message.data
            self.assertEqual(printed, {7: bytes(10) + PRINTED + b"x", 9: PRINTED})

    def test_atOnce(self) -> None:
        """
        A piece is given out before the next one has come.
        """
        frame = encode(1, TaskOutput(Stream.STDOUT, 5, PRINTED))
        ((_, first),) = self.decoder.feed(frame[:30000])
        ((_, second),) = self.decoder.feed(frame[30000:60000])
        ((_, third),) = self.decoder.feed(frame[60000:])
        header = len(frame) - len(PRINTED)
        self.assertEqual(
            [astuple(piece)[1] for piece in (first, second, third)],
            [5, 5 + 30000 - header, 5 + 60000 - header],
        )

    def test_others(self) -> None:
        """
        Every other message comes out whole, however long it is.
        """
        for message in (
            TaskInput(3, PRINTED),
            TaskEnded(Reason.EXITED, 0, returned=((b"name", PRINTED),)),
        ):
            self.assertEqual(self.heard(encode(1, message), 5000), [(1, message)])

    def test_tooLong(self) -> None:
        """
        A frame of output that is longer than allowed is refused at its beginning.
        """
        self.decoder.limit = MAX_PROVEN - 1
        frame = encode(1, TaskOutput(Stream.STDOUT, 0, bytes(MAX_DATA)))
        with self.assertRaises(RemoteProtocolError):
            list(self.decoder.feed(frame[:5000]))
