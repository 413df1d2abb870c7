"""
Who says that it provides an interface provides all of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages
from typing import cast

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementedBy, providedBy
from zope.interface.interface import InterfaceClass
from zope.interface.verify import verifyClass, verifyObject

import jobscheduler_tcp
from jobscheduler_tcp import interfaces
from jobscheduler_tcp.client.callback import CallbackFactory
from jobscheduler_tcp.client.classic import ClassicCallbackFactory, IClassicReceiver
from jobscheduler_tcp.client.classiccommand import ClassicCommandProtocol
from jobscheduler_tcp.client.command import CommandClientFactory
from jobscheduler_tcp.client.passive import PassiveFactory
from jobscheduler_tcp.client.ports import CallbackPorts
from jobscheduler_tcp.client.service import ClientService
from jobscheduler_tcp.client.sharedport import SharedCallbackFactory
from jobscheduler_tcp.client.strangers import Strangers
from jobscheduler_tcp.commandport import CommandPortFactory
from jobscheduler_tcp.heartbeat import Heart
from jobscheduler_tcp.interfaces import (
    ICallbackReactor,
    IConfirmedTask,
    IDialReactor,
    ILaunchReactor,
    IStreamReactor,
    ITaskConfirmation,
    ITaskProcess,
    ITaskReceiver,
)
from jobscheduler_tcp.messages import CallbackMode, OpenConfirmation
from jobscheduler_tcp.remote.classic import ClassicConfirmationProtocol, ClassicTask
from jobscheduler_tcp.remote.command import CommandServerFactory
from jobscheduler_tcp.remote.confirmation import ConfirmationFactory
from jobscheduler_tcp.remote.launcher import ProcessLauncher
from jobscheduler_tcp.remote.service import RemoteService
from jobscheduler_tcp.remote.standings import StandingFactory
from jobscheduler_tcp.security import AllowedHosts
from jobscheduler_tcp.testing import FakeLauncher, MemoryNetwork, RecordingReceiver
from jobscheduler_tcp.wire.shelljob import ShellJob
from tests.test_flow import Diagram

TASK = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f10"
TOKEN = bytes(16)


def providers() -> Iterator[type]:
    """
    All classes of the package that provide an interface, by inheritance too.
    """
    for module in walk_packages(jobscheduler_tcp.__path__, "jobscheduler_tcp."):
        for value in vars(import_module(module.name)).values():
            ours = inspect.isclass(value) and value.__module__ == module.name
            if ours and list(implementedBy(value)):
                yield value


def embeddable() -> Iterator[object]:
    """
    What applications put together themselves: each made of nothing but what its C{__init__} asks
    for, without a service or a reactor around it.
    """
    network = MemoryNetwork()
    host = network.host("10.0.0.1")
    heart = Heart(host)
    receiver = RecordingReceiver()
    launcher = FakeLauncher(host)
    remote = RemoteService(host, launcher)
    levelOf = AllowedHosts().levelOf
    factories: list[Factory] = [
        CallbackFactory(TASK, TOKEN, receiver, heart, host),
        CommandClientFactory(heart),
        CommandPortFactory(levelOf, {}, host),
        CommandServerFactory(remote, levelOf, host),
        ConfirmationFactory(TASK, TOKEN, cast(IConfirmedTask, None), host),
        SharedCallbackFactory(heart, Strangers(host)),
        PassiveFactory(TASK, TOKEN, host, heart),
        StandingFactory(
            OpenConfirmation(1, TASK, CallbackMode.SHARED, TOKEN, 59999),
            "10.0.0.1",
            host,
            heart,
            lambda connection: None,
        ),
        ClassicCallbackFactory(ShellJob(), cast(IClassicReceiver, None), lambda host: True),
    ]
    for factory in factories:
        yield factory
        yield factory.buildProtocol(None)
    yield ClassicCommandProtocol()
    yield ClassicConfirmationProtocol(ClassicTask(TASK, 1, {}), launcher, lambda: None)
    yield from (remote, launcher, receiver, host)
    yield ClientService(host, CallbackPorts(host, host.listen), [])
    yield ProcessLauncher(cast(ILaunchReactor, host))


class InterfacesTests(SynchronousTestCase):
    """
    Classes and their instances against what they promise.
    """

    def test_classes(self) -> None:
        """
        Every class has the methods of its interfaces, with their arguments.
        """
        for provider in providers():
            for interface in implementedBy(provider):
                verifyClass(interface, provider)

    def assertProvides(self, thing: object) -> None:
        """
        An object provides all interfaces that it says it does, attributes included.
        """
        provided = list(providedBy(thing))
        self.assertNotEqual(provided, [], thing)
        for interface in provided:
            verifyObject(interface, thing)

    def test_embeddable(self) -> None:
        """
        The protocols, factories, services and launchers stand alone.
        """
        made = list(embeddable())

        for thing in made:
            self.assertProvides(thing)
        kinds = ("Protocol", "Factory", "Service", "Launcher")
        expected = {
            provider
            for provider in providers()
            if provider.__name__.endswith(kinds)
            and not provider.__module__.startswith("jobscheduler_tcp.testing.calls")
        }
        self.assertEqual(expected - {type(thing) for thing in made}, set())

    def test_running(self) -> None:
        """
        So do the objects that stand for a running task, at both ends and between them.
        """
        diagram = Diagram(lambda process: process.start(4711))
        _, receiver = diagram.run()
        diagram.network.flush()
        [process] = diagram.launcher.launched

        for interface, thing in (
            (ITaskConfirmation, receiver.confirmation),
            (ITaskProcess, process),
            (ITaskReceiver, process.receiver),
        ):
            self.assertTrue(interface.providedBy(thing))
            self.assertProvides(thing)
        diagram.stop(self)

    def test_everyInterfaceHasAProvider(self) -> None:
        """
        No interface of ours is there for nobody; Twisted's reactor has what we ask of a reactor.
        """
        reactor = {ILaunchReactor, ICallbackReactor, IDialReactor, IStreamReactor}
        for interface in reactor:
            verifyClass(interface, EPollReactor, tentative=True)
        ours = {
            value
            for value in vars(interfaces).values()
            if isinstance(value, InterfaceClass) and value.__module__ == interfaces.__name__
        }
        provided = {interface for provider in providers() for interface in implementedBy(provider)}

        self.assertEqual(ours - provided - reactor, set())
