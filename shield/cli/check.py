"""shield check: whether settings can be used, what they mean, and the origin of each secret; with --online, whether
origins answer as the settings want."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

from shield.build.listeners import listener_tls
from shield.build.storage import directory_notes
from shield.build.usage import budget_terms
from shield.cli.online import examine, failed, table
from shield.config.loading import Loaded, load
from shield.config.places import dotted
from shield.config.price import PriceSettings
from shield.config.settings import Settings
from shield.config.units import format_size
from shield.errors import ConfigError, RequestError
from shield.origin.tls import client_context
from shield.rules.budgets import ACTS
from shield.rules.prices import GB, STALE_DAYS
from shield.rules.ranking import Strategy, incomparable
from shield.rules.routes import Route
from shield.store.upkeep.ground import impossible


def check(
    path: Path, *, online: bool = False, canary: str | None = None, timeout: float = 10.0, as_json: bool = False
) -> int:
    """Print problems, or a summary of the settings; 0 or 2. `online`: 1 if an origin can't serve.

    `canary` is the URL or path of an object that the origins should have, `timeout` for all of them together.
    """
    try:
        loaded = load(path, environ=os.environ)
        problems = [*_useless_files(loaded.settings), *_impossible_tiers(loaded.settings)]
        examined = examine(loaded.settings, canary, timeout=timeout) if online and not problems else []
    except ConfigError as error:
        problems = error.problems
    except RequestError as error:
        problems = [f"--canary {canary}: would be rejected in a request: {error.status} {error.reason}"]
    if problems:
        if as_json:
            print(json.dumps({"problems": problems}))
        else:
            print(ConfigError(problems).report, file=sys.stderr)
        return 2
    if as_json:
        notes = [*loaded.notes, *directory_notes(loaded.settings)]
        origins = {each.name: each.as_json() for each in examined}
        print(json.dumps({"problems": [], "notes": notes, **({"origins": origins} if online else {})}))
    else:
        print("\n".join(_summary(loaded)))
        if online:
            print("\n" + "\n".join(table(examined)))
    return 1 if failed(examined) else 0


def _impossible_tiers(settings: Settings) -> Iterator[str]:
    """Directories that no user could make."""
    for tier in settings.cache.tiers:
        for directory in tier.directories:
            if (why := impossible(directory.path)) is not None:
                yield f"cache.tiers: {tier.name}: {directory.path}: {why}"


def _useless_files(settings: Settings) -> Iterator[str]:
    """Certificates that can't be used, or not together."""
    try:
        listener_tls(settings)
    except ConfigError as error:
        yield from error.problems
    for name, origin in settings.origins.items():
        try:
            client_context(origin.ca_file)
        except ConfigError as error:
            yield from (f"origins.{name}.ca_file: {problem}" for problem in error.problems)


def read(path: Path) -> Loaded | None:
    """Settings of this process, or None after its problems were printed."""
    try:
        return load(path, environ=os.environ)
    except ConfigError as error:
        print(error.report, file=sys.stderr)
        return None


def _price(given: PriceSettings) -> str:
    listed = given.listed
    if listed is None:
        return str(given.price)
    said = [f"read {listed.read}", listed.caveat or listed.source]
    return f"{given.price} ({'' if given.preset is None else f'{given.preset}, '}{'; '.join(filter(None, said))})"


def _money(route: Route) -> str:
    """The part that money plays in a route's choice, and what its choice may cost."""
    priced = {origin.name: origin.price for origin in route.facts if origin.price is not None}
    said = ", ".join([f"{price.of(GB, 0.0):.4g} {price.currency} from {name}" for name, price in priced.items()])
    a_gigabyte = f"; 1 GB costs {said}" if said else ""
    reason = incomparable(route.facts) or ("" if route.exchange else "exchange is 0s")
    if reason:
        return f"by measured times alone, since {reason}{a_gigabyte}"
    currency = next(iter(priced.values())).currency
    return f"by measured times and prices, at {route.exchange:g} s per {currency}{a_gigabyte}"


def old_prices(settings: Settings, today: date) -> Iterator[str]:
    """Notes on list prices that were read long ago."""
    for name, origin in settings.origins.items():
        listed = None if origin.price is None else origin.price.listed
        if listed is not None and listed.age_days(today) > STALE_DAYS:
            source = f": {listed.source}" if listed.source else ""
            yield f"origins.{name}.price: a list price of {listed.read}, which may have changed{source}"


def _sources(loaded: Loaded, *above: str) -> Iterator[str]:
    """The origin of each secret below a key."""
    for path, source in loaded.secrets.items():
        if path[: len(above)] == above:
            yield f"           {dotted(path[len(above) :])} from {source}"


def _summary(loaded: Loaded) -> Iterator[str]:
    settings = loaded.settings
    memory, fills = settings.cache.memory, settings.cache.fills
    yield f"node     {settings.node}"
    yield f"listen   {', '.join(map(str, settings.listen))}; admin {settings.admin.listen or 'off'}"
    yield f"workers  {settings.workers}"
    yield f"memory   {format_size(memory.capacity)} of entries, {format_size(fills.memory)} of fills"
    for tier in settings.cache.tiers:
        for directory in tier.directories:
            yield f"tier     {tier.name}: {directory.path}, {format_size(directory.capacity)}"
    for name, origin in settings.origins.items():
        yield f"origin   {name}: {origin.role}, {origin.provider}, {origin.location().object_url(b'/')}"
        if origin.price is not None:
            yield f"           {_price(origin.price)}"
        if not origin.profile.signed:
            yield "           not signed"
            continue
        yield from _sources(loaded, "origins", name)
    if settings.access is not None:
        yield f"access   {', '.join(settings.access.required()) or 'everyone'}"
        yield from _sources(loaded, "access")
    for route in settings.route_table():
        own = settings.routes[route.name].access
        differs = "" if own is None else f"; access {', '.join(own) or 'off'}"
        keys = f"; keys {route.key_space.decode()}:" if route.key_space else ""
        how = "" if route.choose is Strategy.ORDERED else f", {route.choose.value}"
        if route.choose is Strategy.NEAREST and settings.routes[route.name].choose is None:
            how += " by default"
        yield f"route    {route.name}: {route.prefix.decode()} from {', '.join(route.origins)}{how}{differs}{keys}"
        if route.choose is Strategy.NEAREST:
            yield f"           {_money(route)}"
    for budget in budget_terms(settings).budgets:
        acts = [f"{word} from {budget.acts[act]:.0%}" for word, act in ACTS.items() if act in budget.acts]
        what = f"{budget.amount} a {budget.per.value} from {', '.join(budget.origins)}"
        yield f"budget   {budget.name}: {what}; {', '.join(acts) or 'alarms alone'}"
    for note in (*loaded.notes, *directory_notes(settings), *old_prices(settings, datetime.now(UTC).date())):
        yield f"note     {note}"
    yield "settings can be used"
