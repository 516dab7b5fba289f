"""Histograms of times."""

from __future__ import annotations

import itertools
import math

import pytest

from shield.histograms import BOUNDS, LABELS, Histogram
from shield.observe.metrics import Metrics, timed
from shield.observe.report import Report, together


def test_bounds_grow_by_the_square_root_of_two_and_have_labels_that_say_so() -> None:
    for one, next_one in itertools.pairwise(BOUNDS):
        assert next_one / one == pytest.approx(math.sqrt(2), rel=0.001)
    assert [float(label) for label in LABELS[:-1]] == pytest.approx(BOUNDS, rel=1e-5)
    assert LABELS[-1] == "+Inf"


@pytest.mark.parametrize(
    ("seconds", "label"),
    [(0.0, "0.0005"), (0.001, "0.001"), (0.0011, "0.001414"), (65.536, "65.536"), (65.6, "+Inf"), (1e9, "+Inf")],
)
def test_a_time_is_in_the_bucket_with_the_next_bound(seconds: float, label: str) -> None:
    made = Histogram()

    made.add(seconds, 3)

    assert {LABELS[at]: n for at, n in enumerate(made.counts) if n} == {label: 3}
    assert (made.count, made.total) == (3, 3 * seconds)


def test_those_of_all_workers_are_one_with_rising_counts() -> None:
    first, second = Histogram(), Histogram()
    first.add(0.03)
    second.add(0.02)
    second.add(100.0)
    reports = [Report({}, [timed("wait_seconds", "Wait", [({"cache": "miss"}, each)])]) for each in (first, second)]

    node = together([Report.decoded(each.encoded()) for each in reports])
    text = Metrics(lambda: node.families).render().decode()

    assert "# TYPE shield_wait_seconds histogram" in text
    counts = {
        line.split('le="')[1].split('"')[0]: line.split()[-1] for line in text.splitlines() if "_bucket" in line
    }
    assert (counts["0.016"], counts["0.022627"], counts["0.032"], counts["+Inf"]) == ("0.0", "1.0", "2.0", "3.0")
    assert 'shield_wait_seconds_count{cache="miss"} 3.0' in text
    assert 'shield_wait_seconds_sum{cache="miss"} 100.05' in text
