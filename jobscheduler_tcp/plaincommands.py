"""
Plain XML commands, as JobScheduler has them: which level each needs, what obeys
it, and how several in one document, unknown ones and errors are answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.wire.documents import Element, error

# Elements that hold commands and are none themselves.
_WRAPPERS = frozenset({"spooler", "commands", "command", "cluster_member_command"})

# The longest insert of a message, as in JobScheduler.
MAX_INSERT = 500


@dataclass(frozen=True, slots=True)
class Peer:
    """
    Who says a command.
    """

    host: str
    port: int
    level: Level


# What obeys a plain command. It may raise L{CommandRefused}, which is the peer's
# fault; anything else that it raises is ours.
Said: TypeAlias = Element | Iterable[Element]
Handler: TypeAlias = Callable[[Element, Peer], Said | Deferred[Said]]


class PlainCommands:
    """
    Obey plain commands by a table.
    """

    _log = Logger()

    def __init__(
        self,
        table: Mapping[str, tuple[Level, Handler]],
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        """
        @param table: the commands by name, with the level that each needs.
        @param wallClock: seconds since 1970, for the times in answers.
        """
        self._table = table
        self._wallClock = wallClock

    def extended(self, table: Mapping[str, tuple[Level, Handler]]) -> PlainCommands:
        """
        Make the same commands and some more, as a connection of its own may
        have.
        """
        return PlainCommands({**self._table, **table}, self._wallClock)

    async def obey(self, root: Element, peer: Peer) -> list[Element]:
        """
        Obey the command of a document, or those of a list in their order; the
        first that fails ends the list.

        @return: what to answer.
        """
        said: list[Element] = []
        for command in root.children if root.name in _WRAPPERS else [root]:
            answer = self._obeyOne(command, peer)
            said += await answer if isinstance(answer, Deferred) else answer
            if said and said[-1].name == "ERROR":
                break
        return said

    def obeyed(self, root: Element, peer: Peer) -> list[Element] | Deferred[list[Element]]:
        """
        The same, without a coroutine for a command by itself.
        """
        if root.name in _WRAPPERS:
            return Deferred.fromCoroutine(self.obey(root, peer))
        return self._obeyOne(root, peer)

    def time(self) -> str:
        """
        Tell the time for the envelope of an answer.
        """
        return timestamp(self._wallClock())

    def error(self, code: str, text: str) -> Element:
        """
        Make the ERROR element of an answer.
        """
        return error(code, text, time=secondstamp(self._wallClock()))

    def failed(self) -> Element:
        """
        Make the ERROR element for a mistake of ours, which tells nothing of it.
        """
        return self.error("jsremote-internal-error", "The command failed")

    def _obeyOne(self, command: Element, peer: Peer) -> list[Element] | Deferred[list[Element]]:
        try:
            said = self._said(command, peer)
            if not isinstance(said, Deferred):
                return _listed(said)
        except Exception:
            return self._wrong(Failure(), command)
        return said.addCallback(_listed).addErrback(self._wrong, command)

    def _said(self, command: Element, peer: Peer) -> Said | Deferred[Said]:
        name = command.name[:MAX_INSERT]
        known = self._table.get(command.name)
        if known is None:
            raise CommandRefused("SCHEDULER-105", f"Unknown command: <{name}>")
        level, handler = known
        if peer.level < level:
            self._log.warn("{peer} may not say {name}", peer=peer.host, name=name)
            raise notAllowed()
        return handler(command, peer)

    def _wrong(self, reason: Failure, command: Element) -> list[Element]:
        error = reason.value
        if isinstance(error, CommandRefused):
            return [self.error(error.code, error.text)]
        if isinstance(error, CancelledError):
            raise error  # nobody waits for the answer any more
        name = command.name[:MAX_INSERT]
        self._log.failure("The command {name} failed", failure=reason, name=name)
        return [self.failed()]


def _listed(said: Said) -> list[Element]:
    return [said] if isinstance(said, Element) else list(said)


def notAllowed() -> CommandRefused:
    """
    The refusal of a peer whose level is too low.
    """
    return CommandRefused("SCHEDULER-121", "The security settings do not allow this operation")


def timestamp(seconds: float) -> str:
    """
    Write a time as an engine does, in local time: C{2026-11-22 09:24:08.584}.
    """
    return f"{_secondstamp(int(seconds))}.{int(seconds % 1 * 1000):03}"


def secondstamp(seconds: float) -> str:
    """
    The same without its fraction.
    """
    return _secondstamp(int(seconds))


@lru_cache(1024)
def _secondstamp(seconds: int) -> str:
    # Much of a long answer happened in the same second.
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
