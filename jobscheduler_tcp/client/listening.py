"""
A listening socket that lives as long as it takes one remote to call.

Twisted's own port logs two lines, tries to accept until nobody is left, and is
closed a turn later: of what a task with a callback port of its own costs the
client, a tenth.
"""

from __future__ import annotations

import errno
import socket

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IListeningPort,
    IReadDescriptor,
)
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.interfaces import ICallbackReactor
from jobscheduler_tcp.streams import Stream

# Errors that the next attempt would meet again at once, and the seconds until
# that: this process, or the system, has no descriptor or memory left.
_SHORTAGE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_REST = 1.0


@implementer(IListeningPort, IReadDescriptor)
class ListeningSocket:
    """
    Accept who calls, one in each turn of the reactor.
    """

    _log = Logger()

    def __init__(
        self, reactor: ICallbackReactor, listening: socket.socket, factory: ServerFactory
    ) -> None:
        """
        @param listening: belongs to us now.
        """
        self._reactor = reactor
        self._socket = listening
        self._factory = factory
        self._resting: IDelayedCall | None = None

    def startListening(self) -> None:
        """
        See C{IListeningPort}.
        """
        self._factory.doStart()
        self._reactor.addReader(self)

    def stopListening(self) -> None:
        """
        See C{IListeningPort}. The socket is closed when this returns.
        """
        if self._socket.fileno() >= 0:
            if self._resting is not None:
                self._resting.cancel()
                self._resting = None
            self._reactor.removeReader(self)
            self._socket.close()
            self._factory.doStop()

    def getHost(self) -> IAddress:
        """
        See C{IListeningPort}.
        """
        host, port = self._socket.getsockname()[:2]
        kind = IPv6Address if self._socket.family == socket.AF_INET6 else IPv4Address
        return kind("TCP", host, port)

    def fileno(self) -> int:
        """
        See C{IReadDescriptor}.
        """
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """
        See C{IReadDescriptor}.
        """
        return type(self._factory).__name__

    def doRead(self) -> None:
        """
        Somebody calls.
        """
        try:
            connected, address = self._socket.accept()
        except OSError as error:
            if error.errno in _SHORTAGE:
                self._log.warn("A caller has to wait: {error}", error=error.strerror)
                self._reactor.removeReader(self)
                self._resting = self._reactor.callLater(_REST, self._goOn)
            return  # else it was nothing, or they have hung up
        connected.setblocking(False)
        try:
            protocol = self._factory.buildProtocol(None)
        except Exception:
            # What is wrong with one caller must not close the port to the others.
            self._log.failure("A caller is dropped")
            protocol = None
        if protocol is None:
            connected.close()
            return
        stream = Stream(self._reactor, connected, address)
        try:
            stream.begin(protocol)
        except OSError as error:  # the reactor cannot watch so many
            self._log.warn("A caller is dropped: {error}", error=error.strerror)
            return
        # Who calls us speaks first, and has done so.
        stream.hear()

    def connectionLost(self, reason: Failure) -> None:
        """
        See C{IReadDescriptor}. The reactor has removed us, as it does when it
        stops.
        """
        self.stopListening()

    def _goOn(self) -> None:
        self._resting = None
        self._reactor.addReader(self)


def adopt(
    reactor: ICallbackReactor, listening: socket.socket, factory: ServerFactory
) -> ListeningSocket:
    """
    Let a reactor accept callers at a listening socket, which belongs to us now.
    """
    port = ListeningSocket(reactor, listening, factory)
    try:
        port.startListening()
    except BaseException:
        listening.close()
        raise
    return port
