"""
Tests for L{jobscheduler_tcp.remote.returning} and
L{jobscheduler_tcp.remote.holding}: tasks whose clients are gone, and come back.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from signal import SIGTERM
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred
from xxhash import xxh3_128_digest

from jobscheduler_tcp.books import INPUT_WINDOW
from jobscheduler_tcp.messages import (
    AttachRefused,
    AttachTask,
    CallbackMode,
    InputEnded,
    InputTaken,
    KillTask,
    OnDisconnect,
    StartTask,
    Stream,
    TaskAttached,
    TaskEnded,
    TaskKilled,
    TaskRefused,
    TaskStarted,
    TaskTaken,
    Work,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.remote.caller import PROOF_TIMEOUT
from jobscheduler_tcp.remote.holding import MOST_KEPT
from jobscheduler_tcp.remote.starts import MEMORY
from jobscheduler_tcp.testing import FakeProcess
from tests.listener import TASK, TOKEN, Listener, ListenerPort
from tests.test_remote_service import CLIENT, NOW, RemoteTestCase

OUT = Stream.STDOUT
ERR = Stream.STDERR
PORT = 59999
BACK = 59998
SECRET = bytes(range(16, 32))
AGAIN = bytes(range(32, 48))  # the token of who comes back
OTHER = bytes(range(48, 64))
HOLD = 600.0

START = StartTask(
    1,
    TASK,
    PORT,
    TOKEN,
    Work(script="true", grace=3, stdin=True),
    onDisconnect=OnDisconnect.HOLD,
    hold=HOLD,
    secret=SECRET,
)


class ReturningTestCase(RemoteTestCase):
    """
    Tests of a task whose client comes back.
    """

    def run_(self, start: StartTask = START, **how: Any) -> FakeProcess:
        """
        A task that runs, and a client that acknowledges when it is told to.
        """
        self.begin()
        self.port = self.listen(acknowledges=False, **how)
        self.assertIsInstance(self.successResultOf(self.start(start)), TaskTaken)
        [process] = self.launcher.launched
        process.start()
        self.network.flush()
        self.first = self.port.caller
        return process

    def leave(self) -> None:
        """
        The client is gone.
        """
        self.first.transport.abortConnection()
        self.network.flush()

    def message(self, stdout: int = 0, stderr: int = 0) -> AttachTask:
        """
        A client that comes back with so much output.
        """
        instance = self.service.instance
        return AttachTask(5, TASK, BACK, AGAIN, stdout, stderr, SECRET, instance)

    def attach(self, message: AttachTask) -> Deferred[TaskTaken | AttachRefused]:
        """
        Come back, and wait until nothing is on its way.
        """
        answered = self.service.attach(message, CLIENT)
        self.network.flush()
        return answered

    def comeBack(self, stdout: int = 0, stderr: int = 0, **how: Any) -> Listener:
        """
        A client that comes back, and is answered so.
        """
        port = ListenerPort(self.client, BACK, token=AGAIN, **how)
        answer = self.successResultOf(self.attach(self.message(stdout, stderr)))
        self.assertEqual(answer, TaskTaken(5, TASK, 1))
        port.listening.stopListening()
        return port.caller

    def refused(self, message: AttachTask) -> AttachRefused:
        """
        Why a client cannot come back.
        """
        answer = self.successResultOf(self.attach(message))
        assert isinstance(answer, AttachRefused)
        self.assertEqual((answer.id, answer.task), (message.id, message.task))
        return answer


class HeldTests(ReturningTestCase):
    """
    The task goes on, and nothing of it is lost.
    """

    def test_goesOn(self) -> None:
        """
        A client that comes back is told of the start once more, and hears what it
        has not, in order, and what follows; nothing comes twice.
        """
        process = self.run_(replace(START, sha256=True))
        process.print(OUT, b"one two ")
        process.print(ERR, b"oops")
        self.network.flush()
        self.leave()
        process.print(OUT, b"three ")
        task = self.service._tasks[TASK]
        self.assertEqual(task.describe()["state"], "held")
        back = self.comeBack(4, 0)
        self.assertEqual(task.describe()["state"], "running")
        self.assertEqual(task.describe()["client"], f"{CLIENT}:{BACK}")
        process.print(OUT, b"four")
        process.end(7)
        self.network.flush()
        attached, started, ended = back.messages[2:]
        self.assertEqual(attached, TaskAttached(TASK, 4, 0, INPUT_WINDOW))
        self.assertEqual(started, self.first.started)
        self.assertEqual(back.output, {OUT: b"two three four", ERR: b"oops"})
        assert isinstance(ended, TaskEnded)
        self.assertEqual((ended.reason, ended.exitCode), (Reason.EXITED, 7))
        whole = b"one two three four"
        self.assertEqual((ended.stdoutSize, ended.stderrSize), (len(whole), 4))
        self.assertEqual(ended.stdoutChecksum, xxh3_128_digest(whole))
        self.assertEqual(ended.stdoutDigest, sha256(whole).digest())
        self.assertEqual(len(self.launcher.launched), 1)
        self.stop()

    def test_endIsKept(self) -> None:
        """
        A task that ended meanwhile keeps its output and its end, for as long again;
        it takes nobody's place.
        """
        process = self.run_()
        self.leave()
        self.clock.advance(HOLD - 1)
        process.print(OUT, b"hello")
        process.end(0)
        self.clock.advance(HOLD - 1)
        back = self.comeBack()
        self.network.advance(0)
        self.assertEqual(back.output[OUT], b"hello")
        self.assertIsNotNone(back.ended)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIn("its end was told", self.refused(replace(self.message(), token=OTHER)).text)
        self.stop()

    def test_endUnacknowledged(self) -> None:
        """
        So does one whose end was said, and not acknowledged.
        """
        process = self.run_()
        process.end(0)
        self.network.flush()
        self.assertIsNotNone(self.first.ended)
        self.leave()
        back = self.comeBack()
        self.assertEqual(back.ended, self.first.ended)
        self.stop()

    def test_acknowledged(self) -> None:
        """
        What was acknowledged is not kept: who has less is told where it goes on.
        """
        process = self.run_()
        process.print(OUT, b"one")
        self.network.flush()
        self.first.acknowledge()
        process.print(OUT, b"two")
        self.network.flush()
        self.leave()
        back = self.comeBack(1)
        self.assertEqual(back.messages[2], TaskAttached(TASK, 3, 0, INPUT_WINDOW))
        self.assertEqual(back.output[OUT], b"two")
        self.stop()

    def test_startRace(self) -> None:
        """
        A client that went before its program was started, and comes back, hears
        of the start; one that comes back before, too.
        """
        for early in (False, True):
            with self.subTest(early=early):
                self.begin()
                self.port = self.listen()
                self.start(START)
                self.first = self.port.caller
                self.leave()
                [process] = self.launcher.launched
                if early:
                    back = self.comeBack()
                    self.assertIsNone(back.started)
                    process.start()
                    self.network.flush()
                else:
                    process.start()
                    back = self.comeBack()
                self.assertEqual(back.started, TaskStarted(4711, NOW, 0.0))
                self.stop()

    def test_input(self) -> None:
        """
        The input goes on where it stopped, and so does what was taken of it.
        """
        process = self.run_()
        self.first.give(b"one")
        self.network.advance(0)
        self.assertEqual(self.first.messages[-1], InputTaken(3))
        self.leave()
        back = self.comeBack()
        self.assertEqual(back.messages[2], TaskAttached(TASK, 0, 0, INPUT_WINDOW, 3, 3))
        back.give(b"two")
        back.say(InputEnded())
        self.network.advance(0)
        self.assertEqual(back.messages[-1], InputTaken(6))
        self.assertEqual((bytes(process.input), process.inputEnded), (b"onetwo", True))
        back.transport.abortConnection()
        self.network.flush()
        third = self.comeBackAs(OTHER)
        self.assertEqual(third.messages[2], TaskAttached(TASK, 0, 0, INPUT_WINDOW, 6, 6, True))
        self.stop()

    def comeBackAs(self, token: bytes) -> Listener:
        """
        Come back in a further attempt.
        """
        port = ListenerPort(self.client, BACK, token=token)
        answer = self.successResultOf(self.attach(replace(self.message(), token=token)))
        self.assertIsInstance(answer, TaskTaken)
        port.listening.stopListening()
        return port.caller

    def test_bound(self) -> None:
        """
        What is kept is bounded: beyond that the task is held back, and goes on
        when its output is taken.
        """
        process = self.run_()
        self.leave()
        self.assertFalse(process.paused)
        piece = bytes(MOST_KEPT // 4)
        for _ in range(4):
            self.assertFalse(process.paused)
            process.print(OUT, piece)
        self.assertTrue(process.paused)
        process.print(OUT, b"more")
        hold = self.service._tasks[TASK]._steps.hold
        assert hold is not None
        self.assertEqual(hold.size, MOST_KEPT)
        back = self.comeBack(window=MOST_KEPT * 2)
        self.network.advance(1)
        self.assertFalse(process.paused)
        self.assertEqual(len(back.output[OUT]), MOST_KEPT + 4)
        self.stop()

    def test_nothingIsKept(self) -> None:
        """
        Of a task whose client has taken everything, nothing is kept.
        """
        process = self.run_()
        process.print(OUT, b"hello")
        process.print(ERR, b"oops")
        self.network.flush()
        hold = self.service._tasks[TASK]._steps.hold
        assert hold is not None
        self.assertEqual(hold.size, 9)
        self.first.acknowledge()
        self.network.flush()
        self.assertEqual((hold.size, hold._kept), (0, None))
        self.leave()
        self.stop()

    def test_heldBackStill(self) -> None:
        """
        A client that comes back and takes little holds the task back further.
        """
        process = self.run_()
        process.print(OUT, bytes(2000))
        self.network.flush()
        self.assertTrue(process.paused)
        self.leave()
        self.assertFalse(process.paused)
        back = self.comeBack(500, acknowledges=False)
        self.assertTrue(process.paused)
        back.acknowledge()
        self.network.flush()
        self.assertFalse(process.paused)
        back.transport.abortConnection()
        self.network.flush()
        self.stop()

    def test_killed(self) -> None:
        """
        A task that is held can be killed; its end is kept.
        """
        process = self.run_()
        self.leave()
        killed = self.service.kill(KillTask(9, TASK, SIGTERM, 1))
        self.network.advance(1)
        self.assertIsInstance(self.successResultOf(killed), TaskKilled)
        self.assertEqual(process.kills, [(SIGTERM, 1)])
        back = self.comeBack()
        assert back.ended is not None
        self.assertEqual(back.ended.reason, Reason.KILLED)
        self.stop()


class TimeTests(ReturningTestCase):
    """
    A client is not waited for for ever.
    """

    def test_hold(self) -> None:
        """
        When the time is over, the task is killed; who comes back then is told so.
        """
        process = self.run_()
        self.leave()
        process.ignores.add(SIGTERM)
        self.clock.advance(HOLD - 0.1)
        self.assertEqual(process.kills, [])
        self.clock.advance(0.1)
        self.assertEqual(process.kills, [(SIGTERM, 3.0)])
        while_ = self.refused(self.message())
        self.clock.advance(3)
        after = self.refused(self.message())
        for refused in (while_, after):
            self.assertEqual((refused.reason, refused.held), (Reason.LOST, False))
        self.assertEqual(while_.text, "the client was gone for 600 seconds")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.stop()

    def test_end(self) -> None:
        """
        An end that nobody asks for is forgotten.
        """
        process = self.run_()
        self.leave()
        process.end(0)
        self.clock.advance(HOLD)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.refused(self.message()).reason, Reason.LOST)
        self.stop()

    def test_finish(self) -> None:
        """
        A task that shall finish is held back, too; when the time is over it goes
        on, and what nobody took is dropped. Its end tells how much.
        """
        process = self.run_(replace(START, onDisconnect=OnDisconnect.FINISH))
        process.print(OUT, b"before ")
        self.network.flush()
        self.first.acknowledge()
        self.network.flush()
        self.leave()
        process.print(OUT, bytes(MOST_KEPT))
        self.assertTrue(process.paused)
        self.clock.advance(HOLD)
        self.assertFalse(process.paused)
        process.print(OUT, bytes(MOST_KEPT))
        process.print(ERR, b"oops")
        self.assertFalse(process.paused)
        self.assertEqual(process.kills, [])
        self.clock.advance(3 * HOLD)
        size = 7 + 2 * MOST_KEPT
        back = self.comeBack(7)
        self.assertEqual(back.messages[2], TaskAttached(TASK, size, 4, INPUT_WINDOW))
        process.print(OUT, b"after")
        process.end(0)
        self.network.flush()
        self.assertEqual(back.output, {OUT: b"after", ERR: b""})
        assert back.ended is not None
        self.assertEqual(back.ended.stdoutSize, size + 5)
        dropped = 2 * MOST_KEPT + 4
        self.assertIn(f"{dropped} bytes of its output were dropped", back.ended.note)
        self.stop()

    def test_finishUnheard(self) -> None:
        """
        It runs to its end though nobody listens, and its end is kept for as long.
        """
        process = self.run_(replace(START, onDisconnect=OnDisconnect.FINISH))
        self.leave()
        self.clock.advance(5 * HOLD)
        process.end(0)
        self.assertEqual(process.kills, [])
        self.clock.advance(HOLD - 1)
        back = self.comeBack()
        self.assertIsNotNone(back.ended)
        back.transport.abortConnection()
        self.network.flush()
        self.clock.advance(HOLD)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.stop()

    def test_finishAtOnce(self) -> None:
        """
        Where nothing is held it goes on alone from the beginning, to its end.
        """
        self.begin(mostHold=0)
        self.port = self.listen()
        self.start(replace(START, onDisconnect=OnDisconnect.FINISH))
        self.first = self.port.caller
        [process] = self.launcher.launched
        process.start()
        self.leave()
        process.print(OUT, bytes(MOST_KEPT))
        self.clock.advance(0)
        self.assertFalse(process.paused)
        self.assertEqual(process.kills, [])
        process.end(0)
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.stop()

    def test_mostHold(self) -> None:
        """
        The remote has the last word on how long.
        """
        self.begin(mostHold=5)
        self.port = self.listen()
        self.start(START)
        self.first = self.port.caller
        [process] = self.launcher.launched
        process.start()
        self.leave()
        self.clock.advance(5)
        self.assertEqual(process.kills, [(SIGTERM, 3.0)])
        self.clock.advance(3)
        self.stop()

    def test_notAtAll(self) -> None:
        """
        Where that is never, and where the client wants no hold, the task is killed
        at once, and nobody comes back for it.
        """
        for start, most in ((START, 0.0), (replace(START, onDisconnect=OnDisconnect.KILL), HOLD)):
            with self.subTest(start=start):
                self.begin(mostHold=most)
                self.port = self.listen()
                self.start(start)
                self.first = self.port.caller
                [process] = self.launcher.launched
                process.start()
                self.leave()
                self.assertEqual(process.kills, [(SIGTERM, 3.0)])
                self.assertEqual(self.refused(self.message()).reason, Reason.LOST)
                self.clock.advance(3)
                self.stop()

    def test_tooLate(self) -> None:
        """
        To a task that is being killed because nobody is waited for, nobody comes
        back any more: there he would wait for ever for the end.
        """
        for stops in (False, True):
            with self.subTest(stops=stops):
                self.begin(mostHold=HOLD if stops else 0.0)
                self.port = self.listen(acknowledges=False)
                self.start(START)
                self.first = self.port.caller
                [process] = self.launcher.launched
                process.start()
                process.ignores.add(SIGTERM)
                if stops:
                    stopped = self.service.stopService()
                self.leave()
                self.assertNotEqual(process.kills, [])
                ListenerPort(self.client, BACK, token=AGAIN)
                refused = self.refused(self.message())
                self.assertEqual((refused.reason, refused.held), (Reason.LOST, False))
                self.network.advance(3)
                if stops:
                    self.assertIsNone(self.successResultOf(stopped))
                else:
                    self.stop()

    def test_stopsAfterHold(self) -> None:
        """
        A remote that stops while a task is being killed whose client did not come
        back in time ends like any other.
        """
        process = self.run_()
        process.ignores.add(SIGTERM)
        self.leave()
        self.clock.advance(HOLD)
        stopped = self.service.stopService()
        self.network.advance(3)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop(self) -> None:
        """
        A remote that stops waits for no client.
        """
        for ends in (False, True):
            with self.subTest(ends=ends):
                process = self.run_()
                self.leave()
                if ends:
                    process.end(0)
                stopped = self.service.stopService()
                self.network.advance(3)
                self.assertIsNone(self.successResultOf(stopped))
                self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_capacity(self) -> None:
        """
        An end that is held takes no place of the remote's.
        """
        self.begin(maxTasks=1)
        self.port = self.listen()
        self.start(START)
        self.first = self.port.caller
        [process] = self.launcher.launched
        process.start()
        self.leave()
        other = replace(START, id=2, task=TASK.replace("4", "5"))
        full = self.successResultOf(self.start(other))
        assert isinstance(full, TaskRefused)
        self.assertEqual(full.reason, Reason.REJECTED_CAPACITY)
        process.end(0)
        self.port.listening.stopListening()
        self.network.flush()
        self.listen(task=other.task)
        self.assertIsInstance(self.successResultOf(self.start(other)), TaskTaken)
        self.stop()


class AttemptTests(ReturningTestCase):
    """
    Who may come back, and how.
    """

    def test_wrongSecret(self) -> None:
        """
        Only who knows the secret of the start; nobody is dialled.
        """
        self.run_()
        self.leave()
        for secret in (OTHER, TOKEN, b""):
            refused = self.refused(replace(self.message(), secret=secret))
            self.assertEqual((refused.reason, refused.held), (Reason.LOST, False))
        self.stop()

    def test_wrongListener(self) -> None:
        """
        Only who proves that it knows the token of the attempt; until then the
        connection that stands is not touched.
        """
        process = self.run_()
        ListenerPort(self.client, BACK, token=OTHER)
        answered = self.attach(self.message())
        self.network.advance(PROOF_TIMEOUT)
        refused = self.successResultOf(answered)
        assert isinstance(refused, AttachRefused)
        self.assertEqual((refused.reason, refused.held), (Reason.CALLBACK_WRONG_LISTENER, True))
        process.print(OUT, b"still here")
        self.network.flush()
        self.assertEqual(self.first.output[OUT], b"still here")
        self.leave()
        self.stop()

    def test_takesOver(self) -> None:
        """
        Who is proven has the task from then on, also from a connection that
        stands; that is dropped, and disturbs nobody any more.
        """
        process = self.run_()
        process.print(OUT, b"hello")
        self.network.flush()
        back = self.comeBack()
        assert self.first.lost is not None
        process.print(OUT, b" world")
        self.network.flush()
        self.assertEqual(self.first.output[OUT], b"hello")
        self.assertEqual(back.output[OUT], b"hello world")
        self.assertEqual(process.kills, [])
        self.stop()

    def test_nobodyListens(self) -> None:
        """
        A dial that fails tells why, and that the task is still held: the next
        attempt may succeed.
        """
        self.run_()
        self.leave()
        refused = self.refused(self.message())
        self.assertEqual(
            (refused.reason, refused.errno, refused.held), (Reason.CALLBACK_REFUSED, 111, True)
        )
        self.comeBackAgain()
        self.stop()

    def comeBackAgain(self) -> None:
        """
        Another attempt has another token.
        """
        ListenerPort(self.client, BACK, token=OTHER)
        message = replace(self.message(), token=OTHER)
        self.assertIsInstance(self.successResultOf(self.attach(message)), TaskTaken)

    def test_same(self) -> None:
        """
        The same attempt twice is one, with one answer, while it lasts and
        afterwards.
        """
        self.run_()
        self.leave()
        port = ListenerPort(self.client, BACK, token=AGAIN)
        first = self.service.attach(self.message(), CLIENT)
        second = self.service.attach(replace(self.message(), id=6), CLIENT)
        self.network.flush()
        third = self.attach(replace(self.message(), id=7))
        for number, answer in ((5, first), (6, second), (7, third)):
            self.assertEqual(self.successResultOf(answer), TaskTaken(number, TASK, 1))
        self.assertIsNone(port.caller.lost)
        self.stop()

    def test_newer(self) -> None:
        """
        A new attempt ends one that has not come about.
        """
        self.run_()
        self.leave()
        self.client.filter(BACK)
        old = self.service.attach(self.message(), CLIENT)
        self.network.flush()
        self.assertNoResult(old)
        self.client.allow(BACK)
        self.comeBackAgain()
        answer = self.successResultOf(old)
        assert isinstance(answer, AttachRefused)
        self.assertTrue(answer.held)
        self.stop()

    def test_tooMuch(self) -> None:
        """
        Who claims output that was never printed means another task.
        """
        self.run_()
        self.leave()
        refused = self.refused(self.message(1))
        self.assertEqual((refused.reason, refused.held), (Reason.PROTOCOL_ERROR, False))
        self.stop()

    def test_otherAddress(self) -> None:
        """
        An address that the remote's configuration does not list is not dialled,
        nor is a port of its own.
        """
        self.run_()
        self.leave()
        for message in (
            replace(self.message(), host="10.9.9.9"),
            replace(self.message(), port=4455),
        ):
            self.assertTrue(self.refused(message).held)
        self.stop()

    def test_noStanding(self) -> None:
        """
        A standing connection that the remote does not have carries nothing.
        """
        self.run_()
        self.leave()
        message = replace(
            self.message(), port=0, mode=CallbackMode.SHARED, connection=TASK.replace("4", "6")
        )
        refused = self.refused(message)
        self.assertEqual((refused.reason, refused.held), (Reason.CALLBACK_REFUSED, True))
        self.stop()


class UnknownTests(ReturningTestCase):
    """
    What is told of a task that the remote does not have.
    """

    def test_neverHeard(self) -> None:
        """
        A start that never came will not be obeyed any more, should it come now:
        that it did not run is true for ever.
        """
        self.begin()
        self.listen()
        for _ in range(2):
            refused = self.refused(self.message())
            self.assertEqual((refused.reason, refused.held), (Reason.NOT_STARTED, False))
        late = self.refusal(START)
        self.assertEqual(late.reason, Reason.NOT_STARTED)
        self.assertEqual(self.launcher.launched, [])
        self.stop()

    def test_forgotten(self) -> None:
        """
        A task that ran so long ago that its start is forgotten is never said not
        to have run: it would run once more.
        """
        process = self.run_()
        process.end(0)
        self.leave()
        self.clock.advance(HOLD)
        self.clock.advance(MEMORY + 1)
        other = AttachTask(6, str(UUID(int=7)), BACK, AGAIN, 0, 0, SECRET, self.service.instance)
        self.assertEqual(self.refused(other).reason, Reason.NOT_STARTED)
        self.assertEqual(self.refused(self.message()).reason, Reason.LOST)
        self.stop()

    def test_otherInstance(self) -> None:
        """
        A remote that was started anew cannot know; it will not start it either.
        """
        for instance in ("", TASK):
            with self.subTest(instance=instance):
                self.begin()
                for _ in range(2):  # for the first answer may not have come
                    refused = self.refused(replace(self.message(), instance=instance))
                    self.assertEqual((refused.reason, refused.held), (Reason.LOST, False))
                self.listen()
                self.refusal(START)
                self.assertEqual(self.launcher.launched, [])
                self.stop()

    def test_startRefused(self) -> None:
        """
        A start that was refused was not obeyed, and is not.
        """
        self.begin()
        first = self.refusal(START)
        self.assertEqual(first.reason, Reason.CALLBACK_REFUSED)
        refused = self.refused(self.message())
        self.assertEqual(
            (refused.reason, refused.errno, refused.held), (first.reason, first.errno, False)
        )
        self.assertFalse(refused.reason.mayHaveRun)
        self.stop()

    def test_whileCalled(self) -> None:
        """
        As long as the client of the start is being called, nobody can tell; then
        it is told.
        """
        self.begin()
        self.client.filter(PORT)
        start = self.start(START)
        answered = self.attach(self.message())
        self.assertNoResult(answered)
        self.network.advance(10)
        self.assertIsInstance(self.successResultOf(start), TaskRefused)
        refused = self.successResultOf(answered)
        assert isinstance(refused, AttachRefused)
        self.assertEqual(refused.reason, Reason.CALLBACK_FILTERED)
        self.stop()
