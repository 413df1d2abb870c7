"""
The objects that a classic client lends to a remote while a task runs: scheduler,
job, task and log. A remote calls them for the parameters, with output, and with
the values that the job returns (protocol document 5.6).
"""

from __future__ import annotations

import secrets
from typing import Protocol as TypingProtocol

from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.wire.classic import (
    LOG_PROXY,
    MEMBER_NOT_FOUND,
    NO_INTERFACE,
    PROPERTY_GET,
    PROPERTY_PUT,
    SPOOLER_PROXY,
    TASK_PROXY,
    UNKNOWN_NAME,
    CallAnswer,
    Done,
    GetId,
    IdGiven,
    InterfaceGiven,
    Invoke,
    Invoked,
    QueryInterface,
    Release,
    failed,
)
from jobscheduler_tcp.wire.shelljob import Pairs, ShellJob, decodeVariables, encodeVariables
from jobscheduler_tcp.wire.variants import (
    EMPTY,
    FALSE,
    VT,
    NewObject,
    Reference,
    Variant,
    Written,
    bstr,
    variants,
)

# The members by their numbers.
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
_MEMBERS: dict[str, dict[str, int]] = {
    _SPOOLER: {},
    _JOB: {},
    _TASK: _TASK_NAMES,
    _LOG: _LOG_NAMES,
}
# By the numbers that we give them: a counter low, something random high, as the
# engines do (4.6.4). Each connection has numbers of its own, so those of all
# tasks are the same, and what is said of them is.
_HIGH = secrets.randbits(31) << 32
_NUMBERED = {_HIGH + number: name for number, name in enumerate(_NEW, 1)}
_NAMES = Written(variants(tuple(bstr(name) for name in _NUMBERED.values())))
_REFERENCES = Written(
    variants(
        tuple(
            Variant(VT.DISPATCH, Reference(number, _NEW[name]))
            for number, name in _NUMBERED.items()
        )
    )
)


class ITaskListener(TypingProtocol):
    """
    What is heard through the objects.
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


class LentObjects:
    """
    The objects of one task.
    """

    def __init__(
        self,
        job: ShellJob,
        parameters: Pairs,
        orderParameters: Pairs | None,
        listener: ITaskListener,
    ) -> None:
        """
        @param orderParameters: C{None} if the task has no order.
        """
        self._job = job
        self._parameters = parameters
        self._orderParameters = orderParameters
        self._listener = listener
        self._objects = _NUMBERED.copy()

    def names(self) -> Variant:
        """
        Their names, as C{begin} tells them.
        """
        return _NAMES

    def references(self) -> Variant:
        """
        The objects in the same order, as C{begin} lends them.
        """
        return _REFERENCES

    def called(self, call: GetId | Invoke | QueryInterface | Release) -> CallAnswer:
        """
        Do what the remote calls.
        """
        name = self._objects.get(call.object)
        if name is None:
            code = "Z-REMOTE-120" if isinstance(call, Release) else "Z-REMOTE-102"
            return failed(code, f"Unknown object id {call.object:016x}")
        match call:
            case Release():
                del self._objects[call.object]
                return Done()
            case Invoke():
                try:
                    value = self._invoked(name, call)
                except RemoteProtocolError as error:
                    return failed("SCHEDULER-409", str(error))
                return Invoked(MEMBER_NOT_FOUND) if value is None else Invoked(0, value)
            case GetId():
                number = _MEMBERS[name].get(call.name.lower())
                return IdGiven(UNKNOWN_NAME) if number is None else IdGiven(0, number)
            case QueryInterface():
                return InterfaceGiven(NO_INTERFACE)

    def _invoked(self, name: str, call: Invoke) -> Variant | None:
        if name == _LOG:
            return self._logMember(call)
        if name != _TASK:
            return None
        if call.number in (PARAMS_XML, ORDER_PARAMS_XML):
            return self._variables(call)
        return self._taskMember(call)

    def _variables(self, call: Invoke) -> Variant | None:
        ofOrder = call.number == ORDER_PARAMS_XML
        held = self._orderParameters if ofOrder else self._parameters
        if call.flags & PROPERTY_GET:
            return bstr("" if held is None else encodeVariables(held))
        text = call.arguments[0].value if call.arguments else None
        if not call.flags & PROPERTY_PUT or not isinstance(text, str):
            return None
        values = decodeVariables(text)
        if held is not None:  # without an order its parameters are ignored
            merged = _merged(held, values)
            if ofOrder:
                self._orderParameters = merged
            else:
                self._parameters = merged
            self._listener.valuesReturned(values)
        return EMPTY

    def _taskMember(self, call: Invoke) -> Variant | None:
        if call.number == ERROR_TEXT and len(call.arguments) == 2:
            code, what = (str(argument.value) for argument in call.arguments)
            self._listener.logged(ERROR_LEVEL, f"{code}  {what}")
            return EMPTY
        if call.number == EXIT_CODE:
            return EMPTY if call.arguments else Variant(VT.INT, 0)
        if not call.flags & PROPERTY_GET:
            return None
        if call.number == TASK_ID:
            number = self._job.taskId
            return Variant(VT.I4, int(number) if number.isdecimal() else 0)
        return Variant(VT.INT, 1) if call.number == STEP_COUNT else None

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
            self._listener.logged(level, text)
        return EMPTY


def _merged(held: Pairs, values: Pairs) -> Pairs:
    # Names are compared without regard to case, the first spelling stays (5.5).
    merged = {name.lower(): (name, value) for name, value in held}
    for name, value in values:
        spelling, _ = merged.get(name.lower(), (name, ""))
        merged[name.lower()] = spelling, value
    return tuple(merged.values())
