"""
What a client keeps in its state directory, as a service: the history and the
task logs, and the two threads that wait for the disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from jobscheduler_tcp.client.database import Database, pool, runIn
from jobscheduler_tcp.client.history import History
from jobscheduler_tcp.client.logfiles import LogFiles
from jobscheduler_tcp.client.positions import Positions
from jobscheduler_tcp.client.restored import restoredFrom
from jobscheduler_tcp.client.statedirectory import StateDirectory
from jobscheduler_tcp.client.tasklogs import TaskLogs
from jobscheduler_tcp.errors import HistoryUnusable

# Seconds to wait at the end for what is not written yet.
PATIENCE = 5.0

_T = TypeVar("_T")


class IKeepingReactor(IReactorTime, IReactorFromThreads):
    """
    What is needed of a reactor.
    """


class Keeping(MultiService):
    """
    The services of a client that are kept account of: its threads begin before
    them and end after them.

    @ivar history: of the tasks.
    @ivar logs: of the tasks.
    @ivar restored: what the client had before a restart.
    """

    _log = Logger()

    def __init__(self, reactor: IKeepingReactor, directory: StateDirectory, quota: int) -> None:
        """
        @param quota: bytes for all task logs together.
        @raise HistoryUnusable: the history cannot be used.
        """
        super().__init__()  # type: ignore[no-untyped-call]  # it has no types
        self._reactor = reactor
        self._directory = directory
        try:
            self._positions = Positions(directory.positions)
        except OSError as error:
            raise HistoryUnusable(str(directory.positions), str(error)) from error
        self.restored = restoredFrom(directory.history, self._positions.found)
        self._pool = pool(directory.history, reactor)
        self._database = Database(runIn(self._pool), reactor)
        self._thread = ThreadPool(0, 1, "task logs")
        self.history = History(self._database, self.restored.nextTask)
        files = LogFiles(directory.logs, quota)
        self.logs = TaskLogs(files, self._positions, self._inThread)

    def startService(self) -> None:
        """
        Begin with the threads.
        """
        self._thread.start()
        for job, number, outcome in self.restored.ended:
            self.logs.finish(job, number, outcome)
        for number in self.restored.unknown:
            self.logs.drop(number)
        super().startService()  # type: ignore[no-untyped-call]  # nor this

    def stopService(self) -> Deferred[None]:
        """
        End the services, then write what is left.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await cast("Deferred[object]", super().stopService())  # type: ignore[no-untyped-call]
        try:
            await self._bounded(self.logs.whenWritten())
            await self._bounded(self.history.stop())
        except CancelledError:
            self._log.error(
                "The history could not be written to its end: {why}",
                why=self._database.trouble or "the disk does not answer",
            )
        self._database.stop()
        self._thread.stop()
        self._positions.close()
        self._pool.close()
        self._directory.release()

    async def _bounded(self, waiting: Deferred[None]) -> None:
        bound = self._reactor.callLater(PATIENCE, waiting.cancel)
        try:
            await waiting
        finally:
            if bound.active():
                bound.cancel()

    def _inThread(self, work: Callable[[], _T]) -> Deferred[_T]:
        return deferToThreadPool(self._reactor, self._thread, work)
