"""
One TCP connection in memory, as L{jobscheduler_tcp.testing} gives it to users.

It does what Linux and Twisted's reactor do together: what was written leaves at
the next turn of the clock, arrives after the latency, in order, and waits there
while the reader is paused; whoever is called, is called by the clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import TYPE_CHECKING, Literal, TypeAlias

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IProducer,
    IProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from jobscheduler_tcp._memorynetwork import MemoryHost, MemoryNetwork

# Bytes that may be on their way in one direction, and that a producer may have
# written before it is paused; Twisted's own bound.
WINDOW = 64 * 1024

How: TypeAlias = Literal["reset", "silence"]


class End(Enum):
    """
    One of the two ends of a connection.
    """

    CLIENT = "client"  # who dialled
    SERVER = "server"  # who listened


class Mark(Enum):
    """
    What travels besides bytes.
    """

    ACCEPT = "accept"
    FIN = "fin"
    RST = "rst"


@implementer(ITCPTransport, IConsumer, IPushProducer)
class MemoryTransport:
    """
    One end of a L{MemoryConnection}, as its protocol sees it.

    @ivar connected: whether the protocol may hear and write.
    @ivar disconnecting: whether it asked to close.
    @ivar protocol: the protocol at this end; C{None} before it is built.
    """

    _log = Logger()

    def __init__(self, host: MemoryHost, ownAddress: IPv4Address, peer: IPv4Address) -> None:
        self.host = host
        self.connected = False
        self.disconnecting = False
        self.protocol: IProtocol | None = None
        self.whenLost: Callable[[Failure], None] = lambda reason: None
        self._ownAddress = ownAddress
        self._peer = peer
        self._closed = False
        self._reading = True
        self._finSent = False
        self._writeClosing = False
        self._producer: IProducer | None = None
        self._streaming = False
        self._producerPaused = False
        self._noDelay = False
        self._keepAlive = False

    def join(self, outbound: Flow, inbound: Flow) -> None:
        """
        Be an end of a connection.
        """
        self._outbound = outbound
        self._inbound = inbound

    def makeConnection(self, protocol: IProtocol) -> None:
        """
        Give the end its protocol.
        """
        self.protocol = protocol
        self.connected = True
        protocol.makeConnection(self)

    # ITCPTransport

    def write(self, data: bytes) -> None:
        """
        Send bytes; they leave at the next turn of the clock.
        """
        if not isinstance(data, bytes):
            raise TypeError("Data must be bytes")  # as a real transport does
        if not self.connected or self._finSent or not data:
            return
        self._outbound.write(data)
        self._inbound.arm()  # a reset may wait there
        if self._streaming and self._outbound.undelivered > WINDOW and not self._producerPaused:
            self._producerPaused = True
            self._pushProducer().pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """
        Send several pieces.
        """
        for piece in data:
            self.write(piece)

    def loseConnection(self) -> None:
        """
        Close when all has left that was written.
        """
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self._reading = False
            self._outbound.pushSoon()

    def loseWriteConnection(self) -> None:
        """
        Say FIN when all has left that was written, but go on hearing.
        """
        if self.connected:
            self._writeClosing = True
            self._outbound.pushSoon()

    def abortConnection(self) -> None:
        """
        Close now with RST; what has not left yet is dropped.
        """
        if self.connected:
            self.connected = self._reading = False
            self._outbound.drop()
            self._outbound.say(Mark.RST)
            self._outbound.later(0, self.end, ConnectionAborted(), None)

    def getHost(self) -> IPv4Address:
        """
        The address of this end.
        """
        return self._ownAddress

    def getPeer(self) -> IPv4Address:
        """
        The address of the other end.
        """
        return self._peer

    def getTcpNoDelay(self) -> bool:
        """
        What was set.
        """
        return self._noDelay

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        Is remembered; nothing is delayed anyway.
        """
        self._noDelay = enabled

    def getTcpKeepAlive(self) -> bool:
        """
        What was set.
        """
        return self._keepAlive

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """
        Is remembered; a silent peer is for the protocol to find.
        """
        self._keepAlive = enabled

    # IConsumer

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """
        Pause and resume who writes here.
        """
        if self._producer is not None:
            raise RuntimeError(f"{self._producer!r} is registered here already")
        if self._closed:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        self._producerPaused = False
        if not streaming:
            self._pushProducer().resumeProducing()

    def unregisterProducer(self) -> None:
        """
        The producer has nothing more to write.
        """
        self._producer = None
        self._streaming = False
        if self.disconnecting or self._writeClosing:
            self._outbound.pushSoon()

    # IPushProducer

    def pauseProducing(self) -> None:
        """
        Hear nothing until C{resumeProducing}; it waits on its way.
        """
        self._reading = False

    def resumeProducing(self) -> None:
        """
        Go on hearing.
        """
        if self.connected and not self.disconnecting:
            self._reading = True
            self._inbound.arm()

    def stopProducing(self) -> None:
        """
        Close the connection.
        """
        self.loseConnection()

    # what the two flows call

    @property
    def hears(self) -> bool:
        """
        Whether what arrives goes further: to a protocol that reads, or into
        the void behind a closed end.
        """
        return self._reading or self._closed

    @property
    def wants(self) -> bool:
        """
        Whether there is something to send, so that even a reader that is paused
        finds out that it cannot.
        """
        return self._outbound.undelivered > 0

    def hear(self, data: bytes) -> None:
        """
        Bytes arrived.
        """
        if self._closed or self.protocol is None:
            # What the kernel answers for a process that is gone.
            self._finSent = False
            self._outbound.say(Mark.RST)
            return
        try:
            self.protocol.dataReceived(data)
        except Exception as error:
            self._log.failure("A protocol failed to hear")
            self.end(error, Mark.FIN)

    def heard(self, mark: Mark) -> None:
        """
        The peer has closed.
        """
        if mark is Mark.RST:
            self._finSent = False  # and nothing is left to rest in TIME_WAIT
            self.end(ConnectionLost(), None)
            return
        if self._finSent:
            self.host.timeWait.append(self._ownAddress.port)
        self.end(ConnectionDone(), Mark.FIN)

    def drained(self) -> None:
        """
        All that was written has left.
        """
        if self._producer is not None:
            if self._producerPaused or not self._streaming:
                self._producerPaused = False
                self._pushProducer().resumeProducing()
        elif self.disconnecting:
            # Who closes with something unread resets, as Linux does.
            self.end(ConnectionDone(), Mark.RST if self._inbound.unread else Mark.FIN)
        elif self._writeClosing and not self._finSent:
            self._finSent = True
            self._outbound.say(Mark.FIN)

    def end(self, reason: Exception, farewell: Mark | None) -> None:
        """
        The connection is over at this end.
        """
        if self._closed:
            return
        self._closed = True
        self.connected = False
        self._outbound.drop()
        if farewell is not None and not self._finSent:
            self._finSent = farewell is Mark.FIN
            self._outbound.say(farewell)
        self._inbound.arm()
        if self._producer is not None:
            self._producer.stopProducing()
            self._producer = None
        failure = Failure(reason)
        try:
            if self.protocol is not None:
                self.protocol.connectionLost(failure)
        except Exception:
            self._log.failure("A protocol failed to hear of its end")
        self.whenLost(failure)

    def _pushProducer(self) -> IPushProducer:
        # Pull producers have resumeProducing too, and nothing else is called
        # on them; Twisted has no common interface.
        return self._producer  # type: ignore[return-value]


