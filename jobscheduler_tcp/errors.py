"""
What can go wrong, and whose doing it was.

The docstring of an error says what happened; its text, made from its
attributes, is what a user is shown.
"""

from __future__ import annotations

from jobscheduler_tcp.outcome import Reason

# A line of a log, not more.
_MAX_QUOTED = 300


class JobSchedulerError(Exception):
    """
    Something that this package knows how to tell went wrong.
    """


class ProtocolError(JobSchedulerError):
    """
    Something was said that the conversation does not allow.
    """


class LocalProtocolError(ProtocolError):
    """
    Our side tried to say it: a mistake in the program that embeds us, or ours.
    """


class RemoteProtocolError(ProtocolError):
    """
    The peer said it: hang up. The text may quote the peer, so it is cut and
    made printable.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__("".join(c if c.isprintable() else "?" for c in text[:_MAX_QUOTED]))


class NoFreeCallbackPort(JobSchedulerError):
    """
    Every port of the callback range is in use.

    @ivar first: the highest port of the range.
    @ivar last: the lowest port of the range.
    """

    def __init__(self, first: int, last: int) -> None:
        super().__init__(f"no free callback port from {first} down to {last}")
        self.first = first
        self.last = last


class PortTaken(JobSchedulerError):
    """
    A port that we were told to listen on belongs to somebody else.

    @ivar address: host and port, as in C{127.0.0.1:4455}.
    @ivar holder: who holds it, as far as the system lets us see, or an empty
        string.
    """

    def __init__(self, address: str, holder: str = "") -> None:
        held = f"; it is held by {holder}" if holder else ""
        super().__init__(f"cannot listen on {address}: the address is in use{held}")
        self.address = address
        self.holder = holder


class ConfigurationError(JobSchedulerError):
    """
    A configuration file says something that cannot be done.

    @ivar place: C{file:line}.
    """

    def __init__(self, place: str, text: str) -> None:
        super().__init__(f"{place}: {text}")
        self.place = place
        self.text = text


class HistoryUnusable(JobSchedulerError):
    """
    The state directory, or the history in it, cannot be used.

    @ivar path: which file or folder.
    """

    def __init__(self, path: str, text: str) -> None:
        super().__init__(f"{path}: {text}")
        self.path = path
        self.text = text


class CommandRefused(JobSchedulerError):
    """
    The peer answered a command with an ERROR element.

    @ivar code: as in C{SCHEDULER-121}.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text if text.startswith(code) else f"{code}  {text}")
        self.code = code
        self.text = text


class ConnectionClosed(JobSchedulerError):
    """
    The connection that should have brought an answer is gone.
    """


class NotAdmitted(ConnectionClosed):
    """
    The peer hung up upon our first words: it does not let us in, or does not
    understand a word.
    """


class RemoteUnreachable(JobSchedulerError):
    """
    No connection to a remote could be made.

    @ivar address: host and port.
    @ivar errno: of the system call that failed (errno(3)), or 0.
    """

    def __init__(self, address: str, text: str, errno: int = 0) -> None:
        super().__init__(f"cannot reach {address}: {text}")
        self.address = address
        self.errno = errno


class NotStarted(JobSchedulerError):
    """
    A job ended, and its start was never confirmed.

    @ivar reason: the outcome's reason (L{jobscheduler_tcp.outcome}).
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(f"{reason}: {text}" if text else reason)
        self.reason = reason


class UnknownProcessClass(JobSchedulerError):
    """
    No process class has that name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no process class {name!r}")
        self.name = name


class LaunchFailed(JobSchedulerError):
    """
    The program of a task could not be started.

    @ivar errno: the error number of the system (errno(3)), or 0 where the
        reason was ours.
    """

    def __init__(self, text: str, errno: int = 0) -> None:
        super().__init__(text)
        self.errno = errno


class LaunchLost(LaunchFailed):
    """
    Whether the program of a task was started, and ran, is not known.
    """


class NoConfirmation(JobSchedulerError):
    """
    There is no confirmation connection, so no task was asked for.

    @ivar reason: as of the outcome of a job.
    @ivar errno: of the system call that failed, or 0.
    """

    def __init__(self, reason: Reason, text: str, errno: int = 0) -> None:
        super().__init__(text)
        self.reason = reason
        self.errno = errno


class NotExpressible(JobSchedulerError):
    """
    The classic dialect has no words for what was asked.

    @ivar what: as in C{a working directory}.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"the classic dialect cannot say {what}; the extended one can")
        self.what = what
