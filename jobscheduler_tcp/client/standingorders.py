"""
The orders that stand in files: each file is taken up once, and again when it has
changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from twisted.logger import Logger

from jobscheduler_tcp.client.order import NEVER, NewOrder
from jobscheduler_tcp.client.orderbook import OrderBook
from jobscheduler_tcp.config.model import ConfiguredOrder
from jobscheduler_tcp.errors import CommandRefused
from jobscheduler_tcp.interfaces import ITaskLedger


class StandingOrders:
    """
    Have the orders of the files in the book.
    """

    _log = Logger()

    def __init__(self, book: OrderBook, ledger: ITaskLedger) -> None:
        """
        @param ledger: remembers which files were taken up.
        """
        self._book = book
        self._ledger = ledger
        self._known: dict[tuple[str, str], NewOrder] = {}
        self._chains: frozenset[str] = frozenset()

    def restore(self, known: Mapping[tuple[str, str], NewOrder]) -> None:
        """
        Have these files been taken up before a restart.
        """
        self._known = dict(known)

    def configure(self, orders: Iterable[ConfiguredOrder], now: float) -> None:
        """
        Have these files from now on.
        """
        wanted = {(order.chain, order.id): order for order in orders}
        before, self._known = self._known, {}
        chains = self._book.chains
        had, self._chains = self._chains, frozenset(chains)
        for key in before:
            if key not in wanted:
                self._ledger.standsNot(*key)
                self._book.discard(*key, now)
        for key, order in wanted.items():
            definition = _definition(order)
            # A chain that goes takes its orders with it, and they begin anew when
            # it comes again. One that was not there since the client was started
            # will find them as they stood.
            if before.get(key) == definition and (key[0] in chains or key[0] not in had):
                self._known[key] = definition
                continue
            passed = 0.0 < definition.at <= now  # it waits to be told
            try:
                self._book.add(replace(definition, at=NEVER) if passed else definition, now)
            except CommandRefused as refused:
                # Its chain may come; then it is tried again.
                self._log.warn("{place}: {text}", place=order.place, text=refused.text)
                if key in before:
                    self._ledger.standsNot(*key)
            else:
                self._known[key] = definition
                self._ledger.stands(definition)


def _definition(order: ConfiguredOrder) -> NewOrder:
    return NewOrder(
        order.chain,
        order.id,
        order.title,
        order.state,
        order.endState,
        order.priority,
        order.parameters,
        order.at or (NEVER if order.waits else 0.0),
        order.suspended,
        standing=True,
    )
