"""
What only shows between two hosts: TIME_WAIT, firewalls, cables and strangers.

JSREMOTE_TEST_TASKS says how many tasks go through four ports, and over one, 1,000 if
nobody does; before a release it is 10,000 through four, and 30,000 over one, which is
more than a host has outgoing ports.
"""

from __future__ import annotations

import errno
import json
import os
import signal
from itertools import product
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from tests.integration.namespaces import PORT, Host, NamespaceTestCase, Network, alive, pause
from tests.integration.services import FAST, PATIENCE

TASKS = int(os.environ.get("JSREMOTE_TEST_TASKS", "1000"))

# Somebody else's connection from a port, held until stdin ends.
OUTGOING = """
import socket, sys
connection = socket.socket()
connection.bind(("", 59999))
connection.connect((sys.argv[1], 7))
print("connected", flush=True)
sys.stdin.read()
"""
SERVER = """
import socket
listening = socket.create_server(("", 7))
print("listening", flush=True)
kept = [listening.accept() for _ in range(9)]
"""

# Callers who are not the remote: some hang up, some talk nonsense, ten are silent.
SCANNER = """
import socket, sys
for number in range(1000):
    with socket.create_connection((sys.argv[1], 59999), 10) as caller:
        try:
            caller.sendall((b"", b"GET / HTTP/1.0\\r\\n\\r\\n", bytes(100))[number % 3])
        except OSError:
            pass
silent = [socket.create_connection((sys.argv[1], 59999), 10) for _ in range(10)]
print("scanned", flush=True)
sys.stdin.read()
"""

# A client that waits for as long as a scan takes here for a remote that stands still.
PATIENT = f"import jobscheduler_tcp.client.connection as c; c.CONNECT_TIMEOUT = {PATIENCE}.0"

# Both ends with a heart that beats faster still, but no keepalive; and without a
# word while nothing happens.
BEATING = (
    "import jobscheduler_tcp.heartbeat as h, jobscheduler_tcp.sockets as s; "
    "h.INTERVAL = 0.5; s._KEEPALIVE = ()"
)
MUTE = BEATING.replace("0.5", "1e6")

# A firewall that forgets a connection on which nothing was said for so many
# seconds, and lets nothing through that it does not know.
FORGETS = 4
FORGETFUL = """
table inet filter {
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        ct state new tcp flags & (syn | ack) == syn accept
    }
}
"""

STARTS = """
import socket, sys
with socket.create_connection(("127.0.0.1", 4444)) as caller:
    for _ in range(3):
        caller.sendall(b'<start_job job="sleep"/>')
        while not caller.recv(65536).endswith(b"\\0"):
            pass
"""


# The callback ports of a host; an outgoing command connection may have any port
# that the kernel likes, also one of theirs.
FOUR_PORTS = f"( sport >= :59996 and sport <= :59999 and dport != :{PORT} )"
CALLBACKS = f"( sport >= :59900 and sport <= :59999 and dport != :{PORT} )"


