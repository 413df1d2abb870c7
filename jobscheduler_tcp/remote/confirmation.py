"""
The remote's side of the confirmation connection of one task: dial back to the
client, and confirm to it what becomes of the task.
"""

from __future__ import annotations

from collections import deque

from twisted.internet.interfaces import IReactorTime

from jobscheduler_tcp import streams
from jobscheduler_tcp.heartbeat import Heart
from jobscheduler_tcp.interfaces import IConfirmedTask
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
    TaskAbandoned,
    TaskAttached,
    TaskEnded,
    TaskInput,
    TaskOutput,
    TaskStarted,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.remote.caller import Caller, Dialer
from jobscheduler_tcp.remote.nobody import NOBODY
from jobscheduler_tcp.wire.extended import MAX_DATA

# A task that has a connection of its own has this channel.
CHANNEL = 1


# An empty deque takes 700 bytes, and many tasks print nothing: they share one.
_NOTHING: deque[tuple[Stream, bytes | memoryview]] = deque()


class ConfirmationProtocol(Caller):
    """
    The confirmation connection of one task.

    @ivar confirmed: the task.
    @ivar blocked: whether it was told to pause.
    """

    _factory: ConfirmationFactory

    def __init__(self, factory: ConfirmationFactory) -> None:
        super().__init__(factory)
        self.confirmed = factory.confirmed
        self.blocked = False
        self._waiting = _NOTHING
        self._end: TaskEnded | None = None  # to be said after what waits
        self._clogged = False  # the transport holds more than it likes
        self._ending = False  # the end was said or waits

    # ------------------------------------------------------------ the connection

    def firstWords(self) -> bytes:
        """
        Open the task's channel.
        """
        return self._channels.say(CHANNEL, self.confirmed.opens())

    def proven(self) -> None:
        """
        The task may run.
        """
        self.confirmed.callbackTaken()

    def gone(self) -> None:
        """
        Tell the task, unless its end was acknowledged.
        """
        if self._channels.channels:
            self.confirmed.callbackLost()
        self._waiting.clear()

    def abort(self) -> None:
        """
        Hang up without a word.
        """
        self._waiting.clear()
        super().abort()

    # ---------------------------------------------------- what the client says

    def heard(self, channel: int, message: Confirmation) -> None:
        """
        The client says something of the task.
        """
        match message:
            case OutputAcknowledged():
                self.confirmed.outputAcknowledged(message.stdout, message.stderr)
                self._flush()
            case TaskInput():
                self.confirmed.inputReceived(bytes(message.data))
            case InputEnded():
                self.confirmed.inputEnded()
            case EndAcknowledged():
                self._endAcknowledged()
            case TaskAbandoned():
                self.hangUp("it gave the task up")
            case (
                Challenge()
                | ListenerProof()
                | CallerProof()
                | Heartbeat()
                | TaskAttached()
                | TaskStarted()
                | TaskOutput()
                | InputTaken()
                | TaskEnded()
            ):
                raise AssertionError(f"{message} is no word of the client's on a task")

    def _endAcknowledged(self) -> None:
        # We close first, so that TIME_WAIT stays at our side, where no port is
        # listened on again and again.
        self._closed = True
        self._factory.heart.remove(self)
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        self.confirmed.endAcknowledged()

    # ----------------------------------------------------- what is said of the task

    def taskStarted(self, message: TaskStarted) -> None:
        """
        Confirm the start.
        """
        if not self._closed:
            self.transport.write(self._channels.say(CHANNEL, message))

    def output(self, stream: Stream, data: bytes) -> None:
        """
        Give the client output. What it has no room for is kept, and the task is
        told to pause.
        """
        if not self._closed and data:
            if self._waiting is _NOTHING:
                self._waiting = deque()
            self._waiting.append((stream, data))
            self._flush()

    def inputTaken(self, offset: int) -> None:
        """
        Tell the client how much of its input was taken, so that it may send more.
        """
        if not self._closed and not self._ending:
            self.transport.write(self._channels.say(CHANNEL, InputTaken(offset)))

    def taskEnded(self, message: TaskEnded) -> None:
        """
        Confirm the end, after all output.
        """
        if not self._closed:
            self._end = message
            self._ending = True
            self._flush()

    def _flush(self) -> None:
        channels = self._channels
        waiting = self._waiting
        room = channels.outputRoom(CHANNEL)
        while waiting and room > 0:
            stream, data = waiting[0]
            size = len(data)
            most = min(room, MAX_DATA)
            if size > most:
                whole = memoryview(data)
                waiting[0] = (stream, whole[most:])
                data, size = whole[:most], most
            else:
                waiting.popleft()
            # A transport takes nothing but bytes; of those no copy is made.
            self.transport.writeSequence(
                [channels.outputHeader(CHANNEL, stream, size), bytes(data)]
            )
            room -= size
        if self._end is not None and not waiting:
            end, self._end = self._end, None
            self._sayLast(channels.say(CHANNEL, end))
        self._balance(room)

    def _sayLast(self, data: bytes) -> None:
        # Nothing more is said in this turn that it could leave with. Other transports
        # may hold words that were written before, which only they know.
        if isinstance(self.transport, streams.Stream):
            self.transport.writePromptly(data)
        else:
            self.transport.write(data)

    def _balance(self, room: int) -> None:
        blocked = self._clogged or room <= 0
        if blocked is not self.blocked:
            self.blocked = blocked
            if blocked:
                self.confirmed.pauseProducing()
            else:
                self.confirmed.resumeProducing()

    # ------------------------------------------------- flow, told by the transport

    def pauseProducing(self) -> None:
        """
        The client's end takes nothing at the moment.
        """
        # Called while we write, so nothing more may be written here.
        self._clogged = True
        if not self._closed:
            self._balance(0)

    def resumeProducing(self) -> None:
        """
        It takes again.
        """
        self._clogged = False
        if not self._closed:
            self._flush()


class ConfirmationFactory(Dialer):
    """
    Dial the confirmation connection of one task, and tell the task what came of
    it.

    @ivar connection: our end, C{None} while there is none.
    """

    def __init__(
        self,
        task: str,
        token: bytes,
        confirmed: IConfirmedTask,
        clock: IReactorTime,
        heart: Heart | None = None,
    ) -> None:
        """
        @param task: the UUID of the task.
        @param token: what the listener has to know.
        @param confirmed: hears what the client does.
        @param heart: the heart of the service that this belongs to.
        """
        super().__init__(task, token, clock, heart)
        self.confirmed = confirmed
        self.connection: ConfirmationProtocol | None = None

    def build(self) -> ConfirmationProtocol:
        """
        Make our end.
        """
        self.connection = ConfirmationProtocol(self)
        return self.connection

    def dismiss(self) -> None:
        """
        The task is confirmed elsewhere: hang up, and tell nobody.
        """
        if self.connection is not None:
            self.connection.confirmed = NOBODY
            self.connection.abort()

    def part(self) -> None:
        """
        The end of the task is acknowledged, or its connection is gone: forget who
        knows us.
        """
        if self.connection is not None:
            self.connection.confirmed = NOBODY
        self.confirmed = NOBODY
        self.connection = self._caller = None

    def tellFailed(self, reason: Reason, text: str, errno: int) -> None:
        """
        Tell the task that there will be no connection.
        """
        self.confirmed.callbackFailed(reason, text, errno)
