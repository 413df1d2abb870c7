"""
Tests for L{jobscheduler_tcp.config}.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from shutil import rmtree
from tempfile import mkdtemp

from hypothesis import given, settings, strategies
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.config import values
from jobscheduler_tcp.config.model import Configuration
from jobscheduler_tcp.config.scheduler import readConfiguration, resolve
from jobscheduler_tcp.config.settings import Settings, settingsOf
from jobscheduler_tcp.errors import ConfigurationError
from jobscheduler_tcp.security import Level

WHOLE = """\
<?xml version="1.0" encoding="ISO-8859-1"?>
<spooler>
  <config spooler_id="berlin" tcp_port="4444" ip_address="127.0.0.1">
    <security ignore_unknown_hosts="yes">
      <allowed_host host="127.0.0.1" level="all"/>
      <allowed_host host="monitor" level="info"/>
    </security>
    <params>
      <param name="jsremote.max_tasks" value="7"/><param name="jsremote.hold" value="90"/>
      <param name="jsremote.callback_ports" value="50000-50010"/>
    </params>
    <process_classes>
      <process_class max_processes="3"/>
      <process_class name="night" max_processes="10" remote_scheduler="far.example:4455"/>
    </process_classes>
    <jobs>
      <job name="report" title="A r\xe9port" process_class="night" timeout="00:05:00" order="no">
        <params>
          <param name="site" value="berlin"/>
          <param name="day" value=""/>
        </params>
        <environment>
          <variable name="LANG" value="C.UTF-8"/>
        </environment>
        <script language="shell"><![CDATA[
echo "report of $SCHEDULER_PARAM_SITE" && test 1 < 2
]]></script>
        <run_time/>
      </job>
      <job name="/tidy" process_class="/night" stop_on_error="no">
        <script language="shell">rm -rf tmp</script>
      </job>
    </jobs>
  </config>
