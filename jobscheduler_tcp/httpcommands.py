"""
JobScheduler's commands over HTTP, on the same port: what shows something by GET,
everything by POST.

Browsers are kept out, for they let any web page speak to any port that they
reach: a page is known by the C{Origin} that it has to send, and one that has
taken our address for its own name by the name in C{Host}.
"""

from __future__ import annotations

import platform
import re
from ipaddress import ip_address
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.plaincommands import MAX_INSERT, Peer, PlainCommands
from jobscheduler_tcp.wire.documents import STRANGER, Element, answer, parse
from jobscheduler_tcp.wire.http import HTTPRefused, HTTPRequest, RequestSplitter, response


class HTTPCommands:
    """
    Hear one request and answer it.
    """

    _log = Logger()

    def __init__(self, plain: PlainCommands, peer: Peer) -> None:
        self._plain = plain
        self._peer = peer
        self._splitter = RequestSplitter()

    def hear(self, data: bytes) -> Deferred[bytes] | None:
        """
        Hear a part of the request.

        @return: the response, when all was heard. It fails only if it is
            cancelled.
        """
        try:
            request = self._splitter.feed(data)
        except HTTPRefused as refused:
            return Deferred.fromCoroutine(self._refuse(refused))
        return None if request is None else Deferred.fromCoroutine(self._answer(request))

    async def _answer(self, request: HTTPRequest) -> bytes:
        try:
            root = self._command(request)
            said = await self._plain.obey(root, self._peer)
        except HTTPRefused as refused:
            return await self._refuse(refused)
        except RemoteProtocolError as wrong:
            said = [self._plain.error("XML-ERROR", str(wrong)[:MAX_INSERT])]
        except CancelledError:
            raise  # nobody waits for it any more
        except Exception:
            self._log.failure("A request of {peer} failed", peer=self._peer.host)
            said = [self._plain.failed()]
        return response(200, answer(said, self._plain.time()).rstrip(b"\0"))

    async def _refuse(self, refused: HTTPRefused) -> bytes:
        self._log.warn(
            "A request of {peer} is refused: {why}", peer=self._peer.host, why=refused.text
        )
        text = f"{refused.text}\n".encode()
        return response(refused.status, text, "text/plain; charset=UTF-8")

    def _command(self, request: HTTPRequest) -> Element:
        if request.method not in ("GET", "POST"):
            raise HTTPRefused(405, "only GET and POST are understood")
        if "origin" in request.fields or not _isOurs(request.fields.get("host", "")):
            raise HTTPRefused(
                403, "web pages may not ask; others do by the address or the name of this host"
            )
        if request.method == "POST":
            return parse(request.body, STRANGER)
        said = unquote_to_bytes(request.target.removeprefix("/"))
        if re.fullmatch(rb"[a-z_.]+", said):
            said = b"<" + said + b"/>"
        try:
            root = parse(said, STRANGER)
        except RemoteProtocolError as wrong:
            raise HTTPRefused(403, "GET is for commands such as /<show_state/>") from wrong
        if root.name != "s" and not root.name.startswith("show_"):
            raise HTTPRefused(403, "GET is for commands that show something")
        return root


def _isOurs(host: str) -> bool:
    """
    Whether C{Host} names this machine as nobody else can: by an address, a name
    without a domain, or its own.
    """
    name = re.sub(r":\d{0,5}$", "", host).lower().rstrip(".")
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return "." not in name or name == platform.node().lower()
    return True
