"""
Tests for L{jobscheduler_tcp.client.schedulercommands},
L{jobscheduler_tcp.client.ending}, and the level that each command needs.
"""

from __future__ import annotations

import re
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client import schedulercommands
from jobscheduler_tcp.client.commands import ClientCommands
from jobscheduler_tcp.client.ending import Ending
from jobscheduler_tcp.client.scheduler import Scheduler
from jobscheduler_tcp.client.schedulercommands import SchedulerCommands
from jobscheduler_tcp.config.model import (
    ConfiguredChain,
    ConfiguredClass,
    ConfiguredJob,
    ConfiguredNode,
    Objects,
)
from jobscheduler_tcp.messages import Work
from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.plaincommands import Peer, PlainCommands
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.wire.documents import Element, parse
from tests.placed import FakeRunner, placingWith

# What the protocol document (2.1) says; where it knows none, what we decided.
LEVELS = {
    Level.INFO: """
        s show_state show_jobs show_job show_task show_process_classes show_job_chain
        show_job_chains show_order check_folders param.get params.get
    """,
    Level.NO_ADD: """
        start_job kill_task modify_job modify_order remove_order modify_spooler terminate param
        params
    """,
    Level.ALL: "add_order order process_class process_class.remove",
}

_OK = Outcome(Reason.EXITED, exitCode=0)


