"""
L{jobscheduler_tcp.remote.launcher} with real processes.
"""

from __future__ import annotations

import errno
import gc
import hashlib
import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import cast
from uuid import uuid4

import twisted.internet.reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from jobscheduler_tcp.errors import LaunchFailed, LaunchLost
from jobscheduler_tcp.interfaces import (
    ILaunchReactor,
    ITaskReceiver,
    KillReport,
    Launch,
    ProcessExit,
)
from jobscheduler_tcp.messages import Stream, Work
from jobscheduler_tcp.remote import drain, forking, spawners
from jobscheduler_tcp.remote.launched import LaunchedProcess
from jobscheduler_tcp.remote.launcher import ProcessLauncher
from jobscheduler_tcp.remote.processes import MARK, parseStat, readProcess
from jobscheduler_tcp.remote.spawning import LONGEST, WINDOW
from tests.integration.services import PATIENCE

reactor = cast(ILaunchReactor, twisted.internet.reactor)

ENVIRONMENT = {"PATH": os.defpath, "LANG": "C"}

# Prints the number of each of its five processes: the main one, a child, one in
# a process group and one in a session of its own, and a daemon that nobody is
# the parent of. All ignore SIGTERM, and sleep until the test kills them.
NASTY = """
import os, signal, time

signal.signal(signal.SIGTERM, signal.SIG_IGN)

def stay():
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(600)  # in a process of the task, which the test kills

def daemon():
    os.setsid()
    if os.fork():
        os._exit(0)
    stay()

for leave in (lambda: None, lambda: os.setpgid(0, 0), os.setsid, daemon):
    if not os.fork():
        leave()
        stay()
stay()
"""
NASTY_SIZE = 5

# Seconds for which a process holds the output of a task that is over.
SLEEP = 30


@implementer(ITaskReceiver)
class Watcher:
    """
    What is heard of one process.
    """

    def __init__(self) -> None:
        self.started: Deferred[int] = Deferred()
        self.ended: Deferred[ProcessExit] = Deferred()
        self.output = {Stream.STDOUT: b"", Stream.STDERR: b""}
        self.taken = 0
        self.onOutput: Callable[[], None] = lambda: None

    def processStarted(self, pid: int) -> None:
        """
        Tell it.
        """
        self.startedAt = reactor.seconds()
        self.started.callback(pid)

    def processNotStarted(self, error: LaunchFailed) -> None:
        """
        Tell it.
        """
        self.started.errback(error)

    def outputReceived(self, stream: Stream, data: bytes) -> None:
        """
        Keep it.
        """
        self.output[stream] += data
        self.onOutput()

    def inputTaken(self, count: int) -> None:
        """
        Count it.
        """
        self.taken += count

    def processEnded(self, ending: ProcessExit) -> None:
        """
        Tell it.
        """
        self.seconds = reactor.seconds() - self.startedAt
        self.ended.callback(ending)

    @property
    def out(self) -> str:
        """
        What was printed on stdout.
        """
        return self.output[Stream.STDOUT].decode()

    async def hears(self, enough: Callable[[], bool]) -> None:
        """
        Wait for output.
        """
        heard: Deferred[None] = Deferred()

        def look() -> None:
            if enough() and not heard.called:
                heard.callback(None)

        self.onOutput = look
        look()
        await heard


def isAlive(pid: int) -> bool:
    """
    Whether a process lives.
    """
    process = readProcess(pid)
    return process is not None and process.alive


async def descriptors() -> list[str]:
    """
    Our open descriptors, with those that the reactor opens when it starts.
    """
    await deferLater(reactor, 0)
    gc.collect()  # what earlier tests have left open
    return sorted(os.listdir("/proc/self/fd"))


