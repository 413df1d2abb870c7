"""
A job's own state: which of its tasks run and wait, whether it may start more,
and what a task that failed means for the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush

from jobscheduler_tcp.client.startedtask import StartedTask
from jobscheduler_tcp.config.model import STOP, ConfiguredJob
from jobscheduler_tcp.outcome import Reason


@dataclass(slots=True, eq=False)
class Job:
    """
    A job. Times are seconds since 1970.

    @ivar configured: as it is configured now.
    @ivar running: its tasks that had their turn, by number.
    @ivar stopped: whether it starts no tasks, by a failure or by command.
    @ivar suspended: the same, by the command of that name.
    @ivar removed: whether it is gone when its tasks are over.
    @ivar failures: how many in a row.
    @ivar delayUntil: when it may start tasks again after a failure.
    @ivar failed: its last task, if that failed.
    @ivar text: what its last task said first.
    """

    configured: ConfiguredJob
    running: dict[int, StartedTask] = field(default_factory=dict)
    stopped: bool = False
    suspended: bool = False
    removed: bool = False
    failures: int = 0
    delayUntil: float = 0.0
    failed: StartedTask | None = None
    text: str = ""
    _queue: list[tuple[float, int, StartedTask]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """
        Its path without the leading slash.
        """
        return self.configured.name

    @property
    def state(self) -> str:
        """
        JobScheduler's word for how it stands.
        """
        if self.stopped:
            if self.running:
                return "stopping"
            return "stopped" if self.configured.enabled else "disabled"
        if self.suspended:
            return "suspended"
        return "running" if self.running else "pending"

    @property
    def queued(self) -> list[StartedTask]:
        """
        Its tasks that have not had their turn, in the order of their times.
        """
        self._forget()
        return [task for _, _, task in sorted(self._queue) if task.outcome is None]

    def configure(self, configured: ConfiguredJob) -> None:
        """
        Be another one of the same name, as JobScheduler: it starts afresh.
        """
        self.removed = False
        if configured != self.configured:
            self.configured = configured
            self.unstop()
            self.stopped = not configured.enabled
            self.suspended = False

    def unstop(self) -> None:
        """
        Start tasks again.
        """
        self.stopped = False
        self.failures = 0
        self.delayUntil = 0.0
        self.failed = None

    def queue(self, task: StartedTask) -> None:
        """
        Have one more task.
        """
        heappush(self._queue, (task.startAt, task.number, task))

    def mayStart(self, now: float) -> bool:
        """
        Whether another task may have its turn.
        """
        return (
            not (self.stopped or self.suspended or self.removed)
            and len(self.running) < self.configured.tasks
            and now >= self.delayUntil
        )

    def next(self, now: float) -> StartedTask | None:
        """
        The task whose turn it is, if it is time for one.
        """
        self._forget()
        if self._queue and self._queue[0][0] <= now:
            return heappop(self._queue)[2]
        return None

    def nextTime(self) -> float:
        """
        When its next task shall start; 0 if it has none.
        """
        self._forget()
        return self._queue[0][0] if self._queue else 0.0

    def ended(self, task: StartedTask, now: float) -> float | None:
        """
        A task of it is over.

        @return: seconds after which the same shall be tried again, C{None} if
            it shall not.
        """
        self.running.pop(task.number, None)
        self.text = task.output.first or self.text
        outcome = task.outcome
        if outcome is None or outcome.reason is Reason.CANCELLED:
            return None
        if outcome.reason is Reason.LOST and task.order is not None:
            # Its order stands until somebody decides; perhaps nothing went wrong.
            return None
        self.failed = task if task.failed else None
        if not task.failed:
            self.failures = 0
            return None
        self.failures += 1
        delays = self.configured.delaysAfterError
        if not delays:
            self.stopped = self.stopped or self.configured.stopOnError
            return None
        delay = next((s for count, s in reversed(delays) if count <= self.failures), 0.0)
        if delay == STOP:
            self.stopped = True
            return None
        self.delayUntil = now + delay
        return delay

    def _forget(self) -> None:
        """
        Drop tasks that were withdrawn.
        """
        while self._queue and self._queue[0][2].outcome is not None:
            heappop(self._queue)
