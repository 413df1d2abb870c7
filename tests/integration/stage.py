"""
Two people and a connection between them: on Twisted's reactor and the kernel's
sockets, or in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IConnector,
    IDelayedCall,
    IListeningPort,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import (
    ClientFactory,
    Protocol,
    ServerFactory,
    connectionDone,
)
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.client.listening import adopt
from jobscheduler_tcp.dialing import Call
from jobscheduler_tcp.interfaces import ICallbackReactor
from jobscheduler_tcp.sockets import listeningSocket
from jobscheduler_tcp.testing import MemoryHost, MemoryTransport

reactor = cast(ICallbackReactor, installed)

LOOPBACK = "127.0.0.1"
# Seconds; long enough for a packet on the loopback of a busy machine.
MOMENT = 0.1


class Person(Protocol):
    """
    One end of a story.
    """

    transport: MemoryTransport  # or Twisted's own, which has the same methods

    def __init__(self) -> None:
        self.made: Deferred[None] = Deferred()
        self.spoken: Deferred[None] = Deferred()
        self.over: Deferred[None] = Deferred()
        self.heard = bytearray()
        self.reason = "still there"
        self.onHearing: Callable[[], object] = lambda: None

    def connectionMade(self) -> None:
        """
        Tell the story.
        """
        self.made.callback(None)

    def dataReceived(self, data: bytes) -> None:
        """
        Tell the story of the first words.
        """
        self.heard += data
        if not self.spoken.called:
            self.spoken.callback(None)
        self.onHearing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Tell the story.
        """
        assert self.reason == "still there", "told twice"
        self.reason = type(reason.value).__name__
        self.over.callback(None)


@implementer(IPushProducer)
class Pushing:
    """
    A push producer with so many pieces of 64 KiB.
    """

    piece = b"0123456789abcdef" * 4096

    def __init__(self, transport: MemoryTransport, pieces: int) -> None:
        self.transport = transport
        self.left = pieces
        self.pauses = 0
        self.paused = False
        self.stopped = False

    def pauseProducing(self) -> None:
        """
        Stop.
        """
        self.paused = True
        self.pauses += 1

    def resumeProducing(self) -> None:
        """
        Write until told to stop.
        """
        self.paused = False
        while self.left and not self.paused and not self.stopped:
            self.left -= 1
            self.transport.write(self.piece)
        if not self.left:
            self.transport.unregisterProducer()

    def stopProducing(self) -> None:
        """
        The connection is over.
        """
        self.stopped = True


class Pulling(Pushing):
    """
    A pull producer.
    """

    def resumeProducing(self) -> None:
        """
        Write one piece.
        """
        self.left -= 1
        self.transport.write(self.piece)
        if not self.left:
            self.transport.unregisterProducer()


class Callers(ClientFactory):
    """
    Dial for one person.
    """

    noisy = False

    def __init__(self, person: Protocol | None) -> None:
        self.person = person
        self.failed: Deferred[tuple[str, int | None, str]] = Deferred()

    def buildProtocol(self, addr: object) -> Any:
        """
        There is but one.
        """
        return self.person

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        """
        Tell the story.
        """
        error = reason.value
        self.failed.callback((type(error).__name__, getattr(error, "osError", None), str(error)))


class Listeners(ServerFactory):
    """
    Listen for one person.
    """

    noisy = False

    def __init__(self, person: Protocol | None) -> None:
        self.person = person

    def buildProtocol(self, addr: object) -> Any:
        """
        There is but one.
        """
        return self.person


@implementer(IReactorTime)
class StreamWorld:
    """
    The reactor, with connections of our own.
    """

    def seconds(self) -> float:
        """
        See C{IReactorTime}.
        """
        return reactor.seconds()

    def callLater(
        self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object
    ) -> IDelayedCall:
        """
        See C{IReactorTime}.
        """
        return reactor.callLater(delay, callable, *args, **kwargs)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """
        See C{IReactorTime}.
        """
        return reactor.getDelayedCalls()

    def listenTCP(
        self, port: int, factory: ServerFactory, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """
        See C{IReactorTCP}.
        """
        try:
            return adopt(reactor, listeningSocket(interface, port, backlog), factory)
        except OSError as error:
            raise CannotListenError(interface, port, error) from error

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory,
        timeout: float = 30,
        bindAddress: None = None,
    ) -> IConnector:
        """
        See C{IReactorTCP}.
        """
        call = Call(reactor, host, port, factory, timeout)
        call.connect()
        return call


class Stage:
    """
    Two people and a connection between them.
    """

    def __init__(self, world: MemoryHost) -> None:
        self.world = world  # or Twisted's reactor, which has the same methods
        self.client = Person()
        self.server = Person()

    async def connect(self) -> None:
        """
        Until both know each other.
        """
        self.port = self.world.listenTCP(0, Listeners(self.server), interface=LOOPBACK)
        self.world.connectTCP(LOOPBACK, self.port.getHost().port, Callers(self.client))
        await self.server.made
        await self.client.made

    async def later(self) -> None:
        """
        When everything that was said has arrived.
        """
        await deferLater(self.world, MOMENT)

    async def close(self) -> None:
        """
        Leave nothing behind.
        """
        await self.stop(self.port)
        for person in (self.client, self.server):
            if person.made.called and person.reason == "still there":
                person.transport.abortConnection()
                await person.over

    async def stop(self, port: IListeningPort) -> None:
        """
        Give a port back.
        """
        stopped = port.stopListening()
        if stopped is not None:
            await stopped

    async def bothOver(self) -> list[object]:
        """
        When both ends are over: L{ends}.
        """
        await DeferredList([self.client.over, self.server.over])
        return self.ends()

    def ends(self) -> list[object]:
        """
        What each has heard, and how it ended.
        """
        return [(bytes(person.heard), person.reason) for person in (self.client, self.server)]
