"""
The extended dialect on plain blocking sockets, written from its documentation
(docs/protocol/extended) and not with the modules under test: what a client does
that somebody else has written, and what a stranger may try.
"""

from __future__ import annotations

import hmac
import socket
import struct
from contextlib import ExitStack
from hashlib import sha256
from typing import Any

from msgspec import msgpack

from jobscheduler_tcp.wire.documents import Element, escapeAttribute, escapeText, parse
from tests.integration.services import PATIENCE

LOOPBACK = "127.0.0.1"

INSTANCE = "3f1c9a52-7d10-4a3e-9b55-0c2d8e6f1a01"
HELLO = (
    f'<jsremote.hello id="1" version="1" instance="{INSTANCE}" capabilities="own" '
    'authentication="none" boot_id="9a" clock="1795361629.123"/>'
)

WINDOW = 100_000


def uuid(task: int) -> str:
    """
    A UUID that is easily told from others.
    """
    return f"00000000-0000-4000-8000-{task:012x}"


def selectorOf(token: bytes) -> bytes:
    """
    By what the remote tells which token it means.
    """
    return sha256(b"jsremote selector" + token).digest()[:8]


def start(number: int, task: str, port: int, token: bytes, script: str, **attributes: str) -> str:
    """
    Write the request to start a script.
    """
    more = "".join(f' {name}="{escapeAttribute(value)}"' for name, value in attributes.items())
    return (
        f'<remote_scheduler.start_remote_task id="{number}" task="{task}" tcp_port="{port}" '
        f'token="{token.hex()}"{more}><script>{escapeText(script)}</script>'
        "</remote_scheduler.start_remote_task>"
    )


class Commands:
    """
    A command connection.
    """

    def __init__(self, stack: ExitStack, port: int, greeting: str = HELLO) -> None:
        self.socket = stack.enter_context(socket.create_connection((LOOPBACK, port), PATIENCE))
        self._heard = b""
        if greeting:
            self.say(greeting)
            assert self.hear()[1].name == "jsremote.welcome"

    def say(self, document: str | bytes) -> None:
        """
        Say something, in one piece.
        """
        self.socket.sendall(document.encode() if isinstance(document, str) else document)

    def hear(self) -> tuple[str, Element]:
        """
        Wait for an answer: the number of its request, and what is in its
        envelope.
        """
        while b"\0" not in self._heard:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError(self._heard)
            self._heard += data
        document, _, self._heard = self._heard.partition(b"\0")
        answer = parse(document).children[0]
        return answer.attributes.get("id", ""), answer.children[0]

    def isClosed(self) -> bool:
        """
        Tell whether the other end has closed, after what it said.
        """
        return everything(self.socket)[1] != "silent"


class CallbackPort:
    """
    Listen for a remote.
    """

    def __init__(self, stack: ExitStack, port: int = 0) -> None:
        self._stack = stack
        self._socket = stack.enter_context(socket.create_server((LOOPBACK, port)))
        self._socket.settimeout(PATIENCE)
        self.number: int = self._socket.getsockname()[1]

    def close(self) -> None:
        """
        Listen no longer.
        """
        self._socket.close()

    def accept(self) -> Frames:
        """
        Wait for a caller.
        """
        caller, _ = self._socket.accept()
        return Frames(self._stack.enter_context(caller))

    def isCalled(self) -> bool:
        """
        Tell whether a caller waits.
        """
        self._socket.settimeout(0)
        try:
            self._stack.enter_context(self._socket.accept()[0])
        except BlockingIOError:
            return False
        finally:
            self._socket.settimeout(PATIENCE)
        return True


class Frames:
    """
    A confirmation connection, of either end.
    """

    def __init__(self, connected: socket.socket, untilNUL: bool = False) -> None:
        """
        @param untilNUL: whether an answer in XML comes before the first frame.
        """
        self.socket = connected
        self.socket.settimeout(PATIENCE)
        self._file = connected.makefile("rb")
        while untilNUL and self._file.read(1) != b"\0":
            pass

    def say(self, letter: str, channel: int, body: bytes = b"") -> None:
        """
        Say a frame.
        """
        self.socket.sendall(struct.pack(">IBI", 5 + len(body), ord(letter), channel) + body)

    def hear(self) -> tuple[str, int, bytes]:
        """
        Wait for a frame that is no heartbeat: its letter, its channel, its body.
        """
        while True:
            head = self._file.read(9)
            if len(head) < 9:
                raise EOFError(head)
            length, letter, channel = struct.unpack(">IBI", head)
            body = self._file.read(length - 5)
            if chr(letter) != "h":
                return chr(letter), channel, body

    def hearFields(self, letter: str) -> dict[str, Any]:
        """
        Wait for a frame of this type, and read its msgpack.
        """
        got, _, body = self.hear()
        assert got == letter, (got, body)
        fields: dict[str, Any] = msgpack.decode(body)
        return fields

    def prove(self, task: str, token: bytes) -> None:
        """
        As a listener, let the caller prove itself, and prove ourselves; then the
        task is attached.
        """
        self.proveStanding(task, token)
        assert self.hearFields("A")["task"] == task

    def proveStanding(self, subject: str, token: bytes) -> None:
        """
        The same on a connection that stands for many tasks, none of which is
        attached yet.
        """
        challenge = self.hearFields("C")
        assert challenge["selector"] == selectorOf(token)
        ours = b"listeners nonce."
        both = challenge["nonce"] + ours + subject.encode()
        shown = hmac.digest(token, b"jsremote listener" + both, "sha256")
        proof = {"nonce": ours, "proof": shown, "window": WINDOW}
        self.say("L", 0, msgpack.encode(proof))
        expected = hmac.digest(token, b"jsremote caller" + both, "sha256")
        assert self.hearFields("P")["proof"] == expected

    def untilEnd(self) -> dict[str, Any]:
        """
        Hear the task to its end and acknowledge it.
        """
        self.hearFields("S")
        while (heard := self.hear())[0] in "12i":
            pass
        assert heard[0] == "E"
        self.say("K", 1)
        assert everything(self.socket) == (b"", "closed")  # by the remote, first
        fields: dict[str, Any] = msgpack.decode(heard[2])
        return fields


def everything(
    connected: socket.socket, seconds: float = PATIENCE, answer: bool = False
) -> tuple[bytes, str]:
    """
    Hear what the other end says until it is C{closed} or C{reset}; C{silent} if
    neither comes in time.

    @param answer: whether an answer in XML is enough, C{answered}.
    """
    connected.settimeout(seconds)
    heard = bytearray()
    while True:
        try:
            data = connected.recv(65536)
        except TimeoutError:
            return bytes(heard), "silent"
        except ConnectionResetError:
            return bytes(heard), "reset"
        if not data:
            return bytes(heard), "closed"
        heard += data
        if answer and heard.endswith(b"\0"):
            return bytes(heard), "answered"
