"""
The environment of a task, and the work that a named job stands for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from jobscheduler_tcp.messages import Work

# What a task gets of the environment of the remote: where things are, who runs
# it, in which language. Anything else may be a secret, or ours.
_INHERITED = frozenset({"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR"})
_INHERITED_PREFIX = "LC_"

# As in JobScheduler (5.5 of the classic protocol).
_PARAMETER_PREFIX = "SCHEDULER_PARAM_"


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """
    Choose what tasks may have of an environment.
    """
    return {
        name: value
        for name, value in environment.items()
        if name in _INHERITED or name.startswith(_INHERITED_PREFIX)
    }


def environmentOf(work: Work, base: Mapping[str, str]) -> dict[str, str]:
    """
    Make the environment of a task.
    """
    environment = {**base, **dict(work.environment)}
    for name, value in (*work.parameters, *(work.orderParameters or ())):
        environment[_PARAMETER_PREFIX + name.upper()] = value
    return environment


def namedWork(configured: Work, asked: Work) -> Work:
    """
    Make the work of a job that the remote has in its configuration: the client
    may add parameters and variables, give it input, and set narrower limits.
    """
    return replace(
        configured,
        parameters=configured.parameters + asked.parameters,
        orderParameters=asked.orderParameters,
        environment=configured.environment + asked.environment,
        directory=configured.directory or asked.directory,
        stdin=asked.stdin,
        wallTime=_narrower(configured.wallTime, asked.wallTime),
        silence=_narrower(configured.silence, asked.silence),
        outputLimit=int(_narrower(configured.outputLimit, asked.outputLimit)),
        grace=asked.grace,
    )


def _narrower(one: float, other: float) -> float:
    return min((limit for limit in (one, other) if limit), default=0)
