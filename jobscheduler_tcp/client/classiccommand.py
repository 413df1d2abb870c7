"""
The command connection of one task in the classic dialect: start it, kill it,
close it (protocol document 3).

A real client has one connection for each task and one request on it at a time;
so have we, but a connection whose task is over may be the next task's.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from errno import ETIMEDOUT
from typing import TypeAlias

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorTime,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobscheduler_tcp.client.classicidle import IdleCommands
from jobscheduler_tcp.errors import (
    CommandRefused,
    ConnectionClosed,
    NotAdmitted,
    RemoteProtocolError,
    RemoteUnreachable,
)
from jobscheduler_tcp.messages import Answer, KillTask, Request, StartTask, TaskKilled, TaskTaken
from jobscheduler_tcp.sockets import promptly, settle
from jobscheduler_tcp.wire.classiccommands import closeDocument, startDocument, usualAnswer
from jobscheduler_tcp.wire.documents import Element, parse
from jobscheduler_tcp.wire.splitters import AnswerSplitter

# Seconds for the remote to answer a close. A real one needs up to 2, to remove
# its files (3.4).
CLOSE_TIMEOUT = 10.0

# The same when the client stops.
FAREWELL = 3.0

# Hears an answer, or why there is none.
Heard: TypeAlias = Callable[[Element | Failure], None]


class ClassicCommandProtocol(Protocol):
    """
    Say one document, hear one answer.

    @ivar whenClosed: is called when the connection is closed.
    @ivar host: the address of the remote.
    """

    transport: ITCPTransport
    host = ""

    def __init__(self) -> None:
        self.whenClosed: Callable[[], None] | None = None
        self._answers = AnswerSplitter()
        self._waiting: deque[tuple[bytes, Heard]] = deque()
        self._asked: Heard | None = None
        self._heardAnything = False

    def ask(self, document: bytes, heard: Heard) -> None:
        """
        Say a document, when the last one is answered.

        @param heard: is called with the first element of the answer; with
            L{CommandRefused} if that is an error, with L{NotAdmitted} if the remote
            hangs up without a word, with L{ConnectionClosed} if it does so later.
        """
        self._waiting.append((document, heard))
        self._askNext()

    def connectionMade(self) -> None:
        """
        Remember who it is.
        """
        settle(self.transport)
        self._write = promptly(self.transport)
        self.host = getattr(self.transport.getPeer(), "host", "")

    def dataReceived(self, data: bytes) -> None:
        """
        Hear an answer; hang up on nonsense.
        """
        self._heardAnything = True
        try:
            for document in self._answers.feed(data):
                answer = usualAnswer(document) or _answerIn(parse(document))
                asked, self._asked = self._asked, None
                if asked is None:
                    raise RemoteProtocolError("an answer to nothing")
                asked(answer)
                self._askNext()
        except RemoteProtocolError as error:
            self._fail(error)
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Nothing more will be answered.
        """
        if self.whenClosed is not None:
            self.whenClosed()
        if self._heardAnything:
            self._fail(ConnectionClosed(reason.getErrorMessage()))
        else:
            self._fail(NotAdmitted("the remote hung up: it does not allow this address"))

    def _askNext(self) -> None:
        if self._asked is None and self._waiting:
            document, self._asked = self._waiting.popleft()
            self._write(document)

    def _fail(self, error: Exception) -> None:
        asked, self._asked = self._asked, None
        waiting, self._waiting = self._waiting, deque()
        for each in [asked, *(heard for _, heard in waiting)]:
            if each is not None:
                each(Failure(error))


def _answerIn(root: Element) -> Element | Failure:
    answers = [child for each in root.children for child in each.children]
    if root.name != "spooler" or not answers:
        return Failure(RemoteProtocolError(f"an answer with <{root.name}> and nothing in it"))
    answer = answers[-1]
    if answer.name == "ERROR":
        attributes = answer.attributes
        return Failure(CommandRefused(attributes.get("code", ""), attributes.get("text", "")))
    return answer


