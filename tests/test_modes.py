"""
The callback modes: the same diagram with each, the same outcomes and the same
bytes.
"""

from __future__ import annotations

import gc
import tracemalloc
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTCP
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp import channels, heartbeat
from jobscheduler_tcp.books import INPUT_WINDOW
from jobscheduler_tcp.client.callback import CallbackWatcher
from jobscheduler_tcp.client.jobcore import JobCore
from jobscheduler_tcp.client.standing import StandingProtocol
from jobscheduler_tcp.client.taskchannel import TaskChannel
from jobscheduler_tcp.interfaces import ITaskConfirmation
from jobscheduler_tcp.messages import Stream, TaskAttached, TaskEnded, TaskStarted, Work
from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.remote.nobody import Nobody
from jobscheduler_tcp.remote.standing import MAX_TURN, StandingConfirmation, TaskLine
from jobscheduler_tcp.remote.steps import Steps
from jobscheduler_tcp.remote.task import Task
from jobscheduler_tcp.testing import End, FakeProcess, MemoryConnection, RecordingReceiver
from jobscheduler_tcp.testing.transport import WINDOW
from tests.test_flow import CALLBACK, CLIENT, CODE, ERR, OUT, REMOTE, STRANGER, Diagram, How

JOB = Work(command=("job",))
CHUNK = bytes(range(256)) * 256


