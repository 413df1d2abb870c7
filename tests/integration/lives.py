"""
A client for one task that may be killed at any moment: started once more in the
same directory, it comes back for its task.

C{python -m tests.integration.lives HOST PORT DIRECTORY MODE LOWEST}
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import react
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.client.ports import CallbackPorts, tcpListen
from jobscheduler_tcp.client.processclass import Dialect, ProcessClass
from jobscheduler_tcp.client.service import ClientService
from jobscheduler_tcp.interfaces import (
    ICallbackReactor,
    IConfirmationReceiver,
    IStartWitness,
    ITaskConfirmation,
)
from jobscheduler_tcp.messages import Stream, TaskAttached, TaskEnded, TaskStarted, Work

LOOPBACK = "127.0.0.1"


@implementer(IConfirmationReceiver, IStartWitness)
class Disk:
    """
    What of the task is on the disk.
    """

    def __init__(self, directory: Path) -> None:
        self._key = directory / "key"
        self._files = {
            stream: os.open(directory / stream.name.lower(), os.O_CREAT | os.O_APPEND | os.O_RDWR)
            for stream in (Stream.STDOUT, Stream.STDERR)
        }
        self._confirmation: ITaskConfirmation | None = None

    @property
    def key(self) -> list[str]:
        """
        The task and its key, if there are.
        """
        return self._key.read_text("ascii").split() if self._key.exists() else []

    @property
    def sizes(self) -> tuple[int, int]:
        """
        How much of its output.
        """
        stdout, stderr = (os.fstat(each).st_size for each in self._files.values())
        return stdout, stderr

    def startLeaves(self, task: str, remote: str, key: str) -> None:
        """
        Write the key down as a whole.
        """
        new = self._key.with_suffix(".new")
        new.write_text(f"{task} {key}", "ascii")
        new.rename(self._key)

    def startReturned(self, task: str) -> None:
        """
        Nothing ran.
        """

    def taskAttached(self, confirmation: ITaskConfirmation, message: TaskAttached) -> None:
        """
        Tell what there is.
        """
        self._confirmation = confirmation
        confirmation.kept(*self.sizes)

    def taskStarted(self, message: TaskStarted) -> None:
        """
        It runs.
        """

    def outputReceived(self, stream: Stream, data: bytes) -> None:
        """
        Write it down, then tell.
        """
        written = os.write(self._files[stream], data)
        assert written == len(data)
        assert self._confirmation is not None
        self._confirmation.kept(*self.sizes)

    def taskEnded(self, message: TaskEnded) -> None:
        """
        It is over.
        """

    def confirmationLost(self, reason: Failure) -> None:
        """
        It is lost.
        """


async def main(reactor: ICallbackReactor, *arguments: str) -> None:
    """
    Run the task, or come back for it, and print how it came out.
    """
    host, port, where, mode, lowest = arguments
    ports = CallbackPorts(reactor, tcpListen(reactor, LOOPBACK), int(lowest) + 9, int(lowest))
    endpoint = TCP4ClientEndpoint(reactor, host, int(port))
    remote = ProcessClass("", endpoint, dialect=Dialect.EXTENDED, callback=mode)
    client = ClientService(reactor, ports, [remote])
    client.startService()
    directory = Path(where)
    disk = Disk(directory)
    if disk.key:
        task, key = disk.key
        stdout, stderr = disk.sizes
        job = client.attach(task, key, "", disk, stdout=stdout, stderr=stderr)
    else:
        job = client.run(Work(script=(directory / "script").read_text("ascii")), "", disk)
    outcome = await job.done
    print("outcome", outcome.reason, outcome.exitCode, outcome.stdoutDigest, flush=True)
    await client.stopService()


if __name__ == "__main__":
    react(lambda *arguments: Deferred.fromCoroutine(main(*arguments)), sys.argv[1:])
