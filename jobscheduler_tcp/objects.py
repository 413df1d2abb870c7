"""
One end of a classic confirmation connection, without a network: calls within
calls, strictly one at a time (protocol document 4.3).

The client calls, the remote answers; while the remote works on a call it may
call back, and the client answers that first. What may be said next follows from
one stack: the calls that are not answered yet.
"""

from __future__ import annotations

from collections import deque

from jobscheduler_tcp.conversation import Role
from jobscheduler_tcp.errors import LocalProtocolError, RemoteProtocolError
from jobscheduler_tcp.wire.classic import (
    Call,
    CallAnswer,
    decodeAnswer,
    decodeCall,
    encodeAnswer,
    encodeCall,
    isCall,
)
from jobscheduler_tcp.wire.frames import FrameDecoder, frame

# The original allows 1,048,576,000 bytes (4.2). A script of more than this is
# none that anybody wrote.
MAX_MESSAGE = 16 * 1024 * 1024
# The originals nest two deep (4.3).
MAX_DEPTH = 8
# Alternation allows one message at a time. A peer that runs ahead is heard in
# turn, up to so many messages; the originals hang up at the second.
MAX_AHEAD = 1024

_ANSWER_CLASSES = frozenset({b"A", b"E"})


class ObjectConversation:
    """
    What was called, by whom, and is not answered yet.

    @ivar waiting: messages of the peer that C{next} has not told yet.
    """

    def __init__(self, role: Role) -> None:
        self._begins = role is Role.CLIENT
        self._frames = FrameDecoder(MAX_MESSAGE)
        self.waiting: deque[bytes] = deque()
        # Ours; None stands for one of the peer's.
        self._calls: list[Call | None] = []

    @property
    def ourTurn(self) -> bool:
        """
        Whether it is for us to say something.
        """
        return self._calls[-1] is None if self._calls else self._begins

    @property
    def idle(self) -> bool:
        """
        Whether no call is open.
        """
        return not self._calls

    def call(self, call: Call) -> bytes:
        """
        Call the peer.

        @raise LocalProtocolError: it is not our turn.
        """
        if not self.ourTurn:
            raise LocalProtocolError(f"cannot call {type(call).__name__}: an answer is awaited")
        data = frame(encodeCall(call))
        self._calls.append(call)
        return data

    def answer(self, answer: CallAnswer) -> bytes:
        """
        Answer the peer's last call.

        @raise LocalProtocolError: there is none.
        """
        if not self._calls or self._calls[-1] is not None:
            raise LocalProtocolError(f"cannot say {type(answer).__name__}: nothing was called")
        data = frame(encodeAnswer(answer))
        self._calls.pop()
        return data

    def hear(self, data: bytes) -> None:
        """
        Take bytes of the peer; L{next} tells what they say.

        @raise RemoteProtocolError: a message is too long, or more of them came
            than the peer could have said without hearing us.
        """
        payload = self._frames.whole(data)
        if payload is not None:
            self.waiting.append(payload)
        else:
            self.waiting.extend(self._frames.feed(data))
        if len(self.waiting) > MAX_AHEAD:
            raise RemoteProtocolError("Z-REMOTE-127  messages come before the last was answered")

    def next(self) -> Call | CallAnswer | None:
        """
        The next thing that the peer says; C{None} if that is not here yet, or it
        is for us to say something first.

        @raise MisunderstoodCall: a whole call that we cannot read; the
            connection is sound, and it is our turn to answer.
        @raise RemoteProtocolError: hang up.
        """
        calls = self._calls
        if not self.waiting or (calls[-1] is None if calls else self._begins):
            return None
        payload = self.waiting.popleft()
        if not payload:
            raise RemoteProtocolError("Z-REMOTE-109  the message is empty")
        if not isCall(payload):
            answered = calls.pop() if calls else None
            if answered is not None:
                return decodeAnswer(payload, answered)
            if payload[:1] in _ANSWER_CLASSES:
                raise RemoteProtocolError("Z-REMOTE-106  an answer came, but nothing was called")
        if len(calls) >= MAX_DEPTH:
            raise RemoteProtocolError("calls are nested too deep")
        # Also what cannot be read is to be answered, and the turn is ours.
        calls.append(None)
        try:
            return decodeCall(payload)
        except RemoteProtocolError as error:
            raise MisunderstoodCall(str(error)) from error


class MisunderstoodCall(RemoteProtocolError):
    """
    A whole call came that we cannot read. The connection is sound: answer with
    an error and go on.
    """
