"""
The classic binary language.
"""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.errors import LocalProtocolError, RemoteProtocolError
from jobscheduler_tcp.wire.classic import (
    MEMBER_NOT_FOUND,
    PROPERTY_PUT,
    PUT_VALUE,
    UNKNOWN_NAME,
    Call,
    CallAnswer,
    CallMethod,
    CreateInstance,
    Done,
    ExceptionInfo,
    Failed,
    GetId,
    IdGiven,
    InstanceCreated,
    InterfaceGiven,
    Invoke,
    Invoked,
    KeepAlive,
    MethodCalled,
    QueryInterface,
    Release,
    decodeAnswer,
    decodeCall,
    encodeAnswer,
    encodeCall,
    failed,
    isCall,
)
from jobscheduler_tcp.wire.variants import (
    EMPTY,
    MAX_DEPTH,
    NOTHING,
    TRUE,
    VT,
    Array,
    NewObject,
    Reference,
    Variant,
    bstr,
    variantBytes,
    variants,
)
from tests import recordings

latin = st.text(st.characters(max_codepoint=255), max_size=20)
int32 = st.integers(-(2**31), 2**31 - 1)
numbers = st.integers(1, 2**64 - 1)
guids = st.binary(min_size=16, max_size=16)
results = st.sampled_from([0, 1, MEMBER_NOT_FOUND, UNKNOWN_NAME])

simple = st.one_of(
    st.just(EMPTY),
    st.builds(Variant, st.just(VT.NULL)),
    st.builds(bstr, latin),
    st.builds(Variant, st.sampled_from([VT.I4, VT.INT, VT.ERROR]), int32),
    st.builds(Variant, st.sampled_from([VT.UI4, VT.UINT]), st.integers(0, 2**32 - 1)),
    st.builds(Variant, st.just(VT.I2), st.integers(-(2**15), 2**15 - 1)),
    st.builds(Variant, st.just(VT.UI2), st.integers(0, 2**16 - 1)),
    st.builds(Variant, st.just(VT.I1), st.integers(-128, 127)),
    st.builds(Variant, st.just(VT.UI1), st.integers(0, 255)),
    st.builds(Variant, st.sampled_from([VT.I8, VT.CY]), st.integers(-(2**63), 2**63 - 1)),
    st.builds(Variant, st.just(VT.UI8), st.integers(0, 2**64 - 1)),
    st.builds(Variant, st.just(VT.BOOL), st.booleans()),
    st.builds(Variant, st.sampled_from([VT.R8, VT.DATE]), st.floats(-1e300, 1e300)),
    st.builds(
        Variant,
        st.just(VT.ARRAY + VT.BSTR),
        st.builds(Array, st.just(VT.BSTR), st.lists(latin, max_size=3).map(tuple), st.just(0x110)),
    ),
    st.builds(
        Variant,
        st.just(VT.ARRAY + VT.UI1),
        st.builds(Array, st.just(VT.UI1), st.tuples(st.binary(max_size=9)), st.just(0x90)),
    ),
)
references = st.one_of(
    st.just(NOTHING),
    st.builds(Reference, numbers),
    st.builds(
        Reference,
        numbers,
        st.builds(
            NewObject, latin, guids, st.lists(st.tuples(latin, simple), max_size=2).map(tuple)
        ),
    ),
)
values = st.recursive(
    st.one_of(simple, st.builds(Variant, st.just(VT.DISPATCH), references)),
    lambda inner: st.builds(variants, st.lists(inner, max_size=3).map(tuple)),
    max_leaves=6,
)
arguments = st.lists(values, max_size=3).map(tuple)
calls = st.one_of(
    st.builds(CreateInstance, guids, st.lists(guids, max_size=2).map(tuple)),
    st.builds(CallMethod, numbers, latin, arguments),
    st.builds(GetId, numbers, latin),
    st.builds(Invoke, numbers, int32, st.sampled_from([1, 2, 4]), arguments),
    st.builds(QueryInterface, numbers, guids),
    st.builds(Release, numbers),
    st.just(KeepAlive()),
)


