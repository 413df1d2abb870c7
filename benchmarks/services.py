"""
The services as a user starts them: twistd processes on loopback.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from types import TracebackType

TOP = Path(__file__).resolve().parent.parent

# The command twistd, of the Python that runs us.
TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")

# The callback ports: below the ephemeral range of Linux, so that no connection of this host sits on
# one of them.
LOWEST_PORT = 31000

PATIENCE = 30  # seconds until a service must listen, or be gone


def freePort() -> int:
    """
    Find a port on loopback that nobody has now.
    """
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Services:
    """
    Twistd processes in a temporary directory; gone when the C{with} statement is left.

    @ivar directory: the temporary directory.
    """

    def __enter__(self) -> Services:
        """
        Make the directory.
        """
        self._stack = ExitStack()
        self.directory = Path(self._stack.enter_context(TemporaryDirectory(prefix="jsremote-")))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """
        End the services, the last one first.
        """
        self._stack.close()

    def start(self, role: str, port: int, *options: str) -> subprocess.Popen[bytes]:
        """
        Start a role and wait until it listens on C{port}.
        """
        log = self.directory / f"{role}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*TWISTD, "-n", "--pidfile=", "jsremote", "--role", role, *options],
                cwd=self.directory,
                env=os.environ | {"PYTHONPATH": str(TOP)},  # this checkout, not one installed
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._stack.callback(_end, process)
        deadline = monotonic() + PATIENCE
        while not _listens(port):
            if process.poll() is not None or monotonic() > deadline:
                raise SystemExit(f"the {role} did not start:\n{log.read_text()}")
            sleep(0.02)
        return process

    def run(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """
        Run a program of this checkout that is talked to by its standard input
        and output.
        """
        process = subprocess.Popen(
            command,
            cwd=self.directory,
            env=os.environ | {"PYTHONPATH": str(TOP)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._stack.callback(_end, process)
        return process


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
