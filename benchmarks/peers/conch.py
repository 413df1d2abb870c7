"""
Twisted Conch: a channel for each task on one connection.
"""

from __future__ import annotations

import os
import time
from typing import Any

from twisted.conch.client.knownhosts import ConsoleUI, KnownHostsFile
from twisted.conch.endpoints import SSHCommandClientEndpoint
from twisted.conch.ssh.keys import Key
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import react
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath

from benchmarks.peers.pace import PROGRAM, arguments, tell


class Command(Protocol):
    """
    One task.
    """

    def __init__(self) -> None:
        self.done: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        It is over.
        """
        self.done.callback(None)


class Anybody(ConsoleUI):
    """
    Trust every host.
    """

    def __init__(self) -> None:
        super().__init__(lambda: open(os.devnull, "r+b"))  # noqa: SIM115 - never called

    def prompt(self, text: bytes) -> Deferred[bool]:
        """
        Yes.
        """
        return succeed(True)


async def measure(reactor: Any) -> None:
    """
    Connect once, run all.
    """
    tasks, inFlight, directory, _ = arguments()
    first = SSHCommandClientEndpoint.newConnection(
        reactor,
        b"cat",  # which stays, and the connection with it
        os.environ["BENCHMARK_USER"].encode(),
        "127.0.0.1",  # type: ignore[arg-type]  # its documentation says bytes, its code wants text
        int((directory / "port").read_text()),
        keys=[Key.fromFile(str(directory / "key"))],
        knownHosts=KnownHostsFile(FilePath(str(directory / "known_hosts"))),  # type: ignore[arg-type]  # as documented
        ui=Anybody(),
    )
    holding = await first.connect(Factory.forProtocol(Command))
    connection = holding.transport.conn
    taken: list[float] = []
    left = iter(range(tasks))

    async def run() -> None:
        endpoint = SSHCommandClientEndpoint.existingConnection(connection, PROGRAM.encode())
        command = await endpoint.connect(Factory.forProtocol(Command))
        await command.done

    async def worker() -> None:
        for _ in left:
            begin = time.perf_counter()
            await run()
            taken.append(time.perf_counter() - begin)

    for _ in range(5):
        await run()
    since = time.perf_counter()
    for each in [Deferred.fromCoroutine(worker()) for _ in range(inFlight)]:
        await each
    tell(taken, time.perf_counter() - since)


if __name__ == "__main__":
    react(measure)
