"""The cache directories in the settings, opened for a command."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from shield.config.settings import Settings
from shield.config.units import ExpectedError, parse_size
from shield.errors import ShieldError, StoreError
from shield.store.directory.directory import CacheDirectory
from shield.store.directory.premises import DirectoryLimits
from shield.store.directory.reclaim import Judge, drop_all
from shield.store.upkeep.visit import Visit, visited


class UsageError(ShieldError):
    """Arguments that don't fit the settings."""


class ConfiguredDirectory(NamedTuple):
    """One directory of the settings."""

    tier: str
    level: int
    path: Path
    limits: DirectoryLimits


@dataclass(slots=True)
class Opened:
    """Directories that could be opened, the first tier's first, and why others couldn't."""

    visits: list[tuple[ConfiguredDirectory, Visit]] = field(default_factory=list)
    problems: list[tuple[ConfiguredDirectory, str]] = field(default_factory=list)

    @property
    def directories(self) -> list[CacheDirectory]:
        return [visit.directory for _, visit in self.visits]

    def say_problems(self) -> int:
        """Print them; returns the resulting exit code."""
        for _, problem in self.problems:
            print(problem, file=sys.stderr)
        return 2 if self.problems else 0


def places_of(
    settings: Settings, tiers: Sequence[str] = (), directories: Sequence[Path] = ()
) -> list[ConfiguredDirectory]:
    """The named directories, all if none is named. Raises UsageError for an unknown name."""
    every = [
        ConfiguredDirectory(
            tier.name,
            level,
            directory.path,
            DirectoryLimits(capacity=directory.capacity, free_floor=directory.free_floor),
        )
        for level, tier in enumerate(settings.cache.tiers)
        for directory in tier.directories
    ]
    if not every:
        raise UsageError("these settings have no tiers on disk (cache.tiers)")
    names = dict.fromkeys(place.tier for place in every)
    for name in tiers:
        if name not in names:
            raise UsageError(f"no tier is named {name}; expected one of {', '.join(names)}")
    paths = {directory.absolute() for directory in directories}
    for path in paths - {place.path for place in every}:
        raise UsageError(
            f"{path} is no directory of these settings; expected one of {', '.join(str(p.path) for p in every)}"
        )
    chosen = [p for p in every if (not tiers or p.tier in tiers) and (not paths or p.path in paths)]
    if not chosen:
        raise UsageError("none of these directories is in these tiers")
    return chosen


@contextmanager
def opened(
    places: Sequence[ConfiguredDirectory],
    node: str,
    *,
    judge: Judge = drop_all,
    may_begin: bool = False,
    segment_bytes: int | None = None,
) -> Iterator[Opened]:
    """Open the directories that can be opened. `segment_bytes`: for segments written meanwhile."""
    found = Opened()
    with ExitStack() as stack:
        for place in places:
            limits = place.limits
            if segment_bytes is not None:
                limits = replace(limits, segment_bytes=segment_bytes, free_floor=0)
            try:
                visit = stack.enter_context(visited(place.path, limits, node=node, judge=judge, may_begin=may_begin))
            except StoreError as error:
                found.problems.append((place, str(error)))
            else:
                found.visits.append((place, visit))
        yield found


def size_of(text: str, option: str) -> int:
    """The size in an option's text. Raises UsageError."""
    try:
        return parse_size(text)
    except ExpectedError as error:
        raise UsageError(f"{option}: {error}") from None


def shown_text(text: bytes) -> str:
    """A key's text, made printable, on one line."""
    said = text.decode("ascii", "backslashreplace")
    return said if said.isprintable() else said.encode("unicode_escape").decode()
