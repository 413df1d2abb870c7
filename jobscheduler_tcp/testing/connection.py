"""
A connection in memory, and what a test can do to it.

It does what Linux and Twisted's reactor do together: what was written leaves at
the next turn of the clock, arrives after the latency, in order, and waits there
while the reader is paused; whoever is called, is called by the clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Literal, TypeAlias

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IDelayedCall

from jobscheduler_tcp.testing.transport import WINDOW, Mark, MemoryTransport

if TYPE_CHECKING:
    from jobscheduler_tcp.testing.network import MemoryNetwork

How: TypeAlias = Literal["reset", "silence"]


class End(Enum):
    """
    One of the two ends of a connection.
    """

    CLIENT = "client"  # who dialled
    SERVER = "server"  # who listened


class Flow:
    """
    One direction of a connection: what one end wrote, on its way to the other.

    @ivar buffer: written, and not yet on its way.
    @ivar data: arrived.
    @ivar limit: after how many bytes something happens to the connection.
    """

    def __init__(
        self, connection: MemoryConnection, speaker: MemoryTransport, hearer: MemoryTransport
    ) -> None:
        self.buffer = bytearray()
        self.data = bytearray()
        self.limit: tuple[int, How] | None = None
        self._connection = connection
        self._network = connection.network
        self._speaker = speaker
        self._hearer = hearer
        self._wire: deque[tuple[float, memoryview | Mark]] = deque()
        self._inFlight = 0
        self._pushing: IDelayedCall | None = None
        self._arriving: IDelayedCall | None = None

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
    def broken(self) -> bool:
        """
        Whether a reset has arrived that nobody has heard of.
        """
        at, item = self._wire[-1] if self._wire else (0.0, None)
        return item is Mark.RST and at <= self._network.clock.seconds()

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
        if self._wire and self._wire[-1][1] is Mark.RST:
            return  # there is nothing more to say
        latency = self._network.latency
        self._wire.append((self._network.clock.seconds() + latency, item))
        self.arm()
        if item is Mark.RST:
            self.later(latency, self.arm)  # for one who does not read, but wants to send

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
        if self._connection.isCut():
            if self._wire[-1][1] is Mark.RST and not self._speaker.connected:
                self._wire.clear()  # nobody is left to send it again
            return False
        if self._hearer.hears:
            return True
        if self.broken and self._hearer.cannotSend:
            reset = self._wire.pop()
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
        toServer = Flow(self, client, server)
        toClient = Flow(self, server, client)
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
