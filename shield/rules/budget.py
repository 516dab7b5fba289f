"""The retry budget of an origin, which keeps retries from multiplying an outage. Pure."""

from __future__ import annotations

ALLOWANCE = 5.0
"""Retries available at the start, and the most that can be saved: a node with little traffic can retry, too."""


class RetryBudget:
    """A token bucket: each first attempt earns `share` of a retry, and each retry costs one.

    So there are at most `ALLOWANCE` retries more than that share of all requests. A share of 0 allows none.
    """

    __slots__ = ("_most", "_saved", "_share")

    def __init__(self, share: float) -> None:
        self._share = share
        self._most = self._saved = ALLOWANCE if share > 0.0 else 0.0

    def earn(self) -> None:
        """A first attempt is sent."""
        self._saved = min(self._most, self._saved + self._share)

    def take(self) -> bool:
        """Whether a retry is allowed now; if so, it is paid for."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True
