"""
How a user of pytest-twisted tests a program that runs jobs: a remote and a client as fixtures, and
tests that await them. Run by a pytest process of its own::

    pytest -p twisted tests/pytest_twisted
"""

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint

from jobscheduler_tcp.client.ports import CallbackPorts, tcpListen
from jobscheduler_tcp.client.processclass import ProcessClass
from jobscheduler_tcp.client.service import ClientService
from jobscheduler_tcp.messages import Stream, Work
from jobscheduler_tcp.outcome import Reason
from jobscheduler_tcp.remote.launcher import ProcessLauncher
from jobscheduler_tcp.remote.service import RemoteService
from jobscheduler_tcp.testing import RecordingReceiver


@pytest_twisted.async_yield_fixture
async def remote():
    """
    The port of a remote on this machine.
    """
    service = RemoteService(reactor, ProcessLauncher(reactor))
    service.startService()
    endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    listening = await endpoint.listen(service.factory)
    yield listening.getHost().port
    await listening.stopListening()
    await service.stopService()


@pytest_twisted.async_yield_fixture
async def client(remote):
    """
    A client service with one process class, the remote.
    """
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", remote)
    ports = CallbackPorts(reactor, tcpListen(reactor, "127.0.0.1"))
    service = ClientService(reactor, ports, [ProcessClass("remote", endpoint)])
    service.startService()
    yield service
    await service.stopService()


@pytest_twisted.ensureDeferred
async def test_wholeDiagram(client):
    """
    A job goes to the remote and comes back with its output and its exit code.
    """
    receiver = RecordingReceiver()

    outcome = await client.run(
        Work(script="echo out; echo err >&2; exit 7"), receiver=receiver
    ).done

    assert (outcome.reason, outcome.exitCode) == (Reason.EXITED, 7)
    assert receiver.output[Stream.STDOUT] == b"out\n"
    assert receiver.output[Stream.STDERR] == b"err\n"


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("number", [1, 2, 3])
async def test_manyAtOnce(client, number):
    """
    Fixtures and parameters go together.
    """
    jobs = [client.run(Work(command=("/bin/true",))) for _ in range(number)]

    assert [(await job.done).succeeded for job in jobs] == [True] * number


@pytest_twisted.ensureDeferred
async def test_kill(client):
    """
    A job that is killed says so.
    """
    job = client.run(Work(command=("sleep", "3600")))
    await job.started

    await job.kill()

    assert (await job.done).reason is Reason.KILLED
