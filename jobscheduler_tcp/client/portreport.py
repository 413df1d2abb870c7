"""
What people are told of the callback ports: whether they suffice, and who has
which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from twisted.application.service import Service
from twisted.logger import Logger

from jobscheduler_tcp.client.portbudget import PortBudget
from jobscheduler_tcp.client.ports import CallbackPorts
from jobscheduler_tcp.sockets import portsInUse


class BudgetReport(Service):
    """
    Log the sum of ports when the client starts, and what is wrong with it.
    """

    _log = Logger()

    def __init__(self, budget: PortBudget) -> None:
        self._budget = budget

    def startService(self) -> None:
        """
        Tell it.
        """
        Service.startService(self)
        self._log.info("Callback ports: {budget}", budget=self._budget)
        for finding in self._budget.findings():
            self._log.warn("{text}: {cure}", text=finding.text, cure=finding.cure)


class PortState(str, Enum):
    """
    What is at a callback port.
    """

    FREE = "free"
    LISTENING = "listening"
    CONNECTED = "connected"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class PortEntry:
    """
    Neighbouring ports with nothing on them, or one port.

    @ivar task: the UUID of the task that it is reserved for.
    @ivar peer: the remote's end of the confirmation connection, for people.
    @ivar age: seconds since it was reserved.
    """

    low: int
    high: int
    state: PortState
    task: str = ""
    peer: str = ""
    age: float | None = None


class PortUser(Protocol):
    """
    What is asked of a L{RunningJob<jobscheduler_tcp.client.job.RunningJob>}.
    """

    @property
    def task(self) -> str:
        """
        The UUID of its task.
        """

    @property
    def port(self) -> int:
        """
        Its callback port, 0 while it has none.
        """

    @property
    def peer(self) -> str:
        """
        The other end of its confirmation connection, empty while there is none.
        """


def portEntries(
    ports: CallbackPorts,
    users: Iterable[PortUser],
    now: float,
    inUse: Callable[[], set[int] | None] = portsInUse,
) -> list[PortEntry]:
    """
    Every port of the range, the highest first.

    @param now: by the clock of the ports.
    @param inUse: where this machine has sockets; C{None} where it does not tell,
        and what was found when the ports were last tried is believed.
    """
    taken = inUse()
    foreign = set(ports.foreign) if taken is None else taken
    byPort: dict[int, list[PortUser]] = {}
    for user in users:
        byPort.setdefault(user.port, []).append(user)
    entries: list[PortEntry] = []
    for number in range(ports.first, ports.last - 1, -1):
        held = ports.held.get(number)
        if held is None:
            state = PortState.FOREIGN if number in foreign else PortState.FREE
            before = entries[-1] if entries else None
            if state is PortState.FREE and before is not None and before.state is state:
                entries[-1] = PortEntry(number, before.high, state)
            else:
                entries.append(PortEntry(number, number, state))
            continue
        state = PortState.LISTENING if held.listens else PortState.CONNECTED
        age = now - held.since
        for user in byPort.get(number, ()):
            seen = PortState.CONNECTED if user.peer else state
            entries.append(PortEntry(number, number, seen, user.task, user.peer, age))
        if number not in byPort:
            entries.append(PortEntry(number, number, state, age=age))
    return entries
