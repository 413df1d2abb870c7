"""
The folder where a client keeps what shall outlive it. One client has it at a
time.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from jobscheduler_tcp.errors import HistoryUnusable


class StateDirectory:
    """
    The folder, while we have it. What is in it can be read by its owner alone:
    parameters and output of tasks may be secrets.

    @ivar history: the database file.
    @ivar logs: the folder of the task logs.
    @ivar positions: the file that tells how far they are written.
    """

    def __init__(self, path: Path) -> None:
        """
        Make the folder if need be, and take it until this process ends.

        @raise HistoryUnusable: it cannot be made or written, or another client
            has it.
        """
        self.path = path
        self.history = path / "history.sqlite"
        self.logs = path / "logs"
        self.positions = path / "positions"
        try:
            path.mkdir(0o700, parents=True, exist_ok=True)
            self.logs.mkdir(0o700, exist_ok=True)
            # A lock of flock(2) stays with the file as it is open here, also when
            # twistd becomes a daemon.
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The files that SQLite puts beside it have its mode.
                os.close(os.open(self.history, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            except BaseException:
                os.close(self._lock)
                raise
        except BlockingIOError as error:
            raise HistoryUnusable(
                str(path),
                "another client uses this state directory; each needs its own (--state-dir)",
            ) from error
        except OSError as error:
            raise HistoryUnusable(
                str(path),
                f"it cannot be the state directory ({error.strerror or error}): name one that can "
                "be written with --state-dir",
            ) from error

    def release(self) -> None:
        """
        Let another client have it.
        """
        os.close(self._lock)
