"""
A test of a user: a job through a firewall that is not as it should be, without
a process, a socket or a second of waiting.
"""

import unittest
from signal import SIGTERM

from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client.ports import CallbackPorts
from jobscheduler_tcp.client.processclass import ProcessClass
from jobscheduler_tcp.client.service import ClientService
from jobscheduler_tcp.messages import Stream, Work
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.remote.service import RemoteService
from jobscheduler_tcp.security import AllowedHosts, Level
from jobscheduler_tcp.testing import FakeLauncher, MemoryNetwork, RecordingReceiver

CLIENT, REMOTE = "10.0.0.1", "10.0.0.2"


class FirewallTests(SynchronousTestCase):
    def setUp(self):
        self.network = MemoryNetwork()
        self.network.latency = 0.05
        here, there = self.network.host(CLIENT), self.network.host(REMOTE)
        self.launcher = FakeLauncher(there)
        remote = RemoteService(
            there,
            self.launcher,
            [TCP4ServerEndpoint(there, 4455)],
            AllowedHosts([(CLIENT, Level.ALL)]),
        )
        remote.startService()
        ports = CallbackPorts(here, here.listen)
        endpoint = TCP4ClientEndpoint(here, REMOTE, 4455)
        self.client = ClientService(here, ports, [ProcessClass("remote", endpoint, callback="own")])
        self.client.startService()

    def test_nobodyIsInTheWay(self):
        receiver = RecordingReceiver()
        job = self.client.run(Work(script="nightly"), receiver=receiver)
        self.network.advance(1)
        [process] = self.launcher.launched
        process.start(4711)
        process.print(Stream.STDOUT, b"good night\n")
        process.end(7)
        self.network.advance(1)
        self.assertEqual(receiver.output[Stream.STDOUT], b"good night\n")
        self.assertEqual(self.successResultOf(job.done).exitCode, 7)

    def test_callbackPortIsTaken(self):
        self.network.host(CLIENT).listen(59999, Factory())
        job = self.client.run(Work(script="nightly"))
        self.network.advance(1)
        self.assertEqual(job.port, 59998)

    def test_callbackPortIsFiltered(self):
        self.network.host(CLIENT).filter(59999)
        job = self.client.run(Work(script="nightly"))
        self.network.advance(60)
        self.assertIs(self.successResultOf(job.done).reason, Reason.CALLBACK_FILTERED)
        self.assertEqual(self.launcher.launched, [])

    def test_partition(self):
        job = self.client.run(Work(script="nightly"))
        self.network.advance(1)
        [process] = self.launcher.launched
        process.start(4711)
        self.network.cut(CLIENT, REMOTE)
        self.network.advance(10)
        self.assertNoResult(job.done)  # a cable that was out for less than 15 seconds
        self.network.heal(CLIENT, REMOTE)
        self.network.advance(1)
        self.network.cut(CLIENT, REMOTE)
        self.network.advance(60)
        self.assertNoResult(job.done)  # the remote holds the task for ten minutes
        self.network.advance(600)
        self.assertIs(self.successResultOf(job.done).reason, Reason.LOST)
        self.assertEqual([signal for signal, grace in process.kills], [SIGTERM])


def main():
    tests = unittest.defaultTestLoader.loadTestsFromTestCase(FirewallTests)
    result = tests.run(unittest.TestResult())
    assert result.wasSuccessful(), result.errors + result.failures
    print(f"{result.testsRun} tests passed")


if __name__ == "__main__":
    main()
