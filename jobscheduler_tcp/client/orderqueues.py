"""
The queues of orders that wait: for a task of their job, or for a time.

An order that has been queued anew, or has left, keeps no place: each entry has a
number, and one that is not its order's last is passed over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from heapq import heapify, heappop, heappush

from jobscheduler_tcp.client.order import NEVER, Order

# What a queue sorts by first, the number of an entry, and whose it is.
_Entry = tuple[float, int, Order]


class OrderQueues:
    """
    A queue for each job, and one of those whose time has not come.
    """

    def __init__(self, wake: Callable[[str], None]) -> None:
        """
        @param wake: told the name of each job for which an order has come.
        """
        self._wake = wake
        self._last = 0
        self._ready: defaultdict[str, list[_Entry]] = defaultdict(list)
        self._later: list[_Entry] = []

    def enter(self, order: Order, now: float, entry: int, bound: int) -> None:
        """
        Queue up an order, for its job or for its time.

        @param entry: the place that it had before a restart, or 0 for the last.
        @param bound: how many orders there are.
        """
        self._last = max(self._last, entry)
        if not entry:
            self._last = entry = self._last + 1
        order.entry = entry
        if order.at > now:
            _push(self._later, (order.at, entry, order), bound)
        else:
            self._queue(order, bound)

    def reserve(self, entry: int) -> None:
        """
        Let those that come stand behind the entry of this number.
        """
        self._last = max(self._last, entry)

    def has(self, job: str, now: float) -> bool:
        """
        Whether an order waits for a task of this job.
        """
        self._advance(now)
        queue = self._ready.get(job)
        while queue and queue[0][2].entry != queue[0][1]:
            heappop(queue)
        return bool(queue)

    def take(self, job: str, now: float) -> Order | None:
        """
        Take the order that is next for this job: the highest priority, and of
        these the one that has waited longest.
        """
        if not self.has(job, now):
            return None
        order = heappop(self._ready[job])[2]
        order.entry = 0
        return order

    def nextTime(self, now: float) -> float:
        """
        When an order that waits for a time may go on; C{NEVER} if none does.
        """
        self._advance(now)
        return self._later[0][0] if self._later else NEVER

    def _queue(self, order: Order, bound: int) -> None:
        _push(self._ready[order.job], (-order.priority, order.entry, order), bound)
        self._wake(order.job)

    def _advance(self, now: float) -> None:
        while self._later and (
            self._later[0][2].entry != self._later[0][1] or self._later[0][0] <= now
        ):
            _, entry, order = heappop(self._later)
            if order.entry == entry:
                self._queue(order, len(self._later))


def _push(queue: list[_Entry], entry: _Entry, bound: int) -> None:
    heappush(queue, entry)
    if len(queue) > 2 * bound + 100:
        # Most are old entries of orders that were changed again and again.
        queue[:] = [each for each in queue if each[2].entry == each[1]]
        heapify(queue)