class ModeMixin(SynchronousTestCase if TYPE_CHECKING else object):  # type: ignore[misc]  # a mixin
    """
    What is the same in every mode.

    @cvar mode: which one.
    @cvar wellBefore: what becomes of a job whose confirmation connection breaks
        before the task could be started.
    """

    mode = ""
    wellBefore: frozenset[Reason] = frozenset()

    def test_job(self) -> None:
        """
        Start and end are confirmed, output and exit code arrive, also when the
        bytes travel one by one.
        """
        for size in (0, 1, 7):
            diagram = Diagram(callback=self.mode)
            diagram.network.split(size)
            jobs = [diagram.run() for _ in range(3)]
            diagram.network.advance(1)
            for job, receiver in jobs:
                outcome = self.successResultOf(job.done)
                self.assertIs(outcome.reason, Reason.EXITED)
                self.assertEqual((outcome.exitCode, outcome.pid), (CODE, 4711))
                self.assertEqual(receiver.output, {Stream.STDOUT: OUT, Stream.STDERR: ERR})
                self.assertEqual(
                    receiver.events, ["taskAttached", "taskStarted", "outputReceived", "taskEnded"]
                )
            diagram.stop(self)
            self.assertEqual(diagram.client.ports.reserved, 0)
            self.assertNotIn(CALLBACK, diagram.network.host(CLIENT).timeWait)

    def test_input(self) -> None:
        """
        A task is given its input, more than its window, and the end of it.
        """
        data = CHUNK * 20
        diagram = Diagram(script=FakeProcess.start, callback=self.mode)
        job, receiver = diagram.run(Work(command=("cat",), stdin=True))
        diagram.network.advance(1)
        assert receiver.confirmation is not None
        receiver.confirmation.writeInput(data)
        receiver.confirmation.endInput()
        diagram.network.advance(1)
        [process] = diagram.launcher.launched
        self.assertEqual((bytes(process.input), process.inputEnded), (data, True))
        process.end(0)
        diagram.network.advance(1)
        self.assertTrue(self.successResultOf(job.done).succeeded)
        diagram.stop(self)

    def test_notStarted(self) -> None:
        """
        A program that cannot be started is told as such.
        """
        diagram = Diagram(script=FakeProcess.refuse, callback=self.mode)
        job, _ = diagram.run()
        diagram.network.advance(1)
        self.assertIs(self.successResultOf(job.done).reason, Reason.START_FAILED)
        diagram.stop(self)

    def test_kill(self) -> None:
        """
        A task can be killed; another goes on.
        """
        diagram = Diagram(script=FakeProcess.start, callback=self.mode)
        job, _ = diagram.run()
        other, _ = diagram.run()
        diagram.network.advance(1)
        killed = job.kill()
        diagram.network.advance(1)
        self.assertEqual(self.successResultOf(killed).died, 1)
        self.assertIs(self.successResultOf(job.done).reason, Reason.KILLED)
        self.assertNoResult(other.done)
        diagram.stop(self)

    def test_giveUp(self) -> None:
        """
        A receiver that gives its task up loses that task, which is killed, and
        no other.
        """
        diagram = Diagram(script=FakeProcess.start, callback=self.mode)
        job, receiver = diagram.run(Work(command=("job",), stdin=True))
        other, otherReceiver = diagram.run()
        diagram.network.advance(1)
        mine, its = diagram.launcher.launched
        assert receiver.confirmation is not None
        mine.print(Stream.STDOUT, OUT)
        receiver.confirmation.stopProducing()
        receiver.confirmation.writeInput(b"too late")
        diagram.network.advance(1)
        self.assertIs(self.successResultOf(job.done).reason, Reason.LOST)
        self.assertEqual(receiver.events[-1], "confirmationLost")
        self.assertEqual(len(mine.kills), 1)
        its.print(Stream.STDOUT, OUT)
        its.end(0)
        diagram.network.advance(1)
        self.assertTrue(self.successResultOf(other.done).succeeded)
        self.assertEqual(otherReceiver.output[Stream.STDOUT], OUT)
        diagram.stop(self)

    def test_notKept(self) -> None:
        """
        An end that the receiver cannot keep is not acknowledged: the job is
        lost.
        """

        class Forgetful(RecordingReceiver):
            def taskEnded(self, message: TaskEnded) -> Deferred[None] | None:
                super().taskEnded(message)
                raise OSError("the disk is full")

        diagram = Diagram(callback=self.mode)
        job = diagram.client.run(JOB, receiver=Forgetful())
        diagram.network.advance(1)
        self.assertIs(self.successResultOf(job.done).reason, Reason.LOST)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        diagram.stop(self)

    def test_flow(self) -> None:
        """
        A receiver that takes nothing holds its task back, and nothing is lost:
        all of the output comes when it goes on.
        """

        class Paused(RecordingReceiver):
            def taskAttached(self, confirmation: ITaskConfirmation, message: TaskAttached) -> None:
                super().taskAttached(confirmation, message)
                confirmation.pauseProducing()

        def flood(process: FakeProcess) -> None:
            process.start()
            for _ in range(64):
                process.print(Stream.STDOUT, CHUNK)
            process.end(0)

        diagram = Diagram(flood, callback=self.mode)
        receiver = Paused()
        job = diagram.client.run(JOB, receiver=receiver)
        diagram.network.advance(20)
        [process] = diagram.launcher.launched
        self.assertTrue(process.paused)
        self.assertLessEqual(len(receiver.output[Stream.STDOUT]), channels.WINDOW)
        assert receiver.confirmation is not None
        receiver.confirmation.resumeProducing()
        diagram.network.advance(1)
        self.assertTrue(self.successResultOf(job.done).succeeded)
        self.assertEqual(receiver.output[Stream.STDOUT], CHUNK * 64)
        diagram.stop(self)

    def test_clientStops(self) -> None:
        """
        A client that stops kills its tasks and waits for their ends; nothing is
        left behind.
        """
        diagram = Diagram(script=FakeProcess.start, callback=self.mode)
        jobs = [diagram.run()[0] for _ in range(2)]
        diagram.network.advance(1)
        diagram.stop(self)
        for job in jobs:
            self.assertIs(self.successResultOf(job.done).reason, Reason.KILLED)

    def test_remoteStops(self) -> None:
        """
        A remote that stops kills its tasks and confirms their ends.
        """
        diagram = Diagram(script=FakeProcess.start, callback=self.mode)
        job, _ = diagram.run()
        diagram.network.advance(1)
        stopped = diagram.remote.stopService()
        diagram.network.advance(1)
        self.successResultOf(stopped)
        self.assertIs(self.successResultOf(job.done).reason, Reason.KILLED)
        diagram.stop(self)

    def test_link(self) -> None:
        """
        A cable that is out: the jobs end as lost at the client, the tasks are
        killed at the remote, each by itself; the next job runs.
        """
        diagram = Diagram(script=FakeProcess.start, callback=self.mode)
        jobs = [diagram.run()[0] for _ in range(2)]
        diagram.network.advance(1)
        diagram.network.cut(CLIENT, REMOTE)
        diagram.network.advance(21)
        for job in jobs:
            self.assertIs(self.successResultOf(job.done).reason, Reason.LOST)
        for process in diagram.launcher.launched:
            self.assertEqual(len(process.kills), 1)
        diagram.network.heal(CLIENT, REMOTE)
        job, _ = diagram.run()
        diagram.network.advance(10)
        diagram.launcher.launched[-1].end(0)
        diagram.network.advance(1)
        self.assertTrue(self.successResultOf(job.done).succeeded)
        diagram.stop(self)

    def cut(self, end: End, position: int, how: How) -> Outcome:
        """
        Break the confirmation connection, the first time that it is made.
        """
        diagram = Diagram(callback=self.mode)
        broken: list[MemoryConnection] = []

        def breakIt(connection: MemoryConnection) -> None:
            # The first is the command connection.
            if len(diagram.network.connections) == 2 and not broken:
                broken.append(connection)
                connection.cutAfter(end, position, how)

        diagram.network.onConnection = breakIt
        job, receiver = diagram.run()
        where = f"{self.mode} {end} {position} {how}"
        diagram.network.advance(100)
        outcome = cast(Outcome, self.successResultOf(job.done))
        launched = len(diagram.launcher.launched)
        self.assertLessEqual(launched, 1, where)
        if outcome.reason is Reason.EXITED:
            self.assertEqual(receiver.output, {Stream.STDOUT: OUT, Stream.STDERR: ERR}, where)
        elif not outcome.reason.mayHaveRun:
            self.assertEqual(launched, 0, f"{where}: {outcome}")
        diagram.stop(self)
        self.assertEqual(diagram.client.ports.reserved, 0, where)
        return outcome

    def everywhere(self, how: How, step: int) -> set[Reason]:
        """
        Break it at many positions in both directions.
        """
        diagram = Diagram(callback=self.mode)
        diagram.run()
        diagram.network.advance(1)
        sizes = {end: len(data) for end, data in diagram.network.connections[1].data.items()}
        diagram.stop(self)
        return {
            self.cut(end, position, how).reason
            for end, size in sizes.items()
            for position in range(0, size, step)
        }

    def test_cutReset(self) -> None:
        """
        A confirmation connection that breaks leaves one named outcome: not run,
        run to its end, or lost.
        """
        reasons = self.everywhere("reset", 5)
        self.assertLessEqual(reasons, {Reason.LOST, Reason.EXITED} | self.wellBefore)
        self.assertIn(Reason.LOST, reasons)

    def test_cutSilent(self) -> None:
        """
        So does one that falls silent.
        """
        reasons = self.everywhere("silence", 11)
        self.assertLessEqual(reasons, {Reason.LOST, Reason.EXITED} | self.wellBefore)


