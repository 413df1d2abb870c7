"""
The remote's end of a standing confirmation connection: the tasks of one client,
each on a channel of its own.

A task that floods holds back itself and nobody else: output waits with its
task, one frame of each is written in turn, and the small frames of starts and
ends go before all that waits.
"""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import TYPE_CHECKING, cast

from twisted.internet.interfaces import IReactorTCP

from jobscheduler_tcp.interfaces import IConfirmedTask
from jobscheduler_tcp.messages import (
    Confirmation,
    EndAcknowledged,
    InputEnded,
    InputTaken,
    OutputAcknowledged,
    Stream,
    TaskAbandoned,
    TaskEnded,
    TaskInput,
    TaskStarted,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.remote.caller import Caller
from jobscheduler_tcp.remote.nobody import NOBODY
from jobscheduler_tcp.wire.extended import MAX_DATA

if TYPE_CHECKING:
    from jobscheduler_tcp.remote.standings import StandingFactory

# Bytes of output of one task until it is the turn of the next, if there is one: as
# much as a transport of Twisted takes before it says that it has enough.
MAX_TURN = 65536


class StandingConfirmation(Caller):
    """
    The connection.
    """

    _factory: StandingFactory

    def __init__(self, factory: StandingFactory) -> None:
        super().__init__(factory)
        self._numbers = count(1)
        self._tasks: dict[int, TaskLine] = {}
        self._turns: deque[TaskLine] = deque()
        self._ports: tuple[int, int] | None = None  # ours and the client's
        self._clogged = False  # the transport holds more than it likes
        self._writing = False

    @property
    def stands(self) -> bool:
        """
        Whether tasks can be confirmed here.
        """
        return self._channels.proven and not self._closed

    @property
    def port(self) -> int:
        """
        The client's port of the connection.
        """
        return self._bothPorts()[1]

    @property
    def outgoing(self) -> int:
        """
        Our port of the connection.
        """
        return self._bothPorts()[0]

    def _bothPorts(self) -> tuple[int, int]:
        # Each task has them in the log, and the transport asks the system.
        if self._ports is None:
            ends = self.transport.getHost(), self.transport.getPeer()
            ours, theirs = (getattr(end, "port", 0) for end in ends)
            self._ports = ours, theirs
        return self._ports

    def open(self, line: TaskLine) -> int:
        """
        Open the channel of a task.

        @return: its number.
        """
        number = next(self._numbers)
        self._tasks[number] = line
        self.say(number, line.confirmed.opens())
        return number

    def say(self, channel: int, message: Confirmation) -> None:
        """
        Say something short, before all output that waits.
        """
        self.transport.write(self._channels.say(channel, message))

    def room(self, channel: int) -> int:
        """
        How many bytes of output the client still takes of a task.
        """
        return self._channels.outputRoom(channel)

    def sayOutput(self, channel: int, stream: Stream, data: bytes) -> None:
        """
        Write a frame of output.
        """
        header = self._channels.outputHeader(channel, stream, len(data))
        self.transport.writeSequence([header, data])

    def drop(self, channel: int) -> None:
        """
        Say nothing more of a task, and that nothing more will be said.
        """
        if channel in self._tasks:
            self.say(channel, TaskAbandoned())

    def queue(self, line: TaskLine) -> None:
        """
        A task has output that the client has room for.
        """
        if not line.queued:
            line.queued = True
            self._turns.append(line)
        self._write()

    def _write(self) -> None:
        if self._writing:
            return
        self._writing = True
        try:
            while self._turns and not (self._clogged or self._closed):
                line = self._turns.popleft()
                line.queued = False
                if line.write(MAX_TURN if self._turns else MAX_DATA):
                    self.queue(line)
        finally:
            self._writing = False

    # --------------------------------------------------- what the connection does

    def proven(self) -> None:
        """
        Tasks may be started.
        """
        self._factory.stands()

    def gone(self) -> None:
        """
        It broke for every task.
        """
        self._closed = True
        self._turns.clear()
        lines, self._tasks = self._tasks, {}
        for line in lines.values():
            line.lost()
        self._factory.gone()

    def heard(self, channel: int, message: Confirmation) -> None:
        """
        The client says something of a task.
        """
        line = self._tasks[channel]
        if isinstance(message, (EndAcknowledged, TaskAbandoned)):
            del self._tasks[channel]
            if line.dropped:
                pass  # it answers that
            elif isinstance(message, TaskAbandoned):
                self.say(channel, TaskAbandoned())
                line.lost()
            else:
                line.acknowledged()
        else:
            line.heard(message)

    def pauseProducing(self) -> None:
        """
        The client's end takes nothing at the moment.
        """
        self._clogged = True

    def resumeProducing(self) -> None:
        """
        It takes again.
        """
        self._clogged = False
        self._write()


class TaskLine:
    """
    The channel of one task: what L{ConfirmationFactory
    <jobscheduler_tcp.remote.confirmation.ConfirmationFactory>} and its connection
    are to a task with a connection of its own.

    @ivar confirmed: the task.
    @ivar queued: whether it waits for its turn.
    @ivar blocked: whether the task was told to pause.
    @ivar dropped: whether the task is confirmed elsewhere.
    """

    __slots__ = (
        "_connection",
        "_end",
        "_number",
        "_over",
        "_standing",
        "_waiting",
        "blocked",
        "confirmed",
        "dropped",
        "queued",
    )

    def __init__(self, standing: StandingConfirmation | None, confirmed: IConfirmedTask) -> None:
        """
        @param standing: C{None} if there is none any more.
        """
        self.confirmed = confirmed
        self.queued = self.blocked = self.dropped = False
        self._standing = standing
        # Nothing is said before the channel was opened, where one stands.
        self._connection = cast(StandingConfirmation, standing)
        self._number = 0
        self._waiting: deque[tuple[Stream, bytes | memoryview]] | None = None
        self._end: TaskEnded | None = None  # to be said after what waits
        self._over = False  # the end was said or waits, or nobody hears it

    # --------------------------------------------------------------- how it is opened

    def dial(self, reactor: IReactorTCP, host: str, port: int) -> None:
        """
        Open the channel: nobody has to be dialled.
        """
        standing = self._standing
        if standing is None or not standing.stands:
            text = "the standing confirmation connection is gone"
            self.confirmed.callbackFailed(Reason.CALLBACK_REFUSED, text, 0)
        else:
            self._number = standing.open(self)
            self.confirmed.callbackTaken()

    @property
    def connection(self) -> TaskLine | None:
        """
        The channel, C{None} before it is opened.
        """
        return self if self._number else None

    @property
    def port(self) -> int:
        """
        The client's port of the connection.
        """
        return self._standing.port if self._standing is not None else 0

    @property
    def outgoing(self) -> int:
        """
        Our port of the connection.
        """
        return self._standing.outgoing if self._standing is not None else 0

    def abort(self) -> None:
        """
        Hang up without a word, which ends it for all: the remote is stopping.
        """
        if self._standing is not None:
            self._standing.abort()

    def dismiss(self) -> None:
        """
        The task is confirmed elsewhere: say so, and tell nobody.
        """
        if self._number:
            self._forget()
            self.confirmed = NOBODY
            self.dropped = True
            self._connection.drop(self._number)

    def part(self) -> None:
        """
        The end of the task is acknowledged, or its connection is gone: forget who
        knows us.
        """
        self.confirmed = NOBODY

    # ----------------------------------------------------- what is said of the task

    def taskStarted(self, message: TaskStarted) -> None:
        """
        Confirm the start.
        """
        if not self._over:
            self._connection.say(self._number, message)

    def output(self, stream: Stream, data: bytes) -> None:
        """
        Give the client output. What cannot be written at once is kept, and the
        task is told to pause.
        """
        if self._over or not data:
            return
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append((stream, data))
        if self._connection.room(self._number) > 0:
            self._connection.queue(self)
        self._balance()

    def inputTaken(self, offset: int) -> None:
        """
        Tell the client how much of its input was taken, so that it may send more.
        """
        if not self._over:
            self._connection.say(self._number, InputTaken(offset))

    def taskEnded(self, message: TaskEnded) -> None:
        """
        Confirm the end, after all output.
        """
        if not self._over:
            self._over = True
            self._end = message
            if not self._waiting:
                self._sayEnd()

    # ------------------------------------------------------ what the connection does

    def write(self, most: int) -> bool:
        """
        Write one frame of output.

        @param most: bytes that may be in it.
        @return: whether there is more that may be written.
        """
        waiting = self._waiting
        if not waiting:
            return False  # it was given up meanwhile
        room = self._connection.room(self._number)
        stream, data = waiting[0]
        size = min(len(data), room, most)
        if size < len(data):
            if size <= 0:
                return False
            whole = memoryview(data)
            waiting[0] = (stream, whole[size:])
            data = whole[:size]
        else:
            waiting.popleft()
        # A transport takes nothing but bytes; of those no copy is made.
        self._connection.sayOutput(self._number, stream, bytes(data))
        if waiting:
            return room > size
        self._waiting = None
        if self._end is not None:
            self._sayEnd()
        else:
            self._balance()
        return False

    def heard(self, message: Confirmation) -> None:
        """
        The client says something.
        """
        match message:
            case OutputAcknowledged():
                self.confirmed.outputAcknowledged(message.stdout, message.stderr)
                if self._waiting:
                    self._connection.queue(self)
            case TaskInput():
                self.confirmed.inputReceived(bytes(message.data))
            case InputEnded():
                self.confirmed.inputEnded()
            case _:
                raise AssertionError(f"{message} is no word of the client's on a task")

    def lost(self) -> None:
        """
        Nobody hears of the task any more.
        """
        self._forget()
        self.confirmed.callbackLost()

    def acknowledged(self) -> None:
        """
        The client knows how the task ended.
        """
        self._forget()
        self.confirmed.endAcknowledged()

    def _forget(self) -> None:
        self._over = True
        self._waiting = self._end = None

    def _sayEnd(self) -> None:
        end, self._end = self._end, None
        assert end is not None
        self._connection.say(self._number, end)

    def _balance(self) -> None:
        blocked = bool(self._waiting)
        if blocked is not self.blocked:
            self.blocked = blocked
            if blocked:
                self.confirmed.pauseProducing()
            else:
                self.confirmed.resumeProducing()
