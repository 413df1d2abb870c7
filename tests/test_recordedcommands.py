"""
All requests of a recording to the XML port of a real client, said to ours: it
answers as the real one did, but for a table of differences.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client import verdicts
from jobscheduler_tcp.interfaces import IConfirmationReceiver
from jobscheduler_tcp.messages import Stream, TaskEnded, TaskKilled, Work
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.testing import MemoryNetwork
from jobscheduler_tcp.wire.documents import GREETED, Element, parse
from tests import recordings
from tests.commandedclient import CommandedClient
from tests.placed import FakeJob, FakeRunner

EXAMPLE = Path(__file__).parent / "data" / "two-schedulers" / "client" / "live"
MORE = {
    "remote.process_class.xml": '<process_class max_processes="10" '
    'remote_scheduler="127.0.0.1:4455"/>',
    "ok.job.xml": '<job process_class="remote"><script language="shell">true</script></job>',
    "exit3.job.xml": '<job process_class="remote"><script language="shell">exit 3</script></job>',
    "sleeper.job.xml": '<job process_class="remote"><script language="shell">sleep 60</script>'
    "</job>",
}

PORT = 4444

# Seconds from the beginning of a task to its end, if it does not sleep.
LASTS = 0.01


@dataclass(frozen=True)
class Allowed:
    """
    How our answers may differ.

    @ivar kind: C{missing} is in the recording only, C{added} in ours only;
        C{value}.
    @ivar where: C{PARENT/CHILD} or C{ELEMENT/@ATTRIBUTE}.
    @ivar requests: by their numbers in the recording; empty for all.
    """

    kind: str
    where: str
    reason: str
    requests: tuple[int, ...] = ()


_NO_LOG = "what jobs and orders log is in the client's own log, without levels of their own"
_INSIDE = "tells of the inside of the original"

ALLOWED = (
    Allowed("missing", "log/@highest_level", _NO_LOG),
    Allowed("missing", "log/@last_info", _NO_LOG),
    Allowed("missing", "log/@smtp", "no mail is sent"),
    Allowed("missing", "job/@log_file", "a task has a log file, a job has none"),
    Allowed("missing", "state/@log_file", "where the log goes is said to twistd"),
    Allowed("value", "task/@log_file", "one for each task, and known from the beginning"),
    Allowed("missing", "job/@cmd", "what a command asked for that was not obeyed yet"),
    Allowed("missing", "process/@callbacks", _INSIDE),
    Allowed("missing", "process/@operation", _INSIDE),
    Allowed("missing", "process/@operations", _INSIDE),
    Allowed("missing", "task/@operation", _INSIDE),
    Allowed("missing", "state/@loop", _INSIDE),
    Allowed("missing", "state/@waits", _INSIDE),
    Allowed("missing", "state/operations", _INSIDE),
    Allowed("missing", "state/java_subsystem", _INSIDE),
    Allowed("missing", "connection/operation", _INSIDE),
    Allowed("value", "peer/@port", "the caller's port of that day"),
    Allowed("value", "state/@version", "another program"),
    Allowed("value", "state/@pid", "another process"),
    Allowed("value", "state/@wait_until", "the original wakes at midnight"),
    Allowed("value", "job_chains/@count", "the original counts one more than it shows"),
    Allowed(
        "missing",
        "process_classes/process_class",
        "jobs run only at remotes, so only classes that are configured are there",
    ),
    Allowed("added", "task/@pid", "known as soon as the task runs"),
    Allowed("added", "task/@stdout_size", "how much a task has printed can be looked at"),
    Allowed("value", "process/@pid", "likewise"),
    Allowed("added", "history.entry/@exit_code", "JobScheduler tells it in words only"),
    Allowed("added", "history.entry/@signal", "likewise"),
    Allowed("added", "history.entry/@reason", "every outcome has one named reason"),
    Allowed("added", "history.entry/@seconds", "by the clock of the remote"),
    Allowed("added", "history.entry/log", "asked for; the original had no database", (12,)),
    Allowed("missing", "answer/ERROR", "the original had no database", (14,)),
    Allowed("added", "answer/task", "the original had no database", (14,)),
    Allowed(
        "added",
        "queued_tasks/queued_task",
        "who waits, and where, is told without being asked for",
        (53, 60),
    ),
    Allowed("value", "history.entry/@error_text", "what a C library calls a signal", (20,)),
    Allowed("value", "ERROR/@text", "what a C library calls a signal", (21,)),
    Allowed("value", "ERROR/@text", "the name of a function in brackets behind it", (39, 40)),
    Allowed("value", "ERROR/@text", "another XML library", (58,)),
    Allowed(
        "value", "order/@in_process_since", "the original says now, if it is less than a second"
    ),
)

# Which element of several of the same name is which.
_IDENTITY = {
    "job": "path",
    "job_chain": "path",
    "process_class": "path",
    "job_chain_node": "state",
    "order": "order",
    "task": "id",
    "queued_task": "id",
    "history.entry": "id",
    "process": "task",
    "requisite": "path",
    "param": "name",
}


class RecordedRunner(FakeRunner):
    """
    Runs the jobs of the recording, in no time but for the sleeper.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def run(
        self, work: Work, processClass: str = "", receiver: IConfirmationReceiver | None = None
    ) -> FakeJob:
        """
        Run a job.
        """
        assert receiver is not None
        job = RecordedJob(work, processClass, receiver)
        self.ran.append(job)
        self._clock.callLater(0.001, job.start)
        if job.name != "sleeper":
            self._clock.callLater(LASTS, job.finish)
        return job


