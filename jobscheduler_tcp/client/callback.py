"""
The callback port's side of the confirmation connection of one task.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import Protocol as TypingProtocol

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory
from twisted.python.failure import Failure

from jobscheduler_tcp.channels import WINDOW
from jobscheduler_tcp.client.caller import Caller
from jobscheduler_tcp.client.strangers import Strangers
from jobscheduler_tcp.client.taskchannel import TaskChannel
from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.heartbeat import Heart
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
from jobscheduler_tcp.proof import selector

# Callers at once that have proved nothing: what a scanner brings, not a crowd.
MAX_UNPROVEN = 16
# Seconds for the remote to close a connection whose end was acknowledged.
CLOSE = 2.0
# A task that has a connection of its own has this channel.
CHANNEL = 1


class CallbackWatcher(TypingProtocol):
    """
    Who listens, and wants to know how the connections fare beside what the
    receiver hears.
    """

    def callerClaims(self) -> None:
        """
        A caller is shown our proof. If it is the remote, the task starts now.
        """

    def claimLost(self) -> None:
        """
        A caller is gone that was shown our proof, and had not shown its own. It
        may have been the remote, and have started the task.
        """

    def callerProven(self) -> None:
        """
        The remote has called; nobody else is waited for.
        """

    def endAcknowledged(self) -> None:
        """
        The end of the task was heard and acknowledged.
        """

    def callerGone(self) -> None:
        """
        The connection of the remote is closed.
        """


class CallbackProtocol(Caller):
    """
    One caller at a callback port: a stranger, or the remote with the
    confirmation connection of a task.
    """

    _owner: CallbackFactory

    def __init__(self, owner: CallbackFactory) -> None:
        super().__init__(owner)
        self._task: TaskChannel | None = None

    def acknowledge(self) -> None:
        """
        Let the remote know what was received.
        """
        if self._task is not None:
            self._task.acknowledge()

    def gone(self, reason: Failure) -> None:
        """
        The connection of the remote is closed.
        """
        if self._task is not None:
            self._task.lost(reason)
        else:
            self._owner.receiver.confirmationLost(reason)
        if self._owner.watcher is not None:
            self._owner.watcher.callerGone()
        # They know us too, which only the garbage collector would find.
        self._task = None
        del self._owner

    def overdue(self) -> None:
        """
        The remote has not proved itself, or does not close.
        """
        if self._task is None:
            super().overdue()
        else:
            self._deadlines = None
            self.transport.loseConnection()

    def heard(self, channel: int, message: Confirmation) -> None:
        """
        A word about the task.
        """
        task = self._task
        if task is None:
            if channel != CHANNEL:
                raise RemoteProtocolError(f"channel {channel} where only {CHANNEL} can be")
            task = self._task = self._owner.taskChannel()
            task.bind(channel, self._channels, self.transport, self)
        elif isinstance(message, TaskAttached):
            raise RemoteProtocolError("a second channel where only one can be")
        match message:
            case TaskOutput():
                task.output(message)
            case TaskAttached():
                task.attached(message)
            case TaskStarted():
                task.started(message)
            case InputTaken():
                task.inputTaken(message)
            case TaskEnded():
                task.ended(message, self._acknowledged)
            case TaskAbandoned():
                raise RemoteProtocolError("a connection of one task without that task")
            case _:
                raise AssertionError(f"{message} from a remote")

    def _acknowledged(self) -> None:
        # The remote closes first, so that TIME_WAIT is at its side.
        self.wait(CLOSE)
        if self._owner.watcher is not None:
            self._owner.watcher.endAcknowledged()


# Who waits to be heard where nobody does.
_NOBODY: dict[Caller, None] = {}


class CallbackFactory(ServerFactory):
    """
    Listen for the confirmations of one task.

    @ivar strangers: how many callers were sent away.
    @ivar claimed: whether any caller was shown our proof. Before that, the task
        has not run; afterwards, it may have.
    @ivar proven: the connection of the remote.
    @ivar channel: the task's channel, C{None} before it was first opened.
    """

    noisy = False

    def __init__(
        self,
        task: str,
        token: bytes,
        receiver: IConfirmationReceiver,
        heart: Heart,
        clock: IReactorTime,
        *,
        window: int = WINDOW,
        watcher: CallbackWatcher | None = None,
        log: Strangers | None = None,
        channel: TaskChannel | None = None,
        lasting: bool = False,
    ) -> None:
        """
        @param task: the UUID of the task.
        @param token: its secret, as in the request to start it.
        @param receiver: hears of the task.
        @param window: bytes of output that the remote may send beyond what was
            acknowledged.
        @param log: where strangers are told of; factories of one service share
            it, so that a scanner is told of once.
        @param channel: that of a task that was confirmed before.
        @param lasting: whether the task may be confirmed on another connection
            when this one breaks.
        """
        self.task = task
        self.token = token
        self.selector = selector(token)
        self.receiver = receiver
        self.heart = heart
        self.window = window
        self.watcher = watcher
        self.log = log if log is not None else Strangers(clock)
        self.strangers = 0
        self.claimed = False
        self.proven: Caller | None = None
        self.channel = channel
        self._lasting = lasting
        self._unproven = _NOBODY

    @property
    def claims(self) -> int:
        """
        How many callers were shown our proof, and may still show theirs.
        """
        return sum(caller.claimed for caller in self._unproven)

    def buildProtocol(self, addr: IAddress | None) -> CallbackProtocol:
        """
        Somebody calls.
        """
        return CallbackProtocol(self)

    def taskChannel(self) -> TaskChannel:
        """
        The task's channel, which is opened now.
        """
        if self.channel is None:
            self.channel = TaskChannel(self.task, self.receiver, lasting=self._lasting)
        return self.channel

    def admits(self) -> bool:
        """
        Whether the remote is still waited for.
        """
        return self.proven is None

    def meant(self, selector: bytes) -> tuple[str, bytes] | None:
        """
        The task and its token, if the caller means that.
        """
        return (self.task, self.token) if compare_digest(selector, self.selector) else None

    def shown(self, caller: Caller) -> None:
        """
        A caller is shown our proof.
        """
        self.claimed = True
        if self.watcher is not None:
            self.watcher.callerClaims()

    def strange(self, host: str, why: object) -> None:
        """
        A caller was sent away.
        """
        self.strangers += 1
        self.log.add(host, self.task, why)

    def enter(self, caller: Caller) -> None:
        """
        A caller is there that has proved nothing yet.
        """
        if self._unproven is _NOBODY:
            self._unproven = {}
        self._unproven[caller] = None
        if len(self._unproven) > MAX_UNPROVEN:
            # Rather one that did not even know whom it wants.
            oldest = next((c for c in self._unproven if not c.claimed), caller)
            del self._unproven[oldest]
            oldest.sendAway("too many callers")

    def leave(self, caller: Caller) -> None:
        """
        A caller that proved nothing is gone.
        """
        self._unproven.pop(caller, None)
        if caller.claimed and self.proven is None and self.watcher is not None:
            self.watcher.claimLost()

    def found(self, caller: Caller) -> None:
        """
        The remote has proved itself: send everybody else away.
        """
        self.proven = caller
        del self._unproven[caller]
        self.token = self.selector = b""  # nobody needs to know it any more
        for other in list(self._unproven):
            other.sendAway("the caller is known now")
        if not self._unproven:
            self._unproven = _NOBODY  # the old one keeps the room that it had
        if self.watcher is not None:
            self.watcher.callerProven()

    def dismiss(self) -> None:
        """
        Hang up on everybody, and tell nobody.
        """
        self.watcher = None
        self.abort()

    def abort(self) -> None:
        """
        Hang up on everybody.
        """
        for caller in [*self._unproven, self.proven]:
            if caller is not None:
                caller.abort()
