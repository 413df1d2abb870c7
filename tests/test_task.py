"""
L{jobscheduler_tcp.remote.task} and L{jobscheduler_tcp.remote.limits}: one
task's life at the remote.
"""

from __future__ import annotations

import errno
import os
from hashlib import sha256
from signal import SIGINT, SIGKILL, SIGTERM
from typing import Any, NoReturn

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.trial.unittest import SynchronousTestCase
from xxhash import xxh3_128_digest
from zope.interface.verify import verifyObject

from jobscheduler_tcp.errors import LaunchLost
from jobscheduler_tcp.heartbeat import Heart
from jobscheduler_tcp.interfaces import (
    IConfirmedTask,
    ITaskLauncher,
    ITaskReceiver,
    KillReport,
    Launch,
    ProcessExit,
)
from jobscheduler_tcp.messages import (
    EndAcknowledged,
    InputEnded,
    InputTaken,
    OnDisconnect,
    StartTask,
    Stream,
    Survivor,
    TaskEnded,
    TaskRefused,
    TaskStarted,
    TaskTaken,
    Work,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.remote import returnvalues
from jobscheduler_tcp.remote.caller import PROOF_TIMEOUT
from jobscheduler_tcp.remote.steps import STOP_GRACE, Workplace
from jobscheduler_tcp.remote.task import Task
from jobscheduler_tcp.testing import FakeLauncher, FakeProcess, MemoryNetwork
from tests.listener import TASK, TOKEN, Listener, ListenerPort

CLIENT = "10.0.0.1"
REMOTE = "10.0.0.2"
PORT = 59999
NOW = 1795361629.5
OUT = Stream.STDOUT
ERR = Stream.STDERR


class TaskBench:
    """
    A task, its client and its process.
    """

    def __init__(
        self,
        work: Work,
        *,
        listens: bool = True,
        onDisconnect: OnDisconnect = OnDisconnect.KILL,
        sha256: bool = False,
        **how: Any,
    ) -> None:
        self.network = MemoryNetwork()
        self.clock = self.network.clock
        self.clock.advance(1000)
        self.client = self.network.host(CLIENT)
        self.remote = self.network.host(REMOTE)
        self.launcher = FakeLauncher(self.clock)
        self.heart = Heart(self.clock)
        self.answers: list[TaskTaken | TaskRefused] = []
        self.overs: list[str] = []
        self.port = ListenerPort(self.client, PORT, **how) if listens else None
        place = Workplace(self.remote, self.launcher, self.heart, lambda: NOW)
        message = StartTask(
            7,
            TASK,
            PORT,
            TOKEN,
            work,
            onDisconnect=onDisconnect,
            hold=600.0,
            secret=TOKEN,
            sha256=sha256,
        )
        self.task = Task(
            place,
            message,
            Launch(TASK, work, {"A": "b"}),
            CLIENT,
            number=17,
            answered=self.answers.append,
            over=self.overs.append,
        )

    def dial(self) -> None:
        """
        Begin, and wait until nothing is on its way.
        """
        self.task.dial()
        self.network.flush()

    def run(self) -> FakeProcess:
        """
        A task whose program runs.
        """
        self.dial()
        process = self.process
        process.start()
        self.network.flush()
        return process

    @property
    def process(self) -> FakeProcess:
        """
        The process of the task.
        """
        [process] = self.launcher.launched
        return process

    @property
    def listener(self) -> Listener:
        """
        The client's end.
        """
        assert self.port is not None
        return self.port.caller

    @property
    def ended(self) -> TaskEnded:
        """
        How the client heard that it ended.
        """
        assert self.listener.ended is not None
        return self.listener.ended


class TaskTestCase(SynchronousTestCase):
    """
    Tests of one task.
    """

    def begin(self, work: Work | None = None, **how: Any) -> TaskBench:
        """
        A task that has not begun.
        """
        self.bench = TaskBench(work or Work(script="true", grace=3), **how)
        return self.bench

    def assertOver(self, *logged: type[BaseException]) -> None:
        """
        The task is over, and nothing of it is left.
        """
        self.bench.network.flush()
        self.assertEqual(self.bench.overs, [TASK])
        self.assertEqual(len(self.bench.answers), 1)
        self.assertEqual(self.bench.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.flushLoggedErrors(*logged)), len(logged))


