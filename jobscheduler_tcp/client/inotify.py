"""
Hear of changes in directories from Linux, by Twisted's notifier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet import inotify
from twisted.internet.interfaces import IReactorFDSet
from twisted.python.filepath import FilePath

_MASK = (
    inotify.IN_CLOSE_WRITE
    | inotify.IN_CREATE
    | inotify.IN_DELETE
    | inotify.IN_MOVED_FROM
    | inotify.IN_MOVED_TO
    | inotify.IN_ATTRIB
)


class _Notifier(inotify.INotify):
    """
    A notifier that may be ended more than once: Twisted ends it for each watched
    directory that is deleted, and would close its descriptor each time.
    """

    _ended = False

    def loseConnection(self) -> None:
        """
        End it.
        """
        if not self._ended:
            self._ended = True
            super().loseConnection()  # type: ignore[no-untyped-call]  # it has no types


def watchDirectories(
    reactor: IReactorFDSet, directories: Sequence[str], changed: Callable[[bool], None]
) -> Callable[[], None] | None:
    """
    Hear of changes.

    @param changed: told of each, and whether it is the last that is told.
    @return: ends that; C{None} if the system does not allow so many watches.
    """
    try:
        notifier = _Notifier(reactor)  # type: ignore[no-untyped-call]  # likewise
    except (OSError, inotify.INotifyError):
        return None

    def heard(ignored: object, path: object, mask: int) -> None:
        changed(bool(mask & inotify.IN_DELETE_SELF))

    notifier.startReading()  # type: ignore[no-untyped-call]  # likewise
    try:
        for directory in directories:
            notifier.watch(  # type: ignore[no-untyped-call]  # likewise
                FilePath(directory), _MASK, callbacks=[heard]
            )
    except inotify.INotifyError:
        notifier.loseConnection()
        return None
    return notifier.loseConnection
