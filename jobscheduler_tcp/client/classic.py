"""
Drive a classic remote over the confirmation connection: what a JobScheduler 1.x
client says to run one shell job (protocol document 5.2).

The client speaks first and calls; one generator is the whole sequence, which
gives out a call and goes on with its answer. The remote calls back while a call is
open (L{client.classicobjects}).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Protocol as TypingProtocol
from typing import TypeAlias, TypeVar

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobscheduler_tcp.client.classicobjects import ITaskListener, LentObjects
from jobscheduler_tcp.conversation import Role
from jobscheduler_tcp.errors import ConnectionClosed, RemoteProtocolError
from jobscheduler_tcp.objectspeaker import ObjectSpeaker
from jobscheduler_tcp.sockets import lingerNot
from jobscheduler_tcp.wire.classic import (
    Call,
    CallAnswer,
    CallMethod,
    CreateInstance,
    Done,
    Failed,
    GetId,
    InstanceCreated,
    Invoke,
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
    encodeConstruct,
)
from jobscheduler_tcp.wire.variants import EMPTY, FALSE, VT, Variant, bstr, variants

_Result = TypeVar("_Result")
# Calls, each of which waits for its answer, and what comes of them.
Calls: TypeAlias = Generator[Call, CallAnswer, _Result]


class IClassicReceiver(ITaskListener, TypingProtocol):
    """
    What the owner of a classic confirmation connection hears. C{remoteLost} or
    C{stepReturned} or C{callFailed} comes once, C{connectionClosed} last.
    """

    def remoteCalled(self) -> None:
        """
        The confirmation connection stands.
        """

    def beginning(self) -> None:
        """
        The remote is told to begin the job: from now on it may run.
        """

    def scriptStarted(self) -> None:
        """
        The remote has begun the job.
        """

    def scriptEnded(self) -> None:
        """
        The script is over; the rest of its output is still to come.
        """

    def stepReturned(self, result: StepResult) -> None:
        """
        All was heard of the script, and this is how it ended.
        """

    def callFailed(self, during: str, code: str, text: str) -> None:
        """
        The remote refused C{construct}, C{begin} or C{step}.
        """

    def remoteLost(self, reason: Failure) -> None:
        """
        The connection broke before all was heard of the script.
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


