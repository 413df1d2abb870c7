"""
Tests for L{jobscheduler_tcp.client.job} and the modules under it.
"""

from __future__ import annotations

from errno import ECONNREFUSED, EMFILE

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import ServerFactory
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from jobscheduler_tcp.client import verdicts
from jobscheduler_tcp.client.command import CommandClientFactory
from jobscheduler_tcp.client.connection import CommandConnection
from jobscheduler_tcp.client.hearing import Hearing
from jobscheduler_tcp.client.job import RunningJob
from jobscheduler_tcp.client.means import Means
from jobscheduler_tcp.client.ports import CallbackPorts
from jobscheduler_tcp.client.processclass import Dialect, ProcessClass
from jobscheduler_tcp.client.strangers import Strangers
from jobscheduler_tcp.client.taskkey import Lasting
from jobscheduler_tcp.errors import (
    CommandRefused,
    ConnectionClosed,
    LocalProtocolError,
    NotAdmitted,
    NotStarted,
    RemoteUnreachable,
)
from jobscheduler_tcp.heartbeat import Heart
from jobscheduler_tcp.interfaces import IConfirmationReceiver, ITaskConfirmation
from jobscheduler_tcp.messages import (
    CallerProof,
    EndAcknowledged,
    Heartbeat,
    KillTask,
    OnDisconnect,
    RequestFailed,
    StartTask,
    Stream,
    TaskAttached,
    TaskEnded,
    TaskKilled,
    TaskRefused,
    TaskStarted,
    TaskTaken,
    Work,
)
from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.testing import MemoryNetwork, RecordingReceiver
from tests.scripted import CLIENT, PORT, REMOTE, Caller, ScriptedRemote

WORK = Work(script="exit 7")


class JobWorld:
    """
    A client with its jobs, and a remote that the test plays.
    """

    def __init__(self, *, maxProcesses: int = 30, ports: int = 100, welcomes: bool = True) -> None:
        self.network = MemoryNetwork()
        self.clock = self.network.clock
        self.remote = ScriptedRemote(self.network)
        self.remote.welcomes = welcomes
        self.host = self.network.host(CLIENT)
        self.ports = CallbackPorts(self.clock, self.listen, 59999, 60000 - ports)
        self.heart = Heart(self.clock)
        self.strangers = Strangers(self.clock)
        self.means = Means(
            self.clock,
            self.ports,
            self.heart,
            self.strangers,
            lasting=Lasting(OnDisconnect.KILL),
        )
        self.connection = CommandConnection(
            self.remote.endpoint(), CommandClientFactory(self.heart), self.clock
        )
        self.processClass = ProcessClass(
            "", self.remote.endpoint(), maxProcesses, dialect=Dialect.EXTENDED
        )
        self.listenError: OSError | None = None
        self.gone: list[RunningJob] = []
        self.outcomes: list[tuple[RunningJob, Outcome]] = []

    def listen(self, port: int, factory: ServerFactory) -> IListeningPort:
        """
        Listen, or fail as the test says.
        """
        if self.listenError is not None:
            raise self.listenError
        return self.host.listen(port, factory)

    def job(
        self,
        receiver: IConfirmationReceiver | None = None,
        deadline: float = 0.0,
        work: Work = WORK,
    ) -> RunningJob:
        """
        A new job that has begun.
        """
        job = RunningJob(
            self.means,
            self.processClass,
            self.connection,
            work,
            receiver=receiver,
            deadline=deadline,
            onGone=self.gone.append,
        )
        job.done.addCallbacks(self._remember, lambda reason: None, callbackArgs=(job,))
        job.begin()
        self.network.flush()
        return job

    def _remember(self, outcome: Outcome, job: RunningJob) -> Outcome:
        self.outcomes.append((job, outcome))
        return outcome

    def lastStart(self) -> StartTask:
        """
        What the remote was asked last.
        """
        return self.remote.asked(StartTask)[-1]

    def say(self, kind: type[TaskTaken | TaskRefused], *arguments: object) -> None:
        """
        Answer the last start.
        """
        start = self.lastStart()
        self.remote.served[-1].say(kind(start.id, start.task, *arguments))  # type: ignore[arg-type]  # the test's
        self.network.flush()

    def claimed(self) -> Caller:
        """
        The remote has called back, and was shown our proof.
        """
        caller = self.remote.dialFor(self.lastStart())
        caller.challenge()
        self.network.flush()
        return caller


