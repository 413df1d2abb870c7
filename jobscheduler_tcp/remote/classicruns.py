"""
The tasks that a classic client starts over its command connection:
C{remote_scheduler.start_remote_task} and C{remote_task.close} (protocol
document 3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IConnector
from twisted.internet.protocol import ClientFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobscheduler_tcp.dialing import dial
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.logger import TaskLogger
from jobscheduler_tcp.plaincommands import Said, timestamp
from jobscheduler_tcp.remote.classic import ClassicConfirmationProtocol, ClassicTask
from jobscheduler_tcp.remote.steps import Workplace
from jobscheduler_tcp.wire.documents import Element, element

# Seconds for the client to take the confirmation connection: within the 60 that
# real clients wait (protocol document 10.1).
CONNECT_TIMEOUT = 55.0
# Privileged ports are no callback ports, as the engines know (1.1).
LOWEST_PORT = 1024


class ClassicRun(ClientFactory):
    """
    One task of a classic client, from the command to start it until its
    confirmation connection and its process are gone.

    @ivar task: its number and environment.
    """

    noisy = False
    _log = Logger()

    def __init__(
        self, task: ClassicTask, place: Workplace, host: str, port: int, over: Callable[[], None]
    ) -> None:
        """
        @param host: where the client listens.
        @param over: called once, when nothing of the task is left.
        """
        self.task = task
        self._place = place
        self._host = host
        self._port = port
        self._over: Callable[[], None] | None = over
        self._since = place.wallClock()
        self._connector: IConnector | None = None
        self._connection: ClassicConfirmationProtocol | None = None
        self._waiting: list[Deferred[None]] = []

    def dial(self) -> None:
        """
        Call the client, which hears the answer to its command before.
        """
        reactor = self._place.reactor
        dial(reactor, self._host, self._port, self, CONNECT_TIMEOUT, putOff=True)

    def startedConnecting(self, connector: IConnector) -> None:
        """
        Remember who connects, to be able to stop it.
        """
        self._connector = connector

    def buildProtocol(self, addr: IAddress | None) -> ClassicConfirmationProtocol:
        """
        The client has taken the connection.
        """
        self._connector = None
        self._connection = ClassicConfirmationProtocol(self.task, self._place.launcher, self._ended)
        return self._connection

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        """
        It has not. The original says no more of it either (8.2), so the log
        must.
        """
        self._log.warn(
            "Task {task}: no confirmation connection to {host}:{port}: {error}",
            task=self.task.task,
            host=self._host,
            port=self._port,
            error=reason.getErrorMessage(),
        )
        self._connector = None
        self._ended()

    def kill(self) -> None:
        """
        Kill the script, if it runs; its step answers with signal 9.
        """
        if self._connection is not None:
            self._connection.kill()
        else:
            self.forget()

    def forget(self) -> None:
        """
        The client needs the task no more: one that was not taken yet will not
        be (protocol document 10.3).
        """
        if self._connector is not None:
            self._connector.stopConnecting()

    def hangUp(self) -> None:
        """
        Leave nothing behind: close the connection, kill the script.
        """
        if self._connection is not None:
            self._connection.hangUp()
        else:
            self.forget()

    def whenOver(self) -> Deferred[None]:
        """
        Fires when nothing of the task is left.
        """
        if self._over is None:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def describe(self) -> dict[str, str]:
        """
        Tell people how it stands.
        """
        return {
            "task": str(self.task.processId),
            "uuid": self.task.task,
            "state": "running" if self._connection is not None else "starting",
            "client": f"{self._host}:{self._port}",
            "running_since": timestamp(self._since),
        }

    def _ended(self) -> None:
        over, self._over = self._over, None
        if over is not None:
            over()
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)


@dataclass(frozen=True, slots=True)
class ClassicHost:
    """
    What a remote gives to the classic tasks of its clients.

    @ivar admit: raises L{CommandRefused} if no task may be started now.
    @ivar number: makes the number of a new task.
    @ivar environment: what tasks get of the remote's own environment.
    @ivar runs: all classic tasks that are not over, by their numbers.
    @ivar over: called when one is.
    """

    place: Workplace
    admit: Callable[[int], None]
    number: Callable[[], int]
    environment: dict[str, str]
    runs: dict[int, ClassicRun]
    over: Callable[[], None]


class ClassicRuns:
    """
    The tasks of one command connection: their numbers are valid there only, and
    they are killed when it is lost (2.11).
    """

    _log = TaskLogger()

    def __init__(self, host: ClassicHost, client: str) -> None:
        """
        @param client: the address of the client, which the tasks call back.
        """
        self._host = host
        self._client = client
        self._runs: dict[int, ClassicRun] = {}

    def start(self, command: Element) -> Element:
        """
        Start a task.

        @raise CommandRefused: it may not be started.
        """
        port = _number(command, "tcp_port")
        if not LOWEST_PORT <= port <= 65535:
            raise CommandRefused("SCHEDULER-409", f"tcp_port={port} is no callback port")
        kind = command.attributes.get("kind", "process")
        if kind != "process":
            # The original's schema knows no other (protocol document, 3.1).
            raise CommandRefused("SCHEDULER-409", f"Expected kind=process, found {kind[:100]!r}")
        self._host.admit(port)
        number = self._host.number()
        task = ClassicTask(str(uuid4()), number, self._host.environment)
        run = ClassicRun(task, self._host.place, self._client, port, lambda: self._over(number))
        self._runs[number] = self._host.runs[number] = run
        self._log.info(
            "SCHEDULER-848  Task {task}, process_id {number}, is started for {client}:{port}",
            task=task.task,
            number=number,
            client=self._client,
            port=port,
        )
        run.dial()
        return element("process", {"process_id": str(number)})

    def close(self, command: Element) -> Deferred[Said]:
        """
        Close a task, when its confirmation connection is closed; kill it first,
        if the client wants that.

        @raise CommandRefused: there is none with that number here.
        """
        number = _number(command, "process_id")
        run = self._runs.get(number)
        if run is None:
            raise CommandRefused("SCHEDULER-161", f"unknown process id {number}")
        if command.attributes.get("kill") == "yes":
            run.kill()
        else:
            run.forget()
        return run.whenOver().addCallback(lambda _: self._closed(number))

    def connectionLost(self) -> None:
        """
        The client is gone.
        """
        runs, self._runs = self._runs, {}
        for number, run in runs.items():
            if number in self._host.runs:
                self._log.warn(
                    "SCHEDULER-850  {client} is gone, task {task} is killed",
                    client=self._client,
                    task=run.task.task,
                )
                run.hangUp()

    def _over(self, number: int) -> None:
        del self._host.runs[number]
        self._host.over()

    def _closed(self, number: int) -> Said:
        self._runs.pop(number, None)
        return element("ok")


def _number(command: Element, name: str) -> int:
    text = command.attributes.get(name)
    if text is None:
        # The code that the engines answer with (recordings/README).
        raise CommandRefused("LIBXML2-003", f"Missing attribute {name} in <{command.name}>")
    if not text.isdecimal() or len(text) > 18:
        raise CommandRefused("SCHEDULER-409", f"{name}={text!r} is no number")
    return int(text)
