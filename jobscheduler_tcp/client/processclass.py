"""
Which remote, how many tasks at once, and who waits for one of its places.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IStreamClientEndpoint

from jobscheduler_tcp.callbackhosts import callbackHost
from jobscheduler_tcp.client.callbackmodes import AUTO, CallbackChoice
from jobscheduler_tcp.client.classicidle import IdleCommands

# As many as a JobScheduler runs in a process class that does not say it.
MAX_PROCESSES = 30


class Dialect(Enum):
    """
    Which language a remote is spoken to in.
    """

    AUTO = "auto"
    EXTENDED = "extended"
    CLASSIC = "classic"


class Places:
    """
    A number of places, and the queue of those who wait for one.

    @ivar maxProcesses: how many places there are.
    @ivar running: how many of them are taken.
    """

    def __init__(self, maxProcesses: int = MAX_PROCESSES) -> None:
        self.maxProcesses = maxProcesses
        self.running = 0
        self._serving = False
        self._waiting: OrderedDict[Deferred[None], None] = OrderedDict()

    @property
    def waiting(self) -> int:
        """
        How many wait for a place.
        """
        return len(self._waiting)

    def take(self) -> bool:
        """
        Take a place, if one is free and nobody waits.
        """
        if self.running < self.maxProcesses and not self._waiting:
            self.running += 1
            return True
        return False

    def acquire(self) -> Deferred[None]:
        """
        Wait for a place, first come, first served. Cancel the Deferred to leave
        the queue.
        """
        if self.take():
            return succeed(None)
        place: Deferred[None] = Deferred(self._leave)
        self._waiting[place] = None
        return place

    def occupy(self) -> None:
        """
        Take a place at once, for something that runs already: even one that there
        is not.
        """
        self.running += 1

    def release(self) -> None:
        """
        Give a place back.
        """
        self.running -= 1
        if self._waiting:
            self.serve()

    def resize(self, maxProcesses: int) -> None:
        """
        Have another number of places; who has one keeps it.
        """
        self.maxProcesses = maxProcesses
        self.serve()

    def serve(self) -> None:
        """
        Give free places to those who wait.
        """
        if self._serving:
            return  # by one that we serve below, and gave up at once
        self._serving = True
        try:
            while self._waiting and self.running < self.maxProcesses:
                self.running += 1
                place, _ = self._waiting.popitem(last=False)
                place.callback(None)
        finally:
            self._serving = False

    def position(self, place: Deferred[None]) -> int:
        """
        How many are served before this one, and itself: 1 for the next, 0 for
        one that does not wait.
        """
        for position, other in enumerate(self._waiting, 1):
            if other is place:
                return position
        return 0

    def _leave(self, place: Deferred[None]) -> None:
        del self._waiting[place]


class ProcessClass(Places):
    """
    The client's name for a remote and its capacity.

    @ivar name: as jobs name it; may be empty, for the only one.
    @ivar endpoint: how to reach the remote.
    @ivar address: host and port of the remote, for people.
    @ivar speaks: the dialect: C{AUTO} as long as it is not known, for it is
        asked only once. A remote that was once seen to speak the extended one
        is not believed if it says later that it does not.
    @ivar advertise: the IP address at which the remote shall call back; empty for
        the one that we come from.
    @ivar idleCommands: command connections in the classic dialect that have no task.
    """

    def __init__(
        self,
        name: str,
        endpoint: IStreamClientEndpoint,
        maxProcesses: int = MAX_PROCESSES,
        address: str = "",
        dialect: Dialect = Dialect.AUTO,
        *,
        callback: str = AUTO,
        advertise: str = "",
    ) -> None:
        """
        @param callback: C{own}, C{shared} or C{passive}, or C{auto} for what
            works (docs/callback-modes).
        @param advertise: the remote's configuration has to list it for us.
        @raise ValueError: there is no such mode, or no such address.
        """
        super().__init__(maxProcesses)
        self.name = name
        self.endpoint = endpoint
        self.address = address or repr(endpoint)
        self.speaks = dialect
        self.callback = CallbackChoice(callback)
        self.advertise = callbackHost(advertise) if advertise else ""
        self.idleCommands = IdleCommands()
