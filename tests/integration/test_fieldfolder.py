"""
A configuration as people have it, at real services.
"""

from __future__ import annotations

from twisted.internet import reactor as installed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from jobscheduler_tcp.wire.documents import Element
from tests.fieldfolder import fieldFolder
from tests.integration.freeports import freePort
from tests.integration.services import Program, ServiceTestCase, ask

# What each job says on stdout.
SAYS = {
    "scheduler_hello": "hello from scheduler_hello",
    "daily_backup": "backup to /srv/backup, keep 14 days",
    "Umsatz & Co/Umsatz \xdcbersicht": "Ums\xe4tze in S\xfcd",
    "import/list files": "two words /srv/files",
}


class FieldTests(ServiceTestCase):
    """
    The folder, with ports that are free here.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        super().setUp()
        self.client, self.remote = freePort(), freePort()
        self.path = self.directory / "field"
        live = fieldFolder(self.path)
        for path in (self.path / "scheduler.xml", *live.rglob("*.process_class.xml")):
            data = path.read_bytes()
            data = data.replace(b"4444", b"%d" % self.client)
            path.write_bytes(data.replace(b"4455", b"%d" % self.remote))

    def service_(self, role: str, *options: str) -> Program:
        """
        Start a service.
        """
        return self.twistd("-n", "--pidfile=", "jsremote", "--role", role, *options)

    async def until(self, document: str, attribute: str, value: str) -> Element:
        """
        Ask until an answer has this value.
        """
        while True:
            answer = await ask(self.client, document)
            if answer.attributes.get(attribute) == value:
                return answer
            await deferLater(IReactorTime(installed), 0.05)

    async def test_abort(self) -> None:
        """
        A client that is aborted is gone at once, without an answer.
        """
        client = self.service_("client", "--config", str(self.path / "scheduler.xml"))
        await client.says(".*jsremote client listens on .*")
        with self.assertRaises((ConnectionDone, ConnectionLost)):
            await ask(self.client, '<modify_spooler cmd="abort_immediately"/>')
        self.assertEqual(await client.exits(), 1)

    async def test_runs(self) -> None:
        """
        Jobs of all kinds run with their parameters, whatever their names and
        encodings, an order runs to its end, and nothing that is passed over stops
        the client, which ends when it is told to.
        """
        listen = f"tcp:{self.remote}:interface=127.0.0.1"
        remote = self.service_("remote", "--listen", listen)
        client = self.service_("client", "--config", str(self.path / "scheduler.xml"))
        await remote.says(".*jsremote remote listens on .*")
        await client.says(".*jsremote client listens on .*")
        await client.says(".*Configured: 9 jobs, 3 job chains, 4 process classes")
        await client.says(".*Order import/import:at once came to its end: success")
        for name, line in SAYS.items():
            quoted = name.replace("&", "&amp;")
            answer = await ask(self.client, f'<start_job job="/{quoted}"/>')
            number = answer.children[0].attributes["id"]
            task = await self.until(f'<show_task id="{number}" what="log"/>', "state", "closed")
            self.assertEqual(task.attributes["exit_code"], "0", name)
            self.assertIn(line, task.children[-1].text)
        await self.until('<show_job job="/retired"/>', "state", "disabled")
        client.output = b""
        answer = await ask(
            self.client, '<modify_order job_chain="/import/import" order="by hand" at="now"/>'
        )
        self.assertEqual(answer.name, "ok")
        await client.says(".*Order import/import:by hand came to its end: success")
        self.assertEqual((await ask(self.client, "<terminate/>")).name, "ok")
        self.assertEqual(await client.exits(), 0)
