"""
dask.distributed: a scheduler, and one worker process with a thread for each task
that is in flight; each task starts the program.
"""

from __future__ import annotations

import subprocess

from distributed import Client, LocalCluster

from benchmarks.peers.pace import PROGRAM, arguments, threads


def start() -> int:
    """
    One task.
    """
    return subprocess.run([PROGRAM], check=True).returncode


if __name__ == "__main__":
    count, atOnce = arguments()[:2]
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=atOnce,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=50,
        ) as cluster,
        Client(cluster) as client,
    ):

        def run() -> None:
            """
            One task.
            """
            client.submit(start, pure=False).result(timeout=60)

        threads(count, atOnce, run)
