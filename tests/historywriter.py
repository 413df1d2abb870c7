"""
A program that writes a history until it is killed, and says what it did:
C{started N} as soon as a number is given, C{ended N} when an end is acknowledged.
"""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime

from jobscheduler_tcp.client.database import Database, pool, runIn
from jobscheduler_tcp.client.history import History
from jobscheduler_tcp.client.observers import Observers
from jobscheduler_tcp.client.restored import restoredFrom
from jobscheduler_tcp.client.started import StartedTasks
from jobscheduler_tcp.interfaces import IConfirmationReceiver
from jobscheduler_tcp.messages import TaskEnded, Work
from jobscheduler_tcp.outcome import Reason
from tests.test_history import REPORT, GivenTask


def say(word: str, number: int) -> None:
    """
    Tell the test.
    """
    sys.stdout.write(f"{word} {number}\n")
    sys.stdout.flush()


def ended(_: None, number: int) -> None:
    """
    Tell the test that an end is acknowledged.
    """
    say("ended", number)


def main(path: Path) -> None:
    """
    Write until the end.
    """
    following = restoredFrom(path).nextTask
    clock = IReactorTime(reactor)
    history = History(Database(runIn(pool(path, reactor)), clock), following)
    observers = Observers()
    observers.add(history)
    given: list[GivenTask] = []

    def give(work: Work, processClass: str, receiver: IConfirmationReceiver) -> GivenTask:
        given.append(GivenTask(receiver))
        return given[-1]

    tasks = StartedTasks(give, observer=observers, ledger=history)
    rounds = count()

    def more() -> None:
        for _ in range(next(rounds) % 7):
            task = tasks.add(REPORT)
            say("started", task.number)
            tasks.start(task)
            kept = given.pop().receiver.taskEnded(TaskEnded(Reason.EXITED, exitCode=0))
            assert kept is not None
            kept.addCallback(ended, task.number)
        clock.callLater(0.001, more)

    clock.callLater(0, more)
    reactor.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
