"""
What stands in a command: times, numbers, words, paths, names and values.
"""

from __future__ import annotations

import re
import time

from jobscheduler_tcp.client.order import Pairs
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.wire.documents import Element

# A million seconds and more, in ten digits; a time beyond is a mistake.
_LATER = re.compile(r"now\s*\+\s*(?:([0-9]{1,9})|([0-9]{1,6}):([0-5][0-9])(?::([0-5][0-9]))?)")
_DATE = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[ T]([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?(?:\.[0-9]{1,6})?"
)

_YES = ("yes", "true", "1")
_NO = ("no", "false", "0")


def when(command: Element, name: str, now: float) -> float | None:
    """
    A time: C{now}, C{now+SECONDS}, C{now+HH:MM[:SS]}, or a date and a time of
    day, which are local.

    @return: seconds since 1970, C{None} where nothing is said.
    """
    text = command.attributes.get(name, "").strip()
    if not text:
        return None
    if text in ("now", "period"):
        return now  # without a run_time, every time is in a period
    later = _LATER.fullmatch(text)
    if later is not None:
        seconds, hours, minutes, more = (int(part or 0) for part in later.groups())
        return now + seconds + hours * 3600 + minutes * 60 + more
    date = _DATE.fullmatch(text)
    if date is not None:
        year, month, day, hour, minute, second = (int(part or 0) for part in date.groups())
        try:
            time.strptime(f"{year:04}-{month}-{day} {hour}:{minute}:{second}", "%Y-%m-%d %H:%M:%S")
            return time.mktime((year, month, day, hour, minute, second, 0, 0, -1))
        except (ValueError, OverflowError):
            pass
    raise wrong(name, "now, now+SECONDS, now+HH:MM[:SS] or YYYY-MM-DD HH:MM[:SS]", text)


def flag(command: Element, name: str) -> bool | None:
    """
    C{yes} or C{no}; C{None} where nothing is said.
    """
    text = command.attributes.get(name, "").strip()
    if not text:
        return None
    if text not in (*_YES, *_NO):
        raise wrong(name, "yes or no", text)
    return text in _YES


def integer(command: Element, name: str) -> int | None:
    """
    A whole number; C{None} where nothing is said.
    """
    text = command.attributes.get(name, "").strip()
    if not text:
        return None
    if re.fullmatch(r"[+-]?[0-9]{1,9}", text) is None:
        raise wrong(name, "a whole number", text)
    return int(text)


def taskNumber(command: Element) -> int:
    """
    The number of a task, which must be there.
    """
    text = command.attributes.get("id", "")
    if not (text.isdecimal() and text.isascii() and len(text) < 10):
        raise wrong("id", "the number of a task", text)
    return int(text)


def path(command: Element, name: str) -> str:
    """
    A path without its leading slash.
    """
    return command.attributes.get(name, "").strip().removeprefix("/")


def pairs(section: Element, child: str) -> Pairs:
    """
    Names and values.
    """
    found = []
    for each in section.children:
        name = each.attributes.get("name", "").strip()
        if each.name != child or not name or "=" in name:
            raise unexpected(f"{child} with a name", each)
        found.append((name, each.attributes.get("value", "")))
    return tuple(found)


def unexpected(expected: str, found: Element) -> CommandRefused:
    """
    Refuse an element.
    """
    return CommandRefused("SCHEDULER-409", f"Expected {expected}, found <{found.name[:100]}>")


def wrong(name: str, expected: str, found: str) -> CommandRefused:
    """
    Refuse the value of an attribute.
    """
    return CommandRefused(
        "jsremote-protocol-error", f"{name}: expected {expected}, found {found[:100]!r}"
    )
