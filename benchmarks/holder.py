"""
Hold many command connections to a remote, and say the pings on them.
"""

from __future__ import annotations

import sys
from typing import cast

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.internet.task import react

from jobscheduler_tcp.client.command import CommandClientFactory
from jobscheduler_tcp.heartbeat import Heart


async def hold(reactor: IReactorTime, port: str, count: str) -> None:
    """
    Connect, tell that it is done, and stay until we are ended.
    """
    factory = CommandClientFactory(Heart(reactor))
    endpoint = TCP4ClientEndpoint(cast(IReactorTCP, reactor), "127.0.0.1", int(port))
    connections = []
    for _ in range(int(count)):
        connection = await connectProtocol(endpoint, factory.buildProtocol(None))
        await connection.greeting
        connections.append(connection)
    print("connected", flush=True)
    for connection in connections:
        await connection.closed


if __name__ == "__main__":
    react(hold, sys.argv[1:])
