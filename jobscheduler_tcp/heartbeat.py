"""
One timer for the heartbeats of many connections, and one for each time for which they
wait.

A connection that says nothing for a while is either idle or dead, and only a
word from the other end tells which. Each end therefore says a word every few
seconds, and takes the other for dead when it has heard none for much longer.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from jobscheduler_tcp.deadlines import Deadlines

# Seconds between two beats, and without a word until the peer is taken for dead
# (docs/protocol/extended, "Ping" and "A task's channel").
INTERVAL = 5.0
SILENCE = 15.0

# How many connections beat in one go, which takes some 10 ms: where there are more,
# they do so one lot after the other, for the beats of thousands at once would hold up
# every word for a while.
MOST = 250


class Beating(Protocol):
    """
    One end of a connection, as the L{Heart} sees it.

    @ivar quiet: how many beats ago the peer was last heard; the connection sets
        it to 0 with everything that it hears.
    """

    quiet: int

    def beat(self) -> None:
        """
        Say something.
        """

    def silent(self) -> None:
        """
        The peer has said nothing for too long: hang up. The heart has forgotten
        this connection.
        """


class Heart:
    """
    Beat for all connections of a service at once. While there is none, there is
    no timer.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        # A dict, for a set would beat in an order that changes from run to run.
        self._members: dict[Beating, None] = {}
        self._round: list[Beating] = []  # who has not beaten in this interval yet
        self._pause = INTERVAL
        self._timer: IDelayedCall | None = None
        self._deadlines: dict[float, Deadlines] = {}

    def deadlines(self, seconds: float) -> Deadlines:
        """
        @return: the one for all connections of the service that wait so long. While
            anything beats, there will be more of them.
        """
        deadlines = self._deadlines.get(seconds)
        if deadlines is None:
            deadlines = self._deadlines[seconds] = Deadlines(self._clock, seconds)
            deadlines.keep(self._timer is not None)
        return deadlines

    def add(self, member: Beating) -> None:
        """
        Beat for a connection, from now until it is removed or silent.
        """
        self._members[member] = None
        if self._timer is None:
            self._timer = self._clock.callLater(INTERVAL, self._beat)
            self._keepDeadlines(True)

    def remove(self, member: Beating) -> None:
        """
        Forget a connection; one that is not known is forgotten already.
        """
        self._members.pop(member, None)
        if not self._members and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._round = []
            self._keepDeadlines(False)

    def _keepDeadlines(self, kept: bool) -> None:
        for deadlines in self._deadlines.values():
            deadlines.keep(kept)

    def _beat(self) -> None:
        if not self._round:
            self._round = list(self._members)
            self._pause = INTERVAL / -(-len(self._round) // MOST)
        # Armed first, so that whoever is removed below finds a timer to cancel.
        self._timer = self._clock.callLater(self._pause, self._beat)
        lot, self._round = self._round[:MOST], self._round[MOST:]
        for member in lot:
            if member not in self._members:
                continue  # removed by one that beat before it
            member.quiet += 1
            try:
                if member.quiet * INTERVAL > SILENCE:
                    self.remove(member)
                    member.silent()
                else:
                    member.beat()
            except Exception:
                # One broken connection must not stop the heart of the others.
                self._log.failure("A connection failed at its heartbeat")
