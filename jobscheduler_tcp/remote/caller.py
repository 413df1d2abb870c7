"""
The remote's end of a confirmation connection, whatever is confirmed on it: dial,
have the listener prove itself, beat.

Nothing of a task is said before the listener has proved that it knows the
token: anybody may listen at a port.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from hmac import compare_digest
from os import strerror, urandom

from twisted.internet.error import ConnectError
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.channels import ConfirmationChannels
from jobscheduler_tcp.conversation import Role
from jobscheduler_tcp.deadlines import Deadlines
from jobscheduler_tcp.dialing import dial
from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.heartbeat import Heart
from jobscheduler_tcp.interfaces import IDialReactor, IStreamTransport
from jobscheduler_tcp.messages import (
    CallerProof,
    Challenge,
    Confirmation,
    Heartbeat,
    ListenerProof,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.proof import NONCE_SIZE, proofs, selector
from jobscheduler_tcp.sockets import settle

# Seconds until a listener must have taken the connection, and then proved that
# it knows the token.
CONNECT_TIMEOUT = 10.0
PROOF_TIMEOUT = 5.0

# Bytes of output of one task under way, whatever the client has room for.
MAX_WINDOW = 4194304

# Errors of a dial that are the doing of this machine: it has no descriptor, no
# memory or no outgoing port left.
_OUR_SHORTAGE = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN}
)


@implementer(IPushProducer)
class Caller(Protocol, ABC):
    """
    Prove ourselves to a client, and hear what it says.

    @ivar quiet: beats since the client was last heard.
    """

    transport: IStreamTransport
    _settled = False
    _log = Logger()

    def __init__(self, factory: Dialer) -> None:
        self._factory = factory
        self.quiet = 0
        self._channels = ConfirmationChannels(Role.REMOTE)
        self._nonce = urandom(NONCE_SIZE)
        self._deadlines: Deadlines | None = None
        self._closed = False  # nothing more is said or heard

    # ------------------------------------------------- for what builds on this

    @abstractmethod
    def heard(self, channel: int, message: Confirmation) -> None:
        """
        The client says something of a task.
        """

    def firstWords(self) -> bytes:
        """
        What is said right after our proof.
        """
        return b""

    @abstractmethod
    def proven(self) -> None:
        """
        Both ends are proven.
        """

    @abstractmethod
    def gone(self) -> None:
        """
        The connection broke when both ends were proven.
        """

    @abstractmethod
    def pauseProducing(self) -> None:
        """
        The client's end takes nothing at the moment.
        """

    @abstractmethod
    def resumeProducing(self) -> None:
        """
        It takes again.
        """

    def stopProducing(self) -> None:
        """
        The connection is gone; L{connectionLost} tells.
        """

    # ------------------------------------------------------------ the transport

    def connectionMade(self) -> None:
        """
        Ask the listener for its proof.
        """
        self.transport.setTcpNoDelay(True)
        self._deadlines = self._factory.heart.deadlines(PROOF_TIMEOUT)
        self._deadlines.add(self)
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
            for channel, message in self._channels.hear(data):
                if channel:
                    self.heard(channel, message)
                elif isinstance(message, ListenerProof):
                    self._proofShown(message)
                if self._closed:
                    return
        except RemoteProtocolError as error:
            self.hangUp(str(error))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Tell who waits for the connection, or had it.
        """
        self._waitNoMore()
        self._factory.heart.remove(self)
        if not self._channels.proven:
            text = f"closed without a proof: {reason.getErrorMessage()}"
            self._factory.failed(Reason.CALLBACK_WRONG_LISTENER, text)
        else:
            self.gone()
        self._closed = True

    def abort(self) -> None:
        """
        Hang up without a word.
        """
        self._closed = True
        self.transport.abortConnection()

    def beat(self) -> None:
        """
        Let the client know that we are here.
        """
        if not self._settled:
            self._settled = True
            settle(self.transport)  # few connections live so long
        self.transport.write(self._channels.say(0, Heartbeat()))

    def silent(self) -> None:
        """
        The client is dead, or cut off.
        """
        self.hangUp("it has said nothing for too long")

    def overdue(self) -> None:
        """
        See L{Waiting<jobscheduler_tcp.deadlines.Waiting>}.
        """
        self._deadlines = None
        self.hangUp(f"it took the connection and proved nothing for {PROOF_TIMEOUT:g} seconds")

    def hangUp(self, why: str) -> None:
        """
        Hang up on a client that does not keep to the protocol.
        """
        if self._closed:
            return
        self._log.warn(
            "Hung up on {peer}, called for {subject}: {why}",
            peer=self.transport.getPeer(),
            subject=self._factory.subject,
            why=why,
        )
        if not self._channels.proven:
            self._factory.failed(Reason.CALLBACK_WRONG_LISTENER, why)
        self.abort()

    def _proofShown(self, message: ListenerProof) -> None:
        factory = self._factory
        # What may be under way is kept until it is acknowledged.
        self._channels.window = min(self._channels.window, MAX_WINDOW)
        expected, proof = proofs(factory.token, self._nonce, message.nonce, factory.subject)
        if not compare_digest(message.proof, expected):
            raise RemoteProtocolError("its proof is wrong")
        self._waitNoMore()
        self._nonce = b""  # nobody needs to know it any more
        self.transport.write(self._channels.say(0, CallerProof(proof)) + self.firstWords())
        factory.taken()
        factory.heart.add(self)
        self.transport.registerProducer(self, True)
        self.proven()

    def _waitNoMore(self) -> None:
        deadlines, self._deadlines = self._deadlines, None
        if deadlines is not None:
            deadlines.remove(self)


