"""
Our classic remote against a recorded client, and our classic client against a
recorded remote, message by message.

What may differ stands in one table (L{DIFFERENCES}); all else is equal to the
byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from signal import SIGKILL

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client.classic import ClassicCallbackFactory, ClassicCallbackProtocol
from jobscheduler_tcp.client.classicobjects import LentObjects
from jobscheduler_tcp.messages import Stream
from jobscheduler_tcp.remote.classic import ClassicConfirmationProtocol, ClassicTask
from jobscheduler_tcp.remote.loglines import MAX_TEXT
from jobscheduler_tcp.testing import FakeLauncher, FakeProcess
from jobscheduler_tcp.wire.classic import (
    Call,
    CallMethod,
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
    isCall,
)
from jobscheduler_tcp.wire.frames import FrameDecoder, frame
from jobscheduler_tcp.wire.shelljob import (
    Pairs,
    ShellJob,
    StepResult,
    decodeConstruct,
    decodeResult,
    decodeVariables,
)
from jobscheduler_tcp.wire.variants import VT, bstr
from tests import recordings

DIFFERENCES = (
    "the numbers of objects: ours are mapped to the recorded ones",
    "the text of SCHEDULER-987 where it names the temporary file of a script",
    "how log texts are grouped and when they come: compared as one text",
    "a program that cannot be started: ours does not log its environment",
    "what a remote logs of itself, at other levels than that of the output",
    "output that a killed task has printed: ours arrives, also the last of it",
)

UUID = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f10"
LOG = 14


class Wire(StringTransport):
    """
    A transport that remembers, as TCP transports are asked for more than
    C{StringTransport} has.
    """

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        There is no delay.
        """

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """
        Nothing dies.
        """


@dataclass(frozen=True)
class Message:
    """
    A recorded message.

    @ivar call: the call that it is, or that it answers.
    """

    seconds: float
    speaker: str
    payload: bytes
    call: Call

    @property
    def isCall(self) -> bool:
        """
        Whether it is the call itself.
        """
        return isCall(self.payload)

    @property
    def isLog(self) -> bool:
        """
        Whether it is, or answers, a call of log with output.
        """
        call = self.call
        return isinstance(call, Invoke) and call.number == LOG and not _isStartText(call)


def _isStartText(call: Invoke) -> bool:
    return str(call.arguments[1].value).startswith("SCHEDULER-987")


@dataclass(frozen=True)
class Conversation:
    """
    A recorded confirmation connection of a shell job.
    """

    name: str
    messages: tuple[Message, ...]

    def calls(self) -> Iterator[Call]:
        """
        All calls in order.
        """
        return (message.call for message in self.messages if message.isCall)

    def answer(self, number: int, flags: int) -> Pairs | None:
        """
        What the recorded client answered to a get of a property.
        """
        for message in self.messages:
            call = message.call
            if message.isCall or not isinstance(call, Invoke):
                continue
            if (call.number, call.flags) == (number, flags):
                got = decodeAnswer(message.payload, call)
                if isinstance(got, Invoked) and got.value.type == VT.BSTR:
                    return decodeVariables(got.value.value) if got.value.value else None
        return None

    def texts(self) -> list[str]:
        """
        The output, as it was logged.
        """
        return [
            call.arguments[1].value
            for message in self.messages
            if message.isCall and message.isLog and isinstance(call := message.call, Invoke)
            if call.arguments[0].value == 0
        ]

    @property
    def isComplete(self) -> bool:
        """
        Whether it is of a shell job whose step returned.
        """
        described = [call for call in self.calls() if _isMethod(call, "construct")]
        isShell = all(
            isinstance(call, CallMethod) and decodeConstruct(call.arguments[0]).isShell
            for call in described
        )
        steps = [m for m in self.messages if _isMethod(m.call, "step") and not m.isCall]
        returned = all(
            isinstance(decodeAnswer(each.payload, each.call), MethodCalled) for each in steps
        )
        return bool(described) and isShell and bool(steps) and returned

    def play(self, process: FakeProcess) -> None:
        """
        Print what was printed.
        """
        for text in self.texts():
            data = text.encode("latin-1")
            # A text of full length without an end is a piece of a line.
            isPiece = len(data) == MAX_TEXT and b"\n" not in data
            process.print(Stream.STDOUT, data if isPiece else data + b"\n")

    @property
    def cannotStart(self) -> int:
        """
        The errno with which the program could not be started, or 0.
        """
        found = re.match(r"ERRNO-(\d+)  .*, at execvp\(", "\n".join(self.texts()))
        return int(found[1]) if found else 0

    def result(self) -> StepResult:
        """
        What the step returned.
        """
        for message in self.messages:
            if not message.isCall and _isMethod(message.call, "step"):
                answer = decodeAnswer(message.payload, message.call)
                if isinstance(answer, MethodCalled):
                    return decodeResult(answer.value.value)
        raise AssertionError(f"{self.name} has no step")

    def returned(self) -> Pairs:
        """
        The values that the job returned.
        """
        for call in self.calls():
            if isinstance(call, Invoke) and call.flags == 4:
                return decodeVariables(call.arguments[0].value)
        return ()


