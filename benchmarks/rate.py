"""
Many short tasks: how many a second, beside starting the same processes without any network?
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections import Counter, deque
from time import perf_counter

from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.task import react

from benchmarks.services import LOWEST_PORT, Services, freePort
from jobscheduler_tcp.client.ports import CallbackPorts, tcpListen
from jobscheduler_tcp.client.processclass import ProcessClass
from jobscheduler_tcp.client.service import ClientService
from jobscheduler_tcp.interfaces import ICallbackReactor
from jobscheduler_tcp.messages import Work

PROGRAM = "/bin/true"
PORTS = 100


def run(arguments: Namespace) -> None:
    """
    Measure, and print the rates.
    """
    tasks, inFlight = arguments.tasks, arguments.in_flight
    if arguments.smoke:
        tasks, inFlight = 100, 8
    port = freePort()
    lowest = floor(tasks, inFlight)
    with Services() as services:
        services.start("remote", port, "--listen", f"tcp:{port}:interface=127.0.0.1")
        try:
            react(measure, (port, tasks, inFlight, lowest))
        except SystemExit as end:  # react says so in the end
            if end.code:
                raise


async def measure(
    reactor: ICallbackReactor, port: int, tasks: int, inFlight: int, lowest: float
) -> None:
    """
    Run the tasks by a client service in this process.
    """
    remote = HostnameEndpoint(reactor, "127.0.0.1", port)
    ports = CallbackPorts(reactor, tcpListen(reactor), LOWEST_PORT + PORTS - 1, LOWEST_PORT)
    client = ClientService(reactor, ports, [ProcessClass("remote", remote, inFlight)])
    client.startService()
    await client.run(Work(command=(PROGRAM,))).done  # the command connection stands now
    begin = perf_counter()
    jobs = [client.run(Work(command=(PROGRAM,))) for _ in range(tasks)]
    outcomes = Counter([(await job.done).reason for job in jobs])
    rate = tasks / (perf_counter() - begin)
    await client.stopService()

    print(f"{tasks:,} tasks of {PROGRAM}, {inFlight} in flight, through {PORTS} callback ports")
    print(", ".join(f"{reason}: {count:,}" for reason, count in outcomes.items()))
    print(f"tasks:                 {rate:8,.0f} a second")
    print(f"posix_spawn, waitpid:  {lowest:8,.0f} a second, the floor of this machine")
    print(f"share of the floor:    {rate / lowest:8.0%}")


def floor(tasks: int, inFlight: int) -> float:
    """
    Start and wait for the same processes, from this one.
    """
    running: deque[int] = deque()
    begin = perf_counter()
    for _ in range(tasks):
        if len(running) == inFlight:
            os.waitpid(running.popleft(), 0)
        running.append(os.posix_spawn(PROGRAM, [PROGRAM], {}))
    for pid in running:
        os.waitpid(pid, 0)
    return tasks / (perf_counter() - begin)
