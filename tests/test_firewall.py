"""
C{jsremote firewall}: what is let in, for each firewall.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.cli import firewall
from jobscheduler_tcp.cli.configured import configured
from jobscheduler_tcp.cli.firewall import FORMS, rulesOf
from jobscheduler_tcp.cli.main import main

CLIENT = """\
<spooler><config><process_classes>
<process_class name="a" remote_scheduler="192.0.2.7:4455"/>
<process_class name="b" remote_scheduler="far.example:4455"/>
<process_class name="c" remote_scheduler="far.example:4456"/>
<process_class name="d" remote_scheduler="lost.example:4455"/>
<process_class name="e"/>
</process_classes></config></spooler>
"""

REMOTE = """\
<spooler><config tcp_port="4711"><security>
<allowed_host host="192.0.2.1" level="all"/>
<allowed_host host="10.0.0.0" level="info"/>
<allowed_host host="2001:db8::1" level="all"/>
<allowed_host host="127.0.0.1" level="all"/>
<allowed_host host="192.0.2.66" level="none"/>
</security></config></spooler>
"""


def resolve(host: str) -> list[str]:
    """
    A name service.
    """
    known = {"far.example": ["198.51.100.9", "2001:db8::9"], "192.0.2.7": ["192.0.2.7"]}
    if host not in known:
        raise OSError(-2, "Name or service not known")
    return known[host]


class FirewallTests(SynchronousTestCase):
    """
    Rules for incoming connections.
    """

    def setUp(self) -> None:
        """
        Have a place for files.
        """
        self.directory = Path(mkdtemp(prefix="jsremote-firewall-"))
        self.addCleanup(rmtree, self.directory)

    def file(self, text: str) -> str:
        """
        Write a configuration.
        """
        path = self.directory / "scheduler.xml"
        path.write_text(text)
        return str(path)

    def rules(self, form: str, text: str | None, role: str | None = None) -> list[str]:
        """
        The lines for a firewall.
        """
        settings = configured(role, None if text is None else self.file(text))
        return list(FORMS[form](rulesOf(settings, resolve)))

    def test_client(self) -> None:
        """
        At a client each remote may call back, once whatever the number of its
        process classes, and by IPv4; what has no address is a comment.
        """
        lines = self.rules("nftables", CLIENT)
        self.assertEqual(
            lines,
            [
                "# lost.example has no address (Name or service not known): add it",
                "# commands are taken on loopback only: nothing to open for them",
                "add table inet filter",
                "add chain inet filter input { type filter hook input priority filter; }",
                (
                    "insert rule inet filter input ip saddr { 192.0.2.7, 198.51.100.9 } tcp dport "
                    '59900-59999 accept comment "jsremote: remotes call back"'
                ),
            ],
        )

    def test_remote(self) -> None:
        """
        At a remote whoever is allowed may reach the port for commands; a network
        is one, who may do nothing is not let in, and this host needs no rule.
        """
        rules = self.rules("nftables", REMOTE)[-2:]
        self.assertIn("ip saddr { 192.0.2.1, 10.0.0.0/8 } tcp dport 4711 accept", rules[0])
        self.assertIn("ip6 saddr { 2001:db8::1 } tcp dport 4711 accept", rules[1])
        self.assertEqual(
            self.rules("ufw", REMOTE),
            [
                f"ufw allow proto tcp from {source} to any port 4711 comment 'jsremote: commands'"
                for source in ("192.0.2.1", "10.0.0.0/8", "2001:db8::1")
            ],
        )

    def test_firewalld(self) -> None:
        """
        A rich rule for each source, and the line that makes them count.
        """
        *rules, last = self.rules("firewalld", REMOTE)
        self.assertEqual(len(rules), 3)
        self.assertEqual(
            rules[1],
            'firewall-cmd --permanent --add-rich-rule=\'rule family="ipv4" source '
            'address="10.0.0.0/8" port port="4711" protocol="tcp" accept\'',
        )
        self.assertEqual(last, "firewall-cmd --reload")

    def test_table(self) -> None:
        """
        For forms: columns that line up.
        """
        *_, head, row, _ = self.rules("table", CLIENT)
        self.assertEqual(
            [line.split("  ")[0] for line in (head, row)],
            ["direction", "in"],
        )
        self.assertEqual(head.index("port  "), row.index("59900-59999"))
        self.assertEqual(head.index("from "), row.index("192.0.2.7"))

    def test_anyone(self) -> None:
        """
        Where nobody is named, everybody is let in, which is said.
        """
        lines = self.rules("table", None)
        self.assertIn("# no process class names a remote: everybody may call back", lines)
        self.assertIn("anyone", lines[-1])
        open_ = REMOTE.replace("192.0.2.1", "0.0.0.0")
        (line,) = self.rules("ufw", open_)
        self.assertIn("from 0.0.0.0/0 to any port 4711", line)

    def test_nothing(self) -> None:
        """
        Where only this host connects there is nothing to open.
        """
        text = CLIENT.replace("far.example", "127.0.0.1").replace("192.0.2.7", "127.0.0.1")
        known = {"127.0.0.1": ["127.0.0.1"]}
        settings = configured("client", self.file(text))
        for form, write in FORMS.items():
            lines = list(write(rulesOf(settings, lambda host: known.get(host, []))))
            self.assertIn(
                "# only this host itself connects to 59900-59999: nothing to open for it", lines
            )
            rest = [line for line in lines if line[0] != "#"]
            self.assertEqual(len(rest), 2 if form == "nftables" else 0, form)

    def test_passive(self) -> None:
        """
        A remote that never calls needs no opening; all remotes of a class do.
        """
        text = CLIENT.replace('name="a"', 'name="a" callback="passive"')
        self.assertNotIn("192.0.2.7", "".join(self.rules("ufw", text)))
        text = text.replace(
            '<process_class name="e"/>',
            '<process_class name="e"><remote_schedulers>'
            '<remote_scheduler remote_scheduler="far.example:1"/>'
            '<remote_scheduler remote_scheduler="192.0.2.7:1"/>'
            "</remote_schedulers></process_class>",
        )
        self.assertIn("192.0.2.7", "".join(self.rules("ufw", text)))
        lonely = (
            '<spooler><config><process_classes><process_class name="a" callback="passive" '
            'remote_scheduler="192.0.2.7:4455"/></process_classes></config></spooler>'
        )
        self.assertEqual(
            self.rules("table", lonely)[0],
            "# all process classes are passive: no remote calls back",
        )

    def test_unknownHost(self) -> None:
        """
        Of an allowed host without an address a comment is left.
        """
        text = REMOTE.replace("192.0.2.1", "host.invalid").replace(
            "<security>", '<security ignore_unknown_hosts="yes">'
        )
        self.assertIn("# host.invalid has no address: add it", self.rules("table", text))

    def test_roles(self) -> None:
        """
        A file with remotes is a client's unless it is said otherwise.
        """
        self.assertIn("59900", self.rules("ufw", CLIENT)[-1])
        self.assertIn("nothing to open", self.rules("ufw", CLIENT, "remote")[-1])

    def said(self, *argv: str) -> tuple[object, str, str]:
        """
        Run the command here.
        """
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            stop = self.assertRaises(SystemExit, main, ["firewall", *argv])
        return stop.code, out.getvalue(), err.getvalue()

    def test_command(self) -> None:
        """
        The command prints all forms, or one.
        """
        code, out, _ = self.said("--config", self.file(REMOTE))
        self.assertEqual(code, 0)
        for name in firewall.FORMS:
            self.assertIn(f"# ---- {name}\n", out)
        code, out, _ = self.said("--config", self.file(REMOTE), "--format", "ufw")
        self.assertTrue(out.startswith("ufw allow"), out)

    def test_wrongFile(self) -> None:
        """
        A wrong file is one line on stderr.
        """
        code, out, err = self.said("--config", self.file("<spooler/>"))
        self.assertEqual((code, out, err.count("\n")), (78, "", 1))
        self.assertTrue(err.startswith("jsremote: "), err)
