"""
For tests of programs that use this package: a network in memory, on
C{twisted.internet.task.Clock}, whose links and ports a test can break, and
stand-ins for what an application plugs in.

The page C{docs/testing} shows how they work together.
"""

from jobscheduler_tcp.testing.calls import MemoryPort as MemoryPort
from jobscheduler_tcp.testing.calls import Stranger as Stranger
from jobscheduler_tcp.testing.connection import End as End
from jobscheduler_tcp.testing.connection import MemoryConnection as MemoryConnection
from jobscheduler_tcp.testing.fakes import FakeLauncher as FakeLauncher
from jobscheduler_tcp.testing.fakes import FakeProcess as FakeProcess
from jobscheduler_tcp.testing.fakes import RecordingReceiver as RecordingReceiver
from jobscheduler_tcp.testing.host import MemoryHost as MemoryHost
from jobscheduler_tcp.testing.network import MemoryNetwork as MemoryNetwork
from jobscheduler_tcp.testing.transport import MemoryTransport as MemoryTransport
