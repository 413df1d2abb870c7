"""
C{jsremote ports}: ask a client who has which callback port.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from jobscheduler_tcp.cli.asking import EX_SOFTWARE, complain, plain, stateOf
from jobscheduler_tcp.cli.screen import Draw, columns, drawn
from jobscheduler_tcp.cli.values import shown
from jobscheduler_tcp.wire.documents import Element


def ports(client: tuple[str, int], asJSON: bool) -> int:
    """
    Print the callback ports, or one line on stderr why not.

    @return: the exit code.
    """
    state = stateOf(client, b'<show_state what="ports"/>', "client")
    if isinstance(state, int):
        return state
    found = next((child for child in state.children if child.name == "ports"), None)
    if found is None:
        text = f"{shown(client)} has no callback ports; only a client of this version has"
        return complain(EX_SOFTWARE, text)
    if asJSON:
        listed = [plain(port) for port in found.children]
        print(json.dumps({**found.attributes, "ports": listed}))
    else:
        print("\n".join(table(shown(client), found, drawn)))
    return 0


def table(where: str, found: Element, draw: Draw = columns) -> Iterator[str]:
    """
    The same for people, in 80 columns.

    @param draw: puts rows into columns.
    """
    told = dict(found.attributes)
    yield f"{where}  callback ports {told.pop('range', '')}"
    yield "  " + ", ".join(f"{count} {state}" for state, count in told.items())
    yield ""
    yield from draw([_row(port.attributes) for port in found.children])


def _row(port: dict[str, str]) -> dict[str, str]:
    task = f"{port['job']} {port['id']}" if "job" in port and "id" in port else ""
    return {
        "port": port.get("port", ""),
        "state": port.get("state", ""),
        "age": _age(port.get("age", "")),
        "peer": port.get("peer", ""),
        "task": task or port.get("task", ""),
    }


def _age(text: str) -> str:
    try:
        seconds = float(text)
    except ValueError:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
