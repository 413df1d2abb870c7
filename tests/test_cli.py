"""
The command line: what it understands, and what it tells.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp import __version__
from jobscheduler_tcp.cli import main
from jobscheduler_tcp.cli.arguments import _commands, parse
from jobscheduler_tcp.cli.reasons import NEXT_STEP, asJSON, told
from jobscheduler_tcp.outcome import Outcome, Reason


def said(*argv: str) -> tuple[int, str, str]:
    """
    Run C{jsremote} here: its exit code, stdout and stderr.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main.main(argv)
        except SystemExit as stop:
            assert isinstance(stop.code, int)
            return stop.code, out.getvalue(), err.getvalue()


class ArgumentTests(SynchronousTestCase):
    """
    What may be said on the command line.
    """

    def parsed(self, *argv: str) -> argparse.Namespace:
        """
        Read the options of C{jsremote run}.
        """
        return parse(["run", *argv])

    def test_command(self) -> None:
        """
        Everything after C{--} belongs to the job; the remote has a default.
        """
        arguments = self.parsed("--", "ls", "--json", "--", "-s")
        self.assertEqual(arguments.argv, ("ls", "--json", "--", "-s"))
        self.assertEqual(arguments.remote, ("127.0.0.1", 4455))
        self.assertFalse(arguments.json)

    def test_everything(self) -> None:
        """
        All options have an effect, before and after the address.
        """
        arguments = self.parsed(
            *("--param", "a=1", "build.example:4711", "--param", "b=x=y", "--env", "LANG=C"),
            *("--directory", "/srv", "--timeout", "1.5", "--silence", "2", "--output-limit", "5M"),
            *("--grace", "0", "--start-timeout", "9", "--callback-ports", "60000-60009"),
            *("--json", "--no-stdin", "-s", "-", "--callback", "passive"),
            *("--advertise", "::ffff:10.0.0.7"),
        )
        self.assertEqual(arguments.remote, ("build.example", 4711))
        self.assertEqual(arguments.param, [("a", "1"), ("b", "x=y")])
        self.assertEqual(arguments.env, [("LANG", "C")])
        self.assertEqual(arguments.directory, "/srv")
        self.assertEqual((arguments.timeout, arguments.silence, arguments.grace), (1.5, 2.0, 0.0))
        self.assertEqual(arguments.output_limit, 5 * 1024 * 1024)
        self.assertEqual(arguments.callback_ports, (60009, 60000))
        self.assertEqual(arguments.callback, "passive")
        self.assertEqual(arguments.advertise, "10.0.0.7")
        self.assertEqual(arguments.start_timeout, 9.0)
        self.assertIs(arguments.stdin, False)
        self.assertTrue(arguments.json)
        self.assertEqual(arguments.script, "-")

    def test_addresses(self) -> None:
        """
        Host and port, either alone, and IPv6 in brackets.
        """
        for text, address in {
            "h:1": ("h", 1),
            "h": ("h", 4455),
            ":9": ("127.0.0.1", 9),
            "[::1]:7": ("::1", 7),
            "[fe80::1%eth0]": ("fe80::1%eth0", 4455),
        }.items():
            self.assertEqual(self.parsed(text, "--", "x").remote, address)

    def test_onePort(self) -> None:
        """
        One callback port is a range too, and a range may be said downwards.
        """
        ports = [
            self.parsed("--callback-ports", text, "--", "x").callback_ports
            for text in ("59999", "59999-59990", "59990-59999")
        ]
        self.assertEqual(ports, [(59999, 59999), (59999, 59990), (59999, 59990)])

    def test_wrongUsage(self) -> None:
        """
        What makes no sense is told with the usage, without a traceback, and the
        exit code is 64.
        """
        for line, words in {
            "": "COMMAND",
            "frobnicate": "frobnicate",
            "run": "nothing to run",
            "run --": "nothing to run",
            "run -s a -- b": "not both",
            "run -s - --stdin": "-s -",
            "run h:x -- b": "HOST:PORT",
            "run h:0 -- b": "no port",
            "run h:65536 -- b": "no port",
            "run ::1 -- b": "HOST:PORT",
            "run h i -- b": "jsremote run: unrecognized arguments: i\n",
            "run h ls -l": "unrecognized arguments: ls -l; a command stands after --",
            "run --param =x -- b": "NAME=VALUE",
            "run --env x -- b": "NAME=VALUE",
            "run --timeout nan -- b": "seconds",
            "run --timeout -1 -- b": "argument",
            "run --grace inf -- b": "seconds",
            "run --silence soon -- b": "seconds",
            "run --output-limit 5X -- b": "bytes",
            "run --output-limit 999999999999999999T -- b": "bytes",
            "run --callback-ports 80 -- b": "1024",
            "run --callback-ports 59999-99999 -- b": "65535",
            "run --callback-ports a-b -- b": "range",
            "run --advertise nat.example -- b": "an IP address",
            "run --time 5 -- b": "unrecognized",
            "state h:x": "HOST:PORT",
            "frobnicat": "there is no command 'frobnicat'; jsremote --help",
            "order": "did you mean orders?",
            "orders h:1": "say --client h:1",
            "orders /a -n 0": "no whole number from 1 on",
            "add-order c --priority high": "no whole number",
            "modify-job /a fly": "invalid choice",
            "modify-order c 1 --suspend --resume": "not allowed with",
            "drain --resume --terminate": "not allowed with",
            "history -n 1001": "1 to 1000",
            "demo --fast": "unrecognized",
            "version 2": "unrecognized",
        }.items():
            code, out, err = said(*line.split())
            self.assertEqual((code, out), (64, ""), line)
            self.assertIn("usage: jsremote", err)
            self.assertIn(words, err)
            self.assertNotIn("Traceback", err)

    @settings(deadline=None, max_examples=100)
    @given(
        st.lists(st.sampled_from(["run", "-s", "--", "h:1", "--env", "A=b", "--json"]) | st.text())
    )
    def test_anything(self, argv: list[str]) -> None:
        """
        Any command line is understood, or refused with 64, or was a call for help.
        """
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                parse(argv)
            except SystemExit as stop:
                self.assertIn(stop.code, (0, 64))

    def test_version(self) -> None:
        """
        C{jsremote version} tells the versions, for people and as JSON.
        """
        code, out, err = said("version")
        self.assertEqual((code, err), (0, ""))
        self.assertIn(f"jsremote {__version__} ", out)
        code, out, err = said("version", "--json")
        self.assertEqual(json.loads(out)["jsremote"], __version__)

        self.assertEqual(said("--version")[1], said("version")[1])

    def test_help(self) -> None:
        """
        C{jsremote --help} lists every command once, in lines of 80 columns, and
        each has a help of its own.
        """
        code, out, err = said("--help")
        self.assertEqual((code, err), (0, ""))
        self.assertLessEqual(max(map(len, out.splitlines())), 80)
        listed = re.findall(r"(?m)^  ([a-z-]+) +\S", out)
        self.assertEqual(len(listed), len(set(listed)))
        self.assertEqual(set(listed), set(_commands().parsers))
        for name in listed:
            code, out, err = said(name, "--help")
            self.assertEqual((code, err), (0, ""))
            self.assertTrue(out.startswith(f"usage: jsremote {name} "))
        self.assertEqual(said()[0], 64)

    def test_cannotWrite(self) -> None:
        """
        Output that cannot be written is told in one line: 74.
        """

        def full(arguments: object) -> int:
            raise OSError(28, "No space left on device")

        self.patch(main, "_command", full)
        self.patch(main, "_silence", lambda: None)
        expected = "jsremote: cannot write: No space left on device\n"
        self.assertEqual(said("version"), (74, "", expected))

    def test_interrupted(self) -> None:
        """
        Ctrl-C outside of a job is no traceback either.
        """

        def interrupted(arguments: object) -> int:
            raise KeyboardInterrupt

        self.patch(main, "_command", interrupted)
        self.assertEqual(said("version"), (130, "", ""))