class SchedulerCommandsTests(SynchronousTestCase):
    """
    Commands at a client with three jobs and a chain.
    """

    def setUp(self) -> None:
        """
        A client.
        """
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.runner = FakeRunner()
        placing = placingWith(self.clock, self.runner)
        scheduler = self.scheduler = Scheduler(
            self.clock, placing.run, wallClock=self.clock.seconds
        )
        classes = (ConfiguredClass("", "near.example", 4455, 9, "scheduler.xml:1"),)
        work = Work(script="true")
        jobs = (
            ConfiguredJob("a", "", "", work, "scheduler.xml:2", tasks=9),
            ConfiguredJob("deep/er/b", "", "", work, "scheduler.xml:3", order=True, tasks=2),
            ConfiguredJob("deep/c", "", "", work, "scheduler.xml:4", description="Says c."),
        )
        nodes = (ConfiguredNode("1", "deep/er/b", "2"), ConfiguredNode("2"))
        chains = (ConfiguredChain("deep/chain", "", nodes, "scheduler.xml:4"),)
        placing.configure(classes)
        scheduler.configure(Objects(classes, jobs, chains))
        self.ended: list[str] = []
        self.checked = 0
        ending = Ending(
            scheduler,
            self.clock,
            lambda: self.ended.append("well"),
            lambda: self.ended.append("at once"),
            placing.hold,
        )
        self.placing = placing
        table = ClientCommands(scheduler, placing, {}, self.clock.seconds).commands()
        table |= SchedulerCommands(
            scheduler, ending, self.check, lambda: placing.classes, (("Site", "wien"),)
        ).commands()
        self.table = table
        self.commands = PlainCommands(table, self.clock.seconds)

    def check(self) -> None:
        """
        Count.
        """
        self.checked += 1

    def say(self, document: str, level: Level = Level.ALL) -> Element:
        """
        Say a command, which has one answer.
        """
        obeying = self.commands.obey(parse(document.encode()), Peer("192.0.2.1", 1, level))
        (answer,) = self.successResultOf(Deferred.fromCoroutine(obeying))
        self.clock.advance(0)
        return answer

    def code(self, document: str) -> str:
        """
        Say a command that is refused, and return its code.
        """
        return self.say(document).attributes["code"]

    def state(self) -> str:
        """
        How the scheduler stands.
        """
        return self.say("<show_state/>").attributes["state"]

    def test_levels(self) -> None:
        """
        Each command needs the level of the table, and is refused below it.
        """
        expected = {name: level for level, names in LEVELS.items() for name in names.split()}
        self.assertEqual({name: level for name, (level, _) in self.table.items()}, expected)
        for name, level in expected.items():
            for below in Level:
                if below < level:
                    answer = self.say(f"<{name}/>", below)
                    self.assertEqual(answer.attributes.get("code"), "SCHEDULER-121", name)
        self.assertEqual(self.ended, [])

    def test_guide(self) -> None:
        """
        The guide has all commands, each with its level.
        """
        page = Path(__file__).parent.parent / "docs" / "xml-commands.md"
        rows = re.findall(r"(?m)^\| (`.*?`) \|.*\| (\w+) \|$", page.read_text("utf-8"))
        told = {name: level for names, level in rows for name in re.findall("`(.*?)`", names)}
        # The history is another module's.
        expected = {name: str(level) for name, (level, _) in self.table.items()}
        self.assertEqual(told, expected | {"show_history": "info"})

    def test_pause(self) -> None:
        """
        While the scheduler pauses, what runs goes on, what comes waits, and all
        of it has its turn when it continues.
        """
        self.say('<start_job job="a"/>')
        self.assertEqual(self.say('<modify_spooler cmd="pause"/>').name, "ok")
        self.assertEqual(self.state(), "paused")
        self.say('<start_job job="a"/>')
        self.say('<add_order job_chain="deep/chain" id="1"/>')
        self.runner.ran[0].end(_OK)
        self.clock.advance(100)
        self.assertEqual(len(self.runner.ran), 1)
        self.say('<modify_spooler cmd="continue"/>')
        self.assertEqual((self.state(), len(self.runner.ran)), ("running", 3))

    def test_stop(self) -> None:
        """
        It is stopped when nothing runs any more, and may continue.
        """
        self.say('<start_job job="a"/>')
        self.say('<modify_spooler cmd="stop"/>')
        self.assertEqual(self.state(), "stopping")
        self.runner.ran[0].end(_OK)
        self.assertEqual(self.state(), "stopped")
        self.say('<modify_spooler cmd="continue"/>')
        self.assertEqual(self.state(), "running")

    def test_terminate(self) -> None:
        """
        The client ends when what runs is over, and starts nothing meanwhile. What
        waits for a process goes on waiting.
        """
        self.placing.classes[""].resize(1)
        self.say('<start_job job="a"/>')
        self.say('<add_order job_chain="deep/chain" id="1"/>')
        self.assertEqual(self.say("<terminate/>").name, "ok")
        self.say('<start_job job="a"/>')
        self.say('<modify_spooler cmd="continue"/>')  # too late
        self.say('<modify_spooler cmd="pause"/>')
        self.assertEqual((self.state(), self.ended), ("stopping", []))
        order = self.say('<show_order job_chain="deep/chain" order="1"/>')
        self.assertEqual(order.attributes["state"], "1")
        self.clock.advance(10_000)
        self.assertEqual(self.ended, [])
        self.runner.ran[0].end(_OK)
        self.clock.advance(0)
        self.assertEqual(self.ended, ["well"])
        self.assertEqual(len(self.runner.ran), 1)
        self.assertTrue(self.scheduler.tasks.alive[2].waits)

    def test_terminateAtOnce(self) -> None:
        """
        If nothing runs, it ends as soon as the answer is said.
        """
        obeying = self.commands.obey(
            parse(b'<modify_spooler cmd="terminate"/>'), Peer("192.0.2.1", 1, Level.ALL)
        )
        (answer,) = self.successResultOf(Deferred.fromCoroutine(obeying))
        self.assertEqual((answer.name, self.ended), ("ok", []))
        self.clock.advance(0)
        self.assertEqual(self.ended, ["well"])

    def test_timeout(self) -> None:
        """
        With a timeout what still runs then is killed; what survives even that
        does not hold the client up.
        """
        self.say('<start_job job="a"/>')
        self.say('<start_job job="a"/>')
        self.say('<terminate timeout="30"/>')
        self.clock.advance(29)
        self.assertEqual(self.runner.ran[0].kills, [])
        self.clock.advance(1)
        self.assertEqual([job.kills for job in self.runner.ran], [[(9, 0.0)]] * 2)
        self.runner.ran[0].end(Outcome(Reason.KILLED, signal=9))
        self.assertEqual(self.ended, [])
        self.clock.advance(10)
        self.assertEqual(self.ended, ["well"])

    def test_abort(self) -> None:
        """
        It can be ended at once.
        """
        self.say('<start_job job="a"/>')
        self.say('<modify_spooler cmd="abort_immediately"/>')
        self.assertEqual(self.ended, ["at once"])

    def test_refused(self) -> None:
        """
        What cannot be done is refused, and changes nothing.
        """
        for document, code in (
            ("<modify_spooler/>", "SCHEDULER-105"),
            ('<modify_spooler cmd="bogus"/>', "SCHEDULER-105"),
            ('<modify_spooler cmd="reload"/>', "jsremote-unsupported"),
            ('<modify_spooler cmd="terminate_and_restart"/>', "jsremote-unsupported"),
            ('<modify_spooler cmd="terminate" timeout="x"/>', "jsremote-protocol-error"),
            ('<terminate timeout="-1"/>', "jsremote-protocol-error"),
            ('<terminate restart="yes"/>', "jsremote-unsupported"),
            ('<terminate all_schedulers="yes"/>', "jsremote-unsupported"),
            ('<terminate cluster_member_id="other"/>', "jsremote-unsupported"),
            ("<param/>", "SCHEDULER-409"),
            ('<params><other name="a"/></params>', "SCHEDULER-409"),
            ("<process_class.remove/>", "jsremote-unsupported"),  # the default one
            ('<process_class.remove process_class="x"/>', "SCHEDULER-161"),
            ('<process_class name="x"/>', "jsremote-unsupported"),
            ('<show_state what="nonsense"/>', "SCHEDULER-164"),
            ('<show_task id="1" what="nonsense"/>', "SCHEDULER-164"),
            ('<show_jobs max_orders="x"/>', "jsremote-protocol-error"),
            ('<show_job_chain job_chain="x"/>', "SCHEDULER-161"),
            ('<show_order job_chain="deep/chain" order="1"/>', "SCHEDULER-162"),
        ):
            with self.subTest(document):
                self.assertEqual(self.code(document), code)
        self.clock.advance(100)
        self.assertEqual((self.state(), self.ended), ("running", []))

    def test_variables(self) -> None:
        """
        Variables are those of the configuration until they are set; their names
        are compared without regard to case.
        """
        self.assertEqual(self.say('<param.get name="SITE"/>').attributes["value"], "wien")
        self.say('<params><param name="a" value="1"/><param name="site" value="bern"/></params>')
        self.say('<param name="b" value="2"/>')
        found = self.say("<params.get/>")
        self.assertEqual(
            {each.attributes["name"]: each.attributes["value"] for each in found.children},
            {"site": "bern", "a": "1", "b": "2"},
        )
        self.assertEqual(found.attributes["count"], "3")
        self.assertEqual(self.say('<param.get name="none"/>').name, "ok")

    def test_manyVariables(self) -> None:
        """
        There cannot be more than there is memory for.
        """
        self.patch(schedulercommands, "MAX_VARIABLES", 2)
        self.say('<param name="a" value="1"/>')
        self.assertEqual(self.code('<param name="b" value="2"/>'), "jsremote-limit")
        self.say('<param name="A" value="2"/>')
        self.assertEqual(self.say("<params.get/>").attributes["count"], "2")

    def test_checkFolders(self) -> None:
        """
        The live folder is looked at when somebody asks for it.
        """
        self.assertEqual(self.say("<check_folders/>").name, "ok")
        self.assertEqual(self.checked, 1)

    def test_folders(self) -> None:
        """
        The state has the folders with what is in each, as deep as is asked for,
        and the kinds of objects that are asked for.
        """
        for document in ("<s/>", '<show_state what="folders"/>'):
            root = self.say(document).children[0]
            self.assertEqual(
                [child.name for child in root.children],
                ["file_based", "process_classes", "jobs", "job_chains", "folders"],
            )
            (deep,) = root.children[-1].children
            self.assertEqual(deep.attributes, {"path": "/deep", "name": "deep"})
            _, _, jobs, chains, folders = deep.children
            self.assertEqual([each.attributes["path"] for each in jobs.children], ["/deep/c"])
            self.assertEqual([each.attributes["path"] for each in chains.children], ["/deep/chain"])
            self.assertEqual(folders.children[0].attributes["path"], "/deep/er")
        flat = self.say(
            '<show_state what="folders no_subfolders" path="/deep/" subsystems="folder job"/>'
        ).children[0]
        self.assertEqual([child.name for child in flat.children], ["file_based", "jobs"])
        self.assertEqual(flat.children[1].children[0].attributes["name"], "c")

    def test_orders(self) -> None:
        """
        Orders are shown where they stand, with what is asked for, and no more of
        them than are asked for.
        """
        for number in range(4):
            self.say(
                f'<add_order job_chain="deep/chain" id="{number}"><params>'
                '<param name="day" value="x"/></params></add_order>'
            )
        plain = self.say('<show_job_chain job_chain="deep/chain"/>')
        self.assertEqual(
            (plain.attributes["orders"], plain.attributes["running_orders"]), ("4", "2")
        )
        (queue,) = plain.children[1].children
        self.assertEqual((queue.attributes["length"], queue.children), ("4", []))
        words = 'what="job_chain_orders payload log job_chain_jobs" max_orders="3"'
        node = self.say(f'<show_job_chain job_chain="deep/chain" {words}/>').children[1]
        queue, job = node.children
        self.assertEqual([each.attributes["id"] for each in queue.children], ["0", "1", "2"])
        _, payload, log = queue.children[0].children
        (parameters,) = payload.children
        self.assertEqual(parameters.children[0].attributes, {"name": "day", "value": "x"})
        self.assertEqual(log.name, "log")
        self.assertEqual(
            (job.attributes["path"], job.attributes["state"]), ("/deep/er/b", "running")
        )
        waiting = self.say('<show_job job="/deep/er/b" what="job_orders"/>')
        (queue,) = [each for each in waiting.children if each.name == "order_queue"]
        self.assertEqual([each.attributes["id"] for each in queue.children], ["2", "3"])
        order = self.say('<show_order job_chain="/deep/chain" order="3" what="payload"/>')
        self.assertEqual((order.attributes["path"], len(order.children)), ("/deep", 2))

    def test_description(self) -> None:
        """
        What a job is for is told to those who ask.
        """
        job = self.say('<show_job job="/deep/c" what="description job_params"/>')
        self.assertEqual(job.attributes["has_description"], "yes")
        texts = {each.name: each.text for each in job.children}
        self.assertEqual((texts["description"], texts["params"]), ("Says c.", ""))
