"""
The two services of C{twistd jsremote}: a remote, and a client with the jobs of
its configuration.

Here the parts are put together, and here is what only a program of its own may
do: know the reactor, and change what belongs to the whole process.
"""

from __future__ import annotations

import os
import platform
import resource
import signal
import sys
import time
from functools import partial
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, cast

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, TCP4ClientEndpoint
from twisted.internet.interfaces import (
    IListeningPort,
    IReactorFDSet,
    IReactorTCP,
    IStreamServerEndpoint,
)
from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized

from jobscheduler_tcp import __version__
from jobscheduler_tcp.callbackhosts import CallbackHosts
from jobscheduler_tcp.client.localports import ephemeralPorts, reservedPorts
from jobscheduler_tcp.client.portbudget import Demand, PortBudget
from jobscheduler_tcp.config.livefolder import LiveFolder, merged
from jobscheduler_tcp.config.places import stateDirectory
from jobscheduler_tcp.config.settings import OPTIONS, Settings, endpoint, settingsOf
from jobscheduler_tcp.errors import ConfigurationError, HistoryUnusable, PortTaken
from jobscheduler_tcp.interfaces import (
    ICallbackReactor,
    IConfirmationReceiver,
    IDialReactor,
    ILaunchReactor,
)
from jobscheduler_tcp.logfile import ILogReactor, observerFor
from jobscheduler_tcp.security import AllowedHosts, Level
from jobscheduler_tcp.sockets import listenOrTell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobscheduler_tcp.client.placing import PlacedTask
    from jobscheduler_tcp.client.restored import RestoredTask
    from jobscheduler_tcp.client.scheduler import Scheduler
    from jobscheduler_tcp.client.startedtask import StartedTask
    from jobscheduler_tcp.commandport import CommandPortFactory
    from jobscheduler_tcp.config.model import ConfiguredClass, Objects


# Twice this is kept of freed memory; the buffers of a connection are smaller.
_KEPT = 4 * 1024 * 1024

_STANDARD_ERROR = 2  # the last descriptor that everybody expects to be open

# Processes that start tasks for a remote, when many live (remote.spawner).
_SPAWNERS = 1


class Options(usage.Options):
    """
    What C{twistd jsremote} can be told; the environment and the file can say
    most of it too.

    @ivar settings: what all of them together say.
    """

    synopsis = "--role remote|client [options]"
    longdesc = (
        "An option wins over a variable of the environment (JSREMOTE_LISTEN for --listen), the "
        "variable over the configuration file, the file over the default."
    )
    optParameters = [
        ["role", None, None, "remote (runs tasks for clients) or client (has jobs for remotes)"],
        ["listen", None, None, "where commands are taken: tcp:PORT or tcp:PORT:interface=ADDRESS"],
        ["config", None, None, "configuration file in the form of scheduler.xml"],
        ["max-tasks", None, None, "remote: tasks at once, 0 for any number"],
        ["callback-ports", None, None, "client: where remotes call back to, as in 59900-59999"],
        ["callback", None, None, "client: own, shared or passive connections back, or auto"],
        ["advertise", None, None, "client: the address where remotes call back, behind NAT"],
        ["on-disconnect", None, None, "client: kill, hold or finish tasks when it is gone"],
        ["hold", None, None, "seconds for which tasks are held then; remote: at most"],
        ["port-release-time", None, None, "client: seconds that a port rests after its task"],
        ["starts-per-second", None, None, "client: tasks to be expected, for the sum of ports"],
        ["state-dir", None, None, "client: the folder for its history and task logs"],
        ["log-quota", None, None, "client: bytes for all task logs, as in 500M"],
    ]
    optFlags = [
        ["insecure", None, "Take everybody's commands, on whatever address"],
        ["show-config", None, "Print every setting and where it came from, and exit"],
    ]

    settings: Settings

    def __init__(self) -> None:
        usage.Options.__init__(self)
        self._allow: list[str] = []
        self._callbackHosts: list[str] = []

    def opt_allow(self, text: str) -> None:
        """
        HOST=LEVEL: whose commands are taken, and how far; may be repeated
        """
        self._allow.append(text)

    def opt_callback_host(self, text: str) -> None:
        """
        CLIENT=ADDRESS: remote: where else a client may have itself called back; may be repeated
        """
        self._callbackHosts.append(text)

    def opt_version(self) -> None:
        """
        Print the version and exit
        """
        print(f"jsremote {__version__}")
        raise SystemExit(0)

    def postOptions(self) -> None:
        """
        Decide the settings.
        """
        given = {name: self[name] for name in OPTIONS if self.get(name) not in (None, 0)}
        if self._allow:
            given["allow"] = " ".join(self._allow)
        if self._callbackHosts:
            given["callback-host"] = " ".join(self._callbackHosts)
        if self["insecure"]:
            given["insecure"] = "yes"
        try:
            self.settings = settingsOf(given, os.environ)
        except ConfigurationError as error:
            raise _exit(error) from error
        except ValueError as error:
            raise usage.UsageError(str(error)) from error
        if self["show-config"]:
            print(self.settings.show())
            for warning in self.settings.configuration.warnings:
                print(f"jsremote: {warning}", file=sys.stderr)
            raise SystemExit(0)


