"""
Tests for task logs that go on after a restart (L{jobscheduler_tcp.client.positions}
and L{jobscheduler_tcp.client.tasklogs}).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TypeVar

from hypothesis import given, settings, strategies
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client.lines import MAX_LINE
from jobscheduler_tcp.client.logfiles import LogFiles
from jobscheduler_tcp.client.observers import Forgetful, Observers
from jobscheduler_tcp.client.positions import Position, Positions
from jobscheduler_tcp.client.restored import RestoredTask
from jobscheduler_tcp.client.started import StartedTasks
from jobscheduler_tcp.client.startedtask import StartedTask
from jobscheduler_tcp.client.tasklogs import TaskLogs
from jobscheduler_tcp.config.model import ConfiguredJob
from jobscheduler_tcp.interfaces import IConfirmationReceiver
from jobscheduler_tcp.messages import Stream, TaskAttached, TaskEnded, TaskStarted, Work
from jobscheduler_tcp.outcome import Outcome, Reason
from tests.test_history import GivenTask
from tests.test_tasklogs import NOW, HeldConfirmation

_T = TypeVar("_T")
_OUT = Stream.STDOUT
_ERR = Stream.STDERR
JOB = ConfiguredJob("report", "", "", Work(script="true"), "")
WAS = RestoredTask(1, "report", "", "", "queue_at", (), (), NOW, NOW, "uuid", "r:1", "key", 0.0)


class Keeping(HeldConfirmation):
    """
    A confirmation connection that remembers what it may acknowledge.
    """

    def __init__(self) -> None:
        self.offsets: list[tuple[int, int]] = []

    def kept(self, stdout: int, stderr: int) -> None:
        """
        Remember it.
        """
        self.offsets.append((stdout, stderr))


class SlowLedger(Forgetful):
    """
    A ledger that has written an end when the test says so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.written: Deferred[None] | None = None

    def taskEnds(  # type: ignore[override]  # it may return either
        self, task: StartedTask, message: TaskEnded, outcome: Outcome
    ) -> Deferred[None] | None:
        """
        Write it.
        """
        return self.written


class Client:
    """
    A client with one task; it may be killed between any two steps of its thread.
    """

    def __init__(self, folder: Path, maxFile: int = 1 << 20) -> None:
        self.work: list[Callable[[], None]] = []
        self.given: list[GivenTask] = []
        self.positions = Positions(folder / "positions")
        files = LogFiles(folder / "logs", maxFile=maxFile)
        self.logs = TaskLogs(files, self.positions, self.inThread, lambda: NOW)
        self.files = files
        observers = Observers()
        observers.add(self.logs)
        self.ledger = SlowLedger()
        self.tasks = StartedTasks(
            self.give,
            lambda: NOW,
            observers,
            ledger=self.ledger,
            keeper=self.logs,
            attach=self.attach,
        )

    def give(self, work: Work, processClass: str, receiver: IConfirmationReceiver) -> GivenTask:
        """
        Take a task.
        """
        self.given.append(GivenTask(receiver))
        return self.given[-1]

    def attach(
        self, task: StartedTask, was: RestoredTask, receiver: IConfirmationReceiver
    ) -> GivenTask:
        """
        Come back to one.
        """
        self.position = self.logs.resume(task)
        return self.give(Work(), "", receiver)

    def inThread(self, work: Callable[[], _T]) -> Deferred[_T]:
        """
        Do it when the test says so.
        """
        done: Deferred[_T] = Deferred()

        def do() -> None:
            try:
                result = work()
            except OSError:
                done.errback(Failure())
            else:
                done.callback(result)

        self.work.append(do)
        return done

    def begin(self) -> None:
        """
        Start the task.
        """
        self.tasks.start(self.tasks.add(JOB))
        self.hear(0, 0)

    def comeBack(self) -> None:
        """
        Come back to it.
        """
        self.tasks.comeBack(self.tasks.restore(JOB, WAS, None), WAS)
        self.hear(self.position.stdout, self.position.stderr)

    def hear(self, stdout: int, stderr: int) -> None:
        """
        The remote is there.
        """
        self.confirmation = Keeping()
        receiver = self.given[-1].receiver
        receiver.taskAttached(self.confirmation, TaskAttached(GivenTask.task, stdout, stderr))
        receiver.taskStarted(TaskStarted(4711, 0.0, 0.0))

    def prints(self, stream: Stream, data: bytes) -> None:
        """
        The task prints something.
        """
        self.given[-1].receiver.outputReceived(stream, data)

    def ends(self) -> Deferred[None] | None:
        """
        It is over.
        """
        return self.given[-1].receiver.taskEnded(TaskEnded(Reason.EXITED, exitCode=0))

    def write(self) -> None:
        """
        Let the thread do all.
        """
        while self.work:
            self.work.pop(0)()