class OwnTests(ModeMixin, SynchronousTestCase):
    """
    A connection for each task.
    """

    mode = "own"
    wellBefore = frozenset({Reason.CALLBACK_WRONG_LISTENER})


class StandingMixin(ModeMixin):
    """
    What is the same where one connection stands for many tasks.
    """

    def test_oneConnection(self) -> None:
        """
        All tasks of a remote go over one connection, one after another or at
        once.
        """
        diagram = Diagram(callback=self.mode)
        jobs = [diagram.run()[0] for _ in range(10)]
        diagram.network.advance(1)
        jobs += [diagram.run()[0] for _ in range(10)]
        diagram.network.advance(1)
        for job in jobs:
            self.assertTrue(self.successResultOf(job.done).reason is Reason.EXITED)
        self.assertEqual(len(diagram.network.connections), 2)
        diagram.stop(self)

    def test_brokenAndMadeAgain(self) -> None:
        """
        When it breaks while nothing runs, nobody is hurt, and the next job has a
        new one.
        """
        diagram = Diagram(callback=self.mode)
        first, _ = diagram.run()
        diagram.network.advance(1)
        diagram.network.connections[1].reset()
        diagram.network.advance(1)
        second, _ = diagram.run()
        diagram.network.advance(1)
        for job in (first, second):
            self.assertIs(self.successResultOf(job.done).reason, Reason.EXITED)
        self.assertEqual(len(diagram.network.connections), 3)
        diagram.stop(self)

    def test_remoteHasLostIt(self) -> None:
        """
        A remote that has lost the connection, which the client does not know
        yet, is asked again over a new one: nothing ran.
        """
        diagram = Diagram(callback=self.mode)
        first, _ = diagram.run()
        diagram.network.advance(1)
        connection = diagram.network.connections[1]
        connection.vanish(End.SERVER if self.mode == "passive" else End.CLIENT)
        diagram.network.flush()
        second, _ = diagram.run()
        diagram.network.advance(1)
        self.assertIs(self.successResultOf(first.done).reason, Reason.EXITED)
        self.assertIs(self.successResultOf(second.done).reason, Reason.EXITED)
        self.assertEqual(len(diagram.launcher.launched), 2)
        diagram.stop(self)

    def test_cancelled(self) -> None:
        """
        A job that is cancelled before its channel is opened is killed when it
        is.
        """
        diagram = Diagram(script=FakeProcess.start, callback=self.mode)
        warm, _ = diagram.run()
        diagram.network.advance(1)
        job, _ = diagram.run()
        job.cancel()
        diagram.network.advance(1)
        self.assertIs(self.successResultOf(job.done).reason, Reason.KILLED)
        self.assertNoResult(warm.done)
        diagram.stop(self)

    def test_abandoned(self) -> None:
        """
        A job that is abandoned before its channel is opened is lost, its task is
        killed, and the connection stands.
        """
        diagram = Diagram(script=FakeProcess.start, callback=self.mode)
        warm, _ = diagram.run()
        diagram.network.advance(1)
        job, _ = diagram.run()
        job.abandon()
        diagram.network.advance(1)
        self.assertIs(self.successResultOf(job.done).reason, Reason.LOST)
        _, process = diagram.launcher.launched
        self.assertEqual(len(process.kills), 1)
        self.assertNoResult(warm.done)
        diagram.stop(self)

    def test_fair(self) -> None:
        """
        Two floods do not delay the start and the end of a third task: no more
        of their output goes before than is on its way already.
        """
        flood = CHUNK * 4
        said: list[int] = []
        heard: list[int] = []

        def printed() -> int:
            return sum(len(each.output[Stream.STDOUT]) for _, each in floods)

        def script(process: FakeProcess) -> None:
            if process.launch.work.command == ("third",):
                said.append(printed())
                process.start()
                process.end(0)
            else:
                process.start()
                for _ in range(80):
                    process.print(Stream.STDOUT, flood)
                process.end(0)

        class Third(RecordingReceiver):
            def taskStarted(self, message: TaskStarted) -> None:
                heard.append(printed())

            def taskEnded(self, message: TaskEnded) -> Deferred[None] | None:
                heard.append(printed())
                return super().taskEnded(message)

        diagram = Diagram(script=script, callback=self.mode)
        diagram.network.latency = 0.001
        floods = [diagram.run() for _ in range(2)]
        while printed() < len(flood):
            diagram.network.advance(0.001)
        third = diagram.client.run(Work(command=("third",)), receiver=Third())
        diagram.network.advance(2)
        self.assertTrue(self.successResultOf(third.done).succeeded)
        for amount in heard:
            self.assertLess(amount - said[0], WINDOW + 4 * MAX_TURN)
            self.assertLess(amount, 80 * len(flood))
        for job, receiver in floods:
            self.assertTrue(self.successResultOf(job.done).succeeded)
            self.assertEqual(len(receiver.output[Stream.STDOUT]), 80 * len(flood))
        diagram.stop(self)

    def test_turns(self) -> None:
        """
        Two floods come on equally well.
        """

        def script(process: FakeProcess) -> None:
            process.start()
            for _ in range(40):
                process.print(Stream.STDOUT, CHUNK * 4)
            process.end(0)

        diagram = Diagram(script=script, callback=self.mode)
        diagram.network.latency = 0.001
        floods = [diagram.run() for _ in range(2)]
        got = [0, 0]
        while max(got) < 8 << 20:
            diagram.network.advance(0.001)
            got = [len(each.output[Stream.STDOUT]) for _, each in floods]
            self.assertLess(abs(got[0] - got[1]), 1 << 20)
        diagram.network.advance(1)
        for job, _ in floods:
            self.assertTrue(self.successResultOf(job.done).succeeded)
        diagram.stop(self)

    def middlebox(self, diagram: Diagram, seconds: float) -> None:
        """
        Forget the confirmation connection when it says nothing for so long.
        """
        connection = diagram.network.connections[1]
        seen = (0, 0.0)

        def look() -> None:
            nonlocal seen
            said = sum(map(len, connection.data.values()))
            now = diagram.network.clock.seconds()
            if said != seen[0]:
                seen = (said, now)
            elif now - seen[1] >= seconds:
                connection.silence()

        looking = LoopingCall(look)
        looking.clock = diagram.network.clock
        looking.start(1.0)
        self.addCleanup(looking.stop)

    def test_idle(self) -> None:
        """
        A task that prints nothing for an hour survives a firewall that forgets
        idle connections after 15 seconds; without heartbeats it would not.
        """
        for interval, reason in ((5.0, Reason.EXITED), (20.0, Reason.LOST)):
            self.patch(heartbeat, "INTERVAL", interval)
            diagram = Diagram(script=FakeProcess.start, callback=self.mode)
            job, _ = diagram.run()
            diagram.network.advance(1)
            self.middlebox(diagram, 15)
            diagram.network.advance(3600)
            diagram.launcher.launched[0].end(0)
            diagram.network.advance(1)
            self.assertIs(self.successResultOf(job.done).reason, reason)
            self.doCleanups()
            diagram.stop(self)

    def test_many(self) -> None:
        """
        Many tasks stand on one connection at once.
        """
        diagram = Diagram(script=FakeProcess.start, callback=self.mode, descriptors=10**6)
        diagram.client.processClasses[""].maxProcesses = 10**6
        jobs = [diagram.client.run(JOB) for _ in range(1000)]
        diagram.network.flush()
        self.assertEqual(len(diagram.launcher.launched), 1000)
        self.assertEqual(len(diagram.network.connections), 2)
        for process in diagram.launcher.launched:
            process.end(0)
        diagram.network.flush()
        self.assertTrue(all(self.successResultOf(job.done).succeeded for job in jobs))
        diagram.stop(self)


