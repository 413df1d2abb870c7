"""
The command connections to a classic remote that have no task, and wait for one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IReactorTime

if TYPE_CHECKING:
    from jobscheduler_tcp.client.classiccommand import ClassicCommandProtocol

# Seconds for which a connection waits for a next task: those that come one after
# the other find it; what lies between the two machines has not forgotten it.
KEPT = 1.0


class IdleCommands:
    """
    The command connections to one classic remote, as long as tasks of ours run
    there: one whose task is over waits a little for the next one. A remote takes
    any number of tasks on a connection (3.2); to connect, to be admitted and to
    close costs both ends a tenth of all that a short task does.
    """

    def __init__(self) -> None:
        self._users = 0
        # The older ones have waited since before the timer was set.
        self._older: list[ClassicCommandProtocol] = []
        self._newer: list[ClassicCommandProtocol] = []
        self._timer: IDelayedCall | None = None

    def enter(self) -> ClassicCommandProtocol | None:
        """
        A task needs a connection.

        @return: one that is there.
        """
        self._users += 1
        idle = self._newer or self._older
        if not idle:
            return None
        protocol = idle.pop()
        protocol.whenClosed = None
        return protocol

    def leave(self) -> None:
        """
        It needs none any more. The last task leaves nothing behind.
        """
        self._users -= 1
        if not self._users:
            self._close(self._older)
            self._close(self._newer)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def keep(self, protocol: ClassicCommandProtocol, clock: IReactorTime) -> bool:
        """
        A task is over, and nothing is left of it on its connection.

        @return: whether that stays open.
        """
        if self._users < 2:  # who brings it is one
            return False
        protocol.whenClosed = lambda: self._gone(protocol)
        self._newer.append(protocol)
        if self._timer is None:
            self._timer = clock.callLater(KEPT, self._elapsed, clock)
        return True

    def _elapsed(self, clock: IReactorTime) -> None:
        self._timer = None
        self._close(self._older)
        self._older, self._newer = self._newer, []
        if self._older:
            self._timer = clock.callLater(KEPT, self._elapsed, clock)

    def _gone(self, protocol: ClassicCommandProtocol) -> None:
        for each in (self._older, self._newer):
            if protocol in each:
                each.remove(protocol)

    def _close(self, idle: list[ClassicCommandProtocol]) -> None:
        for protocol in idle:
            protocol.whenClosed = None
            protocol.transport.loseConnection()
        idle.clear()
