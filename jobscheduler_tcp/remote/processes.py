"""
The processes of this host as /proc shows them: which belong to a task, who they
are, how a signal reaches exactly them.

A process is identified by its number and its start time together: numbers are
given out again. A zombie counts as dead.
"""

from __future__ import annotations

import errno
import os
import signal
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime

from jobscheduler_tcp.messages import Survivor

PROC = "/proc"

# The variable of the environment that every process of a task inherits.
MARK = "JSREMOTE_TASK"

# A line of /proc/PID/stat has 52 numbers of at most 20 digits, and a name of at
# most 64 bytes (proc(5)).
_STAT_SIZE = 2048

# Characters of a command line that a report shows.
_COMMAND_LENGTH = 200

# Linux allows argv and environment together a quarter of the stack's limit, and
# 6 MiB at most (execve(2)).
_ENVIRONMENT_SIZE = 6 * 1024 * 1024

# Seconds for which the answer to "who holds which pipe" is used again, so that
# a thousand tasks that end at once cost one look and not a thousand.
_HOLDERS_AGE = 0.5


class Process(NamedTuple):
    """
    A process as it was when it was looked at.

    @ivar name: as in ps(1), at most 15 bytes that the process chose.
    @ivar started: clock ticks from the start of the host.
    """

    pid: int
    name: bytes
    alive: bool
    parent: int
    group: int
    session: int
    started: int

    @property
    def identity(self) -> tuple[int, int]:
        """
        What tells this process from a later one with its number.
        """
        return self.pid, self.started


def parseStat(line: bytes) -> Process:
    """
    Read a line of /proc/PID/stat. The name stands in parentheses and may itself
    have blanks and parentheses, but nothing after it has any.
    """
    opening, closing = line.index(b"("), line.rindex(b")")
    fields = line[closing + 2 :].split(None, 20)
    # Where the first thread has ended and others go on, the state is Z too.
    dead = fields[0] in (b"Z", b"X") and int(fields[17]) <= 1
    return Process(
        pid=int(line[:opening]),
        name=line[opening + 1 : closing],
        alive=not dead,
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        started=int(fields[19]),
    )


