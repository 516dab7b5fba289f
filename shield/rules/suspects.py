"""Suspects: keys, paths and clients that make origins give far more than clients get. Pure.

Each worker keeps tallies of a few minutes; those of all workers are merged, and judged by shares, so that a busy node
and a small one have the same suspects. Names of clients, paths and keys are as they were requested.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self

from shield.rules.prices import GB

AMPLIFIED = 8.0
"""Times as many bytes asked of origins as sent to clients that make a key suspect."""

LEAST_BYTES = 20_000_000
"""Bytes asked of origins, or missed, in five minutes, below which nothing is suspect for its bytes."""

LEAST_QUERIES = 100
"""Different queries of one path, in five minutes, that make it suspect."""

LEAST_MISSED = 300
"""Misses of one client, in five minutes, that may make it a crawler."""

LEAST_FETCHES = 20
"""Whole fetches of one key, in five minutes, after which it seems not to be kept."""

USUAL_SECONDS = 300.0
MOST_SHOWN = 20
_LEAST_SECONDS = 60.0  # after the start rates are of a minute at least
_BITS = 1024
_FULL = 950
"""Of the bits of a tally: then it has seen enough, and more could be told no better."""


class SuspectKind(Enum):
    """The behaviour of a suspect; the value is the word for people and in JSON."""

    RANGES = "range-amplification"  # small ranges make origins give large parts
    QUERIES = "query-flood"  # each request has another query, so that none is a hit
    CRAWLER = "crawler"  # one client requests object after object that nobody else does
    NOT_KEPT = "not-kept"  # one object is fetched again and again


REMEDIES: Mapping[SuspectKind, str] = {
    SuspectKind.RANGES: "limit its clients (rate_limits, limits.amplification), or keep the object whole",
    SuspectKind.QUERIES: "name the parameters that matter in the route's query.allow: others are dropped then",
    SuspectKind.CRAWLER: "block or limit it (access, rate_limits), or have robots.txt forbid it",
    SuspectKind.NOT_KEPT: "look at its Cache-Control and Vary (shield explain), its lifetime, and the room in tiers",
}


@dataclass(slots=True, init=False)
class KeyTally:
    """A key without its variant: bytes `asked` of origins in so many `fetches`, with their price; and requests that
    were no plain hits, with the bytes `sent` for them: `ranges` and `bypassed` are among them.
    """

    asked: int
    fetches: int
    money: float
    requests: int
    sent: int
    ranges: int
    bypassed: int

    def __init__(
        self,
        asked: int = 0,
        fetches: int = 0,
        money: float = 0.0,
        requests: int = 0,
        sent: int = 0,
        ranges: int = 0,
        bypassed: int = 0,
    ) -> None:
        self.asked = asked
        self.fetches = fetches
        self.money = money
        self.requests = requests
        self.sent = sent
        self.ranges = ranges
        self.bypassed = bypassed

    def plain(self) -> list[float]:
        return [self.asked, self.fetches, self.money, self.requests, self.sent, self.ranges, self.bypassed]

    def add(self, other: KeyTally) -> None:
        self.asked += other.asked
        self.fetches += other.fetches
        self.money += other.money
        self.requests += other.requests
        self.sent += other.sent
        self.ranges += other.ranges
        self.bypassed += other.bypassed


@dataclass(slots=True, init=False)
class NameTally:
    """A path with queries, or a client, by a sample of its requests: `seen` of them were missed and looked at, which
    stand for `missed` ones with so many `bytes` and their price; `others` were hits. `bits` tells how many of `seen`
    differ: their queries, or their paths; of very many, the first stand for all.
    """

    missed: float
    bytes: float
    money: float
    others: float
    seen: int
    bits: int

    def __init__(
        self,
        missed: float = 0.0,
        bytes: float = 0.0,
        money: float = 0.0,
        others: float = 0.0,
        seen: int = 0,
        bits: int = 0,
    ) -> None:
        self.missed = missed
        self.bytes = bytes
        self.money = money
        self.others = others
        self.seen = seen
        self.bits = bits

    def mark(self, number: int) -> None:
        """One with this hash is looked at."""
        if self.bits.bit_count() < _FULL:
            self.seen += 1
            self.bits |= 1 << number % _BITS

    @property
    def differing(self) -> float:
        """The share of those that were looked at that differ from all others, from 0 to 1: by linear counting."""
        if not self.seen:
            return 0.0
        free = _BITS - self.bits.bit_count()
        return min(1.0, -_BITS * math.log(max(free, 1) / _BITS) / self.seen)

    def plain(self) -> list[Any]:
        return [self.missed, self.bytes, self.money, self.others, self.seen, f"{self.bits:x}"]

    @classmethod
    def read(cls, plain: list[Any]) -> Self:
        missed, size, money, others, seen, bits = plain
        return cls(float(missed), float(size), float(money), float(others), int(seen), int(bits, 16))

    def add(self, other: NameTally) -> None:
        self.missed += other.missed
        self.bytes += other.bytes
        self.money += other.money
        self.others += other.others
        if not self.seen or (self.bits | other.bits).bit_count() < _FULL:
            self.seen += other.seen
            self.bits |= other.bits
        elif other.seen > self.seen:  # one of them stands for both
            self.seen, self.bits = other.seen, other.bits


FLAVOURS = ("missed", "heads", "ranges", "queries", "bypassed", "absent")
"""Missed requests, and those of them that are HEAD, ask for a range, have a query in their key, can't be shared or
stored, or are for what no origin has."""


@dataclass(slots=True)
class Tallies:
    """Those of one worker, or of all, over so many `seconds`."""

    seconds: float = USUAL_SECONDS
    keys: dict[str, KeyTally] = field(default_factory=dict)
    paths: dict[str, NameTally] = field(default_factory=dict)
    clients: dict[str, NameTally] = field(default_factory=dict)
    flavours: dict[str, float] = field(default_factory=lambda: dict.fromkeys(FLAVOURS, 0.0))

    def plain(self) -> dict[str, Any]:
        """As JSON has it, for `read`."""
        return {
            "seconds": self.seconds,
            "keys": {name: each.plain() for name, each in self.keys.items()},
            "paths": {name: each.plain() for name, each in self.paths.items()},
            "clients": {name: each.plain() for name, each in self.clients.items()},
            "flavours": self.flavours,
        }

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """Raises ValueError if it is of another version."""
        try:
            return cls(
                float(plain["seconds"]),
                {name: KeyTally(*each) for name, each in plain["keys"].items()},
                {name: NameTally.read(each) for name, each in plain["paths"].items()},
                {name: NameTally.read(each) for name, each in plain["clients"].items()},
                {name: float(plain["flavours"].get(name, 0.0)) for name in FLAVOURS},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no tallies: {error!r}") from None

    def share(self, flavour: str) -> float:
        """The share of missed requests with this flavour, from 0 to 1."""
        missed = self.flavours["missed"]
        return self.flavours[flavour] / missed if missed else 0.0

    @property
    def refetched(self) -> float:
        """The share of the bytes asked of origins that were asked for before, of objects that could be kept."""
        asked = sum([each.asked for each in self.keys.values()])
        again = sum(
            [
                each.asked * (1.0 - 1.0 / each.fetches)
                for each in self.keys.values()
                if each.fetches > 1 and not each.bypassed and 2 * each.ranges < max(1, each.requests)
            ]
        )
        return again / asked if asked else 0.0


def together(all_tallies: Iterable[Tallies]) -> Tallies:
    """The tallies of several workers, or of several times, as one; over the seconds of the longest."""
    found = Tallies(0.0)
    for each in all_tallies:
        found.seconds = max(found.seconds, each.seconds)
        for key, tally in each.keys.items():
            found.keys.setdefault(key, KeyTally()).add(tally)
        for mine, theirs in ((found.paths, each.paths), (found.clients, each.clients)):
            for name, named in theirs.items():
                mine.setdefault(name, NameTally()).add(named)
        for flavour, count in each.flavours.items():
            found.flavours[flavour] += count
    return found


@dataclass(frozen=True, slots=True)
class Suspect:
    """One of them: `bytes` were asked of origins, or missed, in the time of the tallies, `hourly` is their price an
    hour at this rate, if prices are known.
    """

    kind: SuspectKind
    name: str
    text: str
    bytes: float
    hourly: float

    @property
    def remedy(self) -> str:
        return REMEDIES[self.kind]


def find_suspects(tallies: Tallies) -> list[Suspect]:
    """Those in these tallies, the one with the most bytes first."""
    part = max(tallies.seconds, _LEAST_SECONDS) / USUAL_SECONDS
    per_hour = 3600.0 / max(1.0, tallies.seconds)
    found = [
        *_keys(tallies.keys, part, per_hour),
        *_paths(tallies.paths, part, per_hour),
        *_clients(tallies.clients, part, per_hour),
    ]
    return sorted(found, key=lambda each: -each.bytes)[:MOST_SHOWN]


def _keys(keys: Mapping[str, KeyTally], part: float, per_hour: float) -> Iterable[Suspect]:
    for name, each in keys.items():
        if each.asked < LEAST_BYTES * part:
            continue
        hourly, asked, sent = each.money * per_hour, _size(each.asked), _size(each.sent)
        if each.requests and 2 * each.ranges >= each.requests and each.asked >= AMPLIFIED * max(1, each.sent):
            text = f"{asked} asked of origins for {sent} sent, in {each.ranges:.0f} requests for ranges"
            yield Suspect(SuspectKind.RANGES, name, text, each.asked, hourly)
        elif each.fetches >= LEAST_FETCHES * part and 2 * each.ranges < max(1, each.requests):
            why = ", since it can't be shared or stored" if 2 * each.bypassed >= max(1, each.requests) else ""
            text = f"fetched {each.fetches:.0f} times, {asked}{why}"
            yield Suspect(SuspectKind.NOT_KEPT, name, text, each.asked, hourly)


def _paths(paths: Mapping[str, NameTally], part: float, per_hour: float) -> Iterable[Suspect]:
    for name, each in paths.items():
        queries = each.missed * each.differing
        if queries >= LEAST_QUERIES * part and each.differing >= 0.5:
            text = f"about {queries:,.0f} different queries in {each.missed:,.0f} misses, {_size(each.bytes)}"
            yield Suspect(SuspectKind.QUERIES, name, text, each.bytes, each.money * per_hour)


def _clients(clients: Mapping[str, NameTally], part: float, per_hour: float) -> Iterable[Suspect]:
    for name, each in clients.items():
        if each.missed < LEAST_MISSED * part or each.missed < 4.0 * each.others or each.differing < 0.8:
            continue
        text = f"{each.missed:,.0f} misses of as many objects, {_size(each.bytes)}, and {each.others:,.0f} hits"
        yield Suspect(SuspectKind.CRAWLER, name, text, each.bytes, each.money * per_hour)


def _size(count: float) -> str:
    if count >= GB:
        return f"{count / GB:,.3g} GB"
    if count < 1e3:
        return f"{count:.0f} B"
    return f"{count / 1e6:,.3g} MB" if count >= 1e6 else f"{count / 1e3:,.3g} KB"
