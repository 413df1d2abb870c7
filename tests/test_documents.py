"""
XML documents: where one ends, what it says, and how one is written.
"""

from __future__ import annotations

from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.wire.documents import (
    GREETED,
    Element,
    Limits,
    answer,
    element,
    error,
    parse,
    serialise,
)
from jobscheduler_tcp.wire.splitters import AnswerSplitter, DocumentSplitter
from tests import recordings
from tests.strategies import elements, fed, mutated, pieces, sizes

# All that makes it hard to see where a document ends.
HARD = (
    b"<?xml version='1.0' encoding='UTF-8'?>\n<!-- <a> isn't \"it\" > -->"
    b"<a b='/>' c=\"'&lt;'>\" d = ''\n><!-- - --><b/><b x='/'/>"
    b"<b><![CDATA[</a>]]]]><![CDATA[>]]></b>"
    b"<?pi </a> ?'>?> a > b <c:d/><_e></_e ></a\n>"
)

encodings = st.sampled_from(["ISO-8859-1", "UTF-8", "US-ASCII"])
separators = st.text(" \r\n\t\0", max_size=3).map(str.encode)
# The bytes of which trouble is made.
splinters = st.lists(
    st.sampled_from(
        rb"< > / ' \" ! ? - -- [ ] ]]> <![CDATA[ <!-- --> <? ?> a <a> </a> <b/> &#0; &lt; &".split()
        + rb"<!DOCTYPE xml x='".split()
        + [b" ", b"\n", b"\0", b"\xe9", b"\x04"]
    ),
    max_size=25,
).map(b"".join)


def split(stream: bytes, lengths: list[int]) -> list[bytes]:
    """
    The documents in a stream that is cut into pieces.
    """
    return fed(DocumentSplitter().feed, pieces(stream, lengths))


