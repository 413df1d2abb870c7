"""
How jobs and tasks look in JobScheduler's answers.

Words and attributes are those of a real JobScheduler; what stands here beyond
them (C{reason}, C{exit_code}, C{signal}, C{end_time}, C{position}, C{why}) its
readers pass over.
"""

from __future__ import annotations

from collections.abc import Iterable
from signal import Signals

from jobscheduler_tcp.client.jobs import Job
from jobscheduler_tcp.client.logfiles import fileName
from jobscheduler_tcp.client.overview import Overview
from jobscheduler_tcp.client.shownorders import orderElement
from jobscheduler_tcp.client.shownparts import LISTED, fileBased, paramsElement
from jobscheduler_tcp.client.startedtask import StartedTask
from jobscheduler_tcp.client.what import What
from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.plaincommands import secondstamp, timestamp
from jobscheduler_tcp.wire.documents import Element, element, error


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
        # From the state directory on, as JobScheduler tells it from its own.
        "log_file": f"logs/{fileName(task.job.name, task.number)}",
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
    for stream, size in task.output.sizes.items():
        if size:
            attributes[f"{stream.name.lower()}_size"] = str(size)
    if task.number in overview.position:
        attributes["position"] = str(overview.position[task.number])
    children = []
    if task.order is not None and task.outcome is None:
        children.append(orderElement(task.order))
    if task.outcome is not None:
        attributes["end_time"] = timestamp(task.ended)
        attributes |= _outcome(task.outcome)
        children += _errors(task)
    children.append(element("log", {"level": "info"}))
    return element("task", attributes, children)


def jobElement(
    job: Job,
    overview: Overview,
    *,
    ended: int = 0,
    over: Iterable[StartedTask] = (),
    orders: Element | None = None,
    priority: int = 0,
    trouble: str = "",
    what: What = frozenset(),
) -> Element:
    """
    A job, its tasks under way and those that wait.

    @param ended: how many of its tasks are over.
    @param over: the last of these, the latest first.
    @param orders: the orders that wait for it, if it works on orders.
    @param priority: how far from the beginning of a job chain it stands, 0 for
        in none.
    @param trouble: why its process class cannot run anything.
    """
    configured = job.configured
    running = [task for task in job.running.values() if not task.waits]
    waiting = [task for task in job.running.values() if task.waits]
    queued = job.queued
    attributes = {
        "path": f"/{job.name}",
        "name": job.name.rpartition("/")[2],
        "job": job.name,
        "state": "error" if trouble else job.state,
    }
    if configured.title:
        attributes["title"] = configured.title
    attributes |= {
        "process_class": f"/{configured.processClass}",
        "all_steps": str(ended),
        "all_tasks": str(ended + len(running)),
        "order": "yes" if configured.order else "no",
        "tasks": str(configured.tasks),
        "in_period": "yes",
        "enabled": "yes" if configured.enabled else "no",
    }
    if trouble or job.text:
        attributes["state_text"] = trouble or job.text
    if waiting:
        attributes["waiting_for_process"] = "yes"
    if configured.description:
        attributes["has_description"] = "yes"
    if job.delayUntil and job.failures:
        attributes["delay_until"] = timestamp(job.delayUntil)
    if priority:
        attributes["job_chain_priority"] = str(priority)
    listed = [taskElement(task, overview) for task in running[:LISTED]]
    waits = element("queued_tasks", {"length": str(len(waiting) + len(queued))})
    waits.children += [_queuedTask(task, overview) for task in (*waiting, *queued)[:LISTED]]
    needed = [("Process_class", configured.processClass)] if configured.processClass else []
    children = [
        fileBased(configured.source, needed),
        element("tasks", {"count": str(len(running))}, listed),
        waits,
        *([orders] if orders is not None else ()),
        *(_errors(job.failed) if job.failed is not None else ()),
    ]
    if "description" in what and configured.description:
        children.append(element("description", text=configured.description))
    if "job_params" in what:
        children.append(paramsElement(configured.work.parameters))
    if "task_history" in what:
        children.append(element("history", {}, map(_historyEntry, over)))
    children.append(element("log", {"level": "info"}))
    return element("job", attributes, children)


def _queuedTask(task: StartedTask, overview: Overview) -> Element:
    attributes = {
        "task": str(task.number),
        "id": str(task.number),
        "enqueued": timestamp(task.enqueued),
        "name": task.name,
        "force_start": "yes",
        "start_at": timestamp(task.startAt),
    }
    if task.number in overview.position:
        attributes["position"] = str(overview.position[task.number])
    if task.given is not None and task.given.why:
        attributes["why"] = task.given.why
    return element("queued_task", attributes)


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
