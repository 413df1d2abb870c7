"""
An installation makes C{twistd jsremote} and C{jsremote} appear, in any directory.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from shutil import copy, copytree, ignore_patterns, rmtree
from tempfile import mkdtemp

from twisted.trial.unittest import SkipTest, SynchronousTestCase

import jobscheduler_tcp

TOP = Path(__file__).resolve().parent.parent.parent

# What an installation is made of (MANIFEST.in has more: what is in the sdist for people).
NEEDED = ("LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.cfg")
PACKAGES = ("jobscheduler_tcp", "twisted")


class CommandFailed(Exception):
    """
    A command of an installation exited with an error.
    """


class InstallTests(SynchronousTestCase):
    """
    Each test has a virtual environment, a home and a copy of the checkout of its own.
    """

    def setUp(self) -> None:
        """
        Make the empty environment.
        """
        top = Path(mkdtemp(prefix="jsremote-install-")).resolve()
        self.addCleanup(rmtree, top)
        self.home = top / "home"
        self.home.mkdir()
        self.checkout = top / "checkout"
        self.checkout.mkdir()
        for name in NEEDED:
            copy(TOP / name, self.checkout)
        for name in PACKAGES:
            copytree(
                TOP / name, self.checkout / name, ignore=ignore_patterns("__pycache__", "*.cache")
            )
        self.venv = top / "venv"
        self.runCommand(sys.executable, "-m", "venv", str(self.venv))

    def runCommand(self, *command: str) -> str:
        """
        Run a command in the root directory and return what it printed.
        """
        # What a user's shell has, and how pip reaches its registry; but no path to this checkout.
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "COVERAGE", "VIRTUAL_ENV"))
        }
        environment["HOME"] = str(self.home)
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        environment.setdefault("PIP_CACHE_DIR", str(Path(caches) / "pip"))
        done = subprocess.run(
            command,
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,  # seconds; a slow package registry is no failure
        )
        if done.returncode:
            raise CommandFailed(f"{command}: exit {done.returncode}\n{done.stdout}")
        return done.stdout

    def installed(self, command: str, *arguments: str) -> str:
        """
        Run a command of the new environment.
        """
        return self.runCommand(str(self.venv / "bin" / command), *arguments)

    def pip(self, *arguments: str) -> None:
        """
        Run the new environment's pip.

        @raise SkipTest: no package can be had here at all.
        """
        try:
            self.installed("pip", "--no-input", *arguments)
        except CommandFailed:
            try:
                self.installed("pip", "download", "--no-deps", "--dest", str(self.home), "twisted")
            except CommandFailed as unreachable:
                raise SkipTest(f"pip reaches no package registry: {unreachable}") from None
            # A registry that can be reached may have been busy; our mistakes stay.
            self.installed("pip", "--no-input", *arguments)

    def assertInstalled(self) -> None:
        """
        Both commands are there, and speak for the installed package.
        """
        self.assertRegex(self.installed("twistd", "--help"), r"(?m)^ +jsremote +Remote job")
        self.assertIn("--role", self.installed("twistd", "jsremote", "--help"))
        self.assertIn(jobscheduler_tcp.__version__, self.installed("jsremote", "version"))

    def test_wheel(self) -> None:
        """
        A wheel brings everything, and taking it away again leaves Twisted's own plugins.
        """
        self.pip("wheel", "--no-deps", "--wheel-dir", str(self.home), str(self.checkout))
        [wheel] = self.home.glob("*.whl")
        self.pip("install", "--no-compile", str(wheel))

        self.assertInstalled()

        self.pip("uninstall", "--yes", "jobscheduler-tcp")
        left = self.installed("twistd", "--help")
        self.assertNotIn("jsremote", left)
        self.assertRegex(left, r"(?m)^ +web ")

    def test_editable(self) -> None:
        """
        So does an editable installation, whose plugin stays in the checkout.
        """
        self.pip("install", "--no-compile", "--editable", str(self.checkout))

        self.assertInstalled()
