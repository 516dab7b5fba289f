"""shield explain: how a URL is mapped, and which origins are tried for it, without a request to any of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shield.build.origins import signer
from shield.cli.check import read
from shield.cli.live import order_now, ranked_now, standing, stored
from shield.cli.store.node import RefusedError, RunningNode
from shield.config.settings import Settings
from shield.errors import ConfigError, RequestError
from shield.rules.ranking import order_of, seed_of
from shield.rules.written import target_of


def explain(url: str, path: Path, *, live: bool = False) -> int:
    """Print it; 0, 1 for a rejected URL, 2 for settings that can't be used. `live`: with the running node's state;
    2 if it can't be had.
    """
    loaded = read(path)
    if loaded is None:
        return 2
    try:
        node = RunningNode(loaded.settings) if live else None
        state = None if node is None else _state(node)
        entries = None if node is None else node.entries(target_of(url).decode())
        lines = _lines(target_of(url), loaded.settings, state, entries)
    except ConfigError as error:
        print("\n".join(error.problems), file=sys.stderr)
        return 2
    except RefusedError as error:
        print(error, file=sys.stderr)
        return 2
    except RequestError as error:
        print(f"refused    {error.status} {error.reason}")
        return 1
    print("\n".join(lines))
    return 0


def _state(node: RunningNode) -> Mapping[str, Any]:
    """The running node's state. Raises RefusedError if there is none."""
    state = node.state()
    if state is None:
        raise RefusedError(node.absence)
    return state


def _lines(
    target: bytes,
    settings: Settings,
    state: Mapping[str, Any] | None,
    entries: Sequence[Mapping[str, Any]] | None,
) -> list[str]:
    resource = settings.route_table().resolve(target)
    route = resource.route
    given = target.partition(b"?")[2]
    places = {place.name: str(place) for place in order_of(route.choose, route.facts, seed_of(resource.named.digest))}
    order = resource.tried
    if state is not None:
        if reasons := ranked_now(route.name, order, state):
            order, places = tuple(reasons), reasons
        order = order_now(order, resource.path, state)
        places = {name: f"{places[name]}; {standing(name, state)}" for name in order}
    lines = [
        f"target     {target.decode()}",
        f"route      {route.name} (prefix {route.prefix.decode()})",
        f"key        {resource.key.text.decode()}",
        f"digest     {resource.key.digest.hex()}",
        f"query      {resource.query.decode() or ('dropped' if given else 'none')}",
        f"origins    {', '.join(order)}",
        *[f"           {places[name]}" for name in order if len(order) > 1 or state is not None],
    ]
    if entries is not None:
        shown = [stored(entry) for entry in entries] or ["nothing"]
        lines += [f"{'stored' if not at else '':10} {each}" for at, each in enumerate(shown)]
    now = time.time()
    for name in order:
        origin = settings.origins[name]
        signs = signer(settings, name)
        where = origin.location()
        lines += ["", f"{name}: {origin.provider}, {origin.role}"]
        lines.append(f"  GET {where.object_url(resource.path, resource.query)}")
        request = signs.canonical_request(b"GET", resource.path, now, query=resource.query)
        if request is None:
            lines.append("  not signed")
            continue
        lines.append(f"  signed for region {where.region.decode()}; canonical request:")
        lines += [f"    | {line}" for line in request.decode().split("\n")]
    return lines
