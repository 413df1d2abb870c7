"""
L{jobscheduler_tcp.testing}: the stand-ins for what an application plugs in.
"""

from __future__ import annotations

from signal import SIGKILL, SIGTERM
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from jobscheduler_tcp.errors import ConnectionClosed, LaunchFailed
from jobscheduler_tcp.interfaces import (
    IConfirmationReceiver,
    IPreparedLaunch,
    ITaskConfirmation,
    ITaskLauncher,
    ITaskProcess,
    ITaskReceiver,
    KillReport,
    Launch,
    ProcessExit,
)
from jobscheduler_tcp.messages import (
    Stream,
    Survivor,
    TaskAttached,
    TaskEnded,
    TaskStarted,
    Work,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.testing import FakeLauncher, FakeProcess, RecordingReceiver

TASK = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f10"
LAUNCH = Launch(TASK, Work(script="true"), {})


@implementer(ITaskReceiver)
class Told:
    """
    Remember what a launcher tells.
    """

    def __init__(self) -> None:
        self.told: list[object] = []

    def processStarted(self, pid: int) -> None:
        """
        Remember.
        """
        self.told.append(pid)

    def processNotStarted(self, error: LaunchFailed) -> None:
        """
        Remember.
        """
        self.told.append(error)

    def outputReceived(self, stream: Stream, data: bytes) -> None:
        """
        Remember.
        """
        self.told.append((stream, data))

    def inputTaken(self, count: int) -> None:
        """
        Remember.
        """
        self.told.append(f"took {count}")

    def processEnded(self, ending: ProcessExit) -> None:
        """
        Remember.
        """
        self.told.append(ending)


class FakeLauncherTests(SynchronousTestCase):
    def setUp(self) -> None:
        """
        Launch a process.
        """
        self.clock = Clock()
        self.launcher = FakeLauncher(self.clock)
        self.receiver = Told()
        self.process = self.launcher.prepare(LAUNCH, self.receiver).launch()

    def tearDown(self) -> None:
        """
        Nothing waits.
        """
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_interfaces(self) -> None:
        """
        They stand in for a launcher, a process and its receiver.
        """
        verifyObject(ITaskLauncher, self.launcher)
        verifyObject(ITaskProcess, self.process)
        verifyObject(ITaskReceiver, self.receiver)

    def test_prepared(self) -> None:
        """
        What was prepared is known until it is launched, or discarded.
        """
        self.assertEqual(self.launcher.prepared, [])
        first, second = (self.launcher.prepare(LAUNCH, self.receiver) for _ in range(2))
        verifyObject(IPreparedLaunch, first)
        self.assertEqual(self.launcher.prepared, [first, second])
        second.discard()
        self.assertEqual(self.launcher.prepared, [first])
        process = first.launch()
        self.assertEqual(self.launcher.prepared, [])
        self.assertEqual(self.launcher.launched, [self.process, process])

    def test_life(self) -> None:
        """
        A process does what the test says, and nothing else.
        """
        self.assertEqual(self.launcher.launched, [self.process])
        self.assertEqual((self.process.task, self.process.launch), (TASK, LAUNCH))
        self.process.start(17)
        self.process.print(Stream.STDOUT, b"out")
        self.process.print(Stream.STDERR, b"err")
        self.process.end(7, note="why")
        self.process.end(8)
        self.assertEqual(
            self.receiver.told,
            [17, (Stream.STDOUT, b"out"), (Stream.STDERR, b"err"), ProcessExit(7, None, "why")],
        )

    def test_endings(self) -> None:
        """
        A process that ends without a word about how exits with 0; one can end by
        a signal.
        """
        self.process.start(1)
        self.process.end()
        other = self.launcher.prepare(LAUNCH, self.receiver).launch()
        other.start(2)
        other.end(signal=9)
        self.assertEqual(self.receiver.told, [1, ProcessExit(0, None), 2, ProcessExit(None, 9)])

    def test_script(self) -> None:
        """
        A process can follow a script, from the turn after its launch.
        """

        def script(process: FakeProcess) -> None:
            process.start(3)
            process.end()

        launcher = FakeLauncher(self.clock, script)
        launcher.prepare(LAUNCH, self.receiver).launch()
        self.assertEqual(self.receiver.told, [])
        self.clock.advance(0)
        self.assertEqual(self.receiver.told, [3, ProcessExit(0, None)])

    def test_refused(self) -> None:
        """
        A program that cannot be started is told of with its error.
        """
        self.process.refuse("no such program", 2)
        [error] = self.receiver.told
        assert isinstance(error, LaunchFailed)
        self.assertEqual((str(error), error.errno), ("no such program", 2))

    def test_paused(self) -> None:
        """
        While it is held back nothing is heard of a process, not even its end.
        """
        self.process.start(1)
        self.process.pauseProducing()
        self.process.print(Stream.STDOUT, b"out")
        self.process.end()
        self.clock.advance(1)
        self.assertEqual(self.receiver.told, [1])
        self.process.resumeProducing()
        self.assertEqual(self.receiver.told, [1])
        self.clock.advance(0)
        self.assertEqual(self.receiver.told[1:], [(Stream.STDOUT, b"out"), ProcessExit(0, None)])

    def test_input(self) -> None:
        """
        Input is remembered, and taken at the next turn.
        """
        self.process.start(1)
        self.process.writeInput(b"hello")
        self.process.endInput()
        self.assertEqual((self.process.input, self.process.inputEnded), (b"hello", True))
        self.clock.advance(0)
        self.process.writeInput(b"unread")
        self.process.end()
        self.process.writeInput(b"late")
        self.clock.advance(0)
        self.assertEqual(self.receiver.told, [1, "took 5", ProcessExit(0, None)])

    def test_killed(self) -> None:
        """
        A process dies of the signal, at the next turn.
        """
        self.process.start(1)
        killed = self.process.kill(SIGTERM, 5)
        self.assertNoResult(killed)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(killed), KillReport(1))
        self.assertEqual(self.receiver.told, [1, ProcessExit(None, SIGTERM)])
        self.assertEqual(self.process.kills, [(SIGTERM, 5)])
        self.assertEqual(self.successResultOf(self.process.kill(SIGKILL, 0)), KillReport(0))

    def test_killedTwice(self) -> None:
        """
        Each of two kills hears of the end.
        """
        self.process.start(1)
        kills = [self.process.kill(SIGTERM, 5), self.process.kill(SIGTERM, 5)]
        self.clock.advance(0)
        for killed in kills:
            self.successResultOf(killed)
        self.assertEqual(len(self.receiver.told), 2)

    def test_killedBeforeItRan(self) -> None:
        """
        A process that is killed before it ran never does.
        """
        self.process.kill(SIGTERM, 5)
        self.clock.advance(0)
        [error] = self.receiver.told
        self.assertIsInstance(error, LaunchFailed)

    def test_stubborn(self) -> None:
        """
        A process can ignore a signal until the grace is over, and even then.
        """
        self.process.start(1)
        self.process.ignores = {SIGTERM}
        killed = self.process.kill(SIGTERM, 5)
        self.clock.advance(4.9)
        self.assertNoResult(killed)
        self.clock.advance(0.1)
        self.successResultOf(killed)
        self.assertEqual(self.receiver.told, [1, ProcessExit(None, SIGKILL)])

        immortal = self.launcher.prepare(LAUNCH, self.receiver).launch()
        immortal.ignores = {SIGTERM, SIGKILL}
        immortal.survivors = (Survivor(7, "cat"),)
        killed = immortal.kill(SIGTERM, 5)
        self.clock.advance(5)
        self.assertEqual(self.successResultOf(killed), KillReport(0, immortal.survivors))

    def test_stop(self) -> None:
        """
        A launcher that is stopped kills what still runs.
        """
        self.process.start(1)
        stopped = self.launcher.stop()
        self.assertNoResult(stopped)
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertTrue(self.launcher.stopped)
        self.assertEqual(self.process.kills, [(SIGKILL, 0)])
        self.successResultOf(self.launcher.stop())


