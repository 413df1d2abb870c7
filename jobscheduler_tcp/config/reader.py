"""
Walk an XML configuration file, and say file and line of whatever is wrong.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from typing import TypeVar

from jobscheduler_tcp.config.unsupported import NOTHING, Unsupported
from jobscheduler_tcp.errors import ConfigurationError, RemoteProtocolError
from jobscheduler_tcp.wire.documents import CONFIGURATION, Element, parse

# The longest configuration file: one that is longer is none, and all of it is in
# memory at once.
MAX_FILE = 16 * 1024 * 1024

_T = TypeVar("_T")
_D = TypeVar("_D")


def contents(path: str, most: int) -> bytes:
    """
    What is in a file. Pipes and devices, which one could wait for, are none.

    @raise OSError: it cannot be read.
    @raise ValueError: it is none, or longer than that.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is no file")
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it has more than {most} bytes")
    return data


class Reader:
    """
    One configuration file.

    @ivar path: the file.
    @ivar shown: its name as it can be shown, also if it is no text.
    @ivar passedOver: what was passed over, one line for each kind of element
        and key.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        self.passedOver: dict[tuple[str, str], str] = {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """
        What was passed over, one line each.
        """
        return tuple(self.passedOver.values())

    def read(self, root: str) -> Element:
        """
        The root element, if it has this name.
        """
        try:
            document = contents(self.path, MAX_FILE)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigurationError(self.shown, f"cannot be read: {reason}") from error
        if not document.strip():
            raise ConfigurationError(f"{self.shown}:1", f"expected <{root}>, the file is empty")
        try:
            element = parse(document, CONFIGURATION)
        except RemoteProtocolError as error:
            # "line 3, column 5: mismatched tag"
            found = re.fullmatch(r"line ([0-9]+), (.*)", str(error), re.DOTALL)
            line, text = (found[1], found[2]) if found else ("1", str(error))
            raise ConfigurationError(f"{self.shown}:{line}", f"expected XML, {text}") from error
        if element.name != root:
            raise self.error(element, f"expected <{root}>, found <{element.name}>")
        return element

    def place(self, element: Element) -> str:
        """
        C{file:line}.
        """
        return f"{self.shown}:{element.line}"

    def error(self, element: Element, text: str) -> ConfigurationError:
        """
        Something that cannot be done, to be raised.
        """
        return ConfigurationError(self.place(element), text)

    def warn(self, element: Element, key: str, text: str) -> None:
        """
        Something that is passed over; told once for each kind of element and
        key.
        """
        told = f"{self.place(element)}: {text}; ignored"
        self.passedOver.setdefault((element.name, key), told)

    def children(
        self, element: Element, known: tuple[str, ...], unsupported: Unsupported = NOTHING
    ) -> Iterator[Element]:
        """
        The children with known names; the others are warned about, and so is
        text between them.
        """
        if element.text.strip():
            self.warn(element, "#text", f"text in <{element.name}> has no meaning")
        for child in element.children:
            if child.name in known:
                yield child
            elif child.name not in unsupported:
                self._warnUnknown(child, element)
            elif child.attributes or child.children or child.text.strip():
                told = f"<{child.name}> in <{element.name}> is not supported yet"
                self.warn(child, f"in {element.name}", told)

    def attributes(
        self, element: Element, known: tuple[str, ...], unsupported: Unsupported = NOTHING
    ) -> None:
        """
        Warn about attributes whose names are not known.
        """
        for name, value in element.attributes.items():
            # Editors write where the schema is.
            if name in known or name.startswith(("xmlns", "xsi:", "xml:")):
                continue
            if name not in unsupported:
                self.warn(element, f"@{name}", f"attribute {name} of <{element.name}> is not known")
            elif value.strip() and value not in unsupported[name]:
                told = f"attribute {name}={value!r} of <{element.name}> is not supported yet"
                self.warn(element, f"@{name}", told)

    def required(self, element: Element, name: str) -> str:
        """
        The value of an attribute that must be there.
        """
        value = element.attributes.get(name, "").strip()
        if not value:
            raise self.error(element, f"expected an attribute {name} of <{element.name}>")
        return value

    def value(
        self, element: Element, name: str, convert: Callable[[str], _T], default: _D
    ) -> _T | _D:
        """
        The value of an attribute, or a default where it is not there.
        """
        text = element.attributes.get(name)
        if text is None:
            return default
        try:
            return convert(text.strip())
        except ValueError as error:
            told = f"attribute {name} of <{element.name}>: {error}"
            raise self.error(element, told) from error

    def _warnUnknown(self, child: Element, parent: Element) -> None:
        self.warn(child, f"in {parent.name}", f"<{child.name}> in <{parent.name}> is not known")
