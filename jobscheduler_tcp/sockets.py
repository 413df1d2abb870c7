"""
Listening and connected sockets, as the kernel wants them treated.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from errno import EADDRINUSE
from pathlib import Path

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.tcp import Connection

from jobscheduler_tcp.errors import PortTaken
from jobscheduler_tcp.heartbeat import SILENCE

# How many callers may wait to be accepted; what Linux allowed at most until 5.4.
BACKLOG = 128

# A silent peer is found only if all three are set: keepalive finds it while
# nothing is under way, the user timeout while something is, and the heartbeat
# finds the process that is stuck while its kernel answers. The user timeout must
# not be shorter than the heartbeat's: it ends a connection, too, whose peer is
# there but has read nothing for so long (Linux since 5.11). Output is therefore
# held back by credits, never by not reading.
_KEEPALIVE = (
    ("TCP_KEEPIDLE", 5),
    ("TCP_KEEPINTVL", 2),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", int(SILENCE * 1000)),
)

# Bytes that a transport reads at once by default, and when there is more.
_READ = Connection.bufferSize
_MUCH_READ = 256 * 1024

# SO_LINGER: on, for 0 seconds.
NO_LINGER = struct.pack("ii", 1, 0)

# The state of a listening socket in /proc/net/tcp (TCP_LISTEN of the kernel).
_LISTEN = "0A"
_PROC = Path("/proc")


def listeningSocket(interface: str, port: int, backlog: int = BACKLOG) -> socket.socket:
    """
    Bind and listen. C{reactor.listenTCP} does it too, but loses the socket when
    another listens on the port between its C{bind} and its C{listen}.

    @param interface: an IPv4 or IPv6 address; empty for all of IPv4.
    @param port: 0 for one that the system chooses.
    @raise OSError: it cannot be done, C{EADDRINUSE} where the port is taken.
    """
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        # Else the port would rest for 60 s after a connection that we closed.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Else an IPv4 peer would appear as ::ffff:192.0.2.1, which no list
            # of allowed hosts names.
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(socket.getaddrinfo(interface, port, family)[0][4])
        else:
            listening.bind((interface, port))
        listening.listen(backlog)
    except BaseException:
        listening.close()
        raise
    return listening


def listenOrTell(interface: str, port: int, backlog: int = BACKLOG) -> socket.socket:
    """
    The same as L{listeningSocket}, and find out who holds the port if it is
    taken. The socket can be used later, by a process that became a daemon.

    @raise PortTaken: somebody else has the port.
    @raise OSError: it cannot be done for another reason.
    """
    try:
        return listeningSocket(interface, port, backlog)
    except OSError as error:
        if error.errno != EADDRINUSE:
            raise
        host = f"[{interface}]" if ":" in interface else interface or "0.0.0.0"  # noqa: S104
        raise PortTaken(f"{host}:{port}", holderOf(port)) from error


def settle(transport: ITCPTransport) -> None:
    """
    Send without delay, and find out within about 15 seconds that the peer's
    machine is gone. A transport without a socket of its own is left alone, and
    so is what the platform does not know.
    """
    transport.setTcpNoDelay(True)
    transport.setTcpKeepAlive(True)
    connected = _socketOf(transport)
    if connected is not None:
        for name, value in _KEEPALIVE:
            option = getattr(socket, name, None)
            if option is not None:
                try:
                    connected.setsockopt(socket.IPPROTO_TCP, option, value)
                except OSError:
                    pass  # macOS says so when the peer is gone already


def readMore(transport: ITCPTransport, count: int) -> None:
    """
    Read more at once from a connection on which much comes.

    @param count: how many bytes came with the last reading.
    """
    if count >= _READ and isinstance(transport, Connection):
        transport.bufferSize = _MUCH_READ


def promptly(transport: ITCPTransport) -> Callable[[bytes], None]:
    """
    How to write to a connection whose ends speak in turn: what the socket takes
    it is given at once, where a transport has the reactor turn once more for
    every message. From the first bytes on that wait, all goes the usual way, as
    it does if there is TLS or no socket.
    """
    if not isinstance(transport, Connection) or transport.TLS:
        # What wraps a transport, as TLS does, passes on what it has not itself.
        has = hasattr(type(transport), "writePromptly")
        ours: Callable[[bytes], None] = getattr(transport, "writePromptly" if has else "write")
        return ours
    connected = transport.getHandle()
    isFree = True

    def write(data: bytes) -> None:
        nonlocal isFree
        if isFree and not transport.disconnecting:
            try:
                data = data[connected.send(data) :]
            except OSError:
                pass  # it is full, or broken, which the transport finds out too
            isFree = not data
        if data:
            transport.write(data)

    return write


def _socketOf(transport: object) -> socket.socket | None:
    # TLS is a transport around the one that has the socket.
    while transport is not None:
        getHandle = getattr(transport, "getHandle", None)
        handle = getHandle() if getHandle is not None else None
        if isinstance(handle, socket.socket):
            return handle
        transport = getattr(transport, "transport", None)
    return None


def holderOf(port: int) -> str:
    """
    Tell who has a TCP port of this machine, as far as the system lets us see:
    who listens there, or else who has a connection there.

    @return: as in C{pid 123 (python3)} or C{user 1000}, or an empty string.
    """
    holders = _socketsAt(port)
    if not holders:
        return ""
    for process in _PROC.glob("[0-9]*"):
        if any(link in holders for link in _descriptors(process)):
            try:
                return f"pid {process.name} ({(process / 'comm').read_text('utf-8').strip()})"
            except (OSError, ValueError):
                return f"pid {process.name}"
    return f"user {next(iter(holders.values()))}"


def _socketsAt(port: int) -> dict[str, str]:
    """
    The sockets at a port, as links of /proc/PID/fd name them, and their users.
    """
    listening: dict[str, str] = {}
    connected: dict[str, str] = {}
    for local, state, user, inode in _sockets():
        # An inode of 0 is a connection that no process has any more.
        if local == port and inode != "0":
            (listening if state == _LISTEN else connected)[f"socket:[{inode}]"] = user
    return listening or connected


def portsInUse() -> set[int] | None:
    """
    The TCP ports of this machine where somebody listens or has a connection.

    @return: C{None} where the system does not tell.
    """
    return {local for local, _, _, inode in _sockets() if inode != "0"} or None


def _sockets() -> Iterator[tuple[int, str, str, str]]:
    """
    The TCP sockets of this machine: port, state, user and inode.
    """
    for table in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / table).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            # sl local remote state queues timer retransmits uid timeout inode
            _, local, _, state, _, _, _, user, _, inode, *_ = line.split()
            yield int(local.rpartition(":")[2], 16), state, user, inode


def _descriptors(process: Path) -> list[str]:
    links = []
    try:
        for entry in os.scandir(process / "fd"):
            try:
                links.append(os.readlink(entry))
            except OSError:
                continue  # closed meanwhile
    except OSError:
        pass  # not ours to see, or it ended meanwhile
    return links


def lingerNot(transport: ITCPTransport) -> None:
    """
    Let closing a connection forget it at once (socket(7), SO_LINGER with 0
    seconds): after the end is said, the rest is a reset, and its port can be
    used again.
    """
    connection = _socketOf(transport)
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
