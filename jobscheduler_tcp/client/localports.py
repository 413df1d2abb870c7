"""
What the system does with local ports: which of them it gives to outgoing
connections, and which it never does.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

# Where the kernel takes the ports of outgoing connections from, ours included.
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
# Which of these it leaves out.
_RESERVED = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")


def ephemeralPorts() -> range:
    """
    The ports that this system gives to outgoing connections.

    @return: empty where the system does not tell.
    """
    try:
        low, high = _EPHEMERAL.read_text("ascii").split()
    except OSError:
        return range(0)
    return range(int(low), int(high) + 1)


def reservedPorts() -> tuple[range, ...]:
    """
    The ports that this system gives to nobody who does not name them.
    """
    try:
        text = _RESERVED.read_text("ascii").strip()
    except OSError:
        return ()
    return tuple(_span(part) for part in text.split(",") if part)


def _span(text: str) -> range:
    low, _, high = text.partition("-")
    return range(int(low), int(high or low) + 1)


def unreserved(ports: range, ephemeral: range, reserved: Iterable[range]) -> list[int]:
    """
    Those of some ports where an outgoing connection may sit.
    """
    spans = list(reserved)
    return [port for port in ports if port in ephemeral and not any(port in span for span in spans)]


def reserving(ports: range, reserved: Iterable[range]) -> str:
    """
    The line that reserves ports. It names what is reserved already, too, for the
    kernel keeps only the last line.
    """
    spans: list[tuple[int, int]] = []
    every = [*((span[0], span[-1]) for span in reserved), (ports[0], ports[-1])]
    for low, high in sorted(every):
        if spans and low <= spans[-1][1] + 1:
            spans[-1] = spans[-1][0], max(high, spans[-1][1])
        else:
            spans.append((low, high))
    listed = ",".join(f"{low}-{high}" if low != high else f"{low}" for low, high in spans)
    return f"sysctl -w net.ipv4.ip_local_reserved_ports={listed}"
