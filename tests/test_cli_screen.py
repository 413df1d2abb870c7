"""
What the command line draws: the diagram of a job, the state of a service, tables,
and how something stands.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.cli import screen
from jobscheduler_tcp.cli.asking import answerIn, plain
from jobscheduler_tcp.cli.diagram import Diagram
from jobscheduler_tcp.cli.scene import Scene
from jobscheduler_tcp.cli.screen import Progress, columns, drawn, isColourful
from jobscheduler_tcp.cli.state import table
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

    def test_connectedFirst(self) -> None:
        """
        A client that connects before it listens says the port when it has both.
        """
        self.story[:2] = reversed(self.story[:2])
        drawn = self.play()
        places = [
            drawn.index(words)
            for words in (
                "command connection: OP 40000",
                "IP 59999: an incoming port",
                "the IP port 59999, to receive",
            )
        ]
        self.assertEqual(places, sorted(places), drawn)
        self.assertEqual(drawn.count("to receive the answer"), 1)

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

INSIDE = element("file_based", {"state": "active"}, [element("requisites")])
NODE = element("job_chain_node", {"state": "x"})


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

    def test_untold(self) -> None:
        """
        What a client tells of files and of itself is left out for people.
        """
        job = element("job", {"path": "/a/b", "job": "a/b", "all_steps": "3"}, [INSIDE])
        chain = element("job_chain", {"path": "/c", "orders": "2"}, [INSIDE, NODE])
        said = element(
            "state",
            {},
            [
                element("jobs", {}, [job]),
                element("job_chains", {}, [chain]),
                element("remote_schedulers", {"connected": "0"}),
                element("http_server"),
            ],
        )
        self.assertEqual(
            list(table("h:1", said)),
            [
                *("h:1  ", "", "jobs:", "  path", "  /a/b"),
                *("", "job_chains:", "  path  orders", "  /c    2"),
            ],
        )
        self.assertEqual(plain(chain)["job_chain_nodes"], [{"state": "x"}])

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


class Terminal(io.StringIO):
    """
    Something that says it is a terminal.
    """

    def isatty(self) -> bool:
        """
        It says so.
        """
        return True


class ScreenTests(SynchronousTestCase):
    """
    Tables, and how something stands, on a terminal of 40 columns and elsewhere.
    """

    rows = [
        {"id": "1", "job": "/a", "why": "", "none": ""},
        {"id": "22", "job": "/a/very/long/path/of/a/job", "why": "because\x1b[2J of much"},
    ]

    def setUp(self) -> None:
        """
        A terminal that can do everything.
        """
        self.out = Terminal()
        for name, value in {"TERM": "xterm", "COLUMNS": "40", "NO_COLOR": ""}.items():
            self.patch(os, "environ", {**os.environ, name: value})
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.out)

    def has(self, rich: bool) -> None:
        """
        Have rich, or not.
        """
        self.patch(screen, "hasRich", lambda: rich)

    def test_whole(self) -> None:
        """
        Where it may be as wide as it is, nothing is cut; a column with nothing
        in it is left out, and nothing moves the cursor.
        """
        self.patch(sys, "stdout", io.StringIO())
        expected = [
            "  id  job                         why",
            "  1   /a",
            "  22  /a/very/long/path/of/a/job  because?[2J of much",
        ]
        self.assertEqual(list(drawn(self.rows)), expected)
        self.assertEqual(list(columns(self.rows, 200)), expected)

    def test_narrow(self) -> None:
        """
        Without rich the widest columns are cut, and say so.
        """
        self.has(rich=False)
        self.assertEqual(
            list(drawn(self.rows)),
            [
                "  id  job               why",
                "  1   /a",
                "  22  /a/very/long/pa~  because?[2J of ~",
            ],
        )
        # A table that cannot fit is cut as far as something can be read.
        wide = [{f"column{at}": "x" * 20 for at in range(9)}]
        self.assertEqual(max(len(line) for line in columns(wide, 40)), (2 + 8) * 9)

    def test_rich(self) -> None:
        """
        With rich everything is there, in lines that fit.
        """
        self.has(rich=True)
        lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in drawn(self.rows)]
        self.assertLessEqual(max(map(len, lines)), 40)
        text = re.sub(r"\s", "", "".join(lines))
        self.assertIn("22", text)
        self.assertNotIn("\x1b", text)
        self.assertGreater(len(lines), 3)

    def test_progress(self) -> None:
        """
        On a terminal one line is written over, cut to its width, and gone at
        the end.
        """
        self.has(rich=False)
        with Progress() as progress:
            progress.tell("it waits", " 1 s")
            progress.tell("runs " + "x" * 50)
            progress.tell("short")
        self.assertEqual(
            self.out.getvalue(),
            f"\rit waits 1 s\rruns {'x' * 34}\r{'short':39}\r     \r",
        )

    def test_progressRich(self) -> None:
        """
        With rich it moves, and is gone at the end as well.
        """
        self.has(rich=True)
        with Progress() as progress:
            progress.tell("it waits")
            progress.tell("it runs", " 1 s")
        self.assertIn("it runs 1 s", self.out.getvalue())
        self.assertTrue(self.out.getvalue().endswith("\x1b[2K"), repr(self.out.getvalue()))

    def test_progressElsewhere(self) -> None:
        """
        Elsewhere, and on a terminal that can nothing, each change is a line of
        its own, without what passes.
        """
        for out, term in ((io.StringIO(), "xterm"), (Terminal(), "dumb")):
            self.patch(os, "environ", {**os.environ, "TERM": term})
            with contextlib.redirect_stderr(out), Progress() as progress:
                for text, passing in (("waits", " 1 s"), ("waits", " 2 s"), ("r\x1buns", "")):
                    progress.tell(text, passing)
            self.assertEqual(out.getvalue(), "waits\nr?uns\n")

    def test_nothingToTell(self) -> None:
        """
        Who tells nothing leaves nothing.
        """
        with Progress():
            pass
        self.assertEqual(self.out.getvalue(), "")

    def test_colour(self) -> None:
        """
        Colours are for terminals, unless somebody wants none.
        """
        self.assertTrue(isColourful(self.out))
        self.assertFalse(isColourful(io.StringIO()))
        self.patch(os, "environ", {**os.environ, "NO_COLOR": "1"})
        self.assertFalse(isColourful(self.out))
