"""
Learn that a child exited, and wait for exactly that one: C{waitpid(-1)} would
steal the children of Twisted and of the application around us.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.interfaces import ILaunchReactor, ProcessExit
from jobscheduler_tcp.remote.processes import readProcess

# Seconds between two looks where the system does not tell.
POLL_INTERVAL = 0.05

# The same for a child of somebody who is gone.
ORPHAN_INTERVAL = 0.5

# The unit of ru_maxrss in bytes: getrusage(2) of Linux and the BSDs, and of macOS.
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


def _openPidfd(pid: int) -> int:
    """
    @return: -1 where there is none: before Linux 5.3, elsewhere, or out of
        descriptors.
    """
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


@implementer(IReadDescriptor)
class ExitWatch:
    """
    The end of one child of ours.

    A child that exited stays a zombie until L{reap}: until then its number, and
    that of its session, cannot be given to somebody else. (Not so where the
    system has no pidfd.)

    @param exited: called once when the child has exited.
    """

    __slots__ = ("_call", "_descriptor", "_exited", "_pid", "_reactor", "_rusage", "_status")

    def __init__(self, reactor: ILaunchReactor, pid: int, exited: Callable[[], None]) -> None:
        self._reactor = reactor
        self._pid = pid
        self._exited = exited
        self._call: IDelayedCall | None = None
        self._status: int | None = None
        self._rusage: resource.struct_rusage | None = None
        self._descriptor = _openPidfd(pid)

    @property
    def descriptors(self) -> int:
        """
        How many it takes.
        """
        return int(self._descriptor >= 0)

    @property
    def reaped(self) -> bool:
        """
        Whether the child was waited for.
        """
        return self._rusage is not None

    def start(self) -> None:
        """
        Watch.
        """
        if self._descriptor >= 0:
            self._reactor.addReader(self)
        else:
            self._call = self._reactor.callLater(POLL_INTERVAL, self._poll)

    def stop(self) -> None:
        """
        Watch no more.
        """
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._descriptor >= 0:
            self._reactor.removeReader(self)
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def reap(self, note: str = "") -> ProcessExit:
        """
        Wait for the child, without waiting, and tell how it ended.
        """
        if self._rusage is None:
            self._wait()
        if self._rusage is None or self._status is None:
            return _unknown("somebody else waited for it", note)
        resident = self._rusage.ru_maxrss
        if resident <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
            # Linux counts the memory that a child shared with us before it
            # became its own program: so this says nothing of the task.
            resident = 0
        usage = self._rusage
        return _known(self._status, usage.ru_utime, usage.ru_stime, resident, note)

    def fileno(self) -> int:
        """
        See C{IReadDescriptor}.
        """
        return self._descriptor

    def logPrefix(self) -> str:
        """
        See C{IReadDescriptor}.
        """
        return "exit"

    def doRead(self) -> None:
        """
        The child exited, unless this event was meant for an older descriptor of
        the same number.
        """
        try:
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            if os.waitid(os.P_PID, self._pid, flags) is None:
                return
        except ChildProcessError:  # somebody else waited for it
            pass
        self._reactor.removeReader(self)
        self._exited()

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor has removed us. It has no reason to.
        """

    def _poll(self) -> None:
        self._call = None
        if self._wait():
            self._exited()
        else:
            self._call = self._reactor.callLater(POLL_INTERVAL, self._poll)

    def _wait(self) -> bool:
        """
        @return: whether the child is gone.
        """
        try:
            pid, status, rusage = os.wait4(self._pid, os.WNOHANG)
        except ChildProcessError:
            return True
        if pid:
            self._status, self._rusage = status, rusage
        return bool(pid)


class Watch(Protocol):
    """
    What is known of the end of a process.

    @ivar descriptors: how many it takes.
    @ivar reaped: whether it was waited for: its number may belong to somebody else.
    """

    @property
    def descriptors(self) -> int:
        """
        See above.
        """

    @property
    def reaped(self) -> bool:
        """
        See above.
        """

    def start(self) -> None:
        """
        Watch.
        """

    def stop(self) -> None:
        """
        Watch no more.
        """

    def reap(self, note: str = "") -> ProcessExit:
        """
        Tell how it ended.
        """


class Awaited:
    """
    A child of another process, which will report its end: nothing has to be kept
    for that, no descriptor either.
    """

    __slots__ = ()

    descriptors = 0
    reaped = False

    def start(self) -> None:
        """
        Somebody else watches.
        """

    def stop(self) -> None:
        """
        Nobody watches here.
        """

    def reap(self, note: str = "") -> ProcessExit:
        """
        It was not reported.
        """
        return _unknown("it lives", note)


AWAITED = Awaited()


class ReportedExit(Awaited):
    """
    What the other process reported. It waited for its child before: the number
    may belong to somebody else.
    """

    __slots__ = ("_ending", "_seconds")

    reaped = True

    def __init__(
        self, status: int, user: float, system: float, resident: int, seconds: float = 0.0
    ) -> None:
        self._ending = status, user, system, resident
        self._seconds = seconds

    def reap(self, note: str = "") -> ProcessExit:
        """
        Tell how it ended.
        """
        return _known(*self._ending, note, seconds=self._seconds)


class OrphanWatch:
    """
    A process that nobody will report on any more.

    @param exited: called once when it is gone.
    @ivar reaped: whether it is.
    """

    descriptors = 0

    def __init__(self, clock: IReactorTime, pid: int, exited: Callable[[], None]) -> None:
        self.reaped = False
        self._clock = clock
        self._pid = pid
        self._exited = exited
        self._identity: tuple[int, int] | None = None
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """
        Watch.
        """
        process = readProcess(self._pid)
        # It leads a session, as each task does: so it is no stranger.
        if process is not None and process.alive and process.session == self._pid:
            self._identity = process.identity
            self._call = self._clock.callLater(ORPHAN_INTERVAL, self._look)
        else:
            self._over()

    def stop(self) -> None:
        """
        Watch no more.
        """
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def reap(self, note: str = "") -> ProcessExit:
        """
        How it ended is not known.
        """
        return _unknown("what started it was killed" if self.reaped else "it lives", note)

    def _look(self) -> None:
        process = readProcess(self._pid)
        if process is not None and process.alive and process.identity == self._identity:
            self._call = self._clock.callLater(ORPHAN_INTERVAL, self._look)
        else:
            self._call = None
            self._over()

    def _over(self) -> None:
        self.reaped = True
        self._exited()


def _known(
    status: int, user: float, system: float, resident: int, note: str, *, seconds: float = 0.0
) -> ProcessExit:
    code = os.waitstatus_to_exitcode(status)
    return ProcessExit(
        exitCode=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        note=note,
        userSeconds=user,
        systemSeconds=system,
        maxResident=resident * _MAXRSS_UNIT,
        seconds=seconds,
    )


def _unknown(why: str, note: str) -> ProcessExit:
    lost = f"how the process ended is not known: {why}"
    return ProcessExit(None, None, "; ".join(filter(None, (lost, note))))
