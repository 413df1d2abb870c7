"""
The books of a task's channel: what was said of its output and input, and what was
acknowledged. Both ends keep the same ones (L{jobscheduler_tcp.channels}).
"""

from __future__ import annotations

from jobscheduler_tcp.errors import ProtocolError
from jobscheduler_tcp.messages import (
    Confirmation,
    InputEnded,
    InputTaken,
    OutputAcknowledged,
    Stream,
    TaskAttached,
    TaskInput,
    TaskOutput,
)

# Bytes of input that a client may send a task beyond what it was given, as our
# remotes say it.
INPUT_WINDOW = 262144


class Books:
    """
    What was said and acknowledged on the channel of one task.
    """

    __slots__ = (
        "given",
        "inputEnded",
        "inputWindow",
        "stderr",
        "stderrKept",
        "stdout",
        "stdoutKept",
        "taken",
    )

    def __init__(self) -> None:
        self.stdout = self.stdoutKept = 0  # said, acknowledged
        self.stderr = self.stderrKept = 0
        self.given = self.taken = 0
        self.inputWindow = INPUT_WINDOW
        self.inputEnded = False

    def unacknowledged(self) -> int:
        """
        Tell how many bytes of output are on the way.
        """
        return self.stdout - self.stdoutKept + self.stderr - self.stderrKept

    def enter(self, message: Confirmation, window: int, culprit: type[ProtocolError]) -> None:
        """
        Enter what was said into the books.
        """
        match message:
            case TaskOutput():
                self.output(message.stream, message.offset, len(message.data), window, culprit)
            case OutputAcknowledged():
                if not (
                    self.stdoutKept <= message.stdout <= self.stdout
                    and self.stderrKept <= message.stderr <= self.stderr
                ):
                    raise culprit("an acknowledgement goes back, or beyond what was said")
                self.stdoutKept = message.stdout
                self.stderrKept = message.stderr
            case TaskInput():
                self.input(message.offset, len(message.data), culprit)
            case InputTaken():
                if not self.taken <= message.offset <= self.given:
                    raise culprit("the input taken goes back, or beyond what was given")
                self.taken = message.offset
            case InputEnded():
                if self.inputEnded:
                    raise culprit("the input ends twice")
                self.inputEnded = True
            case TaskAttached():
                self.stdout = self.stdoutKept = message.stdout
                self.stderr = self.stderrKept = message.stderr
                if message.taken > message.stdin:
                    raise culprit("more input was taken than given")
                self.given, self.taken = message.stdin, message.taken
                self.inputEnded = message.inputEnded
                self.inputWindow = message.window
            case _:
                pass

    def output(
        self, stream: Stream, offset: int, size: int, window: int, culprit: type[ProtocolError]
    ) -> None:
        """
        So many bytes of output are said.
        """
        expected = self.stderr if stream is Stream.STDERR else self.stdout
        if offset != expected:
            raise culprit(f"output from offset {offset} where {expected} comes next")
        if size > window - self.unacknowledged():
            raise culprit(f"output beyond the window of {window} bytes")
        if stream is Stream.STDERR:
            self.stderr += size
        else:
            self.stdout += size

    def input(self, offset: int, size: int, culprit: type[ProtocolError]) -> None:
        """
        So many bytes of input are said.
        """
        if self.inputEnded:
            raise culprit("input after its end")
        if offset != self.given:
            raise culprit(f"input from offset {offset} where {self.given} comes next")
        if size > self.inputWindow - (self.given - self.taken):
            raise culprit(f"input beyond the window of {self.inputWindow} bytes")
        self.given += size


# Those in which nothing stands: of all tasks that say nothing, and have only begun.
BLANK = Books()
