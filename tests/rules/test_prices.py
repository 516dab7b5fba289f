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
