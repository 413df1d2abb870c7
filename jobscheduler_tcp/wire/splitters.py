"""
Where an XML document of the command connection ends, and where an answer does.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator

from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.wire.starts import START

# Everything up to here may come from a peer that nobody knows yet.
MAX_DOCUMENT = 64 * 1024
# A client that was greeted may send long scripts; an answer may list many jobs.
MAX_GREETED = 4 * 1024 * 1024

_BLANKS = b" \t\r\n\0"
_BLANK = re.compile(rb"[ \t\r\n\0]*")
# A tag that is there as a whole, the usual case; bounded, for the memory that
# Python's regular expressions take for each repetition.
_TAG = re.compile(rb"<[^>\"']*(?:(?:\"[^\"]*\"|'[^']*')[^>\"']*){0,64}>")
# An element by itself, as most commands are, and nothing else; bounded as well.
_ALONE = re.compile(
    rb"(?:<\?[^<>]*\?>[ \t\r\n]*)?"
    rb"<[A-Za-z_:][^<>\"']*(?:(?:\"[^\"<>]*\"|'[^'<>]*')[^<>\"']*){0,64}/>"
)
_TAG_STOPS = re.compile(rb"[>\"']")
_NAME_START = re.compile(rb"[A-Za-z_:\x80-\xff]")
_COMMENT = b"<!--"
_CDATA = b"<![CDATA["
_END_OF_TRANSMISSION = b"\x04"  # Ctrl-D of a person at telnet


class DocumentSplitter:
    """
    Find where documents end, however they are cut or glued. Each byte is looked
    at once or twice, wherever the cuts are.

    @ivar limit: the bytes that a document may have, complete or not. It may be
        changed between two documents.
    @ivar closed: whether the peer took its leave (Ctrl-D), or was refused;
        nothing is heard any more.
    """

    def __init__(self, limit: int = MAX_DOCUMENT) -> None:
        self.limit = limit
        self.closed = False
        self._buffer = bytearray()
        self._scanner = self._scan()

    @property
    def holdsText(self) -> bool:
        """
        Whether what is not complete yet is no element.
        """
        return bool(self._buffer) and not self._buffer.startswith(b"<")

    def feed(self, data: bytes) -> Iterator[bytes]:
        """
        Give out the documents that are complete now. Read the iterator to its
        end before feeding more.

        @raise RemoteProtocolError: a document is too long, has a DTD, or is
            none.
        """
        if data == _END_OF_TRANSMISSION and not self._buffer:
            self.closed = True
        if self.closed:
            return
        if not self._buffer and len(data) <= self.limit and _ALONE.fullmatch(data):
            yield data
            return
        self._buffer += data
        try:
            while (document := next(self._scanner)) is not None:
                yield document
        except RemoteProtocolError:
            self.closed = True
            self._buffer.clear()
            raise

    def _scan(self) -> Generator[bytes | None, None, None]:
        # A coroutine: it yields a document, or None when it needs more bytes.
        buffer = self._buffer
        while True:
            blank = _BLANK.match(buffer)
            if blank is not None:
                del buffer[: blank.end()]
            if not buffer:
                yield None
                continue
            if buffer.startswith(b"<"):
                known = START.match(buffer)
                end = known.end() if known else (yield from self._endOfElement())
                document = bytes(buffer[:end])
            else:
                end = 1 + (yield from self._find(b"\n", 0))
                line = bytes(buffer[:end]).strip(_BLANKS)
                if b"<" in line:
                    raise RemoteProtocolError("neither an XML document nor a line of words")
                document = b"<" + line + b"/>"
            if end > self.limit:
                raise self._tooLong()
            del buffer[:end]
            yield document

    def _endOfElement(self) -> Generator[None, None, int]:
        buffer = self._buffer
        depth = 0
        at = 0
        while True:
            start = buffer.find(b"<", at)
            if start < 0:
                start = yield from self._find(b"<", at)
            if depth == 0 and buffer[at:start].strip(_BLANKS):
                raise RemoteProtocolError("text outside of an element")
            while len(buffer) < start + 2:
                self._more()
                yield
            match buffer[start + 1 : start + 2]:
                case b"/":
                    at = 1 + (yield from self._find(b">", start + 2))
                    depth -= 1
                    if depth <= 0:
                        return at
                case b"?":
                    at = 2 + (yield from self._find(b"?>", start + 2))
                case b"!":
                    at = yield from self._endOfMarkup(start)
                case first if _NAME_START.match(first):
                    tag = _TAG.match(buffer, start)
                    at = tag.end() if tag else (yield from self._endOfTag(start + 2))
                    if buffer[at - 2 : at - 1] != b"/":
                        depth += 1
                    elif depth == 0:
                        return at
                case _:
                    raise RemoteProtocolError("'<' before something that is no name")

    def _endOfTag(self, at: int) -> Generator[None, None, int]:
        buffer = self._buffer
        while True:
            stop = _TAG_STOPS.search(buffer, at)
            if stop is None:
                at = len(buffer)
                self._more()
                yield
                continue
            at = stop.end()
            quote = buffer[at - 1 : at]
            if quote == b">":
                return at
            closing = buffer.find(quote, at)
            if closing < 0:
                closing = yield from self._find(quote, at)
            at = closing + 1

    def _endOfMarkup(self, start: int) -> Generator[None, None, int]:
        while True:
            head = self._buffer[start : start + len(_CDATA)]
            if head.startswith(_COMMENT):
                return 3 + (yield from self._find(b"-->", start + len(_COMMENT)))
            if head == _CDATA:
                return 3 + (yield from self._find(b"]]>", start + len(_CDATA)))
            if not (_COMMENT.startswith(head) or _CDATA.startswith(head)):
                raise RemoteProtocolError("a document with a DTD")
            self._more()
            yield

    def _find(self, what: bytes | bytearray, at: int) -> Generator[None, None, int]:
        while (found := self._buffer.find(what, at)) < 0:
            # What is sought may have begun already.
            at = max(at, len(self._buffer) - len(what) + 1)
            self._more()
            yield
        return found

    def _more(self) -> None:
        if len(self._buffer) > self.limit:
            raise self._tooLong()

    def _tooLong(self) -> RemoteProtocolError:
        return RemoteProtocolError(f"a document of more than {self.limit} bytes")


class AnswerSplitter:
    """
    Cut a stream of bytes into answers, which end with a NUL.
    """

    def __init__(self, limit: int = MAX_GREETED) -> None:
        self.limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """
        Give out the answers that are complete now. Read the iterator to its end
        before feeding more.

        @raise RemoteProtocolError: an answer is too long.
        """
        buffer = self._buffer
        searched = len(buffer)
        buffer += data
        while (end := buffer.find(b"\0", searched)) >= 0:
            if end > self.limit:
                break
            answer = bytes(buffer[:end]).strip(_BLANKS)
            del buffer[: end + 1]
            searched = 0
            if answer:
                yield answer
        if len(buffer) > self.limit:
            buffer.clear()
            raise RemoteProtocolError(f"an answer of more than {self.limit} bytes")
