"""Run jobs for clients on this machine, until a signal ends it: python remote.py 4455"""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import react

from jobscheduler_tcp.remote.launcher import ProcessLauncher
from jobscheduler_tcp.remote.service import RemoteService


def main(reactor, port):
    endpoint = TCP4ServerEndpoint(reactor, int(port), interface="127.0.0.1")
    remote = RemoteService(reactor, ProcessLauncher(reactor), [endpoint], maxTasks=100)
    remote.startService()
    reactor.addSystemEventTrigger("before", "shutdown", remote.stopService)
    return Deferred()  # for ever


react(main, sys.argv[1:])
