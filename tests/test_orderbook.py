"""
Tests for L{jobscheduler_tcp.client.orderbook}.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from jobscheduler_tcp.client import orderbook
from jobscheduler_tcp.client.observers import Observers
from jobscheduler_tcp.client.order import NEVER, NewOrder, Order, OrderChange, Verdict
from jobscheduler_tcp.client.orderbook import OrderBook
from jobscheduler_tcp.client.orderlog import OrderLog
from jobscheduler_tcp.config.model import ConfiguredChain, ConfiguredJob, ConfiguredNode
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.interfaces import ISchedulerObserver
from jobscheduler_tcp.messages import Work

NIGHTLY = ConfiguredChain(
    "nightly",
    "",
    (
        ConfiguredNode("extract", "extract", "load", "failed"),
        ConfiguredNode("load", "load", "done", "failed"),
        ConfiguredNode("done"),
        ConfiguredNode("failed"),
    ),
    "live/nightly.job_chain.xml:1",
)
PATIENT = ConfiguredChain(
    "folder/patient",
    "",
    (
        ConfiguredNode("try", "extract", "wait", "end", "setback"),
        ConfiguredNode("wait", "load", "end", "end", "suspend", 60.0),
        ConfiguredNode("end"),
    ),
    "live/folder/patient.job_chain.xml:1",
)
JOBS = {
    name: ConfiguredJob(
        name,
        "",
        "",
        Work(script="true"),
        f"live/{name}.job.xml:1",
        order=True,
        setbackDelays=((1, 10.0), (3, 100.0)),
        maxSetbacks=3,
    )
    for name in ("extract", "load")
}


class Witness(Observers):
    """
    Writes down what becomes of orders.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def orderAdded(self, order: Order) -> None:
        """
        Write it down.
        """
        self.heard.append(f"added {order.id} {order.state}")

    def orderTaken(self, order: Order) -> None:
        """
        Write it down.
        """
        self.heard.append(f"taken {order.id} {order.state} {order.task}")

    def orderStepped(self, order: Order, verdict: Verdict, text: str) -> None:
        """
        Write it down.
        """
        self.heard.append(f"stepped {order.id} {order.state} {verdict.value}")

    def orderMoved(self, order: Order) -> None:
        """
        Write it down.
        """
        self.heard.append(f"moved {order.id} {order.state}")

    def orderChanged(self, order: Order) -> None:
        """
        Write it down.
        """
        self.heard.append(f"changed {order.id}")

    def orderEnded(self, order: Order) -> None:
        """
        Write it down.
        """
        self.heard.append(f"ended {order.id} {order.state}")

    def orderRemoved(self, order: Order) -> None:
        """
        Write it down.
        """
        self.heard.append(f"removed {order.id} {order.state}")


class OrderBookTestCase(SynchronousTestCase):
    """
    Help with an order book.
    """

    def setUp(self) -> None:
        """
        A book with two chains.
        """
        self.now = 1000.0
        self.woken: list[str] = []
        self.witness = Witness()
        self.book = OrderBook(self.woken.append, self.witness)
        self.book.configure((NIGHTLY, PATIENT), JOBS, self.now)

    def add(self, identifier: str = "1", chain: str = "nightly", **more: object) -> Order:
        """
        Add an order.
        """
        return self.book.add(NewOrder(chain, identifier, **more), self.now)  # type: ignore[arg-type]  # by name

    def change(self, identifier: str = "1", chain: str = "nightly", **more: object) -> None:
        """
        Change an order.
        """
        self.book.modify(chain, identifier, OrderChange(**more), self.now)  # type: ignore[arg-type]  # by name

    def take(self, job: str = "extract", task: int = 7) -> Order:
        """
        Take the next order of a job, which must be there.
        """
        order = self.book.take(job, task, self.now)
        assert order is not None
        return order

    def step(
        self, job: str, verdict: Verdict = Verdict.SUCCEEDED, *pairs: tuple[str, str]
    ) -> Order:
        """
        Take the next order of a job, and finish the step.
        """
        order = self.take(job)
        self.book.finished(order, verdict, pairs, self.now, "exit code 1")
        return order

    def refused(self, code: str, text: str, chain: str, identifier: str, **more: object) -> None:
        """
        Change an order, which must be refused.
        """
        error = self.assertRaises(
            CommandRefused,
            self.book.modify,
            chain,
            identifier,
            OrderChange(**more),  # type: ignore[arg-type]  # by name
            self.now,
        )
        self.assertEqual((error.code, error.text), (code, text))


