"""
Which starts were heard so long ago that nothing is known of them any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

# Bits, and how many of them each start sets. With a million starts, ten days of
# as many as a remote remembers, one in fifty that never came is taken for one
# that did.
_BITS = 1 << 23
_EACH = 4


class Forgotten:
    """
    Tell that a start was never heard, or may have been: of those that were, none
    is ever taken for new. It takes a megabyte, whatever is forgotten, and none
    before.
    """

    def __init__(self) -> None:
        self._bits: bytearray | None = None

    def add(self, task: str) -> None:
        """
        Forget a start.
        """
        if self._bits is None:
            self._bits = bytearray(_BITS // 8)
        for bit in _bitsOf(task):
            self._bits[bit >> 3] |= 1 << (bit & 7)

    def __contains__(self, task: str) -> bool:
        """
        Whether it may have been heard.
        """
        bits = self._bits
        return bits is not None and all(bits[bit >> 3] >> (bit & 7) & 1 for bit in _bitsOf(task))


def _bitsOf(task: str) -> Iterator[int]:
    digest = sha256(task.encode("utf-8", "backslashreplace")).digest()
    for start in range(0, 4 * _EACH, 4):
        yield int.from_bytes(digest[start : start + 4], "big") % _BITS
