"""
Standing confirmation connections, and what can be wrong with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol, ServerFactory
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client.passive import ANSWER_TIMEOUT, PassiveFactory
from jobscheduler_tcp.client.standing import StandingProtocol
from jobscheduler_tcp.errors import NoConfirmation
from jobscheduler_tcp.heartbeat import Heart
from jobscheduler_tcp.messages import (
    CallbackMode,
    ConfirmationOpened,
    ConfirmationRefused,
    OpenConfirmation,
    StartTask,
    TaskAbandoned,
    TaskRefused,
    Work,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.remote.caller import CONNECT_TIMEOUT
from jobscheduler_tcp.remote.standings import MAX_OF_ONE
from jobscheduler_tcp.testing import (
    End,
    FakeProcess,
    MemoryConnection,
    MemoryNetwork,
    MemoryTransport,
    Stranger,
)
from tests.listener import ListenerPort
from tests.test_flow import CALLBACK, CLIENT, PORT, REMOTE, STRANGER, Diagram

CONNECTION = "0f9d2c0a-7d0e-4c83-9a5b-0a3f3bb7ad21"
OTHER = "1f9d2c0a-7d0e-4c83-9a5b-0a3f3bb7ad21"
TASK = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f10"
TOKEN = bytes(range(16))
SHARED = OpenConfirmation(7, CONNECTION, CallbackMode.SHARED, TOKEN, CALLBACK)
PASSIVE = OpenConfirmation(7, CONNECTION, CallbackMode.PASSIVE, TOKEN)
TAKE = f'<jsremote.confirmation.take id="1" connection="{CONNECTION}"/>'.encode()


class RemoteTests(SynchronousTestCase):
    """
    The remote, asked for connections.
    """

    def setUp(self) -> None:
        """
        A remote, whose client is played by the test.
        """
        self.diagram = Diagram(script=FakeProcess.start)
        self.network = self.diagram.network

    def tearDown(self) -> None:
        """
        Nothing is left behind.
        """
        self.diagram.stop(self)

    def open(self, request: OpenConfirmation) -> Deferred[ConfirmationOpened | ConfirmationRefused]:
        """
        Ask for one.
        """
        answer = self.diagram.remote.open(request, CLIENT)
        self.network.flush()
        return answer

    def refused(self, request: OpenConfirmation) -> Reason:
        """
        Why there is none.
        """
        answer = self.successResultOf(self.open(request))
        assert isinstance(answer, ConfirmationRefused)
        self.assertEqual((answer.id, answer.connection), (request.id, request.connection))
        return answer.reason

    def call(self, words: bytes, host: str = CLIENT) -> Stranger:
        """
        Dial the command port, and say something.
        """
        stranger = self.network.host(host).stranger(REMOTE, PORT)
        self.network.flush()
        stranger.transport.write(words)
        self.network.flush()
        return stranger

    def test_again(self) -> None:
        """
        The same request again is one connection and the same answer, while it is
        dialled and when it stands; another one may not have its UUID.
        """
        self.network.latency = 0.1
        port = ListenerPort(self.network.host(CLIENT), CALLBACK, task=CONNECTION)
        answers = [self.open(SHARED), self.open(SHARED)]
        self.network.advance(1)
        answers.append(self.open(SHARED))
        for answer in answers:
            self.assertEqual(self.successResultOf(answer), ConfirmationOpened(7, CONNECTION))
        self.assertEqual(len(port.callers), 1)
        self.assertIs(self.refused(PASSIVE), Reason.PROTOCOL_ERROR)

    def test_refused(self) -> None:
        """
        Nobody listens: told with the error number, and forgotten.
        """
        for _ in range(2):
            self.assertIs(self.refused(SHARED), Reason.CALLBACK_REFUSED)

    def test_ownPort(self) -> None:
        """
        The remote does not dial itself.
        """
        own = OpenConfirmation(7, CONNECTION, CallbackMode.SHARED, TOKEN, PORT)
        self.assertIs(self.refused(own), Reason.PROTOCOL_ERROR)

    def test_wrongListener(self) -> None:
        """
        A listener that does not know the token.
        """
        ListenerPort(self.network.host(CLIENT), CALLBACK, task=CONNECTION, token=bytes(16))
        self.assertIs(self.refused(SHARED), Reason.CALLBACK_WRONG_LISTENER)

    def test_tooMany(self) -> None:
        """
        One address has a bound.
        """
        for number in range(MAX_OF_ONE):
            connection = f"0f9d2c0a-7d0e-4c83-9a5b-{number:012x}"
            self.open(OpenConfirmation(1, connection, CallbackMode.PASSIVE, TOKEN))
        self.assertIs(self.refused(SHARED), Reason.REJECTED_CAPACITY)
        self.network.advance(CONNECT_TIMEOUT)
        self.assertIs(self.refused(SHARED), Reason.CALLBACK_REFUSED)

    def test_draining(self) -> None:
        """
        A remote that takes no more tasks makes no connection for them.
        """
        self.diagram.remote.drain()
        self.assertIs(self.refused(SHARED), Reason.REJECTED_DRAINING)

    def test_startWithout(self) -> None:
        """
        A start that names a connection which is not there, or not its client's,
        is refused.
        """
        ListenerPort(self.network.host(CLIENT), CALLBACK, task=CONNECTION)
        self.open(SHARED)
        for connection, host in ((OTHER, CLIENT), (CONNECTION, STRANGER)):
            start = StartTask(
                1,
                TASK.replace("4", connection[0]),
                0,
                b"",
                Work(command=("job",)),
                CallbackMode.SHARED,
                connection=connection,
            )
            answer = self.successResultOf(self.diagram.remote.start(start, host))
            assert isinstance(answer, TaskRefused)
            self.assertIs(answer.reason, Reason.CALLBACK_REFUSED)
        self.assertEqual(self.diagram.launcher.launched, [])

    def test_nobodyDials(self) -> None:
        """
        A passive connection is waited for, not for ever.
        """
        self.open(PASSIVE)
        self.network.advance(CONNECT_TIMEOUT)
        stranger = self.call(TAKE)
        self.assertIn(b"jsremote-callback-refused", stranger.heard)
        self.network.advance(1)
        self.assertIsNotNone(stranger.lost)

    def test_takenTwice(self) -> None:
        """
        It is given away once; who takes it learns nothing but a challenge, and
        has to prove itself in time.
        """
        self.open(PASSIVE)
        first, second = self.call(TAKE), self.call(TAKE)
        self.assertIn(b'<confirmation connection="', first.heard)
        frames = bytes(first.heard).partition(b"\0")[2]
        self.assertEqual(frames[4:5], b"C")
        self.assertNotIn(TOKEN, frames)
        self.assertIn(b"jsremote-callback-refused", second.heard)
        self.network.advance(6)
        self.assertIsNotNone(first.lost)

    def test_takenByNobody(self) -> None:
        """
        Who may not start tasks cannot take one.
        """
        self.open(PASSIVE)
        stranger = self.call(TAKE, STRANGER)
        self.assertEqual(bytes(stranger.heard), b"")
        self.assertIsNotNone(stranger.lost)

    def test_nonsense(self) -> None:
        """
        Nonsense after the answer ends it.
        """
        self.open(PASSIVE)
        stranger = self.call(TAKE)
        stranger.transport.write(b"<jsremote.ping id='2'/>" * 10)
        self.network.flush()
        self.assertIsNotNone(stranger.lost)

    def test_abandonedOwn(self) -> None:
        """
        A client that gives a task up on a connection of its own is hung up on,
        and the task is killed.
        """
        port = ListenerPort(self.network.host(CLIENT), CALLBACK)
        start = StartTask(1, TASK, CALLBACK, TOKEN, Work(command=("job",)))
        self.diagram.remote.start(start, CLIENT)
        self.network.advance(1)
        port.caller.say(TaskAbandoned())
        self.network.advance(1)
        self.assertIsNotNone(port.caller.lost)
        [process] = self.diagram.launcher.launched
        self.assertEqual(len(process.kills), 1)


class Answering(Protocol):
    """
    A remote of which nothing is known but what it answers.
    """

    transport: MemoryTransport

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def dataReceived(self, data: bytes) -> None:
        """
        Whatever was asked.
        """
        self.transport.write(self._answer)


class PassiveTests(SynchronousTestCase):
    """
    The client dials, and somebody takes the call.
    """

    def dial(self, answer: bytes, then: Callable[[MemoryNetwork], None]) -> NoConfirmation:
        """
        Why there is no connection.
        """
        network = MemoryNetwork()
        factory = Factory.forProtocol(lambda: Answering(answer))
        network.host(REMOTE).listen(PORT, factory)
        ours = PassiveFactory(CONNECTION, TOKEN, network.clock, Heart(network.clock))
        TCP4ClientEndpoint(network.host(CLIENT), REMOTE, PORT).connect(ours)
        network.flush()
        then(network)
        error = self.failureResultOf(ours.proven, NoConfirmation).value
        network.advance(60)
        self.assertEqual(network.clock.getDelayedCalls(), [])
        assert isinstance(error, NoConfirmation)
        return error

    def test_answers(self) -> None:
        """
        What is not the answer of a remote that expects us is told.
        """
        opened = f'<confirmation connection="{CONNECTION}"/>'
        refused = (
            f'<ERROR code="jsremote-callback-refused" connection="{CONNECTION}" '
            'reason="callback-refused" errno="0" text="no"/>'
        )
        for said, reason in (
            (refused, Reason.CALLBACK_REFUSED),
            ('<ERROR code="SCHEDULER-121" text="no"/>', Reason.REJECTED_AUTH),
            ("<jsremote.pong/>", Reason.CALLBACK_WRONG_LISTENER),
            ("<<<", Reason.CALLBACK_WRONG_LISTENER),
            ("x" * 20000, Reason.CALLBACK_WRONG_LISTENER),
        ):
            answer = f'<spooler><answer id="1" time="now">{said}</answer></spooler>\n\0'
            error = self.dial(answer.encode(), lambda network: None)
            self.assertIs(error.reason, reason, said)
        for frames in (b"", b"\0\0\0\5h\0\0\0\0", b"\0\1\0\0"):
            answer = f'<spooler><answer id="1" time="now">{opened}</answer></spooler>\n\0'
            error = self.dial(answer.encode() + frames, lambda network: network.advance(3))
            self.assertIs(error.reason, Reason.CALLBACK_WRONG_LISTENER, frames)

    def test_silent(self) -> None:
        """
        One that says nothing is waited for, not for ever.
        """
        error = self.dial(b"", lambda network: network.advance(ANSWER_TIMEOUT))
        self.assertIs(error.reason, Reason.CALLBACK_TIMEOUT)

    def test_hangsUp(self) -> None:
        """
        One that hangs up is told.
        """

        def hangUp(network: MemoryNetwork) -> None:
            network.connections[0].reset()
            network.flush()

        error = self.dial(b"", hangUp)
        self.assertIs(error.reason, Reason.CALLBACK_WRONG_LISTENER)


class ClientTests(SynchronousTestCase):
    """
    The client's end.
    """

    def test_unexpectedTask(self) -> None:
        """
        A task that nobody asked for is given up, and killed.
        """
        diagram = Diagram(script=FakeProcess.start, callback="shared")
        job, _ = diagram.run()
        diagram.network.advance(1)
        protocol = diagram.network.connections[1].transport(End.SERVER).protocol
        assert isinstance(protocol, StandingProtocol)
        start = StartTask(
            99,
            TASK,
            0,
            b"",
            Work(command=("job",)),
            CallbackMode.SHARED,
            connection=protocol.subject,
        )
        diagram.remote.start(start, CLIENT)
        diagram.network.advance(1)
        _, process = diagram.launcher.launched
        self.assertEqual(len(process.kills), 1)
        self.assertNoResult(job.done)
        diagram.stop(self)

    def test_oldRemote(self) -> None:
        """
        A remote that does not know the mode is not asked for it.
        """
        for mode in ("shared", "passive"):
            diagram = Diagram(callback=mode)
            welcome = diagram.remote.welcome
            self.patch(
                diagram.remote,
                "welcome",
                lambda hello, welcome=welcome: replace(welcome(hello), capabilities=("own",)),
            )
            job, _ = diagram.run()
            diagram.network.advance(1)
            outcome = self.successResultOf(job.done)
            self.assertIs(outcome.reason, Reason.REJECTED_VERSION)
            self.assertIn(mode, outcome.text)
            self.assertEqual(len(diagram.network.connections), 1)
            diagram.stop(self)

    def test_notListening(self) -> None:
        """
        A callback port that cannot be had, for another reason than that it is
        taken: nothing was started, and the next job tries again.
        """

        def listen(port: int, factory: ServerFactory) -> IListeningPort:
            raise OSError(13, "Permission denied")

        diagram = Diagram(callback="shared", listen=listen)
        for _ in range(2):
            job, _ = diagram.run()
            diagram.network.advance(1)
            outcome = self.successResultOf(job.done)
            self.assertEqual((outcome.reason, outcome.errno), (Reason.NOT_STARTED, 13))
        diagram.stop(self)

    def test_noPort(self) -> None:
        """
        While no callback port is free, jobs wait; one that is cancelled waits no
        more, and what it would have had is given back.
        """
        diagram = Diagram(callback="shared", ports=1)
        taken = self.successResultOf(diagram.client.ports.acquire(ServerFactory()))
        first, _ = diagram.run()
        second, _ = diagram.run()
        diagram.network.advance(1)
        first.cancel()
        self.assertIs(self.successResultOf(first.done).reason, Reason.CANCELLED)
        self.assertNoResult(second.done)
        taken.release()
        diagram.network.advance(1)
        self.assertIs(self.successResultOf(second.done).reason, Reason.EXITED)
        diagram.stop(self)

    def test_stopWithoutPort(self) -> None:
        """
        A client that stops meanwhile leaves no port behind.
        """
        diagram = Diagram(callback="shared", ports=1)
        taken = self.successResultOf(diagram.client.ports.acquire(ServerFactory()))
        job, _ = diagram.run()
        diagram.network.advance(1)
        stopped = diagram.client.stopService()
        taken.release()
        diagram.network.advance(1)
        self.successResultOf(stopped)
        self.assertIs(self.successResultOf(job.done).reason, Reason.CANCELLED)
        self.assertEqual(diagram.client.ports.reserved, 0)
        diagram.stop(self)

    def test_cannotDial(self) -> None:
        """
        A remote that takes no second connection.
        """
        diagram = Diagram(callback="passive")

        def refuse(connection: MemoryConnection) -> None:
            diagram.network.host(REMOTE).refuse(PORT)

        diagram.network.onConnection = refuse
        job, _ = diagram.run()
        diagram.network.advance(1)
        outcome = self.successResultOf(job.done)
        self.assertEqual((outcome.reason, outcome.errno), (Reason.REMOTE_UNREACHABLE, 111))
        diagram.stop(self)

    def test_removed(self) -> None:
        """
        The connection of a process class that is removed is closed when its jobs
        are over.
        """
        diagram = Diagram(script=FakeProcess.start, callback="shared")
        job, _ = diagram.run()
        diagram.network.advance(1)
        diagram.client.removeProcessClass("")
        diagram.network.advance(1)
        self.assertEqual(diagram.client.ports.reserved, 1)
        diagram.launcher.launched[0].end(0)
        diagram.network.advance(1)
        self.assertTrue(self.successResultOf(job.done).succeeded)
        self.assertEqual(diagram.client.ports.reserved, 0)
        diagram.stop(self)
