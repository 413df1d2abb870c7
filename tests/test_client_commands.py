"""
Tests for L{jobscheduler_tcp.client.commands}, and what it is made of.
"""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given, settings, strategies
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from jobscheduler_tcp.client import started
from jobscheduler_tcp.client.commands import ClientCommands
from jobscheduler_tcp.client.lines import MAX_LINE
from jobscheduler_tcp.client.outputlog import OutputLog
from jobscheduler_tcp.client.portreport import PortEntry, PortState
from jobscheduler_tcp.client.scheduler import Scheduler
from jobscheduler_tcp.client.started import HISTORY
from jobscheduler_tcp.client.startedtask import WAITING
from jobscheduler_tcp.config.model import ConfiguredClass, ConfiguredJob, Objects
from jobscheduler_tcp.errors import ConnectionClosed
from jobscheduler_tcp.interfaces import IConfirmationReceiver
from jobscheduler_tcp.messages import Stream, Survivor, TaskEnded, TaskKilled, Work
from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.plaincommands import Peer, PlainCommands
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.wire.documents import Element, parse
from tests import recordings
from tests.placed import FakeJob, FakeRunner, placingWith


class CommandsTestCase(SynchronousTestCase):
    """
    Help with commands.
    """

    def setUp(self) -> None:
        """
        A client with two jobs.
        """
        self.clock = Clock()
        self.clock.advance(1000000000)
        self.ran: list[FakeJob] = []
        jobs = [
            ConfiguredJob(
                "report",
                "A report",
                "night",
                Work(
                    script="true",
                    parameters=(("Site", "berlin"), ("day", "1")),
                    environment=(("LANG", "C"), ("TERM", "dumb")),
                ),
                "scheduler.xml:5",
                tasks=200,
                stopOnError=False,
            ),
            ConfiguredJob("tidy", "", "", Work(script="rm"), "scheduler.xml:9"),
        ]
        classes = (
            ConfiguredClass("night", "far.example", 4455, 2, "scheduler.xml:2"),
            ConfiguredClass("", "near.example", 4455, 2, "scheduler.xml:3"),
        )
        objects = Objects(classes, tuple(jobs))
        placing = placingWith(self.clock, FakeRunner())
        placing.configure(objects.processClasses)
        self.night = placing.classes["night"]
        self.scheduler = Scheduler(self.clock, self.run_, wallClock=self.clock.seconds)
        self.scheduler.configure(objects)
        commands = ClientCommands(
            self.scheduler,
            placing,
            {"tcp_port": "4444"},
            self.clock.seconds,
            ports=lambda: (self.entries, 2),
        )
        self.entries = [
            PortEntry(59999, 59999, PortState.CONNECTED, FakeJob.task, "192.0.2.2:40000", 1.25),
            PortEntry(59998, 59998, PortState.LISTENING, "somebody's", "", 0.0),
            PortEntry(59900, 59997, PortState.FREE),
        ]
        self.commands = PlainCommands(commands.commands(), self.clock.seconds)

    def run_(self, work: Work, processClass: str, receiver: IConfirmationReceiver) -> FakeJob:
        """
        Be the client service.
        """
        self.ran.append(FakeJob(work, processClass, receiver))
        return self.ran[-1]

    def say(self, document: str, level: Level = Level.ALL) -> Element:
        """
        Say a command, which has one answer.
        """
        obeying = self.commands.obey(parse(document.encode()), Peer("192.0.2.1", 1, level))
        (answer,) = self.successResultOf(Deferred.fromCoroutine(obeying))
        self.clock.advance(0)
        return answer

    def refused(self, document: str) -> tuple[str, str]:
        """
        Say a command that is refused, and return code and text.
        """
        answer = self.say(document)
        self.assertEqual(answer.name, "ERROR")
        return answer.attributes["code"], answer.attributes["text"]


