"""
What a client has to know to come back for a task.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from jobscheduler_tcp.messages import OnDisconnect

# Seconds for which a task is held whose client is gone, unless it is told
# otherwise: a restart of the client, or of a switch, takes less.
HOLD = 600.0

# The bits of a random UUID (RFC 9562, 5.4): those that are random, and the others.
_RANDOM = ~(0xF << 76 | 0x3 << 62)
_VERSION_4 = 0x4 << 76 | 0x2 << 62

_TEXT = re.compile(r"([0-9a-f-]{36})?:([0-9a-f]{32})")


def newTask() -> str:
    """
    Make the UUID of a task: a random one, as C{uuid.uuid4} does.
    """
    number = int.from_bytes(os.urandom(16), "big") & _RANDOM | _VERSION_4
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


@dataclass(frozen=True, slots=True)
class Lasting:
    """
    What a remote shall do with a task whose client is gone.

    @ivar seconds: for which the client is waited for.
    """

    onDisconnect: OnDisconnect = OnDisconnect.HOLD
    seconds: float = HOLD

    def __bool__(self) -> bool:
        """
        Whether a client can come back.
        """
        return self.onDisconnect is not OnDisconnect.KILL and self.seconds > 0


@dataclass(frozen=True, slots=True)
class TaskKey:
    """
    The key to one task.

    @ivar instance: the UUID of the remote that it was asked for at; empty if
        nobody knows.
    @ivar secret: what the remote was told of it, and nobody else.
    """

    instance: str
    secret: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> TaskKey | None:
        """
        Read it; C{None} if it is none.
        """
        found = _TEXT.fullmatch(text)
        if found is None:
            return None
        return cls(found[1] or "", bytes.fromhex(found[2]))

    @property
    def text(self) -> str:
        """
        To be kept by the client, and shown to nobody.
        """
        return f"{self.instance}:{self.secret.hex()}"
