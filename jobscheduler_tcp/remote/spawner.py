"""
Processes that start tasks for this one. Who starts a process stands still until
the new program is loaded, and has its table of descriptors copied: a process
that does nothing else keeps both away from the connections.

It waits for the tasks that it started, and reports how they ended. Where it is
killed its tasks live on, but how they end is not known.
"""

from __future__ import annotations

import array
import marshal
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.errors import LaunchFailed, LaunchLost
from jobscheduler_tcp.interfaces import ILaunchReactor
from jobscheduler_tcp.remote import spawning
from jobscheduler_tcp.remote.exits import AWAITED, POLL_INTERVAL, ReportedExit, Watch
from jobscheduler_tcp.remote.processes import MARK, Snapshot
from jobscheduler_tcp.remote.program import Execution, Pipes, Program, explain

# Seconds until those that were being started when their starter was killed are
# looked for: a process has no mark before its program is loaded.
SEARCH_DELAY = 0.1

# Seconds that one has to exit when it is not needed any more.
PATIENCE = 2.0


class IStarting(Protocol):
    """
    A process that is being started.
    """

    task: str

    def expect(self) -> None:
        """
        Somebody else starts it.
        """

    def started(self, execution: Execution, watch: Watch | None = None) -> None:
        """
        It runs.
        """

    def exitReported(self, watch: ReportedExit) -> None:
        """
        It has exited.
        """

    def orphaned(self) -> None:
        """
        Nobody will report that.
        """

    def notStarted(self, error: LaunchFailed) -> None:
        """
        It does not.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """
    A start that is asked for.

    @ivar data: what it is told.
    """

    number: int
    program: Program
    stdin: bool
    process: IStarting
    data: bytes


@implementer(IReadDescriptor)
class Spawner:
    """
    One process that starts tasks.

    @param changed: called when it has room for starts.
    @param gone: called when it is not there any more.
    @ivar ready: whether it takes starts.
    @ivar proved: whether it ever did.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: ILaunchReactor,
        umask: int,
        changed: Callable[[], None],
        gone: Callable[[Spawner], None],
    ) -> None:
        """
        @raise OSError: it cannot be started.
        """
        self.ready = False
        self._reactor = reactor
        self._changed = changed
        self._gone = gone
        self._starts: dict[int, tuple[Start, Pipes]] = {}
        self._size = 0  # of what it was told of them
        self._exits: dict[int, IStarting] = {}
        self.proved = False
        self._exited: Deferred[None] = Deferred()
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._pid = _execute(theirs, umask)
        except OSError:
            self._connection.close()
            raise
        self._connection.setblocking(False)
        reactor.addReader(self)

    @property
    def underWay(self) -> int:
        """
        How many starts it was asked for and has not reported.
        """
        return len(self._starts)

    @property
    def watches(self) -> int:
        """
        How many tasks there are whose end it has not reported.
        """
        return len(self._exits)

    def hasRoom(self, starts: int, size: int) -> bool:
        """
        Whether it can be asked for so many starts, of so many bytes.
        """
        return len(self._starts) + starts <= spawning.WINDOW and self._size + size <= spawning.ALL

    def ask(self, starts: Sequence[tuple[Start, Pipes]], waiting: int = 0) -> None:
        """
        Have tasks started.

        @param waiting: how many more starts there are.
        @raise OSError: it is not there any more.
        """
        joined = min(max((len(self._starts) + len(starts) + waiting) // 2, 1), spawning.JOINED)
        told = [(len(pipes.theirs), start.data) for start, pipes in starts]
        data = marshal.dumps((joined, told))
        ends = array.array("i", [end for _, pipes in starts for end in pipes.theirs])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, ends)]
        self._connection.sendmsg([data], rights, socket.MSG_NOSIGNAL)
        for start, pipes in starts:
            pipes.give()
            self._starts[start.number] = start, pipes
            self._size += len(start.data)

    def stop(self) -> Deferred[None]:
        """
        Have it exit.

        @return: fires when it has.
        """
        self._hangUp()
        return self._exited

    def giveUp(self) -> None:
        """
        Wait no longer for starts that it was asked for.
        """
        if self._starts:
            self._lost()

    def fileno(self) -> int:
        """
        See C{IReadDescriptor}.
        """
        return self._connection.fileno()

    def logPrefix(self) -> str:
        """
        See C{IReadDescriptor}.
        """
        return "spawner"

    def hear(self) -> None:
        """
        Hear all reports that are there.
        """
        while self._connection.fileno() >= 0 and self._hear():
            pass

    def doRead(self) -> None:
        """
        Hear reports.
        """
        self._hear()

    def _hear(self) -> bool:
        """
        @return: whether there were any.
        """
        try:
            data = self._receive()
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._lost()
            return False
        for kind, *report in marshal.loads(data):  # noqa: S302 - of our own child
            try:
                self._heard(kind, *report)
            except Exception:
                self._log.failure("What was started by process {pid} failed", pid=self._pid)
        self._changed()
        return True

    def _receive(self) -> bytes:
        try:
            return self._connection.recv(spawning.LONGEST_REPORT)
        except ConnectionResetError:
            # It was killed before it had read all starts, which Linux tells first, and
            # once: its last reports are still to be heard.
            return self._connection.recv(spawning.LONGEST_REPORT)

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor has removed us, because the other end is closed.
        """
        self._lost()

    def _heard(self, kind: int, *report: Any) -> None:
        if kind == spawning.STARTED:
            number, pid, *ending = report
            start, pipes = self._reported(number)
            if ending:  # it is over already
                start.process.started(pipes.execution(pid), ReportedExit(*ending))
            else:
                self._exits[pid] = start.process
                start.process.started(pipes.execution(pid), AWAITED)
        elif kind == spawning.FAILED:
            number, error, what = report
            start, pipes = self._reported(number)
            pipes.close()
            program = start.program
            refused = (None, program.directory, program.arguments[0])[what]
            start.process.notStarted(explain(program, error, refused))
        elif kind == spawning.EXITED:
            pid, *ending = report
            self._exits.pop(pid).exitReported(ReportedExit(*ending))
        else:
            self.ready = self.proved = True

    def _reported(self, number: int) -> tuple[Start, Pipes]:
        reported = self._starts.pop(number)
        self._size -= len(reported[0].data)
        return reported

    def _hangUp(self) -> None:
        self.ready = False
        if self._connection.fileno() >= 0:
            self._reactor.removeReader(self)
            self._connection.close()
            Deferred.fromCoroutine(self._wait()).chainDeferred(self._exited)

    def _lost(self) -> None:
        """
        It was killed, or does nothing any more.
        """
        if self._connection.fileno() < 0:
            return
        self._hangUp()
        self._log.warn(
            "Process {pid}, which starts tasks, is gone; of {tasks} tasks it will not be known"
            " how they end",
            pid=self._pid,
            tasks=len(self._exits) + len(self._starts),
        )
        exits, self._exits = self._exits, {}
        for process in exits.values():
            process.orphaned()
        if self._starts:
            self._reactor.callLater(SEARCH_DELAY, self._search)
        self._gone(self)

    def _search(self) -> None:
        """
        Find out what became of the starts that were not reported.
        """
        starts, self._starts = self._starts, {}
        try:
            snapshot = Snapshot()
        except OSError:  # out of descriptors
            snapshot = None
        for start, pipes in starts.values():
            family = snapshot.family(None, start.process.task) if snapshot is not None else []
            main = [process.pid for process in family if process.session == process.pid]
            if main:
                start.process.started(pipes.execution(main[0]), AWAITED)
                start.process.orphaned()
            else:
                pipes.close()
                text = "what should start it was killed; whether it ran is not known"
                start.process.notStarted(LaunchLost(text))

    async def _wait(self) -> None:
        """
        Wait for our child.
        """
        for number in (signal.SIGKILL, None):
            until = self._reactor.seconds() + PATIENCE
            while self._reactor.seconds() < until:
                if self._reap():
                    return
                await deferLater(self._reactor, POLL_INTERVAL)
            if number is not None:
                os.kill(self._pid, number)

    def _reap(self) -> bool:
        try:
            return os.waitpid(self._pid, os.WNOHANG)[0] > 0
        except ChildProcessError:  # somebody else waited for it
            return True


_PROGRAM = str(Path(spawning.__file__).resolve())


def _execute(connection: socket.socket, umask: int) -> int:
    """
    Run the program of such a process, in a session of its own: what is typed at
    our terminal is not for it.
    """
    descriptor = connection.fileno()
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", _PROGRAM, str(descriptor)],
        env={name: value for name, value in os.environ.items() if name != MARK},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[descriptor],
        start_new_session=True,
        umask=umask,
    )
    child.returncode = 0  # we wait for it ourselves
    return child.pid
