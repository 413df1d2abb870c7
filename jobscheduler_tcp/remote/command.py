"""
The remote's side of the command connection: hear what a client asks in the
extended dialect, beside plain commands.

Requests may follow each other without waiting, and each is answered when its
answer is known.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocol,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer_only

from jobscheduler_tcp.commandport import CommandPortFactory, CommandPortProtocol
from jobscheduler_tcp.conversation import COMMAND, Conversation, Role
from jobscheduler_tcp.errors import CommandRefused, RemoteProtocolError
from jobscheduler_tcp.heartbeat import Heart
from jobscheduler_tcp.interfaces import IConfirmations, ITasks
from jobscheduler_tcp.messages import (
    Answer,
    AttachRefused,
    AttachTask,
    ConfirmationOpened,
    ConfirmationRefused,
    Hello,
    KillTask,
    OpenConfirmation,
    Ping,
    Pong,
    RequestFailed,
    StartTask,
    TakeConfirmation,
    TaskKilled,
    TaskRefused,
    TaskTaken,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.plaincommands import Handler, Peer, Said, notAllowed
from jobscheduler_tcp.remote.classicruns import ClassicHost, ClassicRuns
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.sockets import promptly
from jobscheduler_tcp.wire.answers import encodeAnswer
from jobscheduler_tcp.wire.classiccommands import CLOSE, START, usualCommand
from jobscheduler_tcp.wire.documents import Element, answer
from jobscheduler_tcp.wire.requests import decodeRequest, isRequest
from jobscheduler_tcp.wire.starts import readStart

# Requests of one connection that wait for their answers; more are not read. A
# start waits for the client's own callback port, 15 seconds at most.
MAX_OUTSTANDING = 4096

# Seconds for which the answer to a start that was taken may wait for others: the
# client hears the same on the confirmation connection, and was woken up for each.
LATE = 0.01


# A client that says nothing more is gone, and with it what belongs to its
# connection: it does not half close it.
@implementer_only(IPushProducer)
class CommandServerProtocol(CommandPortProtocol):
    """
    Hear the requests of one client.
    """

    _log = Logger()

    def __init__(self, factory: CommandServerFactory) -> None:
        super().__init__(factory)
        self._factory: CommandServerFactory = factory
        self._tasks = factory.tasks
        self._wallClock = factory.wallClock
        self._conversation = Conversation(COMMAND, Role.REMOTE)
        self._outstanding = 0
        self._late: list[bytes] = []  # answers that wait for others
        self._timer: IDelayedCall | None = None
        self._classic: ClassicRuns | None = None
        self._alone = False  # the command is the only one of its document
        self._closing = False  # it was a close, whose answer has another end
        self._successor: IProtocol | None = None  # what goes on with the transport
        # How plain commands are answered, when one was.
        self._write: Callable[[bytes], None] | None = None

    def connectionMade(self) -> None:
        """
        Look the peer up. It may speak the classic dialect, whose tasks belong to
        their connection.
        """
        super().connectionMade()
        if self._factory.classic is not None:
            self._classic = ClassicRuns(self._factory.classic, self.peer.host)
            self.plainCommands = self.plainCommands.extended(
                {START: (Level.ALL, self._startClassic), CLOSE: (Level.ALL, self._closeClassic)}
            )

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The tasks of a classic client are killed with its connection.
        """
        super().connectionLost(reason)
        self._stopTimer()
        if self._successor is not None:
            self._successor.connectionLost(reason)
        if self._classic is not None:
            self._classic.connectionLost()
            self.plainCommands = self._factory.plainCommands  # the others know us

    def dataReceived(self, data: bytes) -> None:
        """
        Obey documents, as long as they are spoken.
        """
        if self._successor is not None:
            self._successor.dataReceived(data)
        else:
            super().dataReceived(data)

    def mayHearMore(self) -> bool:
        """
        Whether the next request may be obeyed, or waits.
        """
        return super().mayHearMore() and self._outstanding < MAX_OUTSTANDING

    def heardAtOnce(self, document: bytes) -> bool:
        """
        A document was heard: most are starts.
        """
        start = readStart(document)
        if start is None:
            command = usualCommand(document)
            if command is not None:
                self.rootReceived(command)
            return command is not None
        try:
            self._conversation.hear(start)
        except RemoteProtocolError:
            return False  # to be told as for any other
        self._start(start)
        return True

    def rootReceived(self, root: Element) -> None:
        """
        A document was heard: a request, or a plain command.
        """
        if not isRequest(root):
            # <commands> holds no close, as its answer comes later (2.8).
            only = [each.name for each in root.children] if root.name == "spooler" else [root.name]
            self._alone = only == [CLOSE]
            super().rootReceived(root)
            return
        try:
            request = decodeRequest(root)
            self._conversation.hear(request)
        except RemoteProtocolError as wrong:
            failed = RequestFailed(_idOf(root), "jsremote-protocol-error", str(wrong)[:500])
            self.giveUp(encodeAnswer(failed, self._now()), wrong)
            return
        match request:
            case Hello():
                self._greet(request)
            case StartTask():
                self._start(request)
            case KillTask():
                self._wait(request.id, self._tasks.kill(request))
            case AttachTask():
                self._wait(request.id, self._tasks.attach(request, self.peer.host))
            case Ping():
                self._answer(Pong(request.id))
            case OpenConfirmation():
                self._open(request)
            case TakeConfirmation():
                self._take(request)

    def say(self, children: Iterable[Element]) -> None:
        """
        Answer in JobScheduler's envelope. The answer to a close, which the
        engines give later, has no line feed before its NUL.
        """
        closing, self._closing = self._closing, False
        if not self.over:
            if self._write is None:
                self._write = promptly(self.transport)
            now = self.plainCommands.time()
            self._write(answer(children, now, newline=not closing))

    def giveUp(self, said: bytes, why: object) -> None:
        """
        Say a last word, after all that waits.
        """
        self._sayLate()
        super().giveUp(said, why)

    def hangUp(self) -> None:
        """
        Close the connection after what was written, or waits to be.
        """
        self._sayLate()
        super().hangUp()

    def _startClassic(self, command: Element, peer: Peer) -> Element:
        assert self._classic is not None
        return self._classic.start(command)

    def _closeClassic(self, command: Element, peer: Peer) -> Deferred[Said]:
        assert self._classic is not None
        if not self._alone:
            raise CommandRefused("SCHEDULER-353", "The command gave no immediate answer")
        closed = self._classic.close(command)
        self._closing = True
        return closed

    def _greet(self, hello: Hello) -> None:
        if self.peer.level < Level.ALL:
            refused = notAllowed()
            self._log.warn("{peer} may not start tasks", peer=self.peer.host)
            self._answer(RequestFailed(hello.id, refused.code, refused.text))
        elif hello.version < 1:
            self._refuse(hello, "jsremote-version", f"there is no version {hello.version}")
        elif hello.authentication != "none":
            text = f"the method {hello.authentication[:80]} is not known"
            self._refuse(hello, "jsremote-authentication", text)
        else:
            self._answer(self._tasks.welcome(hello))
            self.greeted()

    def _start(self, request: StartTask) -> None:
        self._outstanding += 1
        answer = self._tasks.start(request, self.peer.host)
        answer.addCallbacks(self._taken, self._broken, errbackArgs=(request.id,))

    def _taken(self, answer: Answer) -> None:
        if not isinstance(answer, TaskTaken):
            self._answered(answer)
            return
        self._outstanding -= 1
        if not self.over:
            self._conversation.speak(answer)
            self._late.append(encodeAnswer(answer, self._now()))
            if self._timer is None:
                self._timer = self._factory.clock.callLater(LATE, self._sayLate)
        self.workOn()

    def _sayLate(self) -> None:
        self._stopTimer()
        late, self._late = self._late, []
        if late and not self.over:
            self._sayJoined(b"".join(late))

    def _stopTimer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _open(self, request: OpenConfirmation) -> None:
        confirmations = self._factory.confirmations
        if confirmations is None:
            text = "this remote has no standing confirmation connections"
            self._answer(RequestFailed(request.id, "jsremote-callback", text))
        else:
            self._wait(request.id, confirmations.open(request, self.peer.host))

    def _take(self, request: TakeConfirmation) -> None:
        """
        From here on, frames are spoken on this connection.
        """
        confirmations = self._factory.confirmations
        if self.peer.level < Level.ALL or confirmations is None:
            refused = notAllowed()
            self._log.warn("{peer} may not start tasks", peer=self.peer.host)
            self._answer(RequestFailed(request.id, refused.code, refused.text))
            self.hangUp()
            return
        successor = confirmations.take(request)
        if successor is None:
            text = "no such confirmation connection is waited for"
            reason = Reason.CALLBACK_REFUSED
            self._answer(ConfirmationRefused(request.id, request.connection, reason, text))
            self.hangUp()
            return
        self._answer(ConfirmationOpened(request.id, request.connection))
        # What is said from now on is no document, and its own flow counts.
        self.transport.unregisterProducer()
        self._successor = successor
        successor.makeConnection(self.transport)

    def _refuse(self, hello: Hello, code: str, text: str) -> None:
        failed = RequestFailed(hello.id, code, text)
        self.giveUp(encodeAnswer(failed, self._now()), text)

    def _wait(
        self,
        number: int,
        answer: Deferred[TaskTaken | TaskRefused]
        | Deferred[TaskTaken | AttachRefused]
        | Deferred[TaskKilled]
        | Deferred[ConfirmationOpened | ConfirmationRefused],
    ) -> None:
        self._outstanding += 1
        answer.addCallbacks(self._answered, self._broken, errbackArgs=(number,))

    def _broken(self, failure: Failure, number: int) -> None:
        self._log.failure("A request of {peer} failed", failure=failure, peer=self.peer.host)
        self._answered(RequestFailed(number, "jsremote-internal-error", "The request failed"))

    def _answered(self, answer: Answer) -> None:
        self._outstanding -= 1
        self._answer(answer)
        self.workOn()

    def _answer(self, answer: Answer) -> None:
        if not self.over:
            self._conversation.speak(answer)
            if self._late:
                self._sayLate()
            self._sayJoined(encodeAnswer(answer, self._now()))

    def _sayJoined(self, data: bytes) -> None:
        # Many of these follow each other and wait for the end of the turn: from now
        # on so does whatever is said behind them.
        self._write = self.transport.write
        self._write(data)

    def _now(self) -> str:
        seconds = self._wallClock()
        return f"{_second(int(seconds))}.{int(seconds % 1 * 1000):03}Z"


