"""
The hosts of a network in memory, and the links between them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from errno import EADDRINUSE
from typing import Any

from twisted.internet.interfaces import (
    IConnector,
    IDelayedCall,
    IProtocolFactory,
    IReactorTCP,
    IReactorTime,
)
from twisted.internet.protocol import ClientFactory
from twisted.internet.task import Clock
from zope.interface import implementer

from jobscheduler_tcp.testing.calls import (
    MemoryConnector,
    MemoryPort,
    Stranger,
    StrangerFactory,
)
from jobscheduler_tcp.testing.connection import MemoryConnection

# What Linux gives to outgoing connections (net.ipv4.ip_local_port_range).
EPHEMERAL = range(32768, 61000)


class MemoryNetwork:
    """
    Hosts that reach each other, until the test says otherwise. Nothing happens
    but by the clock: call L{advance} or L{flush}.

    @ivar clock: the time of all hosts.
    @ivar latency: seconds from one host to another, each way.
    @ivar connections: all connections so far, those that are over too.
    @ivar onConnection: called with each new connection before a byte is said on
        it: the place to call L{MemoryConnection.cutAfter}.
    @ivar pieces: see L{split}.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = Clock() if clock is None else clock
        self.latency = 0.0
        self.pieces = 0
        self.connections: list[MemoryConnection] = []
        self.onConnection: Callable[[MemoryConnection], object] = lambda connection: None
        self._hosts: dict[str, MemoryHost] = {}
        self._cuts: set[frozenset[str]] = set()
        self._lost: list[Callable[[], None]] = []
        self._traffic: set[IDelayedCall] = set()

    def host(self, address: str) -> MemoryHost:
        """
        The host with an IPv4 address; it is there from the first time it is
        asked for.
        """
        if address not in self._hosts:
            self._hosts[address] = MemoryHost(self, address)
        return self._hosts[address]

    def advance(self, seconds: float = 0.0) -> None:
        """
        Let time pass, and everything happen at its own time.
        """
        # Clock.advance would set the time first, and so answer late what is
        # answered while it passes.
        self._advanceTo(self.clock.seconds() + seconds)

    def flush(self) -> None:
        """
        Let as much time pass as the network needs until nothing is on its way.
        """
        self.clock.advance(0)
        while self._traffic:
            self._advanceTo(min(call.getTime() for call in self._traffic))

    def _advanceTo(self, end: float) -> None:
        self.clock.advance(0)
        while (calls := self.clock.getDelayedCalls()) and calls[0].getTime() <= end:
            self.clock.rightNow = calls[0].getTime()
            self.clock.advance(0)
        self.clock.rightNow = end

    def split(self, size: int) -> None:
        """
        Deliver in pieces of at most so many bytes; 0 for whole.
        """
        self.pieces = size

    def cut(self, one: str, other: str) -> None:
        """
        Take the link between two addresses down, in silence: nothing arrives,
        and nobody is told. TCP sends again after L{heal} what did not arrive.
        """
        self._cuts.add(frozenset((one, other)))

    def heal(self, one: str, other: str) -> None:
        """
        Bring the link up again.
        """
        self._cuts.discard(frozenset((one, other)))
        for connection in self.connections:
            connection.heal()
        lost, self._lost = self._lost, []
        for again in lost:
            self.later(self.latency, again)

    # what hosts and connections call

    def isCut(self, one: str, other: str) -> bool:
        """
        Whether the link between two addresses is down.
        """
        return frozenset((one, other)) in self._cuts

    def find(self, address: str) -> MemoryHost | None:
        """
        The host with an address, if there is one.
        """
        return self._hosts.get(address)

    def whenHealed(self, again: Callable[[], None]) -> None:
        """
        Try again when a link comes up.
        """
        self._lost.append(again)

    def later(self, delay: float, call: Callable[..., None], *arguments: object) -> IDelayedCall:
        """
        Have something happen on the network after a while.
        """

        def happen() -> None:
            self._traffic.discard(delayed)
            call(*arguments)

        delayed = self.clock.callLater(delay, happen)
        self._traffic.add(delayed)
        return delayed

    def cancel(self, delayed: IDelayedCall) -> None:
        """
        It shall not happen.
        """
        self._traffic.discard(delayed)
        delayed.cancel()


@implementer(IReactorTime, IReactorTCP)
class MemoryHost:
    """
    A machine of a L{MemoryNetwork}: give it to what wants a reactor that can
    C{listenTCP} and C{connectTCP}, or to an endpoint.

    @ivar address: its IPv4 address.
    @ivar ephemeral: the ports for outgoing connections; give it few and they
        will be used up.
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
        if port in self._outgoing:
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
