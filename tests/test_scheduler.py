"""
Tests for L{jobscheduler_tcp.client.scheduler} and L{jobscheduler_tcp.client.jobs}.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given, settings, strategies
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client import started
from jobscheduler_tcp.client.observers import Observers
from jobscheduler_tcp.client.order import NEVER, NewOrder, Order, OrderChange
from jobscheduler_tcp.client.scheduler import Scheduler
from jobscheduler_tcp.client.startedtask import StartedTask
from jobscheduler_tcp.config.model import (
    STOP,
    ConfiguredChain,
    ConfiguredJob,
    ConfiguredNode,
    ConfiguredOrder,
    Objects,
)
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.interfaces import IConfirmationReceiver
from jobscheduler_tcp.messages import Stream, TaskKilled, Work
from jobscheduler_tcp.outcome import Outcome, Reason
from tests.placed import FakeJob

OK = Outcome(Reason.EXITED, exitCode=0)
BAD = Outcome(Reason.EXITED, exitCode=1)

CHAIN = ConfiguredChain(
    "folder/nightly",
    "",
    (
        ConfiguredNode("extract", "folder/extract", "load", "failed"),
        ConfiguredNode("load", "load", "done", "failed"),
        ConfiguredNode("done"),
        ConfiguredNode("failed"),
    ),
    "a:1",
)


def job(name: str, **more: object) -> ConfiguredJob:
    """
    A job.
    """
    return ConfiguredJob(name, "", "night", Work(script="true"), f"{name}:1", **more)  # type: ignore[arg-type]  # by name


class SchedulerTestCase(SynchronousTestCase):
    """
    Help with a scheduler.
    """

    def setUp(self) -> None:
        """
        A scheduler with two jobs for orders, and one without.
        """
        self.clock = Clock()
        self.clock.advance(1000000000)
        self.ran: list[FakeJob] = []
        self.scheduler = Scheduler(
            self.clock, self.give, wallClock=self.clock.seconds, variables=(("HOST", "h"),)
        )
        self.configure(job("report"))

    def give(self, work: Work, processClass: str, receiver: IConfirmationReceiver) -> FakeJob:
        """
        Be the process classes.
        """
        self.ran.append(FakeJob(work, processClass, receiver))
        return self.ran[-1]

    def configure(self, *jobs: ConfiguredJob, orders: tuple[ConfiguredOrder, ...] = ()) -> None:
        """
        Have other jobs.
        """
        own = (job("folder/extract", order=True), job("load", order=True, stopOnError=False))
        objects = Objects((), (*own, *jobs), (CHAIN,), orders)
        self.scheduler.configure(objects)
        self.clock.advance(0)

    def start(self, name: str = "report", **more: object) -> StartedTask:
        """
        Start a job.
        """
        task = self.scheduler.startJob(name, **more)  # type: ignore[arg-type]  # by name
        self.clock.advance(0)
        return task

    def end(self, outcome: Outcome = OK) -> None:
        """
        End the last task.
        """
        self.ran[-1].end(outcome)
        self.clock.advance(0)

    def state(self, name: str = "report") -> str:
        """
        How a job stands.
        """
        return self.scheduler.jobs[name].state


class JobTests(SchedulerTestCase):
    """
    Jobs without orders.
    """

    def test_tasks(self) -> None:
        """
        A job runs as many tasks at once as it may, in the order of their times.
        """
        self.configure(job("report", tasks=2))
        tasks = [self.start() for _ in range(4)]
        self.assertEqual([task.state for task in tasks[2:]], ["none", "none"])
        self.assertEqual(len(self.ran), 2)
        self.ran[0].end(OK)
        self.clock.advance(0)
        self.assertEqual(dict(self.ran[2].work.environment)["SCHEDULER_TASK_ID"], "3")
        self.configure(job("report", tasks=3))
        self.assertEqual(len(self.ran), 4)
        self.assertEqual(self.state(), "running")

    def test_at(self) -> None:
        """
        A task may wait for its time; the wall clock is looked at again and again.
        """
        later = self.start(startAt=self.clock.seconds() + 100)
        self.start(startAt=self.clock.seconds() + 50)
        self.clock.pump([10.0] * 4)
        self.assertEqual(self.ran, [])
        self.clock.pump([10.0] * 2)
        self.assertEqual(len(self.ran), 1)
        self.end()
        self.clock.pump([10.0] * 5)
        self.assertEqual(len(self.ran), 2)
        self.assertEqual(later.number, 1)
        self.assertEqual(dict(self.ran[1].work.environment)["SCHEDULER_TASK_ID"], "1")

    def test_environment(self) -> None:
        """
        A task is told of itself; what the command says wins over the job.
        """
        work = Work(script="true", parameters=(("a", "1"),), environment=(("E", "1"), ("F", "1")))
        self.configure(replace(job("folder/inner"), work=work))
        self.start("folder/inner", parameters=(("A", "2"),), environment=(("F", "2"),))
        self.assertEqual(self.ran[0].work.parameters, (("a", "2"),))
        self.assertIsNone(self.ran[0].work.orderParameters)
        self.assertEqual(
            dict(self.ran[0].work.environment),
            {
                "E": "1",
                "F": "2",
                "HOST": "h",
                "SCHEDULER_JOB_NAME": "inner",
                "SCHEDULER_TASK_ID": "1",
            },
        )

    def test_stopOnError(self) -> None:
        """
        A job is stopped by a task that fails, unless its configuration says no;
        tasks wait until it is unstopped.
        """
        self.start()
        waiting = self.start()
        self.end(BAD)
        self.assertEqual((self.state(), waiting.state), ("stopped", "none"))
        self.scheduler.modifyJob("report", "unstop")
        self.clock.advance(0)
        self.assertEqual(len(self.ran), 2)
        self.configure(job("report", stopOnError=False))
        self.end(BAD)
        self.assertEqual(self.state(), "pending")

    def test_ignored(self) -> None:
        """
        Exit codes and signals may be no failure.
        """
        self.configure(job("report", ignoreSignals=frozenset({15}), ignoreError=True))
        for outcome, state in (
            (BAD, "pending"),
            (Outcome(Reason.SIGNALLED, signal=15), "pending"),
            (Outcome(Reason.CANCELLED), "pending"),
            (Outcome(Reason.SIGNALLED, signal=9), "stopped"),
        ):
            self.start()
            self.end(outcome)
            self.assertEqual(self.state(), state)

    def test_delayAfterError(self) -> None:
        """
        A job may be tried again after failures: after delays that grow, until it
        is stopped.
        """
        self.configure(job("report", delaysAfterError=((2, 10.0), (4, STOP))))
        self.start(parameters=(("a", "1"),), taskName="n")
        self.end(BAD)
        self.assertEqual(len(self.ran), 2)
        self.assertEqual(self.ran[1].work.parameters, (("a", "1"),))
        for number in (2, 3):
            self.end(BAD)
            self.assertEqual(len(self.ran), number)
            self.clock.advance(9)
            self.assertEqual(len(self.ran), number)
            self.clock.advance(1)
            self.assertEqual(len(self.ran), number + 1)
        task = self.scheduler.tasks.find(4)
        assert task is not None
        self.assertEqual((task.cause, task.name), ("delay_after_error", "n"))
        self.end(BAD)
        self.assertEqual(self.state(), "stopped")
        self.scheduler.modifyJob("report", "start")
        self.clock.advance(0)
        self.end()
        self.assertEqual((self.state(), len(self.ran)), ("pending", 5))

    def test_commands(self) -> None:
        """
        A job obeys JobScheduler's words.
        """
        modify = self.scheduler.modifyJob
        self.start()
        modify("report", "stop")
        self.assertEqual(self.state(), "stopping")
        self.end()
        self.assertEqual(self.state(), "stopped")
        modify("report", "wake")
        modify("report", "unstop")
        modify("report", "suspend")
        modify("report", "end")
        modify("report", "start")
        self.clock.advance(0)
        self.assertEqual((self.state(), len(self.ran)), ("suspended", 1))
        modify("report", "continue")
        self.clock.advance(0)
        self.assertEqual(len(self.ran), 2)
        self.end()
        modify("report", "wake")
        self.clock.advance(0)
        self.assertEqual(len(self.ran), 3)
        for name, command, code in (
            ("report", "bogus", "SCHEDULER-106"),
            ("report", "remove", "jsremote-unsupported"),
            ("nosuch", "stop", "SCHEDULER-161"),
        ):
            error = self.assertRaises(CommandRefused, modify, name, command)
            self.assertEqual(error.code, code)

    def test_withdraw(self) -> None:
        """
        A task that waits can be withdrawn, and one that runs not; a kill ends
        either.
        """
        first, second = self.start(), self.start()
        self.scheduler.withdraw(first)
        self.assertIsNone(first.outcome)
        self.scheduler.withdraw(second)
        self.assertEqual(second.state, "closed")
        third = self.start(startAt=self.clock.seconds() + 5)
        self.scheduler.kill(third, 9, 0.0)
        self.assertEqual(third.state, "closed")
        self.scheduler.kill(first, 9, 0.0)
        self.assertEqual(self.ran[0].kills, [(9, 0.0)])
        self.ran[0].killed.callback(TaskKilled(0, ""))
        self.end(Outcome(Reason.CANCELLED))
        self.clock.advance(10)
        self.assertEqual((len(self.ran), self.state()), (1, "pending"))
        self.assertEqual(self.scheduler.tasks.alive, {})

    def test_removed(self) -> None:
        """
        A job that is not configured any more is gone when its task is over; one
        that comes back before goes on.
        """
        self.start()
        waiting = self.start()
        self.configure()
        self.assertEqual(waiting.state, "closed")
        self.assertRaises(CommandRefused, self.scheduler.startJob, "report")
        self.configure(job("report"))
        self.start()
        self.configure()
        self.end()
        self.assertNotIn("report", self.scheduler.jobs)
        self.assertRaises(CommandRefused, self.scheduler.startJob, "report")

    def test_changed(self) -> None:
        """
        The next task runs what is configured then, and a job that is changed
        starts afresh.
        """
        self.start()
        self.start()
        self.end(BAD)
        self.assertEqual(self.state(), "stopped")
        self.configure(replace(job("report"), work=Work(script="false")))
        self.assertEqual(self.ran[1].work.script, "false")
        self.configure(job("report", enabled=False))
        self.end()
        self.assertEqual(self.state(), "disabled")

    def test_stop(self) -> None:
        """
        A scheduler that stops ends what runs, and starts nothing more.
        """
        self.start()
        waiting = self.start()
        done = self.scheduler.stop()
        self.assertTrue(self.ran[0].cancelled)
        self.assertEqual(waiting.state, "closed")
        self.assertNoResult(done)
        self.ran[0].end(Outcome(Reason.CANCELLED))
        self.successResultOf(done)
        self.scheduler.startJob("report")
        self.clock.advance(10)
        self.assertEqual(len(self.ran), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class OrderTests(SchedulerTestCase):
    """
    Jobs with orders.
    """

    def add(self, identifier: str = "1", **more: object) -> Order:
        """
        Add an order.
        """
        order = self.scheduler.addOrder(NewOrder("folder/nightly", identifier, **more))  # type: ignore[arg-type]  # by name
        self.clock.advance(0)
        return order

    def test_way(self) -> None:
        """
        Each node starts a task of its job with the parameters of the order; what
        the task gives back is there for the next.
        """
        self.add(parameters=(("day", "1"),))
        first = self.ran[0].work
        self.assertEqual(first.orderParameters, (("day", "1"),))
        environment = dict(first.environment)
        self.assertEqual(
            [environment[f"SCHEDULER_{name}"] for name in ("ORDER_ID", "JOB_CHAIN", "JOB_NAME")],
            ["1", "nightly", "extract"],
        )
        task = self.scheduler.tasks.find(1)
        assert task is not None
        self.assertEqual(task.cause, "order")
        self.end(replace(OK, returnValues=(("file", "a.csv"),)))
        self.assertEqual(self.ran[1].work.orderParameters, (("day", "1"), ("file", "a.csv")))
        self.end()
        self.assertEqual(len(self.scheduler.book), 0)
        self.assertEqual(len(self.ran), 2)

    def test_oneAtATime(self) -> None:
        """
        Orders wait for the tasks of their job, the one with the highest priority
        first.
        """
        self.add("a")
        self.add("b")
        self.add("c", priority=1)
        self.assertEqual(len(self.ran), 1)
        found = []
        for _ in range(6):
            running = next(each for each in self.ran if each.state != "over")
            environment = dict(running.work.environment)
            name, order = environment["SCHEDULER_JOB_NAME"], environment["SCHEDULER_ORDER_ID"]
            found.append(f"{name} {order}")
            running.end(OK)
            self.clock.advance(0)
        steps = [each for each in found if each.startswith("extract")]
        self.assertEqual(steps, ["extract a", "extract c", "extract b"])
        steps = [each for each in found if each.startswith("load")]
        self.assertEqual(steps, ["load a", "load c", "load b"])

    def test_failed(self) -> None:
        """
        A step that fails leads an order to the error state, and stops its job
        where that is the rule.
        """
        self.add("a")
        self.add("b")
        self.end(BAD)
        self.assertEqual(self.state("folder/extract"), "stopped")
        self.assertEqual(
            [order.id for order in self.scheduler.book.orders("folder/nightly")], ["b"]
        )
        self.assertEqual(len(self.ran), 1)
        self.scheduler.modifyJob("folder/extract", "unstop")
        self.clock.advance(0)
        self.end()
        self.end(BAD)
        self.assertEqual(self.state("load"), "pending")
        self.assertEqual(len(self.scheduler.book), 0)

    def test_lost(self) -> None:
        """
        An order whose task is lost stands, and is not worked on again by itself.
        """
        order = self.add()
        self.end(Outcome(Reason.LOST, "the connection broke"))
        self.assertTrue(order.lost)
        self.assertEqual(order.text, "the connection broke")
        self.assertEqual(self.state("folder/extract"), "pending")
        self.clock.advance(1000)
        self.assertEqual(len(self.ran), 1)
        self.scheduler.modifyOrder("folder/nightly", "1", OrderChange(suspended=False))
        self.clock.advance(0)
        self.assertEqual(len(self.ran), 2)

    def test_killed(self) -> None:
        """
        An order whose task is killed before it began goes to the error state;
        one whose client stops stays where it is.
        """
        order = self.add()
        task = self.scheduler.tasks.alive[1]
        self.scheduler.kill(task, 9, 0.0)
        self.end(Outcome(Reason.CANCELLED))
        self.assertEqual(order.state, "failed")
        order = self.add()
        self.scheduler.stop()
        self.end(Outcome(Reason.CANCELLED))
        self.assertEqual((order.state, order.task, order.suspended), ("extract", 0, False))

    def test_at(self) -> None:
        """
        An order begins when it is time.
        """
        self.add(at=self.clock.seconds() + 30)
        self.clock.advance(29)
        self.assertEqual(self.ran, [])
        self.clock.advance(1)
        self.assertEqual(len(self.ran), 1)

    def test_standing(self) -> None:
        """
        Orders of files stand in their chain; a file that changes replaces its
        order, and one that goes removes it.
        """
        waits = ConfiguredOrder("folder/nightly", "s", "", "s:1", waits=True)
        self.configure(orders=(waits,))
        self.configure(orders=(waits,))
        order = self.scheduler.book.find("folder/nightly", "s")
        self.assertEqual((order.at, len(self.scheduler.book)), (NEVER, 1))
        self.configure(orders=(replace(waits, title="t", waits=False),))
        self.assertEqual(self.scheduler.book.find("folder/nightly", "s").title, "t")
        self.assertEqual(len(self.ran), 1)
        self.end()
        self.end()
        self.assertEqual(self.scheduler.book.find("folder/nightly", "s").at, NEVER)
        self.configure()
        self.assertEqual(len(self.scheduler.book), 0)
        with capturedLogs() as events:
            self.configure(orders=(replace(waits, chain="nosuch"),))
        self.assertIn("There is no Job_chain", events[0]["text"])
        self.configure(orders=(waits,))
        self.scheduler.removeOrder("folder/nightly", "s")
        self.configure()

    def test_tooMany(self) -> None:
        """
        Orders wait while there are as many tasks as may be.
        """
        self.patch(started, "MAX_TASKS", 1)
        self.start()
        self.add()
        self.assertEqual(len(self.ran), 1)
        self.ran[0].end(OK)
        self.clock.advance(0)
        self.assertEqual(len(self.ran), 2)

    def test_observed(self) -> None:
        """
        An observer hears of tasks and orders in the order in which things
        happen.
        """
        heard: list[str] = []

        class Observer:
            def __getattr__(self, name: str) -> object:
                return lambda *about: heard.append(name)

        self.scheduler.observers.add(Observer())  # type: ignore[arg-type]  # it takes everything
        self.add()
        self.ran[0].start()
        self.ran[0].receiver.outputReceived(Stream.STDOUT, b"hello\n")
        self.end()
        self.assertEqual(
            heard,
            [
                "orderAdded",
                "orderTaken",
                "taskQueued",
                "taskGiven",
                "taskStarted",
                "taskPrinted",
                "taskEnded",
                "orderStepped",
                "orderMoved",
                "orderTaken",
                "taskQueued",
                "taskGiven",
            ],
        )

    def test_done(self) -> None:
        """
        A task may be over as soon as it is given.
        """

        def give(work: Work, processClass: str, receiver: IConfirmationReceiver) -> FakeJob:
            return FakeJob(work, processClass, receiver, state="over", done=succeed(OK))

        scheduler = Scheduler(self.clock, give, wallClock=self.clock.seconds)
        scheduler.configure(Objects((), (job("load"), job("folder/extract")), (CHAIN,)))
        for number in range(100):
            scheduler.addOrder(NewOrder("folder/nightly", str(number)))
        self.clock.pump([0.0] * 10)
        self.assertEqual(len(scheduler.book), 0)
        self.assertEqual(scheduler.tasks.ended["load"], 100)

    @given(strategies.randoms(use_true_random=False))
    @settings(max_examples=20, deadline=None)
    def test_many(self, random: Random) -> None:
        """
        However tasks end, and whatever is stopped meanwhile, every order comes to
        the end that belongs to its outcomes, each node has worked on it once, and
        it has what its tasks gave back.
        """
        self.setUp()
        self.configure()
        for name in ("folder/extract", "load"):
            configured = replace(self.scheduler.jobs[name].configured, tasks=5, stopOnError=False)
            self.scheduler.jobs[name].configure(configured)
        heard = Ends()
        self.scheduler.observers.add(heard)
        expected: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {}
        for number in range(30):
            self.add(str(number), priority=random.randint(0, 2))
        steps: list[tuple[str, str]] = []
        while len(heard.ends) < 30:
            running = [each for each in self.ran if each.state != "over"]
            self.assertLessEqual(len(running), 10)
            chosen = random.choice(running)
            environment = dict(chosen.work.environment)
            order, name = environment["SCHEDULER_ORDER_ID"], environment["SCHEDULER_JOB_NAME"]
            steps.append((order, name))
            failed = random.random() < 0.2
            if failed or name == "load":
                known = chosen.work.orderParameters or ()
                expected[order] = ("failed" if failed else "done", (*known, (name, order)))
            command = random.choice(["suspend", "continue", "continue"])
            self.scheduler.modifyJob("load", command)
            chosen.end(replace(BAD if failed else OK, returnValues=((name, order),)))
            self.scheduler.modifyJob("load", "continue")
            self.clock.advance(0)
        self.assertEqual(heard.ends, expected)
        self.assertEqual(len(set(steps)), len(steps))
        self.assertEqual((len(self.scheduler.book), self.scheduler.tasks.alive), (0, {}))


class Ends(Observers):
    """
    Remembers where orders came to their ends, and with what.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ends: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {}

    def orderEnded(self, order: Order) -> None:
        """
        Remember it.
        """
        self.ends[order.id] = (order.state, order.parameters)
