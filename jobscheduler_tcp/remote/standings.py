"""
The standing confirmation connections of a remote, by their UUIDs: those that it
dials, and those that it is dialled for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from jobscheduler_tcp.heartbeat import Heart
from jobscheduler_tcp.interfaces import IDialReactor
from jobscheduler_tcp.messages import (
    CallbackMode,
    ConfirmationOpened,
    ConfirmationRefused,
    OpenConfirmation,
    TakeConfirmation,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.remote.caller import CONNECT_TIMEOUT, Dialer
from jobscheduler_tcp.remote.standing import StandingConfirmation

OpenAnswer: TypeAlias = ConfirmationOpened | ConfirmationRefused

# How many one address may have: a client needs one for each of its process
# classes that name this remote.
MAX_OF_ONE = 64


class StandingFactory(Dialer):
    """
    One standing connection, and who waits for it.

    @ivar host: of the client.
    @ivar request: what the client asked for.
    @ivar connection: our end, C{None} while there is none.
    """

    _log = Logger()

    def __init__(
        self,
        request: OpenConfirmation,
        host: str,
        reactor: IDialReactor,
        heart: Heart,
        onGone: Callable[[str], None],
    ) -> None:
        super().__init__(request.connection, request.token, reactor, heart)
        self.host = host
        self.request = request
        self.connection: StandingConfirmation | None = None
        self._onGone = onGone
        self._waiting: list[tuple[int, Deferred[OpenAnswer]]] = []
        self._timer: IDelayedCall | None = None

    def open(self, number: int) -> Deferred[OpenAnswer]:
        """
        Wait for the connection.

        @param number: the id of the request.
        """
        if self.request.mode is CallbackMode.PASSIVE or self._over:
            return succeed(ConfirmationOpened(number, self.subject))
        self._waiting.append((number, Deferred()))
        return self._waiting[-1][1]

    def expect(self) -> None:
        """
        Wait to be dialled, but not for ever.
        """
        text = f"nobody dialled for {CONNECT_TIMEOUT:g} seconds"
        self._timer = self.clock.callLater(
            CONNECT_TIMEOUT, self._overdue, Reason.CALLBACK_TIMEOUT, text
        )

    def build(self) -> StandingConfirmation:
        """
        Make our end.
        """
        self._stopTimer()
        self.connection = StandingConfirmation(self)
        return self.connection

    def stands(self) -> None:
        """
        Both ends are proven.
        """
        assert self.connection is not None
        peer = self.connection.transport.getPeer()
        self._log.info(
            "Tasks of {host} are confirmed from port {outgoing} to port {port}, on one connection",
            host=self.request.host or self.host,
            outgoing=self.outgoing,
            port=getattr(peer, "port", 0),
        )
        waiting, self._waiting = self._waiting, []
        for number, answer in waiting:
            answer.callback(ConfirmationOpened(number, self.subject))

    def gone(self) -> None:
        """
        It is over.
        """
        self._onGone(self.subject)

    def tellFailed(self, reason: Reason, text: str, errno: int) -> None:
        """
        It will not stand.
        """
        self._log.info(
            "No confirmation connection to {host}: {reason}, {text}",
            host=self.request.host or self.host,
            reason=reason.value,
            text=text,
        )
        self._onGone(self.subject)
        waiting, self._waiting = self._waiting, []
        for number, answer in waiting:
            answer.callback(ConfirmationRefused(number, self.subject, reason, text, errno))

    def stop(self) -> None:
        """
        Hang up, or wait no longer.
        """
        self._stopTimer()
        self.abort()

    def _overdue(self, reason: Reason, text: str) -> None:
        self._timer = None
        self.failed(reason, text)

    def _stopTimer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


class StandingConnections:
    """
    All of a remote.
    """

    def __init__(self, reactor: IDialReactor, heart: Heart) -> None:
        self._reactor = reactor
        self._heart = heart
        self._connections: dict[str, StandingFactory] = {}

    def open(self, message: OpenConfirmation, host: str) -> Deferred[OpenAnswer]:
        """
        Make one for the client at C{host}, or wait until it dials. The same one
        again is the same answer again.
        """
        known = self._connections.get(message.connection)
        if known is not None:
            # After the proof, the token is forgotten.
            if (known.host, known.request.mode, known.request.host) != (
                host,
                message.mode,
                message.host,
            ):
                text = "another connection has the same UUID"
                return _refused(message, Reason.PROTOCOL_ERROR, text)
            return known.open(message.id)
        if sum(each.host == host for each in self._connections.values()) >= MAX_OF_ONE:
            text = f"{host} has {MAX_OF_ONE} standing connections already"
            return _refused(message, Reason.REJECTED_CAPACITY, text)
        factory = StandingFactory(message, host, self._reactor, self._heart, self._gone)
        self._connections[message.connection] = factory
        answer = factory.open(message.id)
        if message.mode is CallbackMode.PASSIVE:
            factory.expect()
        else:
            factory.dial(self._reactor, message.host or host, message.port)
        return answer

    def take(self, message: TakeConfirmation) -> StandingConfirmation | None:
        """
        The client dials.

        @return: our end, C{None} if nobody is waited for by that UUID.
        """
        factory = self._connections.get(message.connection)
        if (
            factory is None
            or factory.request.mode is not CallbackMode.PASSIVE
            or factory.connection is not None
        ):
            return None
        factory.buildProtocol(None)
        return factory.connection

    def find(self, connection: str, host: str) -> StandingConfirmation | None:
        """
        The one on which a task of the client at C{host} shall be confirmed.
        """
        factory = self._connections.get(connection)
        return factory.connection if factory is not None and factory.host == host else None

    def stop(self) -> None:
        """
        Hang up on all: no task is left.
        """
        for factory in list(self._connections.values()):
            factory.stop()

    def _gone(self, connection: str) -> None:
        self._connections.pop(connection, None)


def _refused(message: OpenConfirmation, reason: Reason, text: str) -> Deferred[OpenAnswer]:
    return succeed(ConfirmationRefused(message.id, message.connection, reason, text))
