"""
The remote's side of the confirmation connection: dial back to the client, and
confirm to it what becomes of one task.

Nothing of the task is said before the listener has proved that it knows the
task's token: anybody may listen at a port.
"""

from __future__ import annotations

import errno
from collections import deque
from os import strerror
from secrets import token_bytes

from twisted.internet.error import ConnectError
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IDelayedCall,
    IPushProducer,
    IReactorTCP,
    IReactorTime,
)
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.channels import ConfirmationChannels
from jobscheduler_tcp.conversation import Role
from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.heartbeat import Heart
from jobscheduler_tcp.interfaces import IConfirmedTask, IStreamTransport
from jobscheduler_tcp.messages import (
    CallerProof,
    Challenge,
    Confirmation,
    EndAcknowledged,
    Heartbeat,
    InputEnded,
    InputTaken,
    ListenerProof,
    OutputAcknowledged,
    Stream,
    TaskAttached,
    TaskEnded,
    TaskInput,
    TaskOutput,
    TaskStarted,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.proof import NONCE_SIZE, callerProof, isProof, listenerProof, selector
from jobscheduler_tcp.sockets import settle
from jobscheduler_tcp.wire.extended import MAX_DATA

# Seconds until a listener must have taken the connection, and then proved that
# it knows the token.
CONNECT_TIMEOUT = 10.0
PROOF_TIMEOUT = 5.0

# Bytes of input that the client may send beyond what the task was given.
INPUT_WINDOW = 262144

# A task that has a connection of its own has this channel.
CHANNEL = 1

# Errors of a dial that are the doing of this machine: it has no descriptor, no
# memory or no outgoing port left.
_OUR_SHORTAGE = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN}
)


