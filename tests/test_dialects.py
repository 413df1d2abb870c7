"""
What both dialects can express, in memory, on both.
"""

from __future__ import annotations

import gc
import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client.classictask import ClassicListener
from jobscheduler_tcp.client.ports import CallbackPorts
from jobscheduler_tcp.client.processclass import Dialect, ProcessClass
from jobscheduler_tcp.client.service import ClientService
from jobscheduler_tcp.config.model import ConfiguredClass
from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.messages import RequestFailed, Stream, Work
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.remote import command
from jobscheduler_tcp.remote.returnvalues import VARIABLE
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.testing import End, FakeProcess, MemoryConnection, MemoryNetwork
from tests.placed import FakeRunner, placingWith
from tests.scripted import ScriptedRemote
from tests.test_flow import CALLBACK, CLIENT, CODE, REMOTE, Diagram


def lines(process: FakeProcess) -> None:
    """
    Print lines on stdout and exit.
    """
    process.start(4711)
    process.print(Stream.STDOUT, b"one\ntwo\n")
    process.end(CODE)


def start(process: FakeProcess) -> None:
    """
    Run until somebody kills it.
    """
    process.start(4711)


if TYPE_CHECKING:
    _TestCase = SynchronousTestCase
else:
    _TestCase = object  # a mixin: it is no test case of its own


