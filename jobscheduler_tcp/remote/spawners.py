"""
Which of the processes that start tasks starts the next one, and when there are
any.
"""

from __future__ import annotations

import marshal
import socket
from collections import deque
from collections.abc import Callable
from itertools import count
from operator import attrgetter

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger

from jobscheduler_tcp.errors import LaunchFailed
from jobscheduler_tcp.interfaces import ILaunchReactor
from jobscheduler_tcp.remote import spawning
from jobscheduler_tcp.remote.exits import POLL_INTERVAL
from jobscheduler_tcp.remote.program import Pipes, Program
from jobscheduler_tcp.remote.spawner import PATIENCE, IStarting, Spawner, Start

# Seconds that starts under way have when the launcher is stopped.
STARTING = 5.0

# With fewer tasks beside it, one is started sooner by ourselves: a message there
# and one back take as long as there is to be gained.
ALONE = 1

# So many tasks must live when the first of these processes is made: it takes as
# long as starting thirty of them, and as much memory as a thousand.
WORTH = 4


class Spawners:
    """
    The processes that start tasks: made when many tasks live.

    @param most: how many of them there may be.
    @param execute: starts a process without them.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: ILaunchReactor,
        umask: int,
        most: int,
        execute: Callable[[Start], None],
    ) -> None:
        self._reactor = reactor
        self._umask = umask
        self._most = most if hasattr(socket, "SOCK_SEQPACKET") else 0
        self._execute = execute
        self._numbers = count()
        self._spawners: list[Spawner] = []
        self._leaving: list[Spawner] = []
        self._hurry: IDelayedCall | None = None
        self._waiting: deque[Start] = deque()

    def start(self, program: Program, stdin: bool, process: IStarting, living: int) -> bool:
        """
        Start a task.

        @param living: how many others live.
        @return: whether we do; else it is quicker without us.
        """
        if living < ALONE or not self._most:
            return False
        if living >= WORTH and not self._spawners:
            self._more()
        if not self._ready():
            return False
        number = next(self._numbers)
        data = marshal.dumps((number, program.arguments, program.environment, program.directory))
        if len(data) > spawning.LONGEST:
            return False
        process.expect()
        self._waiting.append(Start(number, program, stdin, process, data))
        if len(self._waiting) == 1:  # else there is no room
            self._fill()
        if self._waiting and len(self._spawners) < self._most:
            self._more()
        return True

    def hear(self) -> None:
        """
        Hear now what was reported already.
        """
        for spawner in list(self._spawners):
            spawner.hear()

    def refuse(self, error: LaunchFailed) -> None:
        """
        Start nothing more, and soon wait no longer for what is being started.
        """
        self._most = 0
        self._hurry = self._reactor.callLater(STARTING, self._giveUp)
        waiting, self._waiting = self._waiting, deque()
        for start in waiting:
            self._refuse(start, error)

    async def reported(self) -> None:
        """
        Wait until they have told how all tasks ended, which are dead; not for
        long, as some may have survived.
        """
        until = self._reactor.seconds() + PATIENCE
        while self._reactor.seconds() < until and any(each.watches for each in self._spawners):
            await deferLater(self._reactor, POLL_INTERVAL)

    async def stop(self) -> None:
        """
        Have them exit.
        """
        if self._hurry is not None and self._hurry.active():
            self._hurry.cancel()
        spawners = [*self._spawners, *self._leaving]
        self._spawners = []
        for stopped in [spawner.stop() for spawner in spawners]:
            await stopped

    def _giveUp(self) -> None:
        for spawner in list(self._spawners):
            spawner.giveUp()

    def _more(self) -> None:
        try:
            spawner = Spawner(self._reactor, self._umask, self._fill, self._gone)
        except OSError as error:
            self._without(error.strerror or str(error))
        else:
            self._spawners.append(spawner)

    def _without(self, why: str) -> None:
        self._most = 0
        self._log.warn("Tasks are started without a process that does only this: {why}", why=why)

    def _gone(self, spawner: Spawner) -> None:
        if spawner in self._spawners:
            self._spawners.remove(spawner)
            self._leaving.append(spawner)
            spawner.stop().addCallback(lambda _: self._leaving.remove(spawner))
            if not spawner.proved:
                self._without("it exited at once")
            self._fill()

    def _fill(self) -> None:
        """
        Ask those that have room for what waits.
        """
        while self._waiting:
            ready = self._ready()
            if not ready:
                self._reactor.callLater(0, self._execute, self._waiting.popleft())
                continue
            spawner = ready[0] if len(ready) == 1 else min(ready, key=attrgetter("underWay"))
            if not spawner.hasRoom(1, len(self._waiting[0].data)):
                return
            self._ask(spawner)

    def _ready(self) -> list[Spawner]:
        return [spawner for spawner in self._spawners if spawner.ready]

    def _ask(self, spawner: Spawner) -> None:
        """
        Ask one for as many as it has room for, which takes one message.
        """
        starts: list[tuple[Start, Pipes]] = []
        size = 0
        while self._waiting:
            size += len(self._waiting[0].data)
            if not spawner.hasRoom(len(starts) + 1, size):
                break
            start = self._waiting.popleft()
            try:
                starts.append((start, Pipes(start.stdin)))
            except LaunchFailed as error:
                if starts:  # when these have given the tasks' ends away, there is room
                    self._waiting.appendleft(start)
                    break
                self._refuse(start, error)
        try:
            if starts:
                spawner.ask(starts, len(self._waiting))
        except OSError as error:
            if isinstance(error, ConnectionError):  # it was killed: still to be heard
                spawner.ready = False
            for start, pipes in starts:
                pipes.give()
                pipes.close()
                self._reactor.callLater(0, self._execute, start)

    def _refuse(self, start: Start, error: LaunchFailed) -> None:
        self._reactor.callLater(0, start.process.notStarted, error)
