"""
Orders outlive their client: real remotes, and a client that is killed again and
again while orders go through a chain of three nodes.

JSREMOTE_TEST_ORDERS says how many orders, 60 if it is not set, JSREMOTE_TEST_KILLS
how often the client is killed, twice if it is not set.
"""

from __future__ import annotations

import os
import random
import sqlite3
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from tests.integration.freeports import freePort, freePorts
from tests.integration.services import PATIENCE, CommandTestCase, Program, ask

ORDERS = int(os.environ.get("JSREMOTE_TEST_ORDERS", "60"))
KILLS = int(os.environ.get("JSREMOTE_TEST_KILLS", "2"))

# Orders at a time, in all jobs together.
_AT_ONCE = 30

# Seconds for which a task runs that is there when the client is killed.
_TASK = "0.3"

CONFIG = """\
<spooler>
  <config>
    <process_classes>
      <process_class name="one" remote_scheduler="127.0.0.1:{one}" max_processes="20"
          dialect="{dialect}"/>
      <process_class name="two" remote_scheduler="127.0.0.1:{two}" max_processes="10"
          dialect="{dialect}"/>
    </process_classes>
    <jobs>
      <job name="a" order="yes" process_class="one" tasks="10" stop_on_error="no">
        <script language="shell">{script}</script>
      </job>
      <job name="b" order="yes" process_class="two" tasks="10" stop_on_error="no">
        <script language="shell">{script}
          case $SCHEDULER_ORDER_ID in *7) exit 1;; esac</script>
      </job>
      <job name="c" order="yes" process_class="one" tasks="10" stop_on_error="no">
        <script language="shell">{script}</script>
      </job>
    </jobs>
    <job_chains>
      <job_chain name="way">
        <job_chain_node state="1" job="a" next_state="2" error_state="failed"/>
        <job_chain_node state="2" job="b" next_state="3" error_state="failed"/>
        <job_chain_node state="3" job="c" next_state="done" error_state="failed"/>
        <job_chain_node state="done"/>
        <job_chain_node state="failed"/>
      </job_chain>
    </job_chains>
  </config>
</spooler>
"""

# It says in one write what it found, and returns who it is.
SCRIPT = """
  who=$SCHEDULER_JOB_NAME order=$SCHEDULER_ORDER_ID
  echo "$order $who $SCHEDULER_PARAM_DAY$SCHEDULER_PARAM_BY_A$SCHEDULER_PARAM_BY_B" &gt;&gt; {runs}
  echo "by_$who=,$who$order" &gt; $SCHEDULER_RETURN_VALUES
  echo begins; sleep {seconds}; echo ends
"""


