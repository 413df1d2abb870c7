"""
L{jobscheduler_tcp.security}: who may do what.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.security import AllowedHosts, Level


class LevelTests(SynchronousTestCase):
    def test_order(self) -> None:
        """
        The levels ascend as JobScheduler's do, and are known by its words.
        """
        words = ["none", "signal", "info", "no_add", "all"]
        self.assertEqual([str(level) for level in sorted(Level)], words)
        self.assertEqual([Level.named(word) for word in words], sorted(Level))

    def test_unknown(self) -> None:
        """
        A word that is no level is refused with those that are.
        """
        error = self.assertRaises(ValueError, Level.named, "ALL")
        self.assertIn("no_add", str(error))


class AllowedHostsTests(SynchronousTestCase):
    def test_nothingConfigured(self) -> None:
        """
        Where nothing is configured, only the machine itself may do something.
        """
        hosts = AllowedHosts()
        for own in ("127.0.0.1", "127.255.3.4", "::1", "::ffff:127.0.0.1"):
            self.assertEqual(hosts.levelOf(own), Level.ALL, own)
        for other in ("10.0.0.1", "0.0.0.0", "::2", "fe80::1%lo", "128.0.0.1", ""):
            self.assertEqual(hosts.levelOf(other), Level.NONE, other)

    def test_exact(self) -> None:
        """
        An entry for the address itself comes before all others, and what is
        configured leaves nothing of the default.
        """
        hosts = AllowedHosts(
            [("10.0.0.0", Level.INFO), ("10.0.0.7", Level.ALL), ("0.0.0.0", Level.SIGNAL)]
        )
        self.assertEqual(hosts.levelOf("10.0.0.7"), Level.ALL)
        self.assertEqual(hosts.levelOf("::ffff:10.0.0.7"), Level.ALL)
        self.assertEqual(hosts.levelOf("10.200.0.8"), Level.INFO)
        self.assertEqual(hosts.levelOf("127.0.0.1"), Level.SIGNAL)

    def test_networks(self) -> None:
        """
        A network is found by the class of the address.
        """
        for network, inside, outside in (
            ("10.0.0.0", "10.255.255.255", "11.0.0.1"),
            ("172.16.0.0", "172.16.9.9", "172.17.0.1"),
            ("192.168.1.0", "192.168.1.7", "192.168.2.7"),
            ("224.0.0.1", "224.0.0.1", "224.0.0.2"),
        ):
            hosts = AllowedHosts([(network, Level.NO_ADD)])
            self.assertEqual(hosts.levelOf(inside), Level.NO_ADD, inside)
            self.assertEqual(hosts.levelOf(outside), Level.NONE, outside)

    def test_everybody(self) -> None:
        """
        0.0.0.0 is everybody else, but not the address of a network itself; the
        everybody of IPv6 is C{::}.
        """
        hosts = AllowedHosts([("0.0.0.0", Level.INFO)])
        self.assertEqual(hosts.levelOf("8.8.8.8"), Level.INFO)
        self.assertEqual(hosts.levelOf("192.168.1.0"), Level.NONE)
        self.assertEqual(hosts.levelOf("2001:db8::1"), Level.NONE)
        self.assertEqual(AllowedHosts([("::", Level.ALL)]).levelOf("2001:db8::1"), Level.ALL)

    def test_noAddress(self) -> None:
        """
        A name has to be resolved before it comes here.
        """
        self.assertRaises(ValueError, AllowedHosts, [("localhost", Level.ALL)])

    @settings(deadline=None, max_examples=100)
    @given(st.text() | st.ip_addresses().map(str))
    def test_anything(self, host: str) -> None:
        """
        Whatever a peer's address looks like, it has a level.
        """
        self.assertIn(AllowedHosts([("0.0.0.0", Level.INFO)]).levelOf(host), Level)
