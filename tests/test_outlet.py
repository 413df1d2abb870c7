"""
Tests for L{jobscheduler_tcp.outlet}.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.tcp import Connection
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from jobscheduler_tcp.interfaces import IStreamTransport
from jobscheduler_tcp.outlet import Outlet, outletOf

MUCH = b"x" * 20000


class Kernel:
    """
    A socket that takes so many bytes of each write; C{None} for an error.
    """

    def __init__(self) -> None:
        self.room: int | None = 10**9
        self.taken = b""

    def sendmsg(self, pieces: list[bytes]) -> int:
        """
        Take what there is room for.
        """
        if self.room is None:
            raise BlockingIOError
        taken = b"".join(pieces)[: self.room]
        self.taken += taken
        return len(taken)


class Transport(StringTransport):
    """
    A transport on that socket. What is written waits until it is drained.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernel = Kernel()

    def getHandle(self) -> Kernel:
        """
        The socket.
        """
        return self.kernel

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        As Twisted does it: a pull producer is asked at once.
        """
        super().registerProducer(producer, streaming)
        if not streaming:
            producer.resumeProducing()

    def drain(self) -> None:
        """
        The kernel takes what waits.
        """
        self.kernel.taken += self.value()
        self.clear()
        if self.producer is not None:
            self.producer.resumeProducing()


@implementer(IPushProducer)
class Producer:
    """
    Counts how it is held back.
    """

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        """
        Hold.
        """
        self.told.append("pause")

    def resumeProducing(self) -> None:
        """
        Go on.
        """
        self.told.append("resume")

    def stopProducing(self) -> None:
        """
        End.
        """
        self.told.append("stop")


class OutletTests(SynchronousTestCase):
    """
    What is written arrives in its order, much of it without waiting.
    """

    def setUp(self) -> None:
        """
        Make an outlet.
        """
        self.transport = Transport()
        self.kernel = self.transport.kernel
        self.outlet = Outlet(cast(Connection, self.transport))
        self.producer = Producer()
        self.outlet.registerProducer(self.producer, True)

    def test_interface(self) -> None:
        """
        It is the pull producer of its transport.
        """
        self.assertTrue(verifyObject(IPullProducer, self.outlet))

    def test_much(self) -> None:
        """
        Much output goes to the kernel at once.
        """
        self.outlet.writeSequence([b"head", MUCH])
        self.assertEqual(self.kernel.taken, b"head" + MUCH)
        self.assertEqual(self.transport.value(), b"")
        self.assertEqual(self.producer.told, [])

    def test_little(self) -> None:
        """
        Short words wait for the transport, which joins them.
        """
        self.outlet.write(b"one")
        self.outlet.writeSequence([b"two", b"three"])
        self.assertEqual(self.kernel.taken, b"")
        self.assertEqual(self.transport.value(), b"onetwothree")

    def test_few(self) -> None:
        """
        As long as only a few words were written, the transport has no producer.
        """
        for _ in range(4):
            self.outlet.write(b"x" * 1024)
            self.assertIsNone(self.transport.producer)
        self.outlet.write(b"x")
        self.assertIs(self.transport.producer, self.outlet)
        self.transport.drain()
        self.assertIsNone(self.transport.producer)
        self.outlet.write(b"x")
        self.assertIsNone(self.transport.producer)

    def test_order(self) -> None:
        """
        Much output waits behind words that wait, and goes to the kernel again when
        nothing waits.
        """
        self.outlet.write(b"word")
        self.outlet.writeSequence([MUCH])
        self.assertEqual(self.kernel.taken, b"")
        self.transport.drain()
        self.outlet.writeSequence([b"more", MUCH])
        self.assertEqual(self.kernel.taken, b"word" + MUCH + b"more" + MUCH)
        self.assertIsNone(self.transport.producer)

    def test_part(self) -> None:
        """
        What the kernel does not take waits, and the producer is paused meanwhile.
        """
        for room in (0, 2, 4, 1000, None):
            self.kernel.room, self.kernel.taken = room, b""
            self.producer.told.clear()
            self.outlet.writeSequence([b"head", MUCH])
            self.assertEqual(self.producer.told, ["pause"])
            self.transport.drain()
            self.assertEqual(self.kernel.taken, b"head" + MUCH)
            self.assertEqual(self.producer.told, ["pause", "resume"])

    def test_enough(self) -> None:
        """
        The producer is paused, too, when many short words wait.
        """
        for _ in range(5):
            self.outlet.write(b"x" * 16000)
        self.assertEqual(self.producer.told, ["pause"])
        self.transport.drain()
        self.assertEqual(self.producer.told, ["pause", "resume"])

    def test_unregistered(self) -> None:
        """
        Nobody is told any more who does not want it, or whose connection is gone.
        """
        self.kernel.room = 0
        self.outlet.writeSequence([MUCH])
        self.outlet.unregisterProducer()
        self.transport.drain()
        self.outlet.registerProducer(self.producer, True)
        self.outlet.stopProducing()
        self.outlet.writeSequence([MUCH])
        self.assertEqual(self.producer.told, ["pause"])

    def test_close(self) -> None:
        """
        It is closed, or aborted, as its transport is.
        """
        self.outlet.loseConnection()
        self.assertTrue(self.transport.disconnecting)
        aborted: list[bool] = []
        self.patch(self.transport, "abortConnection", lambda: aborted.append(True))
        self.outlet.abortConnection()
        self.assertEqual(aborted, [True])

    def test_others(self) -> None:
        """
        A transport without a socket of its own, or with TLS, is written to as it is.
        """
        transport = cast(IStreamTransport, self.transport)
        self.assertIs(outletOf(transport), transport)
