"""
The history of a client that is a process of its own.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from jobscheduler_tcp.wire.documents import Element
from tests.integration.freeports import freePorts
from tests.integration.services import PATIENCE, CommandTestCase, Program, ask, portOf
from tests.integration.test_twistd import JOBS

LATER = '<start_job job="/greet" at="now+86400"/>'


class ClientTestCase(CommandTestCase):
    """
    Help with clients that remember.
    """

    async def client(self, before: str = "pass") -> tuple[Program, int]:
        """
        Start the client, perhaps again.

        @param before: Python code to run before.
        """
        client = self.service(
            "client",
            *("--config", str(self.directory / "client.xml")),
            *("--callback-ports", freePorts()),
            *("--state-dir", str(self.directory / "kept")),
            before=before,
        )
        return client, await portOf(client, "client")

    async def both(self, before: str = "pass") -> str:
        """
        Start a remote and a client, and tell where the client listens.

        @param before: Python code to run before, in the client.
        """
        remote = self.service("remote")
        self.write("client.xml", JOBS.format(port=await portOf(remote, "remote")))
        _, port = await self.client(before)
        return f"127.0.0.1:{port}"


class HistoryTests(ClientTestCase):
    """
    What a client remembers.
    """

    async def test_kill(self) -> None:
        """
        A client that is killed and started anew knows its tasks, shows their
        logs, and gives them no numbers that were given.
        """
        remote = self.service("remote")
        self.write("client.xml", JOBS.format(port=await portOf(remote, "remote")))
        client, port = await self.client()
        await ask(port, '<start_job job="/greet"/>')
        await client.says(r"Task 1 of job greet is over: exited 3.*")
        client.signal("KILL")
        await client.exits()

        client, port = await self.client()
        history = await ask(port, '<show_history job="/greet"/>')
        (entry,) = history.children
        self.assertEqual(entry.attributes["task"], "1")
        self.assertEqual(entry.attributes["error_code"], "SCHEDULER-280")
        task = await ask(port, '<show_task id="1" what="log"/>')
        (log,) = [child for child in task.children if child.name == "log"]
        self.assertIn("(Job  greet) [stdout] hello world\n", log.text)
        self.assertIn("(Job  greet) [stderr] oops\n", log.text)
        answer = await ask(port, '<start_job job="/greet"/>')
        number = int(answer.children[0].attributes["id"])
        self.assertGreater(number, 1)

        await client.says(rf"Task {number} of job greet is over: exited 3.*")
        client.signal("TERM")
        await client.exits()
        client, port = await self.client()
        answer = await ask(port, '<start_job job="/greet"/>')
        self.assertEqual(answer.children[0].attributes["id"], str(number + 1))

    async def test_taken(self) -> None:
        """
        A second client does not start in the same folder; one line tells why.
        """
        self.write("client.xml", JOBS.format(port=1))
        await self.client()
        second = self.service("client", "--state-dir", str(self.directory / "kept"))
        self.assertEqual(await second.exits(), 1)
        line = second.errors.decode()
        self.assertEqual(line.count("\n"), 1, line)
        self.assertIn("another client uses this state directory", line)

    async def test_locked(self) -> None:
        """
        While another program has the history locked, tasks that run go on, new
        ones are refused; then all of them are in it.
        """
        impatient = "import jobscheduler_tcp.client.database as d; d.BUSY = d.RETRY = 0.2"
        port = int((await self.both(impatient)).partition(":")[2])
        await ask(port, '<start_job job="/sleep"/>')
        with closing(sqlite3.connect(self.directory / "kept" / "history.sqlite")) as other:
            other.execute("BEGIN EXCLUSIVE")
            await ask(port, '<kill_task job="/sleep" id="1" immediately="yes"/>')
            # It is answered when it is written; who comes when that is known to
            # fail is refused.
            waiting = [Deferred.fromCoroutine(ask(port, '<start_job job="/greet"/>'))]
            refused: list[Element] = []
            while not refused:
                asked = Deferred.fromCoroutine(ask(port, LATER))
                await deferLater(IReactorTime(installed), 0.05)
                if asked.called:
                    refused.append(await asked)
                else:
                    waiting.append(asked)
            self.assertEqual(refused[0].attributes["code"], "SCHEDULER-184")
            other.rollback()
        answers = [await each for each in waiting]
        numbers = [each.children[0].attributes["id"] for each in answers if each.name == "ok"]
        self.assertEqual(numbers, [str(number) for number in range(2, 2 + len(numbers))])
        while (said := await ask(port, LATER)).name != "ok":
            await deferLater(IReactorTime(installed), 0.05)
        self.assertEqual(said.children[0].attributes["id"], str(2 + len(numbers)))
        history = await ask(port, "<show_history/>")
        while len(history.children) < 2:  # a task may go on for a moment
            await deferLater(IReactorTime(installed), 0.05)
            history = await ask(port, "<show_history/>")
        self.assertEqual([entry.attributes["task"] for entry in history.children], ["2", "1"])

    async def test_burst(self) -> None:
        """
        Many starts in one document are all taken.
        """
        port = int((await self.both()).partition(":")[2])
        count = 300  # as many as the answer can have
        starts = '<start_job job="/greet" at="now+86400"/>' * count
        for number in range(6):
            first = await ask(port, f"<commands>{starts}</commands>")
            self.assertEqual(first.children[0].attributes["id"], str(number * count + 1))


class CommandTests(ClientTestCase):
    """
    C{jsremote start-job}, C{kill}, C{history} and C{log}.
    """

    async def test_life(self) -> None:
        """
        A job is started and waited for: its exit code is ours; it is in the
        history and has a log.
        """
        client = await self.both()
        code, out, err = await self.jsremote("start-job", "/greet", client, "--wait")
        self.assertEqual((code, out), (3, b"task 1 exited 3\n"))
        # As in JobScheduler, a job that failed starts no task until it is told to.
        code, out, err = await self.jsremote("modify-job", "greet", "unstop", client)
        self.assertEqual((code, out, err), (0, b"job /greet pending\n", b""))
        code, out, err = await self.jsremote("start-job", "greet", client, "--wait", "--json")
        self.assertEqual((code, json.loads(out)["exit_code"]), (3, "3"))

        code, out, err = await self.jsremote("history", client)
        self.assertEqual((code, err), (0, b""))
        heading, last, first = out.decode().splitlines()
        self.assertEqual(heading.split()[:2], ["task", "job"])
        self.assertEqual((last.split()[:2], first.split()[:2]), (["2", "greet"], ["1", "greet"]))
        code, out, err = await self.jsremote(
            "history", client, "--json", "--job=/greet", "--before=2", "-n", "1"
        )
        (entry,) = json.loads(out)["history"]
        self.assertEqual((entry["task"], entry["exit_code"]), ("1", "3"))

        code, out, err = await self.jsremote("log", "1", client)
        self.assertEqual((code, err), (0, b""))
        self.assertIn(b"(Job  greet) [stdout] hello world\n", out)
        self.assertIn(b"Task 1 ended: exited\n", out)

    async def test_follow(self) -> None:
        """
        The log of a task that runs is followed to its end, which a kill brings.
        """
        client = await self.both()
        code, out, err = await self.jsremote("start-job", "sleep", client)
        self.assertEqual((code, out, err), (0, b"task 1\n", b""))
        log = self.popen("log", "-f", "1", client)
        assert log.stdout is not None
        while b"child=" not in (line := await deferToThread(log.stdout.readline)):
            self.assertNotEqual(line, b"")
        code, out, err = await self.jsremote("kill", "1", client)
        self.assertEqual((code, err), (0, b""))
        rest, _ = await deferToThread(log.communicate, None, PATIENCE)
        self.assertIn(b"SCHEDULER-279  Process terminated with signal 9 (SIGKILL)\n", rest)
        self.assertEqual(log.returncode, 0)
        code, out, err = await self.jsremote("kill", "1", client)
        self.assertEqual((code, out), (0, b""))
        self.assertIn(b"task 1 is over already: killed 9", err)

    async def test_refused(self) -> None:
        """
        What a client does not have is one line, and 66.
        """
        client = await self.both()
        for arguments in (("start-job", "nosuch"), ("log", "77"), ("kill", "77")):
            code, out, err = await self.jsremote(*arguments, client)
            self.assertEqual((code, out), (66, b""))
            self.assertIn(b"SCHEDULER-", err)
            self.assertEqual(err.count(b"\n"), 1)
        code, out, err = await self.jsremote("history", client)
        self.assertEqual((code, out), (0, b"no task is over\n"))

    async def test_noClient(self) -> None:
        """
        Whoever does not know such a command is no client: 70.
        """
        remote = await self.remote()
        for arguments in (("start-job", "nosuch"), ("log", "77"), ("history",)):
            code, out, err = await self.jsremote(*arguments, remote)
            self.assertEqual((code, out), (70, b""))
            self.assertIn(b"is no client of this version", err)
            self.assertEqual(err.count(b"\n"), 1)