class PortsTests(NamespaceTestCase):
    """
    The callback ports of a client.
    """

    timeout = 2 * PATIENCE + TASKS // 10

    async def test_fourPorts(self) -> None:
        """
        Any number of tasks go through four ports, for none of them rests in
        TIME_WAIT: that is at the remote.
        """
        network = self.network()
        await self.remoteAt(network)
        program = self.tasks(network, tasks=TASKS, parallel=4, low=59996, high=59999)
        resting = []
        while not program.ended.called:
            resting += network.client.sockets("time-wait", FOUR_PORTS)
            await pause(0.3)
        told = json.loads(await self.finished(program))
        resting += network.client.sockets("time-wait", FOUR_PORTS)
        self.assertEqual(told["outcomes"], {"exited 0": TASKS})
        self.assertEqual(told["warnings"], [])
        self.assertEqual(set(told["ports"]) - set(range(59996, 60000)), set())
        self.assertEqual(resting, [])
        self.assertGreater(len(network.remote.sockets("time-wait", "dport", ">=", ":59996")), 100)

    async def test_onePort(self) -> None:
        """
        In mode shared, any number of tasks go over one connection to one port,
        and none is left in TIME_WAIT at either end.
        """
        network = self.network()
        await self.remoteAt(network)
        program = self.tasks(
            network, tasks=TASKS, parallel=64, low=59999, high=59999, callback="shared"
        )
        peers = set()
        while not program.ended.called:
            found = network.client.sockets("established", "sport", "=", ":59999")
            peers |= {peer for _, peer in found}
            await pause(0.3)
        told = json.loads(await self.finished(program))
        self.assertEqual(told["outcomes"], {"exited 0": TASKS})
        self.assertEqual(told["warnings"], [])
        self.assertEqual(len(peers), 1)
        for host, side in ((network.client, "sport"), (network.remote, "dport")):
            self.assertEqual(host.sockets("time-wait", side, "=", ":59999"), [])

    async def test_outgoingConnection(self) -> None:
        """
        A port where an outgoing connection of the host sits is passed over, with
        one warning that has the line to prevent it; and the table of ports says
        what C{ss} says.
        """
        network = self.network()
        network.client.set("net.ipv4.ip_local_port_range", "32768 60999")  # as everywhere
        await self.remoteAt(network)
        server = self.spawn(network.remote, "-c", SERVER)
        await server.says("listening")
        outgoing = self.spawn(network.client, "-c", OUTGOING, network.remote.address)
        await outgoing.says("connected")

        program = self.tasks(network, tasks=5, low=59990)
        told = json.loads(await self.finished(program))
        self.assertEqual(told["outcomes"], {"exited 0": 5})
        self.assertEqual(told["ports"][-1], 59998)
        [warning] = told["warnings"]
        self.assertIn("Callback port 59999 is in use by pid ", warning)
        self.assertIn("sysctl -w net.ipv4.ip_local_reserved_ports=59990-59999", warning)
        await self._table(network)

    async def _table(self, network: Network) -> None:
        config = self.write(
            "client.xml",
            '<spooler><config><process_classes><process_class name="far" '
            f'remote_scheduler="{network.remote.address}:{PORT}"/></process_classes><jobs>'
            '<job name="sleep" process_class="far" tasks="3">'
            '<script language="shell">sleep 60</script></job></jobs></config></spooler>',
        )
        await self.serviceAt(network.client, "client", "--config", config)
        await self.finished(self.spawn(network.client, "-c", STARTS))
        await self.until(lambda: len(network.client.sockets("established", CALLBACKS)) >= 4)
        table = json.loads(await self.finished(self.jsremoteAt(network.client, "ports", "--json")))
        rows = {row["port"]: row for row in table["ports"]}
        self.assertEqual(rows["59999"], {"port": "59999", "state": "foreign"})
        self.assertEqual(table["waiting"], "0")
        theirs = {
            local.rpartition(":")[2]: peer
            for local, peer in network.client.sockets("established", CALLBACKS)
            if not local.endswith(":59999")
        }
        ours = {port: row["peer"] for port, row in rows.items() if row["state"] == "connected"}
        self.assertEqual(ours, theirs)
        self.assertEqual(len(ours), 3)
        self.assertEqual({row["job"] for row in rows.values() if "job" in row}, {"/sleep"})
        listening = network.client.sockets("listening", CALLBACKS)
        self.assertEqual((table["listening"], listening), ("0", []))
        # Whatever becomes of the other end, the kernel looks after it.
        for host in (network.client, network.remote):
            await self.until(lambda host=host: not self._unwatched(host))  # type: ignore[misc]

    def _unwatched(self, host: Host) -> list[str]:
        """
        The connections of both kinds that have no keepalive timer.
        """
        kinds = f"( sport = :{PORT} or dport = :{PORT} or ( sport < :59999 and sport >= :59900 )"
        kinds += " or ( dport < :59999 and dport >= :59900 ) )"
        lines = host.run("ss", "-Htno", "state", "established", kinds).splitlines()
        self.assertEqual(len(lines), 4, lines)
        return [line for line in lines if "timer:(keepalive" not in line]


