"""
L{jobscheduler_tcp.client.scheduler} in any course of events.
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
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client.order import NewOrder, OrderChange
from jobscheduler_tcp.client.scheduler import Scheduler
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
from jobscheduler_tcp.messages import TaskKilled, Work
from jobscheduler_tcp.outcome import Outcome, Reason
from tests.placed import FakeJob

JOBS = (
    ConfiguredJob("a", "", "", Work(script="true"), "a:1", order=True, tasks=2),
    ConfiguredJob("b", "", "", Work(script="true"), "b:1", order=True, stopOnError=False),
    ConfiguredJob("c", "", "", Work(script="true"), "c:1", delaysAfterError=((1, 5.0), (3, STOP))),
    ConfiguredJob("d", "", "", Work(script="true"), "d:1", tasks=3, stopOnError=False),
)
CHAINS = (
    ConfiguredChain(
        "x",
        "",
        (
            ConfiguredNode("1", "a", "2", "bad", "setback"),
            ConfiguredNode("2", "b", "end", "bad", "suspend", 3.0),
            ConfiguredNode("end"),
            ConfiguredNode("bad"),
        ),
        "x:1",
    ),
    ConfiguredChain("y", "", (ConfiguredNode("1", "b", "end", "end"),), "y:1"),
)
ORDERS = (ConfiguredOrder("x", "s", "", "s:1"), ConfiguredOrder("y", "t", "", "t:1", waits=True))

OUTCOMES = [
    Outcome(Reason.EXITED, exitCode=0, returnValues=(("r", "1"),)),
    Outcome(Reason.EXITED, exitCode=1),
    Outcome(Reason.LOST, "gone"),
    Outcome(Reason.KILLED, signal=9),
    Outcome(Reason.CANCELLED),
    Outcome(Reason.START_FAILED, errno=2),
]


class Life(RuleBasedStateMachine):
    """
    Whatever is told to a scheduler: it goes on, and keeps its rules.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.running: list[FakeJob] = []
        self.scheduler = Scheduler(self.clock, self.give, wallClock=self.clock.seconds)
        self.scheduler.configure(Objects((), JOBS, CHAINS))

    names = strategies.sampled_from(["a", "b", "c", "d", "nosuch"])
    chains = strategies.sampled_from(["x", "y", "nosuch"])
    identifiers = strategies.sampled_from(["", "1", "2", "s"])

    def give(self, work: Work, processClass: str, receiver: IConfirmationReceiver) -> FakeJob:
        """
        Be the process classes.
        """
        job = FakeJob(work, processClass, receiver)
        self.running.append(job)
        return job

    @rule(name=names, wait=strategies.sampled_from([0.0, 4.0]))
    def start(self, name: str, wait: float) -> None:
        """
        Start a job.
        """
        try:
            self.scheduler.startJob(name, startAt=self.clock.seconds() + wait)
        except CommandRefused:
            pass

    @rule(
        name=names,
        command=strategies.sampled_from(
            ["stop", "unstop", "start", "wake", "suspend", "continue", "end", "bogus"]
        ),
    )
    def modify(self, name: str, command: str) -> None:
        """
        Tell a job something.
        """
        try:
            self.scheduler.modifyJob(name, command)
        except CommandRefused:
            pass

    @rule(chain=chains, identifier=identifiers, wait=strategies.sampled_from([0.0, 4.0]))
    def add(self, chain: str, identifier: str, wait: float) -> None:
        """
        Add an order.
        """
        new = NewOrder(chain, identifier, at=self.clock.seconds() + wait)
        try:
            self.scheduler.addOrder(new)
        except CommandRefused:
            pass

    @rule(chain=chains, identifier=identifiers, removes=strategies.booleans())
    def change(self, chain: str, identifier: str, removes: bool) -> None:
        """
        Let an order go on, or remove it.
        """
        try:
            if removes:
                self.scheduler.removeOrder(chain, identifier)
            else:
                self.scheduler.modifyOrder(chain, identifier, OrderChange(suspended=False, at=0.0))
        except CommandRefused:
            pass

    @precondition(lambda self: self.running)
    @rule(data=strategies.data(), outcome=strategies.sampled_from(OUTCOMES))
    def finish(self, data: strategies.DataObject, outcome: Outcome) -> None:
        """
        A task is over.
        """
        index = data.draw(strategies.integers(0, len(self.running) - 1))
        job = self.running.pop(index)
        job.end(outcome)

    @precondition(lambda self: self.scheduler.tasks.alive)
    @rule(data=strategies.data(), kills=strategies.booleans())
    def kill(self, data: strategies.DataObject, kills: bool) -> None:
        """
        A task is killed, or withdrawn.
        """
        task = data.draw(strategies.sampled_from(list(self.scheduler.tasks.alive.values())))
        if kills:
            self.scheduler.kill(task, 9, 0.0)
            if isinstance(task.given, FakeJob) and not task.given.killed.called:
                task.given.killed.callback(TaskKilled(0, ""))
                task.given.killed = type(task.given.killed)()
        else:
            self.scheduler.withdraw(task)

    @rule(
        jobs=strategies.sets(strategies.sampled_from(JOBS)),
        chains=strategies.sets(strategies.sampled_from(CHAINS)),
        orders=strategies.sets(strategies.sampled_from(ORDERS)),
        more=strategies.booleans(),
    )
    def configure(
        self,
        *,
        jobs: set[ConfiguredJob],
        chains: set[ConfiguredChain],
        orders: set[ConfiguredOrder],
        more: bool,
    ) -> None:
        """
        The configuration changes.
        """
        found = tuple(replace(job, tasks=job.tasks + more) for job in jobs)
        self.scheduler.configure(Objects((), found, tuple(chains), tuple(orders)))

    @rule(seconds=strategies.sampled_from([0.0, 1.0, 10.0]))
    def wait(self, seconds: float) -> None:
        """
        Time passes.
        """
        self.clock.advance(seconds)

    @invariant()
    def consistent(self) -> None:
        """
        What runs is known, each task has one order, and each order one task.
        """
        alive = self.scheduler.tasks.alive
        given = [task for task in alive.values() if task.given is not None]
        assert len(given) == len(self.running)
        held = [task for job in self.scheduler.jobs.values() for task in job.running.values()]
        assert all(task.outcome is None and task.given is not None for task in held)
        orders = [task.order for task in given if task.order is not None]
        assert len(set(orders)) == len(orders)
        assert all(order.task in alive for order in orders)

    def teardown(self) -> None:
        """
        When all may go on and everything succeeds, everything comes to an end.
        """
        self.scheduler.configure(Objects((), JOBS, CHAINS))
        for job in JOBS:
            for command in ("unstop", "continue"):
                self.scheduler.modifyJob(job.name, command)
        for chain in CHAINS:
            for order in list(self.scheduler.book.orders(chain.name)):
                change = OrderChange(suspended=False, at=0.0)
                self.scheduler.modifyOrder(chain.name, order.id, change)
        for _ in range(1000):
            while self.running:
                self.running.pop().end(OUTCOMES[0])
            self.clock.advance(1)
            if not (self.scheduler.tasks.alive or len(self.scheduler.book)):
                return
        left = [order for chain in CHAINS for order in self.scheduler.book.orders(chain.name)]
        raise AssertionError(f"left, or going on for ever: {self.scheduler.tasks.alive} {left}")


class LifeTests(SynchronousTestCase):
    """
    L{Life} with hypothesis.
    """

    def test_life(self) -> None:
        """
        Whatever happens in whatever order, nothing is forgotten, nothing runs
        twice, and no mistake of ours is logged.
        """
        with capturedLogs() as events:
            run_state_machine_as_test(
                Life, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
            )
        self.assertEqual([event for event in events if "log_failure" in event], [])
