"""
Start a process by vfork with what C{subprocess} itself calls for that, in half of its
time: who starts many short programs waits for it each time.
"""

from __future__ import annotations

import _posixsubprocess
import os
from collections.abc import Callable, Mapping, Sequence

# It has no documentation, but the same parameters since Python 3.11. Where it has
# others, it says so by a TypeError before it does anything.
_forkExec: Callable[..., int] = _posixsubprocess.fork_exec

# The descriptors below it are those that the new process gets.
_LOWEST = 3


def fork(
    arguments: Sequence[bytes],
    environment: Mapping[bytes, bytes],
    directory: bytes | None,
    ends: Sequence[int],
    umask: int,
) -> int:
    """
    Start a program in a session of its own, with the signals as at first, and with no
    other descriptors than these.

    @param ends: its input, output and errors; -1 for an empty input.
    @return: the number of the process; 0 if there is none, and C{subprocess} may find
        out why.
    """
    program = arguments[0]
    places = [program]
    if b"/" not in program:
        path = environment.get(b"PATH", os.defpath.encode())
        places = [os.path.join(place, program) for place in path.split(b":")]
    stdin, stdout, stderr = ends
    opened = [*os.pipe()]  # for what goes wrong before the program is loaded
    reading, writing = opened
    try:
        if stdin < 0:
            stdin = os.open(os.devnull, os.O_RDWR)
            opened.append(stdin)
        if min(stdin, stdout, stderr, writing) < _LOWEST:
            return 0
        try:
            pid = _forkExec(
                arguments,
                places,
                True,  # no other descriptors than
                (writing,),
                directory,
                [b"%b=%b" % variable for variable in environment.items()],
                *(stdin, -1, -1, stdout, -1, stderr),
                *(reading, writing),
                True,  # restore signals
                True,  # start a session
                *(-1, None, None, None),  # of no other process group, groups and user
                umask,
                None,  # nothing else to be called before
                True,  # and so vfork will do
            )
        except (TypeError, ValueError, OSError):
            return 0
        opened.remove(writing)
        os.close(writing)
        if not os.read(reading, 1):
            return pid
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:  # somebody else waited for it
            pass
        return 0
    finally:
        for descriptor in opened:
            os.close(descriptor)
