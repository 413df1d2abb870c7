"""
Keep so many tasks of a peer in flight, and tell how long each took.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROGRAM = "/bin/true"


def arguments() -> tuple[int, int, Path, int]:
    """
    How many tasks, how many of them at once, the directory of the peers, the
    port of Redis.
    """
    tasks, inFlight, directory, port = sys.argv[1:5]
    return int(tasks), int(inFlight), Path(directory), int(port)


def tell(taken: list[float], seconds: float) -> None:
    """
    Print the figures.
    """
    taken.sort()
    figures = {
        "rate": len(taken) / seconds,
        "end50": taken[len(taken) // 2],
        "end99": taken[min(len(taken) * 99 // 100, len(taken) - 1)],
    }
    print(json.dumps(figures))


def threads(tasks: int, inFlight: int, run: Callable[[], None], warm: int = 5) -> None:
    """
    Tasks that are waited for in threads.
    """

    def one() -> float:
        begin = time.perf_counter()
        run()
        return time.perf_counter() - begin

    with ThreadPoolExecutor(inFlight) as pool:
        list(pool.map(lambda _: one(), range(warm)))
        since = time.perf_counter()
        taken = list(pool.map(lambda _: one(), range(tasks)))
        tell(taken, time.perf_counter() - since)


async def coroutines(tasks: int, inFlight: int, run: Callable[[], Awaitable[None]]) -> None:
    """
    Tasks that are awaited.
    """
    taken: list[float] = []
    left = iter(range(tasks))

    async def worker() -> None:
        for _ in left:
            begin = time.perf_counter()
            await run()
            taken.append(time.perf_counter() - begin)

    for _ in range(5):
        await run()
    since = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(inFlight)))
    tell(taken, time.perf_counter() - since)
