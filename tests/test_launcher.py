"""
Tests for L{jobscheduler_tcp.remote.launcher} and what it is made of: L{launched
<jobscheduler_tcp.remote.launched>}, L{pipes <jobscheduler_tcp.remote.pipes>},
L{exits <jobscheduler_tcp.remote.exits>}, L{program
<jobscheduler_tcp.remote.program>}.

No process is started here: pipes are real, and who is said to hold their other
end has a number that Linux never gives. tests/integration has the real ones.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import os
import stat
from collections.abc import Callable
from dataclasses import replace

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from jobscheduler_tcp.errors import LaunchFailed
from jobscheduler_tcp.interfaces import (
    ILaunchReactor,
    IPreparedLaunch,
    ITaskLauncher,
    ITaskProcess,
    ITaskReceiver,
    KillReport,
    Launch,
    ProcessExit,
)
from jobscheduler_tcp.messages import Stream, Work
from jobscheduler_tcp.remote import exits, program
from jobscheduler_tcp.remote.drain import DRAIN_LIMIT, DRAIN_SILENCE
from jobscheduler_tcp.remote.exits import AWAITED, POLL_INTERVAL, ExitWatch, ReportedExit
from jobscheduler_tcp.remote.kill import Killer
from jobscheduler_tcp.remote.launched import LaunchedProcess
from jobscheduler_tcp.remote.launcher import ProcessLauncher
from jobscheduler_tcp.remote.pipes import InputPipe, OutputPipe
from jobscheduler_tcp.remote.processes import PipeHolders
from jobscheduler_tcp.remote.program import Execution, ScriptDirectory, prepare

NOBODY = 5_000_000
TASK = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f10"
STDOUT, STDERR = Stream.STDOUT, Stream.STDERR

# What the end of a process looks like that was never a child of ours.
UNKNOWN = "how the process ended is not known: somebody else waited for it"


@implementer(ILaunchReactor)
class FakeReactor(Clock):
    """
    A clock with descriptors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[IReadDescriptor] = []
        self.writers: list[IWriteDescriptor] = []

    def addReader(self, reader: IReadDescriptor) -> None:
        """
        Watch for reading.
        """
        if reader not in self.readers:
            self.readers.append(reader)

    def addWriter(self, writer: IWriteDescriptor) -> None:
        """
        Watch for writing.
        """
        if writer not in self.writers:
            self.writers.append(writer)

    def removeReader(self, reader: IReadDescriptor) -> None:
        """
        Watch no more.
        """
        if reader in self.readers:
            self.readers.remove(reader)

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        """
        Watch no more.
        """
        if writer in self.writers:
            self.writers.remove(writer)

    def removeAll(self) -> list[IReadDescriptor | IWriteDescriptor]:
        """
        Watch nothing.
        """
        removed: list[IReadDescriptor | IWriteDescriptor] = [*self.readers, *self.writers]
        self.readers, self.writers = [], []
        return removed

    def getReaders(self) -> list[IReadDescriptor]:
        """
        Tell who is watched for reading.
        """
        return self.readers

    def getWriters(self) -> list[IWriteDescriptor]:
        """
        Tell who is watched for writing.
        """
        return self.writers

    def events(self) -> None:
        """
        Have every descriptor read and write once; those that are not ready
        notice that by themselves.
        """
        for reader in list(self.readers):
            reader.doRead()
        for writer in list(self.writers):
            writer.doWrite()


@implementer(ITaskReceiver)
class RecordingTaskReceiver:
    """
    What a launcher told, in order.
    """

    def __init__(self) -> None:
        self.told: list[object] = []
        self.onOutput: Callable[[], None] = lambda: None

    def processStarted(self, pid: int) -> None:
        """
        Note it.
        """
        self.told.append(("started", pid))

    def processNotStarted(self, error: LaunchFailed) -> None:
        """
        Note it.
        """
        self.told.append(error)

    def outputReceived(self, stream: Stream, data: bytes) -> None:
        """
        Note it.
        """
        self.told.append((stream, data))
        self.onOutput()

    def inputTaken(self, count: int) -> None:
        """
        Note it.
        """
        self.told.append(count)

    def processEnded(self, ending: ProcessExit) -> None:
        """
        Note it.
        """
        self.told.append(ending)


class PipeTestCase(SynchronousTestCase):
    """
    What tests with pipes need.
    """

    def setUp(self) -> None:
        """
        A reactor.
        """
        self.reactor = FakeReactor()

    def pipe(self) -> tuple[int, int]:
        """
        Make a pipe that does not outlive the test.
        """
        ends = os.pipe()
        for end in ends:
            os.set_blocking(end, False)
            self.addCleanup(self.closeIfOpen, end, os.fstat(end).st_ino)
        return ends

    def closeIfOpen(self, descriptor: int, inode: int) -> None:
        """
        Close a pipe that nobody has closed, and not who has its number now.
        """
        try:
            if os.fstat(descriptor).st_ino == inode:
                os.close(descriptor)
        except OSError:
            pass


