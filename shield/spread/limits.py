"""Rate limits of a cluster: each node decides by its own cells at once, and four times a second the nodes tell each
other, by the bus, what was taken from each budget.

So no request waits for the bus, and a client that spreads its requests over nodes gets at most its burst at each of
them before they know; what it got too much is repaid before it gets more. While the bus is away, each node gives its
part: the limit divided by the number of nodes. Or, by choice, nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shield.bus.bus import Bus, BusError, LeaseClaim
from shield.rate_cells import RateCells

SECONDS = 0.25
"""Between two rounds."""

_KEPT_SECONDS = 5.0  # for which others' use of a budget is looked up after its last request here
_MOST = 2000  # budgets in one round: some milliseconds of the engine
_MICROSECOND = 1000


class ClusterLimits:
    """Of the worker that conducts. `part` is a word that all workers read: 0, or by how much each divides its limits,
    or `CLOSED`. `alone` is the value that it has while the bus is away; `clock` is epoch seconds, as cells have.
    """

    def __init__(
        self,
        cells: RateCells,
        part: memoryview,
        *,
        alone: Callable[[], int],
        clock: Callable[[], float],
        are_there: Callable[[], bool] = lambda: True,
    ) -> None:
        """`are_there`: whether there are any limits."""
        self._cells = cells
        self._part = part
        self._alone = alone
        self._are_there = are_there
        self._clock = clock
        self._before = b""
        self._counted: dict[int, int] = {}  # what was taken from each budget by the last round
        self._used_at: dict[int, float] = {}
        self._owed: dict[int, int] = {}  # what the bus hasn't been told yet

    async def run(self, bus: Bus) -> None:
        """Until it is cancelled."""
        while True:
            if self._are_there():
                await self.round(bus)
            await asyncio.sleep(SECONDS)

    async def round(self, bus: Bus) -> None:
        """Tell the others what was taken here since the last round, and learn what they took."""
        now = self._clock()
        new = self._look(now)
        for budget, cost in new.items():
            self._owed[budget] = self._owed.get(budget, 0) + cost
        active = sorted(self._used_at, key=lambda budget: self._used_at[budget], reverse=True)[:_MOST]
        if not active and not self._part[0]:
            return
        claims = [
            LeaseClaim(f"rate:{budget & _ALL:x}", self._owed.get(budget, 0) // _MICROSECOND) for budget in active
        ] or [LeaseClaim("rates", 0)]  # whether the bus is back
        try:
            granted = await bus.lease(claims)
        except BusError:
            self._owed.clear()  # the time of what was taken passes here as well as there
            self._part[0] = self._alone()
            return
        self._part[0] = 0
        if not active:
            return
        at = int(self._clock() * 1e9)
        for budget, claim, answer in zip(active, claims, granted, strict=True):
            rest = self._owed.pop(budget, 0) - claim.cost * _MICROSECOND
            if rest > 0:
                self._owed[budget] = rest
            self._cells.raise_to(budget, at, answer.ahead * _MICROSECOND)

    def _look(self, now: float) -> dict[int, int]:
        """What was taken since the last look, by budget."""
        is_first = not self._before
        self._before, changed = self._cells.taken(self._before)
        new: dict[int, int] = {}
        for budget, taken in changed:
            counted = self._counted.get(budget, taken if is_first else 0)
            cost = taken - counted if taken >= counted else taken  # its cell was another's meanwhile
            self._counted[budget] = taken
            if cost:
                new[budget] = cost
                self._used_at[budget] = now
        for budget in [budget for budget, used_at in self._used_at.items() if now - used_at > _KEPT_SECONDS]:
            del self._used_at[budget]
            self._owed.pop(budget, None)
        if len(self._counted) > 4 * len(self._used_at) + _MOST:
            self._counted = {budget: self._counted[budget] for budget in self._used_at}
        return new


_ALL = (1 << 64) - 1
