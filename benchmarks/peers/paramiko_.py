"""
paramiko: a channel for each task on one transport, as it is out of the box.
"""

from __future__ import annotations

import os

import paramiko

from benchmarks.peers.pace import PROGRAM, arguments, threads

if __name__ == "__main__":
    count, atOnce, directory, _ = arguments()
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    client.connect(
        "127.0.0.1",
        int((directory / "port").read_text()),
        os.environ["BENCHMARK_USER"],
        key_filename=str(directory / "key"),
        look_for_keys=False,
        allow_agent=False,
    )

    def run() -> None:
        """
        One task.
        """
        _, stdout, _ = client.exec_command(PROGRAM)
        if stdout.channel.recv_exit_status() != 0:
            raise SystemExit("a task failed")

    threads(count, atOnce, run)
    client.close()