class OutputPipeTests(PipeTestCase):
    """
    Output is read in large pieces, and only while it is wanted.
    """

    def setUp(self) -> None:
        """
        A stream.
        """
        super().setUp()
        self.heard: list[bytes] = []
        self.ends = 0
        self.onHearing: Callable[[], None] = lambda: None
        reading, self.writing = self.pipe()
        self.output = OutputPipe(self.reactor, STDOUT, reading, self)

    def outputHeard(self, stream: Stream, data: bytes) -> None:
        """
        Note output.
        """
        self.assertIs(stream, STDOUT)
        self.heard.append(data)
        self.onHearing()

    def outputEnded(self) -> None:
        """
        Count ends.
        """
        self.ends += 1

    def test_interface(self) -> None:
        """
        A stream is a descriptor that a reactor can read.
        """
        verifyObject(IReadDescriptor, self.output)
        self.assertEqual(self.output.logPrefix(), "stdout")

    def test_reading(self) -> None:
        """
        It is read after C{resume}, not after C{pause}, and to its end.
        """
        os.write(self.writing, b"one")
        self.reactor.events()
        self.assertEqual(self.heard, [])

        self.output.resume()
        self.output.resume()
        self.reactor.events()
        self.reactor.events()  # nothing there
        self.assertEqual(self.heard, [b"one"])

        self.output.pause()
        os.write(self.writing, b"two")
        os.close(self.writing)
        self.reactor.events()
        self.assertEqual(self.heard, [b"one"])
        self.assertEqual(self.output.state(), (True, False))

        self.output.resume()
        self.output.drain()
        self.assertEqual((self.heard, self.ends), ([b"one", b"two"], 1))
        self.assertTrue(self.output.closed)
        self.assertEqual(self.output.state(), (False, False))
        self.assertEqual((self.output.fileno(), self.reactor.readers), (-1, []))

    def test_readOut(self) -> None:
        """
        What ended before it is read for the first time is never with the reactor;
        what did not goes on to be read.
        """
        os.write(self.writing, b"one")
        self.output.readOut()
        self.assertEqual((self.heard, self.reactor.readers), ([b"one"], [self.output]))
        os.close(self.writing)
        self.reactor.events()
        self.assertEqual((self.ends, self.output.closed), (1, True))

        for printed in (b"", b"two"):
            reading, writing = self.pipe()
            self.output = OutputPipe(self.reactor, STDOUT, reading, self)
            os.write(writing, printed)
            os.close(writing)
            self.patch(self.reactor, "addReader", self.fail)
            self.output.readOut()
            self.assertTrue(self.output.closed)
        self.assertEqual((self.heard, self.ends), ([b"one", b"two"], 3))

    def test_drainStopsWhenPaused(self) -> None:
        """
        Who pauses at the first piece does not get a second.
        """
        os.write(self.writing, b"one")
        os.close(self.writing)
        self.output.resume()
        self.onHearing = self.output.pause
        self.output.drain()
        self.assertEqual((self.ends, self.output.closed), (0, False))

    def test_hangup(self) -> None:
        """
        A reactor that finds an empty stream closed tells by C{connectionLost}.
        """
        self.output.resume()
        self.reactor.removeReader(self.output)
        self.output.connectionLost(Failure(ConnectionDone()))
        self.output.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.ends, self.output.closed), (1, True))

    def test_enlarged(self) -> None:
        """
        A pipe that was found half full becomes larger, once, and others do not.
        """
        self.output.resume()
        os.write(self.writing, b"x" * 32767)
        self.reactor.events()
        self.assertEqual(fcntl.fcntl(self.writing, fcntl.F_GETPIPE_SZ), 65536)

        os.write(self.writing, b"x" * 32768)
        self.reactor.events()
        self.assertEqual(fcntl.fcntl(self.writing, fcntl.F_GETPIPE_SZ), 1048576)

        os.write(self.writing, b"x" * 1048576)
        self.reactor.events()
        self.assertEqual([len(data) for data in self.heard], [32767, 32768, 1024000])

    def lines(self, count: int) -> int:
        """
        Print lines one after the other, each when the last one was to be read.

        @return: how many were read at once.
        """
        before = len(self.heard)
        for _ in range(count):
            os.write(self.writing, b"line\n")
            self.reactor.events()
        return len(self.heard) - before

    def test_rests(self) -> None:
        """
        Lines in quick succession are read together, a millisecond late at most.
        """
        self.output.resume()
        self.assertEqual(self.lines(100), 5)
        self.reactor.advance(0.001)
        self.reactor.events()
        self.assertEqual(self.heard[5:], [b"line\n" * 95])

        self.assertEqual(self.lines(100), 0)
        self.reactor.advance(0.001)
        self.reactor.events()
        self.assertEqual(self.heard[6:], [b"line\n" * 100])

    def test_alone(self) -> None:
        """
        Lines that come alone do not wait, nor does one after many.
        """
        self.output.resume()
        for _ in range(100):
            self.assertEqual(self.lines(1), 1)
            self.reactor.advance(0.001)
        self.lines(100)
        self.reactor.pump([0.001, 0.01])
        self.assertEqual(self.lines(4), 4)

    def test_muchDoesNotRest(self) -> None:
        """
        Who fills its pipe is read at once.
        """
        self.output.resume()
        for _ in range(100):
            os.write(self.writing, b"x" * 131072)
            self.reactor.events()
        self.assertEqual(len(self.heard[-1]), 131072)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_smallPipeDoesNotRest(self) -> None:
        """
        So is who fills one of two pages, as the system gives them to a user that has
        many pipes.
        """
        fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, 8192)
        self.output.resume()
        for _ in range(100):
            os.write(self.writing, b"x" * 8192)
            self.reactor.events()
        self.assertEqual(self.heard, [b"x" * 8192] * 100)
        self.assertEqual(self.lines(100), 1)

    def test_hurry(self) -> None:
        """
        Who was given input is heard at once, however often that is.
        """
        self.output.resume()
        for _ in range(100):
            self.output.hurry()
            self.assertEqual(self.lines(1), 1)
        self.assertEqual(self.lines(100), 4)
        self.output.hurry()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.reactor.events()
        self.assertEqual(self.heard[-1], b"line\n" * 96)

    def test_pausedWhileItRests(self) -> None:
        """
        A stream that rests can be paused, read to its end, and closed.
        """
        for end in (OutputPipe.pause, OutputPipe.close):
            self.setUp()
            self.output.resume()
            self.lines(10)
            end(self.output)
            self.assertEqual((self.reactor.getDelayedCalls(), self.reactor.readers), ([], []))
        self.setUp()
        self.output.resume()
        self.lines(10)
        os.close(self.writing)
        self.output.drain()
        self.assertEqual((b"".join(self.heard), self.ends), (b"line\n" * 10, 1))
        self.assertEqual((self.reactor.getDelayedCalls(), self.reactor.readers), ([], []))

    def test_notEnlarged(self) -> None:
        """
        Nothing is lost when the system allows no larger pipe.
        """

        def refuse(*ignored: object) -> int:
            raise PermissionError

        self.patch(fcntl, "fcntl", refuse)
        self.output.resume()
        for _ in range(2):
            self.assertEqual(os.write(self.writing, b"x" * 65536), 65536)
            self.reactor.events()
        self.assertEqual([len(data) for data in self.heard], [65536, 65536])


