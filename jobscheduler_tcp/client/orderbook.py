"""
The order book: job chains, their orders, and where each goes next. Nothing here
waits or runs: times and results are told to it.

An order is taken for a task once for each arrival at a node, and stays where it
is until that task is over. Orders that a client had before a restart wait aside
until their job chain is there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count

from twisted.logger import Logger

from jobscheduler_tcp.client.chains import Chains
from jobscheduler_tcp.client.observers import Observers
from jobscheduler_tcp.client.order import (
    NEVER,
    NewOrder,
    Order,
    OrderChange,
    Pairs,
    Verdict,
    made,
    merged,
)
from jobscheduler_tcp.client.orderqueues import OrderQueues
from jobscheduler_tcp.config.model import ConfiguredChain, ConfiguredJob, ConfiguredNode
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.interfaces import ISchedulerObserver

# Memory is bounded; a chain that is stopped should not use it all.
MAX_ORDERS = 200_000

# An order that is set back without a delay is not worked on without a pause.
_LEAST_SETBACK = 1.0


class OrderBook:
    """
    Chains and their orders.
    """

    _log = Logger()

    def __init__(
        self,
        wake: Callable[[str], None] = lambda job: None,
        observer: ISchedulerObserver | None = None,
    ) -> None:
        """
        @param wake: told the name of each job for which an order has come.
        @param observer: told what becomes of orders.
        """
        self._chains = Chains()
        self._jobs: Mapping[str, ConfiguredJob] = {}
        self._orders: dict[str, dict[str, Order]] = {}
        self._restored: dict[str, list[Order]] = {}
        self._leaving: dict[int, Order] = {}
        self._size = 0
        self._observer = observer or Observers()
        self._ids: defaultdict[str, Iterator[int]] = defaultdict(lambda: count(1))
        self._numbers = count(1)
        self._queues = OrderQueues(wake)

    # -------------------------------------------------------------- looking

    @property
    def chains(self) -> Mapping[str, ConfiguredChain]:
        """
        The job chains, by their paths without the leading slash.
        """
        return self._chains.chains

    def chain(self, name: str) -> ConfiguredChain:
        """
        A chain by its path without the leading slash.

        @raise CommandRefused: there is none.
        """
        return self._chains.require(name)

    def orders(self, chain: str) -> Iterator[Order]:
        """
        The orders of a chain, in the order in which they came.

        @raise CommandRefused: there is no such chain.
        """
        self.chain(chain)
        return iter(self._orders[chain].values())

    def find(self, chain: str, identifier: str) -> Order:
        """
        One order.

        @raise CommandRefused: there is none.
        """
        self.chain(chain)
        order = self._orders[chain].get(identifier)
        if order is None:
            text = f'There is no order {identifier} in job chain "/{chain}"'
            raise CommandRefused("SCHEDULER-162", text)
        return order

    def __len__(self) -> int:
        return self._size

    # -------------------------------------------------------------- changing

    def configure(
        self,
        chains: Iterable[ConfiguredChain],
        jobs: Mapping[str, ConfiguredJob],
        now: float,
    ) -> None:
        """
        Have these chains from now on. The orders of a chain that is gone are
        removed; one whose state is gone is suspended.
        """
        self._jobs = jobs
        before = self._chains.chains
        self._chains.configure(chains)
        for name in before:
            if name not in self.chains:
                for order in list(self._orders[name].values()):
                    self._remove(order, now)
                del self._orders[name]
        for name, chain in self.chains.items():
            orders = self._orders.setdefault(name, {})
            if before.get(name) != chain:
                for order in list(orders.values()):
                    if not order.task:
                        self._stand(order, now)
                        self._observer.orderChanged(order)
            for order in self._restored.pop(name, ()):
                orders[order.id] = order
                self._size += 1
                if order.task:
                    continue
                if order.successor is not None:
                    # Its task ended while the chain was not there.
                    self._succeed(order, order.successor, now)
                else:
                    self._stand(order, now, order.entry)

    def restore(self, orders: Iterable[Order], following: int, ids: Mapping[str, int]) -> None:
        """
        Have the orders that were there before a restart, before the first
        configuration.

        @param orders: in the order in which they came.
        @param following: the number of the next one.
        @param ids: the next id that is made for an order of each chain.
        """
        self._numbers = count(following)
        for chain, number in ids.items():
            self._ids[chain] = count(number)
        for order in orders:
            self._queues.reserve(order.entry)
            if order.removed:
                self._leaving[order.number] = order
            else:
                self._restored.setdefault(order.chain, []).append(order)

    def add(self, new: NewOrder, now: float, *, replaces: bool = True) -> Order:
        """
        Take an order.

        @param replaces: whether it takes the place of one with the same id; if
            that is being worked on, when its task is over.
        @raise CommandRefused: it cannot be.
        """
        chain = self.chain(new.chain)
        state = new.state or next(node.state for node in chain.nodes if node.job)
        job = self._chains.requireJob(new.chain, state)
        if new.endState:
            self._chains.requireState(new.chain, new.endState)
        orders = self._orders[new.chain]
        identifier = new.id or self._newId(new.chain)
        existing = orders.get(identifier)
        if existing is None and self._size >= MAX_ORDERS:
            raise CommandRefused("jsremote-limit", f"There are {MAX_ORDERS} orders already")
        if existing is not None:
            if not replaces:
                text = f'Order {identifier} is already in job chain "/{new.chain}"'
                raise CommandRefused("SCHEDULER-186", text)
            if existing.task:
                existing.successor = new
                self._observer.orderChanged(existing)
                return made(next(self._numbers), new, identifier, state, job, now=now)
            self._remove(existing, now)
        order = made(next(self._numbers), new, identifier, state, job, now=now)
        orders[identifier] = order
        self._size += 1
        self._observer.orderAdded(order)
        self._arrive(order, now)
        return order

    def modify(self, chain: str, identifier: str, change: OrderChange, now: float) -> None:
        """
        Change an order, or nothing of it.

        @raise CommandRefused: that cannot be.
        """
        order = self.find(chain, identifier)
        if order.task and (change.state is not None or change.resets):
            text = f"Order {chain}:{identifier} is being processed by Task {order.job}:{order.task}"
            raise CommandRefused("SCHEDULER-217", text)
        for state in (change.state, change.endState):
            if state:
                self._chains.requireState(chain, state)
        state = change.applyTo(order)
        self._observer.orderChanged(order)
        if state != order.state:
            self._move(order, state, now)
        elif not order.task:
            self._stand(order, now)

    def remove(self, chain: str, identifier: str, now: float) -> None:
        """
        Remove an order; one that is being worked on is gone from sight, and goes
        nowhere when its task is over.

        @raise CommandRefused: there is none.
        """
        self._remove(self.find(chain, identifier), now)

    def discard(self, chain: str, identifier: str, now: float) -> None:
        """
        Remove an order if it is there, or waits aside for its job chain.
        """
        order = self._orders.get(chain, {}).get(identifier)
        aside = (each for each in self._restored.get(chain, ()) if each.id == identifier)
        order = order or next(aside, None)
        if order is not None:
            self._remove(order, now)

    # --------------------------------------------------------------- working

    def hasReady(self, job: str, now: float) -> bool:
        """
        Whether an order waits for a task of this job.
        """
        return self._queues.has(job, now)

    def take(self, job: str, task: int, now: float) -> Order | None:
        """
        Take the order that is next for this job: the highest priority, and of
        these the one that has waited longest.
        """
        order = self._queues.take(job, now)
        if order is None:
            return None
        order.task = task
        order.inProcessSince = now
        order.at, order.setBack = 0.0, False
        order.touched = True
        order.began = order.began or now
        self._observer.orderTaken(order)
        return order

    def finished(
        self, order: Order, verdict: Verdict, returned: Pairs, now: float, text: str = ""
    ) -> None:
        """
        The task that worked on an order is over.

        @param returned: parameters that it gave back.
        @param text: what became of it, for people.
        """
        order.parameters = merged(order.parameters, returned)
        self._observer.orderStepped(order, verdict, text)
        order.task, order.inProcessSince = 0, 0.0
        if order.removed:
            self._leaving.pop(order.number, None)
            self._observer.orderRemoved(order)
            return
        if order.successor is not None and order.chain in self.chains:
            self._succeed(order, order.successor, now)
            return
        node = self._chains.node(order.chain, order.state)
        if verdict is Verdict.LOST:
            order.suspended = order.lost = True
            order.text = text
        if order.chain not in self.chains:
            if verdict not in (Verdict.LOST, Verdict.UNDONE):
                order.suspended = True
                order.text = f"its job chain was not there when its task ended: {text}"
        elif node is None or verdict in (Verdict.LOST, Verdict.UNDONE):
            self._stand(order, now)
        elif verdict is Verdict.SUCCEEDED:
            order.setbacks = 0
            self._move(order, node.nextState, now)
        else:
            self._failed(order, node, text, now)

    def nextTime(self, now: float) -> float:
        """
        When an order that waits for a time may go on; C{NEVER} if none does.
        """
        return self._queues.nextTime(now)

    # ---------------------------------------------------------------- inside

    def _failed(self, order: Order, node: ConfiguredNode, text: str, now: float) -> None:
        job = self._jobs.get(node.job)
        if node.onError == "suspend":
            order.suspended, order.text = True, text
            self._stand(order, now)
        elif node.onError == "setback" and not (
            job is not None and 0 < job.maxSetbacks <= order.setbacks
        ):
            order.setbacks += 1
            delays = job.setbackDelays if job is not None else ()
            seconds = next((s for number, s in reversed(delays) if number <= order.setbacks), 0.0)
            order.at, order.setBack = now + max(seconds, _LEAST_SETBACK), True
            order.text = text
            self._stand(order, now)
        elif not node.errorState:
            order.suspended = True
            order.text = f"{text}; its node has no error_state"
            self._stand(order, now)
        else:
            order.setbacks = 0
            self._move(order, node.errorState, now)

    def _move(self, order: Order, state: str, now: float) -> None:
        order.state = state
        order.text = ""
        order.lost = False
        node = self._chains.node(order.chain, state)
        order.job = node.job if node is not None else ""
        if not order.job or state == order.endState:
            self._end(order, now)
        else:
            self._observer.orderMoved(order)
            self._arrive(order, now)

    def _arrive(self, order: Order, now: float) -> None:
        order.arrived = now
        node = self._chains.node(order.chain, order.state)
        delay = node.delay if node is not None else 0.0
        if delay and order.at < now + delay and not (node and node.action):
            order.at = now + delay
        self._stand(order, now)

    def _stand(self, order: Order, now: float, entry: int = 0) -> None:
        """
        Queue up where it stands, as far as nothing holds it back.

        @param entry: the place that it had before a restart.
        """
        order.entry = 0
        node = self._chains.node(order.chain, order.state)
        if node is None or not node.job:
            order.job = ""
            order.suspended = True
            order.text = f"the job chain has no job any more for the state {order.state}"
        else:
            order.job = node.job
        if order.suspended or order.at == NEVER or (node and node.action == "stop"):
            return
        if node is None or not node.action:
            self._queues.enter(order, now, entry, self._size)
        elif self._chains.leadsOut(order.chain, order.state):
            self._move(order, node.nextState, now)
        else:
            order.suspended = True
            order.text = f"no node of its job chain works on it from the state {order.state} on"

    def _end(self, order: Order, now: float) -> None:
        order.ended = now
        order.entry = 0
        self._observer.orderEnded(order)
        self._drop(order)
        if order.asked.standing:
            self._replace(order, replace(order.asked, at=NEVER), now)

    def _succeed(self, order: Order, successor: NewOrder, now: float) -> None:
        self._remove(order, now)
        self._replace(order, successor, now)

    def _replace(self, order: Order, new: NewOrder, now: float) -> None:
        try:
            self.add(replace(new, id=order.id), now)
        except CommandRefused as refused:
            # Its chain is another one by now, and has not its state.
            self._log.warn(
                "Order {chain}:{order} does not come back: {why}",
                chain=order.chain,
                order=order.id,
                why=refused.text,
            )

    def _remove(self, order: Order, now: float) -> None:
        self._drop(order)
        if order.task:
            order.removed = True
            self._leaving[order.number] = order
            self._observer.orderChanged(order)
        else:
            order.ended = now
            self._observer.orderRemoved(order)

    def _drop(self, order: Order) -> None:
        order.entry = 0
        orders = self._orders.get(order.chain, {})
        if orders.get(order.id) is order:
            del orders[order.id]
            self._size -= 1
        elif order in self._restored.get(order.chain, ()):
            self._restored[order.chain].remove(order)

    def _newId(self, chain: str) -> str:
        taken = self._orders[chain]
        return next(str(number) for number in self._ids[chain] if str(number) not in taken)
