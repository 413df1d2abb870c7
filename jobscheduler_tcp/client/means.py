"""
What the jobs of a client service share.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from twisted.internet.interfaces import IReactorTime

from jobscheduler_tcp.channels import WINDOW
from jobscheduler_tcp.client.classiccommand import ClassicCommandConnection
from jobscheduler_tcp.client.connection import CONNECT_TIMEOUT
from jobscheduler_tcp.client.ports import CallbackPorts
from jobscheduler_tcp.client.standings import Standings
from jobscheduler_tcp.client.strangers import Strangers
from jobscheduler_tcp.client.taskkey import Lasting
from jobscheduler_tcp.deadlines import Deadlines
from jobscheduler_tcp.heartbeat import Heart

# Seconds from leaving the queue until the start is confirmed, unless the service
# says otherwise: a remote under load needs some, a person waits no longer.
START_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Means:
    """
    What the jobs of a service share.

    @ivar numbers: what tasks are called where a UUID is not understood.
    @ivar classic: the command connections of classic tasks that are not closed.
    @ivar lasting: what a remote does with tasks whose client is gone, unless a
        job says otherwise.
    @ivar starting: the jobs whose start is to be confirmed in C{startTimeout}.
    @ivar standings: the confirmation connections that carry many tasks.
    """

    clock: IReactorTime
    ports: CallbackPorts
    heart: Heart
    strangers: Strangers
    startTimeout: float = START_TIMEOUT
    connectTimeout: float = CONNECT_TIMEOUT
    window: int = WINDOW
    lasting: Lasting = field(default_factory=Lasting)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    classic: set[ClassicCommandConnection] = field(default_factory=set)
    starting: Deadlines = field(init=False)
    standings: Standings = field(init=False)

    def __post_init__(self) -> None:
        """
        Nothing stands yet.
        """
        standings = Standings(self.clock, self.ports, self.heart, self.strangers, self.window)
        object.__setattr__(self, "standings", standings)  # as a frozen dataclass does it
        object.__setattr__(self, "starting", self.heart.deadlines(self.startTimeout))
