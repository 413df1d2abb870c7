"""
The classic dialect as a user has it: real processes, real sockets.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

from twisted.internet import reactor as installed
from twisted.internet.defer import gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.threads import deferToThread

from jobscheduler_tcp.client.ports import CallbackPorts, tcpListen
from jobscheduler_tcp.client.processclass import Dialect, ProcessClass
from jobscheduler_tcp.client.service import ClientService
from jobscheduler_tcp.messages import Stream, Work
from jobscheduler_tcp.testing import RecordingReceiver
from tests.integration.freeports import freePorts, freeRange
from tests.integration.services import PATIENCE, CommandTestCase

# One end without that by which it finds out of a peer that is silent: what it
# notices all the same it notices at once.
UNCONCERNED = "import jobscheduler_tcp.sockets as s; s._KEEPALIVE = ()"


class ClassicTests(CommandTestCase):
    """
    C{jsremote run --dialect classic} and a remote.
    """

    def setUp(self) -> None:
        """
        Find callback ports.
        """
        super().setUp()
        self.command = ("run", "--dialect", "classic", "--callback-ports", freePorts())

    async def test_exitCodes(self) -> None:
        """
        Exit codes are the job's own, a signal is what the shell makes of it.
        """
        remote = await self.remote()
        scripts = {"exit 3": 3, "exit 0": 0, "kill -TERM $$": 143, "/no": 127}
        paths = [self.write(f"script{code}", f"{each}\n") for each, code in scripts.items()]
        results = await self.each(*[(*self.command, remote, "-s", path) for path in paths])
        for (script, code), (got, _, err) in zip(scripts.items(), results, strict=True):
            self.assertEqual((got, err), (code, b""), script)
        got, out, _ = await self.jsremote(
            *self.command, remote, "--", "/bin/echo", "a b", "$HOME", "it's"
        )
        self.assertEqual((got, out), (0, b"a b $HOME it's\n"))
        got, out, err = await self.jsremote(
            *self.command, remote, "-s", self.write("script", "#!/no\n")
        )
        self.assertEqual((got, err), (127, b""))
        self.assertIn(b"interpreter", out)

    async def test_auto(self) -> None:
        """
        Without being told, both ends speak the extended dialect.
        """
        remote = await self.remote()
        got, out, err = await self.jsremote("run", remote, "-v", "--", "sh", "-c", "echo x >&2")
        self.assertEqual((got, out), (0, b""))
        self.assertNotIn(b"classic", err)

    async def test_kill(self) -> None:
        """
        Ctrl-C kills the task with all its descendants.
        """
        remote = await self.remote()
        script = self.write("script", "sleep 600 & echo $! $$; wait\n")
        process = self.popen(*self.command, remote, "-s", script)
        assert process.stdout is not None
        pids = (await deferToThread(process.stdout.readline)).split()
        process.send_signal(signal.SIGINT)
        self.assertEqual(await self.ended(process), 130)
        await self.until(lambda: not any(Path(f"/proc/{pid.decode()}").exists() for pid in pids))

    async def test_umlauts(self) -> None:
        """
        Parameters, variables and scripts reach the task as ISO-8859-1; what it
        prints arrives as it was.
        """
        remote = await self.remote()
        text = (
            'printf "%s|%s|ß\\n" "$SCHEDULER_PARAM_STRASSE" "$V"\n'
            'printf "\\303\\244\\377\\001\\n"\n'
        )
        script = self.write("script", text)
        options = ("--param", "strasse=äöü <&>\"'$x", "--env", "V=grün")
        got, out, err = await self.jsremote(*self.command, remote, *options, "-s", script)
        self.assertEqual((got, err), (0, b""))
        first = "äöü <&>\"'$x|grün|ß\n".encode("latin-1")
        self.assertEqual(out, first + b"\xc3\xa4\xff\x01\n")

    async def test_output(self) -> None:
        """
        3,000 lines come in their order, long lines whole, both streams in the
        order in which they were printed.
        """
        remote = await self.remote()
        got, out, _ = await self.jsremote(*self.command, remote, "--", "seq", "3000")
        self.assertEqual(got, 0)
        self.assertEqual(out, b"".join(b"%d\n" % number for number in range(1, 3001)))
        long = "head -c 35000 /dev/zero | tr '\\0' x; echo; echo end"
        got, out, _ = await self.jsremote(*self.command, remote, "--", "sh", "-c", long)
        self.assertEqual(out, b"x" * 35000 + b"\nend\n")
        # Each line waits until the one before was heard: nothing else orders two pipes.
        heard = self.directory / "heard"
        os.mkfifo(heard)
        both = f"exec 3<>{heard}; for i in 1 2 3 4; do "
        both += "echo out $i; read it <&3; echo err $i >&2; read it <&3; done"
        process = self.popen(*self.command, remote, "--", "sh", "-c", both)
        assert process.stdout is not None
        with heard.open("r+b", buffering=0) as answer:
            for line in [f"{stream} {n}\n" for n in range(1, 5) for stream in ("out", "err")]:
                self.assertEqual(await deferToThread(process.stdout.readline), line.encode())
                answer.write(b"\n")
            out, err = await deferToThread(process.communicate, None, PATIENCE)
        self.assertEqual((process.returncode, out, err), (0, b"", b""))

    async def test_order(self) -> None:
        """
        Order parameters reach the task and win, returned values come back, in
        both dialects; the input is empty, and no file is left.
        """
        remote = await self.remote()
        text = (
            'cat; echo "$SCHEDULER_PARAM_DAY $SCHEDULER_PARAM_SITE"\n'
            'echo "result = ok $SCHEDULER_PARAM_DAY" >> "$SCHEDULER_RETURN_VALUES"\n'
        )
        script = self.write("script", text)
        options = ("--param", "day=1", "--param", "site=wien", "--order-param", "Day=2")
        for dialect in ("classic", "extended"):
            run = ("run", "--dialect", dialect, remote, "--json", *options, "-s", script)
            got, out, err = await self.jsremote(*run)
            self.assertEqual((got, out), (0, b"2 wien\n"), dialect)
            self.assertEqual(json.loads(err)["return_values"], {"result": "ok 2"}, dialect)
        await self.until(lambda: not list(self.directory.glob("jsremote-values-*")))

    async def test_parallel(self) -> None:
        """
        50 tasks at once, each with its own output and exit code.
        """
        remote = await self.remote()
        host, _, port = remote.partition(":")
        endpoint = TCP4ClientEndpoint(installed, host, int(port))
        lowest = freeRange(100)
        ports = CallbackPorts(installed, tcpListen(installed), lowest + 99, lowest)  # type: ignore[arg-type]  # the reactor has all that
        processClass = ProcessClass("", endpoint, 50, dialect=Dialect.CLASSIC)
        client = ClientService(installed, ports, [processClass])
        client.startService()
        receivers = [RecordingReceiver() for _ in range(50)]
        jobs = [
            client.run(Work(script=f"sleep 1; echo {n}; exit {n}"), receiver=receiver)
            for n, receiver in enumerate(receivers)
        ]
        outcomes = await gatherResults([job.done for job in jobs])
        self.assertEqual([outcome.exitCode for outcome in outcomes], list(range(50)))
        for n, receiver in enumerate(receivers):
            self.assertEqual(bytes(receiver.output[Stream.STDOUT]), b"%d\n" % n)
        await client.stopService()
        self.assertEqual(ports.reserved, 0)

    async def test_clientDisappears(self) -> None:
        """
        The task of a client that disappears is killed at once, with its
        descendants.
        """
        remote = await self.remote(before=UNCONCERNED)
        script = self.write("script", "trap '' TERM; sleep 600 & echo $! $$; wait\n")
        process = self.popen(*self.command, remote, "-s", script)
        assert process.stdout is not None
        pids = (await deferToThread(process.stdout.readline)).split()
        process.kill()
        await self.until(lambda: not any(Path(f"/proc/{pid.decode()}").exists() for pid in pids))

    async def test_remoteDisappears(self) -> None:
        """
        A job whose remote disappears is lost at once.
        """
        remote = await self.remote()
        script = self.write("script", "echo $$; sleep 600\n")
        process = self.popen(*self.command, remote, "-s", script, before=UNCONCERNED)
        assert process.stdout is not None
        pid = int(await deferToThread(process.stdout.readline))
        self.service_.signal("KILL")
        await self.service_.exits()
        _, err = await deferToThread(process.communicate, None, PATIENCE)
        self.assertEqual(process.returncode, 69)
        self.assertTrue(err.startswith(b"jsremote: lost: "), err)
        os.killpg(pid, signal.SIGKILL)  # what a remote that is killed leaves behind

    async def test_notExpressible(self) -> None:
        """
        What the classic dialect cannot say is not started, and the reason told.
        """
        remote = await self.remote()
        got, out, err = await self.jsremote(
            *self.command, remote, "--stdin", "--", "cat", said=b"x"
        )
        self.assertEqual((got, out), (75, b""))
        self.assertIn(b"--no-stdin", err)

    async def test_twoOnOneConnection(self) -> None:
        """
        A start whose callback port nobody listens on is answered like any, as
        by a real remote, and closed; the connection stays usable.
        """
        remote = await self.remote()
        host, _, port = remote.partition(":")
        found = await deferToThread(_talk, (host, int(port)))
        self.assertEqual(found[:2], [b'process_id="1"', b'process_id="2"'])
        self.assertEqual(found[2:], [b"<ok/>", b"<ok/>", b"unknown process id 1"])


def _talk(address: tuple[str, int]) -> list[bytes]:
    """
    Start two tasks on one connection, and close them.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]  # nobody will listen there
        start = f'<remote_scheduler.start_remote_task tcp_port="{port}" kind="process"/>'
        close = "<remote_scheduler.remote_task.close process_id='{}'{}/>"
        words = [
            (start, b'process_id="1"'),
            (start, b'process_id="2"'),
            (close.format(2, " kill='yes'"), b"<ok/>"),
            (close.format(1, ""), b"<ok/>"),
            (close.format(1, ""), b"unknown process id 1"),
        ]
        found = []
        with socket.create_connection(address, timeout=PATIENCE) as connection:
            for said, expected in words:
                connection.sendall(said.encode())
                heard = b""
                while not heard.endswith(b"\0"):
                    data = connection.recv(65536)
                    assert data, heard
                    heard += data
                found.append(expected if expected in heard else heard)
    return found
