"""
C{jsremote state}: ask a remote, or a client's command port, what it is doing.

One question and one answer: a plain socket does, without a reactor.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator

from jobscheduler_tcp.cli.arguments import shown
from jobscheduler_tcp.errors import CommandRefused, ConnectionClosed, RemoteProtocolError
from jobscheduler_tcp.wire.documents import GREETED, Element, parse
from jobscheduler_tcp.wire.splitters import AnswerSplitter

# Seconds for the whole answer: as long as a remote waits for the whole question
# (docs/protocol/extended, "Command connection").
PATIENCE = 10.0

# sysexits.h
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_NOPERM = 77

# What nearly every row says, and what others of the same row say as well.
_USUAL = {
    "all_steps": "0",
    "enabled": "yes",
    "force_start": "yes",
    "in_period": "yes",
    "order": "no",
    "steps": "0",
}
_SAME = {"id": "task", "job": "path", "name": "path", "start_at": "enqueued"}


def state(remote: tuple[str, int], asJSON: bool) -> int:
    """
    Print the state, or one line on stderr why not.

    @return: the exit code.
    """
    found = stateOf(remote, b"<show_state/>")
    if isinstance(found, int):
        return found
    if asJSON:
        print(json.dumps(plain(found)))
    else:
        print("\n".join(table(shown(remote), found)))
    return 0


def stateOf(remote: tuple[str, int], question: bytes, role: str = "remote") -> Element | int:
    """
    Ask for a state; or tell on stderr why there is none, and return the exit
    code.
    """
    answer = answerOf(remote, question, role)
    if isinstance(answer, int):
        return answer
    text = f"{shown(remote)} is no remote and no client: the answer has no state in it"
    return childOf(answer, "state") or complain(EX_SOFTWARE, text)


def childOf(element: Element, name: str) -> Element | None:
    """
    The first child of a name.
    """
    return next((child for child in element.children if child.name == name), None)


def answerOf(remote: tuple[str, int], question: bytes, role: str = "remote") -> Element | int:
    """
    Say one command and hear its answer; or tell on stderr why there is none, and
    return the exit code.
    """
    where = shown(remote)
    try:
        return ask(remote, question)
    except CommandRefused as error:
        if error.code == "SCHEDULER-105":  # it does not know the command
            return complain(EX_SOFTWARE, f"{where} is no {role} of this version: {error}")
        return complain(EX_NOPERM, f"{where} refused: {error}")
    except RemoteProtocolError as error:
        return complain(EX_SOFTWARE, f"{where} is no remote and no client: {error}")
    except (ConnectionClosed, OSError, UnicodeError) as error:  # the last: an impossible name
        reason = getattr(error, "strerror", None) or error
        hint = f"is it running? twistd jsremote --role {role}"
        return complain(EX_UNAVAILABLE, f"cannot ask {where}: {reason}; {hint}")


def ask(address: tuple[str, int], question: bytes) -> Element:
    """
    Say one command and hear its answer.

    @raise OSError: the connection failed, or took too long.
    @raise CommandRefused: the answer is an error.
    """
    until = time.monotonic() + PATIENCE
    with socket.create_connection(address, PATIENCE) as connection:
        connection.sendall(question)
        splitter = AnswerSplitter()
        while True:
            connection.settimeout(max(until - time.monotonic(), 0.001))
            data = connection.recv(65536)
            if not data:
                raise ConnectionClosed("it closed the connection without an answer")
            for document in splitter.feed(data):
                return answerIn(parse(document, GREETED))


def answerIn(root: Element) -> Element:
    """
    What is inside of an envelope.

    @raise CommandRefused: an error.
    """
    for answer in root.children:
        for child in answer.children:
            if child.name == "ERROR":
                code, text = child.attributes.get("code", ""), child.attributes.get("text", "")
                raise CommandRefused(code, text)
        return answer
    raise RemoteProtocolError("the answer is empty")


def plain(element: Element) -> dict[str, object]:
    """
    An element as JSON has it: its attributes, and a list for each element that
    it contains.
    """
    value: dict[str, object] = dict(element.attributes)
    for child in element.children:
        found = [plain(each) for each in child.children]
        # A list stays a list when it is empty.
        isList = found or not child.attributes or "count" in child.attributes
        value[child.name] = found if isList else plain(child)
    return value


def table(where: str, found: Element) -> Iterator[str]:
    """
    The same for people: what it is, then what it has, a line each.
    """
    yield f"{where}  " + _printable(found.attributes.get("state", ""))
    width = max((len(name) for name in found.attributes), default=0)
    for name, value in found.attributes.items():
        if value and name != "state":
            yield f"  {name:{width}}  {_printable(value)}"
    groups = {group.name: group for group in found.children}
    for name, rows in _lists(found).items():
        yield ""
        if rows:
            yield f"{name}:"
            yield from columns(_brief(rows, found.attributes.get("time", "")[:10]))
        else:
            facts = groups[name].attributes
            told = "  ".join(f"{fact} {value}" for fact, value in facts.items() if fact != "count")
            yield f"{name}: " + (_printable(told) or "none")


def _lists(found: Element) -> dict[str, list[dict[str, str]]]:
    """
    The lists in an element by their names, also those deeper in it, such as the
    tasks of all jobs. Of the deeper ones only those with something in them.
    """
    lists: dict[str, list[dict[str, str]]] = {group.name: [] for group in found.children}
    waiting = list(found.children)
    for group in waiting:
        for each in group.children:
            lists.setdefault(group.name, []).append(each.attributes)
            waiting += each.children
    return lists


def _brief(rows: list[dict[str, str]], today: str) -> list[dict[str, str]]:
    """
    Rows without what goes without saying, so that they fit into 80 columns.
    """
    needless = {
        name
        for name in set().union(*rows)
        if all(row.get(name, "") in ("", _USUAL.get(name), *_same(row, name)) for row in rows)
    }
    return [
        {
            name: value.removeprefix(f"{today} ") if today else value
            for name, value in row.items()
            if name not in needless
        }
        for row in rows
    ]


def _same(row: dict[str, str], name: str) -> Iterator[str]:
    said = row.get(_SAME.get(name, ""), "")
    if said:
        yield from (said, said.rpartition("/")[2])


def columns(rows: list[dict[str, str]]) -> Iterator[str]:
    """
    Rows in columns, each with its name; those with nothing in them are left out.
    """
    names = list(dict.fromkeys(name for row in rows for name, value in row.items() if value))
    lines = [names, *([_printable(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(names))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield ("  " + "  ".join(cells)).rstrip()


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text)


def complain(code: int, text: str) -> int:
    """
    Tell on stderr what is wrong.

    @return: the exit code.
    """
    print(f"jsremote: {_printable(text)}", file=sys.stderr)
    return code
