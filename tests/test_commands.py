"""
The extended requests and answers as XML.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.errors import LocalProtocolError, RemoteProtocolError
from jobscheduler_tcp.messages import (
    Answer,
    AttachTask,
    CallbackMode,
    Hello,
    KillTask,
    OnDisconnect,
    Ping,
    Pong,
    Request,
    RequestFailed,
    StartTask,
    Survivor,
    TaskKilled,
    TaskRefused,
    TaskTaken,
    Welcome,
    Work,
)
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.wire.answers import decodeAnswer, encodeAnswer
from jobscheduler_tcp.wire.documents import GREETED, parse
from jobscheduler_tcp.wire.requests import decodeRequest, encodeRequest, isRequest
from jobscheduler_tcp.wire.splitters import AnswerSplitter, DocumentSplitter
from tests.strategies import answers, fed, mutated, pieces, requests, sizes, smalls, taskIds

TASK = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f10"
TOKEN = bytes(range(16))
NOW = "2026-11-22T15:33:49.123Z"

# As on the protocol's page.
START = b"""
    <remote_scheduler.start_remote_task
        id="2" task="4be0643f-1d98-4a72-90b4-6b1a3d8c0f10" tcp_port="59999"
        token="000102030405060708090a0b0c0d0e0f" callback="own" on_disconnect="kill"
        directory="/tmp" stdin="yes" timeout="3600" silence="0" output_limit="0" grace="5"
        sha256="yes">
      <params><param name="day" value="2026-11-22"/></params>
      <environment><variable name="LANG" value="C.UTF-8"/></environment>
      <script>echo "$SCHEDULER_PARAM_DAY"</script>
    </remote_scheduler.start_remote_task>
