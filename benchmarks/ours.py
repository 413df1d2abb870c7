"""
The two services under measurement: a remote by C{twistd}, and the driver.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.services import TOP, Services, freePort

Figures = dict[str, float]

# Seconds that no measurement takes.
LONGEST = 120


@dataclass(frozen=True, slots=True)
class Spent:
    """
    Processor seconds.

    @ivar remote: with the processes that start tasks for it.
    @ivar tasks: of the processes of tasks, as far as they were waited for.
    """

    client: float
    remote: float
    tasks: float

    def since(self, before: Spent) -> Spent:
        """
        The difference.
        """
        return Spent(
            self.client - before.client, self.remote - before.remote, self.tasks - before.tasks
        )


class Ours:
    """
    A remote and a client of it.

    @ivar port: where the remote takes commands.
    @ivar services: the processes that belong to it.
    """

    def __init__(self, services: Services, dialect: str, callback: str) -> None:
        self.services = services
        self.port = freePort()
        self.remote = services.start(
            "remote", self.port, "--listen", f"tcp:{self.port}:interface=127.0.0.1"
        )
        self.log = services.directory / "driver.log"
        self.driver = services.run(
            [
                sys.executable,
                "-m",
                "benchmarks.driver",
                str(self.port),
                dialect,
                callback,
                str(self.log),
            ]
        )

    def order(self, do: str, **what: Any) -> dict[str, Any]:
        """
        Have the driver do something, and wait until it is done.
        """
        assert self.driver.stdin is not None and self.driver.stdout is not None
        self.driver.stdin.write(json.dumps({"do": do, **what}).encode() + b"\n")
        self.driver.stdin.flush()
        if not select.select([self.driver.stdout], [], [], LONGEST)[0]:
            raise SystemExit(f"{do} takes longer than {LONGEST} s, see {self.log}")
        line = self.driver.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"failed": self.log.read_text()}
        if "failed" in answer:
            raise SystemExit(f"the driver failed: {answer['failed']}")
        return answer

    def tasks(
        self, tasks: int, inFlight: int, work: Mapping[str, Any], *, sha256: bool = False
    ) -> Figures:
        """
        Run tasks.

        @param sha256: whether the outcome has that of the output, which C{jsremote run}
            asks for only where it shows it.
        @return: seconds, but for the C{rate}.
        """
        before = self.spent()
        answer = self.order("tasks", tasks=tasks, inFlight=inFlight, work=work, sha256=sha256)
        spent = self.spent().since(before)
        reasons = answer.pop("reasons")
        if reasons != {"exited 0": tasks}:
            raise SystemExit(f"not all tasks succeeded: {reasons}")
        figures: Figures = dict(answer)
        figures["cpuClient"] = spent.client / tasks
        figures["cpuRemote"] = spent.remote / tasks
        figures["cpuTask"] = spent.tasks / tasks
        return figures

    def spent(self) -> Spent:
        """
        Processor time so far.
        """
        remote = [self.remote.pid, *spawnersOf(self.remote.pid)]
        return Spent(
            processorTime(self.driver.pid),
            sum(map(processorTime, remote)),
            sum(map(childrenTime, remote)),
        )

    def resident(self) -> tuple[int, int]:
        """
        Resident memory of client and remote, in bytes.
        """
        return resident(self.driver.pid), resident(self.remote.pid)


@contextmanager
def ours(callback: str = "own", dialect: str = "extended", warm: int = 200) -> Iterator[Ours]:
    """
    Fresh services that have run a few tasks.
    """
    with Services() as services:
        made = Ours(services, dialect, callback)
        if warm:
            made.tasks(warm, 16, {"command": ["/bin/true"]})
        yield made


def processorTime(pid: int) -> float:
    """
    Of all threads of a process, in seconds (the first number of schedstat is
    nanoseconds on a processor).
    """
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


def spawnersOf(pid: int) -> list[int]:
    """
    The processes that start tasks for a remote.
    """
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"spawning.py" in _arguments(child)]


def _arguments(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it is over
        return b""


def childrenTime(pid: int) -> float:
    """
    Of the children that a process has waited for (proc(5), stat).
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    """
    Resident memory, in bytes (proc(5), statm).
    """
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def timeOfVersion() -> float:
    """
    Seconds that C{jsremote version} takes.
    """
    program = "from jobscheduler_tcp.cli.main import main; main()"
    begin = perf_counter()
    subprocess.run(
        [sys.executable, "-c", program, "version"],
        check=True,
        env=os.environ | {"PYTHONPATH": str(TOP)},
        stdout=subprocess.DEVNULL,
    )
    return perf_counter() - begin
