"""
One end of a connection in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProducer, IProtocol, IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.interfaces import IStreamTransport

if TYPE_CHECKING:
    from jobscheduler_tcp.testing.connection import Flow
    from jobscheduler_tcp.testing.host import MemoryHost

# Bytes that may be on their way in one direction, and that a producer may have
# written before it is paused; Twisted's own bound.
WINDOW = 64 * 1024


class Mark(Enum):
    """
    What travels besides bytes.
    """

    ACCEPT = "accept"
    FIN = "fin"
    RST = "rst"


@implementer(IStreamTransport)
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
        self._ownAddress = ownAddress
        self._peer = peer
        self._closed = False
        self._reading = True
        self._finSent = False
        self._writeClosing = False
        self._producer: IProducer | None = None
        self._streaming = False
        self._producerPaused = False
        self._cannotSend = False
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
        if self._inbound.broken:
            self._cannotSend = True
            self._inbound.arm()
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
    def cannotSend(self) -> bool:
        """
        Whether even a reader that is paused finds out of a reset: it wants to
        send.
        """
        return self._cannotSend or bool(self._outbound.buffer)

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
            self.end(ConnectionDone(), Mark.FIN)
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
        self.lost(failure)

    def lost(self, reason: Failure) -> None:
        """
        The protocol has heard of its end.
        """

    def _pushProducer(self) -> IPushProducer:
        # Pull producers have resumeProducing too, and nothing else is called
        # on them; Twisted has no common interface.
        return self._producer  # type: ignore[return-value]
