"""
Callers that nobody waits for: count them, and tell of them without being talked
to death.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

# Seconds in which one source is told of once.
QUIET = 60.0
# Sources remembered for that: about 100 kB.
MAX_SOURCES = 1000


class Strangers:
    """
    The strangers at all callback ports of a service.

    @ivar count: how many called.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self.count = 0
        self._clock = clock
        self._told: dict[str, float] = {}

    def add(self, source: str, task: str, what: object) -> None:
        """
        A stranger was sent away.

        @param source: where it called from.
        @param task: whose port it called.
        @param what: what was wrong with it.
        """
        self.count += 1
        now = self._clock.seconds()
        told = self._told.get(source)
        if told is not None and now - told < QUIET:
            return
        if len(self._told) >= MAX_SOURCES:
            self._told.clear()
        self._told[source] = now
        self._log.warn(
            "Sent a stranger away who called from {source} for task {task}: {what}; "
            "others from there are only counted for a minute",
            source=source,
            task=task,
            what=what,
        )
