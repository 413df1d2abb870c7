"""
Tests for L{jobscheduler_tcp.client.placing}.
"""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client.outputlog import OutputLog
from jobscheduler_tcp.client.placing import RETRY, RETRY_LATER, PlacedTask
from jobscheduler_tcp.client.startedtask import COMING_BACK, WAITING, WAITING_FOR_REMOTE
from jobscheduler_tcp.config.model import ConfiguredClass
from jobscheduler_tcp.messages import Work
from jobscheduler_tcp.outcome import Outcome, Reason
from tests.placed import FakeJob, FakeRunner, placingWith

OK = Outcome(Reason.EXITED, exitCode=0)
DOWN = Outcome(Reason.REMOTE_UNREACHABLE, "cannot reach a:1")
NIGHT = ConfiguredClass("night", "a", 1, 2, "night:1")
SEVERAL = replace(NIGHT, others=(("b", 2), ("c", 3)))


class PlacingTests(SynchronousTestCase):
    """
    L{Placing} finds each task a place and a remote.
    """

    def setUp(self) -> None:
        """
        One process class.
        """
        self.clock = Clock()
        self.runner = FakeRunner()
        self.placing = placingWith(self.clock, self.runner)
        self.placing.configure([NIGHT])
        self.night = self.placing.classes["night"]

    def run_(self, name: str = "night") -> PlacedTask:
        """
        Run a task.
        """
        return self.placing.run(Work(script="true"), name, OutputLog("a", 1))

    def last(self) -> FakeJob:
        """
        What was given to a remote last.
        """
        return self.runner.ran[-1]

    def addresses(self) -> list[str]:
        """
        To which remotes tasks were given.
        """
        return [each.processClass.split(" ")[1] for each in self.runner.ran]

    def outcome(self, task: PlacedTask) -> Reason:
        """
        How a task came out.
        """
        outcome = self.successResultOf(task.done)
        assert isinstance(outcome, Outcome)
        self.assertEqual(task.state, "over")
        return outcome.reason

    def test_places(self) -> None:
        """
        Who finds no place waits for one, first come, first served, and may give
        up.
        """
        tasks = [self.run_() for _ in range(5)]
        self.assertEqual(len(self.runner.ran), 2)
        self.assertEqual([task.state for task in tasks[2:]], [WAITING] * 3)
        tasks[2].cancel()
        self.assertIs(self.outcome(tasks[2]), Reason.CANCELLED)
        self.successResultOf(tasks[3].kill(15, 5.0))
        self.assertIs(self.outcome(tasks[3]), Reason.CANCELLED)
        self.runner.ran[0].end(OK)
        self.assertIs(self.outcome(tasks[0]), Reason.EXITED)
        self.assertEqual(tasks[4].state, "waiting for response")
        self.assertEqual((self.night.running, self.night.waiting), (2, 0))

    def test_running(self) -> None:
        """
        A task at a remote is what the remote says of it.
        """
        task = self.run_()
        self.assertEqual((task.pid, task.task, task.remote), (0, FakeJob.task, "a:1"))
        self.last().start()
        self.assertEqual((task.pid, task.why), (4711, ""))
        task.kill(15, 5.0)
        task.cancel()
        self.assertEqual((self.last().kills, self.last().cancelled), ([(15, 5.0)], True))
        self.last().end(Outcome(Reason.KILLED, signal=15))
        self.assertIs(self.outcome(task), Reason.KILLED)
        task.cancel()
        self.assertEqual((task.task, self.night.running), (FakeJob.task, 0))

    def test_comeBack(self) -> None:
        """
        A task of another life has its place at once, at the remote that was asked
        for it, even if there is none.
        """
        for _ in range(2):
            self.run_()
        log = OutputLog("a", 1)
        task = self.placing.attach("uuid", "key", "night", log, remote="a:1", stdout=3, stderr=4)
        self.assertEqual(self.runner.attached, [("uuid", "key", 3, 4)])
        self.assertEqual(task.why, "")
        self.runner.ran[-1].state = COMING_BACK
        self.assertEqual(task.why, "the client comes back to the task at a:1")
        self.assertEqual((task.remote, self.night.running), ("a:1", 3))
        waiting = self.run_()
        self.runner.ran[0].end(OK)
        self.assertEqual(waiting.state, WAITING)
        self.last().start()
        self.assertEqual((task.pid, task.why), (4711, ""))
        self.last().end(DOWN)
        self.assertIs(self.outcome(task), Reason.REMOTE_UNREACHABLE)
        self.assertEqual((self.night.running, waiting.state), (2, "waiting for response"))

    def test_comeBackNowhere(self) -> None:
        """
        If that remote is not configured any more, what became of the task is not
        known.
        """
        for name in ("night", "other"):
            task = self.placing.attach("uuid", "key", name, OutputLog("a", 1), remote="b:2")
            self.assertIs(self.outcome(task), Reason.LOST)
            self.assertEqual((self.placing.classes[name].running, self.runner.ran), (0, []))

    def test_down(self) -> None:
        """
        A remote that is down is waited for, with a reason that can be seen, and
        is tried again and again.
        """
        task, other = self.run_(), self.run_()
        for each in list(self.runner.ran):
            each.end(DOWN)
        self.assertEqual((task.state, task.why), (WAITING_FOR_REMOTE, self.night.why))
        self.assertIn("SCHEDULER-489", task.why)
        self.assertIn("cannot reach a:1", task.why)
        self.assertEqual((task.task, task.pid, task.remote), ("", 0, ""))
        self.clock.advance(RETRY - 1)
        self.assertEqual(len(self.runner.ran), 2)
        self.clock.advance(1)
        self.assertEqual(len(self.runner.ran), 4)
        self.last().end(OK)
        self.runner.ran[-2].end(DOWN)
        self.assertIs(self.outcome(other), Reason.EXITED)
        task.cancel()
        self.assertIs(self.outcome(task), Reason.CANCELLED)
        self.clock.advance(RETRY)
        self.assertEqual((self.clock.getDelayedCalls(), self.night.running), ([], 0))

    def test_busy(self) -> None:
        """
        A remote that has no room is waited for, too; one that forbids it is not.
        """
        task = self.run_()
        self.last().end(Outcome(Reason.REJECTED_CAPACITY, "30 tasks run"))
        self.assertIn("30 tasks run", task.why)
        self.clock.advance(RETRY)
        self.last().end(Outcome(Reason.REJECTED_AUTH))
        self.assertIs(self.outcome(task), Reason.REJECTED_AUTH)

    def test_cancelledWhileTried(self) -> None:
        """
        A task that is cancelled while a remote is tried is not tried again.
        """
        task = self.run_()
        task.cancel()
        self.last().end(DOWN)
        self.assertIs(self.outcome(task), Reason.CANCELLED)

    def test_deadline(self) -> None:
        """
        A class may bound the time for which its remotes may be down.
        """
        self.placing.configure([replace(NIGHT, timeout=12.0)])
        task = self.run_()
        self.last().end(DOWN)
        self.clock.advance(5)
        self.last().end(DOWN)
        self.clock.advance(5)
        self.last().end(DOWN)
        self.clock.advance(2)
        self.assertIs(self.outcome(task), Reason.REMOTE_UNREACHABLE)
        self.clock.advance(RETRY)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        # While it is tried, the attempt comes to its end.
        task = self.run_()
        self.last().end(DOWN)
        self.clock.pump([5.0, 5.0])
        self.last().end(OK)
        self.assertIs(self.outcome(task), Reason.EXITED)

    def test_first(self) -> None:
        """
        The first remote that is there gets the task.
        """
        self.placing.configure([SEVERAL])
        self.run_()
        self.last().end(DOWN)
        self.run_()
        self.assertEqual(self.addresses(), ["a:1", "b:2", "b:2"])
        self.clock.advance(RETRY_LATER)
        self.last().end(OK)
        task = self.run_()
        self.assertEqual(self.addresses()[-1], "a:1")
        for _ in range(3):
            self.last().end(DOWN)
        self.assertEqual((self.addresses()[-1], task.state), ("c:3", WAITING_FOR_REMOTE))
        self.clock.advance(RETRY)
        self.assertEqual((self.addresses()[-1], task.remote), ("c:3", "c:3"))

    def test_next(self) -> None:
        """
        Or the remotes take turns, without those that are down.
        """
        self.placing.configure([replace(SEVERAL, rotates=True, maxProcesses=30)])
        for _ in range(4):
            self.run_()
        self.assertEqual(self.addresses(), ["a:1", "b:2", "c:3", "a:1"])
        self.runner.ran[1].end(DOWN)
        self.assertEqual(self.addresses()[4:], ["c:3"])
        self.run_()
        self.run_()
        self.assertEqual(self.addresses()[5:], ["a:1", "c:3"])

    def test_configured(self) -> None:
        """
        A task may wait for its class, and for a remote of it; when the class
        changes, what runs goes on where it is.
        """
        task = self.run_("folder/day")
        self.assertEqual(task.why, "there is no process class /folder/day")
        day = replace(NIGHT, name="folder/day", host="")
        self.placing.configure([NIGHT, day])
        self.assertEqual(task.why, "the process class /folder/day has no remote_scheduler")
        self.assertEqual(self.run_("").why, "there is no default process class")
        self.placing.configure([NIGHT, replace(day, host="x", port=9)])
        self.assertEqual(self.addresses(), ["x:9"])
        self.placing.configure([NIGHT])
        self.assertEqual(sorted(self.runner.classes), ["night a:1 auto"])
        self.last().end(OK)
        self.assertIs(self.outcome(task), Reason.EXITED)
        self.placing.configure([replace(NIGHT, host="b")])
        self.assertEqual(sorted(self.runner.classes), ["night b:1 auto"])

    def test_twice(self) -> None:
        """
        A remote that is named twice is one.
        """
        self.placing.configure([replace(NIGHT, others=(("b", 2), ("a", 1), ("b", 2)))])
        self.assertEqual([each.address for each in self.night.remotes], ["a:1", "b:2"])
        self.placing.configure([])
        self.assertEqual(self.runner.classes, {})

    def test_resized(self) -> None:
        """
        More places serve those who wait; fewer leave who has one.
        """
        for _ in range(4):
            self.run_()
        self.placing.configure([replace(NIGHT, maxProcesses=3)])
        self.assertEqual(len(self.runner.ran), 3)
        self.placing.configure([replace(NIGHT, maxProcesses=0)])
        self.assertEqual((self.night.running, self.night.waiting), (3, 1))

    def test_broken(self) -> None:
        """
        A mistake of ours is logged, and the task was not started.
        """

        def run(*ignored: object) -> FakeJob:
            raise ValueError("oops")

        self.patch(self.runner, "run", run)
        task = self.run_()
        self.assertIs(self.outcome(task), Reason.NOT_STARTED)
        self.assertEqual(self.night.running, 0)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
