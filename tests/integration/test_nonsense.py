"""
Nonsense at every port of both services: one line in the log, an error or a
closed connection, and the service serves on.
"""

from __future__ import annotations

import re
import socket
from contextlib import ExitStack
from threading import Event

import psutil
from twisted.internet.threads import deferToThread

from tests.integration.between import Between
from tests.integration.freeports import freePort
from tests.integration.plain import (
    HELLO,
    LOOPBACK,
    CallbackPort,
    Commands,
    everything,
    start,
    uuid,
)
from tests.integration.services import (
    PATIENCE,
    CommandTestCase,
    Program,
    ask,
    portOf,
)

TOKEN = bytes(range(16))

# Bytes by which a service may grow that was told 10 MB of nonsense again and again.
MAX_GROWTH = 8 * 1024 * 1024

BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol">'
    + b"".join(
        b'<!ENTITY %c "%s">' % (ord("b") + step, b"&%c;" % (ord("a") + step) * 10)
        for step in range(10)
    )
    + b"]><lolz>&k;</lolz>"
)

# What anybody may say on a command connection.
NONSENSE = {
    "entities": BOMB,
    "an entity of a file": b'<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]><a>&f;</a>',
    "depth": b"<a>" * 1000 + b"</a>" * 1000,
    "attributes": b"<a " + b" ".join(b'a%d=""' % number for number in range(1000)) + b"/>",
    "elements": b"<a>" + b"<b/>" * 10_000 + b"</a>",
    "10 MB of text": b"<a>" + b"x" * 10_000_000,
    "10 MB of an attribute": b'<a b="' + b"x" * 10_000_000,
    "10 MB of a name": b"<" + b"x" * 10_000_000,
    "10 MB of elements": b"<a>" + b"<b/>" * 2_500_000,
    "10 MB of a comment": b"<!-- " + b"x" * 10_000_000,
    "10 MB of no XML": b"x" * 10_000_000,
    "an unknown encoding": b'<?xml version="1.0" encoding="klingon"?><show_state/>',
    "an encoding that Python knows": b'<?xml version="1.0" encoding="utf-7"?><show_state/>',
    "another encoding than said": b'<?xml version="1.0" encoding="utf-16"?><show_state/>',
    "bytes that are not UTF-8": '<?xml version="1.0" encoding="utf-8"?><a>ä</a>'.encode("latin-1"),
    "UTF-16": "<?xml version='1.0' encoding='utf-16'?><show_state/>\n".encode("utf-16"),
    "a frame of 4 GiB": b"\xff\xff\xff\xffC" + b"\0" * 4 + b"<" * 100_000,
    "HTTP": b"GET / HTTP/1.1\r\nHost: <script>\r\n\r\n",
    "TLS": bytes.fromhex("16030100f5010000f10303") + b"\x0a" * 250,
}

# What only a client of the extended dialect would say, and no such does.
STRANGE = {
    "version 0": HELLO.replace('version="1"', 'version="0"'),
    "a version that is no number": HELLO.replace('version="1"', 'version="one"'),
    "a version of 30 digits": HELLO.replace('version="1"', f'version="{"9" * 30}"'),
    "an unknown authentication": HELLO.replace('"none"', '"trust-me"'),
    "a hello without an id": HELLO.replace('id="1" ', ""),
    "a second hello": HELLO + HELLO.replace('id="1"', 'id="2"'),
    "a start before the hello": start(2, uuid(9), 2000, TOKEN, "true"),
    "a privileged port": HELLO + start(2, uuid(9), 22, TOKEN, "true"),
    "a short token": HELLO + start(2, uuid(9), 2000, b"short", "true"),
    "no UUID": HELLO + start(2, "../../etc/passwd", 2000, TOKEN, "true"),
    "a script of 10 MB": HELLO + start(2, uuid(9), 2000, TOKEN, "x" * 10_000_000),
}

_WARNING = re.compile(r"^.*#warn\].*$", re.MULTILINE)


