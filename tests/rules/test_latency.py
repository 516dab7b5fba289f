"""Times to the first byte, in buckets that workers can add up."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.latency import BUCKETS, EDGES, LEAST_SAMPLES, bucket_of, edge, median, quantile


def histogram(times: list[float]) -> list[int]:
    counts = [0] * BUCKETS
    for each in times:
        counts[bucket_of(each)] += 1
    return counts


@given(st.floats(0.001, 700.0))
def test_a_time_lies_below_its_bucket_s_edge_and_above_the_one_before(seconds: float) -> None:
    bucket = bucket_of(seconds)

    assert edge(bucket - 1) * 0.999 <= seconds <= edge(bucket) * 1.001


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.0005])
def test_whatever_is_shorter_belongs_to_the_first(seconds: float) -> None:
    assert bucket_of(seconds) == 0


def test_whatever_is_longer_belongs_to_the_last() -> None:
    assert bucket_of(1e9) == BUCKETS - 1


def test_too_few_samples_say_nothing() -> None:
    assert quantile(histogram([0.04] * (LEAST_SAMPLES - 1)), 0.95) is None
    assert quantile(histogram([0.04] * LEAST_SAMPLES), 0.95) == pytest.approx(0.04, rel=0.42)


@given(st.lists(st.floats(0.001, 600.0), min_size=LEAST_SAMPLES, max_size=200), st.floats(0.01, 1.0))
def test_a_quantile_is_right_within_its_bucket(times: list[float], share: float) -> None:
    found = quantile(histogram(times), share)

    exact = sorted(times)[max(0, -int(-share * len(times) // 1) - 1)]
    assert found is not None
    assert exact * 0.999 <= found <= exact * 1.42


def test_the_edges_are_those_of_the_buckets() -> None:
    assert list(EDGES) == [edge(bucket) for bucket in range(BUCKETS - 1)]
    assert [bucket_of(each) for each in EDGES] == list(range(BUCKETS - 1))


def test_a_median_is_closer_than_a_bucket() -> None:
    chance = random.Random(1)
    for true in (0.005, 0.040, 0.047, 0.110, 2.0):
        found = median(histogram([true * chance.lognormvariate(0.0, 0.5) for _ in range(5000)]))
        assert found == pytest.approx(true, rel=0.05)
    assert median(histogram([0.04] * (LEAST_SAMPLES - 1))) is None
    assert median([0] * (BUCKETS - 1) + [LEAST_SAMPLES]) is not None


@given(st.lists(st.floats(0.002, 600.0), min_size=LEAST_SAMPLES, max_size=200))
def test_a_median_is_right_within_its_bucket(times: list[float]) -> None:
    found = median(histogram(times))

    exact = sorted(times)[(len(times) - 1) // 2]
    assert found is not None
    assert exact / 1.42 <= found <= exact * 1.42
