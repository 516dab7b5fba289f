"""The number of retries that a budget allows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shield.rules.budget import ALLOWANCE, RetryBudget


def test_a_quiet_origin_can_be_asked_again_a_few_times() -> None:
    budget = RetryBudget(0.1)

    assert [budget.take() for _ in range(6)] == [True] * 5 + [False]


def test_ordinary_requests_earn_their_share() -> None:
    budget = RetryBudget(0.25)
    while budget.take():
        pass

    for _ in range(4):
        budget.earn()

    assert [budget.take(), budget.take()] == [True, False]


def test_a_share_of_nothing_allows_nothing() -> None:
    budget = RetryBudget(0.0)
    budget.earn()

    assert not budget.take()


@given(st.sampled_from([0.01, 0.1, 0.5, 1.0]), st.lists(st.booleans(), max_size=300))
def test_it_is_never_overdrawn(share: float, asks: list[bool]) -> None:
    budget = RetryBudget(share)
    ordinary = repeats = 0

    for is_repeat in asks:
        if is_repeat:
            repeats += budget.take()
        else:
            ordinary += 1
            budget.earn()
        assert repeats <= ALLOWANCE + share * ordinary + 1e-6