class FirewallTests(NamespaceTestCase):
    """
    Something between the two that lets nothing through.
    """

    async def test_blocked(self) -> None:
        """
        Whether a firewall drops the calls back, rejects them in either way, or
        drops those to one port only: the doctor names leg, reason and both
        addresses, a job whose callback mode is demanded fails with that reason,
        and nothing is executed. Mode auto gets the job done, once.
        """
        network = self.network()
        await self.remoteAt(network)
        # The kernel gives up after 3 seconds: before the remote does, which has 10.
        network.remote.set("net.ipv4.tcp_syn_retries", 1)
        network.client.nft(
            "table inet filter {\nchain input {\n"
            "type filter hook input priority filter; policy accept;\n"
            "tcp dport 59900-59909 drop\n"
            "tcp dport 59910-59919 reject with tcp reset\n"
            "tcp dport 59920-59929 reject with icmpx type admin-prohibited\n"
            "tcp dport 59999 drop\n}\n}\n"
        )
        # Another range for each: who comes second would find the next port open.
        await gatherResults(
            [
                Deferred.fromCoroutine(each)
                for each in (
                    self._examine(network, "59900-59904", "filtered", errno.ETIMEDOUT),
                    self._examine(network, "59910-59914", "refused", errno.ECONNREFUSED),
                    self._examine(network, "59920-59924", "filtered", errno.EHOSTUNREACH),
                    self._examine(network, "59990-59999", "filtered", errno.ETIMEDOUT),
                    self._pinned(network, "own", "59905-59906", "filtered"),
                    self._pinned(network, "shared", "59907-59908", "filtered"),
                    self._pinned(network, "own", "59915-59916", "refused"),
                    self._pinned(network, "shared", "59917-59918", "refused"),
                    self._auto(network, "59925-59929"),
                )
            ]
        )

    async def _legs(
        self, network: Network, *options: str, code: int
    ) -> tuple[dict[str, dict[str, Any]], str]:
        where = f"{network.remote.address}:{PORT}"
        doctor = self.jsremoteAt(network.client, "doctor", where, "--json", *options)
        told = json.loads(await self.finished(doctor, code))
        return {leg["leg"]: leg for leg in told["legs"]}, told["next"]

    async def _examine(self, network: Network, ports: str, kind: str, number: int) -> None:
        legs, step = await self._legs(
            network, "--callback", "own", "--callback-ports", ports, code=2
        )
        back = legs["connect-back"]
        self.assertEqual((back["verdict"], back["errno"]), ("error", number), back)
        self.assertEqual(back["reason"], f"callback-{kind}")
        self.assertEqual(back["peer"], network.remote.address)
        self.assertEqual(back["own"], f"{network.client.address}:{ports.partition('-')[2]}")
        self.assertIn(kind, back["text"])
        self.assertEqual(step, back["step"])
        self.assertEqual(legs["task"]["verdict"], "untried")

    async def _pinned(self, network: Network, mode: str, ports: str, kind: str) -> None:
        where = f"{network.remote.address}:{PORT}"
        witness = self.directory / f"ran-{ports}"
        command = ("--callback", mode, "--callback-ports", ports, "--", "touch", str(witness))
        run = self.jsremoteAt(network.client, "run", where, *command)
        await run.exits()
        self.assertIn(f"jsremote: callback-{kind}: ".encode(), run.errors)
        self.assertFalse(witness.exists())

    async def _auto(self, network: Network, ports: str) -> None:
        witness = self.directory / "ran"
        command = ("--", "sh", "-c", f"echo ran >> {witness}")
        where = f"{network.remote.address}:{PORT}"
        run = self.jsremoteAt(network.client, "run", where, "--callback-ports", ports, *command)
        await self.finished(run)
        self.assertEqual(witness.read_text(), "ran\n")
        legs, _ = await self._legs(network, "--callback-ports", ports, code=1)
        self.assertEqual(legs["connect-back"]["verdict"], "warning")
        self.assertEqual((legs["task"]["verdict"], legs["task"]["mode"]), ("ok", "passive"))

    async def test_rulesLoad(self) -> None:
        """
        The rules that are printed can be loaded, change no policy, and let the
        task through.
        """
        network = self.network()
        await self.remoteAt(network)
        network.client.nft(
            "table inet filter {\nchain input {\n"
            "type filter hook input priority filter; policy drop;\n"
            "ct state established,related accept\n}\n}\n"
        )
        where = f"{network.remote.address}:{PORT}"
        config = self.write(
            "client.xml",
            '<spooler><config><process_classes><process_class name="far" '
            f'remote_scheduler="{where}"/></process_classes></config></spooler>',
        )
        rules = await self.finished(
            self.jsremoteAt(network.client, "firewall", "--config", config, "--format", "nftables")
        )
        network.client.run("nft", "-c", "-f", "-", said=rules)
        network.client.nft(rules)
        self.assertIn("policy drop", network.client.run("nft", "list", "ruleset"))
        await self.finished(self.jsremoteAt(network.client, "run", where, "--", "true"))


