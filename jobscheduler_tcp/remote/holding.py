"""
What the remote keeps for a client that may come back for its task, and for how
long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from jobscheduler_tcp.messages import OnDisconnect, Stream, TaskEnded
from jobscheduler_tcp.remote.unacknowledged import Unacknowledged

if TYPE_CHECKING:
    from jobscheduler_tcp.remote.returning import Returning

# Bytes of output that are kept of a task whose client is gone; beyond that it is
# held back by its pipes. As much as may be under way to a client that is there
# (channels.WINDOW).
MOST_KEPT = 2097152

# Seconds that a task is held for at most, unless the remote is told otherwise.
MOST_HOLD = 3600.0


class Held(Protocol):
    """
    What is held.
    """

    def holdIsOver(self) -> None:
        """
        The time is over, and the client counts as lost for ever.
        """


class Hold:
    """
    The hold on one task. There is no timer as long as its client is there.

    @ivar secret: what a client has to know that comes back.
    @ivar stdout: bytes of stdout that are not kept any more: acknowledged, or
        dropped.
    @ivar stderr: the same for stderr.
    @ivar dropped: how many of them were dropped.
    @ivar away: whether the client is gone.
    @ivar end: how the task ended, C{None} before.
    @ivar attempt: the last of a client that came back.
    @ivar lost: whether it is too late to come back.
    """

    __slots__ = (
        "_clock",
        "_dropping",
        "_finishes",
        "_held",
        "_kept",
        "_seconds",
        "_timer",
        "attempt",
        "away",
        "dropped",
        "end",
        "lost",
        "secret",
        "stderr",
        "stdout",
    )

    def __init__(
        self,
        clock: IReactorTime,
        policy: OnDisconnect,
        seconds: float,
        secret: bytes,
        held: Held,
    ) -> None:
        self.secret = secret
        self.stdout = self.stderr = 0
        self.dropped = 0
        self.away = self.lost = False
        self.end: TaskEnded | None = None
        self.attempt: Returning | None = None
        self._clock = clock
        self._finishes = policy is OnDisconnect.FINISH
        self._seconds = seconds
        self._held = held
        self._dropping = False
        self._kept: Unacknowledged | None = None
        self._timer: IDelayedCall | None = None

    @property
    def seconds(self) -> float:
        """
        For how long a client that is gone is waited for.
        """
        return self._seconds

    @property
    def size(self) -> int:
        """
        Bytes of output that are kept.
        """
        return self._kept.size if self._kept is not None else 0

    @property
    def full(self) -> bool:
        """
        Whether the task must print no more as long as nobody takes it.
        """
        return self.away and self.size >= MOST_KEPT

    # ------------------------------------------------------------------ the output

    def keep(self, stream: Stream, end: int, data: bytes) -> None:
        """
        The task printed something.

        @param end: bytes of the stream up to the end of these.
        """
        if self._dropping:
            self._forgo(stream, end)
            return
        if self._kept is None:
            self._kept = Unacknowledged()
        self._kept.add(stream, end, data)

    def acknowledge(self, stdout: int, stderr: int) -> None:
        """
        The client has so many bytes.
        """
        self.stdout = max(self.stdout, stdout)
        self.stderr = max(self.stderr, stderr)
        if self._kept is not None:
            self._kept.acknowledge(self.stdout, self.stderr)
            if not self._kept.size:
                # Empty, it takes more memory than what most tasks print.
                self._kept = None

    def unacknowledged(self) -> list[tuple[Stream, bytes]]:
        """
        What has to be said once more, in the order of printing.
        """
        return list(self._kept.after(self.stdout, self.stderr)) if self._kept is not None else []

    def _forgo(self, stream: Stream, end: int) -> None:
        if stream is Stream.STDERR:
            self.dropped += end - self.stderr
            self.stderr = end
        else:
            self.dropped += end - self.stdout
            self.stdout = end

    # ------------------------------------------------------------------ the client

    def left(self) -> bool:
        """
        The client is gone.

        @return: whether it is waited for.
        """
        self.away = True
        self._setTimer()
        self.lost = self._timer is None
        return not self.lost

    def returned(self, stdout: int, stderr: int) -> None:
        """
        A client is there that has so many bytes.
        """
        self.away = self._dropping = False
        self._stopTimer()
        self.acknowledge(stdout, stderr)

    def ended(self, message: TaskEnded) -> None:
        """
        The task is over, and how is kept as long as any output.
        """
        self.end = message
        if self.away:
            self._setTimer()

    def drop(self, stdout: int, stderr: int) -> None:
        """
        Keep nothing any more as long as nobody is there.

        @param stdout: how much the task printed.
        """
        self._dropping = True
        self._kept = None
        self._forgo(Stream.STDOUT, stdout)
        self._forgo(Stream.STDERR, stderr)

    @property
    def goesOn(self) -> bool:
        """
        Whether the task goes on when the time is over.
        """
        return self._finishes and self.end is None

    def stop(self) -> None:
        """
        Wait for nobody from now on.
        """
        self._seconds = 0.0
        self._finishes = False
        self.lost = self.lost or self.away
        self._stopTimer()
        attempt, self.attempt = self.attempt, None
        if attempt is not None:
            attempt.giveUp()

    def _setTimer(self) -> None:
        self._stopTimer()
        if self._seconds > 0 or self._finishes:
            self._timer = self._clock.callLater(self._seconds, self._overdue)

    def _stopTimer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _overdue(self) -> None:
        self._timer = None
        self._held.holdIsOver()
