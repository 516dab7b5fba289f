"""The policy of fills, by the settings."""

from __future__ import annotations

from shield.config.settings import Settings
from shield.fill.means import FillPolicy
from shield.fill.spotchecks import SpotTerms


def spot_terms(settings: Settings, workers: int) -> SpotTerms:
    """The terms of one worker for comparing fills with other origins' copies."""
    return SpotTerms(settings.audit.share, settings.audit.bytes_per_day // workers)


def fill_policy(settings: Settings) -> FillPolicy:
    """Fills of a large object persist for as long as a small one's attempts at origins may take."""
    fills = settings.cache.fills
    return FillPolicy(
        linger_seconds=fills.linger,
        small_bytes=fills.small,
        hit_for_miss_seconds=fills.hit_for_miss,
        persist_seconds=settings.failover.deadline,
    )
