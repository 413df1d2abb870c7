"""
What can happen to a job: the inputs of its life (L{client.job}).
"""

from __future__ import annotations

from typing import Protocol as TypingProtocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jobscheduler_tcp.client.callback import CallbackWatcher
from jobscheduler_tcp.client.hearing import TaskListener
from jobscheduler_tcp.client.ports import CallbackPort
from jobscheduler_tcp.messages import TaskKilled
from jobscheduler_tcp.outcome import Outcome


class JobListener(TypingProtocol):
    """
    What listens at the callback port, in either dialect.
    """

    @property
    def proven(self) -> object:
        """
        The connection of the remote, C{None} before it called.
        """

    @property
    def claims(self) -> int:
        """
        How many callers may still turn out to be the remote.
        """

    def abort(self) -> None:
        """
        Hang up on everybody.
        """


class JobInputs(CallbackWatcher, TaskListener, TypingProtocol):
    """
    What happens to a job, beside what its listener and its receiver hear.
    """

    def begin(self) -> None:
        """
        Queue up.
        """

    def placed(self, _: None) -> None:
        """
        The process class has a place for it.
        """

    def listening(self, port: CallbackPort | None) -> None:
        """
        We listen on a callback port, or a confirmation connection stands.
        """

    def notListening(self, reason: Failure) -> None:
        """
        No port can be listened on.
        """

    def taken(self) -> None:
        """
        The remote says that the confirmation connection stands.
        """

    def refused(self, outcome: Outcome) -> None:
        """
        The remote says that it did not start the task.
        """

    def blocked(self, outcome: Outcome) -> None:
        """
        No confirmation connection can be made this way, nothing ran, and there
        is another way.
        """

    def unanswered(self, outcome: Outcome) -> None:
        """
        The remote will not say what it does with the task.
        """

    def hopeless(self, outcome: Outcome) -> None:
        """
        The task may have started, and nobody will tell more than that.
        """

    def comeBack(self, stdout: int, stderr: int) -> None:
        """
        The task was asked for in another life of the client, and so much of its
        output is there.
        """

    def returned(self) -> None:
        """
        After its connection broke, the task is confirmed on another one; its
        start was not heard yet.
        """

    def returnedRunning(self) -> None:
        """
        The same, and it was.
        """

    def returnedEnded(self) -> None:
        """
        The same, and its end was heard, which is not acknowledged.
        """

    def overdue(self) -> None:
        """
        The start should have been confirmed by now.
        """

    def kill(self, signal: int, grace: float, result: Deferred[TaskKilled]) -> None:
        """
        The application wants the task dead, and to know who died.
        """

    def cancel(self) -> None:
        """
        The application does not want the job any more.
        """

    def abandon(self) -> None:
        """
        The client stops.
        """
