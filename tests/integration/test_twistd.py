"""
The two services as real twistd processes.
"""

from __future__ import annotations

import os
import re
import select
import signal
import socket
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import cast

from twisted.application.service import MultiService
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.tap import Options, listen, serviceOf
from tests.integration.freeports import freePorts
from tests.integration.services import PATIENCE, Program, ServiceTestCase, ask, portOf

JOBS = """\
<spooler>
  <config>
    <process_classes>
      <process_class name="here" remote_scheduler="127.0.0.1:{port}"/>
    </process_classes>
    <jobs>
      <job name="greet" process_class="here">
        <params><param name="who" value="world"/></params>
        <script language="shell">
          echo "hello $SCHEDULER_PARAM_WHO"; echo oops >&amp;2; exit 3
        </script>
      </job>
      <job name="sleep" process_class="here">
        <script language="shell">echo "pid=$$"; sleep 1000 &amp; echo "child=$!"; wait</script>
      </job>
    </jobs>
  </config>
</spooler>
"""


class AssembledTests(TestCase):
    """
    The services as twistd is given them, in this process.
    """

    timeout = PATIENCE

    async def start(self, *arguments: str) -> tuple[MultiService, int]:
        """
        Start a service on a free port, and return the port.
        """
        options = Options()
        options.parseOptions([*arguments, "--listen=tcp:0:interface=127.0.0.1"])
        listening = listen(options.settings)
        port = listening.getsockname()[1]
        service = serviceOf(cast(PosixReactorBase, installed), options.settings, listening)
        service.startService()
        self.addCleanup(self.stop, service)
        return service, port

    async def stop(self, service: MultiService) -> None:
        """
        Stop a service, if the test has not.
        """
        if service.running:
            await maybeDeferred(service.stopService)

    async def test_both(self) -> None:
        """
        A job goes through both, and when they are stopped nobody listens.
        """
        self.patch(os, "environ", {"PATH": os.environ["PATH"]})
        directory = mkdtemp(prefix="jsremote-assembled-")
        self.addCleanup(rmtree, directory)
        remote, port = await self.start("--role=remote")
        config = os.path.join(directory, "client.xml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(JOBS.format(port=port))
        client, clientPort = await self.start(
            "--role=client",
            f"--config={config}",
            f"--callback-ports={freePorts()}",
            f"--state-dir={directory}/state",
        )
        done: Deferred[LogEvent] = Deferred()

        def observe(event: LogEvent) -> None:
            if event.get("reason") is Reason.EXITED:
                done.callback(event)

        observer = cast(ILogObserver, observe)  # any function is one
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        await ask(clientPort, '<start_job job="/greet"/>')
        self.assertEqual((await done)["exitCode"], 3)
        state = await ask(clientPort, "<show_state/>")
        self.assertEqual(state.attributes["tcp_port"], str(clientPort))
        self.assertEqual(state.attributes["config_file"], config)
        for service, number in ((client, clientPort), (remote, port)):
            await maybeDeferred(service.stopService)
            with socket.socket() as probe:
                self.assertNotEqual(probe.connect_ex(("127.0.0.1", number)), 0)


class TwistdTests(ServiceTestCase):
    """
    C{twistd jsremote}.
    """

    async def both(self) -> tuple[Program, Program, int]:
        """
        Start a remote and a client that knows it, and return the client's port.
        """
        remote = self.service("remote")
        port = await portOf(remote, "remote")
        config = self.write("client.xml", JOBS.format(port=port))
        client = self.service("client", "--config", config, "--callback-ports", freePorts())
        return remote, client, await portOf(client, "client")

    def watch(self, pid: int) -> int:
        """
        Open a pidfd of a process, which does not survive the test.
        """
        watching = os.pidfd_open(pid)

        def end() -> None:
            try:
                signal.pidfd_send_signal(watching, signal.SIGKILL)
            except ProcessLookupError:
                pass  # as it should be
            os.close(watching)

        self.addCleanup(end)
        return watching

    async def isOver(self, watching: int, seconds: float) -> bool:
        """
        Wait for the end of a process.
        """
        ended, _, _ = await deferToThread(select.select, [watching], [], [], seconds)
        return bool(ended)

    def oneLine(self, program: Program) -> str:
        """
        What was said on stderr is one line and no traceback.
        """
        text = program.errors.decode()
        self.assertNotIn("Traceback", text + program.output.decode())
        self.assertEqual(text.count("\n"), 1, text)
        return text.strip()

    async def test_job(self) -> None:
        """
        A job that a command starts runs at the remote to its end; its output
        and its outcome are in the client's log.
        """
        _, client, port = await self.both()
        answer = await ask(port, '<start_job job="/greet"/>')
        self.assertEqual(answer.children[0].attributes["id"], "1")
        await client.says(r"Task 1 of job greet is over: exited 3.*")
        said = client.output.decode()
        self.assertIn("Task 1 of job greet, stdout: hello world", said)
        self.assertIn("Task 1 of job greet, stderr: oops", said)
        task = await ask(port, '<show_task id="1"/>')
        self.assertEqual(
            [task.attributes[name] for name in ("state", "reason", "exit_code")],
            ["closed", "exited", "3"],
        )

    async def test_kill(self) -> None:
        """
        C{kill_task} ends a running task.
        """
        _, client, port = await self.both()
        await ask(port, '<start_job job="/sleep"/>')
        await client.says("child=([0-9]+)")
        answer = await ask(port, '<kill_task job="/sleep" id="1" immediately="yes"/>')
        self.assertEqual(answer.name, "ok")
        await client.says(r"Task 1 of job sleep is over: killed.*")

    async def test_quietExits(self) -> None:
        """
        No signal wakes a remote when a task exits, which it notices otherwise.
        """
        remote, client, port = await self.both()
        await ask(port, '<start_job job="/greet"/>')
        await client.says(r"Task 1 of job greet is over: exited 3.*")
        status = Path(f"/proc/{remote.transport.pid}/status").read_text("ascii")
        (caught,) = re.findall(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)
        self.assertFalse(int(caught, 16) >> signal.SIGCHLD - 1 & 1)

    async def test_stopRemote(self) -> None:
        """
        SIGTERM to a remote ends it and its tasks, their clients are told, and its log
        is complete.
        """
        remote, client, port = await self.both()
        await ask(port, '<start_job job="/sleep"/>')
        child = self.watch(int((await client.says("child=([0-9]+)"))[1]))
        remote.signal("TERM")
        # twistd dies of the signal that ended it, after all was done.
        self.assertEqual(await remote.exits(), -signal.SIGTERM)
        self.assertTrue(await self.isOver(child, 0))
        await client.says(r"Task 1 of job sleep is over: killed .*")
        self.assertRegex(remote.output.decode(), r"Task \S+ is over: killed")
        self.assertNotIn(b"Traceback", remote.output + client.output)

    async def test_stopClient(self) -> None:
        """
        SIGTERM to a client ends it; its tasks go on at the remote, which waits for
        it to come back.
        """
        remote, client, port = await self.both()
        await ask(port, '<start_job job="/sleep"/>')
        child = self.watch(int((await client.says("child=([0-9]+)"))[1]))
        client.signal("TERM")
        self.assertEqual(await client.exits(), -signal.SIGTERM)
        self.assertFalse(await self.isOver(child, 0))
        remote.signal("TERM")
        self.assertTrue(await self.isOver(child, PATIENCE))
        self.assertNotIn(b"Traceback", remote.output + client.output)

    async def test_taken(self) -> None:
        """
        A port that is taken ends twistd with one line that says who holds it,
        in the foreground and as a daemon.
        """
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            holder.listen()
            port = holder.getsockname()[1]
            listen = ("--listen", f"tcp:{port}:interface=127.0.0.1")
            programs = [
                self.twistd(way, "--pidfile=a.pid", "jsremote", "--role", role, *listen)
                for way in ("-n", "--logfile=jsremote.log")
                for role in ("remote", "client")
            ]
            for program in programs:
                self.assertEqual(await program.exits(), 1)
                line = self.oneLine(program)
                self.assertIn(f"127.0.0.1:{port}", line)
                self.assertIn(f"pid {os.getpid()}", line)
                self.assertEqual(program.output, b"")
        self.assertEqual(list(self.directory.iterdir()), [])

    async def test_daemon(self) -> None:
        """
        As a daemon it listens when the command returns, logs where, and ends
        with SIGTERM.
        """
        await self.daemon("pass")

    async def test_daemonWithoutInput(self) -> None:
        """
        So does one that is started without a standard input, as some do that start
        services: nothing of its own stands where a daemon gets another one.
        """
        await self.daemon("import os; os.close(0)")

    async def daemon(self, before: str) -> None:
        """
        Run one.
        """
        program = self.twistd(
            "--pidfile=a.pid",
            "--logfile=a.log",
            "jsremote",
            "--role=remote",
            "--listen=tcp:0:interface=127.0.0.1",
            before=before,
        )
        self.assertEqual(await program.exits(), 0)
        daemon = self.watch(int((self.directory / "a.pid").read_text()))
        program.outReceived((self.directory / "a.log").read_bytes())
        port = await portOf(program, "remote")
        self.assertEqual((await ask(port, "<show_state/>")).name, "state")
        signal.pidfd_send_signal(daemon, signal.SIGTERM)
        self.assertTrue(await self.isOver(daemon, PATIENCE))
        self.assertNotIn("Traceback", (self.directory / "a.log").read_text())

    async def test_wrongOptions(self) -> None:
        """
        Wrong options are told after the usage, without a traceback.
        """
        wrong: tuple[tuple[list[str], str], ...] = (
            ([], "--role is missing"),
            (["--role", "server"], "remote or client"),
            (["--role", "remote", "--listen", "4455"], "tcp:4455:interface=127.0.0.1"),
            (["--role", "remote", "--listen", "tcp:0"], "--allow HOST=all"),
            (["--role", "remote", "--nonsense"], "--nonsense"),
        )
        programs = [self.twistd("-n", "jsremote", *arguments) for arguments, _ in wrong]
        for program, (_, words) in zip(programs, wrong, strict=True):
            self.assertEqual(await program.exits(), 1)
            said = (program.output + program.errors).decode()
            self.assertIn("Usage:", said)
            self.assertIn(words, said.strip().split("\n")[-1])
            self.assertNotIn("Traceback", said)

    async def test_wrongConfiguration(self) -> None:
        """
        A wrong file is told in one line with its line and what was expected.
        """
        path = self.write("wrong.xml", "<spooler>\n<config tcp_port='x'/>\n</spooler>")
        program = self.twistd("-n", "jsremote", "--role", "remote", "--config", path)
        self.assertEqual(await program.exits(), 1)
        line = self.oneLine(program)
        self.assertIn(f"{path}:2: ", line)
        self.assertIn("expected a number", line)

    async def test_warnings(self) -> None:
        """
        What is passed over of the file is in the log.
        """
        path = self.write("odd.xml", "<spooler><config>\n<garden/></config></spooler>")
        program = self.service("remote", "--config", path)
        await portOf(program, "remote")
        self.assertIn(f"{path}:2: <garden>".encode(), program.output)

    async def test_showConfig(self) -> None:
        """
        C{--show-config} prints the settings and starts nothing.
        """
        program = self.twistd(
            "-n", "jsremote", "--role=remote", "--show-config", JSREMOTE_MAX_TASKS="5"
        )
        self.assertEqual(await program.exits(), 0)
        rows = [line.split(None, 2) for line in program.output.decode().splitlines()]
        self.assertIn(["max-tasks", "5", "environment JSREMOTE_MAX_TASKS"], rows)
        self.assertIn(["listen", "tcp:4455:interface=127.0.0.1", "default"], rows)
        self.assertEqual(program.errors, b"")
