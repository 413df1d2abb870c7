"""
The program of a task: from what the client asked for to a running process.

What cannot be run is said with L{LaunchFailed} in words for people, and before
anything was executed.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass

from jobscheduler_tcp.errors import LaunchFailed
from jobscheduler_tcp.interfaces import Launch
from jobscheduler_tcp.remote.forking import fork
from jobscheduler_tcp.remote.processes import MARK, printable

# Linux allows no longer string than 32 pages in argv or environment, its NUL
# counted (execve(2), MAX_ARG_STRLEN).
LONGEST_STRING = 32 * 4096 - 1

SHELL = b"/bin/sh"


def _encode(what: str, text: str) -> bytes:
    """
    Make bytes for the system; what were bytes at the client becomes them again,
    whatever the locale of this program is.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise LaunchFailed(f"{what} has a character that is none: {error.reason}") from error


def _encodeString(what: str, text: str) -> bytes:
    """
    Make bytes that can stand in argv or environment.
    """
    data = _encode(what, text)
    if b"\0" in data:
        raise LaunchFailed(f"{what} contains a NUL character")
    return data


def _checkLength(what: str, data: bytes) -> None:
    if len(data) > LONGEST_STRING:
        raise LaunchFailed(
            f"{what} has {len(data)} bytes; the system allows {LONGEST_STRING}", errno.E2BIG
        )


def _encodeVariables(variables: dict[str, str]) -> dict[bytes, bytes]:
    """
    Make bytes that can stand in the environment. What is wrong with none of them is
    found in all at once; most tasks have no others.
    """
    try:
        encoded = {
            name.encode("utf-8", "surrogateescape"): value.encode("utf-8", "surrogateescape")
            for name, value in variables.items()
        }
    except UnicodeEncodeError:
        encoded = {}
    names, values = b"".join(encoded), b"".join(encoded.values())
    if (
        not encoded
        or b"" in encoded
        or b"=" in names
        or b"\0" in names
        or b"\0" in values
        or len(names) + len(values) >= LONGEST_STRING
    ):
        return dict(_encodeVariable(name, value) for name, value in variables.items())
    return encoded


def _encodeVariable(name: str, value: str) -> tuple[bytes, bytes]:
    """
    Make bytes of one, or tell what is wrong with it.
    """
    shown = printable(name.encode("utf-8", "replace"), 60)
    if not name or "=" in name:
        raise LaunchFailed(f"{shown!r} cannot be the name of an environment variable")
    key = _encodeString("an environment variable's name", name)
    data = _encodeString(shown, value)
    _checkLength(f"the environment variable {shown}", b"%b=%b" % (key, data))
    return key, data


@dataclass(frozen=True, slots=True)
class Program:
    """
    What to execute, as bytes that the system can take.

    @ivar script: the file that holds the script, to be removed at the end; empty
        if there is none.
    """

    arguments: list[bytes]
    environment: dict[bytes, bytes]
    directory: bytes | None
    script: str = ""


@dataclass(frozen=True, slots=True)
class Execution:
    """
    A process that was started, and our ends of its pipes.

    @ivar stdin: -1 if it has an empty input.
    """

    pid: int
    stdin: int
    stdout: int
    stderr: int


class ScriptDirectory:
    """
    Where scripts lie while they run: a directory that nobody else can look into,
    made when it is needed.

    @param parent: where to make it; by default where the system has temporary
        files.
    """

    def __init__(self, parent: str | None = None) -> None:
        self._parent = parent
        self._path = ""
        self._count = 0

    def write(self, script: bytes) -> str:
        """
        Write a script to a file of its own, with the right to execute it.
        """
        path = ""
        try:
            if not self._ours():
                self._path = tempfile.mkdtemp(prefix="jsremote-", dir=self._parent)
            self._count += 1
            path = os.path.join(self._path, str(self._count))
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700)
            with open(descriptor, "wb") as file:
                file.write(script)
        except OSError as error:
            if path:
                self.discard(path)
            raise LaunchFailed(
                f"cannot write the script to a file: {error.strerror}", error.errno or 0
            ) from error
        return path

    def discard(self, path: str) -> None:
        """
        Remove a script.
        """
        try:
            os.unlink(path)
        except OSError:  # somebody cleaned up before us
            pass

    def remove(self) -> None:
        """
        Remove the directory.
        """
        if self._ours():
            shutil.rmtree(self._path, ignore_errors=True)
        self._path = ""

    def _ours(self) -> bool:
        """
        Whether the directory is still the one that we made: a service that
        removes old temporary files may have taken it, and then anybody may have
        put another one there.
        """
        try:
            status = os.lstat(self._path)
        except OSError:
            return False
        return (
            stat.S_ISDIR(status.st_mode)
            and status.st_uid == os.geteuid()
            and not status.st_mode & 0o077
        )


