"""
Tests for L{jobscheduler_tcp.wire.http} and L{jobscheduler_tcp.httpcommands}.
"""

from __future__ import annotations

import platform
from email.parser import BytesParser
from email.policy import HTTP
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.commandport import CommandPortFactory
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.plaincommands import Handler, Peer, Said
from jobscheduler_tcp.security import AllowedHosts, Level
from jobscheduler_tcp.silentpeers import GRACE
from jobscheduler_tcp.testing import MemoryNetwork, Stranger
from jobscheduler_tcp.wire.documents import Element, element, parse
from jobscheduler_tcp.wire.http import MAX_HEAD, HTTPRefused, RequestSplitter, response
from jobscheduler_tcp.wire.splitters import MAX_DOCUMENT

SERVER = "10.0.0.2"
PORT = 4444


class RequestTests(SynchronousTestCase):
    """
    L{RequestSplitter}.
    """

    def status(self, said: bytes) -> int:
        """
        How a request is refused.
        """
        error = self.assertRaises(HTTPRefused, RequestSplitter().feed, said)
        self.assertNotIn("\n", error.text)
        return int(error.status)

    @given(st.binary(max_size=200), st.integers(1, 50))
    def test_pieces(self, body: bytes, size: int) -> None:
        """
        A request is the same in whatever pieces it comes, and not there before
        the last.
        """
        said = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        splitter = RequestSplitter()
        for start in range(0, len(said), size):
            request = splitter.feed(said[start : start + size])
            self.assertEqual(request is not None, start + size >= len(said))
        assert request is not None
        self.assertEqual((request.method, request.target, request.body), ("POST", "/x", body))
        self.assertEqual(request.fields["host"], "a")

    def test_refused(self) -> None:
        """
        What is not understood is refused, with the status that says why.
        """
        for status, said in (
            (400, b"GARBAGE\r\n\r\n"),
            (400, b"GET / HTTP/2.0\r\n\r\n"),
            (400, b"GET /\xff HTTP/1.1\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nno field\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\n folded: x\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
            (400, b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"),
            (400, b"POST / HTTP/1.1\r\nContent-Length: \xb2\r\n\r\n"),
            (411, b"POST / HTTP/1.1\r\n\r\n"),
            (413, b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (MAX_DOCUMENT + 1)),
            (413, b"POST / HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n"),
            (431, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 101 + b"\r\n"),
            (431, b"GET / HTTP/1.1\r\nA: " + b"b" * MAX_HEAD),
            (501, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ):
            self.assertEqual(self.status(said), status, said[:50])

    @given(st.binary())
    def test_anything(self, said: bytes) -> None:
        """
        Nothing else comes of nonsense.
        """
        try:
            RequestSplitter().feed(b"G" + said)
        except HTTPRefused as refused:
            self.assertTrue(response(refused.status, b"").startswith(b"HTTP/1.1 4"))


class CommandTests(SynchronousTestCase):
    """
    Commands over HTTP at a command port.
    """

    def setUp(self) -> None:
        """
        A port that knows some commands.
        """
        self.network = MemoryNetwork()
        self.waiting: list[Deferred[Said]] = []
        self.cancelled: list[Deferred[Said]] = []
        commands: dict[str, tuple[Level, Handler]] = {
            "show_state": (Level.INFO, self.echo),
            "show_later": (Level.INFO, self.later),
            "s": (Level.INFO, self.echo),
            "change": (Level.NO_ADD, self.echo),
            "show_nothing": (Level.INFO, self.refuse),
            "show_mistake": (Level.INFO, self.fail_),
        }
        hosts = AllowedHosts([("10.0.0.1", Level.ALL), ("10.0.0.3", Level.INFO)])
        self.factory = CommandPortFactory(hosts.levelOf, commands, self.network.clock)
        self.network.host(SERVER).listen(PORT, self.factory)

    def echo(self, command: Element, peer: Peer) -> Said:
        """
        Answer with the command.
        """
        return element("echoed", {"name": command.name, **command.attributes})

    def later(self, command: Element, peer: Peer) -> Deferred[Said]:
        """
        Take long.
        """
        self.waiting.append(Deferred(self.cancelled.append))
        return self.waiting[-1]

    def refuse(self, command: Element, peer: Peer) -> Said:
        """
        Obey never.
        """
        raise CommandRefused("SCHEDULER-161", "There is no Job '/nope'")

    def fail_(self, command: Element, peer: Peer) -> Said:
        """
        Make a mistake.
        """
        raise KeyError("secret")

    def call(self, said: bytes, host: str = "10.0.0.1") -> Stranger:
        """
        Say something at the port.
        """
        stranger = self.network.host(host).stranger(SERVER, PORT)
        self.network.flush()
        stranger.transport.write(said)
        self.network.flush()
        return stranger

    def answered(self, stranger: Stranger) -> tuple[int, bytes]:
        """
        The status and the body of the response, after which the connection is
        closed.
        """
        self.assertEqual(self.factory.connections, {})
        self.assertEqual(self.network.clock.getDelayedCalls(), [])
        head, _, body = bytes(stranger.heard).partition(b"\r\n\r\n")
        first, _, lines = head.partition(b"\r\n")
        fields = BytesParser(policy=HTTP).parsebytes(lines)
        self.assertEqual(fields["content-length"], str(len(body)))
        self.assertEqual(fields["connection"], "close")
        self.assertNotIn("Access-Control-Allow-Origin", fields)
        status = int(first.split()[1])
        kind = "text/xml" if status == 200 else "text/plain"
        self.assertEqual(fields.get_content_type(), kind)
        return status, body

    def get(self, target: str, *fields: str, host: str = "10.0.0.1") -> tuple[int, bytes]:
        """
        Ask by GET.
        """
        lines = "".join(f"{field}\r\n" for field in fields)
        return self.answered(self.call(f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode(), host))

    def post(self, body: bytes, *fields: str, host: str = "10.0.0.1") -> tuple[int, bytes]:
        """
        Say by POST.
        """
        lines = "".join(f"{field}\r\n" for field in (*fields, f"Content-Length: {len(body)}"))
        return self.answered(self.call(f"POST / HTTP/1.1\r\n{lines}\r\n".encode() + body, host))

    def said(self, answered: tuple[int, bytes]) -> Element:
        """
        What is in the envelope.
        """
        status, body = answered
        self.assertEqual(status, 200)
        self.assertNotIn(b"\0", body)
        (answer,) = parse(body).children
        self.assertIn("time", answer.attributes)
        return answer.children[0]

    def test_get(self) -> None:
        """
        What shows something is asked for by GET, as the original has it, also
        quoted as browsers do, and by its name alone.
        """
        for target in ("/<show_state/>", "/" + quote("<show_state/>"), "/show_state"):
            self.assertEqual(self.said(self.get(target)).attributes["name"], "show_state")
        said = self.said(self.get("/" + quote("<s what='a b'/>"), "Host: 10.0.0.2:4444"))
        self.assertEqual(said.attributes, {"name": "s", "what": "a b"})

    def test_getOnlyShows(self) -> None:
        """
        Nothing is changed by GET, not even within a list.
        """
        for target in ("/<change/>", "/change", "/<commands><change/></commands>", "/", "/<s"):
            self.assertEqual(self.get(quote(target))[0], 403, target)

    def test_post(self) -> None:
        """
        Everything is said by POST; levels count.
        """
        self.assertEqual(self.said(self.post(b"<change/>")).attributes["name"], "change")
        refused = self.said(self.post(b"<change/>", host="10.0.0.3"))
        self.assertEqual(refused.attributes["code"], "SCHEDULER-121")

    def test_errors(self) -> None:
        """
        Errors are those of the commands; ours tell nothing of themselves.
        """
        for said, code in (
            (b"<show_nothing/>", "SCHEDULER-161"),
            (b"<nosuch/>", "SCHEDULER-105"),
            (b"<show_mistake/>", "jsremote-internal-error"),
            (b"no XML", "XML-ERROR"),
            (b"<!DOCTYPE a><a/>", "XML-ERROR"),
        ):
            found = self.said(self.post(said))
            self.assertEqual((found.name, found.attributes["code"]), ("ERROR", code))
            self.assertNotIn("secret", found.attributes["text"])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_browsers(self) -> None:
        """
        A web page can say nothing: not from another place, and not by a name
        that it has made ours.
        """
        for field in ("Origin: http://evil.example", "Origin: null", "Host: evil.example:4444"):
            with capturedLogs() as logged:
                self.assertEqual(self.post(b"<change/>", field)[0], 403)
                self.assertEqual(self.get("/show_state", field)[0], 403)
            self.assertEqual(len(logged), 2)
        for name in ("localhost:4444", "10.0.0.2", "[::1]:4444", "node", platform.node()):
            self.assertEqual(self.get("/show_state", f"Host: {name}")[0], 200, name)

    def test_otherMethods(self) -> None:
        """
        There are no other methods.
        """
        for method in ("PUT", "DELETE", "OPTIONS", "HEAD"):
            said = f"{method} /show_state HTTP/1.1\r\n\r\n".encode()
            self.assertEqual(self.answered(self.call(said))[0], 405)

    def test_nonsense(self) -> None:
        """
        A request that is none is refused.
        """
        self.assertEqual(self.answered(self.call(b"HELO there\r\n\r\n"))[0], 400)

    def test_one(self) -> None:
        """
        What comes behind the request is not heard.
        """
        caller = self.call(b"GET /show_state HTTP/1.1\r\n\r\nGET /show_later HTTP/1.1\r\n\r\n")
        self.assertEqual(self.answered(caller)[0], 200)
        self.assertEqual(self.waiting, [])

    def test_later(self) -> None:
        """
        An answer may take its time; it is given up when the caller goes.
        """
        said = b"GET /show_later HTTP/1.1\r\n\r\n"
        caller = self.call(said)
        caller.transport.write(said)
        self.network.flush()
        self.assertEqual(caller.heard, b"")
        self.assertEqual(len(self.waiting), 1)
        self.waiting.pop().callback(element("done"))
        self.network.flush()
        self.assertEqual(self.answered(caller)[0], 200)

        caller = self.call(said)
        caller.transport.abortConnection()
        self.network.flush()
        self.assertEqual(len(self.cancelled), 1)
        self.assertEqual(self.factory.connections, {})

    def test_slow(self) -> None:
        """
        Who does not come to an end with the request is sent away, as others are.
        """
        self.call(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n<s")
        self.network.clock.advance(GRACE)
        self.network.flush()
        self.assertEqual(self.factory.connections, {})