class LifeTests(TaskTestCase):
    def test_descriptors(self) -> None:
        """
        How many descriptors a task takes depends on what it has.
        """
        self.assertEqual(self.begin().task.descriptors, 4)
        self.assertEqual(self.begin(Work(script="cat", stdin=True)).task.descriptors, 5)

    def test_lostWhenOver(self) -> None:
        """
        Of a task that would be held, but is over without having run, nobody is
        waited for when its connection breaks.
        """
        bench = self.begin(listens=False, onDisconnect=OnDisconnect.HOLD)
        bench.dial()
        bench.task.callbackLost()
        self.assertOver()

    def test_life(self) -> None:
        """
        The client takes the connection, the program is launched, start, output
        and end are confirmed.
        """
        bench = self.begin()
        bench.task.dial()
        self.assertEqual(bench.launcher.launched, [])
        bench.network.flush()
        self.assertEqual(bench.answers, [TaskTaken(0, TASK, 17)])
        process = bench.process
        environment = dict(process.launch.environment)
        self.assertIn("SCHEDULER_RETURN_VALUES", environment)
        del environment["SCHEDULER_RETURN_VALUES"]
        self.assertEqual(environment, {"A": "b"})
        self.assertEqual(process.launch.work.script, "true")
        self.assertEqual(bench.task.describe()["state"], "starting")

        process.start(4711)
        bench.network.flush()
        self.assertEqual(bench.listener.started, TaskStarted(4711, NOW, 1000.0))
        self.assertEqual(bench.task.describe()["pid"], "4711")
        self.assertEqual(bench.task.describe()["state"], "running")
        bench.network.advance(2.5)
        process.print(OUT, b"hello")
        process.print(ERR, b"oops")
        process.end(exitCode=7, note="something holds stdout")
        bench.network.flush()
        self.assertEqual(bench.listener.output, {OUT: b"hello", ERR: b"oops"})
        self.assertEqual(
            bench.ended,
            TaskEnded(
                Reason.EXITED,
                7,
                None,
                0,
                "something holds stdout",
                clock=NOW,
                seconds=2.5,
                stdoutSize=5,
                stderrSize=4,
                stdoutChecksum=xxh3_128_digest(b"hello"),
                stderrChecksum=xxh3_128_digest(b"oops"),
            ),
        )
        self.assertOver()
        self.assertEqual(bench.task.describe()["state"], "closed")

    def test_sha256(self) -> None:
        """
        Where the start asks for it, the end has the SHA-256 of all that was printed on
        either stream, be it nothing; of a program that never ran, it has none.
        """
        for stdout, stderr in (([b"hel", b"lo"], [b"oops"]), ([b"hello"], []), ([], [])):
            with self.subTest(stdout=stdout, stderr=stderr):
                bench = self.begin(sha256=True)
                process = bench.run()
                for data in stdout:
                    process.print(OUT, data)
                for data in stderr:
                    process.print(ERR, data)
                process.end(0)
                bench.network.flush()
                self.assertEqual(bench.ended.stdoutDigest, sha256(b"".join(stdout)).digest())
                self.assertEqual(bench.ended.stderrDigest, sha256(b"".join(stderr)).digest())
                self.assertOver()
        bench = self.begin(sha256=True)
        bench.dial()
        bench.process.refuse("no such directory", errno.ENOENT)
        bench.network.flush()
        self.assertEqual((bench.ended.stdoutDigest, bench.ended.stderrDigest), (b"", b""))
        self.assertOver()

    def test_heardLate(self) -> None:
        """
        Of a program whose start was told late it is said how long it lived, not how long
        its end was waited for.
        """
        bench = self.begin()
        bench.run().receiver.processEnded(ProcessExit(0, None, seconds=0.25))
        bench.network.flush()
        self.assertEqual(bench.ended.seconds, 0.25)

    def test_signalled(self) -> None:
        """
        A program that was ended by a signal says which.
        """
        bench = self.begin()
        bench.run().end(signal=SIGKILL)
        bench.network.flush()
        self.assertEqual((bench.ended.reason, bench.ended.signal), (Reason.SIGNALLED, 9))
        self.assertOver()

    def test_notStarted(self) -> None:
        """
        A program that cannot be started is told with its errno, without a start.
        """
        bench = self.begin()
        bench.dial()
        bench.process.refuse("no such directory", errno.ENOENT)
        bench.network.flush()
        self.assertIsNone(bench.listener.started)
        self.assertEqual(bench.ended.reason, Reason.START_FAILED)
        self.assertEqual((bench.ended.errno, bench.ended.note), (2, "no such directory"))
        self.assertOver()

    def test_startNotReported(self) -> None:
        """
        Where nobody knows whether the program was started, the task is lost.
        """
        bench = self.begin()
        bench.dial()
        bench.process.ended = True
        bench.process.receiver.processNotStarted(LaunchLost("its starter was killed"))
        bench.network.flush()
        self.assertEqual(bench.ended.reason, Reason.LOST)
        self.assertEqual(bench.ended.note, "its starter was killed")
        self.assertOver()

    def test_lostEnd(self) -> None:
        """
        Where nobody knows how the program ended, the task is lost.
        """
        bench = self.begin()
        bench.run()
        bench.process.ended = True
        bench.process.receiver.processEnded(ProcessExit(None, None, "not known"))
        bench.network.flush()
        self.assertEqual((bench.ended.reason, bench.ended.note), (Reason.LOST, "not known"))
        self.assertOver()

    def test_launcherBroken(self) -> None:
        """
        A launcher that raises has started nothing, which the client hears once it has
        taken the connection.
        """

        def fail(*arguments: object) -> NoReturn:
            raise error

        error: BaseException
        for method in ("prepare", "launch"):
            for error in (ZeroDivisionError(), GeneratorExit()):
                bench = self.begin()
                self.patch(bench.launcher, method, fail)
                bench.dial()
                self.assertEqual(bench.answers, [TaskTaken(0, TASK, 17)])
                self.assertEqual(bench.ended.reason, Reason.START_FAILED)
                self.assertOver(type(error))
        bench = self.begin(listens=False)
        bench.network.latency = 0.01
        bench.task.dial()
        bench.network.advance(0)
        [prepared] = bench.launcher.prepared
        self.patch(prepared, "discard", fail)
        self.assertOver(type(error))

    def test_refused(self) -> None:
        """
        When nobody takes the connection nothing is executed.
        """
        bench = self.begin(listens=False)
        bench.dial()
        [answer] = bench.answers
        assert isinstance(answer, TaskRefused)
        self.assertEqual(answer.reason, Reason.CALLBACK_REFUSED)
        self.assertEqual(answer.errno, errno.ECONNREFUSED)
        self.assertEqual(bench.launcher.launched, [])
        self.assertOver()

    def test_wrongListener(self) -> None:
        """
        Nor when the listener does not know the token.
        """
        bench = self.begin(proves=False)
        bench.dial()
        bench.network.advance(PROOF_TIMEOUT)
        [answer] = bench.answers
        assert isinstance(answer, TaskRefused)
        self.assertEqual(answer.reason, Reason.CALLBACK_WRONG_LISTENER)
        self.assertEqual(bench.launcher.launched, [])
        self.assertOver()

    def test_input(self) -> None:
        """
        The task is given what the client sends, and the client is told what it
        took; a task that has no input gets none.
        """
        bench = self.begin(Work(script="cat", stdin=True))
        process = bench.run()
        bench.listener.give(b"hello")
        bench.listener.say(InputEnded())
        bench.network.flush()
        bench.network.advance(0)
        self.assertEqual((process.input, process.inputEnded), (b"hello", True))
        self.assertEqual(bench.listener.messages[-1], InputTaken(5))
        process.end()
        bench.network.flush()
        bench.task.inputReceived(b"late")
        bench.task.inputEnded()
        self.assertOver()

        bench = self.begin(Work(script="cat"))
        process = bench.run()
        bench.listener.give(b"hello")
        bench.listener.say(InputEnded())
        bench.network.flush()
        self.assertEqual((process.input, process.inputEnded), (b"", False))
        process.end()
        bench.network.flush()
        self.assertOver()

    def test_backpressure(self) -> None:
        """
        A client that does not acknowledge holds the process back, and loses
        nothing.
        """
        bench = self.begin(window=4, acknowledges=False)
        process = bench.run()
        process.print(OUT, b"123456")
        self.assertTrue(process.paused)
        process.print(OUT, b"789")
        process.end()
        bench.network.advance(10)
        self.assertEqual(bench.listener.output[OUT], b"1234")
        for _ in range(3):
            bench.listener.acknowledge()
            bench.network.flush()
            bench.network.advance(0)
        self.assertEqual(bench.listener.output[OUT], b"123456789")
        self.assertEqual(bench.ended.stdoutChecksum, xxh3_128_digest(b"123456789"))
        bench.listener.say(EndAcknowledged())
        self.assertOver()

    def test_lost(self) -> None:
        """
        When the client is gone its task is killed with its grace, also if it is
        held back because nobody took its output.
        """
        bench = self.begin(Work(script="yes", grace=3), window=4, acknowledges=False)
        process = bench.run()
        process.print(OUT, b"yyyyyyyyyy")
        process.print(OUT, b"yyyyyyyyyy")
        bench.listener.transport.abortConnection()
        bench.network.flush()
        self.assertEqual(process.kills, [(SIGTERM, 3)])
        bench.network.advance(0)
        self.assertTrue(process.ended)
        self.assertOver()

    def test_lostWhileStarting(self) -> None:
        """
        The same before the program runs, whatever comes of it.
        """
        for end in ("refuse", "start"):
            bench = self.begin()
            bench.dial()
            process = bench.process
            process.ignores = {SIGTERM, SIGKILL}
            bench.listener.transport.abortConnection()
            bench.network.flush()
            self.assertEqual(process.kills, [(SIGTERM, 3)])
            self.assertEqual(bench.overs, [])
            getattr(process, end)()
            if end == "start":
                process.print(OUT, b"nobody hears it")
                process.end(exitCode=0)
            bench.network.advance(5)
            self.assertOver()

    def test_lostAtTheEnd(self) -> None:
        """
        A client that is gone before it acknowledged the end is not waited for.
        """
        bench = self.begin(acknowledges=False)
        bench.run().end()
        bench.network.flush()
        self.assertEqual(bench.overs, [])
        bench.listener.transport.abortConnection()
        self.assertOver()

    def test_provides(self) -> None:
        """
        A task hears of its process and of its client.
        """
        bench = self.begin()
        self.assertTrue(verifyObject(ITaskReceiver, bench.task))
        self.assertTrue(verifyObject(IConfirmedTask, bench.task))
        self.assertTrue(verifyObject(ITaskLauncher, bench.launcher))


