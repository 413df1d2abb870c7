"""
What the page of the commands shows is what a user sees.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from shutil import copytree

from twisted.internet.threads import deferToThread

from tests.integration.freeports import freePort
from tests.integration.services import MAIN, PATIENCE, TOP, CommandTestCase
from tests.integration.test_two_schedulers import EXAMPLE
from tests.test_documentation import DOCS, blocks

# The ports of the page, and of the files.
PORTS = ("4444", "4455")

# jsremote, which asks the services of the test where the page asks those of its
# reader.
PROGRAM = """\
#!{python}
import sys
words = [word.replace("127.0.0.1:4455", "127.0.0.1:{remote}") for word in sys.argv[1:]]
if words[0] not in ("drain", "state"):
    words += ["--client", "127.0.0.1:{client}"]
sys.argv = ["jsremote", *words]
sys.path.insert(0, {top!r})
{main}
"""


class PageTests(CommandTestCase):
    """
    docs/commands.md, with two schedulers.
    """

    async def test_examples(self) -> None:
        """
        Each example is typed in turn, and prints what stands below it.
        """
        client, remote = freePort(), freePort()
        copytree(EXAMPLE, self.directory / "example")
        for path in (self.directory / "example").rglob("*.xml"):
            text = path.read_text("latin-1")
            for old, new in zip(PORTS, (client, remote), strict=True):
                text = text.replace(old, str(new))
            path.write_text(text, "latin-1")
        for role in ("remote", "client"):
            path = self.directory / "example" / role / "scheduler.xml"
            service = ("-n", "--pidfile=", "jsremote", "--role", role, "--config", str(path))
            await self.twistd(*service).says(rf".*jsremote {role} listens on .*")
        program = self.directory / "jsremote"
        program.write_text(
            PROGRAM.format(
                python=sys.executable, remote=remote, client=client, top=str(TOP), main=MAIN
            )
        )
        program.chmod(0o755)
        # Commands by any tool that ends its input, too.
        with socket.create_connection(("127.0.0.1", client), PATIENCE) as connection:
            connection.sendall(b"<show_state/>")
            connection.shutdown(socket.SHUT_WR)
            heard = await deferToThread(lambda: b"".join(iter(lambda: connection.recv(65536), b"")))
        self.assertIn(b"</spooler>", heard)
        typed = 0
        for block in blocks(DOCS / "commands.md", "console"):
            for command, expected in re.findall(r"(?m)^\$ (.*)\n((?:(?!\$ ).*\n)*)", block):
                printed = await deferToThread(self._type, command)
                self.assertEqual(printed.replace(str(remote), "4455"), expected, command)
                typed += 1
        self.assertGreater(typed, 10)

    def _type(self, command: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            env=os.environ | {"PATH": f"{self.directory}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode, 0, (command, done.stdout, done.stderr))
        return done.stdout.decode()
