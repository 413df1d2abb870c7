"""
The command connections of a classic remote that pass from task to task.
"""

from __future__ import annotations

import re

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client.classiccommand import ClassicCommandConnection
from jobscheduler_tcp.client.classicidle import KEPT, IdleCommands
from jobscheduler_tcp.errors import ConnectionClosed, NotAdmitted
from jobscheduler_tcp.messages import Answer, CallbackMode, StartTask, TaskTaken, Work
from jobscheduler_tcp.testing import MemoryNetwork, MemoryTransport

CLIENT = "10.0.0.1"
REMOTE = "10.0.0.2"
PORT = 4455
TASK = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f10"
ENVELOPE = b'<spooler><answer time="">%s</answer></spooler>\n\0'


class Remote(Protocol):
    """
    A remote that starts and closes whatever it is asked to.
    """

    transport: MemoryTransport

    def __init__(self, answers: bool) -> None:
        self.ports: list[int] = []
        self.answers = answers
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        """
        Obey.
        """
        port = re.search(rb'tcp_port="(\d+)"', data)
        if port:
            self.ports.append(int(port[1]))
        if self.answers:
            self.transport.write(ENVELOPE % (b'<process process_id="1"/>' if port else b"<ok/>"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Remember.
        """
        self.lost = True


class IdleCommandsTests(SynchronousTestCase):
    """
    Several tasks at one remote.
    """

    def setUp(self) -> None:
        """
        Listen as the remote.
        """
        self.network = MemoryNetwork()
        self.remotes: list[Remote] = []
        factory = Factory.forProtocol(self.build)
        factory.noisy = False
        self.network.host(REMOTE).listen(PORT, factory)
        self.alive: set[ClassicCommandConnection] = set()
        self.idle = IdleCommands()
        self.answers = True

    def build(self) -> Remote:
        """
        Somebody called.
        """
        self.remotes.append(Remote(self.answers))
        return self.remotes[-1]

    def start(self, port: int) -> tuple[ClassicCommandConnection, Deferred[Answer]]:
        """
        Ask for the start of a task.
        """
        connection = ClassicCommandConnection(
            TCP4ClientEndpoint(self.network.host(CLIENT), REMOTE, PORT),
            self.network.clock,
            f"{REMOTE}:{PORT}",
            10.0,
            self.alive,
            idle=self.idle,
        )
        message = StartTask(0, TASK, port, bytes(16), Work(script="x"), CallbackMode.OWN)
        answer = connection.request(message)
        self.network.flush()
        return connection, answer

    def run_(self, port: int) -> None:
        """
        Have a task that is over.
        """
        connection, answer = self.start(port)
        self.assertIsInstance(self.successResultOf(answer), TaskTaken)
        connection.close()
        self.network.flush()

    def tearDown(self) -> None:
        """
        Nothing is left.
        """
        self.network.flush()
        self.assertEqual(self.network.clock.getDelayedCalls(), [])
        self.assertEqual(self.alive, set())
        self.assertTrue(all(remote.lost for remote in self.remotes))

    def test_alone(self) -> None:
        """
        A task alone closes its connection when it is over, as real clients do.
        """
        for port in (2001, 2002):
            self.run_(port)
            self.assertTrue(self.remotes[-1].lost)
        self.assertEqual([remote.ports for remote in self.remotes], [[2001], [2002]])

    def test_next(self) -> None:
        """
        While another task runs, the connection is that of the next task; the last
        one leaves none.
        """
        other, _ = self.start(2000)
        for port in (2001, 2002, 2003):
            self.run_(port)
        self.assertEqual([remote.ports for remote in self.remotes], [[2000], [2001, 2002, 2003]])
        self.assertFalse(self.remotes[1].lost)
        other.close()

    def test_unused(self) -> None:
        """
        One for which no task comes is closed soon.
        """
        other, _ = self.start(2000)
        self.run_(2001)
        self.network.advance(KEPT)
        self.assertFalse(self.remotes[1].lost)
        self.run_(2002)
        self.network.advance(2 * KEPT)
        self.assertTrue(self.remotes[1].lost)
        self.assertFalse(self.remotes[0].lost)
        self.run_(2003)
        self.assertEqual([remote.ports for remote in self.remotes], [[2000], [2001, 2002], [2003]])
        other.close()

    def test_closedThere(self) -> None:
        """
        One that the remote closed is nobody's.
        """
        other, _ = self.start(2000)
        self.run_(2001)
        self.remotes[1].transport.loseConnection()
        self.network.flush()
        self.run_(2002)
        self.assertEqual(self.remotes[2].ports, [2002])
        other.close()

    def test_closedMeanwhile(self) -> None:
        """
        A task that is asked for on a connection which the remote closes without an
        answer is asked for on another one.
        """
        other, _ = self.start(2000)
        self.run_(2001)
        self.remotes[1].answers = False
        connection, answer = self.start(2002)
        self.assertNoResult(answer)
        self.remotes[1].transport.loseConnection()
        self.network.flush()
        self.assertIsInstance(self.successResultOf(answer), TaskTaken)
        self.assertEqual([remote.ports for remote in self.remotes], [[2000], [2001, 2002], [2002]])
        connection.close()
        self.network.flush()
        other.close()

    def test_called(self) -> None:
        """
        But not if the remote has called: it may have taken the task.
        """
        other, _ = self.start(2000)
        self.run_(2001)
        self.remotes[1].answers = False
        connection, answer = self.start(2002)
        self.assertTrue(connection.isRemote(REMOTE))
        self.remotes[1].transport.loseConnection()
        self.network.flush()
        self.failureResultOf(answer, ConnectionClosed)
        self.assertEqual(len(self.remotes), 2)
        connection.close()
        other.close()

    def test_new(self) -> None:
        """
        Nor if the connection is new.
        """
        other, _ = self.start(2000)
        self.answers = False
        _, answer = self.start(2001)
        self.remotes[1].transport.loseConnection()
        self.network.flush()
        self.failureResultOf(answer, NotAdmitted)
        self.assertEqual(len(self.remotes), 2)
        other.close()
