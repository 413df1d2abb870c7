"""
Tests for L{jobscheduler_tcp.client.portbudget} and
L{jobscheduler_tcp.client.localports}.
"""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client import localports
from jobscheduler_tcp.client.localports import (
    ephemeralPorts,
    reservedPorts,
    reserving,
    unreserved,
)
from jobscheduler_tcp.client.portbudget import Demand, PortBudget

LINUX = range(32768, 61000)


def span(low: int, high: int) -> range:
    """
    A range of ports, as people say it.
    """
    return range(low, high + 1)


class BudgetTests(SynchronousTestCase):
    """
    Ports needed = tasks in parallel + starts a second x release time.
    """

    def test_sum(self) -> None:
        """
        Every task in parallel needs a port; a port that is free at once costs
        nothing more, one that rests does, for each start meanwhile.
        """
        demands = Demand("build", 30), Demand("", 10)
        self.assertEqual(PortBudget(demands, 59999, 59900, startsPerSecond=50).needed, 40)
        resting = PortBudget(demands, 59999, 59900, releaseTime=60.0, startsPerSecond=2.5)
        self.assertEqual(resting.needed, 40 + 150)
        self.assertEqual(
            str(resting),
            "40 tasks in parallel (build: 30, (default): 10) + 2.5 starts/s x 60 s release time"
            " = 190 of the 100 ports 59900-59999",
        )

    def test_enough(self) -> None:
        """
        Nothing is found where nothing is wrong.
        """
        self.assertEqual(list(PortBudget((Demand("a", 100),), 59999, 59900).findings()), [])
        reserved = (span(59900, 59999),)
        budget = PortBudget((Demand("a", 1),), 59999, 59900, LINUX, reserved)
        self.assertEqual(list(budget.findings()), [])
        self.assertEqual(list(PortBudget((), 31000, 30000, LINUX).findings()), [])

    def test_tooSmall(self) -> None:
        """
        A range that is too small is told with the class, the numbers, and the
        option that cures it.
        """
        [found] = PortBudget((Demand("build", 30),), 59999, 59990).findings()
        self.assertTrue(found.serious)
        for words in ("59990-59999", "20 too few", "process class build (30 tasks)"):
            self.assertIn(words, found.text)
        self.assertEqual(found.cure, "--callback-ports 59970-59999")

    def test_severalClasses(self) -> None:
        """
        Of several classes those are named that use the range up.
        """
        demands = Demand("small", 1), Demand("build", 8), Demand("", 6)
        [found] = PortBudget(demands, 59999, 59990).findings()
        self.assertIn("the process classes build (8 tasks), (default) (6 tasks):", found.text)
        self.assertEqual(found.cure, "--callback-ports 59985-59999")

    def test_cureLow(self) -> None:
        """
        The cure keeps to ports that need no privileges; what no range can hold
        is said to be too much.
        """
        [found] = PortBudget((Demand("a", 30),), 1033, 1024).findings()
        self.assertEqual(found.cure, "--callback-ports 1024-1053")
        [found] = PortBudget((Demand("a", 70000),), 59999, 59900).findings()
        self.assertIn("max_processes", found.cure)

    def test_exposed(self) -> None:
        """
        A range where outgoing connections may sit is told with the line that
        keeps them off.
        """
        [found] = PortBudget((Demand("a", 1),), 59999, 59900, LINUX).findings()
        self.assertFalse(found.serious)
        self.assertIn("(32768-60999)", found.text)
        self.assertEqual(found.cure, "sysctl -w net.ipv4.ip_local_reserved_ports=59900-59999")
        half = (span(8080, 8080), span(59900, 59949))
        [found] = PortBudget((Demand("a", 1),), 59999, 59900, LINUX, half).findings()
        self.assertIn("may take 50 of the callback ports", found.text)
        self.assertEqual(found.cure, "sysctl -w net.ipv4.ip_local_reserved_ports=8080,59900-59999")

    @given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 50)), max_size=6))
    def test_reservingKeepsAll(self, pairs: list[tuple[int, int]]) -> None:
        """
        After the line, everything is reserved that was before, and the callback
        ports, and nothing else.
        """
        before = tuple(span(low, low + more) for low, more in pairs)
        line = reserving(span(100, 120), before)
        after = [localports._span(part) for part in line.partition("reserved_ports=")[2].split(",")]
        wanted = set(span(100, 120)).union(*before)
        self.assertEqual(sorted(wanted), [port for part in after for port in part])
        self.assertEqual(unreserved(span(100, 120), span(1, 1000), after), [])


class SystemTests(SynchronousTestCase):
    """
    What the kernel says.
    """

    def setUp(self) -> None:
        """
        A kernel of our own.
        """
        self.directory = Path(mkdtemp(prefix="jsremote-ports-"))
        self.addCleanup(rmtree, self.directory)
        for name in ("_EPHEMERAL", "_RESERVED"):
            self.patch(localports, name, self.directory / name)

    def test_told(self) -> None:
        """
        Both files are read as the kernel writes them.
        """
        (self.directory / "_EPHEMERAL").write_text("32768\t60999\n")
        (self.directory / "_RESERVED").write_text("8080,59900-59999\n")
        self.assertEqual(ephemeralPorts(), LINUX)
        self.assertEqual(reservedPorts(), (span(8080, 8080), span(59900, 59999)))
        (self.directory / "_RESERVED").write_text("\n")
        self.assertEqual(reservedPorts(), ())

    def test_silent(self) -> None:
        """
        Where the system does not tell, no port is known to be in danger.
        """
        self.assertEqual((len(ephemeralPorts()), reservedPorts()), (0, ()))
