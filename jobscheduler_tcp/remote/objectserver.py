"""
Serve the calls of a classic client, one at a time, and call it back while a call
is open (protocol document 4.3). What the calls do is said by who builds on this.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator
from typing import TypeAlias, TypeVar

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from jobscheduler_tcp.conversation import Role
from jobscheduler_tcp.errors import JobSchedulerError, RemoteProtocolError
from jobscheduler_tcp.logger import TaskLogger
from jobscheduler_tcp.objectspeaker import ObjectSpeaker
from jobscheduler_tcp.wire.classic import Call, CallAnswer, failed

_Result = TypeVar("_Result")
# Work on a call: it gives out what it calls back, and goes on with the answer; or
# nothing, and goes on when the server is woken.
Serving: TypeAlias = Generator[Call | None, CallAnswer, _Result]


class CallFailed(JobSchedulerError):
    """
    A call of the client cannot be carried out: it is answered with an error.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}  {text}")
        self.answer = failed(code, text)


class ObjectServer(ObjectSpeaker):
    """
    Answer calls.

    @ivar lost: whether the client is gone.
    """

    _log = TaskLogger()

    def __init__(self, task: str) -> None:
        """
        @param task: its UUID, for the log.
        """
        super().__init__(Role.REMOTE)
        self.lost = False
        self._uuid = task
        # The calls that we work on: all but the last wait for an answer of the
        # client, which called again meanwhile.
        self._serving: list[Serving[CallAnswer]] = []
        self._waiting = False  # the last one, to be woken

    @abstractmethod
    def carryOut(self, call: Call) -> Serving[CallAnswer]:
        """
        Do what is called.

        @raise CallFailed: it cannot be done.
        """

    def wake(self) -> None:
        """
        Let the work go on that waits for something else than the client.
        """
        if self._waiting:
            self._goOn()
            self.hearOn()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Nothing more is answered.
        """
        super().connectionLost(reason)
        self.lost = True
        self._serving = []
        self._waiting = False

    def misled(self, error: RemoteProtocolError) -> None:
        """
        Hang up on nonsense.
        """
        self._log.warn(
            "Task {task}: hung up on {peer}: {error}",
            task=self._uuid,
            peer=self.transport.getPeer(),
            error=error,
        )
        self.abort()

    def heard(self, message: Call | CallAnswer) -> None:
        """
        Carry a call out, or go on with the answer of the client.
        """
        if isinstance(message, Call):
            self._serving.append(self.carryOut(message))
            self._goOn()
        else:
            self._goOn(message)

    def _goOn(self, answer: CallAnswer | None = None) -> None:
        serving = self._serving[-1]
        self._waiting = False
        try:
            call = next(serving) if answer is None else serving.send(answer)
            if call is None:
                self._waiting = True
            else:
                self.call(call)
            return
        except StopIteration as done:
            said: CallAnswer = done.value
        except CallFailed as problem:
            said = problem.answer
        except RemoteProtocolError as problem:
            said = failed("SCHEDULER-409", str(problem))
        except Exception:
            self.broken(Failure())
            return
        self._serving.pop()
        self.answer(said)

    def broken(self, failure: Failure) -> None:
        """
        Hang up, for a mistake of our own.
        """
        self._log.failure("Task {task} failed", failure=failure, task=self._uuid)
        self.abort()
