"""
Dial a connection that is a L{Stream<jobscheduler_tcp.streams.Stream>}.

On one machine a call is taken while it is made. A connector of Twisted finds out a
turn later, and has waited for one before it began.
"""

from __future__ import annotations

import socket
from errno import EAGAIN, EALREADY, EINPROGRESS, EISCONN
from os import strerror
from typing import cast

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import (
    ConnectBindError,
    ConnectError,
    TimeoutError,
    UserError,
    getConnectError,
)
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IDelayedCall,
    IReactorCore,
    IReactorFDSet,
    IWriteDescriptor,
)
from twisted.internet.protocol import ClientFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.endofturn import endOfTurn
from jobscheduler_tcp.interfaces import IDialReactor, IStreamReactor
from jobscheduler_tcp.streams import Stream

_UNDER_WAY = frozenset({EINPROGRESS, EALREADY, EAGAIN})


def dial(
    reactor: IDialReactor,
    host: str,
    port: int,
    factory: ClientFactory,
    timeout: float,
    *,
    putOff: bool = False,
) -> None:
    """
    The same as C{reactor.connectTCP}, which is also what is done where the reactor
    watches no descriptors.

    @param putOff: whether to begin only at the end of the turn, after what is said
        until then.
    """
    if IReactorFDSet.providedBy(reactor):
        Call(cast(IStreamReactor, reactor), host, port, factory, timeout).connect(putOff)
    else:
        reactor.connectTCP(host, port, factory, timeout)


class Dialer:
    """
    What is asked of a reactor by C{TCP4ClientEndpoint}, to dial streams.
    """

    def __init__(self, reactor: IDialReactor) -> None:
        self._reactor = reactor

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory,
        timeout: float = 30,
        bindAddress: None = None,
    ) -> None:
        """
        See C{IReactorTCP}. The connector, for which nobody asks, is told to the
        factory only.
        """
        dial(self._reactor, host, port, factory, timeout)


@implementer(IConnector, IWriteDescriptor)
class Call:
    """
    A call, until it is taken.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IStreamReactor,
        host: str,
        port: int,
        factory: ClientFactory,
        timeout: float,
    ) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._factory: ClientFactory | None = factory
        self._timeout = timeout
        self._timer: IDelayedCall | None = None
        self._socket: socket.socket | None = None
        self._address: tuple[str, int] = host, port
        self._watched = False

    def connect(self, putOff: bool = False) -> None:
        """
        See C{IConnector}. Nobody is told of a failure before this returns.
        """
        factory = self._factory
        assert factory is not None
        factory.doStart()
        factory.startedConnecting(self)
        if putOff:
            endOfTurn(self._reactor).call(self._reactor, self._begin)
        else:
            self._begin()

    def _begin(self) -> None:
        if self._factory is None:
            return  # it was stopped
        if isIPAddress(self._host):
            self._call(socket.AF_INET)
        elif isIPv6Address(self._host):
            self._callIPv6()
        else:
            self._setTimer()
            resolving = IReactorCore(self._reactor).resolve(self._host)
            resolving.addCallbacks(self._resolved, self._fail)

    def _resolved(self, address: str) -> None:
        if self._factory is not None:
            self._address = address, self._port
            self._call(socket.AF_INET)

    def _callIPv6(self) -> None:
        try:  # it may have a scope, by the name of an interface
            found = socket.getaddrinfo(
                self._host, self._port, socket.AF_INET6, flags=socket.AI_NUMERICHOST
            )
        except OSError as error:
            self._failSoon(ConnectError(string=str(error)))
        else:
            self._address = cast(tuple[str, int], found[0][4])
            self._call(socket.AF_INET6)

    def _call(self, family: socket.AddressFamily) -> None:
        try:
            calling = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:  # there is no descriptor for it
            self._failSoon(ConnectBindError(error.errno, error.strerror))
            return
        self._socket = calling
        calling.setblocking(False)
        number = calling.connect_ex(self._address)
        self._decide(self._look(calling) if number == EINPROGRESS else number)
        if self._socket is not None and self._timer is None:
            self._setTimer()

    def _setTimer(self) -> None:
        self._timer = self._reactor.callLater(self._timeout, self._fail, Failure(TimeoutError()))

    def _look(self, calling: socket.socket) -> int:
        """
        @return: how far it is; 0 for connected.
        """
        number = calling.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not number:
            number = calling.connect_ex(self._address)
        return 0 if number == EISCONN else number

    def _decide(self, number: int) -> None:
        if number in _UNDER_WAY:
            if not self._watched:
                self._watched = True
                self._reactor.addWriter(self)
        elif number:
            self._failSoon(getConnectError((number, strerror(number))))
        else:
            self._taken()

    def doWrite(self) -> None:
        """
        See C{IWriteDescriptor}: it is decided, unless this event was meant for an
        older descriptor of the same number.
        """
        if self._socket is not None:
            self._decide(self._look(self._socket))

    def connectionLost(self, reason: Failure) -> None:
        """
        See C{IWriteDescriptor}. The reactor has removed us: nobody takes the call.
        """
        self._watched = False
        self.doWrite()

    def fileno(self) -> int:
        """
        See C{IFileDescriptor}.
        """
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        """
        See C{ILoggingContext}.
        """
        return type(self._factory).__name__

    def getDestination(self) -> IAddress:
        """
        See C{IConnector}.
        """
        kind = IPv6Address if ":" in self._host else IPv4Address
        return kind("TCP", self._host, self._port)

    def stopConnecting(self) -> None:
        """
        See C{IConnector}.
        """
        self._fail(Failure(UserError()))

    def disconnect(self) -> None:
        """
        See C{IConnector}. A connection that stands is the matter of its protocol.
        """
        self.stopConnecting()

    def _taken(self) -> None:
        calling, factory = self._finish()
        assert calling is not None and factory is not None
        try:
            protocol = factory.buildProtocol(None)
        except Exception as error:
            self._log.failure("What was to be done with a connection failed")
            calling.close()
            self._factory = factory
            self._failSoon(error)
            return
        if protocol is None:
            calling.close()
            return
        stream = Stream(self._reactor, calling, self._address)
        try:
            stream.begin(protocol)
        except OSError as error:  # the reactor cannot watch it
            factory.clientConnectionFailed(self, Failure(getConnectError(error)))

    def _failSoon(self, error: Exception) -> None:
        # Who dials is not called while it does so.
        self._stopWaiting()
        self._timer = self._reactor.callLater(0, self._fail, Failure(error))

    def _fail(self, reason: Failure) -> None:
        calling, factory = self._finish()
        if calling is not None:
            calling.close()
        if factory is not None:
            factory.clientConnectionFailed(self, reason)
            factory.doStop()

    def _finish(self) -> tuple[socket.socket | None, ClientFactory | None]:
        """
        Give the socket to who goes on with it.
        """
        self._stopWaiting()
        factory, self._factory = self._factory, None
        calling, self._socket = self._socket, None
        return calling, factory

    def _stopWaiting(self) -> None:
        if self._watched:
            self._watched = False
            self._reactor.removeWriter(self)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
