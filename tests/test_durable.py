"""
Tests for L{jobscheduler_tcp.client.durable}.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client.durable import durable
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.plaincommands import Handler, Peer, Said
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.wire.documents import Element, element


class FakeDisk:
    """
    A disk that is done when the test says so.
    """

    def __init__(self) -> None:
        self.trouble = ""
        self.waiting: list[Deferred[None]] = []

    def requireDisk(self) -> None:
        """
        Refuse in trouble.
        """
        if self.trouble:
            raise CommandRefused("SCHEDULER-184", self.trouble)

    def whenKept(self) -> Deferred[None]:
        """
        Wait.
        """
        self.waiting.append(Deferred())
        return self.waiting[-1]


class DurableTests(SynchronousTestCase):
    """
    Answers wait for the disk.
    """

    def setUp(self) -> None:
        """
        Two commands.
        """
        self.disk = FakeDisk()
        self.obeyed: list[str] = []
        self.peer = Peer("127.0.0.1", 4444, Level.ALL)
        handlers: dict[str, tuple[Level, Handler]] = {
            "add_order": (Level.ALL, self.addOrder),
            "start_job": (Level.ALL, lambda command, peer: succeed(self.addOrder(command, peer))),
            "show_state": (Level.INFO, self.addOrder),
        }
        self.table = durable(handlers, self.disk)

    def addOrder(self, command: Element, peer: Peer) -> Said:
        """
        Obey.
        """
        self.obeyed.append(command.name)
        return element("ok")

    def obey(self, name: str) -> Deferred[Said]:
        """
        Let a command be obeyed.
        """
        said = self.table[name][1](element(name), self.peer)
        return said if isinstance(said, Deferred) else succeed(said)

    def test_waits(self) -> None:
        """
        What changes something is done at once, and answered when it is on the
        disk.
        """
        self.assertEqual(self.table["add_order"][0], Level.ALL)
        for name in ("add_order", "start_job"):
            answer = self.obey(name)
            self.assertEqual(self.obeyed.pop(), name)
            self.assertNoResult(answer)
            self.disk.waiting.pop().callback(None)
            self.assertEqual(self.successResultOf(answer), element("ok"))

    def test_asks(self) -> None:
        """
        What only asks is answered at once.
        """
        self.disk.trouble = "full"
        self.assertEqual(self.successResultOf(self.obey("show_state")), element("ok"))

    def test_trouble(self) -> None:
        """
        While the disk is in trouble nothing is changed.
        """
        self.disk.trouble = "full"
        self.assertRaises(CommandRefused, self.obey, "add_order")
        self.assertEqual(self.obeyed, [])
