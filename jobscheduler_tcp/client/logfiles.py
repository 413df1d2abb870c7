"""
The files of the task logs: appended to, rotated, thrown away when there are too
many, and read again. All of this waits for the disk, so it is done in a thread
of its own, one thing after another.

A log may be longer than what is kept of it. Where something stands in it is
told by its distance from the log's beginning, which is in the name of a file
that was rotated.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

# Bytes of a file, after which another is begun. One older one is kept.
MAX_FILE = 16 << 20

# Bytes of all logs together.
QUOTA = 1 << 30

# What is left of them when there were too many, so that this is rare.
_LEFT = 0.9

# What a small file takes on the disk.
_BLOCK = 4096

# The longest part of a file's name that comes from a job's, of 255.
_MAX_NAME = 150

_ROTATED = re.compile(r"task\..+\.\d+\.log\.(\d+)")


@dataclass(frozen=True, slots=True)
class LogPart:
    """
    A part of a log.

    @ivar start: bytes of the log before it; more than was asked for if those
        are gone.
    @ivar size: bytes of the whole log so far.
    """

    data: bytes
    start: int
    size: int


def fileName(job: str, number: int) -> str:
    """
    The name of a task's log file, as JobScheduler has it: a comma for each slash
    of the path.
    """
    safe = quote(job.replace("/", ","), safe=",+@=", errors="surrogatepass")
    return f"task.{safe[:_MAX_NAME]}.{number}.log"


class LogFiles:
    """
    The log files of one folder. Its methods wait; call them in one thread.
    """

    def __init__(self, folder: Path, quota: int = QUOTA, maxFile: int = MAX_FILE) -> None:
        self._folder = folder
        self._quota = quota
        self._maxFile = maxFile
        self._used: int | None = None

    def append(self, texts: Iterable[tuple[str, bytes]], alive: Set[str]) -> None:
        """
        Append to some files.

        @param texts: names of files, and what to append.
        @param alive: the names of those that are not thrown away.
        @raise OSError: not all of it could be written.
        """
        if self._used is None:
            self._used = sum(size for _, size, _ in self._found())
        error = None
        for name, data in texts:
            try:
                self._used += self._append(name, data)
            except OSError as wrong:
                error = wrong
        if self._used > self._quota:
            self._prune(alive)
        if error is not None:
            raise error

    def cut(self, name: str, size: int) -> None:
        """
        Cut a log off behind so many bytes since its beginning.
        """
        segments = self._rotated(name)
        segments.append((sum(segments[-1]) if segments else 0, -1))
        for begin, length in segments:
            path = self._folder / (name if length < 0 else f"{name}.{begin}")
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue
            try:
                if os.fstat(descriptor).st_size > max(0, size - begin):
                    os.ftruncate(descriptor, max(0, size - begin))
            finally:
                os.close(descriptor)
        self._used = None

    def remove(self, number: int) -> None:
        """
        Throw the log of a task away.
        """
        for path in self._folder.glob(f"task.*.{number}.log*"):
            if re.fullmatch(rf"task\..*\.{number}\.log(\.\d+)?", path.name):
                path.unlink(missing_ok=True)
        self._used = None

    def size(self, name: str) -> int:
        """
        How long a log is.
        """
        try:
            return self.read(name, 0, 0).size
        except FileNotFoundError:
            return 0

    def read(self, name: str, start: int, most: int) -> LogPart:
        """
        Read a part of a log.

        @param start: bytes of the log before the part; from the end if negative.
        @raise FileNotFoundError: there is none.
        """
        segments = self._rotated(name)
        at = sum(segments[-1]) if segments else 0
        size = at + (self._folder / name).stat().st_size
        segments.append((at, size - at))
        if start < 0:
            start = max(0, size + start)
        start = min(max(start, segments[0][0]), size)
        data = b""
        for begin, length in segments:
            skip = start + len(data) - begin
            if 0 <= skip < length and len(data) < most:
                path = self._folder / (name if begin == at else f"{name}.{begin}")
                with path.open("rb") as file:
                    file.seek(skip)
                    data += file.read(min(most - len(data), length - skip))
        return LogPart(data, start, size)

    def _append(self, name: str, data: bytes) -> int:
        path = self._folder / name
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        try:
            before = os.fstat(descriptor).st_size
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        finally:
            os.close(descriptor)
        after = before + len(data)
        if after > self._maxFile:
            self._rotate(name, after)
        return _onDisk(after) - _onDisk(before) if before else _onDisk(after)

    def _rotate(self, name: str, size: int) -> None:
        older = self._rotated(name)
        start = sum(older[-1]) if older else 0
        for begin, length in older:
            (self._folder / f"{name}.{begin}").unlink(missing_ok=True)
            assert self._used is not None
            self._used -= _onDisk(length)
        (self._folder / name).rename(self._folder / f"{name}.{start}")
        os.close(os.open(self._folder / name, os.O_CREAT | os.O_CLOEXEC, 0o600))

    def _rotated(self, name: str) -> list[tuple[int, int]]:
        """
        Where the older files of a log begin, and how long they are.
        """
        found = []
        for path in self._folder.glob(f"{name}.*"):
            match = _ROTATED.fullmatch(path.name)
            if match is not None:
                found.append((int(match[1]), path.stat().st_size))
        return sorted(found)

    def _found(self) -> list[tuple[float, int, str]]:
        """
        All files: when they were written last, what they take, their names.
        """
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if entry.name.startswith("task."):
                    found.append((status.st_mtime, _onDisk(status.st_size), entry.name))
        return sorted(found)

    def _prune(self, alive: Set[str]) -> None:
        """
        Throw the oldest away.
        """
        found = self._found()
        self._used = sum(size for _, size, _ in found)
        for _, size, name in found:
            if self._used <= self._quota * _LEFT:
                break
            if re.sub(r"\.log\.\d+$", ".log", name) not in alive:
                (self._folder / name).unlink(missing_ok=True)
                self._used -= size


def _onDisk(size: int) -> int:
    return -(-max(size, 1) // _BLOCK) * _BLOCK
