"""
The commands of C{jsremote} that are questions to a service: what they ask, and
what they make of the answers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.cli import asking, drain, waiting
from jobscheduler_tcp.cli.asking import answerIn
from jobscheduler_tcp.errors import CommandRefused, ConnectionClosed
from jobscheduler_tcp.wire.documents import Element, parse
from tests.test_cli import said

CLIENT = ("127.0.0.1", 4444)
OK = "<ok/>"
STOPPED = ", job /a is stopped; jsremote modify-job /a unstop lets it go on"
NOW = "2026-11-22 12:01:05.000"


class AskingTestCase(SynchronousTestCase):
    """
    Help with a service that answers what it is told to.

    @ivar questions: what it was asked.
    @ivar answers: what it answers, in turn; an exception is raised. The last
        one is repeated.
    """

    def setUp(self) -> None:
        """
        Nobody is asked, and nobody waits.
        """
        self.questions: list[Element] = []
        self.asked: list[tuple[str, int]] = []
        self.answers: list[str | Exception] = [OK]
        self.pauses: list[float] = []
        self.patch(asking, "ask", self._ask)
        self.patch(drain, "ask", self._ask)
        self.patch(time, "sleep", self.pauses.append)

    def _ask(self, address: tuple[str, int], question: bytes) -> Element:
        self.asked.append(address)
        self.questions.append(parse(question))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        time = "2026-11-22 12:01:05.000"
        return answerIn(
            parse(f'<spooler><answer time="{time}">{answer}</answer></spooler>'.encode())
        )

    def assertAsked(self, *expected: tuple[str, dict[str, str]]) -> None:
        """
        These commands were said, with these attributes.
        """
        self.assertEqual([(each.name, each.attributes) for each in self.questions], [*expected])

    def parameters(self) -> list[tuple[str, str]]:
        """
        Those of the first command.
        """
        return [
            (param.attributes["name"], param.attributes["value"])
            for params in self.questions[0].children
            for param in params.children
        ]


def task(attributes: str, children: str = "") -> str:
    """
    An answer to C{show_task}.
    """
    return f'<task id="7" {attributes}>{children}</task>'


class StartTests(AskingTestCase):
    """
    C{jsremote start-job}.
    """

    started = '<ok><task id="7" job="/a"/></ok>'

    def test_start(self) -> None:
        """
        A job is started with its parameters at its time; options may stand
        anywhere.
        """
        self.answers = [self.started]
        line = ("start-job", "/a", "--param", 'x=<"ö">', "--at", "now+5", "h:9", "--param", "y=")
        self.assertEqual(said(*line), (0, "task 7\n", ""))
        self.assertAsked(("start_job", {"job": "/a", "at": "now+5"}))
        self.assertEqual(self.parameters(), [("x", '<"ö">'), ("y", "")])
        self.assertEqual(self.asked, [("h", 9)])
        self.assertEqual(
            json.loads(said("start-job", "a", "--json", "--client", "h:1")[1]),
            {"id": "7", "job": "/a"},
        )
        self.assertEqual(self.asked[1:], [("h", 1)])

    def test_wait(self) -> None:
        """
        While it waits a line on stderr tells each change, and not the seconds;
        the exit code is the job's.
        """
        runs = 'state="running_remote_process" running_since="2026-11-22 12:00:00.000"'
        self.answers = [
            self.started,
            *(task('state="none" job="/a"'), '<job state="stopped"/>'),
            task('state="waiting_for_process" position="2" why="SCHEDULER-489  it is down"'),
            task('state="waiting_for_process" position="1"'),
            *(task(runs), task(runs)),
            task('reason="exited" exit_code="3"', '<ERROR code="a" text="a  b"/>'),
        ]
        code, out, err = said("start-job", "/a", "--wait")
        self.assertEqual((code, out), (3, "task 7 exited 3\n"))
        self.assertEqual(
            err.splitlines(),
            [
                f"task 7 waits{STOPPED}",
                "task 7 waits, position 2, SCHEDULER-489  it is down",
                "task 7 waits, position 1",
                "task 7 runs",
            ],
        )
        self.assertEqual(self.pauses, [0.05, 0.1, 0.2, 0.4, 0.5])

    def test_waitDown(self) -> None:
        """
        While its remote is down a task is tried again and again: that is told once,
        and so is each reason.
        """
        down = 'state="waiting_for_process" position="1" why="SCHEDULER-489  {}"'
        refused, silent = (task(down.format(why)) for why in ("refused", "silent"))
        starting = task('state="starting"')
        runs = task('running_since="2026-11-22 12:00:00.000"')
        tries = [starting, refused] * 3 + [starting, silent] * 3
        over = task('reason="exited" exit_code="0"')
        self.answers = [self.started, *tries, starting, runs, over]
        code, out, err = said("start-job", "/a", "--wait")
        self.assertEqual((code, out), (0, "task 7 exited 0\n"))
        self.assertEqual(
            err.splitlines(),
            [
                "task 7 starting",
                "task 7 waits, position 1, SCHEDULER-489  refused",
                "task 7 waits, position 1, SCHEDULER-489  silent",
                "task 7 runs",
            ],
        )

    def test_waitJSON(self) -> None:
        """
        The whole of the task, when it is over.
        """
        self.answers = [self.started, task('reason="lost"', '<ERROR code="a" text="a  b"/>')]
        code, out, err = said("start-job", "/a", "--wait", "--json")
        self.assertEqual((code, err), (69, ""))
        self.assertEqual(json.loads(out)["reason"], "lost")
        self.answers = [self.started, task('reason="lost"', '<ERROR code="a" text="a  b"/>')]
        self.assertEqual(said("start-job", "/a", "--wait")[1], "task 7 lost (a  b)\n")

    def test_restart(self) -> None:
        """
        A client that is away for a while is waited for, and one that does not
        come back is told: 69.
        """
        runs = task('running_since="2026-11-22 12:00:00.000"')
        away = ConnectionRefusedError(111, "Connection refused")
        over = task('reason="exited" exit_code="0"')
        self.answers = [self.started, runs, away, ConnectionClosed("gone"), runs, over]
        code, out, err = said("start-job", "/a", "--wait")
        self.assertEqual((code, out), (0, "task 7 exited 0\n"))
        lines = ["task 7 runs", "task 7: the client is not there", "task 7 runs"]
        self.assertEqual(err.splitlines(), lines)

        now = [1000.0]

        def sleep(seconds: float) -> None:
            now[0] += seconds

        self.patch(time, "sleep", sleep)
        self.patch(time, "monotonic", lambda: now[0])
        self.answers = [self.started, away]
        code, out, err = said("start-job", "/a", "--wait")
        self.assertEqual((code, out), (69, ""))
        self.assertEqual(len(err.splitlines()), 2)
        self.assertEqual(now[0], 1060.5)

    def test_interrupted(self) -> None:
        """
        Ctrl-C ends the waiting, and says how to look again.
        """
        self.answers = [self.started, task('state="" enqueued="1" start_at="2026-11-23 1"')]

        def interrupt(seconds: float) -> None:
            raise KeyboardInterrupt

        self.patch(time, "sleep", interrupt)
        code, out, err = said("start-job", "/a", "--wait", "h:4444")
        self.assertEqual((code, out), (130, ""))
        first, last = err.splitlines()
        self.assertEqual(first, "task 7 waits, until 2026-11-23 1")
        self.assertEqual(
            last,
            "task 7 goes on; jsremote log 7 -f --client h:4444 shows it, "
            "jsremote kill 7 --client h:4444 ends it",
        )

    def test_passing(self) -> None:
        """
        What is told on a terminal alone: the time, and the output.
        """
        for attributes, words in {
            'running_since="2026-11-22 12:00:58.900"': ", 7 s",
            'running_since="2026-11-22 11:00:00"': ", 1:01:05 h",
            'running_since="2026-11-22 12:00:00"': ", 1:05 min",
            'stdout_size="2000" stderr_size="1000"': ", 2.9 KiB of output",
            'running_since="soon" stdout_size="-1"': "",
            "": "",
        }.items():
            root = parse(task(attributes).encode())
            self.assertEqual(waiting.passing(root, NOW), words)

    def test_bytes(self) -> None:
        """
        Sizes that can be read.
        """
        sizes = [waiting.bytesTold(each) for each in (0, 1023, 1024, 5 << 20, 3 << 50)]
        self.assertEqual(sizes, ["0 bytes", "1023 bytes", "1.0 KiB", "5.0 MiB", "3072.0 TiB"])


class RefusedTests(AskingTestCase):
    """
    Services that are not there, are others, or refuse.
    """

    def test_exitCodes(self) -> None:
        """
        One line on stderr, and an exit code of sysexits.h that tells whose fault
        it was.
        """
        for error, code in (
            (CommandRefused("SCHEDULER-161", "There is no Job_chain '/x'"), 66),
            (CommandRefused("SCHEDULER-121", "not allowed"), 77),
            (CommandRefused("SCHEDULER-105", "unknown"), 70),
            (CommandRefused("SCHEDULER-217", "is being processed"), 75),
            (CommandRefused("jsremote-protocol-error", "at: expected now"), 65),
            (ConnectionRefusedError(111, "Connection refused"), 69),
            (ConnectionClosed("it closed the connection"), 69),
        ):
            self.answers = [error]
            for line in (
                "start-job /x",
                "modify-job /x stop",
                "add-order x",
                "orders",
                "modify-order x 1",
                "remove-order x 1",
                "kill 1",
                "log 1",
                "history",
                "drain",
                "state",
            ):
                got, out, err = said(*line.split())
                self.assertEqual((got, out, err.count("\n")), (code, "", 1), (line, err))
                self.assertTrue(err.startswith("jsremote: "), err)

    def test_carried(self) -> None:
        """
        What XML cannot carry is not sent as something else: 65.
        """
        for line in (
            ("add-order", "c", "a\x1b[2J"),
            ("add-order", "c", "--param", "a=\x00"),
            ("start-job", "/a", "--param", "a\x01=b"),
            ("start-job", "\udcff"),
        ):
            code, out, err = said(*line)
            self.assertEqual((code, out, err.count("\n")), (65, "", 1))
            self.assertIn("XML cannot carry", err)
            self.assertTrue(err.strip("\n").isprintable())
        self.assertEqual(self.questions, [])

    def test_silent(self) -> None:
        """
        Who is sent away without a word is told where to look.
        """
        self.answers = [ConnectionClosed("it closed the connection without an answer")]
        self.assertIn("allowed_host", said("state")[2])
        self.answers = [ConnectionRefusedError(111, "Connection refused")]
        self.assertIn("is it running?", said("state")[2])

    def test_others(self) -> None:
        """
        An answer of something else than a client.
        """
        self.answers = ["<nothing/>"]
        for line in ("start-job /x", "add-order x", "orders", "kill 1", "log 1", "history"):
            got, out, err = said(*line.split())
            self.assertEqual((got, out, err.count("\n")), (70, "", 1), line)


class JobTests(AskingTestCase):
    """
    C{jsremote modify-job} and C{kill}.
    """

    def test_modify(self) -> None:
        """
        The job obeys, and tells how it stands then.
        """
        self.answers = [OK, '<job path="/a" state="stopped"/>']
        self.assertEqual(said("modify-job", "/a", "stop"), (0, "job /a stopped\n", ""))
        self.assertAsked(("modify_job", {"job": "/a", "cmd": "stop"}), ("show_job", {"job": "/a"}))
        out = said("modify-job", "/a", "unstop", "--json")[1]
        self.assertEqual(json.loads(out), {"path": "/a", "state": "stopped"})
        self.answers = [OK]
        self.assertEqual(said("modify-job", "/a", "stop")[0], 70)

    def test_kill(self) -> None:
        """
        A task is killed, if it is not over.
        """
        self.answers = [
            task('job="/a" state="running"'),
            OK,
            task('reason="killed" signal="9"', '<ERROR code="a" text="a  b"/>'),
        ]
        self.assertEqual(said("kill", "7", "--grace", "2"), (0, "task 7 killed 9\n", ""))
        attributes = {"job": "/a", "id": "7", "immediately": "yes", "timeout": "2"}
        self.assertAsked(
            ("show_task", {"id": "7"}), ("kill_task", attributes), ("show_task", {"id": "7"})
        )
        self.assertEqual(said("kill", "7"), (0, "", "jsremote: task 7 is over already: killed 9\n"))

    def test_log(self) -> None:
        """
        A log as it is, and as data.
        """
        text = "2026-11-22 14:27:59.582 [info]   (Job  a) [stdout] one\n  two\n"
        log = f'<log offset="5" bytes="{len(text)}" size="{len(text)}">{text}</log>'
        self.answers = [task("", log)]
        code, out, err = said("log", "7")
        self.assertEqual((code, out), (0, text))
        self.assertEqual(err, "jsremote: 5 bytes before are not kept\n")
        first, second = map(json.loads, said("log", "7", "--json")[1].splitlines())
        self.assertEqual(
            first, {"time": "2026-11-22 14:27:59.582", "level": "info", "text": "[stdout] one"}
        )
        self.assertEqual(second, {"text": "  two"})


class OrderTests(AskingTestCase):
    """
    C{jsremote add-order}, C{orders}, C{modify-order} and C{remove-order}.
    """

    order = '<order job_chain="/c" id="1" state="load" {}/>'

    def test_add(self) -> None:
        """
        All that an order may have; what is not said is not said.
        """
        self.answers = [f"<ok>{self.order.format('')}</ok>"]
        self.assertEqual(said("add-order", "c"), (0, "order /c:1, in state load, waits\n", ""))
        self.assertAsked(("add_order", {"job_chain": "c"}))
        self.questions = []
        said(
            *("add-order", "/c", "--state", "load", "--end-state", "done", "--priority", "-5"),
            *("--title", "a b", "--at", "now+60", "--param", "day=1", "17", "--suspended"),
            *("--no-replace", "--client", "h:1"),
        )
        attributes = {
            "job_chain": "/c",
            "id": "17",
            "title": "a b",
            "state": "load",
            "end_state": "done",
            "priority": "-5",
            "at": "now+60",
            "suspended": "yes",
            "replace": "no",
        }
        self.assertAsked(("add_order", attributes))
        self.assertEqual(self.parameters(), [("day", "1")])
        self.assertEqual(self.asked[1:], [("h", 1)])
        out = said("add-order", "c", "--json")[1]
        self.assertEqual(json.loads(out), {"job_chain": "/c", "id": "1", "state": "load"})

    def past(self, attributes: str, steps: str = "") -> list[str | Exception]:
        """
        What is answered of an order that is over.
        """
        runs = '<order id="2" history_id="9"/><order id="1" history_id="8"/>'
        history = f"<order_step_history>{steps}</order_step_history>"
        return [
            CommandRefused("SCHEDULER-162", "There is no order 1"),
            f"<job_chain><order_history>{runs}</order_history></job_chain>",
            f'<order id="1" job_chain="/c" end_time="x" {attributes}>{history}</order>',
        ]

    def test_wait(self) -> None:
        """
        While an order is waited for each change is told, with what its task or
        its job waits for; the exit code is that of its last task.
        """
        steps = '<order_step.entry task="6" reason="exited" exit_code="0"/>'
        steps += '<order_step.entry task="7" reason="exited" exit_code="3" text="exit code 3"/>'
        runs = 'running_since="2026-11-22 12:00:00.000" state="running_remote_process"'
        self.answers = [
            f"<ok>{self.order.format('')}</ok>",
            *(self.order.format('job="/a"'), '<job state="stopped"/>'),
            self.order.format('setback="2026-11-22 12:00:00.000"'),
            *(self.order.format('task="7"'), task('state="waiting_for_process" position="2"')),
            *(self.order.format('task="7" suspended="yes"'), task(runs)),
            *self.past('state="failed"', steps),
        ]
        code, out, err = said("add-order", "c", "1", "--wait")
        self.assertEqual(code, 3)
        self.assertEqual(out, "order /c:1 came to its end: failed (task 7: exit code 3)\n")
        self.assertEqual(
            err.splitlines(),
            [
                f"order /c:1 in state load waits{STOPPED}",
                "order /c:1 in state load waits, until 2026-11-22 12:00:00",
                "order /c:1 in state load: task 7 waits, position 2",
                "order /c:1 in state load: task 7 runs",
            ],
        )
        self.assertEqual(self.questions[-1].attributes["history_id"], "8")

    def test_ends(self) -> None:
        """
        An order that was removed, one that nobody but a person lets go on, one
        that no task worked on, and the whole as JSON.
        """
        added = f"<ok>{self.order.format('')}</ok>"
        suspended = self.order.format('suspended="yes" state_text="exit code 1"')
        for answers, code, words in (
            (self.past('state="load" removed="yes"'), 130, "was removed in state load"),
            ([suspended], 75, "is suspended in state load (exit code 1)"),
            ([self.order.format('suspended="yes" lost="yes"')], 69, "is lost in state load"),
            (self.past('state="done"'), 0, "came to its end: done"),
        ):
            self.answers = [added, *answers]
            got = said("add-order", "c", "--wait")
            self.assertEqual(got, (code, f"order /c:1 {words}\n", ""))
        self.answers = [added, *self.past('state="done"')]
        self.assertEqual(json.loads(said("add-order", "c", "--wait", "--json")[1])["state"], "done")

    def test_noHistory(self) -> None:
        """
        An order that is over and not to be found is told as that, after a while.
        """
        self.answers = [f"<ok>{self.order.format('')}</ok>"]
        self.answers += [CommandRefused("SCHEDULER-162", ""), "<job_chain/>"] * 20
        code, out, err = said("add-order", "c", "--wait")
        self.assertEqual((code, out), (70, ""))
        self.assertEqual(err, "jsremote: order /c:1 is over, and in no history\n")

    def test_modify(self) -> None:
        """
        All that may be changed, and how the order stands then.
        """
        at = "2026-11-22 23:00:00.000"
        self.answers = [OK, self.order.format(f'suspended="yes" at="{at}"')]
        code, out, err = said(
            *("modify-order", "/c", "1", "--state", "load", "--end-state", "done", "--title", "t"),
            *("--priority", "0", "--at", "now", "--suspend", "--reset", "--no-setback"),
            *("--param", "a=b"),
        )
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(out, f"order /c:1, in state load, suspended, at {at[:19]}\n")
        attributes = {
            "job_chain": "/c",
            "order": "1",
            "action": "reset",
            "state": "load",
            "end_state": "done",
            "title": "t",
            "priority": "0",
            "at": "now",
            "setback": "no",
            "suspended": "yes",
        }
        self.assertAsked(
            ("modify_order", attributes), ("show_order", {"job_chain": "/c", "order": "1"})
        )
        self.assertEqual(self.parameters(), [("a", "b")])
        self.questions = []
        out = said("modify-order", "c", "1", "--resume", "--json")[1]
        self.assertEqual(json.loads(out)["suspended"], "yes")
        self.assertEqual(self.questions[0].attributes["suspended"], "no")
        self.answers = [OK]
        self.assertEqual(said("modify-order", "c", "1")[0], 70)

    def test_remove(self) -> None:
        """
        An order is taken away.
        """
        self.assertEqual(said("remove-order", "c", "1"), (0, "order 1 is removed\n", ""))
        self.assertAsked(("remove_order", {"job_chain": "c", "order": "1"}))
        out = said("remove-order", "c", "1", "--json")[1]
        self.assertEqual(json.loads(out), {"job_chain": "c", "order": "1"})

    def chain(self, name: str, count: int, orders: Iterable[str]) -> str:
        """
        A job chain in an answer.
        """
        queue = f'<order_queue length="{count}">{"".join(orders)}</order_queue>'
        nodes = f'<job_chain_node state="load">{queue}</job_chain_node><job_chain_node state="z"/>'
        return f'<job_chain path="/{name}" orders="{count}"><file_based/>{nodes}</job_chain>'

    def test_orders(self) -> None:
        """
        A table tells where each stands and why; the whole is there as JSON.
        """
        listed = [
            self.order.format(""),
            self.order.format('task="12"'),
            self.order.format('suspended="yes" lost="yes" state_text="the remote is gone"'),
            self.order.format('suspended="yes"'),
            self.order.format('setback="2026-11-22 12:00:00.000" setback_count="2"'),
            self.order.format('at="never" next_start_time="never"'),
            self.order.format('at="2026-11-23 00:00:00.000"'),
        ]
        chains = self.chain("c", 10, listed) + self.chain("d", 0, [])
        self.answers = [f"<job_chains>{chains}</job_chains>"]
        code, out, err = said("orders")
        self.assertEqual((code, err), (0, ""))
        attributes = {"what": "job_chain_orders", "max_orders": "100"}
        self.assertAsked(("show_job_chains", attributes))
        self.assertEqual(
            [line.strip() for line in out.splitlines()],
            [
                "chain  order  state  task  how                  at                   why",
                "/c     1      load         waits",
                "/c     1      load   12    in process",
                f"/c     1      load         lost{'':38}the remote is gone",
                "/c     1      load         suspended",
                "/c     1      load         set back (2)         12:00:00",
                "/c     1      load         waits for a command  never",
                "/c     1      load         waits for its time   2026-11-23 00:00:00",
                "and 3 more; -n shows more of each node",
            ],
        )
        found = json.loads(said("orders", "--json")[1])["orders"]
        self.assertEqual(len(found), 7)
        self.assertEqual(found[1], {"job_chain": "/c", "id": "1", "state": "load", "task": "12"})

    def test_ordersOfChain(self) -> None:
        """
        Of one job chain alone.
        """
        self.answers = [self.chain("c", 0, [])]
        self.assertEqual(said("orders", "/c", "-n", "5"), (0, "there are no orders\n", ""))
        attributes = {"job_chain": "/c", "what": "job_chain_orders", "max_orders": "5"}
        self.assertAsked(("show_job_chain", attributes))
        self.answers = ["<job_chains/>"]
        self.assertEqual(said("orders"), (0, "there are no job chains\n", ""))

    def test_history(self) -> None:
        """
        Orders that are over, the latest first.
        """
        run = '<order id="{0}" history_id="{0}" job_chain="/{1}" state="done" {2}/>'
        times = 'start_time="2026-11-22 09:00:00.000" end_time="2026-11-21 10:00:00.000"'
        first = run.format(9, "c", times) + run.format(2, "c", "")
        other = run.format(10, "d", 'removed="yes"')
        chains = [
            f"<job_chain><order_history>{runs}</order_history></job_chain>"
            for runs in (first, other)
        ]
        self.answers = [f"<job_chains>{''.join(chains)}<job_chain/></job_chains>"]
        code, out, err = said("orders", "--history", "-n", "5000")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(
            [line.strip() for line in out.splitlines()],
            [
                "chain  order  end   how      from      to",
                "/d     10     done  removed",
                "/c     9      done           09:00:00  2026-11-21 10:00:00",
                "/c     2      done",
            ],
        )
        attributes = {"what": "order_history", "max_order_history": "1000"}
        self.assertAsked(("show_job_chains", attributes))
        found = json.loads(said("orders", "--history", "--json")[1])["orders"]
        self.assertEqual([each["id"] for each in found], ["10", "9", "2"])
        self.answers = ["<job_chain/>"]
        self.assertEqual(said("orders", "c", "--history")[1], "no order is over\n")
        self.answers = [OK]
        self.assertEqual(said("orders", "--history")[0], 70)


class DrainTests(AskingTestCase):
    """
    C{jsremote drain}.
    """

    def state(self, state: str, tasks: int) -> str:
        """
        How a remote stands.
        """
        return f'<state state="{state}"><tasks count="{tasks}">{"<task/>" * tasks}</tasks></state>'

    def test_remote(self) -> None:
        """
        It takes no more tasks; the command is over when those that run are.
        """
        self.answers = [OK, *(self.state("paused", count) for count in (2, 1, 0))]
        code, out, err = said("drain", "h:1")
        self.assertEqual((code, out), (0, "h:1 starts no more tasks, no task runs\n"))
        self.assertEqual(err, "h:1: 2 tasks run\nh:1: 1 task runs\n")
        self.assertEqual(self.questions[0].attributes, {"cmd": "pause"})

    def test_client(self) -> None:
        """
        At a client, those that wait for a place in a process class run, too.
        """
        jobs = '<jobs><job><tasks count="1"/></job><job><tasks count="x"/></job></jobs>'
        waits = "<process_class><waiting_jobs><job/></waiting_jobs></process_class>"
        busy = f"<state>{jobs}<process_classes>{waits}</process_classes></state>"
        self.answers = [OK, busy, "<state/>"]
        self.assertEqual(said("drain")[2], "127.0.0.1:4455: 1 task runs, 1 waits\n")
        self.answers = [OK, busy]
        out = said("drain", "--no-wait", "--json")[1]
        self.assertEqual(json.loads(out), {"state": "", "tasks": 1, "waiting": 1})

    def test_resume(self) -> None:
        """
        It takes tasks again.
        """
        self.answers = [OK, self.state("running", 3)]
        self.assertEqual(said("drain", "--resume")[1], "127.0.0.1:4455 starts tasks again\n")
        self.assertEqual(self.questions[0].attributes, {"cmd": "continue"})

    def test_terminate(self) -> None:
        """
        The service ends when its tasks are over.
        """
        self.answers = [OK, self.state("stopping", 1), ConnectionRefusedError()]
        code, out, err = said("drain", "--terminate")
        self.assertEqual((code, out), (0, "127.0.0.1:4455 has ended\n"))
        self.assertEqual(err, "127.0.0.1:4455 ends, 1 task runs\n")
        self.assertEqual(self.questions[0].attributes, {"cmd": "terminate"})
        self.answers = [OK, self.state("stopping", 3)]
        code, out, err = said("drain", "--terminate", "--no-wait")
        self.assertEqual(out, "127.0.0.1:4455 ends when its tasks are over: 3 tasks run\n")

    def test_interrupted(self) -> None:
        """
        Ctrl-C leaves it drained, and says how it comes back.
        """
        self.answers = [OK, self.state("paused", 1)]

        def interrupt(seconds: float) -> None:
            raise KeyboardInterrupt

        self.patch(time, "sleep", interrupt)
        code, out, err = said("drain", "h:1")
        self.assertEqual((code, out), (130, ""))
        self.assertIn("jsremote drain h:1 --resume", err)
