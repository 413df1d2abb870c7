"""
State machines that find their transition at once.

Automat looks through all transitions of a machine for each input, and compares
states field by field: with the seventy of a job that is a tenth of what the
client does for a task.
"""

from __future__ import annotations

from typing import Any, TypeVar

from automat import NoTransition

_Machine = TypeVar("_Machine")


def indexed(machine: _Machine) -> _Machine:
    """
    Let a machine that was built look its transitions up.

    @param machine: what C{TypeMachineBuilder.build} returns. One without an
        automaton where ours has it stays as it is.
    """
    automaton = getattr(machine, "__automat_automaton__", None)
    if automaton is None:
        return machine
    table: dict[int, dict[str, tuple[Any, Any]]] = {}
    states: dict[int, Any] = {}  # kept, so that no other object gets their numbers
    for before, symbol, after, outputs in automaton.allTransitions():
        states[id(before)] = before
        table.setdefault(id(before), {})[symbol] = after, outputs

    def outputForInput(state: Any, symbol: str) -> tuple[Any, Any]:
        """
        See C{Automaton.outputForInput}.
        """
        try:
            return table[id(state)][symbol]
        except KeyError:
            raise NoTransition(state=states.get(id(state), state), symbol=symbol) from None

    automaton.outputForInput = outputForInput
    return machine
