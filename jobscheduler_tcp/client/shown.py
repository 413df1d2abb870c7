"""
How jobs, tasks and process classes look in JobScheduler's answers.

Words and attributes are those of a real JobScheduler; what stands here beyond
them (C{reason}, C{exit_code}, C{signal}, C{end_time}, C{position}) its readers
pass over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from signal import Signals

from jobscheduler_tcp.client.jobs import Job
from jobscheduler_tcp.client.placing import PlacedTask, RemoteClass
from jobscheduler_tcp.client.portreport import PortEntry, PortState
from jobscheduler_tcp.client.shownorders import orderElement
from jobscheduler_tcp.client.started import Overview, StartedTask, StartedTasks
from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.plaincommands import secondstamp, timestamp
from jobscheduler_tcp.wire.documents import Element, element, error

# How many tasks one list shows; the counts are of all.
LISTED = 1000


def taskElement(task: StartedTask, overview: Overview) -> Element:
    """
    A task, under way or over.
    """
    attributes = {
        "job": f"/{task.job.name}",
        "id": str(task.number),
        "task": str(task.number),
        "state": task.state,
        "name": task.name,
        "enqueued": timestamp(task.enqueued),
        "start_at": timestamp(task.startAt),
        "steps": "0" if task.outcome is None else "1",
        "force_start": "yes",
    }
    if task.given is not None:
        attributes["cause"] = task.cause
        if task.given.pid:
            attributes["pid"] = str(task.given.pid)
        if task.given.why:
            attributes["why"] = task.given.why
    if task.output.began:
        attributes["running_since"] = timestamp(task.output.began)
    if task.number in overview.position:
        attributes["position"] = str(overview.position[task.number])
    children = []
    if task.order is not None and task.outcome is None:
        children.append(orderElement(task.order))
    if task.outcome is not None:
        attributes["end_time"] = timestamp(task.ended)
        attributes |= _outcome(task.outcome)
        children += _errors(task)
    return element("task", attributes, children)


def jobElement(job: Job, tasks: StartedTasks, overview: Overview, trouble: str = "") -> Element:
    """
    A job, its tasks under way, those that wait, and the last that are over.

    @param trouble: why its process class cannot run anything.
    """
    configured = job.configured
    running = [task for task in job.running.values() if not task.waits]
    waiting = [task for task in job.running.values() if task.waits]
    queued = job.queued
    over = [task for task in tasks.over if task.job.name == job.name]
    ended = tasks.ended[job.name]
    attributes = {
        "path": f"/{job.name}",
        "name": job.name.rpartition("/")[2],
        "job": job.name,
        "state": "error" if trouble else job.state,
        "title": configured.title,
        "process_class": f"/{configured.processClass}",
        "all_steps": str(ended),
        "all_tasks": str(ended + len(running) + len(waiting) + len(queued)),
        "order": "yes" if configured.order else "no",
        "tasks": str(configured.tasks),
        "in_period": "yes",
        "enabled": "yes" if configured.enabled else "no",
    }
    if trouble:
        attributes["state_text"] = trouble
    if waiting:
        attributes["waiting_for_process"] = "yes"
    if job.delayUntil and job.failures:
        attributes["delay_until"] = timestamp(job.delayUntil)
    listed = [taskElement(task, overview) for task in running[:LISTED]]
    return element(
        "job",
        attributes,
        [
            element("tasks", {"count": str(len(running))}, listed),
            element(
                "queued_tasks",
                {"length": str(len(waiting) + len(queued))},
                (_queuedTask(task, overview) for task in (*waiting, *queued)[:LISTED]),
            ),
            *(_errors(over[-1]) if over else ()),
            element("history", {}, map(_historyEntry, reversed(over))),
        ],
    )


def _queuedTask(task: StartedTask, overview: Overview) -> Element:
    attributes = {
        "id": str(task.number),
        "task": str(task.number),
        "enqueued": timestamp(task.enqueued),
        "start_at": timestamp(task.startAt),
    }
    if task.number in overview.position:
        attributes["position"] = str(overview.position[task.number])
    if task.given is not None and task.given.why:
        attributes["why"] = task.given.why
    return element("queued_task", attributes)


def processClassElement(processClass: RemoteClass, overview: Overview) -> Element:
    """
    A process class, who runs in it and who waits for it.
    """
    processes = [
        element(
            "process",
            {
                "job": f"/{task.job.name}",
                "task": str(task.number),
                "remote_scheduler": _remoteOf(task),
                "running_since": timestamp(task.output.began or task.enqueued),
            },
        )
        for task in overview.ofClass(processClass.name, waiting=False)[:LISTED]
    ]
    waiting = [
        element(
            "job",
            {
                "job": f"/{task.job.name}",
                "task": str(task.number),
                "position": str(overview.position[task.number]),
            },
        )
        for task in overview.ofClass(processClass.name, waiting=True)[:LISTED]
    ]
    attributes = {
        "path": f"/{processClass.name}" if processClass.name else "",
        "name": processClass.name.rpartition("/")[2],
        "max_processes": str(processClass.maxProcesses),
    }
    if len(processClass.remotes) == 1:
        attributes["remote_scheduler"] = processClass.remotes[0].address
    attributes["processes"] = str(processClass.running)
    if processClass.why:
        attributes["why"] = processClass.why
    children = [element("processes", {}, processes), element("waiting_jobs", {}, waiting)]
    if len(processClass.remotes) > 1:
        remotes = [
            element("remote_scheduler", {"remote_scheduler": each.address})
            for each in processClass.remotes
        ]
        children.append(element("remote_schedulers", {}, remotes))
    return element("process_class", attributes, children)


def _remoteOf(task: StartedTask) -> str:
    return task.given.remote if isinstance(task.given, PlacedTask) else ""


def portsElement(
    entries: Sequence[PortEntry], waiting: int, tasks: Iterable[StartedTask]
) -> Element:
    """
    The callback ports. Neighbours that are free are one element.

    @param waiting: how many jobs wait for a port.
    """
    started = {task.given.task: task for task in tasks if task.given is not None}
    numbers: dict[PortState, set[int]] = {state: set() for state in PortState}
    rows = []
    for entry in entries:
        numbers[entry.state].update(range(entry.low, entry.high + 1))
        attributes = {
            "port": f"{entry.low}-{entry.high}" if entry.low != entry.high else f"{entry.low}",
            "state": entry.state.value,
        }
        if entry.age is not None:
            attributes["age"] = f"{entry.age:.1f}"
        if entry.peer:
            attributes["peer"] = entry.peer
        if entry.task in started:
            attributes["job"] = f"/{started[entry.task].job.name}"
            attributes["id"] = str(started[entry.task].number)
        if entry.task:
            attributes["task"] = entry.task
        rows.append(element("port", attributes))
    counts = {state.value: str(len(numbers[state])) for state in PortState}
    every = set().union(*numbers.values())
    return element(
        "ports",
        {"range": f"{min(every)}-{max(every)}", **counts, "waiting": str(waiting)},
        rows,
    )


def _historyEntry(task: StartedTask) -> Element:
    outcome = _outcome(task.outcome) if task.outcome is not None else {}
    return element(
        "history.entry",
        {
            "id": str(task.number),
            "task": str(task.number),
            "job_name": task.job.name,
            "start_time": secondstamp(task.output.began or task.enqueued),
            "end_time": secondstamp(task.ended),
            "cause": task.cause,
            "steps": "1",
            **outcome,
        },
    )


def _outcome(outcome: Outcome) -> dict[str, str]:
    attributes = {"reason": str(outcome.reason)}
    if outcome.exitCode is not None:
        attributes["exit_code"] = str(outcome.exitCode)
    if outcome.signal is not None:
        attributes["signal"] = str(outcome.signal)
    return attributes


def _errors(task: StartedTask) -> list[Element]:
    """
    The ERROR of a task that failed, in JobScheduler's words where it has some.
    """
    failure = failureOf(task.outcome) if task.outcome is not None and task.failed else None
    return [] if failure is None else [error(*failure, time=secondstamp(task.ended))]


def failureOf(outcome: Outcome) -> tuple[str, str] | None:
    """
    Why a task failed: JobScheduler's code and text, or ours where it has none.
    """
    if outcome.succeeded:
        return None
    if outcome.reason is Reason.EXITED:
        code = outcome.exitCode or 0
        return "SCHEDULER-280", f"Process terminated with exit code {code} (0x{code:X})"
    if outcome.signal is not None:
        name = _signalName(outcome.signal)
        return "SCHEDULER-279", f"Process terminated with signal {outcome.signal} ({name})"
    return f"jsremote-{outcome.reason}", outcome.text or str(outcome.reason)


def _signalName(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        return "unknown"  # a real-time signal