class LauncherTests(TestCase):
    """
    Tasks are started, heard, and ended.
    """

    timeout = PATIENCE

    def setUp(self) -> None:
        """
        A launcher, stopped at the end with all its tasks.
        """
        self.scripts = self.mktemp()
        os.mkdir(self.scripts)
        self.launcher = self.launcherOf()
        self.addCleanup(self.launcher.stop)

    def launcherOf(self, spawners: int = 0) -> ProcessLauncher:
        """
        Make a launcher.
        """
        return ProcessLauncher(reactor, scripts=self.scripts, spawners=spawners)

    def launch(
        self,
        *command: str,
        script: str = "",
        stdin: bool = False,
        directory: str = "",
        environment: dict[str, str] = ENVIRONMENT,
    ) -> tuple[LaunchedProcess, Watcher]:
        """
        Launch a task.
        """
        watcher = Watcher()
        work = Work(script=script, command=command, stdin=stdin, directory=directory, grace=0.1)
        launch = Launch(str(uuid4()), work, environment)
        return self.launcher.prepare(launch, watcher).launch(), watcher

    async def run_(self, *command: str, script: str = "") -> tuple[ProcessExit, Watcher]:
        """
        Run a task to its end.
        """
        _, watcher = self.launch(*command, script=script)
        await watcher.started
        return await watcher.ended, watcher

    async def test_exitCodes(self) -> None:
        """
        The exit code of a task is told, and nothing of it stays.
        """
        for code in (0, 1, 7, 255):
            ending, _ = await self.run_(script=f"exit {code}")
            self.assertEqual((ending.exitCode, ending.signal, ending.note), (code, None, ""))
        (directory,) = os.listdir(self.scripts)
        self.assertEqual(os.listdir(os.path.join(self.scripts, directory)), [])

    async def test_signals(self) -> None:
        """
        Death by a signal is told apart from an exit.
        """
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV):
            ending, _ = await self.run_(script=f"kill -{number.value} $$")
            self.assertEqual((ending.exitCode, ending.signal), (None, number))

    async def test_usage(self) -> None:
        """
        Processor time and memory are those of the task, not ours.
        """
        # What is no more than we ever had would not be known.
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + 2**26
        program = f"x = bytearray({size})\nfor i in range(0, {size}, 4096): x[i] = 1"
        ending, _ = await self.run_(sys.executable, "-c", program)
        self.assertGreaterEqual(ending.maxResident, size)
        self.assertGreater(ending.userSeconds, 0)
        ending, _ = await self.run_("true")
        self.assertEqual(ending.maxResident, 0)  # no more than we have: not known

    async def test_output(self) -> None:
        """
        10 MB arrive unchanged on stdout, and stderr stays apart.
        """
        ending, watcher = await self.run_(
            script="f=$0.data; head -c 10000000 /dev/urandom > $f\n"
            "sha256sum < $f >&2; cat $f; rm $f; printf end >&2"
        )
        self.assertEqual((ending.exitCode, ending.note), (0, ""))
        digest = hashlib.sha256(watcher.output[Stream.STDOUT]).hexdigest()
        self.assertEqual(watcher.output[Stream.STDERR], f"{digest}  -\nend".encode())

    async def test_input(self) -> None:
        """
        5 MB of input arrive unchanged, and are told to be taken.
        """
        data = os.urandom(5_000_000)
        process, watcher = self.launch("cat", stdin=True)
        process.writeInput(data[:1])  # even before it started
        await watcher.started
        for begin in range(1, len(data), 100_000):
            process.writeInput(data[begin : begin + 100_000])
        process.endInput()
        ending = await watcher.ended
        self.assertEqual((ending.exitCode, watcher.taken), (0, len(data)))
        self.assertEqual(
            hashlib.sha256(watcher.output[Stream.STDOUT]).digest(), hashlib.sha256(data).digest()
        )

    async def test_inputNotWanted(self) -> None:
        """
        A task that does not read its input ends like any other, and the input
        counts as taken.
        """
        process, watcher = self.launch(script="exec <&-; echo closed; sleep 0.2", stdin=True)
        await watcher.hears(lambda: watcher.out == "closed\n")
        for _ in range(3):
            process.writeInput(b"x" * 100_000)
        ending = await watcher.ended
        self.assertEqual((ending.exitCode, watcher.taken), (0, 300_000))

    async def test_noInput(self) -> None:
        """
        Without input a task reads an empty one.
        """
        _, watcher = await self.run_(script="cat; readlink /proc/$$/fd/0")
        self.assertEqual(watcher.out, "/dev/null\n")

    async def test_notStarted(self) -> None:
        """
        Why a program cannot be started is said in words and with the number of
        the system.
        """
        directory = os.path.abspath(self.mktemp())
        os.mkdir(directory)
        plain = os.path.join(directory, "plain")
        with open(plain, "w") as file:
            file.write("#!/no/such\n")
        missing = os.path.join(directory, "missing")
        before = await descriptors()
        long = "x" * 100_000
        cases: list[tuple[tuple[str, ...], str, str, str, int]] = [
            ((missing,), "", "", f"cannot run {missing}: No such file", errno.ENOENT),
            (("no-such-program",), "", "", "cannot run no-such-program: No such", errno.ENOENT),
            ((plain,), "", "", f"cannot run {plain}: Permission denied", errno.EACCES),
            ((directory,), "", "", f"cannot run {directory}: Permission denied", errno.EACCES),
            (("true",), "", missing, f"working directory {missing}: No such", errno.ENOENT),
            (("true",), "", plain, f"working directory {plain}: Not a dir", errno.ENOTDIR),
            (("true", *[long] * 100), "", "", "cannot run true: Argument list", errno.E2BIG),
            ((), "#!/no/such\n", "", "cannot run the script: the interpreter", errno.ENOENT),
            (("\x1b[2J",), "", "", "cannot run \\x1b[2J: No such file", errno.ENOENT),
        ]
        for command, script, place, text, number in cases:
            process, watcher = self.launch(*command, script=script, directory=place)
            failure = await self.assertFailure(watcher.started, LaunchFailed)
            error = cast(LaunchFailed, failure)  # typed as if it had started
            self.assertIn(text, str(error))
            self.assertEqual(error.errno, number)
            self.assertEqual(await process.kill(signal.SIGTERM, 1), KillReport(0))
        self.assertEqual(await descriptors(), before)

    async def test_directoryAndInterpreter(self) -> None:
        """
        A task runs in its directory; a script by the interpreter that it names.
        """
        _, watcher = self.launch("pwd", directory="/usr")
        await watcher.ended
        self.assertEqual(watcher.out, "/usr\n")
        _, watcher = await self.run_(script="\n   #!/bin/cat\nmiau\n")
        self.assertEqual(watcher.out, "#!/bin/cat\nmiau\n")

    async def test_stderrByName(self) -> None:
        """
        Scripts that say C{> /dev/stderr} lose nothing.
        """
        ending, watcher = await self.run_(
            script="echo 1 > /dev/stderr; echo 2 > /dev/stdout; echo 3 > /dev/stderr; echo 4"
        )
        self.assertEqual(ending.exitCode, 0)
        self.assertEqual(watcher.output, {Stream.STDOUT: b"2\n4\n", Stream.STDERR: b"1\n3\n"})

    async def test_surroundings(self) -> None:
        """
        A task has no descriptor of ours, its own session, a umask and signals
        that do not depend on ours, and the environment that it was given.
        """
        ours, other = os.pipe()
        os.set_inheritable(ours, True)
        os.set_inheritable(other, True)
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, other)
        self.addCleanup(os.umask, os.umask(0o077))

        _, watcher = await self.run_("ls", "/proc/self/fd")
        self.assertEqual(watcher.out.split(), ["0", "1", "2", "3"])  # 3: the listing
        _, watcher = await self.run_("cat", "/proc/self/stat")
        process = parseStat(watcher.output[Stream.STDOUT])
        self.assertEqual((process.session, process.group), (process.pid, process.pid))
        _, watcher = await self.run_(script="umask; grep SigIgn /proc/$$/status")
        umask, _, ignored = watcher.out.split()
        # glibc's posix_spawn ignores signals of its own, which are above 31.
        self.assertEqual((umask, int(ignored, 16) & 0x7FFFFFFF), ("0022", 0))
        process_, watcher = self.launch("env", environment={"A": "1"})
        await watcher.ended
        self.assertEqual(watcher.out.split(), ["A=1", f"JSREMOTE_TASK={process_.task}"])

    async def test_holder(self) -> None:
        """
        A process left in the background that holds the output does not keep the
        task from ending, is named, and lives on.
        """
        script = f"sleep {SLEEP} & echo $!; exit 7"
        tasks = [self.launch(script=script)[1] for _ in range(5)]
        for watcher in tasks:
            ending = await watcher.ended
            pid = int(watcher.out)
            self.addCleanup(os.kill, pid, signal.SIGKILL)
            self.assertEqual(ending.exitCode, 7)
            self.assertEqual(ending.note, f"stdout and stderr still held by pid {pid} (sleep)")
            self.assertTrue(isAlive(pid))
            self.assertLess(watcher.seconds, SLEEP)

    async def test_killDuringDrain(self) -> None:
        """
        Until its end is told, a kill finds what the main process left behind.
        """
        # However long this machine takes for it.
        self.patch(drain, "DRAIN_SILENCE", drain.DRAIN_LIMIT)
        process, watcher = self.launch(script="trap '' TERM; setsid sleep 30 & echo $!")
        main = await watcher.started
        await watcher.hears(lambda: watcher.out.endswith("\n"))
        while isAlive(main):
            await deferLater(reactor, 0.01)
        report = await process.kill(signal.SIGTERM, 0.05)
        ending = await watcher.ended
        self.assertEqual((report, ending.exitCode, ending.note), (KillReport(1), 0, ""))
        self.assertFalse(isAlive(int(watcher.out)))

    async def nasty(self) -> tuple[LaunchedProcess, Watcher, list[int]]:
        """
        Start a nasty tree.
        """
        process, watcher = self.launch(sys.executable, "-c", NASTY)
        await watcher.hears(lambda: watcher.out.count("\n") == NASTY_SIZE)
        pids = [int(line) for line in watcher.out.split()]
        self.assertTrue(all(map(isAlive, pids)))
        return process, watcher, pids

    async def test_killTree(self) -> None:
        """
        A kill leaves no survivor, and another tree of the same kind is not
        touched.
        """
        process, watcher, pids = await self.nasty()
        other, otherWatcher, otherPids = await self.nasty()
        report = await process.kill(signal.SIGTERM, 0.3)
        self.assertEqual(report, KillReport(NASTY_SIZE))
        self.assertFalse(any(map(isAlive, pids)))
        self.assertTrue(all(map(isAlive, otherPids)))
        ending = await watcher.ended
        self.assertEqual((ending.signal, ending.note), (signal.SIGKILL, ""))
        self.assertFalse(otherWatcher.ended.called)

        again, report = process.kill(15, 5), await other.kill(signal.SIGKILL, 0)
        self.assertEqual((await again, report), (KillReport(0), KillReport(NASTY_SIZE)))
        self.assertFalse(any(map(isAlive, otherPids)))
        await otherWatcher.ended

    async def test_killBeforeStart(self) -> None:
        """
        A task may be killed before its start is told.
        """
        process, watcher = self.launch("sleep", "600")
        killed = process.kill(signal.SIGTERM, 5)
        await watcher.started
        ending = await watcher.ended
        self.assertEqual((await killed, ending.signal), (KillReport(1), signal.SIGTERM))

    async def test_kindKill(self) -> None:
        """
        A task that cleans up on SIGTERM has the time for it.
        """
        process, watcher = self.launch(
            script="trap 'sleep 0.3; echo clean; exit 3' TERM; echo ready\n"
            "while :; do sleep 0.1; done"
        )
        await watcher.hears(lambda: watcher.out == "ready\n")
        report = await process.kill(signal.SIGTERM, 20)
        self.assertEqual(report.survivors, ())
        ending = await watcher.ended
        self.assertEqual((ending.exitCode, watcher.out), (3, "ready\nclean\n"))

    async def test_stop(self) -> None:
        """
        A launcher that is stopped ends all tasks, also those that ignore it or
        are held back, and gives everything back.
        """
        await self.launcher.stop()
        before = await descriptors()
        self.launcher = self.launcherOf()
        _, nasty, pids = await self.nasty()
        mark = os.path.abspath(self.mktemp())
        paused, flood = self.launch(script=f"echo; touch {mark}; exec yes")
        paused.pauseProducing()
        while not os.path.exists(mark):
            await deferLater(reactor, 0.01)
        _, fresh = self.launch(script="sleep 600")
        await self.launcher.stop()
        self.assertFalse(any(map(isAlive, pids)))
        self.assertEqual((await nasty.ended).signal, signal.SIGKILL)
        self.assertEqual((await fresh.ended).signal, signal.SIGTERM)
        self.assertEqual((await flood.ended).note, "the last of stdout was not read")
        self.assertEqual((await descriptors(), os.listdir(self.scripts)), (before, []))

    async def test_many(self) -> None:
        """
        200 tasks at once all succeed, and no descriptor stays.
        """
        before = await descriptors()
        watchers = [self.launch("/bin/true")[1] for _ in range(200)]
        for watcher in watchers:
            self.assertEqual((await watcher.ended).exitCode, 0)
        self.assertEqual(await descriptors(), before)

    async def test_paused(self) -> None:
        """
        A task that prints without end is held back by its pipe while paused.
        """
        process, watcher = self.launch("yes")
        process.pauseProducing()
        await watcher.started
        await deferLater(reactor, 0.3)
        self.assertEqual(watcher.out, "")

        process.resumeProducing()
        await watcher.hears(lambda: len(watcher.out) > 1_000_000)
        process.pauseProducing()
        size = len(watcher.out)
        await deferLater(reactor, 0.3)
        self.assertEqual(len(watcher.out), size)
        await process.kill(signal.SIGKILL, 0)
        self.assertFalse(watcher.ended.called)
        process.resumeProducing()
        self.assertEqual((await watcher.ended).signal, signal.SIGKILL)
        self.assertEqual(set(re.findall("[^y\n]", watcher.out)), set())

    async def test_withoutFork(self) -> None:
        """
        Where Python's own call to start a process has other parameters, tasks are
        started, and fail, all the same.
        """

        def otherParameters(*given: object) -> int:
            raise TypeError("fork_exec() takes exactly 21 arguments")

        self.patch(forking, "_forkExec", otherParameters)
        ending, watcher = await self.run_(script="echo hello; umask; exit 3")
        self.assertEqual((ending.exitCode, watcher.out), (3, "hello\n0022\n"))
        _, watcher = self.launch("/does/not/exist")
        failed = await self.assertFailure(watcher.started, LaunchFailed)
        self.assertIn("cannot run /does/not/exist: No such file", str(failed))

    async def test_failureTaken(self) -> None:
        """
        Why a program cannot be run is told also where a part of the program waits
        for children which are not its own.
        """

        def taken(pid: int, options: int) -> tuple[int, int]:
            raise ChildProcessError

        self.patch(os, "waitpid", taken)
        _, watcher = self.launch("/does/not/exist")
        failed = await self.assertFailure(watcher.started, LaunchFailed)
        self.assertIn("cannot run /does/not/exist: No such file", str(failed))

    async def test_withoutPidfd(self) -> None:
        """
        Where the system has no pidfd, exits are noticed and kills work all the
        same.
        """

        def noPidfd(pid: int) -> int:
            raise OSError(errno.ENOSYS, "not here")

        self.patch(os, "pidfd_open", noPidfd)
        ending, watcher = await self.run_(script="echo hello; exit 3")
        self.assertEqual((ending.exitCode, watcher.out), (3, "hello\n"))
        process, watcher, pids = await self.nasty()
        self.assertEqual(await process.kill(signal.SIGTERM, 0.1), KillReport(NASTY_SIZE))
        self.assertFalse(any(map(isAlive, pids)))
        self.assertEqual((await watcher.ended).signal, signal.SIGKILL)

    async def test_statusTaken(self) -> None:
        """
        A part of the program that waits for children which are not its own does
        not hang a task: it ends, and says what is not known.
        """
        _, watcher = self.launch("true")
        os.waitpid(await watcher.started, 0)
        ending = await watcher.ended
        self.assertEqual((ending.exitCode, ending.signal), (None, None))
        self.assertIn("somebody else waited for it", ending.note)


