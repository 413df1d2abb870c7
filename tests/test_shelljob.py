"""
What travels inside the calls of a shell job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.wire.classic import Call, CallMethod, Invoke, decodeCall, isCall
from jobscheduler_tcp.wire.shelljob import (
    CONSTRUCT_SIZE,
    ShellJob,
    StepResult,
    decodeConstruct,
    decodeResult,
    decodeVariables,
    encodeConstruct,
    encodeResult,
    encodeVariables,
    stateText,
)
from jobscheduler_tcp.wire.variants import TRUE, Variant, bstr, variants
from tests import recordings

# What XML can carry of ISO-8859-1.
latin = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_categories=["Cc"]), max_size=20
)
pairs = st.lists(st.tuples(latin, latin), max_size=4).map(tuple)


def texts() -> Iterator[tuple[str, str]]:
    """
    The name of each recording with each text in its messages that is XML.
    """
    for name in recordings.names():
        for event in recordings.events(name):
            payload = event.data[4:]
            start = payload.find(b"<?xml")
            if event.kind == "MSG" and start >= 0 and b"construct" not in payload:
                yield name, payload[start:].decode("latin-1")


def constructs() -> Iterator[tuple[str, Variant]]:
    """
    The argument of each call of construct.
    """
    for name in recordings.names():
        for event in recordings.events(name):
            if event.kind == "MSG" and isCall(event.data[4:]):
                call: Call = decodeCall(event.data[4:])
                if isinstance(call, CallMethod) and call.name == "construct":
                    yield name, call.arguments[0]


class RecordingsTests(SynchronousTestCase):
    """
    What real engines said.
    """

    def test_constructs(self) -> None:
        """
        The description of each recorded shell job is understood, and written
        again to the very same strings.
        """
        understood = 0
        for name, value in constructs():
            job = decodeConstruct(value)
            if not job.isShell:
                self.assertEqual(name, "40_api_java_job")
                continue
            self.assertEqual(variants(encodeConstruct(job)), value, name)
            understood += 1
        self.assertGreater(understood, 0)

    def test_texts(self) -> None:
        """
        So are parameters and results.
        """
        understood = 0
        for name, text in texts():
            if "variable_set" in text:
                self.assertEqual(encodeVariables(decodeVariables(text)), text, name)
            else:
                self.assertEqual(encodeResult(decodeResult(text)), text, name)
            understood += 1
        self.assertGreater(understood, 0)

    def test_stateText(self) -> None:
        """
        The state text of recording 06 comes from its first line of output.
        """
        (text,) = (text for name, text in texts() if name.startswith("06") and "result" in text)
        line = 'A=from start_job B=äöü <&> "q" ENV1=env wert'
        self.assertEqual(decodeResult(text).stateText, stateText(line))


class ConstructTests(SynchronousTestCase):
    """
    The description of a job.
    """

    @settings(deadline=None, max_examples=60)
    @given(
        st.builds(
            ShellJob,
            script=latin,
            cdata=st.booleans(),
            job=latin,
            environment=pairs,
            hasOrder=st.booleans(),
            program=latin,
            prefix=st.one_of(st.none(), latin),
        )
    )
    def test_roundTrip(self, job: ShellJob) -> None:
        """
        A job survives, in an array of the original's size.
        """
        elements = encodeConstruct(job)
        self.assertEqual(len(elements), CONSTRUCT_SIZE)
        again = decodeConstruct(variants(elements))
        self.assertEqual(encodeConstruct(again), elements)
        self.assertEqual(again.script, job.script)

    def test_unknownKeys(self) -> None:
        """
        Keys that are not known are ignored; monitors are noticed.
        """
        value = variants((bstr("language=shell"), bstr("novelty=1=2")))
        self.assertTrue(decodeConstruct(value).isShell)
        value = variants((bstr("language=shell"), bstr("monitor.language=java")))
        self.assertFalse(decodeConstruct(value).isShell)

    def test_scriptParts(self) -> None:
        """
        The parts of a script are joined; the prolog may be missing.
        """
        source = (
            "script=<source><source_part>a\n</source_part><source_part>b</source_part></source>"
        )
        self.assertEqual(decodeConstruct(variants((bstr(source),))).script, "a\nb")

    def test_nonsense(self) -> None:
        """
        What is no description is a protocol error.
        """
        for value in (
            TRUE,
            variants((TRUE,)),
            variants((bstr("no equals sign"),)),
            variants((bstr("script=<source>"),)),
            variants((bstr("environment=<environment><other/></environment>"),)),
            variants((bstr("environment=<e><variable name='a' hex_value='xy'/></e>"),)),
        ):
            self.assertRaises(RemoteProtocolError, decodeConstruct, value)


class VariablesTests(SynchronousTestCase):
    """
    Sets of variables.
    """

    @settings(deadline=None, max_examples=60)
    @given(pairs)
    def test_roundTrip(self, variables: tuple[tuple[str, str], ...]) -> None:
        """
        Names and values survive.
        """
        self.assertEqual(decodeVariables(encodeVariables(variables)), variables)

    def test_lineEnds(self) -> None:
        """
        Line ends and tabs in a value survive the normalisation of attributes.
        """
        variables = (("A", "1\r\n2\t3"),)
        self.assertEqual(decodeVariables(encodeVariables(variables)), variables)

    def test_forms(self) -> None:
        """
        The other forms of engines are read: param, hex_value, nothing.
        """
        text = '<x><param name="A" value="1"/><variable name="B" hex_value="e4"/></x>'
        self.assertEqual(decodeVariables(text), (("A", "1"), ("B", "ä")))
        self.assertEqual(decodeVariables(" "), ())

    def test_wrongElement(self) -> None:
        """
        Any other element is refused as by the original.
        """
        error = self.assertRaises(RemoteProtocolError, decodeVariables, "<x><y/></x>")
        self.assertIn("SCHEDULER-409", str(error))


class ResultTests(SynchronousTestCase):
    """
    What a step returns.
    """

    def test_success(self) -> None:
        """
        Only exit code 0 without a signal is a success.
        """
        self.assertTrue(StepResult(0).succeeded)
        self.assertFalse(StepResult(1).succeeded)
        self.assertFalse(StepResult(0, 9).succeeded)

    def test_nonsense(self) -> None:
        """
        An empty text, no XML, no number: protocol errors.
        """
        for text in ("", "no", "<process.result exit_code='x'/>", "<a>"):
            self.assertRaises(RemoteProtocolError, decodeResult, text)


class SpellingTests(SynchronousTestCase):
    """
    The spelling of the engines is read without a parser, any other with one.
    """

    @settings(deadline=None, max_examples=300)
    @given(st.data())
    def test_sameMeaning(self, data: st.DataObject) -> None:
        """
        Whatever stands in a document, both find the same in it, or refuse it.
        """
        any_ = st.text(st.characters(max_codepoint=255), max_size=8)
        job = ShellJob(script=data.draw(any_), environment=data.draw(pairs))
        texts: list[tuple[Callable[[str], object], str]] = [
            (decodeVariables, encodeVariables(data.draw(st.lists(st.tuples(any_, any_))))),
            (decodeResult, encodeResult(StepResult(data.draw(st.integers(-300, 300))))),
        ]
        for element in encodeConstruct(job):
            for key in ("script", "environment"):
                if str(element.value).startswith(f"{key}="):
                    texts.append((self.constructed(key), element.value.removeprefix(f"{key}=")))
        for decode, text in texts:
            at = data.draw(st.integers(0, len(text)))
            changed = text[:at] + data.draw(any_) + text[at + data.draw(st.integers(0, 1)) :]
            for each in (text, changed):
                other = each.replace("?>\n<", "?>\n <")
                self.assertEqual(self.found(decode, each), self.found(decode, other), each)

    def constructed(self, key: str) -> Callable[[str], object]:
        """
        What reads an element of construct.
        """
        return lambda text: decodeConstruct(variants((bstr(f"{key}={text}"),)))

    def found(self, decode: Callable[[str], object], text: str) -> object:
        """
        What is found in a document.
        """
        try:
            return decode(text)
        except RemoteProtocolError:
            return None


class InvokeTests(SynchronousTestCase):
    """
    The put of return values.
    """

    def test_recorded(self) -> None:
        """
        Recording 04 puts only what the script returned.
        """
        puts = [
            call
            for event in recordings.events("04_order_chain")
            if event.kind == "MSG" and isCall(event.data[4:])
            for call in [decodeCall(event.data[4:])]
            if isinstance(call, Invoke) and call.flags == 4
        ]
        (put,) = puts
        self.assertEqual(decodeVariables(put.arguments[0].value), (("result1", "aus Knoten 1"),))
