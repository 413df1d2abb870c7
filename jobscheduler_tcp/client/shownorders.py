"""
How orders look in JobScheduler's answers.

What stands here beyond its words (C{lost}) its readers pass over.
"""

from __future__ import annotations

from collections.abc import Sequence

from jobscheduler_tcp.client.order import NEVER, Order
from jobscheduler_tcp.client.shownparts import paramsElement
from jobscheduler_tcp.client.what import What
from jobscheduler_tcp.plaincommands import timestamp
from jobscheduler_tcp.wire.documents import Constant, Element, element

# The same for all: an order is not a file.
_NO_FILE = Constant(element("file_based", {"state": "not_initialized"}, [element("requisites")]))


def orderElement(order: Order, what: What = frozenset()) -> Element:
    """
    An order.
    """
    folder = order.chain.rpartition("/")[0]
    attributes = {"path": f"/{folder}", "order": order.id, "id": order.id}
    if order.at:
        attributes["next_start_time"] = _time(order.at)
    if order.title:
        attributes["title"] = order.title
    attributes["state"] = order.state
    attributes["initial_state"] = order.initialState
    if order.endState:
        attributes["end_state"] = order.endState
    attributes["job_chain"] = f"/{order.chain}"
    if order.job:
        attributes["job"] = f"/{order.job}"
    if order.task:
        attributes["task"] = str(order.task)
        attributes["in_process_since"] = timestamp(order.inProcessSince)
    if order.text:
        attributes["state_text"] = order.text
    attributes["priority"] = str(order.priority)
    attributes["created"] = timestamp(order.created)
    if order.at:
        attributes["setback" if order.setBack else "at"] = _time(order.at)
    if order.setbacks:
        attributes["setback_count"] = str(order.setbacks)
    for name, value in (
        ("suspended", order.suspended),
        ("touched", order.touched),
        ("lost", order.lost),
        ("replaced", order.successor is not None),
        ("removed", order.removed),
    ):
        if value:
            attributes[name] = "yes"
    if order.began:
        attributes["start_time"] = timestamp(order.began)
    if order.ended:
        attributes["end_time"] = timestamp(order.ended)
    children: list[Element] = [_NO_FILE]
    if "payload" in what and order.parameters:
        children.append(element("payload", {}, [paramsElement(order.parameters)]))
    if "log" in what:
        children.append(element("log", {"level": "info"}))
    return Element("order", attributes, children)


def queueElement(orders: Sequence[Order], most: int, what: What, *, times: bool) -> Element:
    """
    The orders that stand at one place.

    @param most: how many of them are shown.
    @param times: whether to tell when the first of them may go on.
    """
    attributes = {"length": str(len(orders))}
    if times:
        free = (order.at or order.arrived for order in orders if not order.suspended)
        first = min(free, default=NEVER)
        attributes["next_start_time"] = _time(first)
    return element("order_queue", attributes, [orderElement(each, what) for each in orders[:most]])


def _time(seconds: float) -> str:
    return "never" if seconds == NEVER else timestamp(seconds)
