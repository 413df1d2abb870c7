"""Run three jobs on a remote, two at a time: python client.py 127.0.0.1 4455"""

import sys

from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.task import react

from jobscheduler_tcp.client.ports import CallbackPorts, tcpListen
from jobscheduler_tcp.client.processclass import ProcessClass
from jobscheduler_tcp.client.service import ClientService
from jobscheduler_tcp.messages import Work


async def main(reactor, host, port):
    build = ProcessClass("build", HostnameEndpoint(reactor, host, int(port)), maxProcesses=2)
    client = ClientService(reactor, CallbackPorts(reactor, tcpListen(reactor)), [build])
    client.startService()
    for job in [client.run(Work(script=f"exit {number}"), "build") for number in range(3)]:
        outcome = await job.done
        print(outcome.reason, outcome.exitCode)
    await client.stopService()


react(main, sys.argv[1:])