class InputPipeTests(PipeTestCase):
    """
    Input is given as the process takes it.
    """

    def setUp(self) -> None:
        """
        An input.
        """
        super().setUp()
        self.taken: list[int] = []
        self.reading, self.writing = self.pipe()
        self.input = InputPipe(self.reactor, self.writing, self.taken.append)

    def test_interface(self) -> None:
        """
        An input is a descriptor that a reactor can write.
        """
        verifyObject(IWriteDescriptor, self.input)
        self.assertEqual(self.input.logPrefix(), "stdin")

    def test_notBeforeStart(self) -> None:
        """
        What comes before the start is kept.
        """
        self.input.write(b"one")
        self.input.write(b"")
        self.reactor.events()
        self.assertEqual(self.taken, [])

        self.input.start()
        self.reactor.events()
        self.assertEqual((self.taken, os.read(self.reading, 10)), ([3], b"one"))
        self.assertEqual(self.reactor.writers, [])

    def test_asTaken(self) -> None:
        """
        What the process has no room for waits, and is not said to be taken.
        """
        self.input.start()
        self.input.write(b"x" * 100_000)
        self.input.write(b"y" * 10)
        self.input.end()
        self.reactor.events()
        self.reactor.events()
        self.assertEqual(self.taken, [65536])

        self.assertEqual(len(os.read(self.reading, 100_000)), 65536)
        self.reactor.events()
        self.reactor.events()
        self.assertEqual(self.taken, [65536, 34464, 10])
        self.assertEqual(os.read(self.reading, 100_000), b"x" * 34464 + b"y" * 10)
        self.assertEqual(os.read(self.reading, 1), b"")
        self.assertEqual((self.input.fileno(), self.reactor.writers), (-1, []))

    def test_endOfNothing(self) -> None:
        """
        An input that ends without a byte is closed at once.
        """
        self.input.start()
        self.input.end()
        self.assertEqual(os.read(self.reading, 1), b"")

    def test_closedByProcess(self) -> None:
        """
        What nobody will read is dropped and counts as taken, now and later.
        """
        self.input.start()
        self.input.write(b"one")
        self.input.write(b"two")
        os.close(self.reading)
        self.reactor.events()
        self.assertEqual((self.taken, self.reactor.writers), ([6], []))
        self.input.write(b"three")
        self.assertEqual(self.taken, [6, 5])

    def test_hangup(self) -> None:
        """
        A reactor that finds the other end closed tells by C{connectionLost}.
        """
        self.input.start()
        self.input.write(b"one")
        self.input.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.taken, self.reactor.writers), ([3], []))

    def test_none(self) -> None:
        """
        A process without input takes everything.
        """
        nothing = InputPipe(self.reactor, -1, self.taken.append)
        nothing.write(b"one")
        nothing.start()
        nothing.write(b"four")
        nothing.end()
        self.assertEqual(self.taken, [3, 4])


