"""
The mutual proof of a one-time token (docs/protocol/extended, "Proof").

The token itself never travels on the confirmation connection: each end shows
an HMAC-SHA-256 (RFC 2104) under it, over both nonces and what the connection
is for.
"""

from __future__ import annotations

import hmac
from typing import Any

# CPython has a SHA-256 of its own (named otherwise before 3.12), which for so few
# bytes takes a third of the time of OpenSSL's: a task with a callback port of its own
# takes 4 % less. Where a system allows that of OpenSSL only, it has no other.
try:
    from _sha2 import sha256
except ImportError:
    try:
        from _sha256 import sha256
    except ImportError:
        from hashlib import sha256

TOKEN_SIZE = 16
NONCE_SIZE = 16
SELECTOR_SIZE = 8


def selector(token: bytes) -> bytes:
    """
    Tell which of its tokens the client shall use, without telling the token.
    """
    digest: bytes = sha256(b"jsremote selector" + token).digest()
    return digest[:SELECTOR_SIZE]


def proofs(
    token: bytes, callerNonce: bytes, listenerNonce: bytes, subject: str
) -> tuple[bytes, bytes]:
    """
    What the client shows, and what the remote shows. Either end compares what it is
    shown by C{hmac.compare_digest}, which takes equally long whatever it is.

    @param subject: the UUID of the task, or of the standing connection.
    """
    # Nonces have a fixed size and a label no separator in it, so that no two
    # different inputs are the same bytes.
    to = callerNonce + listenerNonce + subject.encode("ascii")
    return (
        hmac.digest(token, b"jsremote listener" + to, _hash),
        hmac.digest(token, b"jsremote caller" + to, _hash),
    )


def _hash(data: bytes = b"") -> Any:
    # A function in Python, or hmac would ask OpenSSL first.
    return sha256(data)
