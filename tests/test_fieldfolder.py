"""
A configuration as people have it is read, runs, and what is passed over is told.
"""

from __future__ import annotations

import os
import time
from itertools import count
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.cli.checkconfig import Checked, check
from jobscheduler_tcp.client.order import NEVER
from jobscheduler_tcp.client.scheduler import Scheduler
from jobscheduler_tcp.config.livefolder import LiveFolder
from jobscheduler_tcp.config.model import STOP, ConfiguredJob
from jobscheduler_tcp.outcome import Outcome, Reason
from tests.fieldfolder import fieldFolder
from tests.placed import FakeRunner, placingWith
from tests.strategies import mutated

_OK = Outcome(Reason.EXITED, exitCode=0)

# What JobScheduler knows and this version does not do, once each, where it stands
# first.
WARNINGS = """
scheduler.xml:5: attribute udp_port='4444' of <config> is not supported yet; ignored
scheduler.xml:5: attribute mail_xslt_stylesheet='config/scheduler_mail.xsl' of <config> \
is not supported yet; ignored
scheduler.xml:7: <base> in <config> is not supported yet; ignored
scheduler.xml:26: <http_server> in <config> is not supported yet; ignored
live/agents.process_class.xml:4: attribute http_heartbeat_timeout='60' of <remote_scheduler> \
is not supported yet; ignored
live/agents.process_class.xml:4: attribute http_heartbeat_period='10' of <remote_scheduler> \
is not supported yet; ignored
live/agents.process_class.xml:4: http:// in 'http://127.0.0.1:4455', we do not speak HTTP to \
remotes; ignored
live/alarm.job.xml:2: <run_time> in <job> is not supported yet; ignored
live/cleanup.job.xml:6: <start_when_directory_changed> in <job> is not supported yet; ignored
live/daily_backup.job.xml:2: attribute warn_if_longer_than='01:00:00' of <job> \
is not supported yet; ignored
live/daily_backup.job.xml:4: <settings> in <job> is not supported yet; ignored
live/daily_backup.job.xml:13: <lock.use> in <job> is not supported yet; ignored
live/daily_backup.job.xml:17: a value of 'Days' before this one; ignored
live/database.lock.xml:1: a file with a lock is not supported yet; ignored
live/import/check.job.xml:3: <commands> in <job> is not supported yet; ignored
live/import/import,monthly.order.xml:8: <run_time> in <order> is not supported yet; ignored
live/import/import.job_chain.xml:2: attribute max_orders='10' of <job_chain> \
is not supported yet; ignored
live/import/import.job_chain.xml:3: <file_order_source> in <job_chain> \
is not supported yet; ignored
live/import/import.job_chain.xml:6: <on_return_codes> in <job_chain_node> \
is not supported yet; ignored
live/import/import.job_chain.xml:11: attribute remove='yes' of <file_order_sink> \
is not supported yet; ignored
live/import/list files.job.xml:3: attribute log_file='/tmp/list.log' of <process> \
is not supported yet; ignored
live/import/load.job.xml:2: attribute java_options='-Xmx64m' of <job> is not supported yet; ignored
live/import/load.job.xml:2: attribute priority='below_normal' of <job> \
is not supported yet; ignored
live/import/load.job.xml:9: <monitor> in <job> is not supported yet; ignored
live/multi.job_chain.xml:3: <job_chain_node.job_chain> in <job_chain> \
is not supported yet; ignored
live/weekly.schedule.xml:1: a file with a schedule is not supported yet; ignored
"""


