"""
Read C{scheduler.xml}, the configuration file of JobScheduler, as far as this
version does what it says.

What it passes over it tells, once for each name: elements and attributes that
JobScheduler does not know, and those whose meaning is not supported yet.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from jobscheduler_tcp.config import unsupported, values
from jobscheduler_tcp.config.model import (
    MAX_PROCESSES,
    AllowedHost,
    Configuration,
    ConfiguredClass,
    ConfiguredJob,
)
from jobscheduler_tcp.config.reader import Reader
from jobscheduler_tcp.errors import ConfigurationError
from jobscheduler_tcp.messages import Work
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.wire.documents import Element

# The highest number that fits a message.
_MAX = 2**31 - 1

_port = partial(values.number, low=0, high=65535)
_count = partial(values.number, low=0, high=_MAX)

_T = TypeVar("_T")
Pairs = tuple[tuple[str, str], ...]
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


class _SchedulerReader(Reader):
    """
    The elements of C{scheduler.xml}.
    """

    def __init__(self, path: str, resolve: Resolve) -> None:
        super().__init__(path)
        self._resolve = resolve
        self._hosts: list[AllowedHost] = []
        self._classes: dict[str, ConfiguredClass] = {}
        self._jobs: dict[str, ConfiguredJob] = {}
        self._maxTasks: int | None = None
        self._callbackPorts: tuple[int, int] | None = None
        self._portReleaseTime: float | None = None
        self._startsPerSecond: int | None = None

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
        known = ("spooler_id", "tcp_port", "ip_address")
        self.attributes(config, known, unsupported.CONFIG_ATTRIBUTES)
        port = self.value(config, "tcp_port", _port, None)
        sections = ("security", "process_classes", "params", "jobs")
        for section in self.children(config, sections, unsupported.CONFIG_ELEMENTS):
            if section.name == "security":
                self._security(section)
            elif section.name == "process_classes":
                self._processClasses(section, port)
            elif section.name == "params":
                self._globalParameters(section)
            else:
                self.attributes(section, ())
                for element in self.children(section, ("job",)):
                    self._job(element)
        for job in self._jobs.values():
            if job.processClass and job.processClass not in self._classes:
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
            portReleaseTime=self._portReleaseTime,
            startsPerSecond=self._startsPerSecond,
            allowedHosts=tuple(self._hosts),
            processClasses=tuple(self._classes.values()),
            jobs=tuple(self._jobs.values()),
            warnings=tuple(self.warnings),
        )

    def _security(self, section: Element) -> None:
        self.attributes(section, ("ignore_unknown_hosts",))
        ignore = self.value(section, "ignore_unknown_hosts", values.yesNo, True)
        for element in self.children(section, ("allowed_host",)):
            self.attributes(element, ("host", "level"))
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
            self._hosts.append(AllowedHost(host, level, tuple(addresses), self.place(element)))

    def _processClasses(self, section: Element, ownPort: int | None) -> None:
        self.attributes(section, (), unsupported.PROCESS_CLASSES_ATTRIBUTES)
        for element in self.children(section, ("process_class",)):
            known = ("name", "max_processes", "remote_scheduler")
            self.attributes(element, known, unsupported.PROCESS_CLASS_ATTRIBUTES)
            list(self.children(element, (), unsupported.PROCESS_CLASS_ELEMENTS))
            host, port = "", 0
            if element.attributes.get("remote_scheduler"):
                # Without a port JobScheduler takes its own (protocol document, 7.1).
                convert = partial(values.hostPort, defaultPort=ownPort)
                host, port = self.value(element, "remote_scheduler", convert, ("", 0))
            name = self._name(element, "name")
            added = ConfiguredClass(
                name,
                host,
                port,
                self.value(element, "max_processes", _count, MAX_PROCESSES),
                self.place(element),
            )
            self._add(self._classes, name, added, element)

    def _globalParameters(self, section: Element) -> None:
        # Here JobScheduler's own file keeps settings of other programs; it
        # still accepts a file that has ours.
        for name, element in self._pairs(section, "param"):
            match name:
                case "jsremote.max_tasks":
                    self._maxTasks = self.value(element, "value", _count, None)
                case "jsremote.callback_ports":
                    self._callbackPorts = self.value(element, "value", values.portRange, None)
                case "jsremote.port_release_time":
                    self._portReleaseTime = self.value(element, "value", values.releaseTime, None)
                case "jsremote.starts_per_second":
                    self._startsPerSecond = self.value(element, "value", _count, None)
                case _:
                    self.warn(element, name, f"global parameter {name} is not supported yet")

    def _job(self, element: Element) -> None:
        known = ("name", "title", "process_class", "timeout")
        self.attributes(element, known, unsupported.JOB_ATTRIBUTES)
        self.required(element, "name")
        name = self._name(element, "name")
        script = ""
        parameters: Pairs = ()
        environment: Pairs = ()
        parts = ("script", "params", "environment")
        for child in self.children(element, parts, unsupported.JOB_ELEMENTS):
            if child.name == "script":
                if script:
                    raise self.error(child, f"expected one <script> in job {name}")
                script = self._script(child)
            elif child.name == "params":
                parameters = self._values(child, "param")
            else:
                environment = self._values(child, "variable")
        if not script:
            raise self.error(element, f"expected a <script> in job {name}")
        job = ConfiguredJob(
            name,
            element.attributes.get("title", ""),
            self._name(element, "process_class"),
            Work(
                script=script,
                parameters=parameters,
                environment=environment,
                wallTime=self.value(element, "timeout", values.duration, 0.0),
            ),
            self.place(element),
        )
        self._add(self._jobs, name, job, element)

    def _script(self, element: Element) -> str:
        self.attributes(element, ("language",))
        language = self.required(element, "language")
        if language.lower() != "shell":
            raise self.error(element, f'expected <script language="shell">, found {language!r}')
        # To leave a part of a script away is worse than to refuse it all.
        for child in element.children:
            raise self.error(child, f"expected only text in <script>, found <{child.name}>")
        text = element.text.strip()
        if not text:
            raise self.error(element, "expected a shell script in <script>, found nothing")
        return text

    def _values(self, section: Element, child: str) -> Pairs:
        return tuple(
            (name, element.attributes.get("value", ""))
            for name, element in self._pairs(section, child)
        )

    def _pairs(self, section: Element, child: str) -> list[tuple[str, Element]]:
        self.attributes(section, ())
        found: dict[str, Element] = {}
        for element in self.children(section, (child,)):
            self.attributes(element, ("name", "value"))
            if "value" not in element.attributes:
                raise self.error(element, f"expected an attribute value of <{child}>")
            name = self._printable(element, self.required(element, "name"))
            if "=" in name:
                raise self.error(element, f"expected a name without =, found {name!r}")
            # JobScheduler compares the names of parameters without regard to case.
            self._add(found, name.lower() if child == "param" else name, element, element)
        return [(element.attributes["name"].strip(), element) for element in found.values()]

    def _add(self, known: dict[str, _T], name: str, value: _T, element: Element) -> None:
        if name in known:
            told = f"expected each <{element.name}> once, {name!r} is there already"
            raise self.error(element, told)
        known[name] = value

    def _name(self, element: Element, attribute: str) -> str:
        # The root folder is the only one there is.
        path = element.attributes.get(attribute, "").strip()
        return self._printable(element, path).removeprefix("/")

    def _printable(self, element: Element, name: str) -> str:
        if not name.isprintable():
            raise self.error(element, f"expected a name that can be printed, found {name!r}")
        return name
