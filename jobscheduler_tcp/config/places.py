"""
Where things are if nobody says otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

# Where the Filesystem Hierarchy Standard wants the state of a service.
_SYSTEM = "/var/lib/jsremote"


def stateDirectory(environment: Mapping[str, str], user: int, port: int) -> str:
    """
    Where a client keeps its state: for root in the system's folder, for others
    in that of the XDG Base Directory Specification. Several clients of one user
    have several ports.

    @param user: the user's number.
    @param port: where the client listens; 0 if that is not known yet.
    """
    base = _SYSTEM
    if user != 0:
        # The specification: a path that is not absolute is to be ignored.
        home = environment.get("XDG_STATE_HOME", "")
        if not home.startswith("/"):
            home = os.path.join(environment.get("HOME") or "/", ".local", "state")
        base = os.path.join(home, "jsremote")
    return os.path.join(base, f"client-{port or 'PORT'}")
