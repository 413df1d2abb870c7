"""
Take up what changes in the live folder, without a restart.

The system tells at once of a change, where it can (inotify); the folder is read
when nothing has changed for a moment, whole, and what it says then is taken in
one step. It is looked at from time to time, too: not every file system tells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime
from twisted.logger import Logger

from jobscheduler_tcp.config.livefolder import Live, LiveFolder, merged
from jobscheduler_tcp.config.model import Objects

# Seconds of quiet before the folder is read: a file is written in pieces, and
# several belong together.
SETTLE = 0.2
# Seconds until it is read although it is never quiet.
_IMPATIENT = 2.0
# Seconds between looks where the system tells of changes, and where it does not;
# JobScheduler looks each minute.
POLL_WATCHED = 60.0
POLL = 5.0

# Told of a change, and whether there will be no more to hear.
Changed = Callable[[bool], None]

# Makes the system tell of changes in some directories; what is returned ends
# that. C{None} where the system cannot.
Watch = Callable[[Sequence[str], Changed], Callable[[], None] | None]


class LiveConfiguration(Service):
    """
    Keeps a client as its configuration says.

    @ivar live: what the folder said when it was last read.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        base: Objects,
        folder: LiveFolder | None,
        apply: Callable[[Objects], None],
        watch: Watch = lambda directories, changed: None,
    ) -> None:
        """
        @param base: the objects of C{scheduler.xml}, which is read once.
        @param apply: takes the objects that the client shall have.
        @param watch: makes the system tell of changes.
        """
        self.live = Live()
        self._clock = clock
        self._base = base
        self._folder = folder
        self._apply = apply
        self._watch = watch
        self._told: frozenset[str] = frozenset()
        self._timer: IDelayedCall | None = None
        self._since = 0.0
        self._watched: tuple[str, ...] | None = None
        self._stopWatching: Callable[[], None] | None = None

    def startService(self) -> None:
        """
        Read the folder, and watch it.
        """
        super().startService()  # type: ignore[no-untyped-call]  # it has no types
        if self._folder is None:
            self._take(Objects())
        else:
            self._look(first=True)

    def stopService(self) -> None:
        """
        Watch no more.
        """
        super().stopService()  # type: ignore[no-untyped-call]  # it has no types
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._unwatch()
        self._watched = None

    def changed(self) -> None:
        """
        Something in the folder has changed: read it soon.
        """
        if not self.running or self._folder is None:
            return
        now = self._clock.seconds()
        self._since = self._since or now
        self._setTimer(max(0.0, min(SETTLE, self._since + _IMPATIENT - now)))

    def _look(self, *, first: bool = False) -> None:
        assert self._folder is not None
        self._timer = None
        self._since = 0.0
        before = self.live.objects
        self.live = self._folder.read()
        if self._watched != self._folder.watched:
            self._rewatch(self._folder)
            # What happened before the system was asked to tell.
            self.live = self._folder.read()
        self._tell((*self.live.errors, *self.live.warnings))
        if first or self.live.objects != before:
            self._take(self.live.objects)
        self._setTimer(POLL if self._stopWatching is None else POLL_WATCHED)

    def _take(self, live: Objects) -> None:
        objects = merged(self._base, live)
        self._apply(objects)
        self._tell(tuple(objects.missing()), forget=False)
        self._log.info(
            "Configured: {jobs} jobs, {chains} job chains, {classes} process classes",
            jobs=len(objects.jobs),
            chains=len(objects.chains),
            classes=len(objects.processClasses),
        )

    def _tell(self, lines: Sequence[str], *, forget: bool = True) -> None:
        """
        Log what was not logged the last time.
        """
        for line in lines:
            if line not in self._told:
                self._log.warn("{line}", line=line)
        self._told = frozenset(lines) if forget else self._told | frozenset(lines)

    def _rewatch(self, folder: LiveFolder) -> None:
        self._unwatch()
        self._watched = folder.watched
        self._stopWatching = self._watch(folder.watched, self._heard)

    def _heard(self, ended: bool) -> None:
        if ended:
            self._watched = None
        self.changed()

    def _unwatch(self) -> None:
        if self._stopWatching is not None:
            self._stopWatching()
            self._stopWatching = None

    def _setTimer(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.callLater(delay, self._look)


def inotifyWatch(reactor: IReactorFDSet) -> Watch:
    """
    Make a L{Watch} of Linux's inotify; elsewhere it cannot watch.
    """

    def watch(directories: Sequence[str], changed: Changed) -> Callable[[], None] | None:
        try:
            from jobscheduler_tcp.client.inotify import (  # noqa: PLC0415 - Linux has it
                watchDirectories,
            )
        except ImportError:
            return None
        return watchDirectories(reactor, directories, changed)

    return watch
