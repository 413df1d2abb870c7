"""
One end of a confirmation connection in the extended dialect, without a network:
bytes to messages and back, and whether they may be said now.

Both ends keep the same books. What the tables (L{conversation}) and the offsets
and windows of each channel do not allow raises L{LocalProtocolError} when our
side tries to say it, and L{RemoteProtocolError} when it was heard.
"""

from __future__ import annotations

from collections.abc import Iterator

from jobscheduler_tcp.books import BLANK, INPUT_WINDOW, Books
from jobscheduler_tcp.conversation import HANDSHAKE, TASK, Conversation, Place, Role
from jobscheduler_tcp.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from jobscheduler_tcp.messages import (
    Confirmation,
    InputEnded,
    InputTaken,
    ListenerProof,
    OutputAcknowledged,
    Stream,
    TaskAttached,
    TaskInput,
    TaskOutput,
)
from jobscheduler_tcp.wire import extended
from jobscheduler_tcp.wire.decoder import MessageDecoder

# What a task may print beyond what was acknowledged: enough for 160 MB/s at a round
# trip of 10 ms. With half of it both ends would do a tenth more for the same output,
# for they would be woken twice as often for acknowledgements.
WINDOW = 2097152

# A channel's books take about 500 bytes: a peer can make us keep 32 MiB.
MAX_CHANNELS = 65536


# What has something to be entered into the books of a channel, and does not close it.
_ENTERED = frozenset(
    {TaskOutput, OutputAcknowledged, TaskInput, InputTaken, InputEnded, TaskAttached}
)


class _Task(Conversation):
    """
    The channel of one task.

    @ivar books: not to be written into.
    """

    __slots__ = ("books",)

    def __init__(self, role: Role) -> None:
        super().__init__(TASK, role)
        self.books = BLANK

    def written(self) -> Books:
        """
        The books, to be written into.
        """
        if self.books is BLANK:
            self.books = Books()
        return self.books

    def enter(self, message: Confirmation, window: int, culprit: type[ProtocolError]) -> None:
        """
        Enter what was said into the books.
        """
        if type(message) is TaskAttached and message.window == INPUT_WINDOW:
            begun = message.stdout or message.stderr or message.stdin or message.taken
            if not begun and not message.inputEnded:
                return  # most tasks: the same stands in blank books
        self.written().enter(message, window, culprit)


_CLOSED = Place.END_ACKNOWLEDGED

_LONGEST_PROVEN = extended.MAX_PROVEN + extended.LENGTH

# The handshakes that are over: one for all.
_PROVEN: dict[Role, Conversation] = {}

# The channel of a task that has a connection of its own.
ALONE = 1
_NO_OTHERS: dict[int, _Task] = {}


