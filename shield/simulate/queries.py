"""Query parameters that change nothing, as far as the sizes of objects in a log tell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import parse_qsl

from shield.errors import RequestError
from shield.rules.routes import Routes
from shield.simulate.traffic import LoggedTraffic

PROOFS = 20
"""Objects that must have had the same size under several values of a parameter, and none another."""


class QueryEffects(NamedTuple):
    """Parameters of one route's queries that are part of its keys: without and with an effect, or unknown."""

    idle: tuple[str, ...]
    other: tuple[str, ...]


QueryPairs = frozenset[tuple[str, str]]


def query_effects(routes: Routes, samples: Iterable[LoggedTraffic]) -> dict[str, QueryEffects]:
    """What was seen of the parameters that each route keeps, by its name."""
    seen: dict[str, dict[tuple[bytes, QueryPairs], int]] = {}
    for traffic in samples:
        targets, sizes = traffic.targets, traffic.first_sizes()
        for number, size in sizes.items():
            try:
                found = routes.resolve(targets[number])
            except RequestError:
                continue
            if found.route.query == frozenset():
                continue
            pairs = frozenset(parse_qsl(found.query.decode("utf-8", "replace"), keep_blank_values=True))
            seen.setdefault(found.route.name, {}).setdefault((found.path, pairs), size)
    return {name: _effects(objects) for name, objects in seen.items()}


def _effects(objects: dict[tuple[bytes, QueryPairs], int]) -> QueryEffects:
    names = sorted({name for _, pairs in objects for name, _ in pairs})
    idle = [name for name in names if _is_idle(objects, name)]
    return QueryEffects(tuple(idle), tuple([name for name in names if name not in idle]))


def _is_idle(objects: dict[tuple[bytes, QueryPairs], int], name: str) -> bool:
    """Objects that differ in this parameter alone have the same size, all of them."""
    alike: dict[tuple[bytes, QueryPairs], tuple[int, int]] = {}
    for (path, pairs), size in objects.items():
        rest = path, frozenset([pair for pair in pairs if pair[0] != name])
        first, number = alike.get(rest, (size, 0))
        if first != size:
            return False
        alike[rest] = first, number + 1
    return sum(number > 1 for _, number in alike.values()) >= PROOFS
