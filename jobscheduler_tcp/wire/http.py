"""
As much of HTTP as JobScheduler's command port has: one request on a connection,
and one response.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.wire.splitters import MAX_DOCUMENT

# Bytes before the body, and lines among them: as many as others take.
MAX_HEAD = 16 * 1024
_MAX_FIELDS = 100

_REQUEST = re.compile(r"([A-Z]{1,20}) ([\x21-\x7e]{1,8192}) HTTP/1\.[01]")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")

_PHRASES = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    411: "Length Required",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
}


class HTTPRefused(RemoteProtocolError):
    """
    A request is not taken.

    @ivar status: of the response.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class HTTPRequest:
    """
    A request.

    @ivar fields: of its head; the names are lower case.
    """

    method: str
    target: str
    fields: dict[str, str]
    body: bytes = b""


class RequestSplitter:
    """
    Cut the request out of what is heard.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: HTTPRequest | None = None
        self._length = 0

    def feed(self, data: bytes) -> HTTPRequest | None:
        """
        Give the request as soon as it is complete.

        @raise HTTPRefused: it never will be.
        """
        self._buffer += data
        if self._head is None:
            end = re.search(rb"\r?\n\r?\n", self._buffer)
            if (len(self._buffer) if end is None else end.end()) > MAX_HEAD:
                raise HTTPRefused(431, f"more than {MAX_HEAD} bytes before the body")
            if end is None:
                return None
            self._head = _head(self._buffer[: end.start()].decode("iso-8859-1"))
            self._length = _length(self._head)
            del self._buffer[: end.end()]
        if len(self._buffer) < self._length:
            return None
        head = self._head
        return HTTPRequest(
            head.method, head.target, head.fields, bytes(self._buffer[: self._length])
        )


def response(status: int, body: bytes, kind: str = "text/xml; charset=ISO-8859-1") -> bytes:
    """
    Write a response after which the connection is closed.
    """
    allowed = "Allow: GET, POST\r\n" if status == 405 else ""
    head = (
        f"HTTP/1.1 {status} {_PHRASES[status]}\r\n{allowed}"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


def _head(text: str) -> HTTPRequest:
    first, *lines = re.split("\r?\n", text)
    request = _REQUEST.fullmatch(first)
    if request is None:
        raise HTTPRefused(400, "the first line is no request of HTTP/1.1")
    if len(lines) > _MAX_FIELDS:
        raise HTTPRefused(431, f"more than {_MAX_FIELDS} fields")
    fields: dict[str, str] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise HTTPRefused(400, "a line that is no field")
        name = field[1].lower()
        if name in fields and name in ("content-length", "transfer-encoding", "host"):
            raise HTTPRefused(400, f"{name} is said twice")
        fields[name] = field[2].rstrip()
    return HTTPRequest(request[1], request[2], fields)


def _length(head: HTTPRequest) -> int:
    if "transfer-encoding" in head.fields:
        raise HTTPRefused(501, "a body needs a Content-Length")
    text = head.fields.get("content-length", "")
    if not text:
        if head.method == "POST":
            raise HTTPRefused(411, "a body needs a Content-Length")
        return 0
    if not (text.isdecimal() and text.isascii()):
        raise HTTPRefused(400, "Content-Length is no number")
    if len(text) > 9 or int(text) > MAX_DOCUMENT:
        raise HTTPRefused(413, f"a document of more than {MAX_DOCUMENT} bytes")
    return int(text)
