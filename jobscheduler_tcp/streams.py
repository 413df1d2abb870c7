"""
TCP connections with little around them, for many short ones.

A transport of Twisted has the reactor watch the socket for every word that is
written, which takes one more turn and two calls of the system, and copies much
output to one buffer. Here all words of one turn are one call, made at its end, and
much output is given to the kernel as it is. Otherwise a stream is as a transport
of Twisted: a protocol does not know the difference.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from errno import ENOBUFS
from typing import cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IProducer,
    IProtocol,
    IPullProducer,
    IPushProducer,
    IReadWriteDescriptor,
    ISystemHandle,
)
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Port, Server
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.endofturn import endOfTurn
from jobscheduler_tcp.interfaces import IStreamReactor, IStreamTransport
from jobscheduler_tcp.sockets import NO_LINGER

# Bytes that are read at once, and when there is more.
_READ = 64 * 1024
_MUCH_READ = 256 * 1024

# From here on, what is written does not wait for the end of the turn: joining it
# to other words would cost a copy, and holding it memory.
_MUCH = 16 * 1024

# Bytes that may wait before a producer is paused, as Twisted has it.
_ENOUGH = 64 * 1024

# A list takes memory, and most connections say nothing most of the time: they share
# an empty one.
_NOTHING: list[bytes | memoryview] = []

# Pieces that the kernel takes at once: 1024 with Linux.
_MOST_PIECES = max(os.sysconf("SC_IOV_MAX"), 16)


@implementer(IStreamTransport, IReadWriteDescriptor, IHalfCloseableDescriptor, ISystemHandle)
class Stream:
    """
    One end of a connection.

    @ivar connected: whether its protocol has not heard of its end.
    @ivar disconnecting: whether it is closed when nothing waits any more.
    """

    __slots__ = (
        "_aborting",
        "_due",
        "_end",
        "_halfClosed",
        "_halfClosing",
        "_most",
        "_open",
        "_paused",
        "_peer",
        "_pieces",
        "_producer",
        "_protocol",
        "_reactor",
        "_reading",
        "_size",
        "_socket",
        "_streaming",
        "_writing",
        "connected",
        "disconnecting",
    )

    _log = Logger()

    def __init__(
        self, reactor: IStreamReactor, connected: socket.socket, peer: tuple[str, int]
    ) -> None:
        """
        @param connected: belongs to us now. It does not block.
        @param peer: its address, as the socket module has it.
        """
        self._reactor = reactor
        self._end = endOfTurn(reactor)
        self._socket = connected
        self._peer = peer
        self._protocol: IProtocol | None = None
        self._producer: IProducer | None = None
        self._pieces = _NOTHING
        self._size = 0  # of all pieces
        self._most = _READ
        self._due = False  # flush will be called
        self._reading = False  # the reactor watches
        self._writing = False
        self._streaming = False
        self._paused = False
        self._aborting = False
        self._halfClosing = self._halfClosed = False
        self._open = False  # to more words
        self.connected = self.disconnecting = False

    def belongTo(self, protocol: IProtocol) -> None:
        """
        Have a protocol hear and speak, which is told so by somebody else.

        @raise OSError: the reactor cannot watch so much; the socket is closed.
        """
        try:
            self._reactor.addReader(self)
        except BaseException:
            self._socket.close()
            raise
        self._reading = self._open = self.connected = True
        self._protocol = protocol

    def begin(self, protocol: IProtocol) -> None:
        """
        Have a protocol hear and speak.

        @raise OSError: the reactor cannot watch so much; the socket is closed.
        """
        self.belongTo(protocol)
        # Who takes a call wakes up already, and shall find the first words.
        self._due = True
        try:
            protocol.makeConnection(self)
        except Exception:
            self._failed()
        self._due = False
        self.hurry()
        isOver = self._aborting or self.disconnecting or self._halfClosing
        if self._size or self._producer is not None or isOver:
            self._soon()

    # ------------------------------------------------------------------- reading

    def hear(self) -> None:
        """
        Read what is there already.
        """
        try:
            self.doRead()
        except Exception:
            self._failed()

    def doRead(self) -> None:
        """
        See C{IReadDescriptor}.
        """
        if not self._reading:
            return
        try:
            data = self._socket.recv(self._most)
        except BlockingIOError:
            return
        except OSError:
            self.connectionLost(Failure(ConnectionLost()))
            return
        if not data:
            self.connectionLost(connectionDone)
            return
        if len(data) == _READ:
            self._most = _MUCH_READ
        cast(IProtocol, self._protocol).dataReceived(data)

    def pauseProducing(self) -> None:
        """
        See C{IPushProducer}: read nothing.
        """
        if self._reading:
            self._reading = False
            self._reactor.removeReader(self)

    def resumeProducing(self) -> None:
        """
        See C{IPushProducer}: read again.
        """
        if self.connected and not self._reading and not self.disconnecting and not self._aborting:
            self._reading = True
            self._reactor.addReader(self)

    def stopProducing(self) -> None:
        """
        See C{IPushProducer}.
        """
        self.loseConnection()

    # ------------------------------------------------------------------- writing

    def write(self, data: bytes) -> None:
        """
        See C{ITransport}.
        """
        if not isinstance(data, bytes):
            raise TypeError("Data must be bytes")  # as Twisted's does
        if data and self._open:
            if self._size:
                self._pieces.append(data)
            else:
                self._pieces = [data]
            self._size += len(data)
            if not self._due or self._size >= _MUCH:
                self._wrote()

    def writePromptly(self, data: bytes) -> None:
        """
        Write what is joined to nothing, for the peer answers it before we say more: it
        is given to the kernel at once.
        """
        if self._open and not self._size and not self.disconnecting:
            try:
                data = data[self._socket.send(data) :]
            except OSError:
                pass  # it is full, or broken, which is found out below
        if data:
            self.write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """
        See C{ITransport}.
        """
        for piece in data:
            if not isinstance(piece, bytes):
                raise TypeError("Data must be bytes")
            if piece and self._open:
                if self._size:
                    self._pieces.append(piece)
                else:
                    self._pieces = [piece]
                self._size += len(piece)
        if self._size and (not self._due or self._size >= _MUCH):
            self._wrote()

    def _wrote(self) -> None:
        if self._size >= _MUCH and not self._writing:
            if not self._give():
                self._open = False  # the end of the turn finds it out, too
            elif self._size:
                self._awaitRoom()
            elif self._streaming or self._producer is None:
                return  # nobody waits for the end of the turn
        self._soon()
        if self._size > _ENOUGH and self._streaming and not self._paused:
            self._paused = True
            cast(IPushProducer, self._producer).pauseProducing()

    def _soon(self) -> None:
        """
        Do at the end of this turn what is to be done.
        """
        if not self._due and not self._writing:
            self._due = True
            self._end.flush(self._reactor, self)

    def hurry(self) -> None:
        """
        Send what was written as far as that is possible now: nobody is called from
        inside, and the end of the turn finds out the rest.
        """
        if self._size and not self._writing:
            self._give()

    def flush(self) -> None:
        """
        Send what was written. The end of the turn does so.
        """
        self._due = False
        try:
            if self._aborting:
                self.connectionLost(Failure(ConnectionAborted()))
            elif not self._writing:
                self.doWrite()
        except Exception:
            self._failed()

    def doWrite(self) -> None:
        """
        See C{IWriteDescriptor}.
        """
        if not self.connected or self._aborting:
            return
        if self._size and not self._give():
            self._broken()
        elif self._size:
            self._awaitRoom()
        else:
            if self._writing:
                self._writing = False
                self._reactor.removeWriter(self)
            if self._producer is not None or self.disconnecting or self._halfClosing:
                self._drained()

    def _awaitRoom(self) -> None:
        if not self._writing:
            self._writing = True
            self._reactor.addWriter(self)

    def _give(self) -> bool:
        """
        Give the kernel as much as it takes.

        @return: C{False} if it will never take any more.
        """
        pieces = self._pieces
        if len(pieces) > 1 and self._size < _MUCH:
            pieces[:] = [b"".join(pieces)]
        try:
            if len(pieces) == 1:
                sent = self._socket.send(pieces[0])
            else:
                sent = self._socket.sendmsg(pieces[:_MOST_PIECES])
        except BlockingIOError:
            return True
        except OSError as error:
            return error.errno == ENOBUFS
        self._size -= sent
        if not self._size:
            self._pieces = _NOTHING
            return True
        whole = 0
        while sent >= len(pieces[whole]):
            sent -= len(pieces[whole])
            whole += 1
        del pieces[:whole]
        if sent:
            pieces[0] = memoryview(pieces[0])[sent:]
        return True

    def _drained(self) -> None:
        """
        Nothing waits any more.
        """
        producer = self._producer
        if producer is not None and (self._paused or not self._streaming):
            self._paused = False
            cast(IPullProducer, producer).resumeProducing()
        elif self.disconnecting:
            self.connectionLost(connectionDone)
        elif self._halfClosing and not self._halfClosed:
            self._halfClosed = True
            self._open = False
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the reader finds out

    def _broken(self) -> None:
        """
        Nothing can be sent. What the peer said before may wait to be read.
        """
        self._pieces = _NOTHING
        self._size = 0
        protocol = cast(IProtocol, self._protocol)
        while self._reading:
            try:
                data = self._socket.recv(_MUCH_READ)
            except OSError:
                break
            if not data:
                break
            protocol.dataReceived(data)
        self.connectionLost(Failure(ConnectionLost()))

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """
        See C{IConsumer}.
        """
        if self._producer is not None:
            raise RuntimeError(f"{self._producer!r} is registered here already")
        if not self.connected:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        self._paused = False
        if not streaming:
            cast(IPullProducer, producer).resumeProducing()

    def unregisterProducer(self) -> None:
        """
        See C{IConsumer}.
        """
        self._producer = None
        self._streaming = False
        if self.connected and self.disconnecting:
            self._soon()

    # ------------------------------------------------------------------- the end

    def loseConnection(self) -> None:
        """
        See C{ITransport}.
        """
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self.pauseProducing()
            self._soon()

    def loseWriteConnection(self) -> None:
        """
        See C{ITCPTransport}.
        """
        self._halfClosing = True
        self._soon()

    def abortConnection(self) -> None:
        """
        See C{ITCPTransport}.
        """
        if self.connected and not self._aborting:
            self._aborting = True
            self._open = False
            self.pauseProducing()
            self._stopWriting()
            self._soon()

    def connectionLost(self, reason: Failure) -> None:
        """
        See C{IReadDescriptor}. The reactor says so when it stops, or when a
        protocol failed.
        """
        if not self.connected:
            return
        self.connected = self._open = False
        # A descriptor leaves the reactor before it is closed.
        if self._reading:
            self._reading = False
            self._reactor.removeReader(self)
        if self._size or self._writing:
            self._stopWriting()
        try:
            if self._aborting:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            else:
                # A process that is just being started has the socket as well.
                self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the peer was faster
        self._socket.close()
        producer, self._producer = self._producer, None
        protocol, self._protocol = self._protocol, None
        try:
            if producer is not None:
                producer.stopProducing()
        finally:
            cast(IProtocol, protocol).connectionLost(reason)

    def readConnectionLost(self, reason: Failure) -> None:
        """
        See C{IHalfCloseableDescriptor}. The reactor has removed us, because the
        peer is gone; or this was meant for an older descriptor of the same number.
        """
        self._reading = False
        self.resumeProducing()
        self.hear()

    def writeConnectionLost(self, reason: Failure) -> None:
        """
        See C{IHalfCloseableDescriptor}. No reactor says so.
        """

    def _stopWriting(self) -> None:
        self._pieces = _NOTHING
        self._size = 0
        if self._writing:
            self._writing = False
            self._reactor.removeWriter(self)

    def _failed(self) -> None:
        failure = Failure()
        self._log.failure("A connection failed", failure)
        self.connectionLost(failure)

    # ---------------------------------------------------------------- the socket

    def fileno(self) -> int:
        """
        See C{IFileDescriptor}.
        """
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """
        See C{ILoggingContext}.
        """
        return type(self._protocol).__name__

    def getHandle(self) -> socket.socket:
        """
        See C{ISystemHandle}.
        """
        return self._socket

    def getHost(self) -> IPv4Address | IPv6Address:
        """
        See C{ITransport}.
        """
        return self._address(self._socket.getsockname())

    def getPeer(self) -> IPv4Address | IPv6Address:
        """
        See C{ITransport}.
        """
        return self._address(self._peer)

    def _address(self, address: tuple[str, int]) -> IPv4Address | IPv6Address:
        kind = IPv6Address if ":" in address[0] else IPv4Address
        return kind("TCP", *address)

    def getTcpNoDelay(self) -> bool:
        """
        See C{ITCPTransport}.
        """
        return bool(self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        See C{ITCPTransport}.
        """
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """
        See C{ITCPTransport}.
        """
        return bool(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """
        See C{ITCPTransport}.
        """
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)


def acceptStreams(port: object, factory: object) -> None:
    """
    Have a port of Twisted's make streams of those who call, if it would make plain
    connections for that factory. With TLS, the port has another factory.
    """
    # One of a UNIX socket is a Port, too, and has servers of its own.
    if isinstance(port, Port) and port.transport is Server and port.factory is factory:
        port.transport = cast(type[Server], _accepted)  # as its docstring says


def _accepted(
    connected: socket.socket, protocol: IProtocol, peer: tuple[str, int], *what: object
) -> Stream:
    *_, reactor = what  # which knows the port, and how many came before
    connected.setblocking(False)
    stream = Stream(cast(IStreamReactor, reactor), connected, peer)
    stream.belongTo(protocol)
    return stream
