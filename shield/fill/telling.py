"""The outcome of a request that a fill or an entry answers."""

from __future__ import annotations

from shield.fill.fill import Fill
from shield.outcome import Forward, Outcome
from shield.store.entry import Entry


def outcome_of(fill: Fill, entry: Entry | None, forward: Forward | None, now: float, *, collapsed: bool) -> Outcome:
    """Of a request that was forwarded for this reason; `entry` is the one that answers it, if any."""
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
        detail=fill.detail or (None if stores or fill.disposition is None else fill.disposition.reason.value),
        origin=fill.origin,
        key=fill.resource.key.text,
    )


def outcome_of_entry(
    entry: Entry, forward: Forward | None, now: float, *, collapsed: bool, detail: str | None, is_kept: bool
) -> Outcome:
    """Of a request that an entry answers without a fill; `is_kept`: the entry is stored, or being stored."""
    is_hit = forward is None
    return Outcome(
        hit=is_hit,
        forward=forward,
        ttl=entry.freshness.shown_ttl(now),
        stored=not is_hit and detail is None and is_kept,  # with a detail it is stale, since no origin answered
        collapsed=collapsed,
        detail=detail,
        key=entry.key.text,
    )
