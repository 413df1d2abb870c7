"""
How a job can come out: exactly one named reason, apart from the exit code.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Reason(str, Enum):
    """
    Why a job is over. The values are the names on the wire, in logs and in
    JSON.
    """

    EXITED = "exited"
    SIGNALLED = "signalled"
    TIMEOUT = "timeout"
    SILENT = "silent"
    KILLED = "killed"
    OUTPUT_LIMIT = "output-limit"
    START_FAILED = "start-failed"
    REJECTED_AUTH = "rejected-auth"
    REJECTED_CAPACITY = "rejected-capacity"
    REJECTED_DRAINING = "rejected-draining"
    REJECTED_VERSION = "rejected-version"
    REMOTE_UNREACHABLE = "remote-unreachable"
    CALLBACK_REFUSED = "callback-refused"
    CALLBACK_FILTERED = "callback-filtered"
    CALLBACK_TIMEOUT = "callback-timeout"
    CALLBACK_WRONG_LISTENER = "callback-wrong-listener"
    PROTOCOL_ERROR = "protocol-error"
    CANCELLED = "cancelled"
    LOST = "lost"
    NOT_STARTED = "not-started"

    __str__ = str.__str__  # the value

    @property
    def mayHaveRun(self) -> bool:
        """
        Whether the program of the task ran, or may have run: a job with such a
        reason is never started again by ourselves.
        """
        return self in _MAY_HAVE_RUN


# A protocol error counts as "may have run": it is told apart from lost only by
# whose fault it was.
_MAY_HAVE_RUN = frozenset(
    {
        Reason.EXITED,
        Reason.SIGNALLED,
        Reason.TIMEOUT,
        Reason.SILENT,
        Reason.KILLED,
        Reason.OUTPUT_LIMIT,
        Reason.PROTOCOL_ERROR,
        Reason.LOST,
    }
)

# sysexits.h: what a shell is told when a job has no exit code of its own. 126
# and 127 are the shell's own (POSIX sh, 2.8.2): found but not executable, not
# found.
EX_SOFTWARE = 70
EX_UNAVAILABLE = 69
EX_TEMPFAIL = 75
EX_NOPERM = 77
ENOENT = 2

_EXIT_STATUS = {
    # Only where a remote tells such an end without the code or the signal.
    Reason.EXITED: EX_SOFTWARE,
    Reason.SIGNALLED: EX_SOFTWARE,
    Reason.TIMEOUT: 124,  # as timeout(1) of coreutils
    Reason.SILENT: 124,
    Reason.KILLED: 137,
    Reason.OUTPUT_LIMIT: 137,
    Reason.START_FAILED: 126,
    Reason.REJECTED_AUTH: EX_NOPERM,
    Reason.REJECTED_CAPACITY: EX_TEMPFAIL,
    Reason.REJECTED_DRAINING: EX_TEMPFAIL,
    Reason.REJECTED_VERSION: EX_NOPERM,
    Reason.REMOTE_UNREACHABLE: EX_UNAVAILABLE,
    Reason.CALLBACK_REFUSED: EX_TEMPFAIL,
    Reason.CALLBACK_FILTERED: EX_TEMPFAIL,
    Reason.CALLBACK_TIMEOUT: EX_TEMPFAIL,
    Reason.CALLBACK_WRONG_LISTENER: EX_TEMPFAIL,
    Reason.PROTOCOL_ERROR: EX_SOFTWARE,
    Reason.CANCELLED: 130,
    Reason.LOST: EX_UNAVAILABLE,
    Reason.NOT_STARTED: EX_TEMPFAIL,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    How a job came out.

    @ivar reason: the one named reason.
    @ivar text: one line for people; empty where the reason says it all.
    @ivar exitCode: of the task's program, C{None} unless it exited.
    @ivar signal: the number of the signal that ended the program, or C{None}.
    @ivar errno: of the system call that failed, or 0.
    @ivar pid: of the task's program at the remote, 0 if it never ran.
    @ivar seconds: how long the program ran, by the monotonic clock of the
        remote; C{None} where it is not known.
    @ivar userSeconds: processor time of the task and the children it waited
        for, in user mode.
    @ivar systemSeconds: the same in the kernel.
    @ivar maxResident: the most memory that a process of the task used, bytes.
    @ivar stdoutSize: bytes printed on stdout, all of them received.
    @ivar stderrSize: the same for stderr.
    @ivar stdoutDigest: SHA-256 of all that the program printed on stdout, in hex; empty
        where nothing ran, and where nobody wanted it (L{ClientService.run
        <jobscheduler_tcp.client.service.ClientService.run>}).
    @ivar stderrDigest: the same for stderr.
    @ivar returnValues: names and values that the task wrote into the file that
        C{SCHEDULER_RETURN_VALUES} names.
    """

    reason: Reason
    text: str = ""
    exitCode: int | None = None
    signal: int | None = None
    errno: int = 0
    pid: int = 0
    seconds: float | None = None
    userSeconds: float = 0.0
    systemSeconds: float = 0.0
    maxResident: int = 0
    stdoutSize: int = 0
    stderrSize: int = 0
    stdoutDigest: str = ""
    stderrDigest: str = ""
    returnValues: tuple[tuple[str, str], ...] = ()

    @property
    def succeeded(self) -> bool:
        """
        Whether the program ran to its end, exited with 0, and its end arrived.
        """
        return self.reason is Reason.EXITED and self.exitCode == 0

    @property
    def exitStatus(self) -> int:
        """
        What C{jsremote run} exits with: the program's own code, 128 and the
        signal's number, or a code of sysexits.h (docs/outcomes has the table).
        """
        if self.reason is Reason.EXITED and self.exitCode is not None:
            return self.exitCode
        if self.reason in (Reason.SIGNALLED, Reason.KILLED) and self.signal:
            return 128 + self.signal
        if self.reason is Reason.START_FAILED and self.errno == ENOENT:
            return 127
        return _EXIT_STATUS[self.reason]
