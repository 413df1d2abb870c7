"""
How far the logs of tasks under way are written: so much of the output of each is
in a log of that size. One file of records, one for each task.

A record is written in one piece after the log that it is about, and before the
output is acknowledged to the remote: what a client that was killed had not got so
far it is sent once more, and cuts off its log before. The first one, of a log with
nothing in it, is written before there is a log, for who is killed in between has to
find it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from zlib import crc32

# The number of the task, bytes of both streams, of the log, flags, and a sum of
# that, for the system may die in between, too.
_RECORD = Struct("<QQQQII")
_BODY = Struct("<QQQQI")
_STARTED = 1

# The size of a log that could not be written; nothing is cut off there.
UNKNOWN = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Position:
    """
    How far a log is written.

    @ivar stdout: how many bytes of it are in the log.
    @ivar stderr: likewise.
    @ivar size: of the log, in bytes.
    @ivar started: whether it says that the program was started.
    """

    stdout: int = 0
    stderr: int = 0
    size: int = 0
    started: bool = False


class Positions:
    """
    The file. Its methods wait, call them in one thread.

    @ivar found: what was in it, by the numbers of the tasks.
    """

    def __init__(self, path: Path) -> None:
        """
        @raise OSError: it cannot be had.
        """
        self.found: dict[int, Position] = {}
        self._slots: dict[int, int] = {}
        self._free: list[int] = []
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(path, flags, 0o600)
        data = path.read_bytes()
        self._count = len(data) // _RECORD.size
        for slot in range(self._count):
            self._read(slot, data[slot * _RECORD.size : (slot + 1) * _RECORD.size])

    def begin(self, number: int) -> None:
        """
        The log of a task will be written to, perhaps for the first time: there is a
        record of each log that is not written to its end.
        """
        if number not in self._slots:
            self.write(number, Position())

    def write(self, number: int, position: Position) -> None:
        """
        So far is the log of a task written now.
        """
        slot = self._slots.get(number)
        if slot is None:
            slot = self._free.pop() if self._free else self._count
            self._count = max(self._count, slot + 1)
            self._slots[number] = slot
        flags = _STARTED if position.started else 0
        fields = (number, position.stdout, position.stderr, position.size, flags)
        record = _RECORD.pack(*fields, crc32(_BODY.pack(*fields)))
        os.pwrite(self._descriptor, record, slot * _RECORD.size)

    def forget(self, number: int) -> None:
        """
        The log of a task is written to its end.
        """
        slot = self._slots.pop(number, None)
        if slot is not None:
            self._free.append(slot)
            os.pwrite(self._descriptor, bytes(_RECORD.size), slot * _RECORD.size)

    def close(self) -> None:
        """
        Write nothing more.
        """
        os.close(self._descriptor)

    def _read(self, slot: int, data: bytes) -> None:
        number, stdout, stderr, size, flags, check = _RECORD.unpack(data)
        if number and check == crc32(data[: _BODY.size]):
            self._slots[number] = slot
            self.found[number] = Position(stdout, stderr, size, bool(flags & _STARTED))
        else:
            self._free.append(slot)
