"""
L{jobscheduler_tcp.remote.draining}: the commands by which a remote takes no more
tasks, and ends.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.plaincommands import Peer
from jobscheduler_tcp.remote.draining import Draining
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.wire.documents import Element, element

PEER = Peer("10.0.0.1", 4711, Level.ALL)


class Remote:
    """
    A remote that has tasks until it is told otherwise.
    """

    def __init__(self) -> None:
        self.draining = False
        self.idle: Deferred[None] = Deferred()

    def drain(self) -> Deferred[None]:
        """
        Take no more.
        """
        self.draining = True
        return self.idle

    def resume(self) -> None:
        """
        Take more.
        """
        self.draining = False


class DrainingTests(SynchronousTestCase):
    """
    What is said to a remote.
    """

    def setUp(self) -> None:
        """
        A remote, and how often its program was ended.
        """
        self.remote = Remote()
        self.clock = Clock()
        self.ends: list[float] = []
        self.draining = Draining(
            self.remote, self.clock, lambda: self.ends.append(self.clock.seconds())
        )

    def say(self, name: str, draining: Draining | None = None, **attributes: str) -> Element:
        """
        Say a command.
        """
        level, handler = (draining or self.draining).commands()[name]
        self.assertIs(level, Level.ALL)
        answer = handler(element(name, attributes), PEER)
        assert isinstance(answer, Element)
        return answer

    def test_pause(self) -> None:
        """
        It takes no more tasks, and later takes them again.
        """
        for word, state in (("pause", "paused"), ("stop", "stopped")):
            self.assertEqual(self.say("modify_spooler", cmd=word), element("ok"))
            self.assertEqual((self.draining.state, self.remote.draining), (state, True))
            self.say("modify_spooler", cmd="continue")
            self.assertEqual((self.draining.state, self.remote.draining), ("", False))

    def test_terminate(self) -> None:
        """
        The program ends when the tasks are over, and after the answer is said;
        until then nothing brings the remote back.
        """
        for say in (
            lambda: self.say("terminate"),
            lambda: self.say("modify_spooler", cmd="terminate"),
        ):
            self.setUp()
            self.assertEqual(say(), element("ok"))
            self.assertEqual((self.draining.state, self.remote.draining), ("stopping", True))
            refused = self.assertRaises(CommandRefused, self.say, "modify_spooler", cmd="continue")
            self.assertEqual(refused.code, "SCHEDULER-381")
            self.remote.idle.callback(None)
            self.assertEqual(self.ends, [])
            self.clock.advance(0)
            self.assertEqual(self.ends, [0.0])

    def test_timeout(self) -> None:
        """
        Tasks that are not over after the time that they have do not hold it up,
        and it ends once.
        """
        self.say("terminate", timeout="30")
        self.clock.advance(29)
        self.assertEqual(self.ends, [])
        self.clock.advance(1)
        self.remote.idle.callback(None)
        self.clock.advance(0)
        self.assertEqual(self.ends, [30.0])

    def test_refused(self) -> None:
        """
        Words that are none, and what a remote cannot do, change nothing.
        """
        embedded = Draining(self.remote, self.clock)
        for code, name, draining, attributes in (
            ("SCHEDULER-105", "modify_spooler", None, {"cmd": "bogus"}),
            ("SCHEDULER-105", "modify_spooler", None, {}),
            ("jsremote-protocol-error", "terminate", None, {"timeout": "soon"}),
            ("jsremote-unsupported", "terminate", None, {"restart": "yes"}),
            ("jsremote-unsupported", "terminate", embedded, {}),
        ):
            refused = self.assertRaises(CommandRefused, self.say, name, draining, **attributes)
            self.assertEqual(refused.code, code)
        self.assertEqual((self.draining.state, self.remote.draining), ("", False))
