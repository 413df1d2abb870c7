"""
Tests for receivers that know a task before its remote does
(L{IStartWitness<jobscheduler_tcp.interfaces.IStartWitness>}).
"""

from __future__ import annotations

from errno import ECONNREFUSED

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from jobscheduler_tcp.interfaces import IConfirmationReceiver, IStartWitness
from jobscheduler_tcp.messages import StartTask, TaskRefused
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.testing import RecordingReceiver
from tests.test_job import JobWorld


@implementer(IConfirmationReceiver, IStartWitness)
class Witness(RecordingReceiver):
    """
    A receiver that writes starts down when the test says so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, str]] = []
        self.written: list[Deferred[None]] = []
        self.returned: list[str] = []

    def startLeaves(self, task: str, remote: str, key: str) -> Deferred[None]:
        """
        Remember it.
        """
        self.told.append((task, remote))
        self.written.append(Deferred())
        return self.written[-1]

    def startReturned(self, task: str) -> None:
        """
        Remember it.
        """
        self.returned.append(task)


class WitnessTests(SynchronousTestCase):
    """
    No start leaves before it is written down.
    """

    def setUp(self) -> None:
        """
        A client with a job that has a witness.
        """
        self.world = JobWorld()
        self.witness = Witness()
        self.job = self.world.job(self.witness)

    def write(self) -> None:
        """
        What was told is on the disk.
        """
        self.witness.written[-1].callback(None)
        self.world.network.flush()

    def test_waits(self) -> None:
        """
        The task is asked for when its UUID is written down, under that UUID;
        until then no port is taken and no time runs out.
        """
        self.world.clock.advance(1000)
        self.assertEqual(self.world.remote.asked(StartTask), [])
        self.assertEqual(self.job.port, 0)
        self.assertEqual(self.witness.told, [(self.job.task, self.world.processClass.address)])
        self.write()
        self.assertEqual(self.world.lastStart().task, self.job.task)
        self.assertEqual(self.witness.returned, [])

    def test_refused(self) -> None:
        """
        What a remote refused is told to have returned.
        """
        self.write()
        self.world.say(TaskRefused, Reason.REJECTED_CAPACITY)
        self.assertEqual(self.witness.returned, [self.job.task])

    def test_otherwise(self) -> None:
        """
        A task that is asked for in another way has another UUID, which is written
        down first, too.
        """
        self.write()
        first = self.job.task
        self.world.say(TaskRefused, Reason.CALLBACK_REFUSED, "", ECONNREFUSED)
        self.assertNotEqual(self.job.task, first)
        second = self.job.task
        self.assertEqual([task for task, _ in self.witness.told], [first, second])
        # This remote knows no other way; but nobody looks before that is written.
        self.write()
        self.assertEqual([task for task, _ in self.witness.told], [first, second, self.job.task])
        self.write()
        self.assertEqual(self.successResultOf(self.job.done).reason, Reason.CALLBACK_REFUSED)
        self.assertEqual(self.witness.returned, [self.job.task])

    def test_cancelled(self) -> None:
        """
        A job that is cancelled meanwhile is over at once, and asks for nothing.
        """
        self.job.cancel()
        self.assertEqual(self.successResultOf(self.job.done).reason, Reason.CANCELLED)
        self.write()
        self.assertEqual(self.world.remote.asked(StartTask), [])
        self.assertEqual(self.world.processClass.running, 0)

    def test_notWritten(self) -> None:
        """
        What can never be written down is not asked for.
        """
        self.witness.written[-1].errback(OSError(5, "Input/output error"))
        self.assertEqual(self.successResultOf(self.job.done).reason, Reason.NOT_STARTED)
        self.assertEqual(self.world.remote.asked(StartTask), [])
