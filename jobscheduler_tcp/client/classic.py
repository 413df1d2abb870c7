"""
Drive a classic remote over the confirmation connection: what a JobScheduler 1.x
client says to run one shell job (protocol document 5.2).

The client speaks first and calls; one coroutine is the whole sequence. The
remote calls back while a call is open: for parameters, with output, with the
values that the job returns.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Protocol as TypingProtocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobscheduler_tcp.conversation import Role
from jobscheduler_tcp.errors import ConnectionClosed, RemoteProtocolError
from jobscheduler_tcp.interfaces import IStreamTransport
from jobscheduler_tcp.objects import MisunderstoodCall, ObjectConversation
from jobscheduler_tcp.sockets import lingerNot, settle
from jobscheduler_tcp.wire.classic import (
    LOG_PROXY,
    MEMBER_NOT_FOUND,
    NO_INTERFACE,
    PROPERTY_GET,
    PROPERTY_PUT,
    SPOOLER_PROXY,
    TASK_PROXY,
    UNKNOWN_NAME,
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
)
from jobscheduler_tcp.wire.shelljob import (
    Pairs,
    ShellJob,
    StepResult,
    decodeResult,
    decodeVariables,
    encodeConstruct,
    encodeVariables,
)
from jobscheduler_tcp.wire.variants import (
    EMPTY,
    FALSE,
    VT,
    NewObject,
    Reference,
    Variant,
    bstr,
    variants,
)

# The members of the client's objects that a remote calls for a shell job, by
# their numbers (protocol document 5.6).
PARAMS_XML = 35
ORDER_PARAMS_XML = 36
ERROR_TEXT = 26
TASK_ID = 10
STEP_COUNT = 23
EXIT_CODE = 30
LOG = 14
LOG_MSG = 11
LOG_LEVEL = 19
ERROR_LEVEL = 2
_TASK_NAMES = {
    "params_xml": PARAMS_XML,
    "order_params_xml": ORDER_PARAMS_XML,
    "set_error_code_and_text": ERROR_TEXT,
    "id": TASK_ID,
    "step_count": STEP_COUNT,
    "exit_code": EXIT_CODE,
}
# debug9 to debug1 are 1 to 9, debug is debug1, msg is info.
_LOG_LEVELS = {0: 0, 10: -1, LOG_MSG: 0, 12: 1, 13: 2} | {n: n - 10 for n in range(1, 10)}
_LOG_NAMES = {"info": 0, "debug": 10, "msg": LOG_MSG, "warn": 12, "error": 13, "log": LOG} | {
    f"debug{10 - n}": n for n in range(1, 10)
}
LOWEST_LEVEL = -9  # of the lines that the remote shall send: all

_SPOOLER, _JOB, _TASK, _LOG = "spooler", "spooler_job", "spooler_task", "spooler_log"


class IClassicReceiver(TypingProtocol):
    """
    What the owner of a classic confirmation connection hears. C{remoteLost} or
    C{stepReturned} or C{callFailed} comes once, C{connectionClosed} last.
    """

    def remoteCalled(self) -> None:
        """
        The confirmation connection stands.
        """

    def scriptStarted(self) -> None:
        """
        The remote has begun the job.
        """

    def logged(self, level: int, text: str) -> None:
        """
        The task, or the remote, says something for the log: one or several
        lines.
        """

    def valuesReturned(self, values: Pairs) -> None:
        """
        The job returned values for its order, or its parameters.
        """

    def stepReturned(self, result: StepResult) -> None:
        """
        The script is over.
        """

    def callFailed(self, during: str, code: str, text: str) -> None:
        """
        The remote refused C{construct}, C{begin} or C{step}.
        """

    def remoteLost(self, reason: Failure) -> None:
        """
        The connection broke before the script was over.
        """

    def connectionClosed(self) -> None:
        """
        The confirmation connection is closed; the remote may be told to close
        the task.
        """


class _Refused(Exception):
    """
    A call was answered with an error, or with false.
    """

    def __init__(self, during: str, code: str, text: str) -> None:
        super().__init__(during, code, text)
        self.during = during
        self.code = code
        self.text = text


class ClassicCallbackProtocol(Protocol):
    """
    One caller at a callback port of the classic dialect.
    """

    transport: IStreamTransport
    _log = Logger()

    def __init__(self, factory: ClassicCallbackFactory) -> None:
        self._owner = factory
        self._conversation = ObjectConversation(Role.CLIENT)
        self._awaited: Deferred[CallAnswer] | None = None
        self._isRemote = False
        self._told = False
        self._closing = False
        self._reason: Failure | None = None
        high = secrets.randbits(31) << 32
        # The client's objects, by the numbers that we give them: the counter
        # low, something random high, as the engines do (4.6.4).
        self._objects = {high + n: name for n, name in enumerate((_SPOOLER, _JOB, _TASK, _LOG), 1)}

    def connectionMade(self) -> None:
        """
        Take the first caller with an address of the remote, and begin.
        """
        settle(self.transport)
        # As the original: closing leaves nothing behind on the port (1.5).
        lingerNot(self.transport)
        host = getattr(self.transport.getPeer(), "host", "")
        if not self._owner.claim(self, host):
            self.transport.abortConnection()
            return
        self._isRemote = True
        self._owner.receiver.remoteCalled()
        Deferred.fromCoroutine(self._run()).addErrback(self._broken)

    def dataReceived(self, data: bytes) -> None:
        """
        Hear the remote; hang up on nonsense.
        """
        if not self._isRemote or self._closing:
            return
        try:
            self._conversation.hear(data)
            while (message := self._next()) is not None:
                self._heard(message)
        except RemoteProtocolError as error:
            self._hangUp(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Tell the owner, unless it knows how the job ended.
        """
        if not self._isRemote:
            return
        awaited, self._awaited = self._awaited, None
        if awaited is not None:
            awaited.errback(Failure(ConnectionClosed("the remote is gone")))
        if not self._told:
            self._told = True
            self._owner.receiver.remoteLost(self._reason or reason)
        self._owner.receiver.connectionClosed()

    def abort(self) -> None:
        """
        Hang up without a word.
        """
        self._closing = True
        self.transport.abortConnection()

    def _hangUp(self, error: Exception) -> None:
        self._log.warn("Hung up on {peer}: {error}", peer=self.transport.getPeer(), error=error)
        self._reason = Failure(error)
        self.abort()

    def _next(self) -> Call | CallAnswer | None:
        while not self._closing:
            try:
                return self._conversation.next()
            except MisunderstoodCall as error:
                code, _, text = str(error).partition("  ")
                self._answer(failed(code, text))
        return None

    def _heard(self, message: Call | CallAnswer) -> None:
        match message:
            case Release() | KeepAlive():
                self._answer(Done())
            case GetId():
                self._answer(self._idOf(message))
            case Invoke():
                self._answer(self._invoked(message))
            case QueryInterface():
                self._answer(InterfaceGiven(NO_INTERFACE))
            case CallMethod() | CreateInstance():
                self._answer(failed("Z-REMOTE-106", "the client's objects are called by number"))
            case _:
                awaited, self._awaited = self._awaited, None
                if awaited is not None:
                    awaited.callback(message)

    def _answer(self, answer: CallAnswer) -> None:
        self.transport.write(self._conversation.answer(answer))

    # ------------------------------------------------------------ the sequence

    async def _run(self) -> None:
        receiver = self._owner.receiver
        try:
            server = await self._create()
        except ConnectionClosed:
            return
        try:
            await self._construct(server)
            await self._begin(server)
            receiver.scriptStarted()
            result = await self._step(server)
            self._told = True
            receiver.stepReturned(result)
        except _Refused as refused:
            self._told = True
            receiver.callFailed(refused.during, refused.code, refused.text)
        except ConnectionClosed:
            return
        try:
            await self._call(Release(server))
        except ConnectionClosed:
            return
        self._closing = True
        self.transport.loseConnection()

    async def _create(self) -> int:
        answer = await self._call(CreateInstance())
        if not isinstance(answer, InstanceCreated) or not answer.objects:
            what = answer.what if isinstance(answer, Failed) else "no object was made"
            self._hangUp(RemoteProtocolError(f"the remote runs no jobs: {what}"))
            raise ConnectionClosed("the remote runs no jobs")
        return answer.objects[0][1].id

    async def _construct(self, server: int) -> None:
        elements = encodeConstruct(self._owner.job)
        await self._method(server, "construct", variants(elements))

    async def _begin(self, server: int) -> None:
        names = variants(tuple(bstr(name) for name in self._objects.values()))
        objects = variants(
            tuple(
                Variant(VT.DISPATCH, Reference(number, _NEW[name]))
                for number, name in self._objects.items()
            )
        )
        try:
            await self._method(server, "begin", objects, names)
        except _Refused:
            # The original says all this after a failed begin (5.11).
            await self._call(CallMethod(server, "end", (FALSE,)))
            for method in ("spooler_on_error()V", "spooler_exit()V"):
                await self._call(CallMethod(server, "call", (bstr(method),)))
            raise

    async def _step(self, server: int) -> StepResult:
        value = await self._method(server, "step")
        text = value.value if value.type == VT.BSTR else ""
        try:
            return decodeResult(text)
        except RemoteProtocolError as error:
            raise _Refused("step", "SCHEDULER-409", str(error)) from error

    async def _method(self, server: int, name: str, *arguments: Variant) -> Variant:
        answer = await self._call(CallMethod(server, name, arguments))
        if isinstance(answer, Failed):
            raise _Refused(name, answer.code, answer.what)
        value = answer.value if isinstance(answer, MethodCalled) else EMPTY
        if _isFalse(value):
            raise _Refused(name, "", f"the remote answered {name} with false")
        return value

    async def _call(self, call: Call) -> CallAnswer:
        if self._closing:
            raise ConnectionClosed("the connection is closed")
        awaited: Deferred[CallAnswer] = Deferred()
        self._awaited = awaited
        self.transport.write(self._conversation.call(call))
        return await awaited

    def _broken(self, failure: Failure) -> None:
        self._log.failure("Driving the remote failed", failure=failure)
        self._reason = failure
        self.abort()

    # ------------------------------------------------------- calls of the remote

    def _idOf(self, call: GetId) -> CallAnswer:
        names = {_TASK: _TASK_NAMES, _LOG: _LOG_NAMES}.get(self._objects.get(call.object, ""), {})
        number = names.get(call.name.lower())
        return IdGiven(UNKNOWN_NAME) if number is None else IdGiven(0, number)

    def _invoked(self, call: Invoke) -> CallAnswer:
        match self._objects.get(call.object):
            case None:
                return failed("Z-REMOTE-102", f"Unknown object id {call.object:016x}")
            case "spooler_task":
                value = self._taskMember(call)
            case "spooler_log":
                value = self._logMember(call)
            case _:
                value = None
        return Invoked(MEMBER_NOT_FOUND) if value is None else Invoked(0, value)

    def _taskMember(self, call: Invoke) -> Variant | None:
        owner = self._owner
        text = call.arguments[0].value if call.arguments else None
        match call.number, call.flags:
            case 35, int(flags) if flags & PROPERTY_GET:
                return bstr(encodeVariables(owner.parameters))
            case 36, int(flags) if flags & PROPERTY_GET:
                order = owner.orderParameters
                return bstr("" if order is None else encodeVariables(order))
            case ((35 | 36), int(flags)) if flags & PROPERTY_PUT and isinstance(text, str):
                owner.receiver.valuesReturned(decodeVariables(text))
                return EMPTY
            case 26, _ if len(call.arguments) == 2:
                code, what = (str(argument.value) for argument in call.arguments)
                owner.receiver.logged(ERROR_LEVEL, f"{code}  {what}")
                return EMPTY
            case 10, int(flags) if flags & PROPERTY_GET:
                number = owner.job.taskId
                return Variant(VT.I4, int(number) if number.isdecimal() else 0)
            case 23, int(flags) if flags & PROPERTY_GET:
                return Variant(VT.INT, 1)
            case 30, _:
                return EMPTY if call.arguments else Variant(VT.INT, 0)
            case _:
                return None

    def _logMember(self, call: Invoke) -> Variant | None:
        arguments = call.arguments
        if call.number == LOG_LEVEL:
            return EMPTY if arguments else Variant(VT.I4, LOWEST_LEVEL)
        if call.number == LOG and len(arguments) == 2:
            level, text = (argument.value for argument in arguments)
        elif call.number in _LOG_LEVELS and len(arguments) == 1:
            level, text = _LOG_LEVELS[call.number], arguments[0].value
        else:
            return None
        if isinstance(level, int) and isinstance(text, str):
            self._owner.receiver.logged(level, text)
        return EMPTY


