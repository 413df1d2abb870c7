"""
What the command line draws: the diagram of a job, and the state of a service.
"""

from __future__ import annotations

import os
import re
import shutil
import sys

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.cli.diagram import Diagram
from jobscheduler_tcp.cli.scene import Scene
from jobscheduler_tcp.cli.state import answerIn, plain, table
from jobscheduler_tcp.cli.twistds import Logged, logged
from jobscheduler_tcp.errors import CommandRefused, RemoteProtocolError
from jobscheduler_tcp.wire.documents import element


class DiagramTests(SynchronousTestCase):
    """
    The diagram as text.
    """

    def lines(self, diagram: Diagram, text: str) -> list[str]:
        """
        One line of every kind.
        """
        return [
            diagram.gap(),
            diagram.left("0", text),
            diagram.right("12345", text),
            diagram.toRemote("1", text),
            diagram.toRemote("1", text, "="),
            diagram.toClient("999999", text),
            diagram.toClient("", text, "="),
        ]

    @settings(deadline=None, max_examples=50)
    @given(st.text(max_size=200))
    def test_lifelines(self, text: str) -> None:
        """
        Every line fits 80 columns and leaves the lifelines where they are,
        whatever a process printed; without colour there is no escape code.
        """
        for line in self.lines(Diagram(), text):
            self.assertEqual(len(line), 79)
            self.assertEqual((line[8], line[78]), ("|", "|"))
            self.assertNotIn("\x1b", line)

    def test_arrows(self) -> None:
        """
        An arrow says what goes, and its head is where it goes.
        """
        there, back = Diagram().toRemote("1", "go", "="), Diagram().toClient("2", "come")
        self.assertTrue(there.startswith("     1  |====== go ==="), there)
        self.assertTrue(there.endswith("==>|"), there)
        self.assertTrue(back.startswith("     2  |<------ come ---"), back)
        self.assertTrue(back.endswith("--|"), back)

    def test_heads(self) -> None:
        """
        The names stand above their lifelines.
        """
        heads = Diagram().heads("client", "remote")
        self.assertEqual((heads.index("client"), len(heads)), (8, 79))

    def test_colour(self) -> None:
        """
        Colours change nothing of the text.
        """
        for bare, coloured in zip(
            self.lines(Diagram(), "x"), self.lines(Diagram(colour=True), "x"), strict=True
        ):
            self.assertEqual(re.sub(r"\x1b\[\d*m", "", coloured), bare)


class SceneTests(SynchronousTestCase):
    """
    From what is logged to the diagram.
    """

    def setUp(self) -> None:
        """
        A job that goes well.
        """
        self.scene = Scene(Diagram(), "127.0.0.1:4455")
        self.story = [
            Logged("client", 5.0, "Task {task} is asked for at {remote}", "", {"port": "59999"}),
            Logged("client", 5.001, "Connected to the remote {address}", "", {"port": "40000"}),
            Logged("remote", 5.0, "Something else"),
            Logged(
                "remote",
                5.002,
                "Task {task} is taken from {host}",
                "",
                {"outgoing": "40001", "port": "59999"},
            ),
            Logged("remote", 5.003, "Task {task} runs as process {pid}", "", {"pid": "77"}),
            Logged("client", 5.004, "Task {task} runs at {remote}", "", {"pid": "77"}),
            self.printed("stdout", "one"),
            self.printed("stderr", "two"),
            Logged("remote", 6.0, "Task {task} is over: {reason}", "", {"code": "7"}),
            Logged(
                "client",
                6.001,
                "Task {task} of job {job} is over: {reason}",
                "",
                {"reason": "exited", "exitCode": "7"},
            ),
        ]

    def printed(self, stream: str, line: str) -> Logged:
        """
        The task printed a line.
        """
        form = "Task {task} of job {job}, {stream}: {line}"
        return Logged("client", 5.5, form, "", {"stream": stream, "line": line})

    def play(self) -> str:
        """
        Draw the whole story.
        """
        return "\n".join(line for each in self.story for line in self.scene.drawn(each))

    def test_story(self) -> None:
        """
        Every step of the diagram is drawn with its port and its time.
        """
        drawn = self.play()
        for words in (
            "     0  |  IP 59999: ",
            "     1  |====== command connection: OP 40000 to 127.0.0.1:4455 ===",
            "     1  |------ the IP port 59999, to receive the answer ---",
            "     2  |<====== confirmation connection: OPR 40001 to IP 59999 ===",
            " a separate process for the task: pid 77  |",
            "     4  |<------ the start of the task is confirmed ---",
            "   500  |<------ stdout: one ---",
            "   500  |<------ stderr: two ---",
            " the task is over: exit code 7  |",
            "  1001  |<------ the end of the task is confirmed ---",
        ):
            self.assertIn(words, drawn)
        self.assertNotIn("Something", drawn)
        self.assertTrue(self.scene.over)
        self.assertEqual(self.scene.faults(["one"], ["two"], 7), [])
        self.assertIn("exited, exit code 7", "\n".join(self.scene.closing([])))

    def test_faults(self) -> None:
        """
        A line that is missing, doubled or on the other stream, or another exit
        code, is told.
        """
        self.assertEqual(len(self.scene.faults(["one"], ["two"], 7)), 3)
        self.play()
        for stdout, stderr, code in (
            (["one", "one"], ["two"], 7),
            (["two"], ["two"], 7),
            (["one"], [], 7),
            (["one"], ["two"], 0),
        ):
            faults = self.scene.faults(stdout, stderr, code)
            self.assertEqual(len(faults), 1)
            self.assertIn(f"WRONG: {faults[0]}", self.scene.closing(faults))

    def test_typed(self) -> None:
        """
        What it tells to type works where it is typed, whether the environment is active or not.
        """
        self.play()
        for found, directory, words in (
            ("/venv/bin/twistd", "/", " twistd -n "),
            (None, "/clone", " .venv/bin/twistd -n "),
            (None, "/clones", " /clone/.venv/bin/twistd -n "),
        ):
            self.patch(shutil, "which", lambda program, found=found: found)
            self.patch(os, "getcwd", lambda directory=directory: directory)
            self.patch(sys, "executable", "/clone/.venv/bin/python3")
            self.assertIn(words, "\n".join(self.scene.closing([])))

    def test_logged(self) -> None:
        """
        A line of a process is an event with its fields, or just text.
        """
        line = b'{"time": 1.5, "format": "{a}", "text": "b", "fields": {"a": "b"}}'
        self.assertEqual(logged("remote", line), Logged("remote", 1.5, "{a}", "b", {"a": "b"}))
        for other in (b"usage: twistd\n", b"{}", b"[1]", b"\xff"):
            found = logged("client", other)
            self.assertEqual((found.role, found.form, found.over), ("client", "", False))
        self.assertEqual(logged("client", b"usage: twistd\n").text, "usage: twistd")


