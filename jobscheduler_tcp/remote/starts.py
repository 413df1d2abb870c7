"""
Which starts were heard: the same one twice is one task and one answer.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from jobscheduler_tcp.messages import StartTask, TaskRefused, TaskTaken
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.remote.forgotten import Forgotten

# How long a start is remembered after the end of its task, and how many at
# most. Beyond that the first to end are forgotten earlier, for with 24 hours for
# each there would be room for one a second, but not within the time in which the
# same words may still be on their way: a client that heard the end asks no more,
# and a connection without a word is dead after 15 seconds.
MEMORY = 24 * 3600.0
SHORTEST_MEMORY = 60.0
MAX_REMEMBERED = 100_000

StartAnswer: TypeAlias = TaskTaken | TaskRefused

# How a start is remembered whose task was taken, as most are of all that were heard
# within a day: its meaning, of so many bytes, and the number of the task behind it.
_MEANING = 8
_NUMBER = 8


@dataclass(slots=True, eq=False)
class _Start:
    """
    A start that was heard, and not taken.

    @ivar meaning: empty for one that was forbidden.
    @ivar waiting: who waits for the answer, with the numbers of their requests.
    """

    meaning: bytes
    answer: TaskRefused | None = None
    waiting: list[tuple[int, Deferred[StartAnswer]]] = field(default_factory=list)


class Starts:
    """
    Remember starts.
    """

    def __init__(self, clock: IReactorTime, most: int = MAX_REMEMBERED) -> None:
        self._clock = clock
        self._most = most
        self._starts: dict[str, _Start | bytes] = {}
        # Since each is remembered for the same time, the first to end is the
        # first to be forgotten.
        self._over: deque[tuple[float, str]] = deque()
        self._forgotten = Forgotten()

    def full(self) -> bool:
        """
        Tell whether no further start can be remembered.
        """
        now = self._clock.seconds()
        while self._over:
            memory = SHORTEST_MEMORY if len(self._starts) >= self._most else MEMORY
            if self._over[0][0] + memory > now:
                break
            self._forget(self._over.popleft()[1])
        return len(self._starts) >= self._most

    def _forget(self, task: str) -> None:
        if isinstance(self._starts.pop(task), bytes):
            self._forgotten.add(task)

    def mayBeForgotten(self, task: str) -> bool:
        """
        Whether a start that is not known may have been obeyed, long ago.
        """
        return task in self._forgotten

    def again(self, message: StartTask) -> Deferred[StartAnswer] | None:
        """
        Answer a start that was heard before.

        @return: C{None} if it was not.
        """
        start = self._starts.get(message.task)
        if start is None:
            return None
        meaning = start[:_MEANING] if isinstance(start, bytes) else start.meaning
        if meaning and meaning != _meaning(message):
            text = "another task has the same UUID"
            return succeed(TaskRefused(message.id, message.task, Reason.PROTOCOL_ERROR, text))
        return self._answerOf(message.task, start, message.id)

    def known(self, task: str) -> Deferred[StartAnswer] | None:
        """
        The answer of a start, now or when it is known.

        @return: C{None} if no such start was heard.
        """
        start = self._starts.get(task)
        return self._answerOf(task, start, 0) if start is not None else None

    def _answerOf(self, task: str, start: _Start | bytes, number: int) -> Deferred[StartAnswer]:
        if isinstance(start, bytes):
            return succeed(TaskTaken(number, task, int.from_bytes(start[_MEANING:], "big")))
        if start.answer is not None:
            return succeed(replace(start.answer, id=number))
        answered: Deferred[StartAnswer] = Deferred()
        start.waiting.append((number, answered))
        return answered

    def forbid(self, answer: TaskRefused) -> bool:
        """
        A client came back for a task whose start was not heard: it must not be
        obeyed any more, for it may still be on its way.

        @param answer: what the client is told, now and whenever it asks again.
        @return: C{False} if no further start can be remembered.
        """
        if self.full():
            return False
        self._starts[answer.task] = _Start(b"", answer)
        self.over(answer.task)
        return True

    def begin(self, message: StartTask) -> Deferred[StartAnswer]:
        """
        Remember a new start.

        @return: fires when L{answer} is called.
        """
        start = self._starts[message.task] = _Start(_meaning(message))
        answered: Deferred[StartAnswer] = Deferred()
        start.waiting.append((message.id, answered))
        return answered

    def answer(self, answer: StartAnswer) -> None:
        """
        The answer of a start is known.
        """
        start = self._starts[answer.task]
        assert not isinstance(start, bytes), "it was answered before"
        if isinstance(answer, TaskTaken):
            number = answer.processId.to_bytes(_NUMBER, "big")
            self._starts[answer.task] = start.meaning + number
        else:
            start.answer = answer
        waiting, start.waiting = start.waiting, []
        for request, answered in waiting:
            answered.callback(_numbered(answer, request))

    def over(self, task: str) -> None:
        """
        Everything that follows from a start is over.
        """
        self._over.append((self._clock.seconds(), task))


def _meaning(message: StartTask) -> bytes:
    # All but the id of the request. A number that nobody can foresee who does not
    # know the token: Python's hash of strings has a key of its own in each process.
    where = message.port, message.mode.value, message.connection, message.host
    how = message.onDisconnect.value, message.hold, message.sha256, message.work
    number = hash((where, how, message.token, message.secret))
    return number.to_bytes(_MEANING, "big", signed=True)


def _numbered(answer: StartAnswer, number: int) -> StartAnswer:
    # What dataclasses.replace does, in a fifth of its time.
    if isinstance(answer, TaskTaken):
        return TaskTaken(number, answer.task, answer.processId)
    return replace(answer, id=number)
