"""
The callback ports: free incoming ports, highest first.

A port belongs to one task until that is over. The kernel would allow it to be
used again as soon as nobody listens there, and a late caller would reach the
wrong task.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from errno import EADDRINUSE
from heapq import heappop, heappush
from typing import TypeAlias

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTime
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobscheduler_tcp.client.listening import adopt
from jobscheduler_tcp.client.localports import (
    ephemeralPorts,
    reservedPorts,
    reserving,
    unreserved,
)
from jobscheduler_tcp.interfaces import ICallbackReactor
from jobscheduler_tcp.sockets import holderOf, listeningSocket

# JobScheduler's, downwards as it does (the diagram: "59999 or lower").
FIRST_PORT = 59999
LAST_PORT = 59900
# Seconds until a port that was somebody else's is tried again.
RETRY = 5.0

# Listen on a port; raises OSError.
Listen: TypeAlias = Callable[[int, ServerFactory], IListeningPort]


def tcpListen(reactor: ICallbackReactor, interface: str = "") -> Listen:
    """
    Listen on real sockets.

    @param interface: the address to listen on; empty for all of IPv4.
    """

    def listen(port: int, factory: ServerFactory) -> IListeningPort:
        return adopt(reactor, listeningSocket(interface, port), factory)

    return listen


class CallbackPort:
    """
    A port of the range, reserved for one task; somebody listens there.

    @ivar number: the port.
    @ivar since: when it was reserved, by the clock of the ports.
    """

    __slots__ = ("_closed", "_giveBack", "_listening", "number", "since")

    _log = Logger()

    def __init__(
        self,
        number: int,
        listening: IListeningPort,
        giveBack: Callable[[int], None],
        since: float = 0.0,
    ) -> None:
        self.number = number
        self.since = since
        self._listening: IListeningPort | None = listening
        self._giveBack: Callable[[int], None] | None = giveBack
        self._closed: Deferred[object] | None = None

    @property
    def listens(self) -> bool:
        """
        Whether it hears callers.
        """
        return self._listening is not None

    def stopListening(self) -> None:
        """
        Hear no more callers. The port stays reserved.
        """
        listening, self._listening = self._listening, None  # its memory is given back
        if listening is not None:
            try:
                closing = listening.stopListening()
            except Exception:
                self._notClosed(Failure())
                return
            if isinstance(closing, Deferred):
                self._closed = closing.addErrback(self._notClosed)

    def release(self) -> None:
        """
        The task is over: give the port back.
        """
        giveBack, self._giveBack = self._giveBack, None
        if giveBack is not None:
            self.stopListening()
            # It may be bound again only when the socket is closed.
            if self._closed is None:
                giveBack(self.number)
            else:
                self._closed.addCallback(lambda _: giveBack(self.number))

    def _notClosed(self, reason: Failure) -> None:
        self._log.failure("Callback port {port} did not close", reason, port=self.number)


class CallbackPorts:
    """
    Hand out the ports of a range, first come, first served.

    A port that somebody else has is left out and tried again later, after all
    others.

    @ivar held: the reserved ports, by number.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        listen: Listen,
        first: int = FIRST_PORT,
        last: int = LAST_PORT,
    ) -> None:
        """
        @param first: the highest port of the range.
        @param last: the lowest one.
        """
        self.first = first
        self.last = last
        self._clock = clock
        self._listen = listen
        self._free = [-port for port in range(first, last - 1, -1)]  # a heap
        self._foreign: deque[tuple[float, int]] = deque()  # when to try again
        self._warned: set[int] = set()
        self._advised = False
        self._back = self._giveBack  # bound once, for all ports
        self.held: dict[int, CallbackPort] = {}
        self._waiting: OrderedDict[Deferred[CallbackPort], ServerFactory] = OrderedDict()
        self._idle: list[Deferred[None]] = []
        self._timer: IDelayedCall | None = None

    @property
    def waiting(self) -> int:
        """
        How many wait for a port.
        """
        return len(self._waiting)

    @property
    def reserved(self) -> int:
        """
        How many ports are in use, by tasks of ours.
        """
        return len(self.held)

    @property
    def foreign(self) -> list[int]:
        """
        The ports that were somebody else's when they were last tried.
        """
        return [number for _, number in self._foreign]

    def acquire(self, factory: ServerFactory) -> Deferred[CallbackPort]:
        """
        Listen on a free port, or wait until one is free. Cancel the Deferred to
        wait no longer.

        @return: fails with an C{OSError} if listening is not possible for
            another reason than the port.
        """
        if not self._waiting:
            try:
                port = self._open(factory)
            except OSError as error:
                return fail(error)
            if port is not None:
                return succeed(port)
        waiter: Deferred[CallbackPort] = Deferred(self._leave)
        self._waiting[waiter] = factory
        self._setTimer()
        return waiter

    def whenIdle(self) -> Deferred[None]:
        """
        Wait until no port is reserved.
        """
        if not self.reserved:
            return succeed(None)
        self._idle.append(Deferred())
        return self._idle[-1]

    def _open(self, factory: ServerFactory) -> CallbackPort | None:
        while (number := self._next()) is not None:
            try:
                listening = self._listen(number, factory)
            except OSError as error:
                if error.errno == EADDRINUSE:
                    self._leaveOut(number)
                    continue
                heappush(self._free, -number)
                raise
            port = CallbackPort(number, listening, self._back, self._clock.seconds())
            self.held[number] = port
            return port
        return None

    def _next(self) -> int | None:
        if self._free:
            return -heappop(self._free)
        if self._foreign and self._foreign[0][0] <= self._clock.seconds():
            return self._foreign.popleft()[1]
        return None

    def _leaveOut(self, number: int) -> None:
        self._foreign.append((self._clock.seconds() + RETRY, number))
        if number in self._warned:
            return
        # To find out takes milliseconds, and once is enough to know the kind.
        holder = "" if self._warned else holderOf(number)
        self._warned.add(number)
        advice = ""
        reserved = reservedPorts()
        if not self._advised and unreserved(range(number, number + 1), ephemeralPorts(), reserved):
            self._advised = True
            # An outgoing connection may sit there, and no option helps.
            line = reserving(range(self.last, self.first + 1), reserved)
            advice = f"; to keep outgoing connections off the callback ports: {line}"
        self._log.warn(
            "Callback port {port} is in use{holder}, the next one is taken{advice}",
            port=number,
            holder=f" by {holder}" if holder else "",
            advice=advice,
        )

    def _giveBack(self, number: int) -> None:
        del self.held[number]
        heappush(self._free, -number)
        if self._waiting:
            self._serve()
        if self._idle and not self.reserved:
            idle, self._idle = self._idle, []
            for waiter in idle:
                waiter.callback(None)

    def _serve(self) -> None:
        while self._waiting:
            waiter, factory = next(iter(self._waiting.items()))
            try:
                port = self._open(factory)
            except OSError as error:
                del self._waiting[waiter]
                waiter.errback(error)
                continue
            if port is None:
                break
            del self._waiting[waiter]
            waiter.callback(port)
        self._setTimer()

    def _setTimer(self) -> None:
        """
        Try foreign ports again while somebody waits.
        """
        if self._waiting and self._foreign:
            if self._timer is None:
                delay = max(0.0, self._foreign[0][0] - self._clock.seconds())
                self._timer = self._clock.callLater(delay, self._tryAgain)
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tryAgain(self) -> None:
        self._timer = None
        self._serve()

    def _leave(self, waiter: Deferred[CallbackPort]) -> None:
        del self._waiting[waiter]
        self._setTimer()