def _read(path: str, size: int) -> bytes:
    """
    The beginning of a file of /proc, or nothing if we may not see it or its
    process is gone.

    @raise OSError: we are out of descriptors, and cannot say.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, size)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        return b""


def readProcess(pid: int, proc: str = PROC) -> Process | None:
    """
    Look at one process.

    @return: C{None} if there is none.
    """
    try:
        return parseStat(_read(f"{proc}/{pid}/stat", _STAT_SIZE))
    except (ValueError, IndexError):  # it went away meanwhile
        return None


def printable(text: bytes, length: int = _COMMAND_LENGTH) -> str:
    """
    Make what a process calls itself harmless on a terminal, and short.
    """
    if len(text) <= length and text.isascii() and (usual := text.decode("ascii")).isprintable():
        return usual
    shown = "".join(
        char if char.isprintable() else f"\\x{ord(char):02x}"
        for char in text[: 4 * length].decode("utf-8", "backslashreplace")
    )
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def survivorOf(process: Process, proc: str = PROC) -> Survivor:
    """
    Tell people which process it is.
    """
    words = (
        _read(f"{proc}/{process.pid}/cmdline", 4 * _COMMAND_LENGTH)
        .rstrip(b"\0")
        .replace(b"\0", b" ")
    )
    return Survivor(abs(process.pid), printable(words or b"(%b)" % process.name))


class Snapshot:
    """
    All living processes at one time.

    @param mains: the main processes of all tasks. They are children of ours, and
        whose they are is known without a look at their environment.
    @raise OSError: we are out of descriptors. So may L{family} be.
    """

    def __init__(self, proc: str = PROC, mains: Container[int] = ()) -> None:
        self._proc = proc
        self._mains = mains
        self._us = os.getpid()
        self._ourGroup = os.getpgrp()
        self.processes: dict[int, Process] = {}
        self._sessions: dict[int, list[Process]] = defaultdict(list)
        self._groups: dict[int, list[Process]] = defaultdict(list)
        self._children: dict[int, list[Process]] = defaultdict(list)
        self._marks: dict[bytes, list[Process]] | None = None
        for name in os.listdir(proc):
            if name.isdecimal():
                process = readProcess(int(name), proc)
                if process is not None and process.alive:
                    self.processes[process.pid] = process
                    self._sessions[process.session].append(process)
                    self._groups[process.group].append(process)
                    self._children[process.parent].append(process)

    def occupied(self, number: int) -> bool:
        """
        Whether a session or process group of this number has a living member, so
        that the number cannot have been given out again.
        """
        return number in self._sessions or number in self._groups

    def family(self, main: int | None, task: str, known: Iterable[Process] = ()) -> list[Process]:
        """
        Find the processes of a task: those in the session or group of its main
        process, those that bear its mark, those known from an earlier look, and
        all descendants of these.

        @param main: C{None} if the number may belong to somebody else by now.
        @return: parents first. A shell whose command gets the signal before it
            does may exit as if nothing had been sent to it.
        """
        found: dict[int, Process] = {}
        queue = [process for process in known if self._has(process)]
        if main is not None:
            queue += self._sessions.get(main, ())
            queue += self._groups.get(main, ())
        queue += self._orphans().get(task.encode("utf-8", "surrogateescape"), ())
        while queue:
            process = queue.pop()
            if process.pid not in found and not self._spared(process):
                found[process.pid] = process
                queue += self._children.get(process.pid, ())
        return sorted(found.values(), key=lambda it: (it.pid != main, it.started, it.pid))

    def _has(self, process: Process) -> bool:
        here = self.processes.get(process.pid)
        return here is not None and here.identity == process.identity

    def _spared(self, process: Process) -> bool:
        """
        Whether it must not be touched, whatever its mark says.
        """
        return process.pid in (0, 1, self._us) or process.group == self._ourGroup

    def _orphans(self) -> dict[bytes, list[Process]]:
        """
        Find marked processes where a process lands that has left its session and
        lost its parent: with us, or with an ancestor of ours (init, or one that
        said PR_SET_CHILD_SUBREAPER). All others are descendants of somebody who
        is found, so few environments need to be read.
        """
        if self._marks is None:
            self._marks = defaultdict(list)
            ancestor, reapers = self._us, {1}
            while ancestor not in reapers and ancestor in self.processes:
                reapers.add(ancestor)
                ancestor = self.processes[ancestor].parent
            for reaper in reapers:
                for process in self._children.get(reaper, ()):
                    if process.pid not in self._mains:
                        mark = self._markOf(process)
                        if mark:
                            self._marks[mark].append(process)
        return self._marks

    def _markOf(self, process: Process) -> bytes:
        environment = b"\0" + _read(f"{self._proc}/{process.pid}/environ", _ENVIRONMENT_SIZE)
        return environment.partition(b"\0%b=" % MARK.encode())[2].partition(b"\0")[0]


def send(process: Process, number: int, proc: str = PROC) -> None:
    """
    Send a signal to exactly this process; nothing happens if it is gone or out
    of our reach.
    """
    if process.pid < 0:  # a group, see L{groupOnly}
        _kill(process.pid, number)
        return
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # an old system, or out of descriptors
        descriptor = -1
    try:
        # The descriptor is asked for first: what it names cannot change any
        # more between this look and the signal.
        here = readProcess(process.pid, proc)
        if here is None or here.identity != process.identity:
            return
        if descriptor < 0:
            _kill(process.pid, number)
        else:
            try:
                signal.pidfd_send_signal(descriptor, number)
            except OSError:
                pass
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _kill(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except OSError:
        return False
    return True


def groupOnly(main: int) -> list[Process]:
    """
    What can be found of a task where there is no /proc: its process group, as
    one process with a negative number.
    """
    if not _kill(-main, 0):
        return []
    return [Process(-main, b"process group", True, 0, main, main, 0)]


class PipeHolders:
    """
    Who has which pipe open.
    """

    def __init__(self, clock: IReactorTime, proc: str = PROC) -> None:
        self._clock = clock
        self._proc = proc
        self._looked = float("-inf")
        self._holders: dict[str, Process] = {}

    def holderOf(self, inode: int) -> str:
        """
        Name a process, other than ours, that holds a pipe: C{pid 17 (sleep)}.

        @return: empty if nobody does whom we may see.
        """
        now = self._clock.seconds()
        if not 0 <= now - self._looked < _HOLDERS_AGE:
            self._look()
            self._looked = now
        holder = self._holders.get(f"pipe:[{inode}]")
        return f"pid {holder.pid} ({printable(holder.name)})" if holder else ""

    def _look(self) -> None:
        self._holders = {}
        if not os.path.isdir(f"{self._proc}/self"):
            return
        try:
            processes = Snapshot(self._proc).processes
        except OSError:  # out of descriptors
            return
        for pid, process in processes.items():
            if pid != os.getpid():
                for pipe in self._pipesOf(pid):
                    self._holders.setdefault(pipe, process)

    def _pipesOf(self, pid: int) -> Iterator[str]:
        directory = f"{self._proc}/{pid}/fd"
        try:
            names = os.listdir(directory)
        except OSError:  # not ours to see, or gone
            return
        for name in names:
            try:
                target = os.readlink(f"{directory}/{name}")
            except OSError:  # closed meanwhile
                continue
            if target.startswith("pipe:"):
                yield target