class SharedTests(StandingMixin, SynchronousTestCase):
    """
    The remote dials one connection for all tasks.
    """

    mode = "shared"
    wellBefore = frozenset(
        {Reason.CALLBACK_WRONG_LISTENER, Reason.CALLBACK_REFUSED, Reason.CALLBACK_TIMEOUT}
    )

    def test_noGarbage(self) -> None:
        """
        A job that is over leaves nothing at either end that only the garbage
        collector would find.
        """
        diagram = Diagram(callback=self.mode)
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        job, receiver = diagram.run()
        diagram.network.advance(5)
        self.successResultOf(job.done)
        task = job.task
        del job, receiver
        diagram.launcher.launched.clear()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            gc.collect()
            # Of this task: what earlier tests have left may be found just now.
            found = {
                type(each).__name__
                for each in gc.garbage
                if isinstance(each, (JobCore, TaskChannel, Task, Steps))
                and task in (getattr(each, name, "") for name in ("task", "_task", "id"))
            }
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
        self.assertEqual(found, set())
        diagram.stop(self)

    def test_onePort(self) -> None:
        """
        One callback port is enough for everything, and strangers there are sent
        away while tasks run.
        """
        diagram = Diagram(script=FakeProcess.start, ports=1, callback=self.mode)
        jobs = [diagram.run()[0] for _ in range(5)]
        diagram.network.advance(1)
        self.assertEqual(diagram.client.ports.reserved, 1)
        self.assertEqual({job.port for job in jobs}, {CALLBACK})
        rows = [each for each in diagram.client.portEntries() if each.low == CALLBACK]
        self.assertEqual([row.task for row in rows], [job.task for job in jobs])
        self.assertEqual({row.peer for row in rows}, {f"{REMOTE}:32768"})
        strangers = [diagram.network.host(STRANGER).stranger(CLIENT, CALLBACK) for _ in range(40)]
        diagram.network.flush()
        diagram.network.advance(3)
        for stranger in strangers:
            self.assertIsNotNone(stranger.lost)
            self.assertEqual(bytes(stranger.heard), b"")
        self.assertEqual(diagram.network.host(CLIENT).timeWait, [])
        for job in jobs:
            self.assertNoResult(job.done)
        diagram.stop(self)

    def test_strangersFirst(self) -> None:
        """
        Strangers who call before the remote learn nothing and change nothing.
        """
        diagram = Diagram(callback=self.mode)
        diagram.network.latency = 0.1
        job, _ = diagram.run()
        strangers = []
        for words in [b"", b"GET / HTTP/1.0\r\n\r\n", b"\xff" * 64] * 7:
            diagram.network.advance(0.01)
            strangers.append((diagram.network.host(STRANGER).stranger(CLIENT, CALLBACK), words))
        diagram.network.advance(0.2)
        for stranger, words in strangers:
            if words and stranger.lost is None:
                stranger.transport.write(words)
        diagram.network.advance(5)
        self.assertIs(self.successResultOf(job.done).reason, Reason.EXITED)
        for stranger, _ in strangers:
            self.assertEqual(bytes(stranger.heard), b"")
        diagram.stop(self)

    def test_blocked(self) -> None:
        """
        A callback port that is closed is told as such, with the error number,
        and nothing ran.
        """
        diagram = Diagram(callback=self.mode)
        diagram.network.host(CLIENT).refuse(CALLBACK)
        job, _ = diagram.run()
        diagram.network.advance(11)
        outcome = self.successResultOf(job.done)
        self.assertEqual((outcome.reason, outcome.errno), (Reason.CALLBACK_REFUSED, 111))
        self.assertEqual(diagram.launcher.launched, [])
        diagram.stop(self)


