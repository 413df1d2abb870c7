"""
State machines that find their transition at once.

Automat looks through all transitions of a machine for each input, compares
states field by field, and calls an output through four functions: with the
seventy transitions of a job that is a tenth of what the client does for a task.
What Automat builds is walked here instead, in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from automat import NoTransition

_Machine = TypeVar("_Machine")

# To where an input leads, and what it calls on the way.
_Transitions = dict[str, tuple["_State", tuple[Callable[..., object], ...]]]


class _State:
    """
    A state, and what may happen there.
    """

    __slots__ = ("name", "transitions")

    def __init__(self, name: object) -> None:
        self.name = name
        self.transitions: _Transitions = {}


class _Walker:
    """
    A machine that stands in some state. An input that comes while another one is
    worked on is worked on after it.
    """

    __slots__ = ("_core", "_postponed", "_transitions")
    _initial: _State

    def __init__(self, core: object) -> None:
        self._core = core
        self._transitions = self._initial.transitions
        self._postponed: list[tuple[Callable[..., object], Any, Any]] | None = None


def indexed(machine: _Machine) -> _Machine:
    """
    Let a machine that was built look its transitions up.

    @param machine: what C{TypeMachineBuilder.build} returns. Its inputs return
        nothing. One whose states have data, or that is built otherwise than we
        know, stays as it is.
    """
    automaton = getattr(machine, "__automat_automaton__", None)
    implementer = getattr(machine, "__automat_type__", None)
    if automaton is None or implementer is None:
        return machine
    states: dict[int, _State] = {}
    kept: list[object] = []  # so that no other object gets their numbers

    def stateOf(state: object) -> _State:
        if id(state) not in states:
            kept.append(state)
            states[id(state)] = _State(state)
        return states[id(state)]

    for before, symbol, after, outputs in automaton.allTransitions():
        called = tuple(getattr(output, "method", None) for output in outputs)
        if None in called or any(output.requiresData for output in outputs):
            return machine
        stateOf(before).transitions[symbol] = stateOf(after), cast(Any, called)
    names = [name for name in vars(implementer) if not name.startswith("_")]
    members: dict[str, object] = {name: _input(name, list(states.values())) for name in names}
    members["__slots__"] = ()
    members["_initial"] = stateOf(automaton.initialState)
    return cast(_Machine, type(implementer.__name__, (_Walker,), members))


def _input(name: str, states: list[_State]) -> Callable[..., None]:
    """
    Make the method of an input.
    """

    def method(self: Any, *args: object, **kwargs: object) -> None:
        if self._postponed is not None:
            self._postponed.append((method, args, kwargs))
            return
        try:
            after, outputs = self._transitions[name]
        except KeyError:
            state = next(each for each in states if each.transitions is self._transitions)
            raise NoTransition(state=state.name, symbol=name) from None
        postponed = self._postponed = []
        self._transitions = after.transitions
        try:
            for output in outputs:
                output(self, self._core, *args, **kwargs)
        finally:
            self._postponed = None
        while postponed:
            again, arguments, named = postponed.pop(0)
            again(self, *arguments, **named)

    method.__qualname__ = method.__name__ = name
    return method