class ClassicCommandConnection:
    """
    What a job asks of a classic remote, in the words that it uses for an
    extended one too.
    """

    _log = Logger()

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        clock: IReactorTime,
        address: str,
        timeout: float,
        alive: set[ClassicCommandConnection],
        *,
        idle: IdleCommands | None = None,
    ) -> None:
        """
        @param address: host and port, for people.
        @param timeout: seconds to try to connect; 0 for those of the endpoint.
        @param alive: where to stand while it is connected.
        @param idle: connections to the same remote.
        """
        self._alive = alive
        self._idle = IdleCommands() if idle is None else idle
        self._uses = False  # it has entered there
        self._wasIdle = False  # the connection
        self._called = False  # the remote has
        self._endpoint = endpoint
        self._clock = clock
        self._address = address
        self._timeout = timeout
        self._protocol: ClassicCommandProtocol | None = None
        self._number: int | None = None
        self._connecting: Deferred[ClassicCommandProtocol] | None = None
        # For an answer, before that for the connection.
        self._timer: IDelayedCall | None = None
        # Who waits for the answer to the start.
        self._starting: Deferred[Answer] | None = None
        self._killing = False
        self._killed = False  # the kill was answered
        self._dead = False  # with success
        # Who waits for the answer to the kill.
        self._kills: list[Deferred[Answer]] = []
        self._gone: list[Deferred[None]] = []
        self._over = False
        # Kills that wait for the answer to the start.
        self._waiting: list[Deferred[None]] | None = None

    def request(self, message: Request) -> Deferred[Answer]:
        """
        Start the task, or kill it.

        @return: fails as that of an extended connection does.
        """
        match message:
            case StartTask():
                return self._start(message)
            case KillTask():
                return self._kill(message)
            case _:
                return fail(CommandRefused("SCHEDULER-105", "not known in the classic dialect"))

    def withdraw(self, answer: Deferred[Answer]) -> None:
        """
        Need no answer any more: the Deferred will not fire. The connection
        stays, the task belongs to it.
        """
        if answer is self._starting:
            self._starting = None

    def isRemote(self, host: str) -> bool:
        """
        Whether an address is the one that we are connected to.
        """
        isIt = self._protocol is not None and host == self._protocol.host
        self._called = self._called or isIt
        return isIt

    def abort(self) -> None:
        """
        Hang up without a word; the remote kills what runs.
        """
        self._over = True
        if self._protocol is not None:
            self._protocol.transport.abortConnection()
        elif self._connecting is not None:
            self._connecting.cancel()

    def farewell(self) -> Deferred[None]:
        """
        Hang up after the answer to the close, or when that takes too long.

        @return: fires when it is closed.
        """
        if self._protocol is None:
            return succeed(None)
        timer = self._clock.callLater(FAREWELL, self.abort)
        gone: Deferred[None] = Deferred()
        self._gone.append(gone)
        return gone.addCallback(lambda _: timer.cancel() if timer.active() else None)

    def close(self) -> None:
        """
        The confirmation connection is closed: tell the remote to forget the
        task, and close this one too.
        """
        if self._over:
            return
        self._over = True
        protocol = self._protocol
        if protocol is None:
            if self._connecting is not None:
                self._connecting.cancel()
            return
        if self._number is None or self._killing:
            # Without an answer to the start there is nothing to close; after a
            # kill no second close is sent (3.4), but its answer may be to come.
            if self._killing and not self._killed:
                self._setTimer()
            else:
                protocol.transport.loseConnection()
            return
        self._setTimer()
        protocol.ask(closeDocument(self._number), self._closed)

    def _setTimer(self) -> None:
        assert self._protocol is not None
        self._timer = self._clock.callLater(CLOSE_TIMEOUT, self._protocol.transport.abortConnection)

    def _closed(self, answer: Element | Failure) -> None:
        protocol = self._protocol
        if protocol is None:
            return
        if not isinstance(answer, Failure) and self._idle.keep(protocol, self._clock):
            self._disconnected()
            return
        if isinstance(answer, Failure) and answer.check(CommandRefused):
            self._log.warn(
                "The remote {address} could not close a task: {error}",
                address=self._address,
                error=answer.getErrorMessage(),
            )
        self._leave()
        protocol.transport.loseConnection()

    def _start(self, message: StartTask) -> Deferred[Answer]:
        starting: Deferred[Answer] = Deferred()
        self._starting = starting
        self._waiting = []
        self._begin(message)
        return starting

    def _begin(self, message: StartTask) -> None:
        protocol = self._idle.enter()
        self._uses = True
        self._wasIdle = protocol is not None
        if protocol is not None:
            self._say(protocol, message)
        else:
            self._connect(message)

    def _say(self, protocol: ClassicCommandProtocol, message: StartTask) -> None:
        self._protocol = protocol
        self._alive.add(self)
        protocol.whenClosed = self._disconnected
        if self._over:
            protocol.transport.abortConnection()
        protocol.ask(startDocument(message.port), lambda answer: self._answered(message, answer))

    def _answered(self, message: StartTask, answer: Element | Failure) -> None:
        if isinstance(answer, Failure):
            # A connection that was idle may have been closed there before the task
            # was asked for; if the remote has taken it, its call tells.
            again = self._wasIdle and not self._called and not self._over
            if again and answer.check(ConnectionClosed):
                self._begin(message)
            else:
                self._started(answer)
            return
        number = answer.attributes.get("process_id", "")
        if answer.name != "process" or not number.isdecimal():
            error = RemoteProtocolError(f"the start was answered with <{answer.name}>")
            self._started(Failure(error))
            return
        self._number = int(number)
        self._started(TaskTaken(0, message.task, self._number % 2**31))

    def _started(self, answer: Answer | Failure) -> None:
        waiting, self._waiting = self._waiting, None
        for each in waiting or ():
            each.callback(None)
        starting, self._starting = self._starting, None
        if starting is not None:
            starting.callback(answer)

    def _connect(self, message: StartTask) -> None:
        factory = Factory.forProtocol(ClassicCommandProtocol)
        factory.noisy = False
        connecting: Deferred[ClassicCommandProtocol] = self._endpoint.connect(factory)  # type: ignore[assignment]  # its factory makes that
        self._connecting = connecting
        if self._timeout > 0:  # else the endpoint's own
            self._timer = self._clock.callLater(self._timeout, connecting.cancel)
        connecting.addCallbacks(
            self._connected, self._unreachable, callbackArgs=(message,)
        ).addErrback(self._broken)

    def _connected(self, protocol: ClassicCommandProtocol, message: StartTask) -> None:
        self._connecting = None
        self._stopTimer()
        self._say(protocol, message)

    def _unreachable(self, reason: Failure) -> None:
        self._connecting = None
        self._stopTimer()
        self._leave()
        error = reason.value
        if isinstance(error, CancelledError):
            number, text = ETIMEDOUT, f"no answer within {self._timeout:g} seconds"
        else:
            number = getattr(error, "osError", None) or getattr(error, "errno", None) or 0
            text = os.strerror(number) if number else str(error)
        self._started(Failure(RemoteUnreachable(self._address, text, number)))

    def _broken(self, reason: Failure) -> None:
        self._log.failure("A classic command connection failed", reason)
        self._started(reason)
        self.abort()

    def _leave(self) -> None:
        if self._uses:
            self._uses = False
            self._idle.leave()

    def _stopTimer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _disconnected(self) -> None:
        self._protocol = None
        self._alive.discard(self)
        self._stopTimer()
        self._leave()
        gone, self._gone = self._gone, []
        for each in gone:
            each.callback(None)

    def _kill(self, message: KillTask) -> Deferred[Answer]:
        if self._waiting is not None:
            # There is no number yet by which it could be killed.
            numbered: Deferred[None] = Deferred()
            self._waiting.append(numbered)
            return numbered.addCallback(lambda _: self._kill(message))
        if self._protocol is None or self._number is None or self._over:
            return fail(ConnectionClosed("the task cannot be killed: it is not known there"))
        if self._dead:
            return succeed(TaskKilled(0, message.task))
        self._killing = True
        killed: Deferred[Answer] = Deferred()
        self._kills.append(killed)
        if len(self._kills) == 1:  # else it is asked for, and not twice (3.4)
            document = closeDocument(self._number, kill=True)
            self._protocol.ask(document, lambda answer: self._killedIt(answer, message))
        return killed

    def _killedIt(self, answer: Element | Failure, message: KillTask) -> None:
        self._killed = True
        self._dead = not isinstance(answer, Failure)
        if self._dead and self._over and self._protocol is not None:
            self._protocol.transport.loseConnection()
        kills, self._kills = self._kills, []
        for each in kills:
            # The classic dialect does not tell who died.
            each.callback(answer if isinstance(answer, Failure) else TaskKilled(0, message.task, 1))