@implementer(IPushProducer)
class ConfirmationProtocol(Protocol):
    """
    The confirmation connection of one task.

    @ivar quiet: beats since the client was last heard.
    """

    transport: IStreamTransport
    _log = Logger()

    def __init__(self, factory: ConfirmationFactory) -> None:
        self._factory = factory
        self.quiet = 0
        self._task = factory.confirmed
        self._channels = ConfirmationChannels(Role.REMOTE)
        self._nonce = token_bytes(NONCE_SIZE)
        self._timer: IDelayedCall | None = None
        self._taken = 0  # input
        self._waiting: deque[tuple[Stream, bytes | memoryview]] = deque()
        self._end: TaskEnded | None = None  # to be said after what waits
        self._clogged = False  # the transport holds more than it likes
        self._blocked = False  # the task was told to pause
        self._ending = False  # the end was said or waits
        self._closed = False  # nothing more is said or heard

    # ------------------------------------------------------------ the transport

    def connectionMade(self) -> None:
        """
        Ask the listener for its proof.
        """
        settle(self.transport)
        self._timer = self._factory.clock.callLater(PROOF_TIMEOUT, self._proofOverdue)
        self.transport.write(
            self._channels.say(0, Challenge(self._nonce, selector(self._factory.token)))
        )

    def dataReceived(self, data: bytes) -> None:
        """
        Hear what the client says; hang up on nonsense.
        """
        self.quiet = 0
        if self._closed:
            return
        try:
            for _, message in self._channels.hear(data):
                self._heard(message)
                if self._closed:
                    return
        except RemoteProtocolError as error:
            self._hangUp(str(error))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Tell the task, unless its end was acknowledged.
        """
        self._stopTimer()
        self._factory.heart.remove(self)
        if not self._channels.proven:
            text = f"closed without a proof: {reason.getErrorMessage()}"
            self._factory.failed(Reason.CALLBACK_WRONG_LISTENER, text)
        elif self._channels.channels:
            self._task.callbackLost()
        self._closed = True
        self._waiting.clear()

    def abort(self) -> None:
        """
        Hang up without a word.
        """
        self._closed = True
        self._waiting.clear()
        self.transport.abortConnection()

    def beat(self) -> None:
        """
        Let the client know that we are here.
        """
        self.transport.write(self._channels.say(0, Heartbeat()))

    def silent(self) -> None:
        """
        The client is dead, or cut off.
        """
        self._hangUp("it has said nothing for too long")

    def _hangUp(self, why: str) -> None:
        if self._closed:
            return
        self._log.warn(
            "Hung up on {peer}, called for task {task}: {why}",
            peer=self.transport.getPeer(),
            task=self._factory.task,
            why=why,
        )
        if not self._channels.proven:
            self._factory.failed(Reason.CALLBACK_WRONG_LISTENER, why)
        self.abort()

    def _proofOverdue(self) -> None:
        self._timer = None
        self._hangUp(f"it took the connection and proved nothing for {PROOF_TIMEOUT:g} seconds")

    def _stopTimer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    # ---------------------------------------------------- what the client says

    def _heard(self, message: Confirmation) -> None:
        match message:
            case ListenerProof():
                self._proofShown(message)
            case OutputAcknowledged():
                self._flush()
            case TaskInput():
                self._task.inputReceived(bytes(message.data))
            case InputEnded():
                self._task.inputEnded()
            case EndAcknowledged():
                self._endAcknowledged()
            case Heartbeat():
                pass
            case (
                Challenge()
                | CallerProof()
                | TaskAttached()
                | TaskStarted()
                | TaskOutput()
                | InputTaken()
                | TaskEnded()
            ):
                raise AssertionError(f"{message} is no word of the client's")

    def _proofShown(self, message: ListenerProof) -> None:
        factory = self._factory
        both = self._nonce, message.nonce
        if not isProof(message.proof, listenerProof(factory.token, *both, factory.task)):
            raise RemoteProtocolError("its proof is wrong")
        self._stopTimer()
        proof = CallerProof(callerProof(factory.token, *both, factory.task))
        attached = TaskAttached(factory.task, window=INPUT_WINDOW)
        self.transport.write(self._channels.say(0, proof) + self._channels.say(CHANNEL, attached))
        factory.taken(self)
        factory.heart.add(self)
        self.transport.registerProducer(self, True)
        self._task.callbackTaken()

    def _endAcknowledged(self) -> None:
        # We close first, so that TIME_WAIT stays at our side, where no port is
        # listened on again and again.
        self._closed = True
        self._factory.heart.remove(self)
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        self._task.endAcknowledged()

    # ----------------------------------------------------- what is said of the task

    def taskStarted(self, message: TaskStarted) -> None:
        """
        Confirm the start.
        """
        if not self._closed:
            self.transport.write(self._channels.say(CHANNEL, message))

    def output(self, stream: Stream, data: bytes) -> None:
        """
        Give the client output. What it has no room for is kept, and the task is
        told to pause.
        """
        if not self._closed and data:
            self._waiting.append((stream, data))
            self._flush()

    def inputTaken(self, count: int) -> None:
        """
        Tell the client that it may send so many more bytes of input.
        """
        if not self._closed and not self._ending:
            self._taken += count
            self.transport.write(self._channels.say(CHANNEL, InputTaken(self._taken)))

    def taskEnded(self, message: TaskEnded) -> None:
        """
        Confirm the end, after all output.
        """
        if not self._closed:
            self._end = message
            self._ending = True
            self._flush()

    def _flush(self) -> None:
        channels = self._channels
        waiting = self._waiting
        room = channels.outputRoom(CHANNEL)
        while waiting and room > 0:
            stream, data = waiting[0]
            size = len(data)
            most = min(room, MAX_DATA)
            if size > most:
                whole = memoryview(data)
                waiting[0] = (stream, whole[most:])
                data, size = whole[:most], most
            else:
                waiting.popleft()
            # A transport takes nothing but bytes; of those no copy is made.
            self.transport.writeSequence(
                [channels.outputHeader(CHANNEL, stream, size), bytes(data)]
            )
            room -= size
        if self._end is not None and not waiting:
            end, self._end = self._end, None
            self.transport.write(channels.say(CHANNEL, end))
        self._balance(room)

    def _balance(self, room: int) -> None:
        blocked = self._clogged or room <= 0
        if blocked is not self._blocked:
            self._blocked = blocked
            if blocked:
                self._task.pauseProducing()
            else:
                self._task.resumeProducing()

    # ------------------------------------------------- flow, told by the transport

    def pauseProducing(self) -> None:
        """
        The client's end takes nothing at the moment.
        """
        # Called while we write, so nothing more may be written here.
        self._clogged = True
        if not self._closed:
            self._balance(0)

    def resumeProducing(self) -> None:
        """
        It takes again.
        """
        self._clogged = False
        if not self._closed:
            self._flush()

    def stopProducing(self) -> None:
        """
        The connection is gone; L{connectionLost} tells the task.
        """


class ConfirmationFactory(ClientFactory):
    """
    Dial the confirmation connection of one task, and tell the task what came of
    it.
    """

    noisy = False

    def __init__(
        self,
        task: str,
        token: bytes,
        confirmed: IConfirmedTask,
        clock: IReactorTime,
        heart: Heart | None = None,
    ) -> None:
        """
        @param task: the UUID of the task.
        @param token: what the listener has to know.
        @param confirmed: hears what the client does.
        @param heart: the heart of the service that this belongs to.
        """
        self.task = task
        self.token = token
        self.confirmed = confirmed
        self.clock = clock
        self.heart = heart or Heart(clock)
        self.connection: ConfirmationProtocol | None = None
        self._connector: IConnector | None = None
        self._over = False

    def dial(
        self, reactor: IReactorTCP, host: str, port: int, timeout: float = CONNECT_TIMEOUT
    ) -> None:
        """
        Call the client.
        """
        reactor.connectTCP(host, port, self, timeout)

    def startedConnecting(self, connector: IConnector) -> None:
        """
        Remember who connects, to be able to stop it.
        """
        self._connector = connector

    def buildProtocol(self, addr: IAddress | None) -> ConfirmationProtocol:
        """
        Somebody has taken the connection.
        """
        self._connector = None
        self.connection = ConfirmationProtocol(self)
        return self.connection

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        """
        Nobody has taken the connection; the error tells why.
        """
        self._connector = None
        number = errnoOf(reason.value)
        to = connector.getDestination()
        text = f"{to.host}:{to.port}: {strerror(number)}"  # type: ignore[attr-defined]  # an IP address
        if number == errno.ECONNREFUSED:
            self.failed(Reason.CALLBACK_REFUSED, text, number)
        elif number in _OUR_SHORTAGE:
            self.failed(Reason.REJECTED_CAPACITY, text, number)
        else:  # unreachable, prohibited, silence: something lets nothing through
            self.failed(Reason.CALLBACK_FILTERED, text, number)

    def abort(self) -> None:
        """
        Give up, or hang up without a word.
        """
        if self._connector is not None:
            self._connector.stopConnecting()
        elif self.connection is not None:
            self.connection.abort()

    @property
    def outgoing(self) -> int:
        """
        Our port of the connection (the diagram's OPR), 0 while there is none.
        """
        if self.connection is None:
            return 0
        return getattr(self.connection.transport.getHost(), "port", 0)

    def taken(self, connection: ConfirmationProtocol) -> None:
        """
        Both ends are proven.
        """
        self._over = True
        self.token = b""  # nobody needs to know it any more

    def failed(self, reason: Reason, text: str, errno: int = 0) -> None:
        """
        Tell the task, once, that there will be no connection.
        """
        if not self._over:
            self._over = True
            self.token = b""
            self.confirmed.callbackFailed(reason, text, errno)


def errnoOf(error: BaseException | None) -> int:
    """
    Find the error number of the system in the error of a dial.
    """
    number = error.osError if isinstance(error, ConnectError) else None
    return number or errno.ETIMEDOUT  # Twisted's own timer gives none
