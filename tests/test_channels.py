"""
Both ends of a confirmation connection, joined in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp import channels as channels_module
from jobscheduler_tcp.channels import ConfirmationChannels
from jobscheduler_tcp.conversation import Role
from jobscheduler_tcp.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from jobscheduler_tcp.messages import (
    CallerProof,
    Challenge,
    Confirmation,
    EndAcknowledged,
    Heartbeat,
    InputEnded,
    InputTaken,
    ListenerProof,
    OutputAcknowledged,
    Stream,
    TaskAttached,
    TaskEnded,
    TaskInput,
    TaskOutput,
    TaskStarted,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.wire.extended import MAX_DATA, MAX_UNPROVEN, encode
from tests.strategies import confirmations, fed, mutated, pieces, sizes

FIRST = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f10"
SECOND = "0b1f7a52-3c1e-4d7b-8a55-2f1f0f6f3f11"
CHALLENGE = Challenge(bytes(16), bytes(8))
CALLER_PROOF = CallerProof(bytes(32))
ENDED = TaskEnded(Reason.EXITED, 0)
STARTED = TaskStarted(17, 1.0, 2.0)


def out(offset: int, data: bytes, stream: Stream = Stream.STDOUT) -> TaskOutput:
    """
    Bytes that the task printed.
    """
    return TaskOutput(stream, offset, data)


class Pair:
    """
    A remote and a client; what one says the other hears.
    """

    def __init__(self, window: int = 100) -> None:
        self.remote = ConfirmationChannels(Role.REMOTE)
        self.client = ConfirmationChannels(Role.CLIENT, window)
        self.window = window

    def fromRemote(self, channel: int, message: Confirmation) -> list[tuple[int, Confirmation]]:
        """
        The remote says something.
        """
        return list(self.client.hear(self.remote.say(channel, message)))

    def fromClient(self, channel: int, message: Confirmation) -> list[tuple[int, Confirmation]]:
        """
        The client says something.
        """
        return list(self.remote.hear(self.client.say(channel, message)))

    def prove(self) -> Pair:
        """
        Both prove themselves.
        """
        self.fromRemote(0, CHALLENGE)
        self.fromClient(0, ListenerProof(bytes(16), bytes(32), self.window))
        self.fromRemote(0, CALLER_PROOF)
        return self

    def attach(self, channel: int = 1, attached: TaskAttached | None = None) -> Pair:
        """
        A task runs on a channel.
        """
        self.fromRemote(channel, attached or TaskAttached(FIRST, window=50))
        self.fromRemote(channel, STARTED)
        return self


class TalkTests(SynchronousTestCase):
    """
    What a connection carries when both ends do right.
    """

    def test_oneTask(self) -> None:
        """
        Proof, a task with output and input, its end; then the channel is gone.
        """
        pair = Pair()
        self.assertFalse(pair.client.proven or pair.remote.proven)
        pair.prove()
        self.assertTrue(pair.client.proven and pair.remote.proven)
        self.assertEqual(pair.remote.window, 100)
        pair.attach()
        for message in (out(0, b"abc"), out(0, b"xy", Stream.STDERR), out(3, b"d")):
            self.assertEqual(pair.fromRemote(1, message), [(1, message)])
        self.assertEqual(pair.client.outputRoom(1), 94)
        self.assertEqual(pair.remote.outputRoom(1), 94)
        pair.fromClient(1, pair.client.acknowledgement(1))
        self.assertEqual(pair.remote.outputRoom(1), 100)
        pair.fromClient(1, TaskInput(0, b"hello"))
        self.assertEqual((pair.client.inputRoom(1), pair.client.inputOffset(1)), (45, 5))
        pair.fromRemote(1, InputTaken(5))
        self.assertEqual(pair.client.inputRoom(1), 50)
        pair.fromClient(1, InputEnded())
        pair.fromRemote(0, Heartbeat())
        pair.fromClient(0, Heartbeat())
        pair.fromRemote(1, ENDED)
        self.assertEqual((pair.client.channels, pair.remote.channels), (1, 1))
        pair.fromClient(1, EndAcknowledged())
        self.assertEqual((pair.client.channels, pair.remote.channels), (0, 0))

    def test_twoTasks(self) -> None:
        """
        Channels do not share offsets or windows, and end in any order; the number
        of one that is over may be used again.
        """
        pair = Pair(10).prove().attach(1).attach(7, TaskAttached(SECOND, 5, 6))
        pair.fromRemote(1, out(0, b"0123456789"))
        self.assertEqual(pair.remote.outputRoom(1), 0)
        self.assertEqual(pair.remote.outputRoom(7), 10)
        pair.fromRemote(7, out(5, b"abc"))
        pair.fromRemote(7, out(6, b"abc", Stream.STDERR))
        pair.fromClient(7, OutputAcknowledged(8, 6))
        pair.fromRemote(7, ENDED)
        pair.fromClient(7, EndAcknowledged())
        pair.fromClient(1, OutputAcknowledged(10, 0))
        pair.fromRemote(1, out(10, b"x"))
        pair.attach(7)
        pair.fromRemote(7, out(0, b"x"))
        self.assertEqual(pair.client.channels, 2)

    def test_crossing(self) -> None:
        """
        Input and acknowledgements that cross the end of the task are allowed.
        """
        pair = Pair().prove().attach()
        pair.fromRemote(1, out(0, b"abc"))
        end = pair.remote.say(1, ENDED)
        pair.fromClient(1, OutputAcknowledged(3, 0))
        pair.fromClient(1, TaskInput(0, b"late"))
        pair.fromClient(1, InputEnded())
        self.assertEqual(list(pair.client.hear(end)), [(1, ENDED)])
        pair.fromClient(1, EndAcknowledged())

    def test_outputHeader(self) -> None:
        """
        Output can be said without being copied; the offset is known.
        """
        pair = Pair().prove().attach()
        for offset, data in ((0, b"abc"), (3, b"de")):
            header = pair.remote.outputHeader(1, Stream.STDERR, len(data))
            self.assertEqual(
                list(pair.client.hear(header + data)), [(1, out(offset, data, Stream.STDERR))]
            )
        self.assertEqual(pair.remote.outputRoom(1), 95)

    def test_longFrames(self) -> None:
        """
        The longest frame is allowed as soon as both ends are proven, also if it
        comes in one piece with the proof.
        """
        pair = Pair(MAX_DATA)
        pair.fromRemote(0, CHALLENGE)
        pair.fromClient(0, ListenerProof(bytes(16), bytes(32), MAX_DATA))
        stream = pair.remote.say(0, CALLER_PROOF)
        stream += pair.remote.say(1, TaskAttached(FIRST)) + pair.remote.say(1, STARTED)
        stream += pair.remote.say(1, out(0, bytes(MAX_DATA)))
        self.assertEqual(len(list(pair.client.hear(stream))), 4)

    def test_failedToStart(self) -> None:
        """
        A task may end that never started.
        """
        pair = Pair().prove()
        pair.fromRemote(1, TaskAttached(FIRST))
        pair.fromRemote(1, TaskEnded(Reason.START_FAILED, errno=2))
        pair.fromClient(1, EndAcknowledged())


class RefusalTests(SynchronousTestCase):
    """
    What is not allowed is refused where it is said, and where it is heard.
    """

    def refused(
        self, speaker: Role, prepare: Callable[[], Pair], *said: tuple[int, Confirmation]
    ) -> None:
        """
        The last thing said is refused at both ends.
        """
        *before, (channel, message) = said
        pair = prepare()
        mine, other = (
            (pair.remote, pair.client) if speaker is Role.REMOTE else (pair.client, pair.remote)
        )
        for each in before:
            list(other.hear(mine.say(*each)))
        with self.assertRaises(LocalProtocolError):
            mine.say(channel, message)
        with self.assertRaises(RemoteProtocolError):
            list(other.hear(encode(channel, message)))

    def test_remote(self) -> None:
        """
        The remote may not break the tables, the offsets or the client's window.
        """
        running = lambda: Pair().prove().attach()  # noqa: E731
        proven = lambda: Pair().prove()  # noqa: E731
        attached = TaskAttached(SECOND)
        for prepare, *said in (
            (Pair, (0, Heartbeat())),
            (Pair, (0, CALLER_PROOF)),
            (Pair, (1, attached)),
            (Pair, (0, CHALLENGE), (0, CHALLENGE)),
            (Pair, (0, CHALLENGE), (1, attached)),
            (proven, (0, CALLER_PROOF)),
            (proven, (0, attached)),
            (proven, (1, STARTED)),
            (proven, (1, attached), (1, out(0, b"x"))),
            (running, (1, attached)),
            (running, (1, Heartbeat())),
            (running, (1, STARTED)),
            (running, (2, out(0, b"x"))),
            (running, (1, OutputAcknowledged(0, 0))),
            (running, (1, EndAcknowledged())),
            (running, (1, out(1, b"x"))),
            (running, (1, out(0, b"x")), (1, out(0, b"x"))),
            (running, (1, out(0, b"x")), (1, out(1, b"x", Stream.STDERR))),
            (running, (1, out(0, bytes(101)))),
            (running, (1, out(0, bytes(60))), (1, out(0, bytes(41), Stream.STDERR))),
            (running, (1, InputTaken(1))),
            (running, (1, ENDED), (1, out(0, b"x"))),
            (running, (1, ENDED), (1, ENDED)),
            (running, (1, ENDED), (1, InputTaken(0))),
        ):
            with self.subTest(said=said):
                self.refused(Role.REMOTE, prepare, *said)

    def test_client(self) -> None:
        """
        The client may not break the tables, or the remote's window, open a channel,
        or acknowledge what was not said.
        """
        proven = lambda: Pair().prove()  # noqa: E731
        running = lambda: Pair().prove().attach()  # noqa: E731
        proof = ListenerProof(bytes(16), bytes(32), 5)

        def printed() -> Pair:
            pair = running()
            pair.fromRemote(1, out(0, b"abc"))
            pair.fromClient(1, OutputAcknowledged(2, 0))
            return pair

        for prepare, *said in (
            (Pair, (0, proof)),
            (Pair, (0, Heartbeat())),
            (proven, (0, proof)),
            (proven, (1, TaskAttached(FIRST))),
            (proven, (1, TaskInput(0, b"x"))),
            (running, (1, STARTED)),
            (running, (1, out(0, b"x"))),
            (running, (1, EndAcknowledged())),
            (running, (2, OutputAcknowledged(0, 0))),
            (running, (1, OutputAcknowledged(1, 0))),
            (running, (1, OutputAcknowledged(0, 1))),
            (printed, (1, OutputAcknowledged(1, 0))),
            (printed, (1, OutputAcknowledged(4, 0))),
            (running, (1, TaskInput(1, b"x"))),
            (running, (1, TaskInput(0, b"x")), (1, TaskInput(0, b"x"))),
            (running, (1, TaskInput(0, bytes(51)))),
            (running, (1, TaskInput(0, bytes(50))), (1, TaskInput(50, b"x"))),
            (running, (1, InputEnded()), (1, TaskInput(0, b"x"))),
            (running, (1, InputEnded()), (1, InputEnded())),
        ):
            with self.subTest(said=said):
                self.refused(Role.CLIENT, prepare, *said)

    def test_nothingChanges(self) -> None:
        """
        After a L{LocalProtocolError} one can go on as if nothing was said.
        """
        pair = Pair().prove().attach()
        for message in (out(5, b"x"), out(0, bytes(101)), ENDED):
            for channel in (1, 2):
                if (channel, message) != (1, ENDED):
                    with self.assertRaises(LocalProtocolError):
                        pair.remote.say(channel, message)
        for size in (0, 101, MAX_DATA + 1):
            with self.assertRaises(LocalProtocolError):
                pair.remote.outputHeader(1, Stream.STDOUT, size)
        pair.fromRemote(1, out(0, b"x"))
        self.assertEqual(pair.remote.outputRoom(1), 99)

    def test_outputHeader(self) -> None:
        """
        Only the remote has output to say, on a channel where a task runs.
        """
        pair = Pair().prove()
        pair.fromRemote(1, TaskAttached(FIRST))
        for end in (pair.remote, pair.client):
            for channel in (1, 2):
                with self.assertRaises(LocalProtocolError):
                    end.outputHeader(channel, Stream.STDOUT, 1)
        pair.fromRemote(1, STARTED)
        with self.assertRaises(LocalProtocolError):
            pair.client.outputHeader(1, Stream.STDOUT, 1)

    def test_strangersAreShort(self) -> None:
        """
        Before the proof a frame has at most 4,096 bytes.
        """
        client = ConfirmationChannels(Role.CLIENT)
        self.assertEqual(list(client.hear((MAX_UNPROVEN).to_bytes(4, "big"))), [])
        with self.assertRaises(RemoteProtocolError):
            list(ConfirmationChannels(Role.CLIENT).hear((MAX_UNPROVEN + 1).to_bytes(4, "big")))

    def test_ourOwnLength(self) -> None:
        """
        What is too long for a frame is not said.
        """
        remote = ConfirmationChannels(Role.REMOTE)
        with self.assertRaises(LocalProtocolError):
            remote.say(1, out(0, bytes(MAX_UNPROVEN)))

    def test_manyChannels(self) -> None:
        """
        There is an end to the channels that a peer can open.
        """
        self.patch(channels_module, "MAX_CHANNELS", 3)
        pair = Pair().prove()
        for channel in (1, 2, 3):
            pair.attach(channel)
        self.refused(Role.REMOTE, lambda: pair, (4, TaskAttached(FIRST)))


class DamageTests(SynchronousTestCase):
    """
    What the network and strangers do to the bytes.
    """

    def talk(self) -> tuple[list[tuple[int, Confirmation]], bytes]:
        """
        All that a remote says about two tasks.
        """
        pair = Pair().prove()
        said: list[tuple[int, Confirmation]] = [
            (1, TaskAttached(FIRST, 3)),
            (2, TaskAttached(SECOND)),
            (1, STARTED),
            (0, Heartbeat()),
            (1, out(3, b"one")),
            (2, STARTED),
            (2, out(0, b"two", Stream.STDERR)),
            (1, out(6, b"three")),
            (2, ENDED),
            (1, ENDED),
        ]
        return said, b"".join(pair.remote.say(*each) for each in said)

    @settings(deadline=None, max_examples=60)
    @given(sizes)
    def test_anySplit(self, lengths: list[int]) -> None:
        """
        Wherever the stream is cut, the same is heard.
        """
        said, stream = self.talk()
        self.assertEqual(fed(Pair().prove().client.hear, pieces(stream, lengths)), said)

    def test_everySplit(self) -> None:
        """
        The stream cut in two at every byte.
        """
        said, stream = self.talk()
        for at in range(len(stream) + 1):
            heard = fed(Pair().prove().client.hear, [stream[:at], stream[at:]])
            self.assertEqual(heard, said)

    @settings(deadline=None, max_examples=100)
    @given(st.data(), sizes)
    def test_mutations(self, data: st.DataObject, lengths: list[int]) -> None:
        """
        Damaged bytes give messages, or a L{RemoteProtocolError}.
        """
        _, stream = self.talk()
        damaged = data.draw(mutated(st.just(stream)))
        self.survive(Pair().prove().client, pieces(damaged, lengths))

    @settings(deadline=None, max_examples=100)
    @given(
        st.sampled_from(Role),
        st.booleans(),
        st.lists(st.tuples(st.integers(0, 3), confirmations), max_size=10),
    )
    def test_anything(self, role: Role, proven: bool, said: list[tuple[int, Confirmation]]) -> None:
        """
        Well-formed messages in any order give messages, or a
        L{RemoteProtocolError}.
        """
        pair = Pair().prove().attach(1).attach(2) if proven else Pair()
        end = pair.client if role is Role.CLIENT else pair.remote
        self.survive(end, [encode(*each) for each in said])

    def survive(self, end: ConfirmationChannels, parts: Iterable[bytes]) -> None:
        """
        Nothing but a L{RemoteProtocolError} may come out.
        """
        try:
            fed(end.hear, parts)
        except RemoteProtocolError:
            pass


class Talk(RuleBasedStateMachine):
    """
    Two ends with two channels that say what comes to their mind; bytes wait on
    the way and cross each other. What an end lets pass when it says it, the
    other never refuses, for both keep the same books.
    """

    def __init__(self) -> None:
        super().__init__()
        self.remote = ConfirmationChannels(Role.REMOTE)
        self.client = ConfirmationChannels(Role.CLIENT)
        self.toClient = bytearray()
        self.toRemote = bytearray()
        self.said: dict[Role, list[tuple[int, Confirmation]]] = {Role.CLIENT: [], Role.REMOTE: []}
        self.heard: dict[Role, list[tuple[int, Confirmation]]] = {Role.CLIENT: [], Role.REMOTE: []}

    @initialize(window=st.integers(0, 40))
    def prove(self, window: int) -> None:
        """
        Both ends are proven.
        """
        self.saying(Role.REMOTE, 0, CHALLENGE)
        self.deliver(Role.REMOTE, 10**6)
        self.saying(Role.CLIENT, 0, ListenerProof(bytes(16), bytes(32), window))
        self.deliver(Role.CLIENT, 10**6)
        self.saying(Role.REMOTE, 0, CALLER_PROOF)
        self.deliver(Role.REMOTE, 10**6)

    @rule(
        role=st.sampled_from(Role),
        channel=st.integers(0, 2),
        message=st.one_of(
            st.sampled_from([STARTED, ENDED, Heartbeat(), InputEnded(), EndAcknowledged()]),
            st.builds(
                TaskAttached,
                st.sampled_from([FIRST, SECOND]),
                st.integers(0, 3),
                st.integers(0, 3),
                st.integers(0, 9),
            ),
            st.builds(OutputAcknowledged, st.integers(0, 9), st.integers(0, 9)),
            st.builds(InputTaken, st.integers(0, 9)),
        ),
    )
    def say(self, role: Role, channel: int, message: Confirmation) -> None:
        """
        Something is said, whether it may be or not.
        """
        self.saying(role, channel, message)

    @rule(channel=st.integers(1, 2), error=st.booleans(), size=st.integers(1, 12))
    def output(self, channel: int, error: bool, size: int) -> None:
        """
        The task prints.
        """
        stream = Stream.STDERR if error else Stream.STDOUT
        try:
            header = self.remote.outputHeader(channel, stream, size)
        except LocalProtocolError:
            return
        offset = int.from_bytes(header[-8:], "big")
        self.toClient += header + bytes(size)
        self.said[Role.REMOTE].append((channel, out(offset, bytes(size), stream)))

    @rule(channel=st.integers(1, 2), size=st.integers(1, 5))
    def input(self, channel: int, size: int) -> None:
        """
        The client has input.
        """
        try:
            offset = self.client.inputOffset(channel)
        except LocalProtocolError:
            return
        self.saying(Role.CLIENT, channel, TaskInput(offset, bytes(size)))

    @rule(channel=st.integers(1, 2))
    def acknowledge(self, channel: int) -> None:
        """
        The client acknowledges what it heard.
        """
        try:
            message = self.client.acknowledgement(channel)
        except LocalProtocolError:
            return
        self.saying(Role.CLIENT, channel, message)

    @rule(role=st.sampled_from(Role), size=st.integers(1, 60))
    def deliver(self, role: Role, size: int) -> None:
        """
        Some bytes of what one end said arrive.
        """
        way = self.toClient if role is Role.REMOTE else self.toRemote
        end = self.client if role is Role.REMOTE else self.remote
        data = bytes(way[:size])
        del way[:size]
        self.heard[role] += end.hear(data)

    @invariant()
    def nothingIsLost(self) -> None:
        """
        What was heard is what was said, so far.
        """
        for role in Role:
            assert self.heard[role] == self.said[role][: len(self.heard[role])]

    @invariant()
    def windowsHold(self) -> None:
        """
        No end lets the other exceed a window.
        """
        for end in (self.client, self.remote):
            for channel in (1, 2):
                try:
                    rooms = (end.outputRoom(channel), end.inputRoom(channel))
                except LocalProtocolError:
                    continue
                assert min(rooms) >= 0, rooms

    def teardown(self) -> None:
        """
        All that was said arrives.
        """
        for role in Role:
            self.deliver(role, 10**6)
            assert self.heard[role] == self.said[role]

    def saying(self, role: Role, channel: int, message: Confirmation) -> None:
        """
        An end says something, if it may.
        """
        end, way = (
            (self.client, self.toRemote) if role is Role.CLIENT else (self.remote, self.toClient)
        )
        try:
            way += end.say(channel, message)
        except ProtocolError as error:
            assert isinstance(error, LocalProtocolError)
            return
        self.said[role].append((channel, message))


class TalkMachineTests(SynchronousTestCase):
    """
    Two ends, whatever they say and however it crosses.
    """

    def test_talk(self) -> None:
        """
        What one end may say the other understands; nothing is lost, and no window
        exceeded.
        """
        run_state_machine_as_test(
            Talk, settings=settings(deadline=None, max_examples=60, stateful_step_count=40)
        )
