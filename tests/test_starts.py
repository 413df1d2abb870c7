"""
Tests for L{jobscheduler_tcp.wire.starts}.
"""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.messages import CallbackMode, OnDisconnect, Request, StartTask, Work
from jobscheduler_tcp.wire import splitters
from jobscheduler_tcp.wire.documents import GREETED, parse
from jobscheduler_tcp.wire.requests import decodeRequest, encodeRequest
from jobscheduler_tcp.wire.starts import readStart
from tests.strategies import mutated, requests, taskIds, tokens

plain = st.text(" !#$%'()*+,-./09:;=?@AZ[]^_az{|}~", max_size=20)
named = st.lists(st.tuples(plain.filter(bool), plain), max_size=3).map(tuple)
scripts = st.text(" \n\t!\"#$%&'()*+-./<>@[]az{|}~", min_size=1, max_size=60)
works = st.builds(
    Work,
    parameters=named,
    environment=named,
    directory=plain,
    grace=st.integers(0, 999999999).map(float),
).flatmap(
    lambda work: st.one_of(
        scripts.map(lambda script: replace(work, script=script)),
        st.lists(plain, min_size=1, max_size=4).map(
            lambda command: replace(work, command=tuple(command))
        ),
    )
)
numbers = st.integers(1, 999999999)
held = st.tuples(
    st.sampled_from([OnDisconnect.HOLD, OnDisconnect.FINISH]), numbers.map(float), tokens
)
usual = (
    st.one_of(
        st.builds(
            StartTask,
            numbers,
            taskIds,
            st.integers(1024, 65535),
            tokens,
            works,
            sha256=st.booleans(),
        ),
        st.builds(
            StartTask,
            numbers,
            taskIds,
            st.just(0),
            st.just(b""),
            works,
            st.sampled_from([CallbackMode.SHARED, CallbackMode.PASSIVE]),
            connection=taskIds,
            sha256=st.booleans(),
        ),
    )
    .flatmap(
        lambda start: st.one_of(
            st.just(start),
            held.map(lambda how: replace(start, onDisconnect=how[0], hold=how[1], secret=how[2])),
        )
    )
    .filter(lambda start: b"hex_" not in encodeRequest(start))
)
written = st.one_of(usual, requests).map(encodeRequest)


def asXML(document: bytes) -> Request | None:
    """
    What it says, if it is understood.
    """
    try:
        return decodeRequest(parse(document, GREETED))
    except RemoteProtocolError:
        return None


def split(stream: bytes) -> list[bytes | str]:
    """
    The documents of a stream, and what is wrong with the rest.
    """
    found: list[bytes | str] = []
    try:
        found += splitters.DocumentSplitter(10000).feed(stream)
    except RemoteProtocolError as error:
        found.append(str(error))
    return found


class ReadTests(SynchronousTestCase):
    """
    A start means the same, whichever way it is read.
    """

    @settings(deadline=None, max_examples=200)
    @given(usual)
    def test_usual(self, start: StartTask) -> None:
        """
        Those that are usual are read at once.
        """
        self.assertEqual(readStart(encodeRequest(start)), start)

    @settings(deadline=None, max_examples=400)
    @given(st.one_of(written, mutated(written)))
    def test_same(self, document: bytes) -> None:
        """
        What is read at once is what XML says.
        """
        start = readStart(document)
        if start is not None:
            self.assertEqual(start, asXML(document))

    def test_wrong(self) -> None:
        """
        What is wrong is left to those who can tell what.
        """
        work = Work(command=("true",))
        task = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f10"
        start = StartTask(1, task, 1024, bytes(16), work)
        kept = replace(start, onDisconnect=OnDisconnect.HOLD, hold=600.0, secret=bytes(16))
        said = encodeRequest(kept)
        self.assertEqual(readStart(said), kept)
        for wrong in (
            encodeRequest(replace(start, id=0)),
            encodeRequest(replace(start, port=1023)),
            encodeRequest(replace(start, port=65536)),
            said.replace(b'callback="own"', b'callback="shared"'),
            said.replace(b'on_disconnect="hold"', b'on_disconnect="kill"'),
            encodeRequest(start).replace(b'"kill"', b'"hold"'),
            said.replace(b'"1024"', b'"01024"'),
            said.replace(b'"600"', b'"0600"'),
            said.replace(b" grace=", b' sha256="no" grace='),
            said[:-1],
            said + b" ",
            b"",
        ):
            with self.subTest(document=wrong):
                self.assertIsNone(readStart(wrong))

    def test_longScript(self) -> None:
        """
        That a long script is not usual is seen at once, too: were each way to read it
        tried, this would not end.
        """
        task = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f10"
        for line, usual in (("echo a\n", True), ("echo 'a' & b\n", True), ("echo a\r\n", False)):
            work = Work(script=line * 300)
            start = StartTask(1, task, 1024, bytes(16), work)
            said = encodeRequest(start)
            self.assertEqual(readStart(said), start if usual else None)
            self.assertIsNone(readStart(said[:-30]))
            self.assertEqual(asXML(said), start)

    @settings(deadline=None, max_examples=200)
    @given(st.lists(st.one_of(written, mutated(written)), max_size=3))
    def test_ends(self, documents: list[bytes]) -> None:
        """
        It ends where it ends to who looks at every tag.
        """
        stream = b"".join(documents)
        found = split(stream)
        unknown = self.patch(splitters, "START", re.compile(b"(?!)"))
        try:
            self.assertEqual(found, split(stream))
        finally:
            unknown.restore()  # before the next example
