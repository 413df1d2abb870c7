"""
A remote that says what the test makes it say, on a network in memory.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from xxhash import xxh3_128

from jobscheduler_tcp.channels import ConfirmationChannels
from jobscheduler_tcp.conversation import Role
from jobscheduler_tcp.messages import (
    Answer,
    CallerProof,
    Challenge,
    Confirmation,
    Hello,
    ListenerProof,
    Ping,
    Pong,
    Request,
    StartTask,
    Stream,
    TaskAttached,
    TaskEnded,
    TaskOutput,
    TaskStarted,
    TaskTaken,
    Welcome,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.proof import proofs, selector
from jobscheduler_tcp.testing import MemoryNetwork, MemoryTransport
from jobscheduler_tcp.wire.answers import encodeAnswer
from jobscheduler_tcp.wire.documents import parse
from jobscheduler_tcp.wire.requests import decodeRequest
from jobscheduler_tcp.wire.splitters import DocumentSplitter

CLIENT = "10.0.0.1"
REMOTE = "10.0.0.2"
PORT = 4455
NONCE = bytes(range(16))
TIME = "2026-11-22T15:33:49.123Z"
INSTANCE = "77b02f39-5a5d-4f6e-9f3a-0a3f3bb7ad21"

_M = TypeVar("_M")


class Served(Protocol):
    """
    A command connection, as the remote has it.

    @ivar requests: what the client asked for, without pings, which are answered.
    """

    transport: MemoryTransport

    def __init__(self, remote: ScriptedRemote) -> None:
        self.remote = remote
        self.requests: list[Request] = []
        self.pings = 0
        self.lost: Failure | None = None
        self._documents = DocumentSplitter()

    def connectionMade(self) -> None:
        """
        Say what the test wants to be said first.
        """
        self.remote.served.append(self)

    def dataReceived(self, data: bytes) -> None:
        """
        Remember requests, and welcome the client.
        """
        for document in self._documents.feed(data):
            request = decodeRequest(parse(document))
            if isinstance(request, Ping):
                self.pings += 1
                self.say(Pong(request.id))
                continue
            self.requests.append(request)
            if isinstance(request, Hello) and self.remote.welcomes:
                self.say(Welcome(request.id, 1, self.remote.instance))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Remember why.
        """
        self.lost = reason

    def say(self, answer: Answer) -> None:
        """
        Answer.
        """
        self.transport.write(encodeAnswer(answer, TIME))


class Caller(Protocol):
    """
    A confirmation connection, as the remote has it.

    @ivar heard: what the client said on it.
    @ivar bytes: the same, as it came.
    """

    transport: MemoryTransport

    def __init__(self, task: str, token: bytes) -> None:
        self.task = task
        self.token = token
        self.channels = ConfirmationChannels(Role.REMOTE)
        self.heard: list[Confirmation] = []
        self.bytes = b""
        self.lost: Failure | None = None
        self._offsets = {Stream.STDOUT: 0, Stream.STDERR: 0}
        self._checksums = {Stream.STDOUT: xxh3_128(), Stream.STDERR: xxh3_128()}

    def dataReceived(self, data: bytes) -> None:
        """
        Remember.
        """
        self.bytes += data
        self.heard += [message for _, message in self.channels.hear(data)]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Remember why.
        """
        self.lost = reason

    def said(self, kind: type[_M]) -> list[_M]:
        """
        What the client said of one kind.
        """
        return [message for message in self.heard if isinstance(message, kind)]

    def say(self, message: Confirmation, channel: int = 1) -> None:
        """
        Say it, if it may be said.
        """
        self.transport.write(self.channels.say(channel, message))

    def challenge(self) -> None:
        """
        Say who is wanted.
        """
        self.say(Challenge(NONCE, selector(self.token)), 0)

    def prove(self) -> None:
        """
        Prove to be the remote; the client's proof was heard.
        """
        (shown,) = self.said(ListenerProof)
        _, proof = proofs(self.token, NONCE, shown.nonce, self.task)
        self.say(CallerProof(proof), 0)

    def attach(self, window: int = 1000) -> None:
        """
        Open the task's channel.
        """
        self.say(TaskAttached(self.task, window=window))

    def start(self, pid: int = 4711) -> None:
        """
        The program runs.
        """
        self.say(TaskStarted(pid, 1.0, 1.0))

    def print(self, stream: Stream, data: bytes) -> None:
        """
        The task prints.
        """
        self.say(TaskOutput(stream, self._offsets[stream], data))
        self._offsets[stream] += len(data)
        self._checksums[stream].update(data)

    def end(self, reason: Reason = Reason.EXITED, **fields: Any) -> None:
        """
        The task is over; sizes and checksums are right unless C{fields} says
        otherwise.
        """
        if reason is Reason.EXITED:
            fields.setdefault("exitCode", 0)
        ended = TaskEnded(
            reason,
            stdoutSize=self._offsets[Stream.STDOUT],
            stderrSize=self._offsets[Stream.STDERR],
            stdoutChecksum=self._checksums[Stream.STDOUT].digest(),
            stderrChecksum=self._checksums[Stream.STDERR].digest(),
        )
        self.say(replace(ended, **fields))


class _ServedFactory(Factory[Served]):
    noisy = False

    def __init__(self, remote: ScriptedRemote) -> None:
        self._remote = remote

    def buildProtocol(self, addr: IAddress | None) -> Served:
        return Served(self._remote)


class _CallerFactory(ClientFactory[Caller]):
    noisy = False

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def buildProtocol(self, addr: IAddress | None) -> Caller:
        return self._caller


class ScriptedRemote:
    """
    Listens for commands, and dials back when the test says so.

    @ivar welcomes: whether it understands a hello.
    @ivar instance: the UUID by which it welcomes.
    @ivar served: the command connections so far.
    """

    def __init__(self, network: MemoryNetwork, *, listens: bool = True) -> None:
        self.network = network
        self.host = network.host(REMOTE)
        self.welcomes = True
        self.instance = INSTANCE
        self.served: list[Served] = []
        if listens:
            self.listen()

    def listen(self) -> None:
        """
        Take commands.
        """
        self.host.listenTCP(PORT, _ServedFactory(self))

    def endpoint(self) -> TCP4ClientEndpoint:
        """
        How a client reaches it.
        """
        return TCP4ClientEndpoint(self.network.host(CLIENT), REMOTE, PORT)

    def asked(self, kind: type[_M]) -> list[_M]:
        """
        What it was asked for, on all connections.
        """
        return [
            request
            for served in self.served
            for request in served.requests
            if isinstance(request, kind)
        ]

    def dial(self, task: str, token: bytes, port: int) -> Caller:
        """
        Call at a port of the client's.
        """
        caller = Caller(task, token)
        self.host.connectTCP(CLIENT, port, _CallerFactory(caller))
        self.network.flush()
        return caller

    def dialFor(self, start: StartTask) -> Caller:
        """
        Call back for a start.
        """
        return self.dial(start.task, start.token, start.port)

    def take(self, start: StartTask, *, started: bool = True) -> Caller:
        """
        Do all that a remote does until the program runs.
        """
        caller = self.dialFor(start)
        caller.challenge()
        self.network.flush()
        caller.prove()
        caller.attach()
        self.served[-1].say(TaskTaken(start.id, start.task, 1))
        if started:
            caller.start()
        self.network.flush()
        return caller