def makeService(options: Options) -> IService:
    """
    Listen, before twistd becomes a daemon, so that a port that is taken is told
    to whoever started it; and make the service.
    """
    occupyStandardDescriptors()
    chooseReactor()
    from twisted.internet import reactor as installed  # noqa: PLC0415 - it is chosen now

    reactor = cast(PosixReactorBase, installed)
    # Twisted's clock is the wall clock: set back by an hour, nothing would
    # happen for an hour.
    reactor.seconds = time.monotonic
    raiseDescriptorLimit()
    shieldTasks()
    keepMemory()
    if options.settings.role.value == "remote":
        reactor.callWhenRunning(listenToNoChild)
    service = _Services(reactor, getattr(options, "parent", None))
    serviceOf(reactor, options.settings, listen(options.settings)).setServiceParent(service)
    return service


def occupyStandardDescriptors() -> None:
    """
    Let nothing that is opened from now on be the standard input, output or error.
    Where we are started without one, the reactor's descriptor would have its number,
    and lose it when twistd becomes a daemon.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        pass
    os.close(number)


def chooseReactor() -> None:
    """
    Run on the services' own reactor, unless there is one already, as with C{twistd
    --reactor}, or the system has no epoll(7).
    """
    if "twisted.internet.reactor" not in sys.modules:
        try:
            from jobscheduler_tcp.reactor import install  # noqa: PLC0415 - not everywhere
        except ImportError:
            return
        install()


def keepMemory() -> None:
    """
    Let buffers of output be allocated from memory that this process has already.

    The allocator of glibc asks the system anew for each block of 128 KiB or
    more, and gives it back at once, until it sees one freed that is larger
    (mallopt(3), M_MMAP_THRESHOLD): it then keeps up to twice as much. The system
    has to clear such blocks, which takes longer than reading the output.
    """
    bytearray(_KEPT)


def listenToNoChild() -> None:
    """
    Be woken by no signal when a child exits: Twisted wants one for children that
    it started, of which there are none here, and looks for them at each.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


class _Services(MultiService):
    """
    All services, and how the program that they belong to logs.

    @param options: of twistd.
    """

    def __init__(self, reactor: PosixReactorBase, options: usage.Options | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # it has no types
        self._reactor = reactor
        self._options = options

    def setServiceParent(self, parent: object) -> None:
        """
        Belong to an application, which asks its component how to log.
        """
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]  # nor this
        if self._options is not None and isinstance(parent, Componentized):
            observer = observerFor(self._options, cast(ILogReactor, self._reactor))
            if observer is not None:
                parent.setComponent(ILogObserver, observer)


def listen(settings: Settings) -> socket:
    """
    Listen, or exit with one line that tells why not.
    """
    try:
        return listenOrTell(*settings.listen.value)
    except PortTaken as error:
        raise _exit(error) from error
    except OSError as error:
        where = endpoint(*settings.listen.value)
        raise _exit(f"cannot listen on {where}: {error.strerror or error}") from error


