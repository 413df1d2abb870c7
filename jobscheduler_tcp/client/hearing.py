"""
What is heard of a job's task: for its life, and for the application.
"""

from __future__ import annotations

from typing import Protocol as TypingProtocol

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.errors import ConnectionClosed
from jobscheduler_tcp.interfaces import IConfirmationReceiver, ITaskConfirmation
from jobscheduler_tcp.messages import Stream, TaskAttached, TaskEnded, TaskStarted


class TaskListener(TypingProtocol):
    """
    What a job's life needs to hear.
    """

    def started(self, message: TaskStarted) -> None:
        """
        The program runs.
        """

    def ended(self, message: TaskEnded) -> None:
        """
        The task is over, which is not acknowledged yet.
        """

    def lost(self, reason: Failure) -> None:
        """
        The confirmation connection broke before the end.
        """


@implementer(IConfirmationReceiver)
class Hearing:
    """
    Tell the job first, then the application. An application that fails is
    logged, and does not disturb the job.

    @ivar lasting: whether the task may be confirmed on another connection when
        one breaks. Then the application hears the last word from the job.
    """

    __slots__ = ("_job", "_receiver", "lasting")

    _log = Logger()

    def __init__(self, job: TaskListener, receiver: IConfirmationReceiver | None) -> None:
        self.lasting = False
        self._job = job
        self._receiver = receiver

    def taskAttached(self, confirmation: ITaskConfirmation, message: TaskAttached) -> None:
        """
        The confirmation connection stands.
        """
        if self._receiver is not None:
            try:
                self._receiver.taskAttached(confirmation, message)
            except Exception:
                self._complain()

    def taskStarted(self, message: TaskStarted) -> None:
        """
        The program runs.
        """
        self._job.started(message)
        if self._receiver is not None:
            try:
                self._receiver.taskStarted(message)
            except Exception:
                self._complain()

    def outputReceived(self, stream: Stream, data: bytes) -> None:
        """
        The task printed something.
        """
        if self._receiver is not None:
            try:
                self._receiver.outputReceived(stream, data)
            except Exception:
                self._complain()

    def taskEnded(self, message: TaskEnded) -> Deferred[None] | None:
        """
        The task is over. If the application fails to take that, it is not
        acknowledged.
        """
        self._job.ended(message)
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return None
        try:
            return receiver.taskEnded(message)
        except Exception:
            return fail(Failure())

    def confirmationLost(self, reason: Failure) -> None:
        """
        The connection broke before the end was heard.
        """
        self._job.lost(reason)
        if not self.lasting:
            self.lastWord(reason)

    def isOver(self, why: str) -> None:
        """
        The job is over: nothing more will be heard.
        """
        if self._receiver is not None:
            self.lastWord(Failure(ConnectionClosed(why)))

    def lastWord(self, reason: Failure) -> None:
        """
        Nothing more will be heard: tell the application, unless it knows.
        """
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            try:
                receiver.confirmationLost(reason)
            except Exception:
                self._complain()

    def _complain(self) -> None:
        self._log.failure("The receiver of a task failed")
