"""
C{jsremote history} and C{jsremote log}: ask a client what was.
"""

from __future__ import annotations

import json
import re
import sys
import time

from jobscheduler_tcp.cli.asking import (
    EX_SOFTWARE,
    answerOf,
    childOf,
    complain,
    plain,
    question,
)
from jobscheduler_tcp.cli.screen import drawn, shortTime
from jobscheduler_tcp.cli.values import shown
from jobscheduler_tcp.client.lines import readable
from jobscheduler_tcp.wire.documents import Element

_LINE = re.compile(
    r"(?P<time>[0-9-]{10} [0-9:.]+) \[(?P<level>\w+)\] +(?:\(.*?\) )?(?P<text>.*)", re.DOTALL
)

# Seconds between two looks at the log of a task that runs.
LOOK = 1.0


def history(client: tuple[str, int], job: str, count: int, before: int, asJSON: bool) -> int:
    """
    Print which tasks are over.

    @return: the exit code.
    """
    which = {"job": job, "id": f"{before or ''}", "prev": f"{count}"}
    answer = answerOf(client, question("show_history", which), "client")
    if isinstance(answer, int):
        return answer
    found = childOf(answer, "history")
    if found is None:
        return complain(EX_SOFTWARE, f"{shown(client)} has no history; only a client has")
    now = answer.attributes.get("time", "")
    rows = [_row(entry.attributes, now) for entry in found.children]
    if asJSON:
        print(json.dumps({"history": [plain(entry) for entry in found.children]}))
    elif rows:
        print("\n".join(drawn(rows)))
    else:
        print("no task is over")
    return 0


def log(client: tuple[str, int], task: int, follow: bool, asJSON: bool) -> int:
    """
    Print the log of a task.

    @return: the exit code.
    """
    offset = 0
    while True:
        which = {"id": f"{task}", "what": "log", "log_offset": f"{offset}"}
        answer = answerOf(client, question("show_task", which), "client")
        if isinstance(answer, int):
            return answer
        found = childOf(answer, "task")
        text = childOf(found, "log") if found is not None else None
        if found is None or text is None:
            return complain(EX_SOFTWARE, f"{shown(client)} has no log of task {task}")
        start, length, size = (_count(text, name) for name in ("offset", "bytes", "size"))
        if start > offset:
            print(f"jsremote: {start - offset} bytes before are not kept", file=sys.stderr)
        for line in text.text.splitlines():
            print(json.dumps(_parts(line)) if asJSON else readable(line))
        sys.stdout.flush()
        offset = start + length
        if length and offset < size:
            continue
        if not follow or "reason" in found.attributes:
            return 0
        time.sleep(LOOK)  # no reactor: nothing else waits, and the port tells no news


def _parts(line: str) -> dict[str, str]:
    """
    A line of a log, which has its time and its level in front.
    """
    found = _LINE.fullmatch(line)
    return found.groupdict() if found is not None else {"text": line}


def _row(entry: dict[str, str], now: str) -> dict[str, str]:
    row = {
        "task": entry.get("task", ""),
        "job": entry.get("job_name", ""),
        "start": shortTime(entry.get("start_time", ""), now),
        "end": shortTime(entry.get("end_time", ""), now),
        "cause": entry.get("cause", ""),
        "outcome": entry.get("reason", ""),
    }
    for name in ("exit_code", "signal"):
        if entry.get(name):
            row["outcome"] += f" {entry[name]}"
    return row


def _count(element: Element, name: str) -> int:
    text = element.attributes.get(name, "")
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 19 else 0
