"""
Write much to a connection without a copy.

A transport of Twisted keeps what is written in one buffer, to which all pieces
are copied, until the reactor finds that the kernel takes it. That joins many
small words to one packet. Of much output the kernel is given the pieces as they
are, whenever nothing waits in the transport.
"""

from __future__ import annotations

import socket
from typing import Protocol, cast

from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.tcp import Connection
from zope.interface import implementer

from jobscheduler_tcp.interfaces import IStreamTransport

# What is shorter is better joined to what follows.
_MUCH = 16 * 1024

# Bytes that may wait without our knowing when they do not any more: a transport that
# has, or had, a producer takes 800 bytes of memory more, and most tasks print little.
_FEW = 4096

# Bytes that may wait before the producer is paused, as Twisted has it.
_ENOUGH = 64 * 1024


class Output(Protocol):
    """
    What is done with a connection to write to it, be it an L{Outlet} or a
    transport.
    """

    def write(self, data: bytes) -> None:
        """
        Write bytes.
        """

    def writeSequence(self, data: list[bytes]) -> None:
        """
        Write pieces as if they were one.
        """

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """
        Pause a push producer while enough waits to be written.
        """

    def unregisterProducer(self) -> None:
        """
        Pause nobody any more.
        """

    def loseConnection(self) -> None:
        """
        Close the connection after what waits.
        """

    def abortConnection(self) -> None:
        """
        Close it now.
        """


@implementer(IPullProducer)
class Outlet:
    """
    The writing half of a connection of which nothing waits in its transport.

    To learn when nothing waits any more, it is the transport's pull producer
    while more than a few bytes do.
    """

    __slots__ = (
        "_paused",
        "_producer",
        "_registered",
        "_registering",
        "_socket",
        "_transport",
        "_waiting",
    )

    def __init__(self, transport: Connection) -> None:
        self._transport = transport
        self._socket: socket.socket = transport.getHandle()
        self._producer: IPushProducer | None = None
        self._waiting = 0  # bytes, at most
        self._registered = self._registering = False
        self._paused = False

    def write(self, data: bytes) -> None:
        """
        Write something short.
        """
        self._transport.write(data)
        self._waits(len(data))

    def writeSequence(self, data: list[bytes]) -> None:
        """
        Write pieces as if they were one.
        """
        size = sum(map(len, data))
        if self._waiting or size < _MUCH:
            self._transport.writeSequence(data)
            self._waits(size)
            return
        try:
            sent = self._socket.sendmsg(data)
        except OSError:  # it takes nothing now, or never: the transport finds out
            sent = 0
        if sent < size:
            for piece in data:
                if sent < len(piece):
                    self._transport.write(piece[sent:] if sent else piece)
                sent = max(sent - len(piece), 0)
            # The kernel is full: more than enough waits.
            self._waits(size + _ENOUGH)

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """
        Pause a push producer while enough waits.
        """
        self._producer = producer

    def unregisterProducer(self) -> None:
        """
        Pause nobody any more.
        """
        self._producer = None

    def loseConnection(self) -> None:
        """
        Close the connection after what waits.
        """
        self._transport.loseConnection()

    def abortConnection(self) -> None:
        """
        Close it now.
        """
        self._transport.abortConnection()

    def resumeProducing(self) -> None:
        """
        Nothing waits any more.
        """
        if self._registering:
            return  # Twisted says so whenever a pull producer is registered
        self._transport.unregisterProducer()
        self._registered = False
        self._waiting = 0
        if self._paused:
            self._paused = False
            if self._producer is not None:
                self._producer.resumeProducing()

    def stopProducing(self) -> None:
        """
        The connection is gone.
        """
        self._producer = None

    def _waits(self, size: int) -> None:
        self._waiting += size
        if self._waiting > _FEW and not self._registered:
            self._registered = self._registering = True
            self._transport.registerProducer(self, False)
            self._registering = False
        if self._waiting > _ENOUGH and not self._paused:
            self._paused = True
            if self._producer is not None:
                self._producer.pauseProducing()


def outletOf(transport: IStreamTransport) -> Output:
    """
    Write directly from now on, where that is possible: to a socket without TLS.

    @param transport: one of which the peer has everything that was written.
    """
    if isinstance(transport, Connection) and not transport.TLS:
        return Outlet(transport)
    return cast(Output, transport)
