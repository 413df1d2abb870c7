"""
The XML documents of the command connection: what one says, and how to write
one. Where one ends is the subject of L{jobscheduler_tcp.wire.splitters}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from xml.parsers.expat import ErrorString, ExpatError, ParserCreate

from jobscheduler_tcp.errors import RemoteProtocolError

# The encodings that expat knows itself, and those of Windows installations.
# With any other, expat would ask Python's codecs, which have many.
_ENCODINGS = frozenset({"utf-8", "iso-8859-1", "us-ascii", "utf-16", "windows-1252", "iso-8859-15"})
_PROLOG_ENCODING = re.compile(rb"<\?xml[^>]*?\sencoding\s*=\s*[\"']([^\"'>]*)[\"']")

# What XML 1.0 (2.2) does not allow, not even as a reference.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# What cannot stand between two quotes as it is.
_ESCAPED = re.compile('[&<>"\x00-\x1f\ud800-\udfff\ufffe\uffff]')
_IN_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_IN_ATTRIBUTE = _IN_TEXT | str.maketrans({'"': "&quot;", "\t": "&#9;", "\n": "&#10;"})


@dataclass(slots=True)
class Element:
    """
    An element of a document.

    @ivar text: all characters directly inside, joined.
    @ivar line: where its tag stands in the document, 0 if it was not parsed.
    @ivar offset: how many characters of its parent's text stand before it.
    """

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Element] = field(default_factory=list)
    text: str = ""
    line: int = field(default=0, compare=False)
    offset: int = field(default=0, compare=False)


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


class Constant(Element):
    """
    An element that nobody changes: it is written once, however often it is said.
    """

    __slots__ = ("written",)

    def __init__(self, same: Element) -> None:
        super().__init__(same.name, same.attributes, same.children, same.text)
        parts: list[str] = []
        _write(same, parts)
        self.written = "".join(parts)


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
    lengths = [0]
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
        child = Element(name, attributes, [], "", parser.CurrentLineNumber, lengths[-1])
        stack[-1].children.append(child)
        stack.append(child)
        texts.append([])
        lengths.append(0)

    def closed(name: str) -> None:
        stack.pop().text = "".join(texts.pop())
        lengths.pop()

    def said(text: str) -> None:
        texts[-1].append(text)
        lengths[-1] += len(text)

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


def isPlain(text: str) -> bool:
    """
    Tell whether all these characters stand between two double quotes as they are.
    """
    return _ESCAPED.search(text) is None


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
    said = [f'<?xml version="1.0" encoding="{encoding}"?>\n<spooler><answer']
    if identifier is not None:
        said.append(f' id="{identifier}"')
    said.append(f' time="{time if isPlain(time) else escapeAttribute(time)}"')
    head = len(said)
    for child in children:
        said.append("" if len(said) > head else ">")
        _write(child, said)
    said.append("</answer></spooler>" if len(said) > head else "/></spooler>")
    said.append("\n\0" if newline else "\0")
    return "".join(said).encode(encoding, "xmlcharrefreplace")


def error(code: str, text: str, **attributes: str) -> Element:
    """
    Make an ERROR element; its text begins with its code. Further attributes,
    such as C{time}, stand first, as the engines write them.
    """
    return element("ERROR", {**attributes, "code": code, "text": f"{code}  {text}"})


def _write(node: Element, parts: list[str]) -> None:
    if isinstance(node, Constant):
        parts.append(node.written)
        return
    attributes = node.attributes
    if _ESCAPED.search("".join(attributes.values())) is not None:
        attributes = {name: escapeAttribute(value) for name, value in attributes.items()}
    said = "".join([f' {name}="{value}"' for name, value in attributes.items()])
    if not node.children and not node.text:
        parts.append(f"<{node.name}{said}/>")
        return
    parts.append(f"<{node.name}{said}>")
    if node.text:
        parts.append(escapeText(node.text))
    for child in node.children:
        _write(child, parts)
    parts.append(f"</{node.name}>")
