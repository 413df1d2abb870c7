"""
Tests for L{jobscheduler_tcp.remote.processes} and L{jobscheduler_tcp.remote.kill}.

They look at a /proc of their own. Its processes have numbers that Linux never
gives (above 2**22), so that no signal can reach anybody.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.interfaces import KillReport
from jobscheduler_tcp.messages import Survivor
from jobscheduler_tcp.remote.kill import PATIENCE, Family, Killer
from jobscheduler_tcp.remote.processes import (
    PipeHolders,
    Process,
    Snapshot,
    parseStat,
    printable,
    readProcess,
    send,
    survivorOf,
)

# Process numbers.
MAIN, CHILD, LEFT, DAEMON, OTHER = range(5_000_001, 5_000_006)

TASK = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f10"


def statLine(
    pid: int,
    *,
    name: bytes = b"sh",
    state: bytes = b"S",
    parent: int = 1,
    group: int = 0,
    session: int = 0,
    threads: int = 1,
    started: int = 100,
) -> bytes:
    """
    Make a line as in /proc/PID/stat.
    """
    return b"%d (%b) %b %d %d %d 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 %d 0 %d 2605056 213 99\n" % (
        pid,
        name,
        state,
        parent,
        group or pid,
        session or pid,
        threads,
        started,
    )


class FakeProc:
    """
    A directory like /proc.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        os.makedirs(os.path.join(path, "self"))

    def add(
        self,
        pid: int,
        *,
        mark: str = "",
        command: bytes = b"sleep\x00600\0",
        pipes: tuple[int, ...] = (),
        state: bytes = b"S",
        parent: int = 1,
        group: int = 0,
        session: int = 0,
        threads: int = 1,
        started: int = 100,
        name: bytes = b"sleep",
    ) -> None:
        """
        Have a process, in place of one with its number.
        """
        directory = os.path.join(self.path, str(pid))
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(os.path.join(directory, "fd"))
        environment = b"LANG=C\0"
        if mark:
            environment += b"JSREMOTE_TASK=%b\0PATH=/bin\0" % mark.encode()
        line = statLine(
            pid,
            name=name,
            state=state,
            parent=parent,
            group=group,
            session=session,
            threads=threads,
            started=started,
        )
        for file, data in (("stat", line), ("environ", environment), ("cmdline", command)):
            with open(os.path.join(directory, file), "wb") as opened:
                opened.write(data)
        for number, inode in enumerate(pipes):
            os.symlink(f"pipe:[{inode}]", os.path.join(directory, "fd", str(number)))

    def remove(self, pid: int) -> None:
        """
        Let a process be gone.
        """
        shutil.rmtree(os.path.join(self.path, str(pid)), ignore_errors=True)


class StatTests(SynchronousTestCase):
    """
    What a line of /proc/PID/stat says.
    """

    def test_fields(self) -> None:
        """
        Number, name, parent, group, session and start time are read.
        """
        line = statLine(17, name=b"cat", state=b"R", parent=3, group=12, session=9, started=8765)
        self.assertEqual(parseStat(line), Process(17, b"cat", True, 3, 12, 9, 8765))

    def test_namesThatLookLikeFields(self) -> None:
        """
        A process may call itself anything, also with blanks, parentheses and
        line ends.
        """
        for name in (b"a b", b") Z 1 1 1", b"((", b"))) ", b"x\n1 (y) R 1", b"", b" "):
            process = parseStat(statLine(17, name=name, parent=3))
            self.assertEqual((process.name, process.parent, process.alive), (name, 3, True))

    @settings(deadline=None, max_examples=100)
    @given(st.binary(max_size=64), st.integers(1, 2**22), st.integers(0, 2**63))
    def test_anyName(self, name: bytes, pid: int, started: int) -> None:
        """
        No name changes what else is read.
        """
        process = parseStat(statLine(pid, name=name, parent=5, started=started))
        self.assertEqual(process, Process(pid, name, True, 5, pid, pid, started))

    def test_dead(self) -> None:
        """
        A zombie counts as dead, and so does one that is just going.
        """
        for state in (b"Z", b"X"):
            self.assertFalse(parseStat(statLine(17, state=state)).alive)

    def test_firstThreadEnded(self) -> None:
        """
        A process whose first thread has ended looks like a zombie, but lives as
        long as another of its threads.
        """
        self.assertTrue(parseStat(statLine(17, state=b"Z", threads=2)).alive)

    def test_nobody(self) -> None:
        """
        A process that is gone, or a file that is cut, is no process.
        """
        proc = FakeProc(self.mktemp())
        self.assertIsNone(readProcess(MAIN, proc.path))
        for data in (b"", b"17", b"17 (sh", b"17 (sh) S 1", b"x (sh) S 1"):
            proc.add(MAIN)
            with open(os.path.join(proc.path, str(MAIN), "stat"), "wb") as file:
                file.write(data)
            self.assertIsNone(readProcess(MAIN, proc.path))

    def test_ourselves(self) -> None:
        """
        The real /proc is read in the same way.
        """
        us = readProcess(os.getpid())
        assert us is not None
        self.assertEqual((us.pid, us.parent, us.group), (os.getpid(), os.getppid(), os.getpgrp()))
        self.assertEqual(us.session, os.getsid(0))
        self.assertTrue(us.alive)