class Behaviours(_TestCase):
    """
    Mixed into a test case for each dialect.
    """

    dialect: Dialect

    def diagram(self, script: Callable[[FakeProcess], None] = lines, **arguments: Any) -> Diagram:
        """
        Both services.
        """
        return Diagram(script, dialect=self.dialect, **arguments)

    def test_job(self) -> None:
        """
        Output and exit code arrive, and the SHA-256 of the output with the outcome.
        """
        diagram = self.diagram()
        job, receiver = diagram.run()
        diagram.network.advance(1)
        outcome = self.successResultOf(job.done)
        self.assertIs(outcome.reason, Reason.EXITED)
        self.assertEqual(outcome.exitCode, CODE)
        self.assertEqual(receiver.output[Stream.STDOUT], b"one\ntwo\n")
        self.assertEqual(outcome.stdoutDigest, sha256(b"one\ntwo\n").hexdigest())
        self.assertEqual(outcome.stderrDigest, sha256().hexdigest())
        self.assertEqual(
            receiver.events, ["taskAttached", "taskStarted", "outputReceived", "taskEnded"]
        )
        diagram.stop(self)

    def test_parameters(self) -> None:
        """
        Parameters and variables reach the environment of the task.
        """
        diagram = self.diagram()
        work = Work(script="echo", parameters=(("day", "heute <&>"),), environment=(("LANG", "C"),))
        job, _ = diagram.run(work)
        diagram.network.advance(1)
        self.successResultOf(job.done)
        (process,) = diagram.launcher.launched
        self.assertEqual(process.launch.environment["SCHEDULER_PARAM_DAY"], "heute <&>")
        self.assertEqual(process.launch.environment["LANG"], "C")
        self.assertEqual(process.launch.work.script.strip(), "echo")
        diagram.stop(self)

    def test_order(self) -> None:
        """
        The parameters of an order win over those of the job; what the task
        returns arrives, and its file is gone. A name has the spelling in which
        it came first, and the value that came last.
        """

        def play(process: FakeProcess) -> None:
            process.start(4711)
            with open(process.launch.environment[VARIABLE], "wb") as file:
                file.write("result = eins\nRest=ä\n\nRESULT=zwei=2".encode("latin-1"))
            process.end(0)

        diagram = self.diagram(play)
        work = Work(
            script="x",
            parameters=(("day", "1"), ("site", "wien")),
            orderParameters=(("Day", "2 <&>"),),
        )
        job, _ = diagram.run(work)
        diagram.network.advance(1)
        outcome = self.successResultOf(job.done)
        self.assertTrue(outcome.succeeded)
        rest = "ä" if self.dialect is Dialect.CLASSIC else "\udce4"
        self.assertEqual(outcome.returnValues, (("result", "zwei=2"), ("Rest", rest)))
        (process,) = diagram.launcher.launched
        environment = process.launch.environment
        self.assertEqual(environment["SCHEDULER_PARAM_DAY"], "2 <&>")
        self.assertEqual(environment["SCHEDULER_PARAM_SITE"], "wien")
        diagram.stop(self)
        self.assertFalse(os.path.exists(environment[VARIABLE]))

    def test_returnWithoutOrder(self) -> None:
        """
        A task without an order may return values too.
        """

        def play(process: FakeProcess) -> None:
            process.start(4711)
            with open(process.launch.environment[VARIABLE], "w", encoding="ascii") as file:
                file.write("a=b")
            process.end(3)

        diagram = self.diagram(play)
        job, _ = diagram.run()
        diagram.network.advance(1)
        outcome = self.successResultOf(job.done)
        self.assertEqual((outcome.exitCode, outcome.returnValues), (3, (("a", "b"),)))
        diagram.stop(self)

    def test_badReturnValue(self) -> None:
        """
        A line that is no value is told. The extended dialect keeps the good
        ones; in the classic one nobody learns how the task ended, as from a
        real remote.
        """

        def play(process: FakeProcess) -> None:
            process.start(4711)
            with open(process.launch.environment[VARIABLE], "w", encoding="ascii") as file:
                file.write("a=b\nnonsense\n")
            process.end(0)

        diagram = self.diagram(play)
        job, _ = diagram.run()
        diagram.network.advance(1)
        outcome = self.successResultOf(job.done)
        self.assertIn("nonsense", outcome.text)
        if self.dialect is Dialect.CLASSIC:
            self.assertIs(outcome.reason, Reason.LOST)
        else:
            self.assertTrue(outcome.succeeded)
            self.assertEqual(outcome.returnValues, (("a", "b"),))
        diagram.stop(self)

    def test_command(self) -> None:
        """
        So do a program and its arguments, whatever characters they have.
        """
        diagram = self.diagram()
        command = ("/bin/echo", "a b", "it's", "$HOME", "")
        job, _ = diagram.run(Work(command=command))
        diagram.network.advance(1)
        self.successResultOf(job.done)
        (process,) = diagram.launcher.launched
        work = process.launch.work
        # The classic dialect replaces variables in a parameter line, so that the
        # shell is used, which does not within quotes.
        said = work.command or tuple(shlex.split(work.script.removeprefix("exec ")))
        self.assertEqual(said, command)
        diagram.stop(self)

    def test_kill(self) -> None:
        """
        A killed task ends as killed.
        """
        diagram = self.diagram(start)
        job, _ = diagram.run()
        diagram.network.advance(1)
        self.assertNoResult(job.done)
        killed = job.kill(9, 0)
        diagram.network.advance(1)
        self.successResultOf(killed)
        outcome = self.successResultOf(job.done)
        self.assertIs(outcome.reason, Reason.KILLED)
        self.assertEqual(outcome.signal, 9)
        diagram.stop(self)

    def test_timeout(self) -> None:
        """
        A task that runs for too long is killed.
        """
        diagram = self.diagram(start)
        job, _ = diagram.run(Work(command=("job",), wallTime=30.0, grace=0.0))
        diagram.network.advance(29)
        self.assertNoResult(job.done)
        diagram.network.advance(3)
        self.assertIs(self.successResultOf(job.done).reason, Reason.TIMEOUT)
        diagram.stop(self)

    def test_silence(self) -> None:
        """
        So is one that prints nothing.
        """
        diagram = self.diagram(start)
        job, _ = diagram.run(Work(command=("job",), silence=30.0, grace=0.0))
        diagram.network.advance(33)
        self.assertIs(self.successResultOf(job.done).reason, Reason.SILENT)
        diagram.stop(self)

    def test_startFailed(self) -> None:
        """
        A program that does not exist is told by errno, or by the exit code of
        the shell that the classic dialect uses.
        """
        diagram = self.diagram(lambda process: process.refuse("no such program", 2))
        job, _ = diagram.run()
        diagram.network.advance(1)
        outcome = self.successResultOf(job.done)
        self.assertIn(
            (outcome.reason, outcome.exitCode),
            [
                (Reason.START_FAILED, None),
                (Reason.EXITED, 127),
            ],
        )
        diagram.stop(self)

    def test_manyThroughFewPorts(self) -> None:
        """
        Jobs wait for a callback port.
        """
        diagram = self.diagram(ports=2)
        jobs = [diagram.run()[0] for _ in range(20)]
        diagram.network.advance(5)
        for job in jobs:
            self.assertIs(self.successResultOf(job.done).reason, Reason.EXITED)
        self.assertEqual(diagram.client.ports.reserved, 0)
        diagram.stop(self)

    def test_remoteDown(self) -> None:
        """
        A remote that is not there is told as such, soon.
        """
        diagram = self.diagram()
        stopped = diagram.remote.stopService()
        diagram.network.advance(20)
        self.successResultOf(stopped)
        job, _ = diagram.run()
        diagram.network.advance(11)
        outcome = self.successResultOf(job.done)
        self.assertIs(outcome.reason, Reason.REMOTE_UNREACHABLE)
        self.assertEqual(outcome.errno, 111)
        diagram.stop(self)

    def test_clientGone(self) -> None:
        """
        The task of a client that disappears is killed at once.
        """
        diagram = self.diagram(start)
        diagram.run()
        diagram.network.advance(1)
        for connection in diagram.network.connections:
            connection.reset()
        diagram.network.advance(0)
        (process,) = diagram.launcher.launched
        self.assertTrue(process.kills)
        diagram.stop(self)

    def test_remoteGone(self) -> None:
        """
        A remote that disappears leaves the job lost, at once.
        """
        diagram = self.diagram(start)
        job, _ = diagram.run()
        diagram.network.advance(1)
        for connection in diagram.network.connections:
            connection.reset()
        diagram.network.advance(0)
        self.assertIs(self.successResultOf(job.done).reason, Reason.LOST)
        diagram.stop(self)

    def test_splits(self) -> None:
        """
        It makes no difference in which pieces the bytes travel.
        """
        for size in (1, 3, 64):
            diagram = self.diagram()
            diagram.network.split(size)
            job, receiver = diagram.run()
            diagram.network.advance(1)
            self.assertEqual(self.successResultOf(job.done).exitCode, CODE)
            self.assertEqual(receiver.output[Stream.STDOUT], b"one\ntwo\n")
            diagram.stop(self)

    def test_stopWhileRunning(self) -> None:
        """
        When the client stops, its tasks are killed, and nothing is left.
        """
        diagram = self.diagram(start)
        job, _ = diagram.run()
        diagram.network.advance(1)
        diagram.stop(self)
        self.assertIn(self.successResultOf(job.done).reason, (Reason.KILLED, Reason.LOST))
        (process,) = diagram.launcher.launched
        self.assertTrue(process.ended)


