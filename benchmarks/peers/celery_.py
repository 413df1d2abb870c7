"""
Celery with Redis: two worker processes, each task starts the program.
"""

from __future__ import annotations

import os
import subprocess

from celery import Celery

from benchmarks.peers.pace import PROGRAM, arguments, threads

redis = f"redis://127.0.0.1:{os.environ.get('BENCHMARK_REDIS', '0')}/0"
app = Celery("benchmarks", broker=redis, backend=redis)


@app.task(name="start")  # type: ignore[untyped-decorator,unused-ignore]  # where Celery is, it has no types
def start() -> int:
    """
    One task.
    """
    return subprocess.run([PROGRAM], check=True).returncode


if __name__ == "__main__":
    count, atOnce, _, port = arguments()
    app.conf.broker_url = app.conf.result_backend = f"redis://127.0.0.1:{port}/0"

    def run() -> None:
        """
        One task.
        """
        start.delay().get(timeout=60)

    threads(count, atOnce, run)
