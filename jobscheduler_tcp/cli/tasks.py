"""
C{jsremote start-job} and C{jsremote kill}: have a client start and end tasks.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

from jobscheduler_tcp.cli.arguments import shown
from jobscheduler_tcp.cli.state import EX_SOFTWARE, answerOf, childOf, complain, plain
from jobscheduler_tcp.client.lines import readable
from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.wire.documents import Element, escapeAttribute

# Seconds between two looks at a task that is waited for.
LOOK = 0.5


def startJob(
    client: tuple[str, int],
    job: str,
    parameters: Sequence[tuple[str, str]],
    at: str,
    *,
    wait: bool,
    asJSON: bool,
) -> int:
    """
    Start a job, and wait for it if that is wanted.

    @return: the exit code.
    """
    pairs = "".join(
        f'<param name="{escapeAttribute(name)}" value="{escapeAttribute(value)}"/>'
        for name, value in parameters
    )
    when = f' at="{escapeAttribute(at)}"' if at else ""
    question = f'<start_job job="{escapeAttribute(job)}"{when}><params>{pairs}</params></start_job>'
    answer = answerOf(client, question.encode("utf-8", "replace"), "client")
    if isinstance(answer, int):
        return answer
    said = childOf(answer, "ok")
    task = childOf(said, "task") if said is not None else None
    if task is None:
        return complain(EX_SOFTWARE, f"{shown(client)} did not say which task that is")
    number = task.attributes.get("id", "")
    if not wait:
        print(json.dumps(plain(task)) if asJSON else f"task {readable(number)}")
        return 0
    found = _waitFor(client, number)
    if isinstance(found, int):
        return found
    if asJSON:
        print(json.dumps(plain(found)))
    else:
        print(f"task {readable(number)} {_told(found)}")
    return _status(found)


def kill(client: tuple[str, int], number: int, grace: float | None, asJSON: bool) -> int:
    """
    End a task.

    @return: the exit code.
    """
    task = _show(client, str(number))
    if isinstance(task, int):
        return task
    if "reason" in task.attributes:
        return complain(0, f"task {number} is over already: {_told(task)}")
    timeout = "" if grace is None else f' timeout="{grace:.0f}"'
    job = escapeAttribute(task.attributes.get("job", ""))
    question = f'<kill_task job="{job}" id="{number}" immediately="yes"{timeout}/>'
    answer = answerOf(client, question.encode(), "client")
    if isinstance(answer, int):
        return answer
    task = _show(client, str(number))
    if isinstance(task, int):
        return task
    print(json.dumps(plain(task)) if asJSON else f"task {number} {_told(task)}")
    return 0


def _show(client: tuple[str, int], number: str) -> Element | int:
    answer = answerOf(client, f'<show_task id="{escapeAttribute(number)}"/>'.encode(), "client")
    if isinstance(answer, int):
        return answer
    task = childOf(answer, "task")
    if task is None:
        return complain(EX_SOFTWARE, f"{shown(client)} does not show its tasks")
    return task


def _waitFor(client: tuple[str, int], number: str) -> Element | int:
    """
    Wait for the end of a task, and tell on a terminal how it stands.
    """
    before = ""
    tells = sys.stderr.isatty()
    try:
        while True:
            task = _show(client, number)
            if isinstance(task, int) or "reason" in task.attributes:
                return task
            told = f"task {readable(number)} {_told(task)}"
            if tells and told != before:
                print(f"\r{told:{len(before)}}", end="", file=sys.stderr, flush=True)
                before = told
            # There is no reactor here: nothing else waits, and the port tells no news.
            time.sleep(LOOK)
    finally:
        if before:
            print(f"\r{'':{len(before)}}\r", end="", file=sys.stderr, flush=True)


def _told(task: Element) -> str:
    """
    How a task stands, for people.
    """
    said = task.attributes
    if "reason" in said:
        words = [said["reason"]]
        words += [said[name] for name in ("exit_code", "signal") if said.get(name)]
        return readable(" ".join(words))
    state = said.get("state", "").replace("_", " ")
    # JobScheduler has no word for a task that is not begun.
    words = ["waits" if state in ("", "none") else state]
    if said.get("position"):
        words.append(f"position {said['position']}")
    if said.get("running_since"):
        words.append(f"since {said['running_since']}")
    return readable(", ".join(words))


def _status(task: Element) -> int:
    """
    The exit code of C{jsremote run} for the same outcome.
    """
    said = task.attributes
    try:
        reason = Reason(said.get("reason", ""))
    except ValueError:
        return EX_SOFTWARE
    outcome = Outcome(reason, exitCode=_code(said, "exit_code"), signal=_code(said, "signal"))
    return outcome.exitStatus


def _code(said: dict[str, str], name: str) -> int | None:
    text = said.get(name, "")
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 4 else None
