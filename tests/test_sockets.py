"""
L{jobscheduler_tcp.sockets}: what can be tried without a reactor.
"""

from __future__ import annotations

import socket
from errno import EINVAL
from pathlib import Path
from typing import Any, cast

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp import sockets
from jobscheduler_tcp.sockets import holderOf, lingerNot, promptly, settle
from jobscheduler_tcp.streams import Stream
from jobscheduler_tcp.testing import MemoryNetwork

LOOPBACK = "127.0.0.1"

# One who listens on 4455 and one who has a connection there, both with IPv4, one
# who listens on 4456 with IPv6, and a connection in TIME_WAIT at 4457.
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1167 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11111 1
   1: 0100007F:1167 0100007F:C000 01 00000000:00000000 00:00000000 00000000  1001        0 22222 1
   2: 0100007F:1169 0100007F:C000 06 00000000:00000000 00:00000000 00000000     0        0 0 3
"""
TCP6 = """\
  sl  local_address remote_address st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode
   0: 00000000000000000000000001000000:1168 00000000000000000000000000000000:0000 0A \
00000000:00000000 00:00000000 00000000     0        0 33333 1
"""


class HolderTests(SynchronousTestCase):
    def setUp(self) -> None:
        """
        Make a /proc.
        """
        self.proc = Path(self.mktemp())
        (self.proc / "net").mkdir(parents=True)
        (self.proc / "net" / "tcp").write_text(TCP)
        (self.proc / "net" / "tcp6").write_text(TCP6)
        self.patch(sockets, "_PROC", self.proc)

    def process(self, pid: int, inode: int, command: bytes = b"python3\n") -> Path:
        """
        Let a process have a socket.
        """
        process = self.proc / str(pid)
        (process / "fd").mkdir(parents=True)
        (process / "fd" / "0").symlink_to("/dev/null")
        (process / "fd" / "3").symlink_to(f"socket:[{inode}]")
        (process / "comm").write_bytes(command)
        return process

    def test_listener(self) -> None:
        """
        The one who listens holds a port, rather than those who are connected.
        """
        self.process(17, 22222)
        self.process(18, 11111)
        self.process(19, 33333, b"nginx\n")
        self.assertEqual(holderOf(4455), "pid 18 (python3)")
        self.assertEqual(holderOf(4456), "pid 19 (nginx)")

    def test_connected(self) -> None:
        """
        Where nobody listens, it is the one who is connected.
        """
        (self.proc / "net" / "tcp").write_text(TCP.replace(" 0A ", " 07 "))
        self.process(17, 22222)
        self.assertEqual(holderOf(4455), "pid 17 (python3)")

    def test_user(self) -> None:
        """
        Of a process that cannot be looked at the user is told.
        """
        self.process(17, 4711)
        (self.proc / "18").mkdir()
        self.assertEqual(holderOf(4455), "user 1000")

    def test_nobody(self) -> None:
        """
        Of a port that nobody has, or a connection that no process has any more,
        nothing can be told.
        """
        self.assertEqual(holderOf(4460), "")
        self.assertEqual(holderOf(4457), "")

    def test_vanishing(self) -> None:
        """
        Processes may end while they are looked at, and have any name.
        """
        process = self.process(17, 11111)
        (process / "fd" / "4").write_text("no link")
        (process / "comm").unlink()
        self.assertEqual(holderOf(4455), "pid 17")
        (process / "comm").write_bytes(b"\xff")
        self.assertEqual(holderOf(4455), "pid 17")

    def test_noProc(self) -> None:
        """
        Where there is no /proc nothing can be told.
        """
        self.patch(sockets, "_PROC", self.proc / "nowhere")
        self.assertEqual(holderOf(4455), "")


class Deaf(socket.socket):
    """
    A socket whose peer is gone, on macOS.
    """

    def setsockopt(self, *arguments: object) -> None:
        """
        Refuse.
        """
        raise OSError(EINVAL, "Invalid argument")


class Wrapping:
    """
    A transport around another, as TLS is.
    """

    def __init__(self, transport: object) -> None:
        self.transport = transport

    def getHandle(self) -> object:
        """
        Not a socket.
        """
        return self

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        Pass.
        """

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """
        Pass.
        """


