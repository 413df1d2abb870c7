"""
A client comes back in another life for the tasks of the first: the whole diagram
in memory, with two clients one after the other.
"""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from jobscheduler_tcp.client.job import RunningJob
from jobscheduler_tcp.client.ports import CallbackPorts
from jobscheduler_tcp.client.processclass import Dialect, ProcessClass
from jobscheduler_tcp.client.service import ClientService
from jobscheduler_tcp.client.taskkey import Lasting
from jobscheduler_tcp.interfaces import IStartWitness, ITaskConfirmation
from jobscheduler_tcp.messages import OnDisconnect, Stream, TaskAttached, TaskStarted, Work
from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.remote.holding import MOST_KEPT
from jobscheduler_tcp.testing import FakeProcess, RecordingReceiver
from tests.test_comingback import HELD, MODES, PRINTED, Chatting
from tests.test_flow import CALLBACK, CLIENT, CODE, ERR, OUT, PORT, REMOTE, Diagram


@implementer(IStartWitness)
class Book(RecordingReceiver):
    """
    What a client has on its disk: the key of a task, and what it printed, of
    which some may be lost with the client.
    """

    def __init__(self) -> None:
        super().__init__()
        self.task = self.remote = self.key = ""
        self.returned: list[str] = []

    def startLeaves(self, task: str, remote: str, key: str) -> None:
        """
        Write it down.
        """
        self.task, self.remote, self.key = task, remote, key

    def startReturned(self, task: str) -> None:
        """
        Write that down, too.
        """
        self.returned.append(task)

    def taskAttached(self, confirmation: ITaskConfirmation, message: TaskAttached) -> None:
        """
        Tell what is on the disk.
        """
        super().taskAttached(confirmation, message)
        self.keep()

    def keep(self) -> None:
        """
        What was printed is on the disk.
        """
        assert self.confirmation is not None
        self.kept = len(self.output[Stream.STDOUT]), len(self.output[Stream.STDERR])
        self.confirmation.kept(*self.kept)

    def forget(self) -> None:
        """
        Be as the disk is.
        """
        for stream, size in zip((Stream.STDOUT, Stream.STDERR), self.kept, strict=True):
            del self.output[stream][size:]
        self.events.clear()


class Counting(RecordingReceiver):
    """
    A client that has all it hears on its disk at once, and counts that.
    """

    def taskAttached(self, confirmation: ITaskConfirmation, message: TaskAttached) -> None:
        """
        Count from there.
        """
        super().taskAttached(confirmation, message)
        self.counts = {Stream.STDOUT: message.stdout, Stream.STDERR: message.stderr}

    def outputReceived(self, stream: Stream, data: bytes) -> None:
        """
        Tell that it is on the disk.
        """
        super().outputReceived(stream, data)
        self.counts[stream] += len(data)
        assert self.confirmation is not None
        self.confirmation.kept(self.counts[Stream.STDOUT], self.counts[Stream.STDERR])


class Lives(Diagram):
    """
    A remote, and a client that lives twice.
    """

    def die(self) -> None:
        """
        The client is killed: its sockets are closed, and nothing is said.
        """
        for connection in self.network.connections:
            connection.reset()
        host = self.network.host(CLIENT)
        for port in list(host._listening.values()):
            port.stopListening()
        self.network.flush()
        # It is dead: whatever it would do now happens in another world.
        self.dead = self.client
        for job in self.dead.jobs:
            job.abandon()
        self.client = self.another()
        self.client.startService()

    def another(self, dialect: Dialect = Dialect.EXTENDED) -> ClientService:
        """
        Another life of the client.
        """
        host = self.network.host(CLIENT)
        remote = ProcessClass(
            "",
            TCP4ClientEndpoint(host, REMOTE, PORT),
            address=f"{REMOTE}:{PORT}",
            dialect=dialect,
            callback=self.client.processClasses[""].callback.best.value,
        )
        ports = CallbackPorts(self.network.clock, host.listen, CALLBACK - 10, CALLBACK - 12)
        return ClientService(
            self.network.clock, ports, [remote], lasting=HELD, wallClock=lambda: 1.0
        )

    def attach(self, book: Book, key: str | None = None) -> RunningJob:
        """
        Come back.
        """
        stdout, stderr = len(book.output[Stream.STDOUT]), len(book.output[Stream.STDERR])
        text = book.key if key is None else key
        return self.client.attach(book.task, text, "", book, stdout=stdout, stderr=stderr)


