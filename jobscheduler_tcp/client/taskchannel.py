"""
The client's end of one task's channel on a confirmation connection, and on the
one after that if it breaks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol as TypingProtocol
from typing import cast

from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.channels import ConfirmationChannels
from jobscheduler_tcp.client.taskinput import InputBuffer
from jobscheduler_tcp.digests import NOTHING, Checksum, finished, updated
from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.interfaces import IConfirmationReceiver, ITaskConfirmation
from jobscheduler_tcp.messages import (
    EndAcknowledged,
    InputEnded,
    InputTaken,
    OutputAcknowledged,
    Stream,
    TaskAttached,
    TaskEnded,
    TaskInput,
    TaskOutput,
    TaskStarted,
)


def _ignore() -> None:
    pass


# Where the output of most tasks begins.
_BEGINNING = (0, 0)


class TaskConnection(TypingProtocol):
    """
    Where a task is confirmed.
    """

    def abort(self) -> None:
        """
        Hang up, and hear nothing more of the task.
        """


@implementer(ITaskConfirmation)
class TaskChannel:
    """
    What the remote confirms of one task, and what it is answered.

    To the receiver, a task that is confirmed on one connection after another
    looks like one that is confirmed on a single one.

    @ivar onAttached: called when the channel is opened.
    @ivar givenUp: whether the receiver wants no more of the task.
    """

    # As many attributes would take twice the memory in a dict.
    __slots__ = (
        "_bound",
        "_channels",
        "_closed",
        "_connection",
        "_endHeard",
        "_endKept",
        "_ended",
        "_have",
        "_input",
        "_kept",
        "_lasting",
        "_number",
        "_onAcknowledged",
        "_paused",
        "_receiver",
        "_said",
        "_started",
        "_stderr",
        "_stdout",
        "_task",
        "_told",
        "_transport",
        "_unacknowledged",
        "_whole",
        "givenUp",
        "onAttached",
    )

    _log = Logger()
    _channels: ConfirmationChannels
    _transport: ITCPTransport

    def __init__(
        self,
        task: str,
        receiver: IConfirmationReceiver,
        *,
        lasting: bool = False,
        stdout: int = 0,
        stderr: int = 0,
    ) -> None:
        """
        @param lasting: whether the task may be confirmed on another connection
            when the first one breaks.
        @param stdout: how many bytes of stdout somebody has already.
        @param stderr: the same for stderr.
        """
        self.onAttached: Callable[[], None] = _ignore
        self.givenUp = False
        self._task = task
        self._receiver = receiver
        self._lasting = lasting
        # As of the last connection, acknowledged.
        self._have = self._said = (stdout, stderr) if stdout or stderr else _BEGINNING
        self._stdout: Checksum | None = None
        self._stderr: Checksum | None = None
        self._whole = not stdout and not stderr  # the checksums are of all of it
        self._input: InputBuffer | None = None  # most tasks are given none
        self._number = 0
        self._unacknowledged = 0
        self._kept: tuple[int, int] | None = None  # by a receiver that tells
        self._bound = self._told = self._started = False
        self._paused = False
        self._ended = self._endKept = self._endHeard = False
        self._closed = True
        self._connection: TaskConnection | None = None
        self._onAcknowledged: Callable[[], None] = _ignore

    @property
    def offsets(self) -> tuple[int, int]:
        """
        How many bytes of stdout and stderr have come.
        """
        if not self._bound or self._closed:
            return self._have
        return self._channels.received(self._number)

    def bind(
        self,
        number: int,
        channels: ConfirmationChannels,
        transport: ITCPTransport,
        connection: TaskConnection,
    ) -> None:
        """
        Be confirmed on this connection from now on.
        """
        self._number = number
        self._channels = channels
        self._transport = transport
        self._connection = connection
        self._bound = True
        self._closed = self._endHeard = False
        self._unacknowledged = 0

    # ---------------------------------------------------- what the remote says

    def attached(self, message: TaskAttached) -> None:
        """
        The channel was opened.

        @raise RemoteProtocolError: not for our task, or not where we are.
        """
        if message.task != self._task:
            raise RemoteProtocolError(f"task {message.task} on the connection of {self._task}")
        stdout, stderr = self._have
        if message.stdout < stdout or message.stderr < stderr:
            raise RemoteProtocolError("the output goes on where it was already")
        if message.stdout > stdout or message.stderr > stderr:
            if not self._lasting:
                raise RemoteProtocolError("the output does not begin at the beginning")
            self._log.warn(
                "Of the output of task {task} {count} bytes were dropped",
                task=self._task,
                count=message.stdout - stdout + message.stderr - stderr,
            )
            self._whole = False
        offsets = message.stdout, message.stderr
        dropped = offsets != self._have
        self._said = offsets if dropped else self._have  # one object for both
        if message.stdin or message.inputEnded or self._told:
            self._buffer().resume(message.stdin, message.inputEnded)
        self.onAttached()
        # Who tells what it keeps has to count from there.
        if not self._told or (dropped and self._kept is not None):
            self._told = True
            self._receiver.taskAttached(self, message)

    def started(self, message: TaskStarted) -> None:
        """
        The program runs.
        """
        if not self._started:
            self._started = True
            self._receiver.taskStarted(message)

    def output(self, message: TaskOutput) -> None:
        """
        The task printed something.
        """
        data = message.data
        if not self._whole:
            pass
        elif message.stream is Stream.STDERR:
            self._stderr = updated(self._stderr, data)
        else:
            self._stdout = updated(self._stdout, data)
        self._receiver.outputReceived(message.stream, cast(bytes, data))  # heard as bytes
        self._unacknowledged += len(data)
        # By halves: the remote has the other half to go on meanwhile.
        if self._unacknowledged * 2 >= self._channels.window and self._kept is None:
            self.acknowledge()

    def inputTaken(self, message: InputTaken) -> None:
        """
        There is more room for input.
        """
        if self._input is not None:
            self._input.taken(message.offset)

    def ended(self, message: TaskEnded, onAcknowledged: Callable[[], None]) -> None:
        """
        The task is over.

        @param onAcknowledged: called when the receiver has taken that, and the
            remote was told so.
        @raise RemoteProtocolError: not all of the output came as it was sent.
        """
        self._have = stdout, stderr = self._channels.received(self._number)
        self._check("stdout", stdout, self._stdout, message.stdoutSize, message.stdoutChecksum)
        self._check("stderr", stderr, self._stderr, message.stderrSize, message.stderrChecksum)
        self._endHeard = True
        self._onAcknowledged = onAcknowledged
        if self._ended:  # on an earlier connection
            if self._endKept:
                self._acknowledgeEnd(None)
            return
        self._ended = True
        if self._input is not None:
            self._input.stop()
        kept = self._receiver.taskEnded(message)
        if kept is None:
            self._acknowledgeEnd(None)
        else:
            kept.addCallbacks(self._acknowledgeEnd, self._notKept)

    def _check(
        self, name: str, got: int, heard: Checksum | None, size: int, checksum: bytes
    ) -> None:
        # Where nothing ran there is no checksum either.
        if got != size or (self._whole and (checksum or NOTHING) != finished(heard)):
            raise RemoteProtocolError(f"{got} bytes of {name} came, not the {size} sent")

    def lost(self, reason: Failure) -> None:
        """
        The connection is closed.
        """
        self._leave()
        if self._lasting and not self._ended:
            self._buffer().suspend()
        elif self._input is not None:
            self._input.stop()
        if not self._ended:
            self._receiver.confirmationLost(reason)

    def close(self) -> None:
        """
        Say nothing more.
        """
        self._leave()
        self._buffer().stop()

    def acknowledge(self) -> None:
        """
        Let the remote know what the receiver has taken, if there is news and it
        may know.
        """
        if not self._unacknowledged or self._paused or self._ended or self._closed:
            return
        received = self._channels.acknowledgement(self._number)
        if self._kept is None:
            self._unacknowledged = 0
        else:
            stdout = min(max(self._kept[0], self._said[0]), received.stdout)
            stderr = min(max(self._kept[1], self._said[1]), received.stderr)
            if (stdout, stderr) == self._said:
                return
            self._said = stdout, stderr
            self._unacknowledged = received.stdout - stdout + received.stderr - stderr
            received = OutputAcknowledged(stdout, stderr)
        self._transport.write(self._channels.say(self._number, received))

    def _leave(self) -> None:
        if not self._closed:
            self._have = self.offsets
            self._closed = True
            self._connection = None  # it knows us

    def _acknowledgeEnd(self, _: None) -> None:
        self._endKept = True
        if self._endHeard and not self._closed:
            self._transport.write(self._channels.say(self._number, EndAcknowledged()))
            self._bound = False
            onAcknowledged, self._onAcknowledged = self._onAcknowledged, _ignore
            self._connection = None  # it knows us
            onAcknowledged()

    def _notKept(self, reason: Failure) -> None:
        self._log.failure("The end of task {task} was not kept", reason, task=self._task)
        self.stopProducing()

    # ------------------------------------------------- what the receiver wants

    def pauseProducing(self) -> None:
        """
        Acknowledge nothing until C{resumeProducing}.
        """
        self._paused = True

    def resumeProducing(self) -> None:
        """
        Acknowledge what was received, and go on.
        """
        self._paused = False
        self.acknowledge()

    def stopProducing(self) -> None:
        """
        Give the task up: abort its connection.
        """
        self.givenUp = True
        if not self._closed:
            connection = self._connection
            self._leave()
            if connection is not None:
                connection.abort()

    def kept(self, stdout: int, stderr: int) -> None:
        """
        Acknowledge so many bytes of each stream, and no more until this is called
        again.
        """
        self._kept = stdout, stderr
        # Seldom, as long as the remote has room to go on meanwhile.
        if not self._closed and self._unacknowledged * 2 >= self._channels.window:
            self.acknowledge()

    def writeInput(self, data: bytes) -> None:
        """
        Give the task bytes of input; they are kept until the remote has room.
        """
        self._buffer().write(data)

    def endInput(self) -> None:
        """
        The task's input ends after what was written.
        """
        self._buffer().end()

    def registerInputProducer(self, producer: object) -> None:
        """
        Pause and resume a push producer of input (C{IPushProducer}) with the
        room that the remote has.
        """
        self._buffer().register(IPushProducer(producer))

    def _buffer(self) -> InputBuffer:
        if self._input is None:
            self._input = InputBuffer(self)
            if self._ended or (self._closed and not self._lasting):
                self._input.stop()
        return self._input

    def inputRoom(self) -> int:
        """
        See L{InputWay<jobscheduler_tcp.client.taskinput.InputWay>}.
        """
        return self._channels.inputRoom(self._number)

    def sendInput(self, data: bytes | memoryview) -> None:
        """
        See L{InputWay<jobscheduler_tcp.client.taskinput.InputWay>}.
        """
        offset = self._channels.inputOffset(self._number)
        self._transport.write(self._channels.say(self._number, TaskInput(offset, data)))

    def sendInputEnd(self) -> None:
        """
        See L{InputWay<jobscheduler_tcp.client.taskinput.InputWay>}.
        """
        self._transport.write(self._channels.say(self._number, InputEnded()))
