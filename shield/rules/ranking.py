"""The order in which a fetch tries the origins of its route, and the reason for each position. Pure.

Four strategies need no measurements: `ordered`, `primary-first`, `weighted`, `cheapest`. `nearest` ranks by cost:

    cost = median first byte + size / goodput + exchange * price of the object + penalty

in seconds, over medians of minutes. Peaks are a matter for health checks: an order that followed them would flip, and
send a good part of the fetches to a distant, expensive origin. `Hold` keeps the first position until another origin
has been clearly better for some time.

Every order has all origins: a failed fetch moves on to the next one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import xxhash

from shield.rules.prices import Price

BETTER_SHARE = 0.2
"""To take the first position, an origin must cost less by this share of the current one's cost: noise is smaller."""

BETTER_SECONDS = 0.010
"""It must also cost less by this many seconds: 20 percent of two milliseconds make no difference to a client."""

HOLD_SECONDS = 30.0
"""Both must hold for this long without interruption."""

LEAST_SAMPLES = 20
"""First bytes that a median needs at least."""

TYPICAL_BYTES = 256 * 1024
"""Size of an object for comparing prices: with free egress, the price of requests decides."""

_SIZE_CLASSES = (64 << 10, 1 << 20, 16 << 20)
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
    KEPT = "kept: another isn't clearly better for long enough"
    OUT = "out of service"


@dataclass(frozen=True, slots=True)
class OriginFacts:
    """An origin's settings, as far as ranking and replication need them.

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


@dataclass(frozen=True, slots=True)
class Measured:
    """Measurements of an origin for one size class: medians of the last minutes, in seconds and bytes per second.

    `penalty` are seconds for its state (`throttle_penalty`). `is_out`: out of service, so that the others come first.
    """

    first_byte: float = 0.0
    goodput: float | None = None
    samples: int = 0
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

    def __str__(self) -> str:
        said = f"{self.name}: {self.placing.value}"
        if self.cost is not None:
            said += f" of {self.cost.total * 1000.0:.1f} ms"
        return f"{said} ({self.detail})" if self.detail else said


def order_of(strategy: Strategy, origins: Sequence[OriginFacts], seed: int = 0) -> tuple[OriginPlace, ...]:
    """The order by the settings. `seed` is the key's number (`seed_of`), used by WEIGHTED alone.

    Raises ValueError for NEAREST, whose order is `by_cost`.
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
    if strategy is Strategy.NEAREST:
        raise ValueError("nearest needs measurements: use by_cost")
    return tuple([OriginPlace(origin.name, Placing.LISTED) for origin in origins])


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
    return sum([size > limit for limit in _SIZE_CLASSES])


def throttle_penalty(seconds_ago: float) -> float:
    """Seconds added to an origin's cost after it has throttled a request; they decay with time."""
    return 5.0 * math.exp(-max(0.0, seconds_ago) / 10.0)


def cost_of(origin: OriginFacts, measured: Measured, *, size: int, exchange: float) -> Cost:
    """The cost of a fetch of `size` bytes, in seconds; `exchange` is the value of a unit of money in seconds."""
    transfer = size / measured.goodput if measured.goodput else 0.0
    money = 0.0 if origin.price is None else exchange * origin.price.of(size)
    return Cost(measured.first_byte, transfer, money, measured.penalty)


def by_cost(
    origins: Sequence[OriginFacts], measured: Mapping[str, Measured], *, size: int, exchange: float
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
    """The origin in the first position, and the time since which each other one has been clearly better."""

    first: str | None = None
    better_since: Mapping[str, float] = field(default_factory=dict)

    def step(self, ranked: Sequence[OriginPlace], now: float) -> tuple[Hold, tuple[OriginPlace, ...]]:
        """The next hold and the resulting order, from an order by cost.

        The first position changes at once only if its origin is gone, isn't measured any more, or is out of service.
        """
        places = {value.name: value for value in ranked}
        current = places.get(self.first) if self.first is not None else None
        if current is None or current.cost is None or current.placing is not Placing.COST:
            return Hold(ranked[0].name if ranked else None), tuple(ranked)
        better = [value for value in ranked if _is_clearly_better(value, current)]
        since = {value.name: self.better_since.get(value.name, now) for value in better}
        for value in better:  # the best of them first
            if now - since[value.name] >= HOLD_SECONDS:
                return Hold(value.name), (value, *[other for other in ranked if other is not value])
        if ranked[0] is not current:
            ahead = f"{ranked[0].name} would cost {_milliseconds(ranked[0])}"
            current = OriginPlace(current.name, Placing.KEPT, current.cost, ahead)
        rest = [value for value in ranked if value.name != current.name]
        return Hold(current.name, since), (current, *rest)


_UNKNOWN = Measured()


def _costed(origin: OriginFacts, measured: Measured, size: int, exchange: float) -> OriginPlace:
    if measured.is_out:
        return OriginPlace(origin.name, Placing.OUT)
    if measured.samples < LEAST_SAMPLES:
        return OriginPlace(origin.name, Placing.UNMEASURED)
    cost = cost_of(origin, measured, size=size, exchange=exchange)
    parts = {"first byte": cost.first_byte, "transfer": cost.transfer, "price": cost.money, "penalty": cost.penalty}
    detail = ", ".join([f"{name} {seconds * 1000.0:.1f}" for name, seconds in parts.items() if seconds])
    return OriginPlace(origin.name, Placing.COST, cost, detail)


def _is_clearly_better(value: OriginPlace, current: OriginPlace) -> bool:
    if value.cost is None or value.placing is not Placing.COST or current.cost is None:
        return False
    saved = current.cost.total - value.cost.total
    return saved >= BETTER_SECONDS and saved >= BETTER_SHARE * current.cost.total


def _milliseconds(value: OriginPlace) -> str:
    return "nothing known" if value.cost is None else f"{value.cost.total * 1000.0:.1f} ms"


def _typical_price(origin: OriginFacts) -> float:
    return math.inf if origin.price is None else origin.price.of(TYPICAL_BYTES)


def _priced(origin: OriginFacts) -> OriginPlace:
    price = origin.price
    if price is None:
        return OriginPlace(origin.name, Placing.PRICE, detail="no price is set")
    return OriginPlace(origin.name, Placing.PRICE, detail=str(price))