class PrintableTests(SynchronousTestCase):
    """
    What a process calls itself, on a terminal.
    """

    def test_harmless(self) -> None:
        """
        Control characters and bytes that are no text are shown as escapes.
        """
        self.assertEqual(printable(b"a\x1b[2J\nb\xff\x7f"), "a\\x1b[2J\\x0ab\\xff\\x7f")
        self.assertEqual(printable("löschen".encode()), "löschen")

    def test_cut(self) -> None:
        """
        What is long is cut.
        """
        self.assertEqual(printable(b"x" * 10, 5), "xxxx…")
        self.assertEqual(printable(b"x" * 5, 5), "xxxxx")

    def test_survivor(self) -> None:
        """
        A survivor is told by its command line, or by its name if it has none.
        """
        proc = FakeProc(self.mktemp())
        proc.add(MAIN, command=b"dd\0if=/dev/\x07\0")
        proc.add(CHILD, command=b"", name=b"kworker")
        shown = [
            survivorOf(process, proc.path)
            for process in sorted(Snapshot(proc.path).processes.values())
        ]
        self.assertEqual(shown, [Survivor(MAIN, "dd if=/dev/\\x07"), Survivor(CHILD, "(kworker)")])


class FamilyTests(SynchronousTestCase):
    """
    Which processes belong to a task.
    """

    def setUp(self) -> None:
        """
        A task's main process, and one of nobody.
        """
        self.proc = FakeProc(self.mktemp())
        self.proc.add(os.getpid(), group=os.getpgrp(), parent=1)
        self.proc.add(MAIN, parent=os.getpid())
        self.proc.add(OTHER)

    def family(self, main: int | None = MAIN, known: tuple[Process, ...] = ()) -> set[int]:
        """
        Look.
        """
        snapshot = Snapshot(self.proc.path, {MAIN})
        return {process.pid for process in snapshot.family(main, TASK, known)}

    def test_sessionAndGroup(self) -> None:
        """
        Those in the session or the process group of the main process belong to
        it, even when nobody connects them any more.
        """
        self.proc.add(CHILD, session=MAIN)
        self.proc.add(LEFT, group=MAIN, session=MAIN)
        self.assertEqual(self.family(), {MAIN, CHILD, LEFT})

    def test_mainIsGone(self) -> None:
        """
        They are found when the main process has exited.
        """
        self.proc.add(MAIN, state=b"Z")
        self.proc.add(CHILD, session=MAIN)
        self.assertEqual(self.family(), {CHILD})

    def test_descendants(self) -> None:
        """
        Those in a session of their own are found by their parents.
        """
        self.proc.add(CHILD, parent=MAIN)
        self.proc.add(LEFT, parent=CHILD)
        self.assertEqual(self.family(), {MAIN, CHILD, LEFT})

    def test_mark(self) -> None:
        """
        Those that have left session and parent are found by their environment,
        whether they landed with init or with us, and with them their children.
        """
        self.proc.add(DAEMON, mark=TASK)
        self.proc.add(CHILD, parent=DAEMON)
        self.proc.add(LEFT, mark=TASK, parent=os.getpid())
        self.assertEqual(self.family(), {MAIN, DAEMON, CHILD, LEFT})

    def test_subreaper(self) -> None:
        """
        They may also land with an ancestor of ours.
        """
        self.proc.add(os.getpid(), group=os.getpgrp(), parent=OTHER)
        self.proc.add(DAEMON, mark=TASK, parent=OTHER)
        self.assertEqual(self.family(), {MAIN, DAEMON})

    def test_otherMark(self) -> None:
        """
        The processes of another task are not touched.
        """
        self.proc.add(DAEMON, mark=TASK[:-1] + "1")
        self.proc.add(LEFT, mark=TASK + "0")
        self.assertEqual(self.family(), {MAIN})

    def test_otherMain(self) -> None:
        """
        The main processes of tasks are known: nobody reads their environment.
        """
        self.proc.add(OTHER, parent=os.getpid(), mark=TASK)
        snapshot = Snapshot(self.proc.path, {MAIN, OTHER})
        self.assertEqual([process.pid for process in snapshot.family(MAIN, TASK)], [MAIN])

    def test_order(self) -> None:
        """
        The main process comes first, then the others by age: a shell must not
        see its command die of a signal before it has got the signal itself.
        """
        self.proc.add(CHILD, parent=MAIN, started=100)
        self.proc.add(LEFT, session=MAIN, started=99)
        self.proc.add(DAEMON, mark=TASK, started=120)
        found = Snapshot(self.proc.path, {MAIN}).family(MAIN, TASK)
        self.assertEqual([process.pid for process in found], [MAIN, LEFT, CHILD, DAEMON])

    def test_known(self) -> None:
        """
        Those of an earlier look stay, unless their number went to another.
        """
        self.proc.add(LEFT, started=200)
        known = Snapshot(self.proc.path).processes[LEFT]
        self.assertEqual(self.family(known=(known,)), {MAIN, LEFT})

        self.proc.add(LEFT, started=201)
        self.assertEqual(self.family(known=(known,)), {MAIN})

    def test_numberOfSomebodyElse(self) -> None:
        """
        Once the main process was waited for and its session is empty, the number
        means nothing.
        """
        self.proc.add(DAEMON, mark=TASK)
        self.assertEqual(self.family(main=None), {DAEMON})

    def test_spared(self) -> None:
        """
        Init, we ourselves and our process group are never touched, whatever
        stands in their environment.
        """
        self.proc.add(1, mark=TASK, parent=0)
        self.proc.add(os.getpid(), mark=TASK, group=os.getpgrp())
        self.proc.add(CHILD, mark=TASK, group=os.getpgrp(), parent=os.getpid())
        self.assertEqual(self.family(), {MAIN})
        self.assertEqual(self.family(main=os.getpgrp()), set())


