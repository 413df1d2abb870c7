"""
Tests for L{jobscheduler_tcp.client.comingback}: the whole diagram in memory,
whose connections break, and a client that comes back for its tasks.
"""

from __future__ import annotations

import os
from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client.taskkey import Lasting, TaskKey
from jobscheduler_tcp.interfaces import ITaskConfirmation
from jobscheduler_tcp.messages import OnDisconnect, Stream, TaskAttached, Work
from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.remote.holding import MOST_KEPT
from jobscheduler_tcp.testing import End, FakeProcess, MemoryConnection, RecordingReceiver
from tests.test_flow import CLIENT, CODE, ERR, OUT, REMOTE, Diagram, How

HELD = Lasting()
MODES = ("own", "shared", "passive")

# Bytes from one cut to the next; with 1 it is every byte that takes its time.
STEP = int(os.environ.get("JSREMOTE_TEST_CUTS", "5"))
LINES = [b"line %d\n" % number for number in range(30)]


class KeyTests(SynchronousTestCase):
    """
    What a client writes down of a task.
    """

    def test_text(self) -> None:
        """
        A key comes back as it was written; its secret is not shown.
        """
        for instance in ("4be0643f-1d98-4a72-90b4-6b1a3d8c0f10", ""):
            key = TaskKey(instance, bytes(range(16)))
            self.assertEqual(TaskKey.parse(key.text), key)
            self.assertLessEqual(len(key.text), 100)
            self.assertNotIn("0c0d0e", repr(key))
            self.assertNotIn("\\x0c", repr(key))
        for text in ("", ":", "nonsense", "x:" + "0" * 32):
            self.assertIsNone(TaskKey.parse(text))

    def test_lasting(self) -> None:
        """
        A task lasts unless it shall be killed, or be held for no time.
        """
        self.assertTrue(Lasting())
        self.assertTrue(Lasting(OnDisconnect.FINISH, 1))
        self.assertFalse(Lasting(OnDisconnect.KILL))
        self.assertFalse(Lasting(OnDisconnect.HOLD, 0))


class Chatting:
    """
    A task that prints a line twice a second, and ends.
    """

    def __call__(self, process: FakeProcess) -> None:
        """
        Begin.
        """
        process.start(4711)
        self._clock = process._clock
        self._go(process, 0)

    def _go(self, process: FakeProcess, number: int) -> None:
        if process.ended:
            return
        if number == len(LINES):
            process.end(CODE)
            return
        process.print(Stream.STDERR if number % 3 else Stream.STDOUT, LINES[number])
        self._clock.callLater(0.5, self._go, process, number + 1)


PRINTED = {
    Stream.STDOUT: b"".join(LINES[::3]),
    Stream.STDERR: b"".join(line for number, line in enumerate(LINES) if number % 3),
}


class RanMixin(SynchronousTestCase):
    """
    Tests of tasks that run to their end.
    """

    def assertRan(
        self,
        diagram: Diagram,
        outcome: Outcome,
        receiver: RecordingReceiver,
        where: str,
        output: dict[Stream, bytes],
    ) -> None:
        """
        The task ran once, to its end, and was heard once.
        """
        self.assertEqual((outcome.reason, outcome.exitCode), (Reason.EXITED, CODE), where)
        self.assertEqual(receiver.output, output, where)
        self.assertEqual(outcome.stdoutDigest, sha256(output[Stream.STDOUT]).hexdigest(), where)
        self.assertEqual(
            receiver.events, ["taskAttached", "taskStarted", "outputReceived", "taskEnded"], where
        )
        self.assertEqual(len(diagram.launcher.launched), 1, where)
        self.assertEqual(diagram.launcher.launched[0].kills, [], where)


