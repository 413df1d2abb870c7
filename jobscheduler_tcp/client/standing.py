"""
The client's end of a standing confirmation connection: the tasks of one remote,
each on a channel of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.python.failure import Failure

from jobscheduler_tcp.client.callback import CallbackWatcher
from jobscheduler_tcp.client.caller import Caller, CallerOwner
from jobscheduler_tcp.client.taskchannel import TaskChannel
from jobscheduler_tcp.errors import ConnectionClosed
from jobscheduler_tcp.interfaces import IConfirmationReceiver
from jobscheduler_tcp.messages import (
    Confirmation,
    InputTaken,
    TaskAbandoned,
    TaskAttached,
    TaskEnded,
    TaskOutput,
    TaskStarted,
)


class StandingProtocol(Caller):
    """
    The connection. Until it has proved itself, the caller may be a stranger.

    @ivar onGone: called when the connection of the remote is closed.
    """

    def __init__(self, owner: CallerOwner) -> None:
        super().__init__(owner)
        self.onGone: Callable[[], None] = lambda: None
        self._awaited: dict[str, StandingTask] = {}
        self._tasks: dict[int, StandingTask] = {}

    @property
    def stands(self) -> bool:
        """
        Whether tasks can be confirmed here.
        """
        return self._proven and not self._closed

    @property
    def port(self) -> int:
        """
        Our port of the connection.
        """
        return getattr(self.transport.getHost(), "port", 0)

    def expect(
        self, task: str, receiver: IConfirmationReceiver, watcher: CallbackWatcher
    ) -> StandingTask:
        """
        A task is about to be asked for, which will be confirmed here.
        """
        expected = self._awaited[task] = StandingTask(self, task, receiver, watcher)
        return expected

    def forget(self, task: str) -> None:
        """
        It is not wanted any more: should it come, it is given up.
        """
        self._awaited.pop(task, None)

    def isOver(self, channel: int) -> None:
        """
        Nothing more is said on a channel.
        """
        del self._tasks[channel]

    def abandon(self, channel: int) -> None:
        """
        Give the task of a channel up.
        """
        self.transport.write(self._channels.say(channel, TaskAbandoned()))

    def acknowledge(self) -> None:
        """
        Let the remote know what was received.
        """
        for task in self._tasks.values():
            task.acknowledge()

    def heard(self, channel: int, message: Confirmation) -> None:
        """
        The remote says something of a task.
        """
        task = self._tasks.get(channel)
        if isinstance(message, TaskAttached):
            task = self._awaited.pop(message.task, None)
            if task is None:
                self.abandon(channel)
                return
            self._tasks[channel] = task
            books = TaskChannel(
                message.task,
                channel,
                self._channels,
                self.transport,
                receiver=task.receiver,
                hangUp=task.abort,
            )
            task.attached(channel, books, message)
        elif task is None:
            pass  # what was on its way when we gave it up
        elif isinstance(message, TaskAbandoned):
            del self._tasks[channel]
            task.lost(Failure(ConnectionClosed("the task was given up")))
        else:
            task.heard(message)

    def gone(self, reason: Failure) -> None:
        """
        The connection is lost to every task.
        """
        tasks = [*self._awaited.values(), *self._tasks.values()]
        self._awaited.clear()
        self._tasks.clear()
        self.onGone()
        for task in tasks:
            task.lost(reason)


class StandingTask:
    """
    One task on a standing connection: to its job, what listens.

    @ivar receiver: hears of the task.
    """

    __slots__ = (
        "_abandoned",
        "_channel",
        "_connection",
        "_number",
        "_task",
        "_watcher",
        "receiver",
    )

    def __init__(
        self,
        connection: StandingProtocol,
        task: str,
        receiver: IConfirmationReceiver,
        watcher: CallbackWatcher,
    ) -> None:
        self.receiver = receiver
        self._connection: StandingProtocol | None = connection
        self._task = task
        self._watcher = watcher
        self._number = 0
        self._channel: TaskChannel | None = None
        self._abandoned = False

    # ----------------------------------------------------------- what a job asks

    @property
    def proven(self) -> StandingProtocol | None:
        """
        The connection, once the remote has opened the task's channel there.
        """
        return self._connection if self._number and not self._abandoned else None

    @property
    def claims(self) -> int:
        """
        Whether the remote may still open it.
        """
        return int(self._connection is not None and not self._number)

    @property
    def subject(self) -> str:
        """
        The UUID of the connection; empty when it is gone.
        """
        return self._connection.subject if self._connection is not None else ""

    def dismiss(self) -> None:
        """
        The remote will not open it: hear nothing of it.
        """
        if self._connection is not None:
            self._connection.forget(self._task)
            self._connection = None

    def abort(self) -> None:
        """
        Give the task up: the remote kills it.
        """
        if self._abandoned or self._connection is None:
            return
        self._abandoned = True
        if self._channel is None:
            self.dismiss()
            self._watcher.claimLost()
        else:
            self._channel.close()
            self._connection.abandon(self._number)

    # --------------------------------------------------- what the connection tells

    def attached(self, number: int, channel: TaskChannel, message: TaskAttached) -> None:
        """
        The channel is opened.
        """
        self._number = number
        self._channel = channel
        channel.attached(message)

    def heard(self, message: Confirmation) -> None:
        """
        The remote says something of the task.
        """
        channel = self._channel
        if channel is None or self._abandoned:
            return
        match message:
            case TaskOutput():
                channel.output(message)
            case TaskStarted():
                channel.started(message)
            case InputTaken():
                channel.inputTaken(message)
            case TaskEnded():
                channel.ended(message, self._acknowledged)
            case _:
                raise AssertionError(f"{message} from a remote")

    def acknowledge(self) -> None:
        """
        Let the remote know what was received.
        """
        if self._channel is not None:
            self._channel.acknowledge()

    def lost(self, reason: Failure) -> None:
        """
        Nothing more will be heard.
        """
        self._connection = None
        if self._channel is None:
            self._watcher.claimLost()
        else:
            self._channel.lost(reason)
            self._watcher.callerGone()

    def _acknowledged(self) -> None:
        assert self._connection is not None
        self._connection.isOver(self._number)
        self._watcher.endAcknowledged()
        self._connection = None
        self._watcher.callerGone()
