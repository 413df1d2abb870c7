"""
Be driven by a classic client: the task server of JobScheduler 1.x, for shell
jobs (protocol document 5).

The client calls, one call at a time, and a coroutine answers each. While a call
is open the task calls back: for its parameters, and with its output.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import split
from signal import SIGKILL, SIGTERM
from string import Template
from tempfile import mkstemp

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobscheduler_tcp.conversation import Role
from jobscheduler_tcp.errors import (
    ConnectionClosed,
    JobSchedulerError,
    LaunchFailed,
    RemoteProtocolError,
)
from jobscheduler_tcp.interfaces import (
    ITaskLauncher,
    ITaskProcess,
    ITaskReceiver,
    Launch,
    ProcessExit,
)
from jobscheduler_tcp.messages import Stream, Work
from jobscheduler_tcp.objects import MisunderstoodCall, ObjectConversation
from jobscheduler_tcp.remote.loglines import LogLines
from jobscheduler_tcp.sockets import settle
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
    failed,
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
_SERVER = "sos::scheduler::Com_remote_module_instance_server"
# Output that waits for the client to take it; beyond it the task is held back
# by its pipes.
MAX_WAITING = 262144
MAX_RETURN_VALUES = 10 * 1024 * 1024  # protocol document 8.1


class CallFailed(JobSchedulerError):
    """
    A call of the client cannot be carried out: it is answered with an error.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}  {text}")
        self.answer = failed(code, text)


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
class ClassicConfirmationProtocol(Protocol):
    """
    Serve one task to a classic client.

    @param ended: called once when the connection is gone and the process too.
    """

    transport: ITCPTransport
    _log = Logger()

    def __init__(
        self, task: ClassicTask, launcher: ITaskLauncher, ended: Callable[[], None]
    ) -> None:
        self._task = task
        self._launcher = launcher
        self._ended = ended
        self._conversation = ObjectConversation(Role.REMOTE)
        self._pumping = False
        self._lost = False
        self._awaited: Deferred[CallAnswer] | None = None
        self._changed: Deferred[None] | None = None
        # The client's objects by the names that begin gives them.
        self._objects: dict[str, int] = {}
        self._nextId = secrets.randbits(31) << 32
        self._server = 0
        self._job: ShellJob | None = None
        self._process: ITaskProcess | None = None
        self._exit: ProcessExit | None = None
        self._killed = False
        self._paused = False
        self._lines = LogLines()
        self._firstLine = b""
        self._firstLineOver = False
        self._returnValues: Path | None = None

    # --------------------------------------------------------------- connection

    def connectionMade(self) -> None:
        """
        Say nothing: the client speaks first.
        """
        settle(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """
        Answer what is called, hang up on nonsense.
        """
        try:
            self._conversation.hear(data)
        except RemoteProtocolError as error:
            self._hangUp(error)
        else:
            self._pump()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Kill what still runs: there is nobody to tell.
        """
        self._lost = True
        awaited, self._awaited = self._awaited, None
        if awaited is not None:
            awaited.errback(Failure(ConnectionClosed("the client is gone")))
        self.kill()
        self._wake()
        self._finish()

    def kill(self) -> None:
        """
        Kill the script and all its descendants; an open step then answers with
        signal 9.
        """
        if self._process is not None and self._exit is None:
            self._killed = True
            self._process.kill(SIGKILL, 0)

    def hangUp(self) -> None:
        """
        Give the task up: close the connection, kill the script.
        """
        self.transport.abortConnection()

    def _hangUp(self, error: JobSchedulerError) -> None:
        self._log.warn(
            "Task {task}: hung up on {peer}: {error}",
            task=self._task.task,
            peer=self.transport.getPeer(),
            error=error,
        )
        self.transport.abortConnection()

    def _pump(self) -> None:
        # Answering lets the peer's next message, if it is here already, be
        # heard: a loop, so that a client that runs ahead does not make us
        # recurse.
        if self._pumping:
            return
        self._pumping = True
        try:
            while not self._lost:
                try:
                    message = self._conversation.next()
                except MisunderstoodCall as error:
                    code, _, text = str(error).partition("  ")
                    self._answer(failed(code, text))
                    continue
                if message is None:
                    break
                self._heard(message)
        except RemoteProtocolError as error:
            self._hangUp(error)
        finally:
            self._pumping = False

    def _heard(self, message: Call | CallAnswer) -> None:
        match message:
            case (
                CreateInstance()
                | CallMethod()
                | GetId()
                | Invoke()
                | QueryInterface()
                | Release()
                | KeepAlive()
            ):
                serving = Deferred.fromCoroutine(self._serve(message))
                serving.addErrback(self._broken)
            case _:
                awaited, self._awaited = self._awaited, None
                if awaited is not None:
                    awaited.callback(message)

    async def _serve(self, call: Call) -> None:
        try:
            answer = await self._carryOut(call)
        except CallFailed as error:
            answer = error.answer
        except RemoteProtocolError as error:
            answer = failed("SCHEDULER-409", str(error))
        except ConnectionClosed:
            return
        if not self._lost:
            self._answer(answer)
            self._pump()

    def _broken(self, failure: Failure) -> None:
        self._log.failure("Task {task} failed", failure=failure, task=self._task.task)
        self.transport.abortConnection()

    def _answer(self, answer: CallAnswer) -> None:
        self.transport.write(self._conversation.answer(answer))

    async def _call(self, call: Call) -> CallAnswer:
        if self._lost:
            raise ConnectionClosed("the client is gone")
        self._awaited = Deferred()
        awaited = self._awaited
        self.transport.write(self._conversation.call(call))
        return await awaited

    # -------------------------------------------------------------------- calls

    async def _carryOut(self, call: Call) -> CallAnswer:
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
                return await self._release()
            case QueryInterface():
                return InterfaceGiven(NO_INTERFACE)
            case CallMethod():
                return MethodCalled(await self._method(call))
            case _:
                raise CallFailed("COM-80020003", "this object is called by name")

    def _create(self, call: CreateInstance) -> CallAnswer:
        if call.clsid != SERVER_CLASS or len(call.iids) != 1:
            return InstanceCreated(CLASS_NOT_REGISTERED)
        self._nextId += 1
        self._server = self._nextId
        return InstanceCreated(0, ((0, Reference(self._server, NewObject(_SERVER))),))

    async def _method(self, call: CallMethod) -> Variant:
        match call.name.lower():
            case "construct":
                return self._construct(call.arguments)
            case "begin":
                return await self._begin(call.arguments)
            case "step":
                return await self._step()
            case "end" | "call" | "wait_for_subprocesses":
                return Variant(VT.EMPTY)
            case "name_exists":
                return FALSE
            case name:
                raise CallFailed("COM-80020006", f"Unknown method {name!r}")

    def _construct(self, arguments: tuple[Variant, ...]) -> Variant:
        if len(arguments) != 1:
            raise CallFailed("COM-8002000E", "construct takes one argument")
        job = decodeConstruct(arguments[0])
        if not job.isShell:
            kind = "monitors" if job.monitors else f"language {job.language}"
            raise CallFailed(
                "SCHEDULER-447",
                f"Job {job.job}: this remote runs shell jobs only, it cannot run a job with {kind}",
            )
        self._job = job
        return TRUE

    async def _begin(self, arguments: tuple[Variant, ...]) -> Variant:
        job = self._job
        if job is None or self._process is not None:
            raise CallFailed("SCHEDULER-203", "begin is not possible now")
        self._takeObjects(arguments)
        parameters = await self._variables("Params_xml", PARAMS_XML)
        parameters += await self._variables("Order_params_xml", ORDER_PARAMS_XML)
        launch = self._launchOf(job, parameters)
        self._process = self._launcher.launch(launch, self)
        await self._logText(f"SCHEDULER-987  Starting process: {_shown(job, launch.work)}")
        return TRUE

    def _takeObjects(self, arguments: tuple[Variant, ...]) -> None:
        if len(arguments) != 2 or not all(isinstance(each.value, Array) for each in arguments):
            raise CallFailed("COM-8002000E", "begin takes two arrays")
        objects, names = (each.value.items for each in arguments)
        for reference, name in zip(objects, names, strict=False):
            if not isinstance(reference, Variant) or reference.type != VT.DISPATCH:
                raise CallFailed(f"COM-{BAD_VARIANT_TYPE:08X}", "begin takes objects")
            self._objects[name.value] = reference.value.id
        for name in ("spooler_task", "spooler_log"):
            if not self._objects.get(name):
                raise CallFailed("SCHEDULER-203", f"begin has no object {name}")

    async def _variables(self, name: str, number: int) -> Pairs:
        task = self._objects["spooler_task"]
        given = await self._call(GetId(task, name))
        if not isinstance(given, IdGiven) or isFailure(given.result):
            return ()
        answer = await self._call(Invoke(task, given.number or number, PROPERTY_GET))
        if isinstance(answer, Failed):
            raise CallFailed(answer.code, answer.what)
        if not isinstance(answer, Invoked) or answer.value.type != VT.BSTR:
            return ()
        return decodeVariables(answer.value.value)

    def _launchOf(self, job: ShellJob, parameters: Pairs) -> Launch:
        descriptor, path = mkstemp(prefix="jsremote-values-")
        os.close(descriptor)
        self._returnValues = Path(path)
        environment = dict(self._task.environment)
        environment.update((name, _asLatin1(value)) for name, value in job.environment)
        environment["SCHEDULER_RETURN_VALUES"] = path
        prefix = "SCHEDULER_PARAM_" if job.prefix is None else job.prefix
        environment.update(
            (_upper(_asLatin1(prefix + name)), _asLatin1(value)) for name, value in parameters
        )
        if job.program:
            work = Work(command=(job.program, *_arguments(job.arguments, environment)))
        else:
            # The original writes the script as ISO-8859-1; and text is always a
            # script, also an empty one.
            work = Work(script=_asLatin1(job.script) or "\n")
        return Launch(self._task.task, work, environment)

    async def _step(self) -> Variant:
        if self._process is None:
            raise CallFailed("SCHEDULER-203", "step is not possible before begin")
        while True:
            await self._logAll()
            if self._exit is not None:
                break
            self._changed = Deferred()
            await self._changed
            if self._lost:
                raise ConnectionClosed("the client is gone")
        await self._putReturnValues()
        return bstr(encodeResult(self._result(self._exit)))

    def _result(self, ending: ProcessExit) -> StepResult:
        text = stateText(self._firstLine.removesuffix(b"\r").decode("latin-1"))
        if ending.exitCode is not None:
            return StepResult(ending.exitCode, 0, text)
        number = ending.signal or SIGTERM
        if self._killed:
            return StepResult(0, number, text)
        # The original runs the script under a shell of its own, which turns a
        # signal into an exit code.
        return StepResult(128 + number, 0, text)

    async def _release(self) -> CallAnswer:
        self.kill()
        while self._process is not None and self._exit is None:
            self._changed = Deferred()
            await self._changed
        await self._logAll()
        for number in self._objects.values():
            await self._call(Release(number))
        self._objects.clear()
        self._server = 0
        return Done()

    # ------------------------------------------------------------------- output

    async def _logAll(self) -> None:
        while (text := self._lines.take()) is not None:
            await self._logText(text)
            if self._paused and self._lines.size < MAX_WAITING and self._process is not None:
                self._paused = False
                self._process.resumeProducing()

    async def _logText(self, text: str) -> None:
        log = self._objects["spooler_log"]
        arguments = (Variant(VT.I4, INFO), bstr(text))
        answer = await self._call(Invoke(log, LOG, METHOD, arguments))
        if isinstance(answer, Failed):
            self._log.warn(
                "Task {task}: the client refused a log line: {what}",
                task=self._task.task,
                what=answer.what,
            )

    async def _putReturnValues(self) -> None:
        job = self._job
        if self._returnValues is None or job is None:
            return
        values = _readReturnValues(self._returnValues)
        if not values:
            return
        number = ORDER_PARAMS_XML if job.hasOrder else PARAMS_XML
        argument = (bstr(encodeVariables(values)),)
        task = self._objects["spooler_task"]
        # A client of 1.3 or 1.5 has no Params_xml to put (5.6): its refusal is
        # no failure of the task.
        await self._call(Invoke(task, number, PROPERTY_PUT, argument, (PUT_VALUE,)))

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
        text = f"ERRNO-{error.errno}  {error}\n" if error.errno else f"{error}\n"
        self.outputReceived(Stream.STDERR, text.encode("latin-1", "replace"))
        code = error.errno if 0 < error.errno < 250 else 250
        self.processEnded(ProcessExit(code, None))

    def outputReceived(self, stream: Stream, data: bytes) -> None:
        """
        Keep output until the client takes it.
        """
        if self._lost:
            return
        if stream is Stream.STDOUT and not self._firstLineOver:
            self._firstLine += data[:400]
            line, end, _ = self._firstLine.partition(b"\n")
            self._firstLine = line[:400]
            self._firstLineOver = bool(end) or len(line) >= 400
        self._lines.feed(stream, bytes(data))
        if not self._paused and self._lines.size >= MAX_WAITING and self._process is not None:
            self._paused = True
            self._process.pauseProducing()
        self._wake()

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
        self._wake()
        self._finish()

    def _wake(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.callback(None)

    def _finish(self) -> None:
        if self._lost and (self._process is None or self._exit is not None):
            if self._returnValues is not None:
                self._returnValues.unlink(missing_ok=True)
                self._returnValues = None
            ended, self._ended = self._ended, _nothing
            ended()


def _nothing() -> None:
    """
    The end was told.
    """


def _asLatin1(text: str) -> str:
    # What a launcher is given is text whose bytes for the system are UTF-8; a
    # classic client's are ISO-8859-1.
    return text.encode("latin-1", "replace").decode("utf-8", "surrogateescape")


def _upper(name: str) -> str:
    # ASCII letters only, as in the C locale that engines run in.
    return "".join(char.upper() if char.isascii() else char for char in name)


def _shown(job: ShellJob, work: Work) -> str:
    # As the original writes it, but for the name of its temporary file.
    words = work.command or ("/bin/sh", "-c", f'"script of job {job.job}"')
    return " ".join(f"'{word}'" for word in words)


def _arguments(line: str, environment: Mapping[str, str]) -> list[str]:
    # An empty parameter line stands for the variables named 1, 2, … (5.4).
    if not line:
        numbered: list[str] = []
        while (value := environment.get(str(len(numbered) + 1))) is not None:
            numbered.append(value)
        return numbered
    try:
        words = split(line)
    except ValueError as problem:
        raise CallFailed("SCHEDULER-409", f"parameter line {line!r}: {problem}") from problem
    return [_substitute(word, environment) for word in words]


def _substitute(word: str, environment: Mapping[str, str]) -> str:
    return Template(word).safe_substitute(environment)


def _readReturnValues(path: Path) -> Pairs:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_RETURN_VALUES + 1)
    except OSError as error:
        raise CallFailed(f"ERRNO-{error.errno}", f"the return values are gone: {error}") from error
    if len(data) > MAX_RETURN_VALUES:
        raise CallFailed("SCHEDULER-448", f"more than {MAX_RETURN_VALUES} bytes of return values")
    values: list[tuple[str, str]] = []
    for line in data.decode("latin-1").splitlines():
        if not line.strip():
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise CallFailed("SCHEDULER-449", f"a return value without '=': {line[:200]}")
        values.append((name.strip(), value.strip()))
    return tuple(values)
