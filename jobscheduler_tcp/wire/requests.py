"""
The extended requests of the command connection as XML (docs/protocol/extended).
"""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address

from jobscheduler_tcp.errors import LocalProtocolError, RemoteProtocolError
from jobscheduler_tcp.messages import (
    AttachTask,
    CallbackMode,
    Hello,
    KillTask,
    OnDisconnect,
    OpenConfirmation,
    Ping,
    Request,
    StartTask,
    TakeConfirmation,
)
from jobscheduler_tcp.wire.documents import Element, escapeText, isCarried
from jobscheduler_tcp.wire.fields import attribute, message, number, take

_HELLO = "jsremote.hello"
_PING = "jsremote.ping"
_START = "remote_scheduler.start_remote_task"
_KILL = "remote_scheduler.remote_task.kill"
_ATTACH = "remote_scheduler.remote_task.attach"
_OPEN = "jsremote.confirmation"
_TAKE = "jsremote.confirmation.take"

# Below are the ports of services: a start must not make the remote dial those.
_MIN_PORT = 1024

_TOKEN = re.compile("[0-9a-fA-F]{32}")
_YES = {"yes": True, "no": False}


def isRequest(root: Element) -> bool:
    """
    Tell whether a document is one of the extended dialect's requests. A start
    without a task's UUID is the classic dialect's.
    """
    name = root.name
    return name in _REQUESTS and (name != _START or "task" in root.attributes)


def encodeRequest(request: Request, identifier: int | None = None) -> bytes:
    """
    Write a request.

    @param identifier: if it is not to be that of the message.
    @raise LocalProtocolError: it cannot be said.
    """
    if identifier is None:
        identifier = request.id
    try:
        match request:
            case StartTask():
                text = _start(request, identifier)
            case Ping():
                text = f'<{_PING} id="{identifier}"/>'
            case KillTask():
                text = (
                    f'<{_KILL} id="{identifier}"{attribute("task", request.task)}'
                    f' signal="{request.signal}" grace="{number(request.grace)}"/>'
                )
            case Hello():
                text = (
                    f'<{_HELLO} id="{identifier}" version="{request.version}"'
                    f"{attribute('instance', request.instance)}"
                    f"{attribute('capabilities', ' '.join(request.capabilities))}"
                    f"{attribute('authentication', request.authentication)}"
                    f"{attribute('boot_id', request.bootId)}"
                    f' clock="{number(request.clock)}"/>'
                )
            case AttachTask():
                text = (
                    f'<{_ATTACH} id="{identifier}"{attribute("task", request.task)}'
                    f' callback="{request.mode.value}"{_where(request)}'
                    f' token="{request.token.hex()}" secret="{request.secret.hex()}"'
                    f"{attribute('instance', request.instance) if request.instance else ''}"
                    f' stdout="{request.stdout}" stderr="{request.stderr}"/>'
                )
            case OpenConfirmation():
                port = f' tcp_port="{request.port}"' if request.port else ""
                port += attribute("host", request.host) if request.host else ""
                text = (
                    f'<{_OPEN} id="{identifier}"{attribute("connection", request.connection)}'
                    f' callback="{request.mode.value}" token="{request.token.hex()}"{port}/>'
                )
            case TakeConfirmation():
                connection = attribute("connection", request.connection)
                text = f'<{_TAKE} id="{identifier}"{connection}/>'
        return text.encode()
    except (ValueError, OverflowError) as error:  # a surrogate, not a number
        said = type(request).__name__
        raise LocalProtocolError(f"{said} cannot be said, {type(error).__name__}") from error


def decodeRequest(root: Element) -> Request:
    """
    Read a request.

    @raise RemoteProtocolError: it cannot be understood; the text tells nothing
        of its token.
    """
    read = _REQUESTS.get(root.name)
    if read is None:
        raise RemoteProtocolError(f"a request that is not known: {root.name}")
    request = read(root)
    if request.id < 1:
        raise RemoteProtocolError(f"{root.name} with the id 0")
    return request


# ------------------------------------------------------------------- writing


