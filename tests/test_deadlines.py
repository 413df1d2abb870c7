"""
Tests for L{jobscheduler_tcp.deadlines}.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.deadlines import Deadlines


class Patient:
    """
    Who waits.
    """

    def __init__(self, name: str, told: list[str], then: Callable[[], object] = str) -> None:
        self.name = name
        self.told = told
        self.then = then

    def overdue(self) -> None:
        """
        It is over.
        """
        self.told.append(self.name)
        self.then()


class DeadlinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        """
        Everybody waits ten seconds.
        """
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock, 10)
        self.told: list[str] = []

    def test_eachInTime(self) -> None:
        """
        Each is told when its own time is over, by one timer.
        """
        for name in ("first", "second", "third"):
            self.deadlines.add(Patient(name, self.told))
            self.clock.advance(0.3)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(9.05)
        self.assertEqual(self.told, [])
        self.clock.advance(0.1)
        self.assertEqual(self.told, ["first"])
        self.clock.pump([0.3])
        self.assertEqual(self.told, ["first", "second"])
        self.clock.pump([0.3])
        self.assertEqual(self.told, ["first", "second", "third"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_removed(self) -> None:
        """
        Who is removed is told nothing; while there is nobody, there is no timer.
        """
        one, other = Patient("one", self.told), Patient("other", self.told)
        self.deadlines.add(one)
        self.deadlines.add(other)
        self.deadlines.remove(one)
        self.deadlines.remove(one)
        self.deadlines.remove(other)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(5)
        self.deadlines.add(one)
        self.clock.advance(5)
        self.assertEqual(self.told, [])
        self.clock.advance(5)
        self.assertEqual(self.told, ["one"])

    def test_kept(self) -> None:
        """
        A timer that is kept serves those who come later, each in its own time, and
        ends when nobody came, or it is kept no more.
        """
        one, other = Patient("one", self.told), Patient("other", self.told)
        self.deadlines.keep(True)
        self.deadlines.add(one)
        self.deadlines.remove(one)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(4)
        self.deadlines.add(other)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.pump([6, 3.9])
        self.assertEqual(self.told, [])
        self.clock.advance(0.1)
        self.assertEqual(self.told, ["other"])

        self.deadlines.add(one)
        self.deadlines.remove(one)
        self.clock.advance(10)
        self.assertEqual(self.clock.getDelayedCalls(), [])

        self.deadlines.add(one)
        self.deadlines.remove(one)
        self.deadlines.keep(False)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.deadlines.add(one)
        self.deadlines.keep(False)
        self.clock.advance(10)
        self.assertEqual(self.told, ["other", "one"])

    def test_meanwhile(self) -> None:
        """
        Who is told may wait anew, or have others not wait any more; one who fails
        is logged.
        """
        last = Patient("last", self.told)

        def again() -> None:
            self.deadlines.add(first)
            self.deadlines.remove(last)

        first = Patient("first", self.told, again)
        broken = Patient("broken", self.told, lambda: 1 // 0)
        for each in (first, broken, last):
            self.deadlines.add(each)
        self.clock.advance(10)
        self.assertEqual(self.told, ["first", "broken"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.clock.advance(10)
        self.assertEqual(self.told, ["first", "broken", "first"])

    def test_anew(self) -> None:
        """
        Who begins to wait anew while others are told has all of its time.
        """
        late = Patient("late", self.told)

        def anew() -> None:
            self.deadlines.remove(late)
            self.deadlines.add(late)

        for each in (Patient("early", self.told, anew), late):
            self.deadlines.add(each)
        self.clock.pump([10, 9.9])
        self.assertEqual(self.told, ["early"])
        self.clock.advance(0.1)
        self.assertEqual(self.told, ["early", "late"])

    def test_exit(self) -> None:
        """
        Who wants to end the program, which no reactor lets it do, does not cost the
        others their end.
        """
        for each in (Patient("one", self.told, sys.exit), Patient("other", self.told)):
            self.deadlines.add(each)
        self.clock.advance(10)
        self.assertEqual(self.told, ["one", "other"])
        self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 1)
