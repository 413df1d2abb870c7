"""
Who has which tasks under way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from jobscheduler_tcp.client.startedtask import StartedTask


class Overview:
    """
    Who has which tasks under way, at one moment. Each list is in the order of
    the commands, which is that of the queues.

    @ivar position: of each task that waits, by number, in the queue of its
        process class.
    """

    def __init__(self, tasks: Iterable[StartedTask]) -> None:
        self.position: dict[int, int] = {}
        self._of: defaultdict[tuple[str, str, bool], list[StartedTask]] = defaultdict(list)
        for task in tasks:
            if task.given is None:
                continue  # it waits for its job, not yet for a process
            waits = task.waits
            self._of["job", task.job.name, waits].append(task)
            queue = self._of["class", task.job.processClass, waits]
            queue.append(task)
            if waits:
                self.position[task.number] = len(queue)

    def ofJob(self, name: str, *, waiting: bool) -> list[StartedTask]:
        """
        The tasks of a job.
        """
        return self._of["job", name, waiting]

    def ofClass(self, name: str, *, waiting: bool) -> list[StartedTask]:
        """
        The tasks of a process class.
        """
        return self._of["class", name, waiting]
