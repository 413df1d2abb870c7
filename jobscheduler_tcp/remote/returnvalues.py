"""
The file in which a task leaves the values that it returns: lines of
C{name=value}, in the file that C{SCHEDULER_RETURN_VALUES} names (protocol
document 5.8).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import count
from secrets import token_hex
from stat import S_IFREG, S_ISREG
from tempfile import gettempdir, mkstemp

VARIABLE = "SCHEDULER_RETURN_VALUES"
_PREFIX = "jsremote-values-"
MAX_SIZE = 10 * 1024 * 1024  # protocol document 8.1
# A file system in memory, for files that live as long as a task: on a disk each
# would cost as much as starting the task. TMPDIR has precedence.
_MEMORY = "/dev/shm"  # noqa: S108 - each is new, whoever knows its name

# The names of this process: a name for each file at random takes three times as
# long as making the file.
_OURS = token_hex(8) + "-"
_numbers = count(1)

_BLANKS = b" \t\r\n\v\f"
_SHOWN = 200  # characters of a bad line that people are told


@dataclass(frozen=True, slots=True)
class Returned:
    """
    What a task returned.

    @ivar values: names and values, as bytes: nobody knows their encoding.
    @ivar code: of JobScheduler, where something was wrong, or empty.
    @ivar problem: what was wrong.
    """

    values: tuple[tuple[bytes, bytes], ...] = ()
    code: str = ""
    problem: str = ""


_NOTHING = Returned()


class ReturnValues:
    """
    The file of one task.
    """

    # A path of its own would take as much again as all that is kept of a file.
    __slots__ = ("_number", "_place")

    def __init__(self) -> None:
        """
        Make the file, empty.

        @raise OSError: it cannot be made.
        """
        self._place = _place()
        self._number = next(_numbers)
        try:
            os.mknod(self.path, S_IFREG | 0o600)
        except OSError:  # no such place, memory is short, or somebody has taken the name
            descriptor, self._place = mkstemp(prefix=_PREFIX)
            self._number = 0
            os.close(descriptor)

    @property
    def path(self) -> str:
        """
        Where it is.
        """
        if not self._number:
            return self._place
        return f"{self._place}/{_PREFIX}{_OURS}{self._number}"

    def read(self) -> Returned:
        """
        What the task left. A task that removed the file returned nothing.
        """
        try:
            status = os.lstat(self.path)
            if S_ISREG(status.st_mode) and not status.st_size:  # as most tasks leave it
                return _NOTHING
            # It may have put anything else there, and a FIFO would never open.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        except FileNotFoundError:
            return Returned()
        except OSError as error:
            return Returned((), f"ERRNO-{error.errno}", f"no return values: {error.strerror}")
        if not S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return Returned((), "SCHEDULER-449", "the return values are no file any more")
        with open(descriptor, "rb") as file:
            data = file.read(MAX_SIZE + 1)
        if len(data) > MAX_SIZE:
            return Returned((), "SCHEDULER-448", f"more than {MAX_SIZE} bytes of return values")
        return parsed(data)

    def discard(self) -> None:
        """
        Remove the file.
        """
        try:
            os.unlink(self.path)
        except OSError:  # the task did
            pass


def _place() -> str:
    """
    Where the files are.
    """
    return gettempdir() if "TMPDIR" in os.environ else _MEMORY


def parsed(data: bytes) -> Returned:
    """
    The values of all good lines, and what is wrong with the first bad one. Of
    several values for a name the last counts; as in JobScheduler's variable
    sets, upper and lower case of names are the same.
    """
    values: dict[bytes, tuple[bytes, bytes]] = {}
    bad: bytes | None = None
    for line in data.split(b"\n"):
        if not line.strip(_BLANKS):
            continue
        name, equals, value = line.partition(b"=")
        name = name.strip(_BLANKS)
        if not equals or not name:
            bad = line if bad is None else bad
            continue
        spelling, _ = values.get(name.lower(), (name, b""))
        values[name.lower()] = spelling, value.strip(_BLANKS)
    if bad is None:
        return Returned(tuple(values.values()))
    shown = bad.decode("latin-1")[:_SHOWN]
    return Returned(
        tuple(values.values()), "SCHEDULER-449", f"a return value without name and '=': {shown!r}"
    )
