"""
The program of a process that starts tasks for
L{jobscheduler_tcp.remote.spawner}. It is run by its path, by an interpreter that
imports nothing of this package: for each start the system copies the table of
descriptors, and here there are six.

Each message to it is a list of starts, with the tasks' ends of the pipes; what it
says are lists of reports, on tasks that were started, could not be started, or
have exited. Both are written by C{marshal}, which is fast and knows the same types
at both ends. When nobody is left to be reported to it exits, and its tasks live on.
"""

from __future__ import annotations

import array
import errno
import marshal
import os
import resource
import select
import signal
import socket
import sys
from collections import deque
from time import monotonic

# The kinds of reports, and what follows in each:
READY = 0  # (from now on, starts are taken)
STARTED = 1  # number of the start, pid; of one that is over, what follows in EXITED
FAILED = 2  # number of the start, errno, what was refused (see below)
EXITED = 3  # pid, status, seconds in the program, seconds in the system, memory, seconds of life

# What the system refused: a process, the directory, the program.
PROCESS, DIRECTORY, PROGRAM = range(3)

Report = list[object]

# How many starts may be on the way, of how many bytes in all and each: what the
# buffer of any socket takes (212,992 bytes on Linux). What a full one does not take
# is lost. With more starts more of them have one message, and their reports too.
WINDOW = 24
ALL = 64 * 1024
LONGEST = 16 * 1024

# So many reports wait for others at most, as long as there are starts: the other end
# is told of some while it still has others to wait for, and so has us work again
# before we have nothing left to do.
JOINED = 16

# Reports of one message, and its bytes: a report has less than 80.
_REPORTS = 256
LONGEST_REPORT = _REPORTS * 80

# Which children are asked first when one has exited: those that live for less than
# so many seconds, and no more than so many of them.
YOUTH = 1.0
MOST_YOUNG = 64

# How starts are received: the room for them, and for the tasks' ends of their pipes,
# for errors, output, and input if there is any.
_LONGEST_MESSAGE = ALL + WINDOW * 64
_ENDS_SPACE = socket.CMSG_SPACE(WINDOW * 3 * array.array("i").itemsize)
_HOW = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC


