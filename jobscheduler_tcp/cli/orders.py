"""
C{jsremote add-order}, C{orders}, C{modify-order} and C{remove-order}: the orders
of a client.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

from jobscheduler_tcp.cli.asking import (
    EX_SOFTWARE,
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
    answerOf,
    childOf,
    complain,
    parametersElement,
    plain,
    question,
)
from jobscheduler_tcp.cli.screen import drawn, shortTime
from jobscheduler_tcp.cli.values import shown
from jobscheduler_tcp.cli.waiting import Waiting, statusOf
from jobscheduler_tcp.client.lines import readable
from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.wire.documents import Element


def addOrder(given: argparse.Namespace) -> int:
    """
    Bring an order into a job chain.

    @return: the exit code.
    """
    attributes = {
        "job_chain": given.chain,
        "id": given.id,
        "title": given.title,
        "state": given.state,
        "end_state": given.end_state,
        "priority": _text(given.priority),
        "at": given.at,
        "suspended": "yes" if given.suspended else "",
        "replace": "no" if given.no_replace else "",
    }
    answer = answerOf(
        given.remote, question("add_order", attributes, [parametersElement(given.param)]), "client"
    )
    if isinstance(answer, int):
        return answer
    said = childOf(answer, "ok")
    order = childOf(said, "order") if said is not None else None
    if order is None:
        return complain(EX_SOFTWARE, f"{shown(given.remote)} did not say which order that is")
    if not given.wait:
        print(json.dumps(order.attributes) if given.json else _line(order))
        return 0
    chain, identifier = order.attributes.get("job_chain", ""), order.attributes.get("id", "")
    name = f"{chain} {identifier}"
    what = f"order {chain}:{identifier}"
    with Waiting(given.remote, what, f"orders {chain}", f"remove-order {name}") as waiting:
        found = waiting.forOrder(chain, identifier)
    if isinstance(found, int):
        return found
    steps = childOf(found, "order_step_history")
    last = steps.children[-1].attributes if steps is not None and steps.children else {}
    if given.json:
        print(json.dumps(plain(found)))
    else:
        print(readable(f"{what} {' '.join(_came(found.attributes, last))}"))
    return _status(found.attributes, last)


def modifyOrder(given: argparse.Namespace) -> int:
    """
    Change an order, and tell how it stands then.

    @return: the exit code.
    """
    attributes = {
        "job_chain": given.chain,
        "order": given.id,
        "action": "reset" if given.reset else "",
        "state": given.state,
        "end_state": given.end_state,
        "title": given.title,
        "priority": _text(given.priority),
        "at": given.at,
        "setback": "no" if given.no_setback else "",
        "suspended": "yes" if given.suspend else "no" if given.resume else "",
    }
    params = [parametersElement(given.param)] if given.param else []
    answer = answerOf(given.remote, question("modify_order", attributes, params), "client")
    if isinstance(answer, int):
        return answer
    which = {"job_chain": given.chain, "order": given.id}
    answer = answerOf(given.remote, question("show_order", which), "client")
    if isinstance(answer, int):
        return answer
    order = childOf(answer, "order")
    if order is None:
        return complain(EX_SOFTWARE, f"{shown(given.remote)} does not show its orders")
    print(json.dumps(order.attributes) if given.json else _line(order))
    return 0


def removeOrder(given: argparse.Namespace) -> int:
    """
    Take an order out of its job chain.

    @return: the exit code.
    """
    which = {"job_chain": given.chain, "order": given.id}
    answer = answerOf(given.remote, question("remove_order", which), "client")
    if isinstance(answer, int):
        return answer
    text = f"order {readable(given.id)} is removed"
    print(json.dumps({"job_chain": given.chain, "order": given.id}) if given.json else text)
    return 0


def orders(client: tuple[str, int], chain: str, count: int, asJSON: bool) -> int:
    """
    Print the orders of all job chains, or of one.

    @return: the exit code.
    """
    asked = {"what": "job_chain_orders", "max_orders": str(count)}
    answered = _chains(client, chain, asked)
    if isinstance(answered, int):
        return answered
    now, chains = answered
    found = [order for each in chains for order in _ordersOf(each)]
    if asJSON:
        print(json.dumps({"orders": [order.attributes for order in found]}))
        return 0
    if found:
        print("\n".join(drawn([_row(order.attributes, now) for order in found])))
    else:
        print("there are no orders" if chains else "there are no job chains")
    left = sum(_count(each.attributes.get("orders", "")) for each in chains) - len(found)
    if left > 0:
        print(f"and {left} more; -n shows more of each node")
    return 0


def pastOrders(client: tuple[str, int], chain: str, count: int, asJSON: bool) -> int:
    """
    Print the orders that are over, of all job chains or of one.

    @return: the exit code.
    """
    # As many as a client shows at most.
    asked = {"what": "order_history", "max_order_history": str(min(count, 1000))}
    answered = _chains(client, chain, asked)
    if isinstance(answered, int):
        return answered
    now, chains = answered
    groups = (childOf(each, "order_history") for each in chains)
    found = [run.attributes for group in groups if group is not None for run in group.children]
    found.sort(key=lambda run: _count(run.get("history_id", "")), reverse=True)
    if asJSON:
        print(json.dumps({"orders": found}))
    elif found:
        print("\n".join(drawn([_pastRow(run, now) for run in found])))
    else:
        print("no order is over")
    return 0


def _chains(
    client: tuple[str, int], chain: str, asked: dict[str, str]
) -> tuple[str, list[Element]] | int:
    """
    Ask for all job chains, or for one.

    @return: the client's time, and the job chains; or the exit code.
    """
    name = "show_job_chain" if chain else "show_job_chains"
    answer = answerOf(client, question(name, {"job_chain": chain, **asked}), "client")
    if isinstance(answer, int):
        return answer
    group = answer if chain else childOf(answer, "job_chains")
    if group is None:
        return complain(EX_SOFTWARE, f"{shown(client)} has no job chains; only a client has")
    chains = [child for child in group.children if child.name == "job_chain"]
    return answer.attributes.get("time", ""), chains


def _pastRow(run: dict[str, str], now: str) -> dict[str, str]:
    return {
        "chain": run.get("job_chain", ""),
        "order": run.get("id", ""),
        "end": run.get("state", ""),
        "how": "removed" if run.get("removed") else "",
        "from": shortTime(run.get("start_time", ""), now),
        "to": shortTime(run.get("end_time", ""), now),
        "title": run.get("title", ""),
    }


def _ordersOf(chain: Element) -> Iterator[Element]:
    for node in chain.children:
        queue = childOf(node, "order_queue")
        if queue is not None:
            yield from (child for child in queue.children if child.name == "order")


def _row(order: dict[str, str], now: str) -> dict[str, str]:
    return {
        "chain": order.get("job_chain", ""),
        "order": order.get("id", ""),
        "state": order.get("state", ""),
        "task": order.get("task", ""),
        "how": " ".join(_how(order)),
        "at": shortTime(order.get("at") or order.get("setback") or "", now),
        "why": order.get("state_text", ""),
        "title": order.get("title", ""),
    }


def _how(order: dict[str, str]) -> Iterator[str]:
    """
    What keeps an order where it is.
    """
    if order.get("lost"):
        yield "lost"
    elif order.get("suspended"):
        yield "suspended"
    elif order.get("task"):
        yield "in process"
    elif order.get("setback"):
        yield f"set back ({order.get('setback_count', '')})"
    elif order.get("at") == "never":
        yield "waits for a command"
    elif order.get("at"):
        yield "waits for its time"
    else:
        yield "waits"


def _line(order: Element) -> str:
    said = order.attributes
    words = [f"order {said.get('job_chain', '')}:{said.get('id', '')}"]
    words.append(f"in state {said.get('state', '')}")
    words += _how(said)
    if said.get("task"):
        words.append(f"in task {said['task']}")
    times = (said.get("at", ""), said.get("setback", ""))
    words += [f"at {shortTime(time, '')}" for time in times if time]
    return readable(", ".join(words))


def _came(order: dict[str, str], last: dict[str, str]) -> Iterator[str]:
    """
    What became of an order that was waited for.

    @param last: its last step.
    """
    if order.get("removed"):
        yield f"was removed in state {order.get('state', '')}"
    elif "end_time" in order:
        yield f"came to its end: {order.get('state', '')}"
    else:
        yield f"is {'lost' if order.get('lost') else 'suspended'} in state {order.get('state', '')}"
    if last:
        yield f"(task {last.get('task', '')}: {last.get('text') or last.get('verdict', '')})"
    elif order.get("state_text"):
        yield f"({order['state_text']})"


def _status(order: dict[str, str], last: dict[str, str]) -> int:
    """
    The exit code: that of the last task, or why there is none.
    """
    if "end_time" not in order:
        return EX_UNAVAILABLE if order.get("lost") else EX_TEMPFAIL
    if order.get("removed"):
        return Outcome(Reason.CANCELLED).exitStatus
    return statusOf(last) if last else 0


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def _count(text: str) -> int:
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 10 else 0
