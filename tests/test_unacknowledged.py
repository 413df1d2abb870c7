"""
Tests for L{jobscheduler_tcp.remote.unacknowledged}.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.messages import Stream
from jobscheduler_tcp.remote.unacknowledged import MAX_JOINED, Unacknowledged

OUT = Stream.STDOUT
ERR = Stream.STDERR

printed = st.lists(
    st.tuples(st.sampled_from([OUT, ERR]), st.binary(min_size=1, max_size=9)), max_size=12
)


class UnacknowledgedTests(SynchronousTestCase):
    """
    What was printed is kept until the client has it.
    """

    def kept(self, pieces: list[tuple[Stream, bytes]]) -> tuple[Unacknowledged, dict[Stream, int]]:
        """
        Output that is kept, and how much of each stream there was.
        """
        kept = Unacknowledged()
        sizes = {OUT: 0, ERR: 0}
        for stream, data in pieces:
            sizes[stream] += len(data)
            kept.add(stream, sizes[stream], data)
        return kept, sizes

    def test_order(self) -> None:
        """
        What two streams printed in turn comes again in turn.
        """
        pieces = [(OUT, b"one"), (ERR, b"two"), (OUT, b"three")]
        kept, _ = self.kept(pieces)
        self.assertEqual(list(kept.after(0, 0)), pieces)
        self.assertEqual(list(kept.after(2, 0)), [(OUT, b"e"), *pieces[1:]])
        self.assertEqual(list(kept.after(3, 3)), [(OUT, b"three")])
        self.assertEqual(list(kept.after(8, 0)), [(ERR, b"two")])
        self.assertEqual(kept.size, 11)

    def test_dots(self) -> None:
        """
        What a task prints byte by byte takes little more memory than its bytes.
        """
        kept, _ = self.kept([(OUT, b".")] * 3 * MAX_JOINED)
        self.assertEqual([len(data) for _, data in kept.after(0, 0)], [MAX_JOINED] * 3)
        self.assertEqual(kept.size, 3 * MAX_JOINED)
        self.assertEqual(list(kept.after(3 * MAX_JOINED - 2, 0)), [(OUT, b"..")])

    @settings(deadline=None)
    @given(printed, st.data())
    def test_any(self, pieces: list[tuple[Stream, bytes]], data: st.DataObject) -> None:
        """
        Whatever was acknowledged, and wherever the client goes on: each byte
        beyond that comes once, and what is acknowledged takes no memory.
        """
        kept, sizes = self.kept(pieces)
        whole = {each: b"".join(part for s, part in pieces if s is each) for each in (OUT, ERR)}
        acknowledged = [data.draw(st.integers(0, sizes[each])) for each in (OUT, ERR)]
        kept.acknowledge(acknowledged[0], acknowledged[1])
        after = [
            data.draw(st.integers(low, sizes[each]))
            for low, each in zip(acknowledged, (OUT, ERR), strict=True)
        ]
        again = list(kept.after(after[0], after[1]))
        for offset, each in zip(after, (OUT, ERR), strict=True):
            self.assertEqual(b"".join(p for s, p in again if s is each), whole[each][offset:])
        # At most one piece of each stream is kept of which a part is acknowledged.
        rest = sum(sizes.values()) - sum(acknowledged)
        self.assertLess(kept.size, rest + 2 * MAX_JOINED)
        kept.acknowledge(sizes[OUT], sizes[ERR])
        self.assertEqual(kept.size, 0)
