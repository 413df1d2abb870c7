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
        self._port: int | None = None
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
        if self._port is None:
            self._port = getattr(self.transport.getHost(), "port", 0)
        return self._port

    def expect(
        self,
        task: str,
        receiver: IConfirmationReceiver,
        watcher: CallbackWatcher,
        *,
        channel: TaskChannel | None = None,
        lasting: bool = False,
    ) -> StandingTask:
        """
        A task is about to be asked for, which will be confirmed here.

        @param channel: that of a task that was confirmed before.
        @param lasting: whether it may be confirmed on another connection when
            this one breaks.
        """
        channel = channel or TaskChannel(task, receiver, lasting=lasting)
        expected = self._awaited[task] = StandingTask(self, task, channel, watcher)
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
            task.channel.bind(channel, self._channels, self.transport, task)
            task.attached(channel, message)
        elif task is None:
            pass  # what was on its way when we gave it up
        elif isinstance(message, TaskAbandoned):
            del self._tasks[channel]
            abandoned = task.abandoned
            task.lost(Failure(ConnectionClosed("the task is not confirmed here any more")))
            if not abandoned:
                self.abandon(channel)  # it waits for that
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

    @ivar channel: the task's channel, which may not be open yet.
    @ivar watcher: hears how the connection fares; C{None} if nobody wants to.
    @ivar abandoned: whether it was given up.
    """

    __slots__ = ("_connection", "_number", "_task", "abandoned", "channel", "watcher")

    def __init__(
        self,
        connection: StandingProtocol,
        task: str,
        channel: TaskChannel,
        watcher: CallbackWatcher,
    ) -> None:
        self.channel = channel
        self.watcher: CallbackWatcher | None = watcher
        self.abandoned = False
        self._connection: StandingProtocol | None = connection
        self._task = task
        self._number = 0

    # ----------------------------------------------------------- what a job asks

    @property
    def proven(self) -> StandingProtocol | None:
        """
        The connection, once the remote has opened the task's channel there.
        """
        return self._connection if self._number and not self.abandoned else None

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
        Hear nothing of it any more, whether or not the remote opens it.
        """
        self.watcher = None
        if self._connection is not None:
            self._connection.forget(self._task)
            if self._number:
                self.abort()
            self._connection = None

    def abort(self) -> None:
        """
        Give the channel up: to the remote, the client of the task is gone.
        """
        if self.abandoned or self._connection is None:
            return
        self.abandoned = True
        if not self._number:
            watcher = self.watcher
            self.dismiss()
            if watcher is not None:
                watcher.claimLost()
        else:
            self.channel.close()
            self._connection.abandon(self._number)

    # --------------------------------------------------- what the connection tells

    def attached(self, number: int, message: TaskAttached) -> None:
        """
        The channel is opened.
        """
        self._number = number
        self.channel.attached(message)

    def heard(self, message: Confirmation) -> None:
        """
        The remote says something of the task.
        """
        channel = self.channel
        if self.abandoned:
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
        if self._number:
            self.channel.acknowledge()

    def lost(self, reason: Failure) -> None:
        """
        Nothing more will be heard.
        """
        self._connection = None
        if self._number:
            self.channel.lost(reason)
            if self.watcher is not None:
                self.watcher.callerGone()
        elif self.watcher is not None:
            self.watcher.claimLost()

    def _acknowledged(self) -> None:
        assert self._connection is not None
        self._connection.isOver(self._number)
        if self.watcher is not None:
            self.watcher.endAcknowledged()
        self._connection = None
        if self.watcher is not None:
            self.watcher.callerGone()
