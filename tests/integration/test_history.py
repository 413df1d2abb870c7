"""
The history of a client that is a process of its own.
"""

from __future__ import annotations

from tests.integration.services import Program, ServiceTestCase, ask, portOf
from tests.integration.test_twistd import JOBS, freePorts


class HistoryTests(ServiceTestCase):
    """
    What a client remembers.
    """

    async def client(self) -> tuple[Program, int]:
        """
        Start the client, perhaps again.
        """
        client = self.service(
            "client",
            *("--config", str(self.directory / "client.xml")),
            *("--callback-ports", freePorts()),
            *("--state-dir", str(self.directory / "kept")),
        )
        return client, await portOf(client, "client")

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
