"""
L{jobscheduler_tcp.testing} and L{jobscheduler_tcp.streams} against reality: each story
is told in memory, with and without latency, and with sockets of the kernel, which are
Twisted's transports or our streams, and must end the same way.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import TestCase

from jobscheduler_tcp.testing import MemoryHost, MemoryNetwork, MemoryPort
from tests.integration.stage import (
    LOOPBACK,
    MOMENT,
    Callers,
    Listeners,
    Person,
    Pulling,
    Pushing,
    Stage,
    StreamWorld,
)

Case = TypeVar("Case", bound=TestCase)


def inBothWorlds(
    story: Callable[[Case, Stage], Awaitable[object]], streams: bool = False
) -> Callable[[Case], Awaitable[None]]:
    """
    Make a test of a story: what it returns must be the same in memory and in reality.

    @param streams: whether it must be the same with our streams.
    """

    async def tell(case: Case, world: MemoryHost) -> object:
        stage = Stage(world)
        await stage.connect()
        try:
            return await story(case, stage)
        finally:
            await stage.close()

    @functools.wraps(story)
    async def test(case: Case) -> None:
        onReactor = await tell(case, cast(MemoryHost, reactor))
        if streams:
            case.assertEqual(await tell(case, cast(MemoryHost, StreamWorld())), onReactor)
        for latency in (0.0, MOMENT / 20):
            network = MemoryNetwork()
            network.latency = latency
            inMemory = Deferred.fromCoroutine(tell(case, network.host("10.0.0.1")))
            network.advance(20)
            case.assertEqual(case.successResultOf(inMemory), onReactor)
            case.assertEqual(network.clock.getDelayedCalls(), [])
        case.flushLoggedErrors(ZeroDivisionError)

    return test


def inAllWorlds(
    story: Callable[[Case, Stage], Awaitable[object]],
) -> Callable[[Case], Awaitable[None]]:
    """
    The same with our streams.
    """
    return inBothWorlds(story, streams=True)


class EndTests(TestCase):
    """
    How connections end.
    """

    @inAllWorlds
    async def test_serverCloses(self, stage: Stage) -> object:
        """
        What was written before C{loseConnection}, and at the same turn after it, arrives;
        then both ends are done.
        """
        stage.server.transport.write(b"good")
        stage.server.transport.loseConnection()
        stage.server.transport.write(b"bye")
        return await stage.bothOver()

    @inAllWorlds
    async def test_clientCloses(self, stage: Stage) -> object:
        """
        Closing twice is closing once, and what comes after the end does nothing.
        """
        stage.client.transport.loseConnection()
        stage.client.transport.loseConnection()
        await stage.bothOver()
        stage.client.transport.write(b"too late")
        stage.client.transport.abortConnection()
        return stage.ends()

    @inAllWorlds
    async def test_serverAborts(self, stage: Stage) -> object:
        """
        After C{abortConnection} the one end was aborted, and the other's is lost.
        """
        stage.server.onHearing = stage.server.transport.abortConnection
        stage.client.transport.write(b"hello")
        return await stage.bothOver()

    @inAllWorlds
    async def test_abortDropsWhatWasWritten(self, stage: Stage) -> object:
        """
        What was written at the turn of C{abortConnection} is not sent, and nobody is
        called from inside it.
        """
        stage.client.transport.write(b"hello")
        stage.client.transport.abortConnection()
        seen = stage.client.reason
        await stage.bothOver()
        return seen, stage.ends()

    @inAllWorlds
    async def test_abortWhileClosing(self, stage: Stage) -> object:
        """
        An end that cannot send all before it closes can be aborted meanwhile.
        """
        stage.server.transport.pauseProducing()
        stage.client.transport.write(b"x" * 2**24)
        stage.client.transport.loseConnection()
        await stage.later()
        seen = stage.client.reason
        stage.client.transport.abortConnection()
        await stage.client.over
        stage.server.transport.resumeProducing()
        await stage.server.over
        return seen, stage.client.reason, stage.server.reason

    @inAllWorlds
    async def test_bothClose(self, stage: Stage) -> object:
        """
        When both close, both are done.
        """
        stage.client.transport.loseConnection()
        stage.server.transport.loseConnection()
        return await stage.bothOver()

    @inAllWorlds
    async def test_halfClose(self, stage: Stage) -> object:
        """
        After C{loseWriteConnection} a peer that is not made for it closes.
        """
        stage.client.transport.write(b"that was all")
        stage.client.transport.loseWriteConnection()
        stage.client.transport.write(b"?")
        await stage.bothOver()
        return stage.server.reason, stage.client.reason

    @inAllWorlds
    async def test_serverFails(self, stage: Stage) -> object:
        """
        A protocol that fails to hear loses its connection with its own exception.
        """
        stage.server.onHearing = lambda: 1 / 0
        stage.client.transport.write(b"hello")
        return await stage.bothOver()

    @inAllWorlds
    async def test_closesWithSomethingUnread(self, stage: Stage) -> object:
        """
        Closing with something unread is an end like another to a peer that reads.
        """
        stage.server.transport.pauseProducing()
        stage.client.transport.write(b"hello")
        await stage.later()
        stage.server.transport.loseConnection()
        return await stage.bothOver()

    @inAllWorlds
    async def test_writesToOneThatClosed(self, stage: Stage) -> object:
        """
        Who does not read finds out that its peer has closed when it writes.
        """
        stage.client.transport.pauseProducing()
        stage.server.transport.loseConnection()
        await stage.server.over
        await stage.later()
        seen = stage.client.reason
        stage.client.transport.write(b"one")
        await stage.later()
        stage.client.transport.write(b"two")
        await stage.client.over
        return seen, stage.ends()

    @inAllWorlds
    async def test_pausedAndReset(self, stage: Stage) -> object:
        """
        Who does not read finds out of a reset when it reads again, after what came
        before it.
        """
        stage.server.transport.pauseProducing()
        stage.client.transport.write(b"last words")
        await stage.later()
        stage.client.transport.abortConnection()
        await stage.later()
        seen = stage.server.reason
        stage.server.transport.resumeProducing()
        await stage.server.over
        return seen, stage.ends()

    @inAllWorlds
    async def test_pausedAndResetAndWrites(self, stage: Stage) -> object:
        """
        Who does not read finds out of a reset when it writes.
        """
        stage.server.transport.pauseProducing()
        stage.client.transport.abortConnection()
        await stage.later()
        stage.server.transport.write(b"are you there?")
        await stage.server.over
        return stage.ends()

    @inAllWorlds
    async def test_pausedAndClosed(self, stage: Stage) -> object:
        """
        Who does not read finds out of the end when it reads again.
        """
        stage.server.transport.pauseProducing()
        stage.client.transport.write(b"last words")
        stage.client.transport.loseConnection()
        await stage.client.over
        await stage.later()
        seen = stage.server.reason, stage.server.heard
        stage.server.transport.resumeProducing()
        await stage.server.over
        return seen, stage.ends()


class FlowTests(TestCase):
    """
    How bytes flow.
    """

    @inAllWorlds
    async def test_backpressure(self, stage: Stage) -> object:
        """
        A producer is paused while the peer does not read, and nothing is lost.
        """
        pieces = 512  # 32 MiB, more than the kernel's buffers
        stage.server.transport.pauseProducing()
        producer = Pushing(stage.client.transport, pieces)
        stage.client.transport.registerProducer(producer, True)
        producer.resumeProducing()
        await stage.later()
        held = producer.paused and producer.left > 0
        stage.server.transport.resumeProducing()
        stage.client.transport.loseConnection()
        await stage.bothOver()
        whole = stage.server.heard == Pushing.piece * pieces
        return held, whole, producer.stopped, stage.client.reason, stage.server.reason

    @inAllWorlds
    async def test_pulls(self, stage: Stage) -> object:
        """
        A pull producer is asked until it has nothing more, and only then the
        connection is closed.
        """
        producer = Pulling(stage.client.transport, 40)
        stage.client.transport.registerProducer(producer, False)
        stage.client.transport.loseConnection()
        await stage.bothOver()
        return len(stage.server.heard), producer.stopped, stage.client.reason

    @inAllWorlds
    async def test_producerIsStopped(self, stage: Stage) -> object:
        """
        There is one producer at a time, and it is stopped when the connection ends.
        """
        producer = Pushing(stage.client.transport, 1)
        stage.client.transport.registerProducer(producer, True)
        late = Pushing(stage.client.transport, 1)
        try:
            stage.client.transport.registerProducer(late, True)
            refused = False
        except RuntimeError:
            refused = True
        stage.server.transport.abortConnection()
        await stage.client.over
        stage.client.transport.registerProducer(late, True)
        return refused, producer.stopped, late.stopped

    @inAllWorlds
    async def test_wrongTypes(self, stage: Stage) -> object:
        """
        Only C{bytes} can be written.
        """
        seen = []
        for wrong in ("text", bytearray(b"bytes"), memoryview(b"bytes")):
            try:
                stage.client.transport.write(cast(bytes, wrong))
            except TypeError as error:
                seen.append(str(error))
        stage.client.transport.writeSequence([b"a", b"b"])
        await stage.server.spoken
        return seen, stage.server.heard

    @inAllWorlds
    async def test_addresses(self, stage: Stage) -> object:
        """
        Each end knows both addresses.
        """
        client, server = stage.client.transport, stage.server.transport
        return (
            client.getPeer() == server.getHost() == stage.port.getHost(),
            client.getHost() == server.getPeer(),
            client.getHost().host,
            type(client.getHost()).__name__,
        )

    @inAllWorlds
    async def test_noDelay(self, stage: Stage) -> object:
        """
        What is set is set.
        """
        transport = stage.client.transport
        seen = [transport.getTcpKeepAlive()]
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        return [*seen, bool(transport.getTcpNoDelay()), bool(transport.getTcpKeepAlive())]


class PortTests(TestCase):
    """
    How calls are taken.
    """

    @inAllWorlds
    async def test_portIsTaken(self, stage: Stage) -> object:
        """
        Two cannot listen on one port.
        """
        number = stage.port.getHost().port
        try:
            stage.world.listenTCP(number, Listeners(None), interface=LOOPBACK)
        except CannotListenError as error:
            return error.port == number, error.interface, error.socketError.errno
        return "it is not"

    @inAllWorlds
    async def test_portIsTakenByOutgoing(self, stage: Stage) -> object:
        """
        Nobody can listen on a port that an outgoing connection has.
        """
        number = stage.client.transport.getHost().port
        try:
            stage.world.listenTCP(number, Listeners(None), interface=LOOPBACK)
        except CannotListenError as error:
            return error.socketError.errno
        return "it is not"

    @inAllWorlds
    async def test_portIsFreeWhileItsConnectionLives(self, stage: Stage) -> object:
        """
        A port is free again when its listener stops; what it accepted lives on.
        """
        await stage.stop(stage.port)
        number = stage.server.transport.getHost().port
        again = stage.world.listenTCP(number, Listeners(None), interface=LOOPBACK)
        stage.client.transport.write(b"still")
        await stage.server.spoken
        await stage.stop(again)
        await stage.stop(again)
        return stage.server.heard

    @inAllWorlds
    async def test_refused(self, stage: Stage) -> object:
        """
        Where nobody listens, calls are refused.
        """
        await stage.stop(stage.port)
        factory = Callers(Person())
        stage.world.connectTCP(LOOPBACK, stage.server.transport.getHost().port, factory)
        return await factory.failed

    @inAllWorlds
    async def test_nobodyIsBuilt(self, stage: Stage) -> object:
        """
        A factory that builds no protocol for a caller hangs up.
        """
        caller = Person()
        port = stage.world.listenTCP(0, Listeners(None), interface=LOOPBACK)
        stage.world.connectTCP(LOOPBACK, port.getHost().port, Callers(caller))
        await caller.over
        await stage.stop(port)
        return caller.reason

    @inAllWorlds
    async def test_callerIsNotBuilt(self, stage: Stage) -> object:
        """
        A factory that builds no protocol for its own call hangs up.
        """
        listener = Person()
        port = stage.world.listenTCP(0, Listeners(listener), interface=LOOPBACK)
        stage.world.connectTCP(LOOPBACK, port.getHost().port, Callers(None))
        await listener.over
        await stage.stop(port)
        return listener.reason

    @inBothWorlds
    async def test_connectingIsStopped(self, stage: Stage) -> object:
        """
        A call can be given up. One of ours is taken before that, on this machine.
        """
        factory = Callers(Person())
        port = stage.port.getHost().port
        connector = stage.world.connectTCP(LOOPBACK, port, factory)
        connector.stopConnecting()
        destination = cast(IPv4Address, connector.getDestination())
        return await factory.failed, destination.port == port

    @inAllWorlds
    async def test_endpoints(self, stage: Stage) -> object:
        """
        Twisted's endpoints work.
        """
        listener, caller = Person(), Person()
        server = TCP4ServerEndpoint(stage.world, 0, interface=LOOPBACK)
        port = cast(MemoryPort, await server.listen(Listeners(listener)))
        client = TCP4ClientEndpoint(stage.world, LOOPBACK, port.getHost().port, timeout=5)
        await client.connect(Listeners(caller))
        caller.transport.write(b"hello")
        await listener.spoken
        caller.transport.loseConnection()
        await listener.over
        await stage.stop(port)
        return listener.heard, listener.reason
