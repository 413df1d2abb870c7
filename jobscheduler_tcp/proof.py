"""
The mutual proof of a one-time token (docs/protocol/extended, "Proof").

The token itself never travels on the confirmation connection: each end shows
a keyed BLAKE2b (RFC 7693) under it, over both nonces and what the connection
is for.
"""

from __future__ import annotations

from hashlib import blake2b

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
        blake2b(b"jsremote listener" + to, key=token, digest_size=PROOF_SIZE).digest(),
        blake2b(b"jsremote caller" + to, key=token, digest_size=PROOF_SIZE).digest(),
    )