</spooler>
"""


SCRIPT = '<script language="shell">true</script>'


def security(attributes: str, ignore: str = "yes") -> str:
    """
    A section with one host.
    """
    host = f"<allowed_host {attributes}/>"
    return f'<security ignore_unknown_hosts="{ignore}">{host}</security>'


def processClasses(*attributes: str) -> str:
    """
    A section with process classes.
    """
    elements = [f"<process_class {each}/>" for each in attributes]
    return f"<process_classes>{''.join(elements)}</process_classes>"


def jobs(*attributes: str, inside: str = SCRIPT) -> str:
    """
    A section with jobs.
    """
    elements = [f"<job {each}>{inside}</job>" for each in attributes]
    return f"<jobs>{''.join(elements)}</jobs>"


def parameters(inside: str) -> str:
    """
    A section with one job that has parameters.
    """
    return jobs('name="a"', inside=f"<params>{inside}</params>{SCRIPT}")


def resolveNone(host: str) -> list[str]:
    """
    Know numbers, and C{monitor}.
    """
    if host == "monitor":
        return ["192.0.2.1", "2001:db8::1"]
    if host[0].isdigit():
        return [host]
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


class FileTestCase(SynchronousTestCase):
    """
    Help with files.
    """

    def setUp(self) -> None:
        """
        Make a directory for them.
        """
        self.directory = mkdtemp(prefix="jsremote-config-")
        self.addCleanup(rmtree, self.directory)

    def write(self, text: str) -> str:
        """
        Write a configuration file.
        """
        path = os.path.join(self.directory, f"{len(os.listdir(self.directory))}.xml")
        with open(path, "w", encoding="ISO-8859-1") as file:
            file.write(text)
        return path

    def read(self, text: str) -> Configuration:
        """
        Read a configuration.
        """
        return readConfiguration(self.write(text), resolveNone)

    def readConfig(self, inside: str, attributes: str = "") -> Configuration:
        """
        Read what stands inside of <config>, which is on line 1.
        """
        return self.read(f"<spooler><config {attributes}>{inside}</config></spooler>")

    def assertWrong(self, text: str, line: int | None, *words: str) -> None:
        """
        A file is refused with the line and these words, and in one line.
        """
        path = self.write(text)
        error = self.assertRaises(ConfigurationError, readConfiguration, path, resolveNone)
        self.assertEqual(error.place, path if line is None else f"{path}:{line}")
        self.assertNotIn("\n", str(error))
        for word in words:
            self.assertIn(word, error.text)


class ReadTests(FileTestCase):
    """
    What a file says.
    """

    def test_whole(self) -> None:
        """
        Every part of the file that is supported is in the L{Configuration}.
        """
        found = self.read(WHOLE)
        self.assertEqual(found.schedulerId, "berlin")
        self.assertEqual((found.tcpPort, found.ipAddress), (4444, "127.0.0.1"))
        self.assertEqual(
            [(host.host, host.level, host.addresses) for host in found.allowedHosts],
            [
                ("127.0.0.1", Level.ALL, ("127.0.0.1",)),
                ("monitor", Level.INFO, ("192.0.2.1", "2001:db8::1")),
            ],
        )
        self.assertEqual(found.allowedHosts[1].place, f"{found.path}:6")
        self.assertEqual(
            [(each.name, each.host, each.port, each.maxProcesses) for each in found.processClasses],
            [("", "", 0, 3), ("night", "far.example", 4455, 10)],
        )
        report, tidy = found.jobs
        self.assertEqual(
            (report.name, report.title, report.processClass), ("report", "A r\xe9port", "night")
        )
        self.assertEqual(report.work.script, 'echo "report of $SCHEDULER_PARAM_SITE" && test 1 < 2')
        self.assertEqual(report.work.parameters, (("site", "berlin"), ("day", "")))
        self.assertEqual(report.work.environment, (("LANG", "C.UTF-8"),))
        self.assertEqual(report.work.wallTime, 300)
        self.assertEqual(report.place, f"{found.path}:17")
        self.assertEqual((tidy.name, tidy.processClass, tidy.work.wallTime), ("tidy", "night", 0))
        self.assertEqual((found.maxTasks, found.callbackPorts), (7, (50010, 50000)))
        self.assertEqual((found.onDisconnect, found.hold), (None, 90.0))
        self.assertEqual(found.warnings, ())

    def test_nothing(self) -> None:
        """
        An empty <config> says nothing.
        """
        found = self.readConfig("")
        self.assertEqual(found, Configuration(path=found.path))

    def test_ownPort(self) -> None:
        """
        A process class without a port means the file's own port, as in
        JobScheduler; max_processes is 30 where nothing is said, and may be 0.
        """
        found = self.readConfig(
            '<process_classes><process_class name="a" remote_scheduler="b"/>'
            '<process_class name="c" remote_scheduler="[::1]:99" max_processes="0"/>'
            "</process_classes>",
            'tcp_port="4111"',
        )
        self.assertEqual(
            [(each.host, each.port, each.maxProcesses) for each in found.processClasses],
            [("b", 4111, 30), ("::1", 99, 0)],
        )

    def test_resolve(self) -> None:
        """
        Addresses come from the system's resolver, each once.
        """
        self.assertEqual(resolve("127.0.0.1"), ["127.0.0.1"])


class WarningTests(FileTestCase):
    """
    What is passed over is told.
    """

    def test_unknown(self) -> None:
        """
        Each unknown element and attribute is told once, with file and line.
        """
        found = self.read(
            '<spooler colour="red">\n<config>\n<garden/>\n<garden/>\n<jobs>\n'
            '<job name="a" color="1"><script language="shell">a</script></job>\n'
            '<job name="b" color="2" colour="3"><script language="shell">a</script></job>\n'
            "</jobs></config></spooler>"
        )
        self.assertEqual(
            [warning.removeprefix(found.path) for warning in found.warnings],
            [
                ":1: attribute colour of <spooler> is not known; ignored",
                ":3: <garden> in <config> is not known; ignored",
                ":6: attribute color of <job> is not known; ignored",
                ":7: attribute colour of <job> is not known; ignored",
            ],
        )
        self.assertEqual(len(found.jobs), 2)

    def test_unsupported(self) -> None:
        """
        What JobScheduler knows and this version does not do is told too, unless
        it asks for nothing.
        """
        found = self.readConfig(
            '\n<schedules><schedule name="c"/></schedules><holidays/>'
            '\n<params><param name="a" value="b"/></params>'
            '\n<jobs><job name="a" order="yes" min_tasks="2" priority="low">'
            '\n<monitor><script language="java"/></monitor><run_time/>'
            '\n<script language="shell">a</script></job></jobs>',
            'udp_port="4444"',
        )
        self.assertEqual(
            [warning.removeprefix(found.path) for warning in found.warnings],
            [
                ":1: attribute udp_port='4444' of <config> is not supported yet; ignored",
                ":2: <schedules> in <config> is not supported yet; ignored",
                ":4: attribute min_tasks='2' of <job> is not supported yet; ignored",
                ":4: attribute priority='low' of <job> is not supported yet; ignored",
                ":5: <monitor> in <job> is not supported yet; ignored",
            ],
        )
        # It is there for commands to ask for, as in a real one.
        self.assertEqual(found.variables, (("a", "b"),))

    def test_port(self) -> None:
        """
        As the original's installation writes it, a port is for TCP if that has none
        of its own.
        """
        self.assertEqual(self.readConfig("", 'port="4446"').tcpPort, 4446)
        self.assertEqual(self.readConfig("", 'port="4446" tcp_port="4447"').tcpPort, 4447)

    def test_text(self) -> None:
        """
        Text where none has a meaning is told.
        """
        found = self.readConfig("<jobs>oops</jobs>")
        self.assertEqual(
            found.warnings, (f"{found.path}:1: text in <jobs> has no meaning; ignored",)
        )

    def test_unknownHost(self) -> None:
        """
        Each host name without an address is told, and lets nobody in.
        """
        found = self.readConfig(
            '<security>\n<allowed_host host="nowhere" level="all"/>'
            '\n<allowed_host host="elsewhere" level="all"/></security>'
        )
        self.assertEqual([host.addresses for host in found.allowedHosts], [(), ()])
        self.assertEqual(len(found.warnings), 2)
        self.assertIn(":2: host 'nowhere' is not known", found.warnings[0])


class WrongTests(FileTestCase):
    """
    What cannot be done is refused with file, line and what was expected.
    """

    def test_unreadable(self) -> None:
        """
        A file that is not there, or is a directory.
        """
        path = os.path.join(self.directory, "nothing")
        error = self.assertRaises(ConfigurationError, readConfiguration, path)
        self.assertEqual(str(error), f"{path}: cannot be read: No such file or directory")
        os.mkdir(path)
        error = self.assertRaises(ConfigurationError, readConfiguration, path)
        self.assertEqual(str(error), f"{path}: cannot be read: Is a directory")

    def test_notXml(self) -> None:
        """
        A file that is empty, no XML, cut off, or has another root.
        """
        self.assertWrong(" \n", 1, "expected <spooler>", "empty")
        self.assertWrong("tcp_port = 4444\n", 1, "expected XML")
        self.assertWrong("<spooler>\n<config>\n</spooler>\n", 3, "expected XML")
        self.assertWrong("<spooler>\n<config>\n", 3, "expected XML")
        self.assertWrong("\n<config/>", 2, "expected <spooler>", "<config>")
        self.assertWrong("<!DOCTYPE a [<!ENTITY b 'c'>]>\n<spooler/>", 1, "expected XML")
        self.assertWrong('<?xml version="1.0" encoding="klingon"?><spooler/>', 1, "expected XML")

    def test_config(self) -> None:
        """
        There is exactly one <config>.
        """
        self.assertWrong("<spooler/>", 1, "expected one <config>", "found 0")
        self.assertWrong("<spooler><config/><config/></spooler>", 1, "found 2")

    def test_inside(self) -> None:
        """
        Wrong numbers and words, names that are missing or there twice.
        """
        for inside, *words in (
            ('<config tcp_port="x"/>', "tcp_port", "a number from 0 to 65535", "'x'"),
            ('<config tcp_port="65536"/>', "a number from 0 to 65535"),
            ('<config tcp_port="-1"/>', "a number"),
            ('<config ip_address="localhost"/>', "ip_address", "an IP address"),
            ('<security ignore_unknown_hosts="maybe"/>', "expected yes or no"),
            (security('level="all"'), "attribute host"),
            (security('host="monitor"'), "attribute level"),
            (security('host="monitor" level="some"'), "none, signal, info, no_add, all"),
            (security('host="nowhere" level="all"', "no"), "nowhere", "not known"),
            (processClasses('max_processes="-1"'), "max_processes", "a number"),
            (processClasses('remote_scheduler="https://a:1"'), "remote_scheduler", "HOST:PORT"),
            (processClasses('name="a"', 'name="/a"'), "<process_class>", "'a' is there already"),
            (jobs(""), "attribute name"),
            (jobs('name="a&#10;b"'), "a name that can be printed", "'a\\nb'"),
            (jobs('name="a"', 'name="a"'), "already"),
            (jobs('name="a" timeout="1:60"'), "HH:MM:SS"),
            (jobs('name="a" process_class="b"'), "process class", "there is none"),
            (jobs('name="a"', inside=""), "expected a <script>"),
            (jobs('name="a"', inside=SCRIPT + SCRIPT), "expected one <script>"),
            (jobs('name="a"', inside="<script>true</script>"), "attribute language"),
            (jobs('name="a"', inside=SCRIPT.replace("shell", "java")), '"shell"', "'java'"),
            (jobs('name="a"', inside=SCRIPT.replace("true", " ")), "nothing"),
            (jobs('name="a"', inside=SCRIPT.replace("true", "<include/>")), "<include>"),
            (parameters('<param name="B"/>'), "attribute value"),
            (parameters('<param name="B=" value=""/>'), "a name without ="),
            ('<params><param name="jsremote.max_tasks" value="all"/></params>', "a number"),
            ('<params><param name="jsremote.hold" value="-1"/></params>', "a number"),
            ('<params><param name="jsremote.on_disconnect" value="x"/></params>', "kill, hold or"),
            ('<params><param name="jsremote.callback_ports" value="80"/></params>', "59900-59999"),
        ):
            config = inside if inside.startswith("<config") else f"<config>{inside}</config>"
            self.assertWrong(f"\n<spooler>\n\n{config}\n</spooler>", 4, *words)

    def test_callback(self) -> None:
        """
        The callback mode is said for a process class, or for all that do not say
        theirs.
        """
        found = self.readConfig(
            '<params><param name="jsremote.callback" value="shared"/></params>'
            '<process_classes><process_class/><process_class name="nat" callback="passive"/>'
            "</process_classes>"
        )
        self.assertEqual(found.callback, "shared")
        self.assertEqual([each.callback for each in found.processClasses], ["", "passive"])

    def test_advertise(self) -> None:
        """
        Where remotes call back is said for a process class, or for all that do not
        say it; at the remote, where a client may have itself called back.
        """
        found = self.readConfig(
            '<params><param name="jsremote.advertise" value="10.0.0.7"/></params>'
            '<security><allowed_host host="monitor" level="all" '
            'callback_hosts="10.0.0.7 ::ffff:10.0.0.8"/>'
            '<allowed_host host="127.0.0.1" level="all"/></security>'
            '<process_classes><process_class/><process_class name="nat" advertise="10.0.0.9"/>'
            "</process_classes>"
        )
        self.assertEqual(found.advertise, "10.0.0.7")
        self.assertEqual([each.advertise for each in found.processClasses], ["", "10.0.0.9"])
        self.assertEqual(found.warnings, ())
        pairs = tuple(
            (client, address)
            for client in ("192.0.2.1", "2001:db8::1")
            for address in ("10.0.0.7", "10.0.0.8")
        )
        self.assertEqual(found.callbackHosts, pairs)
        for inside in (
            '<params><param name="jsremote.advertise" value="nat"/></params>',
            '<process_classes><process_class advertise="169.254.169.254"/></process_classes>',
            '<security><allowed_host host="monitor" level="all" callback_hosts="nat"/></security>',
        ):
            self.assertWrong(f"<spooler><config>{inside}</config></spooler>", 1, "expected an")

    def test_jobWithoutRemote(self) -> None:
        """
        A client refuses a job whose process class names no remote.
        """
        found = self.readConfig(
            "<process_classes><process_class/></process_classes>"
            '<jobs>\n<job name="a"><script language="shell">a</script></job></jobs>'
        )
        error = self.assertRaises(ConfigurationError, found.requireRemotes)
        self.assertEqual(error.place, f"{found.path}:2")
        self.assertIn("job a", error.text)
        self.assertIn("remote_scheduler", error.text)
        self.read(WHOLE).requireRemotes()

    def test_ipv6Remote(self) -> None:
        """
        A client refuses a remote that would call back by IPv6.
        """
        found = self.readConfig(processClasses('remote_scheduler="[::1]:4455"'))
        error = self.assertRaises(ConfigurationError, found.requireRemotes)
        self.assertIn("IPv4", error.text)

    @settings(deadline=None, max_examples=60)
    @given(strategies.data())
    def test_mutated(self, data: strategies.DataObject) -> None:
        """
        Whatever is in the file, it is read or refused in one line.
        """
        document = WHOLE.encode("ISO-8859-1")
        at = data.draw(strategies.integers(0, len(document)))
        length = data.draw(strategies.integers(0, 40))
        instead = data.draw(strategies.binary(max_size=20))
        path = os.path.join(self.directory, "mutated.xml")
        with open(path, "wb") as file:
            file.write(document[:at] + instead + document[at + length :])
        try:
            readConfiguration(path, resolveNone)
        except ConfigurationError as error:
            self.assertNotIn("\n", str(error))
            self.assertTrue(error.place.startswith(path))


class ValueTests(SynchronousTestCase):
    """
    Words into values.
    """

    def test_right(self) -> None:
        """
        Every form that is taken.
        """
        for convert, text, value in (
            (values.duration, "0", 0.0),
            (values.duration, "90", 90.0),
            (values.duration, "01:30", 5400.0),
            (values.duration, "100:00:01", 360001.0),
            (values.duration, "never", 0.0),
            (values.hostPort, "a.b-c:1", ("a.b-c", 1)),
            (values.hostPort, "[::1]:65535", ("::1", 65535)),
            (values.portRange, "59900-59999", (59999, 59900)),
            (values.portRange, "59999-59900", (59999, 59900)),
            (values.portRange, "1024", (1024, 1024)),
            (values.listen, "tcp:0", ("", 0)),
            (values.listen, "tcp:port=4455", ("", 4455)),
            (values.listen, "tcp:4455:interface=127.0.0.1", ("127.0.0.1", 4455)),
            (values.listen, "tcp:4455:interface=\\:\\:1", ("::1", 4455)),
            (values.yesNo, "no", False),
            (values.address, "::1", "::1"),
        ):
            with self.subTest(text):
                self.assertEqual(convert(text), value)

    def test_wrong(self) -> None:
        """
        The others are told what was expected.
        """
        for convert, *texts in (
            (values.duration, "", "-1", "1:2:3", "00:60", "1.5", "1:00:60", "\u0661"),
            (values.hostPort, "", ":1", "a", "a:0", "a:65536", "a:b", "a b:1", "http://a:1", "::1"),
            (values.portRange, "", "1023", "1-2-3", "60000-", "70000", "50000-80"),
            (
                values.listen,
                "",
                "tcp",
                "tcp:",
                "tcp:x",
                "unix:/a",
                "ssl:4455",
                "tcp:1:interface=localhost",
                "tcp:1:interface=127.0.0.1:backlog=5",
                "tcp:65536",
            ),
            (values.yesNo, "", "YES", "1"),
            (values.address, "", "localhost"),
        ):
            for text in texts:
                with self.subTest(text):
                    error = self.assertRaises(ValueError, convert, text)
                    self.assertIn("expected", str(error))

    def test_loopback(self) -> None:
        """
        Every interface is not the loopback interface.
        """
        found = [values.isLoopback(each) for each in ("", "127.0.0.9", "::1", "192.0.2.1", "::")]
        self.assertEqual(found, [False, True, True, False, False])


class SettingsTests(FileTestCase):
    """
    Who decides a setting.
    """

    def decide(self, options: dict[str, str], **environment: str) -> Settings:
        """
        Decide all settings.
        """
        return settingsOf(options, environment, resolveNone)

    def test_precedence(self) -> None:
        """
        An option wins over the environment, that over the file, that over the
        default.
        """
        path = self.write(WHOLE)
        variables = {"JSREMOTE_CONFIG": path, "JSREMOTE_LISTEN": "tcp:3:interface=127.0.0.3"}
        options = {"listen": "tcp:4:interface=127.0.0.4", "role": "client"}
        get: Callable[..., Settings] = self.decide
        self.assertEqual(get({"role": "client"}).listen.value, ("127.0.0.1", 4444))
        self.assertEqual(get({"role": "remote"}).listen.value, ("127.0.0.1", 4455))
        said = get({"role": "remote", "config": path}).listen
        self.assertEqual((said.value, said.origin), (("127.0.0.1", 4444), f"file {path}"))
        said = get({"role": "client"}, **variables).listen
        self.assertEqual(
            (said.value, said.origin), (("127.0.0.3", 3), "environment JSREMOTE_LISTEN")
        )
        said = get(options, **variables).listen
        self.assertEqual((said.value, said.origin), (("127.0.0.4", 4), "option --listen"))
        self.assertEqual(get({}, JSREMOTE_ROLE="remote").role.value, "remote")

    def test_fileWithoutInterface(self) -> None:
        """
        A file with a port and no interface means every interface, as in
        JobScheduler; one with an interface and no port the usual port.
        """
        path = self.write(WHOLE.replace('ip_address="127.0.0.1"', ""))
        said = self.decide({"role": "remote", "config": path})
        self.assertEqual(said.listen.value, ("", 4444))
        path = self.write(WHOLE.replace('tcp_port="4444"', ""))
        said = self.decide({"role": "remote", "config": path})
        self.assertEqual(said.listen.value, ("127.0.0.1", 4455))

    def test_loopbackRule(self) -> None:
        """
        Who listens on more than the loopback interface says whose commands are
        taken.
        """
        options = {"role": "remote", "listen": "tcp:4455"}
        error = self.assertRaises(ValueError, self.decide, options)
        self.assertIn("--allow", str(error))
        self.assertIn("--insecure", str(error))
        said = self.decide(options | {"insecure": "yes"}).allow
        self.assertEqual([host.host for host in said.value], ["0.0.0.0", "::"])
        said = self.decide(options | {"allow": "192.0.2.1=all monitor=info"}).allow
        self.assertEqual(
            [(host.level, host.addresses) for host in said.value],
            [(Level.ALL, ("192.0.2.1",)), (Level.INFO, ("192.0.2.1", "2001:db8::1"))],
        )
        said = self.decide(options, JSREMOTE_ALLOW="192.0.2.1=all,monitor=info").allow
        self.assertEqual(said.shown, "192.0.2.1=all monitor=info")
        said = self.decide({"role": "remote"}).allow
        self.assertEqual([host.host for host in said.value], ["127.0.0.0", "::1"])
        self.assertEqual({host.level for host in said.value}, {Level.ALL})

    def test_wrong(self) -> None:
        """
        What does not fit is refused with the name of the option or variable.
        """
        for options, variables, *words in (
            ({}, {}, "--role"),
            ({"role": "server"}, {}, "--role", "remote or client"),
            ({"role": "client", "max-tasks": "3"}, {}, "--max-tasks", "remote"),
            ({"role": "remote", "callback-ports": "3000"}, {}, "--callback-ports", "client"),
            ({"role": "remote", "starts-per-second": "3"}, {}, "--starts-per-second", "client"),
            ({"role": "client", "port-release-time": "long"}, {}, "--port-release-time", "long"),
            ({"role": "client", "callback": "mine"}, {}, "--callback", "auto, own, shared"),
            ({"role": "remote", "callback": "own"}, {}, "--callback", "client"),
            ({"role": "remote", "advertise": "10.0.0.7"}, {}, "--advertise", "client"),
            ({"role": "client", "advertise": "nat"}, {}, "--advertise", "an IP address"),
            ({"role": "client", "callback-host": "a=10.0.0.7"}, {}, "--callback-host", "remote"),
            ({"role": "remote", "callback-host": "monitor"}, {}, "--callback-host", "CLIENT="),
            ({"role": "remote", "callback-host": "nowhere=::1"}, {}, "nowhere", "not known"),
            ({"role": "remote", "callback-host": "monitor=nat"}, {}, "an IP address", "nat"),
            ({"role": "remote", "callback-host": "monitor=0.0.0.0"}, {}, "that one host has"),
            ({"role": "remote", "listen": "4455"}, {}, "--listen", "tcp:4455"),
            ({"role": "remote", "allow": "monitor"}, {}, "--allow", "HOST=LEVEL"),
            ({"role": "remote", "allow": "monitor=some"}, {}, "--allow", "no_add"),
            ({"role": "remote", "allow": "nowhere=all"}, {}, "--allow", "nowhere"),
            ({}, {"JSREMOTE_ROLE": "server"}, "JSREMOTE_ROLE"),
            ({"role": "remote", "config": ""}, {}, "--config", "name of a file"),
            ({"role": "remote"}, {"JSREMOTE_MAX_TASKS": "many"}, "JSREMOTE_MAX_TASKS", "number"),
            ({"role": "remote"}, {"JSREMOTE_INSECURE": "1"}, "JSREMOTE_INSECURE", "yes or no"),
        ):
            with self.subTest(words):
                error = self.assertRaises(ValueError, settingsOf, options, variables, resolveNone)
                for word in words:
                    self.assertIn(word, str(error))

    def test_releaseTime(self) -> None:
        """
        How long ports rest is said in the file too, in seconds or as long as
        this system lets them rest.
        """
        path = self.write(
            WHOLE.replace(
                '<param name="jsremote.callback_ports"',
                '<param name="jsremote.port_release_time" value="system"/>'
                '<param name="jsremote.starts_per_second" value="20"/>'
                '<param name="jsremote.callback_ports"',
            )
        )
        settings = self.decide({"role": "client", "config": path})
        self.assertIn(settings.portReleaseTime.value, (60.0, 120.0))
        self.assertEqual(settings.startsPerSecond.value, 20)
        settings = self.decide({"role": "client", "port-release-time": "240"})
        self.assertEqual(settings.portReleaseTime.value, 240.0)

    def test_clientNeedsRemotes(self) -> None:
        """
        The role client refuses a job that it could not run; the role remote,
        which is asked for it by name, does not.
        """
        path = self.write(WHOLE.replace('remote_scheduler="far.example:4455"', ""))
        self.assertRaises(ConfigurationError, self.decide, {"role": "client", "config": path})
        self.assertEqual(len(self.decide({"role": "remote", "config": path}).configuration.jobs), 2)

    def test_show(self) -> None:
        """
        Every setting is shown with its value and where it came from.
        """
        path = self.write(WHOLE)
        shown = self.decide(
            {"role": "client", "config": path, "state-dir": "/kept", "log-quota": "2K"},
            JSREMOTE_CALLBACK_PORTS="50010-50000",
        ).show()
        rows = [[part.strip() for part in line.split("  ") if part] for line in shown.split("\n")]
        self.assertEqual(
            rows,
            [
                ["role", "client", "option --role"],
                ["listen", "tcp:4444:interface=127.0.0.1", f"file {path}"],
                ["config", path, "option --config"],
                ["allow", "127.0.0.1=all monitor=info", f"file {path}"],
                ["insecure", "no", "default"],
                ["callback-ports", "50000-50010", "environment JSREMOTE_CALLBACK_PORTS"],
                ["callback", "auto", "default"],
                ["advertise", "-", "default"],
                ["on-disconnect", "hold", "default"],
                ["hold", "90", f"file {path}"],
                ["port-release-time", "0", "default"],
                ["starts-per-second", "1", "default"],
                ["state-dir", "/kept", "option --state-dir"],
                ["log-quota", "2048", "option --log-quota"],
                ["process class (default)", "-, max_processes 3", f"{path}:13"],
                ["process class night", "far.example:4455, max_processes 10", f"{path}:14"],
                ["job report", "A r\xe9port", f"{path}:17"],
                ["job tidy", "-", f"{path}:30"],
            ],
        )
        self.assertIn("max-tasks", self.decide({"role": "remote"}).show())