@lru_cache(1)
def _second(seconds: int) -> str:
    # All answers of a second have the same.
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


class CommandServerFactory(CommandPortFactory):
    """
    Make L{CommandServerProtocol}s.
    """

    def __init__(
        self,
        tasks: ITasks,
        levelOf: Callable[[str], Level],
        clock: IReactorTime,
        *,
        classic: ClassicHost | None = None,
        confirmations: IConfirmations | None = None,
        commands: Mapping[str, tuple[Level, Handler]] | None = None,
        heart: Heart | None = None,
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        """
        @param tasks: carries the requests out.
        @param levelOf: what the peer at an address may do, such as
            L{AllowedHosts.levelOf<jobscheduler_tcp.security.AllowedHosts.levelOf>}.
        @param classic: what tasks of classic clients need; without it, the
            classic dialect is not spoken.
        @param confirmations: makes standing confirmation connections; without
            it, there are none.
        @param commands: further plain commands by name, with the level that
            each needs.
        @param heart: the heart of the service that this belongs to.
        @param wallClock: seconds since 1970, for the envelope of the answers.
        """
        self.tasks = tasks
        self.confirmations = confirmations
        self.classic = classic
        self.wallClock = wallClock
        plain: dict[str, tuple[Level, Handler]] = {
            "show_state": (Level.INFO, self._showState),
            "s": (Level.INFO, self._showState),
            **(commands or {}),
        }
        super().__init__(levelOf, plain, clock, heart, wallClock)

    def buildProtocol(self, addr: IAddress | None) -> CommandServerProtocol:
        """
        Make the protocol of a peer that just connected.
        """
        return CommandServerProtocol(self)

    def _showState(self, command: Element, peer: Peer) -> Element:
        return self.tasks.showState()


def _idOf(root: Element) -> int:
    # So that the client knows which of its requests is not understood.
    text = root.attributes.get("id", "")
    number = int(text) if re.fullmatch("[0-9]{1,10}", text) else 0
    return number if number < 2**31 else 0
