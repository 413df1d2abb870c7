"""
L{jobscheduler_tcp.remote.service}, L{jobscheduler_tcp.remote.starts} and
L{jobscheduler_tcp.remote.environment}: a whole remote, in memory.
"""

from __future__ import annotations

from dataclasses import replace
from signal import SIGKILL, SIGTERM
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from jobscheduler_tcp.interfaces import ITasks
from jobscheduler_tcp.messages import (
    EndAcknowledged,
    Hello,
    KillTask,
    StartTask,
    TaskKilled,
    TaskRefused,
    TaskTaken,
    Work,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.remote.command import LATE
from jobscheduler_tcp.remote.environment import environmentOf, inherited, namedWork
from jobscheduler_tcp.remote.service import DESCRIPTOR_RESERVE, FAREWELL, RemoteService
from jobscheduler_tcp.remote.starts import MEMORY, SHORTEST_MEMORY, Starts
from jobscheduler_tcp.security import AllowedHosts, Level
from jobscheduler_tcp.testing import FakeLauncher, MemoryNetwork, Stranger
from jobscheduler_tcp.wire.answers import decodeAnswer
from jobscheduler_tcp.wire.documents import Element, parse
from jobscheduler_tcp.wire.requests import encodeRequest
from jobscheduler_tcp.wire.splitters import AnswerSplitter
from tests.listener import TASK, TOKEN, ListenerPort
from tests.strategies import works

CLIENT = "10.0.0.1"
REMOTE = "10.0.0.2"
MAIN = 4455
PORT = 59999
NOW = 1795361629.5
WORK = Work(script="true", grace=3)
START = StartTask(1, TASK, PORT, TOKEN, WORK)


def taskId(number: int) -> str:
    """
    One UUID of many.
    """
    return str(UUID(int=number))


class RemoteTestCase(SynchronousTestCase):
    """
    Tests of a remote.
    """

    def begin(self, **how: Any) -> RemoteService:
        """
        A remote that listens.
        """
        self.network = MemoryNetwork()
        self.clock = self.network.clock
        self.client = self.network.host(CLIENT)
        self.host = self.network.host(REMOTE)
        self.launcher = FakeLauncher(self.clock)
        self.service = RemoteService(
            self.host,
            self.launcher,
            [TCP4ServerEndpoint(self.host, MAIN)],
            AllowedHosts([(CLIENT, Level.ALL)]),
            **{"environment": {}, "wallClock": lambda: NOW, "descriptors": 10000, **how},
        )
        self.service.startService()
        return self.service

    def listen(self, port: int = PORT, **how: Any) -> ListenerPort:
        """
        A client that listens.
        """
        return ListenerPort(self.client, port, **how)

    def start(self, message: StartTask = START) -> Deferred[TaskTaken | TaskRefused]:
        """
        Start a task, and wait until nothing is on its way.
        """
        answered = self.service.start(message, CLIENT)
        self.network.flush()
        return answered

    def refusal(self, message: StartTask = START) -> TaskRefused:
        """
        The refusal of a start.
        """
        answer = self.successResultOf(self.start(message))
        assert isinstance(answer, TaskRefused)
        self.assertEqual((answer.id, answer.task), (message.id, message.task))
        return answer

    def runTask(self) -> None:
        """
        Let the last task that was launched run to its end.
        """
        process = self.launcher.launched[-1]
        process.start()
        process.end()
        self.network.flush()

    def stop(self) -> None:
        """
        Stop the service: nothing is left.
        """
        stopped = self.service.stopService()
        self.network.advance(0.1)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(self.launcher.stopped)
        self.assertEqual(self.flushLoggedErrors(), [])


class StartTests(RemoteTestCase):
    def test_overTheWire(self) -> None:
        """
        A client that says hello and start over the command connection has its
        task run.
        """
        self.begin()
        port = self.listen()
        caller = self.client.stranger(REMOTE, MAIN)
        self.network.flush()
        caller.transport.write(encodeRequest(Hello(1, 1, taskId(1))))
        self.network.flush()
        caller.transport.write(encodeRequest(replace(START, id=2)))
        self.network.advance(LATE)
        _, taken = self.answers(caller)
        self.assertEqual(taken, TaskTaken(2, TASK, 1))
        self.runTask()
        assert port.caller.ended is not None
        self.assertEqual(port.caller.ended.reason, Reason.EXITED)
        self.stop()
        self.assertIsNotNone(caller.lost)

    def answers(self, caller: Stranger) -> list[object]:
        """
        What a caller heard.
        """
        return [decodeAnswer(each) for each in AnswerSplitter().feed(bytes(caller.heard))]

    def test_same(self) -> None:
        """
        The same start while the client is called, while the task runs and after
        its end is one task and one answer.
        """
        self.begin()
        self.listen()
        first = self.service.start(START, CLIENT)
        second = self.service.start(replace(START, id=2), "10.0.0.77")
        self.assertNoResult(second)
        self.network.flush()
        self.assertEqual(self.successResultOf(first), TaskTaken(1, TASK, 1))
        self.assertEqual(self.successResultOf(second), TaskTaken(2, TASK, 1))
        third = self.start(replace(START, id=3))
        self.assertEqual(self.successResultOf(third), TaskTaken(3, TASK, 1))
        self.runTask()
        fourth = self.start(replace(START, id=4))
        self.assertEqual(self.successResultOf(fourth), TaskTaken(4, TASK, 1))
        self.assertEqual(len(self.launcher.launched), 1)
        self.stop()

    def test_sameRefusal(self) -> None:
        """
        A start that was refused because nobody listened stays refused.
        """
        self.begin()
        self.assertEqual(self.refusal().reason, Reason.CALLBACK_REFUSED)
        port = self.listen()
        self.assertEqual(self.refusal(replace(START, id=9)).reason, Reason.CALLBACK_REFUSED)
        self.assertEqual(port.callers, [])
        self.stop()

    def test_otherContent(self) -> None:
        """
        The same UUID with anything else in it is refused.
        """
        self.begin()
        self.listen()
        self.successResultOf(self.start())
        for other in (
            replace(START, port=PORT - 1),
            replace(START, token=bytes(16)),
            replace(START, work=replace(WORK, script="false")),
            replace(START, work=replace(WORK, parameters=(("a", "b"),))),
            replace(START, work=replace(WORK, grace=4)),
            replace(START, sha256=True),
        ):
            self.assertEqual(self.refusal(other).reason, Reason.PROTOCOL_ERROR)
        self.assertEqual(len(self.launcher.launched), 1)
        self.stop()

    def test_memory(self) -> None:
        """
        A start is remembered for a day after the end of its task.
        """
        self.begin()
        self.listen()
        self.successResultOf(self.start())
        self.runTask()
        self.clock.advance(MEMORY - 1)
        self.successResultOf(self.start())
        self.assertEqual(len(self.launcher.launched), 1)
        self.clock.advance(1)
        self.assertEqual(self.refusal(replace(START, task=taskId(5), port=5000)).errno, 111)
        self.successResultOf(self.start())
        self.assertEqual(len(self.launcher.launched), 2)
        self.stop()

    def test_capacity(self) -> None:
        """
        There is room for so many tasks at once; a start beyond them is refused,
        and may be said again.
        """
        self.begin(maxTasks=2)
        for number in (1, 2):
            self.listen(PORT - number, task=taskId(number))
            self.successResultOf(self.start(self.numbered(number)))
        self.listen(PORT - 3, task=taskId(3))
        self.assertEqual(self.refusal(self.numbered(3)).reason, Reason.REJECTED_CAPACITY)
        self.runTask()
        self.assertIsInstance(self.successResultOf(self.start(self.numbered(3))), TaskTaken)
        self.stop()

    def numbered(self, number: int) -> StartTask:
        """
        One start of many.
        """
        return replace(START, task=taskId(number), port=PORT - number)

    def test_descriptors(self) -> None:
        """
        A start for which there would be no descriptors is refused.
        """
        for limit, room in ((DESCRIPTOR_RESERVE + 9, 2), (10, 1)):
            self.begin(descriptors=limit, maxTasks=7)
            for number in range(1, room + 1):
                self.listen(PORT - number, task=taskId(number))
                self.successResultOf(self.start(self.numbered(number)))
            refused = self.refusal(self.numbered(room + 1))
            self.assertEqual(refused.reason, Reason.REJECTED_CAPACITY)
            self.stop()

    def test_noLimits(self) -> None:
        """
        Where the system has no bound there is none.
        """
        self.begin(descriptors=-1)
        self.listen()
        self.assertIsInstance(self.successResultOf(self.start()), TaskTaken)
        self.stop()
        self.begin(descriptors=None)
        self.listen()
        self.assertIsInstance(self.successResultOf(self.start()), TaskTaken)
        self.stop()

    def test_ownPort(self) -> None:
        """
        A remote does not dial itself.
        """
        self.begin()
        self.assertEqual(self.refusal(replace(START, port=MAIN)).reason, Reason.PROTOCOL_ERROR)
        self.assertEqual(self.network.connections, [])
        self.stop()

    def test_namedJob(self) -> None:
        """
        A job of the remote's configuration runs as it stands there, with the
        parameters of the client; an unknown one is refused.
        """
        job = Work(script="backup", directory="/srv", parameters=(("day", "1"), ("a", "b")))
        self.begin(jobs={"nightly": job})
        self.listen()
        asked = Work(job="/nightly", parameters=(("day", "2"),), stdin=True)
        self.successResultOf(self.start(replace(START, work=asked)))
        launch = self.launcher.launched[0].launch
        self.assertEqual((launch.work.script, launch.work.directory), ("backup", "/srv"))
        self.assertTrue(launch.work.stdin)
        found = {n: v for n, v in launch.environment.items() if "PARAM" in n}
        self.assertEqual(found, {"SCHEDULER_PARAM_DAY": "2", "SCHEDULER_PARAM_A": "b"})
        unknown = replace(START, task=taskId(2), work=Work(job="daily"))
        self.assertEqual(self.refusal(unknown).reason, Reason.START_FAILED)
        self.stop()

    def test_kill(self) -> None:
        """
        A task can be killed by its UUID; one that is not known, or over, has
        nothing that could die.
        """
        self.begin()
        self.listen()
        self.assertEqual(self.killed(2), TaskKilled(2, TASK, 0))
        self.successResultOf(self.start())
        self.launcher.launched[0].start()
        self.assertEqual(self.killed(3), TaskKilled(3, TASK, 1))
        self.network.flush()
        self.assertEqual(self.killed(4), TaskKilled(4, TASK, 0))
        self.stop()

    def killed(self, number: int) -> TaskKilled:
        """
        What a kill did.
        """
        killed = self.service.kill(KillTask(number, TASK, SIGKILL, 0))
        self.network.advance(0)
        return self.successResultOf(killed)


class StateTests(RemoteTestCase):
    def test_state(self) -> None:
        """
        People are told how the remote and its tasks are.
        """
        self.begin(schedulerId="night", maxTasks=5)
        self.listen()
        self.successResultOf(self.start())
        state = self.state()
        self.assertEqual(state.attributes["spooler_id"], "night")
        self.assertEqual(state.attributes["state"], "running")
        self.assertEqual(state.attributes["tcp_port"], str(MAIN))
        [tasks] = state.children
        [task] = tasks.children
        self.assertEqual(tasks.attributes, {"count": "1"})
        self.assertEqual(
            task.attributes,
            {"task": "1", "uuid": TASK, "state": "starting", "client": f"{CLIENT}:{PORT}"},
        )
        self.launcher.launched[0].start(4711)
        [task] = self.state().children[0].children
        self.assertEqual((task.attributes["state"], task.attributes["pid"]), ("running", "4711"))
        self.assertIn("running_since", task.attributes)
        drained = self.service.drain()
        self.assertEqual(self.state().attributes["state"], "paused")
        self.assertNoResult(drained)
        self.stop()
        self.assertEqual(self.service.showState().attributes["state"], "stopping")
        self.successResultOf(drained)

    def state(self) -> Element:
        """
        The state, over the wire.
        """
        caller = self.client.stranger(REMOTE, MAIN)
        self.network.flush()
        caller.transport.write(b"<show_state/>")
        self.network.flush()
        [answer] = AnswerSplitter().feed(bytes(caller.heard))
        caller.transport.loseConnection()
        self.network.flush()
        return parse(answer).children[0].children[0]

    def test_welcome(self) -> None:
        """
        A client is told who greets it.
        """
        service = self.begin(maxTasks=5, bootId="boot")
        welcome = service.welcome(Hello(3, 7, taskId(1)))
        self.assertEqual((welcome.id, welcome.version, welcome.maxTasks), (3, 1, 5))
        self.assertEqual((welcome.bootId, welcome.clock), ("boot", NOW))
        self.assertEqual(welcome.instance, service.instance)
        self.assertTrue(verifyObject(ITasks, service))
        self.stop()


class StopTests(RemoteTestCase):
    def test_stop(self) -> None:
        """
        When the remote stops, its tasks are killed, their clients told, and
        nothing is left.
        """
        self.begin()
        port = self.listen()
        self.successResultOf(self.start())
        self.launcher.launched[0].start()
        self.network.flush()
        self.stop()
        self.assertEqual(self.launcher.launched[0].kills, [(SIGTERM, 3)])
        assert port.caller.ended is not None
        self.assertEqual(port.caller.ended.reason, Reason.KILLED)
        self.assertIsNotNone(port.caller.lost)
        self.assertEqual(self.client.timeWait, [])

    def test_refuses(self) -> None:
        """
        While it stops no start is taken; one that is not taken yet is refused.
        """
        self.begin()
        self.listen(proves=False)
        calling = self.start()
        self.listen(PORT - 1, task=taskId(2), acknowledges=False)
        self.successResultOf(self.start(replace(START, task=taskId(2), port=PORT - 1)))
        self.launcher.launched[0].start()
        stopped = self.service.stopService()
        refused = self.successResultOf(calling)
        assert isinstance(refused, TaskRefused)
        self.assertEqual(refused.reason, Reason.REJECTED_DRAINING)
        self.network.flush()
        late = replace(START, task=taskId(3))
        self.assertEqual(self.refusal(late).reason, Reason.REJECTED_DRAINING)
        self.assertNoResult(stopped)
        self.network.advance(60)
        self.successResultOf(stopped)

    def test_doesNotListen(self) -> None:
        """
        From the beginning of the stop nobody can connect.
        """
        self.begin()
        self.service.stopService()
        self.network.advance(0.1)
        caller = self.client.stranger(REMOTE, MAIN)
        self.network.flush()
        self.assertIsNotNone(caller.lost)

    def test_noAcknowledgement(self) -> None:
        """
        A client that does not acknowledge the end is waited for, but not longer
        than a bound.
        """
        self.begin()
        port = self.listen(acknowledges=False)
        self.successResultOf(self.start())
        self.launcher.launched[0].start()
        stopped = self.service.stopService()
        self.network.advance(3 + FAREWELL - 0.1)
        self.assertIsNotNone(port.caller.ended)
        self.assertNoResult(stopped)
        self.network.advance(0.2)
        self.successResultOf(stopped)
        assert port.caller.lost is not None
        port.caller.lost.trap(ConnectionLost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unkillable(self) -> None:
        """
        Nor is a process that cannot be killed.
        """
        self.begin()
        self.listen()
        self.successResultOf(self.start())
        process = self.launcher.launched[0]
        process.ignores = {SIGTERM, SIGKILL}
        process.start()
        stopped = self.service.stopService()
        self.network.advance(3 + FAREWELL + 1)
        self.successResultOf(stopped)
        process.end(0)  # nobody hears it, but its files go

    def test_launcherBroken(self) -> None:
        """
        A launcher that cannot be stopped is logged; the connections are closed.
        """
        self.begin()
        caller = self.client.stranger(REMOTE, MAIN)
        self.network.flush()
        self.launcher.stop = lambda: fail(ZeroDivisionError())  # type: ignore[method-assign]
        stopped = self.service.stopService()
        self.network.advance(0.1)
        self.successResultOf(stopped)
        self.assertIsNotNone(caller.lost)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_acknowledgedLate(self) -> None:
        """
        A client that acknowledges within the bound lets the remote stop at once.
        """
        self.begin()
        port = self.listen(acknowledges=False)
        self.successResultOf(self.start())
        self.launcher.launched[0].start()
        stopped = self.service.stopService()
        self.network.advance(1)
        port.caller.say(EndAcknowledged())
        self.network.advance(0.1)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_drain(self) -> None:
        """
        A remote that is drained lets its tasks go on.
        """
        service = self.begin()
        self.successResultOf(service.drain())
        self.stop()
        service = self.begin()
        self.listen()
        self.successResultOf(self.start())
        drained = service.drain()
        self.assertNoResult(drained)
        self.assertEqual(
            self.refusal(replace(START, task=taskId(2))).reason, Reason.REJECTED_DRAINING
        )
        self.runTask()
        self.successResultOf(drained)
        self.stop()

    def test_again(self) -> None:
        """
        A remote can be started again.
        """
        service = self.begin()
        self.stop()
        service.startService()
        self.listen()
        self.assertIsInstance(self.successResultOf(self.start()), TaskTaken)
        self.stop()

    def test_cannotListen(self) -> None:
        """
        A port that cannot be had is logged; the rest of the remote works.
        """

        class Taken:
            def listen(self, factory: object) -> Deferred[object]:
                return fail(OSError(98, "taken"))

        service = self.begin()
        self.stop()
        service._endpoints = [Taken()]  # type: ignore[list-item]  # an endpoint
        service.startService()
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.stop()

    def test_stillListening(self) -> None:
        """
        A remote that is stopped before it listens does not listen.
        """
        cancelled: list[object] = []

        class Slow:
            def listen(self, factory: object) -> Deferred[object]:
                return Deferred(cancelled.append)

        service = self.begin()
        self.stop()
        service._endpoints = [Slow()]  # type: ignore[list-item]  # an endpoint
        service.startService()
        self.stop()
        self.assertEqual(len(cancelled), 1)


class StartsTests(SynchronousTestCase):
    def test_day(self) -> None:
        """
        A start is remembered for a day after its end.
        """
        network = MemoryNetwork()
        starts = Starts(network.clock, most=3)
        for number in (1, 2):
            self.assertFalse(starts.full())
            starts.begin(replace(START, task=taskId(number)))
        starts.answer(TaskTaken(0, taskId(1), 1))
        starts.over(taskId(1))
        network.clock.advance(MEMORY - 1)
        self.assertFalse(starts.full())
        self.assertIsNotNone(starts.again(replace(START, task=taskId(1))))
        network.clock.advance(1)
        self.assertFalse(starts.full())
        self.assertIsNone(starts.again(replace(START, task=taskId(1))))
        self.assertIsNotNone(starts.again(replace(START, task=taskId(2))))

    def test_full(self) -> None:
        """
        When there are so many, those that have ended are forgotten after a
        minute; the others never are, rather no more are taken.
        """
        network = MemoryNetwork()
        starts = Starts(network.clock, most=2)
        for number in (1, 2):
            starts.begin(replace(START, task=taskId(number)))
        starts.answer(TaskTaken(0, taskId(1), 1))
        starts.over(taskId(1))
        network.clock.advance(SHORTEST_MEMORY - 1)
        self.assertTrue(starts.full())
        self.assertIsNotNone(starts.again(replace(START, task=taskId(1))))
        network.clock.advance(1)
        self.assertFalse(starts.full())
        starts.begin(replace(START, task=taskId(3)))
        network.clock.advance(MEMORY)
        self.assertTrue(starts.full())
        self.assertIsNotNone(starts.again(replace(START, task=taskId(2))))

    @settings(deadline=None, max_examples=100)
    @given(works, works)
    def test_meaning(self, one: Work, other: Work) -> None:
        """
        Two starts are the same exactly when all that they say is the same.
        """
        starts = Starts(MemoryNetwork().clock)
        starts.begin(replace(START, work=one))
        starts.answer(TaskTaken(0, TASK, 1))
        again = starts.again(replace(START, work=other, id=4))
        assert again is not None
        answer = self.successResultOf(again)
        self.assertEqual(isinstance(answer, TaskTaken), one == other)


class EnvironmentTests(SynchronousTestCase):
    def test_inherited(self) -> None:
        """
        Tasks get no more of the remote's environment than they need.
        """
        own = {
            "PATH": "/bin",
            "LC_ALL": "C",
            "TZ": "UTC",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "LD_PRELOAD": "evil.so",
            "PYTHONPATH": "/x",
        }
        self.assertEqual(inherited(own), {"PATH": "/bin", "LC_ALL": "C", "TZ": "UTC"})

    def test_order(self) -> None:
        """
        The client's variables come before the remote's, and parameters before
        both; their names are in upper case.
        """
        work = Work(
            script="true",
            environment=(("PATH", "/opt"), ("SCHEDULER_PARAM_DAY", "1")),
            parameters=(("day", "2"), ("Day", "3")),
        )
        self.assertEqual(
            environmentOf(work, {"PATH": "/bin", "HOME": "/root"}),
            {"PATH": "/opt", "HOME": "/root", "SCHEDULER_PARAM_DAY": "3"},
        )

    def test_limits(self) -> None:
        """
        A client may narrow the limits of a named job, and not widen them.
        """
        configured = Work(script="x", wallTime=10, outputLimit=0, silence=5)
        asked = Work(job="x", wallTime=20, outputLimit=7, silence=3, directory="/tmp")
        work = namedWork(configured, asked)
        self.assertEqual((work.wallTime, work.outputLimit, work.silence), (10, 7, 3))
        self.assertEqual((work.script, work.job, work.directory), ("x", "", "/tmp"))
