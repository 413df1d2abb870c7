"""
The callback port's side of the confirmation connection.

Anybody may call there. A caller learns nothing before it has shown that it
knows which task is meant, and nothing is heard from it before it has proved
that it knows the task's token.
"""

from __future__ import annotations

from secrets import token_bytes
from typing import Protocol as TypingProtocol

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobscheduler_tcp.channels import WINDOW, ConfirmationChannels
from jobscheduler_tcp.client.strangers import Strangers
from jobscheduler_tcp.client.taskchannel import TaskChannel
from jobscheduler_tcp.conversation import Role
from jobscheduler_tcp.errors import ConnectionClosed, RemoteProtocolError
from jobscheduler_tcp.heartbeat import SILENCE, Heart
from jobscheduler_tcp.interfaces import IConfirmationReceiver
from jobscheduler_tcp.messages import (
    CallerProof,
    Challenge,
    Confirmation,
    Heartbeat,
    InputTaken,
    ListenerProof,
    TaskAttached,
    TaskEnded,
    TaskOutput,
    TaskStarted,
)
from jobscheduler_tcp.proof import NONCE_SIZE, callerProof, isProof, listenerProof, selector
from jobscheduler_tcp.sockets import settle

# Seconds for a caller to say whom it wants (docs/protocol/extended, "Proof").
GRACE = 2.0
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


