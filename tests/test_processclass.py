"""
Tests for L{jobscheduler_tcp.client.processclass}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client.processclass import Dialect, ProcessClass
from jobscheduler_tcp.testing import MemoryNetwork
from tests.scripted import ScriptedRemote


class ProcessClassTests(SynchronousTestCase):
    """
    Places are given first come, first served.
    """

    def setUp(self) -> None:
        """
        A process class with two places.
        """
        endpoint = ScriptedRemote(MemoryNetwork(), listens=False).endpoint()
        self.processClass = ProcessClass("blue", endpoint, 2, "blue.example:4455")

    def test_defaults(self) -> None:
        """
        A process class that does not say it runs 30 tasks at once, and has its
        endpoint for a name of the remote, which is asked for its dialect.
        """
        plain = ProcessClass("", self.processClass.endpoint)
        self.assertEqual(plain.maxProcesses, 30)
        self.assertIn("TCP4ClientEndpoint", plain.address)
        self.assertIs(plain.speaks, Dialect.AUTO)
        self.assertEqual(self.processClass.address, "blue.example:4455")

    def test_fifo(self) -> None:
        """
        Who comes when all places are taken waits, and knows how long the queue
        before it is.
        """
        first, second = self.processClass.acquire(), self.processClass.acquire()
        self.successResultOf(first)
        self.successResultOf(second)
        third, fourth = self.processClass.acquire(), self.processClass.acquire()
        self.assertNoResult(third)
        self.assertEqual(self.processClass.waiting, 2)
        self.assertEqual(self.processClass.position(first), 0)
        self.assertEqual(self.processClass.position(third), 1)
        self.assertEqual(self.processClass.position(fourth), 2)

        self.processClass.release()
        self.successResultOf(third)
        self.assertNoResult(fourth)
        self.assertEqual(self.processClass.position(fourth), 1)
        self.assertEqual(self.processClass.running, 2)

    def test_cancel(self) -> None:
        """
        Who cancels leaves the queue, and takes no place.
        """
        for _ in range(2):
            self.processClass.acquire()
        third, fourth = self.processClass.acquire(), self.processClass.acquire()
        third.cancel()
        self.failureResultOf(third)
        self.processClass.release()
        self.successResultOf(fourth)

    def test_allGiveUp(self) -> None:
        """
        A long queue of those who give their place back at once is served
        without a deep stack.
        """
        for _ in range(2):
            self.processClass.acquire()
        served = []

        def giveUp(_: None) -> None:
            served.append(1)
            self.processClass.release()

        for _ in range(5000):
            self.processClass.acquire().addCallback(giveUp)
        self.processClass.release()
        self.assertEqual(len(served), 5000)
        self.assertEqual(self.processClass.running, 1)

    def test_noJumping(self) -> None:
        """
        While somebody waits, nobody who comes later goes first.
        """
        for _ in range(2):
            self.processClass.acquire()
        order = []

        def comeAgain(_: None) -> None:
            order.append("second")
            self.processClass.acquire().addCallback(lambda _: order.append("late"))

        self.processClass.acquire().addCallback(lambda _: order.append("first"))
        self.processClass.acquire().addCallback(comeAgain)
        self.processClass.acquire().addCallback(lambda _: order.append("third"))
        for _ in range(5):
            self.processClass.release()
        self.assertEqual(order, ["first", "second", "third", "late"])