class Flow:
    """
    One direction of a connection: what one end wrote, on its way to the other.

    @ivar buffer: written, and not yet on its way.
    @ivar data: arrived.
    @ivar limit: after how many bytes something happens to the connection.
    """

    def __init__(self, connection: MemoryConnection, speaker: MemoryTransport) -> None:
        self.buffer = bytearray()
        self.data = bytearray()
        self.limit: tuple[int, How] | None = None
        self._connection = connection
        self._network = connection.network
        self._speaker = speaker
        self._hearer = speaker  # set by aim()
        self._wire: deque[tuple[float, memoryview | Mark]] = deque()
        self._inFlight = 0
        self._pushing: IDelayedCall | None = None
        self._arriving: IDelayedCall | None = None

    def aim(self, hearer: MemoryTransport) -> None:
        """
        Tell who hears it.
        """
        self._hearer = hearer

    def later(self, delay: float, call: Callable[..., None], *arguments: object) -> IDelayedCall:
        """
        Have something happen by the clock.
        """
        return self._network.later(delay, call, *arguments)

    @property
    def undelivered(self) -> int:
        """
        The number of bytes that were written and not heard.
        """
        return len(self.buffer) + self._inFlight

    @property
    def unread(self) -> bool:
        """
        Whether bytes have arrived that nobody has heard.
        """
        now = self._network.clock.seconds()
        return any(at <= now and isinstance(item, memoryview) for at, item in self._wire)

    def write(self, data: bytes) -> None:
        """
        Take bytes into the buffer.
        """
        self.buffer += data
        self.pushSoon()

    def pushSoon(self) -> None:
        """
        Let the buffer leave at the next turn.
        """
        if self._pushing is None:
            self._pushing = self.later(0, self._push)

    def say(self, item: memoryview | Mark) -> None:
        """
        Put something on its way.
        """
        self._wire.append((self._network.clock.seconds() + self._network.latency, item))
        self.arm()

    def drop(self) -> None:
        """
        Forget what has not left yet.
        """
        self.buffer.clear()
        if self._pushing is not None:
            self._network.cancel(self._pushing)
            self._pushing = None

    def clear(self) -> None:
        """
        Lose all that is on its way.
        """
        self._wire.clear()
        self._inFlight = 0
        if self._arriving is not None:
            self._network.cancel(self._arriving)
            self._arriving = None

    def arm(self) -> None:
        """
        Have the next thing arrive when it is due, if it can.
        """
        if self._arriving is None and self._canArrive():
            delay = self._wire[0][0] - self._network.clock.seconds()
            self._arriving = self.later(max(0.0, delay), self._arrive)

    def _canArrive(self) -> bool:
        if not self._wire or self._connection.silent:
            return False
        reset = self._wire[-1] if self._wire[-1][1] is Mark.RST else None
        if self._connection.isCut():
            if reset is not None and not self._speaker.connected:
                self._wire.clear()  # nobody is left to send it again
            return False
        if self._hearer.hears:
            return True
        if reset is not None and self._hearer.wants:
            self._wire.clear()
            self._wire.append(reset)
            return True
        return False

    def _push(self) -> None:
        self._pushing = None
        while self.buffer and self._inFlight < WINDOW:
            piece = bytes(self.buffer[: WINDOW - self._inFlight])
            del self.buffer[: len(piece)]
            self._inFlight += len(piece)
            self.say(memoryview(piece))
        if not self.buffer:
            self._speaker.drained()

    def _arrive(self) -> None:
        self._arriving = None
        if not self._canArrive():
            return
        at, item = self._wire.popleft()
        if isinstance(item, memoryview):
            size = len(item)
            if self._network.pieces:
                size = min(size, self._network.pieces)
            if self.limit is not None:
                size = min(size, self.limit[0] - len(self.data))
            if size < len(item):
                self._wire.appendleft((at, item[size:]))
            self._inFlight -= size
            self.data += item[:size]
            self._hearer.hear(bytes(item[:size]))
            self.checkLimit()
            if self.buffer:
                self.pushSoon()
        elif item is Mark.ACCEPT:
            self._connection.accept()
        else:
            self._hearer.heard(item)
        self.arm()

    def checkLimit(self) -> None:
        """
        Do to the connection what was asked for when enough bytes have arrived.
        """
        if self.limit is not None and len(self.data) >= self.limit[0]:
            _, how = self.limit
            self.limit = None
            if how == "reset":
                self._connection.reset()
            else:
                self._connection.silence()


