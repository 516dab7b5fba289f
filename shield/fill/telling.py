"""What is told of an answer that a fill brings."""

from __future__ import annotations

from shield.fill.fill import Fill
from shield.outcome import Forward, Outcome
from shield.store.entry import Entry


def outcome_of(fill: Fill, entry: Entry | None, forward: Forward | None, now: float, *, collapsed: bool) -> Outcome:
    """For a request that was forwarded for this reason; `entry` is the one that it is answered with, if any."""
    known = fill.entry or entry
    fresh = fill.freshness if known is None else known.freshness
    stores = fill.stores or fill.committed
    if fill.was_hit and fresh is not None:
        return Outcome(hit=True, ttl=fresh.shown_ttl(now), key=fill.resource.key.text)
    return Outcome(
        forward=forward,
        forward_status=fill.status,
        ttl=fresh.shown_ttl(now) if fresh is not None and stores else None,
        stored=stores,
        collapsed=collapsed,
        detail=None if stores or fill.disposition is None else fill.disposition.reason.value,
        origin=fill.origin,
        key=fill.resource.key.text,
    )
