"""
Tests for L{jobscheduler_tcp.client.service}.
"""

from __future__ import annotations

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from jobscheduler_tcp.client.ports import CallbackPorts
from jobscheduler_tcp.client.processclass import ProcessClass
from jobscheduler_tcp.client.service import ClientService
from jobscheduler_tcp.errors import UnknownProcessClass
from jobscheduler_tcp.messages import Hello, KillTask, StartTask, Stream, TaskKilled, Work
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.testing import MemoryNetwork, RecordingReceiver
from tests.scripted import CLIENT, PORT, Caller, ScriptedRemote

WORK = Work(script="exit 7", grace=3)


class ServiceTests(SynchronousTestCase):
    """
    A client with two process classes, on a network in memory.
    """

    def setUp(self) -> None:
        """
        Start it.
        """
        self.network = MemoryNetwork()
        self.clock = self.network.clock
        self.remote = ScriptedRemote(self.network)
        host = self.network.host(CLIENT)
        self.ports = CallbackPorts(self.clock, host.listen)
        self.service = ClientService(
            self.clock,
            self.ports,
            [
                ProcessClass("blue", self.remote.endpoint(), 2, "blue:4455"),
                ProcessClass("nowhere", TCP4ClientEndpoint(host, "10.9.9.9", PORT)),
            ],
            startTimeout=20,
            connectTimeout=5,
            bootId="boot",
            wallClock=lambda: 12.5,
        )
        self.service.startService()

    def caller(self, start: StartTask) -> Caller:
        """
        The remote has started a task.
        """
        return self.remote.take(start)

    def stop(self) -> Deferred[None]:
        """
        Stop the service.
        """
        stopping = self.service.stopService()
        self.network.flush()
        return stopping

    def assertNothingLeft(self) -> None:
        """
        No port, no timer, no connection.
        """
        self.assertEqual(self.ports.reserved, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual([each.connected for each in self.remote.served if each.lost is None], [])
        self.assertEqual(self.service.jobs, [])

    def test_withoutSHA256(self) -> None:
        """
        Who does not read the SHA-256 of the output does not ask the remote for it;
        that all came as it was sent is checked all the same.
        """
        whole = self.service.run(WORK, "blue", sha256=False)
        self.network.flush()
        self.assertFalse(self.remote.asked(StartTask)[-1].sha256)
        caller = self.caller(self.remote.asked(StartTask)[-1])
        caller.print(Stream.STDOUT, b"hello\n")
        caller.end()
        self.network.flush()
        caller.transport.loseConnection()
        self.network.flush()
        outcome = self.successResultOf(whole.done)
        self.assertIs(outcome.reason, Reason.EXITED)
        self.assertEqual(outcome.stdoutSize, 6)
        self.assertEqual((outcome.stdoutDigest, outcome.stderrDigest), ("", ""))

        broken = self.service.run(WORK, "blue", sha256=False)
        self.network.flush()
        caller = self.caller(self.remote.asked(StartTask)[-1])
        caller.print(Stream.STDOUT, b"hello\n")
        caller.end(stdoutChecksum=bytes(16))
        self.network.flush()
        self.assertIs(self.successResultOf(broken.done).reason, Reason.PROTOCOL_ERROR)

    def test_service(self) -> None:
        """
        It is a service, and idle as long as there is no job.
        """
        verifyObject(IService, self.service)
        self.network.advance(10)
        self.assertEqual(self.remote.served, [])
        self.successResultOf(self.stop())
        self.assertNothingLeft()

    def test_run(self) -> None:
        """
        A job runs in the process class that it names, or in the first one.
        """
        receiver = RecordingReceiver()
        job = self.service.run(WORK, "blue", receiver)
        self.network.flush()
        (hello,) = self.remote.asked(Hello)
        self.assertEqual((hello.bootId, hello.clock), ("boot", 12.5))
        self.assertEqual(self.service.jobs, [job])
        caller = self.caller(self.remote.asked(StartTask)[0])
        caller.end(exitCode=7)
        self.network.flush()
        self.assertEqual(self.successResultOf(job.done).exitCode, 7)
        self.assertEqual(self.service.jobs, [])
        self.assertEqual(receiver.events[-1], "taskEnded")

        second = self.service.run(WORK)
        self.assertEqual(second.processClass.name, "blue")
        self.assertNotEqual(second.task, job.task)
        second.cancel()
        self.successResultOf(second.done)
        caller.transport.loseConnection()
        self.network.flush()
        self.successResultOf(self.stop())
        self.assertNothingLeft()

    def test_unknownProcessClass(self) -> None:
        """
        A process class that is not there is told to the caller.
        """
        self.assertRaises(UnknownProcessClass, self.service.run, WORK, "red")
        empty = ClientService(self.clock, self.ports, [])
        self.assertRaises(UnknownProcessClass, empty.run, WORK)

    def test_timeouts(self) -> None:
        """
        The service says how long a job tries to connect, and to start.
        """
        lost = self.service.run(WORK, "nowhere")
        slow = self.service.run(WORK)
        patient = self.service.run(WORK, deadline=50)
        self.network.advance(5)
        self.assertIs(self.successResultOf(lost.done).reason, Reason.REMOTE_UNREACHABLE)
        self.network.advance(14)
        self.assertNoResult(slow.done)
        self.network.advance(2)
        self.assertIs(self.successResultOf(slow.done).reason, Reason.NOT_STARTED)
        self.network.advance(28)
        self.assertNoResult(patient.done)
        self.network.advance(2)
        self.assertIs(self.successResultOf(patient.done).reason, Reason.NOT_STARTED)
        self.successResultOf(self.stop())
        self.assertNothingLeft()

    def test_stop(self) -> None:
        """
        When the service stops, jobs that wait are cancelled, tasks that run are
        killed, and their outcomes are delivered.
        """
        running, started, queued = [self.service.run(WORK) for _ in range(3)]
        self.network.flush()
        starts = self.remote.asked(StartTask)
        caller = self.caller(starts[0])
        stopping = self.stop()
        self.assertIs(self.successResultOf(queued.done).reason, Reason.CANCELLED)
        self.assertIs(self.successResultOf(started.done).reason, Reason.CANCELLED)
        self.assertNoResult(running.done)
        self.assertNoResult(stopping)
        late = self.service.run(WORK)
        self.assertIs(self.successResultOf(late.done).reason, Reason.CANCELLED)
        (kill,) = self.remote.asked(KillTask)
        self.assertEqual((kill.task, kill.grace), (running.task, 3.0))

        self.remote.served[0].say(TaskKilled(kill.id, kill.task, 1))
        caller.end(Reason.KILLED, signal=15)
        self.network.flush()
        self.assertIs(self.successResultOf(running.done).reason, Reason.KILLED)
        self.assertNoResult(stopping)
        caller.transport.loseConnection()
        self.network.flush()
        self.network.advance(0)
        self.network.flush()
        self.successResultOf(stopping)
        self.assertNothingLeft()

    def test_stopIsBounded(self) -> None:
        """
        A remote that does not answer does not hold the service back for longer
        than a kill may take; then the task is lost.
        """
        job = self.service.run(WORK)
        self.network.flush()
        caller = self.caller(self.remote.asked(StartTask)[0])
        stopping = self.stop()
        self.network.advance(7.9)
        self.assertNoResult(stopping)
        self.network.advance(0.2)
        self.assertIs(self.successResultOf(job.done).reason, Reason.LOST)
        self.successResultOf(stopping)
        self.assertIsNotNone(caller.lost)
        self.assertNothingLeft()

    def test_stopTwice(self) -> None:
        """
        The service can be stopped twice, and be started again.
        """
        job = self.service.run(WORK)
        self.network.flush()
        caller = self.caller(self.remote.asked(StartTask)[0])
        first, second = self.stop(), self.stop()
        caller.end(Reason.KILLED, signal=15)
        self.network.advance(3)
        self.successResultOf(first)
        self.successResultOf(second)
        self.successResultOf(job.done)
        self.assertNothingLeft()

        self.service.startService()
        again = self.service.run(WORK)
        self.network.flush()
        self.caller(self.remote.asked(StartTask)[-1]).end()
        self.network.flush()
        self.assertTrue(self.successResultOf(again.done).succeeded)
        stopping = self.stop()
        self.network.advance(3)
        self.successResultOf(stopping)
        self.assertNothingLeft()

    def test_stopCancelled(self) -> None:
        """
        Who does not want to wait until it has stopped leaves no timer behind.
        """
        job = self.service.run(WORK)
        self.network.flush()
        self.caller(self.remote.asked(StartTask)[0])
        stopping = self.stop()
        stopping.cancel()
        self.failureResultOf(stopping)
        job.abandon()
        self.network.advance(0)
        self.successResultOf(self.stop())
        self.assertNothingLeft()

    def test_many(self) -> None:
        """
        Many jobs go through few places and few ports, one after the other.
        """
        self.ports = CallbackPorts(self.clock, self.network.host(CLIENT).listen, 59999, 59998)
        self.service = ClientService(
            self.clock, self.ports, [ProcessClass("", self.remote.endpoint(), 3)]
        )
        jobs = [self.service.run(WORK) for _ in range(50)]
        self.network.flush()
        for number in range(50):
            caller = self.caller(self.remote.asked(StartTask)[number])
            caller.end()
            self.network.flush()
            caller.transport.loseConnection()
            self.network.flush()
            self.network.advance(0)
            self.network.flush()
        self.assertEqual([self.successResultOf(job.done).succeeded for job in jobs], [True] * 50)
        self.assertEqual({start.port for start in self.remote.asked(StartTask)}, {59999, 59998})
        self.assertEqual(len(self.remote.served), 1)
        self.assertEqual(self.network.host(CLIENT).timeWait, [])
        self.successResultOf(self.stop())
        self.assertNothingLeft()
