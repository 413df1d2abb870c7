"""
One machine of a network in memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from errno import EADDRINUSE
from typing import TYPE_CHECKING, Any

from twisted.internet.abstract import isIPAddress
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IDelayedCall,
    IHostnameResolver,
    IHostResolution,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from twisted.internet.protocol import ClientFactory
from zope.interface import implementer

from jobscheduler_tcp.interfaces import IDialReactor
from jobscheduler_tcp.testing.calls import (
    MemoryConnector,
    MemoryPort,
    Stranger,
    StrangerFactory,
)

if TYPE_CHECKING:
    from jobscheduler_tcp.testing.network import MemoryNetwork

# What Linux gives to outgoing connections (net.ipv4.ip_local_port_range).
EPHEMERAL = range(32768, 61000)


@implementer(IDialReactor, IReactorPluggableNameResolver)
class MemoryHost:
    """
    A machine of a L{MemoryNetwork}: give it to what wants a reactor that can
    C{listenTCP} and C{connectTCP}, or to an endpoint.

    @ivar address: its IPv4 address.
    @ivar ephemeral: the ports for outgoing connections; give it few and they
        will be used up.
    @ivar nameResolver: finds the addresses of L{MemoryNetwork.names}.
    @ivar timeWait: the local ports whose connections rest in TIME_WAIT at this
        host, for it closed them first; they stay in this list.
    """

    def __init__(self, network: MemoryNetwork, address: str) -> None:
        self.network = network
        self.address = address
        self.ephemeral: Sequence[int] = EPHEMERAL
        self.timeWait: list[int] = []
        self._listening: dict[int, MemoryPort] = {}
        self._outgoing: set[int] = set()
        self._filtered: set[int] = set()
        self._refused: set[int] = set()
        self._turn = 0
        self.nameResolver: IHostnameResolver = Names(network)

    # the firewall

    def filter(self, port: int) -> None:
        """
        Let the calls to a port vanish: who calls runs into a timeout.
        """
        self._filtered.add(port)

    def refuse(self, port: int) -> None:
        """
        Refuse the calls to a port, even if something listens there.
        """
        self._refused.add(port)

    def allow(self, port: int) -> None:
        """
        Undo C{filter} and C{refuse}.
        """
        self._filtered.discard(port)
        self._refused.discard(port)

    # IReactorTime

    def seconds(self) -> float:
        """
        The time of the network's clock.
        """
        return self.network.clock.seconds()

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object
    ) -> IDelayedCall:
        """
        Call by the network's clock.
        """
        return self.network.clock.callLater(delay, callable, *args, **kwargs)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """
        All that waits for the network's clock.
        """
        return self.network.clock.getDelayedCalls()

    # IReactorTCP

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> MemoryPort:
        """
        Listen on a port.

        @raise CannotListenError: the port is taken.
        """
        listening = MemoryPort(self, port, factory, interface)
        listening.startListening()
        return listening

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory[Any],
        timeout: float = 30.0,
        bindAddress: tuple[str, int] | None = None,
    ) -> IConnector:
        """
        Dial. An address that no host has does not answer.
        """
        localPort = 0 if bindAddress is None else bindAddress[1]
        connector = MemoryConnector(self, (host, port), factory, timeout, localPort)
        connector.connect()
        return connector

    # IReactorPluggableNameResolver, for HostnameEndpoint

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """
        Resolve names by another resolver.
        """
        before, self.nameResolver = self.nameResolver, resolver
        return before

    # for tests and for the seams of this package

    def listen(self, port: int, factory: IProtocolFactory) -> MemoryPort:
        """
        Listen on a port; 0 for a free one.

        @raise OSError: C{EADDRINUSE}: the port is taken by another listener or
            by an outgoing connection.
        """
        listening = MemoryPort(self, port, factory, "")
        listening.bind()
        return listening

    def stranger(self, address: str, port: int) -> Stranger:
        """
        Dial as somebody who has no business there.
        """
        stranger = Stranger()
        self.connectTCP(address, port, StrangerFactory(stranger))
        return stranger

    # what ports and connectors call

    def claim(self, listening: MemoryPort, port: int) -> int:
        """
        Give a port to a listener.
        """
        port = port or self._freePort() or -1
        if port in self._listening or port in self._outgoing or port < 0:
            raise OSError(EADDRINUSE, os.strerror(EADDRINUSE))
        self._listening[port] = listening
        return port

    def giveBack(self, port: int) -> None:
        """
        The listener is gone.
        """
        del self._listening[port]

    def takeOutgoing(self, wanted: int) -> int:
        """
        Give a port to an outgoing connection; 0 if there is none.
        """
        port = wanted or self._freePort()
        if port in self._outgoing or port in self._listening:
            return 0
        self._outgoing.add(port)
        return port

    def giveBackOutgoing(self, port: int) -> None:
        """
        The outgoing connection is over.
        """
        self._outgoing.discard(port)

    def listenerFor(self, address: str, port: int) -> MemoryPort | None:
        """
        Who would take a call.
        """
        listening = self._listening.get(port)
        if listening is None or port in self._refused or not listening.takes(address):
            return None
        return listening

    def isFiltered(self, port: int) -> bool:
        """
        Whether a call to the port vanishes.
        """
        return port in self._filtered

    def _freePort(self) -> int:
        for _ in self.ephemeral:
            port = self.ephemeral[self._turn % len(self.ephemeral)]
            self._turn += 1
            if port not in self._outgoing and port not in self._listening:
                return port
        return 0


@implementer(IHostnameResolver)
class Names:
    """
    Find the addresses of names, at once.
    """

    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """
        Tell the address, if there is one.
        """
        resolution = _Resolved(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        address = self._network.resolve(hostName)
        if isIPAddress(address):
            resolutionReceiver.addressResolved(IPv4Address("TCP", address, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution


@implementer(IHostResolution)
class _Resolved:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """
        It is over already.
        """