# A list within a list, and a column with nothing in it.
TASKS = element("queued", {}, [element("task", {"id": "3", "title": "", "at": "now"})])


class StateTests(SynchronousTestCase):
    """
    The answer to C{show_state}, for people and for programs.
    """

    state = element(
        "state",
        {"state": "running", "pid": "7", "spooler_id": "", "evil": "\x1b[2J"},
        [
            element("tasks", {"count": "2"}, [element("task", {"id": str(n)}) for n in (1, 22)]),
            element("idle", {"count": "0"}),
            element("jobs", {}, [element("job", {"name": n}, [TASKS]) for n in ("a", "b")]),
            element("memory", {"used": "5"}),
        ],
    )

    def test_table(self) -> None:
        """
        What it is, then what it has, a line each; nothing moves the cursor.
        """
        self.assertEqual(
            list(table("h:1", self.state)),
            [
                *("h:1  running", "  pid         7", "  evil        ?[2J", ""),
                *("tasks:", "  id", "  1", "  22", "", "idle: none", ""),
                *("jobs:", "  name", "  a", "  b", "", "memory: used 5", ""),
                *("queued:", "  id  at", "  3   now", "  3   now"),
            ],
        )

    def test_brief(self) -> None:
        """
        What nearly every row says, or another of the same row, and the date of
        today, are left out; what is unusual in one row stands in all.
        """
        task = {
            "job": "/a",
            "id": "3",
            "task": "3",
            "steps": "0",
            "enqueued": "2026-11-22 14:05:06",
        }
        later = {**task, "start_at": "2026-11-23 01:00:00"}
        jobs = [
            {"path": "/a", "name": "a", "job": "a", "enabled": "yes", "order": "no"},
            {"path": "/b/c", "name": "c", "job": "c", "enabled": "yes", "order": "yes"},
        ]
        said = element(
            "state",
            {"time": "2026-11-22 14:05:07"},
            [
                element("jobs", {}, [element("job", job) for job in jobs]),
                element("tasks", {}, [element("task", {**task, "start_at": task["enqueued"]})]),
                element("later", {}, [element("task", later)]),
            ],
        )
        self.assertEqual(
            list(table("h:1", said))[3:],
            [
                *("jobs:", "  path  order", "  /a    no", "  /b/c  yes", ""),
                *("tasks:", "  job  task  enqueued", "  /a   3     14:05:06", ""),
                *("later:", "  job  task  enqueued  start_at"),
                "  /a   3     14:05:06  2026-11-23 01:00:00",
            ],
        )

    def test_plain(self) -> None:
        """
        Attributes and lists.
        """
        value = plain(self.state)
        self.assertEqual((value["pid"], value["tasks"]), ("7", [{"id": "1"}, {"id": "22"}]))
        self.assertEqual((value["idle"], value["memory"]), ([], {"used": "5"}))

    def test_errors(self) -> None:
        """
        An error in the answer is raised, and so is an answer of another kind.
        """
        refused = element("ERROR", {"code": "SCHEDULER-121", "text": "SCHEDULER-121  no"})
        answer = element("spooler", {}, [element("answer", {}, [refused])])
        self.assertEqual(self.assertRaises(CommandRefused, answerIn, answer).code, "SCHEDULER-121")
        self.assertRaises(RemoteProtocolError, answerIn, element("html"))
        whole = element("spooler", {}, [element("answer", {}, [self.state])])
        self.assertEqual(answerIn(whole).children, [self.state])
