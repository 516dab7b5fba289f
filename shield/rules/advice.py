"""Changes of settings that may lower the bill of origins, to be tried on a log; and the best of those tried.

Each change belongs to a kind, of which one is advised: the smallest that saves nearly as much as the greatest does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from shield.rules.prices import GB, PRESETS, Price

GROWTHS = (2, 4, 8)
"""By how much RAM and disks are tried larger."""

LIFETIMES = ((86400.0, "1d"), (7 * 86400.0, "7d"), (30 * 86400.0, "30d"))
"""Lifetimes that are tried, in seconds and as settings have them."""

NEARLY = 0.8
"""The share of the greatest saving of its kind with which a smaller change is preferred."""

LEAST = 0.01
"""The share of the bill that a change must save to be advised."""


class AdviceKind(Enum):
    """What a change is of."""

    MEMORY = "more RAM"
    DISK = "more disk"
    LIFETIME = "longer lifetimes"
    QUERY = "fewer query parameters"
    CHOICE = "the cheapest origin first"
    PROVIDER = "another provider"
    PROBES = "fewer probes"
    HEDGES = "fewer hedges"


@dataclass(frozen=True, slots=True)
class AdvisedTier:
    """A tier on disk: its name, bytes of its directories in their order, and all of it as it is written."""

    name: str
    capacities: tuple[int, ...]
    written: Mapping[str, Any]

    @property
    def capacity(self) -> int:
        return sum(self.capacities)

    def larger(self, times: int) -> AdvisedTier:
        """The same with more room in each directory."""
        sizes = tuple([size * times for size in self.capacities])
        places = [
            {**place, "capacity": _size(size)} for place, size in zip(self.written["directories"], sizes, strict=True)
        ]
        return AdvisedTier(self.name, sizes, {**self.written, "directories": places})


@dataclass(frozen=True, slots=True)
class AdvisedRoute:
    """What matters of a route. `lifetime`: of objects whose origins state none; None: other rules decide. `query`:
    its allowed parameters; None: all. `idle` are those of them that were seen to change nothing, `other` those that
    did or may.
    """

    name: str
    origins: tuple[str, ...]
    lifetime: float | None
    query: tuple[str, ...] | None = ()
    idle: tuple[str, ...] = ()
    other: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AdvisedNode:
    """What matters of a node's settings."""

    memory: int
    tiers: tuple[AdvisedTier, ...]
    routes: tuple[AdvisedRoute, ...]
    prices: Mapping[str, Price | None]
    has_routes: bool = True  # the settings name routes; else there is one by default
    states_lifetimes: bool = False  # origins are assumed to state lifetimes themselves


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """A change that may save. `settings` are its keys and values, nested as in YAML. `needs` says what it takes."""

    kind: AdviceKind
    title: str
    settings: Mapping[str, Any]
    needs: str


def changes(node: AdvisedNode) -> Iterator[SettingsChange]:
    """All that is worth a try."""
    yield from _memory(node)
    yield from _disks(node)
    yield from _lifetimes(node)
    yield from _queries(node)
    yield from _choices(node)
    yield from _providers(node)


def _memory(node: AdvisedNode) -> Iterator[SettingsChange]:
    for times in GROWTHS:
        size = node.memory * times
        yield SettingsChange(
            AdviceKind.MEMORY,
            f"{_size(size)} of RAM instead of {_size(node.memory)}",
            {"cache": {"memory": {"capacity": _size(size)}}},
            f"{_size(size - node.memory)} more RAM",
        )


def _disks(node: AdvisedNode) -> Iterator[SettingsChange]:
    if not node.tiers:
        for times in (10, 40):
            size = node.memory * times
            place = {"path": "/var/cache/shield", "capacity": _size(size)}
            yield SettingsChange(
                AdviceKind.DISK,
                f"a disk of {_size(size)} behind RAM",
                {"cache": {"tiers": [{"name": "disk", "directories": [place]}]}},
                f"a disk with room for {_size(size)}, better an SSD",
            )
        return
    last = node.tiers[-1]
    for times in GROWTHS:
        larger = last.larger(times)
        yield SettingsChange(
            AdviceKind.DISK,
            f"{_size(larger.capacity)} of disk in tier {last.name} instead of {_size(last.capacity)}",
            {"cache": {"tiers": [*[tier.written for tier in node.tiers[:-1]], larger.written]}},
            f"{_size(larger.capacity - last.capacity)} more disk",
        )