class CallbackProtocol(Protocol):
    """
    One caller at a callback port: a stranger, or the remote with the
    confirmation connection of a task.

    @ivar claimed: whether it was shown our proof.
    @ivar quiet: beats since it was last heard.
    """

    transport: ITCPTransport
    _log = Logger()

    def __init__(self, owner: CallbackFactory) -> None:
        self.claimed = False
        self.quiet = 0
        self._owner = owner
        self._channels = ConfirmationChannels(Role.CLIENT, owner.window)
        self._task: TaskChannel | None = None
        self._expected = b""  # the caller's proof
        self._proven = False
        self._closed = False
        self._reason: Failure | None = None
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """
        Let the caller speak first.
        """
        settle(self.transport)
        if self._owner.proven is not None:
            self.sendAway("the caller is known already")
        else:
            self._setTimer(GRACE, "it said nothing")
            self._owner.enter(self)

    def dataReceived(self, data: bytes) -> None:
        """
        Hear what the remote says; hang up on nonsense.
        """
        self.quiet = 0
        try:
            for channel, message in self._channels.hear(data):
                if self._closed:
                    return
                if channel:
                    self._heardOfTask(channel, message)
                else:
                    self._heard(message)
        except RemoteProtocolError as error:
            self._hangUp(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Tell whoever needs to know.
        """
        self._stopTimer()
        if not self._proven:
            self._count("it hung up")
            self._owner.leave(self)
            return
        self._closed = True
        self._owner.heart.remove(self)
        if self._task is not None:
            self._task.lost(self._reason or reason)
        else:
            self._owner.receiver.confirmationLost(self._reason or reason)
        if self._owner.watcher is not None:
            self._owner.watcher.callerGone()

    def beat(self) -> None:
        """
        Let the remote know that we are here, and have what it sent.
        """
        if self._task is not None:
            self._task.acknowledge()
        self.transport.write(self._channels.say(0, Heartbeat()))

    def silent(self) -> None:
        """
        The remote is dead, or cut off.
        """
        self._hangUp(ConnectionClosed(f"the remote has said nothing for {SILENCE:g} seconds"))

    def sendAway(self, why: object) -> None:
        """
        Reset the connection of a caller who proved nothing, so that no TIME_WAIT
        stays on the port.
        """
        if self._count(why):
            self.abort()

    def abort(self) -> None:
        """
        Hang up without a word, whoever it is.
        """
        self._closed = True
        self._stopTimer()
        self.transport.abortConnection()

    # ---------------------------------------------------- what the remote says

    def _heard(self, message: Confirmation) -> None:
        """
        A word about the connection as a whole.
        """
        match message:
            case Heartbeat():
                pass
            case Challenge():
                self._challenged(message)
            case CallerProof():
                if not isProof(message.proof, self._expected):
                    raise RemoteProtocolError("its proof is wrong")
                self._stopTimer()
                self._proven = True
                self._owner.found(self)
                self._owner.heart.add(self)
            case _:
                raise AssertionError(f"{message} on channel 0")

    def _challenged(self, message: Challenge) -> None:
        owner = self._owner
        if not isProof(message.selector, owner.selector):
            raise RemoteProtocolError("it does not know which task is meant")
        nonce = token_bytes(NONCE_SIZE)
        both = message.nonce, nonce
        self._expected = callerProof(owner.token, *both, owner.task)
        proof = listenerProof(owner.token, *both, owner.task)
        self.claimed = owner.claimed = True
        if owner.watcher is not None:
            owner.watcher.callerClaims()
        # It may be the remote, which starts the task now: it is given as long
        # as any remote that is known.
        self._setTimer(SILENCE, "it did not prove itself")
        self.transport.write(self._channels.say(0, ListenerProof(nonce, proof, owner.window)))

    def _heardOfTask(self, channel: int, message: Confirmation) -> None:
        """
        A word about the task.
        """
        task = self._task
        if task is None:
            if channel != CHANNEL:
                raise RemoteProtocolError(f"channel {channel} where only {CHANNEL} can be")
            task = self._task = TaskChannel(
                self._owner.task,
                channel,
                self._channels,
                self.transport,
                receiver=self._owner.receiver,
                hangUp=self.abort,
            )
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
            case _:
                raise AssertionError(f"{message} from a remote")

    def _acknowledged(self) -> None:
        # The remote closes first, so that TIME_WAIT is at its side.
        self._timer = self._owner.clock.callLater(CLOSE, self._notClosed)
        if self._owner.watcher is not None:
            self._owner.watcher.endAcknowledged()

    def _notClosed(self) -> None:
        self._timer = None
        self.transport.loseConnection()

    # ----------------------------------------------------- what is wrong with it

    def _hangUp(self, error: Exception) -> None:
        if not self._proven:
            self.sendAway(error)
        elif not self._closed:
            self._log.warn(
                "Hung up on {peer} with task {task}: {error}",
                peer=self.transport.getPeer(),
                task=self._owner.task,
                error=error,
            )
            self._reason = Failure(error)
            self.abort()

    def _count(self, why: object) -> bool:
        if self._closed:
            return False
        self._closed = True
        self._owner.strangers += 1
        source = getattr(self.transport.getPeer(), "host", "")
        self._owner.log.add(source, self._owner.task, why)
        return True

    def _setTimer(self, seconds: float, silence: str) -> None:
        self._stopTimer()
        self._timer = self._owner.clock.callLater(seconds, self._overdue, silence)

    def _stopTimer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _overdue(self, silence: str) -> None:
        self._timer = None
        self.sendAway(silence)


class CallbackFactory(ServerFactory):
    """
    Listen for the confirmations of one task.

    @ivar strangers: how many callers were sent away.
    @ivar claimed: whether any caller was shown our proof. Before that, the task
        has not run; afterwards, it may have.
    @ivar proven: the connection of the remote.
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
    ) -> None:
        """
        @param task: the UUID of the task.
        @param token: its secret, as in the request to start it.
        @param receiver: hears of the task.
        @param window: bytes of output that the remote may send beyond what was
            acknowledged.
        @param log: where strangers are told of; factories of one service share
            it, so that a scanner is told of once.
        """
        self.task = task
        self.token = token
        self.selector = selector(token)
        self.receiver = receiver
        self.heart = heart
        self.clock = clock
        self.window = window
        self.watcher = watcher
        self.log = log if log is not None else Strangers(clock)
        self.strangers = 0
        self.claimed = False
        self.proven: CallbackProtocol | None = None
        self._unproven: dict[CallbackProtocol, None] = {}

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

    def enter(self, caller: CallbackProtocol) -> None:
        """
        A caller is there that has proved nothing yet.
        """
        self._unproven[caller] = None
        if len(self._unproven) > MAX_UNPROVEN:
            # Rather one that did not even know whom it wants.
            oldest = next((c for c in self._unproven if not c.claimed), caller)
            del self._unproven[oldest]
            oldest.sendAway("too many callers")

    def leave(self, caller: CallbackProtocol) -> None:
        """
        A caller that proved nothing is gone.
        """
        self._unproven.pop(caller, None)
        if caller.claimed and self.proven is None and self.watcher is not None:
            self.watcher.claimLost()

    def found(self, caller: CallbackProtocol) -> None:
        """
        The remote has proved itself: send everybody else away.
        """
        self.proven = caller
        del self._unproven[caller]
        for other in list(self._unproven):
            other.sendAway("the caller is known now")
        if self.watcher is not None:
            self.watcher.callerProven()

    def abort(self) -> None:
        """
        Hang up on everybody.
        """
        for caller in [*self._unproven, self.proven]:
            if caller is not None:
                caller.abort()