class NonsenseTests(CommandTestCase):
    """
    A stranger says nonsense.
    """

    def setUp(self) -> None:
        """
        Sockets are closed in the end.
        """
        super().setUp()
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)

    async def saysOneLine(self, program: Program, what: str, before: int) -> int:
        """
        There is one more line in the log than before, and it is short.

        @return: how many bytes there are now.
        """
        await self.until(lambda: program.output.count(b"\n", before))
        lines = program.output[before:].decode().splitlines()
        self.assertEqual(len(lines), 1, (what, lines))
        self.assertIn("#warn]", lines[0])
        self.assertLess(len(lines[0]), 600, what)
        return len(program.output)

    def talk(
        self, port: int, words: bytes, source: str = LOOPBACK, answer: bool = False
    ) -> tuple[bytes, str]:
        """
        Say something to a port, and hear what comes until the connection ends.

        @param answer: whether an answer is enough.
        """
        with socket.create_connection((LOOPBACK, port), PATIENCE, (source, 0)) as connected:
            try:
                connected.sendall(words)
            except ConnectionError:
                return b"", "reset"  # it has heard enough
            return everything(connected, answer=answer)

    async def test_commandPorts(self) -> None:
        """
        At the command ports of both roles, which keep nothing of it.
        """
        config = self.write("client.xml", "<spooler><config/></spooler>")
        for role, options in (("remote", ()), ("client", ("--config", config))):
            program = self.service(role, *options)
            port = await portOf(program, role)
            self.assertEqual((await ask(port, "<show_state/>")).name, "state")
            before = psutil.Process(program.transport.pid).memory_info().rss
            seen = len(program.output)
            for what, words in NONSENSE.items():
                heard, end = await deferToThread(self.talk, port, words, answer=True)
                self.assertNotEqual(end, "silent", what)
                self.assertTrue(end != "answered" or b"<ERROR" in heard, what)
                self.assertNotIn(b"root:", heard)
                self.assertLess(len(heard), 1000)
                seen = await self.saysOneLine(program, what, seen)
            self.assertEqual((await ask(port, "<show_state/>")).name, "state")
            after = psutil.Process(program.transport.pid).memory_info().rss
            self.assertLess(after - before, MAX_GROWTH)

    async def test_strangeClients(self) -> None:
        """
        By a client that was greeted, or would be.
        """
        remote = await self.remote()
        port = int(remote.rpartition(":")[2])
        seen = len(self.service_.output)
        for what, words in STRANGE.items():
            _, end = await deferToThread(self.talk, port, words.encode())
            self.assertNotEqual(end, "silent", what)
            seen = await self.saysOneLine(self.service_, what, seen)
        self.assertEqual(await self.jsremote("run", remote, "--", "true"), (0, b"", b""))

    async def test_callbackPort(self) -> None:
        """
        At the callback port of a client whose remote has not called yet: one
        line for each place that it comes from. Then the job succeeds.
        """
        words = {
            "a frame of 4 GiB": b"\xff\xff\xff\xffC\0\0\0\0" + b"x" * 100_000,
            "a frame of 4 GiB on another channel": b"\xff\xff\xff\xff1\0\0\0\1",
            "a long proof": b"\0\0\x10\x01C\0\0\0\0",
            "deep msgpack": b"\0\0\x10\0C\0\0\0\0" + b"\x91" * 4091,
            "a long map": b"\0\0\0\x0aC\0\0\0\0\xdf\xff\xff\xff\xff",
            **{what: NONSENSE[what] for what in ("10 MB of no XML", "HTTP", "TLS", "entities")},
        }
        remote = int((await self.remote()).rpartition(":")[2])
        over = Event()
        between = Between(
            self.stack, remote, passing=lambda said: b"start_remote" in said and over.wait(PATIENCE)
        )
        self.addCleanup(over.set)
        callback = freePort()
        config = self.write(
            "client.xml",
            "<spooler><config><process_classes>"
            f'<process_class name="slow" remote_scheduler="{LOOPBACK}:{between.port}" '
            'max_processes="1"/>'
            '</process_classes><jobs><job name="a" process_class="slow">'
            '<script language="shell">true</script></job></jobs></config></spooler>',
        )
        ports = ("--callback-ports", f"{callback}-{callback}")
        client = self.service("client", "--config", config, *ports)
        command = await portOf(client, "client")
        self.assertEqual((await ask(command, '<start_job job="/a"/>')).name, "ok")
        await self.until(lambda: b"start_remote" in between.said)
        await self.until(lambda: b" is asked for " in client.output)  # which is written later
        seen = len(client.output)
        for number, (what, said) in enumerate(words.items(), 2):
            got = await deferToThread(self.talk, callback, said, f"127.0.0.{number}")
            self.assertEqual(got, (b"", "reset"), what)
            seen = await self.saysOneLine(client, what, seen)
        over.set()
        await client.says("Task 1 of job a is over: exited 0.*")

    async def test_provenClient(self) -> None:
        """
        From a client that has proved itself, on the confirmation connection: its
        task is killed.
        """
        remote = await self.remote()
        self.port = int(remote.rpartition(":")[2])
        for number, words in enumerate(
            (
                b"\xff\xff\xff\xff0\0\0\0\1",
                b"\0\x10\0\x010\0\0\0\1",
                b"\0\0\0\0",
                b"\0\0\0\x05h\0\0\0\1",
                b"\0\0\0\x05K\0\0\0\1",
                b"\0\0\0\x05e\0\0\0\2",
                b"\0\0\0\x15a\0\0\0\1" + b"\xff" * 16,
                b"\0\0\0\x0e0\0\0\0\1" + b"\xff" * 8 + b"x",
                b"\0\0\0\x06C\0\0\0\0\x80",
            ),
            100,
        ):
            await self._isOver(uuid(number), words)
        self.assertEqual(await self.jsremote("run", remote, "--", "true"), (0, b"", b""))

    async def _isOver(self, task: str, words: bytes) -> None:
        warned = len(_WARNING.findall(self.service_.output.decode()))
        end = await deferToThread(self._disturb, task, words)
        self.assertEqual(end, "reset", words)
        over = f"{task} is over".encode()
        await self.until(lambda: over in self.service_.output)
        warnings = _WARNING.findall(self.service_.output.decode())
        self.assertEqual(len(warnings), warned + 1, (words, warnings[warned:]))

    def _disturb(self, task: str, words: bytes) -> str:
        with ExitStack() as stack:
            callback = CallbackPort(stack)
            commands = Commands(stack, self.port)
            commands.say(start(2, task, callback.number, TOKEN, "exec sleep 600"))
            caller = callback.accept()
            caller.prove(task, TOKEN)
            caller.hearFields("S")
            caller.socket.sendall(words)
            return everything(caller.socket)[1]