class RecordedJob(FakeJob):
    """
    A job of the recording.
    """

    @property
    def name(self) -> str:
        """
        The name of the job.
        """
        return dict(self.work.environment)["SCHEDULER_JOB_NAME"]

    def start(self) -> None:
        """
        It prints what it printed.
        """
        super().start()
        values = dict(self.work.parameters) | dict(self.work.orderParameters or ())
        order = dict(self.work.environment).get("SCHEDULER_ORDER_ID", "")
        texts = {
            "report": f"report of {values.get('site', '')}",
            "extract": f"row 1 of {values.get('day', '')}",
            "load": f"loading {values.get('file', '')} for order {order}",
            "exit3": "before exit 3",
            "sleeper": "going to sleep",
        }
        if self.name in texts:
            self.receiver.outputReceived(Stream.STDOUT, f"{texts[self.name]}\n".encode())

    def finish(self) -> None:
        """
        It ends.
        """
        values = dict(self.work.orderParameters or ())
        file = f"/var/spool/{values.get('day', '')}.csv".encode()
        returned = ((b"file", file),) if self.name == "extract" else ()
        code = 3 if self.name == "exit3" else 0
        self.over(TaskEnded(Reason.EXITED, exitCode=code, returned=returned))

    def kill(self, signal: int, grace: float) -> Deferred[TaskKilled]:
        """
        It dies.
        """
        self.over(TaskEnded(Reason.KILLED, signal=signal))
        return succeed(TaskKilled(1, "", 1, ()))

    def over(self, message: TaskEnded) -> None:
        """
        Tell its end.
        """
        self.receiver.taskEnded(message)
        self.end(verdicts.ended(message, self.pid))