def _lifetimes(node: AdvisedNode) -> Iterator[SettingsChange]:
    key = "forced_lifetime" if node.states_lifetimes else "default_lifetime"
    for seconds, text in LIFETIMES:
        shorter = [each for each in node.routes if each.lifetime is not None and each.lifetime < seconds]
        if not shorter:
            continue
        value = {"freshness": {key: text}}
        settings: dict[str, Any] = {"routes": {each.name: value for each in shorter}} if node.has_routes else value
        yield SettingsChange(
            AdviceKind.LIFETIME,
            f"lifetimes of {text} on {_names([each.name for each in shorter])}",
            settings,
            f"that a replaced object may be served for {text}, unless it is purged or announced",
        )


def _queries(node: AdvisedNode) -> Iterator[SettingsChange]:
    for route in node.routes:
        if not route.idle:
            continue
        left = sorted(route.other if route.query is None else set(route.query) - set(route.idle))
        yield SettingsChange(
            AdviceKind.QUERY,
            f"route {route.name} without the query parameters {', '.join(route.idle)}",
            {"routes": {route.name: {"query": {"allow": left}}}},
            "a look at the platform: in the log, objects had the same size whatever values these had",
        )


def _choices(node: AdvisedNode) -> Iterator[SettingsChange]:
    found = {}
    for route in node.routes:
        known = {name: price for name in route.origins if (price := node.prices.get(name)) is not None}
        if len(known) == len(route.origins) > 1 and len({each.of(GB, 0.0) for each in known.values()}) > 1:
            found[route.name] = {"choose": "cheapest"}
    if found:
        yield SettingsChange(
            AdviceKind.CHOICE,
            f"the cheapest origin first on {_names(list(found))}",
            {"routes": found},
            "that this origin has all objects; misses may take longer, if it is farther away",
        )


def _providers(node: AdvisedNode) -> Iterator[SettingsChange]:
    for name, price in node.prices.items():
        if price is None:
            continue
        for preset, listed in PRESETS.items():
            other = listed.price
            is_dearer = other.of(GB, 0.0) >= price.of(GB, 0.0)
            if preset == "free" or other.currency != price.currency or is_dearer:
                continue
            caveat = f"; {listed.caveat}" if listed.caveat else ""
            yield SettingsChange(
                AdviceKind.PROVIDER,
                f"the objects of {name} at a provider with the prices of {preset}",
                {"origins": {name: {"price": preset}}},
                f"a copy of all objects there, whose storage isn't in these figures{caveat}",
            )


def counted(month: Mapping[str, float], probes: float | None) -> Iterator[TriedChange]:
    """Changes whose savings the ledger tells: `month` is money by reason, `probes` their interval in seconds."""
    if probes is not None and probes < 60.0:
        yield TriedChange(
            SettingsChange(
                AdviceKind.PROBES,
                "a probe of each origin once a minute",
                {"probes": {"interval": "60s"}},
                "that a fault at a quiet node is noticed later, up to a minute",
            ),
            month.get("probe", 0.0) * (1.0 - probes / 60.0),
        )
    if month.get("hedge"):
        yield TriedChange(
            SettingsChange(
                AdviceKind.HEDGES,
                "no hedges",
                {"hedge": {"share": 0}},
                "that the slowest misses get slower",
            ),
            month["hedge"],
        )


def together(changes: Iterable[SettingsChange]) -> dict[str, Any]:
    """The settings of several changes as one."""
    merged: dict[str, Any] = {}
    for each in changes:
        merged = laid_over(merged, each.settings)
    return merged


def laid_over(settings: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as written, with those of a change in place of theirs."""
    merged = dict(settings)
    for key, value in change.items():
        below = merged.get(key)
        is_section = isinstance(value, Mapping)
        merged[key] = laid_over(below if isinstance(below, Mapping) else {}, value) if is_section else value
    return merged


@dataclass(frozen=True, slots=True)
class TriedChange:
    """A change with what it saves in a month: money, or bytes where nothing has a price."""

    change: SettingsChange
    saves: float


def best(tried: Sequence[TriedChange], *, bill: float, number: int) -> list[TriedChange]:
    """Those that save most, one of each kind, the greatest first. `bill` is that of a month without any."""
    of_kind: dict[AdviceKind, list[TriedChange]] = {}
    for each in tried:
        of_kind.setdefault(each.change.kind, []).append(each)
    found = []
    for each_kind in of_kind.values():
        most = max(each.saves for each in each_kind)
        if most <= 0.0:
            continue
        enough = next(each for each in each_kind if each.saves >= NEARLY * most)
        if enough.saves > LEAST * bill:
            found.append(enough)
    return sorted(found, key=lambda each: -each.saves)[:number]


def _names(names: Sequence[str]) -> str:
    return ("route " if len(names) == 1 else "routes ") + ", ".join(names)


def _size(count: int) -> str:
    """As settings have it; whole units where that is exact."""
    for unit, size in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size and count % size == 0:
            return f"{count // size}{unit}"
    return str(count)
