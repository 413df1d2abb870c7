"""
JobScheduler's commands by which a remote takes no more tasks, takes them again,
and ends when its tasks are over: C{modify_spooler} and C{terminate}.

JobScheduler lets whoever may start jobs say them. At a remote starting needs the
level C{all}, and so does this: nobody else can undo it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.plaincommands import Handler, Peer
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.wire.documents import Element, element


class Drained(Protocol):
    """
    What is asked of a L{RemoteService<jobscheduler_tcp.remote.service.RemoteService>}.
    """

    def drain(self) -> Deferred[None]:
        """
        Take no more starts; fires when no task is left.
        """

    def resume(self) -> None:
        """
        Take starts again.
        """


class Draining:
    """
    Obey commands.

    @ivar state: JobScheduler's word for how the remote stands; empty if it takes
        tasks.
    """

    _log = Logger()

    def __init__(
        self, remote: Drained, clock: IReactorTime, end: Callable[[], None] | None = None
    ) -> None:
        """
        @param end: ends the program, such as C{reactor.stop}; without it that
            cannot be asked for.
        """
        self.state = ""
        self._remote = remote
        self._clock = clock
        self._end = end
        self._ended = False

    def commands(self) -> dict[str, tuple[Level, Handler]]:
        """
        The commands by name, each with the level that it needs.
        """
        return {
            "modify_spooler": (Level.ALL, self._modifySpooler),
            "terminate": (Level.ALL, self._terminate),
        }

    def _modifySpooler(self, command: Element, peer: Peer) -> Element:
        word = command.attributes.get("cmd", "")
        if word == "terminate":
            return self._terminate(command, peer)
        if word not in ("pause", "stop", "continue"):
            raise CommandRefused("SCHEDULER-105", f"Unknown command: <{word[:100]}>")
        if self.state == "stopping":
            raise CommandRefused("SCHEDULER-381", "The remote ends when its tasks are over")
        self._log.info("{peer} says {word} to the remote", peer=peer.host, word=word)
        if word == "continue":
            self.state = ""
            self._remote.resume()
        else:
            self.state = "paused" if word == "pause" else "stopped"
            self._remote.drain()
        return element("ok")

    def _terminate(self, command: Element, peer: Peer) -> Element:
        if self._end is None:
            raise CommandRefused("jsremote-unsupported", "This remote is part of a program")
        if command.attributes.get("restart", "no") not in ("", "no", "false", "0"):
            raise CommandRefused("jsremote-unsupported", "The remote does not restart itself")
        timeout = command.attributes.get("timeout", "")
        if timeout and not (timeout.isdecimal() and timeout.isascii() and len(timeout) < 10):
            raise CommandRefused(
                "jsremote-protocol-error", f"timeout: expected seconds, found {timeout[:100]!r}"
            )
        self._log.info("{peer} ends the remote when its tasks are over", peer=peer.host)
        self.state = "stopping"
        # Later, for the answer shall be said.
        self._remote.drain().addCallback(lambda _: self._clock.callLater(0, self._over))
        if timeout:
            # Who ends the program ends what is still there.
            self._clock.callLater(int(timeout), self._over)
        return element("ok")

    def _over(self) -> None:
        if not self._ended and self._end is not None:
            self._ended = True
            self._end()
