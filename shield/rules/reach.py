"""Which objects a route's clients can reach, and whether a route lets clients at what another one guards.

Two routes can reach the same objects if an origin is common to them and their ranges of object paths overlap: a range
is all below one path, without what the longer prefixes of other routes take away. Nothing is asked of the routes'
policies: where these differ the entries do, but the objects behind them are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from shield.rules.access import Requirement
from shield.rules.routes import Route, below


@dataclass(frozen=True, slots=True)
class Range:
    """Object paths below `base`, b"" for all, but for those below one of `holes`. Paths have no slash at the end."""

    base: bytes
    holes: tuple[bytes, ...] = ()

    def common(self, other: Range) -> bytes | None:
        """The path below which both have objects; None if they have none in common."""
        deeper, higher = (self.base, other.base) if len(self.base) >= len(other.base) else (other.base, self.base)
        if not _lies_below(deeper, higher):
            return None
        covered = any(_lies_below(deeper, hole) for hole in (*self.holes, *other.holes))
        return None if covered else deeper


@dataclass(frozen=True, slots=True)
class Trespass:
    """Clients of the route `by` reach objects below `path` though they need not meet what the route `of` requires."""

    by: str
    of: str
    path: bytes


def ranges_of(routes: Sequence[Route]) -> Mapping[str, Range]:
    """The object paths that each route's requests can name."""
    found = {}
    for route in routes:
        longer = [other.prefix for other in routes if other is not route and below(other.prefix, route.prefix)]
        found[route.name] = Range(
            _object(route, route.prefix), tuple(sorted(_object(route, each) for each in longer))
        )
    return found


def implies(met: Requirement, required: Requirement) -> bool:
    """Whether a client for whom `met` holds is one for whom `required` does, whatever the rules are."""
    return all(any({*group} <= {*wanted} for group in met) for wanted in required)


def trespasses(
    routes: Sequence[Route], requirements: Mapping[str, Requirement], objects: Mapping[str, frozenset[str]]
) -> Iterator[Trespass]:
    """Each route through which clients reach what another one keeps from them. `objects`: by the routes' names, where
    their objects are, under whatever name; routes have objects in common where these do.
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
                yield Trespass(lax.name, strict.name, path or b"/")


def _object(route: Route, prefix: bytes) -> bytes:
    """Where in the origins the paths below a prefix are."""
    return (route.add + prefix.rstrip(b"/")[len(route.strip) :]).rstrip(b"/")


def _lies_below(path: bytes, base: bytes) -> bool:
    return not base or below(path, base)
