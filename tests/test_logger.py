"""
Tests for L{jobscheduler_tcp.logger}.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.logger import ILogObserver, LogEvent, Logger
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.logger import TaskLogger


class TaskLoggerTests(SynchronousTestCase):
    """
    What is logged is what Twisted's own logger logs.
    """

    def said(self, kind: type[Logger], **fields: Any) -> list[LogEvent]:
        """
        The events of two instances of a class and of one that is derived from it,
        without the time.
        """
        events: list[LogEvent] = []

        class Speaker:
            log = kind(observer=cast(ILogObserver, events.append))

        class Louder(Speaker):
            pass

        for speaker in (Speaker(), Speaker(), Louder()):
            speaker.log.info("Task {task} runs", task=1, **fields)
        Speaker().log.warn("Task {task} is lost", task=1)
        for event in events:
            self.assertGreater(event.pop("log_time"), 0)
            self.assertIsInstance(event.pop("log_logger"), kind)
            event.pop("log_source")
        return events

    def test_same(self) -> None:
        """
        The fields are the same, the names of classes are, too.
        """
        events = self.said(TaskLogger)
        self.assertEqual(events, self.said(Logger))
        self.assertEqual(events[0]["log_format"], "Task {task} runs")

    def test_source(self) -> None:
        """
        The source is the class.
        """
        events: list[LogEvent] = []

        class Speaker:
            log = TaskLogger(observer=cast(ILogObserver, events.append))

        Speaker().log.info("something")
        self.assertIs(events[0]["log_source"], Speaker)

    def test_traced(self) -> None:
        """
        Who wants to know which way an event goes is told.
        """
        trace: list[Any] = []
        events = self.said(TaskLogger, log_trace=trace)
        self.assertEqual(len(trace), 3)
        self.assertEqual(len(events), 4)

    def test_module(self) -> None:
        """
        That of a module bears the name that it is given.
        """
        events: list[LogEvent] = []
        TaskLogger("some.module", observer=cast(ILogObserver, events.append)).info("something")
        self.assertEqual(events[0]["log_namespace"], "some.module")
