"""Spikes: an origin gives far more than usual at this hour. Pure.

What is usual is the median of the same hour of other days, and how much that varies, by the median absolute
deviation: one bad day among seven moves neither. A spike also costs something: below a floor in money it is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from shield.rules.budgets import worded
from shield.rules.prices import Price
from shield.rules.suspects import Suspect, SuspectKind, Tallies

LEAST_DAYS = 3
"""Known hours without which nothing is usual."""

WEEKS = 4
"""So many known hours of the same day of the week replace those of the last seven days."""

CALM_SHARE = 0.15
"""Of the median: hours vary by so much even if those that are known didn't."""

RECENT_PURGE = 900.0
"""Seconds for which a purge explains misses."""

_PLAIN = 3.0  # deviations: bytes are told where they are unusual, since they cost most
_NORMAL = 1.4826  # median absolute deviations of a normal distribution in a standard deviation
_MOST_NAMES = 3
_LONGEST_NAME = 40
_PREFIX_PARTS = 2


@dataclass(frozen=True, slots=True)
class SpikeTerms:
    """From when on it is a spike: so many deviations above the median, and so much more money an hour than usual, in
    the currency of the origin's price; or so many more bytes a minute from an origin without a price.
    """

    deviations: float = 6.0
    money: float = 1.0
    bytes: float = 1e9


@dataclass(frozen=True, slots=True)
class EgressRate:
    """Bytes and requests a minute."""

    received: float
    requests: float


@dataclass(frozen=True, slots=True)
class Baseline:
    """The usual amounts: the median of so many hours, and their deviation, per minute."""

    median: float
    deviation: float
    hours: int

    def limit(self, deviations: float) -> float:
        """Anything above is unusual."""
        return self.median + deviations * max(self.deviation, CALM_SHARE * self.median)


def baseline(days: Sequence[float | None], weeks: Sequence[float | None], recent: Sequence[float]) -> Baseline | None:
    """By the same hour of the last seven days, or of the same day of earlier weeks if enough of them are known; on a
    node that is younger, by its last hours. None: too little is known.
    """
    of_weeks = [each for each in weeks if each is not None]
    of_days = [each for each in days if each is not None]
    known = of_weeks if len(of_weeks) >= WEEKS else of_days if len(of_days) >= LEAST_DAYS else list(recent)
    if len(known) < LEAST_DAYS:
        return None
    middle = median_of(known)
    return Baseline(middle, _NORMAL * median_of([abs(each - middle) for each in known]), len(known))


def hourly_excess(rate: EgressRate, received: Baseline, requests: Baseline, price: Price) -> float:
    """The additional cost in an hour, if it continues; never negative."""
    more_bytes = max(0.0, rate.received - received.median)
    more_requests = max(0.0, rate.requests - requests.median)
    return price.of(60.0 * more_bytes, 60.0 * more_requests)


def is_spike(
    rate: EgressRate, received: Baseline, requests: Baseline, price: Price | None, terms: SpikeTerms
) -> bool:
    """Whether this is one."""
    is_unusual = rate.received > received.limit(terms.deviations) or rate.requests > requests.limit(terms.deviations)
    if not is_unusual:
        return False
    if price is None:
        return rate.received - received.median >= terms.bytes
    return hourly_excess(rate, received, requests, price) >= terms.money


class SpikeCause(Enum):
    """Why requests aren't hits; the value is the word for people."""

    RANGES = "ranges for which far more is fetched"
    QUERIES = "query strings: each is a key of its own"
    UNCACHEABLE = "responses that can't be shared or stored"
    HEADS = "a storm of HEAD requests"
    ABSENT = "requests for objects that no origin has"
    PURGE = "a purge"
    RETRIES = "retries and failover"
    EXTRAS = "hedges, comparisons, warming or prefetches"
    REVALIDATION = "revalidations"
    NOT_KEPT = "objects fetched again: too little room, or short lifetimes"
    CRAWLER = "a client that requests object after object"
    NEW = "more requests for objects that aren't stored"


_BY_REASON = {
    SpikeCause.RETRIES: ("retry", "failover", "resume"),
    SpikeCause.EXTRAS: ("hedge", "audit", "warm", "prefetch"),
    SpikeCause.REVALIDATION: ("revalidation",),
    SpikeCause.UNCACHEABLE: ("bypass",),
}


