"""
The mutual proof of a one-time token (docs/protocol/extended, "Proof").

The token itself never travels on the confirmation connection: each end shows
an HMAC-SHA-256 (RFC 2104) under it, over both nonces and what the connection
is for.
"""

from __future__ import annotations

from hashlib import sha256
from hmac import compare_digest, digest

TOKEN_SIZE = 16
NONCE_SIZE = 16
SELECTOR_SIZE = 8


def selector(token: bytes) -> bytes:
    """
    Tell which of its tokens the client shall use, without telling the token.
    """
    return sha256(b"jsremote selector" + token).digest()[:SELECTOR_SIZE]


def listenerProof(token: bytes, callerNonce: bytes, listenerNonce: bytes, subject: str) -> bytes:
    """
    What the client shows. C{subject} is the UUID of the task.
    """
    return _proof(b"jsremote listener", token, callerNonce, listenerNonce, subject)


def callerProof(token: bytes, callerNonce: bytes, listenerNonce: bytes, subject: str) -> bytes:
    """
    What the remote shows. C{subject} is the UUID of the task.
    """
    return _proof(b"jsremote caller", token, callerNonce, listenerNonce, subject)


def isProof(shown: bytes, expected: bytes) -> bool:
    """
    Compare in constant time.
    """
    return compare_digest(shown, expected)


def _proof(label: bytes, token: bytes, callerNonce: bytes, listenerNonce: bytes, to: str) -> bytes:
    # Nonces have a fixed size and a label no separator in it, so that no two
    # different inputs are the same bytes.
    return digest(token, label + callerNonce + listenerNonce + to.encode("ascii"), "sha256")
