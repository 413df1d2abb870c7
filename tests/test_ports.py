"""
Tests for L{jobscheduler_tcp.client.ports}.
"""

from __future__ import annotations

from errno import EADDRINUSE, EMFILE
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, ServerFactory
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client import localports, ports
from jobscheduler_tcp.client.ports import RETRY, CallbackPort, CallbackPorts
from jobscheduler_tcp.testing import MemoryNetwork
from tests.scripted import CLIENT


class PortsTests(SynchronousTestCase):
    """
    Ports are given out highest first, each to one at a time.
    """

    def setUp(self) -> None:
        """
        Three ports of a host.
        """
        self.network = MemoryNetwork()
        self.host = self.network.host(CLIENT)
        self.ports = CallbackPorts(self.network.clock, self.host.listen, 59999, 59997)
        logs = capturedLogs()
        self.events = logs.__enter__()
        self.addCleanup(logs.__exit__, None, None, None)

    def acquire(self) -> CallbackPort:
        """
        Take a port that is free now.
        """
        return self.successResultOf(self.ports.acquire(ServerFactory()))

    def warnings(self) -> list[str]:
        """
        What was warned about.
        """
        return [
            formatEvent(event)
            for event in self.events
            if event.get("log_namespace", "").endswith("CallbackPorts")
        ]

    def test_highestFirst(self) -> None:
        """
        The first job gets 59999, the next one 59998; what was given back is
        used again.
        """
        first, second = self.acquire(), self.acquire()
        self.assertEqual((first.number, second.number), (59999, 59998))
        self.assertEqual(self.ports.reserved, 2)
        first.release()
        self.network.flush()
        self.network.advance()
        self.assertEqual(self.acquire().number, 59999)

    def test_reserved(self) -> None:
        """
        A port that nobody listens on any more is not given out again before its
        task is over.
        """
        first = self.acquire()
        first.stopListening()
        self.network.advance(1)
        self.assertEqual(self.acquire().number, 59998)
        first.release()
        first.release()
        first.stopListening()
        self.network.advance(1)
        self.assertEqual(self.acquire().number, 59999)
        self.assertEqual(self.acquire().number, 59997)

    def test_wait(self) -> None:
        """
        When all ports are used, jobs wait in order; it is no failure.
        """
        taken = [self.acquire() for _ in range(3)]
        waiting = [self.ports.acquire(ServerFactory()) for _ in range(3)]
        self.assertEqual(self.ports.waiting, 3)
        waiting[1].cancel()
        self.failureResultOf(waiting[1])
        taken[1].release()
        self.network.advance()
        self.assertEqual(self.successResultOf(waiting[0]).number, 59998)
        self.assertNoResult(waiting[2])
        taken[2].release()
        self.network.advance()
        self.assertEqual(self.successResultOf(waiting[2]).number, 59997)
        self.assertEqual(self.network.clock.getDelayedCalls(), [])

    def test_foreign(self) -> None:
        """
        A port that somebody else has is left out, with one warning, and tried
        again later, after all others.
        """
        foreign = self.host.listenTCP(59999, Factory())
        first = self.acquire()
        self.assertEqual(first.number, 59998)
        self.assertEqual(len(self.warnings()), 1)
        self.assertIn("Callback port 59999 is in use", self.warnings()[0])

        self.assertEqual(self.acquire().number, 59997)
        waiting = self.ports.acquire(ServerFactory())
        self.network.advance(RETRY)
        self.assertNoResult(waiting)
        self.assertEqual(len(self.warnings()), 1)
        foreign.stopListening()
        self.network.advance(RETRY)
        self.assertEqual(self.successResultOf(waiting).number, 59999)
        self.assertEqual(self.network.clock.getDelayedCalls(), [])

    def test_foreignWithoutWaiting(self) -> None:
        """
        A foreign port that is free again is used by who comes after a while,
        when there is no other.
        """
        foreign = self.host.listenTCP(59999, Factory())
        self.acquire()
        self.acquire()
        self.assertEqual(self.network.clock.getDelayedCalls(), [])
        foreign.stopListening()
        self.network.advance(RETRY)
        self.assertEqual(self.acquire().number, 59999)

    def test_foreignCancelled(self) -> None:
        """
        When nobody waits any more, nothing is tried.
        """
        self.host.listenTCP(59999, Factory())
        self.acquire()
        self.acquire()
        waiting = self.ports.acquire(ServerFactory())
        waiting.cancel()
        self.failureResultOf(waiting)
        self.assertEqual(self.network.clock.getDelayedCalls(), [])

    def test_advice(self) -> None:
        """
        If the port lies where outgoing connections get theirs, the warning says
        how to keep them off, once; if it does not, there is no such advice.
        """
        known = Path(self.mktemp())
        self.patch(localports, "_EPHEMERAL", known)
        self.patch(localports, "_RESERVED", known)
        self.host.listenTCP(59999, Factory())
        self.host.listenTCP(59998, Factory())
        known.write_text("32768\t59998\n")
        self.patch(localports, "_RESERVED", Path(self.mktemp()))
        self.acquire()
        first, second = self.warnings()
        self.assertNotIn("sysctl", first)
        self.assertIn("sysctl -w net.ipv4.ip_local_reserved_ports=59997-59999", second)

    def test_holder(self) -> None:
        """
        The first warning says who has the port, if the system tells.
        """
        self.patch(ports, "holderOf", lambda port: "pid 12 (squid)")
        self.host.listenTCP(59999, Factory())
        self.host.listenTCP(59998, Factory())
        self.acquire()
        first, second = self.warnings()
        self.assertIn("in use by pid 12 (squid)", first)
        self.assertNotIn("squid", second)

    def test_otherError(self) -> None:
        """
        If listening is not possible for another reason, that is a failure, and
        the port stays free.
        """
        errors: list[OSError | None] = [OSError(EMFILE, "Too many open files")]

        def listen(port: int, factory: ServerFactory) -> IListeningPort:
            if errors and (error := errors.pop()) is not None:
                raise error
            return self.host.listen(port, factory)

        narrow = CallbackPorts(self.network.clock, listen, 59999, 59999)
        error = self.failureResultOf(narrow.acquire(ServerFactory()), OSError)
        self.assertEqual(error.value.errno, EMFILE)
        port = self.successResultOf(narrow.acquire(ServerFactory()))
        # Nor does it stop the queue.
        waiting = [narrow.acquire(ServerFactory()) for _ in range(2)]
        errors.append(OSError(EMFILE, "Too many open files"))
        port.release()
        self.network.advance()
        self.failureResultOf(waiting[0], OSError)
        self.assertEqual(self.successResultOf(waiting[1]).number, 59999)

    def test_whenIdle(self) -> None:
        """
        One can wait until all ports were given back.
        """
        self.successResultOf(self.ports.whenIdle())
        first, second = self.acquire(), self.acquire()
        idle = self.ports.whenIdle()
        first.release()
        self.network.advance()
        self.assertNoResult(idle)
        second.release()
        self.assertNoResult(idle)
        self.network.advance()
        self.successResultOf(idle)

    def test_closeFails(self) -> None:
        """
        A port that fails to close is logged, and given back all the same.
        """

        class Broken:
            def stopListening(self) -> Deferred[None]:
                return fail(RuntimeError("no"))

        given: list[int] = []
        port = CallbackPort(59999, Broken(), given.append)  # type: ignore[arg-type]  # all it needs
        port.release()
        self.assertEqual(given, [59999])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class FreeListTests(SynchronousTestCase):
    """
    Whatever is done with the ports, they are used once at a time.
    """

    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.integers(0, 9), max_size=60), st.sets(st.integers(50000, 50004)))
    def test_neverTwice(self, steps: list[int], foreign: set[int]) -> None:
        """
        No port is given to two; and when all are back, all are free.
        """
        clock = Clock()
        used: set[int] = set()

        class Listening:
            def stopListening(self) -> None:
                pass

        def listen(port: int, factory: ServerFactory) -> IListeningPort:
            if port in foreign:
                raise OSError(EADDRINUSE, "in use")
            self.assertNotIn(port, used)
            used.add(port)
            return Listening()  # type: ignore[return-value]  # all that is used of it

        some = CallbackPorts(clock, listen, 50004, 50000)
        self.patch(ports, "holderOf", lambda port: "")
        held: list[CallbackPort] = []
        waiting: list[Deferred[CallbackPort]] = []
        for step in steps:
            if step < 5:
                waiting.append(some.acquire(ServerFactory()).addCallback(keep(held)))
            elif step < 8 and held:
                port = held.pop(step % len(held))
                used.discard(port.number)
                port.release()
            elif step == 8 and waiting:
                waiting.pop().addErrback(lambda _: None).cancel()
            elif step == 9:
                foreign.clear()
                clock.advance(RETRY)
            self.assertEqual({port.number for port in held}, used)
            self.assertEqual(some.reserved, len(used))


def keep(held: list[CallbackPort]):  # type: ignore[no-untyped-def]  # as addCallback wants it
    """
    Remember a port.
    """

    def keepIt(port: CallbackPort) -> CallbackPort:
        held.append(port)
        return port

    return keepIt
