"""
Serve the calls of a classic client, one at a time, and call it back while a call
is open (protocol document 4.3). What the calls do is said by who builds on this.
"""

from __future__ import annotations

from abc import abstractmethod

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobscheduler_tcp.conversation import Role
from jobscheduler_tcp.errors import ConnectionClosed, JobSchedulerError, RemoteProtocolError
from jobscheduler_tcp.objects import MisunderstoodCall, ObjectConversation
from jobscheduler_tcp.sockets import promptly, settle
from jobscheduler_tcp.wire.classic import (
    Call,
    CallAnswer,
    CallMethod,
    CreateInstance,
    GetId,
    Invoke,
    KeepAlive,
    QueryInterface,
    Release,
    failed,
)


class CallFailed(JobSchedulerError):
    """
    A call of the client cannot be carried out: it is answered with an error.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}  {text}")
        self.answer = failed(code, text)


class ObjectServer(Protocol):
    """
    Answer calls.

    @ivar lost: whether the client is gone.
    """

    transport: ITCPTransport
    _log = Logger()

    def __init__(self, task: str) -> None:
        """
        @param task: its UUID, for the log.
        """
        self.lost = False
        self._uuid = task
        self._conversation = ObjectConversation(Role.REMOTE)
        self._pumping = False
        self._awaited: Deferred[CallAnswer] | None = None

    @abstractmethod
    async def carryOut(self, call: Call) -> CallAnswer:
        """
        Do what is called.

        @raise CallFailed: it cannot be done.
        """

    async def call(self, call: Call) -> CallAnswer:
        """
        Call the client back.

        @raise ConnectionClosed: it is gone.
        """
        if self.lost:
            raise ConnectionClosed("the client is gone")
        self._awaited = Deferred()
        awaited = self._awaited
        self._write(self._conversation.call(call))
        self._pump()  # a client that runs ahead may have answered already
        return await awaited

    def connectionMade(self) -> None:
        """
        Say nothing: the client speaks first.
        """
        settle(self.transport)
        self._write = promptly(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """
        Answer what is called, hang up on nonsense.
        """
        try:
            self._conversation.hear(data)
        except RemoteProtocolError as error:
            self._hangUp(error)
        else:
            self._pump()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Nothing more is answered.
        """
        self.lost = True
        awaited, self._awaited = self._awaited, None
        if awaited is not None:
            awaited.errback(Failure(ConnectionClosed("the client is gone")))

    def abort(self) -> None:
        """
        Close the connection at once: what is still answered is not said.
        """
        self._write = _unsaid
        self.transport.abortConnection()

    def _hangUp(self, error: JobSchedulerError) -> None:
        self._log.warn(
            "Task {task}: hung up on {peer}: {error}",
            task=self._uuid,
            peer=self.transport.getPeer(),
            error=error,
        )
        self.abort()

    def _pump(self) -> None:
        # Answering lets the peer's next message, if it is here already, be
        # heard: a loop, so that a client that runs ahead does not make us
        # recurse.
        if self._pumping:
            return
        self._pumping = True
        try:
            while not self.lost:
                try:
                    message = self._conversation.next()
                except MisunderstoodCall as error:
                    code, _, text = str(error).partition("  ")
                    self._answer(failed(code, text))
                    continue
                if message is None:
                    break
                self._heard(message)
        except RemoteProtocolError as error:
            self._hangUp(error)
        finally:
            self._pumping = False

    def _heard(self, message: Call | CallAnswer) -> None:
        match message:
            case (
                CreateInstance()
                | CallMethod()
                | GetId()
                | Invoke()
                | QueryInterface()
                | Release()
                | KeepAlive()
            ):
                serving = Deferred.fromCoroutine(self._serve(message))
                serving.addErrback(self._broken)
            case _:
                awaited, self._awaited = self._awaited, None
                if awaited is not None:
                    awaited.callback(message)

    async def _serve(self, call: Call) -> None:
        try:
            answer = await self.carryOut(call)
        except CallFailed as error:
            answer = error.answer
        except RemoteProtocolError as error:
            answer = failed("SCHEDULER-409", str(error))
        except ConnectionClosed:
            return
        if not self.lost:
            self._answer(answer)
            self._pump()

    def _broken(self, failure: Failure) -> None:
        self._log.failure("Task {task} failed", failure=failure, task=self._uuid)
        self.abort()

    def _answer(self, answer: CallAnswer) -> None:
        self._write(self._conversation.answer(answer))


def _unsaid(data: bytes) -> None:
    """
    The connection was aborted.
    """
