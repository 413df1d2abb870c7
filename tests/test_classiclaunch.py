"""
From a classic client's description of a job to what is launched.
"""

from __future__ import annotations

from errno import EACCES, ENOENT

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.errors import LaunchFailed
from jobscheduler_tcp.interfaces import Launch
from jobscheduler_tcp.messages import Work
from jobscheduler_tcp.remote.classiclaunch import (
    launchOf,
    notExecuted,
    programArguments,
    shown,
    withoutShell,
)
from jobscheduler_tcp.wire.shelljob import Pairs, ShellJob

BASE = {"PATH": "/bin", "LANG": "C"}


def environment(job: ShellJob, parameters: Pairs = ()) -> dict[str, str]:
    """
    Of a task.
    """
    return launchOf("task", job, parameters, BASE, "/tmp/values").environment


def scripted(script: str) -> Launch:
    """
    The launch of a script.
    """
    return launchOf("task", ShellJob(script=script), (), BASE, "/tmp/values")


class LaunchTests(SynchronousTestCase):
    """
    Environment, script and program.
    """

    def test_order(self) -> None:
        """
        The remote's own variables, the job's, the file for return values, the
        parameters: what comes later wins.
        """
        found = environment(
            ShellJob(environment=(("LANG", "de"), ("SCHEDULER_RETURN_VALUES", "mine"))),
            (("day", "1"), ("Day", "2")),
        )
        expected = {
            "PATH": "/bin",
            "LANG": "de",
            "SCHEDULER_RETURN_VALUES": "/tmp/values",
            "SCHEDULER_PARAM_DAY": "2",
        }
        self.assertEqual(found, expected)

    def test_withoutShell(self) -> None:
        """
        A script that only becomes a program is launched without a shell, all else
        of it as before; one that a shell would do more with is not.
        """
        launch = scripted("exec /bin/echo a -b c=d\n")
        shorter = withoutShell(launch)
        self.assertEqual(shorter.work, Work(command=("/bin/echo", "a", "-b", "c=d")))
        self.assertEqual((shorter.task, shorter.environment), ("task", launch.environment))
        for script in (
            "",
            "exec",
            "exec \n",
            "exec echo a",
            "exec -a b /bin/echo",
            "exec /bin/echo $a",
            "exec /bin/echo 'a'",
            "exec /bin/echo *",
            "exec /bin/echo ~",
            "exec /bin/echo a\necho b",
            "exec /bin/echo a; echo b",
            "exec /bin/echo >a",
            "exec /bin/echo \xe4",
            " exec /bin/echo",
            "/bin/echo",
        ):
            other = scripted(script)
            self.assertIs(withoutShell(other), other, script)

    def test_prefix(self) -> None:
        """
        The prefix of parameters is configurable, also away; the names become
        upper case as in the C locale.
        """
        for prefix, name in ((None, "SCHEDULER_PARAM_DAYä"), ("x_", "X_DAYä"), ("", "DAYä")):
            found = environment(ShellJob(prefix=prefix), (("dayä", "1"),))
            self.assertEqual(found[name.replace("ä", "\udce4")], "1")
        self.assertIn("DAY", environment(ShellJob(prefix="*NONE"), (("day", "1"),)))

    def test_latin1(self) -> None:
        """
        The bytes of texts are those of ISO-8859-1, whatever the system uses.
        """
        launch = launchOf("task", ShellJob(script="echo ä"), (("p", "ü"),), BASE, "")
        script = launch.work.script.encode("utf-8", "surrogateescape")
        self.assertEqual(script, b"echo \xe4")
        value = launch.environment["SCHEDULER_PARAM_P"].encode("utf-8", "surrogateescape")
        self.assertEqual(value, b"\xfc")

    def test_odd(self) -> None:
        """
        What a variable cannot hold is cut as the C library would.
        """
        found = environment(
            ShellJob(environment=(("A=B", "c"), ("", "nothing"), ("N", "a\0b"))),
            (("x=y", "z"),),
        )
        self.assertEqual(found["A"], "B=c")
        self.assertEqual(found["N"], "a")
        self.assertEqual(found["SCHEDULER_PARAM_X"], "Y=z")
        self.assertNotIn("", found)

    def test_emptyScript(self) -> None:
        """
        A job without a script does nothing, successfully.
        """
        self.assertEqual(launchOf("task", ShellJob(), (), BASE, "").work, Work(script="\n"))

    def test_program(self) -> None:
        """
        A program with its parameter line, and how the log shows both kinds.
        """
        job = ShellJob(program="/bin/echo", arguments='a "$SCHEDULER_PARAM_P"', job="j")
        work = launchOf("task", job, (("p", "ä b"),), BASE, "").work
        self.assertEqual(work.command, ("/bin/echo", "a", "\udce4 b"))
        self.assertEqual(shown(job, work), "'/bin/echo' 'a' 'ä b'")
        script = Work(script="x")
        self.assertEqual(shown(job, script), "'/bin/sh' '-c' '\"script of job j\"'")


