"""
C{jsremote start-job}, C{modify-job} and C{kill}: have a client start and end
tasks.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from jobscheduler_tcp.cli.asking import (
    EX_SOFTWARE,
    answerOf,
    childOf,
    complain,
    parametersElement,
    plain,
    question,
)
from jobscheduler_tcp.cli.values import shown
from jobscheduler_tcp.cli.waiting import Waiting, showTask, statusOf, told
from jobscheduler_tcp.client.lines import readable

# Seconds between looks at a task that is killed; what takes longer is told as
# that. There is no reactor here: nothing else waits.
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.0)


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
    params = [parametersElement(parameters)] if parameters else []
    asked = question("start_job", {"job": job, "at": at}, params)
    answer = answerOf(client, asked, "client")
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
    with Waiting(client, f"task {number}", f"log {number} -f", f"kill {number}") as waiting:
        found = waiting.forTask(number)
    if isinstance(found, int):
        return found
    print(json.dumps(plain(found)) if asJSON else f"task {readable(number)} {told(found)}")
    return statusOf(found.attributes)


def modifyJob(client: tuple[str, int], job: str, command: str, asJSON: bool) -> int:
    """
    Have a job obey one of JobScheduler's words.

    @return: the exit code.
    """
    asked = question("modify_job", {"job": job, "cmd": command})
    answer = answerOf(client, asked, "client")
    if not isinstance(answer, int):
        answer = answerOf(client, question("show_job", {"job": job}), "client")
    if isinstance(answer, int):
        return answer
    found = childOf(answer, "job")
    if found is None:
        return complain(EX_SOFTWARE, f"{shown(client)} does not show its jobs")
    state = found.attributes.get("state", "")
    if asJSON:
        print(json.dumps(found.attributes))
    else:
        print(f"job {readable(found.attributes.get('path', job))} {readable(state)}")
    return 0


def kill(client: tuple[str, int], number: int, grace: float | None, asJSON: bool) -> int:
    """
    End a task.

    @return: the exit code.
    """
    task = showTask(client, str(number))
    if isinstance(task, int):
        return task
    if "reason" in task.attributes:
        return complain(0, f"task {number} is over already: {told(task)}")
    which = {
        "job": task.attributes.get("job"),
        "id": str(number),
        "immediately": "yes",
        "timeout": None if grace is None else f"{grace:.0f}",
    }
    answer = answerOf(client, question("kill_task", which), "client")
    if isinstance(answer, int):
        return answer
    for pause in _PAUSES:
        task = showTask(client, str(number))
        if isinstance(task, int):
            return task
        if "reason" in task.attributes:
            break
        time.sleep(pause)  # no reactor, and the port does not tell when it is over
    print(json.dumps(plain(task)) if asJSON else f"task {number} {told(task)}")
    return 0
