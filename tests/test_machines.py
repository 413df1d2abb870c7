"""
Tests for L{jobscheduler_tcp.machines}.
"""

from typing import Protocol

from automat import NoTransition, TypeMachineBuilder
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.machines import indexed


class Door(Protocol):
    def open(self) -> None:
        """
        Open it.
        """

    def close(self) -> None:
        """
        Close it.
        """


class Core:
    def __init__(self) -> None:
        self.heard: list[str] = []


def door() -> tuple[Door, Core]:
    """
    A door that is closed.
    """
    builder = TypeMachineBuilder(Door, Core)
    closed = builder.state("closed")
    opened = builder.state("opened")

    @closed.upon(Door.open).to(opened)
    def opening(door: Door, core: Core) -> None:
        core.heard.append("opening")

    @opened.upon(Door.close).to(closed)
    def closing(door: Door, core: Core) -> None:
        core.heard.append("closing")

    core = Core()
    return indexed(builder.build())(core), core


class IndexedTests(SynchronousTestCase):
    """
    A machine that looks its transitions up behaves as Automat's own.
    """

    def test_walks(self) -> None:
        """
        Inputs lead from state to state, and their outputs are called.
        """
        machine, core = door()
        machine.open()
        machine.close()
        machine.open()
        self.assertEqual(core.heard, ["opening", "closing", "opening"])

    def test_noTransition(self) -> None:
        """
        An input without a transition is an error, and changes nothing.
        """
        machine, core = door()
        self.assertRaises(NoTransition, machine.close)
        machine.open()
        self.assertEqual(core.heard, ["opening"])

    def test_another(self) -> None:
        """
        What has no automaton stays as it is.
        """
        thing = object()
        self.assertIs(indexed(thing), thing)
