"""
Clients that come back for their tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from twisted.internet.defer import Deferred, succeed

from jobscheduler_tcp.messages import (
    AttachRefused,
    AttachTask,
    CallbackMode,
    TaskAttached,
    TaskRefused,
    TaskTaken,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.remote.confirmation import ConfirmationFactory
from jobscheduler_tcp.remote.nobody import Nobody
from jobscheduler_tcp.remote.standing import StandingConfirmation, TaskLine
from jobscheduler_tcp.remote.starts import StartAnswer, Starts

if TYPE_CHECKING:
    from jobscheduler_tcp.remote.steps import Workplace
    from jobscheduler_tcp.remote.task import Task

AttachAnswer: TypeAlias = TaskTaken | AttachRefused


class Returning(Nobody):
    """
    One attempt of a client to come back for a task that is held. The task hears
    of the connection when that is proven, and has it from then on.
    """

    __slots__ = ("_answer", "_callback", "_host", "_message", "_place", "_task", "_waiting")

    def __init__(
        self,
        task: Task,
        message: AttachTask,
        place: Workplace,
        standing: StandingConfirmation | None,
    ) -> None:
        self._task = task
        self._message = message
        self._place = place
        self._host = ""
        self._answer: AttachAnswer | None = None
        self._waiting: list[tuple[int, Deferred[AttachAnswer]]] = []
        self._callback: ConfirmationFactory | TaskLine
        if message.mode is CallbackMode.OWN:
            self._callback = ConfirmationFactory(
                message.task, message.token, self, place.reactor, place.heart
            )
        else:
            self._callback = TaskLine(standing, self)

    def isSame(self, message: AttachTask) -> bool:
        """
        Whether this attempt is meant.
        """
        return message.token == self._message.token

    def answer(self, number: int) -> Deferred[AttachAnswer]:
        """
        What comes of it, for the request of this id.
        """
        answered: Deferred[AttachAnswer] = Deferred()
        if self._answer is not None:
            answered.callback(replace(self._answer, id=number))
        else:
            self._waiting.append((number, answered))
        return answered

    def dial(self, host: str) -> None:
        """
        Call the client.
        """
        self._host = host
        self._callback.dial(self._place.reactor, host, self._message.port)

    def giveUp(self) -> None:
        """
        Call it no longer.
        """
        if self._answer is None:
            self._callback.abort()

    def opens(self) -> TaskAttached:
        """
        See L{IConfirmedTask}.
        """
        return self._task.opensAt(self._message.stdout, self._message.stderr)

    def callbackTaken(self) -> None:
        """
        See L{IConfirmedTask}.
        """
        number = self._task.returned(self._callback, self._host, self._message)
        if number:
            self._tell(TaskTaken(0, self._task.id, number))
        else:
            self._callback.dismiss()
            self._tell(AttachRefused(0, self._task.id, Reason.LOST, "its time is over"))

    def callbackFailed(self, reason: Reason, text: str, errno: int) -> None:
        """
        See L{IConfirmedTask}.
        """
        self._tell(AttachRefused(0, self._task.id, reason, text, errno, held=True))

    def _tell(self, answer: AttachAnswer) -> None:
        self._answer = answer
        waiting, self._waiting = self._waiting, []
        for number, answered in waiting:
            answered.callback(replace(answer, id=number))


class Returns:
    """
    Find the task that a client has come back for, or tell what became of it.
    """

    def __init__(
        self,
        instance: str,
        starts: Starts,
        tasks: Mapping[str, Task],
        find: Callable[[str, str], StandingConfirmation | None],
    ) -> None:
        """
        @param instance: the UUID of the remote.
        @param find: finds the standing connection of a UUID that belongs to the
            client at an address.
        """
        self._instance = instance
        self._starts = starts
        self._tasks = tasks
        self._find = find

    def attach(self, message: AttachTask, host: str) -> Deferred[AttachAnswer]:
        """
        Confirm a task anew to the client at C{host}.
        """
        start = self._starts.known(message.task)
        if start is None:
            return succeed(self._unknown(message))
        # A start whose connection is being made has no task to speak of.
        return start.addCallback(self._started, message, host)

    def _started(
        self, answer: StartAnswer, message: AttachTask, host: str
    ) -> AttachAnswer | Deferred[AttachAnswer]:
        task = self._tasks.get(message.task)
        if isinstance(answer, TaskRefused):
            return lost(message, answer.reason, answer.text, answer.errno)
        if task is None:
            text = "it is over: its end was told, or its client was gone for too long"
            return lost(message, Reason.LOST, text)
        standing = self._find(message.connection, host)
        return task.attach(message, message.host or host, standing)

    def _unknown(self, message: AttachTask) -> AttachRefused:
        reason, text = Reason.LOST, "the remote was started anew, and does not know of it"
        if message.instance == self._instance:
            if self._starts.mayBeForgotten(message.task):
                text = "it was over so long ago that the remote does not know of it any more"
            else:
                reason = Reason.NOT_STARTED
                text = "the remote never heard of it, and will not start it"
        if not self._starts.forbid(TaskRefused(0, message.task, reason, text)):
            text = "too many starts of one day"
            return replace(lost(message, Reason.REJECTED_CAPACITY, text), held=True)
        return lost(message, reason, text)


def lost(message: AttachTask, reason: Reason, text: str, errno: int = 0) -> AttachRefused:
    """
    Tell that the task is not held, and why.
    """
    return AttachRefused(message.id, message.task, reason, text, errno)
