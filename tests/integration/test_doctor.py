"""
C{jsremote doctor} with real processes and sockets of one machine. What only a
firewall does is in L{tests.integration.test_namespaces}.
"""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

from tests.integration.between import pump
from tests.integration.freeports import freePorts, freeRange
from tests.integration.services import CommandTestCase

# What a JobScheduler says to our first words.
UNKNOWN = (
    b'<?xml version="1.0" encoding="ISO-8859-1"?><spooler><answer time="2026-11-22 09:24:08.584">'
    b'<ERROR code="SCHEDULER-105" text="SCHEDULER-105  Unknown command: &lt;jsremote.hello&gt;" '
    b'time="2026-11-22 09:24:08"/></answer></spooler>\0'
)


class DoctorTests(CommandTestCase):
    """
    Every leg of a job's way.
    """

    async def legs(self, remote: str, *options: str, code: int) -> dict[str, dict[str, Any]]:
        """
        The legs of a diagnosis by name, the last of each name.
        """
        ports = ("--callback-ports", freePorts())
        got, out, err = await self.jsremote("doctor", remote, "--json", *ports, *options)
        self.assertEqual(err, b"")
        found = json.loads(out)
        self.assertEqual((got, found["exit_status"]), (code, code), found)
        self.assertEqual(found["remote"], remote)
        return {leg["leg"]: leg for leg in found["legs"]}

    async def test_well(self) -> None:
        """
        A remote that works: every leg stands, with what it took.
        """
        legs = await self.legs(await self.remote(), code=0)
        self.assertEqual({leg["verdict"] for leg in legs.values()}, {"ok"}, legs)
        self.assertEqual(
            list(legs),
            [
                *("name resolution", "command connection", "negotiation", "round trip", "clocks"),
                *("authorisation", "callback port", "connect-back", "task", "port budget"),
            ],
        )
        self.assertEqual(legs["negotiation"]["dialect"], "extended")
        self.assertEqual(legs["negotiation"]["modes"], ["own", "shared", "passive"])
        self.assertEqual(len(legs["round trip"]["pings"]), 5)
        # One clock for both: the offset is nothing, and the error says how sure that is.
        self.assertLessEqual(abs(legs["clocks"]["offset"]), legs["clocks"]["error"] + 0.05)
        port = legs["callback port"]["port"]
        self.assertEqual(legs["connect-back"]["own"], f"127.0.0.1:{port}")
        self.assertRegex(legs["connect-back"]["peer"], r"^127\.0\.0\.1:[0-9]+$")
        self.assertGreater(legs["task"]["pid"], 1)

    async def test_advertise(self) -> None:
        """
        Another address of this host, which the remote lists, is called, by
        doctor and by run; one that it does not list is not, and the way is
        told as not authorised.
        """
        remote = await self.remote("--callback-host", "127.0.0.1=127.0.0.2")
        options = ("--callback", "own", "--advertise")
        legs = await self.legs(remote, *options, "127.0.0.2", code=0)
        port = legs["callback port"]["port"]
        self.assertEqual(legs["connect-back"]["own"], f"127.0.0.2:{port}")
        legs = await self.legs(remote, *options, "127.0.0.3", code=2)
        self.assertEqual(legs["authorisation"]["verdict"], "error", legs)
        self.assertIn("127.0.0.3 is not listed", legs["authorisation"]["text"])
        ports = ("--callback-ports", freePorts())
        got = await self.jsremote("run", remote, *ports, *options, "127.0.0.2", "--", "true")
        self.assertEqual(got, (0, b"", b""))

    async def test_people(self) -> None:
        """
        For people the same in lines of 80 columns, without colours in a pipe.
        """
        remote = await self.remote()
        code, out, err = await self.jsremote("doctor", remote, "--callback-ports", freePorts())
        self.assertEqual((code, err), (0, b""))
        lines = out.decode().splitlines()
        self.assertEqual(lines[0], f"jsremote doctor {remote}")
        self.assertEqual(lines[-1], "next: nothing to do: jobs can run there")
        self.assertLessEqual(max(map(len, lines)), 80)
        self.assertNotIn(b"\x1b", out)

    async def test_notAllowed(self) -> None:
        """
        Whether this host is not let in at all, or may not start tasks, is told
        as authorisation, and nothing is executed.
        """
        for level in ("none", "info"):
            remote = await self.remote("--allow", f"127.0.0.1={level}")
            legs = await self.legs(remote, code=2)
            self.assertEqual(legs["authorisation"]["verdict"], "error", legs)
            self.assertIn("allowed_host", legs["authorisation"]["step"])
            self.assertNotEqual(legs.get("task", {}).get("verdict"), "ok")

    async def test_classic(self) -> None:
        """
        A remote that does not know our words is spoken to as a JobScheduler, and
        the task runs.
        """
        port = int((await self.remote()).rpartition(":")[2])
        with socket.create_server(("127.0.0.1", 0)) as listening:
            threading.Thread(target=beClassic, args=(listening, port), daemon=True).start()
            legs = await self.legs(f"127.0.0.1:{listening.getsockname()[1]}", code=0)
        self.assertEqual(legs["negotiation"]["dialect"], "classic")
        self.assertEqual(legs["task"]["verdict"], "ok")
        self.assertNotIn("clocks", legs)

    async def test_nobody(self) -> None:
        """
        A name that is none, a port where nobody listens, and somebody else.
        """
        legs = await self.legs("host.invalid:1", code=2)
        self.assertEqual(legs["name resolution"]["verdict"], "error")
        legs = await self.legs("127.0.0.1:1", code=2)
        self.assertEqual(legs["command connection"]["kind"], "refused")
        self.assertEqual(legs["command connection"]["errno"], 111)
        with socket.create_server(("127.0.0.1", 0)) as other:
            threading.Thread(target=answer, args=(other,), daemon=True).start()
            legs = await self.legs(f"127.0.0.1:{other.getsockname()[1]}", code=2)
        self.assertEqual(legs["negotiation"]["verdict"], "error")

    async def test_budget(self) -> None:
        """
        A configuration that needs more ports than it has is an error with the
        class and the option that cures it; one that is wrong is told at once.
        """
        config = self.write(
            "scheduler.xml",
            '<spooler><config><process_classes><process_class name="build" max_processes="30" '
            'remote_scheduler="127.0.0.1:4455"/></process_classes></config></spooler>',
        )
        lowest = freeRange(30)
        ports = f"{lowest + 20}-{lowest + 29}"
        legs = await self.legs(
            await self.remote(), "--config", config, "--callback-ports", ports, code=2
        )
        self.assertIn("process class build (30 tasks)", legs["port budget"]["text"])
        self.assertEqual(legs["port budget"]["step"], f"--callback-ports {lowest}-{lowest + 29}")
        self.assertEqual(legs["task"]["verdict"], "ok")
        wrong = self.write("wrong.xml", "<spooler>")
        code, out, err = await self.jsremote("doctor", "--config", wrong)
        self.assertEqual((code, out, err.count(b"\n")), (78, b"", 1))

    async def test_portTaken(self) -> None:
        """
        With all ports taken it says so, and by whom.
        """
        with socket.create_server(("127.0.0.1", 0)) as taken:
            number = str(taken.getsockname()[1])
            legs = await self.legs(
                await self.remote(), "--callback-ports", number, "--start-timeout", "0.2", code=2
            )
        self.assertEqual(legs["callback port"]["verdict"], "error")
        self.assertIn(number, legs["callback port"]["text"])
        self.assertEqual(legs["task"]["reason"], "not-started")


def beClassic(listening: socket.socket, port: int) -> None:
    """
    Stand before a remote, and know no hello.
    """
    for _ in range(2):
        caller, _ = listening.accept()
        said = caller.recv(65536)
        if b"<jsremote.hello" in said:
            caller.sendall(UNKNOWN)
            caller.close()
            continue
        remote = socket.create_connection(("127.0.0.1", port))
        remote.sendall(said)
        threading.Thread(target=pump, args=(remote, caller), daemon=True).start()
        pump(caller, remote)


def answer(listening: socket.socket) -> None:
    """
    Be a server of another kind.
    """
    caller, _ = listening.accept()
    with caller:
        caller.recv(65536)
        caller.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
