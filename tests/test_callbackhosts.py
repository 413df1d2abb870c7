"""
L{jobscheduler_tcp.callbackhosts}: another address at which a client is called
back, from the rule to the whole diagram.
"""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import ServerFactory
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.callbackhosts import CallbackHosts, callbackHost
from jobscheduler_tcp.client.processclass import Dialect, ProcessClass
from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.messages import (
    CallbackMode,
    ConfirmationRefused,
    OpenConfirmation,
    StartTask,
    TaskRefused,
    Work,
)
from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.testing import FakeProcess, MemoryNetwork
from jobscheduler_tcp.wire.documents import parse
from jobscheduler_tcp.wire.requests import decodeRequest, encodeRequest
from tests.test_flow import CALLBACK, CLIENT, CODE, PORT, Diagram, play

HOME = "192.0.2.9"
TASK = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f10"
TOKEN = bytes(range(16))
START = StartTask(2, TASK, CALLBACK, TOKEN, Work(script="true"), host=HOME)
SHARED = OpenConfirmation(7, TASK, CallbackMode.SHARED, TOKEN, CALLBACK, HOME)

# Where no client is, in every dress in which a start could bring it.
NOBODY = (
    *("0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("169.254.0.1", "169.254.169.254", "::", "::7f00:1", "::a00:7"),
    *("::ffff:0.0.0.0", "::ffff:169.254.169.254", "::ffff:e000:1"),
    *("fe80::1", "febf::1", "fec0::1", "ff02::1", "ff0e::1"),
)
LOOPBACK = ("127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::ffff:7f00:2")
NO_ADDRESS = (
    *("localhost", "client.example", "10.0.0.7:22", "[::1]", "10.0.0", "010.0.0.7", "0x0a000007"),
    *(
        "10.0.0.7/32",
        " 10.0.0.7",
        "10.0.0.7\n",
        "fe80::1%eth0",
        "\u0661.2.3.4",
        "10.0.0.7,10.0.0.8",
    ),
)


class RuleTests(SynchronousTestCase):
    """
    L{CallbackHosts} and L{callbackHost}.
    """

    def test_listed(self) -> None:
        """
        A client may name what is listed for it, or for its network, however it is
        written; and where it comes from, which it need not say.
        """
        hosts = CallbackHosts(
            [(CLIENT, HOME), ("172.16.0.0", "10.0.0.7"), ("::", "2001:db8::7"), (CLIENT, "::1")]
        )
        for client, address in (
            (CLIENT, HOME),
            (f"::ffff:{CLIENT}", HOME),
            (CLIENT, f"::ffff:{HOME}"),
            ("172.16.3.4", "10.0.0.7"),
            ("2001:db8::1%eth0", "2001:DB8:0::7"),
            (CLIENT, CLIENT),
            ("127.0.0.1", "127.0.0.1"),
        ):
            with self.subTest(client=client, address=address):
                self.assertEqual(hosts.refusal(client, address), "")

    def test_notListed(self) -> None:
        """
        Anything else is refused in one line, which has what would have to be said.
        """
        hosts = CallbackHosts([(CLIENT, HOME), ("172.16.0.0", "10.0.0.7")])
        for client, address in (
            (CLIENT, "192.0.2.8"),
            (CLIENT, "10.0.0.7"),
            ("10.0.0.2", HOME),
            ("172.17.0.1", "10.0.0.7"),
            ("2001:db8::1", HOME),
            ("127.0.0.1", "127.0.0.2"),
            ("127.0.0.1", "::1"),
        ):
            with self.subTest(client=client, address=address):
                told = hosts.refusal(client, address)
                self.assertIn("callback_hosts", told)
                self.assertIn(f"--callback-host {client}={address}", told)
                self.assertNotIn("\n", told)
        self.assertNotEqual(CallbackHosts().refusal(CLIENT, HOME), "")

    def test_hostile(self) -> None:
        """
        Nobody is called at addresses where no client is; and only a client at this
        host at its loopback addresses, even if they are listed.
        """
        everywhere = CallbackHosts((c, a) for c in ("0.0.0.0", "::") for a in LOOPBACK)
        for address in (*NOBODY, *LOOPBACK):
            for client in (CLIENT, "2001:db8::1", "0.0.0.0"):
                with self.subTest(client=client, address=address):
                    told = everywhere.refusal(client, address)
                    self.assertIn("is never called back", told)
        for address in LOOPBACK:
            self.assertEqual(everywhere.refusal("127.0.0.1", address), "")
        for address in (*NO_ADDRESS, ""):
            with self.subTest(address=address):
                self.assertIn("cannot be called back", everywhere.refusal(CLIENT, address))
        self.assertIn("this client", everywhere.refusal("", HOME))

    def test_configured(self) -> None:
        """
        Such addresses cannot be listed either, nor advertised by a process class.
        """
        for address in (*NOBODY, *NO_ADDRESS, ""):
            with self.subTest(address=address):
                with self.assertRaises(ValueError) as caught:
                    callbackHost(address)
                self.assertIn("expected an", str(caught.exception))
        self.assertEqual(callbackHost("2001:DB8:0::7"), "2001:db8::7")
        with self.assertRaises(ValueError):
            CallbackHosts([(CLIENT, "0.0.0.0")])
        with self.assertRaises(ValueError):
            CallbackHosts([("client", HOME)])


class WordsTests(SynchronousTestCase):
    """
    The attribute C{host} of the two requests.
    """

    def test_said(self) -> None:
        """
        It is there if the client has something to say.
        """
        for request in (START, SHARED):
            with self.subTest(request=request):
                said = encodeRequest(request)
                self.assertIn(b' host="192.0.2.9"', said)
                self.assertEqual(decodeRequest(parse(said)), request)
                self.assertNotIn(b"host=", encodeRequest(replace(request, host="")))

    def test_refused(self) -> None:
        """
        Only addresses are understood, no names; and none where nobody calls back.
        """
        passive = OpenConfirmation(7, TASK, CallbackMode.PASSIVE, TOKEN, 0)
        standing = StartTask(
            *(2, TASK, 0, b"", Work(script="true"), CallbackMode.SHARED), connection=TASK
        )
        for request in (START, SHARED):
            for host in (*NO_ADDRESS, "1" * 46):
                with self.subTest(host=host), self.assertRaises(RemoteProtocolError):
                    decodeRequest(parse(encodeRequest(replace(request, host=host))))
        for silent in (passive, standing):
            said = encodeRequest(silent).replace(b" callback=", b' host="192.0.2.9" callback=')
            with self.subTest(said=said), self.assertRaises(RemoteProtocolError):
                decodeRequest(parse(said))
        for request in (replace(START, port=1023), replace(SHARED, port=22)):
            with self.assertRaises(RemoteProtocolError):
                decodeRequest(parse(encodeRequest(request)))


class Elsewhere(Diagram):
    """
    A client that comes from one address and listens at another.
    """

    def __init__(self, callback: str, advertise: str = HOME, listed: str = HOME) -> None:
        hosts = CallbackHosts([(CLIENT, listed)] if listed else [])
        super().__init__(
            FakeProcess.start if callback == "shared" else play,
            listen=self._listen,
            callback=callback,
            advertise=advertise,
            callbackHosts=hosts,
        )

    def _listen(self, port: int, factory: ServerFactory) -> IListeningPort:
        return self.network.host(HOME).listen(port, factory)

    @property
    def called(self) -> list[tuple[str, int]]:
        """
        Where the remote called.
        """
        servers = [each.server for each in self.network.connections]
        return [(each.host, each.port) for each in servers if each.port != PORT]


class DiagramTests(SynchronousTestCase):
    """
    The whole diagram, with an address that the client does not come from.
    """

    def outcome(self, diagram: Diagram) -> Outcome:
        """
        What becomes of a job.
        """
        job, _ = diagram.run()
        diagram.network.advance(1)
        for process in diagram.launcher.launched:
            if not process.ended:
                process.end(CODE)
        diagram.network.advance(70)
        outcome = self.successResultOf(job.done)
        diagram.stop(self)
        return outcome

    def test_called(self) -> None:
        """
        The remote calls where it is told, in both modes in which it calls.
        """
        for mode in ("own", "shared"):
            diagram = Elsewhere(mode)
            outcome = self.outcome(diagram)
            with self.subTest(mode=mode):
                self.assertEqual((outcome.reason, outcome.exitCode), (Reason.EXITED, CODE))
                self.assertEqual(diagram.called, [(HOME, CALLBACK)])

    def test_notListed(self) -> None:
        """
        What is not listed is refused: nothing is called, nothing is executed.
        """
        for mode in ("own", "shared", "auto"):
            diagram = Elsewhere(mode, listed="")
            outcome = self.outcome(diagram)
            with self.subTest(mode=mode):
                self.assertIs(outcome.reason, Reason.REJECTED_AUTH)
                self.assertIn(f"{HOME} is not listed for a client at {CLIENT}", outcome.text)
                self.assertEqual((diagram.called, diagram.launcher.launched), ([], []))

    def test_without(self) -> None:
        """
        Without another address, mode auto finds that only passive works.
        """
        diagram = Elsewhere("auto", advertise="")
        self.assertIs(self.outcome(diagram).reason, Reason.EXITED)
        self.assertEqual(diagram.called, [])

    def test_passive(self) -> None:
        """
        Where the client calls, its other address is not said.
        """
        diagram = Elsewhere("passive", listed="")
        self.assertIs(self.outcome(diagram).reason, Reason.EXITED)

    def test_classic(self) -> None:
        """
        The classic dialect has no word for it.
        """
        diagram = Diagram(dialect=Dialect.CLASSIC, advertise=HOME)
        outcome = self.outcome(diagram)
        self.assertIs(outcome.reason, Reason.NOT_STARTED)
        self.assertIn(f"that it shall call back at {HOME}", outcome.text)

    def test_remotesOwnPort(self) -> None:
        """
        The remote never calls one of its own ports, at whatever address.
        """
        diagram = Elsewhere("own")
        start = diagram.remote.start(replace(START, port=PORT), CLIENT)
        refused = self.successResultOf(start)
        assert isinstance(refused, TaskRefused)
        self.assertIs(refused.reason, Reason.PROTOCOL_ERROR)
        opened = diagram.remote.open(replace(SHARED, port=PORT), CLIENT)
        answer = self.successResultOf(opened)
        assert isinstance(answer, ConfirmationRefused)
        self.assertIs(answer.reason, Reason.PROTOCOL_ERROR)
        self.assertEqual(diagram.network.connections, [])
        diagram.stop(self)

    def test_another(self) -> None:
        """
        The same UUID with another address is not the same request.
        """
        diagram = Elsewhere("own")
        diagram.network.host(HOME)  # where nobody listens
        here = replace(SHARED, host=CLIENT)
        first = diagram.remote.open(SHARED, CLIENT)
        again = self.successResultOf(diagram.remote.open(here, CLIENT))
        assert isinstance(again, ConfirmationRefused)
        self.assertIs(again.reason, Reason.PROTOCOL_ERROR)
        starts = [diagram.remote.start(each, CLIENT) for each in (START, replace(START, host=""))]
        refused = self.successResultOf(starts[1])
        assert isinstance(refused, TaskRefused)
        self.assertIs(refused.reason, Reason.PROTOCOL_ERROR)
        diagram.network.advance(1)
        opened = self.successResultOf(first)
        assert isinstance(opened, ConfirmationRefused)
        started = self.successResultOf(starts[0])
        assert isinstance(started, TaskRefused)
        self.assertEqual({opened.reason, started.reason}, {Reason.CALLBACK_REFUSED})
        diagram.stop(self)


class ProcessClassTests(SynchronousTestCase):
    """
    L{ProcessClass} with an address.
    """

    def test_wrong(self) -> None:
        """
        A name is no address.
        """
        remote = TCP4ClientEndpoint(MemoryNetwork().host(CLIENT), "10.0.0.2", PORT)
        with self.assertRaises(ValueError):
            ProcessClass("", remote, advertise="nat.example")
