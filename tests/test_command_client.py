"""
Tests for L{jobscheduler_tcp.client.command} and
L{jobscheduler_tcp.client.connection}.
"""

from __future__ import annotations

from dataclasses import replace
from errno import ECONNREFUSED, ETIMEDOUT
from typing import cast

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from jobscheduler_tcp.client.command import CommandClientFactory, CommandClientProtocol
from jobscheduler_tcp.client.connection import CommandConnection
from jobscheduler_tcp.errors import (
    CommandRefused,
    ConnectionClosed,
    LocalProtocolError,
    NotAdmitted,
    RemoteUnreachable,
)
from jobscheduler_tcp.heartbeat import Heart
from jobscheduler_tcp.messages import (
    Answer,
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
from jobscheduler_tcp.testing import End, MemoryNetwork
from tests.scripted import CLIENT, INSTANCE, PORT, REMOTE, ScriptedRemote, Served

TASK = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f10"
OTHER = "5be0643f-1d98-4a72-90b4-6b1a3d8c0f10"
START = StartTask(0, TASK, 59999, bytes(16), Work(script="exit 7"))


class ProtocolTests(SynchronousTestCase):
    """
    One connection, on a network in memory.
    """

    def setUp(self) -> None:
        """
        Connect.
        """
        self.network = MemoryNetwork()
        self.clock = self.network.clock
        self.remote = ScriptedRemote(self.network)
        self.heart = Heart(self.clock)

    def connect(self, *, welcomes: bool = True) -> tuple[CommandClientProtocol, Served]:
        """
        Both ends of a connection.
        """
        self.remote.welcomes = welcomes
        factory = CommandClientFactory(
            self.heart, instance=INSTANCE, bootId="boot", wallClock=lambda: 3.5
        )
        connecting = self.remote.endpoint().connect(factory)
        self.network.flush()
        return cast(CommandClientProtocol, self.successResultOf(connecting)), self.remote.served[-1]

    def answers(self, protocol: CommandClientProtocol, request: Request) -> Deferred[Answer]:
        """
        Ask.
        """
        answer = protocol.request(request)
        self.network.flush()
        return answer

    def assertHungUp(self, protocol: CommandClientProtocol, served: Served) -> None:
        """
        The connection is reset, and nothing is left.
        """
        self.network.flush()
        self.assertIsNotNone(served.lost)
        self.successResultOf(protocol.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_hello(self) -> None:
        """
        The client speaks first, and tells who it is.
        """
        protocol, served = self.connect()
        (hello,) = served.requests
        modes = ("own", "shared", "passive")
        self.assertEqual(hello, Hello(1, 1, INSTANCE, modes, "none", "boot", 3.5))
        welcome = self.successResultOf(protocol.greeting)
        self.assertEqual(welcome, Welcome(1, 1, INSTANCE))

    def test_instance(self) -> None:
        """
        A factory that is not told who it is makes that up, once.
        """
        factory = CommandClientFactory(self.heart)
        self.assertEqual(len(factory.instance), 36)
        self.assertNotEqual(CommandClientFactory(self.heart).instance, factory.instance)

    def test_anyOrder(self) -> None:
        """
        Answers may come in any order.
        """
        protocol, served = self.connect()
        first = self.answers(protocol, START)
        second = self.answers(protocol, KillTask(0, OTHER))
        start, kill = served.requests[1:]
        self.assertEqual(start, replace(START, id=2))
        self.assertEqual(kill, KillTask(3, OTHER))
        served.say(TaskKilled(3, OTHER, 1))
        self.network.flush()
        self.assertNoResult(first)
        self.assertEqual(self.successResultOf(second), TaskKilled(3, OTHER, 1))
        served.say(TaskTaken(2, TASK, 17))
        self.network.flush()
        self.assertEqual(self.successResultOf(first), TaskTaken(2, TASK, 17))

    def test_refused(self) -> None:
        """
        A start may be answered by a refusal, which is an answer; an error of a
        request is a failure.
        """
        protocol, served = self.connect()
        start = self.answers(protocol, START)
        refusal = TaskRefused(2, TASK, Reason.CALLBACK_REFUSED, "nobody listens", 111)
        served.say(refusal)
        self.network.flush()
        self.assertEqual(self.successResultOf(start), refusal)
        kill = self.answers(protocol, KillTask(0, TASK))
        served.say(RequestFailed(3, "SCHEDULER-121", "no"))
        self.network.flush()
        error = self.failureResultOf(kill, CommandRefused).value
        self.assertEqual(error.code, "SCHEDULER-121")

    def test_cancelled(self) -> None:
        """
        The answer to a request that was cancelled is passed over.
        """
        protocol, served = self.connect()
        start = self.answers(protocol, START)
        start.cancel()
        self.failureResultOf(start, CancelledError)
        served.say(TaskTaken(2, TASK, 17))
        self.network.flush()
        self.assertIsNone(served.lost)

    def test_notYet(self) -> None:
        """
        Nothing can be asked before the remote has welcomed us, nor after the
        connection has gone; nor what cannot be said, or is too long.
        """
        protocol, served = self.connect(welcomes=False)
        self.failureResultOf(protocol.request(START), LocalProtocolError)
        served.say(Welcome(1, 1, INSTANCE))
        self.network.flush()
        both = replace(START, work=Work(script="true", job="nightly"))
        self.failureResultOf(protocol.request(both), LocalProtocolError)
        long = replace(START, work=Work(script="x" * 5000000))
        self.failureResultOf(protocol.request(long), LocalProtocolError)
        waiting = protocol.request(START)
        served.transport.loseConnection()
        self.network.flush()
        self.failureResultOf(waiting, ConnectionClosed)
        self.failureResultOf(protocol.request(START), ConnectionClosed)
        self.assertHungUp(protocol, served)

    def test_helloRefused(self) -> None:
        """
        The remote may refuse to talk to us: what it says is the failure.
        """
        protocol, served = self.connect(welcomes=False)
        served.say(RequestFailed(1, "SCHEDULER-105", "Unknown command: jsremote.hello"))
        self.network.flush()
        error = self.failureResultOf(protocol.greeting, CommandRefused).value
        self.assertEqual(error.code, "SCHEDULER-105")
        self.assertHungUp(protocol, served)

    def test_notAdmitted(self) -> None:
        """
        A remote that hangs up upon our hello does not let us in.
        """
        protocol, served = self.connect(welcomes=False)
        served.transport.loseConnection()
        self.network.flush()
        self.failureResultOf(protocol.greeting, NotAdmitted)
        self.assertHungUp(protocol, served)

    def test_brokenGreeting(self) -> None:
        """
        A connection that breaks within the welcome is a broken connection.
        """
        protocol, served = self.connect(welcomes=False)
        served.transport.write(b"<spooler>")
        served.transport.loseConnection()
        self.network.flush()
        error = self.failureResultOf(protocol.greeting, ConnectionClosed)
        self.assertIsNone(error.check(NotAdmitted))

    def test_nonsense(self) -> None:
        """
        A remote that cannot be understood is hung up on, whatever it says.
        """
        for said in (
            b"SSH-2.0-OpenSSH_9.2\r\n\0",
            b"<spooler><answer><ok/></answer></spooler>\0",
            b"<spooler/>\0",
            b"x" * 5000000,
        ):
            for welcomes in (False, True):
                protocol, served = self.connect(welcomes=welcomes)
                start = protocol.request(START) if welcomes else protocol.greeting
                served.transport.write(said)
                self.network.flush()
                self.failureResultOf(start, ConnectionClosed)
                self.assertHungUp(protocol, served)
                if welcomes:
                    self.successResultOf(protocol.greeting)

    def test_wrongAnswers(self) -> None:
        """
        So is one that answers what was not asked, or something else.
        """
        for answer in (
            TaskTaken(3, TASK, 1),
            TaskTaken(2, OTHER, 1),
            TaskKilled(2, TASK, 1),
            Pong(2),
            Welcome(2, 1, INSTANCE),
            RequestFailed(0, "jsremote-protocol-error", "what?"),
        ):
            protocol, served = self.connect()
            start = self.answers(protocol, START)
            served.say(answer)
            self.network.flush()
            error = self.failureResultOf(start, ConnectionClosed)
            self.assertIn("not understood", error.getErrorMessage())
            self.assertHungUp(protocol, served)

    def test_wrongWelcome(self) -> None:
        """
        A welcome in a version that we do not speak, or to somebody else, is
        none.
        """
        for answer in (Welcome(1, 2, INSTANCE), Welcome(1, 0, INSTANCE), Welcome(2, 1, INSTANCE)):
            protocol, served = self.connect(welcomes=False)
            served.say(answer)
            self.network.flush()
            self.failureResultOf(protocol.greeting, ConnectionClosed)
            self.assertHungUp(protocol, served)

    def test_nothingAfterHangingUp(self) -> None:
        """
        What comes with the nonsense, or after it, is not heard.
        """
        protocol, served = self.connect()
        start = self.answers(protocol, START)
        served.say(TaskTaken(99, TASK, 1))
        served.say(TaskTaken(2, TASK, 1))
        self.network.flush()
        self.failureResultOf(start, ConnectionClosed)
        protocol, served = self.connect(welcomes=False)
        served.say(RequestFailed(1, "SCHEDULER-121", "no"))
        served.say(Welcome(1, 1, INSTANCE))
        self.network.flush()
        self.failureResultOf(protocol.greeting, CommandRefused)

    def test_ping(self) -> None:
        """
        Every five seconds the client asks whether the remote is there; a remote
        that does not answer is dead after fifteen.
        """
        protocol, served = self.connect()
        self.network.advance(30)
        self.assertEqual(served.pings, 6)
        self.network.cut(CLIENT, REMOTE)
        start = protocol.request(START)
        self.network.advance(21)
        error = self.failureResultOf(start, ConnectionClosed)
        self.assertIn("15 seconds", error.getErrorMessage())
        self.successResultOf(protocol.closed)

    def test_silentGreeting(self) -> None:
        """
        A remote that never welcomes us is dead, too; it did not refuse us.
        """
        protocol, served = self.connect(welcomes=False)
        self.network.advance(21)
        error = self.failureResultOf(protocol.greeting, ConnectionClosed)
        self.assertIsNone(error.check(NotAdmitted))
        self.assertEqual(served.pings, 0)
        self.assertHungUp(protocol, served)

    def test_idsGoRound(self) -> None:
        """
        Numbers of requests begin again after the last one, and pass over those
        that are in use.
        """
        protocol, served = self.connect()
        self.answers(protocol, START)  # has 2
        self.patch(protocol, "_id", 2**31 - 2)
        for _ in range(3):
            self.answers(protocol, Ping(0))
        kill = self.answers(protocol, KillTask(0, TASK))
        self.assertEqual(served.requests[-1].id, 4)
        served.say(TaskKilled(4, TASK))
        self.network.flush()
        self.successResultOf(kill)


@implementer(IStreamClientEndpoint)
class Endpoint:
    """
    Connects as the test says.

    @ivar results: taken from the front; a failure, or an endpoint.
    """

    def __init__(self, *results: Exception | TCP4ClientEndpoint) -> None:
        self.results = list(results)
        self.attempts = 0

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect.
        """
        self.attempts += 1
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, Exception):
            return fail(result)
        connecting: Deferred[IProtocol] = result.connect(factory)
        return connecting


class ConnectionTests(SynchronousTestCase):
    """
    A standing connection, on a network in memory.
    """

    def setUp(self) -> None:
        """
        Everything is there, and nothing asked.
        """
        self.network = MemoryNetwork()
        self.clock = self.network.clock
        self.remote = ScriptedRemote(self.network)
        self.connection = self.make()

    def make(
        self, endpoint: IStreamClientEndpoint | None = None, timeout: float = 10.0
    ) -> CommandConnection:
        """
        Make one.
        """
        return CommandConnection(
            endpoint or self.remote.endpoint(),
            CommandClientFactory(Heart(self.clock)),
            self.clock,
            "blue:4455",
            timeout,
        )

    def ask(self, request: Request = START) -> Deferred[Answer]:
        """
        Ask, and let the network work.
        """
        answer = self.connection.request(request)
        self.network.flush()
        return answer

    def takeLast(self) -> None:
        """
        Answer the last start.
        """
        start = self.remote.asked(StartTask)[-1]
        self.remote.served[-1].say(TaskTaken(start.id, start.task, 1))
        self.network.flush()

    def stop(self) -> None:
        """
        Stop, and see that nothing is left.
        """
        stopping = self.connection.stop()
        self.network.flush()
        self.successResultOf(stopping)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lazy(self) -> None:
        """
        It connects when something is asked, and stays.
        """
        self.network.advance(1)
        self.assertEqual(self.remote.served, [])
        answer = self.ask()
        self.assertIsNotNone(self.connection.welcome)
        self.takeLast()
        self.assertIsInstance(self.successResultOf(answer), TaskTaken)
        self.network.advance(100)
        again = self.ask(replace(START, task=OTHER))
        self.takeLast()
        self.successResultOf(again)
        self.assertEqual(len(self.remote.served), 1)
        self.stop()
        self.assertIsNone(self.connection.welcome)

    def test_againAfterLoss(self) -> None:
        """
        What is unanswered when the connection breaks is asked again; what is
        answered is not.
        """
        first, second = self.ask(), self.ask(replace(START, task=OTHER))
        start = self.remote.asked(StartTask)[0]
        self.remote.served[0].say(TaskTaken(start.id, TASK, 1))
        self.network.flush()
        self.successResultOf(first)
        self.remote.served[0].transport.abortConnection()
        self.network.advance(1)
        self.assertEqual(len(self.remote.served), 2)
        self.assertEqual(
            [request.task for request in self.remote.asked(StartTask)[2:]],
            [OTHER],
        )
        self.takeLast()
        self.assertEqual(self.successResultOf(second).id, 2)
        self.stop()

    def test_restWhenIdle(self) -> None:
        """
        When the connection breaks and nothing is asked, it is not made again
        until something is.
        """
        self.ask()
        self.takeLast()
        self.remote.served[0].transport.loseConnection()
        self.network.advance(100)
        self.assertEqual(len(self.remote.served), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        answer = self.ask()
        self.takeLast()
        self.successResultOf(answer)
        self.stop()

    def test_withdrawn(self) -> None:
        """
        What was withdrawn or cancelled is not asked again.
        """
        first, second = self.ask(), self.ask(replace(START, task=OTHER))
        self.connection.withdraw(first)
        self.connection.withdraw(first)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        for start in self.remote.asked(StartTask):
            self.remote.served[0].say(TaskTaken(start.id, start.task, 1))
        self.remote.served[0].transport.abortConnection()
        self.network.advance(100)
        self.assertNoResult(first)
        self.assertEqual(len(self.remote.served), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refusedConnection(self) -> None:
        """
        When nobody listens there, it is tried again for ten seconds, and the log
        tells what; then the failure says why.
        """
        remote = ScriptedRemote(MemoryNetwork(), listens=False)
        self.network = remote.network
        self.clock = self.network.clock
        self.remote = remote
        self.connection = self.make()
        with capturedLogs() as events:
            answer = self.ask()
        told = [text for event in events if "retry" in (text := formatEvent(event))]
        self.assertEqual(len(told), 1)
        self.assertIn("to connect to the remote blue:4455 in", told[0])
        self.network.advance(9.9)
        self.assertNoResult(answer)
        self.network.advance(0.2)
        error = self.failureResultOf(answer, RemoteUnreachable).value
        self.assertEqual(error.errno, ECONNREFUSED)
        self.assertEqual(error.address, "blue:4455")
        self.assertIn("Connection refused", str(error))
        self.network.advance(20)
        self.assertEqual(self.clock.getDelayedCalls(), [])

        # Who asks while it comes back is served.
        answer = self.ask()
        self.network.advance(5)
        remote.listen()
        self.network.advance(5)
        self.takeLast()
        self.successResultOf(answer)
        self.stop()

    def test_filtered(self) -> None:
        """
        When nothing comes back, the time is up after ten seconds, too, for each
        request counted from when it was asked.
        """
        self.remote.host.filter(PORT)
        first = self.ask()
        self.network.advance(6)
        second = self.ask()
        self.network.advance(4)
        error = self.failureResultOf(first, RemoteUnreachable).value
        self.assertEqual(error.errno, ETIMEDOUT)
        self.assertNoResult(second)
        self.network.advance(6)
        self.failureResultOf(second, RemoteUnreachable)
        self.network.advance(30)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_firstFailureDecides(self) -> None:
        """
        With a timeout of 0 the first failure decides, also one that is known at
        once; the text is that of the error.
        """
        self.connection = self.make(Endpoint(DNSLookupError("no such host: blue")), 0)
        answer = self.ask()
        error = self.failureResultOf(answer, RemoteUnreachable).value
        self.assertEqual(error.errno, 0)
        self.assertIn("no such host: blue", str(error))
        self.network.advance(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_backoff(self) -> None:
        """
        Attempts become rarer.
        """
        endpoint = Endpoint(DNSLookupError("no"))
        self.connection = self.make(endpoint, 1000)
        self.ask().addErrback(lambda _: None)
        self.network.advance(10)
        early = endpoint.attempts
        self.network.advance(490)
        late = endpoint.attempts
        self.network.advance(490)
        self.assertGreater(early, 6)
        self.assertLess(endpoint.attempts - late, 490 / 1 + 1)
        self.assertGreater(endpoint.attempts - late, 490 / 3 - 1)
        self.stop()

    def test_helloRefused(self) -> None:
        """
        When the remote refuses to talk to us, all requests fail with what it
        says; who asks later asks anew, and at once.
        """
        self.remote.welcomes = False
        first = self.ask()
        second = self.ask()
        self.remote.served[0].say(RequestFailed(1, "SCHEDULER-121", "no"))
        self.network.flush()
        self.failureResultOf(first, CommandRefused)
        self.failureResultOf(second, CommandRefused)
        self.network.advance(100)
        self.assertEqual(len(self.remote.served), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.remote.welcomes = True
        third = self.ask()
        self.takeLast()
        self.successResultOf(third)
        self.stop()

    def turnAway(self) -> None:
        """
        Hang up upon the last hello, without a word.
        """
        self.remote.served[-1].transport.abortConnection()
        self.network.flush()

    def test_notAdmitted(self) -> None:
        """
        So they do if it hangs up without a word, twice: the first time it may
        have been the network.
        """
        self.remote.welcomes = False
        answer = self.ask()
        self.turnAway()
        self.assertNoResult(answer)
        self.network.advance(1)
        again: list[Deferred[Answer]] = []

        def askAgain(reason: Failure) -> Failure:
            again.append(self.connection.request(START))
            return reason

        answer.addErrback(askAgain)
        self.turnAway()
        self.failureResultOf(answer, NotAdmitted)
        # Somebody asked in that moment, and need not wait.
        self.network.flush()
        self.assertEqual(len(self.remote.served), 3)
        self.remote.served[2].say(Welcome(1, 1, INSTANCE))
        self.network.flush()
        self.takeLast()
        self.successResultOf(again[0])
        self.stop()

    def test_notAdmittedAtFirst(self) -> None:
        """
        If the first failure decides, the first time is enough.
        """
        self.connection = self.make(timeout=0)
        self.remote.welcomes = False
        answer = self.ask()
        self.turnAway()
        self.failureResultOf(answer, NotAdmitted)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_breaksInGreeting(self) -> None:
        """
        A connection that breaks within the welcome is made again.
        """
        self.network.onConnection = lambda connection: connection.cutAfter(End.SERVER, 10, "reset")
        answer = self.ask()
        self.assertNoResult(answer)
        self.network.onConnection = lambda connection: None
        self.network.advance(2)
        self.takeLast()
        self.successResultOf(answer)
        self.stop()

    def test_requestThatCannotBeSaid(self) -> None:
        """
        Such a request fails by itself, and does not disturb the others.
        """
        first = self.ask()
        second = self.ask(replace(START, work=Work()))
        self.failureResultOf(second, LocalProtocolError)
        self.takeLast()
        self.successResultOf(first)
        self.stop()

    def test_pinned(self) -> None:
        """
        What a remote may have obeyed is said to it again, but to none that was
        started anew in its place; everything else is.
        """
        pinned = self.ask()
        other = self.ask(replace(START, task=OTHER))
        self.connection.pin(pinned)
        self.remote.served[-1].transport.abortConnection()
        self.network.advance(2)
        self.assertNoResult(pinned)
        self.remote.instance = OTHER
        self.remote.served[-1].transport.abortConnection()
        self.network.advance(2)
        error = self.failureResultOf(pinned, ConnectionClosed)
        self.assertIn("started anew", error.getErrorMessage())
        self.assertNoResult(other)
        self.connection.pin(pinned)  # late
        self.stop()
        self.failureResultOf(other, ConnectionClosed)

    def test_poison(self) -> None:
        """
        A request at which the remote hangs up each time fails after some times,
        and does not hinder others for longer.
        """
        poison = self.ask()
        for _ in range(5):
            self.remote.served[-1].say(RequestFailed(0, "jsremote-protocol-error", "too much"))
            self.network.advance(2)
        error = self.failureResultOf(poison, ConnectionClosed)
        self.assertIn("too much", error.getErrorMessage())
        other = self.ask(replace(START, task=OTHER))
        self.takeLast()
        self.successResultOf(other)
        self.stop()

    def test_stop(self) -> None:
        """
        When it is stopped, everything fails that is not answered; also when it
        is only connecting, or was never used.
        """
        answer = self.ask()
        self.stop()
        self.failureResultOf(answer, ConnectionClosed)

        self.connection = self.make()
        self.stop()

        self.remote.host.filter(PORT)
        self.connection = self.make()
        answer = self.ask()
        self.stop()
        self.failureResultOf(answer, ConnectionClosed)

        # After a failure, while it is about to rest.
        self.connection = self.make(Endpoint(DNSLookupError("no")), 0)
        answer = self.connection.request(START)
        self.stop()
        self.failureResultOf(answer, RemoteUnreachable)
