"""
L{jobscheduler_tcp.testing}: links and connections that break.
"""

from __future__ import annotations

from operator import methodcaller

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import (
    ConnectionDone,
    ConnectionLost,
    TimeoutError,
)

from jobscheduler_tcp.testing import (
    End,
)
from tests.networkcase import ELSEWHERE, HERE, PORT, THERE, Echoes, NetworkCase


class LinkTests(NetworkCase):
    """
    When a link is down.
    """

    def test_cut(self) -> None:
        """
        Nothing arrives while the link is down, nobody is told, and after it is
        healed everything arrives once, in order.
        """
        stranger = self.call()
        stranger.transport.write(b"one ")
        self.network.cut(HERE, THERE)
        self.network.flush()
        stranger.transport.write(b"two ")
        self.network.advance(100)
        self.assertEqual((stranger.heard, stranger.lost), (b"", None))
        self.network.heal(HERE, THERE)
        self.network.flush()
        self.assertEqual(stranger.heard, b"one two ")

    def test_others(self) -> None:
        """
        Other links are not touched.
        """
        self.network.cut(HERE, THERE)
        stranger = self.call(self.network.host(ELSEWHERE))
        stranger.transport.write(b"hello")
        self.network.flush()
        self.assertEqual(stranger.heard, b"hello")

    def test_onItsWay(self) -> None:
        """
        What was on its way when the link went down is sent again.
        """
        self.network.latency = 1
        stranger = self.call()
        stranger.transport.write(b"hello")
        self.network.advance(0.5)
        self.network.cut(HERE, THERE)
        self.network.advance(100)
        self.assertEqual(self.connection.data[End.CLIENT], b"")
        self.network.heal(HERE, THERE)
        self.network.flush()
        self.assertEqual(stranger.heard, b"hello")

    def test_callTimesOut(self) -> None:
        """
        A call over a link that is down runs into its timeout.
        """
        self.network.cut(HERE, THERE)
        connected = TCP4ClientEndpoint(self.here, THERE, PORT, timeout=10).connect(Echoes())
        self.network.advance(9)
        self.assertNoResult(connected)
        self.network.advance(1)
        self.failureResultOf(connected, TimeoutError)
        self.network.heal(HERE, THERE)
        self.network.flush()
        self.assertEqual(self.network.connections, [])

    def test_callAgain(self) -> None:
        """
        A call that waits when the link is healed is taken, wherever it was lost.
        """
        self.network.latency = 1
        for seconds in (0.5, 1.5, 2.5):
            stranger = self.here.stranger(THERE, PORT)
            self.network.advance(seconds)
            self.network.cut(HERE, THERE)
            self.network.advance(5)
            self.network.heal(HERE, THERE)
            self.network.flush()
            stranger.transport.write(b"hello")
            self.network.flush()
            self.assertEqual(stranger.heard, b"hello")

    def test_resetIsLost(self) -> None:
        """
        A reset that is lost is not sent again: the other end learns of it when
        it writes after the link is healed.
        """
        stranger = self.call()
        self.network.cut(HERE, THERE)
        stranger.transport.abortConnection()
        self.network.flush()
        self.network.heal(HERE, THERE)
        self.network.flush()
        echo = self.echoes.built[0]
        self.assertIsNone(echo.reason)
        echo.transport.write(b"are you there?")
        self.network.flush()
        self.assertLost(echo.reason, ConnectionLost)

    def test_endIsSentAgain(self) -> None:
        """
        An orderly end is heard after the link is healed.
        """
        stranger = self.call()
        self.network.cut(HERE, THERE)
        stranger.transport.loseConnection()
        self.network.flush()
        self.assertLost(stranger.lost, ConnectionDone)
        self.assertIsNone(self.echoes.built[0].reason)
        self.network.heal(HERE, THERE)
        self.network.flush()
        self.assertLost(self.echoes.built[0].reason, ConnectionDone)


