"""
The classic dialect when a connection breaks at any byte.
"""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client.processclass import Dialect
from jobscheduler_tcp.messages import Stream, Work
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.testing import End, FakeProcess, MemoryConnection
from tests.test_flow import CODE, Diagram, isCommand

WORK = Work(script="x", parameters=(("a", "b"),), orderParameters=(("c", "d"),))
# What a confirmation connection leaves that breaks early: the remote was never
# heard of, or was not told to begin.
BEFORE = {Reason.CALLBACK_TIMEOUT, Reason.NOT_STARTED}
OUT = b"one\ntwo\n"


def play(process: FakeProcess) -> None:
    """
    Print, return a value and exit, as far as nobody kills it.
    """
    process.start(4711)
    process.print(Stream.STDOUT, OUT)
    with open(process.launch.environment["SCHEDULER_RETURN_VALUES"], "wb") as file:
        file.write(b"r=s\n")
    process.end(CODE)


def run(process: FakeProcess) -> None:
    """
    Print, and run until somebody kills it.
    """
    process.start(4711)
    process.print(Stream.STDOUT, OUT)


class CutTests(SynchronousTestCase):
    """
    One of the two connections is reset.
    """

    def sizes(self) -> dict[tuple[bool, End], int]:
        """
        How many bytes each end says on each of the two connections.
        """
        diagram = Diagram(play, dialect=Dialect.CLASSIC)
        diagram.run(WORK)
        diagram.network.advance(1)
        sizes = {
            (isCommand(connection), end): len(data)
            for connection in diagram.network.connections
            for end, data in connection.data.items()
        }
        diagram.stop(self)
        return sizes

    def cut(self, command: bool, end: End, position: int, runs: bool) -> Reason:
        """
        Break one of the two connections.

        @param runs: whether the task would run for ever.
        @return: how the job came out.
        """
        diagram = Diagram(run if runs else play, dialect=Dialect.CLASSIC)

        def breakIt(connection: MemoryConnection) -> None:
            if isCommand(connection) is command:
                connection.cutAfter(end, position, "reset")

        diagram.network.onConnection = breakIt
        job, receiver = diagram.run(WORK)
        where = f"{'command' if command else 'confirmation'} {end} {position}"
        diagram.network.advance(70)
        launched = diagram.launcher.launched
        self.assertLessEqual(len(launched), 1, where)
        if job.outcome is None:
            # All was said that is said while a task runs: nothing broke.
            self.assertTrue(runs, where)
            diagram.stop(self)
            return Reason.CANCELLED
        outcome = self.successResultOf(job.done)
        if outcome.reason is Reason.EXITED:
            self.assertEqual(outcome.exitCode, CODE, where)
            self.assertEqual(receiver.output[Stream.STDOUT], OUT, where)
            self.assertEqual(outcome.returnValues, (("r", "s"),), where)
            self.assertEqual(receiver.events[-1], "taskEnded", where)
        elif not outcome.reason.mayHaveRun:
            self.assertEqual(launched, [], f"{where}: {outcome}")
        for process in launched:
            self.assertTrue(process.ended, where)
            self.assertTrue(not runs or process.kills, where)
        self.assertEqual(diagram.client.ports.reserved, 0, where)
        diagram.stop(self)
        return outcome.reason

    def everywhere(self, command: bool, *, runs: bool) -> Counter[Reason]:
        """
        Break one of the connections at every byte in both directions.
        """
        return Counter(
            self.cut(command, end, position, runs)
            for (isIt, end), size in self.sizes().items()
            if isIt is command
            for position in range(size)
        )

    def test_command(self) -> None:
        """
        A task belongs to its command connection: before the confirmation
        connection stands it does not run; afterwards it is killed, and nobody
        tells how it ended, unless it had ended already.
        """
        self.assertLessEqual(
            set(self.everywhere(True, runs=False)),
            {Reason.EXITED, Reason.LOST, Reason.NOT_STARTED, Reason.REJECTED_AUTH},
        )

    def test_commandWhileRunning(self) -> None:
        """
        The same with a task that would run for ever: it is killed at once.
        """
        reasons = self.everywhere(True, runs=True)
        self.assertNotIn(Reason.EXITED, reasons)

    def test_confirmation(self) -> None:
        """
        Without its confirmation connection the end of a task is not known:
        whatever byte is missing, up to the last of the answer to the release,
        it is lost; unless the client has not said yet that it shall begin.
        """
        reasons = self.everywhere(False, runs=False)
        self.assertEqual(set(reasons), BEFORE | {Reason.LOST})
        self.assertGreater(reasons[Reason.LOST], 1000)

    def test_confirmationWhileRunning(self) -> None:
        """
        The same with a task that would run for ever: it is killed.
        """
        reasons = self.everywhere(False, runs=True)
        self.assertEqual(set(reasons), BEFORE | {Reason.CANCELLED, Reason.LOST})