class PreparedTests(TaskTestCase):
    """
    What a program needs is made while the client is called, and undone wherever the
    program does not come to run.
    """

    def setUp(self) -> None:
        """
        Have a directory for the files of return values.
        """
        self.values = self.mktemp()
        os.mkdir(self.values)
        self.patch(returnvalues, "_place", lambda: self.values)

    def calling(self, **how: Any) -> TaskBench:
        """
        A task that calls its client.
        """
        bench = self.begin(**how)
        bench.network.latency = 0.01
        bench.task.dial()
        bench.network.advance(0)
        self.assertEqual(len(os.listdir(self.values)), 1)
        self.assertEqual(len(bench.launcher.prepared), 1)
        self.assertEqual(bench.launcher.launched, [])
        return bench

    def assertUndone(self) -> None:
        """
        Nothing was launched, and nothing is left.
        """
        self.assertOver()
        self.assertEqual(self.bench.launcher.prepared, [])
        self.assertEqual(self.bench.launcher.launched, [])
        self.assertEqual(os.listdir(self.values), [])

    def test_taken(self) -> None:
        """
        The program finds what was made, which is gone when the client hears of the end.
        """
        bench = self.calling(acknowledges=False)
        [name] = os.listdir(self.values)
        bench.network.flush()
        path = bench.process.launch.environment["SCHEDULER_RETURN_VALUES"]
        self.assertEqual(path, os.path.join(self.values, name))
        bench.process.start()
        with open(path, "w") as file:
            file.write("a=b")
        bench.process.end(0)
        bench.network.flush()
        self.assertEqual(bench.ended.returned, ((b"a", b"b"),))
        self.assertEqual(os.listdir(self.values), [])
        bench.listener.say(EndAcknowledged())
        self.assertOver()

    def test_refused(self) -> None:
        """
        Nobody takes the call.
        """
        self.calling(listens=False)
        self.assertUndone()

    def test_wrongProof(self) -> None:
        """
        Who takes it does not know the token.
        """
        self.calling(token=bytes(16))
        self.assertUndone()

    def test_noProof(self) -> None:
        """
        Who takes it says nothing.
        """
        bench = self.calling(proves=False)
        bench.network.flush()
        self.assertEqual(len(os.listdir(self.values)), 1)
        bench.network.advance(PROOF_TIMEOUT)
        self.assertUndone()

    def test_hungUp(self) -> None:
        """
        Who takes it hangs up.
        """
        bench = self.calling(proves=False)
        bench.network.flush()
        bench.listener.transport.loseConnection()
        self.assertUndone()

    def test_stopped(self) -> None:
        """
        The remote is stopped meanwhile.
        """
        for flush in (False, True):
            bench = self.calling(proves=False)
            if flush:
                bench.network.flush()
            bench.task.stop()
            self.assertUndone()

    def test_stoppedAtOnce(self) -> None:
        """
        What is over in the turn in which it began is not prepared any more.
        """
        bench = self.begin()
        bench.task.dial()
        bench.task.stop()
        self.assertUndone()

    def test_killed(self) -> None:
        """
        The task is killed meanwhile, and the client hears of that.
        """
        bench = self.calling()
        self.successResultOf(bench.task.kill(SIGTERM, 0))
        bench.network.flush()
        self.assertEqual(bench.ended.reason, Reason.KILLED)
        self.assertUndone()

    def test_impossible(self) -> None:
        """
        That it cannot be made is told as the end of the task, when the client has taken
        the connection.
        """
        self.patch(returnvalues, "mkstemp", self._noSpace)
        self.values = os.path.join(self.values, "missing")
        bench = self.begin()
        bench.task.dial()
        bench.network.flush()
        self.assertEqual(bench.answers, [TaskTaken(0, TASK, 17)])
        self.assertIsNone(bench.listener.started)
        self.assertEqual(bench.ended.reason, Reason.START_FAILED)
        self.assertEqual(bench.ended.errno, errno.ENOSPC)
        self.assertIn("cannot make a file for return values", bench.ended.note)
        self.assertEqual(bench.launcher.launched, [])
        self.assertOver()

    def test_impossibleAndRefused(self) -> None:
        """
        Nothing is told of that to a client that does not take the call.
        """
        self.patch(returnvalues, "mkstemp", self._noSpace)
        self.values = os.path.join(self.values, "missing")
        bench = self.begin(listens=False)
        bench.task.dial()
        bench.network.flush()
        [answer] = bench.answers
        assert isinstance(answer, TaskRefused)
        self.assertEqual(answer.reason, Reason.CALLBACK_REFUSED)
        self.assertOver()

    def _noSpace(self, prefix: str) -> tuple[int, str]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class LimitTests(TaskTestCase):
    def test_wallTime(self) -> None:
        """
        A task that runs too long is killed, and the reason wins over the signal.
        """
        bench = self.begin(Work(script="sleep 9", wallTime=10, grace=3))
        process = bench.run()
        process.ignores = {SIGTERM}
        bench.network.advance(9.9)
        process.print(OUT, b"still here")
        self.assertEqual(process.kills, [])
        bench.network.advance(0.1)
        self.assertEqual(process.kills, [(SIGTERM, 3)])
        self.assertEqual(bench.task.describe()["state"], "killing")
        bench.network.advance(3)
        self.assertEqual((bench.ended.reason, bench.ended.signal), (Reason.TIMEOUT, 9))
        self.assertEqual(bench.ended.note, "it ran for 10 seconds")
        self.assertOver()

    def test_wallTimeMet(self) -> None:
        """
        A task that ends in time leaves no timer.
        """
        bench = self.begin(Work(script="true", wallTime=10, silence=5))
        bench.run().end()
        bench.network.flush()
        self.assertEqual(bench.ended.reason, Reason.EXITED)
        self.assertOver()

    def test_silence(self) -> None:
        """
        A task that prints nothing for too long is killed.
        """
        bench = self.begin(Work(script="sleep 9", silence=10))
        process = bench.run()
        for stream in (OUT, ERR, OUT):
            bench.network.advance(9)
            process.print(stream, b".")
        bench.network.advance(9.9)
        self.assertEqual(process.kills, [])
        bench.network.advance(0.1)
        self.assertEqual(process.kills, [(SIGTERM, 5)])
        bench.network.advance(1)
        self.assertEqual(bench.ended.reason, Reason.SILENT)
        self.assertOver()

    def test_silenceHeldBack(self) -> None:
        """
        A task that nobody listens to is not silent; when it is heard again, its
        time begins anew.
        """
        bench = self.begin(Work(script="sleep 9", silence=4), window=1, acknowledges=False)
        process = bench.run()
        bench.network.advance(3)
        process.print(OUT, b".")
        self.assertTrue(process.paused)
        bench.network.advance(9)
        bench.listener.acknowledge()
        bench.network.flush()
        self.assertFalse(process.paused)
        bench.network.advance(3.9)
        self.assertEqual(process.kills, [])
        bench.network.advance(0.1)
        self.assertEqual(process.kills, [(SIGTERM, 5)])

    def test_outputLimit(self) -> None:
        """
        A task that prints too much is killed; the client gets as much as the
        limit, both streams together, and sizes, checksum and SHA-256 are of what it got.
        """
        bench = self.begin(Work(script="yes", outputLimit=10), sha256=True)
        process = bench.run()
        process.ignores = {SIGTERM}
        process.print(ERR, b"1234")
        process.print(OUT, b"123456")
        self.assertEqual(process.kills, [])
        process.print(OUT, b"7")
        process.print(ERR, b"5")
        self.assertEqual(process.kills, [(SIGTERM, 5)])
        bench.network.advance(5)
        self.assertEqual(bench.listener.output, {ERR: b"1234", OUT: b"123456"})
        self.assertEqual(bench.ended.reason, Reason.OUTPUT_LIMIT)
        self.assertEqual((bench.ended.stdoutSize, bench.ended.stderrSize), (6, 4))
        self.assertEqual(bench.ended.stdoutChecksum, xxh3_128_digest(b"123456"))
        self.assertEqual(bench.ended.stdoutDigest, sha256(b"123456").digest())
        self.assertOver()


