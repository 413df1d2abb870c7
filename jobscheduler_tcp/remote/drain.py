"""
How long the output of a task is read after its main process has exited.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

# Seconds that output may go on after the main process has exited: so long after
# the last byte, and so long in all.
DRAIN_SILENCE = 1.0
DRAIN_LIMIT = 10.0


class Drain:
    """
    The time in which output is still read after the main process has exited.
    It does not run while nobody reads.

    @param over: called when it ends, and whether it was the time in all.
    """

    def __init__(self, clock: IReactorTime, over: Callable[[bool], None]) -> None:
        self._clock = clock
        self._over = over
        self._left = DRAIN_LIMIT
        self._until = 0.0
        self._call: IDelayedCall | None = None

    def run(self) -> None:
        """
        Go on.
        """
        if self._call is None:
            self._until = self._clock.seconds() + self._left
            self._call = self._clock.callLater(min(DRAIN_SILENCE, self._left), self._expired)

    def heard(self) -> None:
        """
        There was output: it may go on.
        """
        if self._call is not None:
            left = self._until - self._clock.seconds()
            self._call.reset(min(DRAIN_SILENCE, max(left, 0.0)))

    def hold(self) -> None:
        """
        Stand still.
        """
        if self._call is not None:
            self._call.cancel()
            self._call = None
            self._left = max(self._until - self._clock.seconds(), 0.0)

    def _expired(self) -> None:
        self._call = None
        self._left = max(self._until - self._clock.seconds(), 0.0)
        self._over(self._left == 0.0)