def serviceOf(reactor: PosixReactorBase, settings: Settings, listening: socket) -> MultiService:
    """
    Put a service together.
    """
    where = endpoint(*listening.getsockname()[:2])
    service = MultiService()
    make = _remote if settings.role.value == "remote" else _client
    server = AdoptedStreamServerEndpoint(reactor, listening.detach(), listening.family)
    service.addService(make(reactor, settings, server, where))
    service.addService(_Announcement(settings, where))
    return service


class _Announcement(Service):
    """
    Tell where a service listens, once it does, and what it passed over.
    """

    _log = Logger()

    def __init__(self, settings: Settings, where: str) -> None:
        self._settings = settings
        self._where = where

    def startService(self) -> None:
        Service.startService(self)
        for warning in self._settings.configuration.warnings:
            self._log.warn("{warning}", warning=warning)
        role = self._settings.role.value
        self._log.info("jsremote {role} listens on {where}", role=role, where=self._where)


def _remote(
    reactor: PosixReactorBase, settings: Settings, server: IStreamServerEndpoint, where: str
) -> IService:
    from jobscheduler_tcp.remote.launcher import ProcessLauncher  # noqa: PLC0415 - only this role
    from jobscheduler_tcp.remote.service import RemoteService  # noqa: PLC0415

    return RemoteService(
        cast(IDialReactor, reactor),
        ProcessLauncher(cast(ILaunchReactor, reactor), spawners=_SPAWNERS),
        [server],
        allowedHosts(settings),
        callbackHosts=CallbackHosts(settings.callbackHosts.value),
        maxTasks=settings.maxTasks.value,
        mostHold=settings.hold.value,
        jobs={job.name: job.work for job in settings.configuration.jobs},
        schedulerId=settings.configuration.schedulerId,
        bootId=bootId(),
        end=reactor.stop,
    )


