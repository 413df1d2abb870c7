"""
Start the separate processes of tasks, as children of this program.
"""

from __future__ import annotations

from signal import SIGTERM

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from jobscheduler_tcp.errors import LaunchFailed
from jobscheduler_tcp.interfaces import ILaunchReactor, ITaskLauncher, ITaskReceiver, Launch
from jobscheduler_tcp.remote.kill import Killer
from jobscheduler_tcp.remote.launched import LaunchedProcess
from jobscheduler_tcp.remote.processes import PipeHolders
from jobscheduler_tcp.remote.program import ScriptDirectory, execute, prepare

# What a login shell gives; twistd as a daemon has 077, and tasks would inherit it.
UMASK = 0o022

# Seconds that C{stop} gives a task at most, even if its own grace is longer.
STOP_GRACE = 5.0


@implementer(ITaskLauncher)
class ProcessLauncher:
    """
    Start tasks as children of this program.

    @param umask: of the tasks.
    @param scripts: where scripts are written to (in a directory of our own);
        by default where the system has temporary files.
    """

    def __init__(
        self, reactor: ILaunchReactor, umask: int = UMASK, scripts: str | None = None
    ) -> None:
        self._reactor = reactor
        self._umask = umask
        self._scripts = ScriptDirectory(scripts)
        self._processes: set[LaunchedProcess] = set()
        self._killer = Killer(reactor, lambda: {process.main for process in self._processes})
        self._holders = PipeHolders(reactor)
        self._stopped = False

    def launch(self, launch: Launch, receiver: ITaskReceiver) -> LaunchedProcess:
        """
        See L{ITaskLauncher}.
        """
        process = LaunchedProcess(
            launch, receiver, self._reactor, self._killer, self._holders, over=self._forget
        )
        try:
            self._start(process, launch)
        except LaunchFailed as error:
            self._reactor.callLater(0, receiver.processNotStarted, error)
        else:
            self._processes.add(process)
        return process

    def stop(self) -> Deferred[None]:
        """
        See L{ITaskLauncher}. Every task gets SIGTERM, and its grace.
        """
        self._stopped = True
        return Deferred.fromCoroutine(self._stop())

    def _start(self, process: LaunchedProcess, launch: Launch) -> None:
        if self._stopped:
            raise LaunchFailed("this remote is being stopped")
        program = prepare(launch, self._scripts)
        try:
            execution = execute(program, launch.work.stdin, self._umask)
        except LaunchFailed:
            self._scripts.discard(program.script)
            raise
        process.start(execution, program.script)

    def _forget(self, process: LaunchedProcess) -> None:
        self._processes.discard(process)
        self._scripts.discard(process.script)

    async def _stop(self) -> None:
        # What was launched in this turn is told of first.
        await deferLater(self._reactor, 0)
        processes = list(self._processes)
        for killed in [
            process.kill(SIGTERM, min(process.grace, STOP_GRACE)) for process in processes
        ]:
            await killed
        for process in processes:
            process.abandon()
        self._scripts.remove()