class Spawning:
    """
    The process.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._home = os.open(".", os.O_PATH)
        self._reports: list[Report] = [[READY]]
        self._started: dict[int, Report] = {}  # those of them on tasks that live
        self._starts: deque[tuple[list[int], int, bytes]] = deque()
        self._joined = 1  # so many reports wait for others at most
        self._signals: list[int] = []  # that a program is not to ignore
        self._exited = False  # a child, which was not waited for
        self._young: dict[int, float] = {}  # when which child was started
        self._old = 0  # how many others there are
        self._searchAt = 0.0
        self._mustSearch = False
        self._ours = 0  # what was last reported of a program no larger than we are

    def run(self) -> None:
        """
        Work until nobody is there any more.
        """
        woken = self._handleSignals()
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        poll.register(woken, select.POLLIN)
        while True:
            if self._exited:
                self._exited = False
                self._reap()
            if self._starts:
                if len(self._reports) >= self._joined and not self._report():
                    return
                self._start(*self._starts.popleft())
                continue
            # What is there already is done first, and reported at once: both ends
            # have less to do.
            events = poll.poll(0) if self._reports else []
            if not events:
                if not self._report():
                    return
                events = poll.poll(self._patience())
            for descriptor, _ in events:
                if descriptor == woken:
                    os.read(woken, 65536)
                elif not self._hear():
                    return
            if self._mustSearch and monotonic() >= self._searchAt:
                self._search()

    def _handleSignals(self) -> int:
        """
        @return: can be read when a child has exited.
        """
        woken, waking = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(waking, False)
        # Not ignored: a program that is executed would go on ignoring them.
        signal.signal(signal.SIGCHLD, self._childExited)
        # Whoever started the service may have it blocked, and we would wait for ever.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _nothing)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them
            signal.signal(number, signal.SIG_DFL)
        # Those that are to be as at first anyway: each that is not named is asked for
        # before it is set, once for each child.
        fixed = (signal.SIGKILL, signal.SIGSTOP)
        self._signals = [
            number
            for number in signal.valid_signals()
            if number not in fixed and signal.getsignal(number) is not signal.SIG_IGN
        ]
        signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
        return woken

    def _childExited(self, *_: object) -> None:
        self._exited = True

    def _report(self) -> bool:
        """
        @return: whether somebody is there.
        """
        self._started.clear()
        while self._reports:
            data = marshal.dumps(self._reports[:_REPORTS])
            del self._reports[:_REPORTS]
            try:
                self._connection.send(data, socket.MSG_NOSIGNAL)
            except OSError:
                return False
        return True

    def _hear(self) -> bool:
        """
        Take starts.

        @return: whether somebody is there.
        """
        try:
            data, ancillary, _, _ = self._connection.recvmsg(_LONGEST_MESSAGE, _ENDS_SPACE, _HOW)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        ends = array.array("i", b"".join(part for _, _, part in ancillary)).tolist()
        self._joined, starts = marshal.loads(data)  # noqa: S302 - of our parent
        for count, start in starts:
            self._starts.append((ends[:count], count, start))
            del ends[:count]
        return True

    def _start(self, ends: list[int], count: int, start: bytes) -> None:
        """
        @param count: how many ends there were.
        """
        number, arguments, environment, directory = marshal.loads(start)  # noqa: S302
        # Our own input is the empty one of a task that has none.
        actions = [(os.POSIX_SPAWN_DUP2, end, 2 - which) for which, end in enumerate(ends)]
        what = PROCESS
        try:
            if len(ends) < count:  # there was no room for all of them
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            what = DIRECTORY
            if directory:
                os.chdir(directory)
            what = PROGRAM
            pid = self._spawn(arguments, environment, actions)
        except (OSError, ValueError) as error:
            why = getattr(error, "errno", None) or errno.EINVAL
            if why in (errno.EAGAIN, errno.ENOMEM):
                what = PROCESS
            self._reports.append([FAILED, number, why, what])
        else:
            self._young[pid] = monotonic()
            report = self._started[pid] = [STARTED, number, pid]
            self._reports.append(report)
        finally:
            if directory:
                os.fchdir(self._home)
            for end in ends:
                os.close(end)

    def _spawn(
        self,
        arguments: list[bytes],
        environment: dict[bytes, bytes],
        actions: list[tuple[int, int, int]],
    ) -> int:
        """
        Search as C{execvpe} does.
        """
        program = arguments[0]
        places = [b""]
        if b"/" not in program:
            path = environment.get(b"PATH", os.defpath.encode())
            places = path.split(b":")
        missing: OSError | None = None
        refused: OSError | None = None
        for place in places:
            path = os.path.join(place, program) if place else program
            try:
                os.stat(path)  # costs less than a process that finds nothing
                return os.posix_spawn(
                    path,
                    arguments,
                    environment,
                    file_actions=actions,
                    setsid=True,
                    setsigdef=self._signals,
                )
            except (FileNotFoundError, NotADirectoryError) as error:
                missing = error
            except OSError as error:
                refused = refused or error
        raise refused or missing or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def _patience(self) -> int | None:
        """
        @return: in how many milliseconds there is something to be done anyway.
        """
        if not self._mustSearch:
            return None
        return max(int((self._searchAt - monotonic()) * 1000) + 1, 0)

    def _reap(self) -> None:
        """
        A child has exited, or several. Most have not lived for long, and each of
        those is asked: to find any of all children the system looks at each,
        which takes 0.3 ms where 5,000 live.
        """
        for pid in list(self._young):
            self._wait(pid)
        long = monotonic() - YOUTH
        while self._young:
            pid, since = next(iter(self._young.items()))
            if since > long and len(self._young) <= MOST_YOUNG:
                break
            del self._young[pid]
            self._old += 1
        self._mustSearch = self._old > 0

    def _search(self) -> None:
        """
        Find the others that have exited; not for more than a fiftieth of the time,
        so that it takes 15 ms where 5,000 live.
        """
        self._mustSearch = False
        begun = monotonic()
        while self._wait(-1):
            pass
        now = monotonic()
        self._searchAt = now + 50 * (now - begun)

    def _wait(self, which: int) -> bool:
        try:
            pid, status, usage = os.wait4(which, os.WNOHANG)
        except ChildProcessError:
            return False
        if not pid:
            return False
        since = self._young.pop(pid, None)
        if since is None:
            self._old -= 1
        # Linux counts the memory that a child shared with us before it became
        # its own program: so less than ours says nothing of the task.
        resident = usage.ru_maxrss
        if resident == self._ours:  # as of most small programs
            resident = 0
        elif resident <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
            self._ours, resident = resident, 0
        report = self._started.pop(pid, None)
        if report is None:
            report = [EXITED, pid]
            self._reports.append(report)
        # Of those that live for longer it does not matter when their start is heard.
        seconds = 0.0 if since is None else monotonic() - since
        report += status, usage.ru_utime, usage.ru_stime, resident, seconds
        return True


def _nothing(*_: object) -> None:
    """
    Handle a signal.
    """


def main(descriptor: str) -> None:
    """
    C{spawning.py DESCRIPTOR}: the connection.
    """
    # Where a new process can have no session, this ends us by a NotImplementedError
    # before any start was promised.
    try:
        os.posix_spawn("/", ["/"], {}, setsid=True)
    except OSError:
        pass  # a directory is no program: the system knows the rest
    connection = socket.socket(fileno=int(descriptor))
    connection.set_inheritable(False)
    Spawning(connection).run()


if __name__ == "__main__":
    main(sys.argv[1])