class KillTests(TaskTestCase):
    def kill(self, signal: int = SIGTERM, grace: float = 1.0) -> Deferred[KillReport]:
        """
        Kill the task.
        """
        return self.bench.task.kill(signal, grace)

    def test_running(self) -> None:
        """
        A task that runs is killed with the signal and the grace asked for, and
        the report says what died and what did not.
        """
        bench = self.begin()
        process = bench.run()
        process.survivors = (Survivor(4712, "dd"),)
        killed = self.kill(SIGINT, 20)
        self.assertNoResult(killed)
        self.assertEqual(process.kills, [(SIGINT, 20)])
        bench.network.advance(0)
        self.assertEqual(self.successResultOf(killed), KillReport(1, process.survivors))
        bench.network.flush()
        self.assertEqual((bench.ended.reason, bench.ended.signal), (Reason.KILLED, 2))
        self.assertOver()

    def test_twice(self) -> None:
        """
        Who has lost patience kills again.
        """
        bench = self.begin()
        process = bench.run()
        process.ignores = {SIGTERM}
        first, second = self.kill(SIGTERM, 1000), self.kill(SIGKILL, 0)
        self.assertEqual(process.kills, [(SIGTERM, 1000), (SIGKILL, 0)])
        bench.network.advance(0)
        self.assertEqual(self.successResultOf(first).died, 1)
        self.assertEqual(self.successResultOf(second).died, 1)
        bench.clock.advance(1000)
        self.assertOver()

    def test_beforeTaken(self) -> None:
        """
        A task that is killed while the client is called does not run; the start
        is answered, and the end confirmed if it can be.
        """
        bench = self.begin()
        bench.task.dial()
        self.assertEqual(self.successResultOf(self.kill()), KillReport(0))
        self.assertEqual(self.successResultOf(self.kill()), KillReport(0))
        bench.network.flush()
        self.assertEqual(bench.answers, [TaskTaken(0, TASK, 17)])
        self.assertEqual(bench.ended.reason, Reason.KILLED)
        self.assertIsNone(bench.listener.started)
        self.assertEqual(bench.launcher.launched, [])
        self.assertOver()

        bench = self.begin(listens=False)
        bench.task.dial()
        self.successResultOf(self.kill())
        bench.network.flush()
        [answer] = bench.answers
        assert isinstance(answer, TaskRefused)
        self.assertEqual(answer.reason, Reason.KILLED)
        self.assertOver()

    def test_whileStarting(self) -> None:
        """
        A task that is killed while it is being started is killed, whether it was
        still started or not.
        """
        for end in ("refuse", "start"):
            bench = self.begin()
            bench.dial()
            process = bench.process
            process.ignores = {SIGTERM, SIGKILL}
            killed = self.kill()
            getattr(process, end)()
            if end == "start":
                process.print(OUT, b"hello")
                process.end(signal=SIGTERM)
            bench.network.advance(1)
            self.successResultOf(killed)
            self.assertEqual(bench.listener.started is None, end == "refuse")
            self.assertEqual(bench.ended.reason, Reason.KILLED)
            self.assertOver()

    def test_over(self) -> None:
        """
        A task that is over has nothing that could be killed.
        """
        bench = self.begin(acknowledges=False)
        bench.run().end()
        bench.network.flush()
        self.assertEqual(self.successResultOf(self.kill()), KillReport(0))
        bench.listener.say(EndAcknowledged())
        bench.network.flush()
        self.assertEqual(self.successResultOf(self.kill()), KillReport(0))
        self.assertOver()

    def test_launcherBroken(self) -> None:
        """
        A launcher whose kill raises breaks nothing else.
        """
        bench = self.begin(Work(script="sleep 9", wallTime=10))
        process = bench.run()
        process.kill = lambda signal, grace: 1 / 0  # type: ignore[method-assign,assignment,return-value]  # a broken one
        self.failureResultOf(self.kill(), ZeroDivisionError)
        bench.task.stop()
        process.end()
        self.assertOver(ZeroDivisionError)

    def test_thenLost(self) -> None:
        """
        A client that kills with a long grace and goes away leaves a task that is
        killed with its own.
        """
        bench = self.begin()
        process = bench.run()
        process.ignores = {SIGINT, SIGTERM}
        killed = self.kill(SIGINT, 10000)
        bench.listener.transport.abortConnection()
        bench.network.flush()
        self.assertEqual(process.kills, [(SIGINT, 10000), (SIGTERM, 3)])
        again = self.kill(SIGKILL, 0)
        bench.task.stop()
        bench.network.advance(3)
        self.successResultOf(killed)
        self.successResultOf(again)
        bench.clock.advance(10000)
        self.assertOver()


