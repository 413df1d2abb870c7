"""
The seams that an embedding application may replace, and what stands on either
side of each.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IConsumer,
    IProtocol,
    IPushProducer,
    IReactorFDSet,
    IReactorTCP,
    IReactorTime,
    ITCPTransport,
)
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface

from jobscheduler_tcp.errors import LaunchFailed
from jobscheduler_tcp.messages import (
    AttachRefused,
    AttachTask,
    ConfirmationOpened,
    ConfirmationRefused,
    Hello,
    KillTask,
    OpenConfirmation,
    StartTask,
    Stream,
    Survivor,
    TakeConfirmation,
    TaskAttached,
    TaskEnded,
    TaskKilled,
    TaskRefused,
    TaskStarted,
    TaskTaken,
    Welcome,
    Work,
)
from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.wire.documents import Element

if TYPE_CHECKING:
    from jobscheduler_tcp.client.order import NewOrder, Order, Verdict
    from jobscheduler_tcp.client.startedtask import StartedTask

# ------------------------------------------------- client: hearing of one task


class ITaskConfirmation(Interface):
    """
    The client's end of one task's channel on a confirmation connection, as its
    receiver is given it. Also a push producer: between C{pauseProducing} and
    C{resumeProducing} nothing is acknowledged, so that the remote stops sending
    when the window is used up.
    """

    def pauseProducing() -> None:
        """
        Acknowledge nothing until C{resumeProducing}.
        """

    def resumeProducing() -> None:
        """
        Acknowledge what was received, and go on.
        """

    def stopProducing() -> None:
        """
        Give the task up: abort its connection.
        """

    def kept(stdout: int, stderr: int) -> None:
        """
        Acknowledge so many bytes of each stream since its beginning, and from now
        on no more than was told so: what is acknowledged, the remote forgets. A
        receiver that never calls this has what it was given.
        """

    def writeInput(data: bytes) -> None:
        """
        Give the task bytes of input; they are kept until the remote has room.
        """

    def endInput() -> None:
        """
        The task's input ends after what was written.
        """

    def registerInputProducer(producer: object) -> None:
        """
        Pause and resume a push producer of input (C{IPushProducer}) with the
        room that the remote has.
        """


class IConfirmationReceiver(Interface):
    """
    What an application hears of one task at the client. One of C{taskEnded}
    and C{confirmationLost} is the last word, and comes exactly once.
    """

    def taskAttached(confirmation: ITaskConfirmation, message: TaskAttached) -> None:
        """
        The remote has proved itself; the confirmation connection stands. A
        receiver that tells what it has C{kept} hears this again when output was
        dropped while it was cut off, with the offsets where it goes on.
        """

    def taskStarted(message: TaskStarted) -> None:
        """
        The program runs.
        """

    def outputReceived(stream: Stream, data: bytes) -> None:
        """
        The task printed something. Each byte of a stream comes exactly once, in
        order. It is acknowledged when this returns, unless the confirmation is
        paused.
        """

    def taskEnded(message: TaskEnded) -> Deferred[None] | None:
        """
        The task is over. The end is acknowledged, and forgotten by the remote,
        when this returns or the Deferred that it returns has fired.
        """

    def confirmationLost(reason: Failure) -> None:
        """
        The connection broke, or was hung up, before the end was heard.
        """


class IStartWitness(Interface):
    """
    What a receiver provides, too, that must know a task before its remote does:
    who writes it down can ask for it after a restart.
    """

    def startLeaves(task: str, remote: str, key: str) -> Deferred[None] | None:
        """
        The task will be asked for under this UUID at the remote of this address,
        not before this returns or the Deferred that it returns has fired. It
        comes again, with another UUID, for a start that was refused and is tried
        otherwise: then nothing ran under the last one.

        @param key: a secret by which the remote can be asked after the task; empty
            where it cannot.
        """

    def startReturned(task: str) -> None:
        """
        Nothing ran under this UUID, and nothing will.
        """


# -------------------------------------------------- remote: confirming one task


class IConfirmedTask(Interface):
    """
    What the remote's end of a confirmation connection tells the task that it
    confirms. First C{callbackTaken} or C{callbackFailed}; after the former,
    C{endAcknowledged} or C{callbackLost} is the last word.
    """

    def opens() -> TaskAttached:
        """
        Make the first words of the task's channel. C{callbackTaken} follows.
        """

    def callbackTaken() -> None:
        """
        The client has taken the connection, both ends are proven: the program
        may run.
        """

    def callbackFailed(reason: Reason, text: str, errno: int) -> None:
        """
        There is no such connection, and nobody was told anything of the task.

        @param errno: of the call that failed, or 0.
        """

    def callbackLost() -> None:
        """
        The connection broke before the end of the task was acknowledged.
        """

    def outputAcknowledged(stdout: int, stderr: int) -> None:
        """
        The client has so many bytes of the output since the beginning.
        """

    def inputReceived(data: bytes) -> None:
        """
        The client gives the task bytes of input.
        """

    def inputEnded() -> None:
        """
        The client gives no more.
        """

    def endAcknowledged() -> None:
        """
        The client knows how the task ended.
        """

    def pauseProducing() -> None:
        """
        Nobody takes the output of the task: give none until C{resumeProducing}.
        """

    def resumeProducing() -> None:
        """
        Go on.
        """


class IConfirmations(Interface):
    """
    What a command connection asks about standing confirmation connections.
    """

    def open(
        message: OpenConfirmation, host: str
    ) -> Deferred[ConfirmationOpened | ConfirmationRefused]:
        """
        Make one with the client at C{host}, or wait for the client to dial.
        """

    def take(message: TakeConfirmation) -> IProtocol | None:
        """
        The client dials: this connection becomes a confirmation connection.

        @return: what goes on with its transport, as if that was new; C{None} if
            no such connection is waited for.
        """


class ITasks(Interface):
    """
    What a command connection asks of the remote behind it.
    """

    def welcome(hello: Hello) -> Welcome:
        """
        Greet a client.
        """

    def start(message: StartTask, host: str) -> Deferred[TaskTaken | TaskRefused]:
        """
        Start a task whose client listens at C{host}. The same task again is the
        same answer again.
        """

    def attach(message: AttachTask, host: str) -> Deferred[TaskTaken | AttachRefused]:
        """
        Confirm a task anew to the client at C{host}, which has come back for it.
        """

    def kill(message: KillTask) -> Deferred[TaskKilled]:
        """
        End a task and all its descendants.
        """

    def showState() -> Element:
        """
        Make the C{state} element that tells people how the remote is.
        """


# ----------------------------------------------------- remote: launching a task


@dataclass(frozen=True, slots=True)
class Launch:
    """
    A process to start, all decided.

    @ivar task: the UUID of the task.
    @ivar work: what to run; C{job} is resolved already, so C{script} or
        C{command} is set.
    @ivar environment: the whole environment of the process.
    """

    task: str
    work: Work
    environment: dict[str, str]


@dataclass(frozen=True, slots=True)
class ProcessExit:
    """
    How the main process of a task ended.

    @ivar exitCode: C{None} if a signal ended it.
    @ivar signal: C{None} if it exited. Both are C{None} if it is not known how it
        ended.
    @ivar note: one line for people, such as who still holds its output open.
    @ivar userSeconds: processor time, with waited-for children.
    @ivar maxResident: bytes.
    @ivar seconds: how long it lived at least, where its start was told late.
    """

    exitCode: int | None
    signal: int | None
    note: str = ""
    userSeconds: float = 0.0
    systemSeconds: float = 0.0
    maxResident: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class KillReport:
    """
    What a kill did.
    """

    died: int
    survivors: tuple[Survivor, ...] = ()


class ITaskReceiver(Interface):
    """
    What a launcher tells of the process that it was asked for. First
    C{processStarted} or C{processNotStarted}; after the former, output, and
    C{processEnded} last and exactly once.
    """

    def processStarted(pid: int) -> None:
        """
        The program runs.
        """

    def processNotStarted(error: LaunchFailed) -> None:
        """
        Nothing was executed, unless the error is a L{LaunchLost
        <jobscheduler_tcp.errors.LaunchLost>}, and nothing more will be told.
        """

    def outputReceived(stream: Stream, data: bytes) -> None:
        """
        The process, or a descendant, printed something.
        """

    def inputTaken(count: int) -> None:
        """
        The process was given C{count} more bytes of what was written (or its
        input is closed, and they are dropped).
        """

    def processEnded(ending: ProcessExit) -> None:
        """
        The main process exited, and its output was drained.
        """


class ITaskProcess(Interface):
    """
    A process that was launched, or is being launched. Its methods may be called
    at any time, also after the end, when they do nothing.
    """

    task: str = Attribute("The UUID of the task.")
    descriptors: int = Attribute("How many descriptors of this program it takes at most now.")

    def pauseProducing() -> None:
        """
        Read no output until C{resumeProducing}: the process is held back by its
        pipes.
        """

    def resumeProducing() -> None:
        """
        Go on reading.
        """

    def writeInput(data: bytes) -> None:
        """
        Give the process bytes of input.
        """

    def endInput() -> None:
        """
        Close the process's input after what was written.
        """

    def kill(signal: int, grace: float) -> Deferred[KillReport]:
        """
        Send C{signal} to the process and all its descendants, and SIGKILL to
        those that are left after C{grace} seconds.

        @return: fires when none is left, or when SIGKILL has not helped for
            5 seconds. Never fails.
        """


class IPreparedLaunch(Interface):
    """
    A process that can be started at once. Of its two methods one is called, once.
    """

    def launch() -> ITaskProcess:
        """
        Start it. Its receiver hears of it, never before this returns.
        """

    def discard() -> None:
        """
        It will not be started: undo what was prepared.
        """


class ITaskLauncher(Interface):
    """
    Start the separate process of a task: here, by a helper, or elsewhere.
    """

    def prepare(launch: Launch, receiver: ITaskReceiver) -> IPreparedLaunch:
        """
        Make what a process needs, while it is not decided yet that it may start.
        Nothing is executed, no descriptor stays open, and C{receiver} hears nothing;
        what cannot be made, it hears after the launch.
        """

    def stop() -> Deferred[None]:
        """
        Kill what still runs and give everything back.
        """


class ILaunchReactor(IReactorTime, IReactorFDSet):
    """
    What the launcher needs of a reactor.
    """


class IStreamReactor(IReactorTime, IReactorFDSet):
    """
    What connections of our own need of a reactor.
    """


class ICallbackReactor(IStreamReactor):
    """
    What the callback ports need of a reactor.
    """


# Twisted's interfaces are not known to pydoctor, hence Interface once more.
class IDialReactor(IReactorTime, IReactorTCP, Interface):
    """
    What the remote needs of a reactor to dial back.
    """


class IStreamTransport(ITCPTransport, IConsumer, IPushProducer, Interface):
    """
    What every TCP or TLS transport of Twisted is: it pauses us when its peer
    does not read, and we pause it.
    """


# --------------------------------------- client: hearing of all tasks and orders


class ISchedulerObserver(Interface):
    """
    Hears, at once and in this order, what happens. It may read what it is given
    and must not change it.
    """

    def taskQueued(task: StartedTask) -> None:
        """
        A task has its number, and waits for its time and its turn.
        """

    def taskGiven(task: StartedTask) -> None:
        """
        It has its turn: its process class is asked for a place.
        """

    def taskStarted(task: StartedTask) -> None:
        """
        Its program runs.
        """

    def taskPrinted(task: StartedTask, stream: Stream, data: bytes) -> None:
        """
        It printed something.
        """

    def taskEnded(task: StartedTask) -> None:
        """
        It has its outcome. The order of a task is told of afterwards.
        """

    def orderAdded(order: Order) -> None:
        """
        An order stands at its first node.
        """

    def orderTaken(order: Order) -> None:
        """
        A task works on it.
        """

    def orderStepped(order: Order, verdict: Verdict, text: str) -> None:
        """
        That task is over; C{order.state} and C{order.task} are still those of
        the step.
        """

    def orderMoved(order: Order) -> None:
        """
        It stands at another node.
        """

    def orderChanged(order: Order) -> None:
        """
        A command changed it, or its job chain's file.
        """

    def orderEnded(order: Order) -> None:
        """
        It came to its end. A standing order is added anew.
        """

    def orderRemoved(order: Order) -> None:
        """
        It is gone without having come to its end.
        """


class ITaskLedger(Interface):
    """
    Numbers the tasks, and remembers them beyond the client's own life.
    """

    lasting: bool = Attribute("Whether tasks under way are there again after a restart.")

    def together() -> AbstractContextManager[None]:
        """
        Have all that happens meanwhile remembered whole, or nothing of it.
        """

    def stands(definition: NewOrder) -> None:
        """
        The order of a file was taken up, as the file is now.
        """

    def standsNot(chain: str, identifier: str) -> None:
        """
        There is no file of that order any more.
        """

    def taskLeaves(task: StartedTask, uuid: str, remote: str, key: str) -> Deferred[None] | None:
        """
        A remote will be asked for the task (L{IStartWitness}): not before this
        returns, or the Deferred that it returns has fired.
        """

    def whenKept() -> Deferred[None] | None:
        """
        Wait until all that has happened is remembered.
        """

    def taskReturns(task: StartedTask, uuid: str) -> None:
        """
        That remote did not begin it.
        """

    def nextNumber() -> int:
        """
        Make the number of a task. It is never made again.

        @raise CommandRefused: no task can be remembered now, so none may start.
        """

    def taskStarts(task: StartedTask, message: TaskStarted) -> None:
        """
        The remote confirmed the start of a task.
        """

    def taskEnds(task: StartedTask, message: TaskEnded, outcome: Outcome) -> Deferred[None] | None:
        """
        The remote told the end of a task. It is acknowledged, and forgotten by
        the remote, when this returns or the Deferred that it returns has fired.
        """
