"""
Two hosts of a network in memory, one of which echoes.
"""

from __future__ import annotations

from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.testing import (
    MemoryConnection,
    MemoryHost,
    MemoryNetwork,
    MemoryTransport,
    Stranger,
)

HERE = "10.0.0.1"
THERE = "10.0.0.2"
ELSEWHERE = "10.0.0.3"
PORT = 59999


class Echo(Protocol):
    """
    Say what is said.
    """

    transport: MemoryTransport

    def __init__(self) -> None:
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """
        Say it.
        """
        self.transport.write(data)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        Remember why.
        """
        self.reason = reason


class Echoes(Factory):
    """
    Remember the protocols.
    """

    noisy = False

    def __init__(self) -> None:
        self.built: list[Echo] = []

    def buildProtocol(self, addr: object) -> Echo:
        """
        One for each caller.
        """
        self.built.append(Echo())
        return self.built[-1]


class NetworkCase(SynchronousTestCase):
    """
    Two hosts, one of which echoes on a port.
    """

    def setUp(self) -> None:
        """
        Listen.
        """
        self.network = MemoryNetwork()
        self.here = self.network.host(HERE)
        self.there = self.network.host(THERE)
        self.echoes = Echoes()
        self.port = self.there.listen(PORT, self.echoes)

    def tearDown(self) -> None:
        """
        Nothing waits for a clock when a test is over.
        """
        self.network.flush()
        self.assertEqual(self.network.clock.getDelayedCalls(), [])

    def call(self, host: MemoryHost | None = None) -> Stranger:
        """
        Dial, and wait for the connection.
        """
        stranger = (host or self.here).stranger(THERE, PORT)
        self.network.flush()
        return stranger

    def assertLost(
        self, reason: Failure | None, kind: type[Exception], errno: int | None = None
    ) -> None:
        """
        The connection is over for that reason.
        """
        assert reason is not None, "it is still there"
        reason.trap(kind)
        self.assertEqual(getattr(reason.value, "osError", None), errno)

    @property
    def connection(self) -> MemoryConnection:
        """
        The latest.
        """
        return self.network.connections[-1]
