"""
Classic clients at the command port of a remote.
"""

from __future__ import annotations

import re
from typing import NoReturn

from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.errors import LaunchLost
from jobscheduler_tcp.messages import Stream
from jobscheduler_tcp.remote.service import RemoteService
from jobscheduler_tcp.security import AllowedHosts, Level
from jobscheduler_tcp.testing import FakeLauncher, MemoryNetwork, Stranger
from jobscheduler_tcp.wire.classic import (
    CallAnswer,
    CallMethod,
    CreateInstance,
    Failed,
    GetId,
    IdGiven,
    InstanceCreated,
    Invoke,
    Invoked,
    MethodCalled,
    decodeAnswer,
    decodeCall,
    encodeAnswer,
    encodeCall,
    isCall,
)
from jobscheduler_tcp.wire.frames import FrameDecoder, frame
from jobscheduler_tcp.wire.shelljob import ShellJob, decodeResult, encodeConstruct
from jobscheduler_tcp.wire.variants import VT, NewObject, Reference, Variant, bstr, variants
from tests import recordings

CLIENT = "10.0.0.1"
REMOTE = "10.0.0.2"
PORT = 4455
CALLBACK = 59999

# What may differ in the answers.
DIFFERENCES = (
    "the time",
    "the numbers of tasks: ours are mapped to the recorded ones",
    "the pid that engines tell of a process that they start for an API job",
)

START = f'<remote_scheduler.start_remote_task tcp_port="{CALLBACK}" kind="process"/>'
CLOSE = "<remote_scheduler.remote_task.close process_id='{}'/>"
KILL = "<remote_scheduler.remote_task.close process_id='{}' kill='yes'/>"


