"""The objects that each route reaches, and routes that expose objects which another route protects.

Two routes reach the same objects if they have an origin in common and their ranges of object paths overlap. A range
is everything below one path, except the paths covered by longer prefixes of other routes. Policies don't matter here:
they separate entries, not objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from shield.rules.access import Requirement
from shield.rules.routes import Route, below


@dataclass(frozen=True, slots=True)
class Range:
    """Object paths below `base` (b"": all), except those below one of `holes`. Paths have no trailing slash."""

    base: bytes
    holes: tuple[bytes, ...] = ()

    def common(self, other: Range) -> bytes | None:
        """The path below which the two ranges overlap; None if they don't."""
        deeper, higher = (self.base, other.base) if len(self.base) >= len(other.base) else (other.base, self.base)
        if not _lies_below(deeper, higher):
            return None
        covered = any(_lies_below(deeper, hole) for hole in (*self.holes, *other.holes))
        return None if covered else deeper


@dataclass(frozen=True, slots=True)
class Exposure:
    """Clients of route `by` reach objects below `path` without meeting the requirement of route `of`."""

    by: str
    of: str
    path: bytes


def ranges_of(routes: Sequence[Route]) -> Mapping[str, Range]:
    """The object paths that requests of each route can name, by the route's name."""
    found = {}
    for route in routes:
        longer = [other.prefix for other in routes if other is not route and below(other.prefix, route.prefix)]
        found[route.name] = Range(
            _object(route, route.prefix), tuple(sorted(_object(route, each) for each in longer))
        )
    return found


def implies(met: Requirement, required: Requirement) -> bool:
    """Whether every client that meets the requirement `met` also meets `required`, whatever the rules' values."""
    return all(any({*group} <= {*wanted} for group in met) for wanted in required)


def exposures(
    routes: Sequence[Route], requirements: Mapping[str, Requirement], objects: Mapping[str, frozenset[str]]
) -> Iterator[Exposure]:
    """Each pair of routes of which one exposes objects that the other protects.

    `requirements` and `objects` are by the routes' names. `objects` identifies where a route's objects are (its
    origins' buckets): routes share objects if these sets intersect.
    """
    ranges = ranges_of(routes)
    for lax in routes:
        for strict in routes:
            if implies(requirements[lax.name], requirements[strict.name]) or not (
                objects[lax.name] & objects[strict.name]
            ):
                continue
            path = ranges[lax.name].common(ranges[strict.name])
            if path is not None:
                yield Exposure(lax.name, strict.name, path or b"/")


def _object(route: Route, prefix: bytes) -> bytes:
    """The object path at the origins for a prefix of the route's paths."""
    return (route.add + prefix.rstrip(b"/")[len(route.strip) :]).rstrip(b"/")


def _lies_below(path: bytes, base: bytes) -> bool:
    return not base or below(path, base)
