"""
C{jsremote state}: ask a remote, or a client's command port, what it is doing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from jobscheduler_tcp.cli.asking import plain, stateOf
from jobscheduler_tcp.cli.screen import Draw, columns, drawn, printable, shortTime
from jobscheduler_tcp.cli.values import shown
from jobscheduler_tcp.wire.documents import Element

# What nearly every row says, and what others of the same row say as well.
_USUAL = {
    "all_steps": "0",
    "enabled": "yes",
    "force_start": "yes",
    "in_period": "yes",
    "order": "no",
    "steps": "0",
}
# What people ask others for, or the files.
_UNTOLD = {
    *("all_steps", "has_description", "in_period", "job_chain_priority"),
    *("log_file", "max_orders", "orders_recoverable"),
}
_UNTOLD_GROUPS = {
    *("connections", "file_based", "http_server", "job_chain_node", "log"),
    *("requisites", "subprocesses"),
}
_SAME = {"id": "task", "task_id": "task", "job": "path", "name": "path", "start_at": "enqueued"}


def state(remote: tuple[str, int], asJSON: bool) -> int:
    """
    Print the state, or one line on stderr why not.

    @return: the exit code.
    """
    found = stateOf(remote, b'<show_state what="job_chains"/>')
    if isinstance(found, int):
        return found
    if asJSON:
        print(json.dumps(plain(found)))
    else:
        print("\n".join(table(shown(remote), found, drawn)))
    return 0


def table(where: str, found: Element, draw: Draw = columns) -> Iterator[str]:
    """
    The same for people: what it is, then what it has, a line each.

    @param draw: puts rows into columns.
    """
    yield f"{where}  " + printable(found.attributes.get("state", ""))
    width = max((len(name) for name in found.attributes), default=0)
    for name, value in found.attributes.items():
        if value and name != "state":
            yield f"  {name:{width}}  {printable(value)}"
    groups = {group.name: group for group in found.children}
    for name, rows in _lists(found).items():
        yield ""
        if rows:
            yield f"{name}:"
            yield from draw(_brief(rows, found.attributes.get("time", "")))
        else:
            facts = groups[name].attributes
            told = "  ".join(f"{fact} {value}" for fact, value in facts.items() if fact != "count")
            yield f"{name}: " + (printable(told) or "none")


def _lists(found: Element) -> dict[str, list[dict[str, str]]]:
    """
    The lists in an element by their names, also those deeper in it, such as the
    tasks of all jobs. Of the deeper ones only those with something in them.
    """
    waiting = [group for group in found.children if group.name not in _UNTOLD_GROUPS]
    lists: dict[str, list[dict[str, str]]] = {
        group.name: [] for group in waiting if group.attributes.get("connected") != "0"
    }
    for group in waiting:
        for each in group.children:
            lists.setdefault(group.name, []).append(each.attributes)
            waiting += [part for part in each.children if part.name not in _UNTOLD_GROUPS]
    return lists


def _brief(rows: list[dict[str, str]], now: str) -> list[dict[str, str]]:
    """
    Rows without what goes without saying, so that they fit into 80 columns.
    """
    needless = {
        name
        for name in set().union(*rows)
        if name in _UNTOLD
        or all(row.get(name, "") in ("", _USUAL.get(name), *_same(row, name)) for row in rows)
    }
    return [
        {name: shortTime(value, now) for name, value in row.items() if name not in needless}
        for row in rows
    ]


def _same(row: dict[str, str], name: str) -> Iterator[str]:
    said = row.get(_SAME.get(name, ""), "")
    if said:
        yield from (said, said.removeprefix("/"), said.rpartition("/")[2])
