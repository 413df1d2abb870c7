"""
Where a task runs: a place in its process class, and one of the remotes of that.

What a remote did not start, for it is down or has no room, is given to another
one, or waits until one is there. What may have run is never given again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobscheduler_tcp.client.processclass import Places, ProcessClass
from jobscheduler_tcp.client.startedtask import COMING_BACK, WAITING, WAITING_FOR_REMOTE
from jobscheduler_tcp.config.model import ConfiguredClass
from jobscheduler_tcp.config.settings import endpoint
from jobscheduler_tcp.interfaces import IConfirmationReceiver
from jobscheduler_tcp.messages import TaskKilled, Work
from jobscheduler_tcp.outcome import Outcome, Reason

# Seconds for which a remote that was down is not tried: the connection itself
# has tried for ten by then, and one that starts anew is soon there. Where there
# are others, as JobScheduler's own default (protocol document, 7.4): each task
# would lose those ten.
RETRY = 5.0
RETRY_LATER = 30.0

# What says that a remote can start nothing now, and has not.
_NOT_NOW = frozenset(
    {Reason.REMOTE_UNREACHABLE, Reason.REJECTED_CAPACITY, Reason.REJECTED_DRAINING}
)

# A class counts its places itself, so each of its remotes has enough.
_ENOUGH = 2**31 - 1


class Running(Protocol):
    """
    What is asked of a L{RunningJob<jobscheduler_tcp.client.job.RunningJob>}.
    """

    @property
    def done(self) -> Deferred[Outcome]:
        """
        Fires once, with the outcome.
        """

    @property
    def task(self) -> str:
        """
        The UUID of its task.
        """

    @property
    def state(self) -> str:
        """
        Where it stands.
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


class Runner(Protocol):
    """
    What is asked of a L{ClientService<jobscheduler_tcp.client.service.ClientService>}.
    """

    def addProcessClass(self, processClass: ProcessClass) -> None:
        """
        Take jobs for one more.
        """

    def removeProcessClass(self, name: str) -> None:
        """
        Disconnect from its remote when its jobs are over.
        """

    def run(
        self, work: Work, processClass: str = "", receiver: IConfirmationReceiver | None = None
    ) -> Running:
        """
        Run a job.
        """

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
    ) -> Running:
        """
        Come back for a task of another life.
        """


@dataclass(slots=True, eq=False)
class Remote:
    """
    One of the remotes of a process class.

    @ivar name: under which it is known to the client service.
    @ivar downUntil: by the clock; 0 while it is not known to be down.
    @ivar text: why it is down.
    """

    name: str
    address: str
    dialect: str = "auto"
    callback: str = ""
    downUntil: float = 0.0
    text: str = ""


class RemoteClass(Places):
    """
    A process class as it is configured now.

    @ivar name: its path without the leading slash; empty for the default class.
    @ivar remotes: in the order of the configuration.
    """

    def __init__(self, name: str, clock: IReactorTime) -> None:
        super().__init__(0)
        self.name = name
        self.configured: ConfiguredClass | None = None
        self.remotes: list[Remote] = []
        self._clock = clock
        self._next = 0
        self._changed: list[Deferred[None]] = []
        self._timer: IDelayedCall | None = None

    @property
    def trouble(self) -> str:
        """
        What is wrong with its configuration; empty where nothing is.
        """
        shown = f"process class /{self.name}" if self.name else "default process class"
        if self.configured is None:
            return f"there is no {shown}"
        return "" if self.remotes else f"the {shown} has no remote_scheduler"

    @property
    def why(self) -> str:
        """
        Why no remote of it can be had; empty if one can.
        """
        if self.trouble:
            return self.trouble
        now = self._clock.seconds()
        down = [each for each in self.remotes if each.downUntil > now]
        if len(down) < len(self.remotes):
            return ""
        # As JobScheduler: no agent is accessible, waiting.
        return "SCHEDULER-489  " + "; ".join(each.text for each in down)

    def choose(self) -> Remote | None:
        """
        The remote for the next task, C{None} if all are down.
        """
        now = self._clock.seconds()
        rotates = self.configured is not None and self.configured.rotates
        count = len(self.remotes)
        start = self._next % count if rotates and count else 0
        for number in range(start, start + count):
            remote = self.remotes[number % count]
            if remote.downUntil <= now:
                self._next = number % count + 1
                return remote
        return None

    def failed(self, remote: Remote, text: str) -> None:
        """
        A remote could not start a task.
        """
        now = self._clock.seconds()
        others = any(each.downUntil <= now for each in self.remotes if each is not remote)
        remote.text = text
        remote.downUntil = now + (RETRY_LATER if others else RETRY)

    def whenChanged(self) -> Deferred[None]:
        """
        Wait until a remote may be there.
        """
        waiting: Deferred[None] = Deferred(self._changed.remove)
        self._changed.append(waiting)
        self._setTimer()
        return waiting

    def changed(self) -> None:
        """
        Let those who wait look again.
        """
        waiting, self._changed = self._changed, []
        for each in waiting:
            each.callback(None)
        self._setTimer()

    def _setTimer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._changed and self.remotes:
            first = min(each.downUntil for each in self.remotes)
            delay = max(0.0, first - self._clock.seconds())
            self._timer = self._clock.callLater(delay, self._elapsed)

    def _elapsed(self) -> None:
        self._timer = None
        self.changed()


