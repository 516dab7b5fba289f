"""shield advise: the changes of settings that would save most, by the ledger and a log."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from shield.build.simulation import simulation_terms
from shield.build.usage import all_prices, ledger_path
from shield.cli.check import read
from shield.cli.rounded import billed_size
from shield.cli.simulate.outputs import notes
from shield.cli.simulate.replays import (
    UnreadableLogError,
    gathered,
    listed_sizes,
    outcome,
    parsed,
    sample_share,
    warm_up_share,
)
from shield.config.loading import Loaded
from shield.config.settings import Settings
from shield.config.units import parse_duration
from shield.egress.ledger import Ledger, LedgerTerms
from shield.errors import ConfigError, StoreError
from shield.resources import state_directory
from shield.rules.advice import (
    LEAST,
    AdviceKind,
    AdvisedNode,
    AdvisedRoute,
    AdvisedTier,
    SettingsChange,
    TriedChange,
    best,
    changes,
    counted,
    laid_over,
    together,
)
from shield.rules.bill import Charges, Usage, bill
from shield.simulate.node import unsized
from shield.simulate.queries import query_effects
from shield.simulate.results import MONTH_SECONDS, Foretold
from shield.simulate.traffic import Gathering

_GROWING = (AdviceKind.MEMORY, AdviceKind.DISK, AdviceKind.LIFETIME)
_LEDGER_SECONDS = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class AdviceWish:
    """The options, as written."""

    logs: Sequence[str]
    number: int = 3
    sample: str | None = None
    warm_up: str = "0"
    origin_lifetime: str | None = None
    sizes: str | None = None
    cdn_hits: bool = False
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class _Advice:
    before: Foretold
    after: Foretold  # with all of them
    found: list[tuple[TriedChange, Foretold | None]]  # None: the ledger tells what it saves
    unit: str  # a currency, or "bytes" if nothing has a price
    ledger: _LedgerMonth | None
    notes: list[str]
    tried: int


@dataclass(frozen=True, slots=True)
class _LedgerMonth:
    """What the ledger has of the last 30 days, scaled to 30 days: money by reason; and in the log's own time the
    bytes from origins, of fills alone.
    """

    money: dict[str, float]
    days: float
    received: int


def advise(config: Path, wish: AdviceWish, *, now: float | None = None) -> int:
    """Print the changes; 0, also if none is worth it, or 2."""
    loaded = read(config)
    if loaded is None:
        return 2
    try:
        advice = _Adviser(loaded, wish, time.time() if now is None else now).advice()
    except ConfigError as error:
        print("\n".join(error.problems), file=sys.stderr)
        return 2
    except (UnreadableLogError, StoreError) as error:
        print(error, file=sys.stderr)
        return 2
    if wish.as_json:
        json.dump(_plain(advice), sys.stdout, indent=2)
        print()
    else:
        print("\n".join(_lines(advice)))
    return 0


class _Adviser:
    def __init__(self, loaded: Loaded, wish: AdviceWish, now: float) -> None:
        self._settings, self._wish, self._now = loaded.settings, wish, now
        self._written: Mapping[str, Any] = loaded.source.read().tree.values
        share, self._warm_up = sample_share(wish.sample), warm_up_share(wish.warm_up)
        stated = wish.origin_lifetime
        self._stated = None if stated is None else parsed("--origin-lifetime", stated, parse_duration)
        self._traffic = gathered(wish.logs, share, takes_answered=wish.cdn_hits, sample=wish.sample)
        self._sizes: dict[bytes, int] = {}

    def advice(self) -> _Advice:
        """Raises ConfigError, UnreadableLogError and StoreError."""
        settings, traffic = self._settings, self._traffic
        if self._wish.sizes is not None:
            terms = simulation_terms(settings, stated=self._stated)
            self._sizes = listed_sizes(self._wish.sizes, unsized(terms, traffic.samples), settings)
        before = self._replayed("now", settings)
        unit = max(before.money, key=lambda currency: before.money[currency].value, default="bytes")
        ledger = _ledger_month(settings, traffic, unit, self._now)
        now = _worth(before, unit)
        tried: dict[str, Foretold] = {}  # by title
        told = []
        for change, after in self._tries(before, unit):
            tried[change.title] = after
            told.append(TriedChange(change, now - _worth(after, unit)))
        if ledger is not None:
            told += counted(ledger.money, settings.probes.interval)
        chosen = best(told, bill=now, number=self._wish.number)
        both = self._changed(together([each.change for each in chosen if each.change.title in tried]))
        after = before if both is None else self._replayed("with all of them", both)
        said = notes(traffic, [before], self._warm_up, logged=settings.access_log.hits)
        found = [(each, tried.get(each.change.title)) for each in chosen]
        return _Advice(before, after, found, unit, ledger, said, len(tried))

    def _tries(self, before: Foretold, unit: str) -> Iterator[tuple[SettingsChange, Foretold]]:
        best_of: dict[AdviceKind, float] = {}
        ended = set[AdviceKind]()
        if before.crowded is None and not self._settings.cache.tiers:
            ended |= {AdviceKind.MEMORY, AdviceKind.DISK}  # nothing ever had to go
        for change in changes(self._node()):
            if change.kind in ended:
                continue
            settings = self._changed(change.settings)
            if settings is None:
                continue
            if sys.stderr.isatty():
                print(f"trying {change.title}", file=sys.stderr)
            found = self._replayed(change.title, settings)
            yield change, found
            # Twice as much of something that hardly helped isn't tried.
            worth, least = _worth(found, unit), best_of.get(change.kind, _worth(before, unit))
            best_of[change.kind] = min(worth, least)
            if change.kind in _GROWING and least - worth < LEAST / 2 * _worth(before, unit):
                ended.add(change.kind)

    def _node(self) -> AdvisedNode:
        settings = self._settings
        table = settings.route_table()
        effects = query_effects(table, self._traffic.samples)
        routes = []
        for route in table:
            seen = effects.get(route.name)
            routes.append(
                AdvisedRoute(
                    route.name,
                    route.origins,
                    self._stated or route.freshness.default_lifetime,
                    None if route.query is None else tuple([name.decode() for name in route.query]),
                    () if seen is None else seen.idle,
                    () if seen is None else seen.other,
                )
            )
        cache: Any = self._written.get("cache") or {}
        tiers = [
            AdvisedTier(tier.name, tuple([place.capacity for place in tier.directories]), written)
            for tier, written in zip(settings.cache.tiers, cache.get("tiers", ()), strict=True)
        ]
        prices = all_prices(settings)
        return AdvisedNode(
            settings.cache.memory.capacity,
            tuple(tiers),
            tuple(routes),
            prices,
            has_routes="routes" in self._written,
            states_lifetimes=self._stated is not None,
        )

    def _changed(self, change: Mapping[str, Any]) -> Settings | None:
        """The settings with a change; None if they can't be so."""
        try:
            made = Settings.model_validate(laid_over(self._written, change))
            made.route_table()
        except (ValidationError, ConfigError):
            return None
        return made

    def _replayed(self, name: str, settings: Settings) -> Foretold:
        terms = replace(simulation_terms(settings, stated=self._stated), sizes=self._sizes)
        return outcome(name, terms, self._traffic, self._warm_up)


