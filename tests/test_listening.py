"""
L{jobscheduler_tcp.client.listening} without a network.
"""

from __future__ import annotations

import socket
from errno import EAGAIN, ECONNABORTED, EMFILE, ENOSPC
from typing import Any, cast

from twisted.internet.interfaces import IListeningPort, IReadDescriptor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from jobscheduler_tcp.client.listening import ListeningSocket


class Reactor(Clock):
    """
    A clock that knows its readers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[object] = []
        self.refuses = 0

    def addReader(self, reader: object) -> None:
        """
        Read.
        """
        if self.refuses:
            raise OSError(self.refuses, "refused")
        self.readers.append(reader)

    def removeReader(self, reader: object) -> None:
        """
        Read no more.
        """
        if reader in self.readers:
            self.readers.remove(reader)


class Callers:
    """
    A listening socket at which one calls, or C{accept} fails.
    """

    family = socket.AF_INET

    def __init__(self) -> None:
        self.error = 0
        self.said = b""
        self.ends: list[socket.socket] = []
        self.closed = False

    def accept(self) -> tuple[socket.socket, object]:
        """
        Take the caller.
        """
        if self.error:
            raise OSError(self.error, "no")
        ours, theirs = socket.socketpair()
        theirs.send(self.said)
        self.ends += [ours, theirs]
        return ours, ("192.0.2.1", 4711)

    def hangUp(self) -> None:
        """
        Leave nothing open.
        """
        for end in self.ends:
            end.close()

    def fileno(self) -> int:
        """
        As of a socket.
        """
        return -1 if self.closed else 4711

    def close(self) -> None:
        """
        Listen no more.
        """
        self.closed = True


class Hearing(Protocol):
    """
    Write down what is heard.
    """

    def __init__(self) -> None:
        self.heard = b""

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes.
        """
        self.heard += data


class Taking(Factory):
    """
    Take who calls.
    """

    def __init__(self) -> None:
        self.taken: list[Hearing] = []
        self.wants = True

    def buildProtocol(self, addr: object) -> Hearing | None:
        """
        One more.
        """
        if not self.wants:
            return None
        protocol = Hearing()
        self.taken.append(protocol)
        return protocol


class ListeningSocketTests(SynchronousTestCase):
    """
    It takes who calls, and never turns round and round.
    """

    def setUp(self) -> None:
        """
        Listen.
        """
        self.reactor = Reactor()
        self.callers = Callers()
        self.factory = Taking()
        self.port = ListeningSocket(
            cast(Any, self.reactor), cast(socket.socket, self.callers), cast(Any, self.factory)
        )
        self.port.startListening()
        self.addCleanup(self.callers.hangUp)

    def test_interfaces(self) -> None:
        """
        It is what a reactor would have made.
        """
        verifyObject(IListeningPort, self.port)
        verifyObject(IReadDescriptor, self.port)

    def test_accept(self) -> None:
        """
        Who calls is heard at once, and from then on.
        """
        self.callers.said = b"hello"
        self.port.doRead()
        [protocol] = self.factory.taken
        self.assertEqual(protocol.heard, b"hello")
        self.assertEqual(self.reactor.readers, [self.port, protocol.transport])
        self.assertFalse(self.callers.ends[0].getblocking())

    def test_notWanted(self) -> None:
        """
        Whom nobody wants is hung up on.
        """
        self.factory.wants = False
        self.port.doRead()
        self.assertEqual(self.callers.ends[0].fileno(), -1)

    def test_failure(self) -> None:
        """
        A caller for whom something fails is hung up on; the next one is taken.
        """
        self.patch(self.factory, "buildProtocol", lambda addr: 1 / 0)
        self.port.doRead()
        self.assertEqual(self.callers.ends[0].fileno(), -1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        del self.factory.buildProtocol
        self.port.doRead()
        self.assertEqual(len(self.factory.taken), 1)

    def test_notWatched(self) -> None:
        """
        The same if the reactor has no room, which is said.
        """
        self.reactor.refuses = ENOSPC
        with capturedLogs() as events:
            self.port.doRead()
        self.assertEqual(len(events), 1)
        self.assertEqual(self.callers.ends[0].fileno(), -1)

    def test_goneAgain(self) -> None:
        """
        Who has hung up before they were taken is no matter.
        """
        for self.callers.error in (EAGAIN, ECONNABORTED):
            self.port.doRead()
        self.assertEqual(self.reactor.readers, [self.port])

    def test_noDescriptor(self) -> None:
        """
        As long as there is no descriptor for a caller it is looked once a second,
        and said why.
        """
        self.callers.error = EMFILE
        with capturedLogs() as events:
            self.port.doRead()
        self.assertEqual(len(events), 1)
        self.assertEqual(self.reactor.readers, [])
        self.reactor.advance(1)
        self.assertEqual(self.reactor.readers, [self.port])

    def test_stopWhileResting(self) -> None:
        """
        After the end nothing is left with the reactor.
        """
        self.callers.error = EMFILE
        self.port.doRead()
        self.port.stopListening()
        self.port.connectionLost(Failure(Exception()))
        self.assertTrue(self.callers.closed)
        self.assertEqual(self.reactor.readers, [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