class FieldTests(SynchronousTestCase):
    """
    The folder of L{fieldFolder}.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        self.path = Path(self.mktemp()).resolve()
        self.live = fieldFolder(self.path)

    def check(self) -> Checked:
        """
        Look at it as C{jsremote check-config} does.
        """
        return check(str(self.path))

    def job(self, name: str) -> ConfiguredJob:
        """
        A job of it.
        """
        return {job.name: job for job in self.check().objects.jobs}[name]

    def test_told(self) -> None:
        """
        What is passed over is told once, with file and line, and nothing else. What
        cannot be a job here is an error.
        """
        checked = self.check()
        warnings = {each.removeprefix(f"{self.path}/") for each in checked.warnings}
        # Resolvers differ in what they say.
        unknown = {each for each in warnings if "'joc.invalid' is not known" in each}
        java = {each for each in warnings if each.startswith("live/java.job.xml:1: ")}
        self.assertEqual((len(unknown), len(java)), (1, 1))
        self.assertEqual(warnings - unknown - java, set(WARNINGS.strip().splitlines()))
        self.assertEqual(
            [each.removeprefix(f"{self.path}/") for each in checked.errors],
            ["live/java.job.xml:1: expected <script language=\"shell\">, found 'java'"],
        )
        self.assertEqual(checked.status, 2)
        (self.live / "java.job.xml").unlink()
        self.assertEqual(self.check().status, 1)

    def test_understood(self) -> None:
        """
        A folder of which nothing is passed over has the status 0.
        """
        live = Path(self.mktemp())
        live.mkdir()
        (live / "a.process_class.xml").write_text('<process_class remote_scheduler="h:1"/>')
        (live / "b.job.xml").write_text(
            '<job xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" process_class="a" '
            'xsi:noNamespaceSchemaLocation="scheduler.xsd" stop_on_error="false">'
            '<script language="shell">true</script>'
            '<run_time let_run="no"><period begin="00:00" end="24:00"/></run_time></job>'
        )
        checked = check(str(live))
        self.assertEqual((checked.errors, checked.warnings, checked.status), ((), (), 0))
        self.assertFalse(checked.objects.jobs[0].stopOnError)

    def test_counted(self) -> None:
        """
        All objects are there, by their paths; files of editors and versioning
        systems are not.
        """
        objects = self.check().objects
        self.assertEqual(
            {each.name for each in objects.jobs},
            {
                "scheduler_hello",
                "daily_backup",
                "Umsatz & Co/Umsatz \xdcbersicht",
                "import/list files",
                "import/load",
                "import/check",
                "retired",
                "cleanup",
                "alarm",
            },
        )
        self.assertEqual(
            {each.name for each in objects.chains}, {"import/import", "import/alarm", "multi"}
        )
        self.assertEqual(
            {each.name for each in objects.processClasses},
            {"", "single", "agents", "import/local"},
        )
        self.assertEqual(
            {each.id for each in objects.orders}, {"by hand", "at once", "monthly", "held"}
        )

    def test_encodings(self) -> None:
        """
        What a file says does not depend on its encoding, a byte order mark or the
        line ends of its editor.
        """
        backup = self.job("daily_backup")
        self.assertEqual(backup.title, "T\xe4gliche Sicherung")
        self.assertIn("# gr\xf6\xdfer & kleiner: 1 < 2 > 0\n", backup.work.script)
        overview = self.job("Umsatz & Co/Umsatz \xdcbersicht")
        self.assertEqual(
            overview.work.script, '. /dev/null\necho "Ums\xe4tze in $SCHEDULER_PARAM_REGION"'
        )
        self.assertIn(("gru\xdf", "sch\xf6ne Gr\xfc\xdfe"), overview.work.parameters)

    def test_jobs(self) -> None:
        """
        Jobs have what their files say: limits, delays, parameters and scripts with
        what they include.
        """
        backup = self.job("daily_backup")
        self.assertEqual(
            (backup.work.wallTime, backup.delaysAfterError),
            (7200, ((1, 300.0), (3, 3600.0), (5, STOP))),
        )
        self.assertEqual(dict(backup.work.parameters), {"target": "/srv/backup", "Days": "14"})
        load = self.job("import/load")
        self.assertEqual((load.tasks, load.order, load.maxSetbacks), (5, True, 3))
        self.assertEqual(load.setbackDelays, ((1, 10.0), (3, 60.0)))
        self.assertIn("say() {", load.work.script)
        self.assertIn('say "load of $SCHEDULER_PARAM_FILE', load.work.script)
        self.assertEqual(
            load.work.parameters, (("file", "none"), ("delimiter", ";"), ("table", "SALES"))
        )
        self.assertIn('"two words"', self.job("import/list files").work.script)
        self.assertFalse(self.job("retired").enabled)

    def test_classes(self) -> None:
        """
        Several remotes may be said as newer versions of the original want them.
        """
        classes = {each.name: each for each in self.check().objects.processClasses}
        self.assertEqual(classes["agents"].remotes, (("127.0.0.1", 4455), ("localhost", 4455)))
        self.assertTrue(classes["agents"].rotates)

    def test_runs(self) -> None:
        """
        Everything runs: each job that may, and each order to its end.
        """
        clock = Clock()
        clock.advance(time.mktime((2026, 11, 22, 12, 0, 0, 0, 0, -1)))
        runner = FakeRunner()
        placing = placingWith(clock, runner)
        scheduler = Scheduler(clock, placing.run, wallClock=clock.seconds)
        objects = self.check().objects
        placing.configure(objects.processClasses)
        scheduler.configure(objects)
        clock.advance(0)

        def finish() -> None:
            for job in [each for each in runner.ran if not each.done.called]:
                job.end(_OK)
                clock.advance(0)

        # The order without a run_time is the only one that did not wait.
        self.assertEqual(len(runner.ran), 1)
        for name, job in scheduler.jobs.items():
            if not job.configured.order:
                scheduler.startJob(name)
        clock.advance(0)
        while not all(each.done.called for each in runner.ran):
            finish()
        # Two nodes of the order, and all jobs but the one that is disabled.
        self.assertEqual(len(runner.ran), 2 + 5)
        at = {order.id: order.at for order in scheduler.book.orders("import/import")}
        christmas = time.mktime((2026, 12, 24, 18, 0, 0, 0, 0, -1))
        self.assertEqual(
            at, {"by hand": NEVER, "at once": NEVER, "held": 0.0, "monthly": christmas}
        )
        self.assertTrue(scheduler.book.find("import/import", "held").suspended)
        clock.advance(christmas - clock.seconds())
        clock.advance(0)
        self.assertEqual(dict(runner.ran[-1].work.orderParameters or ())["file"], "month.csv")
        finish()
        finish()
        (monthly,) = [
            each for each in scheduler.book.orders("import/import") if each.id == "monthly"
        ]
        self.assertEqual((monthly.at, monthly.state), (NEVER, "load"))
        # A date that is over when the file is read lets it wait to be told.
        again = Scheduler(clock, placing.run, wallClock=clock.seconds)
        clock.advance(86400)
        again.configure(objects)
        (monthly,) = [each for each in again.book.orders("import/import") if each.id == "monthly"]
        self.assertEqual(monthly.at, NEVER)

    @settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def test_damaged(self, data: st.DataObject) -> None:
        """
        Whatever becomes of a file: what it says is taken, or it is told with file
        and line, and what it said before stays in force. When it is right again,
        nothing is told any more.
        """
        clock = Clock()
        placing = placingWith(clock, FakeRunner())
        scheduler = Scheduler(clock, placing.run, wallClock=clock.seconds)
        folder = LiveFolder(str(self.live), str(self.path / "includes"))
        written = count(1)
        paths = sorted(path for path in self.live.rglob("*.xml") if path.parent.name != ".svn")

        def write(content: bytes) -> tuple[str, ...]:
            path.write_bytes(content)
            os.utime(path, (next(written), 0))
            live = folder.read()
            placing.configure(live.objects.processClasses)
            scheduler.configure(live.objects)
            clock.advance(0)
            return live.errors

        (self.live / "java.job.xml").unlink(missing_ok=True)
        path = data.draw(st.sampled_from([each for each in paths if each.exists()]))
        good = path.read_bytes()
        try:
            self.assertEqual(write(good), ())
            before = folder.read().objects
            for _ in range(2):
                errors = write(data.draw(mutated(st.just(good))))
                for error in errors:
                    self.assertRegex(error, r"^[^\n]*\.(xml|sh)(:[0-9]+)?: ")
                if len(errors) == 1 and errors[0].startswith(f"{path}:"):
                    self.assertEqual(folder.read().objects, before)
                before = folder.read().objects
        finally:
            errors = write(good)
        self.assertEqual(errors, ())
