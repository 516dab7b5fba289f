"""What was counted, in money: parts add up, tiers and allowances hold for a month, the forecast goes on from now."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.bill import Charges, Usage, bill, forecast
from shield.rules.prices import GB, Price
from shield.rules.zones import PACIFIC, Month

MONTH = Month(2026, 11)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
DAY = 86400.0


def usage(origin: str, received: float, *, day: float = 0.0, ok: int = 0, reason: str = "miss", **more: int) -> Usage:
    statuses = (ok, more.get("s3xx", 0), more.get("s4xx", 0), more.get("s5xx", 0), more.get("none", 0))
    return Usage(int(NOVEMBER + day * DAY), origin, "images", reason, int(received), statuses)


@pytest.mark.parametrize(
    ("price", "size", "money"),
    [
        (Price(0.09), 10 * GB, 0.9),
        (Price(0.09, free=100 * GB), 40 * GB, 0.0),
        (Price(0.09, free=100 * GB), 101 * GB, 0.09),
        (Price(0.1, tiers=((10 * GB, 0.05), (20 * GB, 0.01))), 25 * GB, 1.0 + 0.5 + 0.05),
        (Price(0.1, free=5 * GB, tiers=((10 * GB, 0.05),)), 12 * GB, 0.5 + 0.1),
        (Price(0.1, tiers=((10 * GB, 0.05),)), 0.0, 0.0),
    ],
)
def test_tiers_and_free_bytes_of_a_month(price: Price, size: float, money: float) -> None:
    assert price.of_month(size) == pytest.approx(money)


def test_lines_by_origin_requests_by_what_is_billed_and_origins_without_a_price() -> None:
    rows = [
        usage("fra", 10 * GB, ok=1000, s4xx=1000, s5xx=5000, none=3),
        usage("fra", 10 * GB, reason="hedge"),
        usage("iad", 3 * GB),
        usage("", 100 * GB, ok=4000, reason="hit"),
        usage("", 23 * GB, ok=10, reason="miss"),
    ]
    rates = Charges(rows, {"fra": Price(0.1, 0.5), "iad": None})

    by_origin, by_reason = bill(rows, rates), bill(rows, rates, lambda each: each.reason)

    assert [(line.name, line.received, line.requests) for line in by_origin.lines] == [
        ("fra", 20 * GB, 7003),
        ("iad", 3 * GB, 0),
    ]
    assert by_origin.lines[0].money == {"USD": pytest.approx(2.0 + 2 * 0.5)}
    assert by_origin.lines[1].money == {} and by_origin.total.unpriced == 3 * GB
    assert [line.name for line in by_reason.lines] == ["miss", "hedge"]
    assert by_origin.served == 123 * GB and by_origin.saved.received == 100 * GB
    assert by_origin.saved.money["USD"] == pytest.approx(3.0 * 100 / 23)


def test_allowances_begin_anew_each_month() -> None:
    rows = [usage("fra", 100 * GB), usage("fra", 100 * GB, day=30)]

    assert bill(rows, Charges(rows, {"fra": Price(0.1, free=50 * GB)})).total.money["USD"] == pytest.approx(10.0)


def test_allowances_begin_anew_with_the_month_of_the_providers_zone() -> None:
    last_of_october = usage("gcs", 100 * GB, day=0.25)  # 23:00 on October 31 there, by daylight saving time
    rows = [last_of_october, usage("gcs", 100 * GB, day=0.5)]

    price = Price(0.1, free=100 * GB, zone=PACIFIC)
    assert bill(rows, Charges(rows, {"gcs": price})).total.money["USD"] == 0.0
    assert bill(rows, Charges(rows, {"gcs": replace(price, zone="UTC")})).total.money["USD"] == pytest.approx(10.0)


def test_the_forecast_is_of_the_month_of_each_zone() -> None:
    rows = [usage("aws", GB, day=29.5), usage("gcs", GB, day=29.5)]
    prices = {"aws": Price(1.0), "gcs": Price(1.0, currency="EUR", zone=PACIFIC)}

    # Eight hours after the month of the first, both have as much as they will have.
    assert forecast(rows, prices, MONTH, NOVEMBER + (30 + 8 / 24) * DAY) == {"USD": 1.0, "EUR": 1.0}
    # Four hours before, the second is to have four more like those of the last week.
    found = forecast(rows, prices, MONTH, NOVEMBER + (30 + 4 / 24) * DAY)
    assert found == {"USD": 1.0, "EUR": pytest.approx(1.0 + 4 / 24 / 7)}


def test_the_forecast_goes_on_as_in_the_last_week() -> None:
    rows = [usage("fra", 10 * GB, day=day) for day in range(10)]

    money = forecast(rows, {"fra": Price(0.1)}, MONTH, NOVEMBER + 10 * DAY)

    assert money["USD"] == pytest.approx(30.0)


def test_early_in_a_month_the_forecast_rests_on_what_there_is() -> None:
    prices = {"fra": Price(1.0)}

    assert forecast([usage("fra", GB)], prices, MONTH, NOVEMBER + DAY, since=NOVEMBER)["USD"] == pytest.approx(30.0)
    assert forecast([], prices, MONTH, NOVEMBER) == {}


def test_a_node_that_is_younger_than_a_week_is_taken_to_go_on_as_it_began() -> None:
    rows = [usage("fra", GB, day=day) for day in (18, 19)]

    money = forecast(rows, {"fra": Price(1.0)}, MONTH, NOVEMBER + 20 * DAY, since=NOVEMBER + 18 * DAY)

    assert money["USD"] == pytest.approx(12.0)


def test_in_the_first_hour_of_a_month_the_forecast_goes_by_the_days_before() -> None:
    rows = [usage("fra", GB, day=day) for day in range(-7, 0)]

    money = forecast(rows, {"fra": Price(1.0, free=10.0 * GB)}, MONTH, NOVEMBER, since=NOVEMBER - 50 * DAY)

    assert money["USD"] == pytest.approx(20.0)


def test_origins_of_one_account_share_what_is_free_and_their_tiers() -> None:
    aws = Price(0.1, 1.0, free=100.0 * GB, tiers=((200.0 * GB, 0.05),), free_requests=1000.0, account="acme")
    prices = {"fra": aws, "iad": replace(aws, egress=0.2), "own": replace(aws, account="")}
    rows = [
        *[usage(name, 150 * GB, ok=1500) for name in ("fra", "iad", "own")],
        usage("fra", 50 * GB, day=40),
    ]
    rates = Charges(rows, prices)

    # 300 GB of the account: 100 free, 100 of the first tier, 100 of the second; half of it each origin's.
    assert rates.of("fra", NOVEMBER).of(rows[0]) == pytest.approx((100 * 0.1 + 100 * 0.05) / 2 + 1.0)  # type: ignore[union-attr]
    assert rates.of("iad", NOVEMBER).of(rows[1]) == pytest.approx((100 * 0.2 + 100 * 0.05) / 2 + 1.0)  # type: ignore[union-attr]
    assert rates.of("own", NOVEMBER).of(rows[2]) == pytest.approx(50 * 0.1 + 0.5)  # type: ignore[union-attr]
    assert rates.of("fra", NOVEMBER + 40 * DAY).of(rows[3]) == 0.0  # type: ignore[union-attr]
    assert forecast(rows[:2], prices, MONTH, NOVEMBER + 30 * DAY)["USD"] == pytest.approx(
        12.5 - 5.0 + 7.5 + 5.0 + 2.0
    )


_ROWS = st.builds(
    usage,
    st.sampled_from(["fra", "iad"]),
    st.integers(0, 10**13),
    day=st.integers(0, 70),
    ok=st.integers(0, 10**6),
    reason=st.sampled_from(["miss", "hedge", "probe"]),
)


@given(rows=st.lists(_ROWS), free=st.sampled_from([0.0, 1e12]), tiered=st.booleans())
def test_parts_add_up_to_the_whole_whatever_they_are_divided_by(rows: list[Usage], free: float, tiered: bool) -> None:
    price = Price(0.09, 0.4, free=free, tiers=((2e12, 0.05),) if tiered else ())
    rates = Charges(rows, {"fra": price, "iad": Price(0.01)})

    for name_of in (lambda each: each.origin, lambda each: each.reason, lambda each: str(each.at)):
        found = bill(rows, rates, name_of)
        parts, whole = [line.money.get("USD", 0.0) for line in found.lines], found.total.money.get("USD", 0.0)
        assert sum(parts) == pytest.approx(whole)
        assert sum(line.received for line in found.lines) == found.total.received