@dataclass(frozen=True, slots=True)
class SpikeSights:
    """What was seen during a spike, of the whole node: bytes and requests a minute `by_reason` and `by_route` of the
    origin, the tallies with their suspects, bytes of clients and keys that missed, and the age of the last purge.
    """

    by_reason: Mapping[str, EgressRate] = field(default_factory=dict)
    by_route: Mapping[str, EgressRate] = field(default_factory=dict)
    tallies: Tallies = field(default_factory=Tallies)
    suspects: Sequence[Suspect] = ()
    clients: Mapping[str, float] = field(default_factory=dict)
    keys: Mapping[str, float] = field(default_factory=dict)
    purged: float | None = None


def cause_of(sights: SpikeSights, *, by_requests: bool = False) -> SpikeCause:
    """The likeliest cause: what the origin was asked for if that is not for clients' misses, else what these have in
    common, the most telling first. `by_requests`: the spike is one of requests rather than of bytes.
    """
    reasons = {name: each.requests if by_requests else each.received for name, each in sights.by_reason.items()}
    total = sum(reasons.values())
    for cause, names in _BY_REASON.items():
        if total and sum([reasons.get(name, 0.0) for name in names]) > 0.5 * total:
            return cause
    tallies, kinds = sights.tallies, [each.kind for each in sights.suspects]
    if SuspectKind.RANGES in kinds or tallies.share("ranges") > 0.5:
        return SpikeCause.RANGES
    if SuspectKind.QUERIES in kinds:
        return SpikeCause.QUERIES
    for flavour, cause in (
        ("bypassed", SpikeCause.UNCACHEABLE),
        ("heads", SpikeCause.HEADS),
        ("absent", SpikeCause.ABSENT),
    ):
        if tallies.share(flavour) > 0.5:
            return cause
    if sights.purged is not None and 0.0 <= sights.purged < RECENT_PURGE:
        return SpikeCause.PURGE
    if SuspectKind.NOT_KEPT in kinds or tallies.refetched > 0.5:
        return SpikeCause.NOT_KEPT
    return SpikeCause.CRAWLER if SuspectKind.CRAWLER in kinds else SpikeCause.NEW


def told(
    origin: str, rate: EgressRate, received: Baseline, requests: Baseline, price: Price | None, sights: SpikeSights
) -> str:
    """A spike in words: the amount, its cost, the cause, and the routes, prefixes and clients with the most."""
    by_requests = rate.received <= received.limit(_PLAIN)
    if by_requests:
        much = f"{rate.requests:,.0f} requests a minute, usually {requests.median:,.0f}"
    else:
        much = f"{worded(rate.received, None)} a minute, usually {worded(received.median, None)}"
    said = [f"origin {origin}: {much}"]
    if price is not None:
        said.append(
            f"{worded(hourly_excess(rate, received, requests, price), price.currency)} more an hour than usual"
        )
    said.append(f"cause: {cause_of(sights, by_requests=by_requests).value}")
    routes = {name: each.requests if by_requests else each.received for name, each in sights.by_route.items() if name}
    for what, values in (("routes", routes), ("prefixes", prefixes(sights.keys)), ("clients", sights.clients)):
        if any(values.values()):
            said.append(f"{what}: {_shares(values)}")
    return "; ".join(said)


def prefixes(keys: Mapping[str, float]) -> dict[str, float]:
    """The sums of keys, by the first parts of their paths."""
    found: dict[str, float] = {}
    for key, value in keys.items():
        path = key.partition(":")[2].partition("?")[0]
        parts = path.split("/")
        # The last part is the object's own name.
        name = "/".join(parts[: min(_PREFIX_PARTS + 1, len(parts) - 1)]) + "/"
        found[name] = found.get(name, 0.0) + value
    return found


def median_of(values: Sequence[float]) -> float:
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2.0


def _shares(values: Mapping[str, float]) -> str:
    total = sum(values.values())
    best = sorted(values, key=lambda name: -values[name])[:_MOST_NAMES]
    return ", ".join([f"{name[:_LONGEST_NAME]} {100.0 * values[name] / total:.0f}%" for name in best])
