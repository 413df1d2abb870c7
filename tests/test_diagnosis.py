"""
Tests for L{jobscheduler_tcp.cli.diagnosis}.
"""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.cli.diagnosis import ClockOffset, Diagnosis, Verdict, roundTrips


class DiagnosisTests(SynchronousTestCase):
    """
    What is made of the legs.
    """

    def setUp(self) -> None:
        """
        Two legs, both well.
        """
        self.found = Diagnosis("h:1")
        self.found.add("name resolution", Verdict.OK, "h is 192.0.2.1", 0.0012, address="192.0.2.1")
        self.found.add("task", Verdict.UNTRIED, "nothing was executed")

    def test_well(self) -> None:
        """
        Without a complaint the exit code is 0, and there is nothing to do.
        """
        self.assertEqual(self.found.status, 0)
        self.assertEqual(
            list(self.found.lines(colour=False)),
            [
                "jsremote doctor h:1",
                "",
                "  ok       name resolution     h is 192.0.2.1, 1.2 ms",
                "  -        task                nothing was executed",
                "",
                "next: nothing to do: jobs can run there",
            ],
        )

    def test_nextStep(self) -> None:
        """
        The next step is that of the first error, or of the first warning.
        """
        self.found.add("clocks", Verdict.WARNING, "late", step="set them")
        self.assertEqual((self.found.status, self.found.step), (1, "set them"))
        self.found.add("task", Verdict.ERROR, "no", step="cure it")
        self.found.add("port budget", Verdict.ERROR, "no", step="cure that")
        self.assertEqual((self.found.status, self.found.step), (2, "cure it"))

    def test_colour(self) -> None:
        """
        On a terminal what is well is green; elsewhere everything is plain.
        """
        self.found.add("clocks", Verdict.WARNING, "late")
        self.found.add("port", Verdict.ERROR, "bad")
        lines = list(self.found.lines(colour=True))
        self.assertTrue(lines[2].startswith("  \x1b[32mok "), lines)
        self.assertTrue(lines[2].endswith("\x1b[0m"))
        self.assertNotIn("\x1b", lines[3])
        self.assertIn("\x1b[33m", lines[4])
        self.assertIn("\x1b[31m", lines[5])

    def test_json(self) -> None:
        """
        The same for programs, with the facts of each leg.
        """
        self.found.add("connect-back", Verdict.ERROR, "refused", 0.5, step="open", errno=111)
        told = json.loads(json.dumps(self.found.plain()))
        self.assertEqual(
            (told["remote"], told["status"], told["exit_status"], told["next"]),
            ("h:1", "errors", 2, "open"),
        )
        self.assertEqual(
            told["legs"][2],
            {
                "leg": "connect-back",
                "verdict": "error",
                "text": "refused",
                "seconds": 0.5,
                "errno": 111,
                "step": "open",
            },
        )

    @given(st.text(max_size=300))
    def test_anyText(self, text: str) -> None:
        """
        Whatever a remote says, nothing moves the cursor, and no line is wider
        than 80 columns but by a word that cannot be broken.
        """
        found = Diagnosis("h:1")
        found.add("negotiation", Verdict.ERROR, "it said " + text)
        for line in found.lines(colour=False):
            self.assertTrue(line.isprintable(), repr(line))
            if not line.startswith("next"):
                self.assertLessEqual(len(line), 80)

    def test_roundTrips(self) -> None:
        """
        The middle one counts.
        """
        self.assertEqual(
            roundTrips([0.003, 0.001, 2.0]), "3.0 ms, between 1.0 ms and 2.0 s in 3 pings"
        )


class ClockOffsetTests(SynchronousTestCase):
    """
    How far a clock is ahead.
    """

    def test_behind(self) -> None:
        """
        A clock that is behind has a negative offset.
        """
        offset = ClockOffset.between(7300.0, 100.0, 7300.5)
        self.assertEqual((offset.seconds, offset.error), (-7200.25, 0.25))
        self.assertEqual(str(offset), "-7200.2500 s +- 0.2500 s")

    @given(st.floats(-1e6, 1e6), st.floats(0, 10), st.floats(0, 10))
    def test_truth(self, ahead: float, there: float, back: float) -> None:
        """
        However long either way takes, the true offset is within the error.
        """
        offset = ClockOffset.between(1e6, 1e6 + there + ahead, 1e6 + there + back)
        self.assertLessEqual(abs(offset.seconds - ahead), offset.error + 1e-6)
