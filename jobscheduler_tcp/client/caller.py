"""
The client's end of a confirmation connection, until the remote has proved
itself, and its heart.

Anybody may call at a callback port. A caller learns nothing before it has shown
that it knows what is meant, and nothing is heard from it before it has proved
that it knows the token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from hmac import compare_digest
from os import urandom
from typing import Protocol as TypingProtocol

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobscheduler_tcp.channels import ConfirmationChannels
from jobscheduler_tcp.conversation import Role
from jobscheduler_tcp.deadlines import Deadlines
from jobscheduler_tcp.errors import ConnectionClosed, RemoteProtocolError
from jobscheduler_tcp.heartbeat import SILENCE, Heart
from jobscheduler_tcp.messages import (
    CallerProof,
    Challenge,
    Confirmation,
    Heartbeat,
    ListenerProof,
)
from jobscheduler_tcp.proof import NONCE_SIZE, proofs
from jobscheduler_tcp.sockets import readMore, settle

# Seconds for a caller to say whom it wants (docs/protocol/extended, "Proof").
GRACE = 2.0


class CallerOwner(TypingProtocol):
    """
    For whom callers are heard.
    """

    heart: Heart
    window: int

    def admits(self) -> bool:
        """
        Whether anybody is waited for.
        """

    def meant(self, selector: bytes) -> tuple[str, bytes] | None:
        """
        The subject and the token that a caller wants; C{None} if there is no
        such.
        """

    def enter(self, caller: Caller) -> None:
        """
        A caller is there that has proved nothing yet.
        """

    def shown(self, caller: Caller) -> None:
        """
        It is shown our proof.
        """

    def found(self, caller: Caller) -> None:
        """
        It has proved itself.
        """

    def leave(self, caller: Caller) -> None:
        """
        It is gone, and had proved nothing.
        """

    def strange(self, host: str, why: object) -> None:
        """
        One was sent away.
        """


class Caller(Protocol, ABC):
    """
    One caller: a stranger, or the remote.

    @ivar claimed: whether it was shown our proof.
    @ivar subject: the UUID that it means; empty before it has told.
    @ivar quiet: beats since it was last heard.
    """

    transport: ITCPTransport
    _settled = False
    _silence = "it said nothing"  # if nothing more is heard
    _log = Logger()

    def __init__(self, owner: CallerOwner) -> None:
        self.claimed = False
        self.subject = ""
        self.quiet = 0
        self._owner = owner
        self._channels = ConfirmationChannels(Role.CLIENT, owner.window)
        self._expected = b""  # the caller's proof
        self._proven = False
        self._closed = False
        self._reason: Failure | None = None
        self._deadlines: Deadlines | None = None

    # ------------------------------------------------- for what builds on this

    @abstractmethod
    def heard(self, channel: int, message: Confirmation) -> None:
        """
        The remote says something of a task.
        """

    @abstractmethod
    def acknowledge(self) -> None:
        """
        Let the remote know what was received, before a heartbeat.
        """

    @abstractmethod
    def gone(self, reason: Failure) -> None:
        """
        The connection of the remote is closed.
        """

    # ------------------------------------------------------------ the transport

    def connectionMade(self) -> None:
        """
        Let the caller speak first.
        """
        self.transport.setTcpNoDelay(True)
        if not self._owner.admits():
            self.sendAway("the caller is known already")
        else:
            self.wait(GRACE)
            self._owner.enter(self)

    def dataReceived(self, data: bytes) -> None:
        """
        Hear what the remote says; hang up on nonsense.
        """
        self.quiet = 0
        readMore(self.transport, len(data))
        try:
            for channel, message in self._channels.hear(data):
                if self._closed:
                    return
                if channel:
                    self.heard(channel, message)
                else:
                    self._heard(message)
        except RemoteProtocolError as error:
            self._hangUp(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Tell whoever needs to know.
        """
        self._waitNoMore()
        if not self._proven:
            self._count("it hung up")
            self._owner.leave(self)
            return
        self._closed = True
        self._owner.heart.remove(self)
        self.gone(self._reason or reason)

    def beat(self) -> None:
        """
        Let the remote know that we are here, and have what it sent.
        """
        if not self._settled:
            self._settled = True
            settle(self.transport)  # few connections live so long
        self.acknowledge()
        self.transport.write(self._channels.say(0, Heartbeat()))

    def silent(self) -> None:
        """
        The remote is dead, or cut off.
        """
        self._hangUp(ConnectionClosed(f"the remote has said nothing for {SILENCE:g} seconds"))

    def overdue(self) -> None:
        """
        See L{Waiting<jobscheduler_tcp.deadlines.Waiting>}.
        """
        self._deadlines = None
        self.sendAway(self._silence)

    def sendAway(self, why: object) -> None:
        """
        Reset the connection of a caller who proved nothing, so that no TIME_WAIT
        stays on the port.
        """
        if self._count(why):
            self.abort()

    def abort(self) -> None:
        """
        Hang up without a word, whoever it is.
        """
        self._closed = True
        self._waitNoMore()
        self.transport.abortConnection()

    def wait(self, seconds: float) -> None:
        """
        Be overdue after that time, counted from now. No other may be counted.
        """
        self._deadlines = self._owner.heart.deadlines(seconds)
        self._deadlines.add(self)

    # ---------------------------------------------------- what the remote says

    def _heard(self, message: Confirmation) -> None:
        """
        A word about the connection as a whole.
        """
        match message:
            case Heartbeat():
                pass
            case Challenge():
                self._challenged(message)
            case CallerProof():
                if not compare_digest(message.proof, self._expected):
                    raise RemoteProtocolError("its proof is wrong")
                self._waitNoMore()
                self._expected = b""  # nobody needs to know it any more
                self._proven = True
                self._owner.found(self)
                self._owner.heart.add(self)
            case _:
                raise AssertionError(f"{message} on channel 0")

    def _challenged(self, message: Challenge) -> None:
        meant = self._owner.meant(message.selector)
        if meant is None:
            raise RemoteProtocolError("it does not know which task is meant")
        self.subject, token = meant
        nonce = urandom(NONCE_SIZE)
        proof, self._expected = proofs(token, message.nonce, nonce, self.subject)
        self.claimed = True
        self._owner.shown(self)
        # It may be the remote, which starts the task now: it is given as long
        # as any remote that is known.
        self._silence = "it did not prove itself"
        if self._deadlines is not None:
            self._deadlines.remove(self)
            self.wait(SILENCE)
        self.transport.write(self._channels.say(0, ListenerProof(nonce, proof, self._owner.window)))

    # ----------------------------------------------------- what is wrong with it

    def _hangUp(self, error: Exception) -> None:
        if not self._proven:
            self.sendAway(error)
        elif not self._closed:
            self._log.warn(
                "Hung up on {peer} with {subject}: {error}",
                peer=self.transport.getPeer(),
                subject=self.subject,
                error=error,
            )
            self._reason = Failure(error)
            self.abort()

    def _count(self, why: object) -> bool:
        if self._closed:
            return False
        self._closed = True
        self._owner.strange(getattr(self.transport.getPeer(), "host", ""), why)
        return True

    def _waitNoMore(self) -> None:
        deadlines, self._deadlines = self._deadlines, None
        if deadlines is not None:
            deadlines.remove(self)
