"""
OpenSSH: a client for each task, through one master connection.
"""

from __future__ import annotations

import subprocess

from benchmarks.peers.pace import PROGRAM, arguments, threads

if __name__ == "__main__":
    count, atOnce, directory, _ = arguments()
    ssh = ["ssh", "-F", str(directory / "ssh_config"), "remote", PROGRAM]

    def run() -> None:
        """
        One task.
        """
        subprocess.run(ssh, check=True, stdin=subprocess.DEVNULL)

    threads(count, atOnce, run)
