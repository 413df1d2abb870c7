"""
What strangers can do at a callback port, or in its place: nothing.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from contextlib import ExitStack
from threading import Event, Thread

from msgspec import msgpack
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from tests.integration.between import ELSEWHERE, Between, pump
from tests.integration.freeports import freePort, freeRange, restingAt
from tests.integration.plain import LOOPBACK, Frames, everything, selectorOf
from tests.integration.services import PATIENCE, CommandTestCase

NONCE = b"a nonce of mine."

_START = re.compile(rb'<remote_scheduler\.start_remote_task .*?task="([^"]*)".*?token="([^"]*)"')


class StrangersTestCase(CommandTestCase):
    """
    Somebody stands between C{jsremote run} and a remote.
    """

    def setUp(self) -> None:
        """
        Sockets are closed in the end.
        """
        super().setUp()
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)

    def connect(self, port: int) -> socket.socket:
        """
        Call at a callback port.
        """
        return self.stack.enter_context(socket.create_connection((LOOPBACK, port), PATIENCE))


class BlockedTests(StrangersTestCase):
    """
    The remote cannot call the client, or somebody else takes the call: what was
    to be run is not run.
    """

    async def test_blocked(self) -> None:
        """
        The reason is told, though there is no deadline; whoever takes the call in the client's
        place hears one nonce, and no byte of token or task.
        """
        proof = msgpack.encode({"nonce": NONCE, "proof": bytes(32), "window": 1000})
        cases: list[tuple[str, Callable[[socket.socket], object] | None]] = [
            ("callback-refused", None),
            ("callback-filtered", self._fill),
            ("callback-wrong-listener", lambda caller: None),
            ("callback-wrong-listener", lambda caller: caller.shutdown(socket.SHUT_RDWR)),
            ("callback-wrong-listener", lambda caller: caller.sendall(b"HTTP/1.1 400 No\r\n\r\n")),
            ("callback-wrong-listener", lambda caller: caller.sendall(b"\xff" * 100)),
            ("callback-wrong-listener", lambda caller: Frames(caller).say("L", 0, proof)),
        ]
        remote = int((await self.remote()).rpartition(":")[2])
        lowest = freeRange(len(cases))
        running = [
            Deferred.fromCoroutine(self._blocked(remote, lowest + place, reason, squat))
            for place, (reason, squat) in enumerate(cases)
        ]
        await gatherResults(running, consumeErrors=True)

    async def test_anotherWay(self) -> None:
        """
        If it is not said who has to call, the client does when the remote
        cannot: the job runs, once.
        """
        remote = int((await self.remote()).rpartition(":")[2])
        between = Between(self.stack, remote, ELSEWHERE)
        marker = self.directory / "ran"
        code, out, err = await self.jsremote(
            *("run", f"{LOOPBACK}:{between.port}", "--callback-ports", str(freePort())),
            *("--", "sh", "-c", f"echo once | tee -a {marker}; exit 7"),
        )
        self.assertEqual((code, out, err), (7, b"once\n", b""))
        self.assertEqual(marker.read_bytes(), b"once\n")

    async def _blocked(
        self, remote: int, port: int, reason: str, squat: Callable[[socket.socket], object] | None
    ) -> None:
        heard: list[bytes] = []
        aside = Thread()
        if squat is not None:
            squatting = self.stack.enter_context(socket.socket())
            squatting.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            squatting.bind((ELSEWHERE, port))
            if reason == "callback-filtered":
                self._fill(squatting)
            else:
                squatting.listen()
                aside = Thread(target=self._squat, args=(squatting, squat, heard), daemon=True)
                aside.start()
        # Called from elsewhere, the remote looks for the client there.
        between = Between(self.stack, remote, ELSEWHERE)
        marker = self.directory / f"ran{port}"
        code, out, err = await self.jsremote(
            *("run", f"{LOOPBACK}:{between.port}", "--callback-ports", str(port)),
            *("--callback", "own", "--", "touch", str(marker)),
        )
        self.assertEqual((code, out), (75, b""), err)
        self.assertTrue(err.startswith(f"jsremote: {reason}: ".encode()), err)
        self.assertEqual(err.count(b"\n"), 1, err)
        self.assertFalse(marker.exists())
        if aside.ident is not None:
            await deferToThread(aside.join, PATIENCE)
            found = _START.search(between.said)
            assert found is not None
            task, token = found[1], bytes.fromhex(found[2].decode())
            self.assertEqual((heard[0][4:5], len(heard[0])), (b"C", 4 + heard[0][3]))
            for secret in (task, token, found[2], str(marker).encode()):
                self.assertNotIn(secret, heard[0])

    def _fill(self, squatting: socket.socket) -> None:
        """
        Let the kernel take no more callers: it drops what they send, as a
        firewall does.
        """
        squatting.listen(0)
        for _ in range(3):
            filling = self.stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(squatting.getsockname())

    def _squat(
        self,
        squatting: socket.socket,
        squat: Callable[[socket.socket], object],
        heard: list[bytes],
    ) -> None:
        squatting.settimeout(PATIENCE)
        with squatting.accept()[0] as caller:
            said = caller.recv(65536)
            squat(caller)
            heard.append(said + everything(caller)[0])


class CallersTests(StrangersTestCase):
    """
    Others call at the callback port.
    """

    async def test_first(self) -> None:
        """
        Who calls before the remote does and says nonsense is reset, and hears
        nothing; who knows by which word to call hears one nonce and a proof, and
        is reset when he shows none. The job succeeds.
        """
        remote = int((await self.remote()).rpartition(":")[2])
        port = freePort()
        ends: list[tuple[bytes, str]] = []
        waiting: list[socket.socket] = []

        def intrude(said: bytes) -> None:
            found = _START.search(said)
            if found is None or ends:
                return
            token = bytes.fromhex(found[2].decode())
            waiting.append(self.connect(port))
            for nonsense in (
                b"GET / HTTP/1.0\r\n\r\n",
                b"\xff\xff\xff\xffC\0\0\0\0",
                b"\0\0\x10\x01C\0\0\0\0",
                b"\0\0\0\0",
                b"\0\0\0\x05h\0\0\0\0",
                b"\0\0\0\x06E\0\0\0\x01\x80",
                frame("C", msgpack.encode({"nonce": NONCE, "selector": bytes(8)})),
                frame("P", msgpack.encode({"proof": bytes(32)})),
            ):
                stranger = self.connect(port)
                stranger.sendall(nonsense)
                ends.append(everything(stranger))
            stranger = self.connect(port)
            selector = selectorOf(token)
            stranger.sendall(frame("C", msgpack.encode({"nonce": NONCE, "selector": selector})))
            shown = Frames(stranger).hear()
            stranger.sendall(frame("P", msgpack.encode({"proof": bytes(32)})))
            told.append((*shown, *everything(stranger)))
            secrets.extend((found[1], token, found[2]))

        told: list[tuple[str, int, bytes, bytes, str]] = []
        secrets: list[bytes] = []
        between = Between(self.stack, remote, passing=intrude)
        code, out, err = await self.jsremote(
            *("run", "-v", f"{LOOPBACK}:{between.port}", "--callback-ports", str(port)),
            *("--", "echo", "hello"),
        )
        self.assertEqual((code, out), (0, b"hello\n"), err)
        self.assertEqual(ends, [(b"", "reset")] * 8)
        self.assertEqual(await deferToThread(everything, waiting[0]), (b"", "reset"))
        [(letter, channel, body, rest, end)] = told
        self.assertEqual((letter, channel, rest, end), ("L", 0, b"", "reset"))
        self.assertEqual(set(msgpack.decode(body)), {"nonce", "proof", "window"})
        for secret in secrets:
            self.assertNotIn(secret, body)
        self.assertEqual(err.count(b"Sent a stranger away"), 1, err)
        self.assertEqual(restingAt(range(port, port + 1)), [])

    async def test_replay(self) -> None:
        """
        The words by which the remote proved itself are worth nothing on another
        connection, neither before they were heard nor while the task runs.
        """
        remote = int((await self.remote()).rpartition(":")[2])
        port = freePort()
        squatting = self.stack.enter_context(socket.create_server((ELSEWHERE, port)))
        squatting.settimeout(PATIENCE)
        ends: list[object] = []
        tried = Event()

        def replay() -> None:
            caller = self.stack.enter_context(squatting.accept()[0])
            first, second = self.connect(port), self.connect(port)
            challenge = readFrame(caller)
            first.sendall(challenge)
            second.sendall(challenge)
            shown, other = readFrame(first), readFrame(second)
            ends.append(shown == other)
            caller.sendall(shown)
            proof = readFrame(caller)
            second.sendall(proof)
            ends.append(everything(second))
            first.sendall(proof)
            Thread(target=pump, args=(first, caller), daemon=True).start()
            pump(caller, first, lambda data: again(challenge + proof))
            first.close()

        def again(words: bytes) -> None:
            if not tried.is_set():
                with socket.socket() as third:
                    third.settimeout(PATIENCE)
                    if third.connect_ex((LOOPBACK, port)) == 0:
                        third.sendall(words)
                        ends.append(everything(third))
                tried.set()

        relaying = Thread(target=replay, daemon=True)
        relaying.start()
        between = Between(self.stack, remote, ELSEWHERE)
        code, out, err = await self.jsremote(
            *("run", f"{LOOPBACK}:{between.port}", "--callback-ports", str(port)),
            *("--", "echo", "hello"),
        )
        self.assertEqual((code, out), (0, b"hello\n"), err)
        await deferToThread(relaying.join, PATIENCE)
        self.assertTrue(tried.is_set())
        self.assertEqual(ends, [False, (b"", "reset"), *[(b"", "reset")] * (len(ends) - 2)])
        self.assertEqual(restingAt(range(port, port + 1)), [])


def frame(letter: str, body: bytes) -> bytes:
    """
    Write a frame of channel 0.
    """
    return (5 + len(body)).to_bytes(4, "big") + letter.encode() + bytes(4) + body


def readFrame(connected: socket.socket) -> bytes:
    """
    Read one frame, and nothing that follows.
    """
    head = connected.recv(4, socket.MSG_WAITALL)
    return head + connected.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
