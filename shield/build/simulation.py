"""A simulated node with the tiers, routes and prices of given settings."""

from __future__ import annotations

from dataclasses import replace

from shield.build.storage import entries_in
from shield.config.settings import Settings
from shield.errors import ConfigError
from shield.simulate.disks import SimulatedTierTerms
from shield.simulate.node import SimulationTerms
from shield.store.directory.room import held_back, segment_size

MEMORY = "memory"
"""The RAM tier's name in a sweep."""


def simulation_terms(settings: Settings, *, stated: float | None = None) -> SimulationTerms:
    """What a node of these settings is like. `stated`: seconds of the max-age of all objects. Raises ConfigError."""
    cache = settings.cache
    tiers = [
        SimulatedTierTerms(
            tier.name,
            sum(_usable(directory.capacity) for directory in tier.directories),
            max(segment_size(directory.capacity) for directory in tier.directories),
        )
        for tier in cache.tiers
    ]
    return SimulationTerms(
        settings.route_table(),
        cache.memory.capacity,
        cache.memory.max_entry,
        settings.workers,
        tuple(tiers),
        cache.slice_bytes,
        entries_in(cache.tiers) if cache.tiers and cache.admission == "repeated" else None,
        {name: None if each.price is None else each.price.price for name, each in settings.origins.items()},
        stated,
    )


def resized(terms: SimulationTerms, tier: str, capacity: int) -> SimulationTerms:
    """The same with another size of RAM, or of a tier on disk. Raises ConfigError for one that there isn't."""
    if tier == MEMORY:
        return replace(terms, memory=capacity)
    names = [each.name for each in terms.tiers]
    if tier not in names:
        raise ConfigError([f"--sweep: there is no tier {tier}; expected one of {', '.join([MEMORY, *names])}"])
    size, capacity = segment_size(capacity), _usable(capacity)
    tiers = [
        replace(each, capacity=capacity, segment_bytes=size) if each.name == tier else each for each in terms.tiers
    ]
    return replace(terms, tiers=tuple(tiers))


def _usable(capacity: int) -> int:
    """Bytes of a directory for segments."""
    return capacity - sum(held_back(capacity))
