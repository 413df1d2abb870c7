"""
From what was said, or not said, about a job to its outcome.
"""

from __future__ import annotations

from twisted.python.failure import Failure

from jobscheduler_tcp.errors import (
    CommandRefused,
    LocalProtocolError,
    NoConfirmation,
    NotAdmitted,
    RemoteProtocolError,
    RemoteUnreachable,
)
from jobscheduler_tcp.messages import TaskEnded, TaskRefused
from jobscheduler_tcp.outcome import Outcome, Reason

# Errors of the remote that are not about one task (docs/protocol/extended,
# "Errors"). Any other word of a JobScheduler upon our hello says that it does
# not know it.
_REFUSALS = {
    "SCHEDULER-121": Reason.REJECTED_AUTH,
    "jsremote-authentication": Reason.REJECTED_AUTH,
    "jsremote-protocol-error": Reason.PROTOCOL_ERROR,
}

# Whoever says that may have begun.
_INTERNAL = "jsremote-internal-error"

LOST_BEFORE_START = Outcome(
    Reason.LOST, "the connection broke before the start of the task was confirmed"
)


def isRefusal(error: CommandRefused) -> bool:
    """
    Whether an error answer says that the remote will not talk to us, and not
    that it does not understand us.
    """
    return error.code in _REFUSALS or error.code.startswith("jsremote-")


def ended(message: TaskEnded, pid: int) -> Outcome:
    """
    The remote confirmed the end.

    @param pid: of the task's program, 0 if it never ran.
    """
    return Outcome(
        reason=message.reason,
        text=message.note,
        exitCode=message.exitCode,
        signal=message.signal,
        errno=message.errno,
        pid=pid,
        seconds=message.seconds if pid else None,
        userSeconds=message.userSeconds,
        systemSeconds=message.systemSeconds,
        maxResident=message.maxResident,
        stdoutSize=message.stdoutSize,
        stderrSize=message.stderrSize,
        stdoutDigest=message.stdoutDigest.hex(),
        stderrDigest=message.stderrDigest.hex(),
        returnValues=tuple((_text(name), _text(value)) for name, value in message.returned),
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def refused(message: TaskRefused) -> Outcome:
    """
    The remote did not start the task.
    """
    return Outcome(message.reason, message.text, errno=message.errno)


def notAsked(reason: Failure) -> Outcome:
    """
    The remote was not asked to start the task, or would not hear of it.
    """
    match error := reason.value:
        case RemoteUnreachable():
            return Outcome(Reason.REMOTE_UNREACHABLE, str(error), errno=error.errno)
        case NoConfirmation():
            return Outcome(error.reason, str(error), errno=error.errno)
        case NotAdmitted():
            return Outcome(Reason.REJECTED_AUTH, str(error))
        case LocalProtocolError():
            # Ours to mend: another try would end the same way.
            return Outcome(Reason.START_FAILED, f"the start cannot be sent: {error}")
        case CommandRefused(code="SCHEDULER-105") if "remote_task" in str(error):
            return Outcome(Reason.REJECTED_VERSION, f"it takes no tasks ({error})")
        case CommandRefused(code="SCHEDULER-105"):
            return Outcome(
                Reason.REJECTED_VERSION,
                "the remote speaks only the classic dialect, and the extended one is "
                f"demanded ({error})",
            )
        case CommandRefused():
            return Outcome(_REFUSALS.get(error.code, Reason.REJECTED_VERSION), str(error))
        case _:
            return Outcome(Reason.NOT_STARTED, str(error), errno=getattr(error, "errno", None) or 0)


def isRefused(reason: Failure) -> bool:
    """
    Whether a start that has no answer certainly was not obeyed: it was not
    said, or not understood.
    """
    error = reason.value
    if isinstance(error, CommandRefused):
        return error.code != _INTERNAL
    return isinstance(error, LocalProtocolError)


def lost(reason: Failure, pid: int = 0) -> Outcome:
    """
    The confirmation connection broke, or what came over it made no sense.
    """
    text = reason.getErrorMessage()
    if reason.check(CommandRefused):
        return Outcome(Reason.LOST, f"the remote cannot tell how it ended: {text}", pid=pid)
    if reason.check(RemoteProtocolError):
        return Outcome(Reason.PROTOCOL_ERROR, f"the remote broke the protocol: {text}", pid=pid)
    return Outcome(Reason.LOST, f"the confirmation connection broke: {text}", pid=pid)


def told(outcome: Outcome) -> str:
    """
    An outcome in a few words.
    """
    words = str(outcome.reason)
    if outcome.exitCode is not None:
        words += f" with {outcome.exitCode}"
    if outcome.signal is not None:
        words += f" by signal {outcome.signal}"
    return f"{words}: {outcome.text}" if outcome.text else words