class StartTests(CommandsTestCase):
    """
    C{start_job} and C{kill_task}.
    """

    def test_start(self) -> None:
        """
        A job is started with its configuration and told its number.
        """
        answer = self.say('<start_job job="/report"/>')
        self.assertEqual([child.name for child in answer.children], ["task"])
        task = answer.children[0].attributes
        self.assertEqual(answer.name, "ok")
        self.assertEqual(
            (task["job"], task["id"], task["task"], task["state"]), ("/report", "1", "1", "none")
        )
        (job,) = self.ran
        self.assertEqual(job.processClass, "night")
        self.assertEqual(job.work.script, "true")
        self.assertEqual(job.work.parameters, (("Site", "berlin"), ("day", "1")))
        self.assertEqual(
            dict(job.work.environment),
            {
                "LANG": "C",
                "TERM": "dumb",
                "SCHEDULER_JOB_NAME": "report",
                "SCHEDULER_TASK_ID": "1",
            },
        )
        answer = self.say('<start_job job="tidy" at="now"/>')
        self.assertEqual(answer.children[0].attributes["id"], "2")

    def test_attributes(self) -> None:
        """
        The answer has the attributes of a real JobScheduler's.
        """
        recorded = json.loads((recordings.DIRECTORY / "commands.json").read_text("utf-8"))
        said = {each["request"]: each["answer"].strip("\n\0") for each in recorded}
        document = parse(said['<start_job job="/report"/>'].encode("ISO-8859-1"))
        real = document.children[0].children[0].children[0]
        task = self.say('<start_job job="/report"/>').children[0]
        self.assertEqual(set(real.attributes) - set(task.attributes), set())

    def test_parameters(self) -> None:
        """
        Parameters and variables of the command win over those of the
        configuration; names of parameters are compared without regard to case.
        """
        self.say(
            '<start_job job="/report"><params><param name="SITE" value="wien"/>'
            '<param name="more" value="x"/></params><environment>'
            '<variable name="LANG" value="C.UTF-8"/></environment></start_job>'
        )
        work = self.ran[0].work
        self.assertEqual(work.parameters, (("Site", "wien"), ("day", "1"), ("more", "x")))
        self.assertEqual(dict(work.environment)["LANG"], "C.UTF-8")
        self.assertEqual(dict(work.environment)["TERM"], "dumb")

    def test_refused(self) -> None:
        """
        What cannot be started is refused, and nothing is started.
        """
        for document, code, words in (
            ('<start_job job="/nosuch"/>', "SCHEDULER-161", "There is no Job '/nosuch'"),
            ("<start_job/>", "SCHEDULER-161", "There is no Job ''"),
            ('<start_job job="tidy" at="soon"/>', "jsremote-protocol-error", "at: expected"),
            ('<start_job job="tidy" after="x"/>', "jsremote-protocol-error", "after: expected"),
            ('<start_job job="tidy" web_service="x"/>', "jsremote-unsupported", "web_service"),
            ('<start_job job="tidy"><run_time/></start_job>', "SCHEDULER-409", "<run_time>"),
            (
                '<start_job job="tidy"><params><param value="a"/></params></start_job>',
                "SCHEDULER-409",
                "<param>",
            ),
            (
                '<start_job job="tidy"><environment><a name="a"/></environment></start_job>',
                "SCHEDULER-409",
                "<a>",
            ),
            ("<nosuch/>", "SCHEDULER-105", "<nosuch>"),
        ):
            with self.subTest(document):
                found = self.refused(document)
                self.assertEqual(found[0], code)
                self.assertIn(words, found[1])
        self.assertEqual(self.ran, [])

    def test_tooMany(self) -> None:
        """
        The number of tasks under way is bounded.
        """
        self.patch(started, "MAX_TASKS", 1)
        self.say('<start_job job="/report"/>')
        self.assertEqual(self.refused('<start_job job="/report"/>')[0], "SCHEDULER-210")
        self.ran[0].end(Outcome(Reason.EXITED, exitCode=0))
        self.say('<start_job job="/report"/>')

    def test_levels(self) -> None:
        """
        Who may only look may not start or kill.
        """
        for document in ('<start_job job="/report"/>', '<kill_task job="/report" id="1"/>'):
            answer = self.say(document, Level.INFO)
            self.assertEqual(answer.attributes["code"], "SCHEDULER-121")
        self.assertEqual(self.say("<s/>", Level.INFO).name, "state")

    def test_killRunning(self) -> None:
        """
        A running task is killed if it shall be immediately, and else goes on.
        """
        self.say('<start_job job="/report"/>')
        self.assertEqual(self.say('<kill_task job="/report" id="1"/>').name, "ok")
        self.assertEqual(self.ran[0].kills, [])
        self.say('<kill_task job="/report" id="1" immediately="yes"/>')
        self.say('<kill_task job="report" id="1" immediately="yes" timeout="30"/>')
        self.assertEqual(self.ran[0].kills, [(9, 0.0), (15, 30.0)])
        state = self.say('<show_task id="1"/>').attributes["state"]
        self.assertEqual(state, "killing")

    def test_killReport(self) -> None:
        """
        Who survived a kill, and that a kill was not possible, is logged.
        """
        self.say('<start_job job="/report"/>')
        self.say('<start_job job="/report"/>')
        for number in (1, 2):
            self.say(f'<kill_task job="/report" id="{number}" immediately="yes"/>')
        with capturedLogs() as events:
            self.ran[0].killed.callback(TaskKilled(1, "", 1, (Survivor(4712, "dd"),)))
            self.ran[1].killed.errback(ConnectionClosed("gone"))
        self.assertEqual((events[0]["pid"], events[0]["command"]), (4712, "dd"))
        self.assertEqual((events[1]["task"], events[1]["why"]), (2, "gone"))

    def test_killWaiting(self) -> None:
        """
        A task that waits for its process class leaves the queue.
        """
        self.say('<start_job job="/report"/>')
        self.ran[0].state = WAITING
        self.say('<kill_task job="/report" id="1"/>')
        self.assertTrue(self.ran[0].cancelled)
        self.assertEqual(self.ran[0].kills, [])

    def test_killUnknown(self) -> None:
        """
        A task that is not known, or belongs to another job, is no error; an
        unknown job is one.
        """
        self.say('<start_job job="/report"/>')
        for document in (
            '<kill_task job="/report" id="999" immediately="yes"/>',
            '<kill_task job="/tidy" id="1" immediately="yes"/>',
        ):
            self.assertEqual(self.say(document).name, "ok")
        self.assertEqual(self.ran[0].kills, [])
        self.assertEqual(self.refused('<kill_task job="/a" id="1"/>')[0], "SCHEDULER-161")
        self.assertEqual(self.refused('<kill_task job="/tidy"/>')[0], "jsremote-protocol-error")


