"""
The same start twice, and the end of one tree of processes beside another: by a
client that somebody else wrote, on sockets of its own.
"""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from twisted.internet.threads import deferToThread

from jobscheduler_tcp.wire.documents import Element
from tests.integration.freeports import freePort
from tests.integration.plain import CallbackPort, Commands, start, uuid
from tests.integration.services import CommandTestCase
from tests.integration.test_launcher import NASTY, NASTY_SIZE, isAlive

TOKEN = bytes(range(16))


class StartsTests(CommandTestCase):
    """
    A start has a UUID, and is one task whatever else happens.
    """

    async def test_again(self) -> None:
        """
        The same start four times at once on two connections, and three times
        after the end of its task, one of them on a third connection: one task
        runs, and all are answered alike.
        """
        port = int((await self.remote()).rpartition(":")[2])
        marker = self.directory / "marker"
        await deferToThread(self._again, port, marker)
        self.assertEqual(marker.read_text(), "ran\n")

    def _again(self, port: int, marker: Path) -> None:
        with ExitStack() as stack:
            callback = CallbackPort(stack)
            task = uuid(1)

            def said(number: int) -> str:
                return start(number, task, callback.number, TOKEN, f"echo ran >> {marker}")

            first, second = Commands(stack, port), Commands(stack, port)
            first.say(said(2) + said(3))
            second.say(said(2))
            second.say(said(3))
            caller = callback.accept()
            caller.prove(task, TOKEN)
            self.assertEqual(caller.untilEnd()["reason"], "exited")
            answers = [first.hear(), first.hear(), second.hear(), second.hear()]
            first.say(said(4))
            second.say(said(4))
            third = Commands(stack, port)
            third.say(said(2))
            answers += [first.hear(), second.hear(), third.hear()]
            self.assertEqual([number for number, _ in answers], list("2323442"))
            alike = [answer for _, answer in answers]
            self.assertEqual(alike, [alike[0]] * len(alike))
            self.assertEqual((alike[0].name, alike[0].attributes["task"]), ("process", task))
            self.assertFalse(callback.isCalled())

    async def test_otherContent(self) -> None:
        """
        The same UUID with anything else in it is refused, while the task runs
        and afterwards; the task is not disturbed.
        """
        port = int((await self.remote()).rpartition(":")[2])
        marker = self.directory / "marker"
        await deferToThread(self._otherContent, port, marker)
        self.assertEqual(marker.read_text(), "ran\n")

    def _otherContent(self, port: int, marker: Path) -> None:
        with ExitStack() as stack:
            callback, other = CallbackPort(stack), CallbackPort(stack)
            task = uuid(2)
            script = f"read line; echo ran >> {marker}"
            said = start(2, task, callback.number, TOKEN, script, stdin="yes")
            others = [
                start(3, task, callback.number, TOKEN, f"{script} # another", stdin="yes"),
                start(4, task, callback.number, bytes(16), script, stdin="yes"),
                start(5, task, other.number, TOKEN, script, stdin="yes"),
                start(6, task, callback.number, TOKEN, script, stdin="yes", grace="1"),
            ]
            first, second = Commands(stack, port), Commands(stack, port)
            first.say(said)
            caller = callback.accept()
            caller.prove(task, TOKEN)
            self.assertEqual(first.hear()[1].name, "process")
            for connection in (first, second):
                self._refuses(connection, others)
            caller.say("0", 1, bytes(8) + b"go\n")
            self.assertEqual(caller.untilEnd()["reason"], "exited")
            self._refuses(second, others)
            self.assertFalse(callback.isCalled() or other.isCalled())

    def _refuses(self, connection: Commands, others: list[str]) -> None:
        for number, document in enumerate(others, 3):
            connection.say(document)
            got, answer = connection.hear()
            self.assertEqual((got, answer.name), (str(number), "ERROR"))
            self.assertEqual(answer.attributes["code"], "jsremote-protocol-error")

    async def test_refusedAgain(self) -> None:
        """
        A start that failed, since nobody listens, is answered alike when it is
        sent again, though somebody listens by then.
        """
        port = int((await self.remote()).rpartition(":")[2])
        marker = self.directory / "marker"
        await deferToThread(self._refusedAgain, port, marker)
        self.assertFalse(marker.exists())

    def _refusedAgain(self, port: int, marker: Path) -> None:
        with ExitStack() as stack:
            number = freePort()
            said = start(2, uuid(3), number, TOKEN, f"touch {marker}")
            commands = Commands(stack, port)
            answers: list[Element] = []
            for listens in (False, True):
                if listens:
                    callback = CallbackPort(stack, number)
                commands.say(said)
                answers.append(commands.hear()[1])
            self.assertEqual(answers[0], answers[1])
            self.assertEqual(answers[0].attributes["code"], "jsremote-callback-refused")
            self.assertEqual(answers[0].attributes["errno"], "111")
            self.assertFalse(callback.isCalled())


class KillTests(CommandTestCase):
    """
    A task is killed with all that came of it, and nothing else is.
    """

    async def test_nasty(self) -> None:
        """
        Of two trees of processes that leave their session, fork twice and ignore
        SIGTERM, Ctrl-C ends one and leaves the other.
        """
        remote = await self.remote()
        command = ("run", remote, "--grace", "0.3", "--", sys.executable, "-c", NASTY)
        first, second = self.popen(*command), self.popen(*command)
        trees: list[list[int]] = []
        for process in (first, second):
            assert process.stdout is not None
            lines = [await deferToThread(process.stdout.readline) for _ in range(NASTY_SIZE)]
            trees.append([int(line) for line in lines])
            self.assertTrue(all(map(isAlive, trees[-1])))
        first.send_signal(signal.SIGINT)
        self.assertEqual(await self.ended(first), 130)
        self.assertFalse(any(map(isAlive, trees[0])))
        self.assertTrue(all(map(isAlive, trees[1])))
        second.send_signal(signal.SIGTERM)
        self.assertEqual(await self.ended(second), 143)
        self.assertFalse(any(map(isAlive, trees[1])))
