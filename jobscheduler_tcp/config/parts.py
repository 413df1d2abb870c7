"""
Parts that several kinds of configuration files have: names and paths, lists of
names and values, and files that are included.
"""

from __future__ import annotations

import os
from typing import TypeVar

from jobscheduler_tcp.config.reader import Reader, contents
from jobscheduler_tcp.errors import ConfigurationError, RemoteProtocolError
from jobscheduler_tcp.wire.documents import CONFIGURATION, Element, parse

# A script is kept in memory and sent in one piece.
MAX_INCLUDED = 1024 * 1024

_T = TypeVar("_T")
Pairs = tuple[tuple[str, str], ...]


class PartReader(Reader):
    """
    A configuration file with objects that have names.

    @ivar folder: the path of the folder that the file is in, without slashes
        around it; empty for the root.
    @ivar included: the files that it includes.
    """

    def __init__(
        self, path: str, folder: str = "", liveFolder: str = "", includePath: str = ""
    ) -> None:
        super().__init__(path)
        self.folder = folder
        self.included: list[str] = []
        self._liveFolder = liveFolder
        self._includePath = includePath

    def name(self, element: Element, attribute: str) -> str:
        """
        The path of an object, from the root and without its slash; empty where
        nothing is said.
        """
        return self.absolute(element, element.attributes.get(attribute, "").strip())

    def absolute(self, element: Element, path: str) -> str:
        """
        A path as it is written, seen from the root.
        """
        self.printable(element, path)
        if not path:
            return ""
        found = [] if path.startswith("/") else self.folder.split("/")
        for part in path.split("/"):
            if part == "..":
                if not any(found):
                    raise self.error(element, f"expected a path in the folder, found {path!r}")
                found.pop()
            elif part != ".":
                found.append(part)
        return "/".join(part for part in found if part)

    def printable(self, element: Element, name: str) -> str:
        """
        A name, if it can be shown.
        """
        if not name.isprintable():
            raise self.error(element, f"expected a name that can be printed, found {name!r}")
        return name

    def values(self, section: Element, child: str) -> Pairs:
        """
        Names and values.
        """
        return tuple(
            (name, element.attributes.get("value", ""))
            for name, element in self.pairs(section, child)
        )

    def pairs(self, section: Element, child: str) -> list[tuple[str, Element]]:
        """
        Names, and the elements that have the values.
        """
        self.attributes(section, ())
        found: dict[str, Element] = {}
        names = (child, "include") if child == "param" else (child,)
        for element in self.children(section, names, {"include": (), "copy_params": ()}):
            if element.name == "include":
                for included in self._includedParameters(element):
                    found[included.attributes["name"].strip().lower()] = included
                continue
            self.attributes(element, ("name", "value"))
            if "value" not in element.attributes:
                raise self.error(element, f"expected an attribute value of <{child}>")
            name = self.printable(element, self.required(element, "name"))
            if "=" in name:
                raise self.error(element, f"expected a name without =, found {name!r}")
            # JobScheduler compares the names of parameters without regard to case,
            # and the last one of several counts.
            key = name.lower() if child == "param" else name
            if key in found:
                self.warn(element, f"{name} twice", f"a value of {name!r} before this one")
            found[key] = element
        return [(element.attributes["name"].strip(), element) for element in found.values()]

    def add(self, known: dict[str, _T], name: str, value: _T, element: Element) -> None:
        """
        Remember something that may be there once.
        """
        if name in known:
            told = f"expected each <{element.name}> once, {name!r} is there already"
            raise self.error(element, told)
        known[name] = value

    def text(self, element: Element) -> str:
        """
        The text of an element, with the files that it includes where they stand.
        """
        parts = []
        end = 0
        for child in element.children:
            # To leave a part of a script away is worse than to refuse it all.
            if child.name != "include":
                raise self.error(
                    child, f"expected only text in <{element.name}>, found <{child.name}>"
                )
            _, data = self._include(child)
            parts += [element.text[end : child.offset], _decoded(data)]
            end = child.offset
        return "".join((*parts, element.text[end:]))

    def _includedParameters(self, element: Element) -> list[Element]:
        path, data = self._include(element)
        try:
            root = parse(data, CONFIGURATION)
        except RemoteProtocolError as error:
            raise self.error(element, f"{path}: expected XML, {error}") from error
        found = root.children if root.name == "params" else []
        for parameter in found:
            name = parameter.attributes.get("name", "").strip()
            if parameter.name != "param" or not name or "=" in name or not name.isprintable():
                told = f"{path}:{parameter.line}: expected <param> with a name"
                raise self.error(element, f"{told}, found <{parameter.name}>")
        if not found:
            raise self.error(element, f"{path}: expected <params> with some <param>")
        return found

    def _include(self, element: Element) -> tuple[str, bytes]:
        self.attributes(element, ("file", "live_file"))
        live = element.attributes.get("live_file", "").strip()
        path = element.attributes.get("file", "").strip()
        if bool(live) == bool(path):
            raise self.error(element, "expected one of live_file and file in <include>")
        if live and not self._liveFolder:
            raise self.error(element, "expected a live folder for live_file, there is none")
        path = (
            os.path.join(self._liveFolder, self.absolute(element, live))
            if live
            else os.path.join(self._includePath, path)
        )
        self.included.append(path)
        try:
            data = contents(path, MAX_INCLUDED)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise self.error(element, f"{path} cannot be read: {reason}") from error
        return path, data


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def unreadable(path: str, error: OSError) -> ConfigurationError:
    """
    Tell that a file or a directory cannot be read.
    """
    return ConfigurationError(path, f"cannot be read: {error.strerror or error}")
