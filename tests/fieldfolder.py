"""
A configuration as people have it: files of all kinds, in several encodings, with
much that this version does not do.
"""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

FIELD = Path(__file__).parent / "data" / "field"

# Names that are not kept in a repository, for not every system can have them.
NAMES = {
    "uebersicht.job.xml": "Umsatz & Co/Umsatz \xdcbersicht.job.xml",
    "import/list.job.xml": "import/list files.job.xml",
    "import/import,by_hand.order.xml": "import/import,by hand.order.xml",
    "import/import,at_once.order.xml": "import/import,at once.order.xml",
}

# What is no business of ours.
OTHERS = {
    ".svn/entries.job.xml": "<nonsense",
    "import/old.job.xml.bak": "<job>",
    "import/README.txt": "Nothing.",
    "import/~check.job.xml.swp": "b0VIM",
}


def fieldFolder(path: Path) -> Path:
    """
    Make the folder, with all its names.

    @return: its live folder.
    """
    copytree(FIELD, path)
    live = path / "live"
    for name, wanted in NAMES.items():
        (live / wanted).parent.mkdir(exist_ok=True)
        (live / name).rename(live / wanted)
    for name, text in OTHERS.items():
        (live / name).parent.mkdir(exist_ok=True)
        (live / name).write_text(text)
    return live
