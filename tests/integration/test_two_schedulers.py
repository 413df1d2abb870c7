"""
Two services from the files of two JobSchedulers, as people have them: a client
with a live folder, and a remote.
"""

from __future__ import annotations

from pathlib import Path
from shutil import copytree, rmtree

from twisted.internet import reactor as installed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from jobscheduler_tcp.wire.documents import Element
from tests.integration.freeports import freePort
from tests.integration.services import Program, ServiceTestCase, ask

EXAMPLE = Path(__file__).resolve().parent.parent / "data" / "two-schedulers"

# Of this example the log has the lines that a real JobScheduler's log has, with
# others around them.
_TASK = r".*Task [0-9]+ of job {job}, {stream}: {line}"


# A client that tries for one second to connect where it would for ten.
IMPATIENT = (
    "import jobscheduler_tcp.client.connection as c; c.CONNECT_TIMEOUT = 1.0; "
    "import jobscheduler_tcp.client.placing as p; p.RETRY = 1.0"
)


def _printed(job: str, stream: str, line: str) -> str:
    return _TASK.format(job=job, stream=stream, line=line)


class TwoSchedulersTests(ServiceTestCase):
    """
    The example, with ports that are free here.
    """

    def setUp(self) -> None:
        """
        Copy the files.
        """
        super().setUp()
        copytree(EXAMPLE, self.directory / "example")
        self.ports = [freePort(), freePort()]
        for path in (self.directory / "example").rglob("*.xml"):
            text = path.read_text("latin-1")
            for old, new in zip(("4444", "4455"), self.ports, strict=True):
                text = text.replace(old, str(new))
            path.write_text(text, "latin-1")
        self.live = self.directory / "example" / "client" / "live"

    async def service_(self, role: str, before: str = "pass") -> Program:
        """
        Start a service, which says no warning of its files.

        @param before: Python code to run before.
        """
        path = self.directory / "example" / role / "scheduler.xml"
        service = ("-n", "--pidfile=", "jsremote", "--role", role, "--config", str(path))
        program = self.twistd(*service, before=before)
        await program.says(rf".*jsremote {role} listens on 127\.0\.0\.1:[0-9]+")
        self.assertNotIn(b"ignored", program.output)
        return program

    async def say(self, document: str) -> Element:
        """
        Say a command to the client.
        """
        return await ask(self.ports[0], document)

    async def until(self, document: str, attribute: str, value: str) -> Element:
        """
        Ask until an answer has this value, or what begins so.
        """
        while True:
            answer = await self.say(document)
            if answer.attributes.get(attribute, "").startswith(value):
                return answer
            await deferLater(IReactorTime(installed), 0.05)

    async def test_example(self) -> None:
        """
        The report prints what it should, the order passes both nodes, and what
        the first gives back is a parameter of the second.
        """
        await self.service_("remote")
        client = await self.service_("client")
        answer = await self.say('<start_job job="/report"/>')
        self.assertEqual(answer.children[0].attributes["state"], "none")
        await client.says(_printed("report", "stdout", "report of berlin"))
        await client.says(_printed("report", "stderr", "a warning"))
        task = await self.until('<show_task id="1"/>', "state", "closed")
        self.assertEqual(task.attributes["exit_code"], "0")

        answer = await self.say(
            '<add_order job_chain="/nightly" id="1"><params><param name="day" '
            'value="2026-11-22"/></params></add_order>'
        )
        self.assertEqual(answer.name, "ok")
        await client.says(_printed("extract", "stdout", "row 3 of 2026-11-22"))
        line = r"loading /var/spool/2026-11-22\.csv for order 1"
        await client.says(_printed("load", "stdout", line))
        await client.says(".*Order nightly:1 came to its end: done")
        task = await self.until('<show_task id="3"/>', "state", "closed")
        self.assertEqual((task.attributes["job"], task.attributes["exit_code"]), ("/load", "0"))

    async def test_changes(self) -> None:
        """
        A new job, and a new process class for it, are taken up at once; a file
        that is wrong is told with its line, and changes nothing.
        """
        await self.service_("remote")
        client = await self.service_("client")
        folder = self.live / "folder"
        folder.mkdir()
        (folder / "more.job.xml").write_text(
            '<job process_class="day"><script language="shell">echo in $SCHEDULER_JOB_NAME'
            "</script></job>"
        )
        job = await self.until('<show_job job="/folder/more"/>', "state", "error")
        self.assertEqual(job.attributes["state_text"], "there is no process class /folder/day")
        await self.say('<start_job job="/folder/more"/>')
        text = (self.live / "night.process_class.xml").read_text("latin-1")
        (folder / "day.process_class.xml").write_text(text)
        await client.says(_printed("folder/more", "stdout", "in more"))
        (self.live / "report.job.xml").write_text("<job>\n<oops")
        await client.says(r".*report\.job\.xml:2: expected XML.*")
        await self.say('<start_job job="/report"/>')
        await client.says(_printed("report", "stdout", "report of berlin"))
        # A directory that is gone and one that comes are heard of, too.
        rmtree(folder)
        await self.until('<show_job job="/folder/more"/>', "code", "SCHEDULER-161")
        (self.live / "other").mkdir()
        (self.live / "other" / "late.job.xml").write_text(
            '<job process_class="/night"><script language="shell">echo late</script></job>'
        )
        await self.until('<show_job job="/other/late"/>', "state", "pending")
        await self.say('<start_job job="/other/late"/>')
        await client.says(_printed("other/late", "stdout", "late"))

    async def test_remoteDown(self) -> None:
        """
        A task waits for a remote that is down, says so, can be killed all the
        same, and runs when the remote is there.
        """
        client = await self.service_("client", IMPATIENT)
        await self.say('<start_job job="/report"/>')
        await self.say('<start_job job="/report"/>')
        await self.until('<show_task id="1"/>', "why", "SCHEDULER-489")
        await self.until('<show_job job="/report"/>', "waiting_for_process", "yes")
        await self.say('<kill_task job="/report" id="1" immediately="yes"/>')
        await self.until('<show_task id="1"/>', "reason", "cancelled")
        await self.service_("remote")
        await client.says(_printed("report", "stdout", "report of berlin"))
        task = await self.until('<show_task id="2"/>', "state", "closed")
        self.assertEqual(task.attributes["exit_code"], "0")