class Placing:
    """
    The process classes, and the tasks that go there.

    @ivar classes: by their paths without the leading slash.
    """

    def __init__(
        self,
        clock: IReactorTime,
        runner: Runner,
        make: Callable[[str, str, int, int, ConfiguredClass], ProcessClass],
    ) -> None:
        """
        @param make: makes the process class for one remote: its name, host, port,
            capacity, and what it belongs to.
        """
        self.classes: dict[str, RemoteClass] = {}
        self._clock = clock
        self._runner = runner
        self._make = make

    def configure(self, classes: Iterable[ConfiguredClass]) -> None:
        """
        Have these classes from now on. What runs, goes on where it is.
        """
        wanted = {each.name: each for each in classes}
        for name in [*wanted, *(name for name in self.classes if name not in wanted)]:
            self._configure(self._class(name), wanted.get(name))

    def run(self, work: Work, processClass: str, receiver: IConfirmationReceiver) -> PlacedTask:
        """
        Run a task in a class, if need be when there is one of that name.
        """
        task = PlacedTask(self._clock, self._runner, self._class(processClass), work, receiver)
        task.begin()
        return task

    def attach(
        self,
        task: str,
        key: str,
        processClass: str,
        receiver: IConfirmationReceiver,
        *,
        remote: str,
        stdout: int = 0,
        stderr: int = 0,
        work: Work | None = None,
    ) -> PlacedTask:
        """
        Come back for a task of another life. It has its place at once, even one
        that there is not.

        @param remote: the address of the remote that was asked for it.
        """
        placed = PlacedTask(
            self._clock, self._runner, self._class(processClass), work or Work(), receiver
        )
        placed.comeBack(
            remote,
            lambda name: self._runner.attach(
                task, key, name, receiver, stdout=stdout, stderr=stderr, work=work
            ),
        )
        return placed

    def hold(self) -> None:
        """
        Give no places to those who wait, until there is another configuration.
        """
        for known in self.classes.values():
            known.resize(0)

    def trouble(self, name: str) -> str:
        """
        What is wrong with the configuration of a class; empty where nothing is.
        """
        return self._class(name).trouble

    def _class(self, name: str) -> RemoteClass:
        if name not in self.classes:
            self.classes[name] = RemoteClass(name, self._clock)
            # It waits where it can be seen: for the class, not for a place.
            self.classes[name].resize(_ENOUGH)
        return self.classes[name]

    def _configure(self, known: RemoteClass, wanted: ConfiguredClass | None) -> None:
        before = {(each.address, each.dialect, each.callback): each for each in known.remotes}
        known.configured = wanted
        known.remotes = []
        if wanted is not None:
            for host, port in wanted.remotes:
                address = endpoint(host, port)
                remote = before.pop((address, wanted.dialect, wanted.callback), None)
                if remote is None:
                    path = f"{known.name} {wanted.callback}" if wanted.callback else known.name
                    name = f"{path} {address} {wanted.dialect}"
                    remote = Remote(name, address, wanted.dialect, wanted.callback)
                    made = self._make(name, host, port, _ENOUGH, wanted)
                    self._runner.addProcessClass(made)
                known.remotes.append(remote)
        for gone in before.values():
            self._runner.removeProcessClass(gone.name)
        known.resize(wanted.maxProcesses if wanted is not None else _ENOUGH)
        known.changed()


