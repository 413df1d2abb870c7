"""
A client that has more orders than an answer should have.
"""

from __future__ import annotations

from jobscheduler_tcp.client import showcommands
from jobscheduler_tcp.wire.documents import Element, parse, serialise
from tests.test_ordercommands import OrderCommandsTestCase


class ManyOrdersTests(OrderCommandsTestCase):
    """
    Six orders at two nodes, where the lists of an answer have five in all.
    """

    def setUp(self) -> None:
        """
        Add them.
        """
        super().setUp()
        self.patch(showcommands, "LISTED", 5)
        for state in ("extract", "load") * 3:
            self.say(f'<add_order job_chain="/nightly" state="{state}" suspended="yes"/>')

    def queues(self, document: str) -> list[tuple[str, int]]:
        """
        How many orders are said to wait at each place, and how many are shown.
        """
        found: list[tuple[str, int]] = []

        def look(element: Element) -> None:
            for child in element.children:
                if child.name == "order_queue":
                    found.append((child.attributes["length"], len(child.children)))
                look(child)

        look(self.say(document))
        return found

    def test_bounded(self) -> None:
        """
        If nobody says how many, the lists of one kind share a bound, and the
        numbers are of all.
        """
        chain = [("3", 3), ("3", 2)]
        orders = 'what="job_chain_orders"'
        self.assertEqual(self.queues(f'<show_job_chain job_chain="/nightly" {orders}/>'), chain)
        self.assertEqual(self.queues('<show_jobs what="job_orders"/>'), chain)
        # Each kind of list has a bound of its own.
        self.assertEqual(self.queues('<show_state what="job_chains orders"/>'), chain * 2)
        self.assertEqual(self.queues("<show_jobs/>"), [("3", 0), ("3", 0)])

    def test_asked(self) -> None:
        """
        C{max_orders} is for each list.
        """
        for most, shown in ((0, 0), (2, 2), (100, 3)):
            document = f'<show_job_chains what="job_chain_orders" max_orders="{most}"/>'
            lists = self.queues(document)
            self.assertIn(("3", shown), lists)
            self.assertEqual(max(count for _, count in lists), shown)

    def test_values(self) -> None:
        """
        Whatever an order is called arrives, beside others that are called
        ordinarily.
        """
        title = "<\"&'> \u00e4\u20ac"
        attributes = {"job_chain": "/nightly", "order": "2", "title": title}
        said = serialise(Element("modify_order", attributes), "UTF-8", prolog=False)
        self.assertEqual(self.say(said.decode()).name, "ok")
        order = self.say('<show_order job_chain="/nightly" order="2"/>')
        read = parse(serialise(order))
        self.assertEqual(read.attributes["title"], title)
        self.assertEqual(read.attributes["id"], "2")