class WayTests(OrderBookTestCase):
    """
    The way of an order through its chain.
    """

    def act(self, first: str, second: str, circle: bool = False) -> None:
        """
        Have the nodes of a chain act otherwise.
        """
        nodes = (
            ConfiguredNode("extract", "extract", "load", "failed", "", 60.0, first),
            ConfiguredNode(
                "load", "load", "extract" if circle else "done", "failed", "", 0.0, second
            ),
            *NIGHTLY.nodes[2:],
        )
        self.book.configure((replace(NIGHTLY, nodes=nodes), PATIENT), JOBS, self.now)

    def test_stoppedNode(self) -> None:
        """
        At a node that is stopped orders wait, those that are there and those that
        come, until it is not.
        """
        there = self.add("there")
        self.act("", "stop")
        self.now += 60
        self.step("extract")
        late = self.add("late", state="load")
        self.assertEqual((there.state, late.state), ("load", "load"))
        self.assertFalse(self.book.hasReady("load", self.now))
        self.change("late", suspended=True)
        self.change("late", suspended=False)
        self.act("stop", "stop")
        self.assertFalse(self.book.hasReady("load", self.now))
        self.book.configure((NIGHTLY, PATIENT), JOBS, self.now)
        self.assertEqual({self.step("load").id, self.step("load").id}, {"there", "late"})

    def test_passedOver(self) -> None:
        """
        A node that is passed over lets orders go on at once, those that are there
        and those that come; it does not delay them either.
        """
        there = self.add("there")
        waits = self.add("waits", suspended=True)
        self.act("next_state", "")
        come = self.add("come")
        self.assertEqual((there.state, come.state, waits.state), ("load", "load", "extract"))
        self.assertFalse(self.book.hasReady("extract", self.now))
        self.change("waits", suspended=False)
        self.assertEqual([self.step("load").id for _ in range(3)], ["there", "come", "waits"])

    def test_allPassedOver(self) -> None:
        """
        Where all nodes are, an order comes to its end; where they go round in a
        circle, it is suspended. One that waits to be started waits still.
        """
        self.act("next_state", "next_state")
        self.add("1")
        self.assertEqual(self.witness.heard[-1], "ended 1 done")
        standing = self.add("2", standing=True, at=NEVER)
        self.assertEqual(standing.state, "extract")
        self.change("2", at=0.0)
        self.assertEqual(self.witness.heard.count("ended 2 done"), 1)
        self.assertEqual(self.book.find("nightly", "2").at, NEVER)
        self.act("next_state", "next_state", circle=True)
        lost = self.add("3")
        self.assertTrue(lost.suspended)
        self.assertIn("no node of its job chain works on it", lost.text)

    def test_way(self) -> None:
        """
        An order passes each node once and ends at a node without a job; what its
        tasks give back are its parameters from then on.
        """
        order = self.add(parameters=(("Day", "1"), ("rows", "3")))
        self.assertEqual(
            (order.state, order.initialState, order.job), ("extract", "extract", "extract")
        )
        self.assertEqual(self.woken, ["extract"])
        self.step("extract", Verdict.SUCCEEDED, ("file", "a.csv"), ("DAY", "2"))
        self.assertFalse(self.book.hasReady("extract", self.now))
        self.assertEqual(self.woken, ["extract", "load"])
        self.step("load")
        self.assertEqual(order.parameters, (("Day", "2"), ("rows", "3"), ("file", "a.csv")))
        self.assertEqual(
            self.witness.heard,
            [
                "added 1 extract",
                "taken 1 extract 7",
                "stepped 1 extract succeeded",
                "moved 1 load",
                "taken 1 load 7",
                "stepped 1 load succeeded",
                "ended 1 done",
            ],
        )
        self.assertEqual(len(self.book), 0)
        self.assertRaises(CommandRefused, self.book.find, "nightly", "1")

    def test_failed(self) -> None:
        """
        After a step that failed an order goes to the error state.
        """
        self.add()
        self.step("extract", Verdict.FAILED)
        self.assertEqual(self.witness.heard[-1], "ended 1 failed")

    def test_lost(self) -> None:
        """
        An order whose step came out nobody knows how stands where it is, until
        somebody decides; it is never worked on twice by itself.
        """
        self.add()
        order = self.step("extract", Verdict.LOST)
        self.assertTrue(order.lost)
        self.assertTrue(order.suspended)
        self.assertEqual((order.state, order.text), ("extract", "exit code 1"))
        self.assertFalse(self.book.hasReady("extract", self.now + 1e9))
        self.change(suspended=False)
        self.assertFalse(order.lost)
        self.assertTrue(self.book.hasReady("extract", self.now))

    def test_undone(self) -> None:
        """
        An order whose step did not begin stands where it was.
        """
        self.add()
        order = self.step("extract", Verdict.UNDONE)
        self.assertEqual((order.state, order.task), ("extract", 0))
        self.assertTrue(self.book.hasReady("extract", self.now))

    def test_endState(self) -> None:
        """
        An order may end before the end of the chain.
        """
        self.add(endState="load")
        self.step("extract")
        self.assertEqual(self.witness.heard[-1], "ended 1 load")

    def test_suspend(self) -> None:
        """
        With on_error="suspend" an order stays where it failed.
        """
        self.add("a", "folder/patient", state="wait")
        self.now += 60
        order = self.step("load", Verdict.FAILED)
        self.assertEqual((order.state, order.suspended), ("wait", True))
        self.assertFalse(self.book.hasReady("load", self.now))

    def test_setback(self) -> None:
        """
        With on_error="setback" an order is tried again after a delay that grows,
        as often as is configured, and then goes to the error state.
        """
        order = self.add("a", "folder/patient")
        for number, delay in ((1, 10.0), (2, 10.0), (3, 100.0)):
            self.step("extract", Verdict.FAILED)
            self.assertEqual((order.setbacks, order.at), (number, self.now + delay))
            self.assertTrue(order.setBack)
            self.assertEqual(self.book.nextTime(self.now), self.now + delay)
            self.assertFalse(self.book.hasReady("extract", self.now + delay - 1))
            self.now += delay
        self.step("extract", Verdict.FAILED)
        self.assertEqual(self.witness.heard[-1], "ended a end")

    def test_setbackOver(self) -> None:
        """
        A setback can be cut short; one without a configured delay takes a
        second.
        """
        order = self.add("a", "folder/patient")
        self.step("extract", Verdict.FAILED)
        self.change("a", "folder/patient", clearsSetback=True)
        self.assertEqual((order.setbacks, order.at, order.setBack), (0, 0.0, False))
        self.book.configure((NIGHTLY, PATIENT), {}, self.now)
        self.step("extract", Verdict.FAILED)
        self.assertEqual(order.at, self.now + 1)

    def test_noErrorState(self) -> None:
        """
        An order that fails where no error state is configured stays there.
        """
        chain = ConfiguredChain("a", "", (ConfiguredNode("1", "extract", "2"),), "a:1")
        self.book.configure((chain,), JOBS, self.now)
        order = self.add("a", "a")
        self.step("extract", Verdict.FAILED)
        self.assertEqual((order.state, order.suspended), ("1", True))
        self.assertIn("no error_state", order.text)

    def test_delay(self) -> None:
        """
        A node may let orders wait.
        """
        self.add("a", "folder/patient")
        self.step("extract")
        self.assertEqual(self.book.nextTime(self.now), self.now + 60)
        self.assertFalse(self.book.hasReady("load", self.now + 59))
        self.assertTrue(self.book.hasReady("load", self.now + 60))

    def test_next(self) -> None:
        """
        The highest priority is first, and then who has waited longest.
        """
        for identifier, priority in (("a", 0), ("b", 5), ("c", 5), ("d", -1)):
            self.add(identifier, priority=priority)
        self.change("d", priority=9)
        self.assertEqual([self.take().id for _ in range(4)], ["d", "b", "c", "a"])
        self.assertIsNone(self.book.take("extract", 8, self.now))