class SpawnedTests(LauncherTests):
    """
    The same of tasks that are started by another process, and what is different
    about them.
    """

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        """
        Have even the first task started so, once that process runs.
        """
        self.patch(spawners, "ALONE", 0)
        self.patch(spawners, "WORTH", 0)
        super().setUp()
        await self.begin()

    def launcherOf(self, spawners: int = 1) -> ProcessLauncher:
        """
        Make one that has another process.
        """
        return super().launcherOf(spawners)

    async def begin(self) -> int:
        """
        Wait until the process runs.

        @return: its number.
        """
        while True:
            _, watcher = await self.run_(script="echo $PPID")
            if int(watcher.out) != os.getpid():
                return int(watcher.out)

    async def killed(self, pid: int) -> None:
        """
        Kill the process.
        """
        os.kill(pid, signal.SIGKILL)
        while isAlive(pid):
            await deferLater(reactor, 0.01)

    async def test_stop(self) -> None:
        """
        A launcher that is stopped before the process runs leaves nothing either.
        """
        await super().test_stop()

    async def test_statusTaken(self) -> None:
        """
        If the process is killed its tasks live on, and are heard, and killed, as
        before. How they end is not known, which is said; another process starts
        the next ones.
        """
        pid = await self.begin()
        process, watcher = self.launch(
            script="trap 'echo trapped' USR1; echo ready; read x; echo $x", stdin=True
        )
        other, otherWatcher = self.launch("sleep", "600")
        main = await watcher.started
        await watcher.hears(lambda: watcher.out == "ready\n")
        await otherWatcher.started
        await self.killed(pid)
        self.assertNotEqual(await self.begin(), pid)
        self.assertTrue(isAlive(main))
        process.writeInput(b"hello\n")
        ending = await watcher.ended
        self.assertEqual(watcher.out, "ready\nhello\n")
        self.assertEqual((ending.exitCode, ending.signal), (None, None))
        self.assertIn("not known: what started it was killed", ending.note)
        self.assertEqual(await other.kill(signal.SIGTERM, 5), KillReport(1))
        self.assertIn("what started it was killed", (await otherWatcher.ended).note)

    async def test_waitedForBeforeReport(self) -> None:
        """
        Who is about to kill hears first what was reported: what has exited was
        waited for, and its number may be somebody else's.
        """
        process, watcher = self.launch("sleep", "600")
        main = await watcher.started
        self.assertEqual((process.main, process.reaped, process.descriptors), (main, False, 2))
        os.kill(main, signal.SIGKILL)
        # Not a turn of the reactor.
        until = time.monotonic() + PATIENCE
        while not process.reaped and time.monotonic() < until:
            self.launcher.mains()
        self.assertEqual((process.reaped, isAlive(main)), (True, False))
        self.assertEqual((await watcher.ended).signal, signal.SIGKILL)

    async def test_killedWhileStarting(self) -> None:
        """
        A task whose start nobody reports any more may have run, which is said.
        """
        pid = await self.begin()
        os.kill(pid, signal.SIGSTOP)
        process, watcher = self.launch("true")
        killed = process.kill(signal.SIGTERM, 5)
        await self.killed(pid)
        await self.assertFailure(watcher.started, LaunchLost)
        self.assertEqual(await killed, KillReport(0))
        ending, _ = await self.run_("true")
        self.assertEqual(ending.exitCode, 0)

    async def test_lastWords(self) -> None:
        """
        What the process reported before it was killed is heard, also if it had not
        read all starts.
        """
        pid = await self.begin()
        _, watcher = self.launch("sleep", "600")
        main = await watcher.started
        os.kill(main, signal.SIGKILL)
        (connection,) = [it for it in reactor.getReaders() if it.logPrefix() == "spawner"]
        select.select([connection], [], [])  # it says how that ended
        os.kill(pid, signal.SIGSTOP)
        _, unread = self.launch("true")
        os.kill(pid, signal.SIGKILL)
        while isAlive(pid):  # not a turn of the reactor
            pass
        self.assertEqual((await watcher.ended).signal, signal.SIGKILL)
        await self.assertFailure(unread.started, LaunchLost)

    async def test_foundAfterKill(self) -> None:
        """
        A task whose start nobody reports any more, but that runs, is found by
        its mark.
        """
        pid = await self.begin()
        os.kill(pid, signal.SIGSTOP)
        process, watcher = self.launch("sleep", "600")
        # In place of the one that it would have started in its last moment.
        found = subprocess.Popen(
            ["sleep", "600"], env={**ENVIRONMENT, MARK: process.task}, start_new_session=True
        )
        await self.killed(pid)
        self.assertEqual(await watcher.started, found.pid)
        self.assertEqual(await process.kill(signal.SIGTERM, 5), KillReport(1))
        self.assertIsNone((await watcher.ended).signal)
        self.assertEqual(found.wait(), -signal.SIGTERM)

    async def test_longStart(self) -> None:
        """
        What is too long for a message to the process is started without it, and
        what has no room among its starts is started when there is some.
        """
        pid = await self.begin()
        os.kill(pid, signal.SIGSTOP)
        watchers = [self.launch(script="echo $PPID")[1] for _ in range(3 * WINDOW)]
        _, long = self.launch("sh", "-c", "echo $PPID", "x" * LONGEST)
        await long.ended
        self.assertEqual(int(long.out), os.getpid())
        self.assertFalse(any(watcher.started.called for watcher in watchers))
        os.kill(pid, signal.SIGCONT)
        for watcher in watchers:
            await watcher.ended
            self.assertEqual(int(watcher.out), pid)

    async def test_fewDescriptors(self) -> None:
        """
        Tasks that are started together need no more descriptors than those that are
        started one by one.
        """
        pid = await self.begin()
        os.kill(pid, signal.SIGSTOP)
        more = 12
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        room = len(await descriptors()) + 2 * (WINDOW + more) + 8
        resource.setrlimit(resource.RLIMIT_NOFILE, (room, limits[1]))
        watchers = [self.launch("sleep", "600")[1] for _ in range(WINDOW + more)]
        os.kill(pid, signal.SIGCONT)
        for watcher in watchers:
            await watcher.started

    async def test_stopWhileStarting(self) -> None:
        """
        A launcher that is stopped refuses what was not yet begun, and ends what
        was.
        """
        pid = await self.begin()
        os.kill(pid, signal.SIGSTOP)
        watchers = [self.launch("sleep", "600")[1] for _ in range(WINDOW + 2)]
        stopped = self.launcher.stop()
        os.kill(pid, signal.SIGCONT)
        await stopped
        for watcher in watchers[:WINDOW]:
            self.assertIn((await watcher.ended).signal, (signal.SIGTERM, signal.SIGKILL))
        for watcher in watchers[WINDOW:]:
            await self.assertFailure(watcher.started, LaunchFailed)
        self.assertFalse(isAlive(pid))

    async def test_stopHeardLate(self) -> None:
        """
        How a task ended when the launcher was stopped is told also by a process
        that is late with it.
        """
        pid = await self.begin()
        _, watcher = self.launch("sleep", "600")
        main = await watcher.started
        os.kill(pid, signal.SIGSTOP)
        stopped = self.launcher.stop()
        while isAlive(main):
            await deferLater(reactor, 0.01)
        await deferLater(reactor, 0.2)
        os.kill(pid, signal.SIGCONT)
        await stopped
        self.assertEqual((await watcher.ended).signal, signal.SIGTERM)

    async def test_stopWithoutAnswer(self) -> None:
        """
        Nor does a launcher wait for ever, when it is stopped, for a process that
        does nothing any more.
        """
        self.patch(spawners, "STARTING", 0.1)
        pid = await self.begin()
        os.kill(pid, signal.SIGSTOP)
        _, watcher = self.launch("true")
        await self.launcher.stop()
        await self.assertFailure(watcher.started, LaunchLost)
        self.assertFalse(isAlive(pid))

    async def test_noProcess(self) -> None:
        """
        Where there can be no such process, tasks are started without it.
        """
        await self.launcher.stop()
        self.patch(sys, "executable", "/bin/false")
        self.launcher = self.launcherOf()
        self.addCleanup(self.launcher.stop)
        for _ in range(5):
            _, watcher = await self.run_(script="echo $PPID")
            self.assertEqual(int(watcher.out), os.getpid())

    async def test_blockedSignal(self) -> None:
        """
        Ends are reported also where the service was started with SIGCHLD blocked.
        """
        await self.launcher.stop()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        self.addCleanup(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        self.launcher = self.launcherOf()
        self.addCleanup(self.launcher.stop)
        await self.begin()

    async def test_signals(self) -> None:
        """
        Signals to all processes of the service, as from a service manager that
        ends them, do not end the process before its tasks are over.
        """
        await super().test_signals()
        pid = await self.begin()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
        self.assertEqual(await self.begin(), pid)
