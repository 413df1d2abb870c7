"""
A network in memory: its time, its hosts and the links between them.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock

from jobscheduler_tcp.testing.calls import LOOPBACK
from jobscheduler_tcp.testing.connection import MemoryConnection
from jobscheduler_tcp.testing.host import MemoryHost


class MemoryNetwork:
    """
    Hosts that reach each other, until the test says otherwise. Nothing happens
    but by the clock: call L{advance} or L{flush}.

    @ivar clock: the time of all hosts.
    @ivar latency: seconds from one host to another, each way.
    @ivar names: names of addresses, for who asks for a host by name.
    @ivar connections: all connections so far, those that are over too.
    @ivar onConnection: called with each new connection before a byte is said on
        it: the place to call L{MemoryConnection.cutAfter}.
    @ivar pieces: see L{split}.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = Clock() if clock is None else clock
        self.latency = 0.0
        self.pieces = 0
        self.names: dict[str, str] = {"localhost": LOOPBACK}
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
            again()

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

    def resolve(self, name: str) -> str:
        """
        The address of a name; an unknown one is taken for an address.
        """
        return self.names.get(name, name)

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