class JobTests(SynchronousTestCase):
    """
    A world for each test.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        self.world = JobWorld()
        self.network = self.world.network
        self.remote = self.world.remote

    def assertOutcome(self, job: RunningJob, reason: Reason, text: str = "") -> Outcome:
        """
        The job is over, with this one outcome, and has given everything back.
        """
        self.network.advance(3)
        ours = [outcome for each, outcome in self.world.outcomes if each is job]
        self.assertEqual([outcome.reason for outcome in ours], [reason])
        self.assertIn(text, ours[0].text)
        self.assertEqual(job.outcome, ours[0])
        self.assertEqual(job.state, "over")
        self.assertEqual(self.world.gone, [job])
        self.assertEqual(self.world.processClass.running, 0)
        self.assertEqual(self.world.ports.reserved, 0)
        stopping = self.world.connection.stop()
        self.network.flush()
        self.successResultOf(stopping)
        self.assertEqual(self.world.clock.getDelayedCalls(), [])
        # Nothing that comes afterwards changes it.
        job.cancel()
        job.abandon()
        self.assertEqual(self.successResultOf(job.kill()), TaskKilled(0, job.task))
        self.assertEqual(job.outcome, ours[0])
        return ours[0]


class SuccessTests(JobTests):
    """
    The way of the diagram.
    """

    def test_whole(self) -> None:
        """
        Queue, port, start, confirmation, end: and its outcome has all that the
        remote told of it.
        """
        receiver = RecordingReceiver()
        job = self.world.job(receiver)
        self.assertEqual(job.state, "waiting for response")
        self.assertEqual(job.port, 59999)
        self.assertEqual(job.position, 0)
        start = self.world.lastStart()
        self.assertEqual((start.task, start.port, start.work), (job.task, 59999, WORK))
        self.assertTrue(start.sha256)
        caller = self.remote.take(start)
        self.assertEqual(job.state, "waiting for end of task")
        self.assertEqual(job.pid, 4711)
        self.assertIs(job.started, job.started)
        self.assertEqual(self.successResultOf(job.started).pid, 4711)
        caller.print(Stream.STDOUT, b"hello\n")
        caller.end(
            exitCode=7,
            note="done",
            seconds=2.5,
            userSeconds=0.5,
            systemSeconds=0.25,
            maxResident=1000,
            stdoutDigest=bytes(range(32)),
            stderrDigest=bytes(32),
        )
        self.network.flush()
        self.assertEqual(caller.said(EndAcknowledged), [EndAcknowledged()])
        # The port belongs to it until the remote has closed.
        self.assertEqual(self.world.ports.reserved, 1)
        self.assertEqual(self.world.gone, [])
        caller.transport.loseConnection()
        outcome = self.assertOutcome(job, Reason.EXITED, "done")
        self.assertEqual(
            receiver.events, ["taskAttached", "taskStarted", "outputReceived", "taskEnded"]
        )
        self.assertEqual((outcome.exitCode, outcome.pid, outcome.seconds), (7, 4711, 2.5))
        self.assertEqual((outcome.stdoutSize, outcome.stderrSize), (6, 0))
        self.assertEqual(outcome.stdoutDigest, bytes(range(32)).hex())
        self.assertEqual(outcome.stderrDigest, bytes(32).hex())
        self.assertFalse(outcome.succeeded)
        self.assertEqual(self.world.strangers.count, 0)

    def test_anyOrder(self) -> None:
        """
        The confirmation connection may be faster than the answer to the start;
        an answer that comes after the start was confirmed is no news.
        """
        job = self.world.job()
        started = job.started
        caller = self.world.claimed()
        caller.prove()
        caller.attach()
        caller.start()
        self.network.flush()
        self.successResultOf(started)
        self.world.say(TaskTaken, 1)
        caller.end()
        self.network.flush()
        caller.transport.loseConnection()
        self.assertOutcome(job, Reason.EXITED)

    def test_noStart(self) -> None:
        """
        A task whose program could not be started ends without a start.
        """
        job = self.world.job()
        started = job.started
        caller = self.remote.take(self.world.lastStart(), started=False)
        self.assertEqual(job.state, "waiting for response")
        caller.end(Reason.START_FAILED, errno=2, note="no such file", stdoutChecksum=b"")
        self.network.flush()
        outcome = self.assertOutcome(job, Reason.START_FAILED, "no such file")
        self.assertEqual((outcome.errno, outcome.pid, outcome.seconds), (2, 0, None))
        self.assertIn("no such file", str(self.failureResultOf(started, NotStarted).value))

    def test_startedLate(self) -> None:
        """
        Who asks only afterwards whether it was started is told, too.
        """
        job = self.world.job()
        job.cancel()
        self.failureResultOf(job.started, NotStarted)
        self.assertOutcome(job, Reason.CANCELLED)

    def test_remoteDoesNotClose(self) -> None:
        """
        A remote that does not close the connection does not keep the port.
        """
        job = self.world.job()
        self.remote.take(self.world.lastStart()).end()
        self.assertOutcome(job, Reason.EXITED)

    def test_strangers(self) -> None:
        """
        Strangers at the port do not disturb; when the remote is there, nobody
        else can connect.
        """
        job = self.world.job()
        stranger = self.network.host("10.6.6.6").stranger(CLIENT, job.port)
        self.network.flush()
        stranger.transport.write(b"GET / HTTP/1.0\r\n\r\n")
        caller = self.remote.take(self.world.lastStart())
        late = self.network.host("10.6.6.6").stranger(CLIENT, job.port)
        self.network.flush()
        self.assertIsNotNone(late.lost)
        self.assertEqual(self.world.ports.reserved, 1)
        caller.end()
        self.assertOutcome(job, Reason.EXITED)
        self.assertEqual(self.world.strangers.count, 1)

    def test_interfaces(self) -> None:
        """
        What stands between the job and the application is a receiver; what the
        application is given is a confirmation.
        """
        verifyObject(IConfirmationReceiver, Hearing(None, None))  # type: ignore[arg-type]  # unused
        receiver = RecordingReceiver()
        self.world.job(receiver)
        self.remote.take(self.world.lastStart())
        verifyObject(ITaskConfirmation, receiver.confirmation)


class QueueTests(JobTests):
    """
    Before anything is sent.
    """

    def setUp(self) -> None:
        """
        A world with one place and one port.
        """
        self.world = JobWorld(maxProcesses=1)
        self.network = self.world.network
        self.remote = self.world.remote

    def finish(self, job: RunningJob) -> None:
        """
        Have a job done that stood in the way.
        """
        caller = self.remote.take(self.world.lastStart())
        caller.end()
        self.network.flush()
        caller.transport.loseConnection()
        self.network.advance(0)
        self.world.gone.remove(job)

    def test_position(self) -> None:
        """
        Jobs wait for a place in their process class, and know how long.
        """
        first, second, third = self.world.job(), self.world.job(), self.world.job()
        self.assertEqual([first.position, second.position, third.position], [0, 1, 2])
        self.assertEqual(second.state, "waiting for a process")
        self.assertEqual(second.port, 0)
        self.assertEqual(len(self.remote.asked(StartTask)), 1)
        self.finish(first)
        self.assertEqual([second.position, third.position], [0, 1])
        self.assertEqual(second.state, "waiting for response")
        third.cancel()
        self.world.gone.remove(third)
        second.cancel()
        self.assertOutcome(second, Reason.CANCELLED)

    def test_cancelInQueue(self) -> None:
        """
        A job that is cancelled, killed or abandoned in the queue leaves it;
        nothing was sent.
        """
        for give in (RunningJob.cancel, RunningJob.abandon, RunningJob.kill):
            self.setUp()
            first, second = self.world.job(), self.world.job()
            started = second.started
            give(second)
            self.assertEqual(self.world.processClass.waiting, 0)
            self.failureResultOf(started, NotStarted)
            self.finish(first)
            self.assertOutcome(second, Reason.CANCELLED)
            self.assertEqual(len(self.remote.asked(StartTask)), 1)

    def test_deadlineInQueue(self) -> None:
        """
        A job with a deadline does not wait in the queue for longer; one without
        waits for ever.
        """
        first = self.world.job()
        caller = self.remote.take(self.world.lastStart())
        second, third = self.world.job(deadline=10), self.world.job()
        for _ in range(20):
            self.network.advance(5)
            caller.say(Heartbeat(), 0)
        self.assertEqual(third.state, "waiting for a process")
        third.cancel()
        self.world.gone.remove(third)
        caller.end()
        self.network.advance(3)
        self.world.gone.remove(first)
        self.assertOutcome(second, Reason.NOT_STARTED, "turn did not come")

    def test_waitForPort(self) -> None:
        """
        When all callback ports are used, a job waits for one, until its start
        is overdue.
        """
        self.world = JobWorld(ports=1)
        self.network, self.remote = self.world.network, self.world.remote
        first, second, third = self.world.job(), self.world.job(), self.world.job()
        self.assertEqual(second.state, "waiting for a callback port")
        self.assertEqual(self.world.ports.waiting, 2)
        self.finish(first)
        self.assertEqual(second.port, 59999)
        caller = self.remote.take(self.world.lastStart())
        for _ in range(12):
            self.network.advance(5)
            caller.say(Heartbeat(), 0)
        caller.end()
        self.network.advance(3)
        self.world.gone.remove(second)
        self.assertOutcome(third, Reason.NOT_STARTED, "no callback port from 59999 to 59999")

    def test_cancelWithoutPort(self) -> None:
        """
        A job that is cancelled while it waits for a port takes none.
        """
        for give in (RunningJob.cancel, RunningJob.abandon, RunningJob.kill):
            self.world = JobWorld(ports=1)
            self.network, self.remote = self.world.network, self.world.remote
            first, second = self.world.job(), self.world.job()
            give(second)
            self.assertEqual(self.world.ports.waiting, 0)
            self.finish(first)
            self.assertOutcome(second, Reason.CANCELLED)

    def test_cannotListen(self) -> None:
        """
        If nothing can be listened on at all, the job was not started, and its
        outcome says why.
        """
        self.world.listenError = OSError(EMFILE, "Too many open files")
        job = self.world.job()
        outcome = self.assertOutcome(job, Reason.NOT_STARTED, "Too many open files")
        self.assertEqual(outcome.errno, EMFILE)

    def test_nonsense(self) -> None:
        """
        A work that cannot be asked for could not be started, now or later.
        """
        job = self.world.job(work=Work())
        self.assertOutcome(job, Reason.START_FAILED, "exactly one of")


class ResponseTests(JobTests):
    """
    While the client waits for the response.
    """

    def test_refused(self) -> None:
        """
        A refusal of the remote is the outcome, with its errno and its text.
        """
        for reason in (
            Reason.CALLBACK_REFUSED,
            Reason.CALLBACK_FILTERED,
            Reason.CALLBACK_WRONG_LISTENER,
            Reason.REJECTED_CAPACITY,
        ):
            self.setUp()
            job = self.world.job()
            self.world.say(TaskRefused, reason, "why", 111)
            outcome = self.assertOutcome(job, reason, "why")
            self.assertEqual(outcome.errno, 111)

    def test_refusedAfterClaim(self) -> None:
        """
        It is so, too, when a caller was shown our proof: who says that nothing
        was executed is believed.
        """
        job = self.world.job()
        self.world.claimed()
        self.world.say(TaskRefused, Reason.CALLBACK_WRONG_LISTENER, "wrong proof")
        self.assertOutcome(job, Reason.CALLBACK_WRONG_LISTENER, "wrong proof")

    def test_errorAnswers(self) -> None:
        """
        Other errors of the remote have a reason, too.
        """
        for code, reason in (
            ("SCHEDULER-121", Reason.REJECTED_AUTH),
            ("jsremote-authentication", Reason.REJECTED_AUTH),
            ("SCHEDULER-105", Reason.REJECTED_VERSION),
            ("jsremote-version", Reason.REJECTED_VERSION),
            ("SCHEDULER-319", Reason.REJECTED_VERSION),
            ("jsremote-protocol-error", Reason.PROTOCOL_ERROR),
        ):
            self.setUp()
            job = self.world.job()
            start = self.world.lastStart()
            self.remote.served[-1].say(RequestFailed(start.id, code, "no"))
            self.network.flush()
            self.assertOutcome(job, reason, "no")

    def test_noRemote(self) -> None:
        """
        Who does not know the command that starts a task is no remote, of whatever dialect.
        """
        job = self.world.job()
        text = "Unknown command: <remote_scheduler.start_remote_task>"
        start = self.world.lastStart()
        self.remote.served[-1].say(RequestFailed(start.id, "SCHEDULER-105", text))
        self.network.flush()
        self.assertOutcome(job, Reason.REJECTED_VERSION, "it takes no tasks")

    def test_helloRefused(self) -> None:
        """
        So have refusals of the hello; for the classic dialect it says so.
        """
        self.world = JobWorld(welcomes=False)
        self.network, self.remote = self.world.network, self.world.remote
        job = self.world.job()
        self.remote.served[0].say(RequestFailed(1, "SCHEDULER-105", "Unknown command"))
        self.network.flush()
        self.assertOutcome(job, Reason.REJECTED_VERSION, "classic dialect")

    def test_notAdmitted(self) -> None:
        """
        A remote that hangs up upon our hello does not allow us to start tasks.
        """
        self.world = JobWorld(welcomes=False)
        self.network, self.remote = self.world.network, self.world.remote
        job = self.world.job()
        for _ in range(2):
            self.remote.served[-1].transport.loseConnection()
            self.network.advance(1)
        self.assertOutcome(job, Reason.REJECTED_AUTH, "does not allow this host")

    def test_unreachable(self) -> None:
        """
        A remote that cannot be connected to for ten seconds is unreachable.
        """
        self.remote.host.refuse(PORT)
        job = self.world.job()
        self.network.advance(11)
        outcome = self.assertOutcome(job, Reason.REMOTE_UNREACHABLE, "Connection refused")
        self.assertEqual(outcome.errno, ECONNREFUSED)

    def test_noAnswer(self) -> None:
        """
        If the remote does not answer, the task was not started: nobody was
        shown our proof, and the listener is closed.
        """
        job = self.world.job()
        self.network.advance(59)
        self.assertIsNone(job.outcome)
        self.network.advance(2)
        self.assertOutcome(job, Reason.NOT_STARTED, "did not answer")

    def test_deadline(self) -> None:
        """
        A job may have a deadline of its own.
        """
        job = self.world.job(deadline=100)
        self.network.advance(99)
        self.assertIsNone(job.outcome)
        self.network.advance(2)
        self.assertOutcome(job, Reason.NOT_STARTED, "did not answer")

    def test_noCall(self) -> None:
        """
        If the remote says that it called, and nobody did, that is a timeout of
        the callback.
        """
        job = self.world.job()
        self.world.say(TaskTaken, 1)
        self.network.advance(61)
        self.assertOutcome(job, Reason.CALLBACK_TIMEOUT, "did not call back")

    def test_cancel(self) -> None:
        """
        Before a caller was shown our proof, a job can be taken back: the
        listener closes, so the remote will not execute it.
        """
        for give in (RunningJob.cancel, RunningJob.abandon, RunningJob.kill):
            self.setUp()
            job = self.world.job()
            caller = self.remote.dialFor(self.world.lastStart())
            give(job)
            self.assertOutcome(job, Reason.CANCELLED)
            self.assertIsNotNone(caller.lost)
            self.assertEqual(self.remote.asked(KillTask), [])

    def test_cancelDone(self) -> None:
        """
        To cancel the Deferred is to cancel the job.
        """
        job = self.world.job()
        job.done.cancel()
        self.assertOutcome(job, Reason.CANCELLED)

    def test_reconnect(self) -> None:
        """
        If the command connection breaks, the same start is asked again, and a
        remote that has taken it already says so again.
        """
        job = self.world.job()
        first = self.world.lastStart()
        self.remote.served[-1].transport.abortConnection()
        self.network.advance(1)
        second = self.world.lastStart()
        self.assertEqual((second.task, second.token, second.port), (job.task, first.token, 59999))
        self.assertEqual(len(self.remote.served), 2)
        self.remote.take(second).end()
        self.assertOutcome(job, Reason.EXITED)


class ClaimTests(JobTests):
    """
    When a caller was shown our proof, the task may run.
    """

    def test_overdue(self) -> None:
        """
        A start that is not confirmed in time is lost; the connection is
        dropped, which the remote takes as an order to kill.
        """
        job = self.world.job()
        caller = self.remote.take(self.world.lastStart(), started=False)
        for _ in range(13):
            self.network.advance(5)
            if caller.lost is None:
                caller.say(Heartbeat(), 0)
        self.assertIsNotNone(caller.lost)
        self.assertOutcome(job, Reason.LOST, "not confirmed in time")

    def test_claimLost(self) -> None:
        """
        If the caller breaks off before it proved itself, and the remote says
        that it had called, the task may run: it is lost.
        """
        job = self.world.job()
        caller = self.world.claimed()
        caller.transport.abortConnection()
        self.network.flush()
        self.assertIsNone(job.outcome)
        self.world.say(TaskTaken, 1)
        self.assertOutcome(job, Reason.LOST, "before the start")

    def test_claimLostAfterAnswer(self) -> None:
        """
        The same in the other order.
        """
        job = self.world.job()
        caller = self.world.claimed()
        self.world.say(TaskTaken, 1)
        self.assertIsNone(job.outcome)
        caller.transport.abortConnection()
        self.network.flush()
        self.assertOutcome(job, Reason.LOST, "before the start")

    def test_claimOfStranger(self) -> None:
        """
        A stranger who breaks off does not spoil it while the remote is at it,
        or may come.
        """
        job = self.world.job()
        stranger = self.world.claimed()
        stranger.transport.abortConnection()
        self.network.flush()
        second = self.world.claimed()
        caller = self.world.claimed()
        self.world.say(TaskTaken, 1)
        second.transport.abortConnection()
        self.network.flush()
        self.assertIsNone(job.outcome)
        caller.prove()
        caller.attach()
        caller.start()
        caller.end()
        self.assertOutcome(job, Reason.EXITED)
        self.assertEqual(self.world.strangers.count, 2)

    def test_startedAnew(self) -> None:
        """
        A remote that was started anew after the call is not asked to start the
        task: the one before may have done it.
        """
        job = self.world.job()
        caller = self.world.claimed()
        caller.transport.abortConnection()
        starts = len(self.remote.asked(StartTask))
        self.remote.instance = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f99"
        self.remote.served[-1].transport.abortConnection()
        self.network.advance(2)
        self.assertOutcome(job, Reason.LOST, "before the start")
        self.assertEqual(len(self.remote.asked(StartTask)), starts)

    def test_unanswered(self) -> None:
        """
        If the remote, gone after the call, cannot be reached any more, the task
        is lost.
        """
        job = self.world.job()
        caller = self.world.claimed()
        self.remote.host.refuse(PORT)
        self.remote.served[-1].transport.abortConnection()
        self.network.advance(11)
        self.assertIsNone(job.outcome)
        caller.transport.abortConnection()
        self.network.flush()
        self.assertOutcome(job, Reason.LOST, "before the start")

    def test_unansweredButStarted(self) -> None:
        """
        While the confirmation connection stands, no answer is needed.
        """
        job = self.world.job()
        caller = self.world.claimed()
        caller.prove()
        caller.attach()
        self.network.flush()
        self.remote.host.refuse(PORT)
        self.remote.served[-1].transport.abortConnection()
        self.network.advance(11)
        caller.start()
        caller.end()
        self.assertOutcome(job, Reason.EXITED)

    def lostBeforeStart(self) -> RunningJob:
        """
        A job whose confirmation connection broke before the start.
        """
        job = self.world.job()
        caller = self.world.claimed()
        caller.prove()
        caller.attach()
        self.network.flush()
        caller.transport.abortConnection()
        self.network.flush()
        self.assertIsNone(job.outcome)
        return job

    def test_lostThenTaken(self) -> None:
        """
        When the confirmation connection breaks before the start was confirmed,
        the answer to the start decides: taken is lost.
        """
        job = self.lostBeforeStart()
        self.world.say(TaskTaken, 1)
        self.assertOutcome(job, Reason.LOST, "before the start")

    def test_lostThenRefused(self) -> None:
        """
        Refused is refused.
        """
        job = self.lostBeforeStart()
        self.world.say(TaskRefused, Reason.START_FAILED, "no")
        self.assertOutcome(job, Reason.START_FAILED, "no")

    def test_lostThenSilence(self) -> None:
        """
        Without an answer it is lost.
        """
        job = self.lostBeforeStart()
        self.network.advance(61)
        self.assertOutcome(job, Reason.LOST, "before the start")

    def test_lostThenUnreachable(self) -> None:
        """
        So it is when none can come.
        """
        job = self.lostBeforeStart()
        self.remote.host.refuse(PORT)
        self.remote.served[-1].transport.abortConnection()
        self.network.advance(12)
        self.assertOutcome(job, Reason.LOST, "before the start")

    def test_lostThenCancelled(self) -> None:
        """
        Meanwhile it can be cancelled, which changes nothing; be killed, which
        the remote is asked for; and be abandoned, which is lost.
        """
        job = self.lostBeforeStart()
        job.cancel()
        killed = job.kill()
        self.network.flush()
        (kill,) = self.remote.asked(KillTask)
        self.remote.served[-1].say(TaskKilled(kill.id, job.task, 1))
        self.network.flush()
        self.assertEqual(self.successResultOf(killed).died, 1)
        self.assertIsNone(job.outcome)
        job.abandon()
        self.assertOutcome(job, Reason.LOST, "the client stopped")

    def test_takenThenLost(self) -> None:
        """
        After the answer, it is lost at once.
        """
        job = self.world.job()
        caller = self.remote.take(self.world.lastStart(), started=False)
        caller.transport.abortConnection()
        self.network.flush()
        self.assertOutcome(job, Reason.LOST, "connection broke")

    def test_nonsenseBeforeStart(self) -> None:
        """
        A proven remote that talks nonsense has broken the protocol.
        """
        job = self.world.job()
        caller = self.world.claimed()
        caller.prove()
        caller.say(TaskAttached("00000000-0000-0000-0000-000000000000"))
        self.network.flush()
        self.assertOutcome(job, Reason.PROTOCOL_ERROR, "broke the protocol")

    def test_wrongProof(self) -> None:
        """
        A caller with a wrong proof is a stranger; the job waits for the remote.
        """
        job = self.world.job()
        caller = self.world.claimed()
        caller.say(CallerProof(bytes(32)), 0)
        self.network.flush()
        self.assertIsNotNone(caller.lost)
        self.remote.take(self.world.lastStart()).end()
        self.assertOutcome(job, Reason.EXITED)


class EndTests(JobTests):
    """
    While the client waits for the end of the task.
    """

    def running(self, receiver: IConfirmationReceiver | None = None) -> tuple[RunningJob, Caller]:
        """
        A job whose task runs.
        """
        job = self.world.job(receiver)
        return job, self.remote.take(self.world.lastStart())

    def test_lost(self) -> None:
        """
        If the confirmation connection breaks, the task is lost, never started
        again.
        """
        receiver = RecordingReceiver()
        job, caller = self.running(receiver)
        caller.print(Stream.STDOUT, b"half")
        caller.transport.abortConnection()
        outcome = self.assertOutcome(job, Reason.LOST, "connection broke")
        self.assertEqual(outcome.pid, 4711)
        self.assertEqual(receiver.events[-1], "confirmationLost")
        self.assertEqual(receiver.events.count("confirmationLost"), 1)
        self.assertEqual(len(self.remote.asked(StartTask)), 1)

    def test_silent(self) -> None:
        """
        So it is if the remote is silent.
        """
        job, _ = self.running()
        self.network.cut(CLIENT, REMOTE)
        self.network.advance(21)
        self.assertOutcome(job, Reason.LOST, "15 seconds")

    def test_protocolError(self) -> None:
        """
        A remote whose end does not match what it sent has broken the protocol:
        no success.
        """
        job, caller = self.running()
        caller.end(stdoutSize=10)
        self.network.flush()
        self.assertOutcome(job, Reason.PROTOCOL_ERROR, "0 bytes of stdout came, not the 10 sent")

    def test_reasons(self) -> None:
        """
        The remote's reason is the outcome's.
        """
        for reason, signal in (
            (Reason.SIGNALLED, 15),
            (Reason.TIMEOUT, 15),
            (Reason.SILENT, 9),
            (Reason.KILLED, 9),
            (Reason.OUTPUT_LIMIT, 15),
        ):
            self.setUp()
            job, caller = self.running()
            caller.end(reason, signal=signal)
            self.network.flush()
            self.assertEqual(self.assertOutcome(job, reason).signal, signal)

    def test_commandConnectionBreaks(self) -> None:
        """
        The task does not need the command connection.
        """
        job, caller = self.running()
        self.remote.host.refuse(PORT)
        self.remote.served[-1].transport.abortConnection()
        self.network.advance(10)
        caller.end()
        self.network.flush()
        self.assertOutcome(job, Reason.EXITED)

    def test_kill(self) -> None:
        """
        A kill asks the remote, and tells what died; the outcome is what the
        remote says.
        """
        job, caller = self.running()
        killed = job.kill(9, 1.5)
        self.network.flush()
        (kill,) = self.remote.asked(KillTask)
        self.assertEqual((kill.task, kill.signal, kill.grace), (job.task, 9, 1.5))
        self.remote.served[-1].say(TaskKilled(kill.id, job.task, 3))
        caller.end(Reason.KILLED, signal=9)
        self.network.flush()
        self.assertEqual(self.successResultOf(killed).died, 3)
        self.assertOutcome(job, Reason.KILLED)

    def test_killFails(self) -> None:
        """
        A kill that the remote refuses, or cannot be asked for, fails.
        """
        job, caller = self.running()
        killed = job.kill()
        self.network.flush()
        (kill,) = self.remote.asked(KillTask)
        self.remote.served[-1].say(RequestFailed(kill.id, "SCHEDULER-121", "no"))
        self.network.flush()
        self.failureResultOf(killed, CommandRefused)
        given = job.kill()
        given.cancel()
        self.failureResultOf(given, CancelledError)
        self.remote.served[-1].say(TaskKilled(kill.id + 1, job.task, 3))
        caller.end()
        self.assertOutcome(job, Reason.EXITED)

    def test_cancel(self) -> None:
        """
        To cancel is to kill, with the grace of the work.
        """
        job, caller = self.running()
        job.cancel()
        self.network.flush()
        (kill,) = self.remote.asked(KillTask)
        self.assertEqual((kill.signal, kill.grace), (15, WORK.grace))
        self.remote.served[-1].say(TaskKilled(kill.id, job.task, 3))
        caller.end(Reason.KILLED, signal=15)
        self.network.flush()
        self.assertOutcome(job, Reason.KILLED)

    def test_cancelDone(self) -> None:
        """
        Who cancels C{done} hears no outcome, but the job comes to its end.
        """
        job, caller = self.running()
        done: Deferred[Outcome] = job.done
        done.cancel()
        self.successResultOf(done)  # our own errback made it a success
        self.network.flush()
        self.assertEqual(len(self.remote.asked(KillTask)), 1)
        caller.end(Reason.KILLED, signal=15)
        self.network.advance(3)
        self.assertEqual(self.world.gone, [job])
        assert job.outcome is not None
        self.assertIs(job.outcome.reason, Reason.KILLED)

    def test_overBeforeKilled(self) -> None:
        """
        If a task that is being killed is over before the kill is answered, it is
        no news that the answer does not come.
        """
        job, caller = self.running()
        job.cancel()
        self.network.flush()
        self.assertEqual(len(self.remote.asked(KillTask)), 1)
        caller.end(Reason.KILLED, signal=15)
        self.network.flush()
        with capturedLogs() as events:
            self.assertOutcome(job, Reason.KILLED)  # which stops the connection
        self.assertEqual([each for each in events if "cannot be killed" in each["log_format"]], [])

    def test_cancelWithoutRemote(self) -> None:
        """
        If the remote cannot be asked to kill, the confirmation connection is
        dropped, upon which it kills.
        """
        job, caller = self.running()
        self.remote.host.refuse(PORT)
        self.remote.served[-1].transport.abortConnection()
        job.cancel()
        for _ in range(2):
            self.network.advance(5.5)
            caller.say(Heartbeat(), 0)
        self.network.flush()
        self.assertIsNotNone(caller.lost)
        self.assertOutcome(job, Reason.LOST)

    def test_abandon(self) -> None:
        """
        A job can be given up at once.
        """
        job, caller = self.running()
        job.abandon()
        self.network.flush()
        self.assertIsNotNone(caller.lost)
        self.assertOutcome(job, Reason.LOST, "the client stopped")

    def test_endKeptLater(self) -> None:
        """
        The outcome is known when the application has kept the end, and the
        remote was told so.
        """
        receiver = RecordingReceiver()
        kept: Deferred[None] = Deferred()
        receiver.holdEnd = kept
        job, caller = self.running(receiver)
        caller.end()
        self.network.flush()
        self.assertIsNone(job.outcome)
        job.cancel()
        killed = job.kill()
        self.network.flush()
        (kill,) = self.remote.asked(KillTask)
        self.remote.served[-1].say(TaskKilled(kill.id, job.task))
        self.network.flush()
        self.successResultOf(killed)
        kept.callback(None)
        self.assertOutcome(job, Reason.EXITED)

    def test_endNotAcknowledged(self) -> None:
        """
        If the connection breaks before, it is lost: success needs an
        acknowledged end.
        """
        receiver = RecordingReceiver()
        kept: Deferred[None] = Deferred()
        receiver.holdEnd = kept
        job, caller = self.running(receiver)
        caller.end()
        self.network.flush()
        caller.transport.abortConnection()
        self.network.flush()
        kept.callback(None)
        self.assertOutcome(job, Reason.LOST, "could be acknowledged")
        self.assertEqual(receiver.events[-1], "taskEnded")

    def test_endAbandoned(self) -> None:
        """
        So it is if the job is given up.
        """
        receiver = RecordingReceiver()
        kept: Deferred[None] = Deferred()
        receiver.holdEnd = kept
        job, caller = self.running(receiver)
        caller.end()
        self.network.flush()
        job.abandon()
        kept.callback(None)
        self.assertOutcome(job, Reason.LOST, "the client stopped")

    def test_startFailedNotAcknowledged(self) -> None:
        """
        The answer to the start is no news once the end has come.
        """
        receiver = RecordingReceiver()
        kept: Deferred[None] = Deferred()
        receiver.holdEnd = kept
        job = self.world.job(receiver)
        caller = self.world.claimed()
        caller.prove()
        caller.attach()
        caller.end(Reason.START_FAILED)
        self.network.flush()
        self.world.say(TaskTaken, 1)
        self.network.advance(10)
        kept.callback(None)
        self.assertOutcome(job, Reason.START_FAILED)


class BrokenReceiver(RecordingReceiver):
    """
    Fails at one of its methods.
    """

    def __init__(self, method: str) -> None:
        super().__init__()
        self._method = method

    def _fail(self, method: str) -> None:
        if method == self._method:
            raise ZeroDivisionError(method)

    def taskAttached(self, confirmation: ITaskConfirmation, message: TaskAttached) -> None:
        """
        Fail, or not.
        """
        super().taskAttached(confirmation, message)
        self._fail("taskAttached")

    def taskStarted(self, message: TaskStarted) -> None:
        """
        Fail, or not.
        """
        super().taskStarted(message)
        self._fail("taskStarted")

    def outputReceived(self, stream: Stream, data: bytes) -> None:
        """
        Fail, or not.
        """
        super().outputReceived(stream, data)
        self._fail("outputReceived")

    def taskEnded(self, message: TaskEnded) -> Deferred[None] | None:
        """
        Fail, or not.
        """
        self._fail("taskEnded")
        return super().taskEnded(message)

    def confirmationLost(self, reason: Failure) -> None:
        """
        Fail, or not.
        """
        super().confirmationLost(reason)
        self._fail("confirmationLost")


class ReceiverTests(JobTests):
    """
    The application's receiver.
    """

    def test_broken(self) -> None:
        """
        An application that fails does not disturb its job, and is logged.
        """
        for method in ("taskAttached", "taskStarted", "outputReceived"):
            self.setUp()
            receiver = BrokenReceiver(method)
            job = self.world.job(receiver)
            caller = self.remote.take(self.world.lastStart())
            caller.print(Stream.STDOUT, b"hello\n")
            caller.end()
            self.assertOutcome(job, Reason.EXITED)
            self.assertEqual(len(receiver.events), 4)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_brokenAtTheEnd(self) -> None:
        """
        If it fails to take the end, that is not acknowledged.
        """
        job = self.world.job(BrokenReceiver("taskEnded"))
        caller = self.remote.take(self.world.lastStart())
        caller.end()
        self.assertOutcome(job, Reason.LOST)
        self.assertEqual(caller.said(EndAcknowledged), [])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_brokenWhenLost(self) -> None:
        """
        If it fails to hear that the end will not come, nobody else minds.
        """
        job = self.world.job(BrokenReceiver("confirmationLost"))
        job.cancel()
        self.assertOutcome(job, Reason.CANCELLED)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_lastWord(self) -> None:
        """
        Whatever becomes of the job, the receiver hears a last word, once.
        """
        receiver = RecordingReceiver()
        job = self.world.job(receiver)
        self.world.say(TaskRefused, Reason.REJECTED_CAPACITY, "full")
        self.assertEqual(receiver.events, ["confirmationLost"])
        assert receiver.lost is not None
        self.assertIn("rejected-capacity", receiver.lost.getErrorMessage())
        self.assertOutcome(job, Reason.REJECTED_CAPACITY)

    def test_cancelInside(self) -> None:
        """
        A job may be cancelled from within what its receiver hears.
        """

        class Impatient(RecordingReceiver):
            job: RunningJob

            def taskStarted(self, message: TaskStarted) -> None:
                super().taskStarted(message)
                self.job.cancel()

            def outputReceived(self, stream: Stream, data: bytes) -> None:
                super().outputReceived(stream, data)
                self.job.abandon()

        receiver = Impatient()
        receiver.job = job = self.world.job(receiver)
        caller = self.remote.take(self.world.lastStart())
        self.assertEqual(len(self.remote.asked(KillTask)), 1)
        caller.print(Stream.STDOUT, b"hello\n")
        caller.print(Stream.STDOUT, b"world\n")
        caller.end()
        self.assertOutcome(job, Reason.LOST)
        self.assertEqual(receiver.output[Stream.STDOUT], b"hello\n")


class VerdictTests(SynchronousTestCase):
    """
    Words for outcomes.
    """

    def test_told(self) -> None:
        """
        An outcome can be told in a few words.
        """
        self.assertEqual(verdicts.told(Outcome(Reason.EXITED, exitCode=7)), "exited with 7")
        self.assertEqual(
            verdicts.told(Outcome(Reason.KILLED, "as you wished", signal=15)),
            "killed by signal 15: as you wished",
        )

    def test_notAsked(self) -> None:
        """
        Errors that have nothing to do with the network say what they are.
        """
        for error, reason in (
            (RemoteUnreachable("blue:4455", "no", 113), Reason.REMOTE_UNREACHABLE),
            (NotAdmitted("no"), Reason.REJECTED_AUTH),
            (ConnectionClosed("stopped"), Reason.NOT_STARTED),
            (LocalProtocolError("too long"), Reason.START_FAILED),
        ):
            outcome = verdicts.notAsked(Failure(error))
            self.assertIs(outcome.reason, reason)
            self.assertEqual(outcome.errno, getattr(error, "errno", 0))


class JobMachine(RuleBasedStateMachine):
    """
    Whatever happens to two jobs, in whatever order: each has one outcome, never
    a success without an end, and leaves nothing behind.
    """

    def __init__(self) -> None:
        super().__init__()
        self.world = JobWorld(maxProcesses=1)
        self.receivers = [RecordingReceiver(), RecordingReceiver()]
        self.jobs = [self.world.job(receiver) for receiver in self.receivers]
        self.callers: list[Caller] = []
        self.ended: set[str] = set()

    def flush(self) -> None:
        """
        Let the network work.
        """
        self.world.network.flush()

    @property
    def caller(self) -> Caller | None:
        """
        The last caller, if it is still there.
        """
        if self.callers and self.callers[-1].lost is None:
            return self.callers[-1]
        return None

    def try_(self, action: str, *arguments: object) -> None:
        """
        Have the caller say something, if it may be said.
        """
        if self.caller is not None:
            try:
                getattr(self.caller, action)(*arguments)
            except Exception:
                return  # it would have been nonsense
            self.flush()

    @rule(number=st.integers(0, 1), how=st.sampled_from([""] * 5 + ["cancel", "abandon", "kill"]))
    def giveUp(self, number: int, how: str) -> None:
        """
        The application does not want a job, now and then.
        """
        if not how:
            return
        result = getattr(self.jobs[number], how)()
        if result is not None:
            result.addErrback(lambda reason: None)
        self.flush()

    @rule(seconds=st.sampled_from([0.0, 0.5, 0.5, 3.0, 3.0, 16.0, 61.0]))
    def wait(self, seconds: float) -> None:
        """
        Time passes.
        """
        self.world.network.advance(seconds)

    @precondition(lambda self: self.world.remote.asked(StartTask))
    @rule(refuses=st.booleans())
    def answer(self, refuses: bool) -> None:
        """
        The remote answers the last start, on the last connection.
        """
        served = self.world.remote.served[-1]
        starts = [each for each in served.requests if isinstance(each, StartTask)]
        if starts and served.lost is None:
            start = starts[-1]
            served.requests.remove(start)
            if refuses:
                served.say(TaskRefused(start.id, start.task, Reason.CALLBACK_REFUSED))
            else:
                served.say(TaskTaken(start.id, start.task, 1))
            self.flush()

    @precondition(lambda self: self.world.remote.asked(StartTask))
    @rule()
    def call(self) -> None:
        """
        The remote calls back.
        """
        caller = self.world.remote.dialFor(self.world.lastStart())
        if caller.connected:  # else nobody listens any more
            self.callers.append(caller)
            self.try_("challenge")

    @rule()
    def prove(self) -> None:
        """
        The remote proves itself.
        """
        self.try_("prove")
        self.try_("attach")

    @precondition(lambda self: self.world.remote.asked(StartTask))
    @rule()
    def callAndStart(self) -> None:
        """
        The remote does all that it should, up to the start.
        """
        self.call()
        self.prove()
        self.start()

    @rule()
    def start(self) -> None:
        """
        The program runs.
        """
        self.try_("start")

    @rule(data=st.sampled_from([b"x", b"y" * 1000]))
    def print(self, data: bytes) -> None:
        """
        It prints.
        """
        self.try_("print", Stream.STDOUT, data)

    @rule(fields=st.sampled_from([{}, {}, {"stdoutSize": 77}]))
    def end(self, fields: dict[str, int]) -> None:
        """
        The task is over, or the remote lies.
        """
        if self.caller is not None:
            try:
                self.caller.end(Reason.EXITED, **fields)
            except Exception:
                return
            if not fields:
                self.ended.add(self.caller.task)
            self.flush()

    @rule()
    def hangUp(self) -> None:
        """
        The confirmation connection breaks.
        """
        if self.caller is not None:
            self.caller.transport.abortConnection()
            self.flush()

    @rule()
    def nonsense(self) -> None:
        """
        Nonsense comes over the confirmation connection.
        """
        if self.caller is not None:
            self.caller.transport.write(bytes(20))
            self.flush()

    @rule()
    def breakCommand(self) -> None:
        """
        The command connection breaks.
        """
        self.world.remote.served[-1].transport.abortConnection()
        self.flush()

    @invariant()
    def oneOutcome(self) -> None:
        """
        There is never more than one, nor a success without an end.
        """
        for job in self.jobs:
            ours = [outcome for each, outcome in self.world.outcomes if each is job]
            assert len(ours) <= 1, ours
            assert ours == ([] if job.outcome is None else [job.outcome])
            if ours and ours[0].reason is Reason.EXITED:
                assert job.task in self.ended

    def teardown(self) -> None:
        """
        In the end every job is over, and nothing is left.
        """
        self.world.network.advance(200)
        for job in self.jobs:
            job.abandon()
        self.world.network.advance(10)
        stopping = self.world.connection.stop()
        self.flush()
        assert stopping.called
        assert len(self.world.outcomes) == 2, self.world.outcomes
        assert sorted(job.task for job in self.world.gone) == sorted(job.task for job in self.jobs)
        assert self.world.ports.reserved == 0
        assert self.world.processClass.running == 0
        assert self.world.clock.getDelayedCalls() == []
        for receiver in self.receivers:
            last = [each for each in receiver.events if each in ("taskEnded", "confirmationLost")]
            assert len(last) == 1, receiver.events
            assert receiver.events[-1] == last[0], receiver.events


class MachineTests(SynchronousTestCase):
    """
    L{JobMachine}, as a test.
    """

    def test_anyOrder(self) -> None:
        """
        In whatever order things happen, a job has exactly one outcome.
        """
        run_state_machine_as_test(
            JobMachine,
            settings=settings(
                deadline=None,
                max_examples=100,
                stateful_step_count=25,
                suppress_health_check=list(HealthCheck),
            ),
        )