def _start(request: StartTask, identifier: int) -> str:
    work = request.work
    if (work.script != "") + (work.command != ()) + (work.job != "") != 1:
        raise LocalProtocolError("exactly one of script, command and job can be started")
    options = attribute("directory", work.directory) if work.directory else ""
    if work.stdin:
        options += ' stdin="yes"'
    if work.wallTime:
        options += f' timeout="{number(work.wallTime)}"'
    if work.silence:
        options += f' silence="{number(work.silence)}"'
    if work.outputLimit:
        options += f' output_limit="{work.outputLimit}"'
    if request.sha256:
        options += ' sha256="yes"'
    if work.job:
        what = f"<job{attribute('name', work.job)}/>"
    elif work.command:
        arguments = [f"<argument{attribute('value', each)}/>" for each in work.command]
        what = f"<command>{''.join(arguments)}</command>"
    elif isCarried(work.script):
        what = f"<script>{escapeText(work.script)}</script>"
    else:
        what = f"<script{attribute('value', work.script)}/>"
    where = _where(request)
    if request.mode is CallbackMode.OWN:
        where += f' token="{request.token.hex()}"'
    if request.onDisconnect is not OnDisconnect.KILL:
        where += f' hold="{number(request.hold)}" secret="{request.secret.hex()}"'
    lists = ""
    if work.parameters:
        lists = _pairs("params", "param", work.parameters)
    if work.orderParameters is not None:  # an order without parameters is one, too
        pairs = _pairs("order_params", "param", work.orderParameters)
        lists += pairs or "<order_params/>"
    if work.environment:
        lists += _pairs("environment", "variable", work.environment)
    return (
        f'<{_START} id="{identifier}"{attribute("task", request.task)}{where}'
        f' callback="{request.mode.value}" on_disconnect="{request.onDisconnect.value}"'
        f' grace="{number(work.grace)}"{options}>'
        f"{lists}{what}</{_START}>"
    )


def _where(request: StartTask | AttachTask) -> str:
    # Where the task shall be confirmed.
    if request.mode is not CallbackMode.OWN:
        return attribute("connection", request.connection)
    return f' tcp_port="{request.port}"' + (attribute("host", request.host) if request.host else "")


def _pairs(name: str, item: str, pairs: Iterable[tuple[str, str]]) -> str:
    items = "".join(
        f"<{item}{attribute('name', key)}{attribute('value', value)}/>" for key, value in pairs
    )
    return f"<{name}>{items}</{name}>" if items else ""


# ------------------------------------------------------------------- reading


def _token(attributes: Mapping[str, str], name: str = "token") -> bytes:
    digits = attributes.get(name, "")
    if _TOKEN.fullmatch(digits) is None:
        raise RemoteProtocolError(f"the {name} is not 32 hexadecimal digits")
    return unhexlify(digits)


def _isWanted(attributes: Mapping[str, str], name: str) -> bool:
    word = attributes.get(name, "no")
    if word not in _YES:
        raise RemoteProtocolError(f"{name} is neither yes nor no")
    return _YES[word]


def _checkPort(port: int) -> None:
    if port < _MIN_PORT:
        raise RemoteProtocolError(f"{port} is no callback port, they begin at {_MIN_PORT}")


def _checkHost(host: str) -> None:
    # A name would be resolved at the other end, and a scope mean another network.
    try:
        ip_address(host if host.isascii() and "%" not in host else "")
    except ValueError:
        raise RemoteProtocolError("the host to call back is no IP address") from None


def _checkWhere(request: StartTask | AttachTask) -> None:
    if request.mode is CallbackMode.OWN:
        _checkPort(request.port)
        if request.connection:
            raise RemoteProtocolError("a connection that stands is not a task's own")
        if request.host:
            _checkHost(request.host)
    elif request.port or request.host or not request.connection:
        raise RemoteProtocolError("who names a standing connection names no port")


def _readHello(root: Element) -> Hello:
    fields = take(root.attributes, _HELLO_FIELDS)
    fields["capabilities"] = root.attributes.get("capabilities", "").split()
    return message(Hello, fields)


