"""
The process of one task, from its start to the end of its output.

The end of a task is the exit of its main process, plus a bounded time in which
the rest of its output is read; never the end of the last stranger that holds
its output.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from jobscheduler_tcp.endofturn import endOfTurn
from jobscheduler_tcp.errors import LaunchFailed
from jobscheduler_tcp.interfaces import (
    ILaunchReactor,
    ITaskProcess,
    ITaskReceiver,
    KillReport,
    Launch,
)
from jobscheduler_tcp.messages import Stream
from jobscheduler_tcp.remote.drain import Drain
from jobscheduler_tcp.remote.exits import ExitWatch, OrphanWatch, ReportedExit, Watch
from jobscheduler_tcp.remote.kill import Family, Killer
from jobscheduler_tcp.remote.pipes import InputPipe, OutputPipe
from jobscheduler_tcp.remote.processes import PipeHolders
from jobscheduler_tcp.remote.program import Execution


@implementer(ITaskProcess)
class LaunchedProcess(Family):
    """
    The process of one task, head of its family.

    What closes several descriptors has a turn of the reactor for itself: in the
    midst of its events, the number of a closed descriptor could be given to a
    new connection, which would then get the events that were ours.

    @param over: called when nothing is left to be told.
    """

    __slots__ = (
        "_begun",
        "_drain",
        "_ended",
        "_exited",
        "_holders",
        "_input",
        "_killer",
        "_over",
        "_paused",
        "_pending",
        "_reactor",
        "_receiver",
        "_stderr",
        "_stdout",
        "_watch",
        "grace",
        "script",
    )

    _watch: Watch

    def __init__(
        self,
        launch: Launch,
        receiver: ITaskReceiver,
        reactor: ILaunchReactor,
        killer: Killer,
        holders: PipeHolders,
        *,
        over: Callable[[LaunchedProcess], None],
    ) -> None:
        super().__init__(launch.task, 0, reaped=True)
        self.grace = launch.work.grace
        self.script = ""
        self._receiver = receiver
        self._reactor = reactor
        self._killer = killer
        self._holders = holders
        self._over = over
        self._begun = False
        self._paused = False
        self._exited = False
        self._ended = True  # as long as it is not started
        # The kills of a process that is being started; None of any other.
        self._pending: list[tuple[int, float, Deferred[KillReport]]] | None = None
        self._drain: Drain | None = None
        self._input: InputPipe | None = None  # most tasks are given none

    def expect(self) -> None:
        """
        Another process is starting it, and L{started} or L{notStarted} will tell.
        """
        self._pending = []

    def started(self, execution: Execution, watch: Watch | None = None) -> None:
        """
        It was started, which its receiver hears now.

        @param watch: how its end is noticed; by default it is our child.
        """
        pending, self._pending = self._pending, None
        self._run(execution, watch)
        if self._watch.reaped and not pending:
            self._beginOver()
        else:
            self._begin()
        for signal, grace, killed in pending or ():
            self.kill(signal, grace).chainDeferred(killed)

    def exitReported(self, watch: ReportedExit) -> None:
        """
        It has exited.
        """
        if not self._ended:
            self._watch = watch
            self._exitNoticed()

    def orphaned(self) -> None:
        """
        Nobody will report its end.
        """
        if not self._ended:
            self._watch = OrphanWatch(self._reactor, self.main, self._exitNoticed)
            self._watch.start()

    def notStarted(self, error: LaunchFailed) -> None:
        """
        It could not be started.
        """
        pending, self._pending = self._pending, None
        self._over(self)
        self._receiver.processNotStarted(error)
        for _, _, killed in pending or ():
            killed.callback(KillReport(0))

    def start(self, execution: Execution) -> None:
        """
        The process runs. Its receiver hears of it in the next turn.
        """
        self._run(execution)
        endOfTurn(self._reactor).call(self._reactor, self._begin)

    def _run(self, execution: Execution, watch: Watch | None = None) -> None:
        reactor = self._reactor
        self._ended = self.reaped = False
        self.main = execution.pid
        self._watch = watch or ExitWatch(reactor, execution.pid, self._exitNoticed)
        if execution.stdin >= 0:
            self._inputPipe().attach(execution.stdin)
        self._stdout = OutputPipe(reactor, Stream.STDOUT, execution.stdout, self)
        self._stderr = OutputPipe(reactor, Stream.STDERR, execution.stderr, self)

    @property
    def descriptors(self) -> int:
        """
        See L{ITaskProcess}.
        """
        if self._pending is not None:
            return 3  # who starts it watches it: two pipes, and its input if it has any
        if self._ended:
            return 0
        given = self._input is not None and self._input.fileno() >= 0
        return 2 + given + self._watch.descriptors

    def pauseProducing(self) -> None:
        """
        See L{ITaskProcess}.
        """
        self._paused = True
        if not self._ended:
            for output in (self._stdout, self._stderr):
                output.pause()
            if self._drain is not None:
                self._drain.hold()

    def resumeProducing(self) -> None:
        """
        See L{ITaskProcess}.
        """
        self._paused = False
        if self._begun and not self._ended:
            for output in (self._stdout, self._stderr):
                output.resume()
            if self._drain is not None:
                self._drain.run()

    def writeInput(self, data: bytes) -> None:
        """
        See L{ITaskProcess}.
        """
        if not self._ended or self._pending is not None:
            self._inputPipe().write(data)
            if self._begun:
                for output in (self._stdout, self._stderr):
                    output.hurry()

    def endInput(self) -> None:
        """
        See L{ITaskProcess}.
        """
        if not self._ended or self._pending is not None:
            self._inputPipe().end()

    def _inputPipe(self) -> InputPipe:
        if self._input is None:
            self._input = InputPipe(self._reactor, -1, self._receiver.inputTaken)
            if self._begun:
                self._input.start()
        return self._input

    def kill(self, signal: int, grace: float) -> Deferred[KillReport]:
        """
        See L{ITaskProcess}.
        """
        if self._pending is not None:
            killed: Deferred[KillReport] = Deferred()
            self._pending.append((signal, grace, killed))
            return killed
        if self._ended:
            return succeed(KillReport(0))
        return self._killer.kill(self, signal, grace)

    def abandon(self) -> None:
        """
        End it now, whatever is left.
        """
        if not self._ended:
            for output in (self._stdout, self._stderr):
                output.drain()
            self._finish()

    def _begin(self) -> None:
        if self._ended:
            return  # it was given up meanwhile
        self._begun = True
        self._watch.start()
        if self._watch.reaped:  # it is over already
            self._exitNoticed()
        if not self._paused:
            for output in (self._stdout, self._stderr):
                output.resume()
        self._receiver.processStarted(self.main)
        if self._input is not None:
            self._input.start()

    def _beginOver(self) -> None:
        """
        It exited before its start was heard of, as most short tasks do under load.
        What the reactor never watched may be closed in the midst of its events.
        """
        self._begun = self.reaped = True
        self._receiver.processStarted(self.main)
        if self._input is not None:
            self._input.start()
        for output in (self._stdout, self._stderr):
            if not self._paused:
                output.readOut()
        self._outputIsRead()

    def outputHeard(self, stream: Stream, data: bytes) -> None:
        """
        See L{OutputReader<jobscheduler_tcp.remote.pipes.OutputReader>}.
        """
        if self._drain is not None:
            self._drain.heard()
        self._receiver.outputReceived(stream, data)

    def outputEnded(self) -> None:
        """
        See L{OutputReader<jobscheduler_tcp.remote.pipes.OutputReader>}.
        """
        if self._exited and self._stdout.closed and self._stderr.closed:
            endOfTurn(self._reactor).call(self._reactor, self._finish)

    def _exitNoticed(self) -> None:
        self.reaped = self._watch.reaped
        endOfTurn(self._reactor).call(self._reactor, self._drainOutput)

    def _drainOutput(self) -> None:
        """
        Most processes leave an end of file behind and are over now.
        """
        if self._ended:
            return
        for output in (self._stdout, self._stderr):
            output.drain()
        self._outputIsRead()

    def _outputIsRead(self) -> None:
        if self._ended:  # it was given up meanwhile
            return
        self._exited = True
        for output in (self._stdout, self._stderr):
            if not output.closed and any(output.state()):
                self._drain = Drain(self._reactor, self._drained)
                if not self._paused:
                    self._drain.run()
                return
        self._finish()

    def _drained(self, spent: bool) -> None:
        waiting = self._stdout.state()[0] or self._stderr.state()[0]
        if waiting and not spent and self._drain is not None:
            self._drain.run()  # it is the reactor that was too busy to read
        else:
            self._finish()

    def _finish(self) -> None:
        if self._ended:
            return
        if self._drain is not None:
            self._drain.hold()
        note = self._note()
        self._ended = True
        for output in (self._stdout, self._stderr):
            if not output.closed:
                output.close()
        dropped = self._input.close() if self._input is not None else 0
        self._watch.stop()
        ending = self._watch.reap(note)
        self.reaped = True
        # They know us, which else only the garbage collector would find.
        del self._stdout, self._stderr, self._watch
        self._over(self)
        if dropped:
            self._receiver.inputTaken(dropped)
        self._receiver.processEnded(ending)

    def _note(self) -> str:
        """
        Say what is unusual about the output.
        """
        open_ = [output for output in (self._stdout, self._stderr) if not output.closed]
        if not open_:
            return ""
        notes = []
        held: dict[str, list[str]] = {}
        for output in open_:
            waiting, more = output.state()
            if waiting:
                notes.append(f"the last of {output.logPrefix()} was not read")
            if more:
                holder = self._holders.holderOf(output.inode()) or "a process out of sight"
                held.setdefault(holder, []).append(output.logPrefix())
        for holder, names in held.items():
            notes.append(f"{' and '.join(names)} still held by {holder}")
        return "; ".join(notes)
