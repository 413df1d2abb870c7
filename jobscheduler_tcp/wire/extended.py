"""
The extended language of the confirmation connection (docs/protocol/extended).

A payload is a letter for the type, a channel number, and a body: msgpack for
what is said once a task, a struct for what is said often.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from struct import Struct
from typing import Any

from msgspec import msgpack

from jobscheduler_tcp.errors import LocalProtocolError, RemoteProtocolError
from jobscheduler_tcp.messages import (
    CallerProof,
    Challenge,
    Confirmation,
    EndAcknowledged,
    Heartbeat,
    InputEnded,
    InputTaken,
    ListenerProof,
    OutputAcknowledged,
    Stream,
    TaskAbandoned,
    TaskAttached,
    TaskEnded,
    TaskInput,
    TaskOutput,
    TaskStarted,
)

# The longest payload before both ends are proven: room for the longest proof,
# and little memory for a stranger; and afterwards.
MAX_UNPROVEN = 4096
MAX_PROVEN = 1048576

# Bytes before a payload, which say how long it is.
LENGTH = 4

_HEADER = Struct(">IBI")  # length, type, channel
_DATA = Struct(">IBIQ")  # length, type, channel, offset
_BEGINNING = Struct(">BIQ")  # the same of a payload
_TYPE = Struct(">BI")  # type and channel
_OFFSET = Struct(">Q")
_OFFSETS = Struct(">QQ")
_BODY = 5  # a payload's body stands behind type and channel
_RAW = _BODY + _OFFSET.size  # where the data stand in a payload with an offset
_LETTER = ord("0")  # the letter of raw data is the descriptor's digit
_MAX_COUNT = 2**63 - 1

# Bytes of raw data that fit into one frame.
MAX_DATA = MAX_PROVEN - _RAW

# The types of payloads that hold output.
OUTPUT = bytes((_LETTER + Stream.STDOUT, _LETTER + Stream.STDERR))

# The longest line for people (messages.Line).
_MAX_LINE = 2000

_pack = msgpack.Encoder().encode

_Writer = Callable[[Any], bytes]
_Reader = Callable[[bytes], Confirmation]


def encode(channel: int, message: Confirmation) -> bytes:
    """
    Make a whole frame.

    @raise LocalProtocolError: it cannot be said in a frame.
    """
    kind = type(message)
    try:
        if kind is TaskOutput:
            return _encodeData(channel, message.stream, message)  # type: ignore[union-attr,arg-type]  # narrowed by kind
        if kind is TaskInput:
            return _encodeData(channel, Stream.STDIN, message)  # type: ignore[arg-type]  # narrowed by kind
        letter, write = _WRITERS[kind]
        body = b"" if write is None else write(message)
        return _HEADER.pack(_BODY + len(body), letter, channel) + body
    except LocalProtocolError:
        raise
    except Exception as error:
        raise LocalProtocolError(f"{kind.__name__} cannot be said: {error}") from error


def outputHeader(channel: int, stream: Stream, offset: int, size: int) -> bytes:
    """
    Make what stands before C{size} bytes of output, so that they can follow
    without being copied.
    """
    return _DATA.pack(_RAW + size, _LETTER + stream, channel, offset)


def decode(payload: bytes) -> tuple[int, Confirmation]:
    """
    Read the payload of a frame.

    @return: the channel, and what was said on it.
    @raise RemoteProtocolError: it is not understood.
    """
    try:
        letter, channel = _TYPE.unpack_from(payload)
        unpack = _UNPACKERS.get(letter)
        if unpack is not None:
            return channel, unpack(payload[_BODY:])
        reader = _READERS.get(letter)
        if reader is None:
            raise RemoteProtocolError(f"a frame of the unknown type {payload[:1]!r}")
        return channel, reader(payload)
    except RemoteProtocolError:
        raise
    except Exception as error:  # whatever a decoder may think of, also RecursionError
        said = f"{type(error).__name__}: {error}"
        raise RemoteProtocolError(f"a frame that is not understood, {said}") from error


def decodeBeginning(payload: memoryview) -> tuple[int, Stream, int, bytes]:
    """
    Read the beginning of a payload of a type in L{OUTPUT}, longer than what
    stands before the data.

    @return: channel, stream, offset, and as many of the data as there are.
    """
    letter, channel, offset = _BEGINNING.unpack_from(payload)
    return channel, Stream(letter - _LETTER), _count(offset), bytes(payload[_RAW:])


def _encodeData(channel: int, stream: Stream, message: TaskOutput | TaskInput) -> bytes:
    size = len(message.data)
    if type(message) is TaskOutput and stream is Stream.STDIN:
        raise LocalProtocolError("output on stdin")
    if not 0 < size <= MAX_DATA:
        raise LocalProtocolError(f"{size} bytes of data in one frame")
    return b"".join((outputHeader(channel, stream, message.offset, size), message.data))


def _line(text: str) -> str:
    # What is said to people must never break the conversation: text of the
    # system may hold bytes that are not UTF-8 (surrogates), and any number.
    return text[:_MAX_LINE].encode("utf-8", "replace").decode("utf-8")


def _writeEnded(message: TaskEnded) -> bytes:
    if message.note:
        message = replace(message, note=_line(message.note))
    return _pack(message)


# Some have nothing behind the channel.
_WRITERS: dict[type, tuple[int, _Writer | None]] = {
    Challenge: (ord("C"), _pack),
    ListenerProof: (ord("L"), _pack),
    CallerProof: (ord("P"), _pack),
    Heartbeat: (ord("h"), None),
    TaskAttached: (ord("A"), _pack),
    TaskStarted: (ord("S"), _pack),
    InputTaken: (ord("i"), lambda message: _OFFSET.pack(message.offset)),
    TaskEnded: (ord("E"), _writeEnded),
    OutputAcknowledged: (ord("a"), lambda message: _OFFSETS.pack(message.stdout, message.stderr)),
    InputEnded: (ord("e"), None),
    EndAcknowledged: (ord("K"), None),
    TaskAbandoned: (ord("x"), None),
}


def _empty(message: Confirmation) -> _Reader:
    def read(payload: bytes) -> Confirmation:
        if len(payload) != _BODY:
            raise RemoteProtocolError(f"{type(message).__name__} with a body")
        return message

    return read


def _count(number: int) -> int:
    if number > _MAX_COUNT:
        raise RemoteProtocolError("an offset above 2**63 - 1")
    return number


def _data(payload: bytes) -> tuple[int, bytes]:
    data = payload[_RAW:]
    if not data:
        raise RemoteProtocolError("a frame of raw data without data")
    return _count(_OFFSET.unpack_from(payload, _BODY)[0]), data


def _readStdout(payload: bytes) -> TaskOutput:
    return TaskOutput(Stream.STDOUT, *_data(payload))


def _readStderr(payload: bytes) -> TaskOutput:
    return TaskOutput(Stream.STDERR, *_data(payload))


def _readInput(payload: bytes) -> TaskInput:
    return TaskInput(*_data(payload))


def _readTaken(payload: bytes) -> InputTaken:
    return InputTaken(_count(_OFFSET.unpack(payload[_BODY:])[0]))


def _readAcknowledged(payload: bytes) -> OutputAcknowledged:
    stdout, stderr = _OFFSETS.unpack(payload[_BODY:])
    return OutputAcknowledged(_count(stdout), _count(stderr))


# What reads a body of msgpack, and what reads a whole payload of the other types.
_UNPACKERS: dict[int, _Reader] = {
    ord("C"): msgpack.Decoder(Challenge).decode,
    ord("L"): msgpack.Decoder(ListenerProof).decode,
    ord("P"): msgpack.Decoder(CallerProof).decode,
    ord("A"): msgpack.Decoder(TaskAttached).decode,
    ord("S"): msgpack.Decoder(TaskStarted).decode,
    ord("E"): msgpack.Decoder(TaskEnded).decode,
}

_READERS: dict[int, _Reader] = {
    ord("h"): _empty(Heartbeat()),
    ord("1"): _readStdout,
    ord("2"): _readStderr,
    ord("i"): _readTaken,
    ord("a"): _readAcknowledged,
    ord("0"): _readInput,
    ord("e"): _empty(InputEnded()),
    ord("K"): _empty(EndAcknowledged()),
    ord("x"): _empty(TaskAbandoned()),
}
