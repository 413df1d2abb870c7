"""
What is measured in each round, and in which order: every figure of tasks has a
floor before and one behind it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from time import perf_counter
from typing import Any

from benchmarks.answers import answers
from benchmarks.figures import Report
from benchmarks.floor import PROGRAM, Floor, FloorProgram
from benchmarks.ours import Figures, Ours, childrenTime, ours, timeOfVersion
from benchmarks.services import freePort
from benchmarks.strangers import delays
from jobscheduler_tcp.remote.service import DESCRIPTOR_RESERVE

TRUE: dict[str, Any] = {"command": [PROGRAM]}
# What a task usually has: a directory, and variables of its own. (A session of
# its own it has always.)
SETTLED: dict[str, Any] = {
    "command": [PROGRAM],
    "directory": "/tmp",
    "environment": [["GREETING", "hello"], ["COUNT", "3"]],
    "parameters": [["NAME", "value"]],
}
SLEEP: dict[str, Any] = {"command": ["/bin/sleep", "3600"]}

# Who dials the confirmation connection, and how many tasks share it.
MODES = ("own", "shared", "passive")

# What a task without input takes at the remote where many live: two pipes, and a
# connection of its own.
DESCRIPTORS = {"own": 3, "shared": 2}

# Lines of 40 bytes, each by a write of its own.
LINE_WRITER = "import os; w = os.write\nfor _ in range({}): w(1, b'x' * 39 + b'\\n')"


@dataclass(frozen=True, slots=True)
class Size:
    """
    How much is measured.
    """

    floor: int = 400
    alone: int = 150
    tasks: int = 300
    sleeping: tuple[int, ...] = (1000, 5000)
    connections: int = 10_000
    output: int = 256 * 2**20
    lines: int = 1_000_000
    versions: int = 3
    strangers: int = 1000
    orders: int = 10_000


SMOKE = Size(20, 5, 30, (20,), 20, 2**20, 1000, 1, 20, 50)


class Round:
    """
    One round of everything.
    """

    def __init__(self, report: Report, size: Size, directory: Path) -> None:
        self._report = report
        self._size = size
        self._floorProgram = FloorProgram(directory)
        self._directory = directory
        self._floor: Floor | None = None

    def floor(self) -> None:
        """
        What a C program does.
        """
        one = self._floorProgram.measure(self._size.floor)
        two = self._floorProgram.measure(self._size.floor * 2, 2)
        self._report.add("C posix_spawn + waitpid, one process", "tasks/s", one.rate, 1.0)
        self._report.add("C, its p99", "ms", one.p99 * 1e3, one.p99 * one.rate)
        self._report.add("C, processor time of a task", "ms", one.cpu * 1e3)
        self._report.add("C, two processes", "tasks/s", two.rate, two.rate / one.rate)
        self._floor = one

    def between(self, name: str, measure: Callable[[], Figures]) -> Figures:
        """
        Measure something about tasks between two floors, and report it as their
        shares.
        """
        before = self._floor or self._floorProgram.measure(self._size.floor)
        figures = measure()
        self._floor = after = self._floorProgram.measure(self._size.floor)
        floor = (before.rate + after.rate) / 2
        add = self._report.add
        add(name, "tasks/s", figures["rate"], figures["rate"] / floor)
        for figure, what in (
            ("end50", "p50 to end"),
            ("end99", "p99 to end"),
            ("start50", "p50 to start"),
            ("start99", "p99 to start"),
        ):
            if figure in figures:
                add(f"{name}: {what}", "ms", figures[figure] * 1e3, figures[figure] * floor)
        for figure, what in (("cpuClient", "client"), ("cpuRemote", "remote")):
            if figure in figures:
                add(f"{name}: processor time of the {what}", "ms/task", figures[figure] * 1e3)
        return figures

    def tasks(self) -> None:
        """
        Short tasks, in the extended dialect.
        """
        for mode in MODES:
            with ours(mode) as pair:
                self._inMode(mode, pair)

    def _inMode(self, mode: str, pair: Ours) -> None:
        size = self._size
        self.between(f"{mode}, 1 in flight", lambda: pair.tasks(size.alone, 1, TRUE))
        plain = self.between(f"{mode}, 16 in flight", lambda: pair.tasks(size.tasks, 16, TRUE))
        settled = self.between(
            f"{mode}, 16 in flight, directory and environment set",
            lambda: pair.tasks(size.tasks, 16, SETTLED),
        )
        self.between(f"{mode}, 64 in flight", lambda: pair.tasks(size.tasks, 64, TRUE))
        share = settled["rate"] / plain["rate"]
        name = f"{mode}, 16 in flight: with directory and environment / without"
        self._report.add(name, "x", share)

    def classic(self) -> None:
        """
        The same in the classic dialect.
        """
        with ours("own", "classic", min(50, self._size.tasks)) as pair:
            count = self._size.tasks // 2
            self.between("classic, 10 in flight", lambda: pair.tasks(count, 10, TRUE))

    def sleeping(self) -> None:
        """
        Short tasks beside many that sleep, and what those weigh.
        """
        for mode, count in product(MODES[:2], self._size.sleeping):
            name = f"{mode}, 16 in flight beside {count:,} sleeping"
            if self._allowed(name, (count + 16) * DESCRIPTORS[mode] + DESCRIPTOR_RESERVE):
                with ours(mode) as pair:
                    self._beside(mode, pair, name, count)

    def _allowed(self, name: str, descriptors: int) -> bool:
        """
        Whether one process may have so many; else that is what the row says.
        """
        limit = getrlimit(RLIMIT_NOFILE)[1]
        if limit != RLIM_INFINITY and limit < descriptors:
            self._report.skip(
                name, f"{descriptors:,} descriptors are needed, {limit:,} are allowed"
            )
            return False
        return True

    def _beside(self, mode: str, pair: Ours, name: str, count: int) -> None:
        short = self._size.tasks // 2
        alone = pair.tasks(short, 16, TRUE)
        client, remote = pair.resident()
        pair.order("sleep", tasks=count, work=SLEEP)
        clientNow, remoteNow = pair.resident()
        beside = self.between(name, lambda: pair.tasks(short, 16, TRUE))
        self._report.add(
            f"{mode}, beside {count:,} sleeping / none", "x", beside["rate"] / alone["rate"]
        )
        weight = f"memory of a sleeping task, {mode}, of {count:,}"
        self._report.add(f"{weight}: client", "KB", (clientNow - client) / count / 1e3)
        self._report.add(f"{weight}: remote", "KB", (remoteNow - remote) / count / 1e3)
        both = clientNow - client + remoteNow - remote
        self._report.add(f"{weight}: both", "KB", both / count / 1e3)
        pair.order("wake")

    def connections(self) -> None:
        """
        Idle command connections.
        """
        count = self._size.connections
        name = f"own, 16 in flight beside {count:,} idle command connections"
        if not self._allowed(name, count + 16 * DESCRIPTORS["own"] + DESCRIPTOR_RESERVE):
            return
        with ours() as pair:
            before = pair.resident()[1]
            holder = pair.services.run(
                [sys.executable, "-m", "benchmarks.holder", str(pair.port), str(count)]
            )
            assert holder.stdout is not None
            if holder.stdout.readline() != b"connected\n":
                raise SystemExit(f"{count} command connections could not be made")
            after = pair.resident()[1]
            self._report.add(
                f"memory of an idle command connection, of {count:,}, remote",
                "KB",
                (after - before) / count / 1e3,
            )
            self.between(name, lambda: pair.tasks(self._size.tasks // 2, 16, TRUE))

    def output(self) -> None:
        """
        Much output, and many lines, beside nc.
        """
        size = self._size
        nc = shutil.which("nc")
        with bulk(size.output) as file:
            if nc is None:
                self._report.skip("output by nc", "there is no nc (netcat-openbsd)")
            else:
                whole, spent = throughNc(nc, file, size.output)
                self._report.add("output by nc", "MiB/s", size.output / whole / 2**20)
                self._report.add("output by nc: processors", "s/GiB", spent / size.output * 2**30)
            with ours() as pair:
                pair.tasks(1, 1, {"command": ["/bin/cat", str(file)]})  # warm the pipes up
                cat = ["/bin/cat", str(file)]
                got = self._streamed(pair, "output", cat, size.output)
                if nc is not None:
                    self._report.add("output / nc", "x", whole / got)
                name = "output with SHA-256"
                got = self._streamed(pair, name, cat, size.output, sha256=True)
                if nc is not None:
                    self._report.add(f"{name} / nc", "x", whole / got)
                program = [sys.executable, "-c", LINE_WRITER.format(size.lines)]
                self._streamed(pair, f"{size.lines:,} lines of 40 bytes", program, size.lines * 40)

    def _streamed(
        self, pair: Ours, name: str, command: list[str], expected: int, *, sha256: bool = False
    ) -> float:
        before, tasks = pair.spent(), childrenTime(pair.remote.pid)
        figures = pair.tasks(1, 1, {"command": command}, sha256=sha256)
        spent = pair.spent().since(before)
        if figures["output"] != expected:
            raise SystemExit(f"{figures['output']} bytes of {expected} came")
        task = childrenTime(pair.remote.pid) - tasks
        gibibytes = expected / 2**30
        whole = spent.client + spent.remote + task
        add = self._report.add
        add(name, "MiB/s", expected / figures["seconds"] / 2**20)
        add(f"{name}: processors", "s/GiB", whole / gibibytes)
        for what, seconds in (("client", spent.client), ("remote", spent.remote), ("task", task)):
            add(f"{name}: processor of the {what}", "s/GiB", seconds / gibibytes)
        return figures["seconds"]

    def strangers(self) -> None:
        """
        A start while others call at its callback port.
        """
        with ours() as pair:
            peace, among = delays(pair, self._size.strangers)
        name = f"start among {self._size.strangers:,} strangers and 10 silent ones"
        self._report.add("start in peace", "ms", peace * 1e3)
        self._report.add(name, "ms", among * 1e3)
        self._report.add(f"{name}: later by", "ms", (among - peace) * 1e3)

    def version(self) -> None:
        """
        The start of the command.
        """
        for _ in range(self._size.versions):
            self._report.add("jsremote version", "ms", timeOfVersion() * 1e3)

    def commands(self) -> None:
        """
        A client that has many orders is asked everything.
        """
        for question, seconds in answers(self._size.orders, self._size.versions).items():
            self._report.add(f"{self._size.orders:,} orders: `{question}`", "ms", seconds * 1e3)


class bulk:  # noqa: N801 - a context manager
    """
    A file of bytes in memory.
    """

    def __init__(self, size: int) -> None:
        place = Path("/dev/shm")
        self._path = (place if place.is_dir() else Path("/tmp")) / f"jsremote-{os.getpid()}"
        self._size = size

    def __enter__(self) -> Path:
        block = os.urandom(2**20)
        with self._path.open("wb") as file:
            for _ in range(max(self._size // len(block), 1)):
                file.write(block)
        return self._path

    def __exit__(self, *_: object) -> None:
        self._path.unlink()


def throughNc(nc: str, file: Path, size: int) -> tuple[float, float]:
    """
    C{cat FILE | nc} to C{nc | reader}.

    @return: the time, and the processor time of all four.
    """
    port = freePort()
    spentBefore = os.times()
    reader = subprocess.Popen(
        ["/bin/sh", "-c", f"{nc} -l 127.0.0.1 {port} </dev/null | wc -c"], stdout=subprocess.PIPE
    )
    assert reader.stdout is not None
    while not _listens(port):
        if reader.poll() is not None:
            raise SystemExit("nc does not listen")
    begin = perf_counter()
    writer = subprocess.run(["/bin/sh", "-c", f"cat {file} | {nc} -N 127.0.0.1 {port}"], check=True)
    count = int(reader.stdout.readline())
    taken = perf_counter() - begin
    reader.wait()
    if count != size or writer.returncode:
        raise SystemExit(f"nc brought {count} bytes of {size}")
    spent = os.times()
    return taken, (
        spent.children_user
        + spent.children_system
        - spentBefore.children_user
        - spentBefore.children_system
    )


def _listens(port: int) -> bool:
    # Without a connection: nc takes one only.
    table = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") for line in table)


MEASUREMENTS: dict[str, Callable[[Round], None]] = {
    "tasks": Round.tasks,
    "classic": Round.classic,
    "sleeping": Round.sleeping,
    "connections": Round.connections,
    "output": Round.output,
    "strangers": Round.strangers,
    "version": Round.version,
    "commands": Round.commands,
}
