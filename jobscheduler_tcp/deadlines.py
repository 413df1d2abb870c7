"""
One timer for all who wait equally long.

Most starts are confirmed within milliseconds, and most callers prove themselves
sooner still: a timer for each of them would be made, sorted in and thrown away for
nothing.
"""

from __future__ import annotations

from math import inf
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger


class Waiting(Protocol):
    """
    Who waits for something.
    """

    def overdue(self) -> None:
        """
        It has not come in time. The L{Deadlines} have forgotten this one.
        """


class Deadlines:
    """
    Tell those whose time is over. While there is nobody, there is no timer, unless
    it is kept.

    @ivar seconds: how long everybody waits.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self.seconds = seconds
        self._clock = clock
        # In the order in which their time is over.
        self._ends: dict[Waiting, float] = {}
        self._timer: IDelayedCall | None = None
        self._kept = False

    def keep(self, kept: bool) -> None:
        """
        Say whether others will come soon when nobody waits any more: a timer that
        runs is then left to them.
        """
        self._kept = kept
        if not kept and not self._ends:
            self._stopTimer()

    def add(self, waiting: Waiting) -> None:
        """
        Count the time of one who does not stand here yet.
        """
        self._ends[waiting] = self._clock.seconds() + self.seconds
        if self._timer is None:
            self._timer = self._clock.callLater(self.seconds, self._elapsed)

    def remove(self, waiting: Waiting) -> None:
        """
        Forget one; who is not known is forgotten already.
        """
        self._ends.pop(waiting, None)
        if not self._kept and not self._ends:
            self._stopTimer()

    def _stopTimer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _elapsed(self) -> None:
        self._timer = None
        # Both numbers come from the clock, by different sums.
        now = self._clock.seconds() + 0.001
        over = []
        for waiting, end in self._ends.items():
            if end > now:
                self._timer = self._clock.callLater(end - now, self._elapsed)
                break
            over.append(waiting)
        for waiting in over:
            if self._ends.get(waiting, inf) > now:
                continue  # removed by one before it, and may wait anew
            del self._ends[waiting]
            try:
                waiting.overdue()
            except BaseException:  # no reactor of Twisted lets SystemExit leave its loop
                self._log.failure("What was to be done when a time was over failed")
