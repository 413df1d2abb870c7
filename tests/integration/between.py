"""
What may stand between a client and a remote: something that passes on, in its
own name, what one says to the other, and may look at it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from threading import Thread

from tests.integration.plain import LOOPBACK
from tests.integration.services import PATIENCE

# Another address of this machine: there the remote looks for the client, if it
# was called from there.
ELSEWHERE = "127.0.0.2"


class Between:
    """
    Pass connections on.

    @ivar port: where to call.
    @ivar said: what callers said.
    """

    def __init__(
        self,
        stack: ExitStack,
        to: int,
        source: str = LOOPBACK,
        passing: Callable[[bytes], object] = lambda said: None,
    ) -> None:
        """
        @param to: the port to which connections are passed on.
        @param source: the address from which that is done.
        @param passing: called with all that callers have said, before the latest
            of it is passed on.
        """
        self.said = b""
        self._stack = stack
        self._to = to
        self._source = source
        self._passing = passing
        self._listening = stack.enter_context(socket.create_server((LOOPBACK, 0)))
        # To close it would not wake the thread that accepts.
        stack.callback(self._listening.shutdown, socket.SHUT_RDWR)
        self.port: int = self._listening.getsockname()[1]
        _background(self._accept)

    def _accept(self) -> None:
        try:
            while True:
                self._pass(self._stack.enter_context(self._listening.accept()[0]))
        except OSError:
            pass  # the test is over

    def _pass(self, caller: socket.socket) -> None:
        called = self._stack.enter_context(
            socket.create_connection((LOOPBACK, self._to), PATIENCE, (self._source, 0))
        )
        _background(lambda: pump(called, caller))
        _background(lambda: pump(caller, called, self._look))

    def _look(self, data: bytes) -> None:
        self.said += data
        self._passing(self.said)


def pump(source: socket.socket, sink: socket.socket, look: Callable[[bytes], object] = len) -> None:
    """
    Pass on what comes until there is no more, and the end of it as well.
    """
    source.settimeout(PATIENCE)
    try:
        while data := source.recv(65536):
            look(data)
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # one of the two is gone, and the other will be


def _background(work: Callable[[], None]) -> None:
    Thread(target=work, daemon=True).start()
