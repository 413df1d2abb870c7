"""
The task of a confirmation connection that confirms nothing any more.
"""

from __future__ import annotations

from zope.interface import implementer

from jobscheduler_tcp.errors import LocalProtocolError
from jobscheduler_tcp.interfaces import IConfirmedTask
from jobscheduler_tcp.messages import TaskAttached
from jobscheduler_tcp.outcome import Reason


@implementer(IConfirmedTask)
class Nobody:
    """
    Hear what is told of a connection, and do nothing.
    """

    __slots__ = ()

    def opens(self) -> TaskAttached:
        """
        See L{IConfirmedTask}.
        """
        raise LocalProtocolError("there is no task to be confirmed")

    def callbackTaken(self) -> None:
        """
        See L{IConfirmedTask}.
        """

    def callbackFailed(self, reason: Reason, text: str, errno: int) -> None:
        """
        See L{IConfirmedTask}.
        """

    def callbackLost(self) -> None:
        """
        See L{IConfirmedTask}.
        """

    def outputAcknowledged(self, stdout: int, stderr: int) -> None:
        """
        See L{IConfirmedTask}.
        """

    def inputReceived(self, data: bytes) -> None:
        """
        See L{IConfirmedTask}.
        """

    def inputEnded(self) -> None:
        """
        See L{IConfirmedTask}.
        """

    def endAcknowledged(self) -> None:
        """
        See L{IConfirmedTask}.
        """

    def pauseProducing(self) -> None:
        """
        See L{IConfirmedTask}.
        """

    def resumeProducing(self) -> None:
        """
        See L{IConfirmedTask}.
        """


NOBODY = Nobody()