class PassiveTests(StandingMixin, SynchronousTestCase):
    """
    The client dials one connection for all tasks.
    """

    mode = "passive"
    wellBefore = frozenset(
        {Reason.CALLBACK_WRONG_LISTENER, Reason.CALLBACK_REFUSED, Reason.CALLBACK_TIMEOUT}
    )

    def test_noPort(self) -> None:
        """
        Nobody listens at the client.
        """
        diagram = Diagram(script=FakeProcess.start, callback=self.mode)
        job, _ = diagram.run()
        diagram.network.advance(1)
        self.assertEqual(diagram.client.ports.reserved, 0)
        for connection in diagram.network.connections:
            self.assertEqual(connection.client.host, CLIENT)
        diagram.launcher.launched[0].end(0)
        diagram.network.advance(1)
        self.assertTrue(self.successResultOf(job.done).succeeded)
        diagram.stop(self)


class Opened(Nobody):
    """
    A task of which nothing is known but its UUID.
    """

    __slots__ = ("_task",)

    def __init__(self, task: str) -> None:
        self._task = task

    def opens(self) -> TaskAttached:
        """
        See L{IConfirmedTask}.
        """
        return TaskAttached(self._task, window=INPUT_WINDOW)


class Prompt(Opened):
    """
    A task that prints as soon as it may.
    """

    __slots__ = ("left", "line")

    def __init__(self, task: str) -> None:
        super().__init__(task)
        self.left = [b"two", b"three"]
        self.line: TaskLine | None = None

    def resumeProducing(self) -> None:
        """
        Print.
        """
        if self.left and self.line is not None:
            self.line.output(Stream.STDOUT, self.left.pop(0))


