"""
Read C{scheduler.xml}, the configuration file of JobScheduler, as far as this
version does what it says.

What it passes over it tells, once for each name: elements and attributes that
JobScheduler does not know, and those whose meaning is not supported yet.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial

from jobscheduler_tcp.callbackhosts import callbackHost
from jobscheduler_tcp.config import unsupported, values
from jobscheduler_tcp.config.model import (
    AllowedHost,
    Configuration,
    ConfiguredChain,
    ConfiguredClass,
    ConfiguredJob,
)
from jobscheduler_tcp.config.objects import ObjectReader
from jobscheduler_tcp.errors import ConfigurationError
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.wire.documents import Element

# The highest number that fits a message.
_MAX = 2**31 - 1

_port = partial(values.number, low=0, high=65535)
_count = partial(values.number, low=0, high=_MAX)

Resolve = Callable[[str], list[str]]


def resolve(host: str) -> list[str]:
    """
    All addresses of a host name.

    @raise OSError: it has none.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


def readConfiguration(path: str, resolve: Resolve = resolve) -> Configuration:
    """
    Read a configuration file.

    @raise ConfigurationError: it cannot be read, or says something that cannot
        be done.
    """
    return _SchedulerReader(path, resolve).configuration()


class _SchedulerReader(ObjectReader):
    """
    The elements of C{scheduler.xml}.
    """

    def __init__(self, path: str, resolve: Resolve) -> None:
        directory = os.path.dirname(path)
        super().__init__(path, includePath=directory)
        self._directory = directory
        self._resolve = resolve
        self._hosts: list[AllowedHost] = []
        self._classes: dict[str, ConfiguredClass] = {}
        self._jobs: dict[str, ConfiguredJob] = {}
        self._chains: dict[str, ConfiguredChain] = {}
        self._maxTasks: int | None = None
        self._callbackPorts: tuple[int, int] | None = None
        self._callback: str | None = None
        self._advertise: str | None = None
        self._onDisconnect: str | None = None
        self._hold: float | None = None
        self._portReleaseTime: float | None = None
        self._startsPerSecond: int | None = None
        self._variables: list[tuple[str, str]] = []

    def configuration(self) -> Configuration:
        """
        The whole file.
        """
        root = self.read("spooler")
        self.attributes(root, ())
        found = list(self.children(root, ("config",)))
        if len(found) != 1:
            raise self.error(root, f"expected one <config> in <spooler>, found {len(found)}")
        config = found[0]
        known = (
            "spooler_id",
            "port",
            "tcp_port",
            "ip_address",
            "configuration_directory",
            "include_path",
        )
        self.attributes(config, known, unsupported.CONFIG_ATTRIBUTES)
        # For TCP and UDP, as the original's installation writes it.
        port = self.value(config, "tcp_port", _port, self.value(config, "port", _port, None))
        self._directories(config)
        sections = ("security", "process_classes", "params", "jobs", "job_chains")
        for section in self.children(config, sections, unsupported.CONFIG_ELEMENTS):
            if section.name == "security":
                self._security(section)
            elif section.name == "process_classes":
                self._processClasses(section, port)
            elif section.name == "params":
                self._globalParameters(section)
            elif section.name == "jobs":
                self.attributes(section, ())
                for element in self.children(section, ("job",)):
                    self.required(element, "name")
                    name = self.name(element, "name")
                    self.add(self._jobs, name, self.job(element, name), element)
            else:
                self.attributes(section, ())
                for element in self.children(section, ("job_chain",)):
                    self.required(element, "name")
                    name = self.name(element, "name")
                    self.add(self._chains, name, self.jobChain(element, name), element)
        for job in self._jobs.values():
            # One of the live folder may have that name.
            if job.processClass and job.processClass not in self._classes and not self._liveFolder:
                names = ", ".join(name for name in self._classes if name) or "there is none"
                raise ConfigurationError(
                    job.place,
                    f"job {job.name}: expected the name of a process class ({names}), "
                    f"found {job.processClass!r}",
                )
        return Configuration(
            path=self.path,
            schedulerId=config.attributes.get("spooler_id", ""),
            tcpPort=port,
            ipAddress=self.value(config, "ip_address", values.address, None),
            maxTasks=self._maxTasks,
            callbackPorts=self._callbackPorts,
            callback=self._callback,
            advertise=self._advertise,
            onDisconnect=self._onDisconnect,
            hold=self._hold,
            portReleaseTime=self._portReleaseTime,
            startsPerSecond=self._startsPerSecond,
            allowedHosts=tuple(self._hosts),
            processClasses=tuple(self._classes.values()),
            jobs=tuple(self._jobs.values()),
            chains=tuple(self._chains.values()),
            liveFolder=self._liveFolder,
            includePath=config.attributes.get("include_path", "").strip() and self._includePath,
            variables=tuple(self._variables),
            warnings=self.warnings,
        )

    def _directories(self, config: Element) -> None:
        """
        Both are seen from the file; a folder of the usual name needs not be
        said.
        """
        live = config.attributes.get("configuration_directory", "").strip()
        found = os.path.join(self._directory, live or "live")
        if os.path.isdir(found):
            self._liveFolder = found
        elif live:
            told = f"expected a directory for configuration_directory, found {found!r}"
            raise self.error(config, told)
        include = config.attributes.get("include_path", "").strip()
        self._includePath = os.path.join(self._directory, include)

    def _security(self, section: Element) -> None:
        self.attributes(section, ("ignore_unknown_hosts",))
        ignore = self.value(section, "ignore_unknown_hosts", values.boolean, True)
        for element in self.children(section, ("allowed_host",)):
            self.attributes(element, ("host", "level", "callback_hosts"))
            host = self.required(element, "host")
            self.required(element, "level")
            level = self.value(element, "level", Level.named, Level.NONE)
            addresses: list[str] = []
            try:
                addresses = self._resolve(host)
            except OSError as error:
                told = f"host {host!r} is not known ({error.strerror or error})"
                if not ignore:
                    raise self.error(element, f"expected a host with an address, {told}") from error
                self.warn(element, host, told)
            listed = self.value(element, "callback_hosts", values.callbackHosts, ())
            self._hosts.append(
                AllowedHost(host, level, tuple(addresses), self.place(element), listed)
            )

    def _processClasses(self, section: Element, ownPort: int | None) -> None:
        self.attributes(section, (), unsupported.PROCESS_CLASSES_ATTRIBUTES)
        for element in self.children(section, ("process_class",)):
            name = self.name(element, "name")
            self.add(self._classes, name, self.processClass(element, name, ownPort), element)

    def _globalParameters(self, section: Element) -> None:
        # Here JobScheduler's own file keeps settings of other programs; it
        # still accepts a file that has ours. They are for commands to ask for: a
        # real one, too, does not hand them to shell tasks.
        for name, element in self.pairs(section, "param"):
            match name:
                case "jsremote.max_tasks":
                    self._maxTasks = self.value(element, "value", _count, None)
                case "jsremote.callback_ports":
                    self._callbackPorts = self.value(element, "value", values.portRange, None)
                case "jsremote.callback":
                    self._callback = self.value(element, "value", values.callback, None)
                case "jsremote.advertise":
                    self._advertise = self.value(element, "value", callbackHost, None)
                case "jsremote.on_disconnect":
                    self._onDisconnect = self.value(element, "value", values.onDisconnect, None)
                case "jsremote.hold":
                    self._hold = self.value(element, "value", values.hold, None)
                case "jsremote.port_release_time":
                    self._portReleaseTime = self.value(element, "value", values.releaseTime, None)
                case "jsremote.starts_per_second":
                    self._startsPerSecond = self.value(element, "value", _count, None)
                case _:
                    self._variables.append((name, element.attributes.get("value", "")))
