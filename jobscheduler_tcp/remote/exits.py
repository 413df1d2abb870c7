"""
Learn that a child exited, and wait for exactly that one: C{waitpid(-1)} would
steal the children of Twisted and of the application around us.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.interfaces import ILaunchReactor, ProcessExit

# Seconds between two looks where the system does not tell.
POLL_INTERVAL = 0.05

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
            lost = "how the process ended is not known: somebody else waited for it"
            return ProcessExit(None, None, "; ".join(filter(None, (lost, note))))
        code = os.waitstatus_to_exitcode(self._status)
        resident = self._rusage.ru_maxrss
        if resident <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
            # Linux counts the memory that a child shared with us before it
            # became its own program: so this says nothing of the task.
            resident = 0
        return ProcessExit(
            exitCode=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            note=note,
            userSeconds=self._rusage.ru_utime,
            systemSeconds=self._rusage.ru_stime,
            maxResident=resident * _MAXRSS_UNIT,
        )

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