def _worth(found: Foretold, unit: str) -> float:
    """A month's money, or its bytes."""
    if unit == "bytes":
        return found.unpriced.value
    return found.money[unit].value if unit in found.money else 0.0


def _ledger_month(settings: Settings, traffic: Gathering, unit: str, now: float) -> _LedgerMonth | None:
    """None if there is no ledger, or nothing in it."""
    path = ledger_path(settings, state_directory(settings))
    if path is None or not path.exists():
        return None
    ledger = Ledger(LedgerTerms(path, settings.ledger.keep))

    def rows(start: float, stop: float) -> list[Usage]:
        return [
            Usage(row.at, row.origin, row.route, row.reason, row.received, row.statuses)
            for row in ledger.rows(start, stop)
            if row.origin
        ]

    usage = rows(now - _LEDGER_SECONDS, now)
    if not usage:
        return None
    prices = all_prices(settings)
    days = max(now - usage[0].at, 3600.0) / 86400.0
    lines = bill(usage, Charges(usage, prices), lambda each: each.reason).lines
    money = {line.name: line.money.get(unit, 0.0) * MONTH_SECONDS / 86400.0 / days for line in lines}
    of_log = [row for row in rows(traffic.tally.first, traffic.tally.last + 1.0) if row.reason in _SIMULATED]
    return _LedgerMonth(money, days, sum(row.received for row in of_log))


