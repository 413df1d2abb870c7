"""
The floor: a C program that starts the same processes and waits for them.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("floor.c")

PROGRAM = "/bin/true"


@dataclass(frozen=True, slots=True)
class Floor:
    """
    What the machine can do at the moment.

    @ivar rate: tasks a second.
    @ivar cpu: seconds of a processor for a task.
    """

    rate: float
    p50: float
    p99: float
    cpu: float


class FloorProgram:
    """
    The program, compiled in a directory.
    """

    def __init__(self, directory: Path) -> None:
        self._program = directory / "floor"
        subprocess.run(["cc", "-O2", "-o", self._program, SOURCE], check=True)

    def measure(self, tasks: int, processes: int = 1) -> Floor:
        """
        Run it.
        """
        command = [str(self._program), str(tasks), str(processes), PROGRAM]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        rate, p50, p99, cpu = map(float, printed.split())
        return Floor(rate, p50 / 1e6, p99 / 1e6, cpu / 1e6)