def standingEnds(diagram: Diagram) -> tuple[StandingProtocol, StandingConfirmation]:
    """
    Have a standing connection stand.

    @return: the ends of the client and of the remote.
    """
    diagram.network.advance(1)
    connection = diagram.network.connections[1]
    client = connection.transport(End.SERVER).protocol
    remote = connection.transport(End.CLIENT).protocol
    assert isinstance(client, StandingProtocol)
    assert isinstance(remote, StandingConfirmation)
    return client, remote


class TurnTests(SynchronousTestCase):
    """
    Whose turn it is on a standing connection.
    """

    def test_printsWhenResumed(self) -> None:
        """
        What a task prints at the very moment when it may go on is not left lying.
        """
        diagram = Diagram(script=FakeProcess.start, callback="shared")
        job, _ = diagram.run()
        client, remote = standingEnds(diagram)
        receiver = RecordingReceiver()
        task = Prompt("4be0643f-1d98-4a72-90b4-6b1a3d8c0f10")
        client.expect("4be0643f-1d98-4a72-90b4-6b1a3d8c0f10", receiver, cast(CallbackWatcher, None))
        line = task.line = TaskLine(remote, task)
        line.dial(cast(IReactorTCP, None), CLIENT, CALLBACK)
        line.taskStarted(TaskStarted(1, 0.0, 0.0))
        remote.pauseProducing()
        line.output(Stream.STDOUT, b"one")
        remote.resumeProducing()
        diagram.network.flush()
        self.assertEqual(receiver.output[Stream.STDOUT], b"onetwothree")
        job.cancel()


