"""The scenarios: what they are, how many users they have at a time, and when they have passed.

Criteria are about what must hold on any machine: bytes, statuses, and what the origins were asked for. The one on
times has a bound that the command line moves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loadtest.locust.records import BROKEN, REFUSED, STALE, STATUS, WRONG, Run, percentile

ORIGINAL_BYTES = 2_000_000
VIDEO_BYTES = 32_000_000
SLICE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the command line may move."""

    p99_seconds: float = 1.0
    outage_seconds: float = 15.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one criterion."""

    text: str
    passed: bool
    measured: str


Criterion = Callable[[Run, Bounds], Verdict | None]
"""None: it can't be judged, since the origin isn't ours."""


def no_failures(run: Run, bounds: Bounds) -> Verdict:
    faults = run.faults()
    said = f"{len(faults)} of {len(run.records)}" + (f", as {faults[0].fault}: {faults[0].told}" if faults else "")
    return Verdict("no request fails", bool(run.records) and not faults, said)


def no_wrong_bytes(run: Run, bounds: Bounds) -> Verdict:
    faults = [record for record in run.faults(WRONG, BROKEN) if not run.in_killed_hands(record)]
    said = f"{len(faults)} of {len(run.records)}" + (f", as {faults[0].fault}: {faults[0].told}" if faults else "")
    return Verdict("no answer has other bytes than the origin, or ends early", bool(run.records) and not faults, said)


def quick(run: Run, bounds: Bounds) -> Verdict:
    found = percentile([record.response for record in run.good()], 0.99)
    text = f"99 % of answers are there {bounds.p99_seconds:g} s after their intended start"
    return Verdict(text, found <= bounds.p99_seconds, f"{found * 1000:.0f} ms")


def collapsed(run: Run, bounds: Bounds) -> Verdict | None:
    if run.origin_gets is None:
        return None
    return Verdict(
        "each object is fetched once, however many request it",
        0 < run.origin_gets <= len(run.paths()),
        f"{run.origin_gets} fetches of {len(run.paths())} objects for {len(run.records)} requests",
    )


def fetched_about_once(run: Run, bounds: Bounds) -> Verdict | None:
    if run.origin_bytes is None:
        return None
    # What a slice's first request needs of it is fetched alone, and again with the slice when another one touches it.
    most, sent = VIDEO_BYTES * 5 // 4 + 2 * SLICE_BYTES, sum(record.size for record in run.good())
    return Verdict(
        "the object's bytes are fetched once, and a quarter twice at most, whatever ranges of it are requested",
        run.origin_bytes <= most,
        f"{run.origin_bytes / 1e6:.1f} MB of {VIDEO_BYTES / 1e6:.1f} MB, for {sent / 1e6:.1f} MB to viewers",
    )


def purged_is_gone(run: Run, bounds: Bounds) -> Verdict:
    purges = [record for record in run.records if record.name == "purge"]
    stale = run.faults(STALE)
    return Verdict(
        "what was purged is never a hit", bool(purges) and not stale, f"{len(stale)} hits after {len(purges)} purges"
    )


def comes_back(run: Run, bounds: Bounds) -> Verdict:
    """Requests are refused while the node is away; then objects that it had come from the disk."""
    refused = [record.started for record in run.faults(REFUSED)]
    first, last = (min(refused), max(refused)) if refused else (0.0, 0.0)
    had = {record.path for record in run.good() if record.ended < first}
    again: dict[str, bool] = {}
    for record in sorted(run.good(), key=lambda record: record.started):
        if record.started > last and record.path in had:
            again.setdefault(record.path, record.hit)
    hits = sum(again.values())
    return Verdict(
        f"a restart takes {bounds.outage_seconds:g} s at most, and 9 of 10 objects that were there are hits after it",
        bool(again) and last - first <= bounds.outage_seconds and hits >= 0.9 * len(again),
        f"{last - first:.1f} s, {len(refused)} refused; then {hits} hits of {len(again)}",
    )


def nothing_but_refusals(run: Run, bounds: Bounds) -> Verdict:
    faults = run.faults(STATUS, STALE)
    said = f"{len(faults)} of {len(run.records)}" + (f", as {faults[0].told}" if faults else "")
    return Verdict("no request gets another status than 200", not faults, said)


def only_killed_hands(run: Run, bounds: Bounds) -> Verdict:
    """Of each killed worker, at most one request for each user."""
    faults = run.faults()
    others = [record for record in faults if not run.in_killed_hands(record)]
    said = f"{len(faults)} of {len(run.records)} failed, {len(others)} of them elsewhere"
    said += f", as {others[0].fault}: {others[0].told}" if others else ""
    text = f"no request fails but those in the hands of {len(run.killed)} killed workers"
    return Verdict(text, bool(run.records) and not others, said)


def slow_ones_are_there(run: Run, bounds: Bounds) -> Verdict:
    return Verdict("slow clients were connected all the time", run.slow_clients > 0, f"{run.slow_clients} at once")


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    text: str
    users: str  # which of the locustfile's
    criteria: tuple[Criterion, ...]
    ramp: float = 0.25  # share of the time in which users arrive; 0: all at once
    needs_node: bool = False  # stops and starts things: not for a node that somebody else runs

    def users_at(self, elapsed: float, *, users: int, seconds: float) -> int | None:
        """How many users there are to be by now; None when it is over."""
        if elapsed >= seconds:
            return None
        if self.ramp <= 0.0:
            return users
        return max(1, min(users, round(users * elapsed / (self.ramp * seconds))))

    def judge(self, run: Run, bounds: Bounds) -> list[Verdict]:
        verdicts = [criterion(run, bounds) for criterion in self.criteria]
        return [verdict for verdict in verdicts if verdict is not None]


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "zipf",
            "Thumbnails and originals, few of them very often, with the request fields of a CDN",
            "Visitor",
            (no_failures, no_wrong_bytes, quick, collapsed),
        ),
        Scenario(
            "flash",
            "Everybody wants one cold object at the same moment",
            "Crowd",
            (no_failures, no_wrong_bytes, collapsed),
            ramp=0.0,
        ),
        Scenario(
            "failover",
            "The first origin is killed while objects are requested, and comes back",
            "Visitor",
            (no_failures, no_wrong_bytes),
            needs_node=True,
        ),
        Scenario(
            "purge",
            "Objects are purged again and again while they are requested",
            "Purger",
            (no_failures, no_wrong_bytes, quick, purged_is_gone),
            needs_node=True,
        ),
        Scenario(
            "ranges",
            "Viewers jump about in a large object, by ranges",
            "Viewer",
            (no_failures, no_wrong_bytes, fetched_about_once),
        ),
        Scenario(
            "slow",
            "Clients that read a kilobyte a second, beside others that must not feel it",
            "Visitor",
            (no_failures, no_wrong_bytes, quick, slow_ones_are_there),
        ),
        Scenario(
            "restart",
            "The node is stopped and started under load",
            "Visitor",
            (no_wrong_bytes, nothing_but_refusals, comes_back),
            needs_node=True,
        ),
        Scenario(
            "operate",
            "Reloads, a refused file, new keys, an origin drained, a worker frozen, one killed, an upgrade",
            "Visitor",
            (only_killed_hands, no_wrong_bytes, nothing_but_refusals),
            needs_node=True,
        ),
    )
}
