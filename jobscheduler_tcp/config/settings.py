"""
The settings of a service: an option wins over the environment, the environment
over the file, the file over the default.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from jobscheduler_tcp.callbackhosts import callbackHost
from jobscheduler_tcp.config import values
from jobscheduler_tcp.config.model import AllowedHost, Configuration
from jobscheduler_tcp.config.places import stateDirectory
from jobscheduler_tcp.config.scheduler import Resolve, readConfiguration, resolve
from jobscheduler_tcp.security import Level

ROLES = ("remote", "client")
OPTIONS = (
    "role",
    "listen",
    "config",
    "allow",
    "insecure",
    "max-tasks",
    "callback-ports",
    "callback",
    "advertise",
    "callback-host",
    "on-disconnect",
    "hold",
    "port-release-time",
    "starts-per-second",
    "state-dir",
    "log-quota",
)
_REMOTE_ONLY = ("max-tasks", "callback-host")
_CLIENT_ONLY = (
    "callback-ports",
    "callback",
    "advertise",
    "on-disconnect",
    "port-release-time",
    "starts-per-second",
    "state-dir",
    "log-quota",
)

# Design: 4444 is where JobScheduler takes commands; two of them on one machine
# need two ports.
_PORTS = {"remote": 4455, "client": 4444}
_LOOPBACK = "127.0.0.1"

# The highest port and the lowest: JobScheduler begins at 59999 and goes down
# (protocol document, 1.1).
_CALLBACK_PORTS = (59999, 59900)

# Seconds: what a client asks for (client.taskkey), and the most that a remote does
# (remote.holding).
_HOLD = {"client": 600.0, "remote": 3600.0}

# Bytes of task logs that are kept.
_LOG_QUOTA = 1 << 30

_T = TypeVar("_T")
_S_co = TypeVar("_S_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Setting(Generic[_S_co]):
    """
    A value, and who said it.
    """

    value: _S_co
    origin: str
    shown: str


@dataclass(frozen=True, slots=True)
class Settings:
    """
    All that a service is told.

    @ivar listen: interface and port.
    @ivar allow: whose commands are taken.
    @ivar callbackPorts: the highest and the lowest port.
    @ivar callback: the mode of process classes that do not say theirs.
    @ivar advertise: the address at which remotes shall call back; empty for the
        one that the client comes from.
    @ivar callbackHosts: addresses of clients, and where else they may be called
        back.
    @ivar onDisconnect: what becomes of a client's tasks when it is gone.
    @ivar hold: seconds for which they are held; at a remote, at most.
    @ivar portReleaseTime: seconds for which a callback port is held back after
        its task, as far as is known.
    @ivar startsPerSecond: of tasks, to be expected.
    @ivar stateDirectory: where a client keeps its history; empty for the place
        that L{stateDirectory} knows.
    @ivar logQuota: bytes for all task logs together.
    @ivar configuration: what the file says, empty where there is none.
    """

    role: Setting[str]
    listen: Setting[tuple[str, int]]
    config: Setting[str]
    allow: Setting[tuple[AllowedHost, ...]]
    insecure: Setting[bool]
    maxTasks: Setting[int]
    callbackPorts: Setting[tuple[int, int]]
    callback: Setting[str]
    advertise: Setting[str]
    callbackHosts: Setting[tuple[tuple[str, str], ...]]
    onDisconnect: Setting[str]
    hold: Setting[float]
    portReleaseTime: Setting[float]
    startsPerSecond: Setting[int]
    stateDirectory: Setting[str]
    logQuota: Setting[int]
    configuration: Configuration

    def show(self) -> str:
        """
        Every setting, its value and where it came from, a line each.
        """
        settings: dict[str, Setting[object]] = {
            "role": self.role,
            "listen": self.listen,
            "config": self.config,
            "allow": self.allow,
            "insecure": self.insecure,
        }
        if self.role.value == "remote":
            settings["max-tasks"] = self.maxTasks
            settings["callback-host"] = self.callbackHosts
            settings["hold"] = self.hold
        else:
            settings["callback-ports"] = self.callbackPorts
            settings["callback"] = self.callback
            settings["advertise"] = self.advertise
            settings["on-disconnect"] = self.onDisconnect
            settings["hold"] = self.hold
            settings["port-release-time"] = self.portReleaseTime
            settings["starts-per-second"] = self.startsPerSecond
            settings["state-dir"] = self.stateDirectory
            settings["log-quota"] = self.logQuota
        rows = [(name, setting.shown, setting.origin) for name, setting in settings.items()]
        for configured in self.configuration.processClasses:
            address = f"{endpoint(configured.host, configured.port)}" if configured.host else "-"
            rows.append(
                (
                    f"process class {configured.name or '(default)'}",
                    f"{address}, max_processes {configured.maxProcesses}",
                    configured.place,
                )
            )
        for job in self.configuration.jobs:
            rows.append((f"job {job.name}", job.title or "-", job.place))
        name, shown = (max(len(row[column]) for row in rows) for column in (0, 1))
        return "\n".join(f"{row[0]:{name}}  {row[1]:{shown}}  {row[2]}" for row in rows)


def endpoint(host: str, port: int) -> str:
    """
    C{HOST:PORT}, with an IPv6 address in brackets.
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def settingsOf(
    options: Mapping[str, object],
    environment: Mapping[str, str],
    resolve: Resolve = resolve,
) -> Settings:
    """
    Decide every setting.

    @param options: those of L{OPTIONS} that were given: text, or a list of
        texts for C{allow}.
    @raise ValueError: an option or a variable is wrong, or they do not fit.
    @raise ConfigurationError: the file is wrong.
    """
    finder = _Finder(options, environment)
    role = finder.find("role", _role, None, "")
    if not role.value:
        raise ValueError(f"--role is missing: {' or '.join(ROLES)}")
    other, names = ("client", _CLIENT_ONLY) if role.value == "remote" else ("remote", _REMOTE_ONLY)
    for name in names:
        if name in options:
            raise ValueError(f"--{name} is for the role {other}")

    config = finder.find("config", _file, None, "")
    configuration = Configuration()
    if config.value:
        configuration = readConfiguration(config.value, resolve)
        if role.value == "client":
            configuration.requireRemotes()
    finder.file = configuration.path

    said = None
    if configuration.tcpPort is not None or configuration.ipAddress is not None:
        port = _PORTS[role.value] if configuration.tcpPort is None else configuration.tcpPort
        # As JobScheduler: every interface where the file names none.
        said = (configuration.ipAddress or "", port)
    default = (_LOOPBACK, _PORTS[role.value])
    listen = finder.find("listen", values.listen, said, default, _showListen)
    insecure = finder.find("insecure", values.yesNo, None, False, _showYesNo)
    convert = partial(_allowedHosts, resolve=resolve)
    allow = finder.find("allow", convert, configuration.allowedHosts or None, (), _showAllow)
    if not allow.value:
        allow = _allowWithout(listen.value[0], insecure.value, role.value)
    return Settings(
        role,
        listen,
        config,
        allow,
        insecure,
        finder.find(
            "max-tasks", partial(values.number, low=0, high=2**31 - 1), configuration.maxTasks, 0
        ),
        finder.find(
            "callback-ports",
            values.portRange,
            configuration.callbackPorts,
            _CALLBACK_PORTS,
            _showPorts,
        ),
        finder.find("callback", values.callback, configuration.callback, "auto"),
        finder.find("advertise", values.advertise, configuration.advertise, ""),
        finder.find(
            "callback-host",
            partial(_callbackHosts, resolve=resolve),
            configuration.callbackHosts or None,
            (),
            lambda pairs: " ".join(f"{client}={address}" for client, address in pairs),
        ),
        finder.find("on-disconnect", values.onDisconnect, configuration.onDisconnect, "hold"),
        finder.find("hold", values.hold, configuration.hold, _HOLD[role.value], "{:g}".format),
        finder.find(
            "port-release-time",
            values.releaseTime,
            configuration.portReleaseTime,
            # Both dialects leave their ports free at once.
            0.0,
            "{:g}".format,
        ),
        finder.find(
            "starts-per-second",
            partial(values.number, low=0, high=10**6),
            configuration.startsPerSecond,
            1,
        ),
        finder.find(
            "state-dir",
            values.folder,
            None,
            "",
            lambda value: value or stateDirectory(environment, os.getuid(), listen.value[1]),
        ),
        finder.find("log-quota", values.size, None, _LOG_QUOTA),
        configuration,
    )


