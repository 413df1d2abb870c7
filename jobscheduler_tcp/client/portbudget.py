"""
Whether the callback ports suffice: what the process classes need, what the range
has, and who else may sit there.

A port is needed as long as its task lives, and afterwards for as long as
somebody holds it back: tasks in parallel + starts a second x release time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from jobscheduler_tcp.client.localports import reserving, unreserved

# Seconds: a port whose connection the remote closed first, or we reset, is free
# at once. Both dialects do one of them; what may hold a port back all the same,
# such as a firewall, is configured.
RELEASE_TIME = 0.0

# Where the budget would end otherwise; a range does not go below it.
_LOWEST = 1024
_HIGHEST = 65535


@dataclass(frozen=True, slots=True)
class Demand:
    """
    What one process class needs.

    @ivar name: of the class; may be empty.
    @ivar tasks: how many run at once, each with a port of its own.
    """

    name: str
    tasks: int

    def __str__(self) -> str:
        return f"{self.name or '(default)'}: {self.tasks}"


@dataclass(frozen=True, slots=True)
class Finding:
    """
    Something that is not as it should be.

    @ivar serious: whether jobs will wait for it, not only may.
    @ivar cure: the line that puts it right.
    """

    serious: bool
    text: str
    cure: str


@dataclass(frozen=True, slots=True)
class PortBudget:
    """
    The sum.

    @ivar first: the highest callback port.
    @ivar last: the lowest one.
    @ivar ephemeral: the ports that the system gives to outgoing connections.
    @ivar reserved: those of them that it does not.
    @ivar releaseTime: seconds for which a port is held back.
    @ivar startsPerSecond: of all classes together.
    """

    demands: tuple[Demand, ...]
    first: int
    last: int
    ephemeral: range = range(0)
    reserved: tuple[range, ...] = ()
    releaseTime: float = RELEASE_TIME
    startsPerSecond: float = 1.0

    @property
    def ports(self) -> range:
        """
        The callback ports.
        """
        return range(self.last, self.first + 1)

    @property
    def tasks(self) -> int:
        """
        Tasks in parallel.
        """
        return sum(demand.tasks for demand in self.demands)

    @property
    def needed(self) -> int:
        """
        Ports that are needed.
        """
        return self.tasks + ceil(self.startsPerSecond * self.releaseTime)

    def __str__(self) -> str:
        total = f"{self.tasks} tasks in parallel"
        if len(self.demands) > 1:
            total += " (" + ", ".join(map(str, self.demands)) + ")"
        return (
            f"{total} + {self.startsPerSecond:g} starts/s x {self.releaseTime:g} s release time"
            f" = {self.needed} of the {len(self.ports)} ports {self.last}-{self.first}"
        )

    def findings(self) -> Iterator[Finding]:
        """
        What is wrong.
        """
        missing = self.needed - len(self.ports)
        if missing > 0:
            yield Finding(
                True,
                f"the callback ports {self.last}-{self.first} are {missing} too few for "
                f"{self._whose()}: {self.needed} are needed, {len(self.ports)} are there; "
                "what is too much waits",
                self._widened(),
            )
        exposed = unreserved(self.ports, self.ephemeral, self.reserved)
        if exposed:
            yield Finding(
                False,
                f"outgoing connections of this host may take {len(exposed)} of the callback ports "
                f"{self.last}-{self.first}: they lie in ip_local_port_range "
                f"({self.ephemeral[0]}-{self.ephemeral[-1]}) and not in ip_local_reserved_ports",
                reserving(self.ports, self.reserved),
            )

    def _whose(self) -> str:
        """
        The classes that need most, until the ports are used up.
        """
        largest = sorted(self.demands, key=lambda demand: -demand.tasks)
        told = []
        for demand in largest:
            told.append(f"{demand.name or '(default)'} ({demand.tasks} tasks)")
            if sum(each.tasks for each in largest[: len(told)]) > len(self.ports):
                break
        kind = "process class" if len(told) == 1 else "the process classes"
        return f"{kind} {', '.join(told)}"

    def _widened(self) -> str:
        if self.needed > _HIGHEST - _LOWEST + 1:
            return "max_processes: no range of ports is as wide as this sum"
        first = max(self.first, _LOWEST + self.needed - 1)
        return f"--callback-ports {first - self.needed + 1}-{first}"
