"""
Which address may do what: JobScheduler's levels and allowed hosts.

An address is all that is looked at here. Whether it may be believed is another
question: on a network where others can take it, it is not enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address


class Level(IntEnum):
    """
    What a peer may do; each level includes those below.
    """

    NONE = 0
    SIGNAL = 1
    INFO = 2
    NO_ADD = 3
    ALL = 4

    def __str__(self) -> str:
        return self.name.lower()

    @classmethod
    def named(cls, word: str) -> Level:
        """
        Find a level by its word in the configuration, such as C{no_add}.

        @raise ValueError: there is none of that name.
        """
        for level in cls:
            if str(level) == word:
                return level
        raise ValueError(f"expected one of {', '.join(map(str, cls))}; found {word!r}")


class AllowedHosts:
    """
    The levels of the addresses of a configuration. Where nothing is configured,
    the machine itself may do everything and others nothing.

    As in JobScheduler 1.x an entry is an address; the address of a class A, B or
    C network, such as 192.168.1.0, which speaks for all of it; or 0.0.0.0 for
    everybody else. C{::} is the same for IPv6, which has no such classes.
    """

    def __init__(self, entries: Iterable[tuple[str, Level]] = ()) -> None:
        """
        @param entries: addresses, names resolved already, and their levels; the
            last of several for one address counts.
        @raise ValueError: one is not an address.
        """
        self._levels = {_address(host): level for host, level in entries}

    def levelOf(self, host: str) -> Level:
        """
        Tell what the peer at an address may do.
        """
        try:
            address = _address(host)
        except ValueError:
            return Level.NONE  # not an address, such as the name of a UNIX socket
        if not self._levels:
            return Level.ALL if address.is_loopback else Level.NONE
        level = self._levels.get(address)
        if level is None and isinstance(address, IPv6Address):
            level = self._levels.get(_EVERYBODY_6)
        elif level is None:
            network = _classful(address)
            level = self._levels.get(network)
            if level is None and network != address:
                level = self._levels.get(_EVERYBODY)
        return Level.NONE if level is None else level


def networkOf(host: str) -> str:
    """
    What an entry of L{AllowedHosts} means, as a network with its length, such as
    C{192.168.1.0/24}; one address as it is.
    """
    address = _address(host)
    if int(address) == 0:
        return f"{address}/0"
    if isinstance(address, IPv6Address) or _classful(address) != address:
        return str(address)
    length = _classLength(address)
    return f"{address}/{length}" if length < 32 else str(address)


_EVERYBODY = IPv4Address(0)
_EVERYBODY_6 = IPv6Address(0)


def _address(host: str) -> IPv4Address | IPv6Address:
    # fe80::1%eth0 is the same machine as fe80::1, and ::ffff:10.0.0.1 is what a
    # listener for both families sees of 10.0.0.1.
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _classful(address: IPv4Address | IPv6Address) -> IPv4Address:
    bits = 32 - _classLength(address)
    return IPv4Address(int(address) >> bits << bits)


def _classLength(address: IPv4Address | IPv6Address) -> int:
    first = int(address) >> 24
    return 8 if first < 128 else 16 if first < 192 else 24 if first < 224 else 32