def _withoutFile(call: Invoke) -> Invoke:
    level, text = call.arguments
    shown = re.sub("""'/bin/sh' '-c' '"[^"]*"'""", "'/bin/sh' '-c' FILE", text.value)
    return replace(call, arguments=(level, bstr(shown)))


def _callOf(payload: bytes) -> Call | None:
    return decodeCall(payload) if isCall(payload) else None


def _isMethod(call: Call, name: str) -> bool:
    return isinstance(call, CallMethod) and call.name == name


def conversations() -> Iterator[Conversation]:
    """
    All confirmation connections of all recordings.
    """
    for name in recordings.names():
        streams: dict[str, list[Message]] = {}
        stacks: dict[str, list[Call]] = {}
        for event in recordings.events(name):
            if event.kind != "MSG":
                continue
            payload = event.data[4:]
            stack = stacks.setdefault(event.connection, [])
            if isCall(payload):
                call = decodeCall(payload)
                stack.append(call)
            else:
                call = stack.pop()
            message = Message(event.seconds, event.speaker, payload, call)
            streams.setdefault(event.connection, []).append(message)
        for connection, messages in streams.items():
            yield Conversation(f"{name} {connection}", tuple(messages))


def shellConversations() -> Iterator[Conversation]:
    """
    Those of shell jobs whose step returned.
    """
    return (conversation for conversation in conversations() if conversation.isComplete)


class Numbers:
    """
    Map the numbers of objects between ours and the recorded ones.
    """

    def __init__(self) -> None:
        self._pairs: list[tuple[bytes, bytes]] = []

    @property
    def known(self) -> bool:
        """
        Whether any number was learnt.
        """
        return bool(self._pairs)

    def areSound(self) -> bool:
        """
        Whether bit 31 of all our numbers is clear.
        """
        return not any(ours[4] & 0x80 for ours, _ in self._pairs)

    def learn(self, ours: int, recorded: int) -> None:
        """
        These two are the same.
        """
        self._pairs.append((ours.to_bytes(8, "big"), recorded.to_bytes(8, "big")))

    def toRecorded(self, payload: bytes) -> bytes:
        """
        Our bytes, as they were recorded.
        """
        for ours, recorded in self._pairs:
            payload = payload.replace(ours, recorded)
        return payload

    def toOurs(self, payload: bytes) -> bytes:
        """
        Recorded bytes, as they are said to us.
        """
        for ours, recorded in self._pairs:
            payload = payload.replace(recorded, ours)
        return payload