def _isFalse(value: Variant) -> bool:
    # Protocol document 5.3: nothing, an object and most else is true.
    if value.type == VT.NULL:
        return True
    if value.type in (VT.BOOL, VT.I4, VT.INT, VT.I2):
        return not value.value
    return False


_NEW = {
    _SPOOLER: NewObject("sos::scheduler::com_objects::Com_spooler", SPOOLER_PROXY),
    _JOB: NewObject("sos::scheduler::com_objects::Com_job"),
    _TASK: NewObject(
        "sos::scheduler::com_objects::Com_task",
        TASK_PROXY,
        (("subprocess_own_process_group_default", FALSE),),
    ),
    _LOG: NewObject(
        "sos::scheduler::com_objects::Com_log",
        LOG_PROXY,
        (("level", Variant(VT.I4, LOWEST_LEVEL)),),
    ),
}


class ClassicCallbackFactory(ServerFactory):
    """
    Listen for the confirmation connection of one task of a classic remote.

    The classic dialect has no secret: the first caller with an address of the
    remote is taken.

    @ivar job: what C{construct} says.
    @ivar parameters: of the task.
    @ivar orderParameters: of its order, C{None} if it has none.
    @ivar receiver: hears of the task.
    @ivar isRemote: tells whether an address may be the remote's.
    """

    noisy = False

    def __init__(
        self,
        job: ShellJob,
        receiver: IClassicReceiver,
        isRemote: Callable[[str], bool],
        *,
        parameters: Pairs = (),
        orderParameters: Pairs | None = None,
        stranger: Callable[[str], None] = lambda host: None,
    ) -> None:
        self.job = job
        self.parameters = parameters
        self.orderParameters = orderParameters
        self.receiver = receiver
        self.isRemote = isRemote
        self.stranger = stranger
        self.caller: ClassicCallbackProtocol | None = None

    def buildProtocol(self, addr: IAddress | None) -> ClassicCallbackProtocol:
        """
        Somebody calls.
        """
        return ClassicCallbackProtocol(self)

    def claim(self, caller: ClassicCallbackProtocol, host: str) -> bool:
        """
        Whether a caller is taken for the remote.
        """
        if self.caller is not None or not self.isRemote(host):
            self.stranger(host)
            return False
        self.caller = caller
        return True

    def abort(self) -> None:
        """
        Hang up.
        """
        if self.caller is not None:
            self.caller.abort()
