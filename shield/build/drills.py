"""Settings of drills."""

from __future__ import annotations

from shield.config.settings import Settings
from shield.drill.drills import DrillTerms


def drill_terms(settings: Settings) -> DrillTerms:
    """What settings say of drills."""
    prices = {name: None if origin.price is None else origin.price.price for name, origin in settings.origins.items()}
    nightly = settings.drills
    if nightly is None:
        return DrillTerms(prices)
    return DrillTerms(prices, nightly.at, nightly.order(), nightly.origins)
