"""
What is said of a classic task on the command connection: start it, kill it, close
it (protocol document 3). As XML all of it can be written in many ways; as the
engines and we write it, it is read without a parser, which takes ten times as
long.
"""

from __future__ import annotations

import re

from jobscheduler_tcp.wire.documents import Element, element

START = "remote_scheduler.start_remote_task"
CLOSE = "remote_scheduler.remote_task.close"

_PROLOG = '<?xml version="1.0" encoding="ISO-8859-1"?>'

_SAID_START = re.compile(
    rf'{re.escape(_PROLOG)}\n<{re.escape(START)} tcp_port="(\d{{1,9}})" kind="process"/>'.encode()
)
_SAID_CLOSE = re.compile(rf"<{re.escape(CLOSE)} process_id='(\d{{1,9}})'/>".encode())
_SAID_ANSWER = re.compile(
    rf'{re.escape(_PROLOG)}\n<spooler><answer time="[-0-9TZ:. ]*">'
    r'<(?:(ok)|process process_id="(\d{1,9})")/></answer></spooler>'.encode()
)


def startDocument(port: int) -> bytes:
    """
    Start a task, with a prolog as real clients do.
    """
    return f'{_PROLOG}\n<{START} tcp_port="{port}" kind="process"/>'.encode()


def closeDocument(number: int, *, kill: bool = False) -> bytes:
    """
    Close a task: without a prolog and with single quotes, as real clients do.
    """
    killing = " kill='yes'" if kill else ""
    return f"<{CLOSE} process_id='{number}'{killing}/>".encode()


def usualCommand(document: bytes) -> Element | None:
    """
    The command of a document, if it says to start or to close a task as it is
    usually said.
    """
    close = _SAID_CLOSE.fullmatch(document)
    if close is not None:
        return Element(CLOSE, {"process_id": close[1].decode()}, line=1)
    start = _SAID_START.fullmatch(document)
    if start is not None:
        return Element(START, {"tcp_port": start[1].decode(), "kind": "process"}, line=2)
    return None


def usualAnswer(document: bytes) -> Element | None:
    """
    What stands in an answer, if it is the usual one to such a command.
    """
    said = _SAID_ANSWER.fullmatch(document)
    if said is None:
        return None
    return element("ok") if said[1] else element("process", {"process_id": said[2].decode()})
