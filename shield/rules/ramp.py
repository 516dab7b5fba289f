"""A new origin's way to its full share of keys, step by step, and back to none at the first sign of trouble. Pure.

The first step is shadow: clients aren't served by it, but sampled fills are compared with its copies. Then its share
of keys grows. A step needs fetches AND time: 5 percent of ten fetches a second are one in two seconds, so 500 take 17
minutes. Three other bytes, a share of errors that is worse beyond doubt, or slower first bytes in a row lead back to
nothing at once, since clients are being hurt.

The newcomer is compared with the other origins over the same time, so that a fault on this node's side, or of the
whole platform, isn't taken for its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

STEPS = (0.0, 0.05, 0.25, 0.5, 0.75, 1.0)
"""Shares of keys. The first is shadow, the last the end."""

LEAST_FETCHES = 500
"""By the newcomer in a step, before the next."""

LEAST_COMPARED = 100
"""Copies that were compared in the shadow step, before the next: three of a hundred would have shown."""

LEAST_SECONDS = 300.0
"""A step takes so long at least: caches of connections and of the origin itself need time to show their faults."""

MOST_DIFFERENCES = 3
"""Copies with other bytes that end a ramp. One may have been overwritten between two fetches."""

WORSE_BY = 0.005
"""A share of errors that is higher by this much, half a point, ends a ramp..."""

SURE = 0.99
"""... if it is so with this probability, ..."""

LEAST_FAILED = 5
"""... and after so many failures: a reset or two are no pattern. One that only fails is soon out anyway."""

SLOWER_BY = 1.5
"""A 95th percentile of first bytes this many times the others'..."""

SLOW_WINDOWS = 3
"""... in so many windows in a row ends a ramp."""

WINDOW_FETCHES = 200
"""First bytes of the newcomer in a window: a 95th percentile of fewer is noise."""

_POINTS = 400  # of the numerical integral


class RampStatus(Enum):
    """The state of a ramp."""

    RUNNING = "running"
    PAUSED = "paused"  # its share stays as it is; trouble still leads back
    DONE = "done"
    ABORTED = "aborted"  # its share is 0


class RampEnd(Enum):
    """The reason why a ramp was aborted."""

    DIFFERENCES = "its copies differ"
    ERRORS = "it fails more often than the others"
    SLOW = "its first bytes come later than the others'"
    OUT = "it was put out of service"
    OPERATOR = "an operator ended it"


@dataclass(frozen=True, slots=True)
class RampSample:
    """Observations since the last step of `Ramp.after`.

    `p95` and `others_p95` are of a whole window, in seconds, and None between the ends of windows. `is_out`: the
    newcomer is out of service. `is_ours`: the fault is on this node's side, so that nothing counts. `proved`: what
    other nodes of the cluster have done in this step, which counts as this one's; `waits`: some are a step behind.
    """

    fetches: int = 0
    failed: int = 0
    others_fetches: int = 0
    others_failed: int = 0
    compared: int = 0
    differing: int = 0
    p95: float | None = None
    others_p95: float | None = None
    is_out: bool = False
    is_ours: bool = False
    proved: int = 0
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Ramp:
    """A ramp of one origin. Times are epoch seconds, since it outlives the process. Counts are of the present step,
    `differing` of all.
    """

    origin: str
    began: float
    since: float  # of the step
    step: int = 0
    status: RampStatus = RampStatus.RUNNING
    end: RampEnd | None = None
    fetches: int = 0
    failed: int = 0
    others_fetches: int = 0
    others_failed: int = 0
    compared: int = 0
    differing: int = 0
    slow_windows: int = 0

    @property
    def share(self) -> float:
        """The share of keys that it may serve."""
        return 0.0 if self.status is RampStatus.ABORTED else STEPS[self.step]

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.status in (RampStatus.RUNNING, RampStatus.PAUSED)

    @property
    def is_shadow(self) -> bool:
        """Whether its copies are compared, and no client is served by it."""
        return self.is_open and self.step == 0

    @property
    def is_doubted(self) -> bool:
        """Whether clients were served by an origin whose copies turned out to differ."""
        return self.end is RampEnd.DIFFERENCES and self.step > 0

    @property
    def proved(self) -> int:
        """Its progress in this step: fetches, or compared copies."""
        return self.fetches if self.step else self.compared

    @property
    def missing(self) -> str:
        """The needs of the next step, in words."""
        if self.step == 0:
            return f"{self.compared} of {LEAST_COMPARED} copies compared"
        return f"{self.fetches} of {LEAST_FETCHES} fetches"

    def after(self, seen: RampSample, now: float) -> Ramp:
        """The ramp after these observations."""
        if not self.is_open or seen.is_ours:
            return self
        found = replace(
            self,
            fetches=self.fetches + seen.fetches,
            failed=self.failed + seen.failed,
            others_fetches=self.others_fetches + seen.others_fetches,
            others_failed=self.others_failed + seen.others_failed,
            compared=self.compared + seen.compared,
            differing=self.differing + seen.differing,
        )
        if seen.p95 is not None and seen.others_p95 is not None:
            is_slow = seen.p95 > SLOWER_BY * seen.others_p95
            found = replace(found, slow_windows=found.slow_windows + 1 if is_slow else 0)
        end = found._trouble(is_out=seen.is_out)
        if end is not None:
            return replace(found, status=RampStatus.ABORTED, end=end, since=now)
        if found.status is RampStatus.PAUSED or not found._may_advance(seen, now):
            return found
        step = found.step + 1
        status = RampStatus.DONE if step == len(STEPS) - 1 else RampStatus.RUNNING
        return Ramp(found.origin, found.began, now, step, status, differing=found.differing)

    def paused(self, now: float) -> Ramp:
        """The same, staying at its share. Raises ValueError if it is over."""
        return self._with(RampStatus.PAUSED, now)

    def resumed(self, now: float) -> Ramp:
        """The same, going on: the present step begins anew. Raises ValueError if it is over."""
        return self._with(RampStatus.RUNNING, now)

    def aborted(self, now: float) -> Ramp:
        """The same, ended by an operator. Raises ValueError if it is over."""
        return replace(self._with(RampStatus.ABORTED, now), end=RampEnd.OPERATOR)

    def _with(self, status: RampStatus, now: float) -> Ramp:
        if not self.is_open:
            raise ValueError(f"the ramp of {self.origin} is {self.status.value}")
        if status is RampStatus.RUNNING and self.status is RampStatus.PAUSED:
            return Ramp(self.origin, self.began, now, self.step, differing=self.differing)
        return replace(self, status=status)

    def _trouble(self, *, is_out: bool) -> RampEnd | None:
        if is_out and self.step:
            return RampEnd.OUT
        if self.differing >= MOST_DIFFERENCES:
            return RampEnd.DIFFERENCES
        if self.slow_windows >= SLOW_WINDOWS:
            return RampEnd.SLOW
        if self.failed < LEAST_FAILED:
            return None
        worse = worse_by(WORSE_BY, (self.failed, self.fetches), (self.others_failed, self.others_fetches))
        return RampEnd.ERRORS if worse > SURE else None

    def _may_advance(self, seen: RampSample, now: float) -> bool:
        if seen.waits or now - self.since < LEAST_SECONDS:
            return False
        return self.proved + seen.proved >= (LEAST_FETCHES if self.step else LEAST_COMPARED)