class ExitWatchTests(SynchronousTestCase):
    """
    What L{ExitWatch} does without a child.
    """

    def test_interface(self) -> None:
        """
        A watch is a descriptor that a reactor can read.
        """
        watch = ExitWatch(FakeReactor(), NOBODY, lambda: None)
        verifyObject(IReadDescriptor, watch)
        self.assertEqual((watch.fileno(), watch.logPrefix()), (-1, "exit"))

    def test_eventForAnother(self) -> None:
        """
        An event that was meant for an older descriptor of this number is not
        taken for an exit.
        """
        self.patch(os, "waitid", lambda *arguments: None)
        exits: list[str] = []
        watch = ExitWatch(FakeReactor(), NOBODY, lambda: exits.append("exited"))
        watch.doRead()
        self.assertEqual(exits, [])

    def test_stopPolling(self) -> None:
        """
        A watch that is stopped leaves no timer.
        """
        reactor = FakeReactor()
        watch = ExitWatch(reactor, NOBODY, lambda: None)
        watch.start()
        watch.stop()
        self.assertEqual(reactor.getDelayedCalls(), [])


class LaunchedProcessTests(PipeTestCase):
    """
    The end of a task is the exit of its main process and a bounded drain.
    """

    def setUp(self) -> None:
        """
        A process that has "exited" as soon as anybody looks, and whose output
        others may still hold.
        """
        super().setUp()
        self.receiver = RecordingTaskReceiver()
        self.over: list[LaunchedProcess] = []
        self.process = LaunchedProcess(
            Launch(TASK, Work(command=("true",)), {}),
            self.receiver,
            self.reactor,
            Killer(self.reactor, set),
            PipeHolders(self.reactor),
            over=self.over.append,
        )
        stdout, self.stdout = self.pipe()
        stderr, self.stderr = self.pipe()
        self.execution = Execution(NOBODY, -1, stdout, stderr)

    def start(self) -> None:
        """
        Start it, and hear so.
        """
        self.process.start(self.execution)
        self.assertEqual(self.receiver.told, [])
        self.reactor.advance(0)
        self.assertEqual(self.told(), [("started", NOBODY)])

    def exit(self) -> None:
        """
        Let the exit be noticed.
        """
        self.reactor.advance(POLL_INTERVAL)
        self.reactor.advance(0)

    def told(self) -> list[object]:
        """
        What was told since the last time.
        """
        told, self.receiver.told = self.receiver.told, []
        return told

    def checkOver(self, note: str = "") -> None:
        """
        Check that the end is told, and nothing is left.
        """
        whole = f"{UNKNOWN}; {note}" if note else UNKNOWN
        self.assertEqual(self.told(), [ProcessExit(None, None, whole)])
        self.assertEqual(self.over, [self.process])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual((self.reactor.readers, self.reactor.writers), ([], []))
        for descriptor in (self.execution.stdout, self.execution.stderr):
            self.assertRaises(OSError, os.fstat, descriptor)

    def test_interface(self) -> None:
        """
        L{LaunchedProcess} is a process of a task.
        """
        verifyObject(ITaskProcess, self.process)
        self.assertEqual(self.process.task, TASK)

    def test_descriptors(self) -> None:
        """
        A process of another one takes a pipe for each stream; a child of ours one
        more to be watched by, which the system has not for everybody.
        """
        self.process.expect()
        self.assertEqual(self.process.descriptors, 3)
        reading, writing = self.pipe()
        execution = replace(self.execution, stdin=writing)
        self.process.started(execution, AWAITED)
        self.assertEqual(self.process.descriptors, 3)
        self.process.endInput()
        self.assertEqual(self.process.descriptors, 2)
        self.process.abandon()
        self.assertEqual(self.process.descriptors, 0)

        stdout, _ = self.pipe()
        stderr, _ = self.pipe()
        watch = os.dup(reading)
        self.patch(exits, "_openPidfd", lambda pid: watch)
        self.process.start(Execution(NOBODY, -1, stdout, stderr))
        self.assertEqual(self.process.descriptors, 3)
        self.process.abandon()

    def test_outputBeforeExit(self) -> None:
        """
        Both streams ended before the exit is noticed: over at once.
        """
        self.start()
        os.write(self.stdout, b"out")
        os.write(self.stderr, b"err")
        self.reactor.events()
        os.close(self.stdout)
        os.close(self.stderr)
        self.reactor.events()
        self.assertEqual(self.told(), [(STDOUT, b"out"), (STDERR, b"err")])
        self.exit()
        self.checkOver()

    def test_overBeforeStarted(self) -> None:
        """
        Of a process of another one that is over when its start is heard of, all is
        told at once.
        """
        self.process.expect()
        os.write(self.stdout, b"out")
        os.close(self.stdout)
        os.close(self.stderr)
        self.process.started(self.execution, ReportedExit(0, 0.5, 0.25, 1, 2.0))
        started, out, ending = self.told()
        self.assertEqual((started, out), (("started", NOBODY), (STDOUT, b"out")))
        assert isinstance(ending, ProcessExit)
        self.assertEqual((ending.exitCode, ending.userSeconds, ending.seconds), (0, 0.5, 2.0))
        self.assertEqual(self.over, [self.process])
        self.assertEqual((self.reactor.readers, self.reactor.getDelayedCalls()), ([], []))

    def test_overWithOutputHeld(self) -> None:
        """
        If somebody else still holds its output, that is read for a while, as of any
        other; a pause holds here too.
        """
        self.process.expect()
        os.close(self.stderr)
        self.process.pauseProducing()
        os.write(self.stdout, b"one")
        self.process.started(self.execution, ReportedExit(0, 0.0, 0.0, 0))
        self.assertEqual(self.told(), [("started", NOBODY)])
        self.process.resumeProducing()
        self.reactor.events()
        self.assertEqual(self.told(), [(STDOUT, b"one")])
        self.reactor.advance(DRAIN_SILENCE)
        [ending] = self.told()
        assert isinstance(ending, ProcessExit)
        self.assertIn("stdout still held", ending.note)

    def test_outputAtExit(self) -> None:
        """
        What is in the pipes at the exit is told before the end.
        """
        self.start()
        os.write(self.stdout, b"out")
        os.close(self.stdout)
        os.close(self.stderr)
        self.exit()
        self.assertEqual(self.receiver.told.pop(0), (STDOUT, b"out"))
        self.checkOver()

    def test_silence(self) -> None:
        """
        A stranger that holds the output delays the end by one second after the
        last byte, and is named.
        """
        os.close(self.stderr)
        self.start()
        self.exit()
        self.reactor.advance(DRAIN_SILENCE - 0.1)
        os.write(self.stdout, b"late")
        self.reactor.events()
        self.reactor.advance(DRAIN_SILENCE - 0.1)
        self.assertEqual(self.told(), [(STDOUT, b"late")])
        self.reactor.advance(0.1)
        # The stranger is we ourselves, who are not named.
        self.checkOver("stdout still held by a process out of sight")

    def test_limit(self) -> None:
        """
        One that goes on printing delays it by ten seconds.
        """
        self.start()
        self.exit()
        for _ in range(int(DRAIN_LIMIT * 2) - 1):
            os.write(self.stderr, b"x")
            self.reactor.events()
            self.reactor.advance(0.5)
        self.assertEqual(set(self.told()), {(STDERR, b"x")})
        os.write(self.stderr, b"x")
        self.reactor.events()
        self.told()
        self.reactor.advance(0.5)
        self.checkOver("stdout and stderr still held by a process out of sight")

    def test_streamsEndDuringDrain(self) -> None:
        """
        The end comes as soon as the last stream ends.
        """
        self.start()
        self.exit()
        os.close(self.stdout)
        self.reactor.events()
        os.close(self.stderr)
        self.reactor.events()
        self.assertEqual(self.told(), [])  # not in the midst of the events
        self.reactor.advance(0)
        self.checkOver()

    def test_busyReactor(self) -> None:
        """
        A reactor that was busy for longer than the silence loses nothing.
        """
        self.start()
        self.exit()
        os.write(self.stdout, b"late")
        self.reactor.advance(DRAIN_SILENCE)
        self.assertEqual(self.told(), [])
        self.reactor.events()
        self.assertEqual(self.told(), [(STDOUT, b"late")])
        self.reactor.advance(DRAIN_SILENCE)
        self.checkOver("stdout and stderr still held by a process out of sight")

    def test_pausedWithOutput(self) -> None:
        """
        While the receiver wants no output, what is left of it waits.
        """
        self.start()
        self.process.pauseProducing()
        os.write(self.stdout, b"out")
        os.close(self.stdout)
        os.close(self.stderr)
        self.exit()
        self.reactor.advance(1000)
        self.reactor.events()
        self.assertEqual((self.told(), self.over), ([], []))

        self.process.resumeProducing()
        self.reactor.events()
        self.assertEqual(self.told(), [(STDOUT, b"out")])
        self.reactor.events()
        self.reactor.advance(0)
        self.checkOver()

    def test_pausedWithoutOutput(self) -> None:
        """
        A pause does not delay the end when there is nothing left to hear.
        """
        self.start()
        self.process.pauseProducing()
        os.close(self.stdout)
        os.close(self.stderr)
        self.exit()
        self.checkOver()

    def test_pausedDrain(self) -> None:
        """
        The time of the drain does not run while paused.
        """
        self.start()
        self.exit()
        self.reactor.advance(0.5)
        self.process.pauseProducing()
        self.reactor.advance(1000)
        self.assertEqual(self.told(), [])
        self.process.resumeProducing()
        self.process.resumeProducing()
        self.reactor.advance(DRAIN_SILENCE - 0.1)
        self.assertEqual(self.told(), [])
        self.reactor.advance(0.1)
        self.checkOver("stdout and stderr still held by a process out of sight")

    def test_pausedAtOnce(self) -> None:
        """
        A pause before the start holds, and so does one at the first piece.
        """
        self.process.start(self.execution)
        self.process.resumeProducing()
        self.process.pauseProducing()
        os.write(self.stdout, b"out")
        os.write(self.stderr, b"err")
        self.reactor.advance(0)
        self.reactor.events()
        self.assertEqual(self.told(), [("started", NOBODY)])

        self.receiver.onOutput = self.process.pauseProducing
        self.process.resumeProducing()
        self.exit()
        self.assertEqual(self.told(), [(STDOUT, b"out")])
        self.process.resumeProducing()
        self.reactor.events()
        self.assertEqual(self.told(), [(STDERR, b"err")])
        self.process.abandon()

    def test_abandoned(self) -> None:
        """
        A process that is given up ends at once, and says what was not read.
        """
        self.start()
        self.process.pauseProducing()
        os.write(self.stdout, b"out")
        self.process.abandon()
        self.process.abandon()
        self.checkOver(
            "the last of stdout was not read; "
            "stdout and stderr still held by a process out of sight"
        )

    def test_input(self) -> None:
        """
        Input that was not taken at the end is reported as taken, before it.
        """
        reading, writing = self.pipe()
        self.execution = Execution(NOBODY, writing, self.execution.stdout, self.execution.stderr)
        self.start()
        self.process.writeInput(b"x" * 70_000)
        self.reactor.events()
        self.assertEqual(self.told(), [65536])
        os.close(self.stdout)
        os.close(self.stderr)
        self.exit()
        self.assertEqual(self.receiver.told.pop(0), 70_000 - 65536)
        self.checkOver()
        self.assertEqual(os.read(reading, 1), b"x")

    def test_afterTheEnd(self) -> None:
        """
        After the end, nothing that is asked does anything.
        """
        self.start()
        self.process.abandon()
        self.told()
        self.process.writeInput(b"one")
        self.process.endInput()
        self.process.pauseProducing()
        self.process.resumeProducing()
        killed = self.process.kill(15, 5)
        self.assertEqual(self.successResultOf(killed), KillReport(0))
        self.assertEqual((self.told(), self.reactor.getDelayedCalls()), ([], []))


