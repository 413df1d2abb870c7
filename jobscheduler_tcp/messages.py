"""
What is said on the two connections, as frozen dataclasses; no bytes.

The bounds of a field (C{msgspec.Meta}) are checked where bytes become messages
(L{jobscheduler_tcp.wire}), so that whoever hears a message may trust its
fields. Durations and sizes have their unit in the docstring.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, TypeAlias

from msgspec import Meta

from jobscheduler_tcp.outcome import Reason

# The version of the extended dialect that this program speaks.
VERSION = 1

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Small = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Port = Annotated[int, Meta(ge=1, le=65535)]
AnyPort = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(ge=0.0, le=1e12)]
Bytes16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
Token = Annotated[bytes, Meta(max_length=16)]
Bytes8 = Annotated[bytes, Meta(min_length=8, max_length=8)]
Bytes32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Checksum = Annotated[bytes, Meta(max_length=16)]
Digest = Annotated[bytes, Meta(max_length=32)]
Line = Annotated[str, Meta(max_length=2000)]
TaskId = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}\Z")]
Host = Annotated[str, Meta(max_length=45)]
AnyId = Annotated[str, Meta(pattern=r"^([0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12})?\Z")]


class Stream(int, Enum):
    """
    A stream of a task. The values are the descriptor numbers.
    """

    STDIN = 0
    STDOUT = 1
    STDERR = 2


class CallbackMode(str, Enum):
    """
    Who dials the confirmation connection, and how many tasks share it.

    @cvar OWN: the remote dials one for each task.
    @cvar SHARED: the remote dials one that stands, for all tasks of a client.
    @cvar PASSIVE: the client dials one that stands.
    """

    OWN = "own"
    SHARED = "shared"
    PASSIVE = "passive"


class OnDisconnect(str, Enum):
    """
    What the remote does with a task whose client is gone.

    @cvar KILL: it is killed at once.
    @cvar HOLD: it goes on, and is held back when it has printed too much, until
        a client comes back or the time is over; then it is killed.
    @cvar FINISH: the same, but when the time is over it goes on to its end, and
        what it prints is dropped.
    """

    KILL = "kill"
    HOLD = "hold"
    FINISH = "finish"


# ---------------------------------------------------------------- what to run


@dataclass(frozen=True, slots=True)
class Work:
    """
    What a task runs and under which limits: exactly one of C{script},
    C{command} and C{job}.

    @ivar script: a shell script; C{#!} may be first.
    @ivar command: a program and its arguments, run without a shell.
    @ivar job: the name of a job that the remote has in its configuration.
    @ivar parameters: names and values; the task finds them in its environment
        as C{SCHEDULER_PARAM_NAME}.
    @ivar orderParameters: of the order that the task works on, which win over
        C{parameters}; C{None} without an order.
    @ivar environment: further variables of the environment.
    @ivar directory: the working directory; empty for the remote's own.
    @ivar stdin: whether the client will send the task's input; if not, the
        task reads an empty input.
    @ivar wallTime: seconds after which the task is killed with the outcome
        C{timeout}; 0 for never.
    @ivar silence: seconds without output after which it is killed with the
        outcome C{silent}; 0 for never.
    @ivar outputLimit: bytes of output, both streams together, beyond which it
        is killed with the outcome C{output-limit}; 0 for no limit.
    @ivar grace: seconds between SIGTERM and SIGKILL when the task is killed
        for a limit or because its client is gone.
    """

    script: str = ""
    command: tuple[str, ...] = ()
    job: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    orderParameters: tuple[tuple[str, str], ...] | None = None
    environment: tuple[tuple[str, str], ...] = ()
    directory: str = ""
    stdin: bool = False
    wallTime: Seconds = 0.0
    silence: Seconds = 0.0
    outputLimit: Count = 0
    grace: Seconds = 5.0


# ------------------------------------------- command connection, client speaks


@dataclass(frozen=True, slots=True)
class Hello:
    """
    The first words of a client that speaks the extended dialect.

    @ivar id: every request carries a number that its answer repeats.
    @ivar version: the highest version of the dialect that the client speaks.
    @ivar instance: a UUID of the running client program.
    @ivar capabilities: words for what the client can do, such as C{own}.
    @ivar authentication: the method by which the client wants to prove itself;
        version 1 knows only C{none}.
    @ivar bootId: of the client's host, changes when it is started anew.
    @ivar clock: the client's wall clock, seconds since 1970, to tell the
        difference of the two clocks, never to compute with.
    """

    id: Small
    version: Small
    instance: TaskId
    capabilities: tuple[str, ...] = ()
    authentication: str = "none"
    bootId: str = ""
    clock: Seconds = 0.0


@dataclass(frozen=True, slots=True)
class StartTask:
    """
    Start a task. The UUID makes it idempotent: sent twice, on whatever
    connection, it is one task and one answer.

    @ivar task: the UUID, made by the client.
    @ivar port: the callback port where the client listens; 0 where the task is
        confirmed on a standing connection.
    @ivar token: 16 random bytes that never travel on the confirmation
        connection; empty where that stands already.
    @ivar work: what to run.
    @ivar connection: the UUID of the standing confirmation connection, empty
        for a connection of its own.
    @ivar host: the IP address where the client listens; empty for the one that
        it comes from.
    @ivar hold: seconds for which a client that is gone is waited for.
    @ivar secret: 16 random bytes that a client has to know that comes back for
        the task; empty where nobody can.
    @ivar sha256: whether the end shall tell the SHA-256 of what the task prints.
    """

    id: Small
    task: TaskId
    port: AnyPort
    token: Token = field(repr=False)
    work: Work
    mode: CallbackMode = CallbackMode.OWN
    onDisconnect: OnDisconnect = OnDisconnect.KILL
    connection: AnyId = ""
    host: Host = ""
    hold: Seconds = 0.0
    secret: Token = field(default=b"", repr=False)
    sha256: bool = False


@dataclass(frozen=True, slots=True)
class OpenConfirmation:
    """
    Make a standing confirmation connection, on which many tasks are confirmed.
    Said twice, it is one connection.

    @ivar connection: its UUID, made by the client.
    @ivar mode: C{SHARED}: dial the client. C{PASSIVE}: the client will dial, and
        say L{TakeConfirmation}.
    @ivar token: what both ends have to know.
    @ivar port: the callback port where the client listens; 0 if it dials.
    @ivar host: as that of L{StartTask}.
    """

    id: Small
    connection: TaskId
    mode: CallbackMode
    token: Bytes16 = field(repr=False)
    port: AnyPort = 0
    host: Host = ""


@dataclass(frozen=True, slots=True)
class TakeConfirmation:
    """
    The first words of a client on a connection that becomes the standing
    confirmation connection: after the answer, frames are spoken.
    """

    id: Small
    connection: TaskId


@dataclass(frozen=True, slots=True)
class AttachTask:
    """
    A client that comes back for a task: confirm it anew, go on from these
    offsets.

    @ivar port: the callback port where the client listens; 0 where the task is
        confirmed on a standing connection.
    @ivar token: 16 random bytes, new with each attempt; the same attempt twice is
        one attempt. Where the remote dials, what both ends have to know.
    @ivar stdout: the number of bytes of stdout that the client has.
    @ivar stderr: the same for stderr.
    @ivar secret: that of the start.
    @ivar instance: of the remote that the start was said to; empty if nobody
        knows.
    @ivar connection: as that of L{StartTask}.
    @ivar host: as that of L{StartTask}.
    """

    id: Small
    task: TaskId
    port: AnyPort
    token: Bytes16 = field(repr=False)
    stdout: Count = 0
    stderr: Count = 0
    secret: Token = field(default=b"", repr=False)
    instance: AnyId = ""
    mode: CallbackMode = CallbackMode.OWN
    connection: AnyId = ""
    host: Host = ""


@dataclass(frozen=True, slots=True)
class KillTask:
    """
    End a task and all its descendants.

    @ivar signal: the number of the signal sent first.
    @ivar grace: seconds until SIGKILL for those that are left.
    """

    id: Small
    task: TaskId
    signal: Annotated[int, Meta(ge=1, le=64)] = 15
    grace: Seconds = 5.0


@dataclass(frozen=True, slots=True)
class Ping:
    """
    Are you there? Keeps firewalls awake and finds a dead peer.
    """

    id: Small


# ------------------------------------------- command connection, remote speaks


@dataclass(frozen=True, slots=True)
class Welcome:
    """
    The remote speaks the extended dialect too.

    @ivar version: the version that both will speak.
    @ivar maxTasks: how many tasks the remote runs at once, 0 for any number.
    """

    id: Small
    version: Small
    instance: TaskId
    capabilities: tuple[str, ...] = ()
    bootId: str = ""
    clock: Seconds = 0.0
    maxTasks: Small = 0


@dataclass(frozen=True, slots=True)
class TaskTaken:
    """
    The confirmation connection of a task stands.

    @ivar processId: the remote's own number for the task, from 1.
    """

    id: Small
    task: TaskId
    processId: Small


@dataclass(frozen=True, slots=True)
class TaskRefused:
    """
    The task was not started and never will be: nothing was executed.

    @ivar errno: of the call that failed, such as the dial back.
    """

    id: Small
    task: TaskId
    reason: Reason
    text: Line = ""
    errno: Small = 0


@dataclass(frozen=True, slots=True)
class AttachRefused:
    """
    The task is not confirmed to the client that came back for it.

    @ivar reason: where the task is not held, what became of it as far as anybody
        can tell: a reason for which nothing ran tells that nothing ever will.
        Where it is, why the confirmation connection did not come about.
    @ivar errno: of the call that failed, such as the dial back.
    @ivar held: whether the task is still there, so that another attempt may
        succeed.
    """

    id: Small
    task: TaskId
    reason: Reason
    text: Line = ""
    errno: Small = 0
    held: bool = False


@dataclass(frozen=True, slots=True)
class ConfirmationOpened:
    """
    The standing confirmation connection stands, or is waited for where the
    client dials it.
    """

    id: Small
    connection: TaskId


@dataclass(frozen=True, slots=True)
class ConfirmationRefused:
    """
    There is no such connection, and will not be.

    @ivar errno: of the call that failed, such as the dial.
    """

    id: Small
    connection: TaskId
    reason: Reason
    text: Line = ""
    errno: Small = 0


@dataclass(frozen=True, slots=True)
class Survivor:
    """
    A process that a kill did not end.
    """

    pid: Small
    command: Line = ""


@dataclass(frozen=True, slots=True)
class TaskKilled:
    """
    What a kill did.

    @ivar died: how many processes ended.
    @ivar survivors: those that did not.
    """

    id: Small
    task: TaskId
    died: Small = 0
    survivors: tuple[Survivor, ...] = ()


@dataclass(frozen=True, slots=True)
class Pong:
    """
    The remote is there.
    """

    id: Small


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """
    A request that could not be carried out.

    @ivar id: of the request, 0 where it could not be read.
    @ivar code: as in C{SCHEDULER-105}.
    """

    id: Small
    code: Line
    text: Line


Request: TypeAlias = (
    Hello | StartTask | AttachTask | KillTask | Ping | OpenConfirmation | TakeConfirmation
)
Answer: TypeAlias = (
    Welcome
    | TaskTaken
    | TaskRefused
    | AttachRefused
    | TaskKilled
    | Pong
    | RequestFailed
    | ConfirmationOpened
    | ConfirmationRefused
)

# ----------------------------------- confirmation connection, whole: channel 0


@dataclass(frozen=True, slots=True)
class Challenge:
    """
    The remote's first words, before the listener is known.

    @ivar nonce: random.
    @ivar selector: a hash of the token (L{jobscheduler_tcp.proof}): which of the
        client's tokens is meant.
    """

    nonce: Bytes16
    selector: Bytes8
    version: Small = VERSION


@dataclass(frozen=True, slots=True)
class ListenerProof:
    """
    The client proves that it knows the token, and takes the connection.

    @ivar proof: what only who knows the token can show (L{jobscheduler_tcp.proof}).
    @ivar window: bytes of output of each task that the remote may send beyond
        what was acknowledged.
    """

    nonce: Bytes16
    proof: Bytes32
    window: Count


@dataclass(frozen=True, slots=True)
class CallerProof:
    """
    The remote proves that it knows the token.
    """

    proof: Bytes32


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """
    Said by both ends every few seconds.
    """


# ------------------------------------ confirmation connection, of one task


@dataclass(frozen=True, slots=True)
class TaskAttached:
    """
    Remote: this channel belongs to that task; its output goes on from here.

    @ivar stdout: offset of the first byte that will be said: what the client has,
        or more where the rest was dropped.
    @ivar stderr: the same for stderr.
    @ivar window: bytes of input that the client may send beyond what was
        taken.
    @ivar stdin: bytes of input that came over earlier connections.
    @ivar taken: how many of them the task was given.
    @ivar inputEnded: whether the end of the input came, too.
    """

    task: TaskId
    stdout: Count = 0
    stderr: Count = 0
    window: Count = 0
    stdin: Count = 0
    taken: Count = 0
    inputEnded: bool = False


@dataclass(frozen=True, slots=True)
class TaskStarted:
    """
    Remote: the program of the task runs.

    @ivar clock: the remote's wall clock, seconds since 1970.
    @ivar monotonic: the remote's monotonic clock, seconds.
    """

    pid: Small
    clock: Seconds
    monotonic: Seconds


@dataclass(frozen=True, slots=True)
class TaskOutput:
    """
    Remote: bytes that the task printed.

    @ivar offset: how many bytes of the stream were said before these.
    """

    stream: Stream
    offset: Count
    data: bytes | memoryview = field(repr=False)


@dataclass(frozen=True, slots=True)
class InputTaken:
    """
    Remote: the task was given so many bytes of its input, and so many more
    may come.

    @ivar offset: bytes taken since the beginning.
    """

    offset: Count


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """
    Remote: the task is over. Said until it is acknowledged.

    @ivar clock: the remote's wall clock at the end, seconds since 1970.
    @ivar seconds: from start to end, by the remote's monotonic clock.
    @ivar note: one line for people, such as who still holds the output.
    @ivar maxResident: bytes.
    @ivar stdoutChecksum: XXH3 with 128 bits (L{jobscheduler_tcp.digests}); empty
        where nothing ran.
    @ivar stdoutDigest: SHA-256 of all that was printed, whoever heard it; empty where
        nothing ran, or the start did not ask for it.
    @ivar returned: the names and values that the task returned, as bytes.
    """

    reason: Reason
    exitCode: Annotated[int, Meta(ge=0, le=255)] | None = None
    signal: Annotated[int, Meta(ge=1, le=64)] | None = None
    errno: Small = 0
    note: Line = ""
    clock: Seconds = 0.0
    seconds: Seconds = 0.0
    userSeconds: Seconds = 0.0
    systemSeconds: Seconds = 0.0
    maxResident: Count = 0
    stdoutSize: Count = 0
    stderrSize: Count = 0
    stdoutChecksum: Checksum = b""
    stderrChecksum: Checksum = b""
    stdoutDigest: Digest = b""
    stderrDigest: Digest = b""
    returned: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class OutputAcknowledged:
    """
    Client: it has these bytes; the remote may forget them and send as many
    more as the window says.

    @ivar stdout: bytes of stdout since the beginning.
    @ivar stderr: bytes of stderr since the beginning.
    """

    stdout: Count
    stderr: Count


@dataclass(frozen=True, slots=True)
class TaskInput:
    """
    Client: bytes for the task's stdin.
    """

    offset: Count
    data: bytes | memoryview = field(repr=False)


@dataclass(frozen=True, slots=True)
class InputEnded:
    """
    Client: the task's input ends here.
    """


@dataclass(frozen=True, slots=True)
class EndAcknowledged:
    """
    Client: the end of the task was heard; the remote may forget it, and closes
    the connection first if no other channel is open.
    """


@dataclass(frozen=True, slots=True)
class TaskAbandoned:
    """
    On a standing connection, what breaking the connection is to a task that has
    one of its own. Client: it hears no more of the task. Remote: nothing more is
    said of that task here, maybe for it is confirmed elsewhere.
    """


Handshake: TypeAlias = Challenge | ListenerProof | CallerProof | Heartbeat
FromRemote: TypeAlias = TaskAttached | TaskStarted | TaskOutput | InputTaken | TaskEnded
FromClient: TypeAlias = OutputAcknowledged | TaskInput | InputEnded | EndAcknowledged
Confirmation: TypeAlias = Handshake | FromRemote | FromClient | TaskAbandoned
