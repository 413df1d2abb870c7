"""A remote that runs every command with less priority: python launcher.py 4455"""

import sys
from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import react
from zope.interface import implementer

from jobscheduler_tcp.interfaces import ITaskLauncher
from jobscheduler_tcp.remote.launcher import ProcessLauncher
from jobscheduler_tcp.remote.service import RemoteService


@implementer(ITaskLauncher)
class NiceLauncher:
    """Start commands by nice(1). By a container's or a cluster's command it is done likewise."""

    def __init__(self, launcher):
        self._launcher = launcher

    def prepare(self, launch, receiver):
        command = ("nice", "-n", "5", *launch.work.command)
        nice = replace(launch, work=replace(launch.work, command=command))
        return self._launcher.prepare(nice if launch.work.command else launch, receiver)

    def stop(self):
        return self._launcher.stop()


def main(reactor, port):
    endpoint = TCP4ServerEndpoint(reactor, int(port), interface="127.0.0.1")
    remote = RemoteService(reactor, NiceLauncher(ProcessLauncher(reactor)), [endpoint])
    remote.startService()
    reactor.addSystemEventTrigger("before", "shutdown", remote.stopService)
    return Deferred()


react(main, sys.argv[1:])
