"""
L{jobscheduler_tcp.commandport} and L{jobscheduler_tcp.plaincommands}: a port
that obeys XML commands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from jobscheduler_tcp.commandport import PATIENCE, CommandPortFactory
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.heartbeat import INTERVAL, SILENCE
from jobscheduler_tcp.plaincommands import Handler, Peer, Said, secondstamp, timestamp
from jobscheduler_tcp.remote.command import CommandServerProtocol
from jobscheduler_tcp.security import AllowedHosts, Level
from jobscheduler_tcp.silentpeers import (
    GRACE,
    HURRIED_GRACE,
    MAX_IN_ALL,
    MAX_OF_ONE,
    MAX_UNHURRIED_OF_ONE,
)
from jobscheduler_tcp.testing import MemoryNetwork, Stranger
from jobscheduler_tcp.wire.documents import Element, element

SERVER = "10.0.0.2"
PORT = 4444
NOW = 1795361629.5

PROLOG = '<?xml version="1.0" encoding="ISO-8859-1"?>\n'


def envelope(*said: str) -> bytes:
    """
    The answer of a real engine, at the time of these tests.
    """
    time = timestamp(NOW)
    answer = (
        f'<answer time="{time}">{"".join(said)}</answer>' if said else f'<answer time="{time}"/>'
    )
    return f"{PROLOG}<spooler>{answer}</spooler>\n\0".encode("iso-8859-1")


def told(code: str, text: str) -> str:
    """
    An ERROR element in it.
    """
    return f'<ERROR time="{secondstamp(NOW)}" code="{code}" text="{code}  {text}"/>'


class CommandPortTests(SynchronousTestCase):
    def setUp(self) -> None:
        """
        A port with one command for each thing that can happen.
        """
        self.cancelled: list[Deferred[Said]] = []
        self.network = MemoryNetwork()
        self.clock = self.network.clock
        self.waiting: list[Deferred[Said]] = []
        self.peers: list[Peer] = []
        commands: dict[str, tuple[Level, Handler]] = {
            "echo": (Level.INFO, self.echo),
            "later": (Level.INFO, self.later),
            "change": (Level.NO_ADD, self.echo),
            "refuse": (Level.INFO, self.refuse),
            "break": (Level.INFO, self.breakDown),
        }
        hosts = AllowedHosts(
            [
                ("10.0.0.1", Level.ALL),
                ("10.0.0.3", Level.INFO),
                ("10.0.0.4", Level.SIGNAL),
                ("0.0.0.0", Level.NONE),
                ("192.168.0.0", Level.INFO),
            ]
        )
        self.factory = CommandPortFactory(
            hosts.levelOf, commands, self.clock, wallClock=lambda: NOW
        )
        self.network.host(SERVER).listen(PORT, self.factory)

    def echo(self, command: Element, peer: Peer) -> Element:
        """
        A command that is answered with itself.
        """
        self.peers.append(peer)
        return element("echoed", command.attributes, command.children, command.text)

    def later(self, command: Element, peer: Peer) -> Deferred[Said]:
        """
        A command that takes long.
        """
        self.waiting.append(Deferred(self.cancelled.append))
        return self.waiting[-1]

    def refuse(self, command: Element, peer: Peer) -> Iterable[Element]:
        """
        A command that cannot be obeyed.
        """
        raise CommandRefused("SCHEDULER-161", "There is no Job '/nope'")

    def breakDown(self, command: Element, peer: Peer) -> list[Element]:
        """
        A command with a mistake in it.
        """
        raise KeyError("secret")

    def call(self, address: str = "10.0.0.1") -> Stranger:
        """
        A caller at the port.
        """
        stranger = self.network.host(address).stranger(SERVER, PORT)
        self.network.flush()
        return stranger

    def say(self, stranger: Stranger, data: bytes) -> bytes:
        """
        What is answered to a command.
        """
        del stranger.heard[:]
        stranger.transport.write(data)
        self.network.flush()
        return bytes(stranger.heard)

    def assertNothingLeft(self) -> None:
        """
        Nobody is connected, nothing waits.
        """
        self.assertEqual(self.factory.connections, {})
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    # --------------------------------------------------------------- the answers

    def test_answer(self) -> None:
        """
        A command is answered in the envelope of a real engine, byte by byte, as
        often as it is said on one connection.
        """
        caller = self.call()
        expected = envelope('<echoed a="ö&amp;"/>')
        said = '<?xml version="1.0" encoding="ISO-8859-1"?><echo a="ö&amp;"/>'.encode("latin-1")
        self.assertEqual(self.say(caller, said), expected)
        self.assertEqual(self.say(caller, b" \r\n<echo a='\xc3\xb6&amp;'/>\n"), expected)
        self.assertEqual(self.peers[0].host, "10.0.0.1")
        self.assertEqual(self.peers[0].level, Level.ALL)

    def test_words(self) -> None:
        """
        A person at telnet types words.
        """
        self.assertEqual(self.say(self.call(), b"echo\r\n"), envelope("<echoed/>"))

    def test_order(self) -> None:
        """
        Commands behind one that takes long wait for its answer, and meanwhile
        nothing more is read.
        """
        caller = self.call()
        self.assertEqual(self.say(caller, b"<later/><echo n='1'/>"), b"")
        self.assertEqual(self.say(caller, b"<echo n='2'/>"), b"")
        self.waiting.pop().callback(element("done"))
        self.network.flush()
        self.assertEqual(
            caller.heard,
            envelope("<done/>") + envelope('<echoed n="1"/>') + envelope('<echoed n="2"/>'),
        )

    def test_halfClosed(self) -> None:
        """
        A peer that closes its end behind its commands hears all answers, and
        then the connection is closed; so is one that asked for nothing, or did
        not end its request. At a remote tasks belong to a connection, which is
        over at once.
        """
        self.assertFalse(IHalfCloseableProtocol.implementedBy(CommandServerProtocol))
        caller = self.call()
        self.assertEqual(self.say(caller, b"<later/><echo/>"), b"")
        (protocol,) = self.factory.connections
        verifyObject(IHalfCloseableProtocol, protocol)
        protocol.readConnectionLost()
        self.assertIn(protocol, self.factory.connections)
        self.waiting.pop().callback(element("done"))
        self.network.flush()
        self.assertEqual(caller.heard, envelope("<done/>") + envelope("<echoed/>"))
        self.assertNothingLeft()
        for said in (b"", b"<ech", b"GET / HTTP/1.1\r\n"):
            self.say(self.call(), said)
            (protocol,) = self.factory.connections
            protocol.writeConnectionLost()  # says nothing new
            protocol.readConnectionLost()
            self.network.flush()
            self.assertNothingLeft()

    def test_severalInOne(self) -> None:
        """
        The commands in one document are obeyed in order and answered together;
        the first that fails ends the list.
        """
        caller = self.call()
        for root in ("commands", "spooler", "command", "cluster_member_command"):
            said = f"<{root}><echo/><later/><nosuch/><echo/></{root}>".encode()
            self.assertEqual(self.say(caller, said), b"")
            self.waiting.pop().callback([element("one"), element("two")])
            self.network.flush()
            unknown = told("SCHEDULER-105", "Unknown command: &lt;nosuch&gt;")
            self.assertEqual(caller.heard, envelope("<echoed/><one/><two/>", unknown))
        self.assertEqual(self.say(caller, b"<commands/>"), envelope())

    def test_unknown(self) -> None:
        """
        An unknown command is answered as a real engine does, and the connection
        stays usable.
        """
        caller = self.call()
        unknown = told("SCHEDULER-105", "Unknown command: &lt;bogus&gt;")
        self.assertEqual(self.say(caller, b"<bogus/>"), envelope(unknown))
        self.assertEqual(self.say(caller, b"<echo/>"), envelope("<echoed/>"))

    def test_level(self) -> None:
        """
        A command beyond the level of the peer is refused as a real engine does.
        """
        caller = self.call("10.0.0.3")
        refused = told("SCHEDULER-121", "The security settings do not allow this operation")
        self.assertEqual(self.say(caller, b"<change/>"), envelope(refused))
        self.assertEqual(self.say(caller, b"<echo/>"), envelope("<echoed/>"))

    def test_refused(self) -> None:
        """
        What obeys a command may refuse it with a code and a text.
        """
        refused = told("SCHEDULER-161", "There is no Job '/nope'")
        self.assertEqual(self.say(self.call(), b"<refuse/>"), envelope(refused))

    def test_broken(self) -> None:
        """
        A mistake of ours is logged, the peer learns nothing of it but that there
        was one, and the connection stays usable.
        """
        caller = self.call()
        broken = told("jsremote-internal-error", "The command failed")
        self.assertEqual(self.say(caller, b"<break/>"), envelope(broken))
        self.say(caller, b"<later/>")
        self.waiting.pop().errback(ValueError())
        self.network.flush()
        self.assertEqual(caller.heard, envelope(broken))
        self.say(caller, b"<later/>")
        self.waiting.pop().cancel()
        self.network.flush()
        self.assertEqual(caller.heard, envelope(broken))
        self.assertEqual(self.say(caller, b"<echo/>"), envelope("<echoed/>"))
        self.assertEqual(len(self.flushLoggedErrors(KeyError, ValueError, CancelledError)), 3)

    # --------------------------------------------------------------------- nonsense

    def test_malformed(self) -> None:
        """
        What is no XML gets one answer after those before it. Where its end is not
        known, the connection is closed.
        """
        for nonsense in (
            b"<a><b></a></b>",
            b"<?xml version='1.0' encoding='nosuch'?><a/>",
            b"<a>\xff</a>",
            b"<d>" * 40 + b"</d>" * 40,
        ):
            caller = self.call()
            self.assertIn(b'code="XML-ERROR"', self.say(caller, nonsense))
            self.assertEqual(self.say(caller, b"<echo/>"), envelope("<echoed/>"))
            caller.transport.abortConnection()
            self.network.flush()
        for nonsense in (
            b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
            b"<a" + b" b='c'" * 20000,
        ):
            caller = self.call()
            heard = self.say(caller, b"<echo/>" + nonsense + b"<echo/>").decode("latin-1")
            answers = heard.split("\0")
            self.assertEqual(answers[0], envelope("<echoed/>").decode()[:-1])
            self.assertRegex(
                answers[1], '<ERROR time="[^"]+" code="XML-ERROR" text="XML-ERROR  [^"]+"'
            )
            self.assertEqual(answers[2:], [""])
            self.assertIsNotNone(caller.lost)
        self.assertNothingLeft()

    def test_textBehind(self) -> None:
        """
        Of an element with text behind it nothing is obeyed, as by a real one.
        """
        caller = self.call()
        self.assertIn(b'code="XML-ERROR"', self.say(caller, b"<echo/>x"))
        self.network.flush()
        self.assertIsNotNone(caller.lost)
        self.assertEqual(self.peers, [])
        self.assertNothingLeft()

    def test_farewell(self) -> None:
        """
        A person at telnet takes leave with Ctrl-D, after the last answer.
        """
        caller = self.call()
        self.say(caller, b"<later/>")
        self.say(caller, b"\x04")
        self.assertIsNone(caller.lost)
        self.waiting.pop().callback(element("done"))
        self.network.flush()
        self.assertEqual(caller.heard, envelope("<done/>"))
        self.assertIsNotNone(caller.lost)
        self.assertNothingLeft()

    @settings(deadline=None, max_examples=50)
    @given(
        st.lists(
            st.sampled_from(
                [b"<echo/>", b"<commands><echo/>", b"</commands>", b"echo\n", b"<!--", b"-->", b"<"]
            )
            | st.binary(max_size=8),
            max_size=8,
        ),
        st.integers(0, 5),
    )
    def test_anything(self, said: list[bytes], pieces: int) -> None:
        """
        Whatever is said, however it is cut: answers, or the end.
        """
        self.network.split(pieces)
        caller = self.call()
        for part in said:
            caller.transport.write(part)
            self.network.flush()
        self.assertTrue(re.fullmatch(rb"(<\?xml[^\0]*</spooler>\n\0)*", caller.heard))
        caller.transport.abortConnection()
        self.network.flush()
        self.assertNothingLeft()

    # ------------------------------------------------------------ who may be silent

    def test_noLevel(self) -> None:
        """
        Who may do nothing is sent away without a word, and logged once.
        """
        for address in ("10.0.0.4", "10.0.0.9", "10.0.0.9"):
            caller = self.call(address)
            self.assertEqual(caller.heard, b"")
            self.assertIsNotNone(caller.lost)
        self.assertNothingLeft()

    def test_grace(self) -> None:
        """
        Who says nothing complete for ten seconds is sent away.
        """
        caller = self.call()
        self.network.advance(GRACE - 0.1)
        self.say(caller, b"<ech")
        self.assertIsNone(caller.lost)
        self.network.advance(0.1)
        self.assertIsNotNone(caller.lost)
        self.assertNothingLeft()

    def test_spoken(self) -> None:
        """
        Who has said something may be silent afterwards.
        """
        caller = self.call()
        self.say(caller, b"<echo/>")
        self.network.advance(GRACE * 100)
        self.assertIsNone(caller.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_hurried(self) -> None:
        """
        The first of a source have ten seconds for their first word, those beyond
        them one; who speaks at once is heard, however many they are.
        """
        callers = [self.call() for _ in range(MAX_UNHURRIED_OF_ONE + 20)]
        for caller in callers[-10:]:
            self.assertEqual(self.say(caller, b"<echo/>"), envelope("<echoed/>"))
        self.network.advance(HURRIED_GRACE)
        alive = [caller for caller in callers if caller.lost is None]
        self.assertEqual(alive, callers[:MAX_UNHURRIED_OF_ONE] + callers[-10:])
        self.network.advance(GRACE)
        self.assertEqual([caller for caller in callers if caller.lost is None], callers[-10:])

    def test_tooMany(self) -> None:
        """
        One source cannot keep another out by silence, and all together have a
        bound.
        """
        callers = [self.call() for _ in range(MAX_OF_ONE + 1)]
        self.assertIsNone(callers[-2].lost)
        self.assertIsNotNone(callers[-1].lost)
        self.assertEqual(self.say(self.call("10.0.0.3"), b"<echo/>"), envelope("<echoed/>"))
        others = [self.call(f"192.168.0.{n % 250 + 1}") for n in range(MAX_IN_ALL)]
        self.assertEqual(
            len([caller for caller in others if caller.lost is None]), MAX_IN_ALL - MAX_OF_ONE
        )
        self.network.advance(GRACE)
        self.assertEqual(self.say(self.call(), b"<echo/>"), envelope("<echoed/>"))

    # ---------------------------------------------------------------- flow and end

    def test_doesNotRead(self) -> None:
        """
        Of a peer that does not read its answers no further command is obeyed,
        nor even read, until it reads.
        """
        caller = self.call()
        caller.transport.pauseProducing()
        text = b"<echo>" + b"x" * 2000 + b"</echo>"
        for _ in range(200):
            caller.transport.write(text)
        self.network.flush()
        obeyed = len(self.peers)
        self.assertLess(obeyed, 150)
        self.network.advance(60)
        self.assertEqual(len(self.peers), obeyed)
        caller.transport.resumeProducing()
        self.network.flush()
        self.assertEqual(len(self.peers), 200)
        self.assertEqual(caller.heard.count(b"\0"), 200)

    def test_lost(self) -> None:
        """
        When a peer is gone, what it waits for is cancelled and forgotten.
        """
        caller = self.call()
        self.say(caller, b"<later/>")
        caller.transport.abortConnection()
        self.network.flush()
        self.assertEqual(self.cancelled, self.waiting)
        self.assertNothingLeft()

    def test_greeted(self) -> None:
        """
        A peer that was greeted may send long documents, and is taken for dead
        when it says nothing for 15 seconds.
        """
        caller = self.call()
        self.say(caller, b"<echo/>")
        [connection] = self.factory.connections
        connection.greeted()
        long = b"x" * 1000000
        heard = self.say(caller, b"<echo>" + long + b"</echo>")
        self.assertEqual(heard, envelope(f"<echoed>{long.decode()}</echoed>"))
        for _ in range(10):
            self.network.advance(INTERVAL)
            self.say(caller, b"<echo/>")
        self.network.advance(SILENCE)
        self.assertIsNone(caller.lost)
        self.network.advance(INTERVAL)
        assert caller.lost is not None
        caller.lost.trap(ConnectionLost)
        self.assertNothingLeft()

    def test_disconnect(self) -> None:
        """
        At the end all connections are closed, after what was written; a peer
        that does not read is not waited for long.
        """
        self.assertIsNone(self.successResultOf(self.factory.disconnect()))
        reader, sleeper = self.call(), self.call()
        sleeper.transport.pauseProducing()
        reader.transport.write(b"<echo/>")
        sleeper.transport.write(b"<echo>" + b"x" * 60000 + b"</echo>")
        sleeper.transport.write(b"<echo>" + b"x" * 60000 + b"</echo>")
        self.network.flush()
        closed, again = self.factory.disconnect(), self.factory.disconnect()
        self.network.flush()
        self.assertEqual(reader.heard, envelope("<echoed/>"))
        self.assertIsNotNone(reader.lost)
        self.assertNoResult(closed)
        self.network.advance(PATIENCE)
        self.assertIsNone(self.successResultOf(closed))
        self.assertIsNone(self.successResultOf(again))
        self.assertNothingLeft()

    def test_provides(self) -> None:
        """
        The protocol is the producer of its answers.
        """
        self.assertTrue(verifyObject(IPushProducer, self.factory.buildProtocol(None)))
