"""
One job of C{jsremote run}: between the confirmation connection and our own
three streams.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from twisted.internet.defer import Deferred, gatherResults
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.cli.streams import Inlet, InThread, Outlet
from jobscheduler_tcp.interfaces import IConfirmationReceiver, ITaskConfirmation
from jobscheduler_tcp.messages import Stream, TaskAttached, TaskEnded, TaskStarted

# Output that waits for our reader: beyond the first the confirmation is paused,
# below the second it goes on. What is under way then, one window (2 MiB) at
# most, still comes.
HIGH = 1024 * 1024
LOW = 256 * 1024


@implementer(IConfirmationReceiver)
class Session:
    """
    Write what the task prints, as fast as it is read here, and give it our
    stdin.
    """

    def __init__(
        self,
        hands: tuple[InThread, InThread, InThread],
        broken: Callable[[Stream, OSError], None],
        *,
        hasInput: bool,
    ) -> None:
        """
        @param hands: who reads stdin, and who writes stdout and stderr.
        @param broken: called when a stream cannot be written any more.
        """
        self._confirmation: ITaskConfirmation | None = None
        self._hand = hands[0]
        self._hasInput = hasInput
        self._inlet: Inlet | None = None
        self._paused = False
        self._closed = False
        self._outlets = {
            stream: Outlet(
                stream.value,
                hands[stream.value],
                self._wrote,
                lambda error, stream=stream: broken(stream, error),  # type: ignore[misc]
            )
            for stream in (Stream.STDOUT, Stream.STDERR)
        }

    def say(self, line: str) -> None:
        """
        A line of our own, on stderr after what the task printed.
        """
        if self._closed:
            return
        self._outlets[Stream.STDERR].write(f"{line}\n".encode(errors="backslashreplace"))

    def close(self) -> None:
        """
        Write nothing more: everything is flushed, and the program ends. What is
        logged even later would wait for a thread that an interpreter which shuts
        down does not start.
        """
        self._closed = True

    def flushed(self) -> Deferred[None]:
        """
        Fire when our readers have everything.
        """
        outlets = [outlet.flushed() for outlet in self._outlets.values()]
        return gatherResults(outlets).addCallback(lambda _: None)

    def taskAttached(self, confirmation: ITaskConfirmation, message: TaskAttached) -> None:
        """
        The connection stands: the task may have its input.
        """
        self._confirmation = confirmation
        if self._hasInput:
            self._inlet = Inlet(Stream.STDIN.value, self._hand, confirmation)
            confirmation.registerInputProducer(self._inlet)
            self._inlet.start()

    def taskStarted(self, message: TaskStarted) -> None:
        """
        Nothing to say: the job's own output tells.
        """

    def outputReceived(self, stream: Stream, data: bytes) -> None:
        """
        Write it, and hold the task back if we are not read.
        """
        self._outlets[stream].write(data)
        if not self._paused and self._confirmation is not None and self._pending() > HIGH:
            self._paused = True
            self._confirmation.pauseProducing()

    def taskEnded(self, message: TaskEnded) -> Deferred[None]:
        """
        The end is acknowledged when everything is written.
        """
        self._over()
        return self.flushed()

    def confirmationLost(self, reason: Failure) -> None:
        """
        The outcome will tell.
        """
        self._over()

    def _over(self) -> None:
        self._confirmation = None
        if self._inlet is not None:
            self._inlet.stopProducing()

    def _pending(self) -> int:
        return sum(outlet.pending for outlet in self._outlets.values())

    def _wrote(self) -> None:
        if self._paused and self._confirmation is not None and self._pending() <= LOW:
            self._paused = False
            self._confirmation.resumeProducing()


def statusOfBroken(error: OSError) -> int:
    """
    What we exit with when our output cannot be written: as a tool that SIGPIPE
    ended if nobody reads it, else the code of sysexits.h for such an error.
    """
    return 141 if error.errno == errno.EPIPE else 74
