"""
A TCP port that obeys XML commands, as both roles have one: the remote's 4455,
the client's 4444.

What is shared stands here: who may connect and how long he may be silent, where
a document ends, and that one is obeyed after the other and answered in one
piece. L{jobscheduler_tcp.plaincommands} obeys; what an extended client says
beyond plain commands is the subject of L{jobscheduler_tcp.remote.command}.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.heartbeat import Heart
from jobscheduler_tcp.httpcommands import HTTPCommands
from jobscheduler_tcp.interfaces import IStreamTransport
from jobscheduler_tcp.plaincommands import MAX_INSERT, Handler, Peer, PlainCommands
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.silentpeers import SilentPeers
from jobscheduler_tcp.sockets import settle
from jobscheduler_tcp.wire.documents import GREETED, STRANGER, Element, answer, parse
from jobscheduler_tcp.wire.splitters import MAX_GREETED, DocumentSplitter

# Seconds from the end of a service to the end of a connection whose peer does
# not read its last answers.
PATIENCE = 2.0

# How many addresses that were turned away are remembered as warned about.
_MAX_WARNED = 1024


@implementer(IPushProducer, IHalfCloseableProtocol)
class CommandPortProtocol(Protocol):
    """
    Hear commands and answer them, one after the other.

    @ivar peer: who says them.
    @ivar over: whether nothing that it says counts any more.
    @ivar quiet: beats since it was last heard.
    @ivar received: bytes that it said.
    @ivar sent: bytes that it was answered.
    """

    transport: IStreamTransport
    quiet = 0
    received = 0
    sent = 0
    _log = Logger()

    def __init__(self, factory: CommandPortFactory) -> None:
        self._factory = factory
        self.plainCommands = factory.plainCommands
        self.peer = Peer("", 0, Level.NONE)
        self._splitter = DocumentSplitter()
        self._limits = STRANGER
        self._grace: IDelayedCall | None = None
        self._documents: deque[bytes | RemoteProtocolError | None] = deque()
        self._working = False  # workOn is on the stack
        self._obeying: Deferred[list[Element]] | None = None  # a plain command
        self._heard = False  # anything at all
        self._http: HTTPCommands | None = None  # if that is what the peer speaks
        self._responding: Deferred[bytes] | None = None
        self._unread = False  # the peer does not read its answers
        self._held = False  # we do not read its commands
        self.over = False

    def connectionMade(self) -> None:
        """
        Look the peer up: one without a level is sent away without a word.
        """
        address = self.transport.getPeer()
        host = getattr(address, "host", "")
        self.peer = Peer(host, getattr(address, "port", 0), self._factory.levelOf(host))
        self._factory.connections[self] = None
        if self.peer.level < Level.INFO:
            self._factory.warnAbout(self.peer)
            self.over = True
            self.transport.loseConnection()
            return
        grace = self._factory.silentPeers.enter(host)
        if grace is None:
            self._log.debug("Too many silent connections, {peer} is dropped", peer=host)
            self.over = True
            self.transport.abortConnection()
            return
        self._grace = self._factory.clock.callLater(grace, self._saidNothing)
        settle(self.transport)
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """
        Obey the documents that are complete.
        """
        self.quiet = 0
        self.received += len(data)
        if self.over:
            return
        if not self._heard and data:
            self._heard = True
            if data[:1].isupper():  # as JobScheduler tells HTTP from XML
                self._http = HTTPCommands(self._factory.plainCommands, self.peer)
        if self._http is not None:
            self._hearHTTP(self._http, data)
            return
        documents: list[bytes | RemoteProtocolError | None] = []
        try:
            documents.extend(self._splitter.feed(data))
            if documents and self._splitter.holdsText and data.lstrip().startswith(b"<"):
                # As JobScheduler, which takes what comes in one piece for one
                # request: of <terminate/>x nothing is obeyed.
                documents = [RemoteProtocolError("text behind an element")]
        except RemoteProtocolError as wrong:
            documents.append(wrong)
        else:
            if self._splitter.closed:
                documents.append(None)  # the peer took its leave
        self._documents.extend(documents)
        self.workOn()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Forget the peer, and what it still waits for.
        """
        self.over = True
        self._documents.clear()
        self._known()
        self._factory.heart.remove(self)
        if self._obeying is not None:
            self._obeying.cancel()
        if self._responding is not None:
            self._responding.cancel()
        self._factory.connectionIsOver(self)

    def readConnectionLost(self) -> None:
        """
        The peer says nothing more, as C{printf '<show_state/>' | nc -N}: it hears
        the answers to what it said.
        """
        if self._http is not None:
            if self._responding is None:
                self.hangUp()
        else:
            self._documents.append(None)
            self.workOn()

    def writeConnectionLost(self) -> None:
        """
        Our words have no reader any more; then we are told that the connection
        is gone as well.
        """

    # --------------------------------------------------- for what builds on this

    def greeted(self) -> None:
        """
        The peer speaks the extended dialect: longer documents are taken from it,
        and it is expected to say something every few seconds.
        """
        self._splitter.limit = MAX_GREETED
        self._limits = GREETED
        self._factory.heart.add(self)

    def heardAtOnce(self, document: bytes) -> bool:
        """
        A document was heard.

        @return: whether it needs not be read as XML.
        """
        return False

    def rootReceived(self, root: Element) -> None:
        """
        A document was heard. Here it is one plain command or a list of them.
        """
        try:
            said = self.plainCommands.obeyed(root, self.peer)
            if not isinstance(said, Deferred):
                self.say(said)
                return
        except Exception:
            self._failed(Failure())
            return
        self._obeying = said
        said.addCallback(self.say).addErrback(self._failed).addCallback(self._obeyed)

    def mayHearMore(self) -> bool:
        """
        Whether the next document may be obeyed, or waits.
        """
        return self._obeying is None

    def say(self, children: Iterable[Element]) -> None:
        """
        Answer in JobScheduler's envelope, in one piece.
        """
        if not self.over:
            said = answer(children, self.plainCommands.time())
            self.sent += len(said)
            self.transport.write(said)

    def giveUp(self, said: bytes, why: object) -> None:
        """
        Say a last word to a peer that is not understood, and hang up.
        """
        if self.over:
            return
        self._log.warn("Hung up on {peer}: {why}", peer=self.peer.host, why=str(why))
        self.transport.write(said)
        self.hangUp()

    def hangUp(self) -> None:
        """
        Close the connection after what was written; obey nothing more.
        """
        if not self.over:
            self.over = True
            # A transport does not close while it has a producer that it paused.
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    # ------------------------------------------------------------- heart and flow

    def beat(self) -> None:
        """
        Nothing: the client of a command connection says the pings.
        """

    def silent(self) -> None:
        """
        The peer is gone.
        """
        self._log.warn("Nothing was heard from {peer} for too long", peer=self.peer.host)
        self.over = True
        self.transport.abortConnection()

    def pauseProducing(self) -> None:
        """
        The peer does not read its answers: obey no further command.
        """
        self._unread = True
        self.workOn()

    def resumeProducing(self) -> None:
        """
        It reads again.
        """
        self._unread = False
        self.workOn()

    def stopProducing(self) -> None:
        """
        The connection is gone.
        """
        self.over = True

    # ------------------------------------------------------------------- the work

    def workOn(self) -> None:
        """
        Obey what was heard, as far as it may be obeyed now.
        """
        if self._working:
            return
        self._working = True
        try:
            while self._documents and not self.over:
                if self._unread or not self.mayHearMore():
                    break
                self._hear(self._documents.popleft())
        finally:
            self._working = False
        # While nothing waits we read on, to notice when the peer is gone.
        hold = bool(self._documents)
        if hold is not self._held and not self.over:
            self._held = hold
            if hold:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    def _hear(self, document: bytes | RemoteProtocolError | None) -> None:
        if document is None:
            self.hangUp()
            return
        try:
            if isinstance(document, RemoteProtocolError):
                raise document
            self._known()
            if self.heardAtOnce(document):
                return
            root = parse(document, self._limits)
        except RemoteProtocolError as wrong:
            plain = self._factory.plainCommands
            told = plain.error("XML-ERROR", str(wrong)[:MAX_INSERT])
            if isinstance(document, RemoteProtocolError) or self._limits is GREETED:
                # Where the next document begins is not known; a program that is
                # not understood is not heard again.
                self.giveUp(answer([told], plain.time()), wrong)
            else:
                self._log.warn("{peer}: {why}", peer=self.peer.host, why=str(wrong))
                self.say([told])
        else:
            self.rootReceived(root)

    def _hearHTTP(self, http: HTTPCommands, data: bytes) -> None:
        if self._responding is not None:
            return  # one request is all that we take
        responding = http.hear(data)
        if responding is not None:
            self._known()
            self._responding = responding
            # It fails only if the peer is gone.
            responding.addCallbacks(self._respond, lambda _: None)

    def _respond(self, response: bytes) -> None:
        if not self.over:
            self.transport.write(response)
            self.hangUp()

    def _failed(self, failure: Failure) -> None:
        if not self.over:  # otherwise connectionLost has cancelled the command
            self._log.failure("An answer to {peer} failed", failure=failure, peer=self.peer.host)
            self.say([self._factory.plainCommands.failed()])

    def _obeyed(self, _: None) -> None:
        self._obeying = None
        self.workOn()

    def _known(self) -> None:
        if self._grace is not None:
            if self._grace.active():
                self._grace.cancel()
            self._grace = None
            self._factory.silentPeers.leave(self.peer.host)

    def _saidNothing(self) -> None:
        self._log.warn("{peer} connected and said nothing", peer=self.peer.host)
        self.over = True
        self.transport.abortConnection()


