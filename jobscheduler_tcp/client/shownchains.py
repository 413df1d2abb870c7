"""
How job chains look in JobScheduler's answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from jobscheduler_tcp.client.order import Order
from jobscheduler_tcp.client.shownorders import queueElement
from jobscheduler_tcp.client.shownparts import fileBased
from jobscheduler_tcp.client.what import What
from jobscheduler_tcp.config.model import ConfiguredChain
from jobscheduler_tcp.wire.documents import Element, element

# What JobScheduler says of a chain without a bound.
_UNBOUNDED = 2**31 - 1


def chainElement(
    chain: ConfiguredChain,
    orders: Iterable[Order],
    job: Callable[[str], Element | None],
    *,
    shown: Callable[[int], int],
    what: What,
) -> Element:
    """
    A job chain, its nodes and the orders that stand there.

    @param job: the element of a job, if jobs shall be shown and there is one of
        that name.
    @param shown: how many orders are shown of so many at a node.
    """
    at: dict[str, list[Order]] = {node.state: [] for node in chain.nodes}
    count = running = 0
    for order in orders:
        count += 1
        running += order.task != 0
        # One whose state is gone stands nowhere.
        at.setdefault(order.state, []).append(order)
    attributes = {
        "path": f"/{chain.name}",
        "name": chain.name.rpartition("/")[2],
        "orders": str(count),
        "running_orders": str(running),
        "max_orders": str(_UNBOUNDED),
    }
    if chain.title:
        attributes["title"] = chain.title
    attributes["state"] = "running"
    attributes["orders_recoverable"] = "yes" if chain.recoverable else "no"
    children = [fileBased(chain.source)]
    for node in chain.nodes:
        facts = {
            "state": node.state,
            "next_state": node.nextState,
            "error_state": node.errorState,
            "action": node.action,
            "on_error": node.onError,
            "delay": f"{node.delay:g}" if node.delay else "",
            "job": f"/{node.job}" if node.job else "",
        }
        child = element("job_chain_node", {name: value for name, value in facts.items() if value})
        if node.job:
            queue = at[node.state]
            child.children.append(queueElement(queue, shown(len(queue)), what, times=True))
            worker = job(node.job)
            child.children += [worker] if worker is not None else []
        children.append(child)
    return element("job_chain", attributes, children)
