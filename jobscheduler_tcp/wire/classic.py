"""
The classic binary language of the confirmation connection: calls and answers
(protocol document 4.3 to 4.7). What is said in it stands in the messages of
this module; L{decodeAnswer} needs to know which call is answered, for the bytes
do not tell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct, error
from typing import Any, TypeAlias

from jobscheduler_tcp.errors import LocalProtocolError, RemoteProtocolError
from jobscheduler_tcp.wire.variants import (
    EMPTY,
    MAX_ARGUMENTS,
    NOTHING,
    NULL_GUID,
    Reader,
    Reference,
    Variant,
    guid,
    referenceBytes,
    stringBytes,
    variantBytes,
)

# The server object that runs a task at the remote (protocol document 5.1).
SERVER_CLASS = guid("feee47a3-6c1b-11d8-8103-000476ee8afb")
SERVER_INTERFACE = guid("feee47a2-6c1b-11d8-8103-000476ee8afb")
# The representations of the client's objects at the remote.
LOG_PROXY = guid("feee47a6-6c1b-11d8-8103-000476ee8afb")
TASK_PROXY = guid("feee47aa-6c1b-11d8-8103-000476ee8afb")
SPOOLER_PROXY = guid("feee47b3-6c1b-11d8-8103-000476ee8afb")

# Flags of an invocation (4.5).
METHOD = 1
PROPERTY_GET = 2
PROPERTY_PUT = 4
PUT_VALUE = -3  # the name of the argument of a property put (4.6.7)

# HRESULT (4.6.9); failed means bit 31 is set.
S_OK = 0
NO_INTERFACE = 0x80004002
E_POINTER = 0x80004003
MEMBER_NOT_FOUND = 0x80020003
UNKNOWN_NAME = 0x80020006
BAD_VARIANT_TYPE = 0x80020008

_CALL_CLASSES = frozenset({b"S", b"O", b"K"})

# Most messages of one task are those of the next one, too: so many short ones are
# not read anew. A call that lends objects is the longest of these; of the answers
# none that has values for a task.
_REMEMBERED = 256
_SHORT_CALL = 512
_SHORT_ANSWER = 128

_INT32 = Struct(">i")
_INT64 = Struct(">q")
_RESULT = Struct(">I")
_ANSWER = Struct(">cI")  # the result
_OBJECT = Struct(">cQc")  # a call of an object: number, command
_COMMAND = Struct(">Qc")  # the same without its first byte
_CREATE = Struct(">cqc16s")  # session, command, class
_CREATED = Struct(">ii")  # context, interfaces
_GET_ID = Struct(">16sii")  # interface, locale, names
_INVOKE = Struct(">i16sii")  # member, interface, locale, flags
_COUNTS = Struct(">ii")  # arguments, names
_PROBLEM = Struct(">ihh")  # argument, code, reserved


@dataclass(frozen=True, slots=True)
class CreateInstance:
    """
    Make an object of a class.
    """

    clsid: bytes = SERVER_CLASS
    iids: tuple[bytes, ...] = (SERVER_INTERFACE,)
    outer: Reference = NOTHING
    context: int = 0
    session: int = 0


@dataclass(frozen=True, slots=True)
class CallMethod:
    """
    Call a method by its name. C{arguments} stand in the order of the caller;
    on the wire the last comes first.
    """

    object: int
    name: str
    arguments: tuple[Variant, ...] = ()
    named: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GetId:
    """
    Ask for the number of a name.
    """

    object: int
    name: str
    iid: bytes = NULL_GUID
    locale: int = 0


@dataclass(frozen=True, slots=True)
class Invoke:
    """
    Call a method, or get or put a property, by number.
    """

    object: int
    number: int
    flags: int
    arguments: tuple[Variant, ...] = ()
    named: tuple[int, ...] = ()
    iid: bytes = NULL_GUID
    locale: int = 0


@dataclass(frozen=True, slots=True)
class QueryInterface:
    """
    Ask an object for another interface.
    """

    object: int
    iid: bytes


@dataclass(frozen=True, slots=True)
class Release:
    """
    The caller does not need the object any more.
    """

    object: int


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """
    A word to keep firewalls awake (1.9.4 and later).
    """


@dataclass(frozen=True, slots=True)
class InstanceCreated:
    """
    Answer to L{CreateInstance}.

    @ivar result: an HRESULT; if it failed, there are no objects.
    @ivar objects: an HRESULT and a reference for each interface asked for.
    """

    result: int
    objects: tuple[tuple[int, Reference], ...] = ()


@dataclass(frozen=True, slots=True)
class MethodCalled:
    """
    Answer to L{CallMethod}.
    """

    value: Variant = EMPTY
    result: int = S_OK


@dataclass(frozen=True, slots=True)
class IdGiven:
    """
    Answer to L{GetId}; a failed C{result} has no number.
    """

    result: int
    number: int = 0


@dataclass(frozen=True, slots=True)
class ExceptionInfo:
    """
    What a failed invocation tells (4.6.8).
    """

    code: int = 0
    reserved: int = 0
    source: str = ""
    description: str = ""
    helpFile: str = ""
    helpContext: int = 0
    scode: int = 0


@dataclass(frozen=True, slots=True)
class Invoked:
    """
    Answer to L{Invoke}: a value, or where it failed which argument and why.
    """

    result: int = S_OK
    value: Variant = EMPTY
    argument: int = -1
    problem: ExceptionInfo | None = None


@dataclass(frozen=True, slots=True)
class InterfaceGiven:
    """
    Answer to L{QueryInterface}.
    """

    result: int
    reference: Reference = NOTHING


@dataclass(frozen=True, slots=True)
class Done:
    """
    Answer to L{Release} and to L{KeepAlive}.
    """


@dataclass(frozen=True, slots=True)
class Failed:
    """
    The answer to any call that failed (4.7).

    @ivar texts: C{name=…}, C{code=…}, C{what=…}.
    """

    texts: tuple[str, ...]

    @property
    def code(self) -> str:
        """
        The code, which Unix engines only write as the first word of C{what}.
        """
        return self._text("code=") or self.what.partition(" ")[0]

    @property
    def what(self) -> str:
        """
        The text for people.
        """
        return self._text("what=")

    @property
    def text(self) -> str:
        """
        The same without its code.
        """
        return self.what.removeprefix(self.code).lstrip()

    def _text(self, prefix: str) -> str:
        for text in self.texts:
            if text.startswith(prefix):
                return text[len(prefix) :]
        return ""


def failed(code: str, text: str) -> Failed:
    """
    An error answer as Unix engines write it: name and code empty, the code
    first in the text.
    """
    return Failed(("name=", "code=", f"what={code}  {text}"))


Call: TypeAlias = (
    CreateInstance | CallMethod | GetId | Invoke | QueryInterface | Release | KeepAlive
)
CallAnswer: TypeAlias = (
    InstanceCreated | MethodCalled | IdGiven | Invoked | InterfaceGiven | Done | Failed
)


_AnswerReader: TypeAlias = Callable[[Reader, int], CallAnswer]


def isCall(payload: bytes) -> bool:
    """
    Whether a message is a call; all else answers the last call (4.3).
    """
    return payload[:1] in _CALL_CLASSES


def encodeCall(call: Call) -> bytes:
    """
    The payload of a call, without its frame.

    @raise LocalProtocolError: it has a value that cannot travel.
    """
    try:
        return _CALLS[type(call)](call)
    except error as problem:
        raise LocalProtocolError(f"{call} cannot be said: {problem}") from problem


def _createBytes(call: CreateInstance) -> bytes:
    head = _CREATE.pack(b"S", call.session, b"C", call.clsid)
    interfaces = _CREATED.pack(call.context, len(call.iids)) + b"".join(call.iids)
    return head + referenceBytes(call.outer) + interfaces


def _methodBytes(call: CallMethod) -> bytes:
    head = _OBJECT.pack(b"O", call.object, b"A")
    return head + stringBytes(call.name) + _argumentBytes(call)


def _idBytes(call: GetId) -> bytes:
    head = _OBJECT.pack(b"O", call.object, b"G")
    return head + _GET_ID.pack(call.iid, call.locale, 1) + stringBytes(call.name)


def _invokeBytes(call: Invoke) -> bytes:
    head = _OBJECT.pack(b"O", call.object, b"I")
    member = _INVOKE.pack(call.number, call.iid, call.locale, call.flags)
    return head + member + _argumentBytes(call)


def _argumentBytes(call: CallMethod | Invoke) -> bytes:
    arguments, named = call.arguments, call.named
    counts = _COUNTS.pack(len(arguments), len(named))
    if not arguments:
        return counts
    names = b"".join(map(_INT32.pack, named))
    return b"".join([counts, names, *map(variantBytes, reversed(arguments))])


_CALLS: dict[type, Callable[[Any], bytes]] = {
    KeepAlive: lambda call: b"K",
    CreateInstance: _createBytes,
    CallMethod: _methodBytes,
    GetId: _idBytes,
    Invoke: _invokeBytes,
    QueryInterface: lambda call: _OBJECT.pack(b"O", call.object, b"Q") + call.iid,
    Release: lambda call: _OBJECT.pack(b"O", call.object, b"R"),
}


def decodeCall(payload: bytes) -> Call:
    """
    The call of a payload.

    @raise RemoteProtocolError: it is none; the text begins with the code of
        the original.
    """
    return _sameCall(payload) if len(payload) <= _SHORT_CALL else _decodeCall(payload)


def _decodeCall(payload: bytes) -> Call:
    reader = Reader(payload)
    kind = reader.raw(1)
    call: Call
    if kind == b"O":
        call = _decodeObjectCall(reader)
    elif kind == b"K":
        call = KeepAlive()
    elif kind == b"S":
        call = _decodeCreate(reader)
    else:
        raise RemoteProtocolError("Z-REMOTE-106  the class of the message is not known")
    reader.finish()
    return call


_sameCall = lru_cache(_REMEMBERED)(_decodeCall)


def _decodeCreate(reader: Reader) -> CreateInstance:
    (session,) = reader.unpack(_INT64)
    if session != 0:
        raise RemoteProtocolError("Z-REMOTE-104  the session is not known")
    if reader.raw(1) != b"C":
        raise RemoteProtocolError("Z-REMOTE-105  the command of the session is not known")
    clsid = reader.raw(16)
    outer = reader.reference()
    context = reader.int32()
    iids = tuple(reader.raw(16) for _ in range(reader.count(smallest=16)))
    return CreateInstance(clsid, iids, outer, context, session)


def _decodeObjectCall(reader: Reader) -> Call:
    number, command = reader.unpack(_COMMAND)
    if command == b"R":
        return Release(number)
    if command == b"I":
        member, iid, locale, flags = reader.unpack(_INVOKE)
        arguments, named = _readArguments(reader)
        return Invoke(number, member, flags, arguments, named, iid, locale)
    if command == b"A":
        name = reader.string()
        return CallMethod(number, name, *_readArguments(reader))
    if command == b"G":
        iid, locale, count = reader.unpack(_GET_ID)
        if count != 1:
            raise RemoteProtocolError("Z-REMOTE-124  only one name can be asked for")
        return GetId(number, reader.string(), iid, locale)
    if command == b"Q":
        return QueryInterface(number, reader.raw(16))
    raise RemoteProtocolError("Z-REMOTE-106  the command for the object is not known")


def encodeAnswer(answer: CallAnswer) -> bytes:
    """
    The payload of an answer, without its frame.

    @raise LocalProtocolError: it has a value that cannot travel.
    """
    try:
        return _ANSWERS[type(answer)](answer)
    except error as problem:
        raise LocalProtocolError(f"{answer} cannot be said: {problem}") from problem


def _createdBytes(answer: InstanceCreated) -> bytes:
    parts = [_ANSWER.pack(b"A", answer.result)]
    for result, reference in answer.objects:
        parts += _RESULT.pack(result), referenceBytes(reference)
    return b"".join(parts)


def _givenBytes(answer: IdGiven) -> bytes:
    head = _ANSWER.pack(b"A", answer.result)
    return head if isFailure(answer.result) else head + _INT32.pack(answer.number)


def _interfaceBytes(answer: InterfaceGiven) -> bytes:
    head = _ANSWER.pack(b"A", answer.result)
    return head if isFailure(answer.result) else head + referenceBytes(answer.reference)


def _invokedBytes(answer: Invoked) -> bytes:
    head = _ANSWER.pack(b"A", answer.result)
    return head + (
        _problemBytes(answer) if isFailure(answer.result) else variantBytes(answer.value)
    )


def _problemBytes(answer: Invoked) -> bytes:
    problem = answer.problem or ExceptionInfo(scode=answer.result)
    return b"".join(
        [
            _PROBLEM.pack(answer.argument, problem.code, problem.reserved),
            stringBytes(problem.source),
            stringBytes(problem.description),
            stringBytes(problem.helpFile),
            _INT32.pack(problem.helpContext),
            _RESULT.pack(problem.scode),
        ]
    )


_ANSWERS: dict[type, Callable[[Any], bytes]] = {
    Done: lambda answer: b"A",
    Failed: lambda answer: b"E" + b"".join(map(stringBytes, answer.texts)),
    MethodCalled: lambda answer: _ANSWER.pack(b"A", answer.result) + variantBytes(answer.value),
    InstanceCreated: _createdBytes,
    IdGiven: _givenBytes,
    InterfaceGiven: _interfaceBytes,
    Invoked: _invokedBytes,
}


def decodeAnswer(payload: bytes, call: Call) -> CallAnswer:
    """
    What a payload answers to a call.

    @raise RemoteProtocolError: it does not answer it.
    """
    asked = len(call.iids) if isinstance(call, CreateInstance) else 0
    decode = _sameAnswer if len(payload) <= _SHORT_ANSWER else _decodeAnswer
    return decode(payload, _ANSWER_READERS[type(call)], asked)


def _decodeAnswer(payload: bytes, read: _AnswerReader, asked: int) -> CallAnswer:
    reader = Reader(payload)
    kind = reader.raw(1)
    if kind == b"E":
        texts: list[str] = []
        while not reader.atEnd():
            texts.append(reader.string())
        return Failed(tuple(texts))
    if kind != b"A":
        raise RemoteProtocolError("Z-REMOTE-107  the message is no answer")
    answer = read(reader, asked)
    reader.finish()
    return answer


_sameAnswer = lru_cache(_REMEMBERED)(_decodeAnswer)


def _readDone(reader: Reader, asked: int) -> Done:
    return Done()


def _readMethodCalled(reader: Reader, asked: int) -> MethodCalled:
    result = _readResult(reader)
    return MethodCalled(reader.variant(), result)


def _readInvoked(reader: Reader, asked: int) -> Invoked:
    result = _readResult(reader)
    if isFailure(result):
        return Invoked(result, EMPTY, *_readProblem(reader))
    return Invoked(result, reader.variant())


def _readIdGiven(reader: Reader, asked: int) -> IdGiven:
    result = _readResult(reader)
    return IdGiven(result, 0 if isFailure(result) else reader.int32())


def _readInstanceCreated(reader: Reader, asked: int) -> InstanceCreated:
    result = _readResult(reader)
    if isFailure(result):
        return InstanceCreated(result)
    objects = ((_readResult(reader), reader.reference()) for _ in range(asked))
    return InstanceCreated(result, tuple(objects))


def _readInterfaceGiven(reader: Reader, asked: int) -> InterfaceGiven:
    result = _readResult(reader)
    return InterfaceGiven(result, NOTHING if isFailure(result) else reader.reference())


_ANSWER_READERS: dict[type, _AnswerReader] = {
    Release: _readDone,
    KeepAlive: _readDone,
    CallMethod: _readMethodCalled,
    Invoke: _readInvoked,
    GetId: _readIdGiven,
    CreateInstance: _readInstanceCreated,
    QueryInterface: _readInterfaceGiven,
}


def isFailure(result: int) -> bool:
    """
    Whether an HRESULT means that something failed.
    """
    return bool(result & 0x80000000)


def _readResult(reader: Reader) -> int:
    result: int = reader.unpack(_RESULT)[0]
    return result


def _readArguments(reader: Reader) -> tuple[tuple[Variant, ...], tuple[int, ...]]:
    count, names = reader.unpack(_COUNTS)
    if not 0 <= count <= MAX_ARGUMENTS:
        raise RemoteProtocolError(f"a call has {count} arguments")
    if not count and not names:
        return (), ()
    named = tuple(reader.int32() for _ in range(reader.checked(names, smallest=4, most=count)))
    return tuple(reversed(reader.variants(count))), named


def _readProblem(reader: Reader) -> tuple[int, ExceptionInfo]:
    argument, code, reserved = reader.unpack(_PROBLEM)
    return argument, ExceptionInfo(
        code=code,
        reserved=reserved,
        source=reader.string(),
        description=reader.string(),
        helpFile=reader.string(),
        helpContext=reader.int32(),
        scode=_readResult(reader),
    )
