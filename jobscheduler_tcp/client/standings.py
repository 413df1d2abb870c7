"""
The standing confirmation connections of a client: made when a job needs one,
and again when it broke.
"""

from __future__ import annotations

from os import urandom
from uuid import uuid4

from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from jobscheduler_tcp.client.connection import CommandConnection
from jobscheduler_tcp.client.passive import PassiveFactory
from jobscheduler_tcp.client.ports import CallbackPorts
from jobscheduler_tcp.client.processclass import ProcessClass
from jobscheduler_tcp.client.sharedport import ExpectedCall, SharedCallbackFactory, SharedPort
from jobscheduler_tcp.client.standing import StandingProtocol
from jobscheduler_tcp.client.strangers import Strangers
from jobscheduler_tcp.errors import NoConfirmation
from jobscheduler_tcp.heartbeat import SILENCE, Heart
from jobscheduler_tcp.messages import CallbackMode, ConfirmationRefused, OpenConfirmation
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.proof import TOKEN_SIZE


class StandingConnection:
    """
    That of one remote, in one mode.
    """

    def __init__(
        self,
        mode: CallbackMode,
        processClass: ProcessClass,
        connection: CommandConnection,
        standings: Standings,
    ) -> None:
        self._mode = mode
        self._processClass = processClass
        self._connection = connection
        self._standings = standings
        self._protocol: StandingProtocol | None = None
        self._waiting: dict[Deferred[StandingProtocol], None] = {}
        self._making: Deferred[StandingProtocol] | None = None

    @property
    def stands(self) -> StandingProtocol | None:
        """
        The connection, C{None} if it is to be opened.
        """
        protocol = self._protocol
        return protocol if protocol is not None and protocol.stands else None

    def open(self) -> Deferred[StandingProtocol]:
        """
        Have the connection, now or when it stands. Cancel the Deferred to want it
        no more.

        @return: fails with L{NoConfirmation}, or as requests of the command
            connection do.
        """
        if self.stands is not None:
            return succeed(self.stands)
        waiter: Deferred[StandingProtocol] = Deferred(self._leave)
        self._waiting[waiter] = None
        if self._making is None:
            self._making = Deferred.fromCoroutine(self._make())
            # It may have failed already.
            self._making.addCallbacks(self._made, self._notMade)
        return waiter

    def discard(self, subject: str) -> None:
        """
        The remote does not know that one any more: make a new one next time.

        @param subject: its UUID.
        """
        if self._protocol is not None and self._protocol.subject == subject:
            self._protocol.abort()

    def stop(self) -> None:
        """
        Hang up.
        """
        if self._making is not None:
            self._making.cancel()
        if self._protocol is not None:
            self._protocol.abort()

    def _leave(self, waiter: Deferred[StandingProtocol]) -> None:
        del self._waiting[waiter]

    def _made(self, protocol: StandingProtocol) -> None:
        self._making = None
        self._protocol = protocol
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            waiter.callback(protocol)

    def _notMade(self, reason: Failure) -> None:
        self._making = None
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            waiter.errback(reason)

    async def _make(self) -> StandingProtocol:
        if self._connection.welcome is None:
            await self._connection.greet()
        welcome = self._connection.welcome
        if welcome is not None and self._mode.value not in welcome.capabilities:
            text = f"the remote does not know the callback mode {self._mode.value}"
            raise NoConfirmation(Reason.REJECTED_VERSION, text)
        if self._mode is CallbackMode.SHARED:
            return await self._beCalled()
        return await self._dial()

    async def _beCalled(self) -> StandingProtocol:
        port = self._standings.port
        call = ExpectedCall(str(uuid4()), urandom(TOKEN_SIZE))
        held = port.hold()
        try:
            number = await held
            port.factory.expect(call)
            await self._ask(call.subject, call.token, number)
            port.factory.called(call)
            protocol = await self._inTime(call.proven)
            if not protocol.stands:
                raise NoConfirmation(Reason.CALLBACK_REFUSED, "the connection broke at once")
        except BaseException:
            port.release()
            raise
        finally:
            port.factory.forget(call)
        protocol.onGone = port.release
        return protocol

    async def _dial(self) -> StandingProtocol:
        standings = self._standings
        subject, token = str(uuid4()), urandom(TOKEN_SIZE)
        await self._ask(subject, token)
        factory = PassiveFactory(subject, token, standings.clock, standings.heart, standings.window)
        try:
            await self._processClass.endpoint.connect(factory)
        except Exception as error:
            errno = getattr(error, "osError", None) or 0
            text = f"a second connection to the remote is not possible: {error}"
            raise NoConfirmation(Reason.REMOTE_UNREACHABLE, text, errno) from error
        return await self._inTime(factory.proven)

    async def _ask(self, subject: str, token: bytes, port: int = 0) -> None:
        # Where we are called, if we are.
        host = self._processClass.advertise if port else ""
        request = OpenConfirmation(0, subject, self._mode, token, port, host)
        answer = await self._connection.request(request)
        if isinstance(answer, ConfirmationRefused):
            raise NoConfirmation(answer.reason, answer.text, answer.errno)

    async def _inTime(self, proven: Deferred[StandingProtocol]) -> StandingProtocol:
        try:
            return await proven.addTimeout(SILENCE, self._standings.clock)
        except TimeoutError as error:
            text = f"the remote has not proved itself for {SILENCE:g} seconds"
            raise NoConfirmation(Reason.CALLBACK_TIMEOUT, text) from error


class Standings:
    """
    All of a client.

    @ivar port: the callback port of mode C{shared}.
    """

    def __init__(
        self,
        clock: IReactorTime,
        ports: CallbackPorts,
        heart: Heart,
        strangers: Strangers,
        window: int,
    ) -> None:
        self.clock = clock
        self.heart = heart
        self.window = window
        factory = SharedCallbackFactory(heart, strangers, window)
        self.port = SharedPort(ports, factory)
        self._connections: dict[tuple[ProcessClass, CallbackMode], StandingConnection] = {}

    def of(
        self, processClass: ProcessClass, connection: CommandConnection, mode: CallbackMode
    ) -> StandingConnection:
        """
        That of a remote.

        @param connection: where it is asked for.
        """
        key = processClass, mode
        if key not in self._connections:
            self._connections[key] = StandingConnection(mode, processClass, connection, self)
        return self._connections[key]

    def leave(self, processClass: ProcessClass) -> None:
        """
        Hang up on a remote that has no tasks any more.
        """
        for mode in CallbackMode:
            connection = self._connections.pop((processClass, mode), None)
            if connection is not None:
                connection.stop()

    def stop(self) -> None:
        """
        Hang up on all.
        """
        for connection in self._connections.values():
            connection.stop()
