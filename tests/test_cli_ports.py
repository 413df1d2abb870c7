"""
C{jsremote ports}: what it makes of an answer.
"""

from __future__ import annotations

import contextlib
import io
import json

from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.cli import ports
from jobscheduler_tcp.cli.asking import EX_NOPERM, EX_SOFTWARE
from jobscheduler_tcp.wire.documents import Element, element

TASK = "de2d3585-2b99-4842-9b7b-a8438cbc88c2"
PORTS = element(
    "ports",
    {"range": "59900-59999", "free": "97", "listening": "2", "connected": "1", "waiting": "4"},
    [
        element(
            "port",
            {
                "port": "59999",
                "state": "connected",
                "age": "7200.5",
                "task": TASK,
                "peer": "10.0.0.5:40112",
                "job": "/nightly",
                "id": "7",
            },
        ),
        element("port", {"port": "59998", "state": "listening", "age": "90.0", "task": TASK}),
        element("port", {"port": "59997", "state": "listening", "age": "0.1"}),
        element("port", {"port": "59900-59996", "state": "free", "age": "soon"}),
    ],
)


class PortsTests(SynchronousTestCase):
    """
    The callback ports of a client.
    """

    def said(self, answer: Element | int, *, asJSON: bool = False) -> tuple[int, str, str]:
        """
        Its exit code, stdout and stderr, when the client answers so.
        """
        asked: list[object] = []

        def stateOf(client: tuple[str, int], question: bytes, role: str) -> Element | int:
            asked.append((client, question, role))
            return answer

        self.patch(ports, "stateOf", stateOf)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = ports.ports(("h", 1), asJSON)
        self.assertEqual(asked, [(("h", 1), b'<show_state what="ports"/>', "client")])
        return code, out.getvalue(), err.getvalue()

    def test_table(self) -> None:
        """
        For people: how many are what, and a line for each that is not free.
        """
        code, out, err = self.said(element("state", {}, [PORTS]))
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(
            out.splitlines(),
            [
                "h:1  callback ports 59900-59999",
                "  97 free, 2 listening, 1 connected, 4 waiting",
                "",
                "  port         state      age    peer            task",
                "  59999        connected  2.0 h  10.0.0.5:40112  /nightly 7",
                f"  59998        listening  2 min                  {TASK}",
                "  59997        listening  0.1 s",
                "  59900-59996  free",
            ],
        )

    def test_json(self) -> None:
        """
        For programs: everything.
        """
        code, out, _ = self.said(element("state", {}, [PORTS]), asJSON=True)
        self.assertEqual(code, 0)
        told = json.loads(out)
        self.assertEqual((told["range"], told["waiting"]), ("59900-59999", "4"))
        self.assertEqual(told["ports"][0]["task"], TASK)
        self.assertEqual(told["ports"][3], {"port": "59900-59996", "state": "free", "age": "soon"})

    def test_remote(self) -> None:
        """
        A remote has no callback ports, and says so.
        """
        code, out, err = self.said(element("state", {}, []))
        self.assertEqual((code, out), (EX_SOFTWARE, ""))
        self.assertIn("h:1 has no callback ports", err)

    def test_noAnswer(self) -> None:
        """
        What went wrong with the question decides otherwise.
        """
        self.assertEqual(self.said(EX_NOPERM), (EX_NOPERM, "", ""))
