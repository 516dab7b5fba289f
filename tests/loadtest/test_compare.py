"""Verdicts on two versions, from costs that were measured in pairs."""

from __future__ import annotations

import pytest

from loadtest.compare import Verdict, judge


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        ([9.0, 9.1, 8.9, 9.2, 9.0, 9.1], Verdict.BETTER),
        ([11.0, 11.1, 10.9, 11.2, 11.0, 11.1], Verdict.WORSE),
        ([9.9, 9.95, 9.9, 9.9, 9.8, 9.9], Verdict.NOISE),  # sure, but too little
        ([8.0, 12.0, 8.0, 12.0, 8.0, 8.0], Verdict.NOISE),  # much, but not sure
        ([9.0, 9.0, 9.0, 9.0, 9.0], Verdict.NOISE),  # too few rounds
    ],
)
def test_a_difference_counts_if_it_is_large_enough_and_rounds_agree(after: list[float], verdict: Verdict) -> None:
    assert judge([10.0] * len(after), after).verdict is verdict


def test_noise_that_meets_both_of_a_round_alike_changes_nothing() -> None:
    before = [10.0, 20.0, 12.0, 30.0, 11.0, 10.0, 40.0]

    judged = judge(before, [cost * 0.8 for cost in before])

    assert judged.verdict is Verdict.BETTER
    assert judged.ratio == pytest.approx(0.8)
