"""How a running node treats its origins now, by its state: for `shield explain --live`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import xxhash

from shield.cli.rounded import shown_duration
from shield.rules.health import Flag, HealthRecord, HealthState
from shield.rules.moments import shown
from shield.rules.positions import order

_NOW = 0.0  # the records' clock: times before now are negative


def order_now(names: Sequence[str], path: bytes, state: Mapping[str, Any]) -> tuple[str, ...]:
    """The order in which a node of this state tries these origins for an object's path."""
    records = {name: _record(_health(state, name)) for name in names}
    return order(names, records, xxhash.xxh3_64_intdigest(path) / 2.0**64, _NOW)


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
    origins = state.get("origins")
    origin = origins.get(name) if isinstance(origins, dict) else None
    health = origin.get("health") if isinstance(origin, dict) else None
    return health if isinstance(health, dict) else {}


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
