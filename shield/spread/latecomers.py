"""Nodes that a starting one couldn't ask for orders that it missed, until they are heard of.

Nodes that are begun together need not listen at the same moment, and a first start has missed nothing. So they have
a while to be heard of before anybody is told; but if one of them does bring orders which were given while this node
was away, what they concern was served meanwhile, and that is said.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from shield.rules.spreading import SpreadOrder

log = logging.getLogger("shield.cluster")

GRACE_SECONDS = 15.0
"""After a start, in which other nodes may start, too."""


class Latecomers:
    """Of the worker that spreads orders. Times are on the clocks that its methods are given."""

    def __init__(self) -> None:
        self.away: set[str] = set()
        """Those that aren't heard of yet."""
        self._ready_at = 0.0
        self._started = 0.0
        self._is_new = False
        self._late = 0  # orders that were carried out after the node was ready, though they are older

    def begin(self, away: Collection[str], now: float, *, started: float, is_new: bool) -> None:
        """The node is ready, and couldn't ask these. `started`: since when it was there to get orders, epoch
        seconds. `is_new`: it knows of no orders and has nothing stored, so that it has missed none.
        """
        self.away, self._ready_at, self._started, self._is_new = set(away), now, started, is_new

    def carried_out(self, orders: Sequence[SpreadOrder]) -> None:
        """These orders of other nodes hold here from now on."""
        if self.away:
            self._late += sum([order.at < self._started for order in orders])

    def look(self, heard: Collection[str], now: float) -> None:
        """See who has been `heard` since the start; says once what was missed, or may be."""
        if not self.away:
            return
        self.away.difference_update(heard)
        since = max(0.0, now - self._ready_at)
        if not self.away:
            if self._late:
                text = (
                    "orders that were given while this node was away, and hold only since %.0f s after its start: %d"
                )
                log.warning(text, since, self._late)
            else:
                log.info("the other nodes were asked for orders %.0f s after the start: none was missing", since)
        elif since >= GRACE_SECONDS:
            names = ", ".join(sorted(self.away))
            if self._is_new:
                log.info("these nodes can't be reached: %s; nothing was stored here before their orders", names)
            else:
                log.warning("orders of these nodes may be missing, since they can't be reached: %s", names)
            self.away.clear()
