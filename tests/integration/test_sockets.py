"""
L{jobscheduler_tcp.sockets} on sockets of the kernel.
"""

from __future__ import annotations

import gc
import os
import socket
import struct
from errno import EADDRINUSE
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SkipTest, TestCase

from jobscheduler_tcp.client.listening import adopt
from jobscheduler_tcp.errors import PortTaken
from jobscheduler_tcp.sockets import (
    holderOf,
    lingerNot,
    listeningSocket,
    listenOrTell,
    settle,
)
from tests.integration.stage import LOOPBACK, Listeners, Person


def listen(case: TestCase, interface: str = LOOPBACK) -> socket.socket:
    """
    Listen until a test is over.
    """
    listening = listeningSocket(interface, 0)
    case.addCleanup(listening.close)
    return listening


class ListeningSocketTests(TestCase):
    def test_options(self) -> None:
        """
        The socket listens, waits for nobody, is not inherited and frees its port
        at once.
        """
        listening = listen(self)
        self.assertTrue(listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        self.assertTrue(listening.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))
        self.assertFalse(listening.getblocking())
        self.assertFalse(listening.get_inheritable())

    def test_interface(self) -> None:
        """
        An empty interface is all of IPv4.
        """
        self.assertEqual(listen(self, "").getsockname()[0], "0.0.0.0")

    def test_taken(self) -> None:
        """
        If it cannot be, no socket is left open.
        """
        port = listen(self).getsockname()[1]
        gc.collect()  # what earlier tests have left open
        before = os.listdir("/proc/self/fd")
        error = self.assertRaises(OSError, listeningSocket, LOOPBACK, port)
        self.assertEqual(error.errno, EADDRINUSE)
        self.assertEqual(os.listdir("/proc/self/fd"), before)

    def test_tell(self) -> None:
        """
        Whoever is told that a port is taken is told by whom.
        """
        port = listen(self).getsockname()[1]
        error = self.assertRaises(PortTaken, listenOrTell, LOOPBACK, port)
        self.assertEqual(error.address, f"{LOOPBACK}:{port}")
        self.assertIn(f"pid {os.getpid()} (", str(error))
        error = self.assertRaises(PortTaken, listenOrTell, "", port)
        self.assertEqual(error.address, f"0.0.0.0:{port}")

    def test_tellNothing(self) -> None:
        """
        What is wrong with something else than the port stays what it is.
        """
        self.assertRaises(OSError, listenOrTell, "192.0.2.1", 0)
        listenOrTell(LOOPBACK, 0).close()


class AdoptTests(TestCase):
    async def test_adopt(self) -> None:
        """
        The reactor accepts callers at an adopted socket, which the system knows
        as ours, until it stops listening.
        """
        await self.adopt(LOOPBACK, TCP4ClientEndpoint)

    async def adopt(
        self, interface: str, endpoint: type[TCP4ClientEndpoint] | type[TCP6ClientEndpoint]
    ) -> None:
        """
        Adopt, call, and stop.
        """
        listening = listeningSocket(interface, 0)
        number = listening.getsockname()[1]
        listener, caller = Person(), Person()
        port = adopt(cast(Any, reactor), listening, cast(Any, Listeners(listener)))
        self.assertTrue(holderOf(number).startswith(f"pid {os.getpid()} ("))
        await endpoint(reactor, interface, number).connect(Listeners(caller))
        await listener.made
        caller.transport.abortConnection()
        await listener.over
        self.assertEqual(cast(Any, port.getHost()).port, number)
        await maybeDeferred(port.stopListening)
        listeningSocket(interface, number).close()

    async def test_adoptIPv6(self) -> None:
        """
        The same with IPv6, whose addresses stand in brackets, and which leaves
        the ports of IPv4 alone.
        """
        try:
            listening = listen(self, "::1")
        except OSError as error:
            raise SkipTest(f"THIS MACHINE HAS NO IPv6: {error}") from error
        self.assertTrue(listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
        port = listening.getsockname()[1]
        taken = self.assertRaises(PortTaken, listenOrTell, "::1", port)
        self.assertEqual(taken.address, f"[::1]:{port}")
        await self.adopt("::1", TCP6ClientEndpoint)

    def test_cannotAdopt(self) -> None:
        """
        A reactor that refuses gets no socket.
        """

        class Refusing:
            def addReader(self, *_: object) -> None:
                raise RuntimeError("nothing is read here")

        listening = listeningSocket(LOOPBACK, 0)
        self.assertRaises(
            RuntimeError, adopt, cast(Any, Refusing()), listening, cast(Any, Factory())
        )
        self.assertEqual(listening.fileno(), -1)


class SettleTests(TestCase):
    async def test_settle(self) -> None:
        """
        A silent machine at the other end is found within 15 seconds: by
        keepalive when nothing is under way, and by the user timeout when something
        is. And nothing need linger.
        """
        listener, caller = Person(), Person()
        port = adopt(
            cast(Any, reactor), listeningSocket(LOOPBACK, 0), cast(Any, Listeners(listener))
        )
        number = cast(Any, port.getHost()).port
        await TCP4ClientEndpoint(reactor, LOOPBACK, number).connect(Listeners(caller))
        await listener.made
        for person in (listener, caller):
            transport = cast(ITCPTransport, person.transport)
            settle(transport)
            self.assertTrue(transport.getTcpNoDelay())
            self.assertTrue(transport.getTcpKeepAlive())
            connected = cast(Any, transport).getHandle()
            seen = {
                name: connected.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
                for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
            }
            self.assertEqual(
                seen,
                {
                    "TCP_KEEPIDLE": 5,
                    "TCP_KEEPINTVL": 2,
                    "TCP_KEEPCNT": 3,
                    "TCP_USER_TIMEOUT": 15000,
                },
            )
        lingerNot(caller.transport)
        connected = cast(Any, caller.transport).getHandle()
        linger = connected.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
        self.assertEqual(linger, struct.pack("ii", 1, 0))
        caller.transport.abortConnection()
        await listener.over
        await maybeDeferred(port.stopListening)
