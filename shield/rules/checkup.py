"""Whether a node can serve, for CDNs and DNS that choose among nodes by it. Pure.

A node with a bad origin serves hits, stale entries, and objects of the others: it is degraded, and no reason to leave
it. It fails if it is about to stop, if an object doesn't come through it, or if no origin is left to fetch from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from shield.rules.health import HELD_BACK, HealthRecord, HealthState


class NodeVerdict(Enum):
    """The verdict on a node."""

    OK = "ok"
    DEGRADED = "degraded"  # it serves, and something is wrong
    FAILING = "failing"  # it can't serve


@dataclass(frozen=True, slots=True)
class WayCheck:
    """The fetch of a canary as a client: through the tiers, a fill and an origin.

    `problem`: why it didn't come; None: it came, or there is an answer that isn't the object, as in `note`.
    """

    seconds_ago: float
    problem: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """The present view of a node. `origins` are in configured order; `best` is the one that is to be asked first.

    `way` None: no canary is configured, or it hasn't been fetched yet. `frozen`: all origins failed together, so that
    none of them is judged.
    """

    ready: bool
    troubles: Sequence[str]
    origins: Mapping[str, HealthRecord]
    best: str | None
    frozen: bool = False
    way: WayCheck | None = None


def is_bad(record: HealthRecord) -> bool:
    """Whether an origin gets no fetches, or few, while another can serve."""
    return record.state is not HealthState.UP or bool(record.flags & HELD_BACK)


def judge_node(facts: NodeFacts) -> tuple[NodeVerdict, str]:
    """The verdict, and the reason for it."""
    if not facts.ready:
        return NodeVerdict.FAILING, "it isn't ready"
    way, bad = facts.way, [name for name, record in facts.origins.items() if is_bad(record)]
    if way is not None and way.problem is not None:
        return NodeVerdict.FAILING, f"its canary doesn't come: {way.problem}"
    usable = [record for record in facts.origins.values() if record.is_good]
    came = way is not None and way.note is None
    if facts.frozen and not came:
        return NodeVerdict.FAILING, "all origins failed together"
    if not usable and not came:
        return NodeVerdict.FAILING, "no origin works"
    if facts.frozen:
        return NodeVerdict.DEGRADED, "all origins failed together; entries are served"
    if bad:
        return NodeVerdict.DEGRADED, f"not as usual: {', '.join(bad)}"
    if way is not None and way.note is not None:
        return NodeVerdict.DEGRADED, f"its canary: {way.note}"
    if facts.troubles:
        return NodeVerdict.DEGRADED, facts.troubles[0]
    return NodeVerdict.OK, "all is well"


def status_of(verdict: NodeVerdict, facts: NodeFacts, *, strict: bool) -> int:
    """200 or 503. `strict`: its best origin has to be well, too."""
    if verdict is NodeVerdict.FAILING:
        return 503
    if not strict:
        return 200
    best = None if facts.best is None else facts.origins.get(facts.best)
    return 503 if facts.frozen or best is None or is_bad(best) else 200
