"""
How process classes and callback ports look in JobScheduler's answers.

What stands here beyond its words (C{why}, C{position}, C{ports}) its readers
pass over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jobscheduler_tcp.client.overview import Overview
from jobscheduler_tcp.client.placing import PlacedTask, RemoteClass
from jobscheduler_tcp.client.portreport import PortEntry, PortState
from jobscheduler_tcp.client.shownparts import LISTED, fileBased
from jobscheduler_tcp.client.startedtask import StartedTask
from jobscheduler_tcp.plaincommands import timestamp
from jobscheduler_tcp.wire.documents import Element, element


def processClassElement(processClass: RemoteClass, overview: Overview) -> Element:
    """
    A process class, who runs in it and who waits for it.
    """
    configured = processClass.configured
    attributes = {"path": f"/{processClass.name}" if processClass.name else ""}
    if processClass.name:
        attributes["name"] = processClass.name.rpartition("/")[2]
    attributes["max_processes"] = str(processClass.maxProcesses)
    if len(processClass.remotes) == 1:
        attributes["remote_scheduler"] = processClass.remotes[0].address
    attributes["processes"] = str(processClass.running)
    if processClass.why:
        attributes["why"] = processClass.why
    running = overview.ofClass(processClass.name, waiting=False)[:LISTED]
    waiting = overview.ofClass(processClass.name, waiting=True)[:LISTED]
    children = [fileBased(configured.source if configured is not None else None)]
    if running:
        children.append(element("processes", {}, map(_process, running)))
    if waiting:
        jobs = (_waitingJob(task, overview) for task in waiting)
        children.append(element("waiting_jobs", {}, jobs))
    if len(processClass.remotes) > 1:
        remotes = [
            element("remote_scheduler", {"remote_scheduler": each.address})
            for each in processClass.remotes
        ]
        children.append(element("remote_schedulers", {}, remotes))
    return element("process_class", attributes, children)


def _process(task: StartedTask) -> Element:
    given = task.given
    return element(
        "process",
        {
            "pid": str(given.pid if given is not None else 0),
            "job": task.job.name,
            "task": str(task.number),
            "task_id": str(task.number),
            "remote_scheduler": given.remote if isinstance(given, PlacedTask) else "",
            "running_since": timestamp(task.output.began or task.enqueued),
        },
    )


def _waitingJob(task: StartedTask, overview: Overview) -> Element:
    attributes = {
        "job": f"/{task.job.name}",
        "task": str(task.number),
        "position": str(overview.position[task.number]),
    }
    return element("job", attributes)


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
