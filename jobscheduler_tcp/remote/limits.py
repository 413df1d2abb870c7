"""
The limits of one task: how long it may run, how long it may print nothing, how
much it may print. What it printed is counted here too.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from jobscheduler_tcp.digests import Checksum, OutputDigests, finished, updated
from jobscheduler_tcp.messages import Stream, Work
from jobscheduler_tcp.outcome import Reason


class Limited(Protocol):
    """
    What has limits.
    """

    def limitReached(self, reason: Reason, note: str) -> None:
        """
        One of them is reached; a line for people says which.
        """


class Printed:
    """
    What a task without limits printed.

    @ivar stdoutSize: bytes printed on stdout.
    @ivar stderrSize: the same for stderr.
    @ivar digests: C{None} where nobody asked for them.
    """

    __slots__ = ("_stderr", "_stdout", "digests", "stderrSize", "stdoutSize")

    def __init__(self, *, sha256: bool = False) -> None:
        self.digests = OutputDigests() if sha256 else None
        self._stdout: Checksum | None = None
        self._stderr: Checksum | None = None
        self.stdoutSize = 0
        self.stderrSize = 0

    def start(self) -> None:
        """
        The program runs from now on.
        """

    def stop(self) -> None:
        """
        It is over, or about to be.
        """

    def pause(self) -> None:
        """
        Nobody takes its output.
        """

    def resume(self) -> None:
        """
        Somebody does again.
        """

    def printed(self, stream: Stream, data: bytes) -> bytes:
        """
        Count what the task printed.

        @return: as much of it as is allowed.
        """
        if stream is Stream.STDERR:
            self.stderrSize += len(data)
            self._stderr = updated(self._stderr, data)
        else:
            self.stdoutSize += len(data)
            self._stdout = updated(self._stdout, data)
        if self.digests is not None:
            self.digests.add(stream, data)
        return data

    def checksums(self) -> tuple[bytes, bytes]:
        """
        Make the checksums of both streams.
        """
        return finished(self._stdout), finished(self._stderr)


# That of all tasks without limits that have printed nothing: some sleep for days. The
# other one is theirs of which SHA-256 is asked for.
NOTHING_PRINTED = Printed()
NOTHING_DIGESTED = Printed(sha256=True)


class Limits(Printed):
    """
    Watch one task. There is no timer for a limit that is not set.
    """

    __slots__ = ("_clock", "_lastHeard", "_limited", "_paused", "_silence", "_wall", "_work")

    def __init__(
        self, clock: IReactorTime, work: Work, limited: Limited, *, sha256: bool = False
    ) -> None:
        super().__init__(sha256=sha256)
        self._clock = clock
        self._work = work
        self._limited = limited
        self._wall: IDelayedCall | None = None
        self._silence: IDelayedCall | None = None
        self._lastHeard = 0.0
        self._paused = False

    def start(self) -> None:
        """
        The program runs from now on.
        """
        work = self._work
        if work.wallTime:
            self._wall = self._clock.callLater(work.wallTime, self._overdue)
        if work.silence:
            self._lastHeard = self._clock.seconds()
            self._silence = self._clock.callLater(work.silence, self._quiet)

    def stop(self) -> None:
        """
        It is over, or about to be: time does not count any more.
        """
        for timer in (self._wall, self._silence):
            if timer is not None and timer.active():
                timer.cancel()
        self._wall = self._silence = None

    def pause(self) -> None:
        """
        Nobody takes its output: silence does not count.
        """
        self._paused = True

    def resume(self) -> None:
        """
        Silence counts again, from now.
        """
        self._paused = False
        if self._silence is not None:
            self._lastHeard = self._clock.seconds()

    def printed(self, stream: Stream, data: bytes) -> bytes:
        """
        Count what the task printed.

        @return: as much of it as the limit allows.
        """
        if self._silence is not None:
            self._lastHeard = self._clock.seconds()
        limit = self._work.outputLimit
        if limit:
            room = limit - self.stdoutSize - self.stderrSize
            if len(data) > room:
                data = data[:room]
                self._limited.limitReached(
                    Reason.OUTPUT_LIMIT, f"it printed more than {limit} bytes"
                )
        return super().printed(stream, data)

    def _overdue(self) -> None:
        self._limited.limitReached(Reason.TIMEOUT, f"it ran for {self._work.wallTime:g} seconds")

    def _quiet(self) -> None:
        # One timer that is looked at when it is due is cheaper than one that is
        # set again with each line of output.
        limit = self._work.silence
        silent = 0.0 if self._paused else self._clock.seconds() - self._lastHeard
        if silent >= limit:
            self._limited.limitReached(Reason.SILENT, f"it printed nothing for {limit:g} seconds")
        else:
            self._silence = self._clock.callLater(limit - silent, self._quiet)
