"""
A classic task as an application hears of any task.
"""

from __future__ import annotations

from hashlib import sha256

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client.classictask import RELEASE_TIMEOUT, ClassicListener, shellJob
from jobscheduler_tcp.errors import CommandRefused, ConnectionClosed, NotExpressible
from jobscheduler_tcp.messages import Stream, TaskEnded, Work
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.testing import RecordingReceiver
from jobscheduler_tcp.wire.shelljob import StepResult

TASK = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f10"


class Watcher:
    """
    Remember what becomes of the caller.
    """

    def __init__(self) -> None:
        self.events: list[str] = []

    def callerClaims(self) -> None:
        """
        Somebody calls.
        """
        self.events.append("claims")

    def callerProven(self) -> None:
        """
        It is the remote.
        """
        self.events.append("proven")

    def claimLost(self) -> None:
        """
        It is not.
        """
        self.events.append("claim lost")

    def endAcknowledged(self) -> None:
        """
        The end is known.
        """
        self.events.append("acknowledged")

    def callerGone(self) -> None:
        """
        The connection is closed.
        """
        self.events.append("gone")


class ClassicListenerTests(SynchronousTestCase):
    """
    What a remote says, as it is told.
    """

    def setUp(self) -> None:
        """
        Listen for a task that runs.
        """
        self.clock = Clock()
        self.kills: list[None] = []
        self.begin(Work(script="x"))

    def begin(self, work: Work, *, sha256: bool = True) -> None:
        """
        Begin a task.
        """
        self.listen(work, sha256=sha256)
        self.listener.beginning()
        self.listener.logged(0, "SCHEDULER-987  Starting process")
        self.listener.scriptStarted()

    def listen(self, work: Work, *, sha256: bool = True) -> None:
        """
        A remote calls for a task.
        """
        self.receiver = RecordingReceiver()
        self.watcher = Watcher()
        self.listener = ClassicListener(
            TASK,
            work,
            number=1,
            clock=self.clock,
            receiver=self.receiver,
            watcher=self.watcher,
            isRemote=lambda host: True,
            kill=lambda: self.kills.append(None),
            stranger=lambda host: None,
            sha256=sha256,
        )
        self.listener.remoteCalled()

    def end(self, result: StepResult) -> TaskEnded:
        """
        The script ends.
        """
        self.listener.scriptEnded()
        self.listener.stepReturned(result)
        self.listener.connectionClosed()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        assert self.receiver.ended is not None
        return self.receiver.ended

    def test_outputAfterTheEnd(self) -> None:
        """
        Engines send most of the output after the script has ended: it counts,
        for the sizes too.
        """
        self.listener.logged(0, "one")
        self.listener.scriptEnded()
        self.assertIsNone(self.receiver.ended)
        self.listener.logged(0, "two\nthree")
        ended = self.end(StepResult(3))
        output = b"one\ntwo\nthree\n"
        self.assertEqual(bytes(self.receiver.output[Stream.STDOUT]), output)
        self.assertEqual((ended.reason, ended.exitCode), (Reason.EXITED, 3))
        self.assertEqual((ended.stdoutSize, ended.stdoutDigest), (14, sha256(output).digest()))
        self.assertEqual(ended.stderrDigest, sha256().digest())
        self.assertEqual(self.watcher.events, ["claims", "proven", "acknowledged", "gone"])

    def test_levels(self) -> None:
        """
        Lines at level 0 are output, higher ones are what the remote warns of,
        lower ones are not for the application.
        """
        for level in (-3, 0, 1, 2):
            self.listener.logged(level, f"level {level}")
        self.end(StepResult(0))
        self.assertEqual(bytes(self.receiver.output[Stream.STDOUT]), b"level 0\n")
        self.assertEqual(bytes(self.receiver.output[Stream.STDERR]), b"level 1\nlevel 2\n")

    def test_withoutSHA256(self) -> None:
        """
        There is no SHA-256 where nobody wants it, and where nothing ran.
        """
        self.begin(Work(script="x"), sha256=False)
        self.listener.logged(0, "one")
        ended = self.end(StepResult(0))
        self.assertEqual((ended.stdoutSize, ended.stdoutDigest, ended.stderrDigest), (4, b"", b""))

        self.listen(Work(script="x"))
        self.listener.remoteLost(Failure(ConnectionClosed("before it began")))
        assert self.receiver.ended is not None
        self.assertIs(self.receiver.ended.reason, Reason.NOT_STARTED)
        self.assertEqual(self.receiver.ended.stdoutDigest, b"")

    def test_cutLine(self) -> None:
        """
        A line that the remote cut is whole again.
        """
        for text in ("x" * 10000, "x" * 10000, "end", "next"):
            self.listener.logged(0, text)
        self.end(StepResult(0))
        expected = b"x" * 20000 + b"end\nnext\n"
        self.assertEqual(bytes(self.receiver.output[Stream.STDOUT]), expected)

    def test_foreignExitCode(self) -> None:
        """
        An exit code that does not fit is never a success.
        """
        for code, shown in ((256, 255), (-1, 255), (511, 255), (258, 2)):
            self.begin(Work(script="x"))
            ended = self.end(StepResult(code))
            self.assertEqual((ended.reason, ended.exitCode), (Reason.EXITED, shown))
            self.assertIn(str(code), ended.note)

    def test_limits(self) -> None:
        """
        A limit kills, and is the reason; after the end of the script there is
        none.
        """
        self.begin(Work(script="x", wallTime=10.0, silence=20.0))
        self.clock.advance(10)
        self.assertEqual(len(self.kills), 1)
        self.assertIs(self.end(StepResult(0, 9)).reason, Reason.TIMEOUT)
        self.begin(Work(script="x", wallTime=10.0))
        self.listener.scriptEnded()
        self.clock.advance(10)
        self.assertIs(self.end(StepResult(0)).reason, Reason.EXITED)
        self.begin(Work(script="x", outputLimit=3))
        self.listener.logged(0, "four")
        self.assertIs(self.end(StepResult(0, 9)).reason, Reason.OUTPUT_LIMIT)

    def test_notBegun(self) -> None:
        """
        A job that the remote would not begin was not started; one that was
        killed first is killed.
        """
        self.listener.callFailed("begin", "SCHEDULER-447", "no such language")
        assert self.receiver.ended is not None
        self.assertIs(self.receiver.ended.reason, Reason.START_FAILED)
        self.assertEqual(self.receiver.ended.note, "no such language")
        self.begin(Work(script="x"))
        self.listener.killing()
        self.listener.callFailed("begin", "Z-REMOTE-122", "killed")
        self.assertIs(self.receiver.ended.reason, Reason.KILLED)

    def test_stepFailed(self) -> None:
        """
        An error instead of a result leaves nobody who knows how it ended.
        """
        self.listener.callFailed("step", "SCHEDULER-449", "SCHEDULER-449  bad line")
        assert self.receiver.lost is not None
        self.receiver.lost.trap(CommandRefused)
        self.assertIsNone(self.receiver.ended)

    def test_neverReleased(self) -> None:
        """
        A remote that says nothing any more after the end of the script is given
        up, as lost, for output may be missing.
        """

        def abort(why: str) -> None:
            self.listener.remoteLost(Failure(ConnectionClosed(why)))
            self.listener.connectionClosed()

        self.patch(self.listener.factory, "abort", abort)
        self.listener.scriptEnded()
        self.clock.advance(RELEASE_TIMEOUT - 1)
        self.listener.logged(0, "still there")
        self.clock.advance(RELEASE_TIMEOUT - 1)
        self.assertIsNone(self.receiver.lost)
        self.clock.advance(1)
        assert self.receiver.lost is not None
        self.assertIn("no word", self.receiver.lost.getErrorMessage())
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ShellJobTests(SynchronousTestCase):
    """
    A piece of work in the words of the classic dialect.
    """

    def test_bytes(self) -> None:
        """
        Bytes that are no UTF-8 stay the bytes that they are.
        """
        work = Work(script="echo \udce4ä", environment=(("N", "\udcff"),))
        job = shellJob(work, 1)
        self.assertEqual(job.script, "echo ää")
        self.assertIn(("N", "\xff"), job.environment)

    def test_names(self) -> None:
        """
        Job and task have the names that their environment gives them, for the
        log of the remote.
        """
        job = shellJob(Work(script="x"), 17)
        self.assertEqual((job.job, job.taskId), ("jsremote", "17"))
        work = Work(script="x", environment=(("SCHEDULER_JOB_NAME", "nightly"),))
        self.assertEqual(shellJob(work, 17).job, "nightly")

    def test_controlCharacters(self) -> None:
        """
        XML has none, so a script must not have any.
        """
        for work in (Work(script="echo \x01"), Work(command=("echo", "\x1b"))):
            self.assertRaises(NotExpressible, shellJob, work, 1)
