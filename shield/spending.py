"""Budgets of an origin for extra fetches, shared by all workers of a node, in words that each have one writer.

A worker counts its successes and what it spends; the conductor writes what all of these have earned. Two workers that
spend at the same moment may overdraw a budget by one fetch.
"""

from __future__ import annotations

import math
from enum import IntEnum

from shield.rules.budget import FetchAllowance


class Purpose(IntEnum):
    """What a budget is for: its place among the words."""

    REPEATS = 0  # of a failed request, and of the rest of a broken body, at the same origin
    HEDGES = 1  # the same request at another origin, while this one is late


_COUNTED = 0  # successes that have earned something
_AFTER = 1  # the seconds after which a fetch is late; 0: not known, or of no interest
_MAY_HEDGE = 2
_EARNED = 3  # by purpose
_FIRST = _EARNED + len(Purpose)
_SUCCESSES = 0
_LATE = 1  # fetches
_SPENT = 2  # by purpose
_WORKER_WORDS = _SPENT + len(Purpose)


def words_for(workers: int) -> int:
    """The words for one origin."""
    return _FIRST + workers * _WORKER_WORDS


class SharedBudget:
    """The budget of an origin for one purpose, as one worker sees it."""

    __slots__ = ("_allowance", "_purpose", "_spending")

    def __init__(self, spending: Spending, purpose: Purpose, allowance: FetchAllowance) -> None:
        self._spending = spending
        self._purpose = purpose
        self._allowance = allowance

    @property
    def saved(self) -> float:
        """What is available."""
        earned, spent = self._spending.totals(self._purpose)
        return self._allowance.saved(earned, spent)

    @property
    def is_allowed(self) -> bool:
        """Whether there are such fetches at all."""
        return self._allowance.share > 0.0

    @property
    def is_low(self) -> bool:
        """Whether half of what can be saved is spent."""
        return self.saved <= self._allowance.most / 2.0

    def take(self) -> bool:
        """Whether such a fetch is allowed now; if so, it is paid for."""
        if self.saved < 1.0:
            return False
        self._spending.spend(self._purpose)
        return True

    def earn(self, successes: int) -> None:
        """By the conductor: so many fetches were successful."""
        earned, spent = self._spending.totals(self._purpose)
        self._spending.set_earned(self._purpose, self._allowance.earn(earned, spent, successes))


class Spending:
    """The words of one origin; `worker` writes its own, and all of them if it conducts."""

    __slots__ = ("_times", "_words", "own")

    def __init__(self, words: memoryview, times: memoryview[float], worker: int) -> None:
        self._words = words
        self._times = times
        self.own = words[_FIRST + worker * _WORKER_WORDS :]
        """The words of this worker; the first one counts successes."""

    def budget(self, purpose: Purpose, allowance: FetchAllowance) -> SharedBudget:
        return SharedBudget(self, purpose, allowance)

    def totals(self, purpose: Purpose) -> tuple[float, int]:
        """What was earned and spent since the start."""
        return self._times[_EARNED + purpose], sum(self._words[_FIRST + _SPENT + purpose :: _WORKER_WORDS])

    def spend(self, purpose: Purpose) -> None:
        self.own[_SPENT + purpose] += 1

    def set_earned(self, purpose: Purpose, earned: float) -> None:
        self._times[_EARNED + purpose] = earned

    @property
    def after(self) -> float:
        """The seconds after which a fetch is late; infinite: not known, or of no interest."""
        return self._times[_AFTER] or math.inf

    @after.setter
    def after(self, seconds: float) -> None:
        self._times[_AFTER] = 0.0 if seconds == math.inf else seconds

    @property
    def may_hedge(self) -> bool:
        """Whether late fetches may be hedged now, as the conductor sees it."""
        return bool(self._words[_MAY_HEDGE])

    @may_hedge.setter
    def may_hedge(self, allowed: bool) -> None:
        self._words[_MAY_HEDGE] = int(allowed)

    def note_late(self) -> None:
        """A fetch is late."""
        self.own[_LATE] += 1

    def late_and_all(self) -> tuple[int, int]:
        """Late fetches and successes of all workers since the start."""
        words = self._words
        late, successes = words[_FIRST + _LATE :: _WORKER_WORDS], words[_FIRST + _SUCCESSES :: _WORKER_WORDS]
        return sum(late), sum(successes)

    def fill(self, *budgets: SharedBudget) -> None:
        """By the conductor: let successes since the last call earn something."""
        successes = self._new_successes()
        if successes:
            for budget in budgets:
                budget.earn(successes)

    def _new_successes(self) -> int:
        total = sum(self._words[_FIRST + _SUCCESSES :: _WORKER_WORDS])
        counted, self._words[_COUNTED] = self._words[_COUNTED], total
        return int(total - counted)


class SpendingTable:
    """The words of all origins, from `start` on. They outlast an origin's workers."""

    def __init__(self, words: memoryview, times: memoryview[float], start: int, workers: int) -> None:
        self._words = words
        self._times = times
        self._start = start
        self._size = words_for(workers)

    def of(self, place: int, worker: int) -> Spending:
        """Those of the origin in this place, as a worker sees them."""
        span = self._span(place)
        return Spending(self._words[span], self._times[span], worker)

    def clear(self, place: int) -> None:
        """Another origin is in this place."""
        self._words[self._span(place)] = memoryview(bytes(8 * self._size)).cast("q")

    def _span(self, place: int) -> slice:
        start = self._start + place * self._size
        return slice(start, start + self._size)