class CommandTests(OrderBookTestCase):
    """
    Adding, changing and removing.
    """

    def test_id(self) -> None:
        """
        An id that is not given is the next number that is free.
        """
        self.add("2")
        self.assertEqual([self.add("").id for _ in range(3)], ["1", "3", "4"])

    def test_at(self) -> None:
        """
        An order may wait for its time, and be told to go on.
        """
        order = self.add(at=self.now + 100)
        self.assertFalse(self.book.hasReady("extract", self.now))
        self.assertEqual(self.book.nextTime(self.now), self.now + 100)
        self.change(at=self.now + 50)
        self.assertEqual(self.book.nextTime(self.now), self.now + 50)
        self.change(at=NEVER)
        self.assertEqual(self.book.nextTime(self.now), NEVER)
        self.change(at=self.now)
        self.assertIs(self.take(), order)

    def test_replace(self) -> None:
        """
        An order takes the place of one that waits with the same id, unless it
        must not; where a task works on that one, it does when that is over.
        """
        self.add(title="first")
        second = self.add(title="second")
        self.assertEqual(len(self.book), 1)
        self.assertIs(self.take(), second)
        self.add(title="third")
        self.assertIs(self.book.find("nightly", "1"), second)
        error = self.assertRaises(
            CommandRefused, self.book.add, NewOrder("nightly", "1"), self.now, replaces=False
        )
        self.assertEqual(error.code, "SCHEDULER-186")
        self.book.finished(second, Verdict.SUCCEEDED, (), self.now)
        third = self.book.find("nightly", "1")
        self.assertEqual((third.title, third.state), ("third", "extract"))

    def test_standing(self) -> None:
        """
        A standing order comes back to its first state, and waits to be told.
        """
        self.add("s", standing=True, at=NEVER, parameters=(("a", "1"),))
        self.assertFalse(self.book.hasReady("extract", self.now + 1e9))
        self.change("s", at=self.now, parameters=(("a", "2"),))
        self.step("extract")
        self.step("load")
        order = self.book.find("nightly", "s")
        self.assertEqual(
            (order.state, order.at, order.parameters), ("extract", NEVER, (("a", "1"),))
        )

    def test_unknown(self) -> None:
        """
        What does not exist is refused in JobScheduler's words.
        """
        self.add()
        self.refused("SCHEDULER-161", "There is no Job_chain '/nosuch'", "nosuch", "1")
        self.refused("SCHEDULER-161", "There is no Job_chain ''", "", "1")
        self.refused("SCHEDULER-162", 'There is no order 2 in job chain "/nightly"', "nightly", "2")
        text = 'There is no job in job chain "/nightly" for the state "bogus"'
        self.refused("SCHEDULER-149", text, "nightly", "1", state="bogus")
        self.refused("SCHEDULER-149", text, "nightly", "1", endState="bogus", title="other")
        for more in ({"state": "bogus"}, {"state": "done"}, {"endState": "bogus"}):
            error = self.assertRaises(
                CommandRefused,
                self.book.add,
                NewOrder("nightly", "x", **more),  # type: ignore[arg-type]  # by name
                self.now,
            )
            self.assertEqual(error.code, "SCHEDULER-149")
        self.assertEqual([order.title for order in self.book.orders("nightly")], [""])

    def test_state(self) -> None:
        """
        An order can be set to another state, and to an end state, but not while
        a task works on it.
        """
        order = self.add()
        self.change(state="load")
        self.assertFalse(self.book.hasReady("extract", self.now))
        self.assertIs(self.take("load"), order)
        text = "Order nightly:1 is being processed by Task load:7"
        self.refused("SCHEDULER-217", text, "nightly", "1", state="bogus")
        self.refused("SCHEDULER-217", text, "nightly", "1", resets=True)
        self.book.finished(order, Verdict.UNDONE, (), self.now)
        self.change(state="done")
        self.assertEqual(self.witness.heard[-1], "ended 1 done")

    def test_suspended(self) -> None:
        """
        An order that is suspended while a task works on it moves on and stands.
        """
        order = self.add()
        self.take()
        self.change(suspended=True)
        self.book.finished(order, Verdict.SUCCEEDED, (), self.now)
        self.assertEqual((order.state, order.suspended), ("load", True))
        self.assertFalse(self.book.hasReady("load", self.now))
        self.change(suspended=False)
        self.assertTrue(self.book.hasReady("load", self.now))

    def test_modify(self) -> None:
        """
        Title, priority, end state and parameters can be changed at any time.
        """
        order = self.add(parameters=(("A", "1"),))
        self.take()
        self.change(title="t", priority=3, endState="load", parameters=(("a", "2"), ("b", "3")))
        self.assertEqual((order.title, order.priority, order.endState), ("t", 3, "load"))
        self.assertEqual(order.parameters, (("A", "2"), ("b", "3")))

    def test_reset(self) -> None:
        """
        A reset leads an order back to its first state, ready to go.
        """
        order = self.add()
        self.step("extract")
        self.change(suspended=True)
        self.change(resets=True)
        self.assertEqual((order.state, order.suspended), ("extract", False))
        self.assertTrue(self.book.hasReady("extract", self.now))
        self.assertFalse(self.book.hasReady("load", self.now))

    def test_remove(self) -> None:
        """
        An order that a task works on is gone at once, and goes nowhere.
        """
        self.add("1")
        self.add("2")
        self.book.remove("nightly", "2", self.now)
        order = self.take()
        self.book.remove("nightly", "1", self.now)
        self.assertRaises(CommandRefused, self.book.remove, "nightly", "1", self.now)
        self.assertEqual(self.witness.heard[-2:], ["taken 1 extract 7", "changed 1"])
        again = self.add("1")
        self.book.finished(order, Verdict.SUCCEEDED, (), self.now)
        self.assertEqual(self.witness.heard[-1], "removed 1 extract")
        self.assertIs(self.take(), again)

    def test_bound(self) -> None:
        """
        The number of orders is bounded, and so is the memory of one that is
        changed again and again.
        """
        self.patch(orderbook, "MAX_ORDERS", 2)
        self.add("1")
        self.add("2")
        self.add("2")
        error = self.assertRaises(CommandRefused, self.add, "3")
        self.assertEqual(error.code, "jsremote-limit")
        for number in range(1000):
            self.change("1", priority=number)
        self.assertLess(len(self.book._queues._ready["extract"]), 200)


