"""
What a command that shows something is asked to show: the words of its C{what}.
"""

from __future__ import annotations

from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.wire.documents import Element

What = frozenset[str]

# JobScheduler's words (protocol document, 6.1). Those for what we do not have
# ask for nothing.
_SHORT = frozenset(
    {
        "cluster",
        "description",
        "folders",
        "job_chain_jobs",
        "job_chain_orders",
        "job_chains",
        "job_orders",
        "job_params",
        "jobs",
        "operations",
        "order_source_files",
        "payload",
        "remote_schedulers",
        "run_time",
        "schedules",
        "task_queue",
        "tasks",
    }
)
_LONG = frozenset({"log", "order_history", "source", "task_history"})
_OTHERS = frozenset({"blacklist", "job_commands", "no_subfolders", "statistics"})

# Words that stand for several. C{ports} is ours: the callback ports of a client.
_GROUPS = {
    "all": _SHORT,
    "all!": _SHORT | _LONG,
    "none": frozenset[str](),
    "standard": frozenset[str](),
    "orders": frozenset({"job_orders", "job_chain_orders"}),
}
_WORDS = {word: frozenset({word}) for word in (*_SHORT, *_LONG, *_OTHERS, "ports")} | _GROUPS


def whatOf(command: Element) -> What:
    """
    What a command asks for.

    @raise CommandRefused: one of its words is not known.
    """
    wanted: set[str] = set()
    for word in command.attributes.get("what", "").replace(",", " ").split():
        if word not in _WORDS:
            raise CommandRefused("SCHEDULER-164", f"Invalid value of what: {word[:100]!r}")
        wanted |= _WORDS[word]
    return frozenset(wanted)