class SplitTests(SynchronousTestCase):
    """
    Where documents end.
    """

    @settings(deadline=None, max_examples=60)
    @given(
        st.lists(
            st.tuples(
                st.one_of(elements.map(serialise), st.just(HARD)),
                separators,
            ),
            max_size=4,
        ),
        sizes,
    )
    def test_anySplit(self, said: list[tuple[bytes, bytes]], lengths: list[int]) -> None:
        """
        Documents come out whole, however they are cut and glued, and whatever
        blanks stand between them.
        """
        stream = b"".join(document + blanks for document, blanks in said)
        self.assertEqual(split(stream, lengths), [document for document, _ in said])

    def test_everySplit(self) -> None:
        """
        Quotes, comments, CDATA and processing instructions hide brackets, wherever
        the document is cut.
        """
        stream = HARD + HARD
        parse(HARD)
        for at in range(len(stream)):
            splitter = DocumentSplitter()
            self.assertEqual(fed(splitter.feed, [stream[:at], stream[at:]]), [HARD, HARD])
        self.assertEqual(split(stream, [1]), [HARD, HARD])

    @settings(deadline=None, max_examples=100)
    @given(mutated(st.one_of(st.just(HARD), elements.map(serialise), splinters)), sizes)
    def test_mutations(self, stream: bytes, lengths: list[int]) -> None:
        """
        Damage gives documents that can be read, or a L{RemoteProtocolError}.
        """
        try:
            for document in split(stream, lengths):
                serialise(parse(document))
        except RemoteProtocolError:
            pass

    @settings(deadline=None, max_examples=100)
    @given(splinters, sizes)
    def test_sameForAnySplit(self, stream: bytes, lengths: list[int]) -> None:
        """
        Whether a stream is refused does not depend on where it is cut, nor do the
        documents found before.
        """

        def outcome(parts: list[int]) -> list[bytes]:
            found = []
            splitter = DocumentSplitter()
            try:
                for piece in pieces(stream, parts):
                    for document in splitter.feed(piece):
                        found.append(document)
            except RemoteProtocolError:
                found.append(b"refused")
            return found

        if b"\x04" not in stream:  # Ctrl-D counts only when it comes alone
            self.assertEqual(outcome(lengths), outcome([10**6]))

    def test_lines(self) -> None:
        """
        A person at telnet may write a line of words.
        """
        for lengths in ([1], [100]):
            self.assertEqual(
                split(b"\r\n show_state\r\n\ns\n<a/>\nshow_state what='jobs'\n", lengths),
                [b"<show_state/>", b"<s/>", b"<a/>", b"<show_state what='jobs'/>"],
            )

    def test_endOfTransmission(self) -> None:
        """
        Ctrl-D, alone and between documents, means that the peer takes its leave.
        """
        splitter = DocumentSplitter()
        self.assertEqual(fed(splitter.feed, [b"<a/>\n", b"\x04", b"<b/>"]), [b"<a/>"])
        self.assertTrue(splitter.closed)

    def test_limit(self) -> None:
        """
        A document may be as long as the limit, wherever it is cut, whatever stands
        around it.
        """
        document = b"<a>" + b"x" * 93 + b"</a>"
        line = b"x" * 99 + b"\n"
        for stream, found in ((document, document), (line, b"<" + b"x" * 99 + b"/>")):
            for lengths in ([1], [7], [1000]):
                splitter = DocumentSplitter(100)
                parts = list(pieces(b" " * 200 + stream + stream, lengths))
                self.assertEqual(fed(splitter.feed, parts), [found, found])
                splitter = DocumentSplitter(99)
                with self.assertRaises(RemoteProtocolError):
                    fed(splitter.feed, parts)
                self.assertTrue(splitter.closed)

    def test_limitRaised(self) -> None:
        """
        The limit of a client that greets is raised for its next document.
        """
        splitter = DocumentSplitter(10)
        found = []
        for document in splitter.feed(b"<hello/><start><script/></start>"):
            found.append(document)
            splitter.limit = 100
        self.assertEqual(found, [b"<hello/>", b"<start><script/></start>"])

    def test_withoutEnd(self) -> None:
        """
        10 MB without an end are refused when the limit is reached, and not kept.
        """
        for begin in (b"<a>", b"<a b='", b"<!--", b"<a><![CDATA[", b"<?", b"<a ", b"word ", b"</"):
            splitter = DocumentSplitter()
            given = 0
            with self.assertRaises(RemoteProtocolError):
                for piece in [begin] + [b"x" * 1000] * 10000:
                    given += len(piece)
                    list(splitter.feed(piece))
            self.assertLess(given, splitter.limit + 2000)
            self.assertEqual(list(splitter.feed(b"<a/>")), [])
            self.assertEqual(len(splitter._buffer), 0)

    def test_refused(self) -> None:
        """
        A DTD, and what cannot become a document, is refused at once, wherever it is
        cut.
        """
        for stream in (
            b"<!DOCTYPE a [",
            b"<!ELEMENT a",
            b"<a><!ENTITY",
            b"<![CDAT<",
            b"<!-a",
            b"<a>< b/>",
            b"<1>",
            b"<\0a\0",
            b"<?xml version='1.0'?>text<a/>",
            b"words with <a/>\n",
        ):
            for lengths in ([1], [1000]):
                with self.subTest(stream=stream), self.assertRaises(RemoteProtocolError):
                    split(stream, lengths)

    def test_linear(self) -> None:
        """
        No byte is looked at again and again when a document comes byte by byte.
        """

        class Counting(bytearray):
            looked = 0

            def find(self, what: object, at: object = 0, end: object = None) -> int:
                assert isinstance(what, (bytes, bytearray))
                assert isinstance(at, int)
                found = super().find(what, at)
                self.looked += (len(self) if found < 0 else found) - at
                return found

        filling = b"- ]> ?/" * 3000
        for begin, end in (
            (b"<a>", b"</a>"),
            (b"<!--", b"--><a/>"),
            (b"<a><![CDATA[", b"]]></a>"),
            (b"<?x ", b"?><a/>"),
            (b"<a b='", b"'/>"),
        ):
            document = begin + filling + end
            splitter = DocumentSplitter()
            splitter._buffer = buffer = Counting()
            self.assertEqual(fed(splitter.feed, pieces(document, [1])), [document])
            self.assertGreaterEqual(buffer.looked, len(filling))
            self.assertLess(buffer.looked, 5 * len(document))


class AnswerSplitTests(SynchronousTestCase):
    """
    Answers end with a NUL.
    """

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.tuples(elements, st.booleans()), max_size=4), sizes)
    def test_anySplit(self, said: list[tuple[Element, bool]], lengths: list[int]) -> None:
        """
        Wherever the stream is cut, whatever blanks and NULs stand between.
        """
        stream = b"\0\n".join(answer([child], "now", newline=line) for child, line in said)
        found = fed(AnswerSplitter().feed, pieces(stream, lengths))
        self.assertEqual(
            [parse(each, GREETED).children[0].children for each in found],
            [[child] for child, _ in said],
        )

    def test_limit(self) -> None:
        """
        An answer may be as long as the limit.
        """
        for lengths in ([1], [100]):
            stream = b"x" * 10 + b"\0"
            feed = AnswerSplitter(10).feed
            self.assertEqual(fed(feed, pieces(stream * 2, lengths)), [b"x" * 10] * 2)
            for late in (stream + b"x" * 11, stream + b"x" * 11 + b"\0"):
                with self.assertRaises(RemoteProtocolError):
                    fed(AnswerSplitter(10).feed, pieces(late, lengths))


