"""
What several of JobScheduler's answers have: names and values, and the file that
an object comes from.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from jobscheduler_tcp.client.order import Pairs
from jobscheduler_tcp.config.model import Source
from jobscheduler_tcp.wire.documents import Element, element

# How many tasks one list shows, and orders all lists of a kind together, if nobody
# says otherwise; and orders of one list at most. The counts are of all.
LISTED = 1000
MOST_LISTED = 10000


def fileBased(source: Source | None, needed: Iterable[tuple[str, str]] = ()) -> Element:
    """
    Which file an object comes from, and the objects that it needs, each with its
    type.
    """
    attributes = {"state": "active"}
    if source is not None:
        written = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(source.written))
        attributes["file"] = source.file
        attributes["last_write_time"] = f"{written}.{int(source.written % 1 * 1000):03}Z"
    requisites = [element("requisite", {"type": kind, "path": f"/{path}"}) for kind, path in needed]
    return element("file_based", attributes, [element("requisites", {}, requisites)])


def paramsElement(parameters: Pairs) -> Element:
    """
    Names and values.
    """
    pairs = [element("param", {"name": name, "value": value}) for name, value in parameters]
    return element("params", {"count": str(len(pairs))}, pairs)
