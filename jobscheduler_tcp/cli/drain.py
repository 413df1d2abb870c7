"""
C{jsremote drain}: have a remote or a client start nothing more, and wait for the
tasks that run.
"""

from __future__ import annotations

import json
import sys
import time

from jobscheduler_tcp.cli.asking import answerOf, ask, question, stateOf
from jobscheduler_tcp.cli.screen import Progress, isLively
from jobscheduler_tcp.cli.values import shown
from jobscheduler_tcp.errors import CommandRefused, ConnectionClosed
from jobscheduler_tcp.wire.documents import Element

# Seconds between two looks; there is no reactor here, nothing else waits.
LOOK = 0.5


def drain(
    service: tuple[str, int], *, resume: bool, terminate: bool, wait: bool, asJSON: bool
) -> int:
    """
    Drain a service, end it, or let it go on.

    @return: the exit code.
    """
    word = "continue" if resume else "terminate" if terminate else "pause"
    answer = answerOf(service, question("modify_spooler", {"cmd": word}), "remote")
    if isinstance(answer, int):
        return answer
    if terminate and wait:
        _untilGone(service)
        _tell({"state": "over"}, f"{shown(service)} has ended", asJSON)
        return 0
    state = _state(service) if resume or not wait else _untilIdle(service)
    if isinstance(state, int):
        return state
    count, waiting = underWay(state)
    facts = {"state": state.attributes.get("state", ""), "tasks": count, "waiting": waiting}
    if resume:
        text = f"{shown(service)} starts tasks again"
    elif terminate:
        text = f"{shown(service)} ends when its tasks are over: {_tasks(count, waiting)}"
    else:
        text = f"{shown(service)} starts no more tasks, {_tasks(count, waiting)}"
    _tell(facts, text, asJSON)
    return 0


def underWay(state: Element) -> tuple[int, int]:
    """
    How many tasks run at a service, and how many wait for a place to run in.
    """
    running = waiting = 0
    for group in state.children:
        if group.name == "tasks":  # of a remote
            running += len(group.children)
        for each in group.children:
            for part in each.children:
                if part.name == "tasks":
                    running += _count(part)
                elif part.name == "waiting_jobs":
                    waiting += len(part.children)
    return running, waiting


def _state(service: tuple[str, int]) -> Element | int:
    return stateOf(service, b"<show_state/>")


def _untilIdle(service: tuple[str, int]) -> Element | int:
    try:
        with Progress() as progress:
            while True:
                state = _state(service)
                if isinstance(state, int) or not any(underWay(state)):
                    return state
                progress.tell(f"{shown(service)}: {_tasks(*underWay(state))}")
                time.sleep(LOOK)  # no reactor, and the port tells no news
    except KeyboardInterrupt:
        text = f"{shown(service)} stays as it is; jsremote drain {shown(service)}"
        behind = "\n" if isLively(sys.stderr) else ""
        print(f"{behind}{text} --resume lets it start tasks again", file=sys.stderr)
        raise


def _untilGone(service: tuple[str, int]) -> None:
    with Progress() as progress:
        while True:
            try:
                answer = ask(service, b"<show_state/>")
            except (OSError, ConnectionClosed, CommandRefused):
                return
            count, waiting = underWay(answer.children[0]) if answer.children else (0, 0)
            progress.tell(f"{shown(service)} ends, {_tasks(count, waiting)}")
            time.sleep(LOOK)  # no reactor, and the port tells no news


def _tasks(count: int, waiting: int) -> str:
    runs = f"{count or 'no'} {'task runs' if count < 2 else 'tasks run'}"
    return f"{runs}, {waiting} {'waits' if waiting == 1 else 'wait'}" if waiting else runs


def _tell(facts: dict[str, object], text: str, asJSON: bool) -> None:
    print(json.dumps(facts) if asJSON else text)


def _count(group: Element) -> int:
    text = group.attributes.get("count", "")
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 10 else 0
