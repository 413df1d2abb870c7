"""
The remote: take starts, run tasks, end them all when it stops.
"""

from __future__ import annotations

import os
import platform
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import count
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from uuid import uuid4

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp import __version__
from jobscheduler_tcp.callbackhosts import CallbackHosts
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.heartbeat import Heart
from jobscheduler_tcp.interfaces import (
    IConfirmations,
    IDialReactor,
    ITaskLauncher,
    ITasks,
    KillReport,
    Launch,
)
from jobscheduler_tcp.messages import (
    VERSION,
    AttachTask,
    ConfirmationRefused,
    Hello,
    KillTask,
    OpenConfirmation,
    StartTask,
    TakeConfirmation,
    TaskKilled,
    TaskRefused,
    Welcome,
    Work,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.plaincommands import secondstamp
from jobscheduler_tcp.remote.classicruns import ClassicHost, ClassicRun
from jobscheduler_tcp.remote.command import CommandServerFactory
from jobscheduler_tcp.remote.draining import Draining
from jobscheduler_tcp.remote.environment import environmentOf, inherited, namedWork
from jobscheduler_tcp.remote.holding import MOST_HOLD
from jobscheduler_tcp.remote.returning import AttachAnswer, Returns, lost
from jobscheduler_tcp.remote.standing import StandingConfirmation
from jobscheduler_tcp.remote.standings import OpenAnswer, StandingConnections
from jobscheduler_tcp.remote.starts import StartAnswer, Starts
from jobscheduler_tcp.remote.steps import STOP_GRACE, Workplace
from jobscheduler_tcp.remote.task import Task
from jobscheduler_tcp.security import AllowedHosts
from jobscheduler_tcp.streams import acceptStreams
from jobscheduler_tcp.wire.documents import Element, element

# What a task takes at most of the descriptors of this process: its confirmation
# connection, three pipes, and a pidfd where no other process watches it; and what
# is kept for everything else.
DESCRIPTORS_OF_A_TASK = 5
DESCRIPTOR_RESERVE = 64

# Seconds for the last words, when the remote stops, beyond the time that tasks
# have to end.
FAREWELL = 5.0

# The callback modes (docs/callback-modes), that the host of a start is read, and
# that a client may come back for a task.
CAPABILITIES = ("own", "shared", "passive", "advertise", "attach")


@implementer(ITasks, IConfirmations)
class RemoteService(Service):
    """
    A remote.

    @ivar factory: makes the command connections; an application may listen with
        it at further places.
    @ivar instance: the UUID of this remote, new with each.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IDialReactor,
        launcher: ITaskLauncher,
        endpoints: Iterable[IStreamServerEndpoint] = (),
        allowedHosts: AllowedHosts | None = None,
        *,
        callbackHosts: CallbackHosts | None = None,
        maxTasks: int = 0,
        environment: Mapping[str, str] | None = None,
        jobs: Mapping[str, Work] | None = None,
        wallClock: Callable[[], float] = time.time,
        descriptors: int | None = None,
        mostHold: float = MOST_HOLD,
        schedulerId: str = "",
        bootId: str = "",
        end: Callable[[], None] | None = None,
    ) -> None:
        """
        @param launcher: starts the processes of tasks; it is stopped with the
            service.
        @param endpoints: where to listen for commands.
        @param allowedHosts: who may do what; by default this machine
            everything, and others nothing.
        @param callbackHosts: where else clients may have themselves called back;
            by default nowhere.
        @param maxTasks: how many tasks may run at once, 0 for any number.
        @param environment: the environment of which tasks get the harmless
            part; by default that of this process.
        @param jobs: the work of named jobs.
        @param wallClock: seconds since 1970, to be shown to people.
        @param descriptors: how many descriptors this process may have; by
            default what the system says when the service is started.
        @param mostHold: seconds for which the task of a client that is gone is held
            at most; 0 for not at all.
        @param schedulerId: the name by which people know this remote.
        @param bootId: changes when the machine is started anew.
        @param end: ends the program when a command asks for that; without it,
            the command is refused.
        """
        self.instance = str(uuid4())
        self._reactor = reactor
        self._launcher = launcher
        self._endpoints = list(endpoints)
        self._callbackHosts = callbackHosts or CallbackHosts()
        self._maxTasks = maxTasks
        self._environment = inherited(os.environ if environment is None else environment)
        self._jobs = dict(jobs or {})
        self._wallClock = wallClock
        self._descriptors = descriptors
        self._schedulerId = schedulerId
        self._bootId = bootId
        self._room = 0  # descriptors for tasks; 0 for any number of them
        self._sure = 0  # how many tasks surely find theirs
        self._runningSince = wallClock()
        self._heart = Heart(reactor)
        self._place = Workplace(reactor, launcher, self._heart, wallClock, mostHold)
        self._numbers = count(1)
        self._tasks: dict[str, Task] = {}
        self._classic: dict[int, ClassicRun] = {}
        self._starts = Starts(reactor)
        # Bound once, for each of many tasks has them.
        self._answered = self._starts.answer
        self._over = self._taskOver
        self._standing = StandingConnections(reactor, self._heart)
        self._returns = Returns(self.instance, self._starts, self._tasks, self._standing.find)
        self._draining = False
        self._drained = Draining(self, reactor, end)
        self._idle: list[Deferred[None]] = []
        self._listening: list[Deferred[None]] = []
        self._ports: list[IListeningPort] = []
        self._portNumbers: set[int] = set()
        levelOf = (allowedHosts or AllowedHosts()).levelOf
        classic = ClassicHost(
            self._place,
            self._admitClassic,
            lambda: next(self._numbers),
            self._environment,
            self._classic,
            self._classicOver,
        )
        self.factory = CommandServerFactory(
            self,
            levelOf,
            reactor,
            classic=classic,
            confirmations=self,
            commands=self._drained.commands(),
            heart=self._heart,
            wallClock=wallClock,
        )

    # ---------------------------------------------------------------- the service

    def startService(self) -> None:
        """
        Listen for commands.
        """
        Service.startService(self)
        self._draining = False
        self._runningSince = self._wallClock()
        self._room = self._reckonRoom()
        self._sure = 0
        for endpoint in self._endpoints:
            listening = endpoint.listen(self.factory)
            self._listening.append(listening.addCallbacks(self._listens, self._cannotListen))

    def stopService(self) -> Deferred[None]:
        """
        Take no more starts, end all tasks and tell their clients.

        @return: fires when nothing is left.
        """
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    def drain(self) -> Deferred[None]:
        """
        Take no more starts, and let the tasks go on.

        @return: fires when no task is left.
        """
        self._draining = True
        return self._whenIdle()

    def resume(self) -> None:
        """
        Take starts again, unless the service is stopped.
        """
        self._draining = not self.running

    async def _stop(self) -> None:
        self._draining = True
        listening, self._listening = self._listening, []
        for attempt in listening:
            attempt.cancel()
        ports, self._ports = self._ports, []
        self._portNumbers = set()
        closed = [maybeDeferred(port.stopListening) for port in ports]
        patience = self._reactor.callLater(self._patience(), self._waitNoLonger)
        for task in list(self._tasks.values()):
            task.stop()
        for run in list(self._classic.values()):
            run.kill()
        idle = self._whenIdle()
        await DeferredList(closed)
        await idle
        if patience.active():
            patience.cancel()
        self._standing.stop()
        try:
            await maybeDeferred(self._launcher.stop)
        except Exception:
            self._log.failure("The launcher cannot be stopped")
        await self.factory.disconnect()

    def _patience(self) -> float:
        longest = max((task.grace for task in self._tasks.values()), default=0.0)
        return min(longest, STOP_GRACE) + FAREWELL

    def _waitNoLonger(self) -> None:
        for task in list(self._tasks.values()):
            self._log.warn("Task {task} is given up", task=task.id)
            task.abandon()
        for run in list(self._classic.values()):
            run.hangUp()
        self._isIdle()

    def _whenIdle(self) -> Deferred[None]:
        if self._running == 0:
            return succeed(None)
        idle: Deferred[None] = Deferred()
        self._idle.append(idle)
        return idle

    def _isIdle(self) -> None:
        waiting, self._idle = self._idle, []
        for idle in waiting:
            idle.callback(None)

    def _listens(self, port: IListeningPort) -> None:
        acceptStreams(port, self.factory)
        self._ports.append(port)
        self._portNumbers = set()

    def _cannotListen(self, failure: Failure) -> None:
        if self.running:
            self._log.failure("Cannot listen for commands", failure=failure)

    # --------------------------------------------------- what command connections ask

    def welcome(self, hello: Hello) -> Welcome:
        """
        See L{ITasks}.
        """
        return Welcome(
            hello.id,
            min(hello.version, VERSION),
            self.instance,
            CAPABILITIES,
            self._bootId,
            self._wallClock(),
            self._maxTasks,
        )

    def start(self, message: StartTask, host: str) -> Deferred[StartAnswer]:
        """
        See L{ITasks}.
        """
        again = self._starts.again(message)
        if again is not None:
            return again
        work = message.work
        if work.job:
            configured = self._jobs.get(work.job.lstrip("/"))
            if configured is None:
                return self._refuse(message, Reason.START_FAILED, f"there is no job {work.job}")
            work = namedWork(configured, work)
        if self._draining:
            return self._refuse(message, Reason.REJECTED_DRAINING, "the remote takes no more tasks")
        if self._full():
            return self._refuse(message, Reason.REJECTED_CAPACITY, self._fullness())
        if self._starts.full():
            return self._refuse(message, Reason.REJECTED_CAPACITY, "too many starts of one day")
        if message.port in self._ownPorts():
            return self._refuse(message, Reason.PROTOCOL_ERROR, "that port is the remote's own")
        refusal = message.host and self._callbackHosts.refusal(host, message.host)
        if refusal:
            return self._refuse(message, Reason.REJECTED_AUTH, refusal)
        answered = self._starts.begin(message)
        task = self._tasks[message.task] = Task(
            self._place,
            message,
            Launch(message.task, work, environmentOf(work, self._environment)),
            message.host or host,
            number=next(self._numbers),
            answered=self._answered,
            over=self._over,
            standing=self._standing.find(message.connection, host),
        )
        task.dial()
        return answered

    def attach(self, message: AttachTask, host: str) -> Deferred[AttachAnswer]:
        """
        See L{ITasks}.
        """
        refusal = message.host and self._callbackHosts.refusal(host, message.host)
        if message.port in self._ownPorts():
            refusal = "that port is the remote's own"
        if refusal:
            return succeed(replace(lost(message, Reason.REJECTED_AUTH, refusal), held=True))
        return self._returns.attach(message, host)

    def open(self, message: OpenConfirmation, host: str) -> Deferred[OpenAnswer]:
        """
        See L{IConfirmations}.
        """
        refusal = message.host and self._callbackHosts.refusal(host, message.host)
        if self._draining and not self._tasks:
            reason, text = Reason.REJECTED_DRAINING, "the remote takes no more tasks"
        elif message.port in self._ownPorts():
            reason, text = Reason.PROTOCOL_ERROR, "that port is the remote's own"
        elif refusal:
            reason, text = Reason.REJECTED_AUTH, refusal
        else:
            return self._standing.open(message, host)
        return succeed(ConfirmationRefused(message.id, message.connection, reason, text))

    def take(self, message: TakeConfirmation) -> StandingConfirmation | None:
        """
        See L{IConfirmations}.
        """
        return self._standing.take(message)

    def kill(self, message: KillTask) -> Deferred[TaskKilled]:
        """
        See L{ITasks}.
        """
        task = self._tasks.get(message.task)
        if task is None:
            return succeed(TaskKilled(message.id, message.task))
        killed = task.kill(message.signal, message.grace)

        def report(done: KillReport) -> TaskKilled:
            return TaskKilled(message.id, message.task, done.died, done.survivors)

        return killed.addCallback(report)

    def showState(self) -> Element:
        """
        See L{ITasks}.
        """
        now = self._wallClock()
        ports = sorted(self._ownPorts())
        attributes = {
            "time": secondstamp(now),
            "id": self._schedulerId,
            "spooler_id": self._schedulerId,
            "spooler_running_since": secondstamp(self._runningSince),
            "state": self._state(),
            "version": __version__,
            "pid": str(os.getpid()),
            "host": socket.gethostname(),
            "tcp_port": str(ports[0]) if ports else "",
            "python": platform.python_version(),
            "max_tasks": str(self._maxTasks),
        }
        described = [task.describe() for task in self._tasks.values()]
        described += [run.describe() for run in self._classic.values()]
        tasks = [element("task", each, ()) for each in described]
        counted = {"count": str(len(tasks))}
        return element("state", attributes, [element("tasks", counted, tasks)])

    def _state(self) -> str:
        if not self.running:
            return "stopping"
        return self._drained.state or ("paused" if self._draining else "running")

    def _refuse(self, message: StartTask, reason: Reason, text: str) -> Deferred[StartAnswer]:
        self._log.info(
            "Task {task} is refused: {reason}, {text}",
            task=message.task,
            reason=reason.value,
            text=text,
        )
        return succeed(TaskRefused(message.id, message.task, reason, text))

    def _taskOver(self, task: str) -> None:
        del self._tasks[task]
        self._starts.over(task)
        if not self._tasks and self._running == 0:
            self._isIdle()

    def _admitClassic(self, port: int) -> None:
        if self._draining:
            raise CommandRefused("SCHEDULER-381", "The remote takes no more tasks")
        if self._full():
            raise CommandRefused("SCHEDULER-210", self._fullness())
        if port in self._ownPorts():
            raise CommandRefused("SCHEDULER-409", f"Port {port} is the remote's own")

    def _classicOver(self) -> None:
        if self._running == 0:
            self._isIdle()

    @property
    def _running(self) -> int:
        return len(self._tasks) + len(self._classic)

    def _full(self) -> bool:
        # Of what is over, and held, no process is left and no descriptor.
        running = self._running - len(self._place.resting)
        if self._maxTasks and running >= self._maxTasks:
            return True
        if not self._room or not running:
            return False
        if not self._sure:
            # Each task is asked, but only after as many starts as surely had room.
            taken = sum(task.descriptors for task in self._tasks.values())
            taken += len(self._classic) * DESCRIPTORS_OF_A_TASK
            self._sure = max((self._room - taken) // DESCRIPTORS_OF_A_TASK, 0)
            if not self._sure:
                return True
        self._sure -= 1
        return False

    def _fullness(self) -> str:
        return f"{self._running} tasks are running, there is no room for more"

    def _ownPorts(self) -> set[int]:
        if not self._portNumbers:
            self._portNumbers = {getattr(port.getHost(), "port", 0) for port in self._ports}
        return self._portNumbers

    def _reckonRoom(self) -> int:
        limit = self._descriptors
        if limit is None:
            limit = getrlimit(RLIMIT_NOFILE)[0]
        if limit == RLIM_INFINITY:
            return 0
        return max(limit - DESCRIPTOR_RESERVE, 1)
