"""
Tests for L{jobscheduler_tcp.client.historycommands}.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed

from jobscheduler_tcp.client.historycommands import MAX_LOG, HistoryCommands
from jobscheduler_tcp.client.logfiles import LogPart
from jobscheduler_tcp.config.model import ConfiguredJob
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.messages import Work
from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.plaincommands import Peer, PlainCommands, Said
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.wire.documents import Element, parse, serialise
from tests import recordings
from tests.test_history import HistoryTestCase

# What our answers have beyond those of a real JobScheduler; it has nothing that
# ours do not have.
MORE = {
    "history.entry": {"reason", "exit_code", "signal", "seconds"},
}

# Times are those of the test, and a log's text is its own.
OTHER_VALUES = {"start_time", "end_time"}

# What the C library of the recorded machine says of a signal.
OTHER_WORDS = {"error_text": " Kill, unblockable"}


class CommandsTestCase(HistoryTestCase):
    """
    Help with commands.
    """

    def setUp(self) -> None:
        """
        A history of five tasks, as in the recording.
        """
        super().setUp()
        self.log = b""
        commands = HistoryCommands(
            self.history,
            self.readLog,
            {"report", "sleeper", "exit3"}.__contains__,
            self.shown,
            "client",
        )
        self.plain = PlainCommands(commands.commands(), lambda: self.now)
        ok = Outcome(Reason.EXITED, exitCode=0, pid=4711, seconds=0.5)
        for name, outcome in (
            ("report", ok),
            ("ok", None),
            ("report", ok),
            ("sleeper", Outcome(Reason.KILLED, signal=9, pid=4711)),
            ("exit3", Outcome(Reason.EXITED, exitCode=3, pid=4711)),
        ):
            self.start(ConfiguredJob(name, "", "", Work(script="true"), "scheduler.xml:5"))
            if outcome is not None:
                self.now += 1
                self.given[-1].done.callback(outcome)

    def shown(self, command: Element, peer: Peer) -> Said:
        """
        Task 2 is still remembered.
        """
        if command.attributes["id"] == "2":
            return Element("task", {"job": "/ok", "id": "2"})
        raise CommandRefused("SCHEDULER-207", "There is no task")

    def readLog(self, job: str, number: int, start: int, most: int) -> Deferred[LogPart]:
        """
        Read from a log.
        """
        if not self.log:
            raise FileNotFoundError
        begin = max(0, len(self.log) + start) if start < 0 else start
        return succeed(LogPart(self.log[begin : begin + most], begin, len(self.log)))

    def say(self, command: str) -> Element:
        """
        Say a command and hear what is said first.
        """
        peer = Peer("127.0.0.1", 1, Level.INFO)
        obeying = Deferred.fromCoroutine(self.plain.obey(parse(command.encode()), peer))
        (said,) = self.successResultOf(obeying)
        self.assertEqual(parse(serialise(said)), said)
        return said

    def listed(self, command: str) -> list[str]:
        """
        The numbers of the tasks in a history.
        """
        said = self.say(command)
        self.assertEqual(said.name, "history")
        return [entry.attributes["task"] for entry in said.children]


class ShowHistoryTests(CommandsTestCase):
    """
    C{show_history}.
    """

    def test_replay(self) -> None:
        """
        The requests that were recorded are answered with the same elements,
        attributes in the same order, and values.
        """
        replayed = 0
        for exchange in recordings.commands():
            if not exchange["request"].startswith("<show_history"):
                continue
            replayed += 1
            answer = parse(exchange["answer"].rstrip("\0").encode("iso-8859-1"))
            (recorded,) = answer.children[0].children
            said = self.say(exchange["request"])
            self.assertEqual(said.name, recorded.name)
            self.assertEqual(len(said.children), len(recorded.children))
            for ours, real in zip(said.children, recorded.children, strict=True):
                self.assertEqual(ours.name, real.name)
                more = MORE[ours.name]
                known = {n: v for n, v in ours.attributes.items() if n not in more}
                self.assertEqual(list(known), list(real.attributes))
                for name, value in real.attributes.items():
                    if name not in OTHER_VALUES:
                        expected = value.replace(OTHER_WORDS.get(name, "\0"), "")
                        self.assertEqual(known[name], expected)
        self.assertGreaterEqual(replayed, 4)

    def test_select(self) -> None:
        """
        C{id}, C{prev} and C{next} say which; those that are not over are not
        shown; without a job all are.
        """
        self.assertEqual(self.listed("<show_history/>"), ["5", "4", "3", "1"])
        self.assertEqual(self.listed("<show_history prev='all'/>"), ["5", "4", "3", "1"])
        self.assertEqual(self.listed("<show_history prev='1'/>"), ["5"])
        self.assertEqual(self.listed("<show_history id='4' prev='2'/>"), ["3", "1"])
        self.assertEqual(self.listed("<show_history id='3' next='5'/>"), ["4", "5"])
        self.assertEqual(self.listed("<show_history job='report' id='3'/>"), ["3"])
        self.assertEqual(self.listed("<show_history job='report' id='4'/>"), [])
        self.assertEqual(self.listed("<show_history id='2'/>"), [])

    def test_refused(self) -> None:
        """
        A job that neither is nor was, too many entries and what is no number
        are refused.
        """
        for command, code in (
            ("<show_history job='/nosuch'/>", "SCHEDULER-161"),
            ("<show_history job='/report' prev='1001'/>", "SCHEDULER-285"),
            ("<show_history job='/report' prev='few'/>", "jsremote-protocol-error"),
        ):
            self.assertEqual(self.say(command).attributes["code"], code)

    def test_log(self) -> None:
        """
        C{what="log"} brings the logs.
        """
        self.log = b"one\ntwo\n"
        said = self.say("<show_history job='/report' prev='1' what='log'/>")
        self.assertEqual(said.children[0].children[0].text, "one\ntwo\n")


class ShowTaskTests(CommandsTestCase):
    """
    C{show_task}.
    """

    def test_remembered(self) -> None:
        """
        A task under way is shown as ever.
        """
        said = self.say("<show_task id='2'/>")
        expected = {"job": "/ok", "id": "2", "log_file": "logs/task.ok.2.log"}
        self.assertEqual(said.attributes, expected)

    def test_history(self) -> None:
        """
        One that nobody remembers comes from the history, with its error and its
        parameters.
        """
        said = self.say("<show_task id='5'/>")
        self.assertEqual(said.attributes["job"], "/exit3")
        self.assertEqual(said.attributes["state"], "closed")
        self.assertEqual(said.attributes["exit_code"], "3")
        self.assertIn("end_time", said.attributes)
        error, params = said.children
        self.assertEqual(error.attributes["code"], "SCHEDULER-280")
        self.assertEqual(params.children[0].attributes, {"name": "day", "value": "monday"})

    def test_unknown(self) -> None:
        """
        A task that never was is an error.
        """
        self.assertEqual(self.say("<show_task id='77'/>").attributes["code"], "SCHEDULER-207")

    def test_log(self) -> None:
        """
        The log comes whole, as far as it fits, or from an offset; a line comes
        when it is complete.
        """
        self.log = b"".join(b"line %d\n" % number for number in range(100000)) + b"the rest"
        size = len(self.log)
        said = self.say("<show_task id='3' what='log'/>").children[-1]
        self.assertEqual(said.name, "log")
        self.assertEqual(said.attributes["size"], str(size))
        self.assertEqual(said.attributes["offset"], str(size - MAX_LOG))
        self.assertTrue(said.text.endswith("line 99999\n"))

        said = self.say("<show_task id='3' what='log' log_offset='0'/>").children[-1]
        self.assertTrue(said.text.startswith("line 0\n"))
        self.assertEqual(int(said.attributes["bytes"]), len(said.text))
        said = self.say(f"<show_task id='3' what='log' log_offset='{size - 8}'/>").children[-1]
        self.assertEqual((said.text, said.attributes["bytes"]), ("", "0"))
        said = self.say("<show_task id='3' what='log' log_offset='-1'/>")
        self.assertEqual(said.attributes["code"], "jsremote-protocol-error")

    def test_noLog(self) -> None:
        """
        A log that was thrown away is empty.
        """
        said = self.say("<show_task id='2' what='task_queue log'/>").children[-1]
        self.assertEqual((said.name, said.text), ("log", ""))
