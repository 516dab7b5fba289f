"""When a body counts as late, so that its rest may be fetched from another origin: it stalls, or it crawls. Pure.

A body is looked at once a second. One that isn't read because of its own readers is never late, and after a look that
comes late itself, since the event loop was blocked, the measurement begins anew.
"""

from __future__ import annotations

STALL_SECONDS = 1.0
"""A body that brings nothing for so long is late, or for as long as its origin may take for a first byte."""

CRAWL_SECONDS = 5.0
"""The rate of a body is measured over at least so long."""

CRAWL_RATE = 64 << 10
"""Bytes per second that are never a crawl, whatever the origin does for others."""

CRAWL_SHARE = 20.0
"""A crawl is slower than the norm of its origin by this factor."""

LEFT_SECONDS = 10.0
"""A body that would be complete within this time at its own rate isn't worth another fetch."""

UNKNOWN_NORM = 1 << 20
"""Bytes per second that are expected of an origin that nothing is known of."""

LATE_LOOK = 3.0
"""Seconds between two looks that show that the event loop was blocked."""


class Arrival:
    """The arrival of one body, as seen by looks at it."""

    __slots__ = ("_began", "_had", "_looked", "_moved", "_received")

    def __init__(self, received: int, now: float) -> None:
        self._began = self._moved = self._looked = now
        self._had = self._received = received

    def look(self, received: int, now: float, *, is_held: bool) -> None:
        """So many bytes have arrived by now. `is_held`: it isn't read at the moment."""
        if is_held or now - self._looked > LATE_LOOK:
            self._begin(received, now)
            return
        if received > self._received:
            self._moved = now
        self._received, self._looked = received, now

    def _begin(self, received: int, now: float) -> None:
        self._began = self._moved = self._looked = now
        self._had = self._received = received

    def is_late(self, *, left: int, patience: float, norm: float | None) -> bool:
        """Whether it stalls or crawls, with so many bytes left.

        `patience` is the time that a fetch waits for its origin's first byte, `norm` the usual rate of its bodies in
        bytes per second.
        """
        if left <= 0:
            return False
        if self._looked - self._moved >= max(STALL_SECONDS, patience):
            return True
        seconds = self._looked - self._began
        if seconds < CRAWL_SECONDS:
            return False
        rate = (self._received - self._had) / seconds
        crawl = min(CRAWL_RATE, (norm or UNKNOWN_NORM) / CRAWL_SHARE)
        return rate < crawl and left > rate * LEFT_SECONDS

    def measured(self, now: float) -> float | None:
        """Its rate in bytes per second, once that took long enough; the measurement begins anew then."""
        seconds = now - self._began
        if seconds < CRAWL_SECONDS:
            return None
        rate = (self._received - self._had) / seconds
        self._had, self._began = self._received, now
        return rate