def answersTo(call: Call) -> st.SearchStrategy[CallAnswer]:
    """
    Every kind of answer that fits a call.
    """
    errors = st.builds(Failed, st.lists(latin, max_size=3).map(tuple))
    match call:
        case Release() | KeepAlive():
            return st.one_of(errors, st.just(Done()))
        case CallMethod():
            return st.one_of(errors, st.builds(MethodCalled, values))
        case GetId():
            return st.one_of(
                errors, st.builds(IdGiven, st.just(0), int32), st.just(IdGiven(UNKNOWN_NAME))
            )
        case CreateInstance():
            objects = st.tuples(*[st.tuples(results, references)] * len(call.iids))
            return st.one_of(errors, st.builds(InstanceCreated, st.just(0), objects))
        case QueryInterface():
            return st.one_of(errors, st.builds(InterfaceGiven, st.just(0), references))
        case Invoke():
            problems = st.builds(ExceptionInfo, description=latin, scode=results)
            return st.one_of(
                errors,
                st.builds(Invoked, st.just(0), values),
                st.builds(Invoked, st.just(MEMBER_NOT_FOUND), st.just(EMPTY), int32, problems),
            )


class RecordingsTests(SynchronousTestCase):
    """
    What real engines said.
    """

    def test_roundTrip(self) -> None:
        """
        Each message of each recording is understood, and encodes to the very
        same bytes.
        """
        understood = 0
        for name in recordings.names():
            open_: dict[str, list[Call]] = {}
            for event in recordings.events(name):
                if event.kind != "MSG":
                    continue
                payload = event.data[4:]
                calls = open_.setdefault(event.connection, [])
                if isCall(payload):
                    calls.append(decodeCall(payload))
                    again = encodeCall(calls[-1])
                else:
                    answered = calls.pop()
                    again = encodeAnswer(decodeAnswer(payload, answered))
                self.assertEqual(again, payload, f"{name} at {event.seconds}")
                understood += 1
        self.assertGreater(understood, 0)


