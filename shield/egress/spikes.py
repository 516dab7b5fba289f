"""Watches for spikes of origins' bytes and requests: the conductor alone, on behalf of the node.

It looks at the last minute every ten seconds, by the sums of all workers in shared memory. What is usual comes from
the ledger, read in a thread a few times an hour. Once there is a spike, what was seen of it is gathered from all
workers, and told in one text: that is the alarm's.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from shield.complaints import Complaints
from shield.egress.ledger import DAY, HOUR, Ledger
from shield.errors import ShieldError
from shield.rules.alarms import AlarmCause, AlarmKind
from shield.rules.budgets import UsageSum
from shield.rules.prices import Price
from shield.rules.spikes import Baseline, EgressRate, SpikeSights, SpikeTerms, baseline, is_spike, told

log = logging.getLogger("shield.egress")

LOOK_SECONDS = 10.0
WINDOW_SECONDS = 60.0
_TWICE = 2  # looks in a row that make a spike
_BASELINE_SECONDS = 600.0
_TOLD_SECONDS = 60.0  # between two texts on a spike that lasts
_SIGHT_SECONDS = 180.0  # of the ledger, for routes and reasons
_RECENT_HOURS = 6
_DAYS, _WEEKS = 7, 8

Usual = Mapping[str, tuple[Baseline, Baseline]]
"""By origin: of bytes and of requests a minute."""


@dataclass(slots=True)
class _Spike:
    rate: EgressRate
    looks: int = 1
    text: str = ""
    told: float = 0.0


@dataclass(frozen=True, slots=True)
class SpikeSources:
    """Where its figures come from: totals of origins since the start, prices, and what workers have seen lately."""

    totals: Callable[[], Mapping[str, UsageSum]]
    prices: Callable[[], Mapping[str, Price | None]]
    sights: Callable[[], Awaitable[SpikeSights]]
    conducts: Callable[[], bool]


class SpikeWatch:
    """Of one worker. `tick` once a second. Without a `ledger` nothing is usual, so that there are no spikes."""

    def __init__(
        self, terms: SpikeTerms, sources: SpikeSources, *, ledger: Ledger | None, clock: Callable[[], float]
    ) -> None:
        self._terms = terms
        self._sources = sources
        self._ledger = ledger
        self._clock = clock
        self._samples: deque[tuple[float, Mapping[str, UsageSum]]] = deque()
        self._usual: Usual = {}
        self._usual_at = -float("inf")
        self._hour = -1
        self._spikes: dict[str, _Spike] = {}
        self._work: asyncio.Task[None] | None = None
        self._complaints = Complaints(log, seconds=600.0)

    def use(self, terms: SpikeTerms) -> None:
        """Judge by these from now on."""
        self._terms = terms

    def tick(self) -> None:
        """Look if it is time."""
        if self._ledger is None:
            return
        if not self._sources.conducts():
            self._samples.clear()
            self._spikes.clear()
            self._usual, self._hour = {}, -1  # another worker's count now
            return
        now = self._clock()
        if self._samples and 0.0 <= now - self._samples[-1][0] < LOOK_SECONDS:
            return
        if self._samples and now < self._samples[-1][0]:
            self._samples.clear()  # the clock was set back
        self._samples.append((now, dict(self._sources.totals())))
        while len(self._samples) > 1 and now - self._samples[1][0] >= WINDOW_SECONDS:
            self._samples.popleft()
        self._judge(now)
        if self._work is None and self._is_due(now):
            self._work = asyncio.get_running_loop().create_task(self._catch_up(now))

    def troubles(self) -> list[AlarmCause]:
        """Spikes that last, for the alarms."""
        return [AlarmCause(AlarmKind.SPIKE, name, each.text) for name, each in self._spikes.items() if each.text]

    def usual(self) -> Usual:
        """What is usual at this hour, as far as this worker knows: the conductor does."""
        return self._usual

    def spiking(self) -> dict[str, bool]:
        """Whether each origin is in a spike, of those of which it is known what is usual."""
        return {name: bool(name in self._spikes and self._spikes[name].text) for name in self._usual}

    def _judge(self, now: float) -> None:
        began, oldest = self._samples[0]
        if now - began < WINDOW_SECONDS - LOOK_SECONDS / 2.0:
            return
        prices, newest = self._sources.prices(), self._samples[-1][1]
        for name, (received, requests) in self._usual.items():
            rate = rate_between(oldest.get(name), newest.get(name), now - began)
            if not is_spike(rate, received, requests, prices.get(name), self._terms):
                self._spikes.pop(name, None)
            elif name in self._spikes:
                self._spikes[name].rate, self._spikes[name].looks = rate, self._spikes[name].looks + 1
            else:
                self._spikes[name] = _Spike(rate)

    def _is_due(self, now: float) -> bool:
        is_stale = int(now) // HOUR != self._hour or now - self._usual_at >= _BASELINE_SECONDS
        return is_stale or any(map(partial(_is_to_be_told, now=now), self._spikes.values()))

    async def _catch_up(self, now: float) -> None:
        """Read what is usual, and tell of spikes."""
        assert self._ledger is not None
        loop, ledger = asyncio.get_running_loop(), self._ledger
        try:
            if int(now) // HOUR != self._hour or now - self._usual_at >= _BASELINE_SECONDS:
                self._usual = await loop.run_in_executor(None, usual_in, ledger, list(self._sources.prices()), now)
                self._hour, self._usual_at = int(now) // HOUR, now
            spikes = {name: each for name, each in self._spikes.items() if _is_to_be_told(each, now)}
            if spikes:
                sights = await self._sources.sights()
                rates = await loop.run_in_executor(None, rates_in, ledger, now)
                self._tell(spikes, sights, rates, now)
        except ShieldError as error:
            self._usual_at, self._hour = now, int(now) // HOUR
            self._complaints.say("ledger", now, "spikes of egress can't be judged: %s", error)
        finally:
            self._work = None

    def _tell(
        self,
        spikes: Mapping[str, _Spike],
        sights: SpikeSights,
        rates: Mapping[str, tuple[dict[str, EgressRate], dict[str, EgressRate]]],
        now: float,
    ) -> None:
        prices = self._sources.prices()
        for name, spike in spikes.items():
            if name not in self._usual:
                continue
            by_reason, by_route = rates.get(name, ({}, {}))
            seen = replace(sights, by_reason=by_reason, by_route=by_route)
            spike.text, spike.told = told(name, spike.rate, *self._usual[name], prices.get(name), seen), now

    async def close(self) -> None:
        """Wait for the ledger's thread."""
        if self._work is not None:
            await self._work


