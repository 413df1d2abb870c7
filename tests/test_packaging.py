"""
What is in the checkout is what an installation brings.
"""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

from twisted.application.service import IServiceMaker
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import jobscheduler_tcp
from twisted.plugins import jsremote

TOP = Path(__file__).resolve().parent.parent


class PackagingTests(SynchronousTestCase):
    """
    setup.cfg names by hand what setuptools cannot find by itself.
    """

    def setUp(self) -> None:
        """
        Read setup.cfg as setuptools does.
        """
        self.setup = ConfigParser()
        self.setup.read(TOP / "setup.cfg", encoding="utf-8")

    def test_packages(self) -> None:
        """
        Every package of the checkout is installed, and nothing else.
        """
        folders = {
            ".".join(file.parent.relative_to(TOP).parts)
            for file in (TOP / "jobscheduler_tcp").rglob("__init__.py")
        }
        listed = self.setup["options"]["packages"].split()

        self.assertEqual(sorted(listed), sorted(folders | {"twisted.plugins"}))

    def test_everyModuleIsInAPackage(self) -> None:
        """
        No folder with modules lacks its C{__init__.py}, without which they would stay behind.
        """
        homeless = [
            str(file)
            for file in (TOP / "jobscheduler_tcp").rglob("*.py")
            if not (file.parent / "__init__.py").exists()
        ]

        self.assertEqual(homeless, [])

    def test_twistedStaysTwisteds(self) -> None:
        """
        The C{twisted} folder has no C{__init__.py}: it would be installed over Twisted's own, and
        uninstalled together with it.
        """
        self.assertEqual(list((TOP / "twisted").rglob("__init__.py")), [])

    def test_typed(self) -> None:
        """
        Type checkers of applications see our annotations.
        """
        self.assertTrue((TOP / "jobscheduler_tcp" / "py.typed").exists())
        self.assertIn("py.typed", self.setup["options.package_data"]["*"])

    def test_version(self) -> None:
        """
        The version stands in one place.
        """
        self.assertEqual(self.setup["metadata"]["version"], "attr: jobscheduler_tcp.__version__")
        self.assertRegex(jobscheduler_tcp.__version__, r"\A\d+\.\d+\.\d+\Z")

    def test_plugin(self) -> None:
        """
        The plugin file gives twistd one maker of services, and it is ours.
        """
        maker = jsremote.jsremote

        verifyObject(IServiceMaker, maker)
        verifyObject(IPlugin, maker)
        self.assertEqual((maker.tapname, maker.module), ("jsremote", "jobscheduler_tcp.tap"))
