"""Removes what was stored from an origin that turns out to be corrupt: since its canary was last clean, its bytes may
have been wrong, although they came under the right ETags.

The conductor tells of it as long as the origin is corrupt. Each time that it turns out to be so is dealt with once
for the node, under an id in the log of purges, also if another worker conducts meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable

from shield.errors import ShieldError
from shield.origin.prober import Doubt
from shield.purge_orders import PurgeOrders
from shield.rules.moments import shown

log = logging.getLogger("shield.purge")

AGAIN_SECONDS = 10.0
"""After a purge that couldn't be written, the next try."""


class Distrust:
    """Of one worker; its event loop only."""

    def __init__(self, orders: PurgeOrders, *, clock: Callable[[], float]) -> None:
        self._orders = orders
        self._clock = clock
        self._known: dict[str, tuple[float, float]] = {}  # by origin: which doubt, and from when on it is tried again
        self._tasks: set[asyncio.Task[None]] = set()

    def doubt(self, doubt: Doubt) -> None:
        """Remove what is doubtful, unless it has been done. Called again and again."""
        at, due = self._known.get(doubt.origin, (0.0, 0.0))
        if at == doubt.at and self._clock() < due:
            return
        self._known[doubt.origin] = doubt.at, math.inf
        task = asyncio.get_running_loop().create_task(self._remove(doubt))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _remove(self, doubt: Doubt) -> None:
        name, order_id, since = doubt.origin, f"corrupt-{doubt.origin}-{doubt.at * 1000.0:.0f}", shown(doubt.since)
        try:
            is_new = await self._orders.distrust(name, doubt.since, order_id)
        except ShieldError as error:
            self._known[name] = doubt.at, self._clock() + AGAIN_SECONDS
            text = (
                "origin %s: what was stored from it since %s may be wrong, and isn't removed: %s; it is tried again"
            )
            log.error(text, name, since, error)
            return
        if is_new:
            text = (
                "origin %s: what was stored from it since %s may be wrong: it is removed (%s) and fetched again from "
                "other origins. CDNs of purge.edges get its URLs: purge others of what they fetched since then"
            )
            log.warning(text, name, since, order_id)
