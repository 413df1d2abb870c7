"""
What a configuration file says, as frozen dataclasses.
"""

from __future__ import annotations

from dataclasses import dataclass

from jobscheduler_tcp.errors import ConfigurationError
from jobscheduler_tcp.messages import Work
from jobscheduler_tcp.security import Level

# As JobScheduler (protocol document, 7.1).
MAX_PROCESSES = 30


@dataclass(frozen=True, slots=True)
class AllowedHost:
    """
    Whose commands are taken, and how far.

    @ivar host: as it was written.
    @ivar addresses: what the host resolved to; empty where it is not known.
    @ivar place: C{file:line}, or the option that said it.
    """

    host: str
    level: Level
    addresses: tuple[str, ...]
    place: str


@dataclass(frozen=True, slots=True)
class ConfiguredClass:
    """
    A process class.

    @ivar name: empty for the default class.
    @ivar host: of the remote; empty where the file names none.
    """

    name: str
    host: str
    port: int
    maxProcesses: int
    place: str


@dataclass(frozen=True, slots=True)
class ConfiguredJob:
    """
    A job.

    @ivar name: without the leading slash of its path.
    @ivar processClass: the name of a process class, empty for the default
        class.
    """

    name: str
    title: str
    processClass: str
    work: Work
    place: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """
    A whole C{scheduler.xml}.

    @ivar path: the file; empty where none was read.
    @ivar schedulerId: the name by which people know this service.
    @ivar tcpPort: C{None} where the file does not say.
    @ivar ipAddress: C{None} where the file does not say.
    @ivar maxTasks: how many tasks the remote runs at once, 0 for any number;
        C{None} where the file does not say.
    @ivar callbackPorts: the first and the last port of the range; C{None} where
        the file does not say.
    @ivar portReleaseTime: seconds; C{None} where the file does not say.
    @ivar startsPerSecond: C{None} where the file does not say.
    @ivar warnings: what was passed over, one line each, with C{file:line}.
    """

    path: str = ""
    schedulerId: str = ""
    tcpPort: int | None = None
    ipAddress: str | None = None
    maxTasks: int | None = None
    callbackPorts: tuple[int, int] | None = None
    portReleaseTime: float | None = None
    startsPerSecond: int | None = None
    allowedHosts: tuple[AllowedHost, ...] = ()
    processClasses: tuple[ConfiguredClass, ...] = ()
    jobs: tuple[ConfiguredJob, ...] = ()
    warnings: tuple[str, ...] = ()

    def requireRemotes(self) -> None:
        """
        Jobs run only at remotes: refuse one whose process class names none, or
        one that could not call back, for callback ports are IPv4.
        """
        for known in self.processClasses:
            if ":" in known.host:
                told = f"expected a remote with an IPv4 address, found {known.host}"
                raise ConfigurationError(known.place, told)
        able = {known.name for known in self.processClasses if known.host}
        for job in self.jobs:
            if job.processClass not in able:
                name = job.processClass or "the default one"
                told = (
                    f'expected a process class with remote_scheduler="HOST:PORT", {name} has none'
                )
                raise ConfigurationError(job.place, f"job {job.name}: {told}")