def _readStart(root: Element) -> StartTask:
    attributes = root.attributes
    fields = {"port": 0, "token": b"", **take(attributes, _START_FIELDS)}
    if attributes.get("callback", CallbackMode.OWN.value) == CallbackMode.OWN.value:
        fields["token"] = _token(attributes)
        fields["connection"] = ""
    if attributes.get("on_disconnect", OnDisconnect.KILL.value) != OnDisconnect.KILL.value:
        fields["secret"] = _token(attributes, "secret")
    fields["sha256"] = _isWanted(attributes, "sha256")
    work = fields["work"] = take(attributes, _WORK_FIELDS)
    work["stdin"] = _isWanted(attributes, "stdin")
    what = 0
    for child in root.children:
        match child.name:
            case "params":
                work["parameters"] = _readPairs(child, "param")
            case "order_params":
                work["orderParameters"] = _readPairs(child, "param")
            case "environment":
                work["environment"] = _readPairs(child, "variable")
            case "script":
                what += 1
                work["script"] = take(child.attributes, _VALUE).get("value", child.text)
            case "command":
                what += 1
                work["command"] = [_value(item) for item in child.children]
            case "job":
                what += 1
                work["job"] = take(child.attributes, {"name": "name"}).get("name", "")
            case _:
                pass
    if what != 1 or not (work.get("script") or work.get("command") or work.get("job")):
        raise RemoteProtocolError("a start without exactly one of script, command and job")
    request = message(StartTask, fields)
    _checkWhere(request)
    return request


def _readPairs(parent: Element, item: str) -> list[tuple[str, str]]:
    pairs = []
    for child in parent.children:
        if child.name == item:
            name = take(child.attributes, {"name": "name"}).get("name")
            if not name:
                raise RemoteProtocolError(f"{item} without a name")
            pairs.append((name, _value(child)))
    return pairs


def _value(item: Element) -> str:
    fields = take(item.attributes, _VALUE)
    if not fields:
        raise RemoteProtocolError(f"{item.name} without a value")
    return str(fields["value"])


def _readAttach(root: Element) -> AttachTask:
    fields = {"port": 0, **take(root.attributes, _ATTACH_FIELDS)}
    fields["token"] = _token(root.attributes)
    fields["secret"] = _token(root.attributes, "secret")
    request = message(AttachTask, fields)
    _checkWhere(request)
    return request


def _readOpen(root: Element) -> OpenConfirmation:
    fields = take(root.attributes, _OPEN_FIELDS)
    fields["token"] = _token(root.attributes)
    request = message(OpenConfirmation, fields)
    match request.mode:
        case CallbackMode.SHARED:
            _checkPort(request.port)
            if request.host:
                _checkHost(request.host)
        case CallbackMode.PASSIVE:
            if request.port or request.host:
                raise RemoteProtocolError("a port, where the client dials")
        case CallbackMode.OWN:
            raise RemoteProtocolError("a connection that stands is not a task's own")
    return request


def _readTake(root: Element) -> TakeConfirmation:
    return message(TakeConfirmation, take(root.attributes, _TAKE_FIELDS))


def _readKill(root: Element) -> KillTask:
    return message(KillTask, take(root.attributes, _KILL_FIELDS))


def _readPing(root: Element) -> Ping:
    return message(Ping, take(root.attributes, {"id": "id"}))


# From the names of attributes in XML to the names of fields in messages.
_VALUE = {"value": "value"}
_HELLO_FIELDS = {
    "id": "id",
    "version": "version",
    "instance": "instance",
    "authentication": "authentication",
    "boot_id": "bootId",
    "clock": "clock",
}
_START_FIELDS = {
    "id": "id",
    "task": "task",
    "tcp_port": "port",
    "callback": "mode",
    "on_disconnect": "onDisconnect",
    "hold": "hold",
    "connection": "connection",
    "host": "host",
}
_OPEN_FIELDS = {
    "id": "id",
    "connection": "connection",
    "callback": "mode",
    "tcp_port": "port",
    "host": "host",
}
_TAKE_FIELDS = {"id": "id", "connection": "connection"}
_WORK_FIELDS = {
    "directory": "directory",
    "timeout": "wallTime",
    "silence": "silence",
    "output_limit": "outputLimit",
    "grace": "grace",
}
_ATTACH_FIELDS = {
    "id": "id",
    "task": "task",
    "tcp_port": "port",
    "stdout": "stdout",
    "stderr": "stderr",
    "instance": "instance",
    "callback": "mode",
    "connection": "connection",
    "host": "host",
}
_KILL_FIELDS = {"id": "id", "task": "task", "signal": "signal", "grace": "grace"}

_REQUESTS: dict[str, Callable[[Element], Request]] = {
    _HELLO: _readHello,
    _START: _readStart,
    _ATTACH: _readAttach,
    _KILL: _readKill,
    _PING: _readPing,
    _OPEN: _readOpen,
    _TAKE: _readTake,
}
