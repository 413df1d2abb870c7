"""
The client's end of one task's channel on a confirmation connection.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import cast

from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.channels import ConfirmationChannels
from jobscheduler_tcp.client.taskinput import InputBuffer
from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.interfaces import IConfirmationReceiver, ITaskConfirmation
from jobscheduler_tcp.messages import (
    EndAcknowledged,
    InputEnded,
    InputTaken,
    Stream,
    TaskAttached,
    TaskEnded,
    TaskInput,
    TaskOutput,
    TaskStarted,
)

_NOTHING = sha256(b"").digest()


@implementer(ITaskConfirmation)
class TaskChannel:
    """
    What the remote confirms of one task, and what it is answered.
    """

    _log = Logger()

    def __init__(
        self,
        task: str,
        number: int,
        channels: ConfirmationChannels,
        transport: ITCPTransport,
        *,
        receiver: IConfirmationReceiver,
        hangUp: Callable[[], None],
    ) -> None:
        """
        @param hangUp: abort the connection, and hear nothing more of it.
        """
        self._task = task
        self._number = number
        self._channels = channels
        self._transport = transport
        self._receiver = receiver
        self._hangUp = hangUp
        self._digests = {Stream.STDOUT: sha256(), Stream.STDERR: sha256()}
        self._input = InputBuffer(self._inputRoom, self._sendInput, self._sendInputEnd)
        self._unacknowledged = 0
        self._paused = False
        self._ended = False
        self._closed = False
        self._onAcknowledged: Callable[[], None] | None = None

    # ---------------------------------------------------- what the remote says

    def attached(self, message: TaskAttached) -> None:
        """
        The channel was opened.

        @raise RemoteProtocolError: not for our task.
        """
        if message.task != self._task:
            raise RemoteProtocolError(f"task {message.task} on the connection of {self._task}")
        if message.stdout or message.stderr:
            raise RemoteProtocolError("the output does not begin at the beginning")
        self._receiver.taskAttached(self, message)

    def started(self, message: TaskStarted) -> None:
        """
        The program runs.
        """
        self._receiver.taskStarted(message)

    def output(self, message: TaskOutput) -> None:
        """
        The task printed something.
        """
        data = message.data
        self._digests[message.stream].update(data)
        self._receiver.outputReceived(message.stream, cast(bytes, data))  # heard as bytes
        self._unacknowledged += len(data)
        # By halves: the remote has the other half to go on meanwhile, and by
        # quarters both ends would do a tenth more for the same output.
        if self._unacknowledged * 2 >= self._channels.window:
            self.acknowledge()

    def inputTaken(self, message: InputTaken) -> None:
        """
        There is more room for input.
        """
        self._input.flush()

    def ended(self, message: TaskEnded, onAcknowledged: Callable[[], None]) -> None:
        """
        The task is over.

        @param onAcknowledged: called when the receiver has taken that, and the
            remote was told so.
        @raise RemoteProtocolError: not all of the output came as it was sent.
        """
        received = self._channels.acknowledgement(self._number)
        for stream, got, size, digest in (
            (Stream.STDOUT, received.stdout, message.stdoutSize, message.stdoutDigest),
            (Stream.STDERR, received.stderr, message.stderrSize, message.stderrDigest),
        ):
            # Where nothing ran there is no digest either.
            if got != size or (digest or _NOTHING) != self._digests[stream].digest():
                name = stream.name.lower()
                raise RemoteProtocolError(f"{got} bytes of {name} came, not the {size} sent")
        self._ended = True
        self._onAcknowledged = onAcknowledged
        self._input.stop()
        kept = self._receiver.taskEnded(message)
        if kept is None:
            self._acknowledgeEnd(None)
        else:
            kept.addCallbacks(self._acknowledgeEnd, self._notKept)

    def lost(self, reason: Failure) -> None:
        """
        The connection is closed.
        """
        self.close()
        if not self._ended:
            self._receiver.confirmationLost(reason)

    def close(self) -> None:
        """
        Say nothing more.
        """
        self._closed = True
        self._input.stop()

    def acknowledge(self) -> None:
        """
        Let the remote know what the receiver has taken, if there is news and it
        may know.
        """
        if self._unacknowledged and not (self._paused or self._ended or self._closed):
            self._unacknowledged = 0
            received = self._channels.acknowledgement(self._number)
            self._transport.write(self._channels.say(self._number, received))

    def _acknowledgeEnd(self, _: None) -> None:
        if not self._closed:
            self._transport.write(self._channels.say(self._number, EndAcknowledged()))
            assert self._onAcknowledged is not None
            self._onAcknowledged()

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
        self._closed = True
        self._hangUp()

    def writeInput(self, data: bytes) -> None:
        """
        Give the task bytes of input; they are kept until the remote has room.
        """
        self._input.write(data)

    def endInput(self) -> None:
        """
        The task's input ends after what was written.
        """
        self._input.end()

    def registerInputProducer(self, producer: object) -> None:
        """
        Pause and resume a push producer of input (C{IPushProducer}) with the
        room that the remote has.
        """
        self._input.register(IPushProducer(producer))

    def _inputRoom(self) -> int:
        return self._channels.inputRoom(self._number)

    def _sendInput(self, data: bytes | memoryview) -> None:
        offset = self._channels.inputOffset(self._number)
        self._transport.write(self._channels.say(self._number, TaskInput(offset, data)))

    def _sendInputEnd(self) -> None:
        self._transport.write(self._channels.say(self._number, InputEnded()))
