from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shield.rules.floods import Allowance, control, missteps


def test_an_allowance_is_spent_in_steps() -> None:
    allowance = Allowance(3, per_second=0, now=0)

    assert [allowance.spend(1, 0) for _ in range(4)] == [True, True, True, False]


def test_what_is_earned_is_never_more_than_the_most() -> None:
    allowance = Allowance(3, per_second=0, now=0)
    allowance.earn(100)

    assert allowance.spend(3, 0)
    assert not allowance.spend(1, 0)


def test_time_gives_steps_back() -> None:
    allowance = Allowance(10, per_second=2, now=0)
    assert allowance.spend(10, 0)

    assert not allowance.spend(3, 1)
    assert allowance.spend(1, 2)


def test_a_clock_that_goes_back_gives_and_takes_nothing() -> None:
    allowance = Allowance(10, per_second=100, now=1000)
    assert allowance.spend(10, 500)

    assert not allowance.spend(1, 500)


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 100), st.floats(0, 5)), max_size=50))
def test_no_more_is_spent_than_was_there_was_earned_and_came_with_time(
    steps: list[tuple[float, float, float]],
) -> None:
    allowance, now, spent, given_back = Allowance(20, per_second=3, now=0), 0.0, 0.0, 20.0
    for waits, spends, earns in steps:
        now += waits
        given_back += 3 * waits
        if not allowance.spend(spends, now):
            return
        spent += spends
        assert spent <= given_back + 1e-6
        allowance.earn(earns)
        given_back += earns


def test_a_client_that_is_as_clients_are_never_comes_near_the_end() -> None:
    allowance, mistakes = control(0), missteps(0)
    for _ in range(100_000):  # a miss of 64 KiB: a window for each frame of 16 KiB, and one of the connection
        assert allowance.spend(8, 0)
        allowance.earn(10)
        assert mistakes.spend(0.9, 0)
        mistakes.earn(1)
