"""The order in which a fetch tries the origins of its route, and the reason for each position. Pure.

Four strategies need no measurements: `ordered`, `primary-first`, `weighted`, `cheapest`. `nearest` ranks by cost:

    cost = median first byte + size / goodput + exchange * price of the object + penalty

in seconds, over medians of minutes (`distance`). Peaks are a matter for health checks: an order that followed them
would flip, and send a good part of the fetches to a distant, expensive origin. `Hold` keeps each position until
another origin has been clearly better for some time.

Every order has all origins: a failed fetch moves on to the next one.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

import xxhash

from shield.rules.prices import Price
from shield.rules.sites import NOWHERE, OriginSite

BETTER_SHARE = 0.2
"""To pass another one, an origin must cost less by this share of the other's cost: noise is smaller."""

BETTER_SECONDS = 0.010
"""It must also cost less by this many seconds: 20 percent of two milliseconds make no difference to a client."""

HOLD_SECONDS = 30.0
"""Both must hold for this long without interruption."""

TYPICAL_BYTES = 256 * 1024
"""Size of an object for comparing prices: with free egress, the price of requests decides."""

THROTTLED_SHARE = 0.05
"""The share of throttled requests that costs nothing: a large storage refuses a few at any time."""

SMALL: Final = 64 << 10
CLASS_LIMITS = (SMALL, 1 << 20, 16 << 20)
SIZE_CLASSES = len(CLASS_LIMITS) + 1
"""Size classes: up to 64 KiB, 1 MiB, 16 MiB, and more."""

MOST_RANKED = 15
"""Origins of a route that can be ordered by cost: their positions are in one word of shared memory."""

_DRAWS = 1 << 53


class Strategy(Enum):
    """How a route orders its origins."""

    ORDERED = "ordered"  # as listed
    PRIMARY_FIRST = "primary-first"  # the primary, then the others as listed
    WEIGHTED = "weighted"  # by key: each is first for a share of the keys in proportion to its weight
    CHEAPEST = "cheapest"  # by price; as listed where prices are equal
    NEAREST = "nearest"  # by cost, which needs measurements


class Placing(Enum):
    """The reason for an origin's position."""

    LISTED = "as listed"
    PRIMARY = "the primary"
    DRAWN = "by weight"
    PRICE = "by price"
    COST = "by cost"
    UNMEASURED = "not measured yet"
    KEPT = "kept, since another isn't clearly better for long enough"
    OUT = "out of service"


@dataclass(frozen=True, slots=True)
class OriginFacts:
    """An origin's settings, as far as ranking, replication and figures need them.

    `copy_of` is the primary from which objects reach it by replication, which takes `max_lag` seconds at most.
    `holds_all` False: it never has all objects.
    """

    name: str
    is_primary: bool = False
    weight: float = 100.0
    price: Price | None = None
    copy_of: str | None = None
    holds_all: bool = True
    max_lag: float | None = None
    site: OriginSite = NOWHERE


@dataclass(frozen=True, slots=True)
class Measured:
    """Measurements of an origin: medians of the last minutes, in seconds and bytes per second; None: not measured.

    `penalty` are seconds for throttling (`throttle_penalty`). `is_out`: out of service, so that others come first.
    """

    first_byte: float | None = None
    goodput: float | None = None
    penalty: float = 0.0
    is_out: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """The parts of an origin's cost, all in seconds."""

    first_byte: float
    transfer: float = 0.0
    money: float = 0.0
    penalty: float = 0.0

    @property
    def total(self) -> float:
        return self.first_byte + self.transfer + self.money + self.penalty


@dataclass(frozen=True, slots=True)
class OriginPlace:
    """An origin in an order, and the reason for its position."""

    name: str
    placing: Placing
    cost: Cost | None = None
    detail: str = ""
    is_primary: bool = False

    def __str__(self) -> str:
        said = f"{self.name}: {self.placing.value}"
        if self.cost is not None:
            said += f" of {self.cost.total * 1000.0:.1f} ms"
        return f"{said} ({self.detail})" if self.detail else said


def usual_strategy(origins: Sequence[OriginFacts]) -> Strategy:
    """The strategy of a route that names none: by cost as soon as its origins' settings show that they differ in more
    than their order, as listed otherwise."""
    differ = any(origin.price is not None or origin.max_lag is not None for origin in origins)
    return Strategy.NEAREST if differ and 1 < len(origins) <= MOST_RANKED else Strategy.ORDERED


