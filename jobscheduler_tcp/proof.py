"""
The mutual proof of a one-time token (docs/protocol/extended, "Proof").

The token itself never travels on the confirmation connection: each end shows
a keyed BLAKE2b (RFC 7693) under it, over both nonces and what the connection
is for.
"""

from __future__ import annotations

from hashlib import blake2b
from hmac import compare_digest

# Bytes. BLAKE2b takes no more than 64 of a key.
TOKEN_SIZE = 16
NONCE_SIZE = 16
SELECTOR_SIZE = 8
PROOF_SIZE = 32


def selector(token: bytes) -> bytes:
    """
    Tell which of its tokens the client shall use, without telling the token.
    """
    return blake2b(b"jsremote selector", key=token, digest_size=SELECTOR_SIZE).digest()


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
    shown = label + callerNonce + listenerNonce + to.encode("ascii")
    return blake2b(shown, key=token, digest_size=PROOF_SIZE).digest()
