"""
L{jobscheduler_tcp.dialing} and ports with sockets of the kernel. What a connection does is told
in L{tests.integration.test_testing}.
"""

from __future__ import annotations

import errno
import socket
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectBindError, ConnectionLost
from twisted.internet.interfaces import (
    IConnector,
    IListeningPort,
    IReactorCore,
    IReactorTCP,
    IReactorUNIX,
    IWriteDescriptor,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase
from zope.interface import alsoProvides
from zope.interface.verify import verifyObject

from jobscheduler_tcp.client.listening import adopt
from jobscheduler_tcp.dialing import Call, dial
from jobscheduler_tcp.remote.caller import errnoOf
from jobscheduler_tcp.sockets import listeningSocket
from jobscheduler_tcp.streams import acceptStreams
from tests.integration.freeports import freePort
from tests.integration.stage import LOOPBACK, Callers, Listeners, Person, reactor

# Seconds that no call takes.
LONG = 60.0


class Deaf(Clock):
    """
    A reactor that has no room for more descriptors.
    """

    def addReader(self, reader: object) -> None:
        """
        Refuse.
        """
        raise OSError(errno.ENOSPC, "No space left on device")


class Slow(Clock):
    """
    A reactor that looks names up as slowly as wanted.
    """

    def __init__(self) -> None:
        super().__init__()
        alsoProvides(self, IReactorCore)  # as far as it is asked for
        self.found: Deferred[str] = Deferred()

    def resolve(self, name: str) -> Deferred[str]:
        """
        Look a name up.
        """
        return self.found


def busy(case: TestCase) -> tuple[socket.socket, list[socket.socket]]:
    """
    Listen where no more callers are taken, until somebody accepts one.
    """
    listening = listeningSocket(LOOPBACK, 0, 0)
    case.addCleanup(listening.close)
    waiting = []
    for _ in range(2):  # Linux takes one more than it is told to
        caller = socket.socket()
        caller.setblocking(False)
        caller.connect_ex(listening.getsockname())
        case.addCleanup(caller.close)
        waiting.append(caller)
    return listening, waiting


class DialTests(TestCase):
    """
    What becomes of a call.
    """

    async def call(self, host: str, port: int, timeout: float = LONG) -> tuple[object, int]:
        """
        Call somewhere where it is not taken.

        @return: the name of the error, and its number.
        """
        callers = Callers(Person())
        told: list[Failure] = []
        failed = callers.clientConnectionFailed

        def tell(connector: object, reason: Failure) -> None:
            told.append(reason)
            failed(connector, reason)

        self.patch(callers, "clientConnectionFailed", tell)
        dial(cast(Any, reactor), host, port, callers, timeout)
        self.assertEqual(told, [], "nobody may be told before dial returns")
        name, _, _ = await callers.failed
        return name, errnoOf(told[0].value)

    async def test_takenAtOnce(self) -> None:
        """
        A call on this machine is taken before C{dial} returns, and each knows where
        the other is.
        """
        listener, caller = Person(), Person()
        port = adopt(reactor, listeningSocket(LOOPBACK, 0), Listeners(listener))
        number = cast(Any, port.getHost()).port
        call = Call(reactor, LOOPBACK, number, Callers(caller), LONG)
        call.connect()
        self.assertTrue(caller.made.called)
        caller.transport.write(b"hello")
        await listener.spoken
        self.assertEqual(call.getDestination(), IPv4Address("TCP", LOOPBACK, number))
        self.assertEqual(caller.transport.getPeer(), IPv4Address("TCP", LOOPBACK, number))
        self.assertEqual(listener.transport.getPeer(), caller.transport.getHost())
        call.stopConnecting()  # too late
        listener.transport.loseConnection()
        await caller.over
        await listener.over
        port.stopListening()

    async def test_putOff(self) -> None:
        """
        A call can be put off to the end of the turn, and stopped before that.
        """
        listening = listeningSocket(LOOPBACK, 0)
        self.addCleanup(listening.close)
        number = listening.getsockname()[1]
        person, other = Person(), Callers(Person())
        dial(cast(Any, reactor), LOOPBACK, number, Callers(person), LONG, putOff=True)
        call = Call(reactor, LOOPBACK, number, other, LONG)
        call.connect(putOff=True)
        call.stopConnecting()
        self.assertFalse(person.made.called)
        await person.made
        self.assertEqual((await other.failed)[0], "UserError")
        person.transport.abortConnection()
        await person.over
        self.assertFalse(other.person is None or cast(Person, other.person).made.called)

    async def test_later(self) -> None:
        """
        A call that has to wait is taken when somebody accepts it.
        """
        listening, _ = busy(self)
        caller = Person()
        call = Call(reactor, LOOPBACK, listening.getsockname()[1], Callers(caller), LONG)
        call.connect()
        self.assertTrue(verifyObject(IConnector, call))
        self.assertTrue(verifyObject(IWriteDescriptor, call))
        self.assertFalse(caller.made.called)
        # An event for an older descriptor of the same number changes nothing.
        call.doWrite()
        reactor.removeWriter(call)
        call.connectionLost(Failure(ConnectionLost()))
        self.assertFalse(caller.made.called)
        listening.setblocking(True)
        for _ in range(2):
            listening.accept()[0].close()
        await caller.made
        caller.transport.abortConnection()
        await caller.over

    async def test_refused(self) -> None:
        """
        Nobody listens.
        """
        told = await self.call(LOOPBACK, freePort())
        self.assertEqual(told, ("ConnectionRefusedError", errno.ECONNREFUSED))

    async def test_timeout(self) -> None:
        """
        Nobody answers.
        """
        listening, _ = busy(self)
        told = await self.call(LOOPBACK, listening.getsockname()[1], 0.1)
        self.assertEqual(told, ("TimeoutError", errno.ETIMEDOUT))

    async def test_stopped(self) -> None:
        """
        Who does not want it any more stops it, at any time.
        """
        listening, _ = busy(self)
        for port in (listening.getsockname()[1], freePort()):
            callers = Callers(Person())
            call = Call(reactor, LOOPBACK, port, callers, LONG)
            call.connect()
            call.disconnect()
            self.assertEqual((await callers.failed)[0], "UserError")
            call.stopConnecting()

    async def test_noDescriptor(self) -> None:
        """
        Without a descriptor, it is said which shortage it is; and so it is if the
        reactor has no room.
        """

        def refuse(*_: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(socket, "socket", refuse)
        told = await self.call(LOOPBACK, 1)
        self.assertEqual(told, (ConnectBindError.__name__, errno.EMFILE))

    async def test_notWatched(self) -> None:
        """
        The reactor has no room for one more.
        """
        listening = listeningSocket(LOOPBACK, 0)
        self.addCleanup(listening.close)
        callers = Callers(Person())
        call = Call(cast(Any, Deaf()), LOOPBACK, listening.getsockname()[1], callers, LONG)
        call.connect()
        name, number, _ = await callers.failed
        self.assertEqual((name, number), ("ConnectError", errno.ENOSPC))

    async def test_nobodyIsBuilt(self) -> None:
        """
        A factory may want no connection.
        """
        listener = Person()
        port = adopt(reactor, listeningSocket(LOOPBACK, 0), Listeners(listener))
        number = cast(Any, port.getHost()).port
        Call(reactor, LOOPBACK, number, Callers(None), LONG).connect()
        await listener.over
        port.stopListening()

    async def test_nobodyCanBeBuilt(self) -> None:
        """
        A factory that fails is told that there is no connection.
        """
        listener = Person()
        port = adopt(reactor, listeningSocket(LOOPBACK, 0), Listeners(listener))
        callers = Callers(None)
        self.patch(callers, "buildProtocol", lambda addr: 1 / 0)
        Call(reactor, LOOPBACK, cast(Any, port.getHost()).port, callers, LONG).connect()
        self.assertNoResult(callers.failed)
        self.assertEqual((await callers.failed)[0], "ZeroDivisionError")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        await listener.over
        port.stopListening()

    async def test_name(self) -> None:
        """
        A name is looked up; one that nobody has is an error like another.
        """
        listener, caller = Person(), Person()
        port = adopt(reactor, listeningSocket(LOOPBACK, 0), Listeners(listener))
        number = cast(Any, port.getHost()).port
        Call(reactor, "localhost", number, Callers(caller), LONG).connect()
        await caller.made
        self.assertEqual(caller.transport.getPeer(), IPv4Address("TCP", LOOPBACK, number))
        caller.transport.abortConnection()
        await listener.over
        await caller.over
        port.stopListening()
        self.assertEqual((await self.call("nobody.invalid", 1))[0], "DNSLookupError")

    def test_nameOverdue(self) -> None:
        """
        To look up a name takes no longer than a call may.
        """
        slow = Slow()
        callers = Callers(Person())
        Call(cast(Any, slow), "example.org", 1, callers, LONG).connect()
        slow.advance(LONG)
        self.assertEqual(self.successResultOf(callers.failed)[0], "TimeoutError")
        slow.found.callback(LOOPBACK)
        self.assertEqual(slow.getDelayedCalls(), [])

    async def test_nameIsNotWaitedFor(self) -> None:
        """
        Who gave up while a name was looked up hears no more.
        """
        callers = Callers(Person())
        call = Call(reactor, "localhost", freePort(), callers, LONG)
        call.connect()
        call.stopConnecting()
        self.assertEqual((await callers.failed)[0], "UserError")
        self.assertEqual((await self.call("localhost", freePort()))[0], "ConnectionRefusedError")

    async def test_IPv6(self) -> None:
        """
        The same with IPv6; an address with the scope of no interface is an error.
        """
        self.assertEqual((await self.call("fe80::1%nowhere", 1))[0], "ConnectError")
        try:
            listening = listeningSocket("::1", 0)
        except OSError as error:
            raise SkipTest(f"THIS MACHINE HAS NO IPv6: {error}") from error
        number = listening.getsockname()[1]
        listener, caller = Person(), Person()
        port = adopt(reactor, listening, Listeners(listener))
        call = Call(reactor, "::1", number, Callers(caller), LONG)
        call.connect()
        self.assertEqual(call.getDestination(), IPv6Address("TCP", "::1", number))
        await listener.made
        self.assertEqual(caller.transport.getPeer(), IPv6Address("TCP", "::1", number))
        self.assertEqual(listener.transport.getPeer(), caller.transport.getHost())
        caller.transport.abortConnection()
        await listener.over
        await caller.over
        port.stopListening()


class PortTests(TestCase):
    """
    Ports of Twisted's that make streams.
    """

    async def call(self, port: IListeningPort, listener: Person) -> str:
        """
        Call there.

        @return: what the listener has.
        """
        caller = Person()
        number = cast(Any, port.getHost()).port
        Call(reactor, LOOPBACK, number, Callers(caller), LONG).connect()
        caller.transport.write(b"hello")
        await listener.spoken
        kind = type(listener.transport).__name__
        self.assertEqual(listener.transport.getPeer(), caller.transport.getHost())
        listener.transport.write(b"good bye")
        listener.transport.loseConnection()
        await caller.over
        self.assertEqual(caller.heard, b"good bye")
        await listener.over
        await maybeDeferred(port.stopListening)
        return kind

    async def test_acceptStreams(self) -> None:
        """
        Who calls gets a stream.
        """
        listener = Person()
        factory = Listeners(listener)
        port = cast(IReactorTCP, reactor).listenTCP(0, factory, interface=LOOPBACK)
        acceptStreams(port, factory)
        self.assertEqual(await self.call(port, listener), "Stream")

    async def test_others(self) -> None:
        """
        A port that has another factory, as with TLS, is left alone, and so is one that
        is none of Twisted's.
        """
        listener = Person()
        port = cast(IReactorTCP, reactor).listenTCP(0, Listeners(listener), interface=LOOPBACK)
        acceptStreams(port, Listeners(listener))
        acceptStreams(object(), Listeners(listener))
        self.assertEqual(await self.call(port, listener), "Server")

    async def test_UNIX(self) -> None:
        """
        Neither is one of a UNIX socket, which is a port of Twisted's, too.
        """
        listener = Person()
        factory = Listeners(listener)
        place = self.mktemp()
        port = cast(IReactorUNIX, reactor).listenUNIX(place, factory)
        acceptStreams(port, factory)
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(place)
            await listener.made
            self.assertIsInstance(listener.transport.getPeer(), UNIXAddress)
        await listener.over
        await maybeDeferred(port.stopListening)
