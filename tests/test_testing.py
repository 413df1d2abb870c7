"""
L{jobscheduler_tcp.testing}: time, and what Twisted needs of a network in memory.

That its connections behave as real ones is tested in integration/test_testing.
"""

from __future__ import annotations

import runpy
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint
from twisted.internet.error import (
    ConnectionDone,
    DNSLookupError,
)
from twisted.internet.interfaces import (
    IConnector,
    IConsumer,
    IHostnameResolver,
    IListeningPort,
    IPushProducer,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import ClientFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.networkcase import HERE, PORT, THERE, Echoes, NetworkCase


class InterfaceTests(NetworkCase):
    """
    What is provided.
    """

    def test_host(self) -> None:
        """
        A host is a reactor for TCP and time.
        """
        verifyObject(IReactorTime, self.here)
        verifyObject(IReactorTCP, self.here)
        verifyObject(IReactorPluggableNameResolver, self.here)
        verifyObject(IHostnameResolver, self.here.nameResolver)

    def test_connection(self) -> None:
        """
        Transports, ports and connectors are as a reactor's.
        """
        stranger = self.call()
        for provided in (ITCPTransport, IConsumer, IPushProducer):
            verifyObject(provided, stranger.transport)
        verifyObject(IListeningPort, self.port)
        connector = self.here.connectTCP(THERE, PORT, ClientFactory())
        verifyObject(IConnector, connector)
        connector.stopConnecting()

    def test_hosts(self) -> None:
        """
        One address is one host, and all live in one time.
        """
        self.assertIs(self.network.host(HERE), self.here)
        self.network.advance(5)
        self.assertEqual(self.here.seconds(), self.there.seconds())
        self.here.callLater(1, lambda: None)
        self.assertEqual(len(self.there.getDelayedCalls()), 1)
        self.network.advance(1)


@implementer(IPushProducer)
class Producer:
    """
    Remember whether it is paused.
    """

    def __init__(self, paused: list[bool]) -> None:
        self._paused = paused

    def pauseProducing(self) -> None:
        """
        Too much.
        """
        self._paused.append(True)

    def resumeProducing(self) -> None:
        """
        Room again.
        """
        self._paused.append(False)

    def stopProducing(self) -> None:
        """
        The end.
        """


class TimeTests(NetworkCase):
    """
    When what is said arrives.
    """

    def test_latency(self) -> None:
        """
        A call and its answer, and words and theirs, take the latency each.
        """
        self.network.latency = 0.5
        stranger = self.here.stranger(THERE, PORT)
        self.network.advance(0.9)
        self.assertEqual(self.network.connections, [])
        self.network.advance(0.1)
        self.assertEqual(len(self.network.connections), 1)
        stranger.transport.write(b"hello")
        self.network.advance(0.9)
        self.assertEqual(stranger.heard, b"")
        self.network.advance(0.1)
        self.assertEqual(stranger.heard, b"hello")

    def test_inTime(self) -> None:
        """
        Everything happens at its own time, however much passes at once.
        """
        self.network.latency = 0.25
        times: list[float] = []

        def hear(data: bytes) -> None:
            times.append(self.here.seconds())

        stranger = self.here.stranger(THERE, PORT)
        self.here.callLater(2, lambda: stranger.transport.write(b"hello"))
        self.patch(stranger, "dataReceived", hear)
        self.network.advance(10)
        self.assertEqual(times, [2.5])
        self.assertEqual(self.here.seconds(), 10)

    def test_flush(self) -> None:
        """
        C{flush} lets no more time pass than what is on its way needs.
        """
        self.network.latency = 0.25
        late = self.here.callLater(10, lambda: None)
        stranger = self.call()
        self.assertEqual(self.here.seconds(), 0.75)
        stranger.transport.write(b"hello")
        self.network.flush()
        self.assertEqual(stranger.heard, b"hello")
        self.assertTrue(late.active())
        late.cancel()

    @given(st.lists(st.binary(max_size=20), max_size=10), st.integers(1, 30))
    @settings(deadline=None, max_examples=50)
    def test_split(self, said: list[bytes], size: int) -> None:
        """
        In whatever pieces, the bytes are the same and in order.
        """
        self.setUp()
        self.network.split(size)
        pieces: list[bytes] = []
        stranger = self.call()
        self.patch(stranger, "dataReceived", pieces.append)
        stranger.transport.writeSequence(said)
        self.network.flush()
        whole = b"".join(said)
        self.assertEqual(b"".join(pieces), whole)
        self.assertEqual({len(piece) for piece in pieces[:-1]} - {size}, set())

    def test_bounded(self) -> None:
        """
        What a paused reader does not read piles up at the writer's, who is paused
        beyond 64 KiB.
        """
        stranger = self.call()
        transport = self.echoes.built[0].transport
        transport.pauseProducing()
        paused: list[bool] = []

        stranger.transport.registerProducer(Producer(paused), True)
        stranger.transport.write(b"x" * 65536)
        self.network.advance(100)
        self.assertEqual(paused, [])
        stranger.transport.write(b"x")
        self.network.advance(100)
        self.assertEqual(paused, [True])
        transport.resumeProducing()
        self.network.flush()
        self.assertEqual(paused, [True, False])
        self.assertEqual(len(stranger.heard), 65537)
        stranger.transport.unregisterProducer()


def fail(argument: object) -> None:
    """
    Fail.
    """
    raise ZeroDivisionError


class FactoryTests(NetworkCase):
    """
    What goes wrong where protocols are built and called.
    """

    def test_factoryFails(self) -> None:
        """
        A caller whose protocol could not be built is hung up on, and the failure
        is logged.
        """
        self.patch(self.echoes, "buildProtocol", fail)
        self.assertLost(self.call().lost, ConnectionDone)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_endFails(self) -> None:
        """
        A protocol that fails when it hears of its end is logged.
        """
        stranger = self.call()
        self.patch(self.echoes.built[0], "connectionLost", fail)
        stranger.transport.loseConnection()
        self.network.flush()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertLost(stranger.lost, ConnectionDone)


class EndpointTests(NetworkCase):
    """
    Twisted's endpoints and services.
    """

    def test_hostname(self) -> None:
        """
        A host is found by its address, and by a name that it was given.
        """
        self.network.names["remote.example"] = THERE
        for name in (THERE, "remote.example"):
            connected = HostnameEndpoint(self.here, name, PORT).connect(Echoes())
            self.network.flush()
            self.network.advance(30)
            self.successResultOf(connected)
        unknown = HostnameEndpoint(self.here, "nobody.example", PORT).connect(Echoes())
        self.failureResultOf(unknown, DNSLookupError)

    def test_resolver(self) -> None:
        """
        Names can be resolved by another resolver.
        """
        other = self.there.nameResolver
        before = self.here.nameResolver
        self.assertIs(self.here.installNameResolver(other), before)
        self.assertIs(self.here.nameResolver, other)

    def test_clientService(self) -> None:
        """
        C{ClientService} connects again after a reset.
        """
        service = ClientService(
            TCP4ClientEndpoint(self.here, THERE, PORT),
            Echoes(),
            retryPolicy=lambda attempt: 1.0,
            clock=self.here,
        )
        service.startService()
        self.network.flush()
        first = self.successResultOf(service.whenConnected())
        self.connection.reset()
        self.network.advance(2)
        second = self.successResultOf(service.whenConnected())
        self.assertIsNot(first, second)
        stopped = service.stopService()
        assert isinstance(stopped, Deferred)
        self.network.flush()
        self.successResultOf(stopped)


class DocumentationTests(SynchronousTestCase):
    """
    The page C{docs/testing}.
    """

    def test_example(self) -> None:
        """
        The tests of the example pass, and it says so.
        """
        example = Path(__file__).parents[1] / "docs" / "examples" / "memory_network.py"
        printed = StringIO()
        with redirect_stdout(printed):
            runpy.run_path(str(example), run_name="__main__")
        self.assertEqual(printed.getvalue(), "4 tests passed\n")
