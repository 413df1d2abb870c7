"""
The command line as a user has it: real processes, real sockets.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from jobscheduler_tcp import __version__
from tests.integration.services import MAIN, PATIENCE, TOP, CommandTestCase

# Kibibytes by which a process may grow whose output nobody reads: the windows on
# its way are 2 MiB each, and Python keeps some of what it has given back.
MAX_GROWTH = 16 * 1024


class RunTests(CommandTestCase):
    """
    C{jsremote run} behaves as if the job ran here.
    """

    async def test_exitCodes(self) -> None:
        """
        The exit code is the job's own, or one that tells why there is none; the
        reason is one line on stderr, with what to do now.
        """
        remote = await self.remote()
        plain = Path(self.write("plain", "no program"))
        plain.chmod(0o644)
        shell = ("--", "sh", "-c")
        cases: list[tuple[tuple[str, ...], int, str]] = [
            ((remote, *shell, "exit 7"), 7, ""),
            ((remote.replace("127.0.0.1", "localhost"), "--", "true"), 0, ""),
            ((remote, *shell, "kill -TERM $$"), 143, "signalled: ended by SIGTERM"),
            ((remote, "--", "/no/such/program"), 127, "start-failed: "),
            ((remote, "--", str(plain)), 126, "start-failed: "),
            ((remote, "--timeout", "0.2", "--", "sleep", "60"), 124, "timeout: "),
            ((remote, "--silence", "0.2", "--", "sleep", "60"), 124, "silent: "),
            ((remote, "--output-limit", "2", "--", "echo", "hello"), 137, "output-limit: "),
            (("127.0.0.1:1", "--", "true"), 69, "remote-unreachable: "),
            (("host.invalid", "--", "true"), 69, "remote-unreachable: "),
            ((remote, "-s", "nowhere"), 66, "cannot read nowhere: "),
        ]
        results = await self.each(*[("run", *arguments) for arguments, _, _ in cases])
        for (arguments, code, words), (got, _, err) in zip(cases, results, strict=True):
            self.assertEqual(got, code, (arguments, err))
            if words:
                self.assertTrue(err.startswith(f"jsremote: {words}".encode()), (arguments, err))
                self.assertEqual(err.count(b"\n"), 1, err)
            else:
                self.assertEqual(err, b"")

    async def test_refused(self) -> None:
        """
        A remote that does not let this host in: 77, and what to change there.
        """
        remote = await self.remote("--allow", "127.0.0.1=none")
        code, out, err = await self.jsremote("run", remote, "--", "true")
        self.assertEqual((code, out), (77, b""))
        self.assertIn(b"jsremote: rejected-auth: ", err)
        self.assertIn(b"allowed_host", err)
        code, out, err = await self.jsremote("state", remote)
        self.assertEqual((code, out), (69, b""))

    async def test_streamsApart(self) -> None:
        """
        20 MB of random bytes on stdout arrive as they were, while stderr has its
        own.
        """
        remote = await self.remote()
        data = os.urandom(20_000_000)
        (self.directory / "data").write_bytes(data)
        script = "cat data & seq 100000 >&2; wait"
        code, out, err = await self.jsremote(
            *("run", remote, "--directory", str(self.directory), "--", "sh", "-c", script)
        )
        self.assertEqual(code, 0)
        self.assertEqual(sha256(out).hexdigest(), sha256(data).hexdigest())
        self.assertEqual(err, b"".join(b"%d\n" % number for number in range(1, 100001)))

    async def test_stdin(self) -> None:
        """
        Stdin goes to the job, from a pipe or a file; /dev/null, a script on stdin
        and C{--no-stdin} are an empty input.
        """
        remote = await self.remote()
        data = os.urandom(3_000_000)
        (self.directory / "data").write_bytes(data)
        script = b'cat; echo "$SCHEDULER_PARAM_A $B"; exit 3'
        options = ("--param", "a=x y", "--env", "B=z")
        with (self.directory / "data").open("rb") as file:
            running = [
                self.jsremote("run", remote, "--", "cat", said=data),
                self.jsremote("run", remote, "--", "cat", stdin=file),
                self.jsremote("run", remote, "--", "cat"),
                self.jsremote("run", remote, *options, "-s", "-", said=script),
                self.jsremote("run", remote, "--no-stdin", "--", "cat", said=b"hidden"),
            ]
            results = await gatherResults(map(Deferred.fromCoroutine, running), consumeErrors=True)
        expected = [(0, data), (0, data), (0, b""), (3, b"x y z\n"), (0, b"")]
        self.assertEqual(results, [(code, out, b"") for code, out in expected])

    async def test_inputUnread(self) -> None:
        """
        A job that reads no input ends all the same.
        """
        remote = await self.remote()
        process = self.popen("run", remote, "--", "echo", "done", stdin=subprocess.PIPE)
        out = await deferToThread(_readAll, process)
        self.assertEqual((await self.ended(process), out), (0, b"done\n"))

    async def test_json(self) -> None:
        """
        The whole outcome is the last line on stderr.
        """
        remote = await self.remote()
        command = ("--json", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
        code, out, err = await self.jsremote("run", remote, *command)
        first, last = err.splitlines()
        outcome = json.loads(last)
        self.assertEqual((code, out, first), (7, b"out\n", b"err"))
        self.assertEqual((outcome["reason"], outcome["exit_status"]), ("exited", 7))
        self.assertEqual(outcome["stdout_sha256"], sha256(b"out\n").hexdigest())

    async def test_signals(self) -> None:
        """
        Ctrl-C and SIGTERM kill the job, and are told by the exit code.
        """
        remote = await self.remote()
        await gatherResults(
            [
                Deferred.fromCoroutine(self._interrupted(remote, signal.SIGINT, 130)),
                Deferred.fromCoroutine(self._interrupted(remote, signal.SIGTERM, 143)),
            ]
        )

    async def _interrupted(self, remote: str, number: signal.Signals, code: int) -> None:
        marker = self.directory / f"made{code}"
        script = f"trap 'echo killed; exit 1' TERM; echo $$; sleep 600 & wait; touch {marker}"
        process = self.popen("run", remote, "--", "sh", "-c", script)
        assert process.stdout is not None
        pid = int(await deferToThread(process.stdout.readline))
        process.send_signal(number)
        out, err = await deferToThread(process.communicate, None, PATIENCE)
        self.assertEqual((process.returncode, out), (code, b"killed\n"), err)
        self.assertIn(number.name.encode(), err)
        self.assertFalse(Path(f"/proc/{pid}").exists())
        self.assertFalse(marker.exists())

    async def test_leaveAtOnce(self) -> None:
        """
        A second Ctrl-C does not wait for a job that will not die; it is left to
        the remote, which gives it the grace that was asked for.
        """
        remote = await self.remote()
        script = "trap '' TERM; echo $$; while :; do sleep 0.1; done"
        process = self.popen("run", remote, "--grace", "600", "--", "sh", "-c", script)
        assert process.stdout is not None
        assert process.stderr is not None
        pid = int(await deferToThread(process.stdout.readline))
        process.send_signal(signal.SIGINT)
        self.assertIn(b"once more", await deferToThread(process.stderr.readline))
        process.send_signal(signal.SIGINT)
        self.assertEqual(await self.ended(process), 130)
        os.killpg(pid, signal.SIGKILL)  # the remote would, after the grace

    async def test_nobodyReads(self) -> None:
        """
        As any tool in a pipeline: 141, and the job is killed.
        """
        remote = await self.remote()
        process = self.popen("run", remote, "--", "sh", "-c", "echo $$; exec yes")
        assert process.stdout is not None
        pid = int(await deferToThread(process.stdout.readline))
        process.stdout.close()
        self.assertEqual(await self.ended(process), 141)
        self.assertFalse(Path(f"/proc/{pid}").exists())

    async def test_readerSleeps(self) -> None:
        """
        A reader that does not read holds the job back; nobody collects its
        output.
        """
        remote = await self.remote()
        first = self.popen("run", remote, "--", "true")
        self.assertEqual(await self.ended(first), 0)
        process = self.popen("run", remote, "--", "sh", "-c", "echo go >&2; exec cat /dev/zero")
        assert process.stderr is not None
        await deferToThread(process.stderr.readline)
        pids = (process.pid, self.service_.transport.pid)
        before = [_resident(pid) for pid in pids]
        await deferToThread(time.sleep, 1.0)  # for anything that would grow
        after = [_resident(pid) for pid in pids]
        for small, large in zip(before, after, strict=True):
            self.assertLess(large - small, MAX_GROWTH)
        process.send_signal(signal.SIGINT)
        out, _ = await deferToThread(process.communicate, None, PATIENCE)
        self.assertEqual((process.returncode, out.strip(b"\0")), (130, b""))

    async def test_closedStreams(self) -> None:
        """
        Closed descriptors are /dev/null, and not the next best socket.
        """
        remote = await self.remote()
        command = f"{sys.executable} -c '{MAIN}' run {remote} -- sh -c 'echo a; cat; exit 7'"
        shell = subprocess.Popen(
            ["sh", "-c", f"{command.replace(chr(39), chr(34))} <&- >&- 2>&-"],
            env=os.environ | {"PYTHONPATH": str(TOP)},
        )
        self.assertEqual(await self.ended(shell), 7)


class StateTests(CommandTestCase):
    """
    C{jsremote state} and C{jsremote version}.
    """

    async def test_state(self) -> None:
        """
        A table for people, JSON for programs; tasks under way are listed.
        """
        remote = await self.remote()
        process = self.popen(
            "run", remote, "--", "sh", "-c", "echo $$; read it", stdin=subprocess.PIPE
        )
        assert process.stdout is not None
        pid = (await deferToThread(process.stdout.readline)).strip()
        code, out, err = await self.jsremote("state", remote)
        self.assertEqual((code, err), (0, b""))
        self.assertIn(f"{remote}  running\n".encode(), out)
        self.assertIn(b"tasks:\n", out)
        self.assertIn(pid, out)
        code, out, err = await self.jsremote("state", remote, "--json")
        state = json.loads(out)
        self.assertEqual((state["state"], state["version"]), ("running", __version__))
        self.assertEqual([task["pid"] for task in state["tasks"]], [pid.decode()])
        await deferToThread(process.communicate, b"\n", PATIENCE)

    async def test_nobodyThere(self) -> None:
        """
        One line, and 69.
        """
        code, out, err = await self.jsremote("state", "127.0.0.1:1")
        self.assertEqual((code, out), (69, b""))
        self.assertIn(b"cannot ask 127.0.0.1:1: Connection refused", err)
        self.assertEqual(err.count(b"\n"), 1)

    async def test_versionIsQuick(self) -> None:
        """
        The version is told without Twisted.
        """
        program = (
            "import sys; from jobscheduler_tcp.cli.main import main\n"
            "try: main(['version'])\n"
            "finally: print([name for name in sys.modules if name[:7] == 'twisted'])"
        )
        done = await deferToThread(
            subprocess.run,
            [sys.executable, "-c", program],
            capture_output=True,
            env=os.environ | {"PYTHONPATH": str(TOP)},
            timeout=PATIENCE,
        )
        first, last = done.stdout.splitlines()
        self.assertIn(f"jsremote {__version__} ".encode(), first)
        self.assertEqual(last, b"[]")


class DrainTests(CommandTestCase):
    """
    C{jsremote drain}.
    """

    async def test_remote(self) -> None:
        """
        A remote that is drained lets its task go on, and refuses others until it
        is resumed; one that is terminated ends with its last task.
        """
        remote = await self.remote()
        process = self.popen(
            "run", remote, "--", "sh", "-c", "echo go; read it; exit 3", stdin=subprocess.PIPE
        )
        assert process.stdout is not None
        await deferToThread(process.stdout.readline)
        code, out, err = await self.jsremote("drain", remote, "--no-wait", "--json")
        self.assertEqual((code, err), (0, b""))
        self.assertEqual(json.loads(out), {"state": "paused", "tasks": 1, "waiting": 0})
        code, out, err = await self.jsremote("run", remote, "--", "true")
        self.assertEqual(code, 75)
        self.assertIn(b"jsremote: rejected-draining: ", err)

        code, out, err = await self.jsremote("drain", remote, "--resume")
        self.assertEqual((code, out), (0, f"{remote} starts tasks again\n".encode()))
        self.assertEqual(await self.jsremote("run", remote, "--", "true"), (0, b"", b""))

        ending = self.popen("drain", remote, "--terminate")
        assert ending.stderr is not None
        told = await deferToThread(ending.stderr.readline)
        self.assertEqual(told, f"{remote} ends, 1 task runs\n".encode())
        await deferToThread(process.communicate, b"\n", PATIENCE)
        self.assertEqual(process.returncode, 3)
        out, _ = await deferToThread(ending.communicate, None, PATIENCE)
        self.assertEqual((ending.returncode, out), (0, f"{remote} has ended\n".encode()))
        self.assertEqual(await self.service_.exits(), 0)

    async def test_level(self) -> None:
        """
        Who may not start tasks may not drain the remote either: 77.
        """
        remote = await self.remote("--allow", "127.0.0.1=no_add")
        code, out, err = await self.jsremote("drain", remote)
        self.assertEqual((code, out), (77, b""))
        self.assertIn(b"SCHEDULER-121", err)


class DemoTests(CommandTestCase):
    """
    C{jsremote demo}.
    """

    async def test_demo(self) -> None:
        """
        The diagram is drawn with real ports, in 80 columns and plain text; it
        exits with 0 and leaves nothing behind.
        """
        # Lines of the two processes may be read a second apart here.
        before = "import jobscheduler_tcp.cli.demo as d; d._DISORDER = 1.0"
        process = self.popen("demo", before=before)
        out, err = await deferToThread(process.communicate, None, PATIENCE)
        text = out.decode("ascii")
        self.assertEqual((process.returncode, err), (0, b""), text)
        self.assertNotIn("\x1b", text)
        self.assertTrue(all(len(line) < 80 for line in text.splitlines()))
        found: dict[str, str] = {}
        for word in ("IP", "OP", "OPR"):
            self.assertRegex(text, rf"\b{word} \d+: an (in|out)")
            found[word] = text.split(f"  {word} ")[1].split(":")[0]
        places = [
            text.index(words)
            for words in (
                f"command connection: OP {found['OP']} to 127.0.0.1:",
                f"IP {found['IP']}: an incoming port",
                f"the IP port {found['IP']}, to receive the answer",
                "the command to start the remote job",
                "waiting for response",
                f"confirmation connection: OPR {found['OPR']} to IP {found['IP']}",
                "a separate process for the task: pid",
                "the start of the task is confirmed",
                "waiting for end of task",
                "stdout: hello from the task",
                "the end of the task is confirmed",
                "Outcome: exited, exit code 7",
            )
        ]
        self.assertEqual(places, sorted(places), text)
        self.assertEqual(os.listdir(self.directory), [])

    async def test_interrupted(self) -> None:
        """
        Ctrl-C leaves neither files nor processes.
        """
        longer = "import jobscheduler_tcp.cli.demo as d; d.SCRIPT = d.SCRIPT.replace(' 1', ' 600')"
        process = self.popen("demo", before=longer)
        pids = await deferToThread(_pidsOf, process)
        process.send_signal(signal.SIGINT)
        _, err = await deferToThread(process.communicate, None, PATIENCE)
        self.assertEqual((process.returncode, err), (130, b""))
        self.assertEqual(os.listdir(self.directory), [])
        self.assertEqual([pid for pid in pids if Path(f"/proc/{pid}").exists()], [])


def _readAll(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.read()


def _resident(pid: int | None) -> int:
    """
    The memory of a process in KiB.
    """
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return int(status.split("VmRSS:")[1].split()[0])


def _pidsOf(process: subprocess.Popen[bytes]) -> list[int]:
    """
    The processes that the demo has started, once the task is under way.
    """
    assert process.stdout is not None
    pids: list[int] = []
    for line in process.stdout:
        words = line.decode().replace(",", " ").split()
        pids += [int(after) for word, after in pairwise(words) if word == "pid"]
        if b"stdout: hello" in line:
            break
    return pids