class SendTests(SynchronousTestCase):
    """
    A signal reaches exactly the process that was meant.
    """

    def test_startedLater(self) -> None:
        """
        It does not reach one that has the number now.
        """
        us = readProcess(os.getpid())
        assert us is not None
        heard: list[int] = []
        before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
        self.addCleanup(signal.signal, signal.SIGUSR1, before)

        send(us._replace(started=us.started + 1), signal.SIGUSR1)
        self.assertEqual(heard, [])
        send(us, signal.SIGUSR1)
        self.assertEqual(heard, [signal.SIGUSR1])

    def test_withoutPidfd(self) -> None:
        """
        Where a system has no pidfd, or no descriptor is left, kill(2) does it.
        """

        def noPidfd(pid: int) -> int:
            raise OSError

        self.patch(os, "pidfd_open", noPidfd)
        self.test_startedLater()

    def test_gone(self) -> None:
        """
        A process that is gone, or a signal that does not exist, is no error.
        """
        send(Process(MAIN, b"", True, 1, MAIN, MAIN, 1), signal.SIGTERM)
        us = readProcess(os.getpid())
        assert us is not None
        send(us, 4711)


class PipeHoldersTests(SynchronousTestCase):
    """
    Who holds a pipe.
    """

    def test_holder(self) -> None:
        """
        It is named by number and name; one that nobody holds has none.
        """
        proc = FakeProc(self.mktemp())
        proc.add(MAIN, pipes=(7,), name=b"tail\x1b")
        proc.add(os.getpid(), pipes=(8,))
        holders = PipeHolders(Clock(), proc.path)
        self.assertEqual(holders.holderOf(7), f"pid {MAIN} (tail\\x1b)")
        self.assertEqual(holders.holderOf(8), "")

    def test_oneLookForMany(self) -> None:
        """
        An answer is used again for half a second.
        """
        clock = Clock()
        proc = FakeProc(self.mktemp())
        holders = PipeHolders(clock, proc.path)
        self.assertEqual(holders.holderOf(7), "")

        proc.add(MAIN, pipes=(7,))
        clock.advance(0.4)
        self.assertEqual(holders.holderOf(7), "")
        clock.advance(0.1)
        self.assertEqual(holders.holderOf(7), f"pid {MAIN} (sleep)")

    def test_noProc(self) -> None:
        """
        Where there is no /proc, nobody is named.
        """
        self.assertEqual(PipeHolders(Clock(), self.mktemp()).holderOf(7), "")


