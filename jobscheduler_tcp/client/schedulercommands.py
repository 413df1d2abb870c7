"""
JobScheduler's commands for the scheduler as a whole: let it pause and go on, end
it, have it look at its files, and keep its variables.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from jobscheduler_tcp.client import said
from jobscheduler_tcp.client.order import Pairs
from jobscheduler_tcp.client.scheduler import Scheduler
from jobscheduler_tcp.client.shownparts import paramsElement
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.plaincommands import Handler, Peer, Said
from jobscheduler_tcp.security import Level
from jobscheduler_tcp.wire.documents import Element, element

# Memory is bounded, also that of variables that nobody reads.
MAX_VARIABLES = 10_000

# Of the estimate that JobScheduler tells: what a pair takes beside its letters.
_PAIR_BYTES = 47

_RESTARTS = frozenset(
    {"terminate_and_restart", "let_run_terminate_and_restart", "abort_immediately_and_restart"}
)


class IEnding(Protocol):
    """
    What is asked of an L{Ending<jobscheduler_tcp.client.ending.Ending>}.
    """

    def terminate(self, timeout: float | None) -> None:
        """
        End the program when the tasks that run are over.
        """

    def abort(self) -> None:
        """
        End the program at once.
        """


class SchedulerCommands:
    """
    Obey commands.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        ending: IEnding,
        checkFolders: Callable[[], None],
        processClasses: Callable[[], Collection[str]],
        variables: Pairs = (),
    ) -> None:
        """
        @param checkFolders: looks whether the live folder has changed.
        @param processClasses: names of the process classes that are there.
        @param variables: those of the configuration.
        """
        self._scheduler = scheduler
        self._ending = ending
        self._checkFolders = checkFolders
        self._processClasses = processClasses
        # JobScheduler compares names without regard to case.
        self._variables = {name.lower(): (name, value) for name, value in variables}

    def commands(self) -> dict[str, tuple[Level, Handler]]:
        """
        The commands by name, each with the level that it needs (protocol
        document, 2.1). No level is known for variables: to see them needs what
        seeing needs, to change them what changing a job needs.
        """
        return {
            "modify_spooler": (Level.NO_ADD, self._modifySpooler),
            "terminate": (Level.NO_ADD, self._terminate),
            "check_folders": (Level.INFO, self._check),
            "param": (Level.NO_ADD, self._setVariable),
            "params": (Level.NO_ADD, self._setVariables),
            "param.get": (Level.INFO, self._variable),
            "params.get": (Level.INFO, self._allVariables),
            "process_class": (Level.ALL, self._processClass),
            "process_class.remove": (Level.ALL, self._removeProcessClass),
        }

    def _modifySpooler(self, command: Element, peer: Peer) -> Said:
        word = command.attributes.get("cmd", "")
        timeout = _timeout(command)
        match word:
            case "pause":
                self._scheduler.pause()
            case "continue":
                self._scheduler.resume()
            case "stop":
                self._scheduler.pause("stopped")
            case "terminate":
                self._ending.terminate(timeout)
            case "abort_immediately":
                self._ending.abort()
            case "reload":
                raise CommandRefused(
                    "jsremote-unsupported",
                    "scheduler.xml is read when the client starts; what changes in the live "
                    "folder is taken up by itself",
                )
            case _ if word in _RESTARTS:
                raise _cannotRestart()
            case _:
                raise CommandRefused("SCHEDULER-105", f"Unknown command: <{word[:100]}>")
        return element("ok")

    def _terminate(self, command: Element, peer: Peer) -> Said:
        for name in ("all_schedulers", "cluster_member_id", "delete_dead_entry"):
            # There is no cluster; to end something else than was meant is worse.
            if command.attributes.get(name, "no") not in ("", "no", "false", "0"):
                raise CommandRefused("jsremote-unsupported", f"{name} is not supported")
        timeout = _timeout(command)
        if said.flag(command, "restart"):
            raise _cannotRestart()
        self._ending.terminate(timeout)
        return element("ok")

    def _check(self, command: Element, peer: Peer) -> Said:
        self._checkFolders()
        return element("ok")

    def _setVariable(self, command: Element, peer: Peer) -> Said:
        name = command.attributes.get("name", "").strip()
        if not name:
            raise said.unexpected("param with a name", command)
        self._set(((name, command.attributes.get("value", "")),))
        return element("ok")

    def _setVariables(self, command: Element, peer: Peer) -> Said:
        self._set(said.pairs(command, "param"))
        return element("ok")

    def _set(self, pairs: Pairs) -> None:
        variables = self._variables | {name.lower(): (name, value) for name, value in pairs}
        if len(variables) > MAX_VARIABLES:
            raise CommandRefused("jsremote-limit", f"There are {MAX_VARIABLES} variables already")
        self._variables = variables

    def _variable(self, command: Element, peer: Peer) -> Said:
        found = self._variables.get(command.attributes.get("name", "").strip().lower())
        if found is None:
            return element("ok")  # as JobScheduler says of one that is not there
        return element("param", {"name": found[0], "value": found[1]})

    def _allVariables(self, command: Element, peer: Peer) -> Said:
        pairs = tuple(self._variables.values())
        shown = paramsElement(pairs)
        size = sum(len(name) + len(value) + _PAIR_BYTES for name, value in pairs)
        shown.attributes["estimated_byte_count"] = str(size)
        return shown

    def _processClass(self, command: Element, peer: Peer) -> Said:
        raise CommandRefused(
            "jsremote-unsupported", "Process classes are configured: write a file for it"
        )

    def _removeProcessClass(self, command: Element, peer: Peer) -> Said:
        name = said.path(command, "process_class")
        if name not in self._processClasses():
            text = f"There is no Process_class '{name and '/' + name}'"
            raise CommandRefused("SCHEDULER-161", text)
        raise CommandRefused(
            "jsremote-unsupported", f"Process class '/{name}' is configured: remove its file"
        )


def _timeout(command: Element) -> float | None:
    seconds = said.integer(command, "timeout")
    if seconds is not None and seconds < 0:
        raise said.wrong("timeout", "seconds", str(seconds))
    return seconds


def _cannotRestart() -> CommandRefused:
    return CommandRefused(
        "jsremote-unsupported",
        "The client does not restart itself: terminate it, and let what started it start it again",
    )