class RestartTests(CommandTestCase):
    """
    What becomes of orders.
    """

    timeout = PATIENCE * 4 + ORDERS

    def start(self, role: str, name: str, port: int, *arguments: str) -> Program:
        """
        Start a service whose log is a file.
        """
        log = str(self.directory / f"{name}.log")
        listen = f"tcp:{port}:interface=127.0.0.1"
        return self.twistd(
            *("-n", "--pidfile=", "--logfile", log, "jsremote", "--role", role),
            *("--listen", listen, *arguments),
        )

    async def listens(self, name: str) -> None:
        """
        Wait until it is there.
        """
        log = self.directory / f"{name}.log"
        await self.until(lambda: log.exists() and " listens on " in log.read_text())

    async def setTheStage(self, dialect: str) -> None:
        """
        Start two remotes and a client.
        """
        self.port, one, two = freePort(), freePort(), freePort()
        self.callbackPorts = freePorts(40)
        self.runs = self.directory / "runs"
        self.runs.touch()
        self.clients: list[Program] = []
        script = SCRIPT.format(runs=self.runs, seconds=_TASK)
        config = CONFIG.format(one=one, two=two, script=script, dialect=dialect)
        self.config = self.write("client.xml", config)
        for name, port in (("one", one), ("two", two)):
            self.start("remote", name, port)
            await self.listens(name)
        await self.client()

    async def client(self) -> None:
        """
        Start the client, perhaps again.
        """
        name = f"client-{len(self.clients)}"
        self.clients.append(
            self.start(
                *("client", name, self.port, "--config", self.config),
                *("--state-dir", str(self.state), "--callback-ports", self.callbackPorts),
            )
        )
        await self.listens(name)

    async def kill(self) -> None:
        """
        Kill it.
        """
        self.clients[-1].signal("KILL")
        await self.clients[-1].exits()

    @property
    def state(self) -> Path:
        """
        The client's state directory.
        """
        return self.directory / "state"

    async def add(self, count: int) -> None:
        """
        Add orders.
        """
        for first in range(0, count, 100):
            orders = "".join(
                f'<add_order job_chain="/way" id="o{number}">'
                f'<params><param name="day" value="monday"/></params></add_order>'
                for number in range(first, min(first + 100, count))
            )
            answer = await ask(self.port, f"<commands>{orders}</commands>")
            self.assertEqual(answer.name, "ok")

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """
        Look into the history.
        """
        with closing(sqlite3.connect(f"file:{self.state}/history.sqlite?mode=ro", uri=True)) as db:
            return db.execute(sql).fetchall()

    def over(self) -> int:
        """
        How many orders are over.
        """
        ((count,),) = self.rows("SELECT count(*) FROM order_history WHERE ended IS NOT NULL")
        return int(count)

    def hasEnded(self, before: int) -> bool:
        """
        Whether more orders are over than before.
        """
        return self.over() > before

    def hasRun(self, count: int) -> bool:
        """
        Whether so many scripts have run.
        """
        return sum(self.ran().values()) >= count

    def ran(self) -> Counter[tuple[str, ...]]:
        """
        What the scripts found, and how often.
        """
        return Counter(tuple(line.split()) for line in self.runs.read_text().splitlines())

    def expected(self, orders: int) -> Counter[tuple[str, ...]]:
        """
        What they should have found.
        """
        found = Counter[tuple[str, ...]]()
        for number in range(orders):
            order = f"o{number}"
            found[order, "a", "monday"] += 1
            found[order, "b", f"monday,a{order}"] += 1
            if not order.endswith("7"):
                found[order, "c", f"monday,a{order},b{order}"] += 1
        return found

    def check(self, orders: int) -> None:
        """
        Everything is as if the client had lived.
        """
        self.assertEqual(self.ran(), self.expected(orders))
        past = self.rows("SELECT order_id, state, removed FROM order_history ORDER BY order_id")
        states = {f"o{n}": "failed" if n % 10 == 7 else "done" for n in range(orders)}
        self.assertEqual(past, [(order, states[order], 0) for order in sorted(states)])
        self.assertEqual(self.rows("SELECT * FROM orders"), [])
        steps = self.rows("SELECT verdict, count(*) FROM order_steps GROUP BY verdict")
        failed = sum(state == "failed" for state in states.values())
        counts = {"failed": failed, "succeeded": 3 * orders - 2 * failed}
        self.assertEqual(dict(steps), {name: count for name, count in counts.items() if count})
        reasons = self.rows("SELECT DISTINCT reason FROM tasks")
        self.assertEqual(reasons, [("exited",)])
        for log in (self.state / "logs").iterdir():
            lines = Counter(line.partition(") ")[2] for line in log.read_text().splitlines())
            for line in ("[stdout] begins", "[stdout] ends"):
                self.assertEqual(lines[line], 1, f"{log.name}: {lines}")
        for log in self.directory.glob("*.log"):
            self.assertNotIn("Traceback", log.read_text(), log.name)

    async def test_extended(self) -> None:
        """
        However often the client is killed: each node works on each order once,
        the parameters are merged, every order is where it must be, none is lost,
        and no line of a log is missing or doubled.
        """
        await self.setTheStage("extended")
        await self.add(ORDERS)
        steps = len(self.expected(ORDERS))
        moments = sorted(random.sample(range(1, steps - _AT_ONCE), KILLS))
        for moment in moments:
            await self.until(partial(self.hasRun, moment))
            await self.kill()
            await self.client()
        await self.untilOver(ORDERS)
        self.check(ORDERS)

    async def untilOver(self, orders: int) -> None:
        """
        Wait until so many are over; each that ends gives the rest new time.
        """
        while (now := self.over()) < orders:
            await self.until(partial(self.hasEnded, now))

    async def test_classic(self) -> None:
        """
        Towards remotes that speak the classic dialect exactly the orders are lost
        whose tasks were under way when the client was killed; the operator moves
        them on.
        """
        orders = 20
        await self.setTheStage("classic")
        await self.add(orders)
        await self.until(partial(self.hasRun, 10))
        await self.kill()
        lost = sorted(
            self.rows(
                "SELECT order_id, state FROM tasks JOIN orders ON task = tasks.id"
                " WHERE reason IS NULL AND uuid <> ''"
            )
        )
        self.assertNotEqual(lost, [])
        await self.client()
        await self.until(lambda: self.over() == orders - len(lost))
        found = sorted(self.rows("SELECT id, state FROM orders WHERE lost AND suspended"))
        self.assertEqual(found, lost)
        self.assertEqual(len(self.rows("SELECT * FROM orders")), len(lost))
        self.assertEqual(set(self.ran().values()), {1})
        shown = await ask(self.port, f'<show_order job_chain="/way" order="{lost[0][0]}"/>')
        self.assertEqual((shown.attributes["lost"], shown.attributes["suspended"]), ("yes", "yes"))
        self.assertNotEqual(shown.attributes["state_text"], "")
        following = {"1": "2", "2": "3", "3": "done"}
        for order, state in lost:
            await ask(
                self.port,
                f'<modify_order job_chain="/way" order="{order}" state="{following[state]}" '
                'suspended="no"/>',
            )
        await self.untilOver(orders)
        self.assertEqual(max(self.ran().values()), 1)