class Replay:
    """
    What both roles share: our end and what it says.
    """

    def __init__(self, test: SynchronousTestCase, conversation: Conversation, split: int) -> None:
        self.test = test
        self.conversation = conversation
        self.numbers = Numbers()
        self.transport = Wire(peerAddress=IPv4Address("TCP", "127.0.0.1", 4455))
        self._frames = FrameDecoder(1 << 24)
        self._said: list[bytes] = []
        self._split = split

    def hear(self, receive: Callable[[bytes], None], payload: bytes) -> None:
        """
        Say a recorded message to us, in pieces.
        """
        data = frame(self.numbers.toOurs(payload))
        size = self._split or len(data)
        for start in range(0, len(data), size):
            receive(data[start : start + size])

    def hearTogether(self, receive: Callable[[bytes], None], payloads: Iterable[bytes]) -> None:
        """
        Say many recorded messages to us at once.
        """
        receive(b"".join(frame(self.numbers.toOurs(payload)) for payload in payloads))

    def next(self) -> bytes | None:
        """
        The next message that we said.
        """
        self._said.extend(self._frames.feed(self.transport.value()))
        self.transport.clear()
        return self._said.pop(0) if self._said else None

    def expect(self, message: Message) -> None:
        """
        We said what was recorded.
        """
        said = self.next()
        self.test.assertIsNotNone(said, f"{self.conversation.name} at {message.seconds}")
        assert said is not None
        where = f"{self.conversation.name} at {message.seconds}: {message.call}"
        self.test.assertEqual(self.numbers.toRecorded(said), message.payload, where)