class CodecTests(SynchronousTestCase):
    """
    Calls and answers to bytes and back.
    """

    @settings(deadline=None, max_examples=100)
    @given(calls)
    def test_calls(self, call: Call) -> None:
        """
        Every call survives.
        """
        payload = encodeCall(call)
        self.assertTrue(isCall(payload))
        self.assertEqual(decodeCall(payload), call)

    @settings(deadline=None, max_examples=100)
    @given(st.data())
    def test_answers(self, data: st.DataObject) -> None:
        """
        Every answer survives, given the call.
        """
        call = data.draw(calls)
        answer = data.draw(answersTo(call))
        payload = encodeAnswer(answer)
        self.assertFalse(isCall(payload))
        self.assertEqual(decodeAnswer(payload, call), answer)

    @settings(deadline=None, max_examples=300)
    @given(st.data())
    def test_mutations(self, data: st.DataObject) -> None:
        """
        Changed, cut or lengthened bytes are a message or a protocol error.
        """
        call = data.draw(calls)
        payload = bytearray(data.draw(st.sampled_from([encodeCall(call), b"A" + bytes(8)])))
        for _ in range(data.draw(st.integers(1, 4))):
            if payload:
                position = data.draw(st.integers(0, len(payload) - 1))
                payload[position] = data.draw(st.integers(0, 255))
        mutated = bytes(payload[: data.draw(st.integers(0, len(payload)))])
        mutated += data.draw(st.binary(max_size=3))
        for decode in (decodeCall, lambda data: decodeAnswer(data, call)):
            try:
                decode(mutated)
            except RemoteProtocolError:
                pass

    def test_argumentOrder(self) -> None:
        """
        The last argument comes first on the wire, as in example (e) of the
        protocol document.
        """
        payload = encodeCall(CallMethod(1, "begin", (bstr("objects"), bstr("names"))))
        self.assertLess(payload.index(b"names"), payload.index(b"objects"))
        self.assertEqual(decodeCall(payload).arguments[0], bstr("objects"))  # type: ignore[union-attr]  # it is the same call

    def test_propertyPut(self) -> None:
        """
        Example (j) of the protocol document.
        """
        put = Invoke(0x643C986900000003, 36, PROPERTY_PUT, (bstr("<x/>"),), (PUT_VALUE,))
        expected = (
            "4f643c9869000000034900000024" + "00" * 16 + "00000000000000040000000100000001"
            "fffffffd00000008000000043c782f3e"
        )
        self.assertEqual(encodeCall(put).hex(), expected)

    def test_double(self) -> None:
        """
        Example (m): a floating point number travels as text.
        """
        written = variantBytes(Variant(VT.R8, 1.5))
        self.assertEqual(written, b"\0\0\0\5s\x161.5000000000000000e+00")

    def test_failed(self) -> None:
        """
        An error answer has its code where Unix engines write it, and is read
        either way.
        """
        self.assertEqual(failed("SCHEDULER-203", "no").what, "SCHEDULER-203  no")
        self.assertEqual(failed("SCHEDULER-203", "no").code, "SCHEDULER-203")
        self.assertEqual(Failed(("name=COM", "code=COM-80020009", "what=x y")).code, "COM-80020009")

    def test_latin1(self) -> None:
        """
        What ISO-8859-1 cannot say becomes a question mark.
        """
        payload = encodeCall(CallMethod(1, "x", (bstr("ä€"),)))
        self.assertEqual(decodeCall(payload), CallMethod(1, "x", (bstr("ä?"),)))

    def test_refusals(self) -> None:
        """
        Nonsense is refused with the code that the original has for it.
        """
        header = b"O" + bytes(8)
        for payload, code in [
            (b"", "Z-REMOTE-109"),
            (b"N", "Z-REMOTE-106"),
            (b"O" + bytes(3), "Z-REMOTE-109"),
            (header + b"?", "Z-REMOTE-106"),
            (b"S" + bytes(7) + b"\1C", "Z-REMOTE-104"),
            (b"S" + bytes(8) + b"X", "Z-REMOTE-105"),
            (header + b"G" + bytes(16) + bytes(4) + b"\0\0\0\2", "Z-REMOTE-124"),
            (header + b"A" + bytes(4) + b"\0\0\0\1" + bytes(4) + b"\0\0\0\x63", "Z-REMOTE-108"),
            (header + b"R!", "behind the end"),
        ]:
            error = self.assertRaises(RemoteProtocolError, decodeCall, payload)
            self.assertIn(code, str(error))
        error = self.assertRaises(RemoteProtocolError, decodeAnswer, b"N", KeepAlive())
        self.assertIn("Z-REMOTE-107", str(error))

    def test_lyingCount(self) -> None:
        """
        A count of things that do not follow is refused before anything is made
        of it.
        """
        array = struct.pack(">iHHiii", VT.ARRAY + VT.VARIANT, 1, 0x810, 2**30, 0, VT.VARIANT)
        payload = b"O" + bytes(8) + b"A" + bytes(4) + struct.pack(">ii", 1, 0) + array
        self.assertRaises(RemoteProtocolError, decodeCall, payload)

    def test_depth(self) -> None:
        """
        Arrays within arrays have an end.
        """
        value = TRUE
        for _ in range(MAX_DEPTH):
            value = variants((value,))
        payload = encodeCall(CallMethod(1, "x", (value,)))
        self.assertIsInstance(decodeCall(payload), CallMethod)
        payload = encodeCall(CallMethod(1, "x", (variants((value,)),)))
        self.assertRaises(RemoteProtocolError, decodeCall, payload)

    def test_cannotSend(self) -> None:
        """
        What cannot travel is our own mistake.
        """
        for value in (Variant(99), Variant(VT.I4, 2**40), Variant(VT.ARRAY + VT.I4, None)):
            call = CallMethod(1, "x", (value,))
            self.assertRaises(LocalProtocolError, encodeCall, call)
