"""The end of every request: the one place that feeds counters and access log."""

from __future__ import annotations

from shield.observe.access import AccessLog
from shield.observe.counters import Counters
from shield.outcome import Exchange


class Accounting:
    """Records the exchanges of a front.

    `plain` are the counters to which a front adds plain hits itself, without an `Exchange`, if nothing else needs
    them; None: each plain hit is an exchange like any other.
    """

    __slots__ = ("_access", "_counters", "plain")

    def __init__(self, counters: Counters, access: AccessLog | None) -> None:
        self._counters = counters
        self._access = access
        self.plain = counters if access is None or access.misses_only else None

    def finished(self, exchange: Exchange) -> None:
        """Record an exchange that has ended. Call once for each."""
        self._counters.add(exchange)
        if self._access is not None:
            self._access.write(exchange)