class RemoteReplay(Replay):
    """
    Our remote, a recorded client.
    """

    def __init__(self, test: SynchronousTestCase, conversation: Conversation, split: int) -> None:
        super().__init__(test, conversation, split)
        self.logged: list[str] = []
        self.clock = Clock()
        self.launcher = FakeLauncher(self.clock)
        self.over: list[None] = []
        self.protocol = ClassicConfirmationProtocol(
            ClassicTask(UUID, 1, {"PATH": "/usr/bin:/bin"}),
            self.launcher,
            lambda: self.over.append(None),
        )

    def run(self) -> None:
        """
        Play it.
        """
        self.protocol.makeConnection(self.transport)
        for message in self.conversation.messages:
            if message.isLog:
                continue
            if message.speaker == "client":
                self.hear(self.protocol.dataReceived, message.payload)
                self._learn(message)
                self._takeLogs()
            else:
                self._remoteSays(message)
        self.test.assertIsNone(self.next())
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.test.assertEqual(self.over, [None])
        expected = "\n".join(self.conversation.texts())
        if self.conversation.cannotStart:
            expected = expected.partition("\n")[0]
        self.test.assertEqual("\n".join(self.logged), expected, self.conversation.name)

    @staticmethod
    def canBeGlued(conversation: Conversation) -> bool:
        """
        What a kill leaves is a matter of time, and what cannot be started prints
        nothing that we could be told here.
        """
        return not conversation.result().signal and not conversation.cannotStart

    def runGlued(self) -> None:
        """
        Play it with a client that says all at once, once it knows our number.
        """
        self.protocol.makeConnection(self.transport)
        mine = [each for each in self.conversation.messages if each.speaker == "client"]
        self.hear(self.protocol.dataReceived, mine[0].payload)
        self._learn(mine[0])
        said = [self.next()]
        # The lines that it answered during the release we send before.
        lines = [each for each in mine[1:] if each.isLog]
        rest = [each for each in mine[1:] if not each.isLog]
        end = next(n for n, each in enumerate(rest) if _isMethod(each.call, "step")) + 1
        together = [*rest[:end], *lines, *rest[end:]]
        self.hearTogether(self.protocol.dataReceived, (each.payload for each in together))
        self._start()
        result = self.conversation.result()
        self.conversation.play(self.process)
        values = self.process.launch.environment["SCHEDULER_RETURN_VALUES"]
        with open(values, "w", encoding="latin-1") as file:
            file.writelines(f"{n}={v}\n" for n, v in self.conversation.returned())
        self.process.end(result.exitCode)
        while (message := self.next()) is not None:
            said.append(message)
        theirs = [
            each.payload
            for each in self.conversation.messages
            if each.speaker == "remote" and not (each.isCall and isinstance(each.call, Invoke))
        ]
        ours = [self.numbers.toRecorded(each) for each in said if each is not None]
        ours = [each for each in ours if not isinstance(_callOf(each), Invoke)]
        self.test.assertEqual(ours, theirs, self.conversation.name)
        self.protocol.connectionLost(Failure(ConnectionDone()))

    @property
    def process(self) -> FakeProcess:
        """
        The process of the task.
        """
        (process,) = self.launcher.launched
        return process

    def _learn(self, message: Message) -> None:
        """
        Our number for the server object, which stands in our first answer.
        """
        if self.numbers.known or not message.isCall:
            return
        said = self.next()
        assert said is not None
        self._said.insert(0, said)  # compared when the recorded answer comes
        ours = decodeAnswer(said, message.call)
        recorded = next(
            decodeAnswer(each.payload, each.call)
            for each in self.conversation.messages
            if not each.isCall
        )
        assert isinstance(ours, InstanceCreated) and isinstance(recorded, InstanceCreated)
        self.numbers.learn(ours.objects[0][1].id, recorded.objects[0][1].id)

    def _remoteSays(self, message: Message) -> None:
        if _isMethod(message.call, "begin") and not message.isCall:
            self._start()
        if _isMethod(message.call, "step") and not message.isCall:
            self._finish()
        if isinstance(message.call, Invoke) and message.isCall and message.call.flags == 4:
            self._finish()
        if isinstance(message.call, Invoke) and message.isCall and message.call.number == LOG:
            said = self.next()
            assert said is not None
            ours = decodeCall(said)
            assert isinstance(ours, Invoke)
            self.test.assertTrue(_isStartText(ours))
            self.test.assertEqual(_withoutFile(ours), _withoutFile(message.call))
            return
        self.expect(message)

    def _start(self) -> None:
        if not self.conversation.cannotStart:
            self.process.start()

    def _finish(self) -> None:
        process = self.process
        if process.ended:
            return
        result = self.conversation.result()
        if self.conversation.cannotStart:
            process.refuse("cannot run it", self.conversation.cannotStart)
        elif result.signal == SIGKILL:
            self.conversation.play(process)
            self.protocol.kill()
            self.clock.advance(1)
            self.test.assertEqual(process.kills, [(9, 0)])
        elif result.signal:
            self.conversation.play(process)
            process.end(signal=result.signal)
        else:
            self.conversation.play(process)
            values = process.launch.environment["SCHEDULER_RETURN_VALUES"]
            with open(values, "w", encoding="latin-1") as file:
                file.writelines(f"{n} = {v}\n" for n, v in self.conversation.returned())
            process.end(result.exitCode)
        self._takeLogs()

    def _takeLogs(self) -> None:
        while True:
            said = self.next()
            if said is None:
                return
            call = decodeCall(said) if isCall(said) else None
            if not isinstance(call, Invoke) or call.number != LOG or _isStartText(call):
                self._said.insert(0, said)
                return
            self.logged.append(call.arguments[1].value)
            self.hear(self.protocol.dataReceived, encodeAnswer(Invoked()))


