"""
Ports that are free: also after a moment, when a program under test wants them.

A port that the system gave and that was given back may be anybody's by then, as
an outgoing connection of somebody else or, worse, of the very program that is to
find out that nobody listens there. Those below the system's are nobody's, and no
two tests have the same, also of two runs at a time.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from tempfile import gettempdir

# Below those that Linux gives to outgoing connections, 32768 and more, in as many
# parts as runs of the tests can be at a time.
_LOWEST, _HIGHEST = 20_000, 32_000
_PART = 2_000


def _ourPart() -> int:
    """
    The lowest port of a part that no other run has as long as this process lives.
    """
    for lowest in range(_LOWEST, _HIGHEST, _PART):
        path = Path(gettempdir(), f"jsremote-tests-{os.getuid()}-{lowest}")
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return lowest  # and the lock stays
    raise AssertionError("too many runs of the tests at a time")


_lowest = _ourPart()
_next = _lowest


def freeRange(size: int) -> int:
    """
    Find so many neighbouring ports that nobody has, and that no connection rests
    at; their lowest.
    """
    global _next  # noqa: PLW0603  # whoever imports this goes on where others were
    for _ in range(_PART // size):
        lowest = _next if _next + size <= _lowest + _PART else _lowest
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