class _Finder:
    """
    Who says what a setting is.
    """

    file = ""

    def __init__(self, options: Mapping[str, object], environment: Mapping[str, str]) -> None:
        self._options = options
        self._environment = environment

    def find(
        self,
        name: str,
        convert: Callable[[str], _T],
        inFile: _T | None,
        default: _T,
        show: Callable[[_T], str] = str,
    ) -> Setting[_T]:
        """
        One setting.
        """
        option, variable = f"--{name}", f"JSREMOTE_{name.upper().replace('-', '_')}"
        if name in self._options:
            value, origin = _convert(option, convert, str(self._options[name])), f"option {option}"
        elif self._environment.get(variable):
            value = _convert(variable, convert, self._environment[variable])
            origin = f"environment {variable}"
        elif inFile is not None:
            value, origin = inFile, f"file {self.file}"
        else:
            value, origin = default, "default"
        return Setting(value, origin, show(value) or "-")


def _convert(name: str, convert: Callable[[str], _T], text: str) -> _T:
    try:
        return convert(text.strip())
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _file(text: str) -> str:
    # A variable of a script that is not set; without a file anything may be meant.
    if not text:
        raise ValueError("expected the name of a file, found ''")
    return text


def _role(text: str) -> str:
    if text not in ROLES:
        raise ValueError(f"expected {' or '.join(ROLES)}, found {text!r}")
    return text


