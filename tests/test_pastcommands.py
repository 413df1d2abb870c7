"""
Tests for L{jobscheduler_tcp.client.pastcommands}.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client.order import NewOrder, Verdict
from jobscheduler_tcp.client.orderhistory import OrderRecord, StepRecord
from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.plaincommands import Peer, PlainCommands
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.wire.documents import Element, parse
from tests.commandedclient import CommandedClient
from tests.placed import FakeRunner
from tests.test_ordercommands import LIVE


class PastTests(SynchronousTestCase):
    """
    A client with two orders that are over and one under way.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        clock = self.clock = Clock()
        clock.advance(1_700_000_000)
        self.runner = FakeRunner()
        self.client = CommandedClient(clock, LIVE, self.runner, clock.seconds, {})
        now = clock.seconds()
        self.client.history.orders = [
            OrderRecord(7, 3, "nightly", "c", "", "order", "extract", now, None, False),
            OrderRecord(5, 2, "nightly", "b", "Second", "file", "failed", 0.0, now, True),
            OrderRecord(4, 1, "nightly", "a", "", "order", "done", now - 9, now, False),
        ]
        self.client.history.steps = [
            StepRecord(
                1, "extract", "extract", now - 9, now - 5, Verdict.SUCCEEDED, "", Reason.EXITED, 0
            ),
            StepRecord(2, "load", "load", now - 5, now, Verdict.LOST, "gone", None, None),
        ]
        self.plain = PlainCommands(self.client.table, clock.seconds)

    def say(self, document: str) -> Element:
        """
        Say a command, which has one answer.
        """
        peer = Peer("192.0.2.1", 1, Level.INFO)
        obeying = Deferred.fromCoroutine(self.plain.obey(parse(document.encode()), peer))
        (answer,) = self.successResultOf(obeying)
        return answer

    def test_chain(self) -> None:
        """
        A job chain shows the runs that are over, if they are asked for, and as many
        as are asked for.
        """
        plain = self.say('<show_job_chain job_chain="/nightly"/>')
        self.assertNotIn("order_history", [child.name for child in plain.children])
        for document in (
            '<show_job_chain job_chain="nightly" what="order_history"/>',
            '<show_job_chains what="order_history log"/>',
        ):
            shown = self.say(document)
            chain = shown if shown.name == "job_chain" else shown.children[0]
            history = chain.children[-1]
            self.assertEqual(history.name, "order_history")
            self.assertEqual([each.attributes["id"] for each in history.children], ["b", "a"])
        removed, done = (each.attributes for each in history.children)
        self.assertEqual(
            (removed["removed"], removed["title"], removed["history_id"]), ("yes", "Second", "5")
        )
        self.assertNotIn("start_time", removed)
        self.assertEqual((done["state"], done["job_chain"]), ("done", "/nightly"))
        few = self.say(
            '<show_job_chain job_chain="nightly" what="order_history" max_order_history="2"/>'
        )
        self.assertEqual(len(few.children[-1].children), 1)

    def test_order(self) -> None:
        """
        An order of the past is found by its number in the history, with the tasks
        that worked on it.
        """
        order = self.say('<show_order job_chain="/nightly" order="a" history_id="4"/>')
        self.assertEqual((order.attributes["state"], order.attributes["cause"]), ("done", "order"))
        first, second = (each.attributes for each in order.children[0].children)
        self.assertEqual((first["job"], first["error"], first["exit_code"]), ("/extract", "0", "0"))
        self.assertEqual((second["verdict"], second["text"]), ("lost", "gone"))
        self.assertEqual(
            self.say('<show_order job_chain="/nightly" history_id="4"/>').attributes,
            order.attributes,
        )

    def test_log(self) -> None:
        """
        The log of an order has the tasks that worked on it.
        """
        order = NewOrder("nightly", "x")
        self.client.scheduler.addOrder(order)
        for asked in ('order="x" what="log"', 'history_id="4" what="log"'):
            shown = self.say(f'<show_order job_chain="/nightly" {asked}/>')
            log = shown.children[-1]
            self.assertEqual(
                [line.partition(" [")[2] for line in log.text.splitlines()],
                [
                    "info]   (Task extract:1) works on the order in state extract",
                    "info]   (Task extract:1) succeeded: ",
                    "info]   (Task load:2) works on the order in state load",
                    "warn]   (Task load:2) lost: gone",
                ],
            )

    def test_unknown(self) -> None:
        """
        One that is not there is refused, and so is a number that is none.
        """
        for document, code in (
            ('<show_order job_chain="/nightly" order="b" history_id="4"/>', "SCHEDULER-162"),
            ('<show_order job_chain="/nightly" history_id="6"/>', "SCHEDULER-162"),
            ('<show_order job_chain="/nightly" order="a"/>', "SCHEDULER-162"),
            ('<show_order job_chain="/nightly" history_id="x"/>', "jsremote-protocol-error"),
            ('<show_order history_id="4" what="x"/>', "SCHEDULER-164"),
            (
                '<show_job job="report" what="task_history" max_task_history="1001"/>',
                "SCHEDULER-285",
            ),
        ):
            answer = self.say(document)
            self.assertEqual((answer.name, answer.attributes["code"]), ("ERROR", code), document)

    def test_job(self) -> None:
        """
        A job shows the tasks of the history, as show_history does.
        """
        for _ in range(12):
            self.client.scheduler.startJob("report")
            self.clock.advance(0)
            self.runner.ran[-1].end(Outcome(Reason.EXITED, exitCode=0))
        job = self.say('<show_job job="/report" what="task_history"/>')
        (history,) = [child for child in job.children if child.name == "history"]
        self.assertEqual(len(history.children), 10)
        self.assertEqual(
            history.children[0], self.say('<show_history job="/report" prev="1"/>').children[0]
        )