class AttachTests(SynchronousTestCase):
    """
    Another life goes on where the first one ended.
    """

    def begin(self, mode: str = "own") -> tuple[Lives, Book]:
        """
        A task that prints for a while, and a client that dies while it does.
        """
        lives = Lives(Chatting(), callback=mode, lasting=HELD)
        book = Book()
        lives.client.run(Work(command=("job",)), receiver=book)
        return lives, book

    def assertDigests(self, outcome: Outcome, stdout: bytes, stderr: bytes) -> None:
        """
        The outcome has the SHA-256 of all that the task printed, whoever heard it.
        """
        self.assertEqual(
            (outcome.stdoutDigest, outcome.stderrDigest),
            (sha256(stdout).hexdigest(), sha256(stderr).hexdigest()),
        )

    def test_running(self) -> None:
        """
        What the task prints comes once, with the start and the end, whichever way
        it is confirmed.
        """
        for mode in MODES:
            with self.subTest(mode=mode):
                lives, book = self.begin(mode)
                lives.network.advance(3)
                book.keep()
                lives.network.advance(3)
                lives.die()
                book.forget()
                lives.network.advance(3)
                job = lives.attach(book)
                self.assertEqual(job.state, "coming back to the task")
                self.assertEqual(job.task, book.task)
                lives.network.advance(30)
                outcome = self.successResultOf(job.done)
                self.assertEqual((outcome.reason, outcome.exitCode), (Reason.EXITED, CODE))
                self.assertEqual(outcome.pid, 4711)
                self.assertEqual(book.output, PRINTED)
                self.assertDigests(outcome, PRINTED[Stream.STDOUT], PRINTED[Stream.STDERR])
                self.assertEqual(
                    book.events, ["taskAttached", "taskStarted", "outputReceived", "taskEnded"]
                )
                self.assertEqual(book.started, TaskStarted(4711, 1.0, 0.0))
                self.assertEqual(len(lives.launcher.launched), 1)
                lives.stop(self)

    @settings(deadline=None, max_examples=25)
    @given(
        st.floats(0, 20),
        st.floats(0, 20),
        st.floats(0, 500),
        st.sampled_from(MODES),
    )
    def test_anytime(self, kept: float, dies: float, back: float, mode: str) -> None:
        """
        Whenever the client dies and comes back within the hold time: one run, one
        outcome, each byte once.
        """
        lives, book = self.begin(mode)
        lives.network.advance(kept)
        if book.confirmation is not None:
            book.keep()
        lives.network.advance(dies)
        if book.ended is None:
            lives.die()
            book.forget()
            lives.network.advance(back)
            job = lives.attach(book)
            lives.network.advance(60)
            outcome = self.successResultOf(job.done)
            self.assertEqual((outcome.reason, outcome.exitCode), (Reason.EXITED, CODE))
            self.assertDigests(outcome, PRINTED[Stream.STDOUT], PRINTED[Stream.STDERR])
        self.assertEqual(book.output, PRINTED)
        self.assertEqual(len(lives.launcher.launched), 1)
        lives.stop(self)

    def test_ended(self) -> None:
        """
        A task that ended meanwhile tells it all.
        """
        lives, book = self.begin()
        lives.network.advance(1)
        lives.die()
        book.forget()
        lives.network.advance(100)
        self.assertTrue(lives.launcher.launched[0].ended)
        job = lives.attach(book)
        lives.network.advance(5)
        outcome = self.successResultOf(job.done)
        self.assertIs(outcome.reason, Reason.EXITED)
        self.assertEqual(book.output, PRINTED)
        self.assertDigests(outcome, PRINTED[Stream.STDOUT], PRINTED[Stream.STDERR])
        lives.stop(self)

    def test_withoutSHA256(self) -> None:
        """
        Whether it is wanted is the word of the life that asked for the task.
        """
        lives = Lives(Chatting(), lasting=HELD)
        book = Book()
        lives.client.run(Work(command=("job",)), receiver=book, sha256=False)
        lives.network.advance(3)
        book.keep()
        lives.die()
        job = lives.attach(book)
        lives.network.advance(30)
        outcome = self.successResultOf(job.done)
        self.assertEqual((outcome.reason, outcome.exitCode), (Reason.EXITED, CODE))
        self.assertEqual((outcome.stdoutDigest, outcome.stderrDigest), ("", ""))
        self.assertEqual(book.output, PRINTED)
        lives.stop(self)

    def test_tooLate(self) -> None:
        """
        After the hold time the task was killed, and its job is lost.
        """
        lives, book = self.begin()
        lives.launcher.launched.clear()
        lives.network.advance(1)
        lives.die()
        lives.network.advance(2000)
        job = lives.attach(book)
        lives.network.advance(5)
        outcome = self.successResultOf(job.done)
        self.assertIs(outcome.reason, Reason.LOST)
        self.assertEqual(book.events[-1], "confirmationLost")
        lives.stop(self)

    def test_neverSaid(self) -> None:
        """
        A start that was written down and never left: nothing ran, and nothing
        will.
        """
        lives = Lives(lasting=HELD)
        lives.network.host(CLIENT)
        first, book = self.begin()
        first.network.advance(1)
        # The same key, at a remote that knows nothing of the task.
        key = f"{lives.remote.instance}:{book.key.partition(':')[2]}"
        job = lives.client.attach(book.task, key, "", book)
        lives.network.advance(5)
        outcome = self.successResultOf(job.done)
        self.assertIs(outcome.reason, Reason.NOT_STARTED)
        self.assertFalse(outcome.reason.mayHaveRun)
        self.assertEqual(lives.launcher.launched, [])
        lives.stop(self)

    def test_restarted(self) -> None:
        """
        A remote that was started anew cannot tell: the job is lost.
        """
        lives = Lives(lasting=HELD)
        first, book = self.begin()
        first.network.advance(1)
        job = lives.client.attach(book.task, book.key, "", book)
        lives.network.advance(5)
        self.assertIs(self.successResultOf(job.done).reason, Reason.LOST)
        lives.stop(self)

    def test_noKey(self) -> None:
        """
        Without a key, or from a classic remote, nothing can be had back: the job
        is lost at once, and its place is nobody's.
        """
        for key, dialect in (
            ("", Dialect.EXTENDED),
            ("nonsense", Dialect.EXTENDED),
            (None, Dialect.CLASSIC),
        ):
            with self.subTest(key=key):
                lives, book = self.begin()
                lives.network.advance(1)
                lives.client.processClasses[""].speaks = dialect
                running = lives.client.processClasses[""].running
                job = lives.attach(book, key)
                self.assertIs(self.successResultOf(job.done).reason, Reason.LOST)
                self.assertEqual(lives.client.processClasses[""].running, running)
                lives.client.processClasses[""].speaks = Dialect.EXTENDED
                lives.network.advance(30)
                lives.stop(self)

    def test_unreachable(self) -> None:
        """
        A remote that cannot be reached is tried for the hold time; until then the
        job can be abandoned.
        """
        for gives in (False, True):
            with self.subTest(givesUp=gives):
                lives, book = self.begin()
                lives.network.advance(1)
                lives.die()
                lives.network.cut(CLIENT, REMOTE)
                job = lives.attach(book)
                lives.network.advance(500)
                self.assertNoResult(job.done)
                if gives:
                    job.abandon()
                lives.network.advance(200)
                self.assertIs(self.successResultOf(job.done).reason, Reason.LOST)
                lives.network.heal(CLIENT, REMOTE)
                lives.stop(self)

    def test_dropped(self) -> None:
        """
        Of a task that went on alone, the receiver is told from where on it hears,
        and the outcome how much it does not; its SHA-256 is that of all.
        """

        def flood(process: FakeProcess) -> None:
            process.start(4711)

        lives = Lives(flood, lasting=Lasting(OnDisconnect.FINISH, 60))
        book = Book()
        lives.client.run(Work(command=("job",)), receiver=book)
        lives.network.advance(1)
        [process] = lives.launcher.launched
        process.print(Stream.STDOUT, OUT)
        lives.network.advance(1)
        book.keep()
        lives.network.advance(10)  # it is told with the next heartbeat
        lives.die()
        process.print(Stream.STDOUT, bytes(2 * MOST_KEPT))
        lives.network.advance(61)
        process.print(Stream.STDERR, ERR)
        job = lives.attach(book)
        lives.network.advance(5)
        assert book.attached is not None
        dropped = 2 * MOST_KEPT + len(ERR)
        self.assertEqual(book.attached.stdout, len(OUT) + 2 * MOST_KEPT)
        process.print(Stream.STDOUT, b"the rest")
        process.end(0)
        lives.network.advance(1)
        outcome = self.successResultOf(job.done)
        self.assertTrue(outcome.succeeded)
        self.assertIn(f"{dropped} bytes of its output were dropped", outcome.text)
        self.assertEqual(book.output[Stream.STDOUT], OUT + b"the rest")
        self.assertDigests(outcome, OUT + bytes(2 * MOST_KEPT) + b"the rest", ERR)
        lives.stop(self)

    def test_droppedMeanwhile(self) -> None:
        """
        A client that was cut off for longer than the task waited for it hears from
        where on it goes on, too: what it keeps counts from there, and the task is
        not held back for what nobody can acknowledge. The SHA-256 is that of all.
        """

        def flood(process: FakeProcess) -> None:
            process.start(4711)

        lives = Lives(flood, lasting=Lasting(OnDisconnect.FINISH, 60))
        book = Counting()
        job = lives.client.run(Work(command=("job",)), receiver=book)
        lives.network.advance(1)
        [process] = lives.launcher.launched
        process.print(Stream.STDOUT, OUT)
        lives.network.advance(1)
        lives.network.cut(CLIENT, REMOTE)
        process.print(Stream.STDOUT, bytes(2 * MOST_KEPT))
        lives.network.advance(30)
        self.assertTrue(process.paused)
        while process.paused:
            lives.network.advance(1)
        process.print(Stream.STDOUT, bytes(2 * MOST_KEPT))
        lives.network.heal(CLIENT, REMOTE)
        lives.network.advance(10)
        self.assertIn("taskAttached", book.events)
        more = 0
        for _ in range(40):
            if not process.paused:
                process.print(Stream.STDOUT, bytes(MOST_KEPT // 8))
                more += 1
            lives.network.advance(0.1)
        self.assertEqual(more, 40)
        process.end(0)
        lives.network.advance(1)
        outcome = self.successResultOf(job.done)
        self.assertTrue(outcome.succeeded)
        self.assertDigests(outcome, OUT + bytes(4 * MOST_KEPT + more * (MOST_KEPT // 8)), b"")
        lives.stop(self)

    def test_leave(self) -> None:
        """
        A client that stops and shall leave its tasks, leaves them; another one
        finds them running.
        """
        lives, book = self.begin()
        lives.network.advance(3)
        book.keep()
        lives.client.leaveTasks = True
        stopped = lives.client.stopService()
        lives.network.advance(0)
        self.assertIsNone(self.successResultOf(stopped))
        book.forget()
        lives.network.advance(5)
        [process] = lives.launcher.launched
        self.assertEqual((process.ended, process.kills), (False, []))
        lives.client = lives.another()
        lives.client.startService()
        job = lives.attach(book)
        lives.network.advance(60)
        self.assertIs(self.successResultOf(job.done).reason, Reason.EXITED)
        self.assertEqual(book.output, PRINTED)
        lives.stop(self)

    def test_whileStopping(self) -> None:
        """
        A client that stops comes back for nothing, and says nothing of the task.
        """
        lives, book = self.begin()
        lives.network.advance(1)
        lives.die()
        stopped = lives.client.stopService()
        job = lives.attach(book)
        lives.network.advance(1)
        self.assertIs(self.successResultOf(job.done).reason, Reason.LOST)
        self.successResultOf(stopped)
        lives.client = lives.another()
        lives.client.startService()
        lives.network.advance(700)
        lives.stop(self)

    def test_witness(self) -> None:
        """
        What a task is called by is known before its start leaves, with its remote
        and the key to it, which is not shown.
        """
        lives, book = self.begin()
        lives.network.flush()
        self.assertEqual(book.remote, f"{REMOTE}:{PORT}")
        self.assertTrue(book.key.startswith(lives.remote.instance))
        [job] = lives.client.jobs
        self.assertEqual(job.task, book.task)
        lives.network.advance(30)
        lives.stop(self)
