"""
How long a client's answers take when it has many orders.
"""

from __future__ import annotations

import socket
from statistics import median
from time import perf_counter

from benchmarks.services import Services, freePort

# Nobody listens at the discard port: orders stay where they are.
CONFIGURATION = """\
<spooler>
  <config>
    <process_classes>
      <process_class name="away" remote_scheduler="127.0.0.1:9"/>
    </process_classes>
    <jobs>{jobs}</jobs>
    <job_chains>
      <job_chain name="chain">{nodes}<job_chain_node state="done"/></job_chain>
    </job_chains>
  </config>
</spooler>
"""
JOB = """\
<job name="job{0}" order="{1}" process_class="away"><script language="shell">true</script></job>
"""
NODE = '<job_chain_node state="{0}" job="job{0}"/>'

# Nodes of the chain; there are as many jobs that are none of it.
NODES = 10

# Orders in one document, which has to fit into 64 KiB.
_TOGETHER = 200

# What is asked. An answer has a thousand orders of each kind of list, unless more are asked for.
QUESTIONS = (
    "<show_state/>",
    '<show_state what="jobs job_chains orders"/>',
    "<s/>",
    "<show_jobs/>",
    '<show_jobs what="job_orders"/>',
    '<show_job job="/job0" what="job_orders"/>',
    "<show_job_chains/>",
    '<show_job_chains what="job_chain_orders"/>',
    '<show_job_chain job_chain="/chain"/>',
    '<show_job_chain job_chain="/chain" what="job_chain_orders" max_orders="100"/>',
    '<show_job_chain job_chain="/chain" what="job_chain_orders" max_orders="10000"/>',
    '<show_order job_chain="/chain" order="1"/>',
    "<show_process_classes/>",
    '<show_task id="1"/>',
    "<show_history/>",
)


def answers(orders: int, times: int) -> dict[str, float]:
    """
    Fill a client with orders, and ask it everything.

    @param times: how often each is asked.
    @return: the seconds for each question, in the middle of its times; and those
        for one order that is added to the others.
    """
    with Services() as services, socket.socket() as connection:
        port = freePort()
        jobs = [JOB.format(number, "yes") for number in range(NODES)]
        jobs += [JOB.format(number, "no") for number in range(NODES, 2 * NODES)]
        nodes = map(NODE.format, range(NODES))
        file = services.directory / "scheduler.xml"
        file.write_text(CONFIGURATION.format(jobs="".join(jobs), nodes="".join(nodes)))
        services.start(
            *("client", port, "--config", str(file)),
            *("--listen", f"tcp:{port}:interface=127.0.0.1"),
            *("--state-dir", str(services.directory / "state")),
        )
        connection.connect(("127.0.0.1", port))
        adding = 0.0
        for first in range(0, orders, _TOGETHER):
            numbers = range(first, min(first + _TOGETHER, orders))
            adding += _ask(connection, f"<commands>{''.join(map(_order, numbers))}</commands>")
        found = {"add_order": adding / orders}
        for question in QUESTIONS:
            found[question] = median(_ask(connection, question) for _ in range(times))
        return found


def _order(number: int) -> str:
    """
    One in ten waits for a time, one in ten for an operator.
    """
    at = ' at="now+86400"' if number % 10 == 1 else ""
    suspended = ' suspended="yes"' if number % 10 == 2 else ""
    param = f'<param name="number" value="{number}"/>'
    return (
        f'<add_order job_chain="/chain" id="{number}" state="{number % NODES}"{at}{suspended}>'
        f"<params>{param}</params></add_order>"
    )


def _ask(connection: socket.socket, question: str) -> float:
    """
    @return: the seconds until the whole answer is there.
    """
    begin = perf_counter()
    connection.sendall(question.encode())
    pieces = [b""]
    while pieces[-1][-1:] != b"\0":
        pieces.append(connection.recv(2**20))
        if not pieces[-1]:
            raise SystemExit(f"no answer to {question[:100]}")
    taken = perf_counter() - begin
    answer = b"".join(pieces)
    if b"<ERROR" in answer:
        raise SystemExit(f"{question[:100]} is refused: {answer[-1000:].decode()}")
    return taken
