"""
Output as texts of log calls.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.messages import Stream
from jobscheduler_tcp.remote.loglines import MAX_TEXT, LogLines

OUT, ERR = Stream.STDOUT, Stream.STDERR


def taken(lines: LogLines) -> list[str]:
    """
    All texts that wait.
    """
    texts = []
    while (text := lines.take()) is not None:
        texts.append(text)
    return texts


class LogLinesTests(SynchronousTestCase):
    """
    Whole lines, in the order in which they came.
    """

    def setUp(self) -> None:
        """
        Nothing was printed yet.
        """
        self.lines = LogLines()

    def test_interleaved(self) -> None:
        """
        Streams keep their order, lines of one stream travel together.
        """
        for stream, data in [(OUT, b"1\n"), (OUT, b"2\n"), (ERR, b"3\r\n"), (OUT, b"4\n")]:
            self.lines.feed(stream, data)
        self.assertEqual(taken(self.lines), ["1\n2", "3", "4"])
        self.assertEqual(self.lines.size, 0)

    def test_unfinished(self) -> None:
        """
        A line waits for its end, or for the end of the output.
        """
        self.lines.feed(OUT, b"a")
        self.lines.feed(ERR, b"b")
        self.assertEqual(taken(self.lines), [])
        self.lines.feed(OUT, b"c\nd")
        self.assertEqual(taken(self.lines), ["ac"])
        self.lines.finish()
        self.assertEqual(taken(self.lines), ["d", "b"])

    def test_emptyLines(self) -> None:
        """
        Empty lines are lines.
        """
        self.lines.feed(OUT, b"\n")
        self.assertEqual(taken(self.lines), [""])

    def test_longLines(self) -> None:
        """
        A line beyond the longest text is cut.
        """
        self.lines.feed(OUT, b"x" * (2 * MAX_TEXT + 5) + b"\n")
        self.assertEqual([len(text) for text in taken(self.lines)], [MAX_TEXT, MAX_TEXT, 5])

    @settings(deadline=None, max_examples=60)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([OUT, ERR]),
                st.lists(st.sampled_from([b"\n", b"a", b"bc" * 4000, b"\r"]), max_size=6).map(
                    b"".join
                ),
            ),
            max_size=8,
        )
    )
    def test_nothingLost(self, pieces: list[tuple[Stream, bytes]]) -> None:
        """
        No character is lost but line ends, and no text is too long.
        """
        printed = b"".join(data for _, data in pieces)
        for stream, data in pieces:
            self.lines.feed(stream, data)
        self.lines.finish()
        texts = taken(self.lines)
        self.assertLessEqual(max(map(len, texts), default=0), MAX_TEXT)
        said = "".join(texts)
        for char in "abc":
            self.assertEqual(said.count(char), printed.count(char.encode()))
        self.assertEqual(self.lines.size, 0)
