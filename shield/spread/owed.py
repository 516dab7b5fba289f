"""Other nodes that lack orders which were given to this node before its start. This process doesn't know which keys
these purged, so that it can't tell whether an entry which those nodes have stored is among them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from shield.spread.journal import OrderJournal


class OwedOrders:
    """Of one worker. `read` it once a second."""

    def __init__(self, journal: OrderJournal, others: Callable[[], Sequence[str]]) -> None:
        self._journal = journal
        self._others = others
        self._newest: int | None = None  # of this node's own orders at its start; None: that wasn't read yet
        self._acknowledged: Mapping[str, int] = {}

    async def read(self) -> None:
        """See which nodes have acknowledged all of them. Raises StoreError."""
        if self._newest is None or any(self.lacks(node) for node in self._others()):
            state = await asyncio.to_thread(self._journal.state)
            self._acknowledged = state.acknowledged
            if self._newest is None:
                self._newest = state.newest

    def lacks(self, node: str) -> bool:
        """Whether a node isn't known to have them all."""
        return self._newest is not None and self._acknowledged.get(node, 0) < self._newest
