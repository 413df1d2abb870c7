"""
Tests for L{jobscheduler_tcp.digests}.
"""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from xxhash import xxh3_128_digest

from jobscheduler_tcp.digests import Checksum, OutputDigests, finished, updated
from jobscheduler_tcp.messages import Stream


class ChecksumTests(SynchronousTestCase):
    """
    The checksum of a stream.
    """

    @given(st.lists(st.integers(0, 300).map(lambda size: bytes(range(200))[:7] * size)))
    def test_pieces(self, pieces: list[bytes]) -> None:
        """
        It is XXH3 of all bytes, however they came.
        """
        checksum: Checksum | None = None
        for piece in pieces:
            checksum = updated(checksum, piece)
        self.assertEqual(finished(checksum), xxh3_128_digest(b"".join(pieces)))

    def test_asXxh128sum(self) -> None:
        """
        It is what the command C{xxh128sum} prints.
        """
        self.assertEqual(finished(None).hex(), "99aa06d3014798d86001c324468d497f")

    def test_views(self) -> None:
        """
        A piece may be a part of another one, which is not kept.
        """
        whole = bytearray(b"hello, world")
        checksum = updated(None, memoryview(whole)[:5])
        whole[:] = bytes(len(whole))
        self.assertEqual(finished(checksum), xxh3_128_digest(b"hello"))


class OutputDigestsTests(SynchronousTestCase):
    """
    The SHA-256 of what a task printed.
    """

    def test_both(self) -> None:
        """
        Each stream has its own.
        """
        digests = OutputDigests()
        digests.add(Stream.STDOUT, b"one ")
        digests.add(Stream.STDERR, b"oops")
        digests.add(Stream.STDOUT, b"two")
        expected = sha256(b"one two").digest(), sha256(b"oops").digest()
        self.assertEqual(digests.finished(), expected)

    def test_nothing(self) -> None:
        """
        A stream in which there was nothing has one, too.
        """
        nothing = sha256().digest()
        self.assertEqual(OutputDigests().finished(), (nothing, nothing))