class BreakTests(NetworkCase):
    """
    When a connection breaks.
    """

    def test_reset(self) -> None:
        """
        A reset is told to both ends, and what was on its way is lost.
        """
        stranger = self.call()
        stranger.transport.write(b"hello")
        self.connection.reset()
        self.network.flush()
        self.assertLost(stranger.lost, ConnectionLost)
        self.assertLost(self.echoes.built[0].reason, ConnectionLost)

    def test_resetOfOneWhoDoesNotRead(self) -> None:
        """
        Who does not read learns of a reset when it writes afterwards, or when it
        has more to send than the network takes.
        """
        self.network.latency = 1
        for said in (1, 100_000):
            stranger = self.call()
            echo = self.echoes.built[-1]
            stranger.transport.pauseProducing()
            stranger.transport.write(b"hello")
            self.network.advance(0.5)
            echo.transport.pauseProducing()
            stranger.transport.abortConnection()
            echo.transport.write(b"x" * said)
            self.network.advance(0.875)
            self.assertIsNone(echo.reason)
            self.network.advance(0.125)
            if said == 1:
                self.network.flush()
                self.assertIsNone(echo.reason)
                echo.transport.write(b"are you there?")
                self.network.advance()
            self.assertLost(echo.reason, ConnectionLost)
            self.network.flush()

    def test_silence(self) -> None:
        """
        After a silence nobody hears anything, not even of the end.
        """
        stranger = self.call()
        stranger.transport.write(b"hello")
        self.connection.silence()
        self.network.advance(1000)
        stranger.transport.abortConnection()
        self.network.advance(1000)
        self.assertEqual(self.connection.data[End.CLIENT], b"")
        self.assertIsNone(self.echoes.built[0].reason)

    def test_vanish(self) -> None:
        """
        Of an end that vanishes the other hears nothing: the connection is half
        open. Other connections live on.
        """
        other = self.call()
        stranger = self.call()
        self.connection.vanish(End.SERVER)
        stranger.transport.write(b"hello")
        self.network.advance(1000)
        first, second = self.echoes.built
        self.assertLost(second.reason, ConnectionLost)
        self.assertEqual((stranger.heard, stranger.lost), (b"", None))
        other.transport.write(b"hello")
        self.network.flush()
        self.assertEqual(other.heard, b"hello")
        self.assertIsNone(first.reason)

    def test_cutEverywhere(self) -> None:
        """
        A connection can be cut after any number of bytes of either end.
        """
        said = b"a few words"
        for end in End:
            for how in ("reset", "silence"):
                for count in range(len(said) + 2):
                    self.setUp()
                    self.network.onConnection = methodcaller("cutAfter", end, count, how)
                    stranger = self.here.stranger(THERE, PORT)
                    self.network.flush()
                    if stranger.lost is None:
                        stranger.transport.write(said)
                    self.network.flush()
                    self.assertEqual(self.connection.data[end], said[:count])
                    broken = count <= len(said)
                    self.assertEqual(stranger.lost is not None, broken and how == "reset")
                    self.assertEqual(self.connection.silent, broken and how == "silence")

    def test_cutNow(self) -> None:
        """
        A connection that has said enough already is cut at once.
        """
        stranger = self.call()
        stranger.transport.write(b"hello")
        self.network.flush()
        self.connection.cutAfter(End.CLIENT, 3, "reset")
        self.network.flush()
        self.assertLost(stranger.lost, ConnectionLost)

    def test_data(self) -> None:
        """
        What each end said can be looked at, as can the ends.
        """
        stranger = self.call()
        stranger.transport.write(b"hello")
        self.network.flush()
        self.assertEqual(self.connection.data, {End.CLIENT: b"hello", End.SERVER: b"hello"})
        self.assertEqual(self.connection.client, stranger.transport.getHost())
        self.assertEqual((self.connection.server.host, self.connection.server.port), (THERE, PORT))
        self.assertIs(self.connection.transport(End.CLIENT).protocol, stranger)
        self.assertIs(self.connection.transport(End.SERVER).protocol, self.echoes.built[0])
