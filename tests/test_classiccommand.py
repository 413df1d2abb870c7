"""
The command connection of a classic task, against what real remotes answered.
"""

from __future__ import annotations

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client.classiccommand import (
    CLOSE_TIMEOUT,
    FAREWELL,
    ClassicCommandConnection,
)
from jobscheduler_tcp.errors import (
    CommandRefused,
    ConnectionClosed,
    NotAdmitted,
    RemoteProtocolError,
    RemoteUnreachable,
)
from jobscheduler_tcp.messages import (
    Answer,
    CallbackMode,
    KillTask,
    Ping,
    StartTask,
    TaskKilled,
    TaskTaken,
    Work,
)
from jobscheduler_tcp.testing import MemoryNetwork, MemoryTransport
from tests import recordings

CLIENT = "10.0.0.1"
REMOTE = "10.0.0.2"
PORT = 4455
TASK = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f10"


class Recorded(Protocol):
    """
    A remote that says what the test says.
    """

    transport: MemoryTransport

    def __init__(self) -> None:
        self.heard = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """
        Remember.
        """
        self.heard += data

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        Remember.
        """
        self.lost = reason


class ClassicCommandConnectionTests(SynchronousTestCase):
    """
    Start, kill, close.
    """

    def setUp(self) -> None:
        """
        Listen as the remote.
        """
        self.network = MemoryNetwork()
        self.remotes: list[Recorded] = []
        factory = Factory.forProtocol(self.build)
        factory.noisy = False
        self.network.host(REMOTE).listen(PORT, factory)
        self.alive: set[ClassicCommandConnection] = set()

    def build(self) -> Recorded:
        """
        Somebody called.
        """
        self.remotes.append(Recorded())
        return self.remotes[-1]

    def connection(self) -> ClassicCommandConnection:
        """
        A connection to be made.
        """
        host = self.network.host(CLIENT)
        return ClassicCommandConnection(
            TCP4ClientEndpoint(host, REMOTE, PORT),
            self.network.clock,
            f"{REMOTE}:{PORT}",
            10.0,
            self.alive,
        )

    def start(self, port: int = 59999) -> tuple[ClassicCommandConnection, list[Answer | Failure]]:
        """
        Ask for the start of a task.
        """
        connection = self.connection()
        answers: list[Answer | Failure] = []
        message = StartTask(0, TASK, port, bytes(16), Work(script="x"), CallbackMode.OWN)
        connection.request(message).addBoth(answers.append)
        self.network.flush()
        return connection, answers

    def tearDown(self) -> None:
        """
        Nothing is left.
        """
        self.network.advance(60)
        self.assertEqual(self.network.clock.getDelayedCalls(), [])
        self.assertEqual(self.alive, set())

    def test_recordings(self) -> None:
        """
        Every recorded connection of a shell job: our bytes are those of the
        real client, and we take the real remote's answers.
        """
        played = 0
        for name, events in recordings.commandConnections():
            said = b"".join(e.data for e in events if e.speaker == "client" and e.kind == "DATA")
            if b'kind="process"' not in said or b"close" not in said:
                continue
            played += 1
            self.play(name, events, said)
        self.assertGreater(played, 0)

    def play(self, name: str, events: list[recordings.Event], said: bytes) -> None:
        """
        Play one.
        """
        port = int(said.partition(b'tcp_port="')[2].partition(b'"')[0])
        connection, answers = self.start(port)
        remote = self.remotes[-1]
        for event in events:
            if event.kind != "DATA":
                continue
            if event.speaker == "remote":
                remote.transport.write(event.data)
            elif b"kill=" in event.data:
                connection.request(KillTask(0, TASK))
            elif b"close" in event.data:
                connection.close()
            self.network.flush()
            if event.speaker == "client":
                self.assertTrue(remote.heard.endswith(event.data), f"{name}: {remote.heard!r}")
        connection.close()
        self.network.flush()
        self.assertEqual(remote.heard, said, name)
        (answer,) = answers
        self.assertIsInstance(answer, TaskTaken, name)
        self.assertIsNotNone(remote.lost, name)

    def test_withdrawn(self) -> None:
        """
        Who needs the answer to the start no more, for the task ran at once and
        is over, hears neither of it nor of the loss of the connection.
        """
        for comes in (b"<spooler><answer><process process_id='7'/></answer></spooler>\0", b""):
            connection = self.connection()
            answers: list[Answer | Failure] = []
            message = StartTask(0, TASK, 59999, bytes(16), Work(script="x"), CallbackMode.OWN)
            answer = connection.request(message)
            answer.addBoth(answers.append)
            self.network.flush()
            connection.withdraw(answer)
            remote = self.remotes[-1]
            remote.transport.write(comes)
            self.network.flush()
            connection.close()
            self.network.flush()
            close = b"<remote_scheduler.remote_task.close process_id='7'/>"
            self.assertEqual(close in remote.heard, bool(comes))
            connection.abort()
            self.network.flush()
            self.assertEqual(answers, [])

    def test_refused(self) -> None:
        """
        A recorded refusal is told at once, where a real client waits for 60
        seconds.
        """
        (answer,) = [
            event.data
            for event in recordings.events("21_security_info", recordings.OWN)
            if event.speaker == "remote" and event.kind == "DATA"
        ]
        connection, answers = self.start()
        self.remotes[-1].transport.write(answer)
        self.network.flush()
        (failure,) = answers
        assert isinstance(failure, Failure)
        assert isinstance(failure.value, CommandRefused)
        self.assertEqual(failure.value.code, "SCHEDULER-121")
        connection.close()

    def test_notAdmitted(self) -> None:
        """
        A remote that closes the connection without a word does not let us in.
        """
        _, answers = self.start()
        self.remotes[-1].transport.loseConnection()
        self.network.flush()
        (failure,) = answers
        assert isinstance(failure, Failure)
        failure.trap(NotAdmitted)

    def test_lost(self) -> None:
        """
        One that says half an answer is lost.
        """
        _, answers = self.start()
        self.remotes[-1].transport.write(b"<spooler>")
        self.remotes[-1].transport.loseConnection()
        self.network.flush()
        (failure,) = answers
        assert isinstance(failure, Failure)
        failure.trap(ConnectionClosed)

    def test_unreachable(self) -> None:
        """
        A remote that is not there is unreachable, with the errno.
        """
        self.network.host(REMOTE).refuse(PORT)
        connection, answers = self.start()
        self.network.advance(1)
        (failure,) = answers
        assert isinstance(failure, Failure)
        assert isinstance(failure.value, RemoteUnreachable)
        self.assertEqual(failure.value.errno, 111)
        connection.close()

    def test_nonsense(self) -> None:
        """
        What makes no sense is a protocol error.
        """
        for said in (
            b"<ok/>\0",
            b"no xml\0",
            b"<spooler><answer/></spooler>\0",
            b"<spooler><answer><ok/></answer></spooler>\0",
            b'<spooler><answer><process process_id="x"/></answer></spooler>\0',
        ):
            connection, answers = self.start()
            self.remotes[-1].transport.write(said)
            self.network.flush()
            (failure,) = answers
            assert isinstance(failure, Failure)
            failure.trap(RemoteProtocolError)
            connection.close()
            self.network.advance(1)
            self.assertIsNotNone(self.remotes[-1].lost, said)

    def test_killWithoutNumber(self) -> None:
        """
        A kill that comes before the remote has told the number of the task
        waits for that.
        """
        connection, _ = self.start()
        killed = connection.request(KillTask(0, TASK))
        self.network.flush()
        remote = self.remotes[-1]
        self.assertNotIn(b"kill", remote.heard)
        remote.transport.write(b'<spooler><answer><process process_id="7"/></answer></spooler>\n\0')
        self.network.flush()
        close = b"<remote_scheduler.remote_task.close process_id='7' kill='yes'/>"
        self.assertTrue(remote.heard.endswith(close))
        remote.transport.write(b"<spooler><answer><ok/></answer></spooler>\0")
        self.network.flush()
        self.assertIsInstance(self.successResultOf(killed), TaskKilled)
        connection.close()

    def test_killedTwice(self) -> None:
        """
        Who kills again hears the answer to the first kill: no second close is
        sent, neither before that answer nor after it.
        """
        connection, _ = self.start()
        remote = self.remotes[-1]
        remote.transport.write(b'<spooler><answer><process process_id="7"/></answer></spooler>\n\0')
        self.network.flush()
        kills = [connection.request(KillTask(0, TASK)) for _ in range(2)]
        self.network.flush()
        remote.transport.write(b"<spooler><answer><ok/></answer></spooler>\0")
        self.network.flush()
        kills.append(connection.request(KillTask(0, TASK)))
        connection.close()
        self.network.flush()
        for killed in kills:
            self.assertIsInstance(self.successResultOf(killed), TaskKilled)
        self.assertEqual(remote.heard.count(b"close"), 1)

    def test_killOfNothing(self) -> None:
        """
        What was not started cannot be killed, and is told as such.
        """
        connection, _ = self.start()
        killed = connection.request(KillTask(0, TASK))
        self.remotes[-1].transport.loseConnection()
        self.network.flush()
        self.failureResultOf(killed, ConnectionClosed)
        other = self.connection()
        self.failureResultOf(other.request(KillTask(0, TASK)), ConnectionClosed)
        other.close()

    def test_closeUnanswered(self) -> None:
        """
        A remote that does not answer the close is left after some seconds.
        """
        connection, _ = self.start()
        remote = self.remotes[-1]
        remote.transport.write(b'<spooler><answer><process process_id="7"/></answer></spooler>\n\0')
        self.network.flush()
        connection.close()
        self.network.advance(CLOSE_TIMEOUT - 1)
        self.assertIsNone(remote.lost)
        self.network.advance(1)
        self.assertIsNotNone(remote.lost)

    def test_farewell(self) -> None:
        """
        A client that stops waits some seconds for the answer to its close.
        """
        for answers in (True, False):
            connection, _ = self.start()
            self.successResultOf(self.connection().farewell())
            remote = self.remotes[-1]
            remote.transport.write(
                b'<spooler><answer><process process_id="7"/></answer></spooler>\n\0'
            )
            self.network.flush()
            connection.close()
            gone = connection.farewell()
            self.network.advance(FAREWELL - 1)
            self.assertNoResult(gone)
            self.assertIn(b"remote_task.close", remote.heard)
            if answers:
                remote.transport.write(b"<spooler><answer><ok/></answer></spooler>\0")
                self.network.flush()
            else:
                self.network.advance(1)
            self.successResultOf(gone)

    def test_closeRefused(self) -> None:
        """
        A remote that does not know the number any more is left, too.
        """
        connection, _ = self.start()
        remote = self.remotes[-1]
        remote.transport.write(b'<spooler><answer><process process_id="7"/></answer></spooler>\n\0')
        self.network.flush()
        connection.close()
        remote.transport.write(
            b'<spooler><answer><ERROR code="X" text="X  unknown process id"/></answer></spooler>\0'
        )
        self.network.flush()
        self.assertIsNotNone(remote.lost)

    def test_otherRequests(self) -> None:
        """
        The classic dialect has no pings.
        """
        self.failureResultOf(self.connection().request(Ping(0)), CommandRefused)