def incomparable(origins: Sequence[OriginFacts]) -> str:
    """The reason why the origins' prices can't be compared; "" if they can."""
    unpriced = [origin.name for origin in origins if origin.price is None]
    if unpriced:
        return f"{unpriced[0]} has no price"
    currencies = sorted({origin.price.currency for origin in origins if origin.price is not None})
    return f"its origins' prices are in {' and '.join(currencies)}" if len(currencies) > 1 else ""


def order_of(strategy: Strategy, origins: Sequence[OriginFacts], seed: int = 0) -> tuple[OriginPlace, ...]:
    """The order by the settings. `seed` is the key's number (`seed_of`), used by WEIGHTED alone.

    The one for NEAREST holds until something is measured; then `by_cost` does.
    """
    if strategy is Strategy.PRIMARY_FIRST:
        ordered = sorted(origins, key=lambda origin: not origin.is_primary)
        return tuple(
            [OriginPlace(origin.name, Placing.PRIMARY if origin.is_primary else Placing.LISTED) for origin in ordered]
        )
    if strategy is Strategy.WEIGHTED:
        weights = {origin.name: origin.weight for origin in origins}
        names = drawn([origin.name for origin in origins], list(weights.values()), seed)
        return tuple([OriginPlace(name, Placing.DRAWN, detail=f"weight {weights[name]:g}") for name in names])
    if strategy is Strategy.CHEAPEST:
        return tuple([_priced(origin) for origin in sorted(origins, key=_typical_price)])
    placing = Placing.UNMEASURED if strategy is Strategy.NEAREST else Placing.LISTED
    return tuple([OriginPlace(origin.name, placing) for origin in origins])


def drawn(names: Sequence[str], weights: Sequence[float], seed: int) -> tuple[str, ...]:
    """Names in an order drawn for a key, by weighted rendezvous hashing: each is first for its share of all keys.

    Adding or removing an origin moves only its own keys. Origins of weight 0 come last, as listed.
    """

    def score(at: int) -> float:
        # With a uniform draw from (0, 1), the score -weight / ln(draw), as in `rendezvous`, but for each key.
        draw = (xxhash.xxh3_64_intdigest(names[at].encode(), seed=seed) >> 11) + 0.5
        return -weights[at] / math.log(draw / _DRAWS)

    return tuple([names[at] for at in sorted(range(len(names)), key=score, reverse=True)])


def seed_of(digest: bytes) -> int:
    """The number of a key, from the last bytes of its digest: workers and directories are chosen by the first."""
    return int.from_bytes(digest[-8:], "big")


def size_class(size: int) -> int:
    """The class of a body's length, from 0: first byte and goodput are similar within a class."""
    return bisect_left(CLASS_LIMITS, size)


def throttle_penalty(share: float, before: float, elapsed: float) -> float:
    """Seconds added to an origin's cost while it throttles this share of its requests. The penalty `before`,
    `elapsed` seconds ago, decays with time."""
    decayed = before * math.exp(-max(0.0, elapsed) / 10.0)
    return max(decayed, 5.0 * max(0.0, share - THROTTLED_SHARE))


def cost_of(origin: OriginFacts, measured: Measured, *, size: float, exchange: float) -> Cost:
    """The cost of a fetch of `size` bytes, in seconds; `exchange` is the value of a unit of money in seconds."""
    transfer = size / measured.goodput if measured.goodput else 0.0
    money = 0.0 if origin.price is None else exchange * origin.price.of(size)
    return Cost(measured.first_byte or 0.0, transfer, money, measured.penalty)


def by_cost(
    origins: Sequence[OriginFacts], measured: Mapping[str, Measured], *, size: float, exchange: float
) -> tuple[OriginPlace, ...]:
    """The order by cost: the measured ones, then the others as listed, then those that are out of service.

    At equal cost the primary is first, since its copy never lags.
    """

    def place(at: int) -> tuple[int, float, bool, int]:
        value = found[at]
        rank = {Placing.COST: 0, Placing.UNMEASURED: 1, Placing.OUT: 2}[value.placing]
        cost = 0.0 if value.cost is None or rank else value.cost.total
        return rank, cost, not rank and not origins[at].is_primary, at

    found = [_costed(origin, measured.get(origin.name, _UNKNOWN), size, exchange) for origin in origins]
    return tuple([found[at] for at in sorted(range(len(origins)), key=place)])