class CommandPortFactory(ServerFactory):
    """
    Make L{CommandPortProtocol}s.

    @ivar connections: those that are open; a dict, for its order.
    """

    noisy = False
    _log = Logger()

    def __init__(
        self,
        levelOf: Callable[[str], Level],
        commands: Mapping[str, tuple[Level, Handler]],
        clock: IReactorTime,
        heart: Heart | None = None,
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        """
        @param levelOf: what the peer at an address may do, such as
            L{AllowedHosts.levelOf<jobscheduler_tcp.security.AllowedHosts.levelOf>}.
        @param commands: the plain commands by name, with the level that each
            needs.
        @param heart: the heart of the service that this belongs to.
        @param wallClock: seconds since 1970, for the envelope of the answers.
        """
        self.levelOf = levelOf
        self.plainCommands = PlainCommands(commands, wallClock)
        self.clock = clock
        self.heart = heart or Heart(clock)
        self.connections: dict[CommandPortProtocol, None] = {}
        self.silentPeers = SilentPeers()
        self._warned: set[str] = set()
        self._closed: list[Deferred[None]] = []
        self._impatience: IDelayedCall | None = None

    def buildProtocol(self, addr: IAddress | None) -> CommandPortProtocol:
        """
        Make the protocol of a peer that just connected.
        """
        return CommandPortProtocol(self)

    def disconnect(self) -> Deferred[None]:
        """
        Close all connections after what was written to them.

        @return: fires when they are closed.
        """
        for connection in list(self.connections):
            connection.hangUp()
        closed: Deferred[None] = Deferred()
        if self.connections:
            self._closed.append(closed)
            if self._impatience is None:
                self._impatience = self.clock.callLater(PATIENCE, self._abort)
        else:
            closed.callback(None)
        return closed

    def connectionIsOver(self, connection: CommandPortProtocol) -> None:
        """
        A connection is closed.
        """
        self.connections.pop(connection, None)
        if not self.connections:
            if self._impatience is not None and self._impatience.active():
                self._impatience.cancel()
            self._impatience = None
            closed, self._closed = self._closed, []
            for waiting in closed:
                waiting.callback(None)

    def _abort(self) -> None:
        for connection in list(self.connections):
            connection.transport.abortConnection()

    def warnAbout(self, peer: Peer) -> None:
        """
        Log that a peer is turned away, once for each address.
        """
        if peer.host not in self._warned and len(self._warned) < _MAX_WARNED:
            self._warned.add(peer.host)
            self._log.warn(
                "SCHEDULER-287  {peer} is not allowed to connect (its level is {allowed})",
                peer=peer.host,
                allowed=str(peer.level),
            )