def _client(
    reactor: PosixReactorBase, settings: Settings, server: IStreamServerEndpoint, where: str
) -> IService:
    from jobscheduler_tcp.client.commands import ClientCommands  # noqa: PLC0415 - only this role
    from jobscheduler_tcp.client.durable import durable  # noqa: PLC0415
    from jobscheduler_tcp.client.ending import Ending  # noqa: PLC0415
    from jobscheduler_tcp.client.historycommands import HistoryCommands  # noqa: PLC0415
    from jobscheduler_tcp.client.keeping import IKeepingReactor, Keeping  # noqa: PLC0415
    from jobscheduler_tcp.client.orderlog import OrderLog  # noqa: PLC0415
    from jobscheduler_tcp.client.pastcommands import PastCommands  # noqa: PLC0415
    from jobscheduler_tcp.client.placing import Placing  # noqa: PLC0415
    from jobscheduler_tcp.client.portreport import BudgetReport  # noqa: PLC0415
    from jobscheduler_tcp.client.ports import CallbackPorts, tcpListen  # noqa: PLC0415
    from jobscheduler_tcp.client.processclass import Dialect, ProcessClass  # noqa: PLC0415
    from jobscheduler_tcp.client.scheduler import Scheduler  # noqa: PLC0415
    from jobscheduler_tcp.client.schedulercommands import SchedulerCommands  # noqa: PLC0415
    from jobscheduler_tcp.client.service import ClientService  # noqa: PLC0415
    from jobscheduler_tcp.client.statedirectory import StateDirectory  # noqa: PLC0415
    from jobscheduler_tcp.client.taskkey import Lasting  # noqa: PLC0415
    from jobscheduler_tcp.client.watching import LiveConfiguration, inotifyWatch  # noqa: PLC0415
    from jobscheduler_tcp.commandport import CommandPortFactory  # noqa: PLC0415
    from jobscheduler_tcp.dialing import Dialer  # noqa: PLC0415
    from jobscheduler_tcp.messages import OnDisconnect  # noqa: PLC0415

    first, last = settings.callbackPorts.value
    ports = CallbackPorts(reactor, tcpListen(cast(ICallbackReactor, reactor)), first, last)
    lasting = Lasting(OnDisconnect(settings.onDisconnect.value), settings.hold.value)
    client = ClientService(reactor, ports, [], lasting=lasting, bootId=bootId())
    dialer = cast(IReactorTCP, Dialer(cast(IDialReactor, reactor)))

    def processClass(
        name: str, host: str, port: int, maxProcesses: int, configured: ConfiguredClass
    ) -> ProcessClass:
        # IPv4, as the callback ports are: a remote calls back the way we came.
        remote = TCP4ClientEndpoint(dialer, host, port)
        where, speaks = endpoint(host, port), Dialect(configured.dialect)
        callback = configured.callback or settings.callback.value
        return ProcessClass(
            *(name, remote, maxProcesses, where, speaks),
            callback=callback,
            advertise=configured.advertise or settings.advertise.value,
        )

    placing = Placing(reactor, client, processClass)
    ip, _, port = where.rpartition(":")
    about = {
        "id": settings.configuration.schedulerId,
        "spooler_id": settings.configuration.schedulerId,
        "config_file": settings.configuration.path,
        "tcp_port": port,
        "ip_address": ip.strip("[]"),
    }
    configuration = settings.configuration
    folder = liveFolder(settings)
    state = settings.stateDirectory.value or stateDirectory(os.environ, os.getuid(), int(port))
    try:
        directory = StateDirectory(Path(state))
        keeping = Keeping(cast(IKeepingReactor, reactor), directory, settings.logQuota.value)
    except HistoryUnusable as error:
        raise _exit(error) from error
    about["db"] = str(directory.history)

    def attach(task: StartedTask, was: RestoredTask, receiver: IConfirmationReceiver) -> PlacedTask:
        position = keeping.logs.resume(task)
        return placing.attach(
            *(was.uuid, was.key, was.processClass, receiver),
            remote=was.remote,
            stdout=position.stdout,
            stderr=position.stderr,
            work=task.job.work,
        )

    scheduler = Scheduler(
        reactor,
        placing.run,
        variables=_variables(settings, about),
        ledger=keeping.history,
        restored=keeping.restored,
        attach=attach,
        keeper=keeping.logs,
    )
    scheduler.observers.add(keeping.history)
    scheduler.observers.add(keeping.history.orders)
    scheduler.observers.add(keeping.logs)

    scheduler.observers.add(OrderLog())

    def configure(objects: Objects) -> None:
        placing.configure(objects.processClasses)
        scheduler.configure(objects)

    live = LiveConfiguration(
        reactor,
        configuration.objects,
        folder,
        configure,
        inotifyWatch(cast(IReactorFDSet, reactor)),
    )
    commands = ClientCommands(
        scheduler,
        placing,
        about,
        ports=lambda: (client.portEntries(), ports.waiting),
        connections=lambda: factory.connections,
    )
    table = commands.commands()
    table |= SchedulerCommands(
        scheduler,
        Ending(scheduler, reactor, reactor.stop, partial(os._exit, 1), placing.hold),
        live.changed,
        lambda: [name for name, found in placing.classes.items() if found.configured],
        configuration.variables,
    ).commands()
    _, showTask = table["show_task"]
    past = HistoryCommands(
        keeping.history,
        keeping.logs.read,
        scheduler.jobs.__contains__,
        showTask,
        configuration.schedulerId,
    )
    table |= past.commands()
    table |= PastCommands(
        keeping.history, table, scheduler.book.find, configuration.schedulerId
    ).commands()
    table = durable(table, keeping.history)
    factory = CommandPortFactory(allowedHosts(settings).levelOf, table, reactor)
    service: MultiService = keeping
    service.addService(BudgetReport(budgetOf(settings)))
    # They are stopped the other way round: what is not given to the client any
    # more need not be ended there.
    client.leaveTasks = True  # it finds them again
    service.addService(client)
    service.addService(_Scheduling(scheduler))
    service.addService(live)
    service.addService(_CommandPort(server, factory))
    return service