class PlacedTask:
    """
    A task on its way to a remote, and there.

    @ivar done: fires once, with the outcome; it never fails.
    @ivar remote: the address of the remote that has it, empty before.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        runner: Runner,
        remoteClass: RemoteClass,
        work: Work,
        receiver: IConfirmationReceiver,
    ) -> None:
        self.done: Deferred[Outcome] = Deferred()
        self.remote = ""
        self._clock = clock
        self._runner = runner
        self._class = remoteClass
        self._work = work
        self._receiver = receiver
        self._running: Running | None = None
        self._waiting: Deferred[None] | None = None
        self._placed = False
        self._over = False
        self._cancelled: Outcome | None = None
        self._timer: IDelayedCall | None = None

    @property
    def task(self) -> str:
        """
        The UUID of its task, empty where no remote has it.
        """
        return self._running.task if self._running is not None else ""

    @property
    def pid(self) -> int:
        """
        Of its program, 0 if it is not known to run.
        """
        return self._running.pid if self._running is not None else 0

    @property
    def state(self) -> str:
        """
        Where it stands, in the words of the diagram.
        """
        if self._over:
            return "over"
        if self._running is not None:
            return self._running.state
        return WAITING_FOR_REMOTE if self._placed else WAITING

    @property
    def why(self) -> str:
        """
        What it waits for, beyond its turn.
        """
        if self._running is None:
            return "" if self._over else self._class.why
        comesBack = self._running.state == COMING_BACK
        return f"the client comes back to the task at {self.remote}" if comesBack else ""

    def begin(self) -> None:
        """
        Queue up.
        """
        life = Deferred.fromCoroutine(self._life())
        life.addErrback(self._broken).addCallback(self._finish)

    def comeBack(self, address: str, attach: Callable[[str], Running]) -> None:
        """
        Go on with a task of another life, instead of C{begin}.

        @param address: of the remote that was asked for it.
        @param attach: comes back for it at the remote of a name.
        """
        self._class.occupy()
        self._placed = True
        life = Deferred.fromCoroutine(self._comeBack(address, attach))
        life.addErrback(self._lost).addCallback(self._finish)

    async def _comeBack(self, address: str, attach: Callable[[str], Running]) -> Outcome:
        try:
            for remote in self._class.remotes:
                if remote.address == address:
                    self.remote = address
                    self._running = attach(remote.name)
                    return await self._running.done
            text = f"its remote {address} is not configured any more"
            return Outcome(Reason.LOST, text)
        finally:
            self._class.release()

    def _lost(self, reason: Failure) -> Outcome:
        self._log.failure("The client cannot come back for a task", reason)
        return Outcome(Reason.LOST, "the client made a mistake; its log has it")

    def kill(self, signal: int, grace: float) -> Deferred[TaskKilled]:
        """
        End it; where no remote has it, it is cancelled.
        """
        if self._running is not None:
            return self._running.kill(signal, grace)
        self.cancel()
        return succeed(TaskKilled(0, self.task))

    def cancel(self) -> None:
        """
        Let it not run; if it may have started, kill it.
        """
        self._give(Outcome(Reason.CANCELLED))

    def _give(self, up: Outcome) -> None:
        """
        Give it up, wherever it stands.
        """
        if self._cancelled is None and not self._over:
            self._cancelled = up
            if self._running is not None:
                self._running.cancel()
            elif self._waiting is not None:
                self._waiting.cancel()

    async def _life(self) -> Outcome:
        try:
            self._waiting = self._class.acquire()
            await self._waiting
        except CancelledError:
            return self._cancelled or Outcome(Reason.CANCELLED)
        self._waiting = None
        self._placed = True
        try:
            return await self._find()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._class.release()

    async def _find(self) -> Outcome:
        """
        Find a remote that starts it.
        """
        while self._cancelled is None:
            remote = self._class.choose()
            if remote is None:
                self._setDeadline()
                self._waiting = self._class.whenChanged()
                try:
                    await self._waiting
                except CancelledError:
                    break
                finally:
                    self._waiting = None
                continue
            self.remote = remote.address
            self._running = self._runner.run(self._work, remote.name, self._receiver)
            outcome = await self._running.done
            if outcome.reason not in _NOT_NOW:
                return outcome
            self._running = None
            self.remote = ""
            text = outcome.text or str(outcome.reason)
            self._log.warn("Remote {address}: {text}", address=remote.address, text=text)
            self._class.failed(remote, text)
        return self._cancelled or Outcome(Reason.CANCELLED)

    def _setDeadline(self) -> None:
        """
        The class may say how long its remotes may be down.
        """
        configured = self._class.configured
        if self._timer is None and configured is not None and configured.timeout:
            self._timer = self._clock.callLater(configured.timeout, self._overdue)

    def _overdue(self) -> None:
        self._timer = None
        if self._running is None:
            self._give(Outcome(Reason.REMOTE_UNREACHABLE, self._class.why))

    def _broken(self, reason: Failure) -> Outcome:
        self._log.failure("A task could not be placed", reason)
        return Outcome(Reason.NOT_STARTED, "the client made a mistake; its log has it")

    def _finish(self, outcome: Outcome) -> None:
        self._over = True
        self.done.callback(outcome)
