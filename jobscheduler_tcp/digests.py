"""
Digests of streams, made when there is something in them: most tasks that live for
long print little, or on one stream only.

That the output came as it was sent, both ends know by a checksum, XXH3 with 128
bits: of 1 GiB it takes 0.03 s of a processor, SHA-256 0.6. That is made for people,
where the client asks for it: by the remote, which reads all of the output, whatever
becomes of clients and connections. A classic remote cannot be asked.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

import xxhash

from jobscheduler_tcp.messages import Stream

# Of a stream in which there was little, the bytes themselves: a digest that goes on
# takes 800 bytes of memory.
Checksum: TypeAlias = bytes | xxhash.xxh3_128

# What XXH3 itself reads at once, without looking back at it.
_LITTLE = 240

# Of a stream in which there was nothing.
NOTHING = xxhash.xxh3_128_digest(b"")
_NO_BYTES = hashlib.sha256().digest()


def updated(checksum: Checksum | None, data: bytes | memoryview) -> Checksum:
    """
    Go on with a checksum.

    @param checksum: C{None} at the beginning.
    """
    if checksum is None:
        checksum = b""
    elif not isinstance(checksum, bytes):
        checksum.update(data)
        return checksum
    if len(checksum) + len(data) <= _LITTLE:
        return b"".join((checksum, data))
    begun = xxhash.xxh3_128(checksum)
    begun.update(data)
    return begun


def finished(checksum: Checksum | None) -> bytes:
    """
    The checksum of all that was in the stream.
    """
    if checksum is None:
        return NOTHING
    if isinstance(checksum, bytes):
        return xxhash.xxh3_128_digest(checksum)
    return checksum.digest()


class OutputDigests:
    """
    The SHA-256 of both streams of a task.
    """

    __slots__ = ("_stderr", "_stdout")

    def __init__(self) -> None:
        self._stdout: hashlib._Hash | None = None
        self._stderr: hashlib._Hash | None = None

    def add(self, stream: Stream, data: bytes) -> None:
        """
        The task printed something.
        """
        if stream is Stream.STDERR:
            self._stderr = self._stderr or hashlib.sha256()
            self._stderr.update(data)
        else:
            self._stdout = self._stdout or hashlib.sha256()
            self._stdout.update(data)

    def finished(self) -> tuple[bytes, bytes]:
        """
        Of stdout and of stderr.
        """
        return (
            _NO_BYTES if self._stdout is None else self._stdout.digest(),
            _NO_BYTES if self._stderr is None else self._stderr.digest(),
        )
