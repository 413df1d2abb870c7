"""
The programs of the guide do what the guide says.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.freeports import freePort
from tests.integration.services import PATIENCE

TOP = Path(__file__).resolve().parent.parent.parent
EXAMPLES = TOP / "docs" / "examples"


class ExamplesTests(SynchronousTestCase):
    """
    Each example is a process of its own, on free ports of this machine.
    """

    def setUp(self) -> None:
        """
        Find a port for the remote.
        """
        self.port = str(freePort())

    def start(self, example: str, *arguments: str) -> subprocess.Popen[str]:
        """
        Start a program of the guide.
        """
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / example), *arguments],
            env=os.environ | {"PYTHONPATH": str(TOP)},  # it need not be installed
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.addCleanup(self.end, process)
        return process

    def end(self, process: subprocess.Popen[str]) -> str:
        """
        End a program as an operator does, and return what it printed.
        """
        process.terminate()
        printed, _ = process.communicate(timeout=PATIENCE)
        return printed

    def output(self, example: str, *arguments: str) -> list[str]:
        """
        Run a program of the guide to its end; it must succeed.
        """
        process = self.start(example, *arguments)
        printed, _ = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 0, printed)
        return printed.splitlines()

    def test_clientAndRemote(self) -> None:
        """
        The two smallest programs work together, whichever is there first; a signal ends the remote
        cleanly.
        """
        remote = self.start("remote.py", self.port)

        printed = self.output("client.py", "127.0.0.1", self.port)

        self.assertEqual(printed, ["exited 0", "exited 1", "exited 2"])
        self.assertEqual(self.end(remote), "")
        self.assertEqual(remote.returncode, 0)

    def test_receiver(self) -> None:
        """
        The two factories are enough for one task.
        """
        self.start("remote.py", self.port)
        self.output("client.py", "127.0.0.1", self.port)  # until the remote listens

        printed = self.output("receiver.py", "127.0.0.1", self.port, "echo", "hello")

        self.assertEqual(
            printed, ["the remote called back", "started", "stdout b'hello\\n'", "exited 0"]
        )

    def test_launcher(self) -> None:
        """
        A launcher of one's own decides how the process is started.
        """
        self.start("launcher.py", self.port)
        self.output("client.py", "127.0.0.1", self.port)

        printed = self.output("receiver.py", "127.0.0.1", self.port, "nice")

        niceness = int(subprocess.run(["nice"], capture_output=True, check=True).stdout)
        expected = f"{min(niceness + 5, 19)}\n".encode()
        self.assertEqual(printed[2], f"stdout {expected!r}")
