"""The basis of a node's choices of origins at one time, as it is kept for later questions. Pure.

A choice follows from the settings, the key, and what all workers share about the origins: their health, and a drill.
The last two are noted whenever they change, with the evidence of that moment; settings by a digest, so that a
question with others is noticed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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


SAMPLES = 500
"""Keys by which shares of all keys are estimated."""

LONGEST_SECONDS = 1.5 * EVERY_SECONDS
"""Between two notes of a node that runs."""


@dataclass(frozen=True, slots=True)
class OriginBasis:
    """An origin's health, with times in epoch seconds, and the results of its fetches before.

    They are of ten seconds at most, and of the state before if this note was made when it changed.
    """

    record: HealthRecord
    ok: int = 0
    failed: int = 0
    throttled: int = 0
    waiting: int = 0  # unanswered then

    @classmethod
    def of(cls, record: HealthRecord, evidence: Evidence, offset: float) -> Self:
        """`offset` turns times of the records' clock into epoch seconds."""
        moved = {name: value + offset for name in ("since", "until", "bad_since") if (value := getattr(record, name))}
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
    """All of it at one time, in epoch seconds. `frozen`: the fault was the node's own, and no origin was judged.

    `ranked` are the orders of the routes whose origins are tried by cost.
    """

    at: float
    settings: str  # `digest_of` its routes
    origins: Mapping[str, OriginBasis]
    frozen: bool = False
    drill: DrillBasis | None = None
    ranked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def usual(self, route: Route) -> tuple[str, ...] | None:
        """The order by cost of a route's origins; None if it wasn't tried so, or had others."""
        names = self.ranked.get(route.name)
        return names if names is not None and route.choice is not None and set(names) == set(route.origins) else None

    def plain(self) -> dict[str, Any]:
        """The text that `read` parses."""
        drill = self.drill
        return {
            "at": self.at,
            "settings": self.settings,
            "origins": {name: basis.plain() for name, basis in self.origins.items()},
            "frozen": self.frozen,
            "drill": None if drill is None else [drill.number, drill.origin, drill.mode, drill.scope, drill.seed],
            "ranked": {name: list(names) for name, names in self.ranked.items()},
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
            {str(name): tuple(map(str, names)) for name, names in plain.get("ranked", {}).items()},
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
    return f"{known.ok} answered, {known.failed} failed{throttled}; {known.waiting} waiting"


def first_shares(
    route: Route, notes: Sequence[DecisionBasis], start: float, stop: float
) -> tuple[dict[str, float], float]:
    """For which share of a route's keys, and of the time between `start` and `stop`, each of its origins came first.

    `notes` are in the order of time. The second value is the time that they cover, in seconds: each holds until the
    next one, but no longer than a node that runs takes to note again.
    """
    keys = [(b"/%d" % number, xxhash.xxh3_128_digest(b"%d" % number)) for number in range(SAMPLES)]
    usual = [(path, route.order(digest)) for path, digest in keys]
    seconds: dict[str, float] = dict.fromkeys(route.origins, 0.0)
    calm = Counter([names[0] for _, names in usual])
    covered = 0.0
    ends = [*[note.at for note in notes[1:]], stop]
    for note, end in zip(notes, ends, strict=False):  # without notes there is just the end
        since, until = max(note.at, start), min(end, stop, note.at + LONGEST_SECONDS)
        if until <= since:
            continue
        covered += until - since
        middle = (since + until) / 2.0  # what recovers has a growing share
        ranked = note.usual(route)
        firsts = calm if ranked is None else Counter({ranked[0]: SAMPLES})
        if any(each.record.state or each.record.flags for each in note.origins.values()):
            firsts = Counter([order_then(ranked or names, path, note, middle)[0] for path, names in usual])
        for name, count in firsts.items():
            seconds[name] += (until - since) * count / SAMPLES
    return {name: each / covered if covered else 0.0 for name, each in seconds.items()}, covered