class ParseTests(SynchronousTestCase):
    """
    What documents say.
    """

    @settings(deadline=None, max_examples=60)
    @given(elements, encodings, st.booleans())
    def test_roundTrip(self, root: Element, encoding: str, prolog: bool) -> None:
        """
        A tree that was written is read again, in every encoding.
        """
        written = serialise(root, encoding, prolog or encoding == "ISO-8859-1")
        self.assertEqual(parse(written), root)

    def test_encodings(self) -> None:
        """
        The prolog's encoding counts; without one it is UTF-8.
        """
        for prolog, data in (
            (b"", "ö".encode()),
            (b"<?xml version='1.0'?>", "ö".encode()),
            (b"<?xml version='1.0' encoding='utf-8'?>", "ö".encode()),
            (b"<?xml version='1.0' encoding='ISO-8859-1'?>", b"\xf6"),
            (b'<?xml version="1.0" encoding="iso-8859-1" standalone="yes"?>\r\n', b"\xf6"),
            (b"<?xml version='1.0' encoding='windows-1252'?>", b"\xf6"),
            (b"<?xml version='1.0' encoding='US-ASCII'?>", b"&#246;"),
            (b"<?xml version='1.0' encoding='US-ASCII'?>", b"&#xf6;"),
        ):
            with self.subTest(prolog=prolog):
                self.assertEqual(
                    parse(prolog + b"<a b='" + data + b"'>" + data + b"</a>"),
                    element("a", {"b": "ö"}, text="ö"),
                )

    def test_wrongEncodings(self) -> None:
        """
        Bytes that the encoding does not have, and encodings that we do not have.
        """
        for document in (
            b"<a>\xf6</a>",
            b"<?xml version='1.0' encoding='US-ASCII'?><a>\xf6</a>",
            b"<?xml version='1.0' encoding='utf-7'?><a/>",
            b"<?xml version='1.0' encoding='rot13'?><a/>",
            b"<?xml version='1.0' encoding='UTF-16'?><a/>",
            b"<?xml version='1.0' encoding=''?><a/>",
            b"<?xml version='1.0' encoding='\xff'?><a/>",
            "<?xml version='1.0' encoding='utf-7'?><a/>".encode("utf-16"),
        ):
            with self.subTest(document=document), self.assertRaises(RemoteProtocolError):
                parse(document)

    def test_place(self) -> None:
        """
        An error names line and column, an element its line.
        """
        root = parse(b"<a>\n  <b/>\n\n  <c\n d=''/></a>")
        self.assertEqual([child.line for child in root.children], [2, 4])
        with self.assertRaises(RemoteProtocolError) as caught:
            parse(b"<a>\n  <b></c></a>")
        self.assertEqual(str(caught.exception), "line 2, column 8: mismatched tag")

    def test_dtd(self) -> None:
        """
        No DTD, so no entities: neither a bomb nor a file of ours.
        """
        laughs = "".join(f"<!ENTITY l{level} '{f'&l{level - 1};' * 10}'>" for level in range(1, 10))
        for document in (
            f"<!DOCTYPE a [<!ENTITY l0 'ha'>{laughs}]><a>&l9;</a>",
            "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
            "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
            "<!DOCTYPE a [<!ENTITY % p 'x'> %p;]><a/>",
            "<a>&undefined;</a>",
        ):
            with self.subTest(document=document), self.assertRaises(RemoteProtocolError):
                parse(document.encode())

    def test_limits(self) -> None:
        """
        Depth, attributes and elements have limits, and may reach them.
        """
        limits = Limits(depth=3, attributes=2, elements=5)
        for good, bad in (
            (b"<a><a><a/></a></a>", b"<a><a><a><a/></a></a></a>"),
            (b"<a b='' c=''/>", b"<a b='' c='' d=''/>"),
            (b"<a><b/><b/><b/><b/></a>", b"<a><b/><b/><b/><b/><b/></a>"),
        ):
            parse(good, limits)
            with self.assertRaises(RemoteProtocolError):
                parse(bad, limits)
        deep = 100000
        with self.assertRaises(RemoteProtocolError):
            parse(b"<a>" * deep + b"</a>" * deep)

    def test_notXML(self) -> None:
        """
        What is no document, or more than one, is refused.
        """
        for document in (
            b"",
            b" ",
            b"words",
            b"<a>",
            b"<a/><b/>",
            b"<a b/>",
            b"<a>\0</a>",
            b"\xff",
        ):
            with self.subTest(document=document), self.assertRaises(RemoteProtocolError):
                parse(document)

    def test_text(self) -> None:
        """
        The text of an element is all characters directly inside.
        """
        root = parse(b"<a>one<b>two</b><!-- no --><![CDATA[<three>]]>&lt;4&gt;</a>")
        self.assertEqual(root, element("a", {}, [element("b", text="two")], "one<three><4>"))


