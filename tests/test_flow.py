"""
The whole diagram in memory: a client, a remote, and a network between them that
breaks wherever it can.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, ServerFactory
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.callbackhosts import CallbackHosts
from jobscheduler_tcp.client.job import RunningJob
from jobscheduler_tcp.client.ports import CallbackPorts, Listen
from jobscheduler_tcp.client.processclass import Dialect, ProcessClass
from jobscheduler_tcp.client.service import ClientService
from jobscheduler_tcp.client.taskkey import Lasting
from jobscheduler_tcp.messages import (
    KillTask,
    OnDisconnect,
    StartTask,
    Stream,
    TaskRefused,
    TaskTaken,
    Work,
)
from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.remote.service import RemoteService
from jobscheduler_tcp.security import AllowedHosts, Level
from jobscheduler_tcp.testing import (
    End,
    FakeLauncher,
    FakeProcess,
    MemoryConnection,
    MemoryNetwork,
    RecordingReceiver,
    Stranger,
)
from jobscheduler_tcp.wire.documents import parse
from jobscheduler_tcp.wire.requests import decodeRequest
from jobscheduler_tcp.wire.splitters import DocumentSplitter

CLIENT = "10.0.0.1"
REMOTE = "10.0.0.2"
STRANGER = "10.0.0.3"
PORT = 4455
CALLBACK = 59999

# What the task of most tests prints, and how it ends.
OUT = b"some output\n" * 3
ERR = b"a warning"
CODE = 7

How = Literal["reset", "silence"]

# What becomes of most tests' task when its client is gone.
KILLED = Lasting(OnDisconnect.KILL)


def play(process: FakeProcess) -> None:
    """
    Print on both streams and exit.
    """
    process.start(4711)
    process.print(Stream.STDOUT, OUT)
    process.print(Stream.STDERR, ERR)
    process.end(CODE)


class Diagram:
    """
    Both services on a network in memory.
    """

    def __init__(
        self,
        script: Callable[[FakeProcess], None] = play,
        ports: int = 3,
        listen: Listen | None = None,
        dialect: Dialect = Dialect.EXTENDED,
        *,
        callback: str = "own",
        advertise: str = "",
        lasting: Lasting = KILLED,
        callbackHosts: CallbackHosts | None = None,
        descriptors: int = 1024,
    ) -> None:
        self.network = MemoryNetwork()
        clientHost = self.network.host(CLIENT)
        self.launcher = FakeLauncher(self.network.clock, script)
        self._callbackHosts = callbackHosts
        self._descriptors = descriptors
        self.remote = self.makeRemote()
        self.client = ClientService(
            self.network.clock,
            CallbackPorts(
                self.network.clock, listen or clientHost.listen, CALLBACK, CALLBACK - ports + 1
            ),
            [
                ProcessClass(
                    "",
                    TCP4ClientEndpoint(clientHost, REMOTE, PORT),
                    address=f"{REMOTE}:{PORT}",
                    dialect=dialect,
                    callback=callback,
                    advertise=advertise,
                )
            ],
            lasting=lasting,
            wallClock=lambda: 1.0,
        )
        self.remote.startService()
        self.client.startService()
        self.network.flush()

    def makeRemote(self) -> RemoteService:
        """
        A remote that does not listen yet.
        """
        host = self.network.host(REMOTE)
        return RemoteService(
            host,
            self.launcher,
            [TCP4ServerEndpoint(host, PORT)],
            AllowedHosts([(CLIENT, Level.ALL)]),
            callbackHosts=self._callbackHosts,
            environment={},
            wallClock=lambda: 1.0,
            descriptors=self._descriptors,
        )

    def run(self, work: Work | None = None) -> tuple[RunningJob, RecordingReceiver]:
        """
        Begin a job.
        """
        receiver = RecordingReceiver()
        return self.client.run(work or Work(command=("job",)), receiver=receiver), receiver

    def stop(self, test: SynchronousTestCase) -> None:
        """
        Stop both services: nothing may be left behind.
        """
        for service in (self.client, self.remote):
            stopped = service.stopService()
            self.network.advance(60)
            test.successResultOf(stopped)
        self.network.advance(60)
        test.assertEqual(self.network.clock.getDelayedCalls(), [])


def isCommand(connection: MemoryConnection) -> bool:
    """
    Whether it is the command connection.
    """
    return connection.server.port == PORT


class FlowTests(SynchronousTestCase):
    """
    Jobs, from the client to the remote and back.
    """

    def assertRan(self, outcome: Outcome, receiver: RecordingReceiver) -> None:
        """
        The job came out right, and nothing of it was lost.
        """
        self.assertIs(outcome.reason, Reason.EXITED)
        self.assertEqual(outcome.exitCode, CODE)
        self.assertEqual(receiver.output, {Stream.STDOUT: OUT, Stream.STDERR: ERR})
        self.assertEqual(outcome.pid, 4711)
        self.assertEqual(
            receiver.events, ["taskAttached", "taskStarted", "outputReceived", "taskEnded"]
        )

    def test_job(self) -> None:
        """
        Start and end are confirmed, output and exit code arrive.
        """
        diagram = Diagram()
        job, receiver = diagram.run()
        diagram.network.advance(1)
        self.assertRan(self.successResultOf(job.done), receiver)
        diagram.stop(self)

    def test_splits(self) -> None:
        """
        It makes no difference in which pieces the bytes travel.
        """
        for size in (1, 2, 3, 5, 7, 64):
            diagram = Diagram()
            diagram.network.split(size)
            job, receiver = diagram.run()
            diagram.network.advance(1)
            self.assertRan(self.successResultOf(job.done), receiver)
            diagram.stop(self)

    def test_remoteClosesFirst(self) -> None:
        """
        The callback port never rests in TIME_WAIT: the remote closes first.
        """
        diagram = Diagram()
        job, _ = diagram.run()
        diagram.network.advance(1)
        self.successResultOf(job.done)
        self.assertNotIn(CALLBACK, diagram.network.host(CLIENT).timeWait)
        self.assertEqual(len(diagram.network.host(REMOTE).timeWait), 1)
        diagram.stop(self)

    def test_manyThroughFewPorts(self) -> None:
        """
        A used-up port range is no outcome: jobs wait for a port.
        """
        diagram = Diagram(ports=2)
        jobs = [diagram.run()[0] for _ in range(20)]
        diagram.network.advance(5)
        for job in jobs:
            self.assertIs(self.successResultOf(job.done).reason, Reason.EXITED)
        used = {c.server.port for c in diagram.network.connections if not isCommand(c)}
        self.assertEqual(used, {CALLBACK, CALLBACK - 1})
        diagram.stop(self)

    def test_tokenStaysHidden(self) -> None:
        """
        The token of a task does not travel on its confirmation connection.
        """
        diagram = Diagram()
        job, _ = diagram.run()
        diagram.network.advance(1)
        self.successResultOf(job.done)
        command, confirmation = diagram.network.connections
        said = command.data[End.CLIENT]
        token = said[said.index(b'token="') + 7 :][:32]
        for data in confirmation.data.values():
            self.assertNotIn(token, data)
            self.assertNotIn(bytes.fromhex(token.decode("ascii")), data)
        diagram.stop(self)


class CutTests(SynchronousTestCase):
    """
    The connection breaks at any byte of any message.
    """

    def sizes(self) -> dict[tuple[bool, End], int]:
        """
        How many bytes each end says on each of the two connections.
        """
        diagram = Diagram()
        diagram.run()
        diagram.network.advance(1)
        return {
            (isCommand(connection), end): len(data)
            for connection in diagram.network.connections
            for end, data in connection.data.items()
        }

    def cut(self, command: bool, end: End, position: int, how: How) -> tuple[Outcome, int]:
        """
        Break one of the two connections, the first time that it is made.

        @return: the outcome, and how often the program was launched.
        """
        diagram = Diagram()
        broken: list[MemoryConnection] = []

        def breakIt(connection: MemoryConnection) -> None:
            if isCommand(connection) is command and not broken:
                broken.append(connection)
                connection.cutAfter(end, position, how)

        diagram.network.onConnection = breakIt
        job, receiver = diagram.run()
        where = f"{'command' if command else 'confirmation'} {end} {position} {how}"
        # Silence takes two heartbeats' patience and a start's, a reset none.
        diagram.network.advance(20 if how == "reset" else 100)
        outcome = self.successResultOf(job.done)
        launched = len(diagram.launcher.launched)
        self.assertLessEqual(launched, 1, where)
        if outcome.reason is Reason.EXITED:
            self.assertEqual(outcome.exitCode, CODE, where)
            self.assertEqual(receiver.output[Stream.STDOUT], OUT, where)
            self.assertEqual(receiver.output[Stream.STDERR], ERR, where)
            self.assertEqual(receiver.events[-1], "taskEnded", where)
        elif not outcome.reason.mayHaveRun:
            self.assertEqual(launched, 0, f"{where}: {outcome}")
        diagram.stop(self)
        self.assertEqual(diagram.client.ports.reserved, 0, where)
        return outcome, launched

    def everywhere(self, command: bool, how: How, step: int = 1) -> set[Reason]:
        """
        Break one of the connections at every position in both directions.
        """
        reasons = set()
        for (isIt, end), size in self.sizes().items():
            if isIt is command:
                for position in range(0, size, step):
                    outcome, _ = self.cut(command, end, position, how)
                    reasons.add(outcome.reason)
        return reasons

    def test_commandReset(self) -> None:
        """
        A command connection that breaks harms no job: it is made again, and the
        same start is no second task.
        """
        self.assertEqual(self.everywhere(True, "reset"), {Reason.EXITED})

    def test_commandSilent(self) -> None:
        """
        So does one that falls silent, which the heartbeat notices; if it does so
        before the remote has answered the greeting, that is unreachable.
        """
        reasons = self.everywhere(True, "silence", 5)
        self.assertEqual(reasons, {Reason.EXITED, Reason.REMOTE_UNREACHABLE})

    def test_confirmationReset(self) -> None:
        """
        A confirmation connection that breaks leaves one named outcome: not run,
        run to its end, or lost.
        """
        reasons = self.everywhere(False, "reset")
        self.assertLessEqual(
            reasons,
            {Reason.CALLBACK_WRONG_LISTENER, Reason.LOST, Reason.EXITED},
        )
        self.assertIn(Reason.LOST, reasons)

    def test_confirmationSilent(self) -> None:
        """
        So does one that falls silent.
        """
        reasons = self.everywhere(False, "silence")
        self.assertLessEqual(
            reasons,
            {Reason.CALLBACK_WRONG_LISTENER, Reason.LOST, Reason.EXITED},
        )

    def test_link(self) -> None:
        """
        A cable that is out for an hour: the job ends as lost at the client, the
        task is killed at the remote, each by itself.
        """
        diagram = Diagram(script=lambda process: process.start())
        job, _ = diagram.run()
        diagram.network.advance(1)
        self.assertNoResult(job.done)
        diagram.network.cut(CLIENT, REMOTE)
        diagram.network.advance(21)
        self.assertIs(self.successResultOf(job.done).reason, Reason.LOST)
        (process,) = diagram.launcher.launched
        self.assertTrue(process.kills)
        diagram.network.advance(3600)
        diagram.network.heal(CLIENT, REMOTE)
        diagram.stop(self)


class StartOnceTests(SynchronousTestCase):
    """
    The same start twice is one task.
    """

    def setUp(self) -> None:
        """
        Run a job, and take its start from the wire.
        """
        self.diagram = Diagram(script=lambda process: process.start())
        job, _ = self.diagram.run()
        self.diagram.network.advance(1)
        self.job = job
        (process,) = self.diagram.launcher.launched
        self.process = process

    def start(self) -> StartTask:
        """
        The start that the client sent.
        """
        command = self.diagram.network.connections[0]
        for document in DocumentSplitter().feed(command.data[End.CLIENT]):
            request = decodeRequest(parse(document))
            if isinstance(request, StartTask):
                return request
        raise AssertionError("no start")

    def tearDown(self) -> None:
        """
        End the job.
        """
        self.diagram.stop(self)

    def test_whileRunning(self) -> None:
        """
        Again while it runs: the same answer, no second launch.
        """
        start = self.start()
        first = self.successResultOf(self.diagram.remote.start(start, CLIENT))
        again = self.successResultOf(self.diagram.remote.start(replace(start, id=99), CLIENT))
        self.assertIsInstance(first, TaskTaken)
        self.assertEqual(again, replace(first, id=99))
        self.assertEqual(len(self.diagram.launcher.launched), 1)

    def test_afterTheEnd(self) -> None:
        """
        Again after its end, a day long.
        """
        start = self.start()
        self.process.end(0)
        self.diagram.network.advance(1)
        self.successResultOf(self.job.done)
        for seconds in (0, 3600 * 23):
            self.diagram.network.advance(seconds)
            again = self.successResultOf(self.diagram.remote.start(start, CLIENT))
            self.assertIsInstance(again, TaskTaken)
        self.assertEqual(len(self.diagram.launcher.launched), 1)

    def test_otherContent(self) -> None:
        """
        With other content it is refused.
        """
        other = replace(self.start(), work=Work(command=("other",)))
        refused = self.successResultOf(self.diagram.remote.start(other, CLIENT))
        assert isinstance(refused, TaskRefused)
        self.assertIs(refused.reason, Reason.PROTOCOL_ERROR)
        self.assertEqual(len(self.diagram.launcher.launched), 1)

    def test_killOfUnknown(self) -> None:
        """
        Killing a task that nobody knows kills nothing.
        """
        unknown = KillTask(5, "00000000-0000-0000-0000-000000000000")
        killed = self.successResultOf(self.diagram.remote.kill(unknown))
        self.assertEqual((killed.died, killed.survivors), (0, ()))


class ListenerTests(SynchronousTestCase):
    """
    Confirm before execute: who listens at the callback port, and who calls.
    """

    def blocked(self, *, port: str) -> tuple[Outcome, Diagram]:
        """
        Run a job whose callback port is refused or filtered on its way.
        """
        diagram = Diagram()
        host = diagram.network.host(CLIENT)
        (host.filter if port == "filtered" else host.refuse)(CALLBACK)
        job, _ = diagram.run()
        diagram.network.advance(11)
        outcome = self.successResultOf(job.done)
        self.assertEqual(diagram.launcher.launched, [])
        diagram.stop(self)
        return outcome, diagram

    def test_refused(self) -> None:
        """
        Nobody listens there, as the remote sees it: told at once with the
        errno, and nothing ran.
        """
        outcome, _ = self.blocked(port="refused")
        self.assertIs(outcome.reason, Reason.CALLBACK_REFUSED)
        self.assertEqual(outcome.errno, 111)

    def test_filtered(self) -> None:
        """
        A firewall drops the dial: told within the connect timeout.
        """
        outcome, _ = self.blocked(port="filtered")
        self.assertIs(outcome.reason, Reason.CALLBACK_FILTERED)

    def test_strangersFirst(self) -> None:
        """
        Strangers who call before the remote, silent, talking nonsense or
        replaying, learn nothing and change nothing.
        """
        # What a caller of another job said, to be replayed.
        other = Diagram()
        other.run()
        other.network.advance(1)
        replayed = other.network.connections[1].data[End.CLIENT]

        diagram = Diagram()
        diagram.network.latency = 0.1
        job, receiver = diagram.run()
        strangers = []
        for words in (b"", b"GET / HTTP/1.0\r\n\r\n", b"\xff" * 64, replayed):
            diagram.network.advance(0.01)
            stranger = diagram.network.host(STRANGER).stranger(CLIENT, CALLBACK)
            strangers.append((stranger, words))
        diagram.network.advance(0.2)
        for stranger, words in strangers:
            if words and stranger.lost is None:
                stranger.transport.write(words)
        diagram.network.advance(5)
        outcome = self.successResultOf(job.done)
        self.assertIs(outcome.reason, Reason.EXITED)
        self.assertEqual(receiver.output[Stream.STDOUT], OUT)
        for stranger, _ in strangers:
            self.assertEqual(bytes(stranger.heard), b"")
            self.assertIsNotNone(stranger.lost)
        self.assertEqual(diagram.network.host(CLIENT).timeWait, [])
        self.assertGreater(diagram.client.strangers.count, 0)
        diagram.stop(self)

    def test_wrongListener(self) -> None:
        """
        A listener that cannot prove the token gets no byte of the task, and
        nothing runs.
        """
        squatter = Stranger()
        factory = Factory.forProtocol(lambda: squatter)

        def squat(port: int, _: ServerFactory) -> IListeningPort:
            return diagram.network.host(CLIENT).listen(port, factory)

        diagram = Diagram(listen=squat)
        job, _ = diagram.run()
        diagram.network.advance(20)
        outcome = self.successResultOf(job.done)
        self.assertIs(outcome.reason, Reason.CALLBACK_WRONG_LISTENER)
        self.assertEqual(diagram.launcher.launched, [])
        # A challenge: a random nonce and the selector.
        self.assertLess(len(squatter.heard), 100)
        self.assertNotIn(job.task.encode(), squatter.heard)
        diagram.stop(self)
