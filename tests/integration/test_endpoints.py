"""
Endpoints of Twisted that dial with L{jobscheduler_tcp.dialing}.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IReactorTCP
from twisted.trial.unittest import TestCase

from jobscheduler_tcp.client.listening import adopt
from jobscheduler_tcp.dialing import Dialer
from jobscheduler_tcp.sockets import listeningSocket
from jobscheduler_tcp.streams import Stream
from tests.integration.freeports import freePort
from tests.integration.stage import LOOPBACK, Listeners, Person, reactor


class EndpointTests(TestCase):
    async def test_connected(self) -> None:
        """
        The connection is a stream.
        """
        listener, caller = Person(), Person()
        port = adopt(reactor, listeningSocket(LOOPBACK, 0), Listeners(listener))
        number = cast(Any, port.getHost()).port
        dialer = cast(IReactorTCP, Dialer(cast(Any, reactor)))
        await connectProtocol(TCP4ClientEndpoint(dialer, LOOPBACK, number), caller)
        self.assertIsInstance(caller.transport, Stream)
        caller.transport.write(b"hello")
        await listener.spoken
        listener.transport.loseConnection()
        await caller.over
        await listener.over
        port.stopListening()

    async def test_nobodyThere(self) -> None:
        """
        What does not work is told.
        """
        dialer = cast(IReactorTCP, Dialer(cast(Any, reactor)))
        with self.assertRaises(ConnectionRefusedError):
            await connectProtocol(TCP4ClientEndpoint(dialer, LOOPBACK, freePort()), Person())
