"""
The values of the classic binary language: integers, strings, references to
objects, variants, arrays (protocol document 4.6). All integers are big-endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct, error
from typing import Any
from uuid import UUID

from jobscheduler_tcp.errors import LocalProtocolError, RemoteProtocolError

_INT16 = Struct(">h")
_INT32 = Struct(">i")
_UINT32 = Struct(">I")
_INT64 = Struct(">q")
_UINT64 = Struct(">Q")

# Arrays of variants may hold arrays: the originals never nest them, and a
# program of ours is not to recurse as deep as a peer likes.
MAX_DEPTH = 8
MAX_ARGUMENTS = 100  # protocol document 4.6.7

NULL_GUID = bytes(16)


class VT(IntEnum):
    """
    The types of a variant, as COM numbers them (protocol document 4.6.5).
    """

    EMPTY = 0
    NULL = 1
    I2 = 2
    I4 = 3
    R4 = 4
    R8 = 5
    CY = 6
    DATE = 7
    BSTR = 8
    DISPATCH = 9
    ERROR = 10
    BOOL = 11
    VARIANT = 12
    UNKNOWN = 13
    I1 = 16
    UI1 = 17
    UI2 = 18
    UI4 = 19
    I8 = 20
    UI8 = 21
    INT = 22
    UINT = 23
    ARRAY = 0x2000


_INT16_TYPES = frozenset({VT.I2, VT.UI2})
_INT32_TYPES = frozenset({VT.I4, VT.INT, VT.UI4, VT.UINT, VT.ERROR})
_INT64_TYPES = frozenset({VT.I8, VT.UI8, VT.CY})
_DOUBLE_TYPES = frozenset({VT.R4, VT.R8, VT.DATE})
_REFERENCE_TYPES = frozenset({VT.DISPATCH, VT.UNKNOWN})
_UNSIGNED = frozenset({VT.UI2, VT.UI4, VT.UINT, VT.UI8})

# What the Unix engines write; readers must not look at it (4.6.6).
_FEATURES = {VT.VARIANT: 0x0810, VT.BSTR: 0x0110, VT.UI1: 0x0090}


@dataclass(frozen=True, slots=True)
class Variant:
    """
    A value with its type. The value is C{None}, an C{int}, C{float}, C{bool},
    C{str}, L{Reference} or L{Array}, as the type says.
    """

    type: int
    value: Any = None


@dataclass(frozen=True, slots=True)
class NewObject:
    """
    What is said of an object the first time that it is mentioned.

    @ivar typeName: any text, for people.
    @ivar proxy: the GUID of the class that represents it at the other end, or
        zeros.
    @ivar properties: names and values that the representation is given.
    """

    typeName: str
    proxy: bytes = NULL_GUID
    properties: tuple[tuple[str, Variant], ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """
    An object, by the number that its owner gave it; 0 is no object.
    """

    id: int
    new: NewObject | None = None


@dataclass(frozen=True, slots=True)
class Array:
    """
    An array of one dimension.

    @ivar items: variants, strings or one C{bytes}, as C{type} says.
    """

    type: int
    items: tuple[Any, ...]
    features: int


NOTHING = Reference(0)
EMPTY = Variant(VT.EMPTY)
TRUE = Variant(VT.BOOL, True)
FALSE = Variant(VT.BOOL, False)


def bstr(text: str) -> Variant:
    """
    A string.
    """
    return Variant(VT.BSTR, text)


def variants(items: tuple[Variant, ...]) -> Variant:
    """
    An array of variants, with the features that every known reader accepts.
    """
    return Variant(VT.ARRAY + VT.VARIANT, Array(VT.VARIANT, items, _FEATURES[VT.VARIANT]))


def guid(text: str) -> bytes:
    """
    A GUID from its usual form: the bytes stand in the order of the text.
    """
    return UUID(text).bytes


class Writer:
    """
    Write values behind each other.
    """

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def written(self) -> bytes:
        """
        All that was written.
        """
        return b"".join(self._parts)

    def raw(self, data: bytes) -> None:
        """
        Bytes as they are.
        """
        self._parts.append(data)

    def int16(self, value: int) -> None:
        """
        Two bytes.
        """
        self._pack(_INT16, value)

    def int32(self, value: int) -> None:
        """
        Four bytes.
        """
        self._pack(_INT32, value)

    def int64(self, value: int) -> None:
        """
        Eight bytes.
        """
        self._pack(_INT64, value)

    def uint64(self, value: int) -> None:
        """
        Eight bytes without a sign: the number of an object.
        """
        self._pack(_UINT64, value)

    def string(self, text: str) -> None:
        """
        ISO-8859-1 with its length; what that cannot say becomes a question
        mark (4.6.2).
        """
        data = text.encode("latin-1", "replace")
        self._pack(_INT32, len(data))
        self._parts.append(data)

    def reference(self, reference: Reference) -> None:
        """
        An object.
        """
        self.uint64(reference.id)
        new = reference.new
        if new is None:
            self.raw(b"\0")
            return
        self.raw(b"\1")
        self.string(new.typeName)
        self.raw(new.proxy)
        self.int32(len(new.properties))
        for name, value in new.properties:
            self.string(name)
            self.variant(value)

    def variant(self, variant: Variant) -> None:
        """
        A value with its type.

        @raise LocalProtocolError: the type cannot travel (Z-REMOTE-108).
        """
        self.int32(variant.type)
        self._value(variant.type, variant.value)

    def _value(self, vt: int, value: Any) -> None:
        if vt == VT.BSTR:
            self.string(value)
        elif vt in _INT32_TYPES:
            self._pack(_UINT32 if vt in _UNSIGNED else _INT32, value)
        elif vt == VT.BOOL:
            self.raw(b"\1" if value else b"\0")
        elif vt in _REFERENCE_TYPES:
            self.reference(value)
        elif vt in (VT.EMPTY, VT.NULL):
            pass
        elif vt in _INT16_TYPES:
            self.raw((value & 0xFFFF).to_bytes(2, "big"))
        elif vt in (VT.I1, VT.UI1):
            self.raw((value & 0xFF).to_bytes(1, "big"))
        elif vt in _INT64_TYPES:
            self._pack(_UINT64 if vt in _UNSIGNED else _INT64, value)
        elif vt in _DOUBLE_TYPES:
            text = b"%.16e" % value
            self.raw(b"s" + bytes([len(text)]) + text)
        elif vt & VT.ARRAY and isinstance(value, Array) and value.type == vt - VT.ARRAY:
            self._array(value)
        else:
            raise LocalProtocolError(f"Z-REMOTE-108  a variant of type {vt} cannot be sent")

    def _array(self, array: Array) -> None:
        self.int16(1)
        self.int16(array.features)
        count = len(array.items[0]) if array.type == VT.UI1 else len(array.items)
        self.int32(count)
        self.int32(0)
        self.int32(array.type)
        for item in array.items:
            if array.type == VT.VARIANT:
                self.variant(item)
            elif array.type == VT.BSTR:
                self.string(item)
            else:
                self.raw(item)

    def _pack(self, form: Struct, value: int) -> None:
        try:
            self._parts.append(form.pack(value))
        except error as problem:
            raise LocalProtocolError(f"{value!r} does not fit: {problem}") from problem


class Reader:
    """
    Read values from the bytes of one message.

    Every method raises L{RemoteProtocolError} where the bytes do not hold what
    is asked for; no more memory is used than a small multiple of the message.
    """

    __slots__ = ("_data", "_end", "_position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data = data
        self._position = position
        self._end = len(data)

    def finish(self) -> None:
        """
        Nothing may be left.
        """
        if self._position != self._end:
            left = self._end - self._position
            raise RemoteProtocolError(f"{left} bytes stand behind the end of the message")

    def atEnd(self) -> bool:
        """
        Whether nothing is left.
        """
        return self._position >= self._end

    def raw(self, size: int) -> bytes:
        """
        Bytes as they are.
        """
        position = self._position
        if size < 0 or size > self._end - position:
            raise RemoteProtocolError("Z-REMOTE-109  the message is too short")
        self._position = position + size
        return self._data[position : position + size]

    def int16(self) -> int:
        """
        Two bytes.
        """
        return int.from_bytes(self.raw(2), "big", signed=True)

    def int32(self) -> int:
        """
        Four bytes.
        """
        return int.from_bytes(self.raw(4), "big", signed=True)

    def int64(self) -> int:
        """
        Eight bytes.
        """
        return int.from_bytes(self.raw(8), "big", signed=True)

    def uint64(self) -> int:
        """
        Eight bytes without a sign: the number of an object.
        """
        return int.from_bytes(self.raw(8), "big")

    def string(self) -> str:
        """
        ISO-8859-1 with its length.
        """
        return self.raw(self.int32()).decode("latin-1")

    def count(self, smallest: int, most: int = 1 << 30) -> int:
        """
        A number of things that follow, each of which has at least C{smallest}
        bytes: a lying count is refused before anything is made of it.
        """
        count = self.int32()
        if not 0 <= count <= most or count * smallest > self._end - self._position:
            raise RemoteProtocolError(f"Z-REMOTE-109  {count} things do not follow")
        return count

    def reference(self, depth: int = 0) -> Reference:
        """
        An object.
        """
        number = self.uint64()
        isNew = self.raw(1)
        if isNew == b"\0":
            return NOTHING if number == 0 else Reference(number)
        typeName = self.string()
        proxy = self.raw(16)
        properties = tuple(
            (self.string(), self.variant(depth + 1)) for _ in range(self.count(smallest=8))
        )
        return Reference(number, NewObject(typeName, proxy, properties))

    def variant(self, depth: int = 0) -> Variant:
        """
        A value with its type.
        """
        if depth > MAX_DEPTH:
            raise RemoteProtocolError("variants are nested too deep")
        vt = self.int32()
        if vt == VT.BSTR:
            return Variant(vt, self.string())
        if vt in _INT32_TYPES:
            return Variant(vt, self._integer(4, vt))
        if vt == VT.EMPTY:
            return EMPTY
        if vt == VT.BOOL:
            return FALSE if self.raw(1) == b"\0" else TRUE
        if vt in _REFERENCE_TYPES:
            return Variant(vt, self.reference(depth))
        if vt == VT.NULL:
            return Variant(vt)
        if vt in _INT16_TYPES:
            return Variant(vt, self._integer(2, vt))
        if vt in (VT.I1, VT.UI1):
            return Variant(vt, int.from_bytes(self.raw(1), "big", signed=vt == VT.I1))
        if vt in _INT64_TYPES:
            return Variant(vt, self._integer(8, vt))
        if vt in _DOUBLE_TYPES:
            return Variant(vt, self._double())
        if vt & VT.ARRAY:
            return Variant(vt, self._array(vt - VT.ARRAY, depth))
        raise RemoteProtocolError(f"Z-REMOTE-108  a variant of type {vt} is not known")

    def _integer(self, size: int, vt: int) -> int:
        return int.from_bytes(self.raw(size), "big", signed=vt not in _UNSIGNED)

    def _double(self) -> float:
        if self.raw(1) != b"s":
            raise RemoteProtocolError("a floating point number does not begin with s")
        text = self.raw(self.raw(1)[0])
        try:
            return float(text.decode("ascii"))
        except ValueError as problem:
            raise RemoteProtocolError(f"{text!r} is no floating point number") from problem

    def _array(self, vt: int, depth: int) -> Array:
        dimensions = self.int16()
        features = self.int16()
        # The count precedes the lower bound, and even the smallest element,
        # VT_UI1, has one byte.
        count = self.count(smallest=1)
        lowerBound = self.int32()
        elements = self.int32()
        if dimensions != 1 or lowerBound != 0 or elements != vt:
            raise RemoteProtocolError("only arrays of one dimension from 0 are known")
        if vt == VT.VARIANT:
            return Array(vt, tuple(self.variant(depth + 1) for _ in range(count)), features)
        if vt == VT.BSTR:
            return Array(vt, tuple(self.string() for _ in range(count)), features)
        if vt == VT.UI1:
            return Array(vt, (self.raw(count),), features)
        raise RemoteProtocolError(f"Z-REMOTE-108  an array of type {vt} is not known")