def rate_between(before: UsageSum | None, after: UsageSum | None, seconds: float) -> EgressRate:
    """The rate between two readings; one that isn't there yet is 0."""
    one, other = before or UsageSum(), after or UsageSum()
    per = 60.0 / seconds
    return EgressRate(max(0, other.received - one.received) * per, max(0, other.requests - one.requests) * per)


def usual_in(ledger: Ledger, origins: Iterable[str], now: float) -> dict[str, tuple[Baseline, Baseline]]:
    """What is usual of these at this hour, by the ledger. Blocks; raises StoreError."""
    begins, hour = ledger.begins(), int(now) // HOUR * HOUR
    if begins is None:
        return {}
    hours = {
        start: ledger.sums(start, start + HOUR)
        for start in [
            *[hour - day * DAY for day in range(1, _DAYS + 1)],
            *[hour - 7 * week * DAY for week in range(2, _WEEKS + 1)],
            *[hour - each * HOUR for each in range(1, _RECENT_HOURS + 1)],
        ]
        if start >= begins
    }
    found = {}
    for name in origins:
        pair = [_usual(hours, name, hour, is_bytes) for is_bytes in (True, False)]
        if pair[0] is not None and pair[1] is not None:
            found[name] = pair[0], pair[1]
    return found


def _usual(
    hours: Mapping[int, Mapping[str, tuple[int, ...]]], name: str, hour: int, is_bytes: bool
) -> Baseline | None:
    def value(start: int) -> float | None:
        if start not in hours:
            return None
        received, *statuses = hours[start].get(name, (0,))
        return (received if is_bytes else sum(statuses)) / 60.0

    recent = [value(hour - each * HOUR) for each in range(1, _RECENT_HOURS + 1)]
    return baseline(
        [value(hour - day * DAY) for day in range(1, _DAYS + 1)],
        [value(hour - 7 * week * DAY) for week in range(1, _WEEKS + 1)],
        [each for each in recent if each is not None],
    )


def rates_in(ledger: Ledger, now: float) -> dict[str, tuple[dict[str, EgressRate], dict[str, EgressRate]]]:
    """What each origin gave in the last minutes, by reason and by route. Blocks; raises StoreError."""
    found: dict[str, tuple[dict[str, EgressRate], dict[str, EgressRate]]] = {}
    minutes = _SIGHT_SECONDS / 60.0
    for row in ledger.rows(now - _SIGHT_SECONDS, now + 60.0):
        if not row.origin:
            continue
        for rates, name in zip(found.setdefault(row.origin, ({}, {})), (row.reason, row.route), strict=True):
            known = rates.get(name, EgressRate(0.0, 0.0))
            received, requests = row.received / minutes, row.requests / minutes
            rates[name] = EgressRate(known.received + received, known.requests + requests)
    return found


def _is_to_be_told(spike: _Spike, now: float) -> bool:
    return spike.looks >= _TWICE and now - spike.told >= _TOLD_SECONDS
