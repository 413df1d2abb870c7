"""
A client that dials the confirmation connection itself, on sockets of its own,
and what strangers and nonsense do there.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from twisted.internet.threads import deferToThread

from tests.integration.plain import Commands, Frames, everything, uuid
from tests.integration.services import CommandTestCase

TOKEN = bytes(range(16))

# What nobody says on a confirmation connection.
NONSENSE = {
    "4 GiB": b"\xff\xff\xff\xffL\0\0\0\0",
    "nothing": b"\0\0\0\0",
    "an unknown type": b"\0\0\0\x05?\0\0\0\0",
    "a document": b"<show_state/>",
}


def ask(number: int, connection: str) -> str:
    """
    Write the request for a connection that the client will dial.
    """
    return (
        f'<jsremote.confirmation id="{number}" connection="{connection}" callback="passive" '
        f'token="{TOKEN.hex()}"/>'
    )


def take(connection: str) -> str:
    """
    Write the first words on that connection.
    """
    return f'<jsremote.confirmation.take id="1" connection="{connection}"/>'


def start(number: int, task: str, connection: str) -> str:
    """
    Write a start that is confirmed there.
    """
    return (
        f'<remote_scheduler.start_remote_task id="{number}" task="{task}" callback="passive" '
        f'connection="{connection}"><script>echo hello</script>'
        "</remote_scheduler.start_remote_task>"
    )


class StandingTests(CommandTestCase):
    """
    The second connection to a command port.
    """

    async def test_tasks(self) -> None:
        """
        It carries one task after the other, each on a channel of its own; who
        takes it a second time is sent away.
        """
        port = int((await self.remote()).rpartition(":")[2])
        await deferToThread(self._tasks, port)

    def _tasks(self, port: int) -> None:
        with ExitStack() as stack:
            commands = Commands(stack, port)
            confirmation = self._taken(stack, commands, port, uuid(1))
            confirmation.proveStanding(uuid(1), TOKEN)
            self.assertIn(b"ERROR", self._tookInVain(stack, port, uuid(1)))
            for channel in (1, 2):
                commands.say(start(channel + 10, uuid(channel + 10), uuid(1)))
                letters = {}
                while "E" not in letters:
                    letter, got, body = confirmation.hear()
                    self.assertEqual(got, channel)
                    letters[letter] = body
                self.assertEqual("".join(letters), "AS1E")
                self.assertEqual(letters["1"], bytes(8) + b"hello\n")
                confirmation.say("K", channel)
                number, answer = commands.hear()
                self.assertEqual((number, answer.name), (str(channel + 10), "process"))

    async def test_nonsense(self) -> None:
        """
        Nonsense on it is one line in the log, before the proof and after it;
        what nobody asked for cannot be taken. The remote serves on.
        """
        remote = await self.remote()
        port = int(remote.rpartition(":")[2])
        number = 1
        for what, words in NONSENSE.items():
            for proves in (False, True):
                number += 1
                warnings = self._told()
                await deferToThread(self._disturb, port, uuid(number), words, proves)
                # Whatever is told of this is told before the next answer.
                await deferToThread(self._greet, port)
                await self.until(partial(self._told, warnings))
                self.assertEqual(self._told(), warnings + 1, (what, self.service_.output))
        for connection in (uuid(99), "nonsense", "x" * 10_000):
            seen = len(self.service_.output)
            with ExitStack() as stack:
                answer = await deferToThread(self._tookInVain, stack, port, connection)
            self.assertIn(b"ERROR", answer)
            self.assertLessEqual(self.service_.output[seen:].count(b"\n"), 1)
        self.assertEqual(
            await self.jsremote("run", "--callback", "passive", remote, "--", "echo", "a"),
            (0, b"a\n", b""),
        )

    def _disturb(self, port: int, connection: str, words: bytes, proves: bool) -> None:
        with ExitStack() as stack:
            confirmation = self._taken(stack, Commands(stack, port), port, connection)
            if proves:
                confirmation.proveStanding(connection, TOKEN)
            confirmation.socket.sendall(words)
            self.assertEqual(everything(confirmation.socket)[1], "reset")

    def _told(self, known: int = 0) -> int:
        return self.service_.output.count(b"#warn]") - known

    def _greet(self, port: int) -> None:
        with ExitStack() as stack:
            Commands(stack, port)

    def _taken(self, stack: ExitStack, commands: Commands, port: int, connection: str) -> Frames:
        commands.say(ask(2, connection))
        self.assertEqual(commands.hear()[1].name, "confirmation")
        taking = Commands(stack, port, greeting="")
        taking.say(take(connection))
        return Frames(taking.socket, untilNUL=True)

    def _tookInVain(self, stack: ExitStack, port: int, connection: str) -> bytes:
        taking = Commands(stack, port, greeting="")
        taking.say(take(connection))
        said, end = everything(taking.socket)
        self.assertNotEqual(end, "silent")
        return said