class ClassicCallbackProtocol(ObjectSpeaker):
    """
    One caller at a callback port of the classic dialect.
    """

    _log = Logger()

    def __init__(self, factory: ClassicCallbackFactory) -> None:
        super().__init__(Role.CLIENT)
        self._owner = factory
        self._objects = LentObjects(
            factory.job, factory.parameters, factory.orderParameters, factory.receiver
        )
        self._calls: Calls[None] | None = None  # while one of them is open
        self._isRemote = False
        self._told = False
        self._reason: Failure | None = None
        self._refusal: _Refused | None = None
        self._result: StepResult | None = None

    def connectionMade(self) -> None:
        """
        Take the first caller with an address of the remote, and begin.
        """
        super().connectionMade()
        # As the original: closing leaves nothing behind on the port (1.5).
        lingerNot(self.transport)
        host = getattr(self.transport.getPeer(), "host", "")
        if not self._owner.claim(self, host):
            self.abort()
            return
        self._isRemote = True
        self._owner.receiver.remoteCalled()
        self._goOn(self._run())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Tell the owner, unless it knows how the job ended.
        """
        super().connectionLost(reason)
        if not self._isRemote:
            return
        self._calls = None
        if self._refusal is not None:
            self._tell()
        elif not self._told:
            self._told = True
            self._owner.receiver.remoteLost(self._reason or self._because(reason))
        self._owner.receiver.connectionClosed()
        # All these know each other, and nobody needs them: the garbage collector
        # would find that in the end.
        del self._owner.receiver, self._owner, self._objects

    def abort(self, why: str = "") -> None:
        """
        Hang up without a word.
        """
        if why:
            self._reason = Failure(ConnectionClosed(why))
        super().abort()

    def _because(self, reason: Failure) -> Failure:
        if self._result is None:
            return reason
        result = self._result
        how = f"signal {result.signal}" if result.signal else f"exit code {result.exitCode}"
        text = f"the script had ended with {how}, the rest of its output is missing"
        return Failure(ConnectionClosed(f"{reason.getErrorMessage()} ({text})"))

    def misled(self, error: RemoteProtocolError) -> None:
        """
        Hang up on nonsense.
        """
        self._log.warn("Hung up on {peer}: {error}", peer=self.transport.getPeer(), error=error)
        self._reason = Failure(error)
        self.abort()

    def heard(self, message: Call | CallAnswer) -> None:
        """
        Answer the remote, or go on with its answer.
        """
        match message:
            case Release() | GetId() | Invoke() | QueryInterface():
                self.answer(self._objects.called(message))
            case KeepAlive():
                self.answer(Done())
            case CallMethod() | CreateInstance():
                self.answer(failed("Z-REMOTE-106", "the client's objects are called by number"))
            case _:
                calls, self._calls = self._calls, None
                if calls is not None:
                    self._goOn(calls, message)

    # ------------------------------------------------------------ the sequence

    def _goOn(self, calls: Calls[None], answer: CallAnswer | None = None) -> None:
        try:
            call = next(calls) if answer is None else calls.send(answer)
            if not self.over:  # by whoever heard of the last answer
                self._calls = calls
                self.call(call)
        except StopIteration:
            return
        except Exception:
            self._broken(Failure())

    def _run(self) -> Calls[None]:
        receiver = self._owner.receiver
        answer = yield CreateInstance()
        if not isinstance(answer, InstanceCreated) or not answer.objects:
            what = answer.what if isinstance(answer, Failed) else "no object was made"
            self.misled(RemoteProtocolError(f"the remote runs no jobs: {what}"))
            return
        server = answer.objects[0][1].id
        try:
            yield from self._construct(server)
            yield from self._begin(server)
            receiver.scriptStarted()
            self._result = yield from self._step(server)
            receiver.scriptEnded()
        except _Refused as refused:
            self._refusal = refused
        # The engines send most of the output only now (5.10).
        yield Release(server)
        self._tell()
        self.over = True
        self.transport.loseConnection()

    def _tell(self) -> None:
        if self._told:
            return
        self._told = True
        refused, result = self._refusal, self._result
        if refused is not None:
            self._owner.receiver.callFailed(refused.during, refused.code, refused.text)
        elif result is not None:
            if result.orderParameters:
                self._owner.receiver.valuesReturned(result.orderParameters)
            self._owner.receiver.stepReturned(result)

    def _construct(self, server: int) -> Calls[None]:
        elements = encodeConstruct(self._owner.job)
        yield from self._method(server, "construct", variants(elements))

    def _begin(self, server: int) -> Calls[None]:
        objects = self._objects
        self._owner.receiver.beginning()
        try:
            yield from self._method(server, "begin", objects.references(), objects.names())
        except _Refused as refused:
            self._refusal = refused  # it counts, whatever becomes of the rest
            # The original says all this after a failed begin (5.11).
            yield CallMethod(server, "end", (FALSE,))
            for method in ("spooler_on_error()V", "spooler_exit()V"):
                yield CallMethod(server, "call", (bstr(method),))
            raise

    def _step(self, server: int) -> Calls[StepResult]:
        value = yield from self._method(server, "step")
        text = value.value if value.type == VT.BSTR else ""
        try:
            return decodeResult(text)
        except RemoteProtocolError as error:
            raise _Refused("step", "SCHEDULER-409", str(error)) from error

    def _method(self, server: int, name: str, *arguments: Variant) -> Calls[Variant]:
        answer = yield CallMethod(server, name, arguments)
        if isinstance(answer, Failed):
            raise _Refused(name, answer.code, answer.what)
        value = answer.value if isinstance(answer, MethodCalled) else EMPTY
        if _isFalse(value):
            raise _Refused(name, "", f"the remote answered {name} with false")
        return value

    def _broken(self, failure: Failure) -> None:
        self._log.failure("Driving the remote failed", failure=failure)
        self._reason = failure
        self.abort()


def _isFalse(value: Variant) -> bool:
    # Protocol document 5.3: nothing, an object and most else is true.
    if value.type == VT.NULL:
        return True
    if value.type in (VT.BOOL, VT.I4, VT.INT, VT.I2):
        return not value.value
    return False


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

    def abort(self, why: str = "") -> None:
        """
        Hang up.
        """
        if self.caller is not None:
            self.caller.abort(why)