class StopTests(TaskTestCase):
    def test_running(self) -> None:
        """
        When the remote stops, a task is killed and its client told; a long grace
        is cut.
        """
        for grace, expected in ((3.0, 3.0), (1000.0, STOP_GRACE)):
            bench = self.begin(Work(script="sleep 9", grace=grace))
            process = bench.run()
            bench.task.stop()
            self.assertEqual(process.kills, [(SIGTERM, expected)])
            bench.network.advance(0)
            self.assertEqual(bench.ended.reason, Reason.KILLED)
            self.assertEqual(bench.ended.note, "the remote is stopping")
            self.assertOver()

    def test_calling(self) -> None:
        """
        A task that was not taken yet is refused, and the client not called any
        more.
        """
        for killed in (False, True):
            bench = self.begin(proves=False)
            bench.dial()
            if killed:
                bench.task.kill(SIGTERM, 1)
            bench.task.stop()
            [answer] = bench.answers
            assert isinstance(answer, TaskRefused)
            self.assertEqual(answer.reason, Reason.REJECTED_DRAINING)
            bench.network.flush()
            self.assertIsNotNone(bench.listener.lost)
            self.assertOver()

    def test_everyOtherState(self) -> None:
        """
        A task that is being killed is hurried; one that is over stays over.
        """
        bench = self.begin(acknowledges=False)
        bench.dial()
        process = bench.process
        process.ignores = {SIGTERM}
        bench.task.stop()
        bench.task.stop()
        self.assertEqual(process.kills, [(SIGTERM, 3), (SIGTERM, 3)])
        process.start()
        process.end(exitCode=0)
        bench.task.stop()
        bench.network.flush()
        self.assertEqual(bench.ended.reason, Reason.KILLED)
        bench.listener.say(EndAcknowledged())
        bench.network.flush()
        bench.task.stop()
        bench.clock.advance(3)
        self.assertOver()

    def test_abandon(self) -> None:
        """
        A client that does not acknowledge is not waited for for ever.
        """
        bench = self.begin(acknowledges=False)
        bench.run()
        bench.task.stop()
        bench.network.advance(3)
        self.assertEqual(bench.overs, [])
        bench.task.abandon()
        self.assertOver()


