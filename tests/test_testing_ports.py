"""
L{jobscheduler_tcp.testing}: who may have a port, and whose calls are taken.
"""

from __future__ import annotations

from errno import EADDRINUSE, EADDRNOTAVAIL, ECONNREFUSED

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import (
    ConnectBindError,
    ConnectError,
    ConnectionLost,
    ConnectionRefusedError,
    TimeoutError,
)

from tests.networkcase import PORT, THERE, Echoes, NetworkCase


class PortTests(NetworkCase):
    """
    Who may have a port, and whose calls are taken.
    """

    def test_refused(self) -> None:
        """
        A call to a port where nobody listens is refused by the host.
        """
        stranger = self.here.stranger(THERE, PORT - 1)
        self.network.flush()
        self.assertLost(stranger.lost, ConnectionRefusedError, ECONNREFUSED)

    def test_filtered(self) -> None:
        """
        A call to a filtered port, or to no host at all, is not answered.
        """
        self.there.filter(PORT)
        for address in (THERE, "10.9.9.9"):
            stranger = self.here.stranger(address, PORT)
            self.network.advance(29.9)
            self.assertIsNone(stranger.lost)
            self.network.advance(0.1)
            self.assertLost(stranger.lost, TimeoutError)

    def test_allowed(self) -> None:
        """
        A firewall can refuse what is listened for, and be opened again.
        """
        self.there.refuse(PORT)
        stranger = self.call()
        self.assertLost(stranger.lost, ConnectionRefusedError, ECONNREFUSED)
        self.there.filter(PORT)
        self.there.allow(PORT)
        self.assertIsNone(self.call().lost)

    def test_taken(self) -> None:
        """
        Two cannot listen on one port, until the one has stopped.
        """
        with self.assertRaises(OSError) as raised:
            self.there.listen(PORT, Echoes())
        self.assertEqual(raised.exception.errno, EADDRINUSE)
        self.port.stopListening()
        self.network.flush()
        self.there.listen(PORT, Echoes())

    def test_takenByOutgoing(self) -> None:
        """
        An outgoing connection may sit on a port that somebody wants to listen
        on, and the other way round.
        """
        self.here.ephemeral = [PORT]
        stranger = self.call()
        with self.assertRaises(OSError) as raised:
            self.here.listen(PORT, Echoes())
        self.assertEqual(raised.exception.errno, EADDRINUSE)
        stranger.transport.loseConnection()
        self.network.flush()
        self.here.listen(PORT, Echoes())
        self.assertLost(self.call().lost, ConnectError, EADDRNOTAVAIL)

    def test_usedUp(self) -> None:
        """
        A host can run out of ports for outgoing connections, and of free ones to
        listen on.
        """
        self.here.ephemeral = range(40000, 40002)
        strangers = [self.call() for _ in range(3)]
        self.assertLost(strangers[2].lost, ConnectError, EADDRNOTAVAIL)
        self.assertRaises(OSError, self.here.listen, 0, Echoes())
        strangers[0].transport.abortConnection()
        self.network.flush()
        self.assertIsNone(self.call().lost)

    def test_bound(self) -> None:
        """
        A call can be made from a port of one's choice, if it is free.
        """
        endpoint = TCP4ClientEndpoint(self.here, THERE, PORT, bindAddress=("", 700))
        first, second = endpoint.connect(Echoes()), endpoint.connect(Echoes())
        self.network.flush()
        self.assertEqual([each.client.port for each in self.network.connections], [700])
        self.successResultOf(first)
        self.assertLost(self.failureResultOf(second), ConnectBindError, EADDRINUSE)

    def test_interface(self) -> None:
        """
        Who listens on the loopback hears no one from outside.
        """
        port = self.there.listenTCP(4455, Echoes(), interface="127.0.0.1")
        self.assertEqual(port.getHost().host, "127.0.0.1")
        outside = self.here.stranger(THERE, 4455)
        inside = self.there.stranger("localhost", 4455)
        self.network.flush()
        self.assertLost(outside.lost, ConnectionRefusedError, ECONNREFUSED)
        self.assertIsNone(inside.lost)
        self.assertEqual(inside.transport.getHost().host, "127.0.0.1")

    def test_stopsWhileCalled(self) -> None:
        """
        Callers that were not accepted when the listener stops are reset.
        """
        self.network.latency = 1
        stranger = self.here.stranger(THERE, PORT)
        self.network.advance(2.5)
        self.port.stopListening()
        self.network.flush()
        self.assertLost(stranger.lost, ConnectionLost)
        self.assertEqual(self.echoes.built, [])

    def test_timeWait(self) -> None:
        """
        The port of the end that closes first rests in TIME_WAIT, of both ends if
        they close at once, and of none after a reset.
        """
        stranger = self.call()
        stranger.transport.loseConnection()
        self.network.flush()
        self.assertEqual((self.here.timeWait, self.there.timeWait), ([32768], []))
        stranger = self.call()
        self.echoes.built[1].transport.loseConnection()
        self.network.flush()
        self.assertEqual((self.here.timeWait, self.there.timeWait), ([32768], [PORT]))
        stranger = self.call()
        stranger.transport.loseConnection()
        self.echoes.built[2].transport.loseConnection()
        self.network.flush()
        self.assertEqual((self.here.timeWait, self.there.timeWait), ([32768, 32770], [PORT, PORT]))
        for abort in ("client", "server"):
            stranger = self.call()
            if abort == "client":
                stranger.transport.abortConnection()
            else:
                self.echoes.built[-1].transport.abortConnection()
        self.network.flush()
        self.assertEqual((self.here.timeWait, self.there.timeWait), ([32768, 32770], [PORT, PORT]))

    def test_noTimeWait(self) -> None:
        """
        Who closes first, but is written to afterwards, resets the writer, and
        nothing rests.
        """
        self.network.latency = 1
        stranger = self.call()
        stranger.transport.loseConnection()
        self.echoes.built[0].transport.write(b"too late")
        self.network.flush()
        self.assertEqual((self.here.timeWait, self.there.timeWait), ([], []))
