"""Failover: one fetch over several origins inside one deadline, before any byte is sent to a client.

`rules.schedule` decides when each origin is tried; this carries it out. Any response that isn't the object
("absent", an error, a refusal) moves on to the next.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable, Sequence

from shield.complaints import Complaints
from shield.errors import OriginError
from shield.origin.origin import Origin
from shield.origin.want import Absent, Failed, Fetched, Want, settled
from shield.rules.budget import RetryBudget
from shield.rules.routing import rank
from shield.rules.schedule import Schedule, Start, Wait

log = logging.getLogger("shield.origin")

_STORED_PATIENCE = 1.0
"""Seconds that a revalidation waits before an origin is tried again: the stored entry may do instead."""


class Origins:
    """All origins of a node. `fetch` walks an order of names within one deadline."""

    def __init__(
        self,
        origins: Sequence[Origin],
        *,
        deadline_seconds: float,
        clock: Callable[[], float],
        retry_share: float = 0.1,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._origins = {origin.name: origin for origin in origins}
        self._deadline_seconds = deadline_seconds
        self._budgets = {origin.name: RetryBudget(retry_share) for origin in origins}
        self._chance = chance
        self._clock = clock
        self._complaints = Complaints(log)
        self._now = asyncio.get_running_loop().time

    def order(self, names: Sequence[str]) -> tuple[str, ...]:
        """The order in which the named origins are tried now."""
        if len(names) < 2:
            return tuple(names)
        return rank([self._origins[name].candidate for name in names])

    async def fetch(self, names: Sequence[str], want: Want) -> Fetched | Absent | Failed:
        """Try the named origins until one commits to the object. Cancellation leaves nothing behind."""
        now = self._now
        schedule = Schedule(
            self.order(names),
            deadline=now() + self._deadline_seconds,
            budgets=self._budgets,
            chance=self._chance,
            patience=_STORED_PATIENCE if want.validators else math.inf,
        )
        failures: dict[str, OriginError] = {}
        absent: set[str] = set()
        gone: Absent | None = None
        while True:
            step = schedule.next(now())
            if isinstance(step, Wait):
                await asyncio.sleep(step.until - now())  # nothing is held meanwhile, not even a connection
                continue
            if not isinstance(step, Start):
                break
            origin = self._origins[step.origin]
            if step.origin in failures:
                origin.retries += 1
            try:
                result = await origin.fetch(want, deadline=step.deadline, clock=self._clock)
            except OriginError as error:
                failures[origin.name] = error
                self._note(origin, error, want)
                schedule.failed(origin.name, error.fault, now(), status=error.status, retry_after=error.retry_after)
                continue
            if isinstance(result, Fetched):
                return result
            failures.pop(origin.name, None)
            schedule.absent(origin.name)
            absent.add(origin.name)
            gone = result if gone is None else result.after(gone)
        if failures or not schedule.asked_all:
            return Failed(settled(failures, absent, want, asked_all=schedule.asked_all))
        return gone or Absent()

    def get(self, name: str) -> Origin:
        return self._origins[name]

    def all(self) -> tuple[Origin, ...]:
        return tuple(self._origins.values())

    async def close(self) -> None:
        for origin in self._origins.values():
            await origin.pool.close()

    def _note(self, origin: Origin, error: OriginError, want: Want) -> None:
        origin.faults[error.fault.value] += 1
        path = want.path.decode("ascii", "replace")
        self._complaints.say((error.origin, error.fault), self._now(), "%s; for %s", error, path)
