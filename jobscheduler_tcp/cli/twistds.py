"""
Real twistd processes, for a demonstration: started, followed, ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import IO, Any

import jobscheduler_tcp

# The twistd command, also where its script is not on the PATH.
_TWISTD = "from twisted.scripts.twistd import run; run()"

# Seconds for a twistd to end cleanly.
_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Logged:
    """
    Something that a twistd logged.

    @ivar role: whose log it is.
    @ivar time: seconds since 1970.
    @ivar form: the text before its fields were filled in; empty for a line that
        is no event, such as a complaint before the log begins.
    @ivar over: whether it is the end of the log.
    """

    role: str
    time: float
    form: str = ""
    text: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    over: bool = False


class Twistd:
    """
    One twistd with our plugin.

    @ivar pid: its process.
    """

    def __init__(
        self, role: str, options: Sequence[str], directory: Path, log: Queue[Logged]
    ) -> None:
        """
        @param directory: where it runs; nothing is left elsewhere.
        @param log: what it logs is put there.
        """
        self.role = role
        self._log = log
        package = str(Path(jobscheduler_tcp.__file__).parents[1])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
        # Settings of the user's own services are not for these.
        inherited = {name: value for name, value in os.environ.items() if name[:9] != "JSREMOTE_"}
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", _TWISTD, "--nodaemon", "--pidfile="),
                *("--logger", "jobscheduler_tcp.cli.logged.observer"),
                *("jsremote", "--role", role, *options),
            ],
            cwd=directory,
            env=inherited | {"PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for us; we end it.
            start_new_session=True,
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        self._reader = threading.Thread(
            target=self._follow, args=(self._process.stdout,), daemon=True
        )
        self._reader.start()

    def end(self) -> None:
        """
        Ask it to end, as an operator would.
        """
        with suppress(ProcessLookupError):
            self._process.terminate()

    def wait(self) -> None:
        """
        Wait until it has ended; kill it if it does not.
        """
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(_PATIENCE)

    def _follow(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                self._log.put(logged(self.role, line))
        self._log.put(Logged(self.role, 0.0, over=True))


def logged(role: str, line: bytes) -> Logged:
    """
    A line of a twistd's output.
    """
    try:
        event: dict[str, Any] = json.loads(line)
        form = event["format"] or ""
        return Logged(role, event["time"], form, event["text"], event["fields"])
    except (ValueError, TypeError, KeyError):
        return Logged(role, 0.0, text=line.decode(errors="replace").rstrip())


def stopAll(services: Sequence[Twistd]) -> None:
    """
    End services, all at once.
    """
    for service in services:
        service.end()
    for service in services:
        service.wait()
