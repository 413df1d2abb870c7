"""
Tests for L{jobscheduler_tcp.client.ordercommands} and
L{jobscheduler_tcp.client.said}, beside what a real JobScheduler answered.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

from hypothesis import given, settings, strategies
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client import said
from jobscheduler_tcp.client.commands import ClientCommands
from jobscheduler_tcp.client.order import NEVER
from jobscheduler_tcp.client.scheduler import Scheduler
from jobscheduler_tcp.config.livefolder import LiveFolder
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.plaincommands import Peer, PlainCommands
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.wire.documents import Element, element, parse
from tests import recordings
from tests.placed import FakeRunner, placingWith

LIVE = Path(__file__).parent / "data" / "two-schedulers" / "client" / "live"


class OrderCommandsTestCase(SynchronousTestCase):
    """
    Help with commands at a client that runs the example.
    """

    def setUp(self) -> None:
        """
        The example, at noon.
        """
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.runner = FakeRunner()
        placing = placingWith(self.clock, self.runner)
        self.scheduler = Scheduler(self.clock, placing.run, wallClock=self.clock.seconds)
        objects = LiveFolder(str(LIVE)).read().objects
        placing.configure(objects.processClasses)
        self.scheduler.configure(objects)
        commands = ClientCommands(self.scheduler, placing, {}, self.clock.seconds)
        self.commands = PlainCommands(commands.commands(), self.clock.seconds)

    def say(self, document: str, level: Level = Level.ALL) -> Element:
        """
        Say a command, which has one answer.
        """
        obeying = self.commands.obey(parse(document.encode()), Peer("192.0.2.1", 1, level))
        (answer,) = self.successResultOf(Deferred.fromCoroutine(obeying))
        self.clock.advance(0)
        return answer

    def refused(self, document: str) -> str:
        """
        Say a command that is refused, and return its code.
        """
        answer = self.say(document)
        self.assertEqual(answer.name, "ERROR", document)
        return answer.attributes["code"]

    def end(self, code: int = 0, **values: str) -> None:
        """
        End the last task.
        """
        returned = tuple(values.items())
        outcome = Outcome(Reason.EXITED, exitCode=code, returnValues=returned)
        self.runner.ran[-1].end(outcome)
        self.clock.advance(0)


class RecordedTests(OrderCommandsTestCase):
    """
    The answers of a real JobScheduler to the same commands.
    """

    def recorded(self, number: int, request: str) -> Element:
        """
        What a real one answered.
        """
        each = json.loads((recordings.DIRECTORY / "commands.json").read_text("utf-8"))[number]
        self.assertEqual(each["request"], request)
        document = parse(each["answer"].strip("\n\0").encode("latin-1", "xmlcharrefreplace"))
        return document.children[0].children[0]

    def assertAlike(self, number: int, request: str) -> Element:
        """
        Our answer has the same elements, attributes and values, but for times.
        """
        real, ours = self.recorded(number, request), self.say(request)
        self.assertEqual(_plain(ours), _plain(real))
        return ours

    def test_orders(self) -> None:
        """
        Orders are added, changed and removed with the answers of a real one.
        """
        self.assertAlike(
            32,
            '<add_order job_chain="/nightly" id="1"><params><param name="day" '
            'value="2026-11-22"/></params></add_order>',
        )
        self.end(file="/var/spool/2026-11-22.csv")
        work = self.runner.ran[-1].work
        self.assertEqual(
            work.orderParameters, (("day", "2026-11-22"), ("file", "/var/spool/2026-11-22.csv"))
        )
        self.end()
        later = (
            '<add_order job_chain="/nightly" id="2" at="now+01:00" title="later one" priority="5"/>'
        )
        order = self.assertAlike(33, later).children[0].attributes
        self.assertEqual(order["at"], order["next_start_time"])
        self.assertAlike(36, '<add_order job_chain="/nightly" id="2"/>')
        self.assertAlike(37, '<modify_order job_chain="/nightly" order="2" suspended="yes"/>')
        for number, state in ((39, "load"), (40, "bogus")):
            request = f'<modify_order job_chain="/nightly" order="2" state="{state}"/>'
            ours, real = self.say(request), self.recorded(number, request)
            self.assertEqual(ours.attributes["code"], real.attributes["code"])
            text = re.sub(r":[0-9]+ .*", "", real.attributes["text"].rpartition(" Task ")[0])
            self.assertTrue(ours.attributes["text"].startswith(text))
        self.assertAlike(41, '<remove_order job_chain="/nightly" order="2"/>')
        self.assertAlike(43, '<remove_order job_chain="/nightly" order="2"/>')
        self.assertAlike(44, '<add_order job_chain="/nosuch" id="9"/>')
        self.assertAlike(45, '<add_order job_chain="/nightly"/>')
        self.assertAlike(46, '<add_order job_chain="/nightly" id="bad" state="nosuch"/>')

    def test_jobs(self) -> None:
        """
        Jobs obey with the answers of a real one.
        """
        task = self.say('<start_job job="/report" at="now+00:10"/>').children[0].attributes
        self.assertEqual(_seconds(task["start_at"]) - _seconds(task["enqueued"]), 600)
        for number in (8, 13, 22, 24):
            each = json.loads((recordings.DIRECTORY / "commands.json").read_text("utf-8"))[number]
            request = each["request"].replace("/sleeper", "/report")
            real = self.recorded(number, each["request"])
            ours = self.say(request)
            self.assertEqual(
                (ours.name, ours.attributes.get("text")), (real.name, real.attributes.get("text"))
            )


class CommandTests(OrderCommandsTestCase):
    """
    What the recordings do not have.
    """

    def test_attributes(self) -> None:
        """
        Every attribute of an order can be given and changed.
        """
        self.say(
            '<order job_chain="nightly" id="a" title="t" state="load" end_state="done" '
            'priority="-3" suspended="yes"><payload><params><param name="x" value="1"/>'
            "</params></payload></order>"
        )
        order = self.scheduler.book.find("nightly", "a")
        self.assertEqual(
            (order.title, order.state, order.endState, order.priority, order.suspended),
            ("t", "load", "done", -3, True),
        )
        self.assertEqual(order.parameters, (("x", "1"),))
        self.say(
            '<modify_order job_chain="/nightly" order="a" title="" state="extract" priority="4" '
            'at="now + 60" end_state="failed" setback="no"><params><param name="X" value="2"/>'
            '<param name="y" value="3"/></params></modify_order>'
        )
        self.say(
            '<modify_order job_chain="/nightly" order="a"><run_time let_run="no"/></modify_order>'
        )
        self.assertEqual((order.title, order.state, order.priority), ("", "extract", 4))
        self.assertEqual((order.at, order.endState), (self.clock.seconds() + 60, "failed"))
        self.assertEqual(order.parameters, (("x", "2"), ("y", "3")))
        self.say('<modify_order job_chain="/nightly" order="a" action="reset"/>')
        self.assertEqual((order.state, order.suspended), ("load", False))
        self.assertEqual(len(self.runner.ran), 1)

    def test_refused(self) -> None:
        """
        What is wrong is refused, and nothing of it is done.
        """
        self.say('<add_order job_chain="/nightly" id="a" suspended="yes"/>')
        order = self.scheduler.book.find("nightly", "a")
        modify = '<modify_order job_chain="/nightly" order="a" title="new" '
        for document, code in (
            ('<add_order job_chain="/nightly" id="a" replace="no"/>', "SCHEDULER-186"),
            ('<add_order job_chain="/nightly" state="done"/>', "SCHEDULER-149"),
            ('<add_order job_chain="/nightly" web_service="x"/>', "jsremote-unsupported"),
            ('<add_order job_chain="/nightly" at="soon"/>', "jsremote-protocol-error"),
            ('<add_order job_chain="/nightly" suspended="perhaps"/>', "jsremote-protocol-error"),
            ('<add_order job_chain="/nightly" id="a&#10;b"/>', "jsremote-protocol-error"),
            ('<add_order job_chain="/nightly"><x/></add_order>', "SCHEDULER-409"),
            (
                '<add_order job_chain="/nightly"><payload><x/></payload></add_order>',
                "SCHEDULER-409",
            ),
            ('<add_order job_chain="/nightly"><xml_payload/></add_order>', "jsremote-unsupported"),
            (
                '<add_order job_chain="/nightly"><run_time single_start="10:00"/></add_order>',
                "jsremote-unsupported",
            ),
            ('<modify_order job_chain="/nightly" order="b"/>', "SCHEDULER-162"),
            (modify + 'setback="yes"/>', "SCHEDULER-351"),
            (modify + 'action="x"/>', "jsremote-protocol-error"),
            (modify + 'priority="x"/>', "jsremote-protocol-error"),
            (modify + 'state="bogus"/>', "SCHEDULER-149"),
            ('<start_job job="/extract"/>', "jsremote-unsupported"),
        ):
            with self.subTest(document):
                self.assertEqual(self.refused(document), code)
        self.assertEqual((order.title, len(self.scheduler.book)), ("", 1))
        self.assertEqual(self.runner.ran, [])

    def test_levels(self) -> None:
        """
        Who may not add may change and remove; who may only look, nothing.
        """
        self.say('<add_order job_chain="/nightly" id="a" suspended="yes"/>')
        add, modify, remove = (
            '<add_order job_chain="/nightly"/>',
            '<modify_order job_chain="/nightly" order="a" title="b"/>',
            '<remove_order job_chain="/nightly" order="a"/>',
        )
        for document in (add, modify, remove):
            code = self.say(document, Level.INFO).attributes["code"]
            self.assertEqual(code, "SCHEDULER-121")
        self.assertEqual(self.say(add, Level.NO_ADD).attributes["code"], "SCHEDULER-121")
        self.assertEqual(self.say(modify, Level.NO_ADD).name, "ok")
        self.assertEqual(self.say(remove, Level.NO_ADD).name, "ok")

    def test_shown(self) -> None:
        """
        An order tells how it stands, and its task has it.
        """
        self.say('<add_order job_chain="/nightly" id="a"/>')
        order, _ = self.say('<show_task id="1"/>').children
        self.assertEqual((order.name, order.attributes["task"]), ("order", "1"))
        self.runner.ran[0].end(Outcome(Reason.LOST, "gone"))
        found = self.scheduler.book.find("nightly", "a")
        self.assertTrue(found.lost)
        job = self.say('<show_job job="/extract"/>')
        self.assertEqual((job.attributes["order"], job.attributes["tasks"]), ("yes", "1"))

    @given(strategies.data())
    @settings(max_examples=150, deadline=None)
    def test_anything(self, data: strategies.DataObject) -> None:
        """
        Whatever is said, it is obeyed or refused, and the scheduler goes on.
        """
        names = ("job_chain", "id", "order", "state", "at", "priority", "suspended", "setback")
        values = ("/nightly", "a", "load", "done", "now+5", "-1", "yes", "no", "now")
        attributes = data.draw(
            strategies.dictionaries(
                strategies.sampled_from([*names, "action", "end_state", "replace"]),
                strategies.sampled_from([*values, "reset"]) | strategies.text(max_size=5),
            )
        )
        name = data.draw(strategies.sampled_from(["add_order", "modify_order", "remove_order"]))
        command = element(name, {"job_chain": "/nightly", **attributes})
        obeying = self.commands.obey(command, Peer("192.0.2.1", 1, Level.ALL))
        (answer,) = self.successResultOf(Deferred.fromCoroutine(obeying))
        self.assertIn(answer.name, ("ok", "ERROR"))
        self.assertNotEqual(answer.attributes.get("code"), "jsremote-internal-error")
        self.clock.advance(1)
        self.assertEqual(self.flushLoggedErrors(), [])


class SaidTests(SynchronousTestCase):
    """
    Words of commands.
    """

    def when(self, text: str) -> float | None:
        """
        What a time is, 1000 seconds after 1970.
        """
        return said.when(element("x", {"at": text}), "at", 1000.0)

    def test_when(self) -> None:
        """
        Times are relative, or local dates.
        """
        for text, seconds in (
            ("", None),
            ("now", 1000.0),
            ("period", 1000.0),
            ("now+90", 1090.0),
            ("now + 00:02", 1120.0),
            ("now+100:00:01", 361001.0),
            ("2026-11-22 12:30", time.mktime((2026, 11, 22, 12, 30, 0, 0, 0, -1))),
            ("2026-11-22T12:30:15", time.mktime((2026, 11, 22, 12, 30, 15, 0, 0, -1))),
        ):
            self.assertEqual(self.when(text), seconds, text)

    def test_wrong(self) -> None:
        """
        Others are none.
        """
        for text in (
            "soon",
            "now-5",
            "now+1:2:3:4",
            "2026-13-01 00:00",
            "2026-02-30 00:00",
            "2026-11-22 24:00",
            "12:30",
            "now+99999999999",
        ):
            self.assertRaises(CommandRefused, self.when, text)
        self.assertNotEqual(NEVER, self.when("now"))


def _plain(found: Element) -> object:
    """
    An answer without times.
    """
    attributes = {
        name: re.sub(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:.]+", "TIME", value)
        for name, value in found.attributes.items()
    }
    return found.name, attributes, [_plain(child) for child in found.children]


def _seconds(text: str) -> float:
    return time.mktime(time.strptime(text.partition(".")[0], "%Y-%m-%d %H:%M:%S"))
