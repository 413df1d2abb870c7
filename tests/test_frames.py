"""
The framing of the confirmation connection.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.wire.frames import FrameDecoder, frame
from tests.strategies import fed, pieces, sizes


class FrameTests(SynchronousTestCase):
    """
    Payloads come out as they went in.
    """

    @settings(deadline=None, max_examples=100)
    @given(st.lists(st.binary(max_size=60), max_size=8), sizes)
    def test_anySplit(self, payloads: list[bytes], lengths: list[int]) -> None:
        """
        Wherever the stream is cut, the same payloads come out.
        """
        stream = b"".join(frame(payload) for payload in payloads)
        decoder = FrameDecoder(60)
        self.assertEqual(fed(decoder.feed, pieces(stream, lengths)), payloads)

    def test_longInPieces(self) -> None:
        """
        Long frames come out whole, wherever and into pieces of whatever size they
        are cut.
        """
        payloads = [
            bytes([number]) * size for number, size in enumerate((70000, 0, 3, 9000, 20000))
        ]
        stream = b"".join(frame(payload) for payload in payloads)
        for size in (3, 1000, 4096, 5000, 70001, 70006, 80000, len(stream)):
            decoder = FrameDecoder(100000)
            heard: list[bytes] = []
            for start in range(0, len(stream), size):
                heard += decoder.feed(stream[start : start + size])
            self.assertEqual(heard, payloads)

    def test_bytes(self) -> None:
        """
        The length is four bytes, big-endian, and does not count itself.
        """
        self.assertEqual(frame(b"abc"), b"\0\0\0\3abc")

    def test_whole(self) -> None:
        """
        What is one frame is taken at once; anything else is left to be fed.
        """
        decoder = FrameDecoder(3)
        for payload in (b"", b"abc"):
            self.assertEqual(decoder.whole(frame(payload)), payload)
        for data in (b"", b"\0\0\0", frame(b"abc")[:6], frame(b"") + b"\0", frame(b"abcd")):
            self.assertIsNone(decoder.whole(data))
        self.assertEqual(list(decoder.feed(b"\0\0\0\1")), [])
        self.assertIsNone(decoder.whole(frame(b"abc")))

    def test_limit(self) -> None:
        """
        A payload may be as long as the limit, and is refused by its length, before
        it has come, if it is longer: four bytes of C{ff} ask for 4 GiB.
        """
        self.assertEqual(list(FrameDecoder(3).feed(b"\0\0\0\3abc")), [b"abc"])
        for decoder, header in (
            (FrameDecoder(2), b"\0\0\0\3"),
            (FrameDecoder(1048576), b"\xff\xff\xff\xff"),
        ):
            with self.assertRaises(RemoteProtocolError):
                list(decoder.feed(header))

    def test_limitRaised(self) -> None:
        """
        A limit that is changed when one payload was read holds for the next, also
        if that was there already.
        """
        decoder = FrameDecoder(1)
        read = []
        for payload in decoder.feed(frame(b"a") + frame(b"bcd") + frame(b"efg")[:5]):
            read.append(payload)
            decoder.limit = 3
        self.assertEqual(read, [b"a", b"bcd"])
        self.assertEqual(list(decoder.feed(b"fg")), [b"efg"])

    def test_byteByByte(self) -> None:
        """
        A long payload that comes byte by byte costs no more than its length: this
        takes a moment, and would take minutes if each byte copied those before.
        """
        payload = bytes(400000)
        decoder = FrameDecoder(len(payload))
        self.assertEqual(fed(decoder.feed, pieces(frame(payload), [1])), [payload])
