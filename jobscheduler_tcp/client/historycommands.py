"""
JobScheduler's commands that ask for what was: C{show_history}, and C{show_task}
for tasks that are over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from twisted.internet.defer import Deferred

from jobscheduler_tcp.client import said
from jobscheduler_tcp.client.history import MOST, TaskRecord
from jobscheduler_tcp.client.logfiles import LogPart, fileName
from jobscheduler_tcp.client.shown import failureOf
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.outcome import Outcome
from jobscheduler_tcp.plaincommands import Handler, Peer, Said, secondstamp, timestamp
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.wire.documents import Element, element, error

# As many entries as JobScheduler shows if nobody says otherwise.
FEW = 10

# Bytes of logs in one answer, which has to fit into what a client takes
# (docs/protocol/extended): a byte may need six, as in &#246;.
MAX_LOG = 512 << 10


class IHistory(Protocol):
    """
    What is asked of a L{History<jobscheduler_tcp.client.history.History>}.
    """

    async def task(self, number: int) -> TaskRecord | None:
        """
        Find a task.
        """

    async def tasksOf(
        self, job: str = "", *, before: int = 0, after: int = 0, count: int = 10
    ) -> list[TaskRecord]:
        """
        Find tasks that are over.
        """


# Reads a part of a log: the job, the task's number, where, how many bytes.
ReadLog = Callable[[str, int, int, int], Deferred[LogPart]]


class HistoryCommands:
    """
    Obey commands.
    """

    def __init__(
        self,
        history: IHistory,
        readLog: ReadLog,
        isJob: Callable[[str], bool],
        showTask: Handler,
        schedulerId: str = "",
    ) -> None:
        """
        @param isJob: whether there is a job of a name.
        @param showTask: shows a task that is still remembered, or refuses with
            C{SCHEDULER-207}.
        """
        self._history = history
        self._readLog = readLog
        self._isJob = isJob
        self._showTaskNow = showTask
        self._schedulerId = schedulerId

    def commands(self) -> dict[str, tuple[Level, Handler]]:
        """
        The commands by name, each with the level that it needs.
        """
        return {
            "show_history": (
                Level.INFO,
                lambda command, peer: Deferred.fromCoroutine(self._showHistory(command)),
            ),
            "show_task": (
                Level.INFO,
                lambda command, peer: Deferred.fromCoroutine(self._showTask(command, peer)),
            ),
        }

    async def _showHistory(self, command: Element) -> Said:
        path = command.attributes.get("job", "")
        job = path.removeprefix("/")
        # Without a job: of all, which JobScheduler does not have.
        if job and not self._isJob(job) and not await self._history.tasksOf(job, count=1):
            raise CommandRefused("SCHEDULER-161", f"There is no Job '/{job}'")
        number = said.integer(command, "id") or 0
        before = count(command, "prev")
        after = count(command, "next")
        if after and number:
            found = await self._history.tasksOf(job, after=number, count=after)
        elif number and not before:
            record = await self._history.task(number)
            known = record is not None and record.outcome is not None
            found = [record] if known and record is not None and record.job == job else []
        else:
            found = await self._history.tasksOf(job, before=number, count=before or FEW)
        logs = _wantsLog(command)
        left = MAX_LOG
        entries = []
        for record in found:
            children = []
            if logs and left > 0:
                text = await self._log(record.job, record.number, -left, left)
                left -= len(text.text)
                children.append(text)
            entries.append(entryElement(record, self._schedulerId, children))
        return element("history", {}, entries)

    async def _showTask(self, command: Element, peer: Peer) -> Said:
        number = said.taskNumber(command)
        try:
            shown = self._showTaskNow(command, peer)
            assert isinstance(shown, Element)
        except CommandRefused as refused:
            record = await self._history.task(number) if refused.code == "SCHEDULER-207" else None
            if record is None:
                raise
            shown = self._task(record)
        job = shown.attributes["job"].removeprefix("/")
        # From the state directory on, as JobScheduler tells it from its own.
        shown.attributes["log_file"] = f"logs/{fileName(job, number)}"
        if _wantsLog(command):
            text = await self._log(job, number, _offset(command), MAX_LOG)
            shown.children = [each for each in shown.children if each.name != "log"]
            shown.children.append(text)
        return shown

    async def _log(self, job: str, number: int, start: int, most: int) -> Element:
        """
        Make the C{log} element. What JobScheduler does not have: C{offset}, how
        many bytes stand before this, and C{size}, how many there are of it all.
        """
        try:
            part = await self._readLog(job, number, start, most)
        except OSError:  # thrown away, or never written
            return element("log", {"offset": "0", "size": "0"})
        # An end within a character or a line is left for the next part.
        data = part.data[: part.data.rfind(b"\n") + 1]
        attributes = {"offset": str(part.start), "size": str(part.size), "bytes": str(len(data))}
        return element("log", attributes, text=data.decode("utf-8", "replace"))

    def _task(self, record: TaskRecord) -> Element:
        attributes = {
            "job": f"/{record.job}",
            "id": str(record.number),
            "task": str(record.number),
            "state": "closed",
            "name": record.name,
            "enqueued": timestamp(record.enqueued),
            "start_at": timestamp(record.startAt),
            "cause": record.cause,
            "steps": _steps(record),
        }
        if record.began is not None:
            attributes["start_time"] = timestamp(record.began)
        if record.ended is not None:
            attributes["end_time"] = timestamp(record.ended)
        if record.orderId:
            attributes["job_chain"] = f"/{record.orderChain}"
            attributes["order"] = record.orderId
        if record.processClass:
            attributes["process_class"] = f"/{record.processClass}"
        children = []
        failure = failureOf(record.outcome) if record.outcome is not None else None
        if failure is not None:
            children.append(error(*failure))
        if record.parameters:
            pairs = [element("param", {"name": n, "value": v}) for n, v in record.parameters]
            children.append(element("params", {}, pairs))
        return element("task", attributes | _result(record), children)


def entryElement(record: TaskRecord, schedulerId: str, children: Iterable[Element] = ()) -> Element:
    """
    A task as lists of the past show it.
    """
    attributes = {
        "task": str(record.number),
        "id": str(record.number),
        "spooler_id": schedulerId,
        "job_name": record.job,
        "start_time": secondstamp(record.began or record.enqueued),
    }
    if record.ended is not None:
        attributes["end_time"] = secondstamp(record.ended)
    attributes |= {"cause": record.cause, "steps": _steps(record), **_result(record)}
    return element("history.entry", attributes, children)


def _steps(record: TaskRecord) -> str:
    return "1" if record.began is not None else "0"


def _result(record: TaskRecord) -> dict[str, str]:
    outcome = record.outcome
    if outcome is None:
        return {}
    failure = failureOf(outcome)
    attributes = {"error": "0"}
    if failure is not None:
        code, text = failure
        attributes = {"error": "1", "error_code": code, "error_text": f"{code}  {text}"}
    return attributes | _facts(outcome)


def _facts(outcome: Outcome) -> dict[str, str]:
    """
    What JobScheduler does not tell.
    """
    facts = {
        "reason": outcome.reason.value,
        "exit_code": outcome.exitCode,
        "signal": outcome.signal,
        "seconds": outcome.seconds,
        "stdout_size": outcome.stdoutSize or None,
        "stderr_size": outcome.stderrSize or None,
        "stdout_sha256": outcome.stdoutDigest or None,
        "stderr_sha256": outcome.stderrDigest or None,
    }
    return {name: f"{value}" for name, value in facts.items() if value is not None}


def count(command: Element, name: str) -> int:
    """
    How many entries are wanted.

    @raise CommandRefused: that is no number, or too many.
    """
    text = command.attributes.get(name, "")
    if text == "all":
        return MOST
    found = said.integer(command, name) or 0
    if found > MOST:
        raise CommandRefused("SCHEDULER-285", f"{name}: at most {MOST} entries are shown")
    return max(found, 0)


def _offset(command: Element) -> int:
    """
    From where on a log is wanted; if that is not said, its end.
    """
    text = command.attributes.get("log_offset", "")
    if not text:
        return -MAX_LOG
    if not (text.isdecimal() and text.isascii() and len(text) < 19):
        raise said.wrong("log_offset", "a number of bytes", text)
    return int(text)


def _wantsLog(command: Element) -> bool:
    return "log" in command.attributes.get("what", "").replace(",", " ").split()
