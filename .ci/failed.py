"""
Tell which tests failed, and the last that each said: C{failed FILE...}, of what
pytest (.xml) and trial (.log) wrote.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import parse

LINES = 30  # of each test: what reads our output may have but the end of it

# What trial draws before each failure, and after the last.
BEGIN, END = "=" * 79, "-" * 79


def failures(path: Path) -> Iterator[tuple[str, list[str]]]:
    """
    The name of each failed test, and what it said.
    """
    if path.suffix == ".xml":
        for case in parse(path).getroot().iter("testcase"):
            for kind in ("failure", "error"):
                for each in case.iter(kind):
                    name = f"{case.get('classname')}.{case.get('name')}"
                    yield name, (each.text or "").splitlines()
        return
    before, *sections = path.read_text("utf-8", "replace").split(f"\n{BEGIN}\n")
    if not sections:
        yield "the end of it all", before.splitlines()
    for section in sections:
        lines = section.partition(f"\n{END}\n")[0].splitlines()
        # Trial has sections for these too, and neither is a failure.
        if lines[0] not in ("[SKIPPED]", "[TODO]"):
            yield lines[-1], lines[:-1]  # trial tells the name last


for file in map(Path, sys.argv[1:]):
    if not file.exists():
        print(f"\n--- {file.name} was not written")
        continue
    for test, said in failures(file):
        print(f"\n--- {file.stem}: {test}", *said[-LINES:], sep="\n")