class CutTests(RanMixin):
    """
    Connections break at any byte, and it is as if nothing had happened.
    """

    mode = "own"

    def cut(self, command: bool, end: End, position: int, how: How) -> None:
        """
        Break one of the connections, the first time that it is made.
        """
        diagram = Diagram(callback=self.mode, lasting=HELD)
        broken: list[MemoryConnection] = []

        def breakIt(connection: MemoryConnection) -> None:
            isFirst = len(diagram.network.connections) == 1
            if isFirst is command and not broken:
                broken.append(connection)
                connection.cutAfter(end, position, how)

        diagram.network.onConnection = breakIt
        job, receiver = diagram.run()
        where = f"{self.mode} {'command' if command else 'confirmation'} {end} {position} {how}"
        # Silence takes two heartbeats' patience and a start's, a reset none.
        diagram.network.advance(20 if how == "reset" else 100)
        outcome = self.successResultOf(job.done)
        if not outcome.reason.mayHaveRun:
            # Nothing ran: the listener could not prove itself.
            self.assertEqual(diagram.launcher.launched, [], where)
            self.assertIn(outcome.reason, self.wellBefore, where)
        else:
            whole = {Stream.STDOUT: OUT, Stream.STDERR: ERR}
            self.assertRan(diagram, outcome, receiver, where, whole)
        diagram.stop(self)
        self.assertEqual(diagram.client.ports.reserved, 0, where)

    wellBefore = frozenset(
        {
            Reason.CALLBACK_WRONG_LISTENER,
            Reason.CALLBACK_REFUSED,
            Reason.CALLBACK_TIMEOUT,
            Reason.REMOTE_UNREACHABLE,
            Reason.NOT_STARTED,
        }
    )

    def everywhere(self, command: bool, how: How, step: int) -> None:
        """
        Break it at many positions in both directions.
        """
        diagram = Diagram(callback=self.mode, lasting=HELD)
        diagram.run()
        diagram.network.advance(1)
        connection = diagram.network.connections[0 if command else 1]
        sizes = {end: len(data) for end, data in connection.data.items()}
        diagram.stop(self)
        for end, size in sizes.items():
            for position in range(0, size, step):
                self.cut(command, end, position, how)

    def test_confirmationReset(self) -> None:
        """
        A confirmation connection that breaks at any byte costs the job nothing but
        time, once the program may have run.
        """
        self.everywhere(False, "reset", STEP)

    def test_confirmationSilent(self) -> None:
        """
        So does one that falls silent.
        """
        self.everywhere(False, "silence", 13)

    def test_command(self) -> None:
        """
        And the command connection.
        """
        self.everywhere(True, "reset", STEP * 4 - 3)
        self.everywhere(True, "silence", 97)


class SharedCutTests(CutTests):
    """
    The same on a connection for all tasks, which the remote dials.
    """

    mode = "shared"


class PassiveCutTests(CutTests):
    """
    The same on one that the client dials.
    """

    mode = "passive"


class OftenTests(RanMixin):
    """
    Connections break again and again.
    """

    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(list(End)),
                st.integers(0, 700),
                st.sampled_from(["reset", "silence"]),
            ),
            min_size=1,
            max_size=6,
        ),
        st.sampled_from(MODES),
    )
    def test_again(self, cuts: list[tuple[End, int, How]], mode: str) -> None:
        """
        However often and wherever connections break after the start was heard: one
        run, one outcome, and each byte once.
        """
        diagram = Diagram(Chatting(), callback=mode, lasting=HELD)
        job, receiver = diagram.run()
        diagram.network.advance(1)
        left = list(cuts)

        def breakIt(connection: MemoryConnection) -> None:
            if left:
                connection.cutAfter(*left.pop())

        for connection in list(diagram.network.connections):
            # Counted from the beginning of what was said.
            if left:
                end, position, how = left.pop()
                connection.cutAfter(end, len(connection.data[end]) + position, how)
        diagram.network.onConnection = breakIt
        diagram.network.advance(600)
        outcome = self.successResultOf(job.done)
        self.assertRan(diagram, outcome, receiver, f"{mode} {cuts}", PRINTED)
        diagram.stop(self)


class Keeping(RecordingReceiver):
    """
    A receiver that says what it has kept.
    """

    def taskAttached(self, confirmation: ITaskConfirmation, message: TaskAttached) -> None:
        """
        It has kept nothing yet.
        """
        super().taskAttached(confirmation, message)
        confirmation.kept(0, 0)


