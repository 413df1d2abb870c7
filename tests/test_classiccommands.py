"""
The words of a classic task on the command connection, read with and without a
parser.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.wire.classiccommands import (
    closeDocument,
    startDocument,
    usualAnswer,
    usualCommand,
)
from jobscheduler_tcp.wire.documents import Element, answer, element, parse
from tests import recordings

numbers = st.one_of(st.integers(0, 2**70), st.integers(-5, 5))
times = st.one_of(st.just("2026-11-22 09:24:08.584"), st.text(max_size=8))
said = st.one_of(
    st.just(element("ok")),
    st.builds(lambda number: element("process", {"process_id": str(number)}), numbers),
    st.just(element("process", {"process_id": "1", "pid": "2"})),
)
answers = st.builds(
    lambda each, time, newline: answer([each], time, newline=newline), said, times, st.booleans()
).map(lambda data: data.rstrip(b"\n\0"))
commands = st.one_of(
    st.builds(startDocument, numbers),
    st.builds(lambda number, kill: closeDocument(number, kill=kill), numbers, st.booleans()),
)


def parsed(document: bytes) -> Element | None:
    """
    What a parser finds.
    """
    try:
        return parse(document)
    except RemoteProtocolError:
        return None


class UsualTests(SynchronousTestCase):
    """
    What is read without a parser is what a parser reads.
    """

    def changed(self, data: st.DataObject, document: bytes) -> bytes:
        """
        The same, or almost.
        """
        at = data.draw(st.integers(0, len(document)))
        more = data.draw(st.binary(max_size=3))
        return document[:at] + more + document[at + data.draw(st.integers(0, 2)) :]

    @settings(deadline=None, max_examples=300)
    @given(commands, st.data())
    def test_commands(self, document: bytes, data: st.DataObject) -> None:
        """
        A command is the same, and stands in the same line.
        """
        for each in (document, self.changed(data, document)):
            usual = usualCommand(each)
            if usual is not None:
                self.assertEqual(usual, parsed(each))
                self.assertEqual(usual.line, parse(each).line)

    @settings(deadline=None, max_examples=300)
    @given(answers, st.data())
    def test_answers(self, document: bytes, data: st.DataObject) -> None:
        """
        So is what stands in an answer.
        """
        for each in (document, self.changed(data, document)):
            usual = usualAnswer(each)
            if usual is not None:
                root = parsed(each)
                self.assertEqual(root, element("spooler", {}, root.children if root else ()))
                assert root is not None
                self.assertEqual([child.name for child in root.children], ["answer"])
                self.assertEqual(root.children[0].children, [usual])

    def test_recordings(self) -> None:
        """
        What the engines say at a normal end needs no parser.
        """
        usual = {"client": 0, "remote": 0}
        for _, events in recordings.commandConnections():
            for event in events:
                if event.kind == "DATA":
                    read = usualCommand if event.speaker == "client" else usualAnswer
                    usual[event.speaker] += read(event.data.rstrip(b"\n\0")) is not None
        self.assertGreater(usual["client"], 5)
        self.assertGreater(usual["remote"], 5)
