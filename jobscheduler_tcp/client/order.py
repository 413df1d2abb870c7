"""
An order: data that moves through the nodes of a job chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf

Pairs = tuple[tuple[str, str], ...]

# A time that never comes.
NEVER = inf


class Verdict(Enum):
    """
    How a step of an order came out.

    @cvar LOST: nobody knows; it is not done again by ourselves.
    @cvar UNDONE: it did not begin, for the client stops.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class NewOrder:
    """
    An order as it is asked for.

    @ivar chain: the path of a job chain without the leading slash.
    @ivar id: empty if one shall be made.
    @ivar state: where it begins; empty for the first node.
    @ivar at: when it may begin, seconds since 1970; 0 for at once.
    @ivar standing: whether it comes back to its first state after each run.
    """

    chain: str
    id: str = ""
    title: str = ""
    state: str = ""
    endState: str = ""
    priority: int = 0
    parameters: Pairs = ()
    at: float = 0.0
    suspended: bool = False
    standing: bool = False


@dataclass(frozen=True, slots=True)
class OrderChange:
    """
    What shall be other about an order; C{None} leaves it as it is.

    @ivar parameters: replace those of the same names.
    @ivar clearsSetback: whether it shall not wait any more for its setback.
    @ivar resets: whether it shall go back to its first state, before all else.
    """

    state: str | None = None
    endState: str | None = None
    title: str | None = None
    priority: int | None = None
    at: float | None = None
    suspended: bool | None = None
    parameters: Pairs = ()
    clearsSetback: bool = False
    resets: bool = False

    def applyTo(self, order: Order) -> str:
        """
        Change all of an order but its state.

        @return: the state where it shall be.
        """
        state = order.state
        if self.resets:
            state = order.initialState
            order.suspended = order.lost = False
            order.text = ""
        if self.state or self.resets or (self.clearsSetback and order.setBack):
            order.at, order.setBack, order.setbacks = 0.0, False, 0
        if self.at is not None:
            order.at, order.setBack = self.at, False
        if self.suspended is not None:
            order.suspended, order.text = self.suspended, ""
            order.lost = order.lost and self.suspended
        if self.priority is not None:
            order.priority = self.priority
        if self.title is not None:
            order.title = self.title
        if self.endState is not None:
            order.endState = self.endState
        order.parameters = merged(order.parameters, self.parameters)
        return self.state or state


@dataclass(slots=True, eq=False)
class Order:
    """
    An order in the book. Times are seconds since 1970, 0 where there is none.

    @ivar number: counts all orders, from 1.
    @ivar asked: as it was asked for.
    @ivar chain: the path of its job chain without the leading slash.
    @ivar job: of the node where it stands, likewise.
    @ivar at: when it may go on; C{NEVER} if only a command starts it.
    @ivar setBack: whether C{at} comes from a setback.
    @ivar setbacks: how many in a row.
    @ivar task: the number of the task that works on it, 0 for none.
    @ivar inProcessSince: when that began.
    @ivar arrived: when it came to its state.
    @ivar began: when it was first worked on.
    @ivar touched: whether it was.
    @ivar lost: whether nobody knows how its last step came out; it is suspended
        then.
    @ivar text: why it stands as it does; empty where nothing is to be said.
    @ivar removed: whether it is gone as soon as its task is over.
    @ivar successor: takes its place as soon as its task is over.
    @ivar entry: of a queue; older ones count no more.
    """

    number: int
    asked: NewOrder
    id: str
    chain: str
    state: str
    initialState: str
    endState: str
    title: str
    priority: int
    parameters: Pairs
    created: float
    at: float
    suspended: bool
    job: str = ""
    setBack: bool = False
    setbacks: int = 0
    task: int = 0
    inProcessSince: float = 0.0
    arrived: float = 0.0
    began: float = 0.0
    ended: float = 0.0
    touched: bool = False
    lost: bool = False
    text: str = ""
    removed: bool = False
    successor: NewOrder | None = None
    entry: int = 0


def made(number: int, new: NewOrder, identifier: str, state: str, job: str, *, now: float) -> Order:
    """
    Make an order as it is asked for.

    @param state: where it begins, at the node of this job.
    """
    return Order(
        number,
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
        job,
    )


def merged(first: Pairs, second: Pairs) -> Pairs:
    """
    Two sets of parameters as one: JobScheduler compares names without regard to
    case, the spelling of the first stays and the value of the second counts.
    """
    found: dict[str, tuple[str, str]] = {}
    for name, value in (*first, *second):
        spelling, _ = found.get(name.lower(), (name, ""))
        found[name.lower()] = (spelling, value)
    return tuple(found.values())
