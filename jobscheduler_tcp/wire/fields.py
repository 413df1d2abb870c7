"""
Attributes of the extended requests and answers: how fields of messages are
written there, and read again.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Mapping
from typing import Any, TypeVar

from msgspec import convert

from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.wire.documents import escapeAttribute, isCarried, isPlain

MAX_LINE = 2000  # messages.Line

_M = TypeVar("_M")


def attribute(name: str, value: str) -> str:
    """
    Write what a program must get back as it was.
    """
    if isPlain(value):
        return f' {name}="{value}"'
    if isCarried(value):
        return f' {name}="{escapeAttribute(value)}"'
    return f' hex_{name}="{value.encode("utf-8", "surrogateescape").hex()}"'


def line(text: str) -> str:
    """
    Write what people read: cut, and made to fit.
    """
    return escapeAttribute(text[:MAX_LINE])


def number(value: float) -> str:
    """
    Write a number.
    """
    return str(int(value)) if value == int(value) else repr(value)


def take(attributes: Mapping[str, str], names: Mapping[str, str]) -> dict[str, Any]:
    """
    Find the fields of a message, by the attributes that they have in XML.
    """
    fields: dict[str, Any] = {}
    for name, field in names.items():
        if name in attributes:
            fields[field] = attributes[name]
        elif f"hex_{name}" in attributes:
            fields[field] = _unhex(attributes[f"hex_{name}"])
    return fields


def message(kind: type[_M], fields: dict[str, Any]) -> _M:
    """
    Make a message.

    @raise RemoteProtocolError: its fields are not what they should be.
    """
    # Not strict: numbers come as text. Their bounds are in the messages.
    try:
        return convert(fields, kind, strict=False)
    except Exception as error:  # whatever a decoder may think of
        raise RemoteProtocolError(f"{kind.__name__}: {error}") from error


def _unhex(digits: str) -> str:
    try:
        return unhexlify(digits).decode("utf-8", "surrogateescape")
    except ValueError as error:
        raise RemoteProtocolError("hexadecimal digits that are none") from error
