"""
The order book: job chains, their orders, and where each goes next. Nothing here
waits or runs: times and results are told to it.

An order is taken for a task once for each arrival at a node, and stays where it
is until that task is over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from heapq import heapify, heappop, heappush
from itertools import count

from jobscheduler_tcp.client.observers import Observers
from jobscheduler_tcp.client.order import (
    NEVER,
    NewOrder,
    Order,
    OrderChange,
    Pairs,
    Verdict,
    merged,
)
from jobscheduler_tcp.config.model import ConfiguredChain, ConfiguredJob, ConfiguredNode
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.interfaces import ISchedulerObserver

# Memory is bounded; a chain that is stopped should not use it all.
MAX_ORDERS = 200_000

# What a queue sorts by first, the number of an entry, and whose it is.
_Entry = tuple[float, int, Order]

# An order that is set back without a delay is not worked on without a pause.
_LEAST_SETBACK = 1.0


class OrderBook:
    """
    Chains and their orders.

    @ivar chains: by their paths without the leading slash.
    """

    def __init__(
        self,
        wake: Callable[[str], None] = lambda job: None,
        observer: ISchedulerObserver | None = None,
    ) -> None:
        """
        @param wake: told the name of each job for which an order has come.
        @param observer: told what becomes of orders.
        """
        self.chains: dict[str, ConfiguredChain] = {}
        self._jobs: Mapping[str, ConfiguredJob] = {}
        self._nodes: dict[str, dict[str, ConfiguredNode]] = {}
        self._orders: dict[str, dict[str, Order]] = {}
        self._leaving: dict[int, Order] = {}
        self._size = 0
        self._wake = wake
        self._observer = observer or Observers()
        self._ids: defaultdict[str, Iterator[int]] = defaultdict(lambda: count(1))
        self._numbers = count(1)
        self._entries = count(1)
        # An entry that is not the order's last one is passed over.
        self._ready: defaultdict[str, list[_Entry]] = defaultdict(list)
        self._later: list[_Entry] = []

    # -------------------------------------------------------------- looking

    def chain(self, name: str) -> ConfiguredChain:
        """
        A chain by its path without the leading slash.

        @raise CommandRefused: there is none.
        """
        if name not in self.chains:
            text = f"There is no Job_chain '{name and '/' + name}'"
            raise CommandRefused("SCHEDULER-161", text)
        return self.chains[name]

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
        before, self.chains = self.chains, {chain.name: chain for chain in chains}
        self._nodes = {
            chain.name: {node.state: node for node in chain.nodes} for chain in self.chains.values()
        }
        for name in before:
            if name not in self.chains:
                for order in list(self._orders[name].values()):
                    self._remove(order, now)
                del self._orders[name]
        for name, chain in self.chains.items():
            orders = self._orders.setdefault(name, {})
            if before.get(name) == chain:
                continue
            for order in list(orders.values()):
                if not order.task:
                    self._stand(order, now)

    def add(self, new: NewOrder, now: float, *, replaces: bool = True) -> Order:
        """
        Take an order.

        @param replaces: whether it takes the place of one with the same id; if
            that is being worked on, when its task is over.
        @raise CommandRefused: it cannot be.
        """
        chain = self.chain(new.chain)
        state = new.state or next(node.state for node in chain.nodes if node.job)
        self._requireJob(new.chain, state)
        if new.endState and new.endState not in self._nodes[new.chain]:
            raise self._noState(new.chain, new.endState)
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
                return self._made(new, identifier, state, now)
            self._drop(existing)
        order = self._made(new, identifier, state, now)
        orders[identifier] = order
        self._size += 1
        order.job = self._nodes[new.chain][state].job
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
            if state and state not in self._nodes[chain]:
                raise self._noState(chain, state)
        state = order.state
        if change.resets:
            state = order.initialState
            order.suspended = order.lost = False
            order.at, order.setBack, order.setbacks, order.text = 0.0, False, 0, ""
        state = change.state or state
        if change.state:
            order.at, order.setBack, order.setbacks = 0.0, False, 0
        if change.clearsSetback and order.setBack:
            order.at, order.setBack, order.setbacks = 0.0, False, 0
        if change.at is not None:
            order.at, order.setBack = change.at, False
        if change.suspended is not None:
            order.suspended, order.text = change.suspended, ""
            order.lost = order.lost and change.suspended
        if change.priority is not None:
            order.priority = change.priority
        if change.title is not None:
            order.title = change.title
        if change.endState is not None:
            order.endState = change.endState
        order.parameters = merged(order.parameters, change.parameters)
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

    # --------------------------------------------------------------- working

    def hasReady(self, job: str, now: float) -> bool:
        """
        Whether an order waits for a task of this job.
        """
        self._advance(now)
        queue = self._ready.get(job)
        while queue and queue[0][2].entry != queue[0][1]:
            heappop(queue)
        return bool(queue)

    def take(self, job: str, task: int, now: float) -> Order | None:
        """
        Take the order that is next for this job: the highest priority, and of
        these the one that has waited longest.
        """
        if not self.hasReady(job, now):
            return None
        order = heappop(self._ready[job])[2]
        order.entry = 0
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
        if order.successor is not None:
            self._replace(order, order.successor, now)
            return
        node = self._nodes[order.chain].get(order.state)
        if verdict is Verdict.LOST:
            order.suspended = order.lost = True
            order.text = text
            self._stand(order, now)
        elif node is None or verdict is Verdict.UNDONE:
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
        self._advance(now)
        return self._later[0][0] if self._later else NEVER

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
        node = self._nodes[order.chain].get(state)
        order.job = node.job if node is not None else ""
        if not order.job or state == order.endState:
            self._end(order, now)
        else:
            self._observer.orderMoved(order)
            self._arrive(order, now)

    def _arrive(self, order: Order, now: float) -> None:
        order.arrived = now
        delay = self._nodes[order.chain][order.state].delay
        if delay and order.at < now + delay:
            order.at = now + delay
        self._stand(order, now)

    def _stand(self, order: Order, now: float) -> None:
        """
        Queue up where it stands, as far as nothing holds it back.
        """
        order.entry = 0
        node = self._nodes[order.chain].get(order.state)
        if node is None or not node.job:
            order.job = ""
            order.suspended = True
            order.text = f"the job chain has no job any more for the state {order.state}"
        else:
            order.job = node.job
        if order.suspended or order.at == NEVER:
            return
        order.entry = next(self._entries)
        if order.at > now:
            self._push(self._later, (order.at, order.entry, order))
        else:
            self._queue(order)

    def _queue(self, order: Order) -> None:
        self._push(self._ready[order.job], (-order.priority, order.entry, order))
        self._wake(order.job)

    def _push(self, queue: list[_Entry], entry: _Entry) -> None:
        heappush(queue, entry)
        if len(queue) > 2 * self._size + 100:
            # Most are old entries of orders that were changed again and again.
            queue[:] = [each for each in queue if each[2].entry == each[1]]
            heapify(queue)

    def _advance(self, now: float) -> None:
        while self._later and (
            self._later[0][2].entry != self._later[0][1] or self._later[0][0] <= now
        ):
            _, entry, order = heappop(self._later)
            if order.entry == entry:
                self._queue(order)

    def _end(self, order: Order, now: float) -> None:
        order.ended = now
        order.entry = 0
        self._observer.orderEnded(order)
        if order.asked.standing:
            self._replace(order, replace(order.asked, at=NEVER), now)
        else:
            self._drop(order)

    def _replace(self, order: Order, new: NewOrder, now: float) -> None:
        self._drop(order)
        try:
            self.add(replace(new, id=order.id), now)
        except CommandRefused:
            # Its chain is another one by now, and has not its state.
            self._observer.orderRemoved(order)

    def _remove(self, order: Order, now: float) -> None:
        self._drop(order)
        if order.task:
            order.removed = True
            self._leaving[order.number] = order
        else:
            order.ended = now
            self._observer.orderRemoved(order)

    def _drop(self, order: Order) -> None:
        order.entry = 0
        if self._orders[order.chain].get(order.id) is order:
            del self._orders[order.chain][order.id]
            self._size -= 1

    def _made(self, new: NewOrder, identifier: str, state: str, now: float) -> Order:
        return Order(
            next(self._numbers),
            new,
            identifier,
            new.chain,
            state,
            state,
            new.endState,
            new.title,
            new.priority,
            merged((), new.parameters),
            now,
            new.at,
            new.suspended,
            self._nodes[new.chain][state].job,
        )

    def _newId(self, chain: str) -> str:
        taken = self._orders[chain]
        return next(str(number) for number in self._ids[chain] if str(number) not in taken)

    def _requireJob(self, chain: str, state: str) -> None:
        node = self._nodes[chain].get(state)
        if node is None or not node.job:
            raise self._noState(chain, state)

    @staticmethod
    def _noState(chain: str, state: str) -> CommandRefused:
        text = f'There is no job in job chain "/{chain}" for the state "{state}"'
        return CommandRefused("SCHEDULER-149", text)
