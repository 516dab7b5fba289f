"""Settings of drills."""

from __future__ import annotations

from shield.build.usage import all_prices
from shield.config.settings import Settings
from shield.drill.drills import DrillTerms


def drill_terms(settings: Settings) -> DrillTerms:
    """What settings say of drills."""
    prices = all_prices(settings)
    nightly = settings.drills
    if nightly is None:
        return DrillTerms(prices)
    return DrillTerms(prices, nightly.at, nightly.order(), nightly.origins)
