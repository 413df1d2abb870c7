"""
Tests for L{jobscheduler_tcp.client.taskkey}.
"""

from __future__ import annotations

from uuid import RFC_4122, UUID

from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client.taskkey import newTask


class NewTaskTests(SynchronousTestCase):
    """
    Tasks have names.
    """

    def test_random(self) -> None:
        """
        The name is a random UUID in its usual form, and never the same.
        """
        names = [newTask() for _ in range(1000)]
        self.assertEqual(len(set(names)), 1000)
        for name in names:
            made = UUID(name)
            self.assertEqual((str(made), made.version, made.variant), (name, 4, RFC_4122))
