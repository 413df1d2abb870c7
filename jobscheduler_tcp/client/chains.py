"""
Job chains and their nodes, as they are configured now, and what is answered to
who asks for one that is not there.
"""

from __future__ import annotations

from collections.abc import Iterable

from jobscheduler_tcp.config.model import ConfiguredChain, ConfiguredNode
from jobscheduler_tcp.errors import CommandRefused


class Chains:
    """
    All job chains.

    @ivar chains: by their paths without the leading slash.
    """

    def __init__(self) -> None:
        self.chains: dict[str, ConfiguredChain] = {}
        self._nodes: dict[str, dict[str, ConfiguredNode]] = {}

    def configure(self, chains: Iterable[ConfiguredChain]) -> None:
        """
        Have these from now on.
        """
        self.chains = {chain.name: chain for chain in chains}
        self._nodes = {
            chain.name: {node.state: node for node in chain.nodes} for chain in self.chains.values()
        }

    def node(self, chain: str, state: str) -> ConfiguredNode | None:
        """
        The node of a state, C{None} if there is none.
        """
        return self._nodes.get(chain, {}).get(state)

    def leadsOut(self, chain: str, state: str) -> bool:
        """
        Whether an order at a state that is passed over comes to one that is not.
        """
        passed = set()
        node = self.node(chain, state)
        while node is not None and node.action == "next_state":
            if node.state in passed:
                return False
            passed.add(node.state)
            node = self.node(chain, node.nextState)
        return True

    def require(self, name: str) -> ConfiguredChain:
        """
        One of them.

        @raise CommandRefused: there is none.
        """
        if name not in self.chains:
            text = f"There is no Job_chain '{name and '/' + name}'"
            raise CommandRefused("SCHEDULER-161", text)
        return self.chains[name]

    def requireState(self, chain: str, state: str) -> ConfiguredNode:
        """
        The node of a state.

        @raise CommandRefused: there is none.
        """
        node = self.node(chain, state)
        if node is None:
            text = f'There is no job in job chain "/{chain}" for the state "{state}"'
            raise CommandRefused("SCHEDULER-149", text)
        return node

    def requireJob(self, chain: str, state: str) -> str:
        """
        The job of the node of a state.

        @raise CommandRefused: there is none.
        """
        node = self.node(chain, state)
        if node is None or not node.job:
            text = f'There is no job in job chain "/{chain}" for the state "{state}"'
            raise CommandRefused("SCHEDULER-149", text)
        return node.job