class Inputs(RuleBasedStateMachine):
    """
    Everything that can happen to a task, in any order.
    """

    def __init__(self) -> None:
        super().__init__()
        work = Work(script="true", grace=2, wallTime=20, silence=7, outputLimit=40, stdin=True)
        self.bench = TaskBench(work, window=12, proves=False, acknowledges=False)
        self.kills: list[Deferred[KillReport]] = []
        self.bench.task.dial()

    @property
    def process(self) -> FakeProcess | None:
        """
        The process, once it was launched.
        """
        return self.bench.launcher.launched[0] if self.bench.launcher.launched else None

    @property
    def listener(self) -> Listener | None:
        """
        The client's end, while it stands.
        """
        port = self.bench.port
        assert port is not None
        if not port.callers or port.callers[0].lost is not None:
            return None
        return port.callers[0]

    def proven(self) -> bool:
        """
        Whether the task's channel is open at the client's end.
        """
        listener = self.listener
        return listener is not None and listener.channels.channels == 1

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 5.0, 10.0]))
    def advance(self, seconds: float) -> None:
        """
        Time passes.
        """
        self.bench.network.advance(seconds)

    @rule()
    def flush(self) -> None:
        """
        The network delivers.
        """
        self.bench.network.flush()

    @precondition(lambda self: self.listener is not None and len(self.listener.messages) == 1)
    @rule()
    def prove(self) -> None:
        """
        The client shows its proof.
        """
        assert self.listener is not None
        if not self.listener.channels._handshake.place.value.startswith("listener"):
            self.listener.prove(self.listener.messages[0])  # type: ignore[arg-type]  # the challenge

    @precondition(lambda self: self.listener is not None)
    @rule()
    def hangUp(self) -> None:
        """
        The client goes away.
        """
        assert self.listener is not None
        self.listener.transport.abortConnection()

    @precondition(lambda self: self.proven())
    @rule()
    def acknowledge(self) -> None:
        """
        The client acknowledges what it heard.
        """
        listener = self.listener
        assert listener is not None
        listener.acknowledge()
        if listener.ended is not None:
            listener.say(EndAcknowledged())

    @precondition(lambda self: self.proven())
    @rule(data=st.binary(min_size=1, max_size=5))
    def give(self, data: bytes) -> None:
        """
        The client gives input.
        """
        assert self.listener is not None
        self.listener.give(data)

    @rule(signal=st.sampled_from([SIGTERM, SIGKILL]), grace=st.sampled_from([0.0, 3.0]))
    def kill(self, signal: int, grace: float) -> None:
        """
        Somebody kills the task.
        """
        self.kills.append(self.bench.task.kill(signal, grace))

    @rule()
    def stop(self) -> None:
        """
        The remote stops.
        """
        self.bench.task.stop()

    @rule()
    def abandon(self) -> None:
        """
        The remote does not wait any longer.
        """
        self.bench.task.abandon()

    @precondition(lambda self: self.process and not self.process.ended)
    @rule(stubborn=st.booleans())
    def startProcess(self, stubborn: bool) -> None:
        """
        The program starts.
        """
        process = self.process
        assert process is not None
        if not process._started:
            process.ignores = {SIGTERM} if stubborn else set()
            process.start()

    @precondition(lambda self: self.process and not self.process.ended)
    @rule()
    def refuseProcess(self) -> None:
        """
        The program cannot be started.
        """
        process = self.process
        assert process is not None
        if not process._started:
            process.refuse()

    @precondition(lambda self: self.process and self.process._started and not self.process.ended)
    @rule(stream=st.sampled_from([OUT, ERR]), data=st.binary(min_size=1, max_size=20))
    def print(self, stream: Stream, data: bytes) -> None:
        """
        It prints.
        """
        assert self.process is not None
        self.process.print(stream, data)

    @precondition(lambda self: self.process and self.process._started and not self.process.ended)
    @rule()
    def end(self) -> None:
        """
        It exits.
        """
        assert self.process is not None
        self.process.end(exitCode=0)

    @invariant()
    def promises(self) -> None:
        """
        One answer, one launch, one end, and none before the other.
        """
        bench = self.bench
        assert len(bench.answers) <= 1
        assert len(bench.launcher.launched) <= 1
        assert len(bench.overs) <= 1
        if bench.launcher.launched:
            assert isinstance(bench.answers[0], TaskTaken)
        listener = bench.port.callers[0] if bench.port and bench.port.callers else None
        if listener is not None:
            ends = [each for each in listener.messages if isinstance(each, TaskEnded)]
            assert len(ends) <= 1
            if ends:
                for stream, size in ((OUT, ends[0].stdoutSize), (ERR, ends[0].stderrSize)):
                    assert len(listener.output[stream]) == size

    def teardown(self) -> None:
        """
        Whatever happened: when client and process are gone, nothing is left.
        """
        bench = self.bench
        bench.task.stop()
        bench.task.abandon()
        process = self.process
        if process is not None and not process.ended:
            if process._started:
                process.end(exitCode=0)
            else:
                process.refuse()
        bench.network.advance(30)
        assert len(bench.answers) == 1, bench.answers
        assert bench.overs == [TASK]
        assert all(each.called for each in self.kills)
        assert bench.clock.getDelayedCalls() == []


class AnyOrderTests(SynchronousTestCase):
    def test_anyOrder(self) -> None:
        """
        Whatever happens in whatever order: exactly one answer to the start, at
        most one launch, at most one end, and no timer is left.
        """
        run_state_machine_as_test(
            Inputs, settings=settings(deadline=None, max_examples=100, stateful_step_count=25)
        )
        self.flushLoggedErrors(ConnectionLost, ConnectionAborted, ConnectionDone)
