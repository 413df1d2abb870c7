"""
The callback modes with real processes and real sockets.
"""

from __future__ import annotations

from hashlib import sha256

from twisted.internet.defer import Deferred, gatherResults

from tests.integration.services import CommandTestCase

MODES = ("own", "shared", "passive", "auto")


class ModeTests(CommandTestCase):
    """
    C{jsremote run --callback}.
    """

    async def test_run(self) -> None:
        """
        The same bytes and the same exit code in each mode: 4 MB on stdout while
        stderr has its own.
        """
        remote = await self.remote()
        script = "yes 12345678 | head -c 4000000; echo done >&2; exit 7"
        results = await gatherResults(
            [
                Deferred.fromCoroutine(
                    self.jsremote("run", remote, "--callback", mode, "--", "sh", "-c", script)
                )
                for mode in MODES
            ]
        )
        expected = sha256((b"12345678\n" * 444445)[:4000000]).digest()
        for mode, (code, out, err) in zip(MODES, results, strict=True):
            self.assertEqual((code, err), (7, b"done\n"), mode)
            self.assertEqual(sha256(out).digest(), expected, mode)

    async def test_input(self) -> None:
        """
        A task has its input in each mode.
        """
        remote = await self.remote()
        data = bytes(range(256)) * 4096
        for mode in MODES[1:3]:
            code, out, err = await self.jsremote(
                "run", remote, "--callback", mode, "--", "cat", said=data
            )
            self.assertEqual((code, err), (0, b""), mode)
            self.assertEqual(out, data, mode)
