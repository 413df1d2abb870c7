"""
What the README and the guide show is what there is.
"""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.config.scheduler import readConfiguration
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.tap import Options

TOP = Path(__file__).resolve().parent.parent
DOCS = TOP / "docs"


def blocks(page: Path, language: str) -> list[str]:
    """
    The code of one language on a page.
    """
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", page.read_text("utf-8"))


class DocumentationTests(SynchronousTestCase):
    """
    Pages of the checkout.
    """

    def test_readmeExample(self) -> None:
        """
        The example of the README is part of a program that the tests run.
        """
        [example] = blocks(TOP / "README.md", "python")

        self.assertIn(example, (DOCS / "examples" / "client.py").read_text("utf-8"))

    def test_smallExamples(self) -> None:
        """
        An application that runs jobs, and one that is a remote, are small.
        """
        for name in ("client.py", "remote.py"):
            lines = (DOCS / "examples" / name).read_text("utf-8").splitlines()
            self.assertLess(len(lines), 25, name)

    def test_everyExampleIsShown(self) -> None:
        """
        No example hides from the reader.
        """
        pages = "".join(page.read_text("utf-8") for page in DOCS.glob("*.md"))

        for example in sorted((DOCS / "examples").glob("*.py")):
            self.assertIn(f"examples/{example.name}", pages)

    def test_configurations(self) -> None:
        """
        Every configuration that the guide shows is understood, without a warning.
        """
        shown = [
            block
            for page in sorted(DOCS.glob("*.md"))
            for block in blocks(page, "xml")
            if block.startswith("<spooler>")
        ]
        self.assertGreaterEqual(len(shown), 3)

        with TemporaryDirectory() as directory:
            file = Path(directory, "scheduler.xml")
            for text in shown:
                file.write_text(text, "utf-8")
                configuration = readConfiguration(str(file), lambda host: ["192.0.2.1"])
                self.assertEqual(configuration.warnings, (), text)

    def test_options(self) -> None:
        """
        The page of options has all of them, and no other.
        """
        page = (DOCS / "options.md").read_text("utf-8")
        told = re.findall(r"(?m)^\| `--([a-z-]+)` \|", page)
        known = set(Options().longOpt) - {"help", "version"}

        self.assertEqual(sorted(told), sorted(name.rstrip("=") for name in known))

    def test_outcomes(self) -> None:
        """
        The page of outcomes has every reason, once.
        """
        page = (DOCS / "outcomes.md").read_text("utf-8")
        told = re.findall(r"(?m)^\| `([a-z-]+)` \|", page)

        self.assertEqual(told, [reason.value for reason in Reason])
