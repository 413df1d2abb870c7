"""
Whatever is said to the port of a client is answered as a JobScheduler answers, or
the connection is closed; what is refused changes nothing, and the next is served.
"""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.plaincommands import Peer, PlainCommands
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.testing import MemoryNetwork
from jobscheduler_tcp.wire.documents import GREETED, Element, parse, serialise
from tests.commandedclient import CommandedClient
from tests.placed import FakeRunner
from tests.recordings import commands
from tests.strategies import mutated, xmlText

LIVE = Path(__file__).parent / "data" / "two-schedulers" / "client" / "live"
PORT = 4444
NOW = 1_795_361_629.0

NAMES = """
    start_job add_order order modify_order remove_order kill_task show_state s show_job show_jobs
    show_job_chain show_job_chains show_order show_task show_history show_process_classes
    modify_job modify_spooler terminate param params param.get params.get check_folders
    process_class process_class.remove nosuch spooler commands job.why add_jobs
""".split()  # noqa: SIM905 - as one reads them
ATTRIBUTES = """
    job job_chain order id name value cmd at after state end_state title priority suspended setback
    action replace immediately timeout what path subsystems max_orders max_task_history prev next
    restart process_class force web_service log_offset history_id
""".split()  # noqa: SIM905
CHILDREN = ("params", "param", "environment", "variable", "payload", "run_time", "xml_payload")
VALUES = (
    *("", "/report", "report", "/extract", "/nightly", "nightly", "/nosuch", "/../report", "//"),
    *("1", "2", "a", "b", "0", "-1", "99999999999999999999", "\u0661", "1e9", "all", "yes", "no"),
    *("now", "now+1", "now+00:00:01", "now + 99999999", "2026-02-30 00:00", "9999-12-31 23:59:59"),
    *("load", "done", "failed", "stop", "unstop", "start", "wake", "end", "suspend", "continue"),
    *("pause", "remove", "reread", "reload", "terminate", "abort_immediately", "never", "reset"),
    *(
        "log",
        "task_history job_orders",
        "job_chain_orders payload",
        "all!",
        "folders",
        "\x85\u2028",
    ),
    "x" * 3000,
)

attributes = st.dictionaries(
    st.sampled_from(ATTRIBUTES), st.sampled_from(VALUES) | xmlText, max_size=5
)
children = st.recursive(
    st.builds(Element, st.sampled_from(CHILDREN), attributes),
    lambda inner: st.builds(
        Element, st.sampled_from(CHILDREN), attributes, st.lists(inner, max_size=3), xmlText
    ),
    max_leaves=6,
)
unlikely = st.builds(
    Element, st.sampled_from(NAMES), attributes, st.lists(children, max_size=2), xmlText
)
# What is there, with one thing more that may be wrong.
LIKELY = (
    ("start_job", {"job": "/report"}),
    ("kill_task", {"job": "/report", "id": "1"}),
    ("modify_job", {"job": "/report"}),
    ("add_order", {"job_chain": "/nightly"}),
    ("modify_order", {"job_chain": "/nightly", "order": "a"}),
    ("modify_order", {"job_chain": "/nightly", "order": "b"}),
    ("remove_order", {"job_chain": "/nightly", "order": "b"}),
    ("show_order", {"job_chain": "/nightly", "order": "a"}),
    ("show_job_chain", {"job_chain": "/nightly"}),
    ("show_job", {"job": "/extract"}),
    ("show_task", {"id": "1"}),
    ("show_history", {"job": "/report"}),
)
likely = st.builds(
    lambda base, more, inside: Element(base[0], more | base[1], inside),
    st.sampled_from(LIKELY),
    attributes,
    st.lists(children, max_size=1),
)
requests = likely | unlikely

# A machine may be slow, and making requests up is what takes the time.
_PATIENT = settings(deadline=None, suppress_health_check=list(HealthCheck))

_ANSWERS = re.compile(
    rb'(<\?xml version="1.0" encoding="ISO-8859-1"\?>\n<spooler><answer [^\0]*</spooler>\n\0'
    rb'|<\?xml version="1.0" encoding="ISO-8859-1"\?>\n<spooler><answer [^\0]*/></spooler>\n\0)*'
)
_RESPONSE = re.compile(rb"HTTP/1\.1 [2-5][0-9]{2} .*", re.DOTALL)


