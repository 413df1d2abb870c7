"""
Tests for L{jobscheduler_tcp.tap}.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp import __version__, tap
from jobscheduler_tcp.config.settings import OPTIONS
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.tap import (
    Options,
    allowedHosts,
    budgetOf,
    listen,
    raiseDescriptorLimit,
    shieldTasks,
)


class OptionsTestCase(SynchronousTestCase):
    """
    Help with options.
    """

    def setUp(self) -> None:
        """
        Have nothing in the environment.
        """
        self.patch(os, "environ", {})
        self.directory = Path(mkdtemp(prefix="jsremote-tap-"))
        self.addCleanup(rmtree, self.directory)

    def options(self, *arguments: str) -> Options:
        """
        Parse a command line.
        """
        options = Options()
        options.parseOptions(arguments)
        return options

    def wrong(self, *arguments: str) -> str:
        """
        A command line is refused with the usage.
        """
        return str(self.assertRaises(UsageError, Options().parseOptions, arguments))

    def exits(self, *arguments: str) -> object:
        """
        A command line is refused in one line, which L{SystemExit} carries.
        """
        error = self.assertRaises(SystemExit, Options().parseOptions, arguments)
        self.assertNotIn("\n", str(error.code))
        return error.code


class OptionsTests(OptionsTestCase):
    """
    L{Options}: the command line of C{twistd jsremote}.
    """

    def test_all(self) -> None:
        """
        Every option has its setting.
        """
        settings = self.options(
            "--role=remote",
            "--listen=tcp:1:interface=127.0.0.2",
            "--allow=127.0.0.1=all",
            "--allow",
            "127.0.0.3=info",
            "--insecure",
            "--max-tasks=5",
            "--callback-host=127.0.0.1=10.0.0.7",
            "--callback-host",
            "127.0.0.3=10.0.0.8",
        ).settings
        self.assertEqual(
            settings.callbackHosts.value, (("127.0.0.1", "10.0.0.7"), ("127.0.0.3", "10.0.0.8"))
        )
        self.assertEqual(settings.callbackHosts.shown, "127.0.0.1=10.0.0.7 127.0.0.3=10.0.0.8")
        self.assertEqual(settings.role.value, "remote")
        self.assertEqual(settings.listen.value, ("127.0.0.2", 1))
        self.assertEqual(
            [(each.host, each.level) for each in settings.allow.value],
            [("127.0.0.1", Level.ALL), ("127.0.0.3", Level.INFO)],
        )
        self.assertTrue(settings.insecure.value)
        self.assertEqual(settings.maxTasks.value, 5)
        settings = self.options(
            "--role=client", "--callback-ports=3000-2000", "--advertise=10.0.0.7"
        ).settings
        self.assertEqual(settings.callbackPorts.value, (3000, 2000))
        self.assertEqual(settings.advertise.value, "10.0.0.7")
        self.assertEqual((settings.onDisconnect.value, settings.hold.value), ("hold", 600.0))
        self.assertEqual(self.options("--role=remote", "--hold=60").settings.hold.value, 60.0)
        self.assertEqual(self.options("--role=remote").settings.hold.value, 3600.0)

    def test_environment(self) -> None:
        """
        Variables say what options do not.
        """
        os.environ |= {"JSREMOTE_ROLE": "client", "JSREMOTE_LISTEN": "tcp:7:interface=127.0.0.1"}
        self.assertEqual(self.options().settings.listen.value, ("127.0.0.1", 7))
        settings = self.options("--role", "remote").settings
        self.assertEqual(settings.role.value, "remote")
        self.assertFalse(settings.insecure.value)

    def test_wrong(self) -> None:
        """
        A wrong option is an error of usage.
        """
        self.assertIn("--role", self.wrong())
        self.assertIn("--listen", self.wrong("--role=remote", "--listen="))
        self.assertIn("--max-tasks", self.wrong("--role=remote", "--max-tasks=many"))
        self.assertIn("--hold", self.wrong("--role=client", "--hold=long"))
        self.assertIn("--on-disconnect", self.wrong("--role=client", "--on-disconnect=wait"))
        self.assertIn("--on-disconnect", self.wrong("--role=remote", "--on-disconnect=kill"))
        self.assertIn("--allow", self.wrong("--role=remote", "--allow=me"))
        self.assertIn("--insecure", self.wrong("--role=remote", "--listen=tcp:4455"))

    def test_wrongFile(self) -> None:
        """
        A wrong configuration file is told in one line, without the usage.
        """
        path = self.directory / "scheduler.xml"
        path.write_text("<spooler>\n<config tcp_port='x'/></spooler>")
        told = str(self.exits("--role=remote", f"--config={path}"))
        self.assertTrue(told.startswith(f"jsremote: {path}:2: "), told)
        missing = self.directory / "missing.xml"
        told = str(self.exits("--role=remote", "--config", str(missing)))
        self.assertEqual(told, f"jsremote: {missing}: cannot be read: No such file or directory")

    def test_showConfig(self) -> None:
        """
        C{--show-config} prints all settings, and what was passed over of the
        file, and exits with 0.
        """
        path = self.directory / "scheduler.xml"
        path.write_text("<spooler>\n<config a=''/></spooler>")
        output, errors = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", output)
        self.patch(sys, "stderr", errors)
        code = self.exits("--role=remote", f"--config={path}", "--show-config")
        self.assertEqual(code, 0)
        self.assertIn("listen", output.getvalue())
        self.assertEqual(
            errors.getvalue(),
            f"jsremote: {path}:2: attribute a of <config> is not known; ignored\n",
        )

    def test_version(self) -> None:
        """
        C{--version} prints ours, not that of Twisted.
        """
        output = io.StringIO()
        self.patch(sys, "stdout", output)
        self.assertEqual(self.exits("--version"), 0)
        self.assertEqual(output.getvalue(), f"jsremote {__version__}\n")

    def test_usage(self) -> None:
        """
        Every option is explained.
        """
        usage = str(Options())
        for name in (*OPTIONS, "show-config"):
            self.assertIn(f"--{name}", usage)


class BudgetTests(OptionsTestCase):
    """
    L{budgetOf}: how many callback ports the process classes need.
    """

    def test_modes(self) -> None:
        """
        A class that is called back needs a port for each task, whatever its
        mode if it is classic; those that share one need that one, passive ones
        none.
        """
        path = self.directory / "scheduler.xml"
        classes = "".join(
            f'<process_class name="{name}" max_processes="{tasks}" '
            f'remote_scheduler="127.0.0.1:4455" {more}/>'
            for name, tasks, more in (
                ("a", 5, ""),
                ("b", 6, 'callback="own"'),
                ("c", 70, 'callback="shared"'),
                ("d", 80, 'callback="shared"'),
                ("e", 90, 'callback="passive"'),
                ("f", 7, 'callback="passive" dialect="classic"'),
            )
        )
        path.write_text(
            f"<spooler><config><process_classes>{classes}</process_classes></config></spooler>"
        )
        budget = budgetOf(self.options("--role=client", f"--config={path}").settings)
        self.assertEqual(
            [(demand.name, demand.tasks) for demand in budget.demands],
            [("a", 5), ("b", 6), ("f", 7), ("all of mode shared", 1)],
        )
        self.assertEqual(budget.needed, 19)


class ListenTests(OptionsTestCase):
    """
    L{listen}: before twistd becomes a daemon.
    """

    def listen(self, text: str) -> socket.socket:
        """
        Listen at an endpoint.
        """
        listening = listen(self.options("--role=remote", "--listen", text).settings)
        self.addCleanup(listening.close)
        return listening

    def refused(self, text: str) -> str:
        """
        It ends with one line.
        """
        error = self.assertRaises(SystemExit, self.listen, text)
        self.assertIsInstance(error.code, str)
        self.assertNotIn("\n", str(error.code))
        return str(error.code)

    def test_listens(self) -> None:
        """
        The socket listens already.
        """
        listening = self.listen("tcp:0:interface=127.0.0.1")
        socket.create_connection(listening.getsockname()).close()

    def test_taken(self) -> None:
        """
        Who holds a port that is taken is told.
        """
        port = self.listen("tcp:0:interface=127.0.0.1").getsockname()[1]
        told = self.refused(f"tcp:{port}:interface=127.0.0.1")
        self.assertIn(f"jsremote: cannot listen on 127.0.0.1:{port}", told)
        self.assertIn(f"pid {os.getpid()}", told)

    def test_foreignAddress(self) -> None:
        """
        An address that the machine does not have is told.
        """
        os.environ["JSREMOTE_INSECURE"] = "yes"
        told = self.refused("tcp:4455:interface=192.0.2.1")
        self.assertEqual(
            told, "jsremote: cannot listen on 192.0.2.1:4455: Cannot assign requested address"
        )


class ProcessTests(OptionsTestCase):
    """
    What belongs to the whole process.
    """

    def test_shieldTasks(self) -> None:
        """
        What who started us has us ignore is ignored by us alone: a task gets the
        signal as it is by default.
        """
        before = signal.signal(signal.SIGQUIT, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGQUIT, before)
        shieldTasks()
        os.kill(os.getpid(), signal.SIGQUIT)
        ignored = subprocess.run(
            ["grep", "SigIgn", "/proc/self/status"], capture_output=True, check=True
        ).stdout.split()[1]
        self.assertFalse(int(ignored, 16) & 1 << (signal.SIGQUIT - 1))

    def test_descriptors(self) -> None:
        """
        The soft limit of descriptors becomes the hard one.
        """
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        raiseDescriptorLimit()
        self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE), (before[1], before[1]))

    def test_descriptorsRefused(self) -> None:
        """
        A system that does not let us is no reason not to start.
        """

        def refuse(*arguments: object) -> None:
            raise ValueError("not allowed to raise maximum limit")

        self.patch(resource, "setrlimit", refuse)
        raiseDescriptorLimit()

    def test_plugin(self) -> None:
        """
        The plugin of twistd knows this module.
        """
        (plugin,) = [each for each in getPlugins(IServiceMaker) if each.tapname == "jsremote"]
        self.assertIs(plugin.options, Options)
        self.assertIs(plugin.makeService, tap.makeService)


class AllowedHostsTests(OptionsTestCase):
    """
    L{allowedHosts}: whose commands are taken.
    """

    def levels(self, *arguments: str) -> list[Level]:
        """
        The levels of this machine, another name of it, and a stranger.
        """
        allowed = allowedHosts(self.options("--role=remote", *arguments).settings)
        return [
            allowed.levelOf(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "192.0.2.1", "2::1")
        ]

    def test_levels(self) -> None:
        """
        By default those of this machine; with C{--insecure} everybody's; else those of
        the hosts that are named.
        """
        full, none, info = Level.ALL, Level.NONE, Level.INFO
        self.assertEqual(self.levels(), [full, full, full, none, none])
        self.assertEqual(self.levels("--insecure", "--listen=tcp:4455"), [full] * 5)
        self.assertEqual(
            self.levels("--allow=192.0.2.1=info", "--insecure"), [none, none, none, info, none]
        )

    def test_noneKnown(self) -> None:
        """
        Where hosts are named, and none of the names is known, nobody is let in.
        """

        def unknown(host: str, *arguments: object, **more: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        self.patch(socket, "getaddrinfo", unknown)
        path = self.directory / "scheduler.xml"
        path.write_text(
            "<spooler><config><security>"
            "<allowed_host host='nowhere' level='all'/></security></config></spooler>"
        )
        self.assertEqual(self.levels(f"--config={path}"), [Level.NONE] * 5)
