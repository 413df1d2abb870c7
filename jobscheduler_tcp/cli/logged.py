"""
The log of a twistd as data for the one who started it: JSON lines on its
stdout, with exact times and the fields by name.

Given to twistd as C{--logger jobscheduler_tcp.cli.logged.observer}.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import directlyProvides

_STDOUT = 1


def observer() -> Callable[[LogEvent], None]:
    """
    Make the observer of a process.
    """
    directlyProvides(tell, ILogObserver)
    return tell


def tell(event: LogEvent) -> None:
    """
    Write one event.
    """
    text = formatEvent(event)
    if "log_failure" in event:
        text += f"\n{event['log_failure'].getTraceback()}"
    line = {
        "time": event["log_time"],
        "level": event.get("log_level", LogLevel.info).name,
        "format": event.get("log_format"),
        "text": text,
        "fields": {name: str(each) for name, each in event.items() if name[:4] != "log_"},
    }
    # Nobody may be left to read it; that is no reason to stop working.
    with suppress(OSError):
        os.write(_STDOUT, json.dumps(line).encode() + b"\n")
