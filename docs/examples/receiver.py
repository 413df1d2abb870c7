"""One task with the two factories alone: python receiver.py 127.0.0.1 4455 COMMAND..."""

import sys
from secrets import token_bytes
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.task import react
from zope.interface import implementer

from jobscheduler_tcp.client.callback import CallbackFactory
from jobscheduler_tcp.client.command import CommandClientFactory
from jobscheduler_tcp.heartbeat import Heart
from jobscheduler_tcp.interfaces import IConfirmationReceiver
from jobscheduler_tcp.messages import StartTask, Work


@implementer(IConfirmationReceiver)
class Printer:
    """Print what is confirmed."""

    def __init__(self):
        self.over = Deferred()

    def taskAttached(self, confirmation, message):
        print("the remote called back")

    def taskStarted(self, message):
        print("started")

    def outputReceived(self, stream, data):
        print(stream.name.lower(), bytes(data))

    def taskEnded(self, message):
        print(message.reason, message.exitCode)
        self.over.callback(None)

    def confirmationLost(self, reason):
        self.over.errback(reason)


async def main(reactor, host, port, *command):
    heart = Heart(reactor)
    printer = Printer()
    task, token = str(uuid4()), token_bytes(16)
    # Be ready to hear before you speak: the answer may overtake you.
    callback = CallbackFactory(task, token, printer, heart, reactor)
    listening = reactor.listenTCP(0, callback, interface="127.0.0.1")
    remote = HostnameEndpoint(reactor, host, int(port))
    connection = await remote.connect(CommandClientFactory(heart))
    await connection.greeting
    work = Work(command=command)
    await connection.request(StartTask(0, task, listening.getHost().port, token, work))
    await printer.over
    await listening.stopListening()
    connection.transport.loseConnection()
    await connection.closed


react(main, sys.argv[1:])
