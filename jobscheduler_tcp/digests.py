"""
The SHA-256 of a stream, made when there is something in it: one takes 250 bytes,
and most tasks that live for long print little, or on one stream only.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

Digest: TypeAlias = "hashlib._Hash"

# Of a stream in which there was nothing.
NOTHING = hashlib.sha256().digest()


def updated(digest: Digest | None, data: bytes | memoryview) -> Digest:
    """
    Go on with a digest.

    @param digest: C{None} at the beginning.
    """
    if digest is None:
        return hashlib.sha256(data)
    digest.update(data)
    return digest


def finished(digest: Digest | None) -> bytes:
    """
    The digest of all that was in the stream.
    """
    return NOTHING if digest is None else digest.digest()
