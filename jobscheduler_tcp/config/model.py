"""
What a configuration file says, as frozen dataclasses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf

from jobscheduler_tcp.errors import ConfigurationError
from jobscheduler_tcp.messages import Work
from jobscheduler_tcp.security import Level

# As JobScheduler (protocol document, 7.1).
MAX_PROCESSES = 30

# A delay after an error that never ends.
STOP = inf


@dataclass(frozen=True, slots=True)
class AllowedHost:
    """
    Whose commands are taken, and how far.

    @ivar host: as it was written.
    @ivar addresses: what the host resolved to; empty where it is not known.
    @ivar place: C{file:line}, or the option that said it.
    @ivar callbackHosts: where else it may have itself called back.
    """

    host: str
    level: Level
    addresses: tuple[str, ...]
    place: str
    callbackHosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """
    A file of the live folder, which has one object.

    @ivar file: seen from the directory that the folder is in, such as
        C{live/report.job.xml}.
    @ivar written: when it was last written, seconds since 1970.
    """

    file: str
    written: float


@dataclass(frozen=True, slots=True)
class ConfiguredClass:
    """
    A process class.

    @ivar name: its path without the leading slash; empty for the default class.
    @ivar host: of the first remote; empty where the file names none.
    @ivar others: hosts and ports of further remotes.
    @ivar rotates: whether each task goes to the next remote, and not to the
        first that is there.
    @ivar timeout: seconds for which a task waits for a remote that is down; 0
        for any time.
    @ivar dialect: C{auto}, C{classic} or C{extended}.
    @ivar callback: C{auto}, C{own}, C{shared} or C{passive}; empty where the
        file does not say.
    @ivar advertise: the address at which the remotes shall call back; empty
        where the file does not say.
    @ivar source: C{None} where it stands in C{scheduler.xml}.
    """

    name: str
    host: str
    port: int
    maxProcesses: int
    place: str
    others: tuple[tuple[str, int], ...] = ()
    rotates: bool = False
    timeout: float = 0.0
    dialect: str = "auto"
    callback: str = ""
    advertise: str = ""
    source: Source | None = field(default=None, compare=False)

    @property
    def remotes(self) -> tuple[tuple[str, int], ...]:
        """
        Hosts and ports of all remotes, each once, in their order.
        """
        named = ((self.host, self.port), *self.others) if self.host else ()
        return tuple(dict.fromkeys(named))

    def requireIPv4(self) -> None:
        """
        Refuse a remote that could not call back, for callback ports are IPv4.
        """
        for host, _ in self.remotes:
            if ":" in host:
                told = f"expected a remote with an IPv4 address, found {host}"
                raise ConfigurationError(self.place, told)


@dataclass(frozen=True, slots=True)
class ConfiguredJob:
    """
    A job.

    @ivar name: its path without the leading slash.
    @ivar processClass: the path of a process class likewise, empty for the
        default class.
    @ivar order: whether it works on orders.
    @ivar tasks: how many of its tasks may run at once.
    @ivar enabled: whether it may start at all.
    @ivar visible: whether lists of jobs show it.
    @ivar stopOnError: whether it is stopped by a task that failed.
    @ivar ignoreError: whether an exit code other than 0 is no failure.
    @ivar ignoreSignals: numbers of signals whose deaths are no failure.
    @ivar delaysAfterError: numbers of failures in a row, ascending, and the
        seconds to wait from that number on; C{STOP} stops the job.
    @ivar setbackDelays: numbers of setbacks of an order in a row, ascending,
        and the seconds to wait from that number on.
    @ivar maxSetbacks: after how many a further one is an error; 0 for none.
    @ivar description: of the file, for people.
    @ivar source: C{None} where it stands in C{scheduler.xml}.
    """

    name: str
    title: str
    processClass: str
    work: Work
    place: str
    order: bool = False
    tasks: int = 1
    enabled: bool = True
    visible: bool = True
    stopOnError: bool = True
    ignoreError: bool = False
    ignoreSignals: frozenset[int] = frozenset()
    delaysAfterError: tuple[tuple[int, float], ...] = ()
    setbackDelays: tuple[tuple[int, float], ...] = ()
    maxSetbacks: int = 0
    description: str = field(default="", compare=False)
    source: Source | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ConfiguredNode:
    """
    A node of a job chain.

    @ivar job: the path of a job without the leading slash; empty for an end
        state.
    @ivar nextState: where an order goes that was worked on.
    @ivar errorState: where one goes that was not, empty for nowhere.
    @ivar onError: C{suspend}, C{setback} or empty.
    @ivar delay: seconds for which an order waits before it is worked on.
    @ivar action: C{stop} if orders wait there and are not worked on, C{next_state}
        if they go on at once as if they had been; else empty.
    """

    state: str
    job: str = ""
    nextState: str = ""
    errorState: str = ""
    onError: str = ""
    delay: float = 0.0
    action: str = ""


@dataclass(frozen=True, slots=True)
class ConfiguredChain:
    """
    A job chain.

    @ivar name: its path without the leading slash.
    @ivar nodes: in the order of the file; each state once.
    @ivar recoverable: as the file says; shown to people.
    @ivar source: C{None} where it stands in C{scheduler.xml}.
    """

    name: str
    title: str
    nodes: tuple[ConfiguredNode, ...]
    place: str
    visible: bool = True
    recoverable: bool = True
    source: Source | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ConfiguredOrder:
    """
    An order that stands in a file: it comes back to its first state after each
    run.

    @ivar chain: the path of its job chain without the leading slash.
    @ivar state: where it begins; empty for the first node.
    @ivar waits: whether it waits to be started by a command.
    @ivar at: when it shall begin, seconds since 1970; 0 where the file does not
        say.
    """

    chain: str
    id: str
    title: str
    place: str
    state: str = ""
    endState: str = ""
    priority: int = 0
    parameters: tuple[tuple[str, str], ...] = ()
    waits: bool = False
    at: float = 0.0
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class Objects:
    """
    What a client runs.
    """

    processClasses: tuple[ConfiguredClass, ...] = ()
    jobs: tuple[ConfiguredJob, ...] = ()
    chains: tuple[ConfiguredChain, ...] = ()
    orders: tuple[ConfiguredOrder, ...] = ()

    def missing(self) -> Iterator[str]:
        """
        Tell what is named but not there, one line each, with C{file:line}: what
        needs it waits for it.
        """
        classes = {known.name: known for known in self.processClasses}
        jobs = {known.name for known in self.jobs}
        chains = {known.name: known for known in self.chains}
        for job in self.jobs:
            known = classes.get(job.processClass)
            shown = f"process class /{job.processClass}" if job.processClass else "the default one"
            if known is None and job.processClass:
                yield f"{job.place}: job /{job.name}: there is no {shown}"
            elif known is None or not known.host:
                yield (
                    f"{job.place}: job /{job.name}: expected a process class with "
                    f'remote_scheduler="HOST:PORT", {shown} has none'
                )
        for chain in self.chains:
            states = {node.state for node in chain.nodes}
            shown = f"{chain.place}: job chain /{chain.name}"
            for node in chain.nodes:
                if node.job and node.job not in jobs:
                    yield f"{shown}: there is no job /{node.job}"
                for following in (node.nextState, node.errorState):
                    if following and following not in states:
                        yield f"{shown}: there is no state {following}, orders end there"
        for order in self.orders:
            chain_ = chains.get(order.chain)
            if chain_ is None:
                yield f"{order.place}: order {order.id}: there is no job chain /{order.chain}"
            elif order.state and order.state not in {n.state for n in chain_.nodes if n.job}:
                yield (
                    f"{order.place}: order {order.id}: job chain /{order.chain} has no job for "
                    f"the state {order.state}"
                )


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
    @ivar callback: the callback mode of process classes that do not say it;
        C{None} where the file does not say.
    @ivar advertise: the address at which remotes of process classes that do not
        say it shall call back; C{None} where the file does not say.
    @ivar callbackPorts: the first and the last port of the range; C{None} where
        the file does not say.
    @ivar onDisconnect: what becomes of tasks whose client is gone; C{None} where
        the file does not say.
    @ivar hold: seconds for which they are held; C{None} where the file does not
        say.
    @ivar portReleaseTime: seconds; C{None} where the file does not say.
    @ivar startsPerSecond: C{None} where the file does not say.
    @ivar liveFolder: the directory of the live folder, empty where there is
        none.
    @ivar includePath: where C{<include file=>} is looked for; empty for the
        directory of the file.
    @ivar variables: the global parameters, for commands to ask for.
    @ivar warnings: what was passed over, one line each, with C{file:line}.
    """

    path: str = ""
    schedulerId: str = ""
    tcpPort: int | None = None
    ipAddress: str | None = None
    maxTasks: int | None = None
    callbackPorts: tuple[int, int] | None = None
    callback: str | None = None
    advertise: str | None = None
    onDisconnect: str | None = None
    hold: float | None = None
    portReleaseTime: float | None = None
    startsPerSecond: int | None = None
    allowedHosts: tuple[AllowedHost, ...] = ()
    processClasses: tuple[ConfiguredClass, ...] = ()
    jobs: tuple[ConfiguredJob, ...] = ()
    chains: tuple[ConfiguredChain, ...] = ()
    liveFolder: str = ""
    includePath: str = ""
    variables: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def objects(self) -> Objects:
        """
        What the file itself has for a client to run.
        """
        return Objects(self.processClasses, self.jobs, self.chains)

    @property
    def callbackHosts(self) -> tuple[tuple[str, str], ...]:
        """
        The addresses of clients, and where else they may be called back.
        """
        return tuple(
            (address, listed)
            for allowed in self.allowedHosts
            for address in allowed.addresses
            for listed in allowed.callbackHosts
        )

    def requireRemotes(self) -> None:
        """
        Jobs run only at remotes: refuse one whose process class names none, or
        one that could not call back, for callback ports are IPv4.
        """
        for known in self.processClasses:
            known.requireIPv4()
        if self.liveFolder:
            return  # where a class may come at any time: jobs wait for it
        able = {known.name for known in self.processClasses if known.host}
        for job in self.jobs:
            if job.processClass not in able:
                name = job.processClass or "the default one"
                told = (
                    f'expected a process class with remote_scheduler="HOST:PORT", {name} has none'
                )
                raise ConfigurationError(job.place, f"job {job.name}: {told}")
