"""
Wait for the end of a task or an order of a client, and tell how it stands.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime

from jobscheduler_tcp.cli.asking import (
    EX_SOFTWARE,
    Address,
    Away,
    answerOf,
    childOf,
    complain,
    question,
)
from jobscheduler_tcp.cli.screen import Progress, isLively
from jobscheduler_tcp.cli.values import CLIENT, shown
from jobscheduler_tcp.client.lines import readable
from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.wire.documents import Element

# Seconds between two looks at what is waited for: at first, and at last. There
# is no reactor here: nothing else waits, and the port tells no news.
FIRST_LOOK = 0.05
LOOK = 0.5

# Seconds for which a client may be away.
PATIENCE = 60.0

# How often one looks for an order that is over in the history.
_LOOKS = 20

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


class Waiting:
    """
    A wait, which Ctrl-C ends without ending what is waited for.
    """

    def __init__(self, client: tuple[str, int], what: str, look: str, end: str) -> None:
        """
        @param what: is waited for, for people.
        @param look: the command that looks at it again.
        @param end: the command that ends it.
        """
        self._client = client
        self._what = what
        self._look = look
        self._end = end
        self._progress = Progress()
        self._lost = 0.0  # when the client could not be reached any more

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._progress.__exit__()
        if kind is KeyboardInterrupt and isLively(sys.stderr):
            print(file=sys.stderr)  # behind the ^C
        if kind is KeyboardInterrupt:
            where = f" --client {shown(self._client)}" if self._client != CLIENT else ""
            text = f"{self._what} goes on; jsremote {self._look}{where} shows it"
            print(f"{readable(text)}, jsremote {self._end}{where} ends it", file=sys.stderr)

    def forTask(self, number: str) -> Element | int:
        """
        Wait for the end of a task.

        @return: the task; or the exit code, if that cannot be known.
        """

        def look() -> Element | int | None:
            answer = _showTask(self._client, number, self._away)
            if isinstance(answer, int):
                return answer
            now, task = answer
            if "reason" in task.attributes:
                return task
            text = f"{self._what} {told(task)}"
            if task.attributes.get("state") == "none":
                text += self._jobTold(task.attributes.get("job", ""))
            self._progress.tell(text, passing(task, now), attempt=_isAttempt(task))
            return None

        return self.until(look)

    def _jobTold(self, job: str) -> str:
        """
        How a job stands that starts nothing, and what to do if it is stopped.
        """
        asked = question("show_job", {"job": job})
        answer = answerOf(self._client, asked, "client", away=self._away)
        found = None if isinstance(answer, int) else childOf(answer, "job")
        state = "" if found is None else found.attributes.get("state", "")
        text = f", job {job} is {state}" if state not in ("", "pending") else ""
        if state == "stopped":
            text += f"; jsremote modify-job {job} unstop lets it go on"
        return readable(text)

    def forOrder(self, chain: str, identifier: str) -> Element | int:
        """
        Wait until an order is over, or stands where only a person lets it go on.

        @return: the order; or the exit code, if that cannot be known.
        """
        asked = question("show_order", {"job_chain": chain, "order": identifier})
        gone = 0

        def look() -> Element | int | None:
            nonlocal gone
            answer = answerOf(
                self._client, asked, "client", absent="SCHEDULER-162", away=self._away
            )
            if isinstance(answer, int):
                return answer
            if answer is None:
                gone += 1
                found = self._pastOrder(chain, identifier)
                if found is None and gone >= _LOOKS:
                    return complain(EX_SOFTWARE, f"{self._what} is over, and in no history")
                return found
            order = childOf(answer, "order")
            if order is None:
                return complain(EX_SOFTWARE, f"{shown(self._client)} does not show its orders")
            if order.attributes.get("suspended") and not order.attributes.get("task"):
                return order
            self._tellOrder(order.attributes)
            return None

        return self.until(look)

    def _pastOrder(self, chain: str, identifier: str) -> Element | int | None:
        """
        Ask for the last run of an order, and for its steps.

        @return: C{None} if it is not in the history, which is written after what
            happened.
        """
        asked = {"job_chain": chain, "what": "order_history", "max_order_history": "1000"}
        said = question("show_job_chain", asked)
        answer = answerOf(self._client, said, "client", away=self._away)
        if isinstance(answer, int):
            return answer
        found = childOf(answer, "job_chain")
        history = None if found is None else childOf(found, "order_history")
        for run in history.children if history is not None else ():
            if run.attributes.get("id") == identifier:
                entry = run.attributes.get("history_id", "")
                asked = {"job_chain": chain, "order": identifier, "history_id": entry}
                said = question("show_order", asked)
                answer = answerOf(self._client, said, "client", away=self._away)
                return answer if isinstance(answer, int) else childOf(answer, "order")
        return None

    def _tellOrder(self, order: dict[str, str]) -> None:
        text = f"{self._what} in state {order.get('state', '')}"
        if order.get("task"):
            shownTask = _showTask(self._client, order["task"], self._away)
            if not isinstance(shownTask, int):
                now, task = shownTask
                text += f": task {order['task']} {told(task)}"
                self._progress.tell(readable(text), passing(task, now), attempt=_isAttempt(task))
        elif order.get("at") or order.get("setback"):
            at = order.get("at") or order.get("setback") or ""
            self._progress.tell(readable(f"{text} waits, until {at[:19]}"))
        else:
            self._progress.tell(readable(f"{text} waits{self._jobTold(order.get('job', ''))}"))

    def _away(self) -> bool:
        """
        Wait for a client that is restarted: tasks and orders outlive it.
        """
        now = time.monotonic()
        self._lost = self._lost or now
        if now - self._lost > PATIENCE:
            return False
        self._progress.tell(f"{self._what}: the client is not there")
        time.sleep(LOOK)  # no reactor, and nobody tells when it is back
        return True

    def until(self, look: Callable[[], Element | int | None]) -> Element | int:
        """
        Look again and again until there is something.
        """
        pause = FIRST_LOOK
        while True:
            found = look()
            if found is not None:
                return found
            self._lost = 0.0
            time.sleep(pause)  # no reactor, and the port tells no news
            pause = min(pause * 2, LOOK)


def showTask(client: tuple[str, int], number: str) -> Element | int:
    """
    Ask for a task; or tell on stderr why there is none, and return the exit code.
    """
    found = _showTask(client, number, lambda: False)
    return found if isinstance(found, int) else found[1]


def _showTask(client: Address, number: str, away: Away) -> tuple[str, Element] | int:
    answer = answerOf(client, question("show_task", {"id": number}), "client", away=away)
    if isinstance(answer, int):
        return answer
    task = childOf(answer, "task")
    if task is None:
        return complain(EX_SOFTWARE, f"{shown(client)} does not show its tasks")
    return answer.attributes.get("time", ""), task


def told(task: Element) -> str:
    """
    How a task stands, for people; without what changes all the time.
    """
    said = task.attributes
    if "reason" in said:
        words = [said["reason"]]
        words += [said[name] for name in ("exit_code", "signal") if said.get(name)]
        error = childOf(task, "ERROR")
        # JobScheduler's words for an exit code and a signal tell nothing more.
        if error is not None and len(words) == 1:
            words.append(f"({error.attributes.get('text', '')})")
        return readable(" ".join(words))
    if said.get("state") == "killing":
        return "is being killed"
    if said.get("running_since"):
        return "runs"
    state = said.get("state", "").replace("_", " ")
    # JobScheduler has no word for a task that is not begun.
    words = ["waits" if state in ("", "none", "waiting for process") else state]
    if said.get("position"):
        words.append(f"position {said['position']}")
    if said.get("why"):
        words.append(said["why"])
    if state in ("", "none") and said.get("start_at", "") > said.get("enqueued", ""):
        words.append(f"until {said['start_at'][:19]}")
    return readable(", ".join(words))


def _isAttempt(task: Element) -> bool:
    # While its remote is down, a task waits and is tried in turn.
    return task.attributes.get("state") == "starting"


def passing(task: Element, now: str) -> str:
    """
    How long a task has run, and what it has printed.

    @param now: the client's time.
    """
    said = task.attributes
    seconds = _between(said.get("running_since", ""), now)
    size = sum(_number(said.get(name, "")) for name in ("stdout_size", "stderr_size"))
    words = ""
    if seconds is not None:
        words += f", {_duration(seconds)}"
    return f"{words}, {bytesTold(size)} of output" if size else words


def statusOf(said: dict[str, str]) -> int:
    """
    The exit code of C{jsremote run} for the same outcome.

    @param said: the attributes of a task.
    """
    try:
        reason = Reason(said.get("reason", ""))
    except ValueError:
        return EX_SOFTWARE
    outcome = Outcome(reason, exitCode=_code(said, "exit_code"), signal=_code(said, "signal"))
    return outcome.exitStatus


def bytesTold(size: float) -> str:
    """
    A number of bytes for people.
    """
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size /= 1024
        unit += 1
    return f"{size:.1f} {_UNITS[unit]}" if unit else f"{size:.0f} {_UNITS[0]}"


def _duration(seconds: float) -> str:
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return (
        f"{hours}:{rest // 60:02}:{rest % 60:02} h" if hours else f"{rest // 60}:{rest % 60:02} min"
    )


def _between(begin: str, end: str) -> float | None:
    try:
        first, last = (datetime.fromisoformat(each[:19]) for each in (begin, end))
    except ValueError:
        return None
    return (last - first).total_seconds()


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 19 else 0


def _code(said: dict[str, str], name: str) -> int | None:
    text = said.get(name, "")
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 4 else None