class RemoteTests(SynchronousTestCase):
    """
    Our remote hears recorded clients.
    """

    def test_shellJobs(self) -> None:
        """
        Every shell job.
        """
        playAll(self, RemoteReplay)

    def test_splits(self) -> None:
        """
        The same in pieces of 1 and of 7 bytes.
        """
        for size in (1, 7):
            playAll(self, RemoteReplay, size)

    def test_glued(self) -> None:
        """
        The same by a client that says all at once, which the originals never
        do: it is heard in turn.
        """
        playAll(self, RemoteReplay, glued=True)

    def test_apiJobs(self) -> None:
        """
        A job that needs another kind of remote is refused at construct, with an
        error that says so.
        """
        for conversation in conversations():
            for call in conversation.calls():
                if not _isMethod(call, "construct"):
                    continue
                assert isinstance(call, CallMethod)
                if not decodeConstruct(call.arguments[0]).isShell:
                    self._refused(conversation)

    def _refused(self, conversation: Conversation) -> None:
        replay = Replay(self, conversation, 0)
        protocol = ClassicConfirmationProtocol(
            ClassicTask(UUID, 1, {}), FakeLauncher(Clock()), lambda: None
        )
        protocol.makeConnection(replay.transport)
        create, construct = [
            m for m in conversation.messages if m.isCall and m.speaker == "client"
        ][:2]
        replay.hear(protocol.dataReceived, create.payload)
        created = replay.next()
        assert created is not None
        answer = decodeAnswer(created, create.call)
        assert isinstance(answer, InstanceCreated)
        assert isinstance(construct.call, CallMethod)
        replay.numbers.learn(answer.objects[0][1].id, construct.call.object)
        replay.hear(protocol.dataReceived, construct.payload)
        said = replay.next()
        assert said is not None
        refusal = decodeAnswer(said, construct.call)
        assert isinstance(refusal, Failed)
        self.assertEqual(refusal.code, "SCHEDULER-447")
        self.assertIn("java", refusal.what)


class Receiver:
    """
    Remember what a classic client hears.
    """

    def __init__(self) -> None:
        self.events: list[str] = []
        self.texts: list[str] = []
        self.returned: Pairs = ()
        self.result: StepResult | None = None

    def remoteCalled(self) -> None:
        """
        The connection stands.
        """
        self.events.append("called")

    def beginning(self) -> None:
        """
        It may run now.
        """
        self.events.append("beginning")

    def scriptStarted(self) -> None:
        """
        The script runs.
        """
        self.events.append("started")

    def logged(self, level: int, text: str) -> None:
        """
        A log line.
        """
        if level == 0:
            self.texts.append(text)

    def valuesReturned(self, values: Pairs) -> None:
        """
        Values for the order.
        """
        self.returned = values

    def scriptEnded(self) -> None:
        """
        The script is over.
        """
        self.events.append("ended")

    def stepReturned(self, result: StepResult) -> None:
        """
        So is its output.
        """
        self.events.append("returned")
        self.result = result

    def callFailed(self, during: str, code: str, text: str) -> None:
        """
        The remote refused.
        """
        self.events.append(f"{during} failed {code}")

    def remoteLost(self, reason: Failure) -> None:
        """
        The remote is gone.
        """
        self.events.append("lost")

    def connectionClosed(self) -> None:
        """
        The last word.
        """
        self.events.append("closed")