class KillTests(SynchronousTestCase):
    """
    A kill goes on until nobody is left.
    """

    def setUp(self) -> None:
        """
        Two tasks, and a record of the signals.
        """
        self.clock = Clock()
        self.proc = FakeProc(self.mktemp())
        self.proc.add(os.getpid(), group=os.getpgrp())
        self.proc.add(MAIN, parent=os.getpid())
        self.proc.add(OTHER, parent=os.getpid())
        self.sent: list[tuple[int, int]] = []
        self.obedient = {signal.SIGTERM, signal.SIGKILL}
        self.killer = Killer(self.clock, lambda: {MAIN, OTHER}, self.proc.path, self.send)
        self.family = Family(TASK, MAIN)

    def send(self, process: Process, number: int, proc: str) -> None:
        """
        Note a signal, and obey it if that is the wish of the test.
        """
        self.sent.append((process.pid, number))
        if number in self.obedient:
            self.proc.remove(process.pid)

    def kill(self, grace: float = 5.0) -> Deferred[KillReport]:
        """
        Send SIGTERM.
        """
        return self.killer.kill(self.family, signal.SIGTERM, grace)

    def tearDown(self) -> None:
        """
        No kill leaves a timer.
        """
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_obedient(self) -> None:
        """
        Whoever ends on the first signal gets no other; all are counted.
        """
        self.proc.add(CHILD, parent=MAIN)
        done = self.kill()
        self.assertEqual(self.sent, [])  # not before the caller has the Deferred
        self.clock.pump([0, 0.01, 0.01, 0.02])
        self.assertEqual(self.successResultOf(done), KillReport(2))
        self.assertEqual(sorted(self.sent), [(MAIN, signal.SIGTERM), (CHILD, signal.SIGTERM)])

    def test_nobody(self) -> None:
        """
        A task of which nothing is left has nobody to kill.
        """
        self.proc.remove(MAIN)
        done = self.kill()
        self.clock.pump([0, 0.01])
        self.assertEqual(self.successResultOf(done), KillReport(0))

    def test_overlooked(self) -> None:
        """
        One empty look is not enough: a process that forks and leaves while we
        look can be missed.
        """
        done = self.kill()
        self.clock.advance(0)
        self.clock.advance(0.01)
        self.assertNoResult(done)
        self.proc.add(CHILD, session=MAIN)
        self.clock.pump([0.02, 0.04, 0.08])
        self.assertEqual(self.successResultOf(done), KillReport(2))

    def test_grace(self) -> None:
        """
        Those who ignore the signal get it once, and SIGKILL after the grace.
        """
        self.obedient = {signal.SIGKILL}
        done = self.kill(grace=2)
        self.clock.pump([0.01] * 199)
        self.assertEqual(self.sent, [(MAIN, signal.SIGTERM)])
        self.clock.pump([0.01] * 2)
        self.assertEqual(self.sent, [(MAIN, signal.SIGTERM), (MAIN, signal.SIGKILL)])
        self.clock.pump([0.2] * 2)
        self.assertEqual(self.successResultOf(done), KillReport(1))

    def test_newcomer(self) -> None:
        """
        A process that is started during the grace gets the signal too.
        """
        self.obedient = set()
        self.kill(grace=1).addErrback(self.fail)
        self.clock.advance(0)
        self.proc.add(CHILD, parent=MAIN)
        self.clock.pump([0.1] * 5)
        self.assertEqual(self.sent, [(MAIN, signal.SIGTERM), (CHILD, signal.SIGTERM)])
        self.clock.pump([0.2] * 60)

    def test_survivor(self) -> None:
        """
        Who does not even end on SIGKILL is reported after five seconds.
        """
        self.obedient = set()
        self.proc.add(CHILD, parent=MAIN)
        done = self.kill(grace=0)
        self.clock.advance(0)
        self.proc.remove(MAIN)
        self.proc.add(CHILD)
        self.clock.pump([0.1] * int(PATIENCE * 10 - 1))
        self.assertNoResult(done)
        self.clock.pump([0.1] * 4)
        report = self.successResultOf(done)
        self.assertEqual(report, KillReport(1, (Survivor(CHILD, "sleep 600"),)))
        self.assertEqual({number for _, number in self.sent}, {signal.SIGKILL})

    def test_strangeGrace(self) -> None:
        """
        A grace that is no number is none.
        """
        self.kill(grace=float("nan")).addErrback(self.fail)
        self.clock.pump([0, 0.01, 0.02])
        self.assertEqual(self.sent, [(MAIN, signal.SIGKILL)])

    def test_numberGivenAway(self) -> None:
        """
        When the main process was waited for and its session is empty, a stranger
        may have its number, and is left alone.
        """
        self.obedient = {signal.SIGKILL}
        self.proc.add(DAEMON, mark=TASK)
        done = self.kill(grace=1)
        self.clock.advance(0)
        self.proc.remove(MAIN)
        self.family.reaped = True
        self.clock.pump([0.1] * 5)
        self.proc.add(MAIN, started=4711)
        self.clock.pump([0.1] * 10)
        self.assertEqual(self.successResultOf(done), KillReport(2))
        self.assertEqual(
            sorted(self.sent),
            [(MAIN, signal.SIGTERM), (DAEMON, signal.SIGKILL), (DAEMON, signal.SIGTERM)],
        )

    def test_numberGivenAwayBefore(self) -> None:
        """
        A living process with the number of one that was waited for is a stranger,
        even if it was there, and leads a session, before we first looked.
        """
        self.proc.add(MAIN, started=4711)
        self.proc.add(CHILD, parent=MAIN, session=MAIN)
        self.proc.add(DAEMON, mark=TASK)
        self.family.reaped = True
        done = self.kill()
        self.clock.pump([0, 0.01, 0.02])
        self.assertEqual(self.successResultOf(done), KillReport(1))
        self.assertEqual(self.sent, [(DAEMON, signal.SIGTERM)])

    def test_together(self) -> None:
        """
        Kills that are under way at the same time do not touch each other, nor
        does one that comes when another ends.
        """
        other = Family(TASK[:-1] + "1", OTHER)
        done = self.kill()
        later: list[Deferred[KillReport]] = []

        def killOther(report: KillReport) -> KillReport:
            later.append(self.killer.kill(other, signal.SIGTERM, 1))
            return report

        done.addCallback(killOther)
        again = self.killer.kill(self.family, signal.SIGKILL, 0)
        self.clock.pump([0, 0.01, 0.02, 0.04])
        self.assertEqual(self.successResultOf(done), KillReport(1))
        self.assertEqual(self.successResultOf(again), KillReport(1))
        self.clock.pump([0.04, 0.04])
        self.assertEqual(self.successResultOf(later[0]), KillReport(1))
        self.assertEqual(self.sent[0], (MAIN, signal.SIGTERM))
        self.assertEqual(self.sent[-1], (OTHER, signal.SIGTERM))

    def test_outOfDescriptors(self) -> None:
        """
        When we have no descriptor left to look with, nobody is taken for dead:
        we look again until we can.
        """
        openFile = os.open

        def full(path: str, flags: int) -> int:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(os, "open", full)
        done = self.kill()
        self.clock.pump([0.1] * 100)
        self.assertNoResult(done)

        self.patch(os, "open", openFile)
        self.clock.pump([0.2] * 3)
        self.assertEqual(self.successResultOf(done), KillReport(1))

    def test_noProc(self) -> None:
        """
        Where there is no /proc, the process group is all that can be killed.
        """
        killer = Killer(self.clock, lambda: {MAIN}, self.mktemp())
        done = killer.kill(self.family, signal.SIGTERM, 5)
        self.clock.pump([0, 0.01])
        self.assertEqual(self.successResultOf(done), KillReport(0))
