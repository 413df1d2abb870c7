"""
L{jobscheduler_tcp.remote.command}: what a client asks of a remote.
"""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from jobscheduler_tcp.heartbeat import INTERVAL, SILENCE
from jobscheduler_tcp.interfaces import ITasks
from jobscheduler_tcp.messages import (
    Answer,
    AttachRefused,
    AttachTask,
    Hello,
    KillTask,
    Ping,
    Pong,
    Request,
    RequestFailed,
    StartTask,
    TaskKilled,
    TaskRefused,
    TaskTaken,
    Welcome,
    Work,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.remote.command import LATE, MAX_OUTSTANDING, CommandServerFactory
from jobscheduler_tcp.security import AllowedHosts, Level
from jobscheduler_tcp.testing import MemoryNetwork, Stranger
from jobscheduler_tcp.wire.answers import decodeAnswer
from jobscheduler_tcp.wire.documents import Element, element
from jobscheduler_tcp.wire.requests import encodeRequest
from jobscheduler_tcp.wire.splitters import AnswerSplitter
from tests.listener import TASK, TOKEN

SERVER = "10.0.0.2"
PORT = 4455
NOW = 1795361629.5
INSTANCE = "3f1c0000-0000-4000-8000-000000000001"

HELLO = Hello(1, 1, INSTANCE, ("own",), "none", "boot", 12.5)
START = StartTask(2, TASK, 59999, TOKEN, Work(script="echo <hello> & more"))


@implementer(ITasks)
class Tasks:
    """
    A remote that does what the test says.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[object, str]] = []
        self.starts: list[Deferred[TaskTaken | TaskRefused]] = []
        self.attaches: list[Deferred[TaskTaken | AttachRefused]] = []
        self.kills: list[Deferred[TaskKilled]] = []

    def welcome(self, hello: Hello) -> Welcome:
        """
        See L{ITasks}.
        """
        self.asked.append((hello, ""))
        return Welcome(hello.id, 1, INSTANCE, ("own",), "", NOW, 5)

    def start(self, message: StartTask, host: str) -> Deferred[TaskTaken | TaskRefused]:
        """
        See L{ITasks}.
        """
        self.asked.append((message, host))
        self.starts.append(Deferred())
        return self.starts[-1]

    def attach(self, message: AttachTask, host: str) -> Deferred[TaskTaken | AttachRefused]:
        """
        See L{ITasks}.
        """
        self.asked.append((message, host))
        self.attaches.append(Deferred())
        return self.attaches[-1]

    def kill(self, message: KillTask) -> Deferred[TaskKilled]:
        """
        See L{ITasks}.
        """
        self.asked.append((message, ""))
        self.kills.append(Deferred())
        return self.kills[-1]

    def showState(self) -> Element:
        """
        See L{ITasks}.
        """
        return element("state", {"state": "running"})


class CommandServerTests(SynchronousTestCase):
    def setUp(self) -> None:
        """
        A remote that anybody may look at, and one host may command.
        """
        self.network = MemoryNetwork()
        self.clock = self.network.clock
        self.tasks = Tasks()
        hosts = AllowedHosts([("10.0.0.1", Level.ALL), ("0.0.0.0", Level.INFO)])
        self.factory = CommandServerFactory(
            self.tasks, hosts.levelOf, self.clock, wallClock=lambda: NOW
        )
        self.network.host(SERVER).listen(PORT, self.factory)

    def call(self, address: str = "10.0.0.1") -> Stranger:
        """
        A client.
        """
        stranger = self.network.host(address).stranger(SERVER, PORT)
        self.network.flush()
        return stranger

    def greet(self) -> Stranger:
        """
        A client that was greeted.
        """
        caller = self.call()
        [welcome] = self.ask(caller, HELLO)
        self.assertIsInstance(welcome, Welcome)
        self.tasks.asked.clear()
        return caller

    def ask(self, caller: Stranger, *requests: Request) -> list[Answer]:
        """
        What is answered to requests.
        """
        del caller.heard[:]
        caller.transport.write(b"".join(map(encodeRequest, requests)))
        return self.answers(caller)

    def answers(self, caller: Stranger) -> list[Answer]:
        """
        What was answered.
        """
        self.network.flush()
        return [decodeAnswer(each) for each in AnswerSplitter().feed(bytes(caller.heard))]

    def test_hello(self) -> None:
        """
        A client is greeted; the answer is one piece with a line feed and a NUL
        behind it.
        """
        caller = self.call()
        self.assertEqual(self.ask(caller, HELLO), [Welcome(1, 1, INSTANCE, ("own",), "", NOW, 5)])
        self.assertTrue(caller.heard.endswith(b"</spooler>\n\0"))
        self.assertIn(b'<answer id="1" time="2026-11-22T', caller.heard)
        self.assertEqual(self.tasks.asked, [(HELLO, "")])

    def test_version(self) -> None:
        """
        There is no version 0: answered and closed. A later one than ours is
        ours.
        """
        caller = self.call()
        [answer] = self.ask(caller, replace(HELLO, version=0))
        assert isinstance(answer, RequestFailed)
        self.assertEqual((answer.id, answer.code), (1, "jsremote-version"))
        self.assertIsNotNone(caller.lost)
        [welcome] = self.ask(self.call(), replace(HELLO, version=99))
        self.assertIsInstance(welcome, Welcome)

    def test_authentication(self) -> None:
        """
        A way to prove oneself that is not known is refused, never passed over.
        """
        caller = self.call()
        [answer] = self.ask(caller, replace(HELLO, authentication="secret"))
        assert isinstance(answer, RequestFailed)
        self.assertEqual(answer.code, "jsremote-authentication")
        self.assertIsNotNone(caller.lost)
        self.assertEqual(self.tasks.asked, [])

    def test_level(self) -> None:
        """
        Who may not start tasks is not greeted, and starts none; it may still
        look.
        """
        caller = self.call("10.0.0.9")
        [answer] = self.ask(caller, HELLO)
        assert isinstance(answer, RequestFailed)
        self.assertEqual(answer.code, "SCHEDULER-121")
        del caller.heard[:]
        caller.transport.write(b"<show_state/>")
        self.network.flush()
        self.assertIn(b'<state state="running"/>', caller.heard)
        [answer] = self.ask(caller, START)
        assert isinstance(answer, RequestFailed)
        self.assertEqual(answer.code, "jsremote-protocol-error")
        self.assertIsNotNone(caller.lost)
        self.assertEqual(self.tasks.asked, [])

    def test_start(self) -> None:
        """
        A start is carried out for the address of the client, and answered when
        its answer is known.
        """
        caller = self.greet()
        self.assertEqual(self.ask(caller, START), [])
        self.assertEqual(self.tasks.asked, [(START, "10.0.0.1")])
        self.tasks.starts[0].callback(TaskTaken(2, TASK, 17))
        self.clock.advance(LATE)
        self.assertEqual(self.answers(caller), [TaskTaken(2, TASK, 17)])

    def test_taken(self) -> None:
        """
        A client hears on the confirmation connection that its start was taken: the
        answer waits a little for others.
        """
        caller = self.greet()
        second = replace(START, id=3)
        self.assertEqual(self.ask(caller, START, second), [])
        self.tasks.starts[0].callback(TaskTaken(2, TASK, 17))
        self.clock.advance(LATE / 2)
        self.assertEqual(self.answers(caller), [])
        self.tasks.starts[1].callback(TaskTaken(3, TASK, 17))
        self.clock.advance(LATE / 2)
        both: list[Answer] = [TaskTaken(2, TASK, 17), TaskTaken(3, TASK, 17)]
        self.assertEqual(self.answers(caller), both)
        self.assertEqual(self.ask(caller, START), [])
        self.tasks.starts[2].callback(TaskTaken(2, TASK, 17))
        self.assertEqual(self.ask(caller, Ping(5)), [TaskTaken(2, TASK, 17), Pong(5)])

    def test_refused(self) -> None:
        """
        That it was not taken, the client hears at once.
        """
        caller = self.greet()
        self.ask(caller, START)
        refused = TaskRefused(2, TASK, Reason.CALLBACK_REFUSED, "nobody")
        self.tasks.starts[0].callback(refused)
        self.assertEqual(self.answers(caller), [refused])

    def test_unsaid(self) -> None:
        """
        An answer that waits is said before the remote hangs up, and to nobody who
        has.
        """
        caller = self.greet()
        self.ask(caller, START)
        self.tasks.starts[0].callback(TaskTaken(2, TASK, 17))
        self.factory.disconnect()
        self.assertEqual(self.answers(caller), [TaskTaken(2, TASK, 17)])
        caller = self.greet()
        self.ask(caller, START)
        self.tasks.starts[1].callback(TaskTaken(2, TASK, 17))
        caller.transport.abortConnection()
        self.network.flush()
        self.clock.advance(LATE)
        self.assertEqual(self.answers(caller), [])

    def test_lastWord(self) -> None:
        """
        What waits is said before the last word to a client that is not understood.
        """
        caller = self.greet()
        self.ask(caller, START)
        self.tasks.starts[0].callback(TaskTaken(2, TASK, 17))
        [taken, failed] = self.ask(caller, HELLO)
        self.assertEqual(taken, TaskTaken(2, TASK, 17))
        self.assertIsInstance(failed, RequestFailed)

    def test_anyOrder(self) -> None:
        """
        Requests may be said at once; answers come in any order.
        """
        caller = self.greet()
        kill = KillTask(4, TASK, 9, 0.5)
        self.assertEqual(self.ask(caller, START, replace(START, id=3), kill, Ping(5)), [Pong(5)])
        self.tasks.kills[0].callback(TaskKilled(4, TASK, 3))
        refused = TaskRefused(3, TASK, Reason.CALLBACK_REFUSED, "nobody", 111)
        self.tasks.starts[1].callback(refused)
        self.tasks.starts[0].callback(TaskTaken(2, TASK, 1))
        self.clock.advance(LATE)
        self.assertEqual(
            self.answers(caller),
            [Pong(5), TaskKilled(4, TASK, 3), refused, TaskTaken(2, TASK, 1)],
        )

    def test_attach(self) -> None:
        """
        A client that comes back for its task is answered when the confirmation
        connection stands, or when it will not.
        """
        caller = self.greet()
        attach = AttachTask(9, TASK, 59998, TOKEN, 7, 8, bytes(16))
        self.assertEqual(self.ask(caller, attach, replace(attach, id=10)), [])
        self.assertEqual(self.tasks.asked[-2], (attach, "10.0.0.1"))
        refused = AttachRefused(10, TASK, Reason.CALLBACK_FILTERED, "silence", 110, held=True)
        self.tasks.attaches[1].callback(refused)
        self.tasks.attaches[0].callback(TaskTaken(9, TASK, 17))
        self.assertEqual(self.answers(caller), [refused, TaskTaken(9, TASK, 17)])

    def test_classic(self) -> None:
        """
        A classic client is told that it is not understood, where the remote
        does not speak the classic dialect.
        """
        caller = self.call()
        caller.transport.write(
            b'<remote_scheduler.start_remote_task tcp_port="59999" kind="process"/>'
        )
        self.network.flush()
        self.assertRegex(bytes(caller.heard), rb'<ERROR time="[^"]+" code="SCHEDULER-105" ')
        self.assertIsNone(caller.lost)

    def test_beforeHello(self) -> None:
        """
        Nothing is started before the hello, and nobody is greeted twice.
        """
        for caller, request in ((self.call(), START), (self.greet(), replace(HELLO, id=7))):
            [answer] = self.ask(caller, request)
            assert isinstance(answer, RequestFailed)
            self.assertEqual(answer.code, "jsremote-protocol-error")
            self.assertEqual(answer.id, request.id)
            self.assertIsNotNone(caller.lost)
        self.assertEqual(self.tasks.asked, [])

    def test_malformed(self) -> None:
        """
        A request that cannot be understood is answered, and the connection
        closed; the answer does not repeat a token.
        """
        good = encodeRequest(START)
        for wrong in (
            good.replace(b'tcp_port="59999"', b'tcp_port="22"'),
            good.replace(TASK.encode(), b"../../etc"),
            good.replace(TOKEN.hex().encode(), TOKEN.hex().encode()[:-1]),
            b'<jsremote.hello id="x"/>',
            b"<jsremote.ping/>",
        ):
            caller = self.greet()
            del caller.heard[:]
            caller.transport.write(wrong)
            [answer] = self.answers(caller)
            assert isinstance(answer, RequestFailed)
            self.assertEqual(answer.code, "jsremote-protocol-error")
            self.assertNotIn(TOKEN.hex()[:-1].encode(), caller.heard)
            self.assertIsNotNone(caller.lost)
        self.assertEqual(self.tasks.asked, [])

    def test_broken(self) -> None:
        """
        A mistake of ours is answered and logged.
        """
        caller = self.greet()
        self.tasks.kill = lambda message: fail(ZeroDivisionError())  # type: ignore[method-assign]
        [answer] = self.ask(caller, KillTask(4, TASK))
        self.assertEqual(answer, RequestFailed(4, "jsremote-internal-error", "The request failed"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.ask(caller, Ping(5)), [Pong(5)])

    def test_brokenStart(self) -> None:
        """
        So is one with a start, however it would have been confirmed.
        """
        caller = self.greet()
        self.patch(self.tasks, "start", lambda message, host: fail(ZeroDivisionError()))
        for start in (START, replace(START, id=3)):
            failed = RequestFailed(start.id, "jsremote-internal-error", "The request failed")
            self.assertEqual(self.ask(caller, start), [failed])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_gone(self) -> None:
        """
        An answer for a client that is gone goes nowhere.
        """
        caller = self.greet()
        self.ask(caller, START)
        caller.transport.abortConnection()
        self.network.flush()
        self.tasks.starts[0].callback(TaskTaken(2, TASK, 17))
        self.assertEqual(self.factory.connections, {})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_pings(self) -> None:
        """
        A client that pings lives; one that does not is dead after 15 seconds.
        """
        caller = self.greet()
        for _ in range(6):
            self.network.advance(INTERVAL)
            self.assertEqual(self.ask(caller, Ping(5)), [Pong(5)])
        self.network.advance(SILENCE + INTERVAL)
        self.assertIsNotNone(caller.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_outstanding(self) -> None:
        """
        Who asks too much at once waits for answers first.
        """
        caller = self.greet()
        self.ask(caller, *(KillTask(number + 1, TASK) for number in range(MAX_OUTSTANDING + 3)))
        self.assertEqual(len(self.tasks.kills), MAX_OUTSTANDING)
        for number, kill in enumerate(self.tasks.kills[:2]):
            kill.callback(TaskKilled(number + 1, TASK))
        self.network.flush()
        self.assertEqual(len(self.tasks.kills), MAX_OUTSTANDING + 2)

    def test_synchronous(self) -> None:
        """
        Answers that are known at once are no trouble, however many.
        """
        caller = self.greet()
        self.tasks.kill = lambda message: succeed(TaskKilled(message.id, TASK))  # type: ignore[method-assign]
        kills = [KillTask(number + 1, TASK) for number in range(MAX_OUTSTANDING + 3)]
        self.assertEqual(len(self.ask(caller, *kills)), len(kills))

    def test_words(self) -> None:
        """
        C{s} is short for C{show_state}; an application may add commands.
        """
        self.factory = CommandServerFactory(
            self.tasks,
            AllowedHosts([("10.0.0.1", Level.INFO)]).levelOf,
            self.clock,
            commands={"hi": (Level.INFO, lambda command, peer: element("ho"))},
        )
        self.network.host(SERVER).listen(PORT + 1, self.factory)
        caller = self.network.host("10.0.0.1").stranger(SERVER, PORT + 1)
        self.network.flush()
        caller.transport.write(b"s\nhi\n")
        self.network.flush()
        self.assertIn(b'<state state="running"/>', caller.heard)
        self.assertIn(b"<ho/>", caller.heard)

    def test_provides(self) -> None:
        """
        The stand-in of these tests provides what a remote does.
        """
        self.assertTrue(verifyObject(ITasks, self.tasks))
