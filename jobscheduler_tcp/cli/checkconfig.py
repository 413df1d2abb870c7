"""
C{jsremote check-config}: read a configuration as a service would, and tell what
is wrong with it and what is passed over.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from jobscheduler_tcp.config.livefolder import LiveFolder, merged
from jobscheduler_tcp.config.model import Configuration, Objects
from jobscheduler_tcp.config.parts import unreadable
from jobscheduler_tcp.config.scheduler import readConfiguration
from jobscheduler_tcp.errors import ConfigurationError

WARNINGS = 1
ERRORS = 2

_FILE = "scheduler.xml"


@dataclass(frozen=True, slots=True)
class Checked:
    """
    What was found.

    @ivar errors: one line each, with C{file:line}.
    @ivar warnings: likewise.
    """

    objects: Objects
    errors: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def status(self) -> int:
        """
        The exit code.
        """
        return ERRORS if self.errors else WARNINGS if self.warnings else 0


def checkConfig(path: str, asJSON: bool) -> int:
    """
    Print what was found.

    @return: the exit code: 0, or 1 where something is passed over or missing, or
        2 where something is wrong.
    """
    checked = check(path)
    objects = checked.objects
    counts = {
        "process_classes": len(objects.processClasses),
        "jobs": len(objects.jobs),
        "job_chains": len(objects.chains),
        "orders": len(objects.orders),
    }
    if asJSON:
        told = {"errors": checked.errors, "warnings": checked.warnings, **counts}
        print(json.dumps(told))
        return checked.status
    for line in checked.errors:
        print(f"error: {line}")
    for line in checked.warnings:
        print(f"warning: {line}")
    found = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
    print(f"{path}: {len(checked.errors)} errors, {len(checked.warnings)} warnings; {found}")
    return checked.status


def check(path: str) -> Checked:
    """
    Read C{scheduler.xml} and its live folder, or a live folder alone.
    """
    configuration = Configuration()
    try:
        if not os.path.isdir(path):
            configuration = readConfiguration(path)
        elif os.path.exists(os.path.join(path, _FILE)):
            configuration = readConfiguration(os.path.join(path, _FILE))
        else:
            configuration = Configuration(liveFolder=path)
        for known in configuration.processClasses:
            known.requireIPv4()
    except OSError as error:
        return Checked(Objects(), (str(unreadable(path, error)),), ())
    except ConfigurationError as error:
        return Checked(Objects(), (str(error),), ())
    objects = configuration.objects
    errors: tuple[str, ...] = ()
    warnings = configuration.warnings
    if configuration.liveFolder:
        include = configuration.includePath or os.path.dirname(configuration.path)
        live = LiveFolder(configuration.liveFolder, include, configuration.tcpPort).read()
        objects, errors = merged(objects, live.objects), live.errors
        warnings += live.warnings
    if configuration.liveFolder or any(known.host for known in objects.processClasses):
        # A remote needs no process class to run its jobs.
        warnings += tuple(objects.missing())
    return Checked(objects, errors, warnings)
