"""
Tests for L{jobscheduler_tcp.config.livefolder}, L{jobscheduler_tcp.config.objects}
and who watches them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from hypothesis import given, settings, strategies
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.cli.checkconfig import checkConfig
from jobscheduler_tcp.client.watching import POLL, POLL_WATCHED, SETTLE, LiveConfiguration
from jobscheduler_tcp.config import reader
from jobscheduler_tcp.config.livefolder import Live, LiveFolder
from jobscheduler_tcp.config.model import STOP, Objects

JOB = '<job process_class="night"><script language="shell">true</script></job>'
CLASS = '<process_class remote_scheduler="127.0.0.1:4455"/>'
CHAIN = """\
<job_chain orders_recoverable="no" title="t">
  <job_chain_node state="1" job="a" error_state="bad"/>
  <job_chain_node state="2" job="/folder/b" next_state="end" error_state="bad" on_error="setback"/>
  <job_chain_node state="end"/>
  <job_chain_node.end state="bad"/>
</job_chain>
"""


class FolderTestCase(SynchronousTestCase):
    """
    Help with a live folder.
    """

    def setUp(self) -> None:
        """
        Make a directory.
        """
        self.directory = Path(mkdtemp(prefix="jsremote-live-"))
        self.addCleanup(rmtree, self.directory)
        self.live = self.directory / "live"
        self.live.mkdir()
        self.folder = LiveFolder(str(self.live), str(self.directory))

    def write(self, name: str, text: str) -> Path:
        """
        Write a file, in one step.
        """
        path = self.live / name
        path.parent.mkdir(exist_ok=True, parents=True)
        other = path.with_name(f".{path.name}")
        other.write_text(text, "utf-8")
        other.rename(path)
        return path

    def read(self) -> Live:
        """
        Read the folder, which must be right.
        """
        live = self.folder.read()
        self.assertEqual(live.errors, ())
        return live

    def error(self, name: str, text: str) -> str:
        """
        Write a file that is wrong, and return what is said of it.
        """
        path = self.write(name, text)
        (error,) = self.folder.read().errors
        path.unlink()
        return error.removeprefix(f"{self.live}/")


class ReadTests(FolderTestCase):
    """
    What the files say.
    """

    def test_paths(self) -> None:
        """
        Directories are folders: a name belongs to the folder of its file, one
        with a slash to the root.
        """
        self.write("a.job.xml", JOB)
        self.write("folder/b.job.xml", JOB)
        self.write("folder/c.job.xml", JOB.replace('"night"', '"/night"'))
        self.write("folder/d.job.xml", JOB.replace('"night"', '"../night"'))
        self.write("folder/inner/night.process_class.xml", CLASS)
        self.write("folder/chain.job_chain.xml", CHAIN)
        self.write("folder/chain,7.order.xml", '<order title="o"><run_time/></order>')
        self.write(".svn/e.job.xml", JOB)
        self.write("notes.txt", "hello")
        objects = self.read().objects
        self.assertEqual(
            [(each.name, each.processClass) for each in objects.jobs],
            [
                ("a", "night"),
                ("folder/b", "folder/night"),
                ("folder/c", "night"),
                ("folder/d", "night"),
            ],
        )
        self.assertEqual([each.name for each in objects.processClasses], ["folder/inner/night"])
        (chain,) = objects.chains
        self.assertEqual((chain.name, chain.title, chain.recoverable), ("folder/chain", "t", False))
        self.assertEqual(
            [(node.state, node.job, node.nextState) for node in chain.nodes],
            [("1", "folder/a", "2"), ("2", "folder/b", "end"), ("end", "", ""), ("bad", "", "")],
        )
        (order,) = objects.orders
        self.assertEqual((order.chain, order.id, order.waits), ("folder/chain", "7", True))

    def test_action(self) -> None:
        """
        A node may be stopped or passed over.
        """
        for said in ("process", "stop", "next_state"):
            changed = CHAIN.replace('job="a"', f'job="a" action="{said}"')
            self.write(f"{said}.job_chain.xml", changed)
        found = self.read()
        meant = {chain.name: chain.nodes[0].action for chain in found.objects.chains}
        self.assertEqual(meant, {"process": "", "stop": "stop", "next_state": "next_state"})
        self.assertEqual([each for each in found.warnings if "action" in each], [])

    def test_job(self) -> None:
        """
        A job says how its tasks run, and what their failures mean.
        """
        self.write(
            "a.job.xml",
            """<job name="a" title="t" order="yes" tasks="3" stop_on_error="no" enabled="no"
                visible="never" ignore_signals="SIGTERM kill 3" timeout="01:00:00" idle_timeout="5"
                silence="90">
              <params><param name="p" value="1"/></params>
              <environment><variable name="e" value="2"/></environment>
              <script language="shell"><![CDATA[ echo 1 ]]></script>
              <description>text</description>
              <delay_after_error error_count="5" delay="stop"/>
              <delay_after_error error_count="2" delay="00:01"/>
              <delay_order_after_setback setback_count="2" delay="30"/>
              <delay_order_after_setback setback_count="4" is_maximum="yes"/>
              <run_time/>
            </job>""",
        )
        live = self.read()
        self.assertEqual(live.warnings, ())
        (job,) = live.objects.jobs
        self.assertEqual((job.order, job.tasks, job.stopOnError), (True, 3, False))
        self.assertEqual((job.enabled, job.visible, job.work.wallTime), (False, False, 3600.0))
        self.assertEqual(job.work.silence, 90.0)
        self.assertEqual(job.ignoreSignals, {15, 9, 3})
        self.assertEqual(job.delaysAfterError, ((2, 60.0), (5, STOP)))
        self.assertEqual((job.setbackDelays, job.maxSetbacks), (((2, 30.0),), 4))
        self.assertEqual((job.work.script, job.work.environment), ("echo 1", (("e", "2"),)))

    def test_process(self) -> None:
        """
        A program is run by the remote's shell, which puts in variables, and does
        nothing else with the words.
        """
        self.write(
            "a.job.xml",
            '<job><process file="/bin/$X" param="$ONE `id` &quot;two words&quot; 5$ *" '
            'ignore_error="yes" ignore_signal="yes"><environment><variable name="A" value="1"/>'
            "</environment></process></job>",
        )
        (job,) = self.read().objects.jobs
        self.assertEqual(job.work.script, 'exec "/bin/$X" "$ONE" "\\`id\\`" "two words" "5\\$" "*"')
        self.assertEqual(job.work.environment, (("A", "1"),))
        self.assertTrue(job.ignoreError)
        self.assertIn(9, job.ignoreSignals)

    def test_include(self) -> None:
        """
        Files are put into a script where they stand: of the live folder, seen
        from the job, or of the include path; a change in one is taken up.
        """
        self.write("folder/part.sh", "echo part\n")
        self.write("top.sh", "echo top\n")
        (self.directory / "own.sh").write_bytes(b"echo \xe4\n")
        self.write(
            "folder/a.job.xml",
            '<job><script language="shell">echo 1\n<include live_file="part.sh"/>echo 2\n'
            '<include live_file="/top.sh"/><include file="own.sh"/>echo 3</script></job>',
        )
        (job,) = self.read().objects.jobs
        self.assertEqual(job.work.script, "echo 1\necho part\necho 2\necho top\necho \xe4\necho 3")
        self.write("top.sh", "echo other\n")
        (job,) = self.read().objects.jobs
        self.assertIn("echo other", job.work.script)

    def test_includedParameters(self) -> None:
        """
        Parameters may stand in a file of their own; the last one of a name
        counts.
        """
        self.write("p.xml", '<params><param name="A" value="1"/><param name="b"/></params>')
        params = '<params><param name="a" value="0"/><include live_file="p.xml"/></params>'
        self.write("a.job.xml", JOB.replace("<script", f"{params}<script"))
        (job,) = self.read().objects.jobs
        self.assertEqual(job.work.parameters, (("A", "1"), ("b", "")))
        for text, told in (
            ("<params>", "p.xml: expected XML"),
            ("<x/>", "p.xml: expected <params>"),
            ("<params>\n<x/></params>", "p.xml:2: expected <param>"),
        ):
            self.write("p.xml", text)
            (error,) = self.folder.read().errors
            self.assertIn(told, error)

    def test_processClass(self) -> None:
        """
        A process class may have several remotes.
        """
        self.write(
            "night.process_class.xml",
            """<process_class max_processes="3" timeout="60">
              <remote_schedulers select="next">
                <remote_scheduler remote_scheduler="a:1"/>
                <remote_scheduler remote_scheduler="b:2"/>
              </remote_schedulers>
            </process_class>""",
        )
        (found,) = self.read().objects.processClasses
        self.assertEqual(found.remotes, (("a", 1), ("b", 2)))
        self.assertEqual((found.rotates, found.timeout, found.maxProcesses), (True, 60.0, 3))
        self.assertEqual(found.dialect, "auto")

    def test_dialect(self) -> None:
        """
        A process class may say what its remotes speak.
        """
        self.write(
            "old.process_class.xml", '<process_class remote_scheduler="a:1" dialect="classic"/>'
        )
        (found,) = self.read().objects.processClasses
        self.assertEqual(found.dialect, "classic")

    def test_unsupported(self) -> None:
        """
        What is passed over is told once for all files, with file and line.
        """
        text = JOB.replace("<job", '<job color="1" priority="low"')
        for name in ("a.job.xml", "b.job.xml"):
            self.write(name, text.replace("<script", "\n<monitor><x/></monitor><script"))
        self.write("x.lock.xml", "<lock/>")
        self.write("y.lock.xml", "<lock/>")
        self.assertEqual(
            [each.removeprefix(f"{self.live}/") for each in self.read().warnings],
            [
                "a.job.xml:1: attribute color of <job> is not known; ignored",
                "a.job.xml:1: attribute priority='low' of <job> is not supported yet; ignored",
                "a.job.xml:2: <monitor> in <job> is not supported yet; ignored",
                "x.lock.xml:1: a file with a lock is not supported yet; ignored",
            ],
        )

    def test_guide(self) -> None:
        """
        The files that the guide shows are understood.
        """
        page = Path(__file__).parent.parent / "docs" / "jobs-and-orders.md"
        shown = re.findall(r"(?ms)^```xml\n(<([a-z_]+).*?)^```$", page.read_text("utf-8"))
        for number, (text, kind) in enumerate(shown):
            self.write(f"{number}.{kind}.xml", text)
        live = self.read()
        self.assertEqual(live.warnings, ())
        objects = live.objects
        self.assertEqual((len(objects.processClasses), len(objects.chains)), (1, 1))

    def test_wrong(self) -> None:
        """
        What cannot be done is told with file and line.
        """
        for name, text, told in (
            ("a.job.xml", "<job>", "a.job.xml:1: expected XML"),
            ("a.job.xml", "<order/>", "a.job.xml:1: expected <job>"),
            ("a.job.xml", "\n<job/>", "a.job.xml:2: expected a <script>"),
            ("a.job.xml", JOB.replace("<job", '<job tasks="x"'), "attribute tasks of <job>"),
            ("a.job.xml", JOB.replace("<job", '<job ignore_signals="SIGX"'), "SIGX"),
            ("a.job.xml", JOB.replace("night", "../night"), "expected a path in the folder"),
            ("a.job.xml", JOB.replace("true", "<include/>"), "one of live_file and file"),
            ("a.job.xml", JOB.replace("true", '<include file="x.sh"/>'), "x.sh cannot be read"),
            (
                "a.job.xml",
                JOB.replace("true", '<include live_file="../../x.sh"/>'),
                "expected a path in the folder",
            ),
            ("a.job.xml", JOB.replace("<script", "<process/><script"), "attribute file"),
            ("a.job_chain.xml", "<job_chain/>", "expected a <job_chain_node> with a job"),
            ("a.job_chain.xml", CHAIN.replace('"2"', '"1"'), ":3: expected each"),
            ("a.job_chain.xml", CHAIN.replace('"setback"', '"x"'), ":3: attribute on_error"),
            (
                "a.job_chain.xml",
                CHAIN.replace('on_error="setback"', 'action="x"'),
                ":3: attribute action",
            ),
            ("a.order.xml", "<order/>", "CHAIN,ID.order.xml"),
            ("a,1.order.xml", '<order at="soon"/>', "expected YYYY-MM-DD HH:MM:SS"),
            ("a,1.order.xml", '<order at="2026-02-30 00:00"/>', "expected YYYY-MM-DD"),
            ("a,1.order.xml", "<order><run_time><at/></run_time></order>", "attribute at"),
            (
                "a.process_class.xml",
                '<process_class remote_scheduler="https://a:1"/>',
                "HTTP is not supported",
            ),
            ("a.process_class.xml", '<process_class remote_scheduler="[::1]:1"/>', "IPv4"),
        ):
            with self.subTest(text):
                self.assertIn(told, self.error(name, text))

    def test_lastGood(self) -> None:
        """
        A file that is wrong keeps what it said when it was last right; one that
        is gone says nothing.
        """
        path = self.write("a.job.xml", JOB)
        self.read()
        self.write("a.job.xml", "<job>")
        live = self.folder.read()
        self.assertEqual((len(live.objects.jobs), len(live.errors)), (1, 1))
        path.unlink()
        self.assertEqual(self.read().objects.jobs, ())
        self.write("b.job.xml", "<job>")
        self.assertEqual(self.folder.read().objects.jobs, ())

    def test_folderGone(self) -> None:
        """
        When the folder itself cannot be read, all is as it was.
        """
        self.write("a.job.xml", JOB)
        self.read()
        self.live.rename(self.directory / "away")
        live = self.folder.read()
        self.assertEqual(len(live.objects.jobs), 1)
        self.assertIn("cannot be read", live.errors[0])
        (self.directory / "away").rename(self.live)
        self.assertEqual(len(self.read().objects.jobs), 1)

    def test_odd(self) -> None:
        """
        What is no file, or cannot be one, is told, is not waited for, and does not
        keep others from being read.
        """
        self.write("a.job.xml", JOB)
        os.symlink("loop.job.xml", self.live / "loop.job.xml")
        os.symlink("nothing", self.live / "gone.job.xml")
        os.mkfifo(self.live / "pipe.job.xml")
        (self.live / os.fsdecode(b"\xff.job.xml")).write_text(JOB)
        (self.live / "long.job.xml").write_bytes(b" " * (reader.MAX_FILE + 1))
        (self.live / "folder.job.xml").mkdir()
        live = self.folder.read()
        self.assertEqual([job.name for job in live.objects.jobs], ["a"])
        told = {error.removeprefix(f"{self.live}/").split(":")[0] for error in live.errors}
        names = {"loop.job.xml", "gone.job.xml", "pipe.job.xml", "long.job.xml"}
        self.assertEqual(told, names | {"\\xff.job.xml"})

    @given(strategies.data())
    @settings(max_examples=100, deadline=None)
    def test_mutated(self, data: strategies.DataObject) -> None:
        """
        Whatever a file says, it is read, or told with file and line.
        """
        name, text = data.draw(
            strategies.sampled_from(
                [
                    ("a.job.xml", JOB),
                    ("a.job_chain.xml", CHAIN),
                    ("a.process_class.xml", CLASS),
                    ("a,b.order.xml", '<order priority="1"><params/></order>'),
                ]
            )
        )
        start = data.draw(strategies.integers(0, len(text)))
        end = data.draw(strategies.integers(start, min(len(text), start + 10)))
        more = data.draw(strategies.text(max_size=10))
        path = self.live / name
        path.write_text(text[:start] + more + text[end:], "utf-8", "surrogatepass")
        for error in LiveFolder(str(self.live)).read().errors:
            self.assertRegex(error, r"\.xml(:[0-9]+)?: ")


class WatchTests(FolderTestCase):
    """
    L{LiveConfiguration} takes up what changes.
    """

    def setUp(self) -> None:
        """
        Watch the folder.
        """
        super().setUp()
        self.clock = Clock()
        self.applied: list[Objects] = []
        self.watched: list[tuple[str, ...]] = []
        self.tell: Callable[[bool], None] = lambda ended: None
        self.works = True
        self.base = Objects()
        self.configuration = LiveConfiguration(
            self.clock, self.base, self.folder, self.applied.append, self.watch
        )

    def watch(
        self, directories: Sequence[str], changed: Callable[[bool], None]
    ) -> Callable[[], None] | None:
        """
        Be the system.
        """
        self.tell = changed
        self.watched.append(tuple(directories))
        return self.watched.clear if self.works else None

    def names(self) -> list[str]:
        """
        The jobs that were last taken.
        """
        return [job.name for job in self.applied[-1].jobs]

    def test_change(self) -> None:
        """
        What changes is taken in one step, when it is quiet, and soon in any
        case.
        """
        self.configuration.startService()
        self.write("a.job.xml", JOB)
        self.tell(False)
        self.clock.advance(SETTLE / 2)
        self.write("b.job.xml", JOB)
        self.tell(False)
        self.clock.advance(SETTLE / 2)
        self.assertEqual(len(self.applied), 1)
        self.clock.advance(SETTLE / 2)
        self.assertEqual((len(self.applied), self.names()), (2, ["a", "b"]))
        self.write("c.job.xml", JOB)
        for _ in range(30):
            self.tell(False)
            self.clock.advance(SETTLE / 2)
        self.assertEqual((len(self.applied), self.names()), (3, ["a", "b", "c"]))
        self.configuration.stopService()
        self.tell(False)
        self.assertEqual((self.clock.getDelayedCalls(), self.watched), ([], []))

    def test_directories(self) -> None:
        """
        New directories are watched, and what is in them by then is read; when
        the system tells no more, it is asked again.
        """
        self.configuration.startService()
        self.write("folder/a.job.xml", JOB)
        self.tell(False)
        self.clock.advance(SETTLE)
        self.assertEqual(self.watched, [(str(self.live), str(self.live / "folder"))])
        self.assertEqual(self.names(), ["folder/a"])
        rmtree(self.live / "folder")
        (self.live / "folder").mkdir()
        self.tell(True)
        self.clock.advance(SETTLE)
        self.assertEqual(len(self.watched), 1)
        self.assertEqual(self.names(), [])
        self.configuration.stopService()

    def test_polled(self) -> None:
        """
        The folder is looked at from time to time, more often where the system
        does not tell.
        """
        self.configuration.startService()
        self.write("a.job.xml", JOB)
        self.clock.advance(POLL_WATCHED)
        self.assertEqual(self.names(), ["a"])
        self.configuration.stopService()
        self.works = False
        self.configuration.startService()
        self.write("b.job.xml", JOB)
        self.clock.advance(POLL)
        self.assertEqual(self.names(), ["a", "b"])
        self.configuration.stopService()

    def test_told(self) -> None:
        """
        What is wrong or missing is logged once, with file and line.
        """
        self.write("a.job.xml", JOB)
        self.write("b.job.xml", "<job>")
        with capturedLogs() as events:
            self.configuration.startService()
            for _ in range(3):
                self.clock.advance(POLL_WATCHED)
        lines = [event["line"].removeprefix(f"{self.live}/") for event in events if "line" in event]
        self.assertEqual(len(lines), 2)
        self.assertTrue(lines[0].startswith("b.job.xml:1: expected XML"))
        self.assertEqual(lines[1], "a.job.xml:1: job /a: there is no process class /night")
        self.configuration.stopService()

    def test_without(self) -> None:
        """
        Without a live folder there is what C{scheduler.xml} says.
        """
        configuration = LiveConfiguration(self.clock, self.base, None, self.applied.append)
        configuration.startService()
        self.assertEqual(self.applied, [self.base])
        configuration.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class CheckTests(FolderTestCase):
    """
    C{jsremote check-config}.
    """

    def check(self, path: Path) -> tuple[int, dict[str, list[str]]]:
        """
        Check a configuration.
        """
        with redirect_stdout(StringIO()) as printed:
            status = checkConfig(str(path), True)
        return status, json.loads(printed.getvalue())

    def test_status(self) -> None:
        """
        The exit code is 0 where all is understood, 1 where something is passed
        over or missing, 2 where something is wrong.
        """
        (self.directory / "scheduler.xml").write_text("<spooler><config/></spooler>")
        self.write("a.job.xml", JOB)
        status, told = self.check(self.directory)
        self.assertEqual((status, told["errors"]), (1, []))
        self.assertIn("there is no process class /night", told["warnings"][0])
        self.write("night.process_class.xml", CLASS)
        self.assertEqual(self.check(self.directory)[0], 0)
        self.assertEqual(self.check(self.directory / "scheduler.xml")[0], 0)
        self.assertEqual(self.check(self.live)[0], 0)
        self.write("b.job_chain.xml", "<job_chain>")
        status, told = self.check(self.live)
        self.assertEqual((status, told["jobs"]), (2, 1))
        self.assertIn("b.job_chain.xml:1: expected XML", told["errors"][0])

    def test_wrong(self) -> None:
        """
        A file that is not there, or says a folder that is not, is wrong.
        """
        self.assertEqual(self.check(self.directory / "nothing.xml")[0], 2)
        path = self.directory / "scheduler.xml"
        path.write_text('<spooler><config configuration_directory="nowhere"/></spooler>')
        status, told = self.check(path)
        self.assertEqual(status, 2)
        self.assertIn(f"{path}:1: expected a directory", told["errors"][0])

    def test_people(self) -> None:
        """
        People get a line for each, and a sum.
        """
        self.write("a.job.xml", JOB)
        self.write("b.job.xml", "<job>")
        with redirect_stdout(StringIO()) as printed:
            checkConfig(str(self.live), False)
        first, second, last = printed.getvalue().splitlines()
        self.assertTrue(first.startswith("error: "))
        self.assertTrue(second.startswith("warning: "))
        self.assertTrue(last.startswith(f"{self.live}: 1 errors, 1 warnings; "))
