"""
Tests for L{jobscheduler_tcp.client.recovery}, and all that lets orders outlive a
client that is killed.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client.history import TaskRecord
from jobscheduler_tcp.client.order import NEVER, NewOrder, Order, OrderChange
from jobscheduler_tcp.client.orderhistory import OrderRecord, StepRecord
from jobscheduler_tcp.config.model import (
    ConfiguredChain,
    ConfiguredJob,
    ConfiguredNode,
    ConfiguredOrder,
    Objects,
)
from jobscheduler_tcp.errors import HistoryUnusable
from jobscheduler_tcp.messages import Work
from jobscheduler_tcp.outcome import Reason
from tests.crashing import World


def job(name: str, **more: object) -> ConfiguredJob:
    """
    A job for orders.
    """
    work = Work(script="true")
    return ConfiguredJob(name, "", "", work, "", order=True, stopOnError=False, **more)  # type: ignore[arg-type]  # by name


CHAIN = ConfiguredChain(
    "nightly",
    "",
    (
        ConfiguredNode("1", "extract", "2", "failed"),
        ConfiguredNode("2", "load", "done", "failed", "setback"),
        ConfiguredNode("done"),
        ConfiguredNode("failed"),
    ),
    "",
)
JOBS = (
    job("extract", tasks=3),
    job("load", tasks=2, setbackDelays=((1, 600.0),), maxSetbacks=1),
    ConfiguredJob("report", "", "", Work(script="true"), ""),
)
OBJECTS = Objects((), JOBS, (CHAIN,))


class RecoveryTestCase(SynchronousTestCase):
    """
    Help with clients that are killed.
    """

    objects = OBJECTS

    def setUp(self) -> None:
        """
        A client.
        """
        self.world = World(Path(self.mktemp()), self.objects)
        self.addCleanup(self.world.close)

    def again(self) -> None:
        """
        Kill the client and start it anew.
        """
        self.world.crash()
        self.world.start()

    def write(self) -> None:
        """
        Let the disk do all that it shall.
        """
        while self.world.commit():
            pass

    def add(self, identifier: str = "1", **more: object) -> Order:
        """
        Add an order, for good.
        """
        order = self.world.scheduler.addOrder(NewOrder("nightly", identifier, **more))  # type: ignore[arg-type]  # by name
        self.world.clock.advance(0)
        self.write()
        return order

    def order(self, identifier: str = "1") -> Order:
        """
        How it stands.
        """
        return self.world.scheduler.book.find("nightly", identifier)

    def change(self, identifier: str = "1", **more: object) -> None:
        """
        Change it, for good.
        """
        self.world.scheduler.modifyOrder("nightly", identifier, OrderChange(**more))  # type: ignore[arg-type]  # by name
        self.world.clock.advance(0)
        self.write()

    def past(self) -> list[OrderRecord]:
        """
        The history of orders.
        """
        reading = Deferred.fromCoroutine(self.world.history.ordersOf("nightly"))
        self.write()
        return self.successResultOf(reading)

    def steps(self, number: int) -> list[StepRecord]:
        """
        The history of one.
        """
        reading = Deferred.fromCoroutine(self.world.history.stepsOf(number))
        self.write()
        return self.successResultOf(reading)

    def record(self, number: int) -> TaskRecord:
        """
        The history of a task.
        """
        reading = Deferred.fromCoroutine(self.world.history.task(number))
        self.write()
        found = self.successResultOf(reading)
        assert found is not None
        return found

    def runTo(self, *steps: str) -> None:
        """
        Let some things happen, and be written.
        """
        for step in steps:
            self.assertTrue(getattr(self.world, step)(), step)
            self.write()


class OrderTests(RecoveryTestCase):
    """
    What becomes of orders.
    """

    def test_whole(self) -> None:
        """
        An order is there again as it was, whatever was asked of it.
        """
        self.add(
            title="the first",
            priority=5,
            endState="done",
            parameters=(("day", "monday"), ("odd", "\udcff\n\u20ac")),
            at=self.world.now + 3600,
        )
        self.add("2", suspended=True)
        self.change("2", state="2", title="the second", parameters=(("a", "b"),))
        self.add("3", at=NEVER)
        self.add("")
        before = {each.id: each for each in self.world.scheduler.book.orders("nightly")}
        self.again()
        after = {each.id: each for each in self.world.scheduler.book.orders("nightly")}
        self.assertEqual(list(after), ["1", "2", "3", "4"])
        for name in Order.__slots__:
            if name not in ("entry", "task", "began", "touched", "inProcessSince"):
                for identifier in ("1", "2", "3"):
                    self.assertEqual(
                        getattr(after[identifier], name), getattr(before[identifier], name), name
                    )
        self.assertEqual(self.add("").id, "5")

    def test_uncommitted(self) -> None:
        """
        What was not written was never said: it is as if it had not been asked.
        """
        self.world.scheduler.addOrder(NewOrder("nightly", "1"))
        self.again()
        self.assertEqual(list(self.world.scheduler.book.orders("nightly")), [])
        self.assertEqual(self.world.onTheWay, [])

    def test_queue(self) -> None:
        """
        Orders that wait for their job keep their places, behind those of higher
        priority.
        """
        self.world.scheduler.modifyJob("extract", "suspend")
        for identifier in ("a", "b", "c"):
            self.add(identifier)
        self.change("a", title="is asked to queue up anew")
        self.add("d", priority=1)
        self.world.scheduler.modifyJob("extract", "continue")
        self.again()
        self.world.settle()
        begun = [each.id for each in reversed(self.past())]
        self.assertEqual(begun, ["d", "b", "c", "a"])

    def test_times(self) -> None:
        """
        An order goes on at the time that it was given, by the wall clock, and so
        after a setback.
        """
        self.add(at=self.world.now + 100)
        self.again()
        self.world.now += 90
        self.world.clock.advance(90)
        self.world.settle()
        self.assertEqual(self.world.runs, {})
        self.world.now += 10
        self.world.clock.advance(10)
        self.runTo("step", "execute", "finish", "step", "execute")
        self.world.finish(exitCode=1)
        self.write()
        at = self.order().at
        self.assertEqual((self.order().setbacks, at), (1, self.world.now + 600))
        self.again()
        self.assertEqual((self.order().setBack, self.order().at), (True, at))
        self.world.settle()
        self.assertEqual(len(self.world.runs["1", "load"]), 1)
        self.world.now += 600
        self.world.clock.advance(600)
        self.world.settle()
        self.assertEqual(len(self.world.runs["1", "load"]), 2)
        self.assertEqual([each.state for each in self.past()], ["done"])

    def test_history(self) -> None:
        """
        Of each order there is where and when it began and ended, and each step
        with its task and outcome, across restarts.
        """
        order = self.add(title="the first")
        self.runTo("step", "execute", "finish")
        self.world.now += 5
        self.again()
        (record,) = self.past()
        self.assertEqual((record.state, record.ended, record.cause), ("1", None, "order"))
        self.runTo("step", "execute")
        self.world.finish(exitCode=1)
        self.world.now += 600
        self.world.clock.advance(600)
        self.world.settle()
        (record,) = self.past()
        self.assertEqual(
            (record.id, record.title, record.state, record.removed),
            ("1", "the first", "done", False),
        )
        self.assertEqual((record.began, record.ended), (order.began, self.world.now))
        steps = self.steps(record.number)
        self.assertEqual(
            [(step.state, step.job, step.verdict.value, step.exitCode) for step in steps],
            [
                ("1", "extract", "succeeded", 0),
                ("2", "load", "failed", 1),
                ("2", "load", "succeeded", 0),
            ],
        )
        self.assertEqual(self.record(steps[0].task).orderId, "1")

    def test_removed(self) -> None:
        """
        What was removed does not come back, also while a task works on it; the
        history tells it.
        """
        self.add()
        self.add("2", suspended=True)
        self.runTo("step", "execute")
        for identifier in ("1", "2"):
            self.world.scheduler.removeOrder("nightly", identifier)
        self.write()
        self.again()
        self.assertEqual(list(self.world.scheduler.book.orders("nightly")), [])
        self.world.settle()
        self.assertEqual(
            [(each.id, each.removed) for each in self.past()], [("2", True), ("1", True)]
        )
        self.again()
        self.assertEqual(list(self.world.scheduler.book.orders("nightly")), [])

    def test_successor(self) -> None:
        """
        An order that shall take the place of one under way does so after a
        restart, too.
        """
        self.add()
        self.runTo("step", "execute")
        self.add(title="the next")
        self.again()
        self.runTo("step", "finish")
        self.assertEqual((self.order().title, self.order().state), ("the next", "1"))

    def damage(self, sql: str) -> None:
        """
        Kill the client, and change what is on the disk.
        """
        self.world.crash()
        with closing(sqlite3.connect(self.world.path)) as connection, connection:
            connection.execute(sql)

    def test_damaged(self) -> None:
        """
        A history with something in it that cannot be understood is not begun with,
        and told as what it is.
        """
        self.add()
        self.damage("UPDATE orders SET parameters = 'x'")
        with self.assertRaises(HistoryUnusable) as raised:
            self.world.start()
        self.assertIn("it cannot be understood", str(raised.exception))

    def test_taskUnknown(self) -> None:
        """
        An order whose task the history does not know does not wait for it for
        ever: nobody knows what became of that.
        """
        self.add()
        self.damage("DELETE FROM tasks")
        self.world.start()
        order = self.order()
        self.assertEqual((order.task, order.lost, order.suspended), (0, True, True))
        self.assertIn("the history does not know its task", order.text)

    def test_successorWithoutChain(self) -> None:
        """
        If the job chain is not there when that task ends, it does so when the
        chain comes.
        """
        self.add()
        self.runTo("step", "execute")
        self.add(title="the next")
        self.world.objects = Objects((), JOBS)
        self.again()
        self.world.settle()
        for _ in range(2):
            self.again()
            self.world.objects = OBJECTS
        self.assertEqual((self.order().title, self.order().state), ("the next", "1"))
        self.assertFalse(self.order().suspended)

    def test_noChain(self) -> None:
        """
        Orders wait until their job chain is there; one whose task ends meanwhile
        is not moved on by guesses.
        """
        self.add()
        self.add("2", suspended=True)
        self.runTo("step", "execute")
        self.world.objects = Objects((), JOBS)
        self.again()
        self.world.settle()
        self.again()
        self.world.objects = OBJECTS
        self.world.scheduler.configure(OBJECTS)
        self.assertEqual(self.order("2").text, "")
        self.assertTrue(self.order().suspended)
        self.assertIn("its job chain was not there when its task ended", self.order().text)

    def test_noJob(self) -> None:
        """
        An order whose job is gone waits for it, and no task is forgotten.
        """
        self.add()
        self.world.objects = Objects((), JOBS[1:], (CHAIN,))
        self.again()
        self.write()
        self.assertEqual((self.order().task, self.order().state), (0, "1"))
        self.assertEqual(self.record(1).outcome.reason, Reason.CANCELLED)  # type: ignore[union-attr]  # it is over
        self.world.scheduler.configure(OBJECTS)
        self.world.settle()
        self.assertEqual([each.state for each in self.past()], ["done"])


class InFlightTests(RecoveryTestCase):
    """
    What becomes of tasks that a remote was asked for.
    """

    def test_notSent(self) -> None:
        """
        A start that was written down and not said is said anew, under another
        UUID; the task is the same.
        """
        self.add()
        self.assertEqual(self.order().task, 1)
        self.world.step()
        self.world.commit()
        self.world.onTheWay.clear()
        self.again()
        self.assertEqual(self.record(1).uuid, "00000000-0000-4000-8000-000000000001")
        self.world.settle()
        self.assertEqual(len(self.world.runs["1", "extract"]), 1)
        self.assertEqual(next(step.task for step in self.steps(1)), 1)

    def test_running(self) -> None:
        """
        A task that runs is come back to; its end moves the order.
        """
        self.add()
        self.runTo("step", "execute")
        self.again()
        self.assertEqual((self.order().task, self.order().job), (1, "extract"))
        self.assertEqual(self.world.scheduler.job("extract").state, "running")
        self.world.settle()
        self.assertEqual([each.state for each in self.past()], ["done"])
        self.assertEqual({len(each) for each in self.world.runs.values()}, {1})

    def test_neverTwice(self) -> None:
        """
        The end of a task, what it returned, and where its order stands are
        written together: whenever the client dies, no step comes again.
        """
        for commits in range(8):
            identifier = f"order {commits}"
            self.add(identifier)
            self.world.step()
            self.write()
            self.world.execute()
            self.write()
            self.world.finish()
            for _ in range(commits):
                self.world.commit()
            self.again()
            self.world.settle()
            self.assertEqual(len(self.world.runs[identifier, "extract"]), 1)
            (uuid,) = self.world.runs[identifier, "load"]
            parameters = dict(self.world.tasks[uuid].work.orderParameters or ())
            self.assertEqual(parameters, {"by_extract": self.world.runs[identifier, "extract"][0]})

    def test_lost(self) -> None:
        """
        Where nobody can tell how a task came out its order stands, suspended and
        lost, and the operator decides.
        """
        self.world.classic = True
        for identifier in ("1", "2", "3"):
            self.add(identifier)
        while self.world.step() or self.world.execute():
            self.write()
        self.again()
        self.world.settle()
        for identifier in ("1", "2", "3"):
            order = self.order(identifier)
            self.assertEqual((order.lost, order.suspended, order.task), (True, True, 0))
            self.assertEqual(order.text, "nobody can tell")
        self.again()
        self.assertTrue(self.order().lost)
        self.change("1", suspended=False)
        self.change("2", state="2", suspended=False)
        self.world.settle()
        self.assertEqual(len(self.world.runs["1", "extract"]), 2)
        self.assertEqual(len(self.world.runs["2", "extract"]), 1)
        self.assertEqual([each.id for each in self.past() if each.ended], ["2", "1"])

    def test_plain(self) -> None:
        """
        Tasks of commands that wait for their time, for their turn, or for a
        process wait again, with all that they were told.
        """
        scheduler = self.world.scheduler
        scheduler.startJob("report", taskName="first", parameters=(("day", "monday"),))
        scheduler.startJob("report", environment=(("E", "1"),))
        scheduler.startJob("report", startAt=self.world.now + 3600)
        self.world.clock.advance(0)
        self.write()
        self.again()
        tasks = list(self.world.scheduler.tasks.alive.values())
        self.assertEqual([task.number for task in tasks], [1, 2, 3])
        self.assertEqual(
            [(task.name, task.parameters, task.environment) for task in tasks],
            [("first", (("day", "monday"),), ()), ("", (), (("E", "1"),)), ("", (), ())],
        )
        self.assertEqual(len(self.world.given), 1)
        self.assertEqual(tasks[2].startAt, self.world.now + 3600)

    def test_orderlyStop(self) -> None:
        """
        A client that is stopped finds the same again as one that was killed.
        """
        self.add()
        self.add("2")
        self.world.scheduler.startJob("report")
        self.runTo("step", "execute")
        stopping = self.world.scheduler.stop()
        self.successResultOf(stopping)
        self.write()
        self.again()
        self.assertEqual([self.order(each).task for each in ("1", "2")], [1, 2])
        self.assertEqual(self.record(3).outcome, None)
        self.assertEqual(sorted(self.world.scheduler.tasks.alive), [1, 2, 3])


class StandingTests(RecoveryTestCase):
    """
    Orders of files.
    """

    def configure(self, **more: object) -> None:
        """
        Have an order in a file.
        """
        order = ConfiguredOrder("nightly", "1", place="o:1", **({"title": ""} | more))  # type: ignore[arg-type]  # by name
        self.world.objects = Objects((), JOBS, (CHAIN,), (order,))

    def test_same(self) -> None:
        """
        As long as the file is the same, the order is there again as it stood,
        and runs no second time.
        """
        self.configure()
        self.again()
        self.world.settle()
        self.assertEqual((self.order().state, self.order().at), ("1", NEVER))
        self.again()
        self.world.settle()
        self.assertEqual(len(self.world.runs["1", "extract"]), 1)
        self.assertEqual([each.cause for each in self.past()], ["file"])
        self.change("1", suspended=True, title="other")
        self.again()
        self.assertEqual((self.order().suspended, self.order().title), (True, "other"))

    def test_changed(self) -> None:
        """
        A file that changed while the client was away makes the order anew.
        """
        self.configure(waits=True)
        self.again()
        self.change("1", suspended=True)
        self.configure(waits=True, priority=3)
        self.again()
        self.assertEqual((self.order().suspended, self.order().priority), (False, 3))

    def test_noChain(self) -> None:
        """
        If the job chain is not there after a restart, and comes later, the order
        is as it stood: it goes through no node twice.
        """
        self.configure()
        self.again()
        self.runTo("step", "execute", "finish")
        self.assertEqual(self.order().state, "2")
        whole = self.world.objects
        self.world.objects = Objects((), JOBS, (), whole.orders)
        self.again()
        self.write()
        self.again()
        self.world.objects = whole
        self.world.scheduler.configure(whole)
        self.world.clock.advance(0)
        self.assertEqual(self.order().state, "2")
        self.world.settle()
        self.assertEqual(len(self.world.runs["1", "extract"]), 1)

    def test_goneWithoutChain(self) -> None:
        """
        The order of a file that is gone does not come with its chain.
        """
        self.configure(waits=True)
        self.again()
        self.write()
        self.world.objects = Objects((), JOBS)
        self.again()
        self.write()
        self.world.scheduler.configure(OBJECTS)
        self.write()
        self.assertEqual(list(self.world.scheduler.book.orders("nightly")), [])

    def test_gone(self) -> None:
        """
        A file that is gone takes its order with it.
        """
        self.configure(waits=True)
        self.again()
        self.write()
        self.world.objects = OBJECTS
        self.again()
        self.assertEqual(list(self.world.scheduler.book.orders("nightly")), [])

    def test_removed(self) -> None:
        """
        An order that was removed by a command stays away until its file changes.
        """
        self.configure(waits=True)
        self.again()
        self.world.scheduler.removeOrder("nightly", "1")
        self.write()
        self.again()
        self.assertEqual(list(self.world.scheduler.book.orders("nightly")), [])
        self.configure(waits=True, title="new")
        self.again()
        self.assertEqual(self.order().title, "new")


class Crashes(RuleBasedStateMachine):
    """
    Whatever happens, and whenever the client is killed: each node works on an
    order once, and no order is forgotten that the client has said to have.
    """

    def __init__(self) -> None:
        super().__init__()
        self.directory = mkdtemp()
        self.world = World(Path(self.directory) / "history", OBJECTS)
        self.said: set[str] = set()
        self.failed: set[str] = set()
        self.names = iter(range(1000))

    which = strategies.integers(0, 5)

    @rule(priority=strategies.integers(0, 2))
    def add(self, priority: int) -> None:
        """
        Somebody adds an order, and is answered when it is written.
        """
        identifier = f"o{next(self.names)}"
        self.world.scheduler.addOrder(NewOrder("nightly", identifier, priority=priority))
        self.world.database.whenWritten().addCallback(lambda _: self.said.add(identifier))
        self.world.clock.advance(0)

    @rule()
    def commit(self) -> None:
        """
        The disk is done.
        """
        self.world.commit()

    @rule(which=which)
    def step(self, which: int) -> None:
        """
        The client goes on.
        """
        self.world.step(which)

    @rule(which=which)
    def execute(self, which: int) -> None:
        """
        The remote hears a start, perhaps late.
        """
        self.world.execute(which)

    @rule(which=which)
    def finish(self, which: int) -> None:
        """
        A task succeeds.
        """
        self.world.finish(which)

    @rule(which=which)
    def fail(self, which: int) -> None:
        """
        A task of the first node fails.
        """
        running = [task for task in self.world.tasks.values() if task.end is None]
        if running and running[which % len(running)].order[1] == "extract":
            self.failed.add(running[which % len(running)].order[0])
            self.world.finish(which, exitCode=1)

    @rule()
    def crash(self) -> None:
        """
        Kill -9.
        """
        self.world.crash()
        self.world.start()

    def teardown(self) -> None:
        """
        In the end everything is where it must be.
        """
        try:
            self.world.crash()
            self.world.start()
            self.world.settle()
            self.check()
        finally:
            self.world.close()
            rmtree(self.directory)

    def check(self) -> None:
        """
        Compare what ran with what the history says.
        """
        assert list(self.world.scheduler.book.orders("nightly")) == []
        assert self.world.scheduler.tasks.alive == {}
        reading = Deferred.fromCoroutine(self.world.history.ordersOf(count=1000))
        while self.world.commit():
            pass
        found: list[list[OrderRecord]] = []
        reading.addCallback(found.append)
        past = {each.id: each for each in found[0]}
        assert self.said <= set(past), (self.said, past)
        for (order, state), uuids in self.world.runs.items():
            assert len(uuids) == 1, (order, state, uuids)
            if state == "load":
                parameters = dict(self.world.tasks[uuids[0]].work.orderParameters or ())
                assert parameters == {"by_extract": self.world.runs[order, "extract"][0]}
        for identifier, record in past.items():
            assert record.state == ("failed" if identifier in self.failed else "done"), record
            assert ((identifier, "load") in self.world.runs) != (identifier in self.failed)


class CrashTests(SynchronousTestCase):
    """
    Clients that are killed.
    """

    def test_crashes(self) -> None:
        """
        Whatever happens, and whenever the client is killed: each node works on an
        order once, and no order is forgotten.
        """
        with capturedLogs():
            run_state_machine_as_test(
                Crashes, settings=settings(max_examples=60, stateful_step_count=60, deadline=None)
            )