class ScriptDirectoryTests(SynchronousTestCase):
    """
    Scripts lie where nobody else can look.
    """

    def setUp(self) -> None:
        """
        A directory in which to make it.
        """
        self.parent = self.mktemp()
        os.mkdir(self.parent)
        self.scripts = ScriptDirectory(self.parent)

    def test_private(self) -> None:
        """
        Neither the directory nor the file can be read by others, and both are
        removed.
        """
        self.assertEqual(os.listdir(self.parent), [])
        path = self.scripts.write(b"echo")
        for name in (path, os.path.dirname(path)):
            self.assertEqual(stat.S_IMODE(os.stat(name).st_mode), 0o700)
        other = self.scripts.write(b"echo")
        self.assertNotEqual(path, other)
        self.scripts.discard(path)
        self.scripts.discard(path)
        self.assertEqual(os.listdir(os.path.dirname(other)), [os.path.basename(other)])
        self.scripts.remove()
        self.scripts.remove()
        self.assertEqual(os.listdir(self.parent), [])

    def test_takenAway(self) -> None:
        """
        A directory that somebody cleaned up is made anew, and what somebody put
        in its place is not used.
        """
        first = os.path.dirname(self.scripts.write(b"echo"))
        os.rename(first, first + "-moved")
        second = os.path.dirname(self.scripts.write(b"echo"))
        os.chmod(second, 0o755)
        third = os.path.dirname(self.scripts.write(b"echo"))
        os.rename(third, third + "-moved")
        os.symlink(first + "-moved", third)
        fourth = os.path.dirname(self.scripts.write(b"echo"))
        self.assertEqual(len({first, second, third, fourth}), 4)

    def test_noRoom(self) -> None:
        """
        A script that cannot be written is a launch that failed.
        """
        scripts = ScriptDirectory(os.path.join(self.parent, "missing"))
        error = self.assertRaises(LaunchFailed, scripts.write, b"echo")
        self.assertEqual(error.errno, errno.ENOENT)
        self.assertIn("cannot write the script to a file: No such file", str(error))

    def test_diskFull(self) -> None:
        """
        Nothing is left of one that was written in part.
        """
        directory = os.path.dirname(self.scripts.write(b"echo"))

        def full(descriptor: int, mode: str) -> object:
            os.close(descriptor)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        self.patch(builtins, "open", full)
        error = self.assertRaises(LaunchFailed, self.scripts.write, b"echo")
        self.assertEqual(error.errno, errno.ENOSPC)
        self.assertEqual(os.listdir(directory), ["1"])


