"""
C{jsremote history} and C{jsremote log}: ask a client what was.
"""

from __future__ import annotations

import json
import sys
import time

from jobscheduler_tcp.cli.arguments import shown
from jobscheduler_tcp.cli.state import EX_SOFTWARE, answerOf, childOf, columns, complain, plain
from jobscheduler_tcp.client.lines import readable
from jobscheduler_tcp.wire.documents import Element, escapeAttribute

# Seconds between two looks at the log of a task that runs.
LOOK = 1.0


def history(client: tuple[str, int], job: str, count: int, before: int, asJSON: bool) -> int:
    """
    Print which tasks are over.

    @return: the exit code.
    """
    which = f' job="{escapeAttribute(job)}"' if job else ""
    which += f' id="{before}"' if before else ""
    answer = answerOf(client, f'<show_history{which} prev="{count}"/>'.encode(), "client")
    if isinstance(answer, int):
        return answer
    found = childOf(answer, "history")
    if found is None:
        return complain(EX_SOFTWARE, f"{shown(client)} has no history; only a client has")
    entries = [entry.attributes for entry in found.children]
    if asJSON:
        print(json.dumps({"history": [plain(entry) for entry in found.children]}))
    elif entries:
        print("\n".join(columns([_row(entry) for entry in entries])))
    else:
        print("no task is over")
    return 0


def log(client: tuple[str, int], task: int, follow: bool) -> int:
    """
    Print the log of a task.

    @return: the exit code.
    """
    offset = 0
    while True:
        question = f'<show_task id="{task}" what="log" log_offset="{offset}"/>'
        answer = answerOf(client, question.encode(), "client")
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
            print(readable(line))
        sys.stdout.flush()
        offset = start + length
        if length and offset < size:
            continue
        if not follow or "reason" in found.attributes:
            return 0
        # There is no reactor here: nothing else waits, and the port tells no news.
        time.sleep(LOOK)


def _row(entry: dict[str, str]) -> dict[str, str]:
    row = {
        "task": entry.get("task", ""),
        "job": entry.get("job_name", ""),
        "start": entry.get("start_time", ""),
        "end": entry.get("end_time", ""),
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