class ShowTests(CommandsTestCase):
    """
    C{show_state}, C{show_job} and C{show_task}.
    """

    def states(self) -> str:
        """
        The state word of task 1.
        """
        return self.say('<show_task id="1"/>').attributes["state"]

    def test_states(self) -> None:
        """
        A task has JobScheduler's words on its way.
        """
        self.say('<start_job job="/report"/>')
        self.ran[0].state = WAITING
        self.assertEqual(self.states(), "waiting_for_process")
        self.ran[0].state = "waiting for a callback port"
        self.assertEqual(self.states(), "starting")
        self.ran[0].start()
        self.assertEqual(self.states(), "running_remote_process")
        self.scheduler.tasks.alive[1].output.outputReceived(Stream.STDERR, b"four")
        self.assertEqual(self.say('<show_task id="1"/>').attributes["stderr_size"], "4")
        self.clock.advance(5)
        self.ran[0].end(Outcome(Reason.EXITED, exitCode=3))
        task = self.say('<show_task id="1"/>')
        self.assertEqual(
            [task.attributes[name] for name in ("state", "reason", "exit_code", "pid")],
            ["closed", "exited", "3", "4711"],
        )
        error, log = task.children
        self.assertEqual((error.attributes["code"], log.name), ("SCHEDULER-280", "log"))
        self.assertIn("exit code 3 (0x3)", error.attributes["text"])

    def test_outcomes(self) -> None:
        """
        Every way to end is told with its reason.
        """
        for outcome, code, attributes in (
            (Outcome(Reason.EXITED, exitCode=0), None, {"exit_code": "0"}),
            (Outcome(Reason.KILLED, signal=9), "SCHEDULER-279", {"signal": "9"}),
            (Outcome(Reason.SIGNALLED, signal=40), "SCHEDULER-279", {"signal": "40"}),
            (Outcome(Reason.LOST, "gone"), "jsremote-lost", {}),
        ):
            self.say('<start_job job="/report"/>')
            self.ran[-1].end(outcome)
            task = self.say(f'<show_task id="{len(self.ran)}"/>')
            self.assertEqual(task.attributes["reason"], str(outcome.reason))
            self.assertEqual(task.attributes | attributes, task.attributes)
            codes = [c.attributes["code"] for c in task.children if c.name == "ERROR"]
            self.assertEqual(codes, [code] if code else [])

    def test_unknownTask(self) -> None:
        """
        A task that is not remembered is an error, and so is none.
        """
        self.assertEqual(self.refused('<show_task id="7"/>')[0], "SCHEDULER-207")
        self.assertEqual(self.refused('<show_task id="x"/>')[0], "jsremote-protocol-error")
        self.assertEqual(self.refused('<show_job job="x"/>')[0], "SCHEDULER-161")

    def test_state(self) -> None:
        """
        The state has jobs with their tasks, and process classes with who runs
        and who waits.
        """
        for _ in range(4):
            self.say('<start_job job="/report"/>')
        self.night.running = 2
        self.ran[2].state = self.ran[3].state = WAITING
        self.ran[0].start()
        self.say('<start_job job="/tidy"/>')
        self.ran[4].end(Outcome(Reason.EXITED, exitCode=1))

        state = self.say("<show_state/>")
        self.assertEqual(
            (state.attributes["state"], state.attributes["tcp_port"]), ("running", "4444")
        )
        jobs, classes, chains, *others = state.children
        self.assertEqual(chains.attributes, {"count": "0"})
        self.assertEqual(
            [other.name for other in others],
            ["subprocesses", "remote_schedulers", "http_server", "connections"],
        )
        report, tidy = jobs.children
        self.assertEqual(
            (report.attributes["path"], report.attributes["state"], tidy.attributes["state"]),
            ("/report", "running", "stopped"),
        )
        self.assertEqual(
            (report.attributes["all_tasks"], report.attributes["all_steps"]), ("2", "0")
        )
        _, tasks, queued, _ = report.children
        self.assertEqual(
            [(task.attributes["id"], task.attributes["state"]) for task in tasks.children],
            [("1", "running_remote_process"), ("2", "starting")],
        )
        self.assertEqual(queued.attributes, {"length": "2"})
        self.assertEqual(
            [(task.attributes["id"], task.attributes["position"]) for task in queued.children],
            [("3", "1"), ("4", "2")],
        )
        _, _, _, error, _ = tidy.children
        self.assertEqual(error.attributes["code"], "SCHEDULER-280")
        history = self.say('<show_job job="/tidy" what="task_history"/>').children[-2]
        (entry,) = history.children
        self.assertEqual(
            entry.attributes | {"reason": "exited", "exit_code": "1"}, entry.attributes
        )
        night, _ = classes.children
        self.assertEqual(
            night.attributes,
            {
                "path": "/night",
                "name": "night",
                "max_processes": "2",
                "remote_scheduler": "far.example:4455",
                "processes": "2",
            },
        )
        _, processes, waiting = night.children
        self.assertEqual([each.attributes["task"] for each in processes.children], ["1", "2"])
        self.assertEqual(
            [(each.attributes["task"], each.attributes["position"]) for each in waiting.children],
            [("3", "1"), ("4", "2")],
        )
        self.assertEqual(self.say('<show_job job="/report"/>'), report)

    def test_ports(self) -> None:
        """
        The state has the callback ports if they are asked for.
        """
        self.say('<start_job job="/report"/>')
        *_, ports = self.say('<show_state what="jobs ports"/>').children
        self.assertEqual(ports.name, "ports")
        self.assertEqual(
            ports.attributes,
            {
                "range": "59900-59999",
                "free": "98",
                "listening": "1",
                "connected": "1",
                "foreign": "0",
                "waiting": "2",
            },
        )
        first, second, third = (port.attributes for port in ports.children)
        self.assertEqual(
            first,
            {
                "port": "59999",
                "state": "connected",
                "age": "1.2",
                "peer": "192.0.2.2:40000",
                "job": "/report",
                "id": "1",
                "task": FakeJob.task,
            },
        )
        self.assertEqual(
            second,
            {"port": "59998", "state": "listening", "age": "0.0", "task": "somebody's"},
        )
        self.assertEqual(third, {"port": "59900-59997", "state": "free"})
        self.assertNotIn("ports", [child.name for child in self.say("<show_state/>").children])

    def test_history(self) -> None:
        """
        The last tasks are remembered, not all.
        """
        for _ in range(HISTORY + 1):
            self.say('<start_job job="/report"/>')
            self.ran[-1].end(Outcome(Reason.EXITED, exitCode=0))
        self.refused('<show_task id="1"/>')
        self.say('<show_task id="2"/>')
        report = self.say('<show_job job="/report" what="task_history"/>')
        self.assertEqual(report.attributes["all_tasks"], str(HISTORY + 1))
        self.assertEqual(len(report.children[-2].children), HISTORY)
        few = self.say('<show_job job="/report" what="task_history" max_task_history="2"/>')
        self.assertEqual(
            [entry.attributes["id"] for entry in few.children[-2].children],
            [str(HISTORY + 1), str(HISTORY)],
        )

    def test_endIsLogged(self) -> None:
        """
        The log has the outcome, and who else waits for it gets it too.
        """
        self.say('<start_job job="/report"/>')
        outcome = Outcome(Reason.EXITED, exitCode=3)
        with capturedLogs() as events:
            self.ran[0].end(outcome)
        self.assertEqual(events[0]["reason"], Reason.EXITED)
        self.assertIs(self.successResultOf(self.ran[0].done), outcome)


