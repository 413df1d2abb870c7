"""
Ports that are free: also after a moment, when a program under test wants them.

A port that the system gave and that was given back may be anybody's by then, as
an outgoing connection of somebody else or, worse, of the very program that is to
find out that nobody listens there. Those below the system's are nobody's, and no
two tests of a process have the same.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

# Below those that Linux gives to outgoing connections, 32768 and more.
_LOWEST, _HIGHEST = 20_000, 32_000

# Two runs of the tests at a time shall not begin with the same.
_next = random.randrange(_LOWEST, _HIGHEST)


def freeRange(size: int) -> int:
    """
    Find so many neighbouring ports that nobody has, and that no connection rests
    at; their lowest.
    """
    global _next  # noqa: PLW0603  # whoever imports this goes on where others were
    for _ in range((_HIGHEST - _LOWEST) // size):
        lowest = _next if _next + size <= _HIGHEST else _LOWEST
        _next = lowest + size
        ports = range(lowest, lowest + size)
        if not restingAt(ports) and all(map(_isFree, ports)):
            return lowest
    raise AssertionError("no ports are free")


def freePort() -> int:
    """
    Find one.
    """
    return freeRange(1)


def freePorts(size: int = 10) -> str:
    """
    Find callback ports, as they are said in options.
    """
    lowest = freeRange(size)
    return f"{lowest}-{lowest + size - 1}"


def restingAt(ports: range) -> list[str]:
    """
    The TIME_WAITs whose own port is one of these, as /proc/net/tcp has them.
    """
    found = []
    for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        if state == "06" and int(local.rpartition(":")[2], 16) in ports:
            found.append(line)
    return found


def _isFree(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
            probe.listen()
        except OSError:
            return False
    return True