class Dialer(ClientFactory, ABC):
    """
    Dial a confirmation connection, and tell what came of it.

    @ivar subject: the UUID that both ends prove to mean: of the task, or of the
        connection that stands for many.
    @ivar token: what the listener has to know.
    """

    noisy = False

    def __init__(
        self, subject: str, token: bytes, clock: IReactorTime, heart: Heart | None = None
    ) -> None:
        """
        @param heart: the heart of the service that this belongs to.
        """
        self.subject = subject
        self.token = token
        self.clock = clock
        self.heart = heart or Heart(clock)
        self._connector: IConnector | None = None
        self._caller: Caller | None = None
        self._over = False

    # ------------------------------------------------- for what builds on this

    @abstractmethod
    def build(self) -> Caller:
        """
        Make our end.
        """

    @abstractmethod
    def tellFailed(self, reason: Reason, text: str, errno: int) -> None:
        """
        There will be no connection.
        """

    # ---------------------------------------------------------------- the dial

    def dial(
        self, reactor: IDialReactor, host: str, port: int, timeout: float = CONNECT_TIMEOUT
    ) -> None:
        """
        Call the client.
        """
        dial(reactor, host, port, self, timeout)

    def startedConnecting(self, connector: IConnector) -> None:
        """
        Remember who connects, to be able to stop it.
        """
        self._connector = connector

    def buildProtocol(self, addr: IAddress | None) -> Caller:
        """
        Somebody has taken the connection.
        """
        self._connector = None
        self._caller = self.build()
        return self._caller

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
        elif self._caller is not None:
            self._caller.abort()

    @property
    def outgoing(self) -> int:
        """
        Our port of the connection (the diagram's OPR), 0 while there is none.
        """
        if self._caller is None:
            return 0
        return getattr(self._caller.transport.getHost(), "port", 0)

    def taken(self) -> None:
        """
        Both ends are proven.
        """
        self._over = True
        self.token = b""  # nobody needs to know it any more

    def failed(self, reason: Reason, text: str, errno: int = 0) -> None:
        """
        Tell, once, that there will be no connection.
        """
        if not self._over:
            self._over = True
            self.token = b""
            self.tellFailed(reason, text, errno)


def errnoOf(error: BaseException | None) -> int:
    """
    Find the error number of the system in the error of a dial.
    """
    number = error.osError if isinstance(error, ConnectError) else None
    if number is None and type(error) is ConnectError:
        # A firewall's answer by ICMP, which Twisted loses.
        return errno.EHOSTUNREACH
    return number or errno.ETIMEDOUT  # Twisted's own timer gives none
