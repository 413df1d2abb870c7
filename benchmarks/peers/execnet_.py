"""
execnet: standing channels to one other Python that runs what they say.
"""

from __future__ import annotations

import queue

import execnet

from benchmarks.peers.pace import PROGRAM, arguments, threads

REMOTE = """
import subprocess
for program in channel:
    channel.send(subprocess.run([program]).returncode)
"""

if __name__ == "__main__":
    count, atOnce = arguments()[:2]
    gateway = execnet.makegateway("popen//execmodel=thread")
    channels: queue.Queue[execnet.Channel] = queue.Queue()
    for _ in range(atOnce):
        channels.put(gateway.remote_exec(REMOTE))

    def run() -> None:
        """
        One task.
        """
        channel = channels.get()
        channel.send(PROGRAM)
        if channel.receive() != 0:
            raise SystemExit("a task failed")
        channels.put(channel)

    threads(count, atOnce, run)
    gateway.exit()
