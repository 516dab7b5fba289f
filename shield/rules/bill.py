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

STORED_ELSEWHERE, FETCHED_ELSEWHERE = "peer-hit", "peer"
"""Results of requests whose bodies came from other nodes of the cluster: from their stores, and from an origin."""

FORECAST_SECONDS = 7 * 86400.0
"""For which the mean of usage is taken to go on."""

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
    """One line: requests, bytes, and money by currency. `unpriced` are bytes of origins without a price. `parts` are
    requests and bytes by currency, "" for those without a price.
    """

    name: str
    requests: int = 0
    received: int = 0
    money: dict[str, float] = field(default_factory=dict)
    unpriced: int = 0
    parts: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, usage: Usage, charge: Charge | None) -> None:
        self.requests += usage.requests
        self.received += usage.received
        currency = "" if charge is None else charge.currency
        requests, received = self.parts.get(currency, (0, 0))
        self.parts[currency] = requests + usage.requests, received + usage.received
        if charge is None:
            self.unpriced += usage.received
        else:
            self.money[charge.currency] = self.money.get(charge.currency, 0.0) + charge.of(usage)


@dataclass(frozen=True, slots=True)
class Charge:
    """What an origin's bytes and billed requests of one month cost on average."""

    price: Price
    each_byte: float
    each_request: float

    @property
    def currency(self) -> str:
        return self.price.currency

    def of(self, usage: Usage) -> float:
        return self.each_byte * usage.received + self.each_request * self.price.billed_of(usage.statuses)


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
    """What each origin's bytes and requests cost on average in each month of its provider's zone, of all `usage`
    there. Origins of one account share its allowance and its tiers, each in proportion to what it gave.
    """

    def __init__(self, usage: Iterable[Usage], prices: Mapping[str, Price | None]) -> None:
        sums: dict[
            tuple[tuple[str, str] | str, float], list[int]
        ] = {}  # bytes and billed requests by account and month
        months: set[tuple[str, float]] = set()
        for each in usage:
            price = prices.get(each.origin) if each.origin else None
            if price is not None:
                month = month_around(each.at, price.zone)[0]
                months.add((each.origin, month))
                known = sums.setdefault((account_of(each.origin, price), month), [0, 0])
                known[0] += each.received
                known[1] += price.billed_of(each.statuses)
        self._prices = prices
        self._by_month: dict[tuple[str, float], Charge] = {}
        for origin, month in months:
            price = prices[origin]
            assert price is not None
            size, billed = sums[account_of(origin, price), month]
            self._by_month[origin, month] = Charge(
                price,
                price.of_month(size) / size if size else 0.0,
                price.of_requests(billed) / billed if billed else 0.0,
            )

    def of(self, origin: str, at: float) -> Charge | None:
        """Of the month that this time is in; None: the origin has no price, or no usage in that month."""
        price = self._prices.get(origin)
        return None if price is None else self._by_month.get((origin, month_around(at, price.zone)[0]))


def account_of(origin: str, price: Price) -> tuple[str, str] | str:
    """By which origins share a free allowance and tiers: their account, or each has its own."""
    return ("account", price.account) if price.account else origin


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
        {
            currency: (max(0, requests - tagged[0]), max(0, received - tagged[1]))
            for currency, (requests, received) in whole.total.parts.items()
            for tagged in (any_tag.parts.get(currency, (0, 0)),)
        },
    )
    return replace(whole, lines=[*lines, rest]), any_tag.received


def forecast(
    usage: Sequence[Usage],
    prices: Mapping[str, Price | None],
    month: Month,
    now: float,
    *,
    since: float | None = None,
) -> dict[str, float]:
    """Money by currency for all of a month that has begun: what was counted so far, and for its rest the mean of the
    last seven days, those of the month before included; of fewer if counting began `since`, at least an hour.
    """
    spans = {name: month.within(price.zone) for name, price in prices.items() if price is not None}
    known = min(max(now - FORECAST_SECONDS, now - FORECAST_SECONDS if since is None else since), now - 3600.0)
    sizes: dict[str, float] = {}
    requests: dict[str, float] = {}
    for each in usage:
        price = prices.get(each.origin) if each.origin else None
        if price is None:
            continue
        start, stop = spans[each.origin]
        share = 1.0 if start <= each.at < stop else 0.0
        if known <= each.at < stop:
            share += max(0.0, stop - max(now, start)) / (now - known)
        sizes[each.origin] = sizes.get(each.origin, 0.0) + each.received * share
        requests[each.origin] = requests.get(each.origin, 0.0) + price.billed_of(each.statuses) * share
    together: dict[tuple[str, str] | str, list[float]] = {}
    for origin, size in sizes.items():
        price = prices[origin]
        assert price is not None
        whole = together.setdefault(account_of(origin, price), [0.0, 0.0])
        whole[0] += size
        whole[1] += requests[origin]
    money: dict[str, float] = {}
    for origin, size in sizes.items():
        price = prices[origin]
        assert price is not None
        all_bytes, all_requests = together[account_of(origin, price)]
        cost = price.of_month(all_bytes) * size / all_bytes if all_bytes else 0.0
        cost += price.of_requests(all_requests) * requests[origin] / all_requests if all_requests else 0.0
        money[price.currency] = money.get(price.currency, 0.0) + cost
    return money
