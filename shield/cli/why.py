"""shield why: the origin that a URL was fetched from first at a time of the last day, and the reasons."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from shield.cli.admin import instruct
from shield.cli.check import read
from shield.config.settings import Settings
from shield.errors import RequestError
from shield.rules.decisions import (
    KEPT_SECONDS,
    LONGEST_SECONDS,
    DecisionBasis,
    digest_of,
    evidence_of,
    order_then,
    reasons,
)
from shield.rules.moments import EXPECTED, moment, shown
from shield.rules.ranking import Strategy, order_of, seed_of
from shield.rules.written import target_of

_SECONDS = 10.0


def why(url: str, path: Path, *, at: str) -> int:
    """Print it; 0, 1 for a rejected URL, 2 if it can't be told. `at` is a time of the day, or a date and a time."""
    now = time.time()
    then = _past(at, now)
    if then is None:
        print(f"--at {at}: expected {EXPECTED}, within the last day", file=sys.stderr)
        return 2
    loaded = read(path)
    if loaded is None:
        return 2
    try:
        target = target_of(url)
        loaded.settings.route_table().resolve(target)
    except RequestError as error:
        print(f"refused    {error.status} {error.reason}")
        return 1
    answer = instruct(path, f"/decisions?at={then:.2f}", seconds=_SECONDS, method="GET")
    if answer is None or not answer[0]:
        return 2
    try:
        basis = DecisionBasis.read(answer[1])
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        print("the node is of another version: its answer can't be understood", file=sys.stderr)
        return 2
    print("\n".join(_lines(target, loaded.settings, basis, then)))
    return 0


def _past(text: str, now: float) -> float | None:
    """The last such time, in epoch seconds; None if it isn't one of the last day."""
    then = moment(text, now - KEPT_SECONDS, datetime.now().astimezone().tzinfo or UTC)
    return then if then is not None and now - KEPT_SECONDS <= then <= now else None


def _lines(target: bytes, settings: Settings, basis: DecisionBasis, at: float) -> Iterator[str]:
    routes = settings.route_table()
    resource = routes.resolve(target)
    route, path = resource.route, resource.path
    ranked = basis.usual(route)
    usual = ranked or resource.tried
    tried = order_then(usual, path, basis, at)
    places = {place.name: str(place) for place in order_of(route.choose, route.facts, seed_of(resource.named.digest))}
    by_cost = route.choose is Strategy.NEAREST
    if by_cost:
        words = [f"number {number} by cost" if ranked else "as listed" for number in range(1, len(usual) + 1)]
        places = {name: f"{name}: {word}" for name, word in zip(usual, words, strict=True)}
    yield f"target     {target.decode()}"
    yield f"route      {route.name} (prefix {route.prefix.decode()})"
    yield f"at         {shown(at)}, as noted {shown(basis.at)}"
    yield f"first      {tried[0]}{_instead(usual[0], tried[0], path, basis, at)}"
    yield f"order      {', '.join(tried)}"
    for name in tried:
        yield f"           {'; '.join([places.get(name, name), *reasons(name, path, basis, at)])}"
        yield f"             fetches: {evidence_of(name, basis)}"
    if basis.frozen:
        yield "note       all origins had failed together: the fault was the node's own, and none was judged"
    if at - basis.at > LONGEST_SECONDS:
        yield f"note       nothing was noted in the {at - basis.at:.0f} s before: the node wasn't running then"
    if ranked is not None and not by_cost and ranked != route.calm_order:
        yield "note       a budget of egress had made the origins dearer that come later than by their price"
    if ranked is None and by_cost:
        yield "note       the route's order by cost at that time isn't kept: origins are as listed here"
    if basis.settings != digest_of(routes):
        yield "note       the node's settings were different then: its order while all are well may have been another"
    yield "note       for keys purged or announced shortly before, the primary comes first; that isn't kept"


def _instead(usual: str, first: str, path: bytes, basis: DecisionBasis, at: float) -> str:
    if usual == first:
        return ", as usual"
    return f" instead of {usual}: {'; '.join(reasons(usual, path, basis, at))}"
