"""A simulated node with the tiers, routes and prices of given settings."""

from __future__ import annotations

from dataclasses import replace

from shield.build.storage import entries_in
from shield.config.settings import Settings
from shield.errors import ConfigError
from shield.simulate.disks import SimulatedDirectoryTerms, SimulatedTierTerms
from shield.simulate.node import SimulationTerms
from shield.store.directory.room import held_back, segment_size

MEMORY = "memory"
"""The RAM tier's name in a sweep."""


def simulation_terms(settings: Settings, *, stated: float | None = None) -> SimulationTerms:
    """What a node of these settings is like. `stated`: seconds of the max-age of all objects. Raises ConfigError."""
    cache = settings.cache
    tiers = [
        SimulatedTierTerms(tier.name, tuple([_directory(each.capacity, str(each.path)) for each in tier.directories]))
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
    tiers = [_larger(each, capacity) if each.name == tier else each for each in terms.tiers]
    return replace(terms, tiers=tuple(tiers))


def _larger(tier: SimulatedTierTerms, capacity: int) -> SimulatedTierTerms:
    """A tier of this size in the same directories, each with the same share of it."""
    whole = sum(each.weight for each in tier.directories)
    directories = [_directory(capacity * each.weight // whole, each.path) for each in tier.directories]
    return replace(tier, directories=tuple(directories))


def _directory(capacity: int, path: str) -> SimulatedDirectoryTerms:
    usable = capacity - sum(held_back(capacity))
    return SimulatedDirectoryTerms(usable, segment_size(capacity), path, capacity)
