"""
Real processes of twistd and C{jsremote} for tests.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import BinaryIO

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IReactorProcess, IReactorTCP, IReactorTime
from twisted.internet.process import Process
from twisted.internet.protocol import ProcessProtocol, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from jobscheduler_tcp.wire.documents import Element, parse

TOP = Path(__file__).resolve().parent.parent.parent

# Seconds that anything here may take on a machine that has much else to do.
PATIENCE = 120

# What the console script does.
MAIN = "from jobscheduler_tcp.cli.main import main; main()"

# What is to run before one end with a heart that beats faster than it does by
# itself: a peer that is silent for six seconds is dead, and not for fifteen.
INTERVAL, SILENCE = 2.0, 6.0
FAST = f"import jobscheduler_tcp.heartbeat as h; h.INTERVAL, h.SILENCE = {INTERVAL}, {SILENCE}"

_STATES = count()

_RUN = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"


class Program(ProcessProtocol):
    """
    A program, what it prints and how it ends.

    @ivar ended: fires with the exit code, negative for a signal.
    """

    transport: Process

    def __init__(self) -> None:
        self.output = b""
        self.errors = b""
        self.ended: Deferred[int] = Deferred()
        self._waiting: list[tuple[re.Pattern[str], Deferred[re.Match[str]]]] = []

    def outReceived(self, data: bytes) -> None:
        """
        Look whether somebody waits for this.
        """
        self.output += data
        # Of a line that is not whole yet something may be missing.
        whole = self.output[: self.output.rfind(b"\n") + 1]
        text = whole.decode("utf-8", "replace")
        for waiting in list(self._waiting):
            pattern, found = waiting
            match = pattern.search(text)
            if match is not None:
                self._waiting.remove(waiting)
                found.callback(match)

    def errReceived(self, data: bytes) -> None:
        """
        Keep it.
        """
        self.errors += data

    def processEnded(self, reason: Failure) -> None:
        """
        Tell everybody who waits.
        """
        for _, found in self._waiting:
            found.errback(AssertionError(f"ended, having said {self.output!r} {self.errors!r}"))
        value = reason.value
        code = getattr(value, "exitCode", None)
        self.ended.callback(-getattr(value, "signal", 0) if code is None else code)

    def says(self, pattern: str) -> Deferred[re.Match[str]]:
        """
        Wait for a line of the output.
        """
        found: Deferred[re.Match[str]] = Deferred()
        self._waiting.append((re.compile(pattern + r"\s*$", re.MULTILINE), found))
        self.outReceived(b"")
        return found.addTimeout(PATIENCE, installed)

    def exits(self, seconds: float = PATIENCE) -> Deferred[int]:
        """
        Wait for the end.
        """
        ended: Deferred[int] = Deferred()

        def tell(code: int) -> int:
            ended.callback(code)
            return code

        self.ended.addCallback(tell)
        return ended.addTimeout(seconds, installed)

    def signal(self, name: str) -> None:
        """
        Send a signal, such as C{TERM}.
        """
        if self.transport.pid is not None:
            self.transport.signalProcess(name)


class ServiceTestCase(TestCase):
    """
    Start twistd, and leave nothing behind.
    """

    timeout = PATIENCE * 2

    def setUp(self) -> None:
        """
        Everything happens in a directory that is removed.
        """
        self.directory = Path(mkdtemp(prefix="jsremote-service-")).resolve()
        self.addCleanup(rmtree, self.directory)

    def write(self, name: str, text: str) -> str:
        """
        Write a file.
        """
        (self.directory / name).write_text(text, "utf-8")
        return str(self.directory / name)

    def environment(self) -> dict[str, str]:
        """
        Nothing but what every test has; and the folder of a client is its own, and
        gone after the test.
        """
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("JSREMOTE_")
        }
        environment["PYTHONPATH"] = str(TOP)
        environment["JSREMOTE_STATE_DIR"] = str(self.directory / f"state-{next(_STATES)}")
        return environment

    def twistd(self, *arguments: str, before: str = "pass", **variables: str) -> Program:
        """
        Start twistd with these arguments.

        @param before: Python code to run before, such as one that makes it less
            patient than its users would like.
        """
        program = Program()
        command = [sys.executable, "-c", f"{before}; {_RUN}", *arguments]
        IReactorProcess(installed).spawnProcess(
            program,
            sys.executable,
            command,
            env=self.environment() | variables,
            path=str(self.directory),
        )
        self.addCleanup(self._end, program)
        return program

    def service(
        self, role: str, *arguments: str, before: str = "pass", **variables: str
    ) -> Program:
        """
        Start a service in the foreground on a free port of the loopback
        interface.
        """
        listen = ("--listen", "tcp:0:interface=127.0.0.1")
        service = ("-n", "--pidfile=", "jsremote", "--role", role, *listen)
        return self.twistd(*service, *arguments, before=before, **variables)

    async def _end(self, program: Program) -> None:
        if not program.ended.called:
            program.signal("KILL")
            await program.exits()
        self.assertNotIn(b"Traceback", program.output + program.errors)


class CommandTestCase(ServiceTestCase):
    """
    Run C{jsremote}.
    """

    def popen(
        self,
        *arguments: str,
        stdin: int | BinaryIO = subprocess.DEVNULL,
        before: str = "pass",
    ) -> subprocess.Popen[bytes]:
        """
        Start it.

        @param before: Python code to run before.
        """
        process = subprocess.Popen(
            [sys.executable, "-c", f"{before}; {MAIN}", *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.directory,
            env=os.environ | {"PYTHONPATH": str(TOP), "TMPDIR": str(self.directory)},
        )
        self.addCleanup(self._close, process)
        return process

    async def jsremote(
        self,
        *arguments: str,
        said: bytes | None = None,
        stdin: int | BinaryIO = subprocess.DEVNULL,
    ) -> tuple[int, bytes, bytes]:
        """
        Run it to its end: its exit code, stdout and stderr.

        @param said: its stdin.
        """
        process = self.popen(*arguments, stdin=stdin if said is None else subprocess.PIPE)
        out, err = await deferToThread(process.communicate, said, PATIENCE)
        self.assertNotIn(b"Traceback", err)
        return process.returncode, out, err

    async def each(self, *commands: tuple[str, ...]) -> list[tuple[int, bytes, bytes]]:
        """
        Run several at once.
        """
        running = [Deferred.fromCoroutine(self.jsremote(*words)) for words in commands]
        return await gatherResults(running, consumeErrors=True)

    async def until(self, happened: Callable[[], object]) -> None:
        """
        Wait for what no event tells of, and no longer than L{PATIENCE}.
        """
        deadline = time.monotonic() + PATIENCE
        while not happened():
            self.assertLess(time.monotonic(), deadline, "it did not happen")
            await deferLater(IReactorTime(installed), 0.02)

    async def remote(self, *options: str, before: str = "pass") -> str:
        """
        Start a remote, and tell where it listens.

        @param before: Python code to run before.
        """
        variables = {"TMPDIR": str(self.directory)}
        self.service_ = self.service("remote", *options, before=before, **variables)
        return f"127.0.0.1:{await portOf(self.service_, 'remote')}"

    async def ended(self, process: subprocess.Popen[bytes]) -> int:
        """
        Wait for an exit code.
        """
        return await deferToThread(process.wait, PATIENCE)

    def _close(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


async def portOf(program: Program, role: str) -> int:
    """
    Wait until a service listens.
    """
    found = await program.says(rf"jsremote {role} listens on 127\.0\.0\.1:([0-9]+)")
    return int(found[1])


class _Asking(Protocol):
    """
    Hear one answer.
    """

    def __init__(self) -> None:
        self.answer: Deferred[Element] = Deferred()
        self.over: Deferred[None] = Deferred()
        self._heard = b""

    def dataReceived(self, data: bytes) -> None:
        """
        Wait for its end.
        """
        self._heard += data
        if self._heard.endswith(b"\0"):
            self.answer.callback(parse(self._heard.strip(b"\n\0")))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        There will be none, if there was none.
        """
        if not self.answer.called:
            self.answer.errback(reason)
        self.over.callback(None)


async def ask(port: int, document: str) -> Element:
    """
    Say a command to a service and return what it answers.
    """
    endpoint = TCP4ClientEndpoint(IReactorTCP(installed), "127.0.0.1", port)
    asking = await connectProtocol(endpoint, _Asking())
    asking.transport.write(document.encode())
    answer: Element = await asking.answer
    asking.transport.loseConnection()
    await asking.over
    return answer.children[0].children[0]