class MemoryTests(SynchronousTestCase):
    """
    What a task weighs.
    """

    def test_channels(self) -> None:
        """
        Five thousand channels take less than three KiB each, at both ends
        together.
        """
        diagram = Diagram(script=FakeProcess.start, callback="shared")
        job, _ = diagram.run()
        client, remote = standingEnds(diagram)
        receiver = RecordingReceiver()
        watcher = cast(CallbackWatcher, None)
        names = [f"4be0643f-1d98-4a72-90b4-{number:012x}" for number in range(5000)]
        tracemalloc.start()
        for name in names:
            client.expect(name, receiver, watcher)
            remote.open(TaskLine(remote, Opened(name)))
        diagram.network.flush()
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self.assertEqual(receiver.events.count("taskAttached"), 5000)
        self.assertLess(used / len(names), 3 * 1024)
        job.cancel()


class AutoTests(SynchronousTestCase):
    """
    What works is found out.
    """

    def run_(self, *blocked: int, filtered: bool = False) -> Diagram:
        """
        A client whose callback ports are blocked on their way, and two jobs one
        after the other.
        """
        diagram = Diagram(callback="auto")
        host = diagram.network.host(CLIENT)
        for port in blocked:
            (host.filter if filtered else host.refuse)(port)
        self.jobs = []
        for _ in range(2):
            self.jobs.append(diagram.run())
            diagram.network.advance(25)
        return diagram

    def assertRan(self, diagram: Diagram) -> None:
        """
        Each job ran, once, and nobody saw anything of the attempts.
        """
        for job, receiver in self.jobs:
            outcome = self.successResultOf(job.done)
            self.assertIs(outcome.reason, Reason.EXITED)
            self.assertEqual(receiver.output[Stream.STDOUT], OUT)
            self.assertEqual(
                receiver.events, ["taskAttached", "taskStarted", "outputReceived", "taskEnded"]
            )
        self.assertEqual(len(diagram.launcher.launched), 2)
        diagram.stop(self)
        self.assertEqual(diagram.client.ports.reserved, 0)

    def best(self, diagram: Diagram) -> str:
        """
        What is tried first from now on.
        """
        return diagram.client.processClasses[""].callback.best.value

    def test_own(self) -> None:
        """
        Where nothing is blocked, each task has its own connection.
        """
        diagram = self.run_()
        self.assertEqual(self.best(diagram), "own")
        self.assertRan(diagram)

    def test_passive(self) -> None:
        """
        Where nobody can call the client, it dials, the first time after both
        other modes failed, and then at once.
        """
        ports = range(CALLBACK - 2, CALLBACK + 1)
        for filtered in (False, True):
            diagram = self.run_(*ports, filtered=filtered)
            self.assertEqual(self.best(diagram), "passive")
            self.assertRan(diagram)

    def test_shared(self) -> None:
        """
        Where one connection can be made, it stands for all; when that is blocked
        later, the others are tried again.
        """
        diagram = self.run_(CALLBACK)
        self.assertEqual(self.best(diagram), "shared")
        self.assertEqual(len(diagram.network.connections), 2)
        diagram.network.host(CLIENT).refuse(CALLBACK - 1)
        diagram.network.connections[1].reset()
        diagram.network.advance(1)
        job, _ = diagram.run()
        diagram.network.advance(1)
        self.assertIs(self.successResultOf(job.done).reason, Reason.EXITED)
        self.assertEqual(self.best(diagram), "passive")
        diagram.launcher.launched.pop()
        self.assertRan(diagram)

    def test_nothingWorks(self) -> None:
        """
        Where nothing works, the outcome tells what happened to the first mode.
        """
        diagram = Diagram(callback="auto")
        diagram.network.host(CLIENT).refuse(CALLBACK)

        def breakIt(connection: MemoryConnection) -> None:
            if len(diagram.network.connections) > 1:
                connection.cutAfter(End.CLIENT, 0, "reset")

        diagram.network.onConnection = breakIt
        job, _ = diagram.run()
        diagram.network.advance(30)
        outcome = self.successResultOf(job.done)
        self.assertEqual((outcome.reason, outcome.errno), (Reason.CALLBACK_REFUSED, 111))
        self.assertEqual(diagram.launcher.launched, [])
        diagram.stop(self)