class OutputLogTests(SynchronousTestCase):
    """
    L{OutputLog}: output becomes lines of the log.
    """

    def lines(self, *chunks: bytes, stream: Stream = Stream.STDOUT) -> list[str]:
        """
        The lines that chunks of output become.
        """
        receiver = OutputLog("report", 7, lambda: 5.0)
        with capturedLogs() as events:
            for chunk in chunks:
                receiver.outputReceived(stream, chunk)
            receiver.taskEnded(TaskEnded(Reason.EXITED, exitCode=0))
        for event in events:
            self.assertEqual((event["task"], event["job"]), (7, "report"))
        return [event["line"] for event in events]

    def test_interface(self) -> None:
        """
        It can be the receiver of a task.
        """
        verifyObject(IConfirmationReceiver, OutputLog("report", 7))

    def test_lines(self) -> None:
        """
        Lines may come in pieces, may be empty, and the last needs no end.
        """
        self.assertEqual(self.lines(b"a\nb", b"c\n\n", b"d\r\ne"), ["a", "bc", "", "d", "e"])
        self.assertEqual(self.lines(), [])

    def test_streams(self) -> None:
        """
        The two streams do not mix within a line.
        """
        receiver = OutputLog("report", 7)
        with capturedLogs() as events:
            receiver.outputReceived(Stream.STDOUT, b"a")
            receiver.outputReceived(Stream.STDERR, b"b\n")
            receiver.outputReceived(Stream.STDOUT, b"c\n")
            receiver.confirmationLost(Failure(ConnectionClosed()))
        self.assertEqual(
            [(event["stream"], event["line"]) for event in events],
            [("stderr", "b"), ("stdout", "ac")],
        )

    def test_lost(self) -> None:
        """
        What has no end is logged when the connection is lost.
        """
        receiver = OutputLog("report", 7)
        receiver.outputReceived(Stream.STDOUT, b"a")
        with capturedLogs() as events:
            receiver.confirmationLost(Failure(ConnectionClosed()))
        self.assertEqual([event["line"] for event in events], ["a"])

    def test_long(self) -> None:
        """
        A line without an end is logged in pieces, so that little is kept.
        """
        self.assertEqual(
            [len(line) for line in self.lines(b"x" * (MAX_LINE * 2 + 1), b"\n")],
            [MAX_LINE, MAX_LINE, 1],
        )
        self.assertEqual(
            [len(line) for line in self.lines(b"x" * (MAX_LINE * 2 + 1) + b"\n")],
            [MAX_LINE, MAX_LINE, 1],
        )

    def test_unprintable(self) -> None:
        """
        Bytes that are no text and control characters do nothing to a terminal.
        """
        self.assertEqual(
            self.lines("gr\xfc\xdfe\t1\n".encode(), b"\xff\x1b[2J\r.\n"),
            ["gr\xfc\xdfe\t1", "\\xff\\x1b[2J\\r."],
        )

    @settings(deadline=None, max_examples=50)
    @given(strategies.binary(max_size=60), strategies.lists(strategies.integers(0, 60), max_size=4))
    def test_anySplit(self, data: bytes, cuts: list[int]) -> None:
        """
        However output is cut, the lines are the same.
        """
        ends = [0, *sorted(cuts), len(data)]
        chunks = [data[start:end] for start, end in pairwise(ends)]
        self.assertEqual(self.lines(*chunks), self.lines(data))
