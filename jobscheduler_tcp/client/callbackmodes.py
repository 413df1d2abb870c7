"""
Which callback mode a process class takes: the one that is demanded, or what has
worked.
"""

from __future__ import annotations

from collections.abc import Collection

from twisted.logger import Logger

from jobscheduler_tcp.messages import CallbackMode
from jobscheduler_tcp.outcome import Outcome, Reason

# The word for whatever works.
AUTO = "auto"
WORDS = (AUTO, *(mode.value for mode in CallbackMode))

# Outcomes that prove that nothing ran, and that another way may be open.
BLOCKED = frozenset(
    {
        Reason.CALLBACK_REFUSED,
        Reason.CALLBACK_FILTERED,
        Reason.CALLBACK_TIMEOUT,
        Reason.CALLBACK_WRONG_LISTENER,
    }
)


class CallbackChoice:
    """
    The choice of one process class.

    @ivar pinned: whether no other mode is ever tried.
    @ivar best: the mode that is tried first.
    """

    _log = Logger()

    def __init__(self, word: str = AUTO) -> None:
        """
        @raise ValueError: there is no such mode.
        """
        self.pinned = word != AUTO
        self.best = CallbackMode(word) if self.pinned else CallbackMode.OWN

    def after(self, tried: Collection[CallbackMode]) -> CallbackMode | None:
        """
        What else to try.
        """
        if self.pinned:
            return None
        return next((mode for mode in CallbackMode if mode not in tried), None)

    def works(self, mode: CallbackMode, remote: str, blocked: Outcome | None) -> None:
        """
        A mode has worked: remember it, and tell if that is news.

        @param blocked: why another one did not, if one was tried.
        """
        if self.pinned or mode is self.best:
            return
        self.best = mode
        self._log.info(
            "Tasks of {remote} are confirmed in callback mode {mode} from now on: {blocked}",
            remote=remote,
            mode=mode.value,
            blocked=blocked.text if blocked is not None else "",
        )