def liveFolder(settings: Settings) -> LiveFolder | None:
    """
    The live folder that belongs to a configuration, if there is one.
    """
    configuration = settings.configuration
    if not configuration.liveFolder:
        return None
    include = configuration.includePath or os.path.dirname(configuration.path)
    return LiveFolder(configuration.liveFolder, include, configuration.tcpPort)


def _variables(settings: Settings, about: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """
    What a client tells every task of itself (protocol document, 5.5).
    """
    directory = os.path.abspath(settings.configuration.liveFolder or os.curdir)
    return (
        ("SCHEDULER_CONFIGURATION_DIRECTORY", directory),
        ("SCHEDULER_HOST", platform.node()),
        ("SCHEDULER_TCP_PORT", about["tcp_port"]),
        ("SCHEDULER_UDP_PORT", ""),
        ("SCHEDULER_SUPERVISOR_HOST", ""),
        ("SCHEDULER_SUPERVISOR_PORT", ""),
        ("SCHEDULER_TASK_TRIGGER_FILES", ""),
    )


class _Scheduling(Service):
    """
    Ends what runs when the client stops.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return self._scheduler.stop()


def classesOf(settings: Settings) -> tuple[ConfiguredClass, ...]:
    """
    The process classes of the file and of the live folder.
    """
    objects = settings.configuration.objects
    folder = liveFolder(settings)
    if folder is not None:
        objects = merged(objects, folder.read().objects)
    return objects.processClasses


def callbackMode(settings: Settings, configured: ConfiguredClass) -> str:
    """
    The callback mode of a process class: a classic remote knows only one.
    """
    if configured.dialect == "classic":
        return "own"
    return configured.callback or settings.callback.value


def budgetOf(settings: Settings) -> PortBudget:
    """
    Whether the callback ports suffice for the process classes.
    """
    demands = []
    shared = False
    for configured in classesOf(settings):
        mode = callbackMode(settings, configured)
        if not configured.host:
            continue
        if mode in ("own", "auto"):
            demands.append(Demand(configured.name, configured.maxProcesses))
        else:
            shared = shared or mode == "shared"
    if shared:
        demands.append(Demand("all of mode shared", 1))
    first, last = settings.callbackPorts.value
    return PortBudget(
        tuple(demands),
        first,
        last,
        ephemeralPorts(),
        reservedPorts(),
        settings.portReleaseTime.value,
        settings.startsPerSecond.value,
    )


class _CommandPort(Service):
    """
    Take commands at an endpoint.
    """

    _log = Logger()

    def __init__(self, server: IStreamServerEndpoint, factory: CommandPortFactory) -> None:
        self._server = server
        self._factory = factory
        self._port: Deferred[IListeningPort] | None = None

    def startService(self) -> None:
        Service.startService(self)
        self._port = self._server.listen(self._factory)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._port is not None:
            port = await self._port
            await maybeDeferred(port.stopListening)
        await self._factory.disconnect()


def raiseDescriptorLimit() -> None:
    """
    Take as many descriptors as the system lets us: a task needs up to five.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        pass  # macOS says "unlimited" and does not mean it


def shieldTasks() -> None:
    """
    Go on ignoring what C{nohup}, or a shell that started us in the background,
    has us ignore; but let tasks not inherit it: a script could not even trap such
    a signal (POSIX sh, 2.11). What is caught here is as usual there.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _ignore)


def _ignore(number: int, frame: object) -> None:
    """
    Do nothing upon a signal.
    """


def bootId() -> str:
    """
    What changes when this machine is started anew; empty where the system does
    not tell.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def allowedHosts(settings: Settings) -> AllowedHosts:
    """
    The levels of all addresses that are configured.
    """
    entries = [
        (address, allowed.level)
        for allowed in settings.allow.value
        for address in allowed.addresses
    ]
    # Without an entry this machine could do everything; but hosts are
    # configured, only none of their names is known.
    return AllowedHosts(entries or [("0.0.0.0", Level.NONE)])  # noqa: S104


def _exit(error: object) -> SystemExit:
    return SystemExit(f"jsremote: {error}")
