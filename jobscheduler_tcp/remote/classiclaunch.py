"""
From what a classic client says of a shell job to what the launcher is given:
environment, script or program, parameter line (protocol document 5.4, 5.5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from errno import ENOENT
from functools import lru_cache

from jobscheduler_tcp.errors import LaunchFailed
from jobscheduler_tcp.interfaces import Launch
from jobscheduler_tcp.messages import Work
from jobscheduler_tcp.remote.returnvalues import VARIABLE
from jobscheduler_tcp.wire.shelljob import Pairs, ShellJob

# Exit codes: of a shell (POSIX sh, 2.8.2), and of the original, which exits with
# errno up to 249 (protocol document 5.4).
NOT_EXECUTABLE = 126
NOT_FOUND = 127
MAX_ERRNO = 249

_PREFIX = "SCHEDULER_PARAM_"
_NO_PREFIX = "*NONE"
# A script of words that no shell changes.
_BECOMES = re.compile(r"exec((?: [A-Za-z0-9@%+=:,./_-]+)+)\n?")
# Of such scripts of fewer characters, those of the last jobs are remembered.
_SHORT = 200
# $NAME and ${NAME}; a backslash before the dollar leaves it alone.
_VARIABLE = re.compile(r"\\(\$)|\$(?:\{([^{}]*)\}|([A-Za-z_][A-Za-z_0-9]*))")


def launchOf(
    task: str, job: ShellJob, parameters: Pairs, base: Mapping[str, str], returnValues: str
) -> Launch:
    """
    What to launch.

    @param parameters: of the job, then of the order.
    @param base: what a task gets of the remote's own environment.
    @param returnValues: the file for the values that it returns.
    """
    environment = dict(base)
    environment.update(_variables(job.environment))
    environment[VARIABLE] = returnValues
    if parameters:
        prefix = _PREFIX if job.prefix is None else job.prefix.removeprefix(_NO_PREFIX)
        environment.update(_variables([(_upper(prefix + name), v) for name, v in parameters]))
    # Nobody can be given a variable without a name.
    environment.pop("", None)
    if job.program:
        program = _asLatin1(job.program)
        arguments = programArguments(_asLatin1(job.arguments), environment)
        work = Work(command=(program, *arguments))
    else:
        # Also an empty script is one.
        work = Work(script=_asLatin1(job.script) or "\n")
    return Launch(task, work, environment)


def withoutShell(launch: Launch) -> Launch:
    """
    A script that is only there to become a program, as our own client says a
    command, needs no shell: to start one costs as much as to start the program.

    @return: the launch of that program, the same launch if there is more to the
        script.
    """
    script = launch.work.script
    work = _becomesOften(script) if len(script) < _SHORT else _becomes(script)
    return launch if work is None else Launch(launch.task, work, launch.environment)


def _becomes(script: str) -> Work | None:
    becomes = _BECOMES.fullmatch(script)
    words = becomes[1].split() if becomes else ()
    # Without a slash, the shell searches for it, or has something of that name.
    if not words or not words[0].startswith("/"):
        return None
    return Work(command=tuple(words))


_becomesOften = lru_cache(64)(_becomes)


def shown(job: ShellJob, work: Work) -> str:
    """
    The command line as the original writes it into the client's log, but for
    the name of its temporary file.
    """
    words = work.command or ("/bin/sh", "-c", f'"script of job {job.job}"')
    return _fromSystem(" ".join(f"'{word}'" for word in words))


def notExecuted(work: Work, error: LaunchFailed) -> tuple[bytes, int]:
    """
    What the original prints where a program cannot be executed, without the
    environment that it prints behind it, for others may read the log; and the
    exit code. A script is executed by a shell, whose exit codes are others.
    """
    if not work.command:
        code = NOT_FOUND if error.errno == ENOENT else NOT_EXECUTABLE
        return f"{error}\n".encode("utf-8", "replace"), code
    if not error.errno:  # the reason is ours
        return f"{error}\n".encode("utf-8", "replace"), MAX_ERRNO + 1
    program = work.command[0]
    words = "".join(f',"{word}"' for word in work.command)
    line = f"ERRNO-{error.errno}  {os.strerror(error.errno)}, at execvp({program}{words})\n"
    return line.encode("utf-8", "surrogateescape"), min(error.errno, MAX_ERRNO + 1)


def programArguments(line: str, environment: Mapping[str, str]) -> list[str]:
    """
    The words of a parameter line, variables replaced before it is cut. An empty
    line stands for the variables named 1, 2, …
    """
    if not line.strip():
        numbered: list[str] = []
        while (value := environment.get(str(len(numbered) + 1))) is not None:
            numbered.append(value)
        return numbered
    return _words(_VARIABLE.sub(lambda found: _replaced(found, environment), line))


def _replaced(found: re.Match[str], environment: Mapping[str, str]) -> str:
    dollar, braced, bare = found.groups()
    return dollar or environment.get(braced or bare or "", "")


def _words(line: str) -> list[str]:
    # Like a shell, but never wrong: a quote that is not closed reaches to the
    # end of the line.
    words: list[str] = []
    word: str | None = None
    quote = ""
    characters = iter(line)
    for character in characters:
        if character == quote:
            quote = ""
        elif character == "\\" and quote != "'":
            following = next(characters, "")
            plain = following in ('"', "\\") if quote else following != ""
            word = (word or "") + ("" if plain else "\\") + following
        elif quote:
            word = (word or "") + character
        elif character in "\"'":
            quote = character
            word = word or ""
        elif character in " \t\r\n":
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + character
    return words if word is None else [*words, word]


def _variables(pairs: Pairs | list[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    names = "".join([name for name, _ in pairs])
    values = "".join([value for _, value in pairs])
    text = names + values
    if text.isascii() and "\0" not in text and "=" not in names:
        return pairs  # as most are
    return [_variable(name, value) for name, value in pairs]


def _variable(name: str, value: str) -> tuple[str, str]:
    # As the C library reads NAME=VALUE: the name ends at the first '=', all at
    # the first NUL.
    name, equals, rest = _asLatin1(name).partition("=")
    value = f"{rest}={_asLatin1(value)}" if equals else _asLatin1(value)
    return name.partition("\0")[0], value.partition("\0")[0]


def _asLatin1(text: str) -> str:
    # What a launcher is given is text whose bytes for the system are UTF-8; a
    # classic client's are ISO-8859-1.
    if text.isascii():
        return text
    return text.encode("latin-1", "replace").decode("utf-8", "surrogateescape")


def _fromSystem(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _upper(name: str) -> str:
    # ASCII letters only, as in the C locale that engines run in.
    return "".join(char.upper() if char.isascii() else char for char in name)
