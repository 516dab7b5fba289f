"""Hedges of late fetches: the worker's part, which sends them, and the conductor's, which allows them.

`rules.hedge` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from shield.origin.origin import Origin
from shield.records import LATE_SECONDS, Records
from shield.rules.budgets import BudgetAct
from shield.rules.health import HealthRecord
from shield.rules.hedge import LateShare, is_worth, may_hedge, may_take


@dataclass(frozen=True, slots=True)
class Hedge:
    """A fetch that is late at one origin, and may be sent to another. It pays by the budget of the first."""

    late: Origin
    other: Origin
    max_waste: float  # in the currency of the other's price
    at: float  # when it is late
    now: Callable[[], float]

    def take(self) -> bool:
        """Whether to send it now; if so, it is paid for."""
        spending = self.late.seen.spending
        spending.note_late()
        if not spending.may_hedge or self.now() - self.at > LATE_SECONDS:
            return False  # or we are late ourselves
        gate = self.other.gate
        if self.other.budget.does(BudgetAct.PAUSE):
            return False
        if gate.used >= gate.room or not may_take(self.other.seen.treated()):
            return False
        tally = self.other.hedges
        return is_worth(tally.price, tally.expected, self.max_waste) and self.late.seen.hedges.take()

    def ended(self, winner: str | None, *, is_under_way: bool) -> None:
        """The fetch is over, after it was hedged. `is_under_way`: the hedge hasn't ended before."""
        tally = self.other.hedges
        if winner == self.other.name:
            tally.won += 1
            self.late.hedges.waste()
        elif is_under_way:
            tally.lost += 1
            tally.waste()


class Hedging:
    """Allows hedges while this worker conducts."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._late: dict[str, LateShare] = {}

    def step(self, origins: Iterable[Origin], records: Mapping[str, HealthRecord], now: float) -> None:
        """Publish for each origin whether its late fetches may be hedged; four times a second."""
        for origin in origins:
            seen = origin.seen
            late, successes = seen.spending.late_and_all()
            share = self._late.setdefault(origin.name, LateShare()).after(late, successes, now)
            is_cut_off, is_low = self._records.frozen_at > 0.0, seen.repeats.is_low
            seen.spending.may_hedge = may_hedge(origin.name, records, share, is_cut_off=is_cut_off, is_low=is_low)
