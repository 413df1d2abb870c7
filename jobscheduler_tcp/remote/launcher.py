"""
Start the separate processes of tasks, as children of this program.
"""

from __future__ import annotations

from signal import SIGTERM

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from jobscheduler_tcp.errors import LaunchFailed
from jobscheduler_tcp.interfaces import (
    ILaunchReactor,
    IPreparedLaunch,
    ITaskLauncher,
    ITaskReceiver,
    Launch,
)
from jobscheduler_tcp.remote.kill import Killer
from jobscheduler_tcp.remote.launched import LaunchedProcess
from jobscheduler_tcp.remote.processes import PipeHolders
from jobscheduler_tcp.remote.program import Program, ScriptDirectory, execute, prepare
from jobscheduler_tcp.remote.spawner import Start
from jobscheduler_tcp.remote.spawners import Spawners

# What a login shell gives; twistd as a daemon has 077, and tasks would inherit it.
UMASK = 0o022

# Seconds that C{stop} gives a task at most, even if its own grace is longer.
STOP_GRACE = 5.0

_STOPPED = "this remote is being stopped"


@implementer(IPreparedLaunch)
class PreparedLaunch:
    """
    A process that can be started.

    @ivar program: what it executes, or why it cannot.
    @ivar stdin: whether it has an input.
    """

    __slots__ = ("_launcher", "process", "program", "stdin")

    def __init__(
        self,
        launcher: ProcessLauncher,
        process: LaunchedProcess,
        program: Program | LaunchFailed,
        stdin: bool,
    ) -> None:
        self._launcher = launcher
        self.process = process
        self.program = program
        self.stdin = stdin

    def launch(self) -> LaunchedProcess:
        """
        See L{IPreparedLaunch}.
        """
        self._launcher.launch(self)
        return self.process

    def discard(self) -> None:
        """
        See L{IPreparedLaunch}.
        """
        self._launcher.forget(self.process)


@implementer(ITaskLauncher)
class ProcessLauncher:
    """
    Start tasks as children of this program.

    @param umask: of the tasks.
    @param scripts: where scripts are written to (in a directory of our own);
        by default where the system has temporary files.
    @param spawners: how many processes there may be that do nothing but start
        tasks, when many live; by default none.
    """

    def __init__(
        self,
        reactor: ILaunchReactor,
        umask: int = UMASK,
        scripts: str | None = None,
        spawners: int = 0,
    ) -> None:
        self._reactor = reactor
        self._umask = umask
        self._scripts = ScriptDirectory(scripts)
        self._processes: set[LaunchedProcess] = set()
        self._killer = Killer(reactor, self.mains)
        self._holders = PipeHolders(reactor)
        self._spawners = Spawners(reactor, umask, spawners, self._execute)
        self._stopped = False
        self._over = self.forget  # bound once, for all processes

    def prepare(self, launch: Launch, receiver: ITaskReceiver) -> PreparedLaunch:
        """
        See L{ITaskLauncher}.
        """
        process = LaunchedProcess(
            launch, receiver, self._reactor, self._killer, self._holders, over=self._over
        )
        stdin = launch.work.stdin
        try:
            if self._stopped:
                raise LaunchFailed(_STOPPED)
            program = prepare(launch, self._scripts)
        except LaunchFailed as error:
            return PreparedLaunch(self, process, error, stdin)
        process.script = program.script
        return PreparedLaunch(self, process, program, stdin)

    def launch(self, prepared: PreparedLaunch) -> None:
        """
        Start what was prepared.
        """
        process, program = prepared.process, prepared.program
        self._processes.add(process)
        if isinstance(program, LaunchFailed):
            self._reactor.callLater(0, process.notStarted, program)
            return
        try:
            self._start(process, program, prepared.stdin)
        except LaunchFailed as error:
            self._reactor.callLater(0, process.notStarted, error)

    def forget(self, process: LaunchedProcess) -> None:
        """
        It is over, or will not be started.
        """
        self._processes.discard(process)
        if process.script:
            self._scripts.discard(process.script)

    def stop(self) -> Deferred[None]:
        """
        See L{ITaskLauncher}. Every task gets SIGTERM, and its grace.
        """
        self._stopped = True
        self._spawners.refuse(LaunchFailed(_STOPPED))
        return Deferred.fromCoroutine(self._stop())

    def _start(self, process: LaunchedProcess, program: Program, stdin: bool) -> None:
        if self._stopped:
            raise LaunchFailed(_STOPPED)
        living = len(self._processes) - 1
        if not self._spawners.start(program, stdin, process, living):
            process.start(execute(program, stdin, self._umask))

    def _execute(self, start: Start) -> None:
        """
        Who was to start it is gone.
        """
        try:
            if self._stopped:
                raise LaunchFailed(_STOPPED)
            execution = execute(start.program, start.stdin, self._umask)
        except LaunchFailed as error:
            start.process.notStarted(error)
        else:
            start.process.started(execution)

    def mains(self) -> set[int]:
        """
        The main processes of tasks that nobody has waited for. Those that start
        tasks wait for them before they report, and a number that was given to
        somebody else meanwhile must not be taken for ours.
        """
        self._spawners.hear()
        return {process.main for process in self._processes if not process.reaped}

    async def _stop(self) -> None:
        # What was launched in this turn is told of first.
        await deferLater(self._reactor, 0)
        processes = list(self._processes)
        for killed in [
            process.kill(SIGTERM, min(process.grace, STOP_GRACE)) for process in processes
        ]:
            await killed
        await self._spawners.reported()
        for process in processes:
            process.abandon()
        await self._spawners.stop()
        self._scripts.remove()
