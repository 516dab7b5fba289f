"""The bill of a time, from the usage that was counted and the prices of origins: by whatever is asked for, with what
the cache saved, and with a forecast.

Prices with tiers and allowances hold for a month of the provider's zone. The price of a part is its share of the
origin's bytes in that month, so that parts add up to the whole, whatever they are divided by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from shield.rules.prices import Price
from shield.rules.zones import Month, month_around

CLASSES = ("2xx", "3xx", "4xx", "5xx", "none")
STORED_ELSEWHERE, FETCHED_ELSEWHERE = "peer-hit", "peer"
"""Results of requests whose bodies came from other nodes of the cluster: from their stores, and from an origin."""

SAVED = frozenset({"hit", "stale", "collapsed", "revalidated", STORED_ELSEWHERE})
"""Results of requests whose bodies didn't come from an origin."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What was counted from `at` (epoch seconds) on, for `span` seconds. Without an `origin`: bodies that clients
    got, with the result of their requests as the `reason`. `statuses` are requests by class, as in `CLASSES`.
    """

    at: int
    origin: str
    route: str
    reason: str
    received: int
    statuses: Sequence[int]
    span: int = 3600

    @property
    def requests(self) -> int:
        return sum(self.statuses)


@dataclass(slots=True)
class BillLine:
    """One line: requests, bytes, and money by currency. `unpriced` are bytes of origins without a price."""

    name: str
    requests: int = 0
    received: int = 0
    money: dict[str, float] = field(default_factory=dict)
    unpriced: int = 0

    def add(self, usage: Usage, charge: Charge | None) -> None:
        self.requests += usage.requests
        self.received += usage.received
        if charge is None:
            self.unpriced += usage.received
        else:
            self.money[charge.currency] = self.money.get(charge.currency, 0.0) + charge.of(usage)


@dataclass(frozen=True, slots=True)
class Charge:
    """What an origin's bytes and requests of one month cost on average."""

    price: Price
    each_byte: float

    @property
    def currency(self) -> str:
        return self.price.currency

    def of(self, usage: Usage) -> float:
        billed = sum(
            [count for name, count in zip(CLASSES, usage.statuses, strict=True) if name in self.price.billed]
        )
        return self.each_byte * usage.received + self.price.requests * billed / 1000.0


@dataclass(frozen=True, slots=True)
class Bill:
    """`lines` by name; the dearest first. `total` has all of them. `saved` are bytes and requests that clients got
    without an origin, and their price as if they had come from the origins in the same mixture. `served` are all
    bytes of clients: `elsewhere` those that were in the stores of other nodes, and `fetched_elsewhere` those that
    other nodes fetched, and have in their ledgers.
    """

    lines: list[BillLine]
    total: BillLine
    saved: BillLine
    served: int
    elsewhere: int = 0
    fetched_elsewhere: int = 0


class Charges:
    """What each origin's bytes and requests cost on average in each month of its provider's zone, of all its `usage`
    there.
    """

    def __init__(self, usage: Iterable[Usage], prices: Mapping[str, Price | None]) -> None:
        received: dict[tuple[str, float], int] = {}
        for each in usage:
            price = prices.get(each.origin) if each.origin else None
            if price is not None:
                place = each.origin, month_around(each.at, price.zone)[0]
                received[place] = received.get(place, 0) + each.received
        self._prices = prices
        self._by_month: dict[tuple[str, float], Charge] = {}
        for (origin, month), size in received.items():
            price = prices[origin]
            assert price is not None
            self._by_month[origin, month] = Charge(price, price.of_month(size) / size if size else 0.0)

    def of(self, origin: str, at: float) -> Charge | None:
        """Of the month that this time is in; None: the origin has no price, or no usage in that month."""
        price = self._prices.get(origin)
        return None if price is None else self._by_month.get((origin, month_around(at, price.zone)[0]))


def bill(
    usage: Sequence[Usage],
    rates: Charges,
    name_of: Callable[[Usage], str] = lambda each: each.origin,
) -> Bill:
    """The bill of this usage, with a line for each name."""
    lines: dict[str, BillLine] = {}
    total, saved, served = BillLine("total"), BillLine("saved"), 0
    of_nodes = {STORED_ELSEWHERE: 0, FETCHED_ELSEWHERE: 0}
    for each in usage:
        if not each.origin:
            served += each.received
            if each.reason in of_nodes:
                of_nodes[each.reason] += each.received
            if each.reason in SAVED:
                saved.received += each.received
                saved.requests += each.requests
            continue
        charge = rates.of(each.origin, each.at)
        for line in (lines.setdefault(name := name_of(each), BillLine(name)), total):
            line.add(each, charge)
    for currency, money in total.money.items():
        saved.money[currency] = money * saved.received / total.received if total.received else 0.0
    order = sorted(lines.values(), key=lambda line: (-sum(line.money.values()), -line.received, line.name))
    return Bill(order, total, saved, served, of_nodes[STORED_ELSEWHERE], of_nodes[FETCHED_ELSEWHERE])


@dataclass(frozen=True, slots=True)
class TagUsage:
    """Bodies of an origin whose responses had a tag; "": any of those that are counted."""

    at: int
    origin: str
    tag: str
    requests: int
    received: int


def bill_by_tag(usage: Sequence[Usage], tags: Sequence[TagUsage], rates: Charges) -> tuple[Bill, int]:
    """The bill of this usage with a line for each tag, and one for all without; and the bytes that had any. A
    response with several tags is in the line of each, so that lines may add up to more than the total.
    """
    whole = bill(usage, rates)
    rows = [Usage(each.at, each.origin, "", each.tag, each.received, (each.requests, 0, 0, 0, 0)) for each in tags]
    lines = [line for line in bill(rows, rates, lambda each: each.reason).lines if line.name]
    any_tag = bill([row for row in rows if not row.reason], rates).total
    rest = BillLine(
        "(no tag)",
        max(0, whole.total.requests - any_tag.requests),
        max(0, whole.total.received - any_tag.received),
        {name: max(0.0, money - any_tag.money.get(name, 0.0)) for name, money in whole.total.money.items()},
        max(0, whole.total.unpriced - any_tag.unpriced),
    )
    return replace(whole, lines=[*lines, rest]), any_tag.received


def forecast(
    usage: Sequence[Usage], prices: Mapping[str, Price | None], month: Month, now: float
) -> dict[str, float]:
    """Money by currency for all of a month that has begun: what was counted so far, and for its rest the mean of the
    last seven days, or of the month so far if that is more recent.
    """
    spans = {name: month.within(price.zone) for name, price in prices.items() if price is not None}
    sizes: dict[str, float] = {}
    requests: dict[str, float] = {}
    for each in usage:
        price = prices.get(each.origin) if each.origin else None
        if price is None:
            continue
        start, stop = spans[each.origin]
        if not start <= each.at < stop:
            continue
        since = min(max(start, now - 7 * 86400.0), now - 3600.0)
        share = 1.0 + (max(0.0, stop - now) / (now - since) if each.at >= since else 0.0)
        sizes[each.origin] = sizes.get(each.origin, 0.0) + each.received * share
        requests[each.origin] = requests.get(each.origin, 0.0) + _billed(each, price) * share
    money: dict[str, float] = {}
    for origin, size in sizes.items():
        price = prices[origin]
        assert price is not None
        whole = price.of_month(size) + price.requests * requests[origin] / 1000.0
        money[price.currency] = money.get(price.currency, 0.0) + whole
    return money


def _billed(usage: Usage, price: Price) -> int:
    return sum([count for name, count in zip(CLASSES, usage.statuses, strict=True) if name in price.billed])
