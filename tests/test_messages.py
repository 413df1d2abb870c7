"""
Messages, outcomes and proofs: what both ends agree on.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

from hypothesis import given, settings
from twisted.trial.unittest import SynchronousTestCase

import jobscheduler_tcp
from jobscheduler_tcp.messages import AttachTask, Ping, StartTask, Stream, TaskOutput, Work
from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.proof import (
    NONCE_SIZE,
    SELECTOR_SIZE,
    TOKEN_SIZE,
    proofs,
    selector,
)
from tests.strategies import tokens

TASK = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f10"
TOKEN = bytes(range(16))

PURE = """
import importlib, pkgutil, sys
import jobscheduler_tcp.wire as wire
for each in ("channels", "conversation", "errors", "messages", "outcome", "proof"):
    importlib.import_module("jobscheduler_tcp." + each)
for each in pkgutil.iter_modules(wire.__path__):
    importlib.import_module("jobscheduler_tcp.wire." + each.name)
print(*(name for name in sys.modules if name.split(".")[0] in ("twisted", "zope")))
"""


class MessageTests(SynchronousTestCase):
    """
    What is said.
    """

    @settings(deadline=None, max_examples=30)
    @given(tokens)
    def test_tokensAreHidden(self, token: bytes) -> None:
        """
        The repr of a message does not show its token: it may be logged.
        """
        for message in (
            StartTask(1, TASK, 59999, token, Work(script="true")),
            StartTask(1, TASK, 0, b"", Work(script="true"), secret=token),
            AttachTask(1, TASK, 59999, token, secret=token),
        ):
            shown = repr(message)
            self.assertIn(TASK, shown)
            self.assertNotIn(repr(token), shown)
            self.assertNotIn(token.hex(), shown)
            self.assertNotIn("token", shown)
            self.assertNotIn("secret", shown)

    def test_outputIsHidden(self) -> None:
        """
        Nor does that of output show what a task printed.
        """
        self.assertNotIn("secret", repr(TaskOutput(Stream.STDOUT, 0, b"secret")))

    def test_frozen(self) -> None:
        """
        A message stays as it was said.
        """
        with self.assertRaises(FrozenInstanceError):
            Ping(1).id = 2  # type: ignore[misc]  # that is the point

    def test_pure(self) -> None:
        """
        What decides about messages and their bytes needs no Twisted.
        """
        done = subprocess.run(
            [sys.executable, "-c", PURE],
            cwd=Path(jobscheduler_tcp.__file__).parent.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((done.stdout, done.stderr), ("\n", ""))


class OutcomeTests(SynchronousTestCase):
    """
    How a job came out.
    """

    def test_exitStatus(self) -> None:
        """
        Every reason has its exit status: that of the program, 128 and the signal,
        or one that a shell would give or sysexits.h names.
        """
        expected = {
            Reason.TIMEOUT: 124,
            Reason.SILENT: 124,
            Reason.KILLED: 137,
            Reason.OUTPUT_LIMIT: 137,
            Reason.START_FAILED: 126,
            Reason.REJECTED_AUTH: 77,
            Reason.REJECTED_CAPACITY: 75,
            Reason.REJECTED_DRAINING: 75,
            Reason.REJECTED_VERSION: 77,
            Reason.REMOTE_UNREACHABLE: 69,
            Reason.CALLBACK_REFUSED: 75,
            Reason.CALLBACK_FILTERED: 75,
            Reason.CALLBACK_TIMEOUT: 75,
            Reason.CALLBACK_WRONG_LISTENER: 75,
            Reason.PROTOCOL_ERROR: 70,
            Reason.CANCELLED: 130,
            Reason.LOST: 69,
            Reason.NOT_STARTED: 75,
        }
        for reason, status in expected.items():
            with self.subTest(reason=reason):
                self.assertEqual(Outcome(reason).exitStatus, status)
        for code in (0, 7, 255):
            self.assertEqual(Outcome(Reason.EXITED, exitCode=code).exitStatus, code)
        self.assertEqual(Outcome(Reason.SIGNALLED, signal=15).exitStatus, 143)
        self.assertEqual(Outcome(Reason.KILLED, signal=15).exitStatus, 143)
        self.assertEqual(Outcome(Reason.TIMEOUT, signal=9).exitStatus, 124)
        self.assertEqual(Outcome(Reason.START_FAILED, errno=2).exitStatus, 127)
        self.assertEqual(Outcome(Reason.START_FAILED, errno=13).exitStatus, 126)
        # Of these two the program tells the status itself.
        self.assertEqual(set(Reason) - set(expected), {Reason.EXITED, Reason.SIGNALLED})

    def test_statusForAnything(self) -> None:
        """
        An outcome that came over the wire has an exit status, whatever is missing
        in it, and it never looks like success.
        """
        for reason in Reason:
            with self.subTest(reason=reason):
                self.assertNotEqual(Outcome(reason).exitStatus, 0)

    def test_mayHaveRun(self) -> None:
        """
        Only what surely did not run may be started again.
        """
        self.assertEqual(
            {reason.value for reason in Reason if not reason.mayHaveRun},
            {
                "start-failed",
                "rejected-auth",
                "rejected-capacity",
                "rejected-draining",
                "rejected-version",
                "remote-unreachable",
                "callback-refused",
                "callback-filtered",
                "callback-timeout",
                "callback-wrong-listener",
                "cancelled",
                "not-started",
            },
        )

    def test_succeeded(self) -> None:
        """
        Success is an exit with 0, nothing else.
        """
        self.assertTrue(Outcome(Reason.EXITED, exitCode=0).succeeded)
        self.assertFalse(Outcome(Reason.EXITED, exitCode=1).succeeded)
        self.assertFalse(Outcome(Reason.EXITED).succeeded)
        for reason in set(Reason) - {Reason.EXITED}:
            self.assertFalse(Outcome(reason, exitCode=0).succeeded)

    def test_names(self) -> None:
        """
        A reason is shown by its name on the wire.
        """
        self.assertEqual(f"{Reason.CALLBACK_WRONG_LISTENER}", "callback-wrong-listener")
        self.assertEqual(str(Reason.EXITED), "exited")


class ProofTests(SynchronousTestCase):
    """
    The mutual proof of a token.
    """

    def test_knownAnswer(self) -> None:
        """
        The bytes are those of the protocol's page. Its vectors are of OpenSSL's HMAC,
        of which nothing is used here.
        """
        caller, listener = b"c" * 16, b"l" * 16
        self.assertEqual(selector(TOKEN).hex(), "5edb2b3d373f04ea")
        self.assertEqual(
            [proof.hex() for proof in proofs(TOKEN, caller, listener, TASK)],
            [
                "fa9e4892c898b5fae970d8edc581f43aee61312830effe8293f6ff3f09630cb4",
                "2cdf89d6730fc865472fa9556bb5ab7ed6cdf62df877c443836d7857c051d0fc",
            ],
        )

    def test_differ(self) -> None:
        """
        Another role, nonce, task or token is another proof.
        """
        one, two = bytes(NONCE_SIZE), b"\1" * NONCE_SIZE
        other = TASK.replace("4", "5")
        shown = {
            proof
            for token in (TOKEN, bytes(TOKEN_SIZE))
            for nonces in ((one, one), (one, two), (two, one), (two, two))
            for task in (TASK, other)
            for proof in proofs(token, *nonces, task)
        }
        self.assertEqual(len(shown), 32)

    def test_selector(self) -> None:
        """
        The selector has eight bytes and tells nothing of the token.
        """
        self.assertEqual(len(selector(TOKEN)), SELECTOR_SIZE)
        self.assertNotIn(TOKEN[:4], selector(TOKEN))
        self.assertNotEqual(selector(TOKEN), selector(bytes(16)))
