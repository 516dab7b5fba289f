"""How a running node treats its origins now, by its state: for `shield explain --live`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import xxhash

from shield.cli.rounded import shown_duration, shown_size
from shield.rules.health import Flag, HealthRecord, HealthState
from shield.rules.moments import shown
from shield.rules.positions import order

_NOW = 0.0  # the records' clock: times before now are negative


def order_now(names: Sequence[str], path: bytes, state: Mapping[str, Any]) -> tuple[str, ...]:
    """The order in which a node of this state tries these origins for an object's path. `names` are in the order
    by the route's strategy."""
    records = {name: _record(_health(state, name)) for name in names}
    return order(names, records, xxhash.xxh3_64_intdigest(path) / 2.0**64, _NOW)


def ranked_now(route: str, names: Sequence[str], state: Mapping[str, Any]) -> dict[str, str]:
    """The order by cost of a route's origins in a node of this state: for each the reason of its place. Empty if the
    node doesn't order them so."""
    ranked = _inside(state, "ranked", route)
    places = {name: _inside(ranked, "origins", name) for name in names}
    if not all(isinstance(place.get("position"), int) for place in places.values()):
        return {}
    order = sorted(names, key=lambda name: places[name]["position"])
    expected = ranked.get("expected_bytes")
    size = f" for {shown_size(expected)}" if isinstance(expected, int) else ""
    return {name: _reason(name, places[name], size) for name in order}


def _reason(name: str, place: Mapping[str, Any], size: str) -> str:
    said = f"{name}: {place.get('why', 'no reason known')}"
    parts = [(word, place.get(key)) for key, word in _PARTS.items()]
    shown = [f"{word} {value * 1000.0:.1f} ms" for word, value in parts if isinstance(value, int | float) and value]
    return f"{said} ({', '.join(shown)}{size})" if shown else said


_PARTS = {
    "cost_seconds": "cost",
    "first_byte_seconds": "first byte",
    "transfer_seconds": "transfer",
    "money_seconds": "price",
    "penalty_seconds": "penalty",
}
"""The parts of a cost, and their words."""


def stored(entry: Mapping[str, Any]) -> str:
    """An entry of the node in words, as `/entries` has it."""
    worker, ttl = entry.get("worker"), _seconds(entry, "ttl")
    where = str(entry.get("tier")) if worker is None else f"{entry.get('tier')} of worker {worker}"
    size = shown_size(int(_seconds(entry, "bytes")))
    origin = f" from {entry['origin']}" if entry.get("origin") else ""
    fresh = f"fresh for {shown_duration(ttl)}" if ttl > 0 else f"stale for {shown_duration(-ttl)}"
    said = f"{where}: {entry.get('status')}, {size}{origin}, {fresh}, age {shown_duration(_seconds(entry, 'age'))}"
    tags = entry.get("tags")
    return f"{said}, tags {' '.join(map(str, tags))}" if isinstance(tags, list) and tags else said


def standing(name: str, state: Mapping[str, Any]) -> str:
    """An origin's health in words."""
    health = _health(state, name)
    if not health:
        return "the node doesn't know it: its settings are others"
    word = _state(health).name.lower()
    if word != "up":
        word += (
            f" for {shown_duration(_seconds(health, 'since_seconds'))}, {health.get('reason') or 'no reason known'}"
        )
    said = [word, *flags_shown(health)]
    p95 = health.get("p95_seconds")
    if isinstance(p95, int | float):
        said.append(f"95 of 100 first bytes within {p95 * 1000.0:.0f} ms")
    return ", ".join(said)


def flags_shown(health: Mapping[str, Any]) -> list[str]:
    """An origin's flags in words."""
    until = health.get("drained_until")
    drained = f"drained until {shown(until)}" if isinstance(until, int | float) and until > 0 else "drained"
    return [drained if flag == "drained" else flag for flag in _flags(health)]


def _flags(health: Mapping[str, Any]) -> list[str]:
    flags = health.get("flags")
    return [str(flag) for flag in flags] if isinstance(flags, list | tuple) else []


def _health(state: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _inside(state, "origins", name, "health")


def _inside(state: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """The mapping at this place of a state; an empty one if there is none."""
    found: Any = state
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _record(health: Mapping[str, Any]) -> HealthRecord:
    flags = Flag.NONE
    for name in _flags(health):
        flags |= Flag.__members__.get(name.upper(), Flag.NONE)
    return HealthRecord(
        _state(health),
        since=-_seconds(health, "since_seconds"),
        bad_since=-_seconds(health, "out_seconds"),
        flags=flags,
    )


def _state(health: Mapping[str, Any]) -> HealthState:
    """While it changes, workers may differ for a moment: then the first one's word."""
    word = str(health.get("state", "up")).partition(",")[0].strip().upper()
    return HealthState[word] if word in HealthState.__members__ else HealthState.UP


def _seconds(health: Mapping[str, Any], key: str) -> float:
    value = health.get(key)
    return float(value) if isinstance(value, int | float) else 0.0