class ConfigureTests(OrderBookTestCase):
    """
    Chains that change.
    """

    def test_gone(self) -> None:
        """
        The orders of a chain that is gone are removed.
        """
        waiting, worked = self.add("a"), self.add("b", priority=1)
        self.take()
        self.book.configure((PATIENT,), JOBS, self.now)
        self.assertRaises(CommandRefused, self.book.orders, "nightly")
        self.assertEqual(len(self.book), 0)
        self.assertTrue(waiting.ended)
        self.book.configure((NIGHTLY,), JOBS, self.now)
        self.book.finished(worked, Verdict.SUCCEEDED, (), self.now)
        self.assertEqual(self.witness.heard[-1], "removed b extract")
        self.assertFalse(self.book.hasReady("load", self.now))

    def test_changed(self) -> None:
        """
        Orders go on in the chain as it is now; one whose state is gone is
        suspended.
        """
        order, worked, other = self.add("a"), self.add("b", priority=1), self.add("c", state="load")
        self.take()
        changed = ConfiguredChain(
            "nightly",
            "",
            (ConfiguredNode("extract", "load", "end", "end"), ConfiguredNode("end")),
            "a:1",
        )
        self.book.configure((changed,), JOBS, self.now)
        self.assertFalse(self.book.hasReady("extract", self.now))
        self.assertIs(self.take("load"), order)
        self.assertTrue(other.suspended)
        self.assertIn("no job any more", other.text)
        self.book.finished(worked, Verdict.SUCCEEDED, (), self.now)
        self.assertEqual(self.witness.heard[-1], "ended b end")

    def test_observers(self) -> None:
        """
        L{Observers} tells several, and survives the mistakes of one.
        """
        for observer in (Observers(), OrderLog()):
            self.assertTrue(verifyObject(ISchedulerObserver, observer))
        several = Observers()
        several.add(object())  # type: ignore[arg-type]  # it fails
        several.add(self.witness)
        book = OrderBook(observer=several)
        book.configure((NIGHTLY,), JOBS, self.now)
        book.add(NewOrder("nightly", "z"), self.now)
        self.assertEqual(self.witness.heard, ["added z extract"])
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)