@dataclass(frozen=True, slots=True)
class Hold:
    """An order that is kept, and the time since which one origin has been clearly better than another before it."""

    order: tuple[str, ...] = ()
    better_since: Mapping[tuple[str, str], float] = field(default_factory=dict)  # (better, worse)

    def step(self, ranked: Sequence[OriginPlace], now: float) -> tuple[Hold, tuple[OriginPlace, ...]]:
        """The next hold, from an order by cost, and its places, with those out of service last.

        An origin that is out of service keeps its position in `order`: its health decides on its return, and which
        keys it gets back first. At most one origin moves in a step.
        """
        places = {place.name: place for place in ranked}
        names = [name for name in self.order if name in places]
        names += [place.name for place in ranked if place.name not in self.order]
        since: dict[tuple[str, str], float] = {}
        due: tuple[str, str] | None = None
        for at, name in enumerate(names):
            for other in names[at + 1 :]:
                if not _passes(places[other], places[name]):
                    continue
                pair = other, name
                since[pair] = self.better_since.get(pair, now)
                is_due = now - since[pair] >= HOLD_SECONDS
                if is_due and (due is None or (due[1] == name and _cost(places[other]) < _cost(places[due[0]]))):
                    due = pair
        if due is not None:
            better, worse = due
            names.remove(better)
            names.insert(names.index(worse), better)
        return Hold(tuple(names), since), _shown([places[name] for name in names])


_UNKNOWN = Measured()


def _costed(origin: OriginFacts, measured: Measured, size: float, exchange: float) -> OriginPlace:
    if measured.is_out:
        return OriginPlace(origin.name, Placing.OUT, is_primary=origin.is_primary)
    if measured.first_byte is None:
        return OriginPlace(origin.name, Placing.UNMEASURED, is_primary=origin.is_primary)
    cost = cost_of(origin, measured, size=size, exchange=exchange)
    parts = {"first byte": cost.first_byte, "transfer": cost.transfer, "price": cost.money, "penalty": cost.penalty}
    detail = ", ".join([f"{name} {seconds * 1000.0:.1f}" for name, seconds in parts.items() if seconds])
    return OriginPlace(origin.name, Placing.COST, cost, detail, origin.is_primary)


def _passes(value: OriginPlace, other: OriginPlace) -> bool:
    """Whether an origin should come before another that is before it now: a measured one before one that isn't, a
    clearly better one, and the primary before a replica that isn't better at all, since its copy never lags."""
    if value.placing is not Placing.COST or other.placing is Placing.OUT:
        return False
    saved = _cost(other) - _cost(value)
    if value.is_primary and saved >= 0.0:
        return True
    return saved >= BETTER_SECONDS and saved >= BETTER_SHARE * _cost(other)


def _cost(place: OriginPlace) -> float:
    return math.inf if place.cost is None else place.cost.total


def _shown(places: Sequence[OriginPlace]) -> tuple[OriginPlace, ...]:
    """Places as they are shown: with the reason of those that are kept, and those out of service last."""
    found = []
    for at, place in enumerate(places):
        ahead = min(places[at + 1 :], key=_cost, default=place)
        if place.placing is Placing.COST and _cost(ahead) < _cost(place):
            found.append(
                replace(place, placing=Placing.KEPT, detail=f"{ahead.name} would cost {_milliseconds(ahead)}")
            )
        else:
            found.append(place)
    return tuple(sorted(found, key=lambda place: place.placing is Placing.OUT))


def _milliseconds(place: OriginPlace) -> str:
    return f"{_cost(place) * 1000.0:.1f} ms"


def _typical_price(origin: OriginFacts) -> float:
    return math.inf if origin.price is None else origin.price.of(TYPICAL_BYTES)


def _priced(origin: OriginFacts) -> OriginPlace:
    price = origin.price
    if price is None:
        return OriginPlace(origin.name, Placing.PRICE, detail="no price is set")
    return OriginPlace(origin.name, Placing.PRICE, detail=str(price))