def is_in_cohort(spot: float, share: float) -> bool:
    """Whether a key, at its spot from 0 to 1 by hash, is among the share of keys that a newcomer may serve.

    A share that grows keeps its keys, so that each changes its origin once.
    """
    return spot < share


def worse_by(margin: float, new: tuple[int, int], base: tuple[int, int]) -> float:
    """The probability that the share of errors of `new` (failed, all) is higher than that of `base` by `margin`.

    From beta posteriors over uniform priors, so that few samples give no certainty; without any of either, 0.
    """
    (new_failed, new_all), (base_failed, base_all) = new, base
    if not new_all or not base_all or not new_failed:
        return 0.0
    a, b = new_failed + 1.0, new_all - new_failed + 1.0
    c, d = base_failed + 1.0, base_all - base_failed + 1.0
    low, high = _span(c, d)
    width = (high - low) / _POINTS
    bases = [low + (point + 0.5) * width for point in range(_POINTS)]
    weights = _densities(bases, c, d)
    tails = _tails([each + margin for each in bases], a, b)
    total = sum(weights)
    return sum([weight * tail for weight, tail in zip(weights, tails, strict=True)]) / total if total else 0.0


def _span(a: float, b: float) -> tuple[float, float]:
    """The interval that holds nearly all of a beta distribution."""
    mean = a / (a + b)
    reach = 8.0 * math.sqrt(a * b / (a + b + 1.0)) / (a + b) + 1e-9
    return max(0.0, mean - reach), min(1.0, mean + reach)


def _densities(points: Sequence[float], a: float, b: float) -> list[float]:
    """Densities of a beta distribution, up to a factor."""
    logs = [(a - 1.0) * math.log(x) + (b - 1.0) * math.log1p(-x) if 0.0 < x < 1.0 else -math.inf for x in points]
    top = max(logs)
    return [math.exp(each - top) for each in logs] if top > -math.inf else [0.0] * len(points)


def _tails(points: Sequence[float], a: float, b: float) -> list[float]:
    """For each of the rising points, the probability that a beta distribution is above it."""
    low, high = _span(a, b)
    width = (high - low) / _POINTS
    grid = [low + (point + 0.5) * width for point in range(_POINTS)]
    densities = _densities(grid, a, b)
    total = sum(densities)
    if not total:
        return [0.0] * len(points)
    above, rest = [], total
    for density in densities:  # the probability above each cell's middle
        above.append((rest - density / 2.0) / total)
        rest -= density
    found = []
    for x in points:
        place = (x - low) / width - 0.5
        cell = math.floor(place)
        if cell < 0:
            found.append(1.0)
        elif cell >= _POINTS - 1:
            found.append(0.0)
        else:
            found.append(above[cell] + (above[cell + 1] - above[cell]) * (place - cell))
    return found