class ReplayTests(SynchronousTestCase):
    """
    The answers of a real JobScheduler to the same requests.
    """

    def setUp(self) -> None:
        """
        The client that was recorded, as far as the recording tells.
        """
        self.recorded = recordings.commands()
        network = self.network = MemoryNetwork()
        # A bit later, lest fractions of a millisecond make it a millisecond earlier.
        first = _answer(self.recorded[0]["answer"]).attributes["time"]
        self.base = _seconds(first) + 0.0001
        live = Path(self.mktemp()) / "live"
        copytree(EXAMPLE, live)
        for name, text in MORE.items():
            (live / name).write_text(text)
        written = int(self.base) - 4  # as the recording says of all files
        for path in live.iterdir():
            os.utime(path, (written, written))
        self.runner = RecordedRunner(network.clock)
        about = {
            "id": "client",
            "spooler_id": "client",
            "config_file": "scheduler.xml",
            "tcp_port": "4444",
            "ip_address": "127.0.0.1",
            "host": "vm",
        }
        self.client = CommandedClient(network.clock, live, self.runner, self.now, about)
        network.host("127.0.0.1").listen(PORT, self.client.factory)

    def now(self) -> float:
        """
        The time of the recorded client.
        """
        return self.base + float(self.network.clock.seconds())

    def say(self, request: str) -> bytes:
        """
        Say something on a connection of its own, as it was recorded.
        """
        stranger = self.network.host("127.0.0.1").stranger("127.0.0.1", PORT)
        self.network.flush()
        stranger.transport.write(request.encode("latin-1"))
        self.network.flush()
        heard = bytes(stranger.heard)
        stranger.transport.abortConnection()
        self.network.flush()
        return heard

    def test_replay(self) -> None:
        """
        Each answer has the elements, attributes, values and error codes of the
        recorded one. What differs is in the table; what is in the table differs.
        """
        used: set[Allowed] = set()
        unexpected = []
        for number, each in enumerate(self.recorded):
            if each["answer"]:
                then = _seconds(_answer(each["answer"]).attributes["time"])
                while self.now() < then:
                    self.network.clock.advance(min(0.005, then + 0.0001 - self.now()))
            heard = self.say(each["request"])
            self.network.clock.advance(0)
            self.assertEqual(bool(heard), bool(each["answer"]), each["request"])
            if not heard:
                continue
            self.assertTrue(heard.endswith(b"</spooler>\n\0"), each["request"])
            ours = parse(heard.rstrip(b"\n\0"), GREETED).children[0]
            for kind, where, told in _differences(_answer(each["answer"]), ours):
                found = [
                    allowed
                    for allowed in ALLOWED
                    if (allowed.kind, allowed.where) == (kind, where)
                    and (not allowed.requests or number in allowed.requests)
                ]
                used.update(found)
                if not found:
                    unexpected.append(f"{number} {each['request']}: {kind} {where} {told}")
        self.assertEqual("\n".join(unexpected), "")
        self.assertEqual([each.where for each in ALLOWED if each not in used], [])
        self.assertEqual(self.client.told, [])


def _answer(text: str) -> Element:
    document = text.rstrip("\n\0").encode("latin-1", "xmlcharrefreplace")
    return parse(document, GREETED).children[0]


def _seconds(text: str) -> float:
    whole, _, fraction = text.partition(".")
    return time.mktime(time.strptime(whole, "%Y-%m-%d %H:%M:%S")) + float(f"0.{fraction or 0}")


def _timeless(text: str) -> str:
    return re.sub(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:.]+Z?", "then", text)


def _differences(real: Element, ours: Element) -> Iterator[tuple[str, str, str]]:
    for name in real.attributes.keys() - ours.attributes.keys():
        yield "missing", f"{real.name}/@{name}", real.attributes[name]
    for name in ours.attributes.keys() - real.attributes.keys():
        yield "added", f"{real.name}/@{name}", ours.attributes[name]
    for name in real.attributes.keys() & ours.attributes.keys():
        if _timeless(real.attributes[name]) != _timeless(ours.attributes[name]):
            told = f"{real.attributes[name]!r} is {ours.attributes[name]!r}"
            yield "value", f"{real.name}/@{name}", told
    theirs, own = _children(real), _children(ours)
    for key in theirs.keys() - own.keys():
        yield "missing", f"{real.name}/{theirs[key].name}", key
    for key in own.keys() - theirs.keys():
        yield "added", f"{real.name}/{own[key].name}", key
    for key in theirs.keys() & own.keys():
        yield from _differences(theirs[key], own[key])


def _children(parent: Element) -> dict[str, Element]:
    found: dict[str, Element] = {}
    for child in parent.children:
        identity = child.attributes.get(_IDENTITY.get(child.name, ""), "")
        key = f"{child.name} {identity}"
        while key in found:
            key += "+"
        found[key] = child
    return found
