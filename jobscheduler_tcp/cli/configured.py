"""
What a configuration file says, for commands that only look into it.
"""

from __future__ import annotations

import os
import sys

from jobscheduler_tcp.config.scheduler import readConfiguration
from jobscheduler_tcp.config.settings import Settings, settingsOf
from jobscheduler_tcp.errors import ConfigurationError

# sysexits.h: something was found in an unconfigured or misconfigured state.
EX_CONFIG = 78


def configured(
    role: str | None, config: str | None, callbackPorts: tuple[int, int] | None = None
) -> Settings:
    """
    The settings of a service with this file.

    @param role: C{None} for a client if the file has process classes with
        remotes, and for a remote if it has not.
    @raise SystemExit: the file is wrong, which is told on stderr.
    """
    options: dict[str, object] = {}
    if config is not None:
        options["config"] = config
    if callbackPorts is not None:
        options["callback-ports"] = f"{callbackPorts[1]}-{callbackPorts[0]}"
    # A variable such as JSREMOTE_LISTEN is for a service on this host, as here.
    environment = {name: value for name, value in os.environ.items() if name != "JSREMOTE_ROLE"}
    try:
        if role is None:
            classes = readConfiguration(config).processClasses if config is not None else ()
            role = "client" if config is None or any(each.host for each in classes) else "remote"
        return settingsOf({**options, "role": role}, environment)
    except (ConfigurationError, ValueError) as error:
        print(f"jsremote: {error}", file=sys.stderr)
        raise SystemExit(EX_CONFIG) from error
