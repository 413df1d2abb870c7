"""
L{jobscheduler_tcp.heartbeat}: one timer for many connections.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.heartbeat import INTERVAL, MOST, SILENCE, Beating, Heart


class Member:
    """
    A connection that writes down what the heart asks of it.
    """

    def __init__(self, onBeat: Callable[[], object] = lambda: None) -> None:
        self.quiet = 0
        self.beats = 0
        self.silences = 0
        self._onBeat = onBeat

    def beat(self) -> None:
        """
        Count.
        """
        self.beats += 1
        self._onBeat()

    def silent(self) -> None:
        """
        Count.
        """
        self.silences += 1


class Impatient:
    """
    A connection that waits for something.
    """

    def overdue(self) -> None:
        """
        It has not come.
        """


class HeartTests(SynchronousTestCase):
    def setUp(self) -> None:
        """
        A heart without connections.
        """
        self.clock = Clock()
        self.heart = Heart(self.clock)

    def beat(self, times: int = 1) -> None:
        """
        Let the time of some beats pass.
        """
        self.clock.pump([INTERVAL] * times)

    def test_beats(self) -> None:
        """
        A connection whose peer is heard beats every interval, for ever.
        """
        member: Beating = Member()
        assert isinstance(member, Member)
        self.heart.add(member)
        for _ in range(20):
            self.beat()
            member.quiet = 0
        self.assertEqual((member.beats, member.silences), (20, 0))
        self.clock.advance(INTERVAL - 0.1)
        self.assertEqual(member.beats, 20)

    def test_silent(self) -> None:
        """
        A connection whose peer says nothing is told so once, after the time
        that the protocol gives it, and then forgotten.
        """
        member = Member()
        self.heart.add(member)
        self.beat(int(SILENCE / INTERVAL))
        self.assertEqual((member.beats, member.silences), (3, 0))
        self.beat(5)
        self.assertEqual((member.beats, member.silences), (3, 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_oneTimer(self) -> None:
        """
        Any number of connections needs one timer, and none needs none.
        """
        members = [Member() for _ in range(100)]
        for member in members:
            self.heart.add(member)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.beat()
        self.assertEqual({member.beats for member in members}, {1})
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for member in members:
            self.heart.remove(member)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_deadlines(self) -> None:
        """
        Connections that wait equally long share a timer, which is made for the first
        of them and goes with the last connection that beats.
        """
        self.assertIs(self.heart.deadlines(2), self.heart.deadlines(2))
        self.assertIsNot(self.heart.deadlines(2), self.heart.deadlines(3))
        first, second, waiting = Member(), Member(), Impatient()
        self.heart.add(first)
        self.heart.add(second)
        for seconds in (2, 4):  # of which one was not asked for before
            self.heart.deadlines(seconds).add(waiting)
            self.heart.deadlines(seconds).remove(waiting)
        self.assertEqual(len(self.clock.getDelayedCalls()), 3)
        self.heart.remove(first)
        self.assertEqual(len(self.clock.getDelayedCalls()), 3)
        self.heart.remove(second)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.heart.deadlines(2).add(waiting)
        self.heart.deadlines(2).remove(waiting)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many(self) -> None:
        """
        Many connections beat one lot after the other, each once in an interval.
        """
        members = [Member() for _ in range(4 * MOST - 1)]
        for member in members:
            self.heart.add(member)
        self.beat()
        for lots in range(1, 9):
            self.assertEqual(sum(member.beats for member in members), lots * MOST - lots // 4)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            self.clock.advance(INTERVAL / 4)
        self.assertEqual({member.beats for member in members[MOST:]}, {2})
        for member in members:
            self.heart.remove(member)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_again(self) -> None:
        """
        After the last connection was removed another can be added.
        """
        first, second = Member(), Member()
        self.heart.add(first)
        self.heart.remove(first)
        self.heart.remove(first)
        self.heart.add(second)
        self.beat()
        self.assertEqual((first.beats, second.beats), (0, 1))

    def test_removesWhileBeating(self) -> None:
        """
        A connection may remove itself and others when it beats; those removed
        do not beat any more.
        """
        second = Member()

        def removeBoth() -> None:
            self.heart.remove(first)
            self.heart.remove(second)

        first = Member(removeBoth)
        self.heart.add(first)
        self.heart.add(second)
        self.beat(3)
        self.assertEqual((first.beats, second.beats), (1, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_addsWhileBeating(self) -> None:
        """
        A connection that is added while others beat has its first beat an
        interval later.
        """
        late = Member()
        first = Member(lambda: self.heart.add(late))
        self.heart.add(first)
        self.beat()
        self.assertEqual(late.beats, 0)
        self.beat()
        self.assertEqual(late.beats, 1)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_broken(self) -> None:
        """
        A connection that fails at its beat is logged; the others beat on.
        """

        def fail() -> None:
            raise ZeroDivisionError

        broken, sound = Member(fail), Member()
        self.heart.add(broken)
        self.heart.add(sound)
        self.beat(2)
        self.assertEqual(sound.beats, 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