class ConfirmationChannels:
    """
    One end of a confirmation connection.

    @ivar proven: whether both ends have proved themselves; until then there is
        no channel but 0.
    @ivar window: bytes of output of each task that the remote may send beyond
        what was acknowledged, as in the last L{ListenerProof} said or heard.
    """

    __slots__ = (
        "_alone",
        "_decoder",
        "_handshake",
        "_longest",
        "_role",
        "_tasks",
        "proven",
        "window",
    )

    def __init__(self, role: Role, window: int = WINDOW) -> None:
        self.proven = False
        self.window = window
        self._role = role
        self._handshake = Conversation(HANDSHAKE, role)
        # Most connections have one task, and a dict for that takes twice its books.
        self._alone: _Task | None = None  # on channel 1
        self._tasks = _NO_OTHERS
        self._decoder = MessageDecoder()
        self._longest = self._decoder.limit + extended.LENGTH

    @property
    def channels(self) -> int:
        """
        The number of channels of tasks that are open.
        """
        return len(self._tasks) + (self._alone is not None)

    def hear(self, data: bytes) -> Iterator[tuple[int, Confirmation]]:
        """
        Give out what the peer says, with its channel. Read the iterator to its
        end before hearing more.

        @raise RemoteProtocolError: hang up; nothing heard afterwards means
            anything.
        """
        for channel, message in self._decoder.feed(data):
            task = self._alone if channel == ALONE else self._tasks.get(channel)
            if task is not None:
                task.hear(message)
                if type(message) in _ENTERED:
                    task.enter(message, self.window, RemoteProtocolError)
                elif task.step.place is _CLOSED:
                    self._close(channel)
            elif channel == 0:
                self._handshake.hear(message)
                self._shake(message)
            else:
                task = self._opened(channel, message, RemoteProtocolError)
                task.hear(message)
                task.enter(message, self.window, RemoteProtocolError)
                self._open(channel, task)
            yield channel, message

    def say(self, channel: int, message: Confirmation) -> bytes:
        """
        Make the bytes of a message.

        @raise LocalProtocolError: it may not be said now; nothing has changed.
        """
        data = extended.encode(channel, message)
        if len(data) > self._longest:
            raise LocalProtocolError(f"{type(message).__name__} is too long")
        task = self._alone if channel == ALONE else self._tasks.get(channel)
        if task is not None:
            task.speak(message)
            if type(message) in _ENTERED:
                task.enter(message, self.window, LocalProtocolError)
            elif task.step.place is _CLOSED:
                self._close(channel)
        elif channel == 0:
            self._handshake.speak(message)
            self._shake(message)
        else:
            task = self._opened(channel, message, LocalProtocolError)
            task.speak(message)
            task.enter(message, self.window, LocalProtocolError)
            self._open(channel, task)
        return data

    def outputHeader(self, channel: int, stream: Stream, size: int) -> bytes:
        """
        Remote: make what stands before the next C{size} bytes of a stream, and
        count them as said. They must follow at once.

        @raise LocalProtocolError: more than fits one frame or the window, or the
            task does not run.
        """
        task = self._task(channel)
        if task.step.place is not Place.TASK_RUNNING or self._role is not Role.REMOTE:
            raise LocalProtocolError("output of a task that does not run")
        if not 0 < size <= extended.MAX_DATA:
            raise LocalProtocolError(f"{size} bytes of data in one frame")
        books = task.written()
        offset = books.stderr if stream is Stream.STDERR else books.stdout
        books.output(stream, offset, size, self.window, LocalProtocolError)
        return extended.outputHeader(channel, stream, offset, size)

    def outputRoom(self, channel: int) -> int:
        """
        Tell how many bytes of output the remote may still send.
        """
        return self.window - self._task(channel).books.unacknowledged()

    def inputRoom(self, channel: int) -> int:
        """
        Tell how many bytes of input the client may still send.
        """
        books = self._task(channel).books
        return books.inputWindow - (books.given - books.taken)

    def inputOffset(self, channel: int) -> int:
        """
        Tell the offset of the next byte of input.
        """
        return self._task(channel).books.given

    def received(self, channel: int) -> tuple[int, int]:
        """
        Client: tell how many bytes of stdout and stderr were heard so far.
        """
        books = self._task(channel).books
        return books.stdout, books.stderr

    def acknowledgement(self, channel: int) -> OutputAcknowledged:
        """
        Client: make the message that acknowledges all of them.
        """
        return OutputAcknowledged(*self.received(channel))

    def _task(self, channel: int) -> _Task:
        task = self._alone if channel == ALONE else self._tasks.get(channel)
        if task is None:
            raise LocalProtocolError(f"there is no channel {channel}")
        return task

    def _open(self, channel: int, task: _Task) -> None:
        if channel == ALONE:
            self._alone = task
        else:
            if self._tasks is _NO_OTHERS:
                self._tasks = {}
            self._tasks[channel] = task

    def _close(self, channel: int) -> None:
        if channel == ALONE:
            self._alone = None
        else:
            del self._tasks[channel]

    def _opened(self, channel: int, message: Confirmation, culprit: type[ProtocolError]) -> _Task:
        # Who may say TaskAttached is left to the table.
        if not self.proven:
            raise culprit(f"{type(message).__name__} before both ends are proven")
        if type(message) is not TaskAttached:
            raise culprit(f"{type(message).__name__} on channel {channel}, which is not open")
        if self.channels >= MAX_CHANNELS:
            raise culprit(f"more than {MAX_CHANNELS} channels")
        return _Task(self._role)

    def _shake(self, message: Confirmation) -> None:
        if type(message) is ListenerProof:
            self.window = WINDOW if message.window == WINDOW else message.window
        elif not self.proven and self._handshake.step.place is Place.PROVEN:
            self.proven = True
            self._decoder.limit = extended.MAX_PROVEN
            self._longest = _LONGEST_PROVEN
            # From here on only heartbeats are said, which lead nowhere else.
            self._handshake = _PROVEN.setdefault(self._role, self._handshake)
