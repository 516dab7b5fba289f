"""The allowance of an origin for extra fetches, which keeps these from multiplying an outage. Pure.

A token bucket that fills with successes rather than with time: while an origin is slow or fails, none is earned, so
that a broad slowdown drains it. What is earned and spent is counted elsewhere, for all workers of a node together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

ALLOWANCE = 10.0
"""Extra fetches available at the start, and the most that can be saved: a node with little traffic has some, too."""


class Budget(Protocol):
    """The budget of an origin for one kind of extra fetches."""

    def take(self) -> bool:
        """Whether such a fetch is allowed now; if so, it is paid for."""


@dataclass(frozen=True, slots=True)
class FetchAllowance:
    """Each success earns `share` of an extra fetch, and each extra fetch costs one. A share of 0 allows none.

    So there are at most `most` of them more than that share of all successes.
    """

    share: float
    most: float = ALLOWANCE

    def saved(self, earned: float, spent: int) -> float:
        """The amount available, after so much was earned and spent since the start."""
        return self.most + earned - spent if self.share > 0.0 else 0.0

    def earn(self, earned: float, spent: int, successes: int) -> float:
        """The amount earned since the start, after further successes: no more than can be saved."""
        room = self.most - self.saved(earned, spent)
        return earned + max(0.0, min(self.share * successes, room)) if self.share > 0.0 else earned