class SilenceTests(NamespaceTestCase):
    """
    Nothing is heard any more, or nothing is to be heard.
    """

    async def test_silence(self) -> None:
        """
        A link that is down is noticed at both ends, idle and busy; a firewall that
        forgets idle connections does no harm to a task that prints nothing,
        because of the heartbeats: without them its end does not arrive.
        """
        await gatherResults(
            [
                Deferred.fromCoroutine(each)
                for each in (
                    self._blackHole(),
                    self._forgetful(mute=False),
                    self._forgetful(mute=True),
                )
            ]
        )

    async def _blackHole(self) -> None:
        network = self.network()
        await self.remoteAt(network, FAST)
        where = f"{network.remote.address}:{PORT}"
        scripts = {"idle": "sleep 300", "busy": "while :; do seq 100; sleep 0.01; done"}
        runs = []
        pids = []
        lowest = 59900
        for mode, (name, script) in product(("own", "shared", "passive"), scripts.items()):
            pid = self.directory / f"{name}-{mode}"
            pids.append(pid)
            whole = f"echo $$ > {pid}.new; mv {pid}.new {pid}; {script}"
            ports = ("--callback-ports", f"{lowest}-{lowest + 9}", "--callback", mode)
            options = (*ports, "--on-disconnect", "kill")
            lowest += 10
            command = ("run", where, *options, "--", "sh", "-c", whole)
            runs.append(self.jsremoteAt(network.client, *command, before=FAST))
        await self.until(lambda: all(map(alive, pids)))
        await pause(1.0)
        network.pull()
        for run in runs:
            await run.exits()
            self.assertIn(b"jsremote: lost: ", run.errors)
        await self.until(lambda: not any(map(alive, pids)))

    async def _forgetful(self, *, mute: bool) -> None:
        before = MUTE if mute else BEATING
        network = self.network(routed=True)
        network.between.nft(FORGETFUL)
        network.between.set("net.netfilter.nf_conntrack_tcp_loose", 0)
        network.between.set("net.netfilter.nf_conntrack_tcp_timeout_established", FORGETS)
        await self.remoteAt(network, before)
        where = f"{network.remote.address}:{PORT}"
        witness = self.directory / f"slept-{mute}"
        script = f"sleep {FORGETS + 3}; touch {witness}"
        run = self.jsremoteAt(network.client, "run", where, "--", "sh", "-c", script, before=before)
        if not mute:
            await self.finished(run)
        await self.until(witness.exists)
        if mute:
            await pause(2.0)
            self.assertFalse(run.ended.called, "it heard of the end through a deaf firewall")


class StrangerTests(NamespaceTestCase):
    """
    Callers who are not the remote.
    """

    async def test_scanner(self) -> None:
        """
        A thousand callers who hang up or talk nonsense, and ten who are silent,
        do not keep a task from starting.
        """
        network = self.network()
        remote = await self.remoteAt(network)
        # So that the port is open as long as the scanner wants.
        remote.transport.signalProcess(signal.SIGSTOP)
        where = f"{network.remote.address}:{PORT}"
        options = ("--dialect", "extended", "--callback-ports", "59999", "--verbose")
        command = ("run", where, *options, "--", "echo", "done")
        run = self.jsremoteAt(network.client, *command, before=PATIENT)
        await self.until(lambda: network.client.sockets("listening", "sport", "=", ":59999"))
        scanner = self.spawn(network.remote, "-c", SCANNER, network.client.address)
        await scanner.says("scanned")
        remote.transport.signalProcess(signal.SIGCONT)
        self.assertEqual(await self.finished(run), "done\n")
        self.assertIn(b"Sent a stranger away", run.errors)