class LinkTests(SynchronousTestCase):
    """
    A cable is out.
    """

    def test_link(self) -> None:
        """
        Tasks go on when it is out for minutes, and are heard when it is back, on
        whatever connection.
        """
        for mode in MODES:
            with self.subTest(mode=mode):
                diagram = Diagram(Chatting(), callback=mode, lasting=HELD)
                jobs = [diagram.run() for _ in range(3)]
                diagram.network.advance(2)
                diagram.network.cut(CLIENT, REMOTE)
                diagram.network.advance(300)
                for job, _ in jobs:
                    self.assertNoResult(job.done)
                    self.assertEqual(job.state, "coming back to the task")
                    self.assertEqual((job.port, job.peer), (0, ""))
                self.assertEqual(diagram.client.ports.reserved, 0)
                diagram.network.heal(CLIENT, REMOTE)
                diagram.network.advance(30)
                for job, receiver in jobs:
                    self.assertTrue(self.successResultOf(job.done).reason is Reason.EXITED)
                    self.assertEqual(receiver.output, PRINTED)
                self.assertEqual(len(diagram.launcher.launched), 3)
                diagram.stop(self)

    def test_tooLong(self) -> None:
        """
        After the hold time the job is lost at the client and the task is killed at
        the remote, each by itself.
        """
        diagram = Diagram(lambda process: process.start(), lasting=Lasting(seconds=60))
        job, receiver = diagram.run()
        diagram.network.advance(1)
        diagram.network.cut(CLIENT, REMOTE)
        diagram.network.advance(70)
        self.assertNoResult(job.done)
        self.assertEqual(receiver.events, ["taskAttached", "taskStarted"])
        diagram.network.advance(60)
        outcome = self.successResultOf(job.done)
        self.assertIs(outcome.reason, Reason.LOST)
        self.assertIn("nobody came back to it for 60 seconds", outcome.text)
        self.assertEqual(receiver.events[-1], "confirmationLost")
        [process] = diagram.launcher.launched
        self.assertEqual(len(process.kills), 1)
        diagram.network.heal(CLIENT, REMOTE)
        diagram.stop(self)

    def test_killed(self) -> None:
        """
        A job whose cable is out can be cancelled: the remote is told when it is
        back, and its end is heard.
        """
        diagram = Diagram(lambda process: process.start(), lasting=HELD)
        job, _ = diagram.run()
        diagram.network.advance(1)
        diagram.network.cut(CLIENT, REMOTE)
        diagram.network.advance(30)
        job.cancel()
        diagram.network.heal(CLIENT, REMOTE)
        diagram.network.advance(15)
        self.assertIs(self.successResultOf(job.done).reason, Reason.KILLED)
        diagram.stop(self)

    def test_notKilled(self) -> None:
        """
        If the remote cannot be told, the job is lost, and the task ends with its
        hold.
        """
        diagram = Diagram(lambda process: process.start(), lasting=HELD)
        job, _ = diagram.run()
        diagram.network.advance(1)
        diagram.network.cut(CLIENT, REMOTE)
        diagram.network.advance(30)
        job.cancel()
        diagram.network.advance(15)
        outcome = self.successResultOf(job.done)
        self.assertIs(outcome.reason, Reason.LOST)
        self.assertIn("it could not be killed", outcome.text)
        diagram.network.advance(600)
        [process] = diagram.launcher.launched
        self.assertEqual(len(process.kills), 1)
        diagram.network.heal(CLIENT, REMOTE)
        diagram.stop(self)

    def test_input(self) -> None:
        """
        Input goes on where it stopped, each byte once.
        """
        for mode in MODES:
            with self.subTest(mode=mode):
                diagram = Diagram(lambda process: process.start(), callback=mode, lasting=HELD)
                job, receiver = diagram.run(Work(command=("cat",), stdin=True))
                diagram.network.advance(1)
                assert receiver.confirmation is not None
                receiver.confirmation.writeInput(b"before ")
                diagram.network.advance(1)
                receiver.confirmation.writeInput(b"while ")
                diagram.network.cut(CLIENT, REMOTE)
                diagram.network.advance(60)
                receiver.confirmation.writeInput(b"after")
                receiver.confirmation.endInput()
                diagram.network.heal(CLIENT, REMOTE)
                diagram.network.advance(30)
                [process] = diagram.launcher.launched
                self.assertEqual(bytes(process.input), b"before while after")
                self.assertTrue(process.inputEnded)
                process.end(0)
                diagram.network.advance(1)
                self.assertTrue(self.successResultOf(job.done).succeeded)
                diagram.stop(self)

    def test_givenUp(self) -> None:
        """
        A receiver that gives the task up has it killed: it is not held for it.
        """
        diagram = Diagram(lambda process: process.start(), lasting=HELD)
        job, receiver = diagram.run()
        diagram.network.advance(1)
        assert receiver.confirmation is not None
        receiver.confirmation.stopProducing()
        diagram.network.advance(1)
        self.assertIs(self.successResultOf(job.done).reason, Reason.LOST)
        [process] = diagram.launcher.launched
        self.assertEqual(len(process.kills), 1)
        diagram.stop(self)

    def test_endNotKept(self) -> None:
        """
        An end that was heard and not kept yet when the connection broke comes to
        the receiver once, and is acknowledged on the next connection.
        """
        for first in (True, False):
            with self.subTest(keptFirst=first):
                diagram = Diagram(lasting=HELD)
                receiver = RecordingReceiver()
                receiver.holdEnd = Deferred()
                job = diagram.client.run(Work(command=("job",)), receiver=receiver)
                diagram.network.advance(1)
                self.assertEqual(receiver.events[-1], "taskEnded")
                diagram.network.connections[1].reset()
                if first:
                    receiver.holdEnd.callback(None)
                diagram.network.advance(5)
                if not first:
                    self.assertNoResult(job.done)
                    receiver.holdEnd.callback(None)
                    diagram.network.advance(1)
                self.assertIs(self.successResultOf(job.done).reason, Reason.EXITED)
                self.assertEqual(receiver.events.count("taskEnded"), 1)
                diagram.stop(self)

    def test_restarted(self) -> None:
        """
        A remote that was started anew knows nothing of the task: it is lost, as
        soon as that remote is there.
        """
        diagram = Diagram(lambda process: process.start(), lasting=HELD)
        job, _ = diagram.run()
        diagram.network.advance(1)
        diagram.network.cut(CLIENT, REMOTE)
        stopped = diagram.remote.stopService()
        diagram.network.advance(60)
        self.successResultOf(stopped)
        diagram.remote = diagram.makeRemote()
        diagram.remote.startService()
        diagram.network.heal(CLIENT, REMOTE)
        diagram.network.advance(40)
        outcome = self.successResultOf(job.done)
        self.assertIs(outcome.reason, Reason.LOST)
        self.assertIn("started anew", outcome.text)
        diagram.stop(self)


