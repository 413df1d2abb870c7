"""
Count what pytest wrote: C{count tests FILE} or C{count result FILE...}.
"""

import sys
from pathlib import Path
from xml.etree.ElementTree import parse

what, *files = sys.argv[1:]
total = failed = skipped = 0
for file in files:
    if not Path(file).exists():
        failed += 1  # it did not even begin
        continue
    for suite in parse(file).getroot().iter("testsuite"):
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))

if what == "tests":
    print(total)
else:
    if skipped:
        print(f"({skipped} skipped)")
    print(f"{max(0, total - failed - skipped)} passed, {failed} failed")
