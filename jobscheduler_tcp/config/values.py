"""
Words into values; each function raises C{ValueError} with what was expected,
whoever wrote the word: a file, an option or the environment.
"""

from __future__ import annotations

import os
import re
import sys
from datetime import datetime
from ipaddress import ip_address

from jobscheduler_tcp.callbackhosts import callbackHost
from jobscheduler_tcp.messages import CallbackMode

# Seconds that a port rests whose connection we closed first: Linux's TIME_WAIT,
# and what JobScheduler's public article plans for.
_SYSTEM_RELEASE_TIME = 60.0 if sys.platform == "linux" else 120.0

_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})[ T]([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?")

# The lowest port that needs no privileges.
_LOWEST_CALLBACK_PORT = 1024


def number(text: str, low: int, high: int) -> int:
    """
    A whole number in bounds.
    """
    # int() takes "1_000", "+5", blanks and the digits of every script.
    if re.fullmatch(r"[0-9]{1,18}", text) and low <= int(text) <= high:
        return int(text)
    raise ValueError(f"expected a number from {low} to {high}, found {text!r}")


def yesNo(text: str) -> bool:
    """
    C{yes} or C{no}.
    """
    if text not in ("yes", "no"):
        raise ValueError(f"expected yes or no, found {text!r}")
    return text == "yes"


def boolean(text: str) -> bool:
    """
    The same, also as XML Schema writes them.
    """
    return text in ("true", "1") or (text not in ("false", "0") and yesNo(text))


def duration(text: str) -> float:
    """
    Seconds, C{HH:MM}, C{HH:MM:SS} or C{never}, which is 0.
    """
    if text == "never":
        return 0.0
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    found = re.fullmatch(r"([0-9]{1,6}):([0-5][0-9])(?::([0-5][0-9]))?", text)
    if found is None:
        raise ValueError(f"expected seconds, HH:MM, HH:MM:SS or never, found {text!r}")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(hours * 3600 + minutes * 60 + seconds)


def date(text: str) -> float:
    """
    C{YYYY-MM-DD HH:MM[:SS]} in local time, as seconds since 1970.
    """
    found = _DATE.fullmatch(text)
    if found is not None:
        year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
        try:
            return datetime(year, month, day, hour, minute, second).timestamp()
        except (ValueError, OverflowError):
            pass
    raise ValueError(f"expected YYYY-MM-DD HH:MM:SS, found {text!r}")


def releaseTime(text: str) -> float:
    """
    Seconds, or C{system}: as long as this system holds back a port whose
    connection was closed from our side first.
    """
    return _SYSTEM_RELEASE_TIME if text == "system" else float(number(text, 0, 86400))


def onDisconnect(text: str) -> str:
    """
    What becomes of a task whose client is gone.
    """
    if text not in ("kill", "hold", "finish"):
        raise ValueError(f"expected kill, hold or finish, found {text!r}")
    return text


def hold(text: str) -> float:
    """
    Seconds, up to a month.
    """
    return float(number(text, 0, 31 * 86400))


def address(text: str) -> str:
    """
    An IP address.
    """
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError(f"expected an IP address, found {text!r}") from None


def hostPort(text: str, defaultPort: int | None = None) -> tuple[str, int]:
    """
    C{HOST:PORT}, C{[IPV6]:PORT}, and without the port where there is a default.
    """
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:/\[\]@]+))(?::([0-9]{1,5}))?", text)
    port = int(found[3] or 0) if found else 0
    if found is None or port > 65535 or not (port or defaultPort):
        raise ValueError(f"expected HOST:PORT, found {text!r}")
    return found[1] or found[2], port or defaultPort or 0


def remote(text: str, defaultPort: int | None = None) -> tuple[str, int]:
    """
    Where a remote is: L{hostPort}; one that speaks HTTP is not supported.
    """
    if re.match(r"[A-Za-z]+://", text):
        raise ValueError(f"expected HOST:PORT, found {text!r}: HTTP is not supported")
    return hostPort(text, defaultPort)


def integer(text: str) -> int:
    """
    A whole number.
    """
    if re.fullmatch(r"[+-]?[0-9]{1,9}", text):
        return int(text)
    raise ValueError(f"expected a whole number, found {text!r}")


def words(text: str) -> list[str]:
    """
    The words of a command line: apart by blanks, but not those in quotes.
    """
    if text.count('"') % 2:
        raise ValueError(f"expected quotes in pairs, found {text!r}")
    found = re.findall(r'(?:[^\s"]|"[^"]*")+', text)
    return [word.replace('"', "") for word in found]


def callback(text: str) -> str:
    """
    A callback mode (docs/callback-modes).
    """
    modes = ("auto", *(mode.value for mode in CallbackMode))
    if text not in modes:
        raise ValueError(f"expected one of {', '.join(modes)}, found {text!r}")
    return text


def callbackHosts(text: str) -> tuple[str, ...]:
    """
    Addresses at which a client may be called back.
    """
    return tuple(map(callbackHost, text.replace(",", " ").split()))


def advertise(text: str) -> str:
    """
    One of them, or none.
    """
    return callbackHost(text) if text else ""


def portRange(text: str) -> tuple[int, int]:
    """
    C{LOW-HIGH} or C{HIGH-LOW}, or one port.

    @return: the highest port, at which the search begins, and the lowest.
    """
    found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", text)
    ports = sorted(int(port) for port in found.groups() if port) if found else []
    if not ports or ports[0] < _LOWEST_CALLBACK_PORT or ports[-1] > 65535:
        raise ValueError(f"expected ports as in 59900-59999, from 1024 up, found {text!r}")
    return ports[-1], ports[0]


def listen(text: str) -> tuple[str, int]:
    """
    An endpoint string, C{tcp:PORT} or C{tcp:PORT:interface=ADDRESS}.

    @return: the interface, empty for every one, and the port, 0 for any that
        is free.
    """
    # A colon that belongs to a value is written \: in endpoint strings.
    kind, *parts = (part.replace("\\:", ":") for part in re.split(r"(?<!\\):", text))
    try:
        port = number(parts.pop(0).removeprefix("port="), 0, 65535)
        interface = parts.pop(0).removeprefix("interface=") if parts else ""
        if kind == "tcp" and not parts:
            return address(interface) if interface else "", port
    except (IndexError, ValueError):
        pass
    raise ValueError(f"expected an endpoint as in tcp:4455:interface=127.0.0.1, found {text!r}")


def isLoopback(interface: str) -> bool:
    """
    Whether only this machine reaches what listens there.
    """
    return interface != "" and ip_address(interface).is_loopback


def folder(text: str) -> str:
    """
    A folder, which need not be there.
    """
    if not text or "\0" in text:
        raise ValueError(f"expected a folder, found {text!r}")
    return os.path.abspath(text)


def size(text: str) -> int:
    """
    Bytes, as in C{500M}: K, M, G and T are powers of 1024.
    """
    found = re.fullmatch(r"([0-9]{1,12})([KMGT]?)", text)
    if found is None:
        raise ValueError(f"expected a number of bytes as in 500M, found {text!r}")
    return int(found[1]) << 10 * " KMGT".index(found[2] or " ")
