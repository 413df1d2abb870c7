"""
Commands that are answered when what they did is on the disk: who has the answer
may rely upon it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Protocol

from twisted.internet.defer import Deferred

from jobscheduler_tcp.plaincommands import Handler, Peer, Said
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.wire.documents import Element

# What brings something that shall outlive the client, or changes it.
NAMES = frozenset({"add_order", "order", "modify_order", "remove_order", "start_job", "modify_job"})


class IDisk(Protocol):
    """
    What is asked of a L{History<jobscheduler_tcp.client.history.History>}.
    """

    def requireDisk(self) -> None:
        """
        Refuse if nothing can be written now.
        """

    def whenKept(self) -> Deferred[None]:
        """
        Wait until all that has happened is written.
        """


def durable(
    table: Mapping[str, tuple[Level, Handler]], disk: IDisk
) -> dict[str, tuple[Level, Handler]]:
    """
    Make a table in which such commands are refused while the disk is in trouble,
    and answered when it has taken what they did.
    """
    return {
        name: (level, partial(_obey, handler, disk) if name in NAMES else handler)
        for name, (level, handler) in table.items()
    }


def _obey(handler: Handler, disk: IDisk, command: Element, peer: Peer) -> Deferred[Said]:
    disk.requireDisk()
    return Deferred.fromCoroutine(_answer(handler, disk, command, peer))


async def _answer(handler: Handler, disk: IDisk, command: Element, peer: Peer) -> Said:
    said = handler(command, peer)
    if isinstance(said, Deferred):
        said = await said
    await disk.whenKept()
    return said