def _allowedHosts(text: str, resolve: Resolve) -> tuple[AllowedHost, ...]:
    found = []
    for word in text.replace(",", " ").split():
        host, equals, level = word.rpartition("=")
        if not (equals and host):
            raise ValueError(f"expected HOST=LEVEL, found {word!r}")
        try:
            addresses = tuple(resolve(host))
        except OSError as error:
            told = f"host {host!r} is not known ({error.strerror or error})"
            raise ValueError(f"expected a host with an address, {told}") from error
        found.append(AllowedHost(host, Level.named(level), addresses, "--allow"))
    return tuple(found)


def _callbackHosts(text: str, resolve: Resolve) -> tuple[tuple[str, str], ...]:
    found = []
    for word in text.replace(",", " ").split():
        client, equals, address = word.partition("=")
        if not (equals and client):
            raise ValueError(f"expected CLIENT=ADDRESS, found {word!r}")
        try:
            found += [(each, callbackHost(address)) for each in resolve(client)]
        except OSError as error:
            told = f"host {client!r} is not known ({error.strerror or error})"
            raise ValueError(f"expected a host with an address, {told}") from error
    return tuple(found)


def _allowWithout(interface: str, insecure: bool, role: str) -> Setting[tuple[AllowedHost, ...]]:
    """
    Whose commands are taken if nobody said whose.
    """
    # Networks: of the loopback interface, and everybody.
    hosts = ("127.0.0.0", "::1")
    origin = "default: only this machine"
    if not values.isLoopback(interface):
        if not insecure:
            raise ValueError(
                f"a {role} that listens on {interface or 'every interface'} lets others start "
                "programs: say whose commands it takes (--allow HOST=all, or <allowed_host> in "
                "the file), or --insecure for everybody's"
            )
        hosts, origin = ("0.0.0.0", "::"), "option --insecure: everybody"  # noqa: S104
    allowed = tuple(AllowedHost(host, Level.ALL, (host,), origin) for host in hosts)
    return Setting(allowed, origin, _showAllow(allowed))


def _showListen(listen: tuple[str, int]) -> str:
    interface, port = listen
    escaped = interface.replace(":", "\\:")
    return f"tcp:{port}:interface={escaped}" if interface else f"tcp:{port}"


def _showAllow(allowed: Sequence[AllowedHost]) -> str:
    return " ".join(f"{entry.host}={entry.level}" for entry in allowed)


def _showYesNo(value: bool) -> str:
    return "yes" if value else "no"


def _showPorts(ports: tuple[int, int]) -> str:
    return f"{ports[1]}-{ports[0]}"
