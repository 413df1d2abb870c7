"""
Fakes of what runs tasks, for tests of who lets them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import Clock

from jobscheduler_tcp.client.placing import Placing
from jobscheduler_tcp.client.processclass import Dialect, ProcessClass
from jobscheduler_tcp.config.model import ConfiguredClass
from jobscheduler_tcp.interfaces import IConfirmationReceiver
from jobscheduler_tcp.messages import TaskKilled, TaskStarted, Work
from jobscheduler_tcp.outcome import Outcome


@dataclass
class FakeJob:
    """
    A job that ends when the test says so.
    """

    work: Work
    processClass: str
    receiver: IConfirmationReceiver
    state: str = "waiting for response"
    pid: int = 0
    done: Deferred[Outcome] = field(default_factory=Deferred)
    kills: list[tuple[int, float]] = field(default_factory=list)
    killed: Deferred[TaskKilled] = field(default_factory=Deferred)
    cancelled: bool = False
    task: str = "00000000-0000-4000-8000-000000000001"
    why: str = ""

    def kill(self, signal: int, grace: float) -> Deferred[TaskKilled]:
        """
        Remember it.
        """
        self.kills.append((signal, grace))
        return self.killed

    def cancel(self) -> None:
        """
        Remember it.
        """
        self.cancelled = True

    def start(self) -> None:
        """
        The program runs.
        """
        self.state, self.pid = "waiting for end of task", 4711
        self.receiver.taskStarted(TaskStarted(4711, 0.0, 0.0))

    def end(self, outcome: Outcome) -> None:
        """
        It is over.
        """
        self.state = "over"
        self.done.callback(outcome)


class FakeRunner:
    """
    A client service that runs fakes.

    @ivar ran: all jobs, in their order.
    @ivar attached: the UUID, the key and the offsets of those that were come back
        for.
    @ivar classes: by name, those that it was given and that were not taken away.
    """

    def __init__(self) -> None:
        self.ran: list[FakeJob] = []
        self.attached: list[tuple[str, str, int, int]] = []
        self.classes: dict[str, ProcessClass] = {}

    def addProcessClass(self, processClass: ProcessClass) -> None:
        """
        Remember it.
        """
        self.classes[processClass.name] = processClass

    def removeProcessClass(self, name: str) -> None:
        """
        Forget it.
        """
        del self.classes[name]

    def run(
        self, work: Work, processClass: str = "", receiver: IConfirmationReceiver | None = None
    ) -> FakeJob:
        """
        Run nothing.
        """
        assert receiver is not None
        self.ran.append(FakeJob(work, processClass, receiver))
        return self.ran[-1]

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
    ) -> FakeJob:
        """
        Come back for nothing.
        """
        assert receiver is not None
        self.attached.append((task, key, stdout, stderr))
        self.ran.append(FakeJob(work or Work(), processClass, receiver))
        return self.ran[-1]


def placingWith(clock: Clock, runner: FakeRunner) -> Placing:
    """
    Make the process classes of a client that runs fakes.
    """

    def make(
        name: str, host: str, port: int, maxProcesses: int, configured: ConfiguredClass
    ) -> ProcessClass:
        remote = TCP4ClientEndpoint(clock, host, port)
        where, speaks = f"{host}:{port}", Dialect(configured.dialect)
        callback = configured.callback or "auto"
        return ProcessClass(name, remote, maxProcesses, where, speaks, callback=callback)

    return Placing(clock, runner, make)
