"""
Many sleeping tasks at once: what does one more start cost, and what does each task weigh?
"""

from __future__ import annotations

import os
import select
import socket
from argparse import Namespace
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.services import LOWEST_PORT, PATIENCE, Services, freePort

CONFIGURATION = """\
<spooler>
  <config tcp_port="{port}" ip_address="127.0.0.1">
    <params><param name="jsremote.callback_ports" value="{lowest}-{highest}"/></params>
    <security><allowed_host host="127.0.0.1" level="all"/></security>
    <process_classes>
      <process_class name="remote" remote_scheduler="127.0.0.1:{remote}" max_processes="{places}"/>
    </process_classes>
    <jobs>
      <job name="sleep" process_class="remote">
        <script language="shell">echo &gt;"{fifo}"; exec sleep 3600</script>
      </job>
      <job name="once" process_class="remote">
        <script language="shell">echo &gt;"{fifo}"</script>
      </job>
    </jobs>
  </config>
</spooler>
"""


class Client:
    """
    The command port of the client service, and a FIFO by which a task tells that it runs.
    """

    def __init__(self, port: int, fifo: Path) -> None:
        self._commands = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._commands.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Open for writing too, so that no task ever waits for a reader, or we see an end.
        self._fifo = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)

    def start(self, job: str) -> None:
        """
        Start a job by JobScheduler's command.
        """
        self._commands.sendall(f'<start_job job="{job}"/>'.encode())
        answer = b""
        while not answer.endswith(b"\0"):
            received = self._commands.recv(65536)
            if not received:
                raise SystemExit("the client service closed the connection")
            answer += received
        if b"<ERROR" in answer:
            raise SystemExit(answer.decode("ISO-8859-1"))

    def await_(self, count: int) -> None:
        """
        Wait until that many tasks have told that they run.
        """
        while count > 0:
            if not select.select([self._fifo], [], [], PATIENCE)[0]:
                raise SystemExit(f"{count} tasks did not start within {PATIENCE} s")
            count -= len(os.read(self._fifo, count))

    def timeOfOne(self, times: int = 50) -> float:
        """
        The median time from the command to the running program, in seconds.
        """
        taken = []
        for _ in range(times):
            begin = perf_counter()
            self.start("once")
            self.await_(1)
            taken.append(perf_counter() - begin)
        return median(taken)


def run(arguments: Namespace) -> None:
    """
    Measure, and print a small table.
    """
    tasks = 20 if arguments.smoke else arguments.tasks
    places = tasks + 100
    clientPort, remotePort = freePort(), freePort()
    with Services() as services:
        fifo = services.directory / "started"
        os.mkfifo(fifo)
        configuration = services.directory / "scheduler.xml"
        configuration.write_text(
            CONFIGURATION.format(
                port=clientPort,
                remote=remotePort,
                places=places,
                lowest=LOWEST_PORT,
                highest=LOWEST_PORT + places - 1,
                fifo=fifo,
            )
        )
        remote = services.start(
            "remote", remotePort, "--listen", f"tcp:{remotePort}:interface=127.0.0.1"
        )
        client = services.start("client", clientPort, "--config", str(configuration))
        commands = Client(clientPort, fifo)

        commands.timeOfOne()  # warm both services up
        before = commands.timeOfOne()
        remoteBefore, clientBefore = resident(remote.pid), resident(client.pid)
        begin = perf_counter()
        for _ in range(tasks):
            commands.start("sleep")
        commands.await_(tasks)
        taken = perf_counter() - begin
        remoteAfter, clientAfter = resident(remote.pid), resident(client.pid)
        after = commands.timeOfOne()

    print(
        f"{tasks:,} sleeping tasks at once, started in {taken:.1f} s, {tasks / taken:,.0f} a second"
    )
    print(f"one more start, empty remote:      {before * 1000:6.2f} ms")
    print(f"one more start, with all of them:  {after * 1000:6.2f} ms")
    print(f"client service: {line(clientBefore, clientAfter, tasks)}")
    print(f"remote service: {line(remoteBefore, remoteAfter, tasks)}")


def line(before: int, after: int, tasks: int) -> str:
    """
    Memory in words.
    """
    return (
        f"{before / 2**20:5.1f} MiB -> {after / 2**20:5.1f} MiB, "
        f"{(after - before) / tasks / 1024:5.1f} KiB for each sleeping task"
    )


def resident(pid: int) -> int:
    """
    The resident memory of a process, in bytes (proc(5), statm).
    """
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
