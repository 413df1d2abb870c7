"""
AsyncSSH: C{run} on one connection.
"""

from __future__ import annotations

import asyncio
import os

import asyncssh

from benchmarks.peers.pace import PROGRAM, arguments, coroutines


async def measure() -> None:
    """
    Connect once, run all.
    """
    tasks, inFlight, directory, _ = arguments()
    connection = await asyncssh.connect(
        "127.0.0.1",
        int((directory / "port").read_text()),
        username=os.environ["BENCHMARK_USER"],
        client_keys=[str(directory / "key")],
        known_hosts=None,
        config=None,
    )

    async def run() -> None:
        await connection.run(PROGRAM, check=True)

    await coroutines(tasks, inFlight, run)
    connection.close()


if __name__ == "__main__":
    asyncio.run(measure())
