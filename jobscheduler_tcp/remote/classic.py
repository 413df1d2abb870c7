"""
Be driven by a classic client: the task server of JobScheduler 1.x, for shell
jobs (protocol document 5).

The client calls: describe the job, begin it, wait for its end. While a call is
open the task calls back, for its parameters and with its output.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from signal import SIGKILL, SIGTERM

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.errors import LaunchFailed, LaunchLost
from jobscheduler_tcp.interfaces import (
    ITaskLauncher,
    ITaskProcess,
    ITaskReceiver,
    Launch,
    ProcessExit,
)
from jobscheduler_tcp.messages import Stream
from jobscheduler_tcp.remote.classiclaunch import launchOf, notExecuted, shown, withoutShell
from jobscheduler_tcp.remote.loglines import LogLines
from jobscheduler_tcp.remote.objectserver import CallFailed, ObjectServer, Serving
from jobscheduler_tcp.remote.returnvalues import ReturnValues
from jobscheduler_tcp.wire.classic import (
    BAD_VARIANT_TYPE,
    E_POINTER,
    METHOD,
    NO_INTERFACE,
    PROPERTY_GET,
    PROPERTY_PUT,
    PUT_VALUE,
    SERVER_CLASS,
    Call,
    CallAnswer,
    CallMethod,
    CreateInstance,
    Done,
    Failed,
    GetId,
    IdGiven,
    InstanceCreated,
    InterfaceGiven,
    Invoke,
    Invoked,
    KeepAlive,
    MethodCalled,
    QueryInterface,
    Release,
    isFailure,
)
from jobscheduler_tcp.wire.shelljob import (
    Pairs,
    ShellJob,
    StepResult,
    decodeConstruct,
    decodeVariables,
    encodeResult,
    encodeVariables,
    stateText,
)
from jobscheduler_tcp.wire.variants import (
    FALSE,
    TRUE,
    VT,
    Array,
    NewObject,
    Reference,
    Variant,
    bstr,
)

# The numbers of the members that the client offers (protocol document 5.6).
PARAMS_XML = 35
ORDER_PARAMS_XML = 36
LOG = 14
INFO = 0  # the level of both streams

CLASS_NOT_REGISTERED = 0x80040154
_SERVER = NewObject("sos::scheduler::Com_remote_module_instance_server")
# The numbers of our objects: a counter low, something random high, as the engines
# do (protocol document 4.6.4). Each connection has numbers of its own, so those
# of all tasks are the same, and what is said of them is.
_HIGH = secrets.randbits(31) << 32
# Output that waits for the client to take it; beyond it the task is held back
# by its pipes.
MAX_WAITING = 262144
# As much of the first line as can be needed: the state text has 100 characters.
_FIRST_LINE = 400


@dataclass(frozen=True, slots=True)
class ClassicTask:
    """
    A task that a classic client asked for.

    @ivar task: a UUID that we made, for our own books.
    @ivar processId: the number that the client was told.
    @ivar environment: what the process gets from us, before the client's own.
    """

    task: str
    processId: int
    environment: Mapping[str, str]


@implementer(ITaskReceiver)
class ClassicConfirmationProtocol(ObjectServer):
    """
    Serve one task to a classic client.

    @param ended: called once when the connection is gone and the process too.
    """

    def __init__(
        self, task: ClassicTask, launcher: ITaskLauncher, ended: Callable[[], None]
    ) -> None:
        super().__init__(task.task)
        self._task = task
        self._launcher = launcher
        self._ended = ended
        # The client's objects by the names that begin gives them.
        self._objects: dict[str, int] = {}
        self._level = INFO  # of the lines that the client wants, and higher ones
        self._lastId = _HIGH
        self._server = 0
        self._job: ShellJob | None = None
        self._launch: Launch | None = None
        self._shortened = False  # it was launched without its shell
        self._process: ITaskProcess | None = None
        self._exit: ProcessExit | None = None
        self._killed = False
        self._paused = False
        self._lines = LogLines()
        self._firstLine = b""
        self._firstLineOver = False
        self._returnValues: ReturnValues | None = None

    # --------------------------------------------------------------- connection

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Kill what still runs: there is nobody to tell.
        """
        super().connectionLost(reason)
        self.kill()
        if self._paused and self._process is not None:
            self._process.resumeProducing()  # what it prints is thrown away
        self._finish()

    def kill(self) -> None:
        """
        Kill the script and all its descendants; an open step then answers with
        signal 9. What has not begun will not.
        """
        if self._exit is None:
            self._killed = True
            if self._process is not None:
                self._process.kill(SIGKILL, 0)

    def hangUp(self) -> None:
        """
        Give the task up: close the connection, kill the script.
        """
        self.abort()

    # -------------------------------------------------------------------- calls

    def carryOut(self, call: Call) -> Serving[CallAnswer]:
        """
        See L{ObjectServer}.
        """
        if isinstance(call, KeepAlive):
            return Done()
        if isinstance(call, CreateInstance):
            return self._create(call)
        if call.object == 0:
            raise CallFailed(f"COM-{E_POINTER:08X}", "no object")
        if call.object != self._server:
            code = "Z-REMOTE-120" if isinstance(call, Release) else "Z-REMOTE-102"
            raise CallFailed(code, f"Unknown object id {call.object:016x}")
        match call:
            case Release():
                return (yield from self._release())
            case QueryInterface():
                return InterfaceGiven(NO_INTERFACE)
            case CallMethod():
                return MethodCalled((yield from self._method(call)))
            case _:
                raise CallFailed("COM-80020003", "this object is called by name")

    def _create(self, call: CreateInstance) -> CallAnswer:
        if call.clsid != SERVER_CLASS or len(call.iids) != 1:
            return InstanceCreated(CLASS_NOT_REGISTERED)
        self._lastId += 1
        self._server = self._lastId
        return InstanceCreated(0, ((0, Reference(self._server, _SERVER)),))

    def _method(self, call: CallMethod) -> Serving[Variant]:
        match call.name.lower():
            case "construct":
                return self._construct(call.arguments)
            case "begin":
                return (yield from self._begin(call.arguments))
            case "step":
                return (yield from self._step())
            case "end" | "call" | "wait_for_subprocesses":
                return Variant(VT.EMPTY)
            case "name_exists":
                return FALSE
            case name:
                raise CallFailed("COM-80020006", f"Unknown method {name!r}")

    def _construct(self, arguments: tuple[Variant, ...]) -> Variant:
        if len(arguments) != 1:
            raise CallFailed("COM-8002000E", "construct takes one argument")
        if self._process is not None:
            raise CallFailed("SCHEDULER-203", "construct is not possible after begin")
        job = decodeConstruct(arguments[0])
        if not job.isShell:
            kind = "monitors" if job.monitors else f"language {job.language}"
            raise CallFailed(
                "SCHEDULER-447",
                f"Job {job.job}: this remote runs shell jobs only, it cannot run a job with {kind}",
            )
        self._job = job
        return TRUE

    def _begin(self, arguments: tuple[Variant, ...]) -> Serving[Variant]:
        job = self._job
        if job is None or self._process is not None:
            raise CallFailed("SCHEDULER-203", "begin is not possible now")
        self._takeObjects(arguments)
        parameters = yield from self._variables("Params_xml", PARAMS_XML)
        parameters += yield from self._variables("Order_params_xml", ORDER_PARAMS_XML)
        if self._killed:
            raise CallFailed("Z-REMOTE-122", "The task was killed before it began")
        try:
            self._returnValues = ReturnValues()
        except OSError as error:
            text = f"{error.strerror}, no file for return values"
            raise CallFailed(f"ERRNO-{error.errno}", text) from error
        self._launch = launch = launchOf(
            self._task.task, job, parameters, self._task.environment, self._returnValues.path
        )
        shorter = withoutShell(launch)
        self._shortened = shorter is not launch
        self._process = self._launcher.prepare(shorter, self).launch()
        yield from self._logText(f"SCHEDULER-987  Starting process: {shown(job, launch.work)}")
        return TRUE

    def _takeObjects(self, arguments: tuple[Variant, ...]) -> None:
        if len(arguments) != 2 or not all(isinstance(each.value, Array) for each in arguments):
            raise CallFailed("COM-8002000E", "begin takes two arrays")
        objects, names = (each.value.items for each in arguments)
        for reference, name in zip(objects, names, strict=False):
            if not isinstance(reference, Variant) or reference.type != VT.DISPATCH:
                raise CallFailed(f"COM-{BAD_VARIANT_TYPE:08X}", "begin takes objects")
            if not isinstance(name, Variant) or name.type != VT.BSTR:
                raise CallFailed(f"COM-{BAD_VARIANT_TYPE:08X}", "begin takes names of objects")
            self._objects[name.value] = reference.value.id
            if name.value == "spooler_log" and reference.value.new is not None:
                level = dict(reference.value.new.properties).get("level")
                if level is not None and isinstance(level.value, int):
                    self._level = level.value
        for needed in ("spooler_task", "spooler_log"):
            if not self._objects.get(needed):
                raise CallFailed("SCHEDULER-203", f"begin has no object {needed}")

    def _variables(self, name: str, number: int) -> Serving[Pairs]:
        task = self._objects["spooler_task"]
        given = yield GetId(task, name)
        if not isinstance(given, IdGiven) or isFailure(given.result):
            return ()
        answer = yield Invoke(task, given.number or number, PROPERTY_GET)
        if isinstance(answer, Failed):
            raise CallFailed(answer.code, answer.text)
        if not isinstance(answer, Invoked) or answer.value.type != VT.BSTR:
            return ()
        return decodeVariables(answer.value.value)

    def _step(self) -> Serving[Variant]:
        if self._process is None:
            raise CallFailed("SCHEDULER-203", "step is not possible before begin")
        ending = yield from self._exited()
        yield from self._putReturnValues()
        return bstr(encodeResult(self._result(ending)))

    def _exited(self) -> Serving[ProcessExit]:
        while True:
            yield from self._logAll()
            if self._exit is not None:
                return self._exit
            yield None

    def _result(self, ending: ProcessExit) -> StepResult:
        text = stateText(self._firstLine.removesuffix(b"\r").decode("latin-1"))
        if ending.exitCode is not None:
            return StepResult(ending.exitCode, 0, text)
        number = ending.signal or SIGTERM
        isScript = self._launch is None or not self._launch.work.command
        if isScript and not self._killed:
            # The original runs a script under a shell of its own, which turns a
            # signal into an exit code.
            return StepResult(128 + number, 0, text)
        return StepResult(0, number, text)

    def _release(self) -> Serving[CallAnswer]:
        self.kill()
        if self._process is not None:
            yield from self._exited()
        for number in self._objects.values():
            yield Release(number)
        self._objects.clear()
        self._server = 0
        return Done()

    # ------------------------------------------------------------------- output

    def _logAll(self) -> Serving[None]:
        while (text := self._lines.take()) is not None:
            yield from self._logText(text)
            if self._paused and self._lines.size < MAX_WAITING and self._process is not None:
                self._paused = False
                self._process.resumeProducing()

    def _logText(self, text: str) -> Serving[None]:
        if self._level > INFO:
            return  # the client wants warnings only, or less
        log = self._objects["spooler_log"]
        arguments = (Variant(VT.I4, INFO), bstr(text))
        answer = yield Invoke(log, LOG, METHOD, arguments)
        if isinstance(answer, Failed):
            self._log.warn(
                "Task {task}: the client refused a log line: {what}",
                task=self._task.task,
                what=answer.what,
            )

    def _putReturnValues(self) -> Serving[None]:
        if self._returnValues is None or self._job is None:
            return
        returned = self._returnValues.read()
        if returned.problem:
            raise CallFailed(returned.code, returned.problem)
        if not returned.values:
            return
        values = (
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in returned.values
        )
        number = ORDER_PARAMS_XML if self._job.hasOrder else PARAMS_XML
        argument = (bstr(encodeVariables(values)),)
        task = self._objects["spooler_task"]
        # A client of 1.3 or 1.5 has no Params_xml to put (5.6): its refusal is
        # no failure of the task.
        yield Invoke(task, number, PROPERTY_PUT, argument, (PUT_VALUE,))

    # ----------------------------------------------------------- ITaskReceiver

    def processStarted(self, pid: int) -> None:
        """
        The script runs.
        """
        self._log.info(
            "Task {task}: process {pid} started for {peer}",
            task=self._task.task,
            pid=pid,
            peer=self.transport.getPeer(),
        )

    def processNotStarted(self, error: LaunchFailed) -> None:
        """
        The original learns it as an exit code, and its text as output.
        """
        assert self._launch is not None, "it was launched"
        if self._shortened and not self._killed and not isinstance(error, LaunchLost):
            # The shell knows more ways to start it, or to say why it cannot. What may
            # have run is not run again.
            self._shortened = False
            self._process = None
            try:
                self._process = self._launcher.prepare(self._launch, self).launch()
            except Exception:  # no call of the client's is there to fail
                self.broken(Failure())
            return
        text, code = notExecuted(self._launch.work, error)
        self.outputReceived(Stream.STDERR, text)
        self.processEnded(ProcessExit(code, None))

    def outputReceived(self, stream: Stream, data: bytes) -> None:
        """
        Keep output until the client takes it.
        """
        if self.lost:
            return
        if stream is Stream.STDOUT and not self._firstLineOver:
            self._firstLine += data[:_FIRST_LINE]
            line, end, _ = self._firstLine.partition(b"\n")
            self._firstLine = line[:_FIRST_LINE]
            self._firstLineOver = bool(end) or len(line) >= _FIRST_LINE
        self._lines.feed(stream, bytes(data))
        if not self._paused and self._lines.size >= MAX_WAITING and self._process is not None:
            self._paused = True
            self._process.pauseProducing()
        self.wake()

    def inputTaken(self, count: int) -> None:
        """
        Nothing: a classic task has no input.
        """

    def processEnded(self, ending: ProcessExit) -> None:
        """
        The script is over.
        """
        self._exit = ending
        self._lines.finish()
        self.wake()
        self._finish()

    def _finish(self) -> None:
        if self.lost and (self._process is None or self._exit is not None):
            if self._returnValues is not None:
                self._returnValues.discard()
                self._returnValues = None
            self._process = None  # which knows us
            ended, self._ended = self._ended, _nothing
            ended()


def _nothing() -> None:
    """
    The end was told.
    """
