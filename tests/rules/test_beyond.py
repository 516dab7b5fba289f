"""Another region or the origin: what is nearer, and what is cheaper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shield.rules.beyond import EXPLORED, RegionHits, RegionOffer, TwoWays
from shield.rules.prices import Price

MB = 1e6
OFFER = RegionOffer({"fra": Price(0.0)}, Price(0.02))
WAYS = TwoWays("fra", round_trip=0.1, first_byte=0.08, price=Price(0.09), offer=OFFER, size=MB, exchange=1000.0)


def test_without_prices_the_nearer_way_is_taken() -> None:
    unpriced = replace(WAYS, price=None)

    assert not unpriced.is_better_beyond(0.0)
    assert replace(unpriced, first_byte=0.11).is_better_beyond(0.0)
    assert replace(unpriced, first_byte=0.0).is_better_beyond(
        0.0
    )  # nothing is known of it, and the region is near it


def test_a_farther_region_is_asked_where_the_money_is_worth_the_wait() -> None:
    # 0.07 USD per GB are saved: 1000 s a unit of money make 0.07 s of 1 MB.
    assert WAYS.is_better_beyond(0.0)
    assert not replace(WAYS, size=0.2 * MB).is_better_beyond(0.0)
    assert not replace(WAYS, exchange=0.0).is_better_beyond(0.0)


def test_a_nearer_region_that_pays_for_both_ways_is_asked_only_for_what_it_has() -> None:
    both = replace(WAYS, first_byte=0.11, offer=RegionOffer({"fra": Price(0.09)}, Price(0.02)), size=10 * MB)

    assert not both.is_better_beyond(0.0)
    assert both.is_better_beyond(0.3)
    assert not replace(both, first_byte=0.0).is_better_beyond(0.0)


@pytest.mark.parametrize(
    "change",
    [
        {"price": None},
        {"price": Price(0.09, currency="EUR")},
        {"offer": RegionOffer({}, Price(0.02))},
        {"offer": RegionOffer({"fra": Price(0.0)})},
    ],
)
def test_prices_that_cant_be_compared_dont_count(change: dict[str, Any]) -> None:
    assert not replace(WAYS, **change).is_better_beyond(1.0)
    assert replace(WAYS, first_byte=0.2, **change).is_better_beyond(0.0)


def test_what_is_stored_there_is_learned_and_found_out_again() -> None:
    hits = RegionHits()
    assert hits.share == 0.0
    for at in range(100):
        hits.note(was_hit=at % 4 == 0)
    assert hits.share == 0.25
    for _ in range(5000):
        hits.note(was_hit=True)
    assert hits.share > 0.9

    assert [at for at in range(3 * EXPLORED) if hits.explores()] == [0, EXPLORED, 2 * EXPLORED]


def test_an_offer_arrives_as_it_was_told() -> None:
    assert RegionOffer.read(OFFER.plain()) == OFFER
    assert RegionOffer.read(RegionOffer().plain()) == RegionOffer()


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        {"prices": []},
        {"prices": {"fra": [0.1, 0.0]}, "sending": "x"},
        {"prices": {"fra": [-1.0, 0.0, "USD"]}, "sending": [float("nan"), 0.0, "USD"]},
        {"prices": {"fra": ["1", 0.0, "USD"]}, "sending": [1.0, 0.0, None]},
    ],
)
def test_what_isnt_understood_is_left_out(said: Any) -> None:
    assert RegionOffer.read(said) == RegionOffer()