class MemoryConnection:
    """
    A TCP connection between two hosts, for a test to look at and to break.

    @ivar client: the address of the end that dialled.
    @ivar server: the address of the end that listened.
    @ivar silent: whether nothing gets through any more, and nobody is told.
    """

    def __init__(
        self,
        network: MemoryNetwork,
        client: MemoryTransport,
        server: MemoryTransport,
        accept: Callable[[MemoryTransport], None],
    ) -> None:
        self.network = network
        self.client = client.getHost()
        self.server = server.getHost()
        self.silent = False
        self._ends = {End.CLIENT: client, End.SERVER: server}
        self._accept = accept
        toServer, toClient = Flow(self, client), Flow(self, server)
        toServer.aim(server)
        toClient.aim(client)
        client.join(toServer, toClient)
        server.join(toClient, toServer)
        self._flows = {End.CLIENT: toServer, End.SERVER: toClient}
        toServer.say(Mark.ACCEPT)

    @property
    def data(self) -> dict[End, bytes]:
        """
        What each end has said so far, as far as it reached the other.
        """
        return {end: bytes(flow.data) for end, flow in self._flows.items()}

    def transport(self, end: End) -> MemoryTransport:
        """
        The transport of one end, with its C{protocol}.
        """
        return self._ends[end]

    def cutAfter(self, end: End, count: int, how: How) -> None:
        """
        Break the connection when C{count} bytes said by C{end} have arrived;
        at once, if they have already.

        @param how: C{"reset"}: both ends are told; C{"silence"}: nobody is.
        """
        self._flows[end].limit = (count, how)
        self._flows[end].checkLimit()

    def reset(self) -> None:
        """
        Break the connection as a firewall does that resets both ends; what is
        on its way is lost.
        """
        for flow in self._flows.values():
            flow.clear()
            flow.say(Mark.RST)

    def silence(self) -> None:
        """
        From now on nothing gets through, and nobody is told.
        """
        self.silent = True
        for flow in self._flows.values():
            flow.clear()

    def vanish(self, end: End) -> None:
        """
        Make the connection half open: one end is gone, and so told its own
        protocol (as when its machine was switched off), but the other end hears
        nothing of it.
        """
        self.silence()
        self.network.later(0, self._ends[end].end, ConnectionLost(), None)

    # what the network and the flows call

    def accept(self) -> None:
        """
        The handshake is complete: the server's protocol is built.
        """
        self._accept(self._ends[End.SERVER])

    def isCut(self) -> bool:
        """
        Whether the link between the two hosts is down.
        """
        return self.network.isCut(self.client.host, self.server.host)

    def heal(self) -> None:
        """
        The link is up again: send again what did not arrive.
        """
        for flow in self._flows.values():
            flow.arm()
