"""
Calls in memory: who listens, who dials, and the stranger who does it for a test.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from errno import EADDRINUSE, EADDRNOTAVAIL, ECONNREFUSED
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address
from twisted.internet.base import BaseConnector
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    CannotListenError,
    ConnectBindError,
    ConnectionDone,
    getConnectError,
)
from twisted.internet.interfaces import IConnector, IListeningPort, IProtocolFactory
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.testing.connection import MemoryConnection
from jobscheduler_tcp.testing.transport import Mark, MemoryTransport

if TYPE_CHECKING:
    from jobscheduler_tcp.testing.host import MemoryHost

LOOPBACK = "127.0.0.1"
_ANY = ("", "0.0.0.0")  # noqa: S104


@implementer(IListeningPort)
class MemoryPort:
    """
    A port on which something listens.
    """

    _log = Logger()

    def __init__(
        self, host: MemoryHost, port: int, factory: IProtocolFactory, interface: str
    ) -> None:
        self.interface = interface
        self._host = host
        self._port = port
        self._factory = factory
        self._listens = False

    def bind(self) -> None:
        """
        Take the port and listen.

        @raise OSError: it is taken.
        """
        self._port = self._host.claim(self, self._port)
        self._listens = True
        self._factory.doStart()

    def startListening(self) -> None:
        """
        The same, with Twisted's error.
        """
        try:
            self.bind()
        except OSError as error:
            raise CannotListenError(self.interface, self._port, error) from error

    def stopListening(self) -> Deferred[None] | None:
        """
        Give the port back; connections that were accepted live on.
        """
        if not self._listens:
            return None
        self._listens = False
        return deferLater(self._host, 0, self._stopped)

    def _stopped(self) -> None:
        self._host.giveBack(self._port)
        self._factory.doStop()

    def getHost(self) -> IPv4Address:
        """
        Where it listens.
        """
        return IPv4Address("TCP", self.interface or _ANY[1], self._port)

    def takes(self, address: str) -> bool:
        """
        Whether it takes a call to this address of its host.
        """
        return self._listens and self.interface in (*_ANY, address)

    def accept(self, transport: MemoryTransport) -> None:
        """
        Build the protocol for a caller.
        """
        if not self._listens:
            transport.end(ConnectionDone(), Mark.RST)
            return
        try:
            protocol = self._factory.buildProtocol(transport.getPeer())
        except Exception:
            self._log.failure("A factory failed to build a protocol")
            protocol = None
        if protocol is None:
            transport.end(ConnectionDone(), Mark.FIN)
        else:
            transport.makeConnection(protocol)


class MemoryConnector(BaseConnector):
    """
    Dial, and dial again when C{connect} is called again; Twisted's own base
    class does all but the network.
    """

    def __init__(
        self,
        host: MemoryHost,
        address: tuple[str, int],
        factory: ClientFactory[Any],
        timeout: float,
        localPort: int,
    ) -> None:
        super().__init__(factory, timeout, host)  # type: ignore[arg-type] # only callLater is used
        self.host = host
        self.address, self.port = address
        self.localPort = localPort

    def _makeTransport(self) -> _Dialled:  # type: ignore[override] # has what is used of it
        return _Dialled(self)

    def getDestination(self) -> IPv4Address:
        """
        Whom it dials.
        """
        return IPv4Address("TCP", self.address, self.port)


class _Dialled(MemoryTransport):
    """
    The end that dials. It is a transport from the time that there is a
    connection.
    """

    def __init__(self, connector: MemoryConnector) -> None:
        host = connector.host
        there = host.network.resolve(connector.address)
        local = there == LOOPBACK
        own = there if local else host.address
        port = host.takeOutgoing(connector.localPort)
        super().__init__(
            host, IPv4Address("TCP", own, port), IPv4Address("TCP", there, connector.port)
        )
        self._connector = connector
        self._target = host if local else host.network.find(there)
        self._dialling = True
        if port:
            self._dial()
        elif connector.localPort:
            taken = ConnectBindError(EADDRINUSE, os.strerror(EADDRINUSE))
            host.network.later(0, self.failIfNotConnected, taken)
        else:
            host.network.later(0, self._fail, EADDRNOTAVAIL)

    def failIfNotConnected(self, error: Exception) -> None:
        """
        The connector has waited long enough, or was stopped.
        """
        if self._dialling:
            self._dialling = False
            self.host.giveBackOutgoing(self.getHost().port)
            self._connector.connectionFailed(Failure(error))

    def _dial(self) -> None:
        self.host.network.later(self.host.network.latency, self._called)

    def _called(self) -> None:
        if not self._dialling or self._isCut(self._dial):
            return
        port = self.getPeer().port
        if self._target is not None and not self._target.isFiltered(port):
            listening = self._target.listenerFor(self.getPeer().host, port)
            self.host.network.later(self.host.network.latency, self._answered, listening)

    def _answered(self, listening: MemoryPort | None) -> None:
        if not self._dialling or self._isCut(self._dial):
            return
        if listening is None:
            self._fail(ECONNREFUSED)
            return
        assert self._target is not None
        self._dialling = False
        network = self.host.network
        server = MemoryTransport(self._target, self.getPeer(), self.getHost())
        connection = MemoryConnection(network, self, server, listening.accept)
        network.connections.append(connection)
        network.onConnection(connection)
        protocol = self._connector.buildProtocol(self.getPeer())
        self.makeConnection(Protocol() if protocol is None else protocol)
        if protocol is None:
            self.loseConnection()

    def _isCut(self, again: Callable[[], None]) -> bool:
        network = self.host.network
        if network.isCut(self.getHost().host, self.getPeer().host):
            network.whenHealed(again)
            return True
        return False

    def _fail(self, errno: int) -> None:
        self.failIfNotConnected(getConnectError((errno, os.strerror(errno))))

    def lost(self, reason: Failure) -> None:
        """
        The connector hears of it too.
        """
        self.host.giveBackOutgoing(self.getHost().port)
        self._connector.connectionLost(reason)


class Stranger(Protocol):
    """
    A caller who only listens, or says what the test makes it say by its
    C{transport}.

    @ivar heard: all the bytes it was told.
    @ivar lost: why its connection ended, or could not be made.
    """

    transport: MemoryTransport

    def __init__(self) -> None:
        self.heard = bytearray()
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """
        Remember what is said.
        """
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Remember why.
        """
        self.lost = reason


class StrangerFactory(ClientFactory):
    """
    Dial for one stranger.
    """

    noisy = False

    def __init__(self, stranger: Stranger) -> None:
        self._stranger = stranger

    def buildProtocol(self, addr: object) -> Stranger:
        """
        There is but one.
        """
        return self._stranger

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        """
        Nobody took the call.
        """
        self._stranger.lost = reason
