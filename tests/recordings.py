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

# The project's own, some of which tests need by name; and those to be replayed.
OWN = Path(__file__).parent / "data" / "recordings"
DIRECTORY = Path(os.environ.get("JSREMOTE_RECORDINGS") or OWN)


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
    return sorted(
        path.stem
        for path in DIRECTORY.glob("*.json")
        if all("connection" in event for event in json.loads(path.read_text("utf-8")))
    )


def commands() -> list[dict[str, str]]:
    """
    Requests to the XML port of a real client, and the answers.
    """
    path = DIRECTORY / "commands.json"
    found = json.loads((path if path.exists() else OWN / path.name).read_text("utf-8"))
    return [dict(exchange) for exchange in found]


def commandConnections() -> Iterator[tuple[str, list[Event]]]:
    """
    All command connections that were made, with their names.
    """
    for name in names():
        connections: dict[str, list[Event]] = {}
        for event in events(name):
            if event.connection.startswith("CMD"):
                connections.setdefault(event.connection, []).append(event)
        for connection, found in connections.items():
            if any(event.kind == "DATA" and event.speaker == "client" for event in found):
                yield f"{name} {connection}", found


def events(name: str, directory: Path = DIRECTORY) -> Iterator[Event]:
    """
    What happened in one recording, in order.
    """
    for event in json.loads((directory / f"{name}.json").read_text("utf-8")):
        yield Event(
            event["t"],
            event["connection"],
            event["direction"].partition("->")[0],
            event["event"],
            bytes.fromhex(event["hex"]),
        )
