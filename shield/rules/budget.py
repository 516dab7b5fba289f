"""A retry budget for an origin, so that an outage isn't multiplied. Pure."""

from __future__ import annotations

ALLOWANCE = 5.0
"""Repeats available from the start, and the most that can be saved up: a quiet node can repeat too."""


class RetryBudget:
    """A bucket that each ordinary request fills by `share` of a repeat, and each repeat empties by one.

    So repeats are never more than `ALLOWANCE` and that share of all requests. A share of 0 allows none.
    """

    __slots__ = ("_most", "_saved", "_share")

    def __init__(self, share: float) -> None:
        self._share = share
        self._most = self._saved = ALLOWANCE if share > 0.0 else 0.0

    def earn(self) -> None:
        """A first attempt is sent."""
        self._saved = min(self._most, self._saved + self._share)

    def take(self) -> bool:
        """Whether a request may be repeated now; if so it is paid for."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True