class PrepareTests(SynchronousTestCase):
    """
    What a task runs, as the system takes it.
    """

    def setUp(self) -> None:
        """
        A place for scripts.
        """
        self.parent = self.mktemp()
        os.mkdir(self.parent)
        self.scripts = ScriptDirectory(self.parent)

    def prepare(self, work: Work, environment: dict[str, str] | None = None) -> program.Program:
        """
        Prepare it.
        """
        return prepare(Launch(TASK, work, environment or {}), self.scripts)

    def test_command(self) -> None:
        """
        A command is run as it was given, in the environment that was given and
        nothing more than the mark; what were bytes at the client are the same
        bytes again.
        """
        prepared = self.prepare(
            Work(command=("echo", "", "ä\udcff"), directory="/tmp"), {"A": "1=2\udc80"}
        )
        self.assertEqual(prepared.arguments, [b"echo", b"", "ä".encode() + b"\xff"])
        self.assertEqual(prepared.environment, {b"A": b"1=2\x80", b"JSREMOTE_TASK": TASK.encode()})
        self.assertEqual((prepared.directory, prepared.script), (b"/tmp", ""))

    def test_script(self) -> None:
        """
        A script is run by the shell.
        """
        prepared = self.prepare(Work(script="echo\n"))
        self.assertEqual(prepared.arguments, [b"/bin/sh", os.fsencode(prepared.script)])
        self.assertIsNone(prepared.directory)

    def test_interpreter(self) -> None:
        """
        White space before a script is dropped, and one that names its
        interpreter is run by that.
        """
        prepared = self.prepare(Work(script="\n  #!/bin/cat\n \udcff\0"))
        self.assertEqual(prepared.arguments, [os.fsencode(prepared.script)])
        with open(prepared.script, "rb") as file:
            self.assertEqual(file.read(), b"#!/bin/cat\n \xff\0")

    def test_refused(self) -> None:
        """
        What the system could not take is refused in words, before a script is
        written.
        """
        long = "x" * 131_072
        for work, environment, text, number in (
            (Work(), {}, "there is nothing to run", 0),
            (Work(command=("",)), {}, "there is nothing to run", 0),
            (Work(command=("a\0b",)), {}, "the program's name contains a NUL character", 0),
            (Work(command=("a", "b\0")), {}, "argument 1 contains a NUL character", 0),
            (Work(command=("a", "\ud800")), {}, "argument 1 has a character that is none", 0),
            (Work(command=("a", long)), {}, "argument 1 has 131072 bytes", errno.E2BIG),
            (Work(command=("a",), directory="/\0"), {}, "the working directory contains", 0),
            (Work(script="\ud800"), {}, "the script has a character that is none", 0),
            (Work(script="a"), {"": "x"}, "'' cannot be the name", 0),
            (Work(script="a"), {"A=B": "x"}, "'A=B' cannot be the name", 0),
            (Work(script="a"), {"A\0": "x"}, "an environment variable's name contains", 0),
            (Work(script="a"), {"A": "\0"}, "A contains a NUL character", 0),
            (Work(script="a"), {"A": long[2:] + "x"}, "variable A has 131073", errno.E2BIG),
        ):
            error = self.assertRaises(LaunchFailed, self.prepare, work, environment)
            self.assertIn(text, str(error))
            self.assertEqual(error.errno, number)
            self.assertTrue(str(error).isprintable())
        self.assertEqual(os.listdir(self.parent), [])

    def test_longest(self) -> None:
        """
        What is just short enough is not refused.
        """
        self.prepare(Work(command=("a", "x" * 131_071)), {"A": "x" * 131_069})