class ArgumentsTests(SynchronousTestCase):
    """
    The parameter line of a program.
    """

    def test_words(self) -> None:
        """
        Blanks separate, quotes and backslashes hold together.
        """
        for line, words in (
            ("a b", ["a", "b"]),
            ("  a\t b \n", ["a", "b"]),
            ("\"a b\" 'c d'", ["a b", "c d"]),
            ("a'b c'd", ["ab cd"]),
            ("'' \"\"", ["", ""]),
            (r"a\ b \"c \\", ["a b", '"c', "\\"]),
            (r"'a\b' " + r'"a\b \"c\\"', ["a\\b", 'a\\b "c\\']),
            ("'never closed", ["never closed"]),
            ("\\", ["\\"]),
        ):
            self.assertEqual(programArguments(line, {}), words, line)

    def test_variables(self) -> None:
        """
        $NAME and ${NAME} are replaced before the line is cut; who is not there
        is empty, and a backslash leaves the dollar alone.
        """
        variables = {"A": "1 2", "B_1": "b"}
        for line, words in (
            ("$A", ["1", "2"]),
            ('"$A" x${B_1}y $B_1.', ["1 2", "xby", "b."]),
            ("'$A'", ["1 2"]),
            ("[$NONE] [${NONE}]", ["[]", "[]"]),
            (r"\$A \${A}", ["$A", "${A}"]),
            ("5$ $ $$A", ["5$", "$", "$1", "2"]),
        ):
            self.assertEqual(programArguments(line, variables), words, line)

    def test_numbered(self) -> None:
        """
        An empty line stands for the variables 1, 2 and so on.
        """
        found = programArguments("", {"1": "one", "2": "two words", "4": "four"})
        self.assertEqual(found, ["one", "two words"])

    @given(st.text(), st.dictionaries(st.text(max_size=3), st.text()))
    def test_anything(self, line: str, variables: dict[str, str]) -> None:
        """
        No line is wrong.
        """
        for word in programArguments(line, variables):
            self.assertIsInstance(word, str)


class NotExecutedTests(SynchronousTestCase):
    """
    What the client's log tells of a program that cannot be executed.
    """

    def test_program(self) -> None:
        """
        The words of the original, and errno as the exit code.
        """
        work = Work(command=("/no/such", "a", "\udce4"))
        text, code = notExecuted(work, LaunchFailed("cannot run", ENOENT))
        line = b'ERRNO-2  No such file or directory, at execvp(/no/such,"/no/such","a","\xe4")\n'
        self.assertEqual((text, code), (line, 2))

    def test_script(self) -> None:
        """
        The exit codes of a shell.
        """
        for errno, code in ((ENOENT, 127), (EACCES, 126)):
            text, found = notExecuted(Work(script="x"), LaunchFailed("no interpreter", errno))
            self.assertEqual((text, found), (b"no interpreter\n", code))

    def test_ours(self) -> None:
        """
        A reason of our own has no errno.
        """
        text, code = notExecuted(Work(command=("x",)), LaunchFailed("a NUL"))
        self.assertEqual((text, code), (b"a NUL\n", 250))
