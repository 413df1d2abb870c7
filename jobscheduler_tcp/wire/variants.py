"""
The values of the classic binary language: integers, strings, references to
objects, variants, arrays (protocol document 4.6). All integers are big-endian.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from struct import Struct, error
from typing import Any, Final
from uuid import UUID

from jobscheduler_tcp.errors import LocalProtocolError, RemoteProtocolError

_INT32 = Struct(">i")
_PAIR = Struct(">ii")  # a type and a length, for one
_NUMBER = Struct(">Q?")  # of an object, and whether more is said of it
_ARRAY = Struct(">hhiii")

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


# Plain ints, which compare faster than the members of an enumeration.
_EMPTY: Final = 0
_BSTR: Final = 8
_DISPATCH: Final = 9
_BOOL: Final = 11
_VARIANT: Final = 12

_NO_VALUE = _INT32.pack(_EMPTY)

# The types whose values are numbers, as they stand behind their type.
_FORMS = {
    int(vt): Struct(f">{letter}")
    for letter, types in {
        "b": (VT.I1,),
        "B": (VT.UI1,),
        "h": (VT.I2,),
        "H": (VT.UI2,),
        "i": (VT.I4, VT.INT, VT.ERROR),
        "I": (VT.UI4, VT.UINT),
        "q": (VT.I8, VT.CY),
        "Q": (VT.UI8,),
    }.items()
    for vt in types
}
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


class Written(Variant):
    """
    A value that is said often: it is written once.
    """

    __slots__ = ("data",)
    data: bytes

    def __init__(self, same: Variant) -> None:
        super().__init__(same.type, same.value)
        object.__setattr__(self, "data", variantBytes(same))


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


def stringBytes(text: str) -> bytes:
    """
    ISO-8859-1 with its length; what that cannot say becomes a question mark
    (4.6.2).
    """
    data = text.encode("latin-1", "replace")
    return _INT32.pack(len(data)) + data


def referenceBytes(reference: Reference) -> bytes:
    """
    An object.
    """
    new = reference.new
    if new is None:
        return _NUMBER.pack(reference.id, False)
    return _NUMBER.pack(reference.id, True) + _newBytes(new)


@lru_cache(16)  # most are constants
def _newBytes(new: NewObject) -> bytes:
    parts = [stringBytes(new.typeName), new.proxy, _INT32.pack(len(new.properties))]
    for name, value in new.properties:
        parts += stringBytes(name), variantBytes(value)
    return b"".join(parts)


def variantBytes(variant: Variant) -> bytes:
    """
    A value with its type.

    @raise LocalProtocolError: the type cannot travel (Z-REMOTE-108), or the
        value does not fit it.
    """
    vt, value = variant.type, variant.value
    if vt == _BSTR:
        data: bytes = value.encode("latin-1", "replace")
        return _PAIR.pack(_BSTR, len(data)) + data
    if vt == _EMPTY:
        return _NO_VALUE
    if isinstance(variant, Written):
        return variant.data
    write = _WRITERS.get(vt)
    if write is None:
        raise LocalProtocolError(f"Z-REMOTE-108  a variant of type {vt} cannot be sent")
    try:
        return _INT32.pack(vt) + write(value)
    except error as problem:
        raise LocalProtocolError(f"{value!r} does not fit: {problem}") from problem


def _doubleBytes(value: float) -> bytes:
    text = b"%.16e" % value
    return b"s" + bytes([len(text)]) + text


def _variantsBytes(array: object) -> bytes:
    if not isinstance(array, Array) or array.type != VT.VARIANT:
        raise LocalProtocolError(f"Z-REMOTE-108  {array!r} is no array of variants")
    parts = [_ARRAY.pack(1, array.features, len(array.items), 0, _VARIANT)]
    for item in array.items:
        if item.type == _BSTR:  # as in variantBytes
            data = item.value.encode("latin-1", "replace")
            parts.append(_PAIR.pack(_BSTR, len(data)))
            parts.append(data)
        else:
            parts.append(variantBytes(item))
    return b"".join(parts)


def _arrayBytes(array: object, vt: int, items: Callable[[Any], bytes]) -> bytes:
    if not isinstance(array, Array) or array.type != vt:
        raise LocalProtocolError(f"Z-REMOTE-108  {array!r} is no array of the type {vt}")
    parts = [items(item) for item in array.items]
    count = len(parts[0]) if vt == VT.UI1 else len(parts)
    return _ARRAY.pack(1, array.features, count, 0, vt) + b"".join(parts)


_WRITERS: dict[int, Callable[[Any], bytes]] = {
    **{vt: form.pack for vt, form in _FORMS.items()},
    VT.NULL: lambda value: b"",
    VT.BOOL: lambda value: b"\1" if value else b"\0",
    **dict.fromkeys((VT.R4, VT.R8, VT.DATE), _doubleBytes),
    **dict.fromkeys((VT.DISPATCH, VT.UNKNOWN), referenceBytes),
    VT.ARRAY + VT.VARIANT: _variantsBytes,
    VT.ARRAY + VT.BSTR: lambda value: _arrayBytes(value, VT.BSTR, stringBytes),
    VT.ARRAY + VT.UI1: lambda value: _arrayBytes(value, VT.UI1, bytes),
}


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
            raise _tooShort()
        self._position = position + size
        return self._data[position : position + size]

    def unpack(self, form: Struct) -> tuple[Any, ...]:
        """
        Values of fixed size.
        """
        position = self._position
        self._position = position + form.size
        try:
            return form.unpack_from(self._data, position)
        except error:
            raise _tooShort() from None

    def int32(self) -> int:
        """
        Four bytes.
        """
        number: int = self.unpack(_INT32)[0]
        return number

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
        return self.checked(self.int32(), smallest, most)

    def checked(self, count: int, smallest: int, most: int = 1 << 30) -> int:
        """
        The same, where the number was read.
        """
        if not 0 <= count <= most or count * smallest > self._end - self._position:
            raise RemoteProtocolError(f"Z-REMOTE-109  {count} things do not follow")
        return count

    def reference(self, depth: int = 0) -> Reference:
        """
        An object.
        """
        number, isNew = self.unpack(_NUMBER)
        if not isNew:
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
        return self.variants(1, depth)[0]

    def variants(self, count: int, depth: int = 0) -> list[Variant]:
        """
        Several of them.
        """
        if depth > MAX_DEPTH:
            raise RemoteProtocolError("variants are nested too deep")
        values: list[Variant] = []
        data = self._data
        for _ in range(count):
            position = self._position
            (vt,) = self.unpack(_INT32)
            if vt == _BSTR:  # most are, so it is read here
                (size,) = self.unpack(_INT32)
                start = position + _PAIR.size
                self._position = end = start + size
                if not start <= end <= self._end:
                    raise _tooShort()
                values.append(Variant(_BSTR, str(data[start:end], "latin-1")))
            elif vt == _EMPTY:
                values.append(EMPTY)
            elif vt == _BOOL:
                values.append(FALSE if self.raw(1) == b"\0" else TRUE)
            elif vt in _FORMS:
                values.append(Variant(vt, self.unpack(_FORMS[vt])[0]))
            else:
                values.append(Variant(vt, self._value(vt, depth)))
        return values

    def _value(self, vt: int, depth: int) -> Any:
        if vt in (VT.DISPATCH, VT.UNKNOWN):
            return self.reference(depth)
        if vt == VT.NULL:
            return None
        if vt in (VT.R4, VT.R8, VT.DATE):
            return self._double()
        if vt & VT.ARRAY:
            return self._array(vt - VT.ARRAY, depth)
        raise RemoteProtocolError(f"Z-REMOTE-108  a variant of type {vt} is not known")

    def _double(self) -> float:
        if self.raw(1) != b"s":
            raise RemoteProtocolError("a floating point number does not begin with s")
        text = self.raw(self.raw(1)[0])
        try:
            return float(text.decode("ascii"))
        except ValueError as problem:
            raise RemoteProtocolError(f"{text!r} is no floating point number") from problem

    def _array(self, vt: int, depth: int) -> Array:
        # Even the smallest element, VT_UI1, has one byte.
        dimensions, features, count, lowerBound, elements = self.unpack(_ARRAY)
        self.checked(count, smallest=1)
        if dimensions != 1 or lowerBound != 0 or elements != vt:
            raise RemoteProtocolError("only arrays of one dimension from 0 are known")
        if vt == VT.VARIANT:
            return Array(vt, tuple(self.variants(count, depth + 1)), features)
        if vt == VT.BSTR:
            return Array(vt, tuple(self.string() for _ in range(count)), features)
        if vt == VT.UI1:
            return Array(vt, (self.raw(count),), features)
        raise RemoteProtocolError(f"Z-REMOTE-108  an array of type {vt} is not known")


def _tooShort() -> RemoteProtocolError:
    return RemoteProtocolError("Z-REMOTE-109  the message is too short")
