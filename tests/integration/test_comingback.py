"""
Clients that come back for their tasks, with real processes and sockets.
"""

from __future__ import annotations

import sys
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import cast

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IAddress, IReactorProcess, ITCPTransport
from twisted.internet.threads import deferToThread
from twisted.protocols.portforward import ProxyFactory, ProxyServer

from tests.integration.freeports import freeRange
from tests.integration.services import CommandTestCase, Program

LOOPBACK = "127.0.0.1"
MODES = ("own", "shared", "passive")

# How often the task prints so many lines, and its exit code. It ends when it may.
TURNS = 60
LINES = 2000
CODE = 7
SCRIPT = (
    f"echo run >> {{directory}}/runs; i=0; while [ $i -lt {TURNS} ]; do i=$((i+1)); "
    f"seq 1 {LINES}; echo turn $i >&2; sleep 0.05; done; "
    f"while [ ! -e {{directory}}/end ]; do sleep 0.1; done; exit {CODE}"
)
TURN = b"".join(b"%d\n" % number for number in range(1, LINES + 1))
STDOUT = TURN * TURNS
STDERR = b"".join(b"turn %d\n" % number for number in range(1, TURNS + 1))


def _isLonger(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size > size


class KilledTests(CommandTestCase):
    """
    A client is killed.
    """

    async def test_killed(self) -> None:
        """
        A client that is killed with SIGKILL, three times, and started anew, has all
        of its task's output, once, with the same digest, and the exit code; the
        task ran once. So it is in every callback mode.
        """
        address = await self.remote()
        lives = [Deferred.fromCoroutine(self._lives(address, mode)) for mode in MODES]
        await gatherResults(lives, consumeErrors=True)

    async def _lives(self, address: str, mode: str) -> None:
        directory = self.directory / mode
        directory.mkdir()
        (directory / "script").write_text(SCRIPT.format(directory=directory), "ascii")
        stdout = directory / "stdout"
        lowest = str(freeRange(10))
        for life in range(1, 4):
            client = self._client(address, directory, mode, lowest)
            await self.until(partial(_isLonger, stdout, len(STDOUT) * life // 5))
            client.signal("KILL")
            await client.exits()
        (directory / "end").touch()
        last = self._client(address, directory, mode, lowest)
        said = await last.says(r"outcome (\S+) (\S+) (\S+)")
        self.assertEqual(said.groups(), ("exited", str(CODE), sha256(STDOUT).hexdigest()), mode)
        self.assertEqual(await last.exits(), 0, last.errors)
        self.assertEqual(sha256(stdout.read_bytes()).hexdigest(), said[3], mode)
        self.assertEqual((directory / "stderr").read_bytes(), STDERR, mode)
        self.assertEqual((directory / "runs").read_text("ascii"), "run\n", mode)

    def _client(self, address: str, directory: Path, mode: str, lowest: str) -> Program:
        program = Program()
        host, _, port = address.rpartition(":")
        arguments = [host, port, str(directory), mode, lowest]
        command = [sys.executable, "-m", "tests.integration.lives", *arguments]
        IReactorProcess(installed).spawnProcess(
            program, sys.executable, command, env=self.environment(), path=str(self.directory)
        )
        self.addCleanup(self._end, program)
        return program


class _Network(ProxyFactory):
    """
    A network that can be cut.

    @ivar cuts: how many connections were.
    """

    noisy = False

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.cuts = 0
        self._wires: list[ProxyServer] = []

    def buildProtocol(self, addr: IAddress | None) -> ProxyServer:
        """
        One more connection.
        """
        wire = cast(ProxyServer, super().buildProtocol(addr))
        self._wires.append(wire)
        return wire

    def cut(self) -> None:
        """
        Cut all of them.
        """
        wires, self._wires = self._wires, []
        for wire in wires:
            for end in (wire, wire.peer):
                transport = cast(ITCPTransport, getattr(end, "transport", None))
                if transport is not None:
                    transport.abortConnection()
            self.cuts += 1


class CutTests(CommandTestCase):
    """
    The network is cut.
    """

    async def test_cut(self) -> None:
        """
        All connections between client and remote break, again and again while the
        task prints: C{jsremote run} prints the same, and exits with the same.
        """
        host, _, port = (await self.remote()).rpartition(":")
        network = _Network(host, int(port))
        endpoint = TCP4ServerEndpoint(installed, 0, interface=LOOPBACK)
        listening = await endpoint.listen(network)
        self.addCleanup(listening.stopListening)
        through = f"{LOOPBACK}:{getattr(listening.getHost(), 'port', 0)}"
        (self.directory / "end").touch()
        script = SCRIPT.format(directory=self.directory)
        run = self.popen("run", "--callback", "passive", through, "--", "sh", "-c", script)
        assert run.stdout is not None
        assert run.stderr is not None
        output = deferToThread(run.stdout.read)
        errors = [await deferToThread(run.stderr.readline)]
        while errors[-1]:
            if len(errors) % 20 == 10:
                network.cut()
            errors.append(await deferToThread(run.stderr.readline))
        self.assertEqual(b"".join(errors), STDERR)
        self.assertEqual(sha256(await output).hexdigest(), sha256(STDOUT).hexdigest())
        self.assertEqual(await self.ended(run), CODE)
        self.assertGreaterEqual(network.cuts, 2)
        self.assertEqual((self.directory / "runs").read_text("ascii"), "run\n")
