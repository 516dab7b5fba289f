"""Failover: one fetch over several origins inside one deadline, before any byte went to a client.

What an origin says that isn't the object ("absent", an error, a refusal) moves on to the next.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shield.errors import Fault, OriginError
from shield.origin.origin import Origin
from shield.origin.want import Absent, Failed, Fetched, Want
from shield.rules.routing import next_attempt, rank

log = logging.getLogger("shield.origin")


class Origins:
    """All origins of a node. `fetch` walks an order of names within one deadline."""

    def __init__(self, origins: Sequence[Origin], *, deadline_seconds: float, clock: Callable[[], float]) -> None:
        self._origins = {origin.name: origin for origin in origins}
        self._deadline_seconds = deadline_seconds
        self._clock = clock
        self._complaints = _Complaints()
        self._now = asyncio.get_running_loop().time

    def order(self, names: Sequence[str]) -> tuple[str, ...]:
        """The order in which the named origins are tried now."""
        if len(names) < 2:
            return tuple(names)
        return rank([self._origins[name].candidate for name in names])

    async def fetch(self, names: Sequence[str], want: Want) -> Fetched | Absent | Failed:
        """Try the named origins until one commits to the object. Cancellation leaves nothing behind."""
        now = self._now
        deadline = now() + self._deadline_seconds
        order = self.order(names)
        tried: set[str] = set()
        failures: list[OriginError] = []
        gone = Absent()
        while (attempt := next_attempt(order, tried, now=now(), deadline=deadline)) is not None:
            origin = self._origins[attempt.origin]
            tried.add(origin.name)
            try:
                result = await origin.fetch(want, deadline=attempt.deadline, clock=self._clock)
            except OriginError as error:
                origin.faults[error.fault.value] += 1
                self._complaints.say(error, want.path, now())
                failures.append(error)
                continue
            if isinstance(result, Fetched):
                return result
            gone = Absent(result.status, min(result.lifetime, gone.lifetime))
        if failures or len(tried) < len(order):
            return Failed(tuple(failures))
        return gone

    def get(self, name: str) -> Origin:
        return self._origins[name]

    def all(self) -> tuple[Origin, ...]:
        return tuple(self._origins.values())

    async def close(self) -> None:
        for origin in self._origins.values():
            await origin.pool.close()


@dataclass
class _Complaints:
    """One log line per origin and fault in ten seconds; the others are counted and said with the next."""

    said: dict[tuple[str, Fault], float] = field(default_factory=dict)
    kept_back: Counter[tuple[str, Fault]] = field(default_factory=Counter)

    def say(self, error: OriginError, path: bytes, now: float) -> None:
        what = (error.origin, error.fault)
        if abs(now - self.said.get(what, -1e9)) < 10.0:
            self.kept_back[what] += 1
            return
        more = self.kept_back.pop(what, 0)
        self.said[what] = now
        suffix = f" ({more} more like it)" if more else ""
        log.warning("%s; for %s%s", error, path.decode("ascii", "replace"), suffix)