class Life(RuleBasedStateMachine):
    """
    Whatever is told to an order book in whatever order: what it says of its
    orders stays true.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.book = OrderBook()
        self.book.configure((NIGHTLY, PATIENT), JOBS, 0.0)
        self.working: dict[int, Order] = {}
        self.tasks = 0

    identifiers = strategies.sampled_from(["", "1", "2", "3"])
    chains = strategies.sampled_from(["nightly", "folder/patient", "nosuch"])
    states = strategies.sampled_from(["", "extract", "load", "done", "try", "wait", "bogus"])
    optional = strategies.none() | strategies.booleans()

    @rule(
        identifier=identifiers,
        chain=chains,
        state=states,
        wait=strategies.sampled_from([0.0, 5.0, NEVER]),
        suspended=strategies.booleans(),
        standing=strategies.booleans(),
        replaces=strategies.booleans(),
    )
    def add(
        self,
        *,
        identifier: str,
        chain: str,
        state: str,
        wait: float,
        suspended: bool,
        standing: bool,
        replaces: bool,
    ) -> None:
        """
        Add an order.
        """
        new = NewOrder(
            chain,
            identifier,
            state=state,
            at=self.now + wait,
            suspended=suspended,
            standing=standing,
        )
        try:
            self.book.add(new, self.now, replaces=replaces)
        except CommandRefused:
            pass

    @rule(
        identifier=identifiers,
        chain=chains,
        state=strategies.none() | states,
        suspended=optional,
        priority=strategies.none() | strategies.integers(-2, 2),
        clears=strategies.booleans(),
        resets=strategies.booleans(),
    )
    def modify(
        self,
        *,
        identifier: str,
        chain: str,
        state: str | None,
        suspended: bool | None,
        priority: int | None,
        clears: bool,
        resets: bool,
    ) -> None:
        """
        Change an order.
        """
        change = OrderChange(
            state=state,
            suspended=suspended,
            priority=priority,
            clearsSetback=clears,
            resets=resets,
        )
        try:
            self.book.modify(chain, identifier, change, self.now)
        except CommandRefused:
            pass

    @rule(identifier=identifiers, chain=chains)
    def remove(self, identifier: str, chain: str) -> None:
        """
        Remove an order.
        """
        try:
            self.book.remove(chain, identifier, self.now)
        except CommandRefused:
            pass

    @rule(job=strategies.sampled_from(["extract", "load"]))
    def take(self, job: str) -> None:
        """
        A task takes an order, which nobody else works on, and which waits there.
        """
        self.tasks += 1
        ready = self.book.hasReady(job, self.now)
        order = self.book.take(job, self.tasks, self.now)
        assert (order is not None) == ready
        if order is not None:
            assert order not in self.working.values()
            assert not order.suspended
            assert not order.removed
            assert self.book.find(order.chain, order.id) is order
            assert order.job == job
            self.working[self.tasks] = order

    @precondition(lambda self: self.working)
    @rule(data=strategies.data(), verdict=strategies.sampled_from(list(Verdict)))
    def finish(self, data: strategies.DataObject, verdict: Verdict) -> None:
        """
        A task is over.
        """
        task = data.draw(strategies.sampled_from(sorted(self.working)))
        order = self.working.pop(task)
        assert order.task == task
        self.book.finished(order, verdict, (("a", str(task)),), self.now, "text")
        assert order.task == 0

    @rule(seconds=strategies.sampled_from([1.0, 10.0, 100.0]))
    def wait(self, seconds: float) -> None:
        """
        Time passes.
        """
        self.now += seconds

    @rule(chains=strategies.lists(strategies.sampled_from([NIGHTLY, PATIENT]), unique=True))
    def configure(self, chains: list[ConfiguredChain]) -> None:
        """
        Chains come and go.
        """
        self.book.configure(chains, JOBS, self.now)

    @invariant()
    def consistent(self) -> None:
        """
        Every order is counted once, and stands at a node of its chain.
        """
        orders = [order for chain in self.book.chains for order in self.book.orders(chain)]
        assert len(orders) == len(self.book)
        for order in orders:
            assert not order.removed
            assert (order.task in self.working) == bool(order.task)
            assert order.job or order.suspended
            # Nobody is forgotten: it waits in a queue, for a command, or works.
            assert order.entry or order.suspended or order.task or order.at == NEVER


class LifeTests(SynchronousTestCase):
    """
    L{Life} with hypothesis.
    """

    def test_life(self) -> None:
        """
        No order is forgotten, worked on twice at a time, or counted twice.
        """
        run_state_machine_as_test(
            Life, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
        )
