"""
Tests for L{jobscheduler_tcp.client.portreport}.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.protocol import Factory, ServerFactory
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client.portbudget import Demand, PortBudget
from jobscheduler_tcp.client.portreport import BudgetReport, PortEntry, PortState, portEntries
from jobscheduler_tcp.client.ports import CallbackPorts
from jobscheduler_tcp.testing import MemoryNetwork
from tests.scripted import CLIENT


@dataclass
class User:
    """
    A job with a port.
    """

    task: str
    port: int
    peer: str = ""


class BudgetReportTests(SynchronousTestCase):
    """
    What the log of a client begins with.
    """

    def told(self, budget: PortBudget) -> list[tuple[str, str]]:
        """
        Start, and return level and text of what is logged.
        """
        with capturedLogs() as events:
            BudgetReport(budget).startService()
        return [(event["log_level"].name, formatEvent(event)) for event in events]

    def test_fine(self) -> None:
        """
        One line with the sum.
        """
        [(level, text)] = self.told(PortBudget((Demand("a", 30),), 31099, 31000))
        self.assertEqual(level, "info")
        self.assertEqual(
            text,
            "Callback ports: 30 tasks in parallel + 1 starts/s x 0 s release time = 30 of the 100 "
            "ports 31000-31099",
        )

    def test_warnings(self) -> None:
        """
        A warning for each thing that is wrong, with the line that cures it.
        """
        _, small, exposed = self.told(
            PortBudget((Demand("a", 30),), 59999, 59990, range(32768, 61000))
        )
        self.assertEqual((small[0], exposed[0]), ("warn", "warn"))
        self.assertTrue(small[1].endswith(": --callback-ports 59970-59999"), small)
        self.assertIn("sysctl -w net.ipv4.ip_local_reserved_ports=59990-59999", exposed[1])


class PortEntriesTests(SynchronousTestCase):
    """
    Who has which port.
    """

    def setUp(self) -> None:
        """
        Five ports, the second of which is somebody else's.
        """
        self.network = MemoryNetwork()
        self.host = self.network.host(CLIENT)
        self.host.listenTCP(59998, Factory())
        self.ports = CallbackPorts(self.network.clock, self.host.listen, 59999, 59995)
        self.first = self.successResultOf(self.ports.acquire(ServerFactory()))

    def entries(self, *users: User, inUse: set[int] | None = None) -> list[PortEntry]:
        """
        Ask.
        """
        now = self.network.clock.seconds()
        return portEntries(self.ports, users, now, lambda: inUse)

    def test_states(self) -> None:
        """
        A port listens, is connected, or is free; neighbours that are free are
        one entry. What cannot be seen is known from when it was tried.
        """
        second = self.successResultOf(self.ports.acquire(ServerFactory()))
        second.stopListening()
        self.network.advance(3)
        found = self.entries(User("one", 59999), User("two", 59997, "192.0.2.2:40000"))
        self.assertEqual(
            found,
            [
                PortEntry(59999, 59999, PortState.LISTENING, "one", "", 3.0),
                PortEntry(59998, 59998, PortState.FOREIGN),
                PortEntry(59997, 59997, PortState.CONNECTED, "two", "192.0.2.2:40000", 3.0),
                PortEntry(59995, 59996, PortState.FREE),
            ],
        )

    def test_shared(self) -> None:
        """
        A port with several users has an entry for each; one without any, one.
        """
        states = [
            (entry.task, entry.state.value)
            for entry in self.entries(User("one", 59999, "a:1"), User("two", 59999))
        ]
        self.assertEqual(states[:2], [("one", "connected"), ("two", "listening")])
        self.assertEqual(self.entries()[0], PortEntry(59999, 59999, PortState.LISTENING, age=0.0))

    def test_seen(self) -> None:
        """
        What can be seen counts: a port that nobody has tried is foreign if
        somebody has it, one that was foreign is free when he is gone.
        """
        self.successResultOf(self.ports.acquire(ServerFactory()))
        self.assertEqual(self.ports.foreign, [59998])
        found = self.entries(inUse={59999, 59997, 59995, 4455})
        self.assertEqual(
            [(entry.low, entry.high, entry.state.value) for entry in found],
            [
                (59999, 59999, "listening"),
                (59998, 59998, "free"),
                (59997, 59997, "listening"),
                (59996, 59996, "free"),
                (59995, 59995, "foreign"),
            ],
        )
