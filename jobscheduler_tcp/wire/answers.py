"""
The extended answers of the command connection as XML (docs/protocol/extended).
"""

from __future__ import annotations

import re

from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.messages import (
    Answer,
    AttachRefused,
    ConfirmationOpened,
    ConfirmationRefused,
    Pong,
    RequestFailed,
    TaskKilled,
    TaskRefused,
    TaskTaken,
    Welcome,
)
from jobscheduler_tcp.wire.documents import GREETED, Element, parse
from jobscheduler_tcp.wire.fields import MAX_LINE, attribute, line, message, number, take

_OPENED = "confirmation"
_REFUSED = "jsremote-"  # and the reason, in the code of an ERROR
_NOT_ATTACHED = "jsremote-attach"

# What is heard of every task, as a remote of ours says it. To read it as XML takes
# twenty times as long; whatever is written in another way is read so.
_TAKEN = re.compile(
    rb'<spooler><answer id="(0|[1-9][0-9]{0,8})" time="[-0-9TZ:. ]*">'
    rb'<process process_id="(0|[1-9][0-9]{0,8})"'
    rb' task="([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})"/>'
    rb"</answer></spooler>"
)


def encodeAnswer(answer: Answer, time: str) -> bytes:
    """
    Write an answer, to be sent in one piece.

    @param time: when, as text.
    """
    match answer:
        case TaskTaken():
            text = f'<process process_id="{answer.processId}"{attribute("task", answer.task)}/>'
        case Pong():
            text = "<jsremote.pong/>"
        case TaskRefused():
            code = f"{_REFUSED}{answer.reason.value}"
            text = (
                f'<ERROR code="{code}"{attribute("task", answer.task)}'
                f' reason="{answer.reason.value}" errno="{answer.errno}"'
                f' text="{code}  {line(answer.text)}"/>'
            )
        case AttachRefused():
            text = (
                f'<ERROR code="{_NOT_ATTACHED}"{attribute("task", answer.task)}'
                f' reason="{answer.reason.value}" errno="{answer.errno}"'
                f' held="{"yes" if answer.held else "no"}"'
                f' text="{_NOT_ATTACHED}  {line(answer.text)}"/>'
            )
        case ConfirmationOpened():
            text = f"<{_OPENED}{attribute('connection', answer.connection)}/>"
        case ConfirmationRefused():
            code = f"{_REFUSED}{answer.reason.value}"
            text = (
                f'<ERROR code="{code}"{attribute("connection", answer.connection)}'
                f' reason="{answer.reason.value}" errno="{answer.errno}"'
                f' text="{code}  {line(answer.text)}"/>'
            )
        case TaskKilled():
            survivors = (
                f'<survivor pid="{survivor.pid}" command="{line(survivor.command)}"/>'
                for survivor in answer.survivors
            )
            text = (
                f'<killed{attribute("task", answer.task)} died="{answer.died}">'
                f"{''.join(survivors)}</killed>"
            )
        case RequestFailed():
            code = line(answer.code)
            text = f'<ERROR code="{code}" text="{code}  {line(answer.text)}"/>'
        case Welcome():
            text = (
                f'<jsremote.welcome version="{answer.version}"'
                f"{attribute('instance', answer.instance)}"
                f"{attribute('capabilities', ' '.join(answer.capabilities))}"
                f"{attribute('boot_id', answer.bootId)}"
                f' clock="{number(answer.clock)}" max_tasks="{answer.maxTasks}"/>'
            )
    envelope = f'<spooler><answer id="{answer.id}" time="{time}">{text}</answer></spooler>\n\0'
    return envelope.encode()


def decodeAnswer(document: bytes) -> Answer:
    """
    Read an answer. What a classic remote answers to a request that it does not
    know has no id: it is a L{RequestFailed} with the id 0.

    @raise RemoteProtocolError: it cannot be understood.
    """
    taken = _TAKEN.fullmatch(document)
    if taken is not None:
        identifier, process, task = taken.groups()
        return TaskTaken(int(identifier), task.decode("ascii"), int(process))
    root = parse(document, GREETED)
    if root.name != "spooler" or not root.children or root.children[0].name != "answer":
        raise RemoteProtocolError("an answer without its envelope")
    envelope = root.children[0]
    said = envelope.children[-1] if envelope.children else envelope
    if said.name == "ERROR":  # comes last, whatever there was before it
        return _error(said, envelope.attributes.get("id", "0"))
    if said.name not in _ANSWERS:
        raise RemoteProtocolError(f"an answer that is not known: {said.name}")
    kind, names = _ANSWERS[said.name]
    fields = take(said.attributes, names)
    fields["id"] = envelope.attributes.get("id")
    if kind is TaskKilled:
        fields["survivors"] = [
            take(child.attributes, {"pid": "pid", "command": "command"})
            for child in said.children
            if child.name == "survivor"
        ]
    elif kind is Welcome:
        fields["capabilities"] = said.attributes.get("capabilities", "").split()
    return message(kind, fields)


def _error(said: Element, identifier: str) -> Answer:
    attributes = said.attributes
    code = attributes.get("code", "")
    text = attributes.get("text", "").removeprefix(f"{code}  ")[:MAX_LINE]
    if code == _NOT_ATTACHED and "task" in attributes:
        names = {"task": "task", "reason": "reason", "errno": "errno"}
        fields = take(attributes, names)
        fields["held"] = attributes.get("held") == "yes"
        return message(AttachRefused, {**fields, "id": identifier, "text": text})
    if "task" in attributes and "reason" in attributes:
        fields = take(attributes, {"task": "task", "reason": "reason", "errno": "errno"})
        return message(TaskRefused, {**fields, "id": identifier, "text": text})
    if "connection" in attributes and "reason" in attributes:
        names = {"connection": "connection", "reason": "reason", "errno": "errno"}
        fields = take(attributes, names)
        return message(ConfirmationRefused, {**fields, "id": identifier, "text": text})
    return message(RequestFailed, {"id": identifier, "code": code[:MAX_LINE], "text": text})


_ANSWERS: dict[str, tuple[type[Answer], dict[str, str]]] = {
    "process": (TaskTaken, {"process_id": "processId", "task": "task"}),
    "killed": (TaskKilled, {"task": "task", "died": "died"}),
    "jsremote.pong": (Pong, {}),
    _OPENED: (ConfirmationOpened, {"connection": "connection"}),
    "jsremote.welcome": (
        Welcome,
        {
            "version": "version",
            "instance": "instance",
            "boot_id": "bootId",
            "clock": "clock",
            "max_tasks": "maxTasks",
        },
    ),
}
