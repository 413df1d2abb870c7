"""
When which job is looked at, whether it may start something: soon after what it
waited for may have come, and when a time has come.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from jobscheduler_tcp.client.order import NEVER

# Seconds after which the wall clock is looked at again, in case it was set.
_LOOK_AGAIN = 60.0


class Turns:
    """
    Look at jobs.
    """

    def __init__(
        self,
        clock: IReactorTime,
        wallClock: Callable[[], float],
        look: Callable[[str, float], None],
        nextOrder: Callable[[float], float],
    ) -> None:
        """
        @param look: looks at the job of a name.
        @param nextOrder: wakes the jobs of orders whose time has come, and tells
            when the next may go on; C{NEVER} if none does.
        """
        self._clock = clock
        self._wallClock = wallClock
        self._look = look
        self._nextOrder = nextOrder
        self._awake: dict[str, None] = {}
        self._times: list[tuple[float, str]] = []
        self._timed: set[tuple[float, str]] = set()
        self._timer: IDelayedCall | None = None
        self._stopped = False

    def wake(self, name: str) -> None:
        """
        Look at a job soon: what it waited for may have come.
        """
        self._awake[name] = None
        self.soon()

    def wakeAt(self, when: float, name: str) -> None:
        """
        Look at a job then, seconds since 1970.
        """
        entry = (when, name)
        if entry not in self._timed:
            self._timed.add(entry)
            heappush(self._times, entry)

    def soon(self) -> None:
        """
        Look whose time has come.
        """
        self._setTimer(0.0)

    def nextTime(self) -> float:
        """
        When a time comes; C{NEVER} if none does.
        """
        times = self._times[0][0] if self._times else NEVER
        return min(self._nextOrder(self._wallClock()), times)

    def stop(self) -> None:
        """
        Look no more.
        """
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _setTimer(self, delay: float) -> None:
        if self._stopped:
            return
        if self._timer is not None:
            if self._timer.getTime() <= self._clock.seconds() + delay:
                return
            self._timer.cancel()
        self._timer = self._clock.callLater(delay, self._serve)

    def _serve(self) -> None:
        self._timer = None
        now = self._wallClock()
        nextOrder = self._nextOrder(now)
        while self._times and self._times[0][0] <= now:
            entry = heappop(self._times)
            self._timed.discard(entry)
            self._awake[entry[1]] = None
        awake, self._awake = self._awake, {}
        for name in awake:
            self._look(name, now)
        when = min(nextOrder, self._times[0][0] if self._times else NEVER)
        if when != NEVER:
            self._setTimer(min(max(0.0, when - now), _LOOK_AGAIN))
        if self._awake:
            self.soon()