class ExtendedTests(Behaviours, SynchronousTestCase):
    """
    Between programs of this package.
    """

    dialect = Dialect.EXTENDED


class ClassicTests(Behaviours, SynchronousTestCase):
    """
    As with a real JobScheduler.
    """

    dialect = Dialect.CLASSIC

    def test_noGarbage(self) -> None:
        """
        What hears a task that is over is given back at once, not by the garbage
        collector.
        """
        diagram = self.diagram()
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        job, receiver = diagram.run()
        diagram.network.advance(5)
        self.successResultOf(job.done)
        task = job.task
        del job, receiver
        diagram.launcher.launched.clear()
        diagram.network.connections.clear()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            gc.collect()
            # Of this task: what earlier tests have left may be found just now.
            found = [
                each
                for each in gc.garbage
                if isinstance(each, ClassicListener) and vars(each)["_task"] == task
            ]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
        self.assertEqual(found, [])
        diagram.stop(self)

    def test_stranger(self) -> None:
        """
        The classic dialect has no token: a caller from another address than the
        remote's is sent away, the job goes on.
        """
        diagram = self.diagram()
        diagram.network.latency = 0.1
        job, _ = diagram.run()
        diagram.network.advance(0.05)
        stranger = diagram.network.host("10.0.0.9").stranger(CLIENT, CALLBACK)
        diagram.network.advance(1)
        self.assertIsNotNone(stranger.lost)
        self.assertEqual(bytes(stranger.heard), b"")
        diagram.network.advance(5)
        self.assertEqual(self.successResultOf(job.done).exitCode, CODE)
        diagram.stop(self)

    def test_stopBeforeBegin(self) -> None:
        """
        A client that stops while the remote says nothing more leaves the job, and
        what it hears of it afterwards is no news.
        """
        diagram = self.diagram()

        def hang(connection: MemoryConnection) -> None:
            if connection.server.port == CALLBACK:
                connection.cutAfter(End.CLIENT, 60, "silence")

        diagram.network.onConnection = hang
        job, _ = diagram.run()
        diagram.network.advance(1)
        self.assertNoResult(job.done)
        diagram.stop(self)
        self.assertIn(self.successResultOf(job.done).reason, (Reason.LOST, Reason.NOT_STARTED))
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(diagram.launcher.launched, [])

    def test_notExpressible(self) -> None:
        """
        What the classic dialect cannot say is refused before anything is said.
        """
        diagram = self.diagram()
        for work in (
            Work(job="named"),
            Work(command=("job",), directory="/tmp"),
            Work(command=("job",), stdin=True),
            Work(script="echo €"),
            Work(script="echo", parameters=(("price", "1 €"),)),
        ):
            job, _ = diagram.run(work)
            outcome = self.successResultOf(job.done)
            self.assertIs(outcome.reason, Reason.NOT_STARTED)
            self.assertIn("classic", outcome.text)
        self.assertEqual(diagram.network.connections, [])
        diagram.stop(self)

    def test_blocked(self) -> None:
        """
        A blocked callback port cannot be told by a classic remote: the job ends
        when its start is overdue, and nothing ran.
        """
        diagram = self.diagram()
        diagram.network.host(CLIENT).filter(CALLBACK)
        job, _ = diagram.run()
        diagram.network.advance(61)
        self.assertIs(self.successResultOf(job.done).reason, Reason.CALLBACK_TIMEOUT)
        self.assertEqual(diagram.launcher.launched, [])
        diagram.stop(self)


