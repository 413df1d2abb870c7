"""
The client's side of the command connection: requests, and their answers in any
order.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol as TypingProtocol
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, ITCPTransport
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobscheduler_tcp.conversation import COMMAND, Conversation, Role
from jobscheduler_tcp.errors import (
    CommandRefused,
    ConnectionClosed,
    LocalProtocolError,
    NotAdmitted,
    RemoteProtocolError,
)
from jobscheduler_tcp.heartbeat import SILENCE, Heart
from jobscheduler_tcp.messages import (
    VERSION,
    Answer,
    AttachRefused,
    AttachTask,
    CallbackMode,
    ConfirmationOpened,
    ConfirmationRefused,
    Hello,
    KillTask,
    OpenConfirmation,
    Ping,
    Pong,
    Request,
    RequestFailed,
    StartTask,
    TaskKilled,
    TaskRefused,
    TaskTaken,
    Welcome,
)
from jobscheduler_tcp.sockets import settle
from jobscheduler_tcp.streams import Stream
from jobscheduler_tcp.wire.answers import decodeAnswer
from jobscheduler_tcp.wire.requests import encodeRequest
from jobscheduler_tcp.wire.splitters import MAX_GREETED, AnswerSplitter

_HELLO_ID = 1
_MAX_ID = 2**31 - 1

_ANSWERS: dict[type[Request], tuple[type[Answer], ...]] = {
    StartTask: (TaskTaken, TaskRefused),
    AttachTask: (TaskTaken, AttachRefused),
    KillTask: (TaskKilled,),
    Ping: (Pong,),
    OpenConfirmation: (ConfirmationOpened, ConfirmationRefused),
}


class Asker(TypingProtocol):
    """
    Who asks for something, as a C{Deferred} does.
    """

    def callback(self, answer: Answer) -> None:
        """
        It has this answer.
        """

    def errback(self, error: Exception) -> None:
        """
        There is none, or it is an error.
        """


class CommandClientProtocol(Protocol):
    """
    A command connection in the extended dialect.

    @ivar greeting: fires when the remote has understood our hello; fails with
        L{CommandRefused} if it answers that it will not talk to us, with
        L{NotAdmitted} if it hangs up instead, with L{ConnectionClosed} if the
        connection breaks.
    @ivar closed: fires when the connection is closed.
    @ivar quiet: beats since the remote was last heard.
    """

    transport: ITCPTransport
    _log = Logger()

    def __init__(self, hello: Hello, heart: Heart) -> None:
        self.greeting: Deferred[Welcome] = Deferred()
        self.closed: Deferred[None] = Deferred()
        self.quiet = 0
        self._hello = hello
        self._heart = heart
        self._conversation = Conversation(COMMAND, Role.CLIENT)
        self._answers = AnswerSplitter()
        self._id = _HELLO_ID
        self._waiting: dict[int, tuple[Request, Asker]] = {}
        self._heardAnything = False
        self._greeted = False
        self._hungUp = ""

    def request(self, message: Request) -> Deferred[Answer]:
        """
        Ask for something. The C{id} of the message is ours to choose.

        @return: fails with L{CommandRefused} if the answer is an error, and with
            L{ConnectionClosed} if there will be none.
        """
        # One that is cancelled stays in the table: its answer will come.
        answer: Deferred[Answer] = Deferred()
        self.ask(message, answer)
        return answer

    def ask(self, message: Request, asker: Asker) -> None:
        """
        Do the same for somebody who needs no C{Deferred} for it.
        """
        if self._hungUp:
            asker.errback(ConnectionClosed(self._hungUp))
            return
        try:
            self._conversation.speak(message)
            number = self._nextId()
            data = encodeRequest(message, number)
            if len(data) > MAX_GREETED:
                raise LocalProtocolError(
                    f"it has {len(data)} bytes, {MAX_GREETED} at most are allowed"
                )
        except LocalProtocolError as error:
            asker.errback(error)
            return
        self._waiting[number] = message, asker
        self.transport.write(data)

    def hurry(self) -> None:
        """
        Send what was asked now, where a transport would wait for the end of the turn.
        """
        if isinstance(self.transport, Stream):
            self.transport.hurry()

    def connectionMade(self) -> None:
        """
        Speak first.
        """
        settle(self.transport)
        self._heart.add(self)
        self._conversation.speak(self._hello)
        self.transport.write(encodeRequest(self._hello))

    def dataReceived(self, data: bytes) -> None:
        """
        Hear answers; hang up on nonsense.
        """
        self.quiet = 0
        self._heardAnything = True
        try:
            for document in self._answers.feed(data):
                if self._hungUp:
                    return
                answer = decodeAnswer(document)
                self._conversation.hear(answer)
                if self._greeted:
                    self._answered(answer)
                else:
                    self._greet(answer)
        except RemoteProtocolError as error:
            self._log.warn(
                "Hung up on the remote {peer}: {error}",
                peer=self.transport.getPeer(),
                error=error,
            )
            self._abort(f"what the remote says is not understood: {error}")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Nothing that was asked will be answered.
        """
        self._hungUp = self._hungUp or reason.getErrorMessage()
        self._heart.remove(self)
        self.closed.callback(None)
        if not self.greeting.called:
            if self._heardAnything:
                self.greeting.errback(ConnectionClosed(self._hungUp))
            else:
                self.greeting.errback(
                    NotAdmitted(
                        "the remote hung up upon our first words: it does not allow this host, "
                        f"or is no JobScheduler ({self._hungUp})"
                    )
                )
        waiting, self._waiting = self._waiting, {}
        for _, answer in waiting.values():
            answer.errback(ConnectionClosed(self._hungUp))

    def beat(self) -> None:
        """
        Ask whether the remote is there.
        """
        if self._greeted:
            # Whatever comes, something was heard.
            self.request(Ping(0)).addErrback(lambda _: None)

    def silent(self) -> None:
        """
        The remote is dead, or cut off.
        """
        self._heardAnything = True  # else it would pass for not letting us in
        self._abort(f"the remote has said nothing for {SILENCE:g} seconds")

    def _abort(self, why: str) -> None:
        self._hungUp = why
        self.transport.abortConnection()

    def _greet(self, answer: Answer) -> None:
        if isinstance(answer, Welcome):
            if answer.id != _HELLO_ID or not 1 <= answer.version <= VERSION:
                raise RemoteProtocolError(f"it welcomes us with version {answer.version}")
            self._greeted = True
            self.greeting.callback(answer)
        else:
            assert isinstance(answer, RequestFailed), "the table lets nothing else through"
            self._hungUp = answer.text or answer.code
            self.transport.loseConnection()
            self.greeting.errback(CommandRefused(answer.code, answer.text))

    def _answered(self, answer: Answer) -> None:
        request, waiting = self._waiting.pop(answer.id, (None, None))
        if request is None or waiting is None:
            raise RemoteProtocolError(f"it answers what was not asked: {answer}")
        if isinstance(answer, RequestFailed):
            waiting.errback(CommandRefused(answer.code, answer.text))
        elif not isinstance(answer, _ANSWERS[type(request)]) or _about(answer) != _about(request):
            self._waiting[answer.id] = request, waiting
            raise RemoteProtocolError(f"it answers something else than was asked: {answer}")
        else:
            waiting.callback(answer)

    def _nextId(self) -> int:
        while True:
            self._id = self._id % _MAX_ID + 1
            if self._id not in self._waiting:
                return self._id


def _about(message: Request | Answer) -> str | None:
    # The UUID of the task or the connection that a message is about.
    task: str | None = getattr(message, "task", None)
    return task if task is not None else getattr(message, "connection", None)


class CommandClientFactory(ClientFactory):
    """
    Make command connections.
    """

    noisy = False

    def __init__(
        self,
        heart: Heart,
        *,
        instance: str = "",
        bootId: str = "",
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        """
        @param instance: a UUID of the running program, made here if empty.
        @param bootId: changes when this host is started anew.
        @param wallClock: seconds since 1970.
        """
        self.heart = heart
        self.instance = instance or str(uuid4())
        self.bootId = bootId
        self._wallClock = wallClock

    def buildProtocol(self, addr: IAddress | None) -> CommandClientProtocol:
        """
        A connection to a remote is there.
        """
        hello = Hello(
            id=_HELLO_ID,
            version=VERSION,
            instance=self.instance,
            capabilities=tuple(mode.value for mode in CallbackMode),
            bootId=self.bootId,
            clock=self._wallClock(),
        )
        return CommandClientProtocol(hello, self.heart)