class KeptTests(SynchronousTestCase):
    """
    Output is acknowledged when its receiver has kept it.
    """

    def test_kept(self) -> None:
        """
        What was not told to be kept stays with the remote, which holds the task
        back when it is too much.
        """

        def flood(process: FakeProcess) -> None:
            process.start()
            for _ in range(12):
                process.print(Stream.STDOUT, bytes(MOST_KEPT // 4))
            process.end(0)

        diagram = Diagram(flood, lasting=HELD)
        receiver = Keeping()
        job = diagram.client.run(Work(command=("job",)), receiver=receiver)
        diagram.network.advance(30)
        self.assertEqual(len(receiver.output[Stream.STDOUT]), MOST_KEPT)
        assert receiver.confirmation is not None
        while len(receiver.output[Stream.STDOUT]) < 3 * MOST_KEPT:
            before = len(receiver.output[Stream.STDOUT])
            receiver.confirmation.kept(before, 0)
            diagram.network.advance(1)
            self.assertGreater(len(receiver.output[Stream.STDOUT]), before)
        diagram.network.advance(1)
        self.assertTrue(self.successResultOf(job.done).succeeded)
        diagram.stop(self)

    def test_little(self) -> None:
        """
        Little output is acknowledged with a heartbeat, as far as it was kept.
        """
        diagram = Diagram(lambda process: process.start(), lasting=HELD)
        receiver = Keeping()
        job = diagram.client.run(Work(command=("job",)), receiver=receiver)
        diagram.network.advance(1)
        [process] = diagram.launcher.launched
        process.print(Stream.STDOUT, b"0123456789")
        diagram.network.advance(10)
        task = diagram.remote._tasks[job.task]
        hold = task._steps.hold
        assert hold is not None
        self.assertEqual((hold.stdout, hold.size), (0, 10))
        assert receiver.confirmation is not None
        receiver.confirmation.kept(4, 0)
        diagram.network.advance(10)
        self.assertEqual(hold.stdout, 4)
        receiver.confirmation.kept(10, 0)
        diagram.network.advance(10)
        self.assertEqual((hold.stdout, hold.size), (10, 0))
        process.end(0)
        diagram.network.advance(1)
        self.successResultOf(job.done)
        diagram.stop(self)