class Listener(Stranger):
    """
    A classic client at its callback port, which calls and answers what it is
    called.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frames = FrameDecoder(1 << 24)
        self.answers: list[CallAnswer] = []
        self.logged: list[str] = []
        self.level = -9
        self._called: CreateInstance | CallMethod | None = None

    def dataReceived(self, data: bytes) -> None:
        """
        Hear the remote.
        """
        for payload in self.frames.feed(data):
            if not isCall(payload):
                assert self._called is not None
                self.answers.append(decodeAnswer(payload, self._called))
                continue
            call = decodeCall(payload)
            answer: CallAnswer
            if isinstance(call, GetId):
                answer = IdGiven(0, 35 if call.name == "Params_xml" else 36)
            else:
                answer = Invoked()
                if isinstance(call, Invoke) and call.number == 14:
                    self.logged.append(call.arguments[1].value)
                    answer = Invoked(0, Variant(VT.EMPTY))
                elif isinstance(call, Invoke):
                    answer = Invoked(0, bstr(""))
            self.transport.write(frame(encodeAnswer(answer)))

    def call(self, call: CreateInstance | CallMethod) -> None:
        """
        Call the remote.
        """
        self._called = call
        self.transport.write(frame(encodeCall(call)))

    @property
    def server(self) -> int:
        """
        The remote's object.
        """
        (created, *_) = self.answers
        assert isinstance(created, InstanceCreated)
        return created.objects[0][1].id

    def construct(self, job: ShellJob) -> None:
        """
        Describe a job.
        """
        self.call(CallMethod(self.server, "construct", (variants(encodeConstruct(job)),)))

    def begin(self) -> None:
        """
        Begin it.
        """
        names = ("spooler", "spooler_job", "spooler_task", "spooler_log")
        objects = tuple(
            Variant(VT.DISPATCH, Reference(n, NewObject(name, properties=self._level(name))))
            for n, name in enumerate(names, 1)
        )
        named = tuple(bstr(name) for name in names)
        self.call(CallMethod(self.server, "begin", (variants(objects), variants(named))))

    def _level(self, name: str) -> tuple[tuple[str, Variant], ...]:
        return (("level", Variant(VT.I4, self.level)),) if name == "spooler_log" else ()


class RemoteCase(SynchronousTestCase):
    """
    A remote, and clients that speak for themselves.
    """

    def setUp(self) -> None:
        """
        Start the remote.
        """
        self.allow(Level.ALL)

    def allow(self, level: Level) -> None:
        """
        Start a remote at which the client has a level.
        """
        self.network = MemoryNetwork()
        self.host = self.network.host(REMOTE)
        self.client = self.network.host(CLIENT)
        self.launcher = FakeLauncher(self.network.clock)
        self.service = RemoteService(
            self.host,
            self.launcher,
            [TCP4ServerEndpoint(self.host, PORT)],
            AllowedHosts([(CLIENT, level)]),
            environment={},
            wallClock=lambda: 1.0,
            descriptors=1024,
        )
        self.service.startService()
        self.network.flush()

    def connect(self) -> Stranger:
        """
        A command connection.
        """
        stranger = self.client.stranger(REMOTE, PORT)
        self.network.flush()
        return stranger

    def ask(self, connection: Stranger, said: str | bytes) -> bytes:
        """
        Say something, and hear what comes at once.
        """
        del connection.heard[:]
        connection.transport.write(said.encode("latin-1") if isinstance(said, str) else said)
        self.network.flush()
        return bytes(connection.heard)

    def listen(self) -> list[Listener]:
        """
        Listen at the callback port.
        """
        listeners: list[Listener] = []

        def build() -> Listener:
            listeners.append(Listener())
            return listeners[-1]

        factory = Factory.forProtocol(build)
        factory.noisy = False
        self.client.listen(CALLBACK, factory)
        return listeners

    def begun(self, connection: Stranger, job: ShellJob, level: int = -9) -> Listener:
        """
        Start a task, and begin it.
        """
        listeners = self.listen()
        self.ask(connection, START)
        (listener,) = listeners
        listener.level = level
        listener.call(CreateInstance())
        self.network.flush()
        listener.construct(job)
        self.network.flush()
        listener.begin()
        self.network.flush()
        return listener

    def stop(self) -> None:
        """
        Nothing is left.
        """
        stopped = self.service.stopService()
        self.network.advance(60)
        self.successResultOf(stopped)
        self.assertEqual(self.network.clock.getDelayedCalls(), [])


class RecordingsTests(RemoteCase):
    """
    What real clients said at the command port.
    """

    def test_recordings(self) -> None:
        """
        Every recorded command connection is answered as by the real remote, byte
        by byte but for the differences in the table.
        """
        played = 0
        for name, events in recordings.commandConnections():
            self.play(name, events)
            played += 1
        self.assertGreater(played, 0)

    def play(self, name: str, events: list[recordings.Event]) -> None:
        """
        Play one.
        """
        answers = [e.data for e in events if e.speaker == "remote" and e.kind == "DATA"]
        level = Level.ALL if answers else Level.NONE
        if any(b"SCHEDULER-121" in answer for answer in answers):
            level = Level.INFO
        self.allow(level)
        connection = self.connect()
        numbers: dict[bytes, bytes] = {}
        for event in events:
            if event.kind != "DATA" or event.speaker != "client" or connection.lost is not None:
                continue
            said = _NUMBER.sub(lambda n: numbers.get(n[0], n[0]), event.data)
            heard = self.ask(connection, said)
            expected = answers.pop(0)
            if b"<process " in expected:
                recorded, ours = _NUMBER.search(expected), _NUMBER.search(heard)
                assert recorded is not None and ours is not None
                numbers[recorded[0].replace(b'"', b"'")] = ours[0].replace(b'"', b"'")
                heard = heard.replace(ours[0], recorded[0])
                expected = _PID.sub(b"", expected)
            self.assertEqual(_TIME.sub(b"", heard), _TIME.sub(b"", expected), name)
        self.assertEqual(answers, [], name)
        self.assertEqual(connection.lost is not None, level is Level.NONE, name)
        if level is Level.NONE:
            self.assertEqual(bytes(connection.heard), b"", name)
        self.stop()


_TIME = re.compile(rb' time="[^"]*"')
_PID = re.compile(rb' pid="[0-9]*"')
_NUMBER = re.compile(rb"process_id=[\"'][0-9]+[\"']")


class CommandTests(RemoteCase):
    """
    Commands of classic clients that are not in the recordings.
    """

    def test_severalTasks(self) -> None:
        """
        One connection may have several tasks, each with a number that counts on
        this connection only.
        """
        connection = self.connect()
        for number in (b"1", b"2"):
            self.assertIn(b'process_id="' + number + b'"', self.ask(connection, START))
        other = self.connect()
        self.assertIn(b"unknown process id 1", self.ask(other, CLOSE.format(1)))
        for closed in (2, 1):
            self.assertIn(b"<ok/>", self.ask(connection, CLOSE.format(closed)))
        self.assertIn(b"unknown process id 1", self.ask(connection, CLOSE.format(1)))
        self.stop()

    def test_wrapped(self) -> None:
        """
        Starts may come in <commands>; a close, whose answer comes later, may
        not.
        """
        connection = self.connect()
        heard = self.ask(connection, f"<commands>{START}{START}</commands>")
        self.assertEqual(heard.count(b"<process "), 2)
        self.assertEqual(heard.count(b"\0"), 1)
        for close in (CLOSE.format(1), f"<show_state/>{CLOSE.format(1)}"):
            heard = self.ask(connection, f"<commands>{close}</commands>")
            self.assertIn(b"SCHEDULER-353", heard)
        self.assertIn(b"<ok/>", self.ask(connection, f"<spooler>{CLOSE.format(1)}</spooler>"))
        self.stop()

    def test_blanks(self) -> None:
        """
        Blanks, line ends and NULs around commands mean nothing, alone too.
        """
        connection = self.connect()
        for noise in (" ", "\n", "\r\n", "\0", "   "):
            self.assertEqual(self.ask(connection, noise), b"")
            self.assertIn(b"<process ", self.ask(connection, f"\0 {noise}{START}{noise}\r\n"))
        self.assertIsNone(connection.lost)
        self.ask(connection, b"\x04")
        self.assertIsNotNone(connection.lost)
        self.stop()

    def test_words(self) -> None:
        """
        A word is a command too.
        """
        self.assertIn(b"<state ", self.ask(self.connect(), "show_state\r\n"))
        self.stop()

    def test_wrong(self) -> None:
        """
        What cannot be understood is an error, and harms nobody.
        """
        connection = self.connect()
        for said, code in (
            ("<remote_scheduler.start_remote_task/>", b"LIBXML2-003"),
            ('<remote_scheduler.start_remote_task tcp_port="x"/>', b"SCHEDULER-409"),
            ('<remote_scheduler.start_remote_task tcp_port="22"/>', b"SCHEDULER-409"),
            ('<remote_scheduler.start_remote_task tcp_port="70000"/>', b"SCHEDULER-409"),
            (START.replace('"process"', '"other"'), b"SCHEDULER-409"),
            ("<remote_scheduler.remote_task.close/>", b"LIBXML2-003"),
            (CLOSE.format("-1"), b"SCHEDULER-409"),
            (CLOSE.format(17), b"unknown process id 17"),
            ("<nonsense/>", b"SCHEDULER-105"),
        ):
            self.assertIn(code, self.ask(connection, said), said)
            self.assertIsNone(connection.lost)
        self.stop()

    def test_closeBeforeConnected(self) -> None:
        """
        A task that is closed or killed before the client took its confirmation
        connection is given up.
        """
        for command in (CLOSE, KILL):
            self.allow(Level.ALL)
            self.client.filter(CALLBACK)
            connection = self.connect()
            self.ask(connection, START)
            self.assertIn(b"<ok/>", self.ask(connection, command.format(1)))
            self.assertEqual(self.launcher.launched, [])
            self.stop()

    def test_goneBeforeConnected(self) -> None:
        """
        So is one whose client disappears before.
        """
        self.client.filter(CALLBACK)
        connection = self.connect()
        self.ask(connection, START)
        connection.transport.abortConnection()
        self.network.flush()
        self.assertEqual(self.service.showState().children[0].attributes["count"], "0")
        self.stop()

    def test_draining(self) -> None:
        """
        A remote that is stopping starts nothing.
        """
        connection = self.connect()
        self.successResultOf(self.service.drain())
        self.assertIn(b"SCHEDULER-381", self.ask(connection, START))
        self.stop()


class TaskTests(RemoteCase):
    """
    Tasks of classic clients that are not in the recordings.
    """

    def test_killBeforeBegin(self) -> None:
        """
        A task that was killed before it began does not begin.
        """
        connection = self.connect()
        listeners = self.listen()
        self.ask(connection, START)
        (listener,) = listeners
        listener.call(CreateInstance())
        self.network.flush()
        self.assertEqual(self.ask(connection, KILL.format(1)), b"")
        listener.construct(ShellJob(script="x"))
        self.network.flush()
        listener.begin()
        self.network.flush()
        answer = listener.answers[-1]
        assert isinstance(answer, Failed)
        self.assertEqual(answer.code, "Z-REMOTE-122")
        self.assertEqual(self.launcher.launched, [])
        listener.transport.loseConnection()
        self.network.flush()
        self.assertIn(b"<ok/>", connection.heard)
        self.stop()

    def test_killAnswersLast(self) -> None:
        """
        A kill is answered when the confirmation connection is closed; the step
        has told the signal before.
        """
        connection = self.connect()
        listener = self.begun(connection, ShellJob(script="x"))
        (process,) = self.launcher.launched
        process.start()
        listener.call(CallMethod(listener.server, "step"))
        self.assertEqual(self.ask(connection, KILL.format(1)), b"")
        self.network.advance(1)
        answer = listener.answers[-1]
        assert isinstance(answer, MethodCalled)
        result = decodeResult(answer.value.value)
        self.assertEqual((result.exitCode, result.signal), (0, 9))
        self.assertEqual(bytes(connection.heard), b"")
        listener.transport.loseConnection()
        self.network.flush()
        self.assertIn(b"<ok/>", connection.heard)
        self.stop()

    def test_signals(self) -> None:
        """
        A signal that ended a program is told as such; one that ended a script is
        what the shell makes of it.
        """
        for job, result in (
            (ShellJob(program="/bin/x"), (0, 15)),
            (ShellJob(script="x"), (143, 0)),
            (ShellJob(script="exec /bin/x\n"), (143, 0)),
        ):
            self.allow(Level.ALL)
            listener = self.begun(self.connect(), job)
            (process,) = self.launcher.launched
            process.start()
            process.end(signal=15)
            listener.call(CallMethod(listener.server, "step"))
            self.network.flush()
            answer = listener.answers[-1]
            assert isinstance(answer, MethodCalled)
            found = decodeResult(answer.value.value)
            self.assertEqual((found.exitCode, found.signal), result)
            listener.transport.loseConnection()
            self.network.flush()
            self.stop()

    def test_withoutShell(self) -> None:
        """
        A script that only becomes a program is launched without a shell, which
        the client does not see; where that cannot be, the shell has its turn.
        """
        listener = self.begun(self.connect(), ShellJob(script="exec /bin/x a\n", job="j"))
        self.assertIn("'/bin/sh' '-c' '\"script of job j\"'", listener.logged[0])
        (program,) = self.launcher.launched
        self.assertEqual(program.launch.work.command, ("/bin/x", "a"))
        program.refuse()
        program, script = self.launcher.launched
        self.assertEqual(script.launch.work.script, "exec /bin/x a\n")
        self.assertEqual(script.launch.environment, program.launch.environment)
        script.refuse()
        listener.call(CallMethod(listener.server, "step"))
        self.network.flush()
        answer = listener.answers[-1]
        assert isinstance(answer, MethodCalled)
        self.assertEqual(decodeResult(answer.value.value).exitCode, 127)
        listener.transport.loseConnection()
        self.network.flush()
        self.stop()

    def test_launcherBroken(self) -> None:
        """
        A launcher that fails when the shell has its turn ends the task, and the client
        is hung up on.
        """

        def fail(*arguments: object) -> NoReturn:
            raise ZeroDivisionError

        listener = self.begun(self.connect(), ShellJob(script="exec /bin/x\n"))
        (program,) = self.launcher.launched
        self.patch(self.launcher, "prepare", fail)
        program.refuse()
        self.network.flush()
        self.assertIsNotNone(listener.lost)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.service.showState().children[0].attributes["count"], "0")
        self.stop()

    def test_killedWithoutShell(self) -> None:
        """
        What was killed is not launched once more.
        """
        listener = self.begun(self.connect(), ShellJob(script="exec /bin/x\n"))
        listener.transport.loseConnection()
        self.network.flush()
        (program,) = self.launcher.launched
        program.refuse()
        self.assertEqual(self.launcher.launched, [program])
        self.stop()

    def test_lostWithoutShell(self) -> None:
        """
        Nor is what may have run; that is what the client is told.
        """
        listener = self.begun(self.connect(), ShellJob(script="exec /bin/x\n"))
        (program,) = self.launcher.launched
        program.receiver.processNotStarted(LaunchLost("whether it ran is not known"))
        self.assertEqual(self.launcher.launched, [program])
        listener.call(CallMethod(listener.server, "step"))
        self.network.flush()
        self.assertIn("whether it ran is not known", listener.logged[-1])
        answer = listener.answers[-1]
        assert isinstance(answer, MethodCalled)
        self.assertEqual(decodeResult(answer.value.value).exitCode, 126)
        listener.transport.loseConnection()
        self.network.flush()
        self.stop()

    def test_level(self) -> None:
        """
        A client whose log wants warnings only is sent no lines.
        """
        for level, count in ((-9, 2), (0, 2), (1, 0)):
            self.allow(Level.ALL)
            listener = self.begun(self.connect(), ShellJob(script="x"), level)
            (process,) = self.launcher.launched
            process.start()
            process.receiver.outputReceived(Stream.STDOUT, b"hello\n")
            process.end(0)
            listener.call(CallMethod(listener.server, "step"))
            self.network.flush()
            self.assertEqual(len(listener.logged), count)
            self.assertIsInstance(listener.answers[-1], MethodCalled)
            listener.transport.loseConnection()
            self.network.flush()
            self.stop()

    def test_otherKinds(self) -> None:
        """
        What is no shell job is refused in words for the client's log; language
        names have no case.
        """
        connection = self.connect()
        listeners = self.listen()
        self.ask(connection, '<remote_scheduler.start_remote_task tcp_port="59999"/>')
        (listener,) = listeners
        listener.call(CreateInstance())
        self.network.flush()
        listener.construct(ShellJob(language="Shell", script="x"))
        self.network.flush()
        self.assertIsInstance(listener.answers[-1], MethodCalled)
        for language in ("java", "perl", "VBScript", ""):
            listener.construct(ShellJob(language=language, job="j"))
            self.network.flush()
            answer = listener.answers[-1]
            assert isinstance(answer, Failed)
            self.assertEqual(answer.code, "SCHEDULER-447")
            self.assertIn("shell jobs only", answer.what)
        monitored = (*encodeConstruct(ShellJob(script="x"))[:-1], bstr("monitor.language=java"))
        listener.call(CallMethod(listener.server, "construct", (variants(monitored),)))
        self.network.flush()
        answer = listener.answers[-1]
        assert isinstance(answer, Failed)
        self.assertIn("monitors", answer.what)
        listener.transport.loseConnection()
        self.network.flush()
        self.stop()

    def test_wrongState(self) -> None:
        """
        Calls that make no sense now, and nonsense, are errors, and the task goes
        on.
        """
        listener = self.begun(self.connect(), ShellJob(script="x"))
        server = listener.server
        for call, code in (
            (CallMethod(server, "begin"), "SCHEDULER-203"),
            (CallMethod(server, "construct", (bstr("x"),)), "SCHEDULER-203"),
            (CallMethod(server, "no_such_method"), "COM-80020006"),
            (CallMethod(server + 1, "step"), "Z-REMOTE-102"),
            (CallMethod(0, "step"), "COM-80004003"),
        ):
            listener.call(call)
            self.network.flush()
            answer = listener.answers[-1]
            assert isinstance(answer, Failed), call
            self.assertEqual(answer.code, code)
        for name in ("end", "call", "Wait_for_subprocesses", "NAME_EXISTS"):
            listener.call(CallMethod(server, name, (bstr("spooler_exit()V"),)))
            self.network.flush()
            self.assertIsInstance(listener.answers[-1], MethodCalled)
        listener.transport.write(bytes(4))  # an empty message ends the original
        self.network.flush()
        self.assertIsNotNone(listener.lost)
        self.assertIn(b"<process ", self.ask(self.connect(), START))
        (process,) = self.launcher.launched
        self.assertTrue(process.kills)
        self.network.advance(1)
        self.stop()
