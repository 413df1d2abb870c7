"""
The logger of what is said of every task: Twisted's own, in half of its time.
"""

from __future__ import annotations

import time

import twisted.logger
from twisted.logger import ILogObserver, LogLevel

_INFO = LogLevel.info


class TaskLogger(twisted.logger.Logger):
    """
    A C{twisted.logger.Logger} to be an attribute of a class. Its instances have one
    logger in common, so what one of them says names the class as its source.
    """

    def __init__(
        self, namespace: str = "", source: object = None, observer: ILogObserver | None = None
    ) -> None:
        super().__init__(namespace, source, observer)
        self._bound: dict[type | None, twisted.logger.Logger] = {}

    def __get__(self, instance: object, owner: type | None = None) -> twisted.logger.Logger:
        """
        The logger of a class.
        """
        try:
            return self._bound[owner]
        except KeyError:
            bound = self._bound[owner] = super().__get__(None, owner)
            return bound

    def info(self, format: str | None = None, **fields: object) -> None:
        """
        Emit an event. See C{twisted.logger.Logger.info}.
        """
        if "log_trace" in fields:
            super().info(format, **fields)
            return
        fields["log_logger"] = self
        fields["log_level"] = _INFO
        fields["log_namespace"] = self.namespace
        fields["log_source"] = self.source
        fields["log_format"] = format
        fields["log_time"] = time.time()
        self.observer(fields)
