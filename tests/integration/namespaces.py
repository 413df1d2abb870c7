"""
Two hosts and the network between them, made of network namespaces.

On the loopback interface nothing is as between hosts: no firewall stands there,
no cable can be pulled, and TIME_WAIT behaves differently.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from itertools import count
from pathlib import Path

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest

from tests.integration.services import MAIN, CommandTestCase, Program

# Where the remote takes commands.
PORT = 4455

_NUMBERS = count()
_TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
_DRIVER = "from tests.integration.manytasks import main; main()"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Host:
    """
    A network namespace.

    @ivar address: its address between the hosts.
    """

    def __init__(self, name: str, address: str = "") -> None:
        self.name = name
        self.address = address

    def command(self, *arguments: str) -> list[str]:
        """
        A command line that runs there.
        """
        return ["ip", "netns", "exec", self.name, *arguments]

    def run(self, *arguments: str, said: str | None = None) -> str:
        """
        Run something short there, and return what it prints.
        """
        done = subprocess.run(
            self.command(*arguments), input=said, check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise AssertionError(f"{arguments}: {done.stderr}")
        return done.stdout

    def set(self, name: str, value: object) -> None:
        """
        Set a kernel parameter, such as C{net.ipv4.ip_forward}.
        """
        path = f"/proc/sys/{name.replace('.', '/')}"
        self.run("sh", "-c", f"echo '{value}' > {path}")

    def nft(self, rules: str) -> None:
        """
        Load rules.
        """
        self.run("nft", "-f", "-", said=rules)

    def sockets(self, state: str, *where: str) -> list[list[str]]:
        """
        The TCP sockets in a state: local and remote address of each.
        """
        lines = self.run("ss", "-Htan", "state", state, *where).splitlines()
        return [line.split()[2:4] for line in lines]


class Network:
    """
    A client and a remote, and a switch or a router in between.

    @ivar between: the switch or router.
    """

    def __init__(self, *, routed: bool = False) -> None:
        prefix = f"jsr{os.getpid()}-{next(_NUMBERS)}"
        far = "10.99.2.2" if routed else "10.99.1.2"
        self.client = Host(f"{prefix}c", "10.99.1.1")
        self.between = Host(f"{prefix}m")
        self.remote = Host(f"{prefix}r", far)
        try:
            self._make(routed)
        except BaseException:
            self.close()
            raise

    def _make(self, routed: bool) -> None:
        middle = self.between.name
        for host in (self.client, self.between, self.remote):
            _ip("netns", "add", host.name)
            _ip("-n", host.name, "link", "set", "lo", "up")
        for host, port in ((self.client, "client"), (self.remote, "remote")):
            near = ("link", "add", "name", port, "type", "veth")
            _ip("-n", middle, *near, "peer", "name", "eth", "netns", host.name)
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth")
            _ip("-n", host.name, "link", "set", "eth", "up")
            _ip("-n", middle, "link", "set", port, "up")
        if not routed:
            _ip("-n", middle, "link", "add", "name", "switch", "type", "bridge")
            _ip("-n", middle, "link", "set", "switch", "up")
        for host, port in ((self.client, "client"), (self.remote, "remote")):
            if routed:
                gateway = f"{host.address.rpartition('.')[0]}.254"
                _ip("-n", middle, "addr", "add", f"{gateway}/24", "dev", port)
                _ip("-n", host.name, "route", "add", "default", "via", gateway)
            else:
                _ip("-n", middle, "link", "set", port, "master", "switch")
        if routed:
            self.between.set("net.ipv4.ip_forward", 1)
        # A connection that the client makes shall not come from a callback port by
        # chance, as elsewhere it may.
        self.client.set("net.ipv4.ip_local_port_range", "32768 59899")

    def pull(self) -> None:
        """
        Take the remote's link down: from now on nothing arrives, and nobody is
        told.
        """
        _ip("-n", self.between.name, "link", "set", "remote", "down")

    def close(self) -> None:
        """
        Leave nothing behind.
        """
        for host in (self.client, self.between, self.remote):
            subprocess.run(["ip", "netns", "del", host.name], check=False, capture_output=True)


@cache
def whyNot() -> str:
    """
    Tell why there can be no network namespaces here; empty if there can.
    """
    missing = [tool for tool in ("ip", "nft", "ss") if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    try:
        Network().close()
    except subprocess.CalledProcessError as error:
        return f"{' '.join(error.cmd)}: {error.stderr.strip()}"
    return ""


class NamespaceTestCase(CommandTestCase):
    """
    Tests between network namespaces.
    """

    def setUp(self) -> None:
        """
        Skip, loudly, where it is not possible.
        """
        super().setUp()
        reason = whyNot()
        if reason:
            print(f"\nNOT TESTED, no network namespaces here: {reason}", file=sys.stderr)
            raise SkipTest(f"no network namespaces here: {reason}")

    def network(self, *, routed: bool = False) -> Network:
        """
        A network that is gone after the test.
        """
        network = Network(routed=routed)
        self.addCleanup(network.close)
        return network

    def spawn(self, host: Host, *command: str) -> Program:
        """
        Start a Python program with these arguments at a host.
        """
        program = Program()
        whole = host.command(sys.executable, *command)
        IReactorProcess(installed).spawnProcess(
            program, whole[0], whole, env=self.environment(), path=str(self.directory)
        )
        self.addCleanup(self._end, program)
        return program

    def jsremoteAt(self, host: Host, *arguments: str, before: str = "pass") -> Program:
        """
        Start C{jsremote} at a host.

        @param before: Python code to run before.
        """
        return self.spawn(host, "-c", f"{before}; {MAIN}", *arguments)

    def tasks(self, network: Network, **options: object) -> Program:
        """
        Start L{tests.integration.manytasks} at the client.
        """
        said = [f"--{name}={value}" for name, value in options.items()]
        remote = f"{network.remote.address}:{PORT}"
        return self.spawn(network.client, "-c", _DRIVER, remote, *said)

    async def remoteAt(self, network: Network, before: str = "pass") -> Program:
        """
        Start a remote, and wait until it listens.

        @param before: Python code to run before.
        """
        listen = ("--listen", f"tcp:{PORT}", "--allow", f"{network.client.address}=all")
        return await self.serviceAt(network.remote, "remote", *listen, before=before)

    async def serviceAt(
        self, host: Host, role: str, *options: str, before: str = "pass"
    ) -> Program:
        """
        Start a service, and wait until it listens.
        """
        service = ("-n", "--pidfile=", "jsremote", "--role", role, *options)
        program = self.spawn(host, "-c", f"{before}; {_TWISTD}", *service)
        await program.says(rf"jsremote {role} listens on [0-9.:]+")
        return program

    async def finished(self, program: Program, code: int = 0) -> str:
        """
        Wait for the end, and return what was printed.
        """
        got = await program.exits()
        self.assertEqual(got, code, (program.output, program.errors))
        return program.output.decode()


def alive(path: Path) -> bool:
    """
    Whether the process lives whose number is in a file.
    """
    try:
        number = int(path.read_text())
        return Path(f"/proc/{number}").exists()
    except (OSError, ValueError):
        return False


def pause(seconds: float) -> Deferred[None]:
    """
    Let real time pass.
    """
    return deferLater(IReactorTime(installed), seconds)
