"""Other nodes that lack orders which were given to this node before its start. This process doesn't know which keys
these purged, so that it can't tell whether an entry which those nodes have stored is among them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from shield.spread.journal import OrderJournal


class OwedOrders:
    """Of one worker. `read` it once a second."""

    def __init__(self, journal: OrderJournal, others: Callable[[], Sequence[str]]) -> None:
        self._journal = journal
        self._others = others
        self._newest: int | None = None  # of this node's own orders at its start; None: that wasn't read yet
        self._lacking: frozenset[str] = frozenset()

    async def read(self) -> None:
        """See who has acknowledged all of them. Raises StoreError."""
        if self._newest is None or self._lacking:
            state = await asyncio.to_thread(self._journal.state)
            others = self._others() if self._newest is None else self._lacking
            newest = self._newest = state.newest if self._newest is None else self._newest
            self._lacking = frozenset([node for node in others if state.acknowledged.get(node, 0) < newest])

    def lacks(self, node: str) -> bool:
        """Whether a node isn't known to have them all."""
        return node in self._lacking
