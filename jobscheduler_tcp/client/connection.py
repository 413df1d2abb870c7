"""
A standing command connection to one remote: made when it is first needed, made
again when it breaks, and requests survive that.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from errno import ETIMEDOUT
from random import random

from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.client.command import CommandClientFactory, CommandClientProtocol
from jobscheduler_tcp.client.verdicts import isRefusal
from jobscheduler_tcp.errors import (
    CommandRefused,
    ConnectionClosed,
    NotAdmitted,
    RemoteUnreachable,
)
from jobscheduler_tcp.messages import Answer, OnDisconnect, Ping, Request, StartTask, Welcome

# Seconds to try before a remote counts as unreachable: a restart of its service
# takes less.
CONNECT_TIMEOUT = 10.0
# Seconds until the first new attempt, and between attempts in the long run: there
# shall be some before a request gives up, and only who is asked something dials.
_FIRST_DELAY = 0.1
_LAST_DELAY = 2.0
# How often a request is said, each time the connection breaks before the answer:
# one at which the remote hangs up must not stop the others for ever.
_MAX_TIMES = 5
# The word of a remote that holds tasks for clients that come back.
ATTACH = "attach"


@dataclass(slots=True, eq=False)
class _Asked:
    """
    A request that has no answer yet.

    @ivar since: when it began to wait for a connection.
    @ivar times: how often it was said.
    @ivar instance: to which remote, the last time.
    @ivar pinned: whether it may be said to no other.
    """

    connection: CommandConnection
    request: Request
    answer: Deferred[Answer]
    since: float
    times: int = 0
    instance: str = ""
    pinned: bool = False

    def callback(self, answer: Answer) -> None:
        """
        It has an answer.
        """
        self.connection.answered(self, answer)

    def errback(self, error: Exception) -> None:
        """
        It has none on this connection.
        """
        self.connection.unanswered(self, error)


@implementer(IStreamClientEndpoint)
class _Watched:
    """
    Connect, and tell of failures, which C{ClientService} keeps to itself.
    """

    def __init__(
        self, endpoint: IStreamClientEndpoint, connection: CommandConnection, address: str
    ) -> None:
        self._endpoint = endpoint
        self._connection = connection
        self._address = address

    def __repr__(self) -> str:
        # In the log of C{ClientService}, which people read.
        return f"to the remote {self._address}"

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect.
        """
        return self._endpoint.connect(factory).addErrback(self._connection.notConnected)


