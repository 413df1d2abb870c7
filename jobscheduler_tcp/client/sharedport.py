"""
One callback port for all remotes that confirm many tasks on one connection.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory
from twisted.python.failure import Failure

from jobscheduler_tcp.channels import WINDOW
from jobscheduler_tcp.client.callback import MAX_UNPROVEN
from jobscheduler_tcp.client.caller import Caller
from jobscheduler_tcp.client.ports import CallbackPort, CallbackPorts
from jobscheduler_tcp.client.standing import StandingProtocol
from jobscheduler_tcp.client.strangers import Strangers
from jobscheduler_tcp.errors import NoConfirmation
from jobscheduler_tcp.heartbeat import Heart
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.proof import selector


@dataclass(slots=True, eq=False)
class ExpectedCall:
    """
    A connection that is waited for.

    @ivar subject: its UUID.
    @ivar called: whether the remote says that it has called.
    @ivar proven: fires with the connection when the remote has proved itself.
    """

    subject: str
    token: bytes = field(repr=False)
    called: bool = False
    proven: Deferred[StandingProtocol] = field(default_factory=Deferred)


class SharedCallbackFactory(ServerFactory):
    """
    Listen for the standing connections of all remotes.
    """

    noisy = False

    def __init__(self, heart: Heart, log: Strangers, window: int = WINDOW) -> None:
        """
        @param log: where strangers are told of.
        @param window: bytes of output of each task that a remote may send beyond
            what was acknowledged.
        """
        self.heart = heart
        self.window = window
        self._log = log
        self._expected: dict[bytes, ExpectedCall] = {}
        self._subjects: dict[str, ExpectedCall] = {}
        self._unproven: dict[Caller, None] = {}

    def expect(self, call: ExpectedCall) -> None:
        """
        Wait for one more.
        """
        self._expected[selector(call.token)] = call
        self._subjects[call.subject] = call

    def forget(self, call: ExpectedCall) -> None:
        """
        It has come, or will not.
        """
        self._expected.pop(selector(call.token), None)
        self._subjects.pop(call.subject, None)

    def called(self, call: ExpectedCall) -> None:
        """
        The remote says that it has called: it was shown our proof.
        """
        call.called = True
        self._isStillThere(call)

    def _isStillThere(self, call: ExpectedCall) -> None:
        # Whoever claims it is the remote, or a stranger who will not prove it.
        claims = any(each.claimed and each.subject == call.subject for each in self._unproven)
        if call.called and not claims and not call.proven.called:
            text = "the connection broke before the remote had proved itself"
            call.proven.errback(NoConfirmation(Reason.CALLBACK_REFUSED, text))

    def buildProtocol(self, addr: IAddress | None) -> StandingProtocol:
        """
        Somebody calls.
        """
        return StandingProtocol(self)

    def admits(self) -> bool:
        """
        See L{CallerOwner<jobscheduler_tcp.client.caller.CallerOwner>}.
        """
        return bool(self._expected)

    def meant(self, selector: bytes) -> tuple[str, bytes] | None:
        """
        See L{CallerOwner<jobscheduler_tcp.client.caller.CallerOwner>}.
        """
        call = self._expected.get(selector)
        return (call.subject, call.token) if call is not None else None

    def enter(self, caller: Caller) -> None:
        """
        See L{CallerOwner<jobscheduler_tcp.client.caller.CallerOwner>}.
        """
        self._unproven[caller] = None
        if len(self._unproven) > MAX_UNPROVEN + len(self._expected):
            # Rather one that did not even know whom it wants.
            oldest = next((c for c in self._unproven if not c.claimed), caller)
            del self._unproven[oldest]
            oldest.sendAway("too many callers")

    def shown(self, caller: Caller) -> None:
        """
        See L{CallerOwner<jobscheduler_tcp.client.caller.CallerOwner>}.
        """

    def found(self, caller: Caller) -> None:
        """
        See L{CallerOwner<jobscheduler_tcp.client.caller.CallerOwner>}.
        """
        del self._unproven[caller]
        call = self._subjects.get(caller.subject)
        if call is None:
            caller.abort()  # it comes a second time, or too late
        else:
            self.forget(call)
            assert isinstance(caller, StandingProtocol)
            call.proven.callback(caller)

    def leave(self, caller: Caller) -> None:
        """
        See L{CallerOwner<jobscheduler_tcp.client.caller.CallerOwner>}.
        """
        self._unproven.pop(caller, None)
        call = self._subjects.get(caller.subject)
        if call is not None:
            self._isStillThere(call)

    def strange(self, host: str, why: object) -> None:
        """
        See L{CallerOwner<jobscheduler_tcp.client.caller.CallerOwner>}.
        """
        self._log.add(host, "the shared callback port", why)

    def abort(self) -> None:
        """
        Hang up on everybody who has proved nothing.
        """
        for caller in list(self._unproven):
            caller.abort()


class SharedPort:
    """
    Listen while somebody wants it, on the first port that is free then.

    @ivar factory: knows who is waited for.
    """

    def __init__(self, ports: CallbackPorts, factory: SharedCallbackFactory) -> None:
        self.factory = factory
        self._ports = ports
        self._users = 0
        self._port: CallbackPort | None = None
        self._waiting: list[Deferred[int]] = []

    def hold(self) -> Deferred[int]:
        """
        Listen. C{release} must follow, whether or not it fails.

        @return: the port.
        """
        self._users += 1
        if self._port is not None:
            return succeed(self._port.number)
        self._waiting.append(Deferred())
        waiter = self._waiting[-1]
        if len(self._waiting) == 1:
            self._ports.acquire(self.factory).addCallbacks(self._listens, self._listensNot)
        return waiter

    def release(self) -> None:
        """
        It is not wanted by one of those who held it.
        """
        self._users -= 1
        if not self._users and self._port is not None:
            port, self._port = self._port, None
            self.factory.abort()
            port.release()

    def _listens(self, port: CallbackPort) -> None:
        self._port = port
        if not self._users:  # nobody wants it any more
            self._users = 1
            self.release()
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(port.number)

    def _listensNot(self, reason: Failure) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.errback(reason)