class AnythingTests(SynchronousTestCase):
    """
    Nonsense of all kinds.
    """

    def setUp(self) -> None:
        """
        A client.
        """
        self.make()

    def make(self) -> None:
        """
        One with two orders and two tasks.
        """
        self.network = MemoryNetwork()
        self.runner = FakeRunner()
        self.client = CommandedClient(self.network.clock, LIVE, self.runner, self.now, {"id": "c"})
        self.network.host("127.0.0.1").listen(PORT, self.client.factory)
        self.plain = PlainCommands(self.client.table, self.now)
        for said in (
            '<add_order job_chain="/nightly" id="a"/>',
            '<add_order job_chain="/nightly" id="b" at="now+60"/>',
            '<start_job job="/report"/>',
            '<start_job job="/report" at="now+60"/>',
        ):
            self.obey(parse(said.encode()))
        self.network.clock.advance(0)

    def now(self) -> float:
        """
        The time.
        """
        return NOW + float(self.network.clock.seconds())

    def obey(self, request: Element) -> list[Element]:
        """
        Say one request, without a connection.
        """
        peer = Peer("127.0.0.1", 1, Level.ALL)
        return self.successResultOf(Deferred.fromCoroutine(self.plain.obey(request, peer)))

    def state(self) -> object:
        """
        All that a command may change.
        """
        scheduler = self.client.scheduler
        orders = [
            repr(order) for chain in scheduler.book.chains for order in scheduler.book.orders(chain)
        ]
        jobs = [
            (job.stopped, job.suspended, job.failures, job.delayUntil, len(job.queued))
            for job in scheduler.jobs.values()
        ]
        tasks = [(number, task.killed) for number, task in scheduler.tasks.alive.items()]
        variables = serialise(self.obey(Element("params.get"))[0])
        kills = [(job.kills, job.cancelled) for job in self.runner.ran]
        return orders, jobs, tasks, variables, repr(kills), scheduler.state, self.client.told[:]

    def serves(self) -> None:
        """
        It still answers.
        """
        stranger = self.network.host("127.0.0.1").stranger("127.0.0.1", PORT)
        self.network.flush()
        stranger.transport.write(b'<show_job job="/load"/>')
        self.network.flush()
        self.assertIn(b'<job path="/load"', stranger.heard)
        stranger.transport.abortConnection()
        self.network.flush()
        self.assertEqual(self.client.factory.connections, {})
        self.assertEqual(self.flushLoggedErrors(), [])

    @settings(_PATIENT, max_examples=200)
    @given(st.lists(requests, min_size=1, max_size=6), st.integers(0, 30))
    def test_commands(self, said: list[Element], passed: int) -> None:
        """
        Each command is answered with what can be read again. One that is answered
        with an ERROR has changed nothing, and the ERROR comes last and has a code.
        """
        self.make()
        for request in said:
            several = request.name in ("spooler", "commands")
            before = self.state()
            answers = self.obey(request)
            for answer in answers:
                self.assertEqual(parse(serialise(answer), GREETED).name, answer.name)
            errors = [answer for answer in answers if answer.name == "ERROR"]
            if errors:
                self.assertEqual(errors, [answers[-1]])
                code, text = (errors[0].attributes[name] for name in ("code", "text"))
                self.assertTrue(text.startswith(f"{code}  "))
                self.assertNotEqual(code, "jsremote-internal-error", request)
                if not several:
                    self.assertEqual(self.state(), before, request)
            self.network.clock.advance(passed)
            for job in [each for each in self.runner.ran if not each.done.called][:1]:
                job.end(Outcome(Reason.EXITED, exitCode=passed % 2))
                self.network.clock.advance(0)
        self.serves()

    @settings(_PATIENT, max_examples=100)
    @given(
        st.one_of(
            st.binary(max_size=300),
            mutated(st.sampled_from([each["request"].encode("latin-1") for each in commands()])),
            mutated(requests.map(lambda each: serialise(each, "UTF-8"))),
        ),
        st.integers(0, 7),
    )
    def test_bytes(self, said: bytes, pieces: int) -> None:
        """
        Whatever bytes come, whole or in pieces: answers, a response, or the end.
        """
        self.make()
        self.network.split(pieces)
        stranger = self.network.host("127.0.0.1").stranger("127.0.0.1", PORT)
        self.network.flush()
        stranger.transport.write(said)
        self.network.flush()
        heard = bytes(stranger.heard)
        self.assertTrue(_ANSWERS.fullmatch(heard) or _RESPONSE.fullmatch(heard), heard)
        for answer in heard.split(b"\0")[:-1]:
            parse(answer, GREETED)
        stranger.transport.abortConnection()
        self.network.flush()
        self.network.split(0)
        self.serves()

    @settings(_PATIENT, max_examples=100)
    @given(
        mutated(
            st.sampled_from(
                [
                    b"GET /show_state HTTP/1.1\r\nHost: a\r\n\r\n",
                    b"GET /%3Cshow_job%20job=%22/report%22/%3E HTTP/1.0\r\n\r\n",
                    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n<nosuch/>",
                    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                ]
            )
        )
    )
    def test_http(self, said: bytes) -> None:
        """
        Whatever is said over HTTP: one response, or the end.
        """
        self.make()
        stranger = self.network.host("127.0.0.1").stranger("127.0.0.1", PORT)
        self.network.flush()
        stranger.transport.write(said)
        self.network.flush()
        heard = bytes(stranger.heard)
        self.assertTrue(_ANSWERS.fullmatch(heard) or _RESPONSE.fullmatch(heard), heard)
        self.assertLessEqual(len(re.findall(rb"(?m)^HTTP/1\.1 ", heard)), 1)
        stranger.transport.abortConnection()
        self.network.flush()
        self.serves()

    def test_long(self) -> None:
        """
        Documents that are too long, deep or wide are refused, not read.
        """
        for said in (
            b"<show_job job='" + b"x" * 70_000 + b"'/>",
            b"<commands>" * 50 + b"</commands>" * 50,
            b"<commands>" + b"<s/>" * 2000 + b"</commands>",
            b"<s " + b" ".join(b"a%d='1'" % number for number in range(100)) + b"/>",
            b"<!DOCTYPE s [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><s what='&e;'/>",
        ):
            stranger = self.network.host("127.0.0.1").stranger("127.0.0.1", PORT)
            self.network.flush()
            stranger.transport.write(said)
            self.network.flush()
            self.assertIn(b'code="XML-ERROR"', stranger.heard)
            stranger.transport.abortConnection()
            self.network.flush()
            self.serves()