class CommandConnection:
    """
    Ask one remote, over connections that come and go.

    A connection is made when something is asked and there is none. When it
    breaks it is made again as long as something is unanswered, and that is
    asked again: each request means the same when it is said twice (L{messages}).

    @ivar welcome: what the remote said of itself, while it is connected.
    """

    _log = Logger()

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        factory: CommandClientFactory,
        clock: IReactorTime,
        address: str = "",
        timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        """
        @param address: host and port, for people.
        @param timeout: seconds for which a request waits for a connection; with
            0 the first failure decides.
        """
        self.welcome: Welcome | None = None
        self._clock = clock
        self._address = address
        self._timeout = timeout
        self._asked: dict[Deferred[Answer], _Asked] = {}
        self._protocol: CommandClientProtocol | None = None
        self._failures = 0
        self._turnedAway = False  # the last connection was closed without a word
        self._lastFailure: Failure | None = None
        self._timer: IDelayedCall | None = None
        self._resting: IDelayedCall | None = None
        self._factory = factory
        connections = Factory.forProtocol(self._build)
        connections.noisy = False
        self._service = ClientService(
            _Watched(endpoint, self, address), connections, self._delay, clock
        )

    def request(self, message: Request) -> Deferred[Answer]:
        """
        Ask for something. Cancel the Deferred to ask it no more.

        @return: fails with L{CommandRefused} if the answer is an error, with
            L{NotAdmitted} if the remote hangs up on us, with
            L{RemoteUnreachable} if no connection can be made in time.
        """
        answer: Deferred[Answer] = Deferred(self.withdraw)
        asked = self._asked[answer] = _Asked(self, message, answer, self._clock.seconds())
        if self._protocol is not None:
            self._send(self._protocol, asked)
        else:
            if not self._service.running:
                self._service.startService()
            self._setTimer()
        return answer

    def greet(self) -> Deferred[None]:
        """
        Find out whether the remote speaks the extended dialect.

        @return: fires if so, and fails as L{request} does otherwise.
        """
        return self.request(Ping(0)).addCallback(lambda _: None)

    def withdraw(self, answer: Deferred[Answer]) -> None:
        """
        Ask no more: the Deferred will not fire.
        """
        # Where we are connected, nothing waits for a connection.
        if self._asked.pop(answer, None) is not None and self._protocol is None:
            self._setTimer()
            self._restIfIdle()

    def hurry(self) -> None:
        """
        Send at once what was asked: there is nothing that it could be joined to, and
        the remote can begin while we finish what we are at.
        """
        if self._protocol is not None:
            self._protocol.hurry()

    def pin(self, answer: Deferred[Answer]) -> None:
        """
        The remote may have obeyed a request: say it again to no other. Should one
        be there in its place that was started anew, the request fails with
        L{ConnectionClosed}.
        """
        asked = self._asked.get(answer)
        if asked is not None:
            asked.pinned = True

    def stop(self) -> Deferred[None]:
        """
        Disconnect. What is unanswered fails with L{ConnectionClosed}.
        """
        self._failAll(ConnectionClosed("stopped"))
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        return self._service.stopService()

    def notConnected(self, reason: Failure) -> Failure:
        """
        An attempt to connect failed.
        """
        self._failed(reason)
        return reason

    # ---------------------------------------------------------- one connection

    def _build(self) -> CommandClientProtocol:
        protocol = self._factory.buildProtocol(None)
        protocol.greeting.addCallbacks(self._greeted, self._notGreeted, callbackArgs=(protocol,))
        protocol.closed.addCallback(self._lost)
        return protocol

    def _greeted(self, welcome: Welcome, protocol: CommandClientProtocol) -> None:
        self.welcome = welcome
        self._protocol = protocol
        self._failures = 0
        self._turnedAway = False
        self._lastFailure = None
        self._setTimer()
        self._log.info(
            "Connected to the remote {address} from port {port}",
            address=self._address,
            port=getattr(protocol.transport.getHost(), "port", 0),
        )
        for asked in list(self._asked.values()):
            self._send(protocol, asked)

    def _notGreeted(self, reason: Failure) -> None:
        error = reason.value
        if isinstance(error, NotAdmitted) and not self._turnedAway and self._timeout > 0:
            # This once, the network may have been to blame.
            self._turnedAway = True
            self._failed(reason)
        elif isinstance(error, (CommandRefused, NotAdmitted)):
            self._turnedAway = False
            self._failures += 1
            if isinstance(error, NotAdmitted) or isRefusal(error):
                self._log.warn(
                    "The remote {address} refuses to talk to us: {error}",
                    address=self._address,
                    error=error,
                )
            # It will say the same again, but whoever asks next may try at once,
            # also if that was when the others failed.
            self._failAll(error)
            self._restSoon()
        else:
            self._failed(reason)

    def _lost(self, _: None) -> None:
        if self._protocol is not None:
            self._protocol = self.welcome = None
            self._log.info("Disconnected from the remote {address}", address=self._address)
            now = self._clock.seconds()
            for asked in self._asked.values():
                asked.since = now
            self._setTimer()
        self._restIfIdle()

    def _send(self, protocol: CommandClientProtocol, asked: _Asked) -> None:
        assert self.welcome is not None
        instance = self.welcome.instance
        if asked.pinned and asked.instance and asked.instance != instance:
            if self._asked.pop(asked.answer, None) is not None:
                asked.answer.errback(ConnectionClosed("the remote was started anew"))
            return
        asked.instance = instance
        asked.times += 1
        request = asked.request
        if isinstance(request, StartTask) and ATTACH not in self.welcome.capabilities:
            # It would not understand what it knows nothing of.
            request = replace(request, onDisconnect=OnDisconnect.KILL, hold=0.0, secret=b"")
        protocol.ask(request, asked)

    def answered(self, asked: _Asked, answer: Answer) -> None:
        """
        The remote answered a request.
        """
        if self._asked.pop(asked.answer, None) is not None:
            asked.answer.callback(answer)

    def unanswered(self, asked: _Asked, error: Exception) -> None:
        """
        It will not, on this connection.
        """
        if isinstance(error, ConnectionClosed) and asked.times < _MAX_TIMES:
            return  # it waits for the next connection
        if self._asked.pop(asked.answer, None) is not None:
            asked.answer.errback(error)

    # ------------------------------------------------------------ none to be had

    def _failed(self, reason: Failure) -> None:
        self._lastFailure = reason
        if self._timeout <= 0:
            self._failAll(self._unreachable())
        self._restIfIdle()

    def _failAll(self, error: Exception) -> None:
        failing, self._asked = self._asked, {}
        self._setTimer()
        for answer in failing:
            answer.errback(error)
        self._restIfIdle()

    def _setTimer(self) -> None:
        """
        Count the time for which the first request waits for a connection.
        """
        if self._asked and self._protocol is None and self._timeout > 0:
            if self._timer is None:
                first = next(iter(self._asked.values()))
                delay = max(0.0, first.since + self._timeout - self._clock.seconds())
                self._timer = self._clock.callLater(delay, self._overdue)
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _overdue(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        for asked in list(self._asked.values()):
            # Both numbers come from the clock, by different sums.
            if asked.since + self._timeout <= now + 0.001:
                del self._asked[asked.answer]
                asked.answer.errback(self._unreachable())
        self._setTimer()
        self._restIfIdle()

    def _unreachable(self) -> RemoteUnreachable:
        if self._lastFailure is None:
            return RemoteUnreachable(
                self._address, f"no answer within {self._timeout:g} seconds", ETIMEDOUT
            )
        error = self._lastFailure.value
        number = getattr(error, "osError", None) or getattr(error, "errno", None)
        if isinstance(number, int):
            return RemoteUnreachable(self._address, os.strerror(number), number)
        return RemoteUnreachable(self._address, self._lastFailure.getErrorMessage())

    def _restIfIdle(self) -> None:
        """
        Try to connect only as long as somebody asks.
        """
        if not self._asked and self._protocol is None:
            self._restSoon()

    def _restSoon(self) -> None:
        if self._resting is None and self._service.running:
            # Later, for the attempt that we hear of is still under way.
            self._resting = self._clock.callLater(0, self._rest)

    def _rest(self) -> None:
        self._resting = None
        if self._protocol is None and self._service.running:
            self._service.stopService()
            if self._asked:
                self._service.startService()

    def _delay(self, attempt: int) -> float:
        # Our own count, for a remote that hangs up at once is a failure too.
        # Jittered, so that many clients do not come back in step.
        self._failures += 1
        return min(_FIRST_DELAY * 2.0 ** min(self._failures, 10), _LAST_DELAY) * (0.5 + random())
