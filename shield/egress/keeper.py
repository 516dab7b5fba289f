"""Brings the counts of all workers into the ledger every few seconds: one worker of the node does it for all.

A full disk, or a file that can't be used, costs history and never a request: it is said, and tried again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from shield.complaints import Complaints
from shield.egress.ledger import Ledger, WorkerUsage
from shield.errors import StoreError
from shield.rules.sites import OriginSite
from shield.rules.zones import Zones

log = logging.getLogger("shield.egress")

EVERY_SECONDS = 5.0
"""Between two flushes: what a kill of the node may cost."""

_TEND_SECONDS = 1800.0

OfOthers = Callable[[], Awaitable[Sequence[bytes]]]


class LedgerKeeper:
    """Of one worker. `own` returns its counts, `others` those of the other workers, encoded; `conducts` says whether
    this worker writes for all. Without a `ledger` nothing is kept.
    """

    def __init__(
        self,
        ledger: Ledger | None,
        *,
        own: Callable[[], WorkerUsage],
        others: OfOthers,
        conducts: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self.ledger = ledger
        self._own = own
        self._others = others
        self._conducts = conducts
        self._clock = clock
        self._flushing: asyncio.Task[None] | None = None
        self._flushed_at = self._tended_at = -float("inf")
        self._complaints = Complaints(log, seconds=600.0)
        self.failures = 0
        """Flushes that failed. Nothing is lost by one: the next brings the same counts."""

    def use(self, zones: Zones, sites: Mapping[str, OriginSite]) -> None:
        """Origins are billed in these zones, and are at these sites, from now on."""
        if self.ledger is not None:
            self.ledger.use(zones, sites)

    def tick(self) -> None:
        """Once a second: flush if it is time."""
        now = self._clock()
        is_busy = self._flushing is not None and not self._flushing.done()
        if self.ledger is None or is_busy or abs(now - self._flushed_at) < EVERY_SECONDS or not self._conducts():
            return
        self._flushed_at = now
        self._flushing = asyncio.get_running_loop().create_task(self._flush(now))

    async def flush(self) -> None:
        """Write what all workers have counted by now."""
        if self.ledger is not None:
            await self._flush(self._clock())

    async def close(self) -> None:
        """Write this worker's last counts, as each does at its end."""
        if self._flushing is not None:
            await self._flushing
        if self.ledger is not None:
            now = self._clock()
            await self._write([partial(self.ledger.flush, [self._own()], now)], now)

    async def _flush(self, now: float) -> None:
        assert self.ledger is not None
        workers = [self._own(), *[WorkerUsage.decoded(data) for data in await self._others()]]
        # Where origins are is noted here alone: a worker that ends may have settings of the past.
        await self._write([partial(self.ledger.note_sites, now), partial(self.ledger.flush, workers, now)], now)

    async def _write(self, jobs: Sequence[Callable[[], None]], now: float) -> None:
        assert self.ledger is not None
        loop = asyncio.get_running_loop()
        try:
            for job in jobs:
                await loop.run_in_executor(None, job)
            if abs(now - self._tended_at) >= _TEND_SECONDS:
                self._tended_at = now
                await loop.run_in_executor(None, partial(self.ledger.tend, now))
        except StoreError as error:
            self.failures += 1
            self._complaints.say(
                "ledger",
                now,
                "usage can't be written down yet: %s; requests go on, and counts stay in memory until it can: what "
                "workers that end before have counted is lost",
                error,
            )
