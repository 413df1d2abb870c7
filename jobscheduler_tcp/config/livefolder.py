"""
The live folder: each job, job chain, process class and order in a file of its
own, C{NAME.job.xml} and so on; directories in it are folders of their paths.

Reading it again takes up what has changed. A file that is wrong keeps what it
said when it was last right.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar

from jobscheduler_tcp.config.model import (
    ConfiguredChain,
    ConfiguredClass,
    ConfiguredJob,
    ConfiguredOrder,
    Objects,
    Source,
)
from jobscheduler_tcp.config.objects import ObjectReader
from jobscheduler_tcp.config.parts import unreadable
from jobscheduler_tcp.errors import ConfigurationError
from jobscheduler_tcp.wire.documents import Element

_NAME = re.compile(r"(.+)\.(job|job_chain|process_class|order)\.xml")
# What JobScheduler reads there, too.
_UNSUPPORTED = re.compile(r".+\.(lock|schedule|monitor)\.xml")

# Directories in each other; more is a mistake, as of a link.
_MAX_DEPTH = 32

Configured: TypeAlias = ConfiguredJob | ConfiguredChain | ConfiguredClass | ConfiguredOrder
_Stamp: TypeAlias = tuple[int, ...]
_N = TypeVar("_N", ConfiguredJob, ConfiguredChain, ConfiguredClass)


@dataclass(frozen=True, slots=True)
class Live:
    """
    What a live folder says.

    @ivar warnings: what was passed over, one line each.
    @ivar errors: what is wrong, one line each; such a file keeps what it said
        when it was last right.
    """

    objects: Objects = field(default_factory=Objects)
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


@dataclass(slots=True)
class _File:
    """
    What is known of a file.

    @ivar stamps: what tells that it has changed, or a file that it includes.
    @ivar passedOver: warnings by what they are about.
    """

    stamps: dict[str, _Stamp] = field(default_factory=dict)
    found: Configured | None = None
    passedOver: dict[tuple[str, str], str] = field(default_factory=dict)
    error: str = ""


class LiveFolder:
    """
    A directory, and what was read there.

    @ivar directory: its name.
    @ivar watched: the directories in it, itself included, when it was last read.
    """

    def __init__(self, directory: str, includePath: str = "", ownPort: int | None = None) -> None:
        """
        @param includePath: the directory for C{<include file=>}.
        @param ownPort: of a remote that is configured without one.
        """
        self.directory = directory
        self.watched: tuple[str, ...] = (directory,)
        self._includePath = includePath
        self._ownPort = ownPort
        self._folders: dict[str, str] = {}
        self._files: dict[str, _File] = {}

    def read(self) -> Live:
        """
        Read what has changed, and tell what is there now.
        """
        watched: list[str] = []
        errors: list[str] = []
        try:
            found = sorted(self._walk(self.directory, "", watched))
        except OSError as error:
            # Without the directory itself nothing is known to be gone.
            found = sorted(self._folders.items())
            errors.append(str(unreadable(error.filename or self.directory, error)))
        else:
            self.watched = tuple(watched)
            self._folders = dict(found)
            self._files = {path: self._files.get(path) or _File() for path in self._folders}
        for path, folder in found:
            self._refresh(path, folder, self._files[path])
        passedOver: dict[tuple[str, str], str] = {}
        for _, each in sorted(self._files.items()):
            for key, told in each.passedOver.items():
                passedOver.setdefault(key, told)
            if each.error:
                errors.append(each.error)
        return Live(self._objects(), tuple(passedOver.values()), tuple(errors))

    def _walk(self, directory: str, folder: str, watched: list[str]) -> Iterator[tuple[str, str]]:
        watched.append(directory)
        with os.scandir(directory) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
        for entry in inside:
            if entry.name.startswith("."):
                continue
            below = f"{folder}/{entry.name}" if folder else entry.name
            if _isDirectory(entry):
                if below.count("/") < _MAX_DEPTH and not entry.is_symlink():
                    try:
                        yield from self._walk(entry.path, below, watched)
                    except FileNotFoundError:
                        continue  # gone meanwhile
            elif _NAME.fullmatch(entry.name) or _UNSUPPORTED.fullmatch(entry.name):
                yield entry.path, folder

    def _refresh(self, path: str, folder: str, file: _File) -> None:
        if file.stamps and all(_stamp(each) == was for each, was in file.stamps.items()):
            return
        reader = ObjectReader(path, folder, self.directory, self._includePath)
        stamps = {path: _stamp(path)}
        try:
            found = self._object(reader, os.path.basename(path))
            if found is not None and not isinstance(found, ConfiguredOrder):
                found = replace(found, source=self._source(path, stamps[path]))
            file.found, file.error = found, ""
        except ConfigurationError as error:
            file.error = str(error)
        file.passedOver = reader.passedOver
        file.stamps = stamps | {each: _stamp(each) for each in reader.included}

    def _source(self, path: str, stamp: _Stamp) -> Source:
        outside = os.path.dirname(os.path.abspath(self.directory))
        return Source(os.path.relpath(path, outside), stamp[0] / 1e9 if stamp else 0.0)

    def _object(self, reader: ObjectReader, fileName: str) -> Configured | None:
        named = _NAME.fullmatch(fileName)
        if named is None:
            kind = fileName.removesuffix(".xml").rpartition(".")[2]
            told = f"{reader.shown}:1: a file with a {kind} is not supported yet; ignored"
            reader.passedOver["", kind] = told
            return None
        base, kind = named[1], named[2]
        element = reader.read(kind)
        name = reader.absolute(element, base)
        said = element.attributes.get("name", base)
        if kind != "order" and said.rpartition("/")[2] not in (base, ""):
            told = f"the name {said!r} is not that of the file"
            reader.warn(element, "@name", told)
        match kind:
            case "job":
                return reader.job(element, name)
            case "job_chain":
                return reader.jobChain(element, name)
            case "process_class":
                found = reader.processClass(element, name, self._ownPort)
                found.requireIPv4()
                return found
            case _:
                return self._order(reader, base, element)

    def _order(self, reader: ObjectReader, base: str, element: Element) -> ConfiguredOrder:
        chain, comma, identifier = base.partition(",")
        if not (chain and comma and identifier):
            told = f"expected a file name as in CHAIN,ID.order.xml, found {base!r}"
            raise reader.error(element, told)
        return reader.order(element, reader.absolute(element, chain), identifier)

    def _objects(self) -> Objects:
        found = [each.found for _, each in sorted(self._files.items()) if each.found is not None]
        return Objects(
            tuple(each for each in found if isinstance(each, ConfiguredClass)),
            tuple(each for each in found if isinstance(each, ConfiguredJob)),
            tuple(each for each in found if isinstance(each, ConfiguredChain)),
            tuple(each for each in found if isinstance(each, ConfiguredOrder)),
        )


def merged(first: Objects, second: Objects) -> Objects:
    """
    The objects of C{scheduler.xml} and those of the live folder, which win.
    """
    return Objects(
        _byName(first.processClasses, second.processClasses),
        _byName(first.jobs, second.jobs),
        _byName(first.chains, second.chains),
        (*first.orders, *second.orders),
    )


def _byName(first: tuple[_N, ...], second: tuple[_N, ...]) -> tuple[_N, ...]:
    found: dict[str, _N] = {each.name: each for each in first}
    found.update((each.name, each) for each in second)
    return tuple(found.values())


def _isDirectory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # such as a link to itself: the one who reads it is told


def _stamp(path: str) -> _Stamp:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
