"""
Peers that have connected and not said a complete word yet: how many there may
be, and how long each may take.

Whoever may connect at all could otherwise use up the descriptors of a service
by saying nothing, or one byte at a time.
"""

from __future__ import annotations

from collections import Counter

# How many there may be: in all, from one source, and from one source with the
# whole time. Real clients speak at once, but of a burst of them a hundred and
# more are accepted before the first word of any is read; so those beyond the
# last number are hurried and not sent away. OpenSSH knows the same numbers as
# MaxStartups and PerSourceMaxStartups.
MAX_IN_ALL = 512
MAX_OF_ONE = 256
MAX_UNHURRIED_OF_ONE = 16

# Seconds for the first word; 10 as in docs/protocol/extended, "Command
# connection". A second is many times what a real client needs.
GRACE = 10.0
HURRIED_GRACE = 1.0


class SilentPeers:
    """
    Count the silent peers of one port.
    """

    def __init__(self) -> None:
        self._sources: Counter[str] = Counter()
        self._inAll = 0

    def enter(self, source: str) -> float | None:
        """
        One more has connected.

        @return: how many seconds it has, or C{None} if there are too many: drop
            it. Otherwise C{leave} must follow.
        """
        ofOne = self._sources[source]
        if self._inAll >= MAX_IN_ALL or ofOne >= MAX_OF_ONE:
            return None
        self._sources[source] = ofOne + 1
        self._inAll += 1
        return GRACE if ofOne < MAX_UNHURRIED_OF_ONE else HURRIED_GRACE

    def leave(self, source: str) -> None:
        """
        One has spoken, or is gone.
        """
        self._inAll -= 1
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]