def prepare(launch: Launch, scripts: ScriptDirectory) -> Program:
    """
    Check everything that would make the system refuse, and write the script.
    """
    work = launch.work
    environment = _encodeVariables({**launch.environment, MARK: launch.task})
    directory = _encodeString("the working directory", work.directory) if work.directory else None
    if work.script:
        # White space before it goes, so that #! can be first: in a configuration
        # file a script begins on a line of its own.
        script = _encode("the script", work.script).lstrip()
        path = scripts.write(script)
        file = os.fsencode(path)
        arguments = [file] if script.startswith(b"#!") else [SHELL, file]
        return Program(arguments, environment, directory, path)
    arguments = []
    for number, argument in enumerate(work.command):
        what = f"argument {number}" if number else "the program's name"
        arguments.append(_encodeString(what, argument))
        _checkLength(what, arguments[-1])
    if not arguments or not arguments[0]:
        raise LaunchFailed("there is nothing to run: neither a script nor a command was given")
    return Program(arguments, environment, directory)


class Pipes:
    """
    The pipes of a task, its ends and ours.

    @raise LaunchFailed: there are no descriptors left.
    """

    __slots__ = ("ours", "theirs")

    def __init__(self, stdin: bool) -> None:
        self.ours: list[int] = []
        self.theirs: list[int] = []
        try:
            for _ in ("stderr", "stdout"):
                reading, writing = os.pipe()
                self.ours.append(reading)
                self.theirs.append(writing)
            if stdin:
                reading, writing = os.pipe()
                self.ours.append(writing)
                self.theirs.append(reading)
            for descriptor in self.ours:
                os.set_blocking(descriptor, False)
        except OSError as error:
            self.give()
            self.close()
            raise LaunchFailed(
                f"cannot start a process: {error.strerror}", error.errno or 0
            ) from error

    def give(self) -> None:
        """
        The task has its ends, or will never have them.
        """
        for descriptor in self.theirs:
            os.close(descriptor)
        self.theirs.clear()

    def close(self) -> None:
        """
        There is no task.
        """
        for descriptor in self.ours:
            os.close(descriptor)
        self.ours.clear()

    def execution(self, pid: int) -> Execution:
        """
        The task runs.
        """
        stderr, stdout, *stdin = self.ours
        return Execution(pid, stdin[0] if stdin else -1, stdout, stderr)


def execute(program: Program, stdin: bool, umask: int) -> Execution:
    """
    Start the process, in a session of its own and with no descriptor of ours.

    C{subprocess} starts by vfork as long as it is asked for nothing that must
    run as Python between fork and exec (C{preexec_fn}, C{user}): with fork, a
    daemon of 200 MB would start 60 processes a second instead of 1,000.
    """
    pipes = Pipes(stdin)
    stderr, stdout, *others = pipes.theirs
    arguments, environment, directory = program.arguments, program.environment, program.directory
    try:
        ends = others[0] if stdin else -1, stdout, stderr
        pid = fork(arguments, environment, directory, ends, umask)
        if not pid:
            child = subprocess.Popen(
                arguments,
                env=environment,
                cwd=directory,
                stdin=others[0] if stdin else subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                close_fds=True,
                restore_signals=True,
                start_new_session=True,
                umask=umask,
            )
            # We wait for it ourselves: with a return code set, subprocess neither
            # warns nor remembers it.
            child.returncode = 0
            pid = child.pid
    except OSError as error:
        pipes.close()
        raise explain(program, error.errno or 0, error.filename) from error
    finally:
        pipes.give()
    return pipes.execution(pid)


def explain(program: Program, number: int, what: object) -> LaunchFailed:
    """
    Say what could not be done: the system's word alone does not tell a missing
    program from a missing directory or interpreter.

    @param what: which directory or program the system refused, C{None} for none.
    """
    why = os.strerror(number)
    name = printable(program.arguments[0])
    if what is None:
        return LaunchFailed(f"cannot start a process: {why}", number)
    directory = program.directory
    if directory and what == directory != program.arguments[0]:
        text = f"cannot enter the working directory {printable(directory)}: {why}"
        return LaunchFailed(text, number)
    if program.script:
        name = "the script"
    path = os.path.join(directory or b"", program.arguments[0])
    if number == errno.ENOENT and b"/" in program.arguments[0] and os.path.exists(path):
        why = "the interpreter named in its first line does not exist"
    return LaunchFailed(f"cannot run {name}: {why}", number)