class ConfiguredTests(SynchronousTestCase):
    """
    The dialect of a process class of the configuration.
    """

    def test_changed(self) -> None:
        """
        It is the dialect of its remotes, and may be changed while the client
        runs.
        """
        runner = FakeRunner()
        placing = placingWith(Clock(), runner)
        configured = ConfiguredClass("old", "a.example", 4455, 2, "scheduler.xml:2")
        for dialect in ("auto", "classic", "classic", "extended"):
            placing.configure([replace(configured, dialect=dialect)])
            (speaks,) = [each.speaks for each in runner.classes.values()]
            self.assertIs(speaks, Dialect(dialect))

    def test_callback(self) -> None:
        """
        So may its callback mode.
        """
        runner = FakeRunner()
        placing = placingWith(Clock(), runner)
        configured = ConfiguredClass("old", "a.example", 4455, 2, "scheduler.xml:2")
        for callback in ("", "shared", "shared", "own"):
            placing.configure([replace(configured, callback=callback)])
            (made,) = runner.classes.values()
            self.assertEqual(made.callback.pinned, callback != "")


class AutoTests(SynchronousTestCase):
    """
    The dialect is found by asking.
    """

    def test_extended(self) -> None:
        """
        A remote of ours speaks the extended one, and that is remembered.
        """
        diagram = Diagram(lines, dialect=Dialect.AUTO)
        jobs = [diagram.run()[0] for _ in range(3)]
        diagram.network.advance(1)
        for job in jobs:
            self.assertEqual(self.successResultOf(job.done).exitCode, CODE)
        self.assertIs(diagram.client.processClasses[""].speaks, Dialect.EXTENDED)
        diagram.stop(self)

    def test_classic(self) -> None:
        """
        A remote that does not know our hello speaks the classic one; it is asked
        once, and the log says once what was found.
        """
        self.patch(command, "isRequest", lambda root: False)
        diagram = Diagram(lines, dialect=Dialect.AUTO)
        with capturedLogs() as events:
            jobs = [diagram.run()[0] for _ in range(3)]
            diagram.network.advance(1)
            jobs.append(diagram.run()[0])
            diagram.network.advance(1)
        for job in jobs:
            self.assertEqual(self.successResultOf(job.done).exitCode, CODE)
        self.assertIs(diagram.client.processClasses[""].speaks, Dialect.CLASSIC)
        said = b"".join(each.data[End.CLIENT] for each in diagram.network.connections)
        self.assertEqual(said.count(b"jsremote.hello"), 1)
        found = [each for each in map(formatEvent, events) if "speaks the classic" in each]
        self.assertEqual(len(found), 1)
        self.assertEqual([each for each in events if each["log_level"] > LogLevel.info], [])
        diagram.stop(self)

    def test_otherErrors(self) -> None:
        """
        So does one that answers any error that is not about us, such as one of
        validation.
        """
        for code, dialect in (
            ("SCHEDULER-105", Dialect.CLASSIC),
            ("XML-ERROR", Dialect.CLASSIC),
            ("LIBXML2-001", Dialect.CLASSIC),
            ("SCHEDULER-121", Dialect.AUTO),
            ("jsremote-authentication", Dialect.AUTO),
        ):
            remote = ScriptedRemote(MemoryNetwork())
            remote.welcomes = False
            processClass = ProcessClass("", remote.endpoint())
            clock = remote.network.clock
            ports = CallbackPorts(clock, remote.network.host(CLIENT).listen)
            client = ClientService(clock, ports, [processClass], connectTimeout=0.0)
            client.startService()
            client.run(Work(script="x"))
            remote.network.flush()
            remote.served[0].say(RequestFailed(1, code, "no"))
            remote.network.advance(0)
            self.assertIs(processClass.speaks, dialect, code)
            client.stopService()
            remote.network.advance(60)
        self.flushLoggedErrors(RemoteProtocolError)  # the scripted one knows no classic start

    def test_noDowngrade(self) -> None:
        """
        A remote that was seen to speak the extended dialect is not believed when
        it does not any more.
        """
        diagram = Diagram(lines, dialect=Dialect.AUTO)
        job, _ = diagram.run()
        diagram.network.advance(1)
        self.successResultOf(job.done)
        self.patch(command, "isRequest", lambda root: False)
        diagram.network.connections[0].reset()
        diagram.network.advance(1)
        job, _ = diagram.run()
        diagram.network.advance(1)
        self.assertIs(self.successResultOf(job.done).reason, Reason.REJECTED_VERSION)
        self.assertIs(diagram.client.processClasses[""].speaks, Dialect.EXTENDED)
        diagram.stop(self)

    def test_hangsUp(self) -> None:
        """
        One that hangs up instead of an answer does not admit us: no engine is
        known to do that to a command that it does not know.
        """
        diagram = Diagram(lines, dialect=Dialect.AUTO)
        diagram.remote.factory.levelOf = lambda host: Level.NONE
        job, _ = diagram.run()
        diagram.network.advance(20)
        self.assertIs(self.successResultOf(job.done).reason, Reason.REJECTED_AUTH)
        self.assertIs(diagram.client.processClasses[""].speaks, Dialect.AUTO)
        diagram.stop(self)

    def test_unreachable(self) -> None:
        """
        A remote that cannot be asked is unreachable.
        """
        diagram = Diagram(lines, dialect=Dialect.AUTO)
        diagram.network.host(REMOTE).refuse(4455)
        job, _ = diagram.run()
        diagram.network.advance(11)
        outcome = self.successResultOf(job.done)
        self.assertIs(outcome.reason, Reason.REMOTE_UNREACHABLE)
        diagram.stop(self)