class PositionsTests(SynchronousTestCase):
    """
    L{Positions}: a file of records.
    """

    def test_records(self) -> None:
        """
        What was written last is found, what was forgotten is not, and a record
        that is damaged is none.
        """
        path = Path(self.mktemp())
        positions = Positions(path)
        for number in (7, 8, 9, 10):
            positions.write(number, Position(1, 2, 3))
        positions.write(8, Position(1 << 40, 5, 6, started=True))
        positions.forget(7)
        positions.forget(70)
        positions.write(11, Position(9, 9, 9))
        positions.close()
        data = bytearray(path.read_bytes())
        self.assertEqual(len(data) // 4, len(data) / 4)
        data[-5] ^= 1
        path.write_bytes(data + b"torn")
        again = Positions(path)
        self.addCleanup(again.close)
        self.assertEqual(
            again.found,
            {
                8: Position(1 << 40, 5, 6, started=True),
                9: Position(1, 2, 3),
                11: Position(9, 9, 9),
            },
        )


class ResumeTests(SynchronousTestCase):
    """
    No line is lost, none doubled.
    """

    def setUp(self) -> None:
        """
        A client.
        """
        self.folder = Path(self.mktemp())
        (self.folder / "logs").mkdir(parents=True)
        self.client = Client(self.folder)
        self.addCleanup(self.close)

    def close(self) -> None:
        """
        The last client is gone, too.
        """
        self.client.positions.close()

    def again(self) -> None:
        """
        Kill it, and start it anew.
        """
        self.client.positions.close()
        self.client = Client(self.folder)

    def log(self) -> list[str]:
        """
        The lines of the log.
        """
        text = (self.folder / "logs" / "task.report.1.log").read_text()
        return [line.partition(") ")[2] for line in text.splitlines()]

    def test_kept(self) -> None:
        """
        Nothing is acknowledged that is not on the disk: neither what waits for
        the thread nor a line without its end.
        """
        client = self.client
        client.begin()
        client.prints(_OUT, b"one\ntwo")
        client.prints(_ERR, b"\n")
        self.assertEqual(set(client.confirmation.offsets), {(0, 0)})
        client.write()
        self.assertEqual(client.confirmation.offsets[-1], (4, 1))

    def test_settled(self) -> None:
        """
        The end of a task is taken when all that it printed is on the disk.
        """
        client = self.client
        client.begin()
        client.write()
        client.prints(_OUT, b"no end")
        kept = client.ends()
        assert kept is not None
        self.assertEqual(list(client.tasks.alive), [1])
        client.write()
        self.successResultOf(kept)
        self.assertEqual(client.tasks.alive, {})
        self.assertEqual(self.log()[2:], ["[stdout] no end", "Task 1 ended: exited"])
        self.again()
        self.assertEqual(self.client.positions.found, {})

    def test_settledAtOnce(self) -> None:
        """
        Where all of it is there already, the end is taken at once.
        """
        self.client.begin()
        self.client.write()
        self.assertIsNone(self.client.ends())
        self.assertEqual(self.client.tasks.alive, {})

    def test_notCommitted(self) -> None:
        """
        A client that has written a log to its end, and not the history, goes on
        where the output ended.
        """
        client = self.client
        client.ledger.written = Deferred()
        client.begin()
        client.prints(_OUT, b"one\ntwo")
        client.write()
        client.ends()
        client.write()
        self.assertEqual(self.log()[2:], ["[stdout] one", "[stdout] two", "Task 1 ended: exited"])
        self.again()
        self.client.comeBack()
        self.assertEqual(self.client.position.stdout, 7)
        self.client.ends()
        self.client.write()
        self.assertEqual(self.log()[2:], ["[stdout] one", "[stdout] two", "Task 1 ended: exited"])
        self.again()
        self.assertEqual(self.client.positions.found, {})

    def test_finish(self) -> None:
        """
        A log whose last lines are missing gets them from the history.
        """
        self.client.begin()
        self.client.write()
        self.client.ends()
        self.again()
        self.client.logs.finish("report", 1, Outcome(Reason.EXITED, exitCode=2))
        self.client.write()
        self.assertEqual(
            self.log()[2:],
            ["SCHEDULER-280  Process terminated with exit code 2 (0x2)", "Task 1 ended: exited"],
        )
        self.again()
        self.assertEqual(self.client.positions.found, {})

    def killedEarly(self) -> None:
        """
        Begin a log, kill the client before it has written how far that is written, and
        start it anew.
        """
        append = self.client.files.append
        left: list[bytes] = []

        def killed(texts: Iterable[tuple[str, bytes]], alive: Set[str]) -> None:
            append(texts, alive)
            left.append((self.folder / "positions").read_bytes())

        self.patch(self.client.files, "append", killed)
        self.client.begin()
        self.client.work.pop(0)()
        self.client.positions.close()
        (self.folder / "positions").write_bytes(left[0])
        self.client = Client(self.folder)

    def test_begun(self) -> None:
        """
        That there is a log is remembered before there is: one that was begun, and no
        more, when the client was killed is begun anew, or known to be thrown away.
        """
        self.killedEarly()
        self.assertEqual(self.client.positions.found, {1: Position()})
        self.client.tasks.start(self.client.tasks.restore(JOB, WAS, None))
        self.client.write()
        self.assertEqual(self.log(), ["SCHEDULER-930  Task 1 started - cause: queue_at"])

    def test_begunAndOver(self) -> None:
        """
        It keeps its beginning where the history has its end.
        """
        self.killedEarly()
        self.client.logs.finish("report", 1, Outcome(Reason.EXITED, exitCode=0))
        self.client.write()
        self.assertEqual(
            self.log(),
            ["SCHEDULER-930  Task 1 started - cause: queue_at", "Task 1 ended: exited"],
        )

    def test_begunAnew(self) -> None:
        """
        So it is with a log that is begun anew: when it is cut off, it is known to be.
        """
        self.client.begin()
        self.client.write()
        self.again()
        self.client.tasks.start(self.client.tasks.restore(JOB, WAS, None))
        *steps, _ = self.client.work
        for step in steps:
            step()
        self.again()
        self.client.comeBack()
        self.client.write()
        self.assertEqual(
            self.log(),
            [
                "SCHEDULER-930  Task 1 started - cause: queue_at",
                "The remote has started it, pid 4711",
            ],
        )

    def test_whole(self) -> None:
        """
        A log that is written from its beginning to its end at once stays as it is, be
        the client killed when the history has that end.
        """
        self.client.begin()
        self.client.tasks.start(self.client.tasks.add(JOB))
        self.client.given[-1].done.callback(Outcome(Reason.START_FAILED))
        path = self.folder / "logs" / "task.report.2.log"
        while not path.exists():
            self.client.work.pop(0)()
        whole = path.read_text()
        self.assertIn("Task 2 ended: start-failed", whole)
        self.again()
        for number in self.client.positions.found:
            self.client.logs.finish("report", number, Outcome(Reason.START_FAILED))
        self.client.write()
        self.assertEqual(path.read_text(), whole)

    def test_drop(self) -> None:
        """
        A log of a task that nobody knows is thrown away.
        """
        self.client.begin()
        self.client.write()
        self.again()
        self.client.logs.drop(1)
        self.client.write()
        self.assertEqual(list((self.folder / "logs").iterdir()), [])
        self.again()
        self.assertEqual(self.client.positions.found, {})

    def test_notExecuted(self) -> None:
        """
        The log of a task that had not begun is begun anew.
        """
        self.client.begin()
        self.client.write()
        self.again()
        self.client.comeBack()
        self.client.given[-1].done.callback(Outcome(Reason.NOT_STARTED))
        self.client.hear(0, 0)
        self.client.write()
        self.assertEqual(
            self.log(),
            [
                "SCHEDULER-930  Task 1 started - cause: queue_at",
                "The remote has started it, pid 4711",
            ],
        )

    def test_dropped(self) -> None:
        """
        What the remote could not keep is told in the log.
        """
        self.client.begin()
        self.client.prints(_OUT, b"one\n")
        self.client.write()
        self.again()
        self.client.comeBack()
        self.client.hear(104, 0)
        self.client.prints(_OUT, b"two\n")
        self.client.write()
        self.assertEqual(
            self.log()[2:],
            ["[stdout] one", "100 bytes of its stdout were dropped", "[stdout] two"],
        )
        self.assertEqual(self.client.confirmation.offsets[-1], (108, 0))

    def test_fullDisk(self) -> None:
        """
        Where logs cannot be written the task goes on, and its log is not cut in
        a wrong place afterwards.
        """
        client = self.client
        client.begin()
        client.write()
        (self.folder / "logs").rename(self.folder / "away")
        client.prints(_OUT, b"lost\n")
        client.write()
        self.assertEqual(client.confirmation.offsets[-1], (5, 0))
        (self.folder / "away").rename(self.folder / "logs")
        client.prints(_OUT, b"kept\n")
        client.write()
        self.again()
        self.client.comeBack()
        self.client.write()
        self.assertEqual(self.log()[2:], ["[stdout] kept"])
        self.flushLoggedErrors()

    @settings(max_examples=150, deadline=None)
    @given(
        strategies.lists(
            strategies.tuples(
                strategies.sampled_from([_OUT, _ERR]),
                strategies.sampled_from([b"a", b"b\n", b"\r\n", b"cc\ndd", b"x" * (MAX_LINE + 5)]),
                strategies.integers(0, 2),
                strategies.integers(0, 9).map(lambda number: number == 0),
            ),
            max_size=20,
        ),
        strategies.sampled_from([300, 1 << 20]),
    )
    def test_anything(self, printed: list[tuple[Stream, bytes, int, bool]], maxFile: int) -> None:
        """
        Whatever is printed, and whenever the client is killed: each stream is in
        the log as if nothing had happened, also where the log was rotated.
        """
        folder = Path(mkdtemp())
        (folder / "logs").mkdir()
        whole = {_OUT: b"", _ERR: b""}
        client = Client(folder, maxFile)
        parts = b""
        try:
            client.begin()
            client.write()
            for stream, data, steps, killed in printed:
                whole[stream] += data
                client.prints(stream, data)
                for _ in range(steps):
                    if client.work:
                        client.work.pop(0)()
                if killed:
                    client.positions.close()
                    client = Client(folder, maxFile)
                    client.comeBack()
                    client.prints(_OUT, whole[_OUT][client.position.stdout :])
                    client.prints(_ERR, whole[_ERR][client.position.stderr :])
            client.ends()
            client.write()
            part = client.files.read("task.report.1.log", 0, 1 << 30)
            start, parts = part.start, part.data
        finally:
            client.positions.close()
            rmtree(folder)
        lines = [line.partition(") ")[2] for line in parts.decode().splitlines()]
        if start == 0:
            self.assertEqual(lines[0], "SCHEDULER-930  Task 1 started - cause: queue_at")
            self.assertEqual(lines[1], "The remote has started it, pid 4711")
        self.assertEqual(lines[-1], "Task 1 ended: exited")
        for stream, name in ((_OUT, "[stdout] "), (_ERR, "[stderr] ")):
            found = [line.removeprefix(name) for line in lines if line.startswith(name)]
            expected = _lines(whole[stream])
            self.assertEqual(found, expected[len(expected) - len(found) :])
            if start == 0:
                self.assertEqual(len(found), len(expected))


def _lines(data: bytes) -> list[str]:
    """
    The lines of a stream, as a log has them.
    """
    *whole, rest = data.split(b"\n")
    found = []
    for line in [*(each.removesuffix(b"\r") for each in whole), *([rest] if rest else [])]:
        found += [line[at : at + MAX_LINE].decode() for at in range(0, len(line) or 1, MAX_LINE)]
    return [line.replace("\r", "\\r") for line in found]
