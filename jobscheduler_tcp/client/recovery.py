"""
After a restart: each task that was under way goes on where it stood.

One that waited waits again. One that a remote was asked for, or was about to be,
is asked after there; what nobody can tell is lost, and its order stands until
somebody decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from jobscheduler_tcp.client.order import Order
from jobscheduler_tcp.client.restored import Restored, RestoredTask
from jobscheduler_tcp.config.model import ConfiguredJob
from jobscheduler_tcp.messages import Work
from jobscheduler_tcp.outcome import Outcome, Reason

if TYPE_CHECKING:
    from jobscheduler_tcp.client.scheduler import Scheduler

_log = Logger()


def recover(scheduler: Scheduler, restored: Restored) -> None:
    """
    Have the tasks that were under way, once the jobs are known.
    """
    orders = {order.task: order for order in restored.orders if order.task}
    for was in restored.tasks:
        _recover(scheduler, was, orders.pop(was.number, None))
    for order in orders.values():
        _log.error(
            "The history does not know task {task} of order {chain}:{order}",
            task=order.task,
            chain=order.chain,
            order=order.id,
        )
        scheduler.forgo(order, f"the history does not know its task {order.task}")
    if restored.tasks or restored.orders:
        _log.info(
            "Found again: {tasks} tasks under way, {orders} orders",
            tasks=len(restored.tasks),
            orders=len(restored.orders),
        )


def _recover(scheduler: Scheduler, was: RestoredTask, order: Order | None) -> None:
    job = scheduler.jobs.get(was.job)
    tasks = scheduler.tasks
    if order is not None:
        order.job = was.job
    configured = job.configured if job is not None else _gone(was)
    task = tasks.restore(configured, was, order)
    if was.uuid:
        # It has its turn, whatever has become of its job.
        if job is not None:
            job.running[task.number] = task
        tasks.comeBack(task, was, scheduler.variables)
    elif job is None:
        text = f"the client ended before it was due, and there is no Job '/{was.job}' any more"
        tasks.discard(task, Outcome(Reason.CANCELLED, text))
    elif order is None:
        job.queue(task)
    elif job.stopped or order.removed:
        tasks.discard(task, Outcome(Reason.CANCELLED, "the client ended before it was sent"))
    else:
        job.running[task.number] = task
        tasks.start(task, scheduler.variables)


def _gone(was: RestoredTask) -> ConfiguredJob:
    return ConfiguredJob(was.job, "", was.processClass, Work(), "")
