"""
A start as most are written, read at once. Read as XML, it takes four times as long:
whatever is written in another way is, and has the same meaning
(L{jobscheduler_tcp.wire.requests}).
"""

from __future__ import annotations

import re
from functools import lru_cache

from jobscheduler_tcp.messages import CallbackMode, OnDisconnect, StartTask, Work

# What stands in XML as it is; in a script, there may be lines as well. There is one way
# only to match it: what does not match after all would be tried in each other one.
_PLAIN = "[ !#-%'-;=?-~]"
_LINES = "[\\t\\n -%'-;=?-~]*"
_TEXT = f"(?!<){_LINES}(?:&(?:amp|lt|gt);{_LINES}){{0,512}}"
_UUID = "[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_BYTES16 = "[0-9a-f]{32}"
_NUMBER = "(?:0|[1-9][0-9]{0,8})"  # with more zeros, it is none (wire.fields)


def _pairs(name: str, item: str) -> str:
    # Bounded, for the memory that Python's regular expressions take for each.
    return f'(?:<{name}>((?:<{item} name="{_PLAIN}+" value="{_PLAIN}*"/>){{1,64}})</{name}>)?'


_START = (
    f'<remote_scheduler\\.start_remote_task id="({_NUMBER})" task="({_UUID})"'
    f'(?: tcp_port="([1-9][0-9]{{3,4}})" token="({_BYTES16})"| connection="({_UUID})")'
    f'(?: hold="({_NUMBER})" secret="({_BYTES16})")?'
    f' callback="(own|shared|passive)" on_disconnect="(kill|hold|finish)" grace="({_NUMBER})"'
    f'(?: directory="({_PLAIN}+)")?( sha256="yes")?>'
    f"{_pairs('params', 'param')}{_pairs('environment', 'variable')}"
    f'(?:<command>((?:<argument value="{_PLAIN}*"/>){{1,64}})</command>'
    f"|<script>({_TEXT})</script>)</remote_scheduler\\.start_remote_task>"
)

# Finds where one ends, too.
START = re.compile(_START.encode())

_PAIR = re.compile(b'name="([^"]*)" value="([^"]*)"')
_ARGUMENT = re.compile(b'"([^"]*)"')
_MODES = {mode.value.encode(): mode for mode in CallbackMode}
_ENDINGS = {each.value.encode(): each for each in OnDisconnect}

_MIN_PORT = 1024
_MAX_PORT = 65535


def readStart(document: bytes) -> StartTask | None:
    """
    Read a start.

    @return: C{None} if it has to be read as XML, be it for what is wrong with it.
    """
    found = START.fullmatch(document)
    if found is None:
        return None
    identifier, task, number, token, connection, hold, secret, *rest = found.groups()
    called, ending, grace, directory, sha256, parameters, environment, command, script = rest
    mode, onDisconnect = _MODES[called], _ENDINGS[ending]
    port = int(number or 0)
    isOwn = mode is CallbackMode.OWN
    if (
        identifier.startswith(b"0")
        or isOwn is not (connection is None)
        or (isOwn and not _MIN_PORT <= port <= _MAX_PORT)
        or (onDisconnect is OnDisconnect.KILL) is not (secret is None)
    ):
        return None
    work = Work(
        "" if script is None else _unescaped(script.decode()),
        () if command is None else tuple([each.decode() for each in _ARGUMENT.findall(command)]),
        "",
        () if parameters is None else _readPairs(parameters),
        None,
        () if environment is None else _readPairs(environment),
        "" if directory is None else directory.decode(),
        grace=_number(grace),
    )
    return StartTask(
        int(identifier),
        task.decode(),
        port,
        bytes.fromhex(token.decode()) if isOwn else b"",
        work,
        mode,
        onDisconnect,
        "" if isOwn else connection.decode(),
        "",
        0.0 if hold is None else _number(hold),
        b"" if secret is None else bytes.fromhex(secret.decode()),
        sha256 is not None,
    )


@lru_cache
def _number(text: bytes) -> float:
    # Most starts have the same ones, and each would take memory as long as its task.
    return float(text)


def _unescaped(text: str) -> str:
    if "&" in text:
        text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return text


def _readPairs(items: bytes) -> tuple[tuple[str, str], ...]:
    return tuple([(name.decode(), value.decode()) for name, value in _PAIR.findall(items)])
