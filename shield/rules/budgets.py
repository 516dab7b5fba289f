"""Budgets of egress: the amounts spent, and the measures that follow. Pure; times are epoch seconds.

The counts of an origin are sums over the present hour, day and month, of the zone that its provider bills
in. What a budget does depends on the share of it that is spent, in an order from what nobody notices to what clients
do:

    dearer ──> pause ──> stale ──> refuse

A share only rises until the period ends, so that nothing flips.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntFlag
from types import MappingProxyType
from typing import Any, NamedTuple

from shield.rules.bill import account_of
from shield.rules.prices import CLASSES, GB, Price
from shield.rules.zones import Zones, day_around, month_around

HOUR = 3600.0

DEAR_SECONDS = 1.0
"""What an origin costs more in an order by cost while a budget makes it dearer: it comes first only where others are
slower by more than this, or out."""

LONGEST_RETRY = 3600.0
"""Seconds of a Retry-After at most: budgets may be raised meanwhile."""


class Period(Enum):
    """For how long a budget holds."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"

    def around(self, now: float, zone: str) -> tuple[float, float]:
        """When the present one began, and when the next one begins. Hours are the same in all zones."""
        if self is Period.MONTH:
            return month_around(now // HOUR * HOUR, zone)
        if self is Period.DAY:
            return day_around(now // HOUR * HOUR, zone)
        start = now // HOUR * HOUR
        return start, start + HOUR


PERIODS = tuple(Period)


class BudgetAct(IntFlag):
    """The measures of a budget against its origins, in their order. None of them concerns hits."""

    DEARER = 1  # routes with `cheapest` or `nearest` try others first
    PAUSE = 2  # no hedges, comparisons of copies, warming or prefetches
    STALE = 4  # stale entries are served for as long as they may replace an error
    REFUSE = 8  # no fetches: 503 if no other origin has the object


ACTS: Mapping[str, BudgetAct] = {str(act.name).lower(): act for act in BudgetAct}
"""By the words of the settings, in order."""

USUAL_ACTS: Mapping[BudgetAct, float] = MappingProxyType(
    {BudgetAct.DEARER: 0.8, BudgetAct.PAUSE: 0.9, BudgetAct.STALE: 1.0}
)
"""From which share on they hold, unless settings say otherwise. Nothing is refused by default."""


class UsageSum(NamedTuple):
    """Bytes received from an origin in a period, and its requests by class of status, as in `prices.CLASSES`."""

    received: int = 0
    statuses: Sequence[int] = (0,) * len(CLASSES)

    @property
    def requests(self) -> int:
        return sum(self.statuses)


OriginSums = Mapping[Period, UsageSum]


@dataclass(frozen=True, slots=True)
class Spendable:
    """An amount of money, or of bytes if it has no `currency`."""

    value: float
    currency: str | None = None

    def __str__(self) -> str:
        if self.currency is None:
            return worded(self.value, None)
        return f"{self.value:,.12g} {self.currency}"


@dataclass(frozen=True, slots=True)
class EgressBudget:
    """What may be read from these `origins`, all together, in a period: of each of them in that of its own zone.

    `burst` is what may be read in an hour; beyond it the budget acts as if it was spent, until the hour is over.
    `acts` are the shares from which on each act holds, `alarms` those at which people are told.
    """

    name: str
    origins: tuple[str, ...]
    per: Period
    amount: Spendable
    burst: float | None = None
    acts: Mapping[BudgetAct, float] = field(default_factory=lambda: dict(USUAL_ACTS))
    alarms: tuple[float, ...] = (0.5, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class BudgetStanding:
    """How a budget stands at one time: `spent` since the period began, and `in_hour` since the hour did.

    `share` is that of the amount that is spent; `projected` the share at the end of the period if it goes on as it
    did so far. `acts` is what it does, `until` the time at which refusals end, or all of it. It `ends` when the
    period does of the last of its origins.
    """

    budget: EgressBudget
    spent: float
    in_hour: float
    share: float
    projected: float
    acts: BudgetAct
    until: float
    ends: float

    @property
    def is_burst(self) -> bool:
        """Whether more was read in this hour than its burst allows."""
        return self.budget.burst is not None and self.in_hour >= self.budget.burst

    @property
    def reached(self) -> list[float]:
        """The shares of its alarms that are reached."""
        return [share for share in self.budget.alarms if self.share >= share]

    def plain(self) -> dict[str, Any]:
        """For operators, as JSON has it."""
        budget = self.budget
        return {
            "origins": list(budget.origins),
            "per": budget.per.value,
            "amount": budget.amount.value,
            "unit": budget.amount.currency or "bytes",
            "spent": round(self.spent, 6),
            "share": round(self.share, 6),
            "projected_share": round(self.projected, 6),
            "burst": budget.burst,
            "in_hour": round(self.in_hour, 6),
            "acts": [word for word, act in ACTS.items() if self.acts & act],
            "until": self.until if self.acts & BudgetAct.REFUSE else None,
            "ends": self.ends,
        }

    def __str__(self) -> str:
        budget = self.budget
        spent = worded(self.spent, budget.amount.currency)
        return f"budget {budget.name}: {spent} of {budget.amount} a {budget.per.value} spent"


def judge_budget(
    budget: EgressBudget,
    sums: Mapping[str, OriginSums],
    prices: Mapping[str, Price | None],
    zones: Zones,
    now: float,
) -> BudgetStanding:
    """How a budget stands, by the sums of its origins; one without sums has given nothing yet."""
    spent = in_hour = projected = ends = 0.0
    for name in budget.origins:
        begins, over = budget.per.around(now, zones.of(name))
        part = _spent(budget.amount, name, sums, budget.per, prices)
        in_hour += _spent(budget.amount, name, sums, Period.HOUR, prices)
        spent += part
        projected += part / min(1.0, max(now - begins, 1.0) / (over - begins))
        ends = max(ends, over)
    share = spent / budget.amount.value
    is_burst = budget.burst is not None and in_hour >= budget.burst
    acts = BudgetAct(0)
    for act, least in budget.acts.items():
        if share >= least or is_burst:
            acts |= act
    # A burst alone ends with its hour.
    lasts = not is_burst or share >= budget.acts.get(BudgetAct.REFUSE, math.inf)
    until = ends if lasts else Period.HOUR.around(now, zones.usual)[1]
    return BudgetStanding(budget, spent, in_hour, share, projected / budget.amount.value, acts, until, ends)


def acts_by_origin(standings: Iterable[BudgetStanding]) -> dict[str, tuple[BudgetAct, float]]:
    """The measures of all budgets together against each origin, and the end of refusals."""
    found: dict[str, tuple[BudgetAct, float]] = {}
    for each in standings:
        until = each.until if each.acts & BudgetAct.REFUSE else 0.0
        for name in each.budget.origins:
            acts, latest = found.get(name, (BudgetAct(0), 0.0))
            found[name] = acts | each.acts, max(latest, until)
    return found


def cost_of_more(price: Price, before: UsageSum, received: int, statuses: Sequence[int]) -> float:
    """The price of further bytes and requests, after those of the month `before`, of the whole account; never
    negative.
    """
    egress = price.of_month(before.received + received) - price.of_month(before.received)
    billed, more = price.billed_of(before.statuses), price.billed_of(statuses)
    return max(0.0, egress + price.of_requests(billed + more) - price.of_requests(billed))


def sums_of_account(
    name: str, sums: Mapping[str, OriginSums], prices: Mapping[str, Price | None], period: Period
) -> UsageSum:
    """What all origins together have given that share what is free and tiers with this one; it alone if none do."""
    price = prices.get(name)
    names = [name]
    if price is not None and price.account:
        wanted = account_of(name, price)
        names = [each for each in sums if (of := prices.get(each)) is not None and account_of(each, of) == wanted]
    found = [sums[each].get(period, UsageSum()) for each in names if each in sums]
    statuses = [sum(column) for column in zip(*[each.statuses for each in found], strict=True)] or (0,) * len(CLASSES)
    return UsageSum(sum([each.received for each in found]), statuses)


def retry_after(until: float, now: float) -> float:
    """Seconds after which a refused request may be sent again."""
    return min(LONGEST_RETRY, max(1.0, until - now))


def worded(value: float, currency: str | None) -> str:
    """An amount, for people: four digits of it, and no fractions of a byte."""
    if currency is not None:
        return f"{value:,.2f} {currency}" if value >= 1.0 else f"{value:.4g} {currency}"
    for unit, size in (("TB", 1000.0 * GB), ("GB", float(GB)), ("MB", 1e6), ("KB", 1e3)):
        if value >= size:
            return f"{value / size:,.4g} {unit}"
    return f"{value:.0f} B"


def _spent(
    amount: Spendable,
    name: str,
    sums: Mapping[str, OriginSums],
    per: Period,
    prices: Mapping[str, Price | None],
) -> float:
    if name not in sums:
        return 0.0
    own, price = sums[name].get(per, UsageSum()), prices.get(name)
    if amount.currency is None:
        return float(own.received)
    if price is None:
        return 0.0
    # Tiers and what is free are of the account's month: the last bytes of it are those of the day, and an origin's
    # share of their price is that of its bytes.
    part, whole = (sums_of_account(name, sums, prices, period) for period in (per, Period.MONTH))
    month = max(part.received, whole.received)
    egress = price.of_month(month) - price.of_month(month - part.received)
    billed, all_billed = price.billed_of(part.statuses), price.billed_of(whole.statuses)
    all_billed = max(billed, all_billed)
    requests = price.of_requests(all_billed) - price.of_requests(all_billed - billed)
    share = own.received / part.received if part.received else 0.0
    return egress * share + (requests * price.billed_of(own.statuses) / billed if billed else 0.0)
