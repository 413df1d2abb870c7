"""
What hypothesis makes up: messages, documents, and the damage done to bytes on
their way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from hypothesis import strategies as st

from jobscheduler_tcp.messages import (
    Answer,
    AttachRefused,
    AttachTask,
    CallbackMode,
    CallerProof,
    Challenge,
    Confirmation,
    ConfirmationOpened,
    ConfirmationRefused,
    EndAcknowledged,
    Heartbeat,
    Hello,
    InputEnded,
    InputTaken,
    KillTask,
    ListenerProof,
    OnDisconnect,
    OpenConfirmation,
    OutputAcknowledged,
    Ping,
    Pong,
    Request,
    RequestFailed,
    StartTask,
    Stream,
    Survivor,
    TakeConfirmation,
    TaskAbandoned,
    TaskAttached,
    TaskEnded,
    TaskInput,
    TaskKilled,
    TaskOutput,
    TaskRefused,
    TaskStarted,
    TaskTaken,
    Welcome,
    Work,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.wire.documents import Element, element

_T = TypeVar("_T")

counts = st.integers(0, 2**63 - 1)
smalls = st.integers(0, 2**31 - 1)
identifiers = st.integers(1, 2**31 - 1)
seconds = st.one_of(st.integers(0, 10**6).map(float), st.floats(0.0, 1e12))
taskIds = st.uuids().map(str)
channels = st.integers(1, 2**32 - 1)

# Text as Python gets it from the system: bytes that are not UTF-8 are surrogates.
systemText = st.binary(max_size=30).map(lambda data: data.decode("utf-8", "surrogateescape"))
anyText = st.one_of(st.text(max_size=30), st.text("ab<>&\"'\t\r\n\x00]-!", max_size=30), systemText)
sayable = anyText.filter(
    # Other surrogates than those of the system cannot be said at all.
    lambda text: not any("\ud800" <= c < "\udc80" or "\udcff" < c <= "\udfff" for c in text)
).map(lambda text: text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"))
# What XML 1.0 allows.
xmlText = st.text(
    st.one_of(
        st.sampled_from("ab <>&\"'\t\r\n]-!?/"),
        st.characters(
            exclude_categories=["Cs"], exclude_characters="\ufffe\uffff", min_codepoint=32
        ),
    ),
    max_size=30,
)
words = st.lists(st.text("abcdefghijklmnop-_", min_size=1, max_size=8), max_size=4).map(tuple)
pairs = st.lists(st.tuples(sayable.filter(bool), sayable), max_size=4).map(tuple)

works = st.builds(
    Work,
    parameters=pairs,
    orderParameters=st.one_of(st.none(), pairs),
    environment=pairs,
    directory=sayable,
    stdin=st.booleans(),
    wallTime=seconds,
    silence=seconds,
    outputLimit=counts,
    grace=seconds,
).flatmap(
    lambda work: st.one_of(
        sayable.filter(bool).map(lambda script: replace(work, script=script)),
        sayable.filter(bool).map(lambda job: replace(work, job=job)),
        st.lists(sayable, min_size=1, max_size=5).map(
            lambda command: replace(work, command=tuple(command))
        ),
    )
)

tokens = st.binary(min_size=16, max_size=16)
starts = st.builds(
    StartTask,
    identifiers,
    taskIds,
    st.integers(1024, 65535),
    tokens,
    works,
    sha256=st.booleans(),
)
held = st.sampled_from([OnDisconnect.HOLD, OnDisconnect.FINISH])
requests: st.SearchStrategy[Request] = st.one_of(
    st.builds(Hello, identifiers, smalls, taskIds, words, sayable, sayable, seconds),
    starts,
    st.tuples(starts, held, seconds, tokens).map(
        lambda parts: replace(parts[0], onDisconnect=parts[1], hold=parts[2], secret=parts[3])
    ),
    st.builds(
        StartTask,
        identifiers,
        taskIds,
        st.just(0),
        st.just(b""),
        works,
        st.sampled_from([CallbackMode.SHARED, CallbackMode.PASSIVE]),
        connection=taskIds,
        sha256=st.booleans(),
    ),
    st.builds(
        OpenConfirmation,
        identifiers,
        taskIds,
        st.just(CallbackMode.SHARED),
        tokens,
        st.integers(1024, 65535),
    ),
    st.builds(OpenConfirmation, identifiers, taskIds, st.just(CallbackMode.PASSIVE), tokens),
    st.builds(TakeConfirmation, identifiers, taskIds),
    st.builds(
        AttachTask,
        identifiers,
        taskIds,
        st.integers(1024, 65535),
        tokens,
        counts,
        counts,
        tokens,
        st.one_of(st.just(""), taskIds),
    ),
    st.builds(
        AttachTask,
        identifiers,
        taskIds,
        st.just(0),
        tokens,
        secret=tokens,
        mode=st.sampled_from([CallbackMode.SHARED, CallbackMode.PASSIVE]),
        connection=taskIds,
    ),
    st.builds(KillTask, identifiers, taskIds, st.integers(1, 64), seconds),
    st.builds(Ping, identifiers),
)
answers: st.SearchStrategy[Answer] = st.one_of(
    st.builds(Welcome, smalls, smalls, taskIds, words, sayable, seconds, smalls),
    st.builds(TaskTaken, smalls, taskIds, smalls),
    st.builds(TaskRefused, smalls, taskIds, st.sampled_from(Reason), xmlText, smalls),
    st.builds(
        AttachRefused, smalls, taskIds, st.sampled_from(Reason), xmlText, smalls, st.booleans()
    ),
    st.builds(
        TaskKilled,
        smalls,
        taskIds,
        smalls,
        st.lists(st.builds(Survivor, smalls, xmlText), max_size=3).map(tuple),
    ),
    st.builds(Pong, smalls),
    st.builds(ConfirmationOpened, smalls, taskIds),
    st.builds(ConfirmationRefused, smalls, taskIds, st.sampled_from(Reason), xmlText, smalls),
    st.builds(RequestFailed, smalls, xmlText, xmlText),
)

nonces = st.binary(min_size=16, max_size=16)
proofs = st.binary(min_size=32, max_size=32)
checksums = st.one_of(st.just(b""), nonces)
digests = st.one_of(st.just(b""), proofs)
endings = st.builds(
    TaskEnded,
    st.sampled_from(Reason),
    st.one_of(st.none(), st.integers(0, 255)),
    st.one_of(st.none(), st.integers(1, 64)),
    smalls,
    st.text(max_size=40),
    seconds,
    seconds,
    seconds,
    seconds,
    counts,
    counts,
    counts,
    checksums,
    checksums,
    digests,
    digests,
    returned=st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=3).map(
        tuple
    ),
)
data = st.binary(min_size=1, max_size=300)
confirmations: st.SearchStrategy[Confirmation] = st.one_of(
    st.builds(Challenge, nonces, st.binary(min_size=8, max_size=8), smalls),
    st.builds(ListenerProof, nonces, proofs, counts),
    st.builds(CallerProof, proofs),
    st.just(Heartbeat()),
    st.builds(TaskAttached, taskIds, counts, counts, counts, counts, counts, st.booleans()),
    st.builds(TaskStarted, smalls, seconds, seconds),
    st.builds(TaskOutput, st.sampled_from([Stream.STDOUT, Stream.STDERR]), counts, data),
    st.builds(InputTaken, counts),
    endings,
    st.builds(OutputAcknowledged, counts, counts),
    st.builds(TaskInput, counts, data),
    st.just(InputEnded()),
    st.just(EndAcknowledged()),
    st.just(TaskAbandoned()),
)

names = st.text("abcxyz_", min_size=1, max_size=6)
# The text of an element with children is not kept where it stood, but kept.
elements: st.SearchStrategy[Element] = st.recursive(
    st.builds(element, names, st.dictionaries(names, xmlText, max_size=3), text=xmlText),
    lambda children: st.builds(
        element,
        names,
        st.dictionaries(names, xmlText, max_size=3),
        st.lists(children, max_size=3),
        xmlText,
    ),
    max_leaves=6,
)

# Where a stream of bytes is cut, from coarse to single bytes.
sizes = st.lists(st.integers(1, 40), min_size=1, max_size=20)


def pieces(stream: bytes, lengths: list[int]) -> Iterator[bytes]:
    """
    Cut a stream: the lengths come round again until it ends.
    """
    at = 0
    turn = 0
    while at < len(stream):
        length = lengths[turn % len(lengths)]
        yield stream[at : at + length]
        at += length
        turn += 1


def fed(feed: Callable[[bytes], Iterable[_T]], parts: Iterable[bytes]) -> list[_T]:
    """
    All that comes out when the parts are fed in.
    """
    return [result for part in parts for result in feed(part)]


_changes = st.tuples(
    st.integers(0, 2**16),
    st.sampled_from(["flip", "cut", "double", "insert", "drop"]),
    st.binary(min_size=1, max_size=8),
)


@st.composite
def mutated(draw: st.DrawFn, streams: st.SearchStrategy[bytes]) -> bytes:
    """
    Bytes with damage: some changed, cut off, doubled, put in or left out.
    """
    stream = bytearray(draw(streams))
    for where, how, new in draw(st.lists(_changes, min_size=1, max_size=4)):
        at = where % (len(stream) + 1)
        if how == "flip":
            stream[at : at + len(new)] = new
        elif how == "cut":
            del stream[at:]
        elif how == "double":
            stream[at:at] = stream[:at]
        elif how == "insert":
            stream[at:at] = new
        else:
            del stream[at : at + len(new)]
    return bytes(stream)
