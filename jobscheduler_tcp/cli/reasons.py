"""
What a person is told of an outcome: the reason, what to do now, and the whole
of it as JSON. docs/outcomes has the same table; a test compares the two.
"""

from __future__ import annotations

import json
from signal import Signals

from jobscheduler_tcp.outcome import Outcome, Reason

# What to do now. {remote} is the address that was dialled, {ports} the callback ports.
NEXT_STEP = {
    Reason.EXITED: "nothing to do here: the exit code is the job's own",
    Reason.SIGNALLED: "look at the remote for who sent it; SIGKILL often means out of memory",
    Reason.TIMEOUT: "give it more time with --timeout, or find out what it waits for",
    Reason.SILENT: "give it more time with --silence, or find out what it waits for",
    Reason.KILLED: "somebody killed it on purpose; start it again if that was a mistake",
    Reason.OUTPUT_LIMIT: "raise --output-limit, or let it print less",
    Reason.START_FAILED: "check the program's name, its permissions and --directory at the remote",
    Reason.REJECTED_AUTH: "let the remote's scheduler.xml allow this host: "
    '<allowed_host host="..." level="all"/>',
    Reason.REJECTED_CAPACITY: "the remote has no room for another task: try again later",
    Reason.REJECTED_DRAINING: "the remote is shutting down: try again later, or another remote",
    Reason.REJECTED_VERSION: "check that {remote} is a remote, not a client, and that the versions "
    "of jobscheduler_tcp at both ends fit",
    Reason.REMOTE_UNREACHABLE: "check that a remote listens on {remote} "
    "(twistd jsremote --role remote) and that no firewall is between",
    Reason.CALLBACK_REFUSED: "let a firewall or NAT between pass connections from {remote} back to "
    "this host's ports {ports}",
    Reason.CALLBACK_FILTERED: "open a firewall for connections from {remote} back to this host's "
    "ports {ports}",
    Reason.CALLBACK_TIMEOUT: "the remote never connected back to this host's ports {ports}: look "
    "at its log, or raise --start-timeout",
    Reason.CALLBACK_WRONG_LISTENER: "another program, or NAT, answers for this host's ports "
    "{ports}: choose others with --callback-ports",
    Reason.PROTOCOL_ERROR: "check that {remote} is a remote of this version, and report it if so; "
    "the job may have run",
    Reason.CANCELLED: "nothing was executed: it may be started again without risk",
    Reason.LOST: "the job may have run: look at its effects before it is started again",
    Reason.NOT_STARTED: "nothing was executed: it may be started again, also by a script",
}


def told(outcome: Outcome, remote: str, ports: str) -> str:
    """
    One line for stderr; empty for a job that exited by itself.
    """
    if outcome.reason is Reason.EXITED:
        return ""
    happened = oneLine(outcome.text)
    if not happened and outcome.signal is not None:
        happened = f"ended by {signalName(outcome.signal)}"
    step = NEXT_STEP[outcome.reason].format(remote=remote, ports=ports)
    return f"{outcome.reason}: " + "; ".join(part for part in (happened, step) if part)


def signalName(number: int) -> str:
    """
    The name of a signal, as in C{SIGTERM}.
    """
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"


def asJSON(outcome: Outcome, status: int) -> str:
    """
    The whole outcome in one line.

    @param status: what the command exits with.
    """
    return json.dumps(
        {
            "reason": outcome.reason.value,
            "exit_status": status,
            "text": outcome.text,
            "exit_code": outcome.exitCode,
            "signal": outcome.signal,
            "errno": outcome.errno,
            "pid": outcome.pid,
            "seconds": outcome.seconds,
            "user_seconds": outcome.userSeconds,
            "system_seconds": outcome.systemSeconds,
            "max_resident": outcome.maxResident,
            "stdout_size": outcome.stdoutSize,
            "stderr_size": outcome.stderrSize,
            "stdout_sha256": outcome.stdoutDigest,
            "stderr_sha256": outcome.stderrDigest,
            "return_values": dict(outcome.returnValues),
        }
    )


def oneLine(text: str) -> str:
    """
    What may come from a peer, so that it cannot move the cursor of a terminal.
    """
    return "".join(each if each.isprintable() else " " for each in text).strip().rstrip(".;")