class ReasonTests(SynchronousTestCase):
    """
    What is told of an outcome.
    """

    def test_everyReasonHasANextStep(self) -> None:
        """
        No reason leaves its reader without a hint, in plain ASCII and one line.
        """
        self.assertEqual(set(NEXT_STEP), set(Reason))
        for reason in Reason:
            line = told(Outcome(reason, exitCode=1), "h:1", "1-2")
            if reason is not Reason.EXITED:
                self.assertTrue(line.startswith(f"{reason.value}: "), line)
                self.assertTrue(line.isascii())
                self.assertNotIn("{", line)
                self.assertGreater(len(line), 30)

    def test_exitedSaysNothing(self) -> None:
        """
        A program that exited by itself has said what it had to say.
        """
        self.assertEqual(told(Outcome(Reason.EXITED, exitCode=7), "h:1", "1-2"), "")

    def test_facts(self) -> None:
        """
        The line has what happened, whom it was about, and what to do.
        """
        line = told(Outcome(Reason.CALLBACK_REFUSED, "Connection refused.\n"), "h:1", "59900-59999")
        self.assertTrue(line.startswith("callback-refused: Connection refused; "), line)
        self.assertIn("h:1", line)
        self.assertIn("59900-59999", line)

    def test_signal(self) -> None:
        """
        A signal is told by its name, one without a name by its number.
        """
        self.assertIn("SIGTERM", told(Outcome(Reason.SIGNALLED, signal=15), "", ""))
        self.assertIn("signal 50", told(Outcome(Reason.SIGNALLED, signal=50), "", ""))

    def test_peersTextIsHarmless(self) -> None:
        """
        What a peer says cannot move the cursor or make a second line.
        """
        line = told(Outcome(Reason.LOST, "a\x1b[2Jb\nc\x9bd"), "", "")
        self.assertTrue(line.isprintable(), line)
        self.assertTrue(line.startswith("lost: a [2Jb c d; "))

    def test_json(self) -> None:
        """
        The whole outcome is one line of JSON, with the exit code of the command.
        """
        text = asJSON(Outcome(Reason.EXITED, exitCode=7, pid=3, stdoutDigest="ab"), 7)
        self.assertNotIn("\n", text)
        value = json.loads(text)
        self.assertEqual(
            (value["reason"], value["exit_status"], value["exit_code"], value["signal"]),
            ("exited", 7, 7, None),
        )
        self.assertEqual((value["pid"], value["stdout_sha256"]), (3, "ab"))

    def test_documented(self) -> None:
        """
        docs/outcomes has each reason once, with its exit code and the next step
        of the code.
        """
        page = Path(__file__).parents[1] / "docs" / "outcomes.md"
        rows = [
            [cell.strip() for cell in line.strip("|\n").split("|")]
            for line in page.read_text(encoding="utf-8").splitlines()
            if line.startswith("| `")
        ]
        self.assertEqual([row[0].strip("`") for row in rows], [str(reason) for reason in Reason])
        for name, codes, what, step in rows:
            reason = Reason(name.strip("`"))
            self.assertTrue(what)
            self.assertEqual(
                step, NEXT_STEP[reason].format(remote="`HOST:PORT`", ports="`LOW-HIGH`")
            )
            numbers = {int(number) for number in re.findall(r"\d+", codes)}
            if reason is not Reason.EXITED and reason is not Reason.SIGNALLED:
                self.assertIn(Outcome(reason).exitStatus, numbers)
        self.assertIn("127", {row[0]: row[1] for row in rows}["`start-failed`"])
