"""
One end of a classic confirmation connection, on its transport: what both roles
do with calls and answers (protocol document 4.3). What a message means to them
is said by who builds on this.
"""

from __future__ import annotations

from abc import abstractmethod

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from jobscheduler_tcp.conversation import Role
from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.interfaces import IStreamTransport
from jobscheduler_tcp.objects import MisunderstoodCall, ObjectConversation
from jobscheduler_tcp.sockets import promptly, settle
from jobscheduler_tcp.wire.classic import Call, CallAnswer, failed


class ObjectSpeaker(Protocol):
    """
    Hear calls and answers, say them.

    @ivar over: whether nothing more is heard or said.
    """

    transport: IStreamTransport

    def __init__(self, role: Role) -> None:
        self.over = False
        self._conversation = ObjectConversation(role)
        self._hearing = False

    @abstractmethod
    def heard(self, message: Call | CallAnswer) -> None:
        """
        The peer calls, or answers the last call.
        """

    @abstractmethod
    def misled(self, error: RemoteProtocolError) -> None:
        """
        The peer says what nobody understands: hang up.
        """

    def connectionMade(self) -> None:
        """
        The ends speak in turn: what is said is sent at once.
        """
        settle(self.transport)
        self._write = promptly(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """
        Hear what is said.
        """
        if not self.over:
            try:
                self._conversation.hear(data)
            except RemoteProtocolError as error:
                self.misled(error)
            else:
                self.hearOn()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Nothing more is heard.
        """
        self.over = True

    def call(self, call: Call) -> None:
        """
        Call the peer.
        """
        data = self._conversation.call(call)
        if not self.over:
            self._write(data)

    def answer(self, answer: CallAnswer) -> None:
        """
        Answer the peer's last call.
        """
        data = self._conversation.answer(answer)
        if not self.over:
            self._write(data)

    def hearOn(self) -> None:
        """
        Hear what is here already, if it is the peer's turn.
        """
        # A loop, for whoever says something lets the peer's next message be
        # heard: a peer that runs ahead must not make us recurse.
        if self._hearing:
            return
        self._hearing = True
        conversation = self._conversation
        try:
            while conversation.waiting and not self.over:
                try:
                    message = conversation.next()
                except MisunderstoodCall as error:
                    code, _, text = str(error).partition("  ")
                    self.answer(failed(code, text))
                    continue
                if message is None:
                    break
                self.heard(message)
        except RemoteProtocolError as error:
            self.misled(error)
        finally:
            self._hearing = False

    def abort(self) -> None:
        """
        Close the connection at once: what is still answered is not said.
        """
        self.over = True
        self.transport.abortConnection()