class SerialiseTests(SynchronousTestCase):
    """
    How documents are written.
    """

    def test_escapes(self) -> None:
        """
        No bare bracket or quote anywhere, and line ends survive: real JobSchedulers
        count brackets.
        """
        root = element("a", {"b": "<>&\"'\t\r\n"}, text="<>&\"'\t\r\n")
        self.assertEqual(
            serialise(root, prolog=False),
            b'<a b="&lt;&gt;&amp;&quot;\'&#9;&#13;&#10;">&lt;&gt;&amp;"\'\t&#13;\n</a>',
        )

    def test_characters(self) -> None:
        """
        What the encoding does not have becomes a reference, what XML does not have a
        question mark.
        """
        root = element("a", {"b": "ö€\x00"}, text="ö€\udcff\uffff")
        self.assertEqual(
            serialise(root),
            b'<?xml version="1.0" encoding="ISO-8859-1"?>\n<a b="\xf6&#8364;?">\xf6&#8364;??</a>',
        )
        self.assertEqual(
            serialise(root, "UTF-8", prolog=False),
            '<a b="ö€?">ö€??</a>'.encode(),
        )

    def test_answer(self) -> None:
        """
        An answer is an envelope and a NUL, in one piece.
        """
        self.assertEqual(
            answer([element("ok")], "2026-11-22 09:24:08.584"),
            b'<?xml version="1.0" encoding="ISO-8859-1"?>\n<spooler>'
            b'<answer time="2026-11-22 09:24:08.584"><ok/></answer></spooler>\n\0',
        )
        self.assertEqual(
            answer([], "now", 7, "UTF-8", newline=False),
            b'<?xml version="1.0" encoding="UTF-8"?>\n<spooler>'
            b'<answer id="7" time="now"/></spooler>\0',
        )

    def test_error(self) -> None:
        """
        The text of an error begins with its code.
        """
        self.assertEqual(
            error("SCHEDULER-105", "Unknown command", line="1"),
            element(
                "ERROR",
                {"code": "SCHEDULER-105", "text": "SCHEDULER-105  Unknown command", "line": "1"},
            ),
        )


class RecordingTests(SynchronousTestCase):
    """
    What real JobSchedulers said.
    """

    def test_traffic(self) -> None:
        """
        Every request and every answer on a command connection is found and read,
        also when it comes byte by byte.
        """
        read = count()
        for name in recordings.names():
            streams: dict[tuple[str, str], list[bytes]] = {}
            for event in recordings.events(name):
                if event.connection.startswith("CMD") and event.data:
                    streams.setdefault((event.connection, event.speaker), []).append(event.data)
            for (_, speaker), parts in streams.items():
                for lengths in ([1], [10**6]):
                    feed = (DocumentSplitter() if speaker == "client" else AnswerSplitter()).feed
                    documents = fed(feed, pieces(b"".join(parts), lengths))
                    self.assertTrue(documents)
                    for document in documents:
                        root = parse(document)
                        next(read)
                        self.assertEqual(root.name == "spooler", speaker == "remote")
        self.assertGreater(next(read), 0)

    def test_commands(self) -> None:
        """
        Every answer of a real client's XML port is read; every request that was
        whole is found.
        """
        for exchange in recordings.commands():
            request, reply = exchange["request"].encode("utf-8"), exchange["answer"].encode("utf-8")
            with self.subTest(request=request):
                roots = [parse(each) for each in DocumentSplitter().feed(request)]
                self.assertEqual(len(roots), 1 if reply else 0)
                for each in AnswerSplitter().feed(reply.replace(b"ISO-8859-1", b"UTF-8")):
                    self.assertEqual(parse(each, GREETED).children[0].name, "answer")
