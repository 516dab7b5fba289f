"""The basis of a node's choices of origins at one time, as it is kept for later questions. Pure.

A choice follows from the settings, the key, and what all workers share about the origins: their health, and a drill.
The last two are noted whenever they change, with the evidence of that moment; settings by a digest, so that a
question with others is noticed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import xxhash

from shield.rules.drill import is_drilled
from shield.rules.health import Cause, Evidence, Flag, HealthRecord, HealthState
from shield.rules.positions import order, share_of_keys
from shield.rules.routes import Route

KEPT_SECONDS = 86400.0
"""For how long the basis of decisions is kept."""

EVERY_SECONDS = 60.0
"""After this time it is noted even if nothing has changed: a node that wasn't running can be told from a calm one."""


@dataclass(frozen=True, slots=True)
class OriginBasis:
    """An origin's health, with times in epoch seconds, and the results of its fetches in the ten seconds before."""

    record: HealthRecord
    ok: int = 0
    failed: int = 0
    throttled: int = 0
    waiting: int = 0  # unanswered then

    @classmethod
    def of(cls, record: HealthRecord, evidence: Evidence, offset: float) -> Self:
        """`offset` turns times of the records' clock into epoch seconds."""
        moved = {
            name: round(value + offset, 2)
            for name in ("since", "until", "bad_since")
            if (value := getattr(record, name))
        }
        return cls(replace(record, **moved), evidence.ok, evidence.failed, evidence.throttled, len(evidence.waiting))

    def plain(self) -> list[Any]:
        record = self.record
        health = [int(record.state), record.since, record.until, record.bad_since, record.times]
        why = [int(record.flags), int(record.reason), record.count, round(record.seconds, 2)]
        return [*health, *why, self.ok, self.failed, self.throttled, self.waiting]

    @classmethod
    def read(cls, plain: Sequence[Any]) -> Self:
        """Raises ValueError or TypeError."""
        state, since, until, bad_since, times, flags, reason, count, seconds, *counts = plain
        ok, failed, throttled, waiting = [int(value) for value in counts]
        record = HealthRecord(
            HealthState(state),
            since=float(since),
            until=float(until),
            bad_since=float(bad_since),
            times=int(times),
            flags=Flag(flags),
            reason=Cause(reason),
            count=int(count),
            seconds=float(seconds),
        )
        return cls(record, ok, failed, throttled, waiting)


@dataclass(frozen=True, slots=True)
class DrillBasis:
    """A drill that injected faults."""

    number: int
    origin: str
    mode: str
    scope: float
    seed: int


@dataclass(frozen=True, slots=True)
class DecisionBasis:
    """All of it at one time, in epoch seconds. `frozen`: the fault was the node's own, and no origin was judged."""

    at: float
    settings: str  # `digest_of` its routes
    origins: Mapping[str, OriginBasis]
    frozen: bool = False
    drill: DrillBasis | None = None

    def plain(self) -> dict[str, Any]:
        """What `read` reads."""
        drill = self.drill
        return {
            "at": self.at,
            "settings": self.settings,
            "origins": {name: basis.plain() for name, basis in self.origins.items()},
            "frozen": self.frozen,
            "drill": None if drill is None else [drill.number, drill.origin, drill.mode, drill.scope, drill.seed],
        }

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """Raises ValueError, KeyError, TypeError or AttributeError if it is none of this version."""
        drill = plain["drill"]
        return cls(
            float(plain["at"]),
            str(plain["settings"]),
            {str(name): OriginBasis.read(basis) for name, basis in plain["origins"].items()},
            bool(plain["frozen"]),
            None
            if drill is None
            else DrillBasis(int(drill[0]), str(drill[1]), str(drill[2]), float(drill[3]), int(drill[4])),
        )


def digest_of(routes: Iterable[Route]) -> str:
    """Tells the settings by which origins are chosen from others."""
    chosen = [(each.name, each.prefix, each.origins, each.choose.value, each.facts) for each in routes]
    return f"{xxhash.xxh3_64_intdigest(repr(chosen).encode()):016x}"


def order_then(names: Sequence[str], path: bytes, basis: DecisionBasis, at: float) -> tuple[str, ...]:
    """The order in which the named origins were tried for an object's path, from their order while all are well."""
    records = {name: each.record for name, each in basis.origins.items()}
    return order(names, records, spot_of(path), at)


def spot_of(path: bytes) -> float:
    """The position of a key among all keys, from 0 to 1."""
    return float(xxhash.xxh3_64_intdigest(path) / 2.0**64)


def reasons(name: str, path: bytes, basis: DecisionBasis, at: float) -> list[str]:
    """Why an origin had its position for an object's path, in words; empty if it was as usual."""
    known = basis.origins.get(name)
    if known is None:
        return ["the node didn't have it then"]
    record, said = known.record, []
    if record.state is HealthState.RECOVERING:
        share = share_of_keys(record, at)
        side = "this key among them" if spot_of(path) < share else "this key not yet"
        said.append(f"recovering for {at - record.since:.0f} s: back for {100.0 * share:.0f} % of keys, {side}")
    elif record.state is not HealthState.UP:
        word = {HealthState.SUSPECT: "suspect"}.get(record.state, "out")
        said.append(f"{word} for {at - record.since:.1f} s, {record.why}")
    said += [str(flag.name).lower() for flag in record.flags]
    drill = basis.drill
    if drill is not None and drill.origin == name:
        concerned = "this key among them" if is_drilled(path, drill.seed, drill.scope) else "this key not"
        said.append(f"drill {drill.number}, {drill.mode} for {100.0 * drill.scope:g} % of keys, {concerned}")
    return said


def evidence_of(name: str, basis: DecisionBasis) -> str:
    """The results of an origin's fetches before the moment that was noted, in words."""
    known = basis.origins.get(name)
    if known is None:
        return "unknown"
    throttled = f", {known.throttled} throttled" if known.throttled else ""
    return f"{known.ok} answered, {known.failed} failed{throttled} in 10 s; {known.waiting} waiting"
