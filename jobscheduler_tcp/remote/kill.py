"""
End all processes of a task, and say which could not be ended.

A process that forks and leaves while we look can be missed, so we look again,
until twice in a row nobody was found. All kills that are under way share one
look at /proc.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from signal import SIGKILL

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from jobscheduler_tcp.interfaces import KillReport
from jobscheduler_tcp.remote.processes import (
    PROC,
    Process,
    Snapshot,
    groupOnly,
    send,
    survivorOf,
)

# Seconds between two looks: most processes end at once when told to, and a look
# takes up to 20 ms where a thousand tasks live.
SHORTEST_DELAY = 0.01
LONGEST_DELAY = 0.2

# Seconds after the first SIGKILL until what is left is reported: only a process
# that hangs in the kernel, or is not ours to kill, lives that long.
PATIENCE = 5.0


@dataclass(slots=True, eq=False)
class Family:
    """
    By what the processes of a task are known.

    @ivar main: the number of its first process, and of the session and process
        group that this one leads.
    @ivar reaped: whether the main process was waited for, so that its number
        may be given to somebody else once its session is empty.
    """

    task: str
    main: int
    reaped: bool = False


@dataclass(slots=True, eq=False)
class _Kill:
    """
    One kill under way.

    @ivar empty: how many looks in a row found nobody.
    """

    family: Family
    signal: int
    sigkillAt: float
    giveUpAt: float = float("inf")
    done: Deferred[KillReport] = field(default_factory=Deferred)
    known: dict[tuple[int, int], Process] = field(default_factory=dict)
    empty: int = 0
    numberIsOurs: bool = True

    def find(self, snapshot: Snapshot) -> list[Process]:
        """
        Find who is left.
        """
        main = self.family.main
        # A session or group of ours keeps its number, but whoever has the number
        # itself of a process that was waited for is somebody else.
        if self.family.reaped and (main in snapshot.processes or not snapshot.occupied(main)):
            self.numberIsOurs = False
        ours = main if self.numberIsOurs else None
        return snapshot.family(ours, self.family.task, self.known.values())


class Killer:
    """
    Kill tasks.

    @param mains: finds out now which are the main processes of all tasks that were
        not waited for. Families know then whether theirs was.
    @param send: how a signal is sent.
    """

    def __init__(
        self,
        clock: IReactorTime,
        mains: Callable[[], Container[int]],
        proc: str = PROC,
        send: Callable[[Process, int, str], None] = send,
    ) -> None:
        self._clock = clock
        self._mains = mains
        self._proc = proc
        self._send = send
        self._kills: list[_Kill] = []
        self._delay = SHORTEST_DELAY
        self._looked = float("-inf")
        self._call: IDelayedCall | None = None

    def kill(self, family: Family, signal: int, grace: float) -> Deferred[KillReport]:
        """
        Send a signal to every process of a task, and SIGKILL to those that are
        left after C{grace} seconds.
        """
        now = self._clock.seconds()
        # Also for a grace that is no number.
        sigkillAt = now + grace if signal != SIGKILL and grace > 0 else now
        kill = _Kill(family, signal, sigkillAt)
        self._kills.append(kill)
        self._delay = SHORTEST_DELAY
        self._lookIn(max(0.0, min(SHORTEST_DELAY, self._looked + SHORTEST_DELAY - now)))
        return kill.done

    def _lookIn(self, seconds: float) -> None:
        if self._call is not None:
            self._call.cancel()
        self._call = self._clock.callLater(seconds, self._look)

    def _look(self) -> None:
        self._call = None
        now = self._clock.seconds()
        over = []
        try:
            snapshot = None
            if os.path.isdir(f"{self._proc}/self"):
                snapshot = Snapshot(self._proc, self._mains())
            for kill in self._kills:
                report = self._advance(kill, snapshot, now)
                if report is not None:
                    over.append((kill, report))
        except OSError:  # out of descriptors: those that were not seen come later
            pass
        for kill, _ in over:
            self._kills.remove(kill)
        self._looked = self._clock.seconds()
        if self._kills:
            nextSigkill = min(
                (kill.sigkillAt - now for kill in self._kills if kill.sigkillAt > now),
                default=LONGEST_DELAY,
            )
            # Never 0, lest rounding make a circle of looks at the same time.
            self._lookIn(min(self._delay, max(nextSigkill, 0.001)))
            self._delay = min(2 * self._delay, LONGEST_DELAY)
        # Last, because these may kill again.
        for kill, report in over:
            kill.done.callback(report)

    def _advance(self, kill: _Kill, snapshot: Snapshot | None, now: float) -> KillReport | None:
        """
        Signal those that are left.

        @return: the end of this kill, if it is one.
        """
        left = groupOnly(kill.family.main) if snapshot is None else kill.find(snapshot)
        kill.empty = 0 if left else kill.empty + 1
        if kill.empty >= 2:
            return KillReport(len(kill.known))
        if now >= kill.giveUpAt:
            died = kill.known.keys() - {process.identity for process in left}
            survivors = tuple(survivorOf(process, self._proc) for process in left)
            return KillReport(len(died), survivors)
        harsh = now >= kill.sigkillAt
        if harsh:
            kill.giveUpAt = min(kill.giveUpAt, now + PATIENCE)
        for process in left:
            if harsh:
                self._send(process, SIGKILL, self._proc)
            elif process.identity not in kill.known:
                self._send(process, kill.signal, self._proc)
            kill.known[process.identity] = process
        return None
