"""
How much later a task starts when others than its remote call at its callback
port.
"""

from __future__ import annotations

import os
import signal
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

from benchmarks.driver import HIGHEST_PORT, LOWEST_PORT
from benchmarks.floor import PROGRAM
from benchmarks.ours import Figures, Ours

# What a scanner says: nothing, what a browser says, zeros.
_WORDS = (b"", b"GET / HTTP/1.0\r\n\r\n", bytes(100))
_SILENT = 10
_STARTS = 3

# Seconds in which a port is opened.
_LONGEST = 20.0


def delays(pair: Ours, strangers: int) -> tuple[float, float]:
    """
    Start tasks in peace, and tasks among strangers: some stay and are silent, the
    others come and go, and the remote may call when half of them have been there.

    @return: the medians of the times from then to the start, in seconds.
    """
    peace, among = [], []
    for _ in range(_STARTS):
        peace.append(_delay(pair, 0, 0))
        among.append(_delay(pair, _SILENT, strangers))
    return median(peace), median(among)


def _delay(pair: Ours, silent: int, strangers: int) -> float:
    with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        # So that the port is open as long as we want.
        os.kill(pair.remote.pid, signal.SIGSTOP)
        try:
            task = pool.submit(pair.tasks, 1, 1, {"command": [PROGRAM]})
            port = _open(task)
            for _ in range(silent):
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for number in range(strangers // 2):
                _call(port, number)
        finally:
            goes = perf_counter()
            os.kill(pair.remote.pid, signal.SIGCONT)
        for number in range(strangers // 2):
            _call(port, number)
        figures = task.result()
        return figures["since"] + figures["start50"] - goes


def _call(port: int, number: int) -> None:
    try:
        with socket.create_connection(("127.0.0.1", port)) as caller:
            caller.sendall(_WORDS[number % len(_WORDS)])
    except ConnectionError:
        pass  # it was sent away, or the port is not open any more


def _open(task: Future[Figures]) -> int:
    # Found without a connection, which would be a stranger's.
    deadline = perf_counter() + _LONGEST
    while perf_counter() < deadline and not task.done():
        for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            port = int(local.partition(":")[2], 16)
            if state == "0A" and LOWEST_PORT <= port <= HIGHEST_PORT:
                return port
        sleep(0.001)
    raise SystemExit("the client opens no callback port")
