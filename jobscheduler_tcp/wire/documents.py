"""
The XML documents of the command connection: where one ends, what it says, and
how to write one.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from xml.parsers.expat import ErrorString, ExpatError, ParserCreate

from jobscheduler_tcp.errors import RemoteProtocolError

# Everything up to here may come from a peer that nobody knows yet.
MAX_DOCUMENT = 64 * 1024
# A client that was greeted may send long scripts; an answer may list many jobs.
MAX_GREETED = 4 * 1024 * 1024

_BLANKS = b" \t\r\n\0"
_BLANK = re.compile(rb"[ \t\r\n\0]*")
_TAG_STOPS = re.compile(rb"[>\"']")
_NAME_START = re.compile(rb"[A-Za-z_:\x80-\xff]")
_COMMENT = b"<!--"
_CDATA = b"<![CDATA["
_END_OF_TRANSMISSION = b"\x04"  # Ctrl-D of a person at telnet

# The encodings that expat knows itself, and those of Windows installations.
# With any other, expat would ask Python's codecs, which have many.
_ENCODINGS = frozenset({"utf-8", "iso-8859-1", "us-ascii", "utf-16", "windows-1252", "iso-8859-15"})
_PROLOG_ENCODING = re.compile(rb"<\?xml[^>]*?\sencoding\s*=\s*[\"']([^\"'>]*)[\"']")

# What XML 1.0 (2.2) does not allow, not even as a reference.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_IN_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_IN_ATTRIBUTE = _IN_TEXT | str.maketrans({'"': "&quot;", "\t": "&#9;", "\n": "&#10;"})


@dataclass(slots=True)
class Element:
    """
    An element of a document.

    @ivar text: all characters directly inside, joined; where they stood among
        the children is not kept.
    @ivar line: where its tag stands in the document, 0 if it was not parsed.
    """

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Element] = field(default_factory=list)
    text: str = ""
    line: int = field(default=0, compare=False)


def element(
    name: str,
    attributes: Mapping[str, str] | None = None,
    children: Iterable[Element] = (),
    text: str = "",
) -> Element:
    """
    Make an element.
    """
    return Element(name, dict(attributes or {}), list(children), text)


@dataclass(frozen=True, slots=True)
class Limits:
    """
    What a document may have at most, beside its length.

    @ivar attributes: of one element.
    @ivar elements: of the whole document.
    """

    depth: int = 32
    attributes: int = 64
    elements: int = 1024


STRANGER = Limits()
GREETED = Limits(elements=16384)
CONFIGURATION = Limits(depth=64, attributes=256, elements=1000000)


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
                end = yield from self._endOfElement()
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
                    at = yield from self._endOfTag(start + 2)
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


def parse(document: bytes, limits: Limits = STRANGER) -> Element:
    """
    Read a whole document.

    @raise RemoteProtocolError: it is not well-formed, has a DTD, or goes beyond
        the limits; the text names line and column.
    """
    prolog = _PROLOG_ENCODING.match(document)
    if prolog is not None and prolog[1].decode("latin-1").lower() not in _ENCODINGS:
        raise RemoteProtocolError("line 1, column 1: an encoding that is not known")
    top = Element("")
    stack = [top]
    texts: list[list[str]] = [[]]
    elements = 0

    def refuse(text: str) -> RemoteProtocolError:
        line, column = parser.CurrentLineNumber, parser.CurrentColumnNumber + 1
        return RemoteProtocolError(f"line {line}, column {column}: {text}")

    def opened(name: str, attributes: dict[str, str]) -> None:
        nonlocal elements
        elements += 1
        if len(stack) > limits.depth:
            raise refuse(f"more than {limits.depth} elements in each other")
        if len(attributes) > limits.attributes:
            raise refuse(f"more than {limits.attributes} attributes")
        if elements > limits.elements:
            raise refuse(f"more than {limits.elements} elements")
        child = Element(name, attributes, [], "", parser.CurrentLineNumber)
        stack[-1].children.append(child)
        stack.append(child)
        texts.append([])

    def closed(name: str) -> None:
        stack.pop().text = "".join(texts.pop())

    def said(text: str) -> None:
        texts[-1].append(text)

    def doctype(*arguments: object) -> None:
        raise refuse("a document with a DTD")

    parser = ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = opened
    parser.EndElementHandler = closed
    parser.CharacterDataHandler = said
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(document, True)
    except RemoteProtocolError:
        raise
    except ExpatError as error:
        raise refuse(ErrorString(error.code) or "not XML") from error
    except Exception as error:  # a codec's, or whatever expat may think of
        raise refuse(f"not XML, {type(error).__name__}") from error
    finally:
        # The parser and its handlers hold each other, and much memory.
        parser.StartElementHandler = parser.EndElementHandler = None
        parser.CharacterDataHandler = parser.StartDoctypeDeclHandler = None
    return top.children[0]


def escapeText(text: str) -> str:
    """
    Write characters between two tags; what XML cannot carry becomes a question
    mark.
    """
    return _FORBIDDEN.sub("?", text).translate(_IN_TEXT)


def escapeAttribute(text: str) -> str:
    """
    Write characters between two double quotes; what XML cannot carry becomes a
    question mark.
    """
    return _FORBIDDEN.sub("?", text).translate(_IN_ATTRIBUTE)


def isCarried(text: str) -> bool:
    """
    Tell whether XML can carry all these characters.
    """
    return _FORBIDDEN.search(text) is None


def serialise(root: Element, encoding: str = "ISO-8859-1", prolog: bool = True) -> bytes:
    """
    Write a document; characters outside of the encoding become references.
    """
    parts: list[str] = []
    if prolog:
        parts.append(f'<?xml version="1.0" encoding="{encoding}"?>\n')
    _write(root, parts)
    return "".join(parts).encode(encoding, "xmlcharrefreplace")


def answer(
    children: Iterable[Element],
    time: str,
    identifier: int | None = None,
    encoding: str = "ISO-8859-1",
    newline: bool = True,
) -> bytes:
    """
    Write an answer in its envelope, to be sent in one piece.

    @param time: when, as text.
    @param identifier: of the request, in the extended dialect.
    @param newline: whether a line feed stands before the NUL at the end.
    """
    attributes = {"time": time}
    if identifier is not None:
        attributes = {"id": str(identifier), "time": time}
    envelope = element("spooler", {}, [element("answer", attributes, children)])
    return serialise(envelope, encoding) + (b"\n\0" if newline else b"\0")


def error(code: str, text: str, **attributes: str) -> Element:
    """
    Make an ERROR element; its text begins with its code.
    """
    return element("ERROR", {"code": code, "text": f"{code}  {text}", **attributes})


def _write(node: Element, parts: list[str]) -> None:
    parts.append(f"<{node.name}")
    for name, value in node.attributes.items():
        parts.append(f' {name}="{escapeAttribute(value)}"')
    if not node.children and not node.text:
        parts.append("/>")
        return
    parts.append(f">{escapeText(node.text)}")
    for child in node.children:
        _write(child, parts)
    parts.append(f"</{node.name}>")