_SIMULATED = ("miss", "revalidation", "range")

# forms


def _amount(value: float, unit: str) -> str:
    return billed_size(value) if unit == "bytes" else f"{value:,.2f} {unit}"


def _lines(advice: _Advice) -> Iterator[str]:
    before, unit = advice.before, advice.unit
    yield (
        f"A month (30 days) of this traffic costs {_amount(_worth(before, unit), unit)}; {before.hit.value:.1%} are "
        f"hits, and in the log's time {billed_size(before.all_received.value)} come from origins"
    )
    if advice.ledger is not None:
        whole = sum(advice.ledger.money.values())
        yield (
            f"By the ledger, 30 days like the last {advice.ledger.days:.1f} cost {_amount(whole, unit)}"
            if unit != "bytes"
            else "The ledger has no prices to tell costs by"
        )
        if advice.ledger.received:
            off = before.all_received.value / advice.ledger.received - 1.0
            yield f"In the log's time it has {billed_size(advice.ledger.received)}: the simulation is {off:+.1%} off"
    yield ""
    if not advice.found:
        yield f"None of {advice.tried} changes that were tried saves a hundredth of it."
    for number, (each, found) in enumerate(advice.found, 1):
        share = each.saves / max(_worth(before, unit), 1e-9)
        yield f"{number}. {each.change.title[:1].upper()}{each.change.title[1:]}"
        yield f"   saves {_amount(each.saves, unit)} a month ({share:.0%})" + _hits(before, found)
        yield f"   It takes {each.change.needs}."
        for line in yaml.safe_dump(dict(each.change.settings), sort_keys=False).splitlines():
            yield f"       {line}"
        yield ""
    if len(advice.found) > 1:
        saved = _worth(before, unit) - _worth(advice.after, unit)
        saved += sum(each.saves for each, found in advice.found if found is None)
        yield f"All of them together save {_amount(saved, unit)} a month{_hits(before, advice.after)}"
    yield from advice.notes


def _hits(before: Foretold, after: Foretold | None) -> str:
    if after is None:
        return ", by the ledger"
    return f"; hits {before.hit.value:.1%} -> {after.hit.value:.1%}"


def _plain(advice: _Advice) -> dict[str, Any]:
    def node(of: Foretold) -> dict[str, Any]:
        return {
            "month": _worth(of, advice.unit),
            "hit_ratio": of.hit.value,
            "origin_bytes": of.all_received.value,
            "origin_requests": of.all_requests.value,
        }

    return {
        "unit": advice.unit,
        "now": node(advice.before),
        "ledger": None
        if advice.ledger is None
        else {
            "month_by_reason": advice.ledger.money,
            "days": advice.ledger.days,
            "log_bytes": advice.ledger.received,
        },
        "changes": [
            {
                "kind": each.change.kind.name.lower(),
                "title": each.change.title,
                "saves": each.saves,
                "needs": each.change.needs,
                "settings": each.change.settings,
                "after": None if found is None else node(found),
            }
            for each, found in advice.found
        ],
        "together": node(advice.after),
        "tried": advice.tried,
        "notes": advice.notes,
    }
