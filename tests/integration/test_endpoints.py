"""
Endpoints of Twisted that dial with L{jobscheduler_tcp.dialing}.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IReactorTCP
from twisted.trial.unittest import TestCase

from jobscheduler_tcp.client.command import CommandClientFactory
from jobscheduler_tcp.client.listening import adopt
from jobscheduler_tcp.dialing import Dialer
from jobscheduler_tcp.heartbeat import Heart
from jobscheduler_tcp.messages import Ping, Welcome
from jobscheduler_tcp.sockets import listeningSocket
from jobscheduler_tcp.streams import Stream
from jobscheduler_tcp.wire.answers import encodeAnswer
from tests.integration.freeports import freePort
from tests.integration.stage import LOOPBACK, Listeners, Person, reactor

INSTANCE = "3f1c0000-0000-4000-8000-000000000001"


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

    async def test_hurry(self) -> None:
        """
        A request that is alone leaves at once.
        """
        listening = listeningSocket(LOOPBACK, 0)
        self.addCleanup(listening.close)
        dialer = cast(IReactorTCP, Dialer(cast(Any, reactor)))
        endpoint = TCP4ClientEndpoint(dialer, *listening.getsockname())
        protocol = CommandClientFactory(Heart(reactor)).buildProtocol(None)
        await connectProtocol(endpoint, protocol)
        remote, _ = listening.accept()
        self.addCleanup(remote.close)
        remote.setblocking(False)
        self.assertIn(b"<jsremote.hello ", remote.recv(1000))
        remote.sendall(encodeAnswer(Welcome(1, 1, INSTANCE), "now"))
        await protocol.greeting
        protocol.request(Ping(0)).addErrback(lambda _: None)
        with self.assertRaises(BlockingIOError):
            remote.recv(1000)
        protocol.hurry()
        self.assertEqual(remote.recv(1000), b'<jsremote.ping id="2"/>')
        protocol.transport.abortConnection()
        await protocol.closed

    async def test_nobodyThere(self) -> None:
        """
        What does not work is told.
        """
        dialer = cast(IReactorTCP, Dialer(cast(Any, reactor)))
        with self.assertRaises(ConnectionRefusedError):
            await connectProtocol(TCP4ClientEndpoint(dialer, LOOPBACK, freePort()), Person())
