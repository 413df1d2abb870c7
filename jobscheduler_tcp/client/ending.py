"""
How a client ends because somebody told it to.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from jobscheduler_tcp.client.observers import Bystander
from jobscheduler_tcp.client.scheduler import Scheduler
from jobscheduler_tcp.client.startedtask import StartedTask

# Seconds from a kill to the end, whatever becomes of it.
_AFTER_KILL = 10.0
_SIGKILL = 9


class Ending(Bystander):
    """
    Ends the program when the tasks that run are over.
    """

    _log = Logger()

    def __init__(
        self,
        scheduler: Scheduler,
        clock: IReactorTime,
        end: Callable[[], None],
        abort: Callable[[], None],
        hold: Callable[[], None],
    ) -> None:
        """
        @param end: ends the program in good order, such as C{reactor.stop}.
        @param abort: ends it at once.
        @param hold: lets no task have a process any more that waits for one.
        """
        self._hold = hold
        self._scheduler = scheduler
        self._clock = clock
        self._end = end
        self._abort = abort
        self._terminating = False
        self._timer: IDelayedCall | None = None

    def terminate(self, timeout: float | None = None) -> None:
        """
        Start nothing more, and end the program when what runs is over. What waits
        goes on waiting, and is left to the next life.

        @param timeout: seconds after which what still runs is killed; C{None} for
            never. The last one that is said counts.
        """
        self._log.info("The client ends when {count} tasks are over", count=len(self._running()))
        self._scheduler.pause("stopping")
        if not self._terminating:
            self._terminating = True
            self._scheduler.observers.add(self)
        self._setTimer(timeout, self._kill)
        self._hold()
        self._look()

    def abort(self) -> None:
        """
        End the program at once: no answer is said, nothing is written.
        """
        self._log.warn("The client is aborted by a command")
        self._abort()

    def taskEnded(self, task: StartedTask) -> None:
        """
        Look whether it was the last one.
        """
        self._hold()  # another configuration may have made room again
        self._look()

    def _running(self) -> list[StartedTask]:
        alive = self._scheduler.tasks.alive.values()
        return [task for task in alive if task.given is not None and not task.waits]

    def _look(self) -> None:
        # Later, for an answer may be on its way to the socket.
        if not self._running():
            self._setTimer(0.0, self._over)

    def _kill(self) -> None:
        for task in self._running():
            self._scheduler.kill(task, _SIGKILL, 0.0)
        self._setTimer(_AFTER_KILL, self._over)

    def _over(self) -> None:
        self._timer = None
        self._end()

    def _setTimer(self, delay: float | None, what: Callable[[], None]) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None if delay is None else self._clock.callLater(delay, what)