class ClientReplay(Replay):
    """
    Our client, a recorded remote.
    """

    def run(self) -> None:
        """
        Play it.
        """
        receiver, protocol = self._begin()
        for message in self.conversation.messages:
            if message.speaker == "remote":
                self.hear(protocol.dataReceived, message.payload)
                continue
            if _isMethod(message.call, "begin") and message.isCall:
                self._learn(message.call)
            self.expect(message)
        self._end(receiver, protocol)

    @staticmethod
    def canBeGlued(conversation: Conversation) -> bool:
        """
        Every remote can say all at once.
        """
        return True

    def _begin(self) -> tuple[Receiver, ClassicCallbackProtocol]:
        conversation = self.conversation
        construct = next(call for call in conversation.calls() if _isMethod(call, "construct"))
        assert isinstance(construct, CallMethod)
        receiver = Receiver()
        factory = ClassicCallbackFactory(
            decodeConstruct(construct.arguments[0]),
            receiver,
            lambda host: host == "127.0.0.1",
            parameters=conversation.answer(35, 2) or (),
            orderParameters=conversation.answer(36, 2),
        )
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(self.transport)
        return receiver, protocol

    def _end(self, receiver: Receiver, protocol: ClassicCallbackProtocol) -> None:
        conversation = self.conversation
        self.test.assertIsNone(self.next())
        self.test.assertTrue(self.transport.disconnecting)
        protocol.connectionLost(Failure(ConnectionDone()))
        self.test.assertEqual(
            receiver.events, ["called", "beginning", "started", "ended", "returned", "closed"]
        )
        self.test.assertEqual(receiver.result, conversation.result())
        self.test.assertEqual(receiver.returned, conversation.returned())
        texts = [text for text in receiver.texts if not text.startswith("SCHEDULER-987")]
        self.test.assertEqual(texts, conversation.texts())

    def runGlued(self) -> None:
        """
        Play it with a remote that says all at once, as soon as it knows our
        numbers.
        """
        conversation = self.conversation
        receiver, protocol = self._begin()
        theirs = [each for each in conversation.messages if each.speaker == "remote"]
        ours = [each for each in conversation.messages if each.speaker == "client"]
        self.hearTogether(protocol.dataReceived, (each.payload for each in theirs[:2]))
        for message in ours[:2]:
            self.expect(message)
        self._learn(ours[2].call)
        self.hearTogether(protocol.dataReceived, (each.payload for each in theirs[2:]))
        for message in ours[2:]:
            self.expect(message)
        self._end(receiver, protocol)

    def _learn(self, recorded: Call) -> None:
        said = self.next()
        assert said is not None
        self._said.insert(0, said)
        ours = decodeCall(said)
        assert isinstance(ours, CallMethod) and isinstance(recorded, CallMethod)
        for each, other in zip(
            ours.arguments[0].value.items, recorded.arguments[0].value.items, strict=True
        ):
            self.numbers.learn(each.value.id, other.value.id)


def playAll(
    test: SynchronousTestCase,
    replay: type[RemoteReplay | ClientReplay],
    split: int = 0,
    *,
    glued: bool = False,
) -> None:
    """
    Play every shell job.

    @param split: the size of the pieces in which it is said; 0 for whole messages.
    @param glued: whether all is said at once, where that can be.
    """
    played = 0
    for conversation in shellConversations():
        if not glued:
            replay(test, conversation, split).run()
        elif replay.canBeGlued(conversation):
            replay(test, conversation, split).runGlued()
        else:
            continue
        played += 1
    test.assertGreater(played, 0)


class ClientTests(SynchronousTestCase):
    """
    Our client hears recorded remotes.
    """

    def test_shellJobs(self) -> None:
        """
        Every shell job.
        """
        playAll(self, ClientReplay)

    def test_splits(self) -> None:
        """
        The same in pieces of 1 and of 7 bytes.
        """
        for size in (1, 7):
            playAll(self, ClientReplay, size)

    def test_glued(self) -> None:
        """
        The same by a remote that says all at once.
        """
        playAll(self, ClientReplay, glued=True)

    def test_apiJobs(self) -> None:
        """
        Of an API job the client knows what a remote may call that has nothing
        to do with one; all else is told to be unknown, and never breaks it.
        """
        for conversation in conversations():
            calls = [call for call in conversation.calls() if isinstance(call, (Invoke, GetId))]
            receiver = Receiver()
            objects = LentObjects(ShellJob(taskId="1"), (), (), receiver)
            lent = {
                name.value: each.value.id
                for name, each in zip(
                    objects.names().value.items, objects.references().value.items, strict=True
                )
            }
            begin = next(call for call in conversation.calls() if _isMethod(call, "begin"))
            assert isinstance(begin, CallMethod)
            theirs, names = (argument.value.items for argument in begin.arguments)
            ours = {
                each.value.id: lent[name.value] for each, name in zip(theirs, names, strict=True)
            }
            for call in calls:
                answer = objects.called(replace(call, object=ours.get(call.object, 1)))
                self.assertIsInstance(answer, (Invoked, IdGiven, Failed))

    def test_idsAreSound(self) -> None:
        """
        Our numbers have bit 31 clear, for engines up to 1.8 read others wrong
        (4.6.1).
        """
        for conversation in shellConversations():
            replay = ClientReplay(self, conversation, 0)
            replay.run()
            self.assertTrue(replay.numbers.known and replay.numbers.areSound())