class Holding:
    """
    A transport that has a socket.
    """

    def __init__(self, handle: socket.socket) -> None:
        self._handle = handle

    def getHandle(self) -> socket.socket:
        """
        The socket.
        """
        return self._handle


class SettleTests(SynchronousTestCase):
    """
    That it settles real sockets is tested in integration/test_sockets.
    """

    def test_memory(self) -> None:
        """
        A transport without a socket is told what it can be told.
        """
        network = MemoryNetwork()
        host = network.host("10.0.0.1")
        host.listen(4455, Factory.forProtocol(Protocol))
        stranger = host.stranger(LOOPBACK, 4455)
        network.flush()
        settle(stranger.transport)
        lingerNot(stranger.transport)
        self.assertTrue(stranger.transport.getTcpNoDelay())
        self.assertTrue(stranger.transport.getTcpKeepAlive())

    def test_wrapped(self) -> None:
        """
        The socket is found below TLS.
        """
        handle = socket.socket()
        self.addCleanup(handle.close)
        settle(cast(ITCPTransport, Wrapping(Holding(handle))))
        self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT), 3)

    def test_refused(self) -> None:
        """
        It does not matter if the system refuses, or does not know an option.
        """
        handle = Deaf()
        self.addCleanup(handle.close)
        settle(cast(ITCPTransport, Wrapping(Holding(handle))))
        self.patch(sockets, "_KEEPALIVE", (("TCP_UNHEARD_OF", 1),))
        settle(cast(ITCPTransport, Wrapping(Holding(handle))))


class PromptlyTests(SynchronousTestCase):
    def connection(self) -> tuple[Connection, socket.socket, MemoryReactorClock]:
        """
        A connection, its peer, and the reactor that has not turned.
        """
        ours, theirs = socket.socketpair()
        for each in (ours, theirs):
            each.setblocking(False)
            self.addCleanup(each.close)
        reactor = MemoryReactorClock()
        connection = Connection(ours, Protocol(), reactor)
        connection.connected = 1
        return connection, theirs, reactor

    def test_atOnce(self) -> None:
        """
        What the socket takes is there before the reactor turns.
        """
        connection, peer, reactor = self.connection()
        write = promptly(connection)
        write(b"one")
        write(b"two")
        self.assertEqual(peer.recv(100), b"onetwo")
        self.assertEqual(reactor.getWriters(), [])

    def test_inOrder(self) -> None:
        """
        What the socket does not take waits, and all that is said later behind it.
        """
        connection, peer, reactor = self.connection()
        write = promptly(connection)
        long = b"x" * 4000000
        write(long)
        write(b"end")
        self.assertEqual(reactor.getWriters(), [connection])
        heard = b""
        while not heard.endswith(b"end"):
            heard += peer.recv(len(long))
            connection.doWrite()
        self.assertEqual(heard, long + b"end")

    def test_broken(self) -> None:
        """
        A broken connection is found by its transport.
        """
        connection, peer, reactor = self.connection()
        peer.close()
        promptly(connection)(b"one")
        self.assertEqual(reactor.getWriters(), [connection])
        self.assertIsNotNone(connection.doWrite())

    def test_closing(self) -> None:
        """
        A connection that is closed behind its last bytes is written to by its
        transport only.
        """
        connection, peer, _ = self.connection()
        write = promptly(connection)
        connection.write(b"one")
        connection.disconnecting = True
        write(b"two")
        self.assertRaises(BlockingIOError, peer.recv, 100)

    def test_others(self) -> None:
        """
        A transport with TLS, or without a socket, is written to as ever.
        """
        memory = StringTransport()
        promptly(cast(ITCPTransport, memory))(b"one")
        self.assertEqual(memory.value(), b"one")
        connection, _, _ = self.connection()
        connection.TLS = True
        self.assertEqual(promptly(connection), connection.write)

    def test_wrapping(self) -> None:
        """
        So is what wraps one of our own transports: nothing goes past it.
        """
        wrapper = ProtocolWrapper(WrappingFactory(Factory()), Protocol())
        stream = Stream(cast(Any, Clock()), socket.socket(), (LOOPBACK, 1))
        self.addCleanup(stream.getHandle().close)
        wrapper.transport = stream
        self.assertEqual(promptly(cast(ITCPTransport, wrapper)), wrapper.write)
        self.assertEqual(promptly(cast(ITCPTransport, stream)), stream.writePromptly)
