"""List prices, and the price of bytes and requests."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from shield.rules.prices import GB, PRESETS, STALE_DAYS, Price
from shield.rules.zones import zone_fault


def test_a_price_is_of_bytes_and_of_requests() -> None:
    price = Price(0.09, 0.0004)

    assert price.of(GB) == pytest.approx(0.09 + 0.0000004)
    assert price.of(0, 1000) == pytest.approx(0.0004)
    assert str(price) == "0.09 USD per GB, 0.0004 per 1,000 requests"
    assert str(replace(price, account="acme")).endswith("1,000 requests, in account acme")
    assert str(replace(price, zone="Asia/Shanghai")).endswith("requests, by months of Asia/Shanghai")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_where_and_when_it_was_read(name: str) -> None:
    preset = PRESETS[name]

    assert preset.price.egress >= 0 and preset.price.requests >= 0 and len(preset.price.currency) == 3
    assert preset.source and date(2026, 1, 1) < preset.read
    assert zone_fault(preset.price.zone) is None
    assert preset.age_days(preset.read + timedelta(days=STALE_DAYS)) == STALE_DAYS
    assert name == name.lower() and " " not in name


def test_prices_per_gibibyte_are_converted() -> None:
    assert PRESETS["gcs-us-central1"].price.of(1 << 30, 0) == pytest.approx(0.12)


def test_what_is_free_may_exceed_tiers_and_surcharges_are_from_the_first_byte_on() -> None:
    price = Price(0.09, free=20_000.0 * GB, tiers=((10_000.0 * GB, 0.08), (50_000.0 * GB, 0.07)))
    retrieved = replace(price, surcharges=(("nat", 0.045), ("retrieval", 0.01)))

    assert price.of_month(20_000.0 * GB) == 0.0
    assert price.of_month(60_000.0 * GB) == pytest.approx(30_000 * 0.08 + 10_000 * 0.07)
    assert retrieved.of_month(1000.0 * GB) == pytest.approx(55.0) and retrieved.of(GB, 0) == pytest.approx(0.145)
    assert str(retrieved).startswith("0.09 USD per GB and 0.045 for nat and 0.01 for retrieval, 0 per")


def test_a_gb_of_aws_has_two_to_the_thirty_bytes() -> None:
    price = PRESETS["aws-us-east-1"].price

    assert price.of_month(float(100 << 30)) == 0.0
    assert price.of_month(float(10_240 << 30)) == pytest.approx(0.09 * 10_140)
    assert price.of_month(float(10_241 << 30)) == pytest.approx(0.09 * 10_140 + 0.085)


def test_free_requests_are_those_of_a_month() -> None:
    price = PRESETS["r2"].price

    assert price.of_requests(10e6) == 0.0 and price.of_requests(12e6) == pytest.approx(0.72)
    assert price.billed_of((1, 2, 4, 8, 16)) == 7
