"""
What is promised of a job's way through real processes and sockets: codes, bytes,
memory, ports, descriptors.
"""

from __future__ import annotations

import gc
import os
import subprocess
import time
from collections import Counter
from hashlib import sha256
from threading import Thread
from typing import BinaryIO, cast

import psutil
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher

from jobscheduler_tcp.client.ports import CallbackPorts, tcpListen
from jobscheduler_tcp.client.processclass import ProcessClass
from jobscheduler_tcp.client.service import ClientService
from jobscheduler_tcp.interfaces import ICallbackReactor
from jobscheduler_tcp.messages import Work
from jobscheduler_tcp.outcome import Reason
from tests.integration.freeports import freeRange, restingAt
from tests.integration.plain import LOOPBACK
from tests.integration.services import FAST, INTERVAL, PATIENCE, SILENCE, CommandTestCase

reactor = cast(ICallbackReactor, installed)

SIZE = 100_000_000
# Bytes by which a process may grow whose output nobody reads: the windows on its
# way are 2 MiB each, and Python keeps some of what it has given back.
MAX_GROWTH = 16 * 1024 * 1024
# Seconds in which a peer that is not heard, or takes nothing, would have been
# taken for dead.
LONG_ENOUGH = SILENCE + INTERVAL + 1

MODES = ("own", "shared", "passive")

JOBS = 1000
AT_ONCE = 64
PORTS = 100


class BytesTests(CommandTestCase):
    """
    What a job prints.
    """

    async def test_unreadForLong(self) -> None:
        """
        In each callback mode, 100 MB of random bytes on stdout and lines on
        stderr arrive apart and as they were, although nobody reads for longer
        than a dead peer is waited for; and neither process keeps more than a few
        of them meanwhile.
        """
        remote = await self.remote(before=FAST)
        code, _, _ = await self.jsremote("run", remote, "--", "true")
        self.assertEqual(code, 0)
        data = os.urandom(SIZE)
        (self.directory / "data").write_bytes(data)
        self.digest = sha256(data).hexdigest()
        running = [Deferred.fromCoroutine(self._unread(remote, mode)) for mode in MODES]
        await gatherResults(running, consumeErrors=True)

    async def _unread(self, remote: str, mode: str) -> None:
        script = "echo go >&2; cat data & seq 100000 >&2; wait; exit 7"
        options = ("--callback", mode, "--directory", str(self.directory))
        process = self.popen("run", remote, *options, "--", "sh", "-c", script, before=FAST)
        assert process.stdout is not None
        assert process.stderr is not None
        self.assertEqual(await deferToThread(process.stderr.readline), b"go\n")
        both = [psutil.Process(pid) for pid in (process.pid, self.service_.transport.pid)]
        before = [each.memory_info().rss for each in both]
        await deferToThread(time.sleep, LONG_ENOUGH)
        for each, small in zip(both, before, strict=True):
            self.assertLess(each.memory_info().rss - small, MAX_GROWTH, mode)

        lines: list[bytes] = []
        aside = Thread(target=lambda: lines.extend(cast(BinaryIO, process.stderr)))
        aside.start()
        digest = await deferToThread(_digest, process)
        self.assertEqual(await self.ended(process), 7, mode)
        await deferToThread(aside.join, PATIENCE)
        self.assertEqual(digest, self.digest, mode)
        self.assertEqual(lines, [b"%d\n" % number for number in range(1, 100001)])


class ManyTests(CommandTestCase):
    """
    Many jobs, one after the other and at once.
    """

    async def test_thousand(self) -> None:
        """
        A thousand jobs, 64 at a time, through a hundred callback ports: all
        succeed, no port makes trouble or rests in TIME_WAIT afterwards, and
        neither process keeps a descriptor.
        """
        warnings: list[str] = []

        def observe(event: LogEvent) -> None:
            if event["log_level"] >= LogLevel.warn:
                warnings.append(formatEvent(event))

        observer = cast(ILogObserver, observe)  # any function is one
        address = await self.remote()
        lowest = freeRange(PORTS)
        endpoint = HostnameEndpoint(reactor, LOOPBACK, int(address.rpartition(":")[2]))
        client = ClientService(
            reactor,
            CallbackPorts(reactor, tcpListen(reactor, LOOPBACK), lowest + PORTS - 1, lowest),
            [ProcessClass("", endpoint, AT_ONCE, address)],
        )
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        client.startService()
        self.addCleanup(client.stopService)
        # The first jobs open what is kept: the command connection, /dev/null, and
        # the process that starts tasks when there are many.
        first = [client.run(Work(command=("/bin/true",))) for _ in range(4 * AT_ONCE)]
        await gatherResults([job.done for job in first])
        both = psutil.Process(), psutil.Process(self.service_.transport.pid)
        await self.until(lambda: not client.ports.reserved)
        gc.collect()  # what earlier tests have left open
        before = [each.num_fds() for each in both]
        jobs = [client.run(Work(command=("/bin/true",))) for _ in range(JOBS)]
        outcomes = Counter([((await job.done).reason, (await job.done).exitCode) for job in jobs])
        self.assertEqual(outcomes, {(Reason.EXITED, 0): JOBS})
        self.assertEqual(client.strangers.count, 0)
        await self.until(
            lambda: all(each.num_fds() <= were for each, were in zip(both, before, strict=True))
        )
        self.assertEqual(client.ports.reserved, 0)
        self.assertEqual(warnings, [])
        self.assertEqual(restingAt(range(lowest, lowest + PORTS)), [])


def _digest(process: subprocess.Popen[bytes]) -> str:
    digest = sha256()
    assert process.stdout is not None
    while data := process.stdout.read(65536):
        digest.update(data)
    return digest.hexdigest()
