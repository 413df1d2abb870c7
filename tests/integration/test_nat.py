"""
A client behind a router that translates its address.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, gatherResults

from tests.integration.namespaces import PORT, NamespaceTestCase, Network
from tests.integration.test_namespaces import STARTS

# The router's address on the remote's side: all that the remote sees of the client.
OUTSIDE = "10.99.2.254"
# Another address of the router, as of a second line; nothing comes from there.
SECOND = "10.99.2.253"

# What every router at home does, and one port that it passes on to the client.
MASQUERADE = """
table ip nat {
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        oifname "remote" masquerade
    }
}
"""
FORWARD = f"""
table ip forward {{
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        iifname "remote" ip daddr {SECOND} tcp dport 59990-59999 dnat to 10.99.1.1
    }}
}}
"""


class NatTests(NamespaceTestCase):
    """
    Masquerading, with and without a forwarded port.
    """

    async def behind(self, *options: str, allow: bool = True) -> Network:
        """
        A client behind NAT, and a remote that knows it by the router's address.
        """
        network = self.network(routed=True)
        middle = network.between
        middle.run("ip", "addr", "add", f"{SECOND}/24", "dev", "remote")
        middle.nft(MASQUERADE)
        # The remote has no way to the network behind the router.
        network.remote.run("ip", "route", "del", "default")
        if allow:
            options = ("--allow", f"{OUTSIDE}=all", *options)
        await self.serviceAt(network.remote, "remote", "--listen", f"tcp:{PORT}", *options)
        return network

    async def run_(self, network: Network, *options: str, code: int = 0) -> tuple[str, str]:
        """
        Run a job at the client.

        @return: what it prints, and what is told of it.
        """
        where = f"{network.remote.address}:{PORT}"
        ports = ("--callback-ports", "59990-59999")
        run = self.jsremoteAt(
            network.client, "run", where, *ports, *options, "--verbose", "--", "echo", "done"
        )
        return await self.finished(run, code), run.errors.decode()

    async def test_advertise(self) -> None:
        """
        With a forwarded port, an address of the router that the client names and
        the remote lists, tasks are confirmed on connections that the remote makes;
        an address that is not listed is refused, and not called.
        """
        network = await self.behind("--callback-host", f"{OUTSIDE}={SECOND}")
        network.between.nft(FORWARD)
        running = [
            self.run_(network, "--advertise", SECOND, "--callback", mode)
            for mode in ("own", "shared", "auto")
        ]
        for printed, told in await gatherResults(map(Deferred.fromCoroutine, running)):
            self.assertEqual(printed, "done\n", told)
            self.assertNotIn("passive", told)
        other = ("--advertise", "10.99.2.252", "--callback", "own")
        printed, told = await self.run_(network, *other, code=77)
        self.assertEqual(printed, "")
        self.assertIn("10.99.2.252 is not listed for a client at 10.99.2.254", told)

    async def test_configured(self) -> None:
        """
        The client and the remote say it in their files: a process class has an
        address, and others have that of the option.
        """
        allowed = self.write(
            "remote.xml",
            f'<spooler><config><security><allowed_host host="{OUTSIDE}" level="all" '
            f'callback_hosts="{SECOND}"/></security></config></spooler>',
        )
        network = await self.behind("--config", allowed, allow=False)
        network.between.nft(FORWARD)
        job = '<script language="shell">sleep 60</script></job>'
        for mine, option in ((f'advertise="{SECOND}"', "10.99.2.252"), ("", SECOND)):
            config = self.write(
                "client.xml",
                '<spooler><config><process_classes><process_class name="far" callback="own" '
                f'{mine} remote_scheduler="{network.remote.address}:{PORT}"/></process_classes>'
                f'<jobs><job name="sleep" process_class="far" tasks="3">{job}</jobs>'
                "</config></spooler>",
            )
            client = await self.serviceAt(
                *(network.client, "client", "--config", config, "--advertise", option),
                *("--callback-ports", "59990-59999", "--state-dir", str(self.directory / "state")),
            )
            await self.finished(self.spawn(network.client, "-c", STARTS))
            await self.until(lambda: len(self.called(network)) == 3)
            client.transport.signalProcess("TERM")
            await client.exits()
            await self.until(lambda: not self.called(network))

    def called(self, network: Network) -> list[list[str]]:
        """
        The connections from the remote to the address that the client names.
        """
        return network.remote.sockets("established", "dst", SECOND)

    async def test_withoutForwarding(self) -> None:
        """
        Without any of it mode auto gets through, by passive.
        """
        network = await self.behind()
        printed, told = await self.run_(network)
        self.assertEqual(printed, "done\n")
        self.assertIn("in callback mode passive from now on", told)
