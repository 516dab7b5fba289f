"""When a late fetch is sent to a second origin, too, and what that may cost."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.health import Flag, HealthRecord, HealthState
from shield.rules.hedge import (
    CUT_BYTES,
    LATE_SHARE,
    WINDOW_SECONDS,
    HedgeTally,
    LateShare,
    expected_waste,
    is_worth,
    may_hedge,
    may_take,
)
from shield.rules.prices import Price

UP, SUSPECT = HealthRecord(), HealthRecord(HealthState.SUSPECT)
THROTTLED, DRAINED = HealthRecord(flags=Flag.THROTTLED), HealthRecord(flags=Flag.DRAINED)
NOW = 1000.0


@pytest.mark.parametrize(
    ("records", "share", "cut_off", "low", "expected"),
    [
        ({"a": UP, "b": UP}, 0.05, False, False, True),
        ({"a": UP, "b": UP}, LATE_SHARE + 0.01, False, False, False),
        ({"a": UP, "b": UP}, 0.05, True, False, False),
        ({"a": UP, "b": UP}, 0.05, False, True, False),
        ({"a": SUSPECT, "b": UP}, 0.05, False, False, False),
        ({"a": THROTTLED, "b": UP}, 0.05, False, False, False),
        ({"a": UP, "b": UP, "c": SUSPECT}, 0.05, False, False, True),
        ({"a": UP, "b": UP, "c": SUSPECT, "d": SUSPECT}, 0.05, False, False, False),
    ],
)
def test_late_fetches_are_hedged_only_while_all_else_is_well(
    records: dict[str, HealthRecord], share: float, cut_off: bool, low: bool, expected: bool
) -> None:
    assert may_hedge("a", records, share, is_cut_off=cut_off, is_low=low) is expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [(UP, True), (SUSPECT, False), (THROTTLED, False), (DRAINED, False), (HealthRecord(flags=Flag.LAGGING), False)],
)
def test_only_an_origin_that_is_well_gets_hedges(record: HealthRecord, expected: bool) -> None:
    assert may_take(record) is expected


def test_the_share_of_late_fetches_is_that_of_ten_seconds() -> None:
    share = LateShare()
    share.after(100, 100, NOW)

    assert share.after(101, 120, NOW + 5.0) == pytest.approx(1 / 20)
    assert share.after(111, 130, NOW + 5.0 + WINDOW_SECONDS) == 1.0  # since the second look
    assert share.after(111, 130, NOW + 60.0) == 0.0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.floats(0.0, 20.0)), max_size=50))
def test_a_share_is_one(steps: list[tuple[int, int, float]]) -> None:
    share, late, successes, now = LateShare(), 0, 0, NOW
    for more_late, more, seconds in steps:
        late, successes, now = late + more_late, successes + more, now + seconds
        assert 0.0 <= share.after(late, successes, now) <= 1.0


def test_what_a_response_wastes_is_its_size_or_what_fits_into_buffers() -> None:
    assert expected_waste(20_000.0) == 20_000.0
    assert expected_waste(1e9) == CUT_BYTES


@pytest.mark.parametrize(
    ("price", "size", "expected"),
    [
        (None, 1e9, True),
        (Price(0.09), 100_000.0, True),  # 0.000009
        (Price(0.09), 250_000.0, False),
        (Price(5.0, requests=0.0), 1000.0, True),
        (Price(0.0, requests=0.1), 0.0, False),  # 0.0001 for the request
    ],
)
def test_it_is_not_worth_more_than_the_bound(price: Price | None, size: float, expected: bool) -> None:
    assert is_worth(price, size, 0.00002) is expected


def test_sizes_are_learned_from_late_responses_and_unknown_ones_count_as_large() -> None:
    tally = HedgeTally()
    before = tally.expected
    tally.add_size(None)
    tally.add_size(1000)
    first = tally.expected
    for _ in range(100):
        tally.add_size(3000)
    tally.waste()

    assert (before, first) == (CUT_BYTES, 1000.0)
    assert tally.expected == pytest.approx(3000.0, rel=0.01)
    assert not math.isnan(tally.mean) and 2990 <= tally.wasted <= 3000
