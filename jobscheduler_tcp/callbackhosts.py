"""
Where else a client may have itself called back.

A remote calls back the address that a client comes from. Behind a router that
translates addresses, or with two networks, the client is at home elsewhere and says
so; but a remote that calls whatever it is told would knock at doors for others.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from jobscheduler_tcp.security import networkOf

# No client is there: this host or network, link-local (where clouds have their
# secrets), multicast, broadcast and what is reserved, IPv4 in old clothes.
_NOBODY = tuple(
    map(
        ip_network,
        (
            *("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"),
            *("::/96", "fe80::/10", "fec0::/10", "ff00::/8"),
        ),
    )
)


def callbackHost(text: str) -> str:
    """
    Check an address at which a client may be.

    @return: its usual form.
    @raise ValueError: it is none.
    """
    try:
        address = _plain(text)
    except ValueError:
        raise ValueError(f"expected an IP address, found {text!r}") from None
    if _isNobody(address):
        raise ValueError(f"expected an address that one host has, found {text!r}")
    return str(address)


class CallbackHosts:
    """
    The addresses that a configuration lists for its clients.
    """

    def __init__(self, entries: Iterable[tuple[str, str]] = ()) -> None:
        """
        @param entries: the address from which a client comes, or of a network as
            in L{AllowedHosts<jobscheduler_tcp.security.AllowedHosts>}, and an
            address at which it may be called.
        @raise ValueError: one is not an address.
        """
        self._entries = [
            (ip_network(networkOf(client)), ip_address(callbackHost(address)))
            for client, address in entries
        ]

    def refusal(self, client: str, address: str) -> str:
        """
        Tell why a client that comes from an address may not be called back at
        another; empty if it may.
        """
        try:
            asked, caller = _plain(address), _plain(client.partition("%")[0])
        except ValueError:
            return f"{address} cannot be called back for {client or 'this client'}"
        if _isNobody(asked) or (asked.is_loopback and not caller.is_loopback):
            return f"{asked} is never called back for a client at {caller}"
        if asked == caller:
            return ""
        for clients, listed in self._entries:
            if asked == listed and caller in clients:
                return ""
        return (
            f"{asked} is not listed for a client at {caller}: at the remote, write it into "
            f"callback_hosts of the client's <allowed_host>, or --callback-host {caller}={asked}"
        )


def _plain(text: str) -> IPv4Address | IPv6Address:
    # ::ffff:10.0.0.1 is 10.0.0.1; a scope, as in fe80::1%eth0, means something
    # at one host only.
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise ValueError(text)
        return address.ipv4_mapped or address
    return address


def _isNobody(address: IPv4Address | IPv6Address) -> bool:
    return not address.is_loopback and any(address in network for network in _NOBODY)
