"""Budgets of egress: what is spent by tiers, days and months, and what follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.budgets import (
    ACTS,
    BudgetAct,
    EgressBudget,
    Period,
    Spendable,
    UsageSum,
    acts_by_origin,
    cost_of_more,
    judge_budget,
    retry_after,
    worded,
)
from shield.rules.prices import GB, Price
from shield.rules.zones import PACIFIC, Zones

NOON = datetime(2026, 11, 15, 12, 0, tzinfo=UTC).timestamp()
CAP = {BudgetAct.DEARER: 0.8, BudgetAct.PAUSE: 0.9, BudgetAct.STALE: 1.0, BudgetAct.REFUSE: 1.0}


def budget(
    amount: Spendable, *, name: str = "far", per: Period = Period.DAY, burst: float | None = None
) -> EgressBudget:
    return EgressBudget(name, (name,), per, amount, burst, CAP)


def of_day(received: int, *, month: int = 0, requests: int = 0, hour: int = 0) -> dict[Period, UsageSum]:
    return {
        Period.HOUR: UsageSum(hour),
        Period.DAY: UsageSum(received, (requests, 0, 0, 0, 0)),
        Period.MONTH: UsageSum(month or received, (requests, 0, 0, 0, 0)),
    }


@pytest.mark.parametrize(
    ("received", "acts"),
    [
        (799, BudgetAct(0)),
        (800, BudgetAct.DEARER),
        (900, BudgetAct.DEARER | BudgetAct.PAUSE),
        (1000, BudgetAct.DEARER | BudgetAct.PAUSE | BudgetAct.STALE | BudgetAct.REFUSE),
    ],
)
def test_a_budget_does_more_the_more_of_it_is_spent(received: int, acts: BudgetAct) -> None:
    standing = judge_budget(budget(Spendable(1000.0)), {"far": of_day(received)}, {}, Zones(), NOON)

    assert standing.acts == acts
    assert standing.projected == pytest.approx(2 * standing.share)  # half of the day is over


def test_money_of_a_day_is_that_of_the_last_bytes_of_the_month_by_its_tiers() -> None:
    price = Price(0.1, 1.0, "EUR", free=100 * GB, tiers=((200.0 * GB, 0.05),))
    sums = {"far": of_day(50 * GB, month=220 * GB, requests=2000)}

    spent = judge_budget(budget(Spendable(10.0, "EUR")), sums, {"far": price}, Zones(), NOON).spent

    assert spent == pytest.approx(30 * 0.1 + 20 * 0.05 + 2.0)


def test_what_is_free_in_a_month_spends_nothing() -> None:
    price = Price(0.1, free=100 * GB)

    assert (
        judge_budget(budget(Spendable(1.0, "USD")), {"far": of_day(99 * GB)}, {"far": price}, Zones(), NOON).spent
        == 0.0
    )


def test_origins_of_one_account_spend_its_free_bytes_together() -> None:
    price = Price(1.0, 1000.0, free=100.0 * GB, free_requests=10.0, account="acme")
    prices = {"far": price, "near": price, "other": replace(price, account="")}
    sums = {name: of_day(30 * GB, month=60 * GB, requests=10) for name in prices}

    def spent(name: str) -> float:
        return judge_budget(budget(Spendable(100.0, "USD"), name=name), sums, prices, Zones(), NOON).spent

    # 120 GB of the account in the month, 60 of them today: 20 cost something, half of them each one's.
    # So do 10 of its 20 requests.
    assert spent("far") == spent("near") == pytest.approx(10.0 + 5.0)
    assert spent("other") == 0.0
    both = EgressBudget("both", ("far", "near"), Period.MONTH, Spendable(100.0, "USD"), None, CAP)
    assert judge_budget(both, sums, prices, Zones(), NOON).spent == pytest.approx(20.0 + 10.0)


def test_a_burst_does_everything_until_the_hour_is_over() -> None:
    standing = judge_budget(
        budget(Spendable(1e6), burst=10.0), {"far": of_day(10, hour=10)}, {}, Zones(), NOON + 60.0
    )

    assert standing.is_burst and standing.acts == sum(ACTS.values(), BudgetAct(0))
    assert standing.until == NOON + 3600.0


def test_several_budgets_of_an_origin_do_what_any_of_them_does_for_as_long_as_the_longest() -> None:
    sums = {"far": of_day(1000)}
    day = judge_budget(budget(Spendable(1000.0)), sums, {}, Zones(), NOON)
    month = judge_budget(budget(Spendable(1100.0), per=Period.MONTH), sums, {}, Zones(), NOON)

    assert acts_by_origin([month, day])["far"] == (BudgetAct(15), Period.DAY.around(NOON, "UTC")[1])
    assert acts_by_origin([month])["far"] == (BudgetAct.DEARER | BudgetAct.PAUSE, 0.0)


@given(st.lists(st.integers(0, 10**14), min_size=2, max_size=2).map(sorted), st.integers(0, 10**14))
def test_a_share_only_rises_with_bytes(pair: list[int], before: int) -> None:
    price = Price(0.09, free=100.0 * GB, tiers=((10_000.0 * GB, 0.05),))
    low, high = [
        judge_budget(
            budget(Spendable(100.0, "USD")), {"far": of_day(size, month=before + size)}, {"far": price}, Zones(), NOON
        )
        for size in pair
    ]

    assert low.spent <= high.spent and low.acts & ~high.acts == 0


@given(st.lists(st.integers(0, 10**13), max_size=20))
def test_parts_cost_what_the_whole_costs(parts: list[int]) -> None:
    price, received, total = Price(0.09, free=100.0 * GB, tiers=((10_000.0 * GB, 0.05),)), 0, 0.0
    for part in parts:
        total += cost_of_more(price, UsageSum(received), part, (0,) * 5)
        received += part

    assert total == pytest.approx(price.of_month(received))


def test_periods_are_those_of_a_zone() -> None:
    at = datetime(2026, 12, 31, 23, 59, tzinfo=UTC).timestamp()
    december, january = (datetime(2026, 12, 1, tzinfo=UTC).timestamp(), datetime(2027, 1, 1, tzinfo=UTC).timestamp())

    assert Period.MONTH.around(at, "UTC") == (december, january)
    assert Period.DAY.around(at, "UTC") == (january - 86400.0, january)
    assert Period.MONTH.around(at, PACIFIC) == (december + 8 * 3600.0, january + 8 * 3600.0)
    assert Period.DAY.around(at, PACIFIC) == (january - 16 * 3600.0, january + 8 * 3600.0)
    assert Period.HOUR.around(at, PACIFIC) == Period.HOUR.around(at, "UTC") == (january - 3600.0, january)


def test_a_budget_of_origins_in_several_zones_has_each_in_its_own_day_and_ends_with_the_last() -> None:
    midnight = datetime(2026, 11, 15, tzinfo=UTC).timestamp()
    zones = Zones({"aws": "UTC", "gcs": PACIFIC})
    both = EgressBudget("all", ("aws", "gcs"), Period.DAY, Spendable(1000.0))
    sums = {"aws": of_day(100), "gcs": of_day(400)}

    standing = judge_budget(both, sums, {}, zones, midnight + 6 * 3600.0)

    assert standing.spent == 500.0
    assert standing.ends == midnight + 24 * 3600.0  # of the UTC day, since that of the other ends sooner
    # A quarter of the day is over for the one, 22 of 24 hours for the other.
    assert standing.projected == pytest.approx((100 * 4 + 400 * 24 / 22) / 1000.0)


def test_a_refused_request_may_come_again_within_the_hour() -> None:
    assert retry_after(NOON + 30.2, NOON) == pytest.approx(30.2)
    assert retry_after(NOON + 86400.0, NOON) == 3600.0


@pytest.mark.parametrize(
    ("value", "currency", "text"),
    [
        (1234.5, "EUR", "1,234.50 EUR"),
        (20e12, None, "20 TB"),
        (5e8, None, "500 MB"),
        (2500.0, None, "2.5 KB"),
        (129.8, None, "130 B"),
    ],
)
def test_amounts_in_words(value: float, currency: str | None, text: str) -> None:
    assert worded(value, currency) == text
