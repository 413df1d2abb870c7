"""
A task of a job, from when it is asked for until it is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from jobscheduler_tcp.client.order import Order, Pairs
from jobscheduler_tcp.client.outputlog import OutputLog
from jobscheduler_tcp.config.model import ConfiguredJob
from jobscheduler_tcp.interfaces import ITaskConfirmation
from jobscheduler_tcp.messages import TaskKilled
from jobscheduler_tcp.outcome import Outcome, Reason

# The words of RunningJob.state and PlacedTask.state, and JobScheduler's.
WAITING = "waiting for a process"
WAITING_FOR_REMOTE = "waiting for a remote"
COMING_BACK = "coming back to the task"
_WORDS = {
    WAITING: "waiting_for_process",
    WAITING_FOR_REMOTE: "waiting_for_process",
    "waiting for a callback port": "starting",
    "waiting for response": "starting",
    "waiting for end of task": "running_remote_process",
    COMING_BACK: "running_remote_process",
    "over": "closed",
}


class GivenJob(Protocol):
    """
    What is asked of a L{PlacedTask<jobscheduler_tcp.client.placing.PlacedTask>}.
    """

    done: Deferred[Outcome]

    @property
    def task(self) -> str:
        """
        The UUID of its task; empty where it has none yet.
        """

    @property
    def state(self) -> str:
        """
        Where it stands.
        """

    @property
    def why(self) -> str:
        """
        What it waits for, for people; empty where it waits for nothing, or for
        its turn.
        """

    @property
    def pid(self) -> int:
        """
        Of the task's program, 0 if it is not known to run.
        """

    def kill(self, signal: int, grace: float) -> Deferred[TaskKilled]:
        """
        End it, wherever it stands.
        """

    def cancel(self) -> None:
        """
        Let it not run.
        """


@dataclass(slots=True, eq=False)
class StartedTask:
    """
    A task: of a command, of an order, or one more after a failure.

    @ivar number: counts from 1.
    @ivar enqueued: when it was asked for, seconds since 1970.
    @ivar startAt: when it shall start, likewise.
    @ivar cause: JobScheduler's word for why it is there.
    @ivar name: as the command called it.
    @ivar parameters: beyond those of the job.
    @ivar environment: likewise.
    @ivar order: what it works on.
    @ivar ended: when it was over; 0 before.
    @ivar killed: whether a command asked for its end.
    @ivar given: C{None} until it is given to the client.
    @ivar confirmation: lets its remote wait when its output cannot be taken.
    @ivar heard: how it ended, as its remote said; what the client does not know
        for certain counts no more then.
    """

    number: int
    job: ConfiguredJob
    output: OutputLog
    enqueued: float
    startAt: float
    cause: str = "queue_at"
    name: str = ""
    parameters: Pairs = ()
    environment: Pairs = ()
    order: Order | None = None
    ended: float = 0.0
    killed: bool = False
    given: GivenJob | None = None
    confirmation: ITaskConfirmation | None = None
    outcome: Outcome | None = None
    heard: Outcome | None = None

    @property
    def waits(self) -> bool:
        """
        Whether it is in the queue of its process class.
        """
        return self.given is not None and self.given.state in (WAITING, WAITING_FOR_REMOTE)

    @property
    def failed(self) -> bool:
        """
        Whether it is over, and its job counts that as a failure.
        """
        outcome, job = self.outcome, self.job
        if outcome is None or outcome.succeeded:
            return False
        if outcome.reason is Reason.EXITED:
            return not job.ignoreError
        return outcome.signal not in job.ignoreSignals

    @property
    def state(self) -> str:
        """
        JobScheduler's word for where it stands.
        """
        if self.outcome is not None:
            return "closed"
        if self.given is None:
            return "none"
        if self.killed:
            return "killing"
        return _WORDS[self.given.state]
