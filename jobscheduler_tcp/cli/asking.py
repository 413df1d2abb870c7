"""
Ask a service one thing, by JobScheduler's XML commands, and hear its answer; or
tell in one line why there is none.

One question and one answer: a plain socket does, without a reactor.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias, overload

from jobscheduler_tcp.cli.screen import printable
from jobscheduler_tcp.cli.values import shown
from jobscheduler_tcp.errors import (
    CommandRefused,
    ConnectionClosed,
    RemoteProtocolError,
)
from jobscheduler_tcp.wire.documents import (
    CONFIGURATION,
    Element,
    element,
    isCarried,
    parse,
    serialise,
)
from jobscheduler_tcp.wire.splitters import AnswerSplitter

Address: TypeAlias = tuple[str, int]
Away: TypeAlias = Callable[[], bool]

# Seconds for the whole answer: as long as a remote waits for the whole question
# (docs/protocol/extended, "Command connection").
PATIENCE = 10.0

# An answer may list everything that a client has, and it is our client's.
MAX_ANSWER = 256 << 20

# sysexits.h
EX_DATAERR = 65
EX_NOINPUT = 66
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_TEMPFAIL = 75
EX_NOPERM = 77

# What a refusal means: it is not known, not there, not allowed, or not now.
# Everything else: it cannot be what was said.
_STATUS = {
    "SCHEDULER-105": EX_SOFTWARE,
    "SCHEDULER-121": EX_NOPERM,
    "SCHEDULER-149": EX_NOINPUT,
    "SCHEDULER-161": EX_NOINPUT,
    "SCHEDULER-162": EX_NOINPUT,
    "SCHEDULER-207": EX_NOINPUT,
    "SCHEDULER-184": EX_TEMPFAIL,
    "SCHEDULER-210": EX_TEMPFAIL,
    "SCHEDULER-217": EX_TEMPFAIL,
    "jsremote-internal-error": EX_SOFTWARE,
    "jsremote-limit": EX_TEMPFAIL,
}


def question(
    name: str, attributes: Mapping[str, str | None], children: Iterable[Element] = ()
) -> bytes:
    """
    Write a command.

    @param attributes: those that are empty or C{None} are not said.
    @raise SystemExit: XML cannot carry it.
    """
    said = {name: _carried(name, value) for name, value in attributes.items() if value}
    return serialise(element(name, said, children), "UTF-8")


def parametersElement(pairs: Iterable[tuple[str, str]]) -> Element:
    """
    Write parameters.
    """
    found = (
        element("param", {"name": _carried("param", name), "value": _carried(name, value)})
        for name, value in pairs
    )
    return element("params", {}, found)


def _carried(name: str, value: str) -> str:
    # It would become something else, and nobody would be told.
    if not isCarried(value):
        raise SystemExit(complain(EX_DATAERR, f"{name}: XML cannot carry {value[:100]!r}"))
    return value


def stateOf(remote: Address, question: bytes, role: str = "remote") -> Element | int:
    """
    Ask for a state; or tell on stderr why there is none, and return the exit
    code.
    """
    answer = answerOf(remote, question, role)
    if isinstance(answer, int):
        return answer
    text = f"{shown(remote)} is no remote and no client: the answer has no state in it"
    return childOf(answer, "state") or complain(EX_SOFTWARE, text)


@overload
def answerOf(
    remote: Address, question: bytes, role: str = "remote", *, away: Away = ...
) -> Element | int: ...
@overload
def answerOf(
    remote: Address, question: bytes, role: str, *, absent: str, away: Away = ...
) -> Element | int | None: ...
def answerOf(
    remote: Address,
    question: bytes,
    role: str = "remote",
    *,
    absent: str = "",
    away: Away = lambda: False,
) -> Element | int | None:
    """
    Say one command and hear its answer; or tell on stderr why there is none, and
    return the exit code.

    @param absent: the code of a refusal that is an answer, too: C{None}.
    @param away: called when the service cannot be reached; tells whether it is
        tried again.
    """
    where = shown(remote)
    while True:
        try:
            return ask(remote, question)
        except CommandRefused as error:
            if error.code == absent:
                return None
            status = _STATUS.get(error.code, EX_DATAERR)
            if error.code == "SCHEDULER-105":
                return complain(status, f"{where} is no {role} of this version: {error}")
            return complain(status, f"{where} refused: {error}")
        except RemoteProtocolError as error:
            return complain(EX_SOFTWARE, f"{where} is no remote and no client: {error}")
        except (ConnectionClosed, OSError, UnicodeError) as error:  # the last: no name
            if isinstance(error, UnicodeError) or not away():
                return complain(EX_UNAVAILABLE, f"cannot ask {where}: {_why(error, role)}")


def _why(error: Exception, role: str) -> str:
    if isinstance(error, (ConnectionClosed, ConnectionResetError)):
        return f'{error}; <allowed_host host="..." level="info"/> of its scheduler.xml lets us in'
    reason = getattr(error, "strerror", None) or error
    return f"{reason}; is it running? twistd jsremote --role {role}"


def ask(address: Address, question: bytes) -> Element:
    """
    Say one command and hear its answer.

    @raise OSError: the connection failed, or took too long.
    @raise CommandRefused: the answer is an error.
    """
    until = time.monotonic() + PATIENCE
    with socket.create_connection(address, PATIENCE) as connection:
        connection.sendall(question)
        splitter = AnswerSplitter(MAX_ANSWER)
        while True:
            connection.settimeout(max(until - time.monotonic(), 0.001))
            data = connection.recv(65536)
            if not data:
                raise ConnectionClosed("it closed the connection without an answer")
            for document in splitter.feed(data):
                return answerIn(parse(document, CONFIGURATION))


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


def childOf(element: Element, name: str) -> Element | None:
    """
    The first child of a name.
    """
    return next((child for child in element.children if child.name == name), None)


def plain(element: Element) -> dict[str, object]:
    """
    An element as JSON has it: its attributes, and a list for each element that
    it contains.
    """
    value: dict[str, object] = dict(element.attributes)
    nodes = [plain(child) for child in element.children if child.name == "job_chain_node"]
    if nodes:
        value["job_chain_nodes"] = nodes
    for child in element.children:
        if child.name == "job_chain_node":
            continue
        found = [plain(each) for each in child.children]
        # A list stays a list when it is empty.
        isList = found or not child.attributes or "count" in child.attributes
        value[child.name] = found if isList else plain(child)
    return value


def complain(code: int, text: str) -> int:
    """
    Tell on stderr what is wrong.

    @return: the exit code.
    """
    print(f"jsremote: {printable(text)}", file=sys.stderr)
    return code
