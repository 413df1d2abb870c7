"""
The client: run jobs on remotes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime

from jobscheduler_tcp.channels import WINDOW
from jobscheduler_tcp.client.command import CommandClientFactory
from jobscheduler_tcp.client.connection import CONNECT_TIMEOUT, CommandConnection
from jobscheduler_tcp.client.job import RunningJob
from jobscheduler_tcp.client.means import START_TIMEOUT, Means
from jobscheduler_tcp.client.portreport import PortEntry, portEntries
from jobscheduler_tcp.client.ports import CallbackPorts
from jobscheduler_tcp.client.processclass import Dialect, ProcessClass
from jobscheduler_tcp.client.strangers import Strangers
from jobscheduler_tcp.client.taskkey import Lasting, TaskKey
from jobscheduler_tcp.errors import UnknownProcessClass
from jobscheduler_tcp.heartbeat import Heart
from jobscheduler_tcp.interfaces import IConfirmationReceiver
from jobscheduler_tcp.messages import Work

# Seconds that a kill may take beyond its grace: SIGKILL is given 5 to help
# (docs/protocol/extended, "Kill").
_KILL = 5.0


class ClientService(Service):
    """
    Run jobs, each in one of some process classes.

    @ivar processClasses: by name.
    @ivar ports: the callback ports.
    @ivar strangers: callers that were sent away.
    @ivar leaveTasks: whether tasks that their remotes hold are left to a client
        that comes back when this one stops, instead of being killed.
    """

    def __init__(
        self,
        clock: IReactorTime,
        ports: CallbackPorts,
        processClasses: Iterable[ProcessClass],
        *,
        startTimeout: float = START_TIMEOUT,
        connectTimeout: float = CONNECT_TIMEOUT,
        window: int = WINDOW,
        lasting: Lasting | None = None,
        bootId: str = "",
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        """
        @param ports: the callback ports; several services may share them.
        @param startTimeout: seconds from a job's leaving the queue until the
            start of its task must be confirmed, if it has no deadline of its own.
        @param connectTimeout: seconds to try to connect to a remote; with 0 the
            first failure decides.
        @param window: bytes of a task's output that may be under way.
        @param lasting: what remotes shall do with tasks when this client is gone;
            by default they are held, and it comes back for them.
        @param bootId: changes when this host is started anew.
        @param wallClock: seconds since 1970, shown to the remotes.
        """
        self.processClasses: dict[str, ProcessClass] = {}
        self.ports = ports
        self.strangers = Strangers(clock)
        self.leaveTasks = False
        self._clock = clock
        self._stopping = False
        heart = Heart(clock)
        self._means = Means(
            clock,
            ports,
            heart,
            self.strangers,
            startTimeout,
            connectTimeout,
            window,
            Lasting() if lasting is None else lasting,
        )
        self._factory = CommandClientFactory(heart, bootId=bootId, wallClock=wallClock)
        self._connections: dict[str, CommandConnection] = {}
        # Of process classes that were removed, but have jobs.
        self._leaving: dict[ProcessClass, CommandConnection] = {}
        for each in processClasses:
            self.addProcessClass(each)
        self._jobs: dict[RunningJob, None] = {}  # in the order in which they came
        self._allGone: list[Deferred[None]] = []
        self._onGone = self._gone  # bound once, for all jobs

    @property
    def jobs(self) -> list[RunningJob]:
        """
        The jobs that are not over, in the order in which they came.
        """
        return [job for job in self._jobs if job.outcome is None]

    def portEntries(self) -> list[PortEntry]:
        """
        Who has which callback port now.
        """
        return portEntries(self.ports, self._jobs, self._clock.seconds())

    def addProcessClass(self, processClass: ProcessClass) -> None:
        """
        Take jobs for one more.
        """
        self.processClasses[processClass.name] = processClass
        self._connections[processClass.name] = CommandConnection(
            processClass.endpoint,
            self._factory,
            self._clock,
            processClass.address,
            self._means.connectTimeout,
        )

    def removeProcessClass(self, name: str) -> None:
        """
        Take no more jobs for one, and disconnect from its remote when those that
        it has are over.
        """
        gone = self.processClasses.pop(name)
        self._leaving[gone] = self._connections.pop(name)
        self._disconnect(gone)

    def run(
        self,
        work: Work,
        processClass: str = "",
        receiver: IConfirmationReceiver | None = None,
        *,
        deadline: float = 0.0,
        lasting: Lasting | None = None,
        sha256: bool = True,
    ) -> RunningJob:
        """
        Run a job.

        @param processClass: by name; empty for the first one, if none has an
            empty name.
        @param receiver: hears of the task: its start, its output, its end.
        @param deadline: seconds until its start must be confirmed, the queue
            included; 0 if it may wait there for ever.
        @param lasting: what the remote shall do with its task when this client is
            gone; by default, what the service was told.
        @param sha256: whether its outcome shall have the SHA-256 of what it printed,
            which takes its remote, a classic one this process, 0.6 s of a processor
            for 1 GiB. That the output came as it was sent is checked in any case.
        @raise UnknownProcessClass: there is none of that name.
        """
        chosen = self._choose(processClass)
        job = RunningJob(
            self._means,
            chosen,
            self._connections[chosen.name],
            work,
            receiver=receiver,
            deadline=deadline,
            lasting=lasting,
            sha256=sha256,
            onGone=self._onGone,
        )
        self._jobs[job] = None
        if self._stopping:
            job.cancel()
        else:
            job.begin()
        return job

    def attach(
        self,
        task: str,
        key: str,
        processClass: str = "",
        receiver: IConfirmationReceiver | None = None,
        *,
        stdout: int = 0,
        stderr: int = 0,
        work: Work | None = None,
        lasting: Lasting | None = None,
    ) -> RunningJob:
        """
        Come back for a task of another life of this client. Its job comes out as
        if it had been there all the time. Where that cannot be, a reason for which
        nothing ran tells that nothing did, and nothing will; any other that the
        task may have run.

        @param task: its UUID, as L{IStartWitness} was told it.
        @param key: as that was told it, too.
        @param processClass: that of the remote.
        @param receiver: hears of the task as if it were new, but for the output
            that is there.
        @param stdout: how many bytes of its stdout are there.
        @param stderr: the same for stderr.
        @param work: what it runs, if that is known.
        @param lasting: for how long to try; by default, what the service was told.
        @raise UnknownProcessClass: there is none of that name.
        """
        chosen = self._choose(processClass)
        job = RunningJob(
            self._means,
            chosen,
            self._connections[chosen.name],
            work or Work(),
            receiver=receiver,
            lasting=lasting,
            onGone=self._onGone,
        )
        self._jobs[job] = None
        parsed = TaskKey.parse(key) if chosen.speaks is not Dialect.CLASSIC else None
        job.comeBack(task, parsed, stdout, stderr)
        if self._stopping:
            job.abandon()
        return job

    def _choose(self, processClass: str) -> ProcessClass:
        chosen = self.processClasses.get(processClass)
        if chosen is None and not processClass:
            chosen = next(iter(self.processClasses.values()), None)
        if chosen is None:
            raise UnknownProcessClass(processClass)
        return chosen

    def startService(self) -> None:
        """
        Take jobs. Remotes are connected to when there is a job for them.
        """
        super().startService()  # type: ignore[no-untyped-call]  # it has no types
        self._stopping = False

    def stopService(self) -> Deferred[None]:
        """
        Cancel the jobs that wait, kill the tasks that run (see C{leaveTasks}), and
        disconnect when all outcomes are known, or when that takes too long.
        """
        super().stopService()  # type: ignore[no-untyped-call]  # it has no types
        self._stopping = True
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        jobs = list(self._jobs)
        bound = self._clock.callLater(
            max((job.work.grace for job in jobs), default=0.0) + _KILL, self._abandon
        )
        try:
            for job in jobs:
                if self.leaveTasks and job.isHeld:
                    job.abandon()
                else:
                    job.cancel()
            await self._whenGone()
        finally:
            if bound.active():
                bound.cancel()
        self._means.standings.stop()
        await self.ports.whenIdle()
        await DeferredList([each.farewell() for each in self._means.classic])
        connections = (*self._connections.values(), *self._leaving.values())
        await DeferredList([each.stop() for each in connections])

    def _abandon(self) -> None:
        for job in list(self._jobs):
            job.abandon()

    def _gone(self, job: RunningJob) -> None:
        del self._jobs[job]
        self._disconnect(job.processClass)
        if not self._jobs:
            waiting, self._allGone = self._allGone, []
            for waiter in waiting:
                waiter.callback(None)

    def _disconnect(self, processClass: ProcessClass) -> None:
        """
        Disconnect from the remote of a process class that was removed, if it has
        no jobs any more.
        """
        if processClass in self._leaving and not any(
            job.processClass is processClass for job in self._jobs
        ):
            self._means.standings.leave(processClass)
            self._leaving.pop(processClass).stop()

    async def _whenGone(self) -> None:
        if self._jobs:
            waiter: Deferred[None] = Deferred()
            self._allGone.append(waiter)
            await waiter