"""
STARTED = StartTask(
    2,
    TASK,
    59999,
    TOKEN,
    Work(
        script='echo "$SCHEDULER_PARAM_DAY"',
        parameters=(("day", "2026-11-22"),),
        environment=(("LANG", "C.UTF-8"),),
        directory="/tmp",
        stdin=True,
        wallTime=3600,
    ),
    CallbackMode.OWN,
    OnDisconnect.KILL,
    sha256=True,
)


def said(body: str) -> bytes:
    """
    An answer of a real JobScheduler.
    """
    prolog = '<?xml version="1.0" encoding="ISO-8859-1"?>\n'
    return f'{prolog}<spooler><answer time="now">{body}</answer></spooler>'.encode("latin-1")


def shown(answer: Answer) -> bytes:
    """
    An answer, without what ends it.
    """
    return encodeAnswer(answer, NOW).strip(b"\n\0")


def heard(document: bytes) -> Answer | None:
    """
    What it says, if it is understood.
    """
    try:
        return decodeAnswer(document)
    except RemoteProtocolError:
        return None


class RoundTripTests(SynchronousTestCase):
    """
    Whatever is said is heard.
    """

    @settings(deadline=None, max_examples=100)
    @given(st.lists(requests, min_size=1, max_size=3), sizes)
    def test_requests(self, talk: list[Request], lengths: list[int]) -> None:
        """
        Every request comes out as it went in, through any cut.
        """
        stream = b"".join(map(encodeRequest, talk))
        roots = [parse(each) for each in fed(DocumentSplitter().feed, pieces(stream, lengths))]
        self.assertEqual([decodeRequest(root) for root in roots], talk)
        self.assertTrue(all(map(isRequest, roots)))

    @settings(deadline=None, max_examples=100)
    @given(st.lists(answers, min_size=1, max_size=3), sizes)
    def test_answers(self, talk: list[Answer], lengths: list[int]) -> None:
        """
        Every answer comes out as it went in, through any cut.
        """
        stream = b"".join(encodeAnswer(each, NOW) for each in talk)
        found = fed(AnswerSplitter().feed, pieces(stream, lengths))
        self.assertEqual([decodeAnswer(each) for each in found], talk)

    @settings(deadline=None, max_examples=100)
    @given(mutated(requests.map(encodeRequest)))
    def test_mutatedRequests(self, stream: bytes) -> None:
        """
        A damaged request is a request or a L{RemoteProtocolError}.
        """
        try:
            for document in DocumentSplitter().feed(stream):
                decodeRequest(parse(document, GREETED))
        except RemoteProtocolError:
            pass

    @settings(deadline=None, max_examples=100)
    @given(mutated(answers.map(lambda each: encodeAnswer(each, NOW))))
    def test_mutatedAnswers(self, stream: bytes) -> None:
        """
        A damaged answer is an answer or a L{RemoteProtocolError}.
        """
        try:
            for document in AnswerSplitter().feed(stream):
                decodeAnswer(document)
        except RemoteProtocolError:
            pass

    @settings(deadline=None, max_examples=200)
    @given(
        st.one_of(
            mutated(st.builds(TaskTaken, smalls, taskIds, smalls).map(shown)),
            answers.map(shown),
        )
    )
    def test_readAtOnce(self, document: bytes) -> None:
        """
        What is read without XML is read as XML would be: so is a document that a
        comment makes unlike all that are.
        """
        self.assertEqual(heard(document), heard(b"<!---->" + document))

    @settings(deadline=None, max_examples=100)
    @given(requests, smalls)
    def test_identifier(self, request: Request, identifier: int) -> None:
        """
        A request is written with the id that it is given.
        """
        given = replace(request, id=identifier)
        self.assertEqual(encodeRequest(request, identifier), encodeRequest(given))

    @settings(deadline=None, max_examples=100)
    @given(requests)
    def test_noBareBrackets(self, request: Request) -> None:
        """
        Who counts brackets, as real JobSchedulers do, finds the same end: there is
        none outside of tags.
        """
        written = encodeRequest(request)
        depth = 0
        for part in written.split(b"<")[1:]:
            self.assertEqual(part.count(b">"), 1)
            tag = part.partition(b">")[0]
            depth += -1 if tag.startswith(b"/") else not tag.endswith(b"/")
        self.assertEqual(depth, 0)


class RequestTests(SynchronousTestCase):
    """
    Requests as on the protocol's page.
    """

    def test_start(self) -> None:
        """
        The example of the page.
        """
        self.assertEqual(decodeRequest(parse(START.strip())), STARTED)
        self.assertEqual(decodeRequest(parse(encodeRequest(STARTED))), STARTED)

    def test_absent(self) -> None:
        """
        What is absent has the value that the page names; what is not known is
        ignored.
        """
        root = parse(
            f'<remote_scheduler.start_remote_task id="1" task="{TASK}" tcp_port="1024" mood="fine"'
            f' token="{TOKEN.hex().upper()}"><job name="nightly"/><later/>'
            "</remote_scheduler.start_remote_task>".encode()
        )
        self.assertEqual(decodeRequest(root), StartTask(1, TASK, 1024, TOKEN, Work(job="nightly")))

    def test_others(self) -> None:
        """
        The other requests.
        """
        for document, request in (
            (
                (
                    f'<jsremote.hello id="1" version="1" instance="{TASK}"'
                    ' capabilities="own  shared"'
                    ' authentication="none" boot_id="9a" clock="1795361629.123"/>'
                ),
                Hello(1, 1, TASK, ("own", "shared"), "none", "9a", 1795361629.123),
            ),
            (
                f'<remote_scheduler.remote_task.kill id="3" task="{TASK}" signal="9" grace="0.5"/>',
                KillTask(3, TASK, 9, 0.5),
            ),
            (f'<remote_scheduler.remote_task.kill id="3" task="{TASK}"/>', KillTask(3, TASK)),
            (
                (
                    f'<remote_scheduler.remote_task.attach id="4" task="{TASK}" tcp_port="59998"'
                    f' token="{TOKEN.hex()}" secret="{bytes(16).hex()}" instance="{TASK}"'
                    ' stdout="1048576" stderr="0"/>'
                ),
                AttachTask(4, TASK, 59998, TOKEN, 1048576, 0, bytes(16), TASK),
            ),
            ('<jsremote.ping id="5"/>', Ping(5)),
        ):
            with self.subTest(request=request):
                self.assertEqual(decodeRequest(parse(document.encode())), request)

    def test_unsayableText(self) -> None:
        """
        What XML cannot carry travels in hexadecimal: control characters, and bytes
        that are not UTF-8.
        """
        work = Work(
            command=("/bin/echo", "\x1b[1m", "\udcff", ""),
            parameters=(("a\x01", "\x00"),),
            directory="/tmp/\udce9",
        )
        written = encodeRequest(replace(STARTED, work=work))
        self.assertIn(b'hex_directory="2f746d702fe9"', written)
        self.assertIn(b'<param hex_name="6101" hex_value="00"/>', written)
        self.assertIn(b'<argument hex_value="ff"/><argument value=""/>', written)
        decoded = decodeRequest(parse(written))
        assert isinstance(decoded, StartTask)
        self.assertEqual(decoded.work, work)

    def test_isRequest(self) -> None:
        """
        The classic start has no UUID; other commands are no requests.
        """
        for document, expected in (
            (b'<remote_scheduler.start_remote_task tcp_port="59999" kind="process"/>', False),
            (b'<remote_scheduler.start_remote_task task=""/>', True),
            (b"<remote_scheduler.remote_task.close process_id='17'/>", False),
            (b"<show_state/>", False),
            (b"<jsremote.hello/>", True),
            (b"<jsremote.ping/>", True),
            (b"<remote_scheduler.remote_task.kill/>", True),
            (b"<remote_scheduler.remote_task.attach/>", True),
        ):
            with self.subTest(document=document):
                self.assertEqual(isRequest(parse(document)), expected)
        with self.assertRaises(RemoteProtocolError):
            decodeRequest(parse(b"<show_state/>"))

    def test_refused(self) -> None:
        """
        A start with anything missing, doubled or out of its bounds is refused, and
        the error does not tell its token.
        """
        start = START.strip().decode()
        for old, new in (
            ('id="2"', ""),
            ('id="2"', 'id="0"'),
            ('id="2"', 'id="-1"'),
            ('id="2"', 'id="2147483648"'),
            ('id="2"', 'id="' + "9" * 5000 + '"'),
            ('id="2"', 'id=" 2"'),
            ("4be0643f", "4BE0643F"),
            ("4be0643f", "4be0643"),
            ('tcp_port="59999"', ""),
            ("59999", "80"),
            ("59999", "1023"),
            ("59999", "65536"),
            ("59999", "http"),
            ('token="', 'token="0'),
            ('token="00', 'token="'),
            ('token="00', 'token="0x'),
            ('token="00', 'token="g0'),
            ('token="', 'other="'),
            ('"own"', '"mine"'),
            ('"kill"', '"keep"'),
            ('stdin="yes"', 'stdin="maybe"'),
            ('sha256="yes"', 'sha256="maybe"'),
            ('"3600"', '"-1"'),
            ('"3600"', '"nan"'),
            ('"3600"', '"inf"'),
            ('"3600"', '"1e13"'),
            ('output_limit="0"', 'output_limit="0.5"'),
            ('output_limit="0"', 'output_limit="9223372036854775808"'),
            ("<script>", "<job name='x'/><script>"),
            ("<script>", "<script>x</script><script>"),
            ("<script>", "<command><argument/></command><script>"),
            ('"$SCHEDULER_PARAM_DAY"</script>', "</script><command/>"),
            ('<script>echo "$SCHEDULER_PARAM_DAY"</script>', ""),
            ('<script>echo "$SCHEDULER_PARAM_DAY"</script>', "<script/>"),
            ('<script>echo "$SCHEDULER_PARAM_DAY"</script>', "<command/>"),
            ('<script>echo "$SCHEDULER_PARAM_DAY"</script>', "<job/>"),
            ('<script>echo "$SCHEDULER_PARAM_DAY"</script>', "<script hex_value='0g'/>"),
            ('<script>echo "$SCHEDULER_PARAM_DAY"</script>', "<command><argument/></command>"),
            ('name="day"', ""),
            ('name="day"', 'name=""'),
            ('value="2026-11-22"', ""),
        ):
            document = start.replace(old, new)
            with self.subTest(old=old, new=new):
                self.assertNotEqual(document, start)
                root = parse(document.encode())
                with self.assertRaises(RemoteProtocolError) as caught:
                    decodeRequest(root)
                self.assertNotIn("0c0d0e0f", str(caught.exception))

    def test_attachPort(self) -> None:
        """
        The port to come back to is no port of a service either.
        """
        with self.assertRaises(RemoteProtocolError):
            decodeRequest(parse(encodeRequest(AttachTask(1, TASK, 25, TOKEN, secret=TOKEN))))

    def test_attachWithoutSecret(self) -> None:
        """
        Nor does a start that shall be held, or who comes back for it, go without
        a secret.
        """
        for request in (
            AttachTask(1, TASK, 59998, TOKEN),
            replace(STARTED, onDisconnect=OnDisconnect.HOLD),
        ):
            with self.subTest(request=request), self.assertRaises(RemoteProtocolError):
                decodeRequest(parse(encodeRequest(request)))

    def test_attachNowhere(self) -> None:
        """
        A task is confirmed at a port or on a standing connection, not at both.
        """
        attach = AttachTask(1, TASK, 0, TOKEN, secret=TOKEN, mode=CallbackMode.SHARED)
        document = encodeRequest(replace(attach, connection=TASK))
        decodeRequest(parse(document))
        for old, new in (
            (b"connection=", b"other="),
            (b"shared", b"own"),
            (b"connection=", b'tcp_port="59999" connection='),
        ):
            with self.subTest(new=new), self.assertRaises(RemoteProtocolError):
                decodeRequest(parse(document.replace(old, new)))

    def test_local(self) -> None:
        """
        What cannot be said is our fault.
        """
        for work in (
            Work(),
            Work(script="true", job="nightly"),
            Work(script="\ud800"),
            Work(script="true", wallTime=float("nan")),
            Work(script="true", grace=float("inf")),
        ):
            with self.subTest(work=work), self.assertRaises(LocalProtocolError):
                encodeRequest(replace(STARTED, work=work))


class AnswerTests(SynchronousTestCase):
    """
    Answers as on the protocol's page.
    """

    def test_written(self) -> None:
        """
        One envelope, the id, one element, a line feed and a NUL.
        """
        for answer, body in (
            (TaskTaken(7, TASK, 17), f'<process process_id="17" task="{TASK}"/>'),
            (
                TaskRefused(7, TASK, Reason.CALLBACK_REFUSED, "Connection <refused>", 111),
                (
                    f'<ERROR code="jsremote-callback-refused" task="{TASK}"'
                    ' reason="callback-refused" errno="111"'
                    ' text="jsremote-callback-refused  Connection &lt;refused&gt;"/>'
                ),
            ),
            (
                TaskKilled(7, TASK, 3, (Survivor(4711, "dd if=/dev/zero"),)),
                (
                    f'<killed task="{TASK}" died="3">'
                    '<survivor pid="4711" command="dd if=/dev/zero"/></killed>'
                ),
            ),
            (Pong(7), "<jsremote.pong/>"),
            (
                RequestFailed(7, "SCHEDULER-105", "Unknown command: x"),
                '<ERROR code="SCHEDULER-105" text="SCHEDULER-105  Unknown command: x"/>',
            ),
            (
                Welcome(7, 1, TASK, ("own",), "c4", 1.5, 9),
                (
                    f'<jsremote.welcome version="1" instance="{TASK}" capabilities="own"'
                    ' boot_id="c4" clock="1.5" max_tasks="9"/>'
                ),
            ),
        ):
            written = encodeAnswer(answer, NOW).decode()
            self.assertEqual(
                written,
                f'<spooler><answer id="7" time="{NOW}">{body}</answer></spooler>\n\0',
            )

    def test_linesAreMadeToFit(self) -> None:
        """
        Text for people is cut and made printable, so that the answer arrives.
        """
        answer = TaskKilled(1, TASK, 0, (Survivor(1, "\x00\udcff" + "x" * 5000),))
        (written,) = AnswerSplitter().feed(encodeAnswer(answer, NOW))
        self.assertEqual(
            decodeAnswer(written), replace(answer, survivors=(Survivor(1, "??" + "x" * 1998),))
        )

    def test_classic(self) -> None:
        """
        What a real JobScheduler says to a hello is a L{RequestFailed} without an
        id; the last of several elements decides.
        """
        for body, code, text in (
            (
                (
                    '<ERROR code="SCHEDULER-105" class="x" time="2026-11-22 09:24:08"'
                    ' text="SCHEDULER-105  Unknown command: &lt;jsremote.hello&gt;"/>'
                ),
                "SCHEDULER-105",
                "Unknown command: <jsremote.hello>",
            ),
            ('<ok/><ERROR code="Z-1" text="other"/>', "Z-1", "other"),
            ("<ERROR/>", "", ""),
            (f'<ERROR code="Z-1" text="{"x" * 9000}"/>', "Z-1", "x" * 2000),
        ):
            self.assertEqual(decodeAnswer(said(body)), RequestFailed(0, code, text))

    def test_refused(self) -> None:
        """
        Anything else is a L{RemoteProtocolError}.
        """
        for document in (
            b"",
            b"<answer/>",
            b"<spooler/>",
            b"<spooler><ok/></spooler>",
            said(""),
            said("<ok/>"),
            said("<jsremote.pong/>"),
            said('<process process_id="1"/>'),
            said("<jsremote.pong/>").replace(b"<answer", b"<answer id='x'"),
            encodeAnswer(TaskTaken(1, TASK, 17), "now")[:-2].replace(b'"17"', b'"017"'),
            encodeAnswer(TaskTaken(1, TASK, 17), "now")[:-2].replace(b'"1"', b'"01"'),
            encodeAnswer(TaskTaken(1, TASK, 17), "")[:-2].replace(b'"17"', b'"017"'),
            encodeAnswer(TaskTaken(1, TASK, 17), "")[:-2].replace(b'"1"', b'"01"'),
            said(f'<ERROR task="{TASK}" reason="bored"/>').replace(b"<answer", b"<answer id='1'"),
            said(f'<killed task="{TASK}"><survivor/></killed>').replace(
                b"<answer", b"<answer id='1'"
            ),
        ):
            with self.subTest(document=document), self.assertRaises(RemoteProtocolError):
                decodeAnswer(document)
