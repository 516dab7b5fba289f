"""Counts of samples become figures of all requests, and of a month."""

from __future__ import annotations

import pytest

from shield.rules.prices import Price
from shield.simulate.node import FetchAccount, FetchCounts, SimulatedCounts
from shield.simulate.results import MONTH_SECONDS, Estimate, Replayed, foretold

GB = 10**9


def counts(requests: int, hits: int, received: int, *, disk: int = 0, origin: str = "a") -> SimulatedCounts:
    misses = requests - hits - disk
    fetches = {FetchAccount(origin, "r", "miss"): FetchCounts(misses, received, received, [misses, 0, 0, 0, 0])}
    return SimulatedCounts(requests, 0, {"memory": hits, "ssd": disk}, requests // 10, received // 2, fetches=fetches)


def test_of_a_whole_log_the_figures_are_the_counts() -> None:
    of = Replayed(1000, 1000, 1.0, MONTH_SECONDS / 2)

    found = foretold("a", [counts(1000, 700, GB, disk=100)], of, tiers=["ssd"], prices={"a": Price(0.1, 1.0)})

    assert found.asked == 1000 and found.hit.error == 0.0
    assert found.hit.value == pytest.approx(0.8)
    assert {name: each.value for name, each in found.hits.items()} == pytest.approx({"memory": 0.7, "ssd": 0.1})
    assert found.requests == {"miss": Estimate(200)} and found.all_received == Estimate(GB)
    assert found.money["USD"].value == pytest.approx(2 * 0.1 + 400 / 1000)
    assert (found.guessed, found.guessed_bytes) == (0.1, 0.5)


def test_samples_stand_for_all_and_their_spread_is_the_error() -> None:
    of = Replayed(10_000, 2100, 0.1, MONTH_SECONDS)
    # The second has one hot object more: it has as many misses, and more hits.
    samples = [counts(1000, 800, GB), counts(1100, 880, GB)]

    found = foretold("a", samples, of, tiers=["ssd"], prices={"a": Price(0.1)})

    assert found.asked == 10_000
    assert found.hit.value == pytest.approx(1 - 2100 / 10_000)
    assert found.hit.error is not None and 0.01 < found.hit.error < 0.03
    assert found.all_requests.value == pytest.approx(2100)
    assert found.all_received == Estimate(10 * GB, 0.0)
    assert found.money["USD"].value == pytest.approx(1.0)


def test_one_sample_cannot_tell_its_error() -> None:
    found = foretold("a", [counts(600, 500, GB)], Replayed(1000, 600, 0.6, 10.0), tiers=[], prices={})

    assert found.hit.error is None


def test_bytes_without_a_price_are_told() -> None:
    of = Replayed(10, 10, 1.0, MONTH_SECONDS)

    found = foretold("a", [counts(10, 5, GB, origin="b")], of, tiers=[], prices={"a": Price(0.1), "b": None})

    assert found.money == {} and found.unpriced == Estimate(GB)


def test_nothing_counted_is_no_division_by_zero() -> None:
    found = foretold("a", [SimulatedCounts()], Replayed(5, 5, 1.0, 0.0), tiers=[], prices={})

    assert found.asked == 0 and found.all_requests == Estimate(0)
