"""
The end of a turn of the reactor: what was put off until then is done at once, before
the reactor looks for what has happened meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from weakref import WeakKeyDictionary

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger


class Writing(Protocol):
    """
    A connection to which something was written.
    """

    def flush(self) -> None:
        """
        Send it.
        """


class EndOfTurn:
    """
    What is put off until the end of the turn of one reactor: calls first, and then
    what was written, so that the words of all of them leave together.
    """

    __slots__ = ("__weakref__", "_armed", "_awaited", "_calling", "_calls", "_writing")

    _log = Logger()

    def __init__(self) -> None:
        self._calls: list[Callable[[], object]] = []
        self._writing: list[Writing] = []
        self._armed: IDelayedCall | None = None
        self._awaited = False  # by a reactor that knows the ends of its turns
        self._calling = False  # what is put off by a call is done in this turn, too

    def call(self, reactor: IReactorTime, later: Callable[[], object]) -> None:
        """
        Call something that shall not be called from where we are.
        """
        self._calls.append(later)
        self._arm(reactor)

    def flush(self, reactor: IReactorTime, writing: Writing) -> None:
        """
        Flush a connection; once is enough.
        """
        self._writing.append(writing)
        self._arm(reactor)

    def _arm(self, reactor: IReactorTime) -> None:
        if self._calling or self._awaited:
            return
        atEnd = getattr(reactor, "callAtEndOfTurn", None)
        if atEnd is not None:
            self._awaited = True
            atEnd(self._end)
        # A reactor that is stopped, or cleaned up, may have forgotten it.
        elif self._armed is None or not self._armed.active():
            self._armed = reactor.callLater(0, self._end)

    def _end(self) -> None:
        self._armed = None
        self._awaited = False
        self._calling = True
        try:
            for call in self._calls:  # which may put off more
                try:
                    call()
                except BaseException:  # no reactor of Twisted lets SystemExit leave its loop
                    self._log.failure("What was put off failed")
        finally:
            self._calls.clear()
            self._calling = False
        writing, self._writing = self._writing, []
        for each in writing:
            try:
                each.flush()
            except BaseException:
                self._log.failure("What was written is not sent")


_ends: WeakKeyDictionary[IReactorTime, EndOfTurn] = WeakKeyDictionary()


def endOfTurn(reactor: IReactorTime) -> EndOfTurn:
    """
    @return: the one of that reactor.
    """
    end = _ends.get(reactor)
    if end is None:
        end = _ends[reactor] = EndOfTurn()
    return end
