"""Hedging: the request of a late fetch once more, at the next origin, while the first attempt continues. Pure.

It cuts off the slow end of an origin's times, at the price of a second request for a few of a hundred fetches. So it
is done only while it costs little and may help: with enough samples to know what is late, never in a partial outage
(when all are late, all would be sent twice), and never beyond a budget or a sum of money.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from shield.rules.health import HELD_BACK, Flag, HealthRecord, HealthState
from shield.rules.prices import Price

QUANTILE = 0.95
"""A fetch that takes longer than so many of the others is late."""

LEAST_SAMPLES = 100
"""A percentile of fewer samples is wrong by more than a fifth."""

SHARE = 0.02
"""The default budget: two hedges for a hundred successes. So less than half of those that are late."""

MOST = 10.0
"""Hedges that can be saved, and are there at the start."""

LATE_SHARE = 0.2
"""If a larger share of fetches is late, something is wrong with the origin, and its health decides."""

WINDOW_SECONDS = 10.0

CUT_BYTES = 256 * 1024
"""The most that an abandoned response has sent: the size of the buffers on the way."""


@dataclass(frozen=True, slots=True)
class HedgeRules:
    """The share of an origin's successes that may be hedged (0: none), and the most that a hedge may waste, in the
    currency of prices."""

    share: float = 0.0
    max_waste: float = 0.0


class LateShare:
    """The share of late fetches of an origin in the last ten seconds, from counts that only grow."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: deque[tuple[float, int, int]] = deque()  # time, late ones, successes

    def after(self, late: int, successes: int, now: float) -> float:
        """The share, with these counts since the start."""
        counts = self._counts
        counts.append((now, late, successes))
        while counts[0][0] < now - WINDOW_SECONDS:
            counts.popleft()
        _, late_before, before = counts[0]
        return (late - late_before) / max(1, late - late_before, successes - before)


def may_hedge(
    name: str, records: Mapping[str, HealthRecord], late_share: float, *, is_cut_off: bool, is_low: bool
) -> bool:
    """Whether late fetches of an origin may be hedged now.

    `is_cut_off`: the fault is the node's own. `is_low`: half of the origin's budget for retries is spent.
    """
    if is_cut_off or is_low or late_share > LATE_SHARE:
        return False
    if sum(record.state is not HealthState.UP for record in records.values()) > 1:
        return False  # a partial outage
    return _is_well(records[name])


def may_take(record: HealthRecord) -> bool:
    """Whether an origin may get the hedges of others; not one that lags, whose bytes may be older."""
    return _is_well(record) and not record.flags & (HELD_BACK | Flag.LAGGING)


def _is_well(record: HealthRecord) -> bool:
    return record.state is HealthState.UP and not record.flags & Flag.THROTTLED


def expected_waste(size: float) -> float:
    """The bytes that one of two responses of about this size sends in vain, before it is given up."""
    return min(size, float(CUT_BYTES))


@dataclass(slots=True)
class HedgeTally:
    """The results of hedges at one origin, and the permitted cost of another one. `wasted` bytes are estimated."""

    price: Price | None = None
    won: int = 0
    lost: int = 0
    wasted: int = 0
    mean: float = math.nan  # the size of its objects, by those that came late; recent ones count more

    def add_size(self, size: int | None) -> None:
        """An object came late; None: its size isn't known."""
        if size is not None:
            self.mean = float(size) if math.isnan(self.mean) else self.mean + (size - self.mean) / 16.0

    @property
    def expected(self) -> float:
        """The size of the next one. Unknown: a large one."""
        return float(CUT_BYTES) if math.isnan(self.mean) else self.mean

    def waste(self) -> None:
        """A response of this origin was given up."""
        self.wasted += int(expected_waste(self.expected))


def is_worth(price: Price | None, size: float, max_waste: float) -> bool:
    """Whether the expected waste of a hedge costs at most `max_waste`; without a price it costs nothing."""
    return price is None or price.of(expected_waste(size)) <= max_waste
