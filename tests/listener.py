"""
The client's end of a confirmation connection, played by a test: it says and
hears what the test tells it, and keeps the same books as a real client.
"""

from __future__ import annotations

from secrets import token_bytes

from twisted.internet.protocol import ServerFactory

from jobscheduler_tcp.channels import ConfirmationChannels
from jobscheduler_tcp.conversation import Role
from jobscheduler_tcp.messages import (
    CallerProof,
    Challenge,
    Confirmation,
    EndAcknowledged,
    Heartbeat,
    ListenerProof,
    Stream,
    TaskAttached,
    TaskEnded,
    TaskInput,
    TaskOutput,
    TaskStarted,
)
from jobscheduler_tcp.proof import proofs
from jobscheduler_tcp.testing import MemoryHost, Stranger

TASK = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f10"
TOKEN = bytes(range(16))
CHANNEL = 1


class Listener(Stranger):
    """
    One caller at a listener's port.

    @ivar messages: what was heard, but for output and heartbeats.
    @ivar output: what was heard of each stream.
    @ivar beats: how many heartbeats were heard.
    """

    def __init__(self, port: ListenerPort) -> None:
        super().__init__()
        self.messages: list[Confirmation] = []
        self.output = {Stream.STDOUT: b"", Stream.STDERR: b""}
        self.beats = 0
        self._port = port
        self.channels = ConfirmationChannels(Role.CLIENT, port.window)
        self._expected = b""

    def dataReceived(self, data: bytes) -> None:
        """
        Keep the books, and do what the port says is done at once.
        """
        super().dataReceived(data)
        for _, message in self.channels.hear(bytes(data)):
            self._heard(message)

    def _heard(self, message: Confirmation) -> None:
        port = self._port
        match message:
            case Heartbeat():
                self.beats += 1
                return
            case TaskOutput():
                self.output[message.stream] += bytes(message.data)
                if port.acknowledges:
                    self.acknowledge()
                return
            case Challenge() if port.proves:
                self.prove(message)
            case CallerProof():
                assert message.proof == self._expected
            case TaskAttached():
                assert message.task == port.task
            case TaskEnded() if port.acknowledges:
                self.say(EndAcknowledged())
            case _:
                pass
        self.messages.append(message)

    def prove(self, message: Challenge) -> None:
        """
        Show the proof of the token.
        """
        port = self._port
        nonce = token_bytes(16)
        proof, self._expected = proofs(port.token, message.nonce, nonce, port.task)
        self.say(ListenerProof(nonce, proof, port.window), 0)

    def say(self, message: Confirmation, channel: int = CHANNEL) -> None:
        """
        Say something, if it may be said.
        """
        self.transport.write(self.channels.say(channel, message))

    def give(self, data: bytes) -> None:
        """
        Give the task input.
        """
        self.say(TaskInput(self.channels.inputOffset(CHANNEL), data))

    def acknowledge(self) -> None:
        """
        Acknowledge all output.
        """
        self.say(self.channels.acknowledgement(CHANNEL))

    @property
    def started(self) -> TaskStarted | None:
        """
        The start of the task, if it was heard.
        """
        return next((each for each in self.messages if isinstance(each, TaskStarted)), None)

    @property
    def ended(self) -> TaskEnded | None:
        """
        Its end.
        """
        return next((each for each in self.messages if isinstance(each, TaskEnded)), None)


class ListenerPort(ServerFactory):
    """
    The callback port of one task.

    @ivar proves: whether the proof is shown at once.
    @ivar acknowledges: whether output and end are acknowledged at once.
    @ivar callers: who has called.
    """

    noisy = False

    def __init__(
        self,
        host: MemoryHost,
        port: int,
        *,
        task: str = TASK,
        token: bytes = TOKEN,
        window: int = 1000,
        proves: bool = True,
        acknowledges: bool = True,
    ) -> None:
        self.task = task
        self.token = token
        self.window = window
        self.proves = proves
        self.acknowledges = acknowledges
        self.callers: list[Listener] = []
        self.listening = host.listen(port, self)

    def buildProtocol(self, addr: object) -> Listener:
        """
        Somebody calls.
        """
        self.callers.append(Listener(self))
        return self.callers[-1]

    @property
    def caller(self) -> Listener:
        """
        The only one who has called.
        """
        [caller] = self.callers
        return caller
