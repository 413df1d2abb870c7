"""
How words of the command line become values, and what stands for those that are
not said.
"""

from __future__ import annotations

import argparse
import math
import re

from jobscheduler_tcp.callbackhosts import callbackHost

# Where a remote listens if nobody says otherwise (the port of the public
# examples of twistd jsremote).
REMOTE = ("127.0.0.1", 4455)

# Where a client takes commands if nobody says otherwise, as a JobScheduler.
CLIENT = ("127.0.0.1", 4444)

# The callback ports: JobScheduler takes them from 59999 downwards.
CALLBACK_PORTS = (59999, 59900)

_SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def shown(address: tuple[str, int]) -> str:
    """
    C{HOST:PORT}, for people.
    """
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address(text: str, default: tuple[str, int] = REMOTE) -> tuple[str, int]:
    """
    C{HOST:PORT}, C{HOST}, C{:PORT} or C{[IPV6]:PORT}.
    """
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^:\s\[\]]*))(?::(\d{1,5}))?", text)
    if not found or not text:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    port = int(found[3] or default[1])
    if not 0 < port < 65536:
        raise argparse.ArgumentTypeError(f"{port} is no port, 1 to 65535 are")
    return found[1] or found[2] or default[0], port


def pair(text: str) -> tuple[str, str]:
    """
    C{NAME=VALUE}.
    """
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def seconds(text: str) -> float:
    """
    A number of seconds.
    """
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    # 1e12 is the bound of the protocol; no comparison with NaN is true.
    if not 0 <= found <= 1e12:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return found


def size(text: str) -> int:
    """
    A number of bytes, as in C{5M}.
    """
    found = re.fullmatch(r"(\d{1,18})([KMGT]?)", text.upper())
    count = int(found[1]) * _SIZES[found[2]] if found else -1
    if not 0 <= count < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes")
    return count


def callbackAddress(text: str) -> str:
    """
    An address where this host can be called, or none.
    """
    try:
        return callbackHost(text) if text else ""
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def portRange(text: str) -> tuple[int, int]:
    """
    A range in either direction, or one port; the highest comes first.
    """
    found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no range of ports, such as 59900-59999")
    one, other = int(found[1]), int(found[2] or found[1])
    # The protocol carries no port below 1024 (docs/protocol/extended, "Start").
    if min(one, other) < 1024 or max(one, other) > 65535:
        raise argparse.ArgumentTypeError("callback ports lie between 1024 and 65535")
    return max(one, other), min(one, other)