class ProcessLauncherTests(SynchronousTestCase):
    """
    What L{ProcessLauncher} does without starting a process.
    """

    def setUp(self) -> None:
        """
        A launcher.
        """
        self.reactor = FakeReactor()
        self.parent = self.mktemp()
        os.mkdir(self.parent)
        self.launcher = ProcessLauncher(self.reactor, scripts=self.parent)
        self.receiver = RecordingTaskReceiver()

    def launch(self, work: Work) -> LaunchedProcess:
        """
        Launch, and hear nothing yet.
        """
        process = self.launcher.prepare(Launch(TASK, work, {}), self.receiver).launch()
        self.assertEqual(self.receiver.told, [])
        return process

    def refusal(self) -> str:
        """
        The text of a refusal, the only thing told.
        """
        self.reactor.advance(0)
        (error,) = self.receiver.told
        assert isinstance(error, LaunchFailed)
        return str(error)

    def test_interface(self) -> None:
        """
        L{ProcessLauncher} is a launcher of tasks.
        """
        verifyObject(ITaskLauncher, self.launcher)

    def test_refused(self) -> None:
        """
        A launch that fails is told in the next turn; the process that was
        returned does nothing.
        """
        process = self.launch(Work())
        verifyObject(ITaskProcess, process)
        process.pauseProducing()
        process.resumeProducing()
        process.writeInput(b"one")
        process.endInput()
        self.assertEqual(self.successResultOf(process.kill(15, 5)), KillReport(0))
        self.assertIn("nothing to run", self.refusal())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_prepared(self) -> None:
        """
        A launch that is prepared has its script, and no descriptor. It tells nothing, also
        if it will fail.
        """
        before = len(os.listdir("/proc/self/fd"))
        prepared = self.launcher.prepare(Launch(TASK, Work(script="echo"), {}), self.receiver)
        verifyObject(IPreparedLaunch, prepared)
        (directory,) = os.listdir(self.parent)
        self.assertEqual(len(os.listdir(os.path.join(self.parent, directory))), 1)
        prepared.discard()
        self.assertEqual(os.listdir(os.path.join(self.parent, directory)), [])
        self.launcher.prepare(Launch(TASK, Work(), {}), self.receiver).discard()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        self.assertEqual((self.receiver.told, self.reactor.getDelayedCalls()), ([], []))

    def test_noScript(self) -> None:
        """
        That a script cannot be written is told of the launch, not before.
        """
        launcher = ProcessLauncher(self.reactor, scripts=os.path.join(self.parent, "missing"))
        prepared = launcher.prepare(Launch(TASK, Work(script="echo"), {}), self.receiver)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        prepared.launch()
        self.assertEqual(
            self.refusal(), "cannot write the script to a file: No such file or directory"
        )

    def test_outOfDescriptors(self) -> None:
        """
        Without descriptors for the pipes there is no process, and nothing that
        was opened or written stays.
        """
        before = len(os.listdir("/proc/self/fd"))
        pipe, pipes = os.pipe, iter(range(2))

        def onlyTwo() -> tuple[int, int]:
            if next(pipes, None) is None:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return pipe()

        self.patch(os, "pipe", onlyTwo)
        self.launch(Work(script="echo", stdin=True))
        self.assertEqual(self.refusal(), "cannot start a process: Too many open files")
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        (directory,) = os.listdir(self.parent)
        self.assertEqual(os.listdir(os.path.join(self.parent, directory)), [])

    def test_stop(self) -> None:
        """
        A launcher that is stopped tells what is to be told, and launches no more.
        """
        self.launch(Work())
        late = RecordingTaskReceiver()
        prepared = self.launcher.prepare(Launch(TASK, Work(script="echo"), {}), late)
        stopped = self.launcher.stop()
        self.assertNoResult(stopped)
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertIn("nothing to run", self.refusal())

        self.receiver = late
        prepared.launch()
        self.assertEqual(self.refusal(), "this remote is being stopped")
        self.receiver = RecordingTaskReceiver()
        self.launch(Work(script="echo"))
        self.assertEqual(self.refusal(), "this remote is being stopped")
        self.assertEqual((os.listdir(self.parent), self.reactor.getDelayedCalls()), ([], []))
