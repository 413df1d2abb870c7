"""
Read recordings of real JobSchedulers (tests/data/recordings, or the directory
that the environment variable JSREMOTE_RECORDINGS names).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DIRECTORY = Path(
    os.environ.get("JSREMOTE_RECORDINGS") or Path(__file__).parent / "data" / "recordings"
)


@dataclass(frozen=True)
class Event:
    """
    One thing that happened on a connection.

    @ivar seconds: since the first event.
    @ivar connection: C{CMD-n} or C{REV-n}.
    @ivar speaker: C{client} or C{remote}.
    @ivar kind: SYN, DATA, MSG, FIN or RST.
    """

    seconds: float
    connection: str
    speaker: str
    kind: str
    data: bytes


def names() -> list[str]:
    """
    The names of all recordings of traffic.
    """
    return sorted(path.stem for path in DIRECTORY.glob("*.json") if path.stem != "commands")


def events(name: str) -> Iterator[Event]:
    """
    What happened in one recording, in order.
    """
    for event in json.loads((DIRECTORY / f"{name}.json").read_text("utf-8")):
        yield Event(
            event["t"],
            event["connection"],
            event["direction"].partition("->")[0],
            event["event"],
            bytes.fromhex(event["hex"]),
        )
