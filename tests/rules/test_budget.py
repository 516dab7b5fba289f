"""The number of extra fetches that an allowance admits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.budget import ALLOWANCE, FetchAllowance


def test_some_are_there_at_the_start() -> None:
    assert FetchAllowance(0.1).saved(0.0, 0) == ALLOWANCE
    assert FetchAllowance(0.1, most=3.0).saved(0.0, 2) == 1.0


def test_successes_earn_their_share_as_far_as_it_can_be_saved() -> None:
    allowance = FetchAllowance(0.25, most=4.0)

    assert allowance.earn(0.0, 4, 8) == 2.0
    assert allowance.earn(2.0, 4, 80) == 4.0
    assert allowance.earn(4.0, 4, 80) == 4.0


def test_a_share_of_nothing_allows_nothing() -> None:
    allowance = FetchAllowance(0.0)

    assert allowance.earn(0.0, 0, 1000) == 0.0
    assert allowance.saved(5.0, 0) == 0.0


@given(
    st.sampled_from([0.01, 0.1, 0.5, 1.0]),
    st.floats(1.0, 20.0),
    st.lists(st.integers(0, 50) | st.none(), max_size=300),
)
def test_it_is_never_overdrawn_and_never_overflows(share: float, most: float, told: list[int | None]) -> None:
    """Each is a number of successes, or None for an extra fetch."""
    allowance, earned, spent, successes = FetchAllowance(share, most), 0.0, 0, 0

    for each in told:
        if each is not None:
            successes += each
            earned = allowance.earn(earned, spent, each)
        elif allowance.saved(earned, spent) >= 1.0:
            spent += 1
        assert spent <= most + share * successes + 1e-6
        assert 0.0 <= allowance.saved(earned, spent) <= most + 1e-6


def test_what_was_saved_under_a_larger_allowance_is_not_taken_away_by_earning() -> None:
    assert FetchAllowance(0.1, most=2.0).earn(8.0, 0, 100) == pytest.approx(8.0)
