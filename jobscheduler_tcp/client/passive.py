"""
Dial a standing confirmation connection ourselves, where nobody can call us.

The remote's own command port takes it: the first words are a document and its
answer, and then frames are spoken as on any confirmation connection.
"""

from __future__ import annotations

from hmac import compare_digest

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.python.failure import Failure

from jobscheduler_tcp.channels import WINDOW
from jobscheduler_tcp.client.caller import Caller
from jobscheduler_tcp.client.standing import StandingProtocol
from jobscheduler_tcp.conversation import COMMAND, Conversation, Role
from jobscheduler_tcp.errors import NoConfirmation, RemoteProtocolError
from jobscheduler_tcp.heartbeat import Heart
from jobscheduler_tcp.messages import ConfirmationOpened, ConfirmationRefused, TakeConfirmation
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.proof import selector
from jobscheduler_tcp.wire.answers import decodeAnswer
from jobscheduler_tcp.wire.requests import encodeRequest

# Seconds for the answer to our first words.
ANSWER_TIMEOUT = 10.0
# The longest answer to our first words, which is one element.
_MAX_ANSWER = 16384
_ID = 1


class PassiveProtocol(Protocol):
    """
    Say the document, and hand over to L{StandingProtocol}.
    """

    transport: ITCPTransport

    def __init__(self, factory: PassiveFactory) -> None:
        self._factory = factory
        self._conversation = Conversation(COMMAND, Role.CLIENT)
        self._answer = bytearray()
        self._successor: StandingProtocol | None = None
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """
        Tell which connection this is.
        """
        self._timer = self._factory.clock.callLater(ANSWER_TIMEOUT, self._overdue)
        request = TakeConfirmation(_ID, self._factory.subject)
        self._conversation.speak(request)
        self.transport.write(encodeRequest(request))

    def dataReceived(self, data: bytes) -> None:
        """
        Hear the answer, and hand on what comes after it.
        """
        if self._successor is not None:
            self._successor.dataReceived(data)
            return
        self._answer += data
        end = self._answer.find(b"\0")
        if end < 0 and len(self._answer) <= _MAX_ANSWER:
            return
        try:
            if end < 0:
                raise RemoteProtocolError("its answer does not end")
            answer = decodeAnswer(bytes(self._answer[:end]).strip())
            self._conversation.hear(answer)
        except RemoteProtocolError as error:
            self._fail(Reason.CALLBACK_WRONG_LISTENER, str(error))
            return
        match answer:
            case ConfirmationOpened():
                self._stopTimer()
                self._successor = StandingProtocol(self._factory)
                self._successor.makeConnection(self.transport)  # type: ignore[no-untyped-call]  # it has no types
                rest = bytes(self._answer[end + 1 :])
                if rest:
                    self._successor.dataReceived(rest)
            case ConfirmationRefused():
                self._fail(answer.reason, answer.text, answer.errno)
            case _:
                self._fail(Reason.REJECTED_AUTH, getattr(answer, "text", ""))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        It is over.
        """
        self._stopTimer()
        if self._successor is not None:
            self._successor.connectionLost(reason)
        else:
            text = f"the remote hung up: {reason.getErrorMessage()}"
            self._factory.failed(Reason.CALLBACK_WRONG_LISTENER, text)

    def _overdue(self) -> None:
        self._timer = None
        self._fail(Reason.CALLBACK_TIMEOUT, "the remote does not answer on the second connection")

    def _fail(self, reason: Reason, text: str, errno: int = 0) -> None:
        self._factory.failed(reason, text, errno)
        self.transport.abortConnection()

    def _stopTimer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


class PassiveFactory(ClientFactory):
    """
    Make the one connection, which is also its only caller.

    @ivar proven: fires with the connection when the remote has proved itself;
        fails with L{NoConfirmation}.
    """

    noisy = False

    def __init__(
        self, subject: str, token: bytes, clock: IReactorTime, heart: Heart, window: int = WINDOW
    ) -> None:
        self.subject = subject
        self.clock = clock
        self.heart = heart
        self.window = window
        self.proven: Deferred[StandingProtocol] = Deferred()
        self._token = token

    def buildProtocol(self, addr: IAddress | None) -> PassiveProtocol:
        """
        The remote has taken our call.
        """
        return PassiveProtocol(self)

    def failed(self, reason: Reason, text: str, errno: int = 0) -> None:
        """
        There will be no connection.
        """
        if not self.proven.called:
            self.proven.errback(NoConfirmation(reason, text, errno))

    def admits(self) -> bool:
        """
        See L{CallerOwner<jobscheduler_tcp.client.caller.CallerOwner>}.
        """
        return True

    def meant(self, wanted: bytes) -> tuple[str, bytes] | None:
        """
        See L{CallerOwner<jobscheduler_tcp.client.caller.CallerOwner>}.
        """
        isOurs = compare_digest(wanted, selector(self._token))
        return (self.subject, self._token) if isOurs else None

    def enter(self, caller: Caller) -> None:
        """
        See L{CallerOwner<jobscheduler_tcp.client.caller.CallerOwner>}.
        """

    def shown(self, caller: Caller) -> None:
        """
        See L{CallerOwner<jobscheduler_tcp.client.caller.CallerOwner>}.
        """

    def found(self, caller: Caller) -> None:
        """
        See L{CallerOwner<jobscheduler_tcp.client.caller.CallerOwner>}.
        """
        if self.proven.called:
            caller.abort()
        else:
            assert isinstance(caller, StandingProtocol)
            self.proven.callback(caller)

    def leave(self, caller: Caller) -> None:
        """
        See L{CallerOwner<jobscheduler_tcp.client.caller.CallerOwner>}.
        """

    def strange(self, host: str, why: object) -> None:
        """
        See L{CallerOwner<jobscheduler_tcp.client.caller.CallerOwner>}.
        """
        self.failed(Reason.CALLBACK_WRONG_LISTENER, f"who took our call is not the remote: {why}")