class RecordingReceiverTests(SynchronousTestCase):
    def test_records(self) -> None:
        """
        What is heard of a task can be looked at afterwards.
        """
        receiver = RecordingReceiver()
        verifyObject(IConfirmationReceiver, receiver)
        confirmation = cast(ITaskConfirmation, object())
        attached = TaskAttached(TASK)
        started = TaskStarted(1, 2.0, 3.0)
        ended = TaskEnded(Reason.EXITED, 0)
        receiver.taskAttached(confirmation, attached)
        receiver.taskStarted(started)
        receiver.outputReceived(Stream.STDOUT, b"out ")
        receiver.outputReceived(Stream.STDERR, b"err")
        receiver.outputReceived(Stream.STDOUT, b"put")
        self.assertIsNone(receiver.taskEnded(ended))
        self.assertEqual(
            receiver.events, ["taskAttached", "taskStarted", "outputReceived", "taskEnded"]
        )
        self.assertIs(receiver.confirmation, confirmation)
        self.assertEqual(
            (receiver.attached, receiver.started, receiver.ended), (attached, started, ended)
        )
        self.assertEqual(receiver.output, {Stream.STDOUT: b"out put", Stream.STDERR: b"err"})

    def test_holdsTheEnd(self) -> None:
        """
        The acknowledgement of the end can be held back.
        """
        receiver = RecordingReceiver()
        receiver.holdEnd = Deferred()
        self.assertIs(receiver.taskEnded(TaskEnded(Reason.EXITED, 0)), receiver.holdEnd)

    def test_lost(self) -> None:
        """
        So can the reason why the end will not be heard.
        """
        receiver = RecordingReceiver()
        reason = Failure(ConnectionClosed("it broke"))
        receiver.confirmationLost(reason)
        self.assertEqual((receiver.lost, receiver.events), (reason, ["confirmationLost"]))
