"""Spikes against a robust baseline with a floor in money, and their causes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.alarms import MOST_TEXT
from shield.rules.prices import GB, Price
from shield.rules.spikes import (
    Baseline,
    EgressRate,
    SpikeCause,
    SpikeSights,
    SpikeTerms,
    baseline,
    cause_of,
    is_spike,
    prefixes,
    told,
)
from shield.rules.suspects import FLAVOURS, KeyTally, Suspect, SuspectKind, Tallies

PRICE = Price(0.1, 0.001, "EUR")
USUAL = Baseline(0.1 * GB, 0.0, 7)
CALLS = Baseline(1000.0, 0.0, 7)


def tallies(**flavours: float) -> Tallies:
    return Tallies(flavours={**dict.fromkeys(FLAVOURS, 0.0), "missed": 100.0, **flavours})


def sights(reason: str = "miss", **more: object) -> SpikeSights:
    return SpikeSights(by_reason={reason: EgressRate(GB, 5000.0)}, **{"tallies": tallies(), **more})  # type: ignore[arg-type]


def test_one_bad_day_among_seven_moves_nothing() -> None:
    calm = baseline([100.0, 110.0, 90.0, 105.0, 95.0, 100.0, 100.0], [], [])
    with_bad = baseline([100.0, 110.0, 90.0, 105.0, 95.0, 100.0, 9000.0], [], [])

    assert calm is not None and with_bad is not None
    assert with_bad.median == calm.median == 100.0
    assert with_bad.limit(6.0) == calm.limit(6.0) < 200.0


def test_days_of_the_week_count_once_four_of_them_are_known() -> None:
    days = [100.0] * 7

    assert baseline(days, [500.0] * 3 + [None] * 5, []) == Baseline(100.0, 0.0, 7)
    assert baseline(days, [500.0] * 4 + [None] * 4, []) == Baseline(500.0, 0.0, 4)


def test_a_young_node_goes_by_its_last_hours_and_a_new_one_knows_nothing() -> None:
    assert baseline([80.0, *[None] * 6], [], [50.0, 60.0, 70.0]) == Baseline(60.0, 1.4826 * 10.0, 3)
    assert baseline([80.0], [], [50.0, 60.0]) is None


@pytest.mark.parametrize(
    ("rate", "price", "spikes"),
    [
        (EgressRate(0.15 * GB, 1000.0), PRICE, False),  # usual, more or less
        (EgressRate(0.5 * GB, 1000.0), PRICE, True),  # 2.40 EUR an hour
        (EgressRate(0.5 * GB, 1000.0), Price(0.01, 0.0, "EUR"), False),  # 0.24
        (EgressRate(0.5 * GB, 1000.0), None, False),
        (EgressRate(1.2 * GB, 1000.0), None, True),
        (EgressRate(0.1 * GB, 30_000.0), PRICE, True),  # requests alone: 1.74 EUR
        (EgressRate(0.1 * GB, 30_000.0), Price(0.1), False),
    ],
)
def test_a_spike_is_unusual_and_costs_something(rate: EgressRate, price: Price | None, spikes: bool) -> None:
    assert is_spike(rate, USUAL, CALLS, price, SpikeTerms()) is spikes


@given(st.lists(st.floats(0, 1e12), min_size=7, max_size=7), st.floats(0, 1e12), st.floats(1, 100))
def test_more_bytes_are_never_less_of_a_spike(days: list[float], received: float, times: float) -> None:
    usual = baseline(days, [], [])
    assert usual is not None

    one, other = (
        is_spike(EgressRate(each, 0.0), usual, CALLS, PRICE, SpikeTerms()) for each in (received, received * times)
    )

    assert other or not one


@given(st.floats(0, 1e12), st.lists(st.floats(0, 1e12), min_size=3, max_size=3))
def test_four_calm_days_of_seven_are_what_is_usual(calm: float, others: list[float]) -> None:
    usual = baseline([calm] * 4 + others, [], [])

    assert usual is not None and usual.median == calm and usual.deviation == 0.0


@pytest.mark.parametrize(
    ("seen", "cause"),
    [
        (sights("retry"), SpikeCause.RETRIES),
        (sights("warm"), SpikeCause.EXTRAS),
        (sights("revalidation"), SpikeCause.REVALIDATION),
        (sights("bypass"), SpikeCause.UNCACHEABLE),
        (sights(tallies=tallies(ranges=60.0)), SpikeCause.RANGES),
        (sights(suspects=[Suspect(SuspectKind.QUERIES, "/a", "", 1.0, 0.0)]), SpikeCause.QUERIES),
        (sights(tallies=tallies(bypassed=60.0)), SpikeCause.UNCACHEABLE),
        (sights(tallies=tallies(heads=60.0)), SpikeCause.HEADS),
        (sights(tallies=tallies(absent=60.0)), SpikeCause.ABSENT),
        (sights(purged=60.0), SpikeCause.PURGE),
        (sights(purged=6000.0), SpikeCause.NEW),
        (sights(tallies=Tallies(keys={"/a": KeyTally(asked=100, fetches=9, requests=9)})), SpikeCause.NOT_KEPT),
        (sights(suspects=[Suspect(SuspectKind.CRAWLER, "10.0.0.1", "", 1.0, 0.0)]), SpikeCause.CRAWLER),
        (sights(), SpikeCause.NEW),
    ],
)
def test_the_cause_is_what_the_misses_have_in_common(seen: SpikeSights, cause: SpikeCause) -> None:
    assert cause_of(seen) is cause


def test_a_spike_is_told_with_its_cost_cause_routes_prefixes_and_clients() -> None:
    seen = SpikeSights(
        by_reason={"range": EgressRate(0.9 * GB, 500.0), "miss": EgressRate(0.1 * GB, 500.0)},
        by_route={"video": EgressRate(0.9 * GB, 500.0), "images": EgressRate(0.1 * GB, 500.0)},
        tallies=tallies(ranges=90.0),
        clients={"203.0.113.7": 3.0, "10.0.0.1": 1.0},
        keys={"s:/video/2026/a.mp4": 6.0, "s:/video/2026/b.mp4": 3.0, "s:/i.webp": 1.0},
    )

    said = told("fra", EgressRate(1.0 * GB, 1000.0), USUAL, CALLS, PRICE, seen)

    assert said == (
        "origin fra: 1 GB a minute, usually 100 MB; 5.40 EUR more an hour than usual; "
        "cause: ranges for which far more is fetched; routes: video 90%, images 10%; "
        "prefixes: /video/2026/ 90%, / 10%; clients: 203.0.113.7 75%, 10.0.0.1 25%"
    )


def test_a_storm_of_requests_is_told_by_requests() -> None:
    seen = sights(tallies=tallies(heads=99.0))

    said = told("fra", EgressRate(0.1 * GB, 90_000.0), USUAL, CALLS, None, seen)

    assert said == "origin fra: 90,000 requests a minute, usually 1,000; cause: a storm of HEAD requests"


@given(st.dictionaries(st.text(max_size=300), st.floats(1, 1e9), max_size=9))
def test_long_names_leave_room_for_the_cause(names: dict[str, float]) -> None:
    said = told("fra", EgressRate(GB, 1.0), USUAL, CALLS, PRICE, sights(clients=names, keys=names))

    assert "cause: " in said[:MOST_TEXT]


def test_prefixes_are_the_first_parts_of_paths() -> None:
    assert prefixes({"x:/a/b/c/d.png?w=1": 1.0, "x:/a/b/e.png": 2.0, "x:/f.png": 4.0}) == {"/a/b/": 3.0, "/": 4.0}
