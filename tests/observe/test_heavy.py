from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shield.observe.heavy import HeavyHitters, Hitter, merged
from tests.depth import tries


def sketch(capacity: int = 8, *, seconds: float = 60.0) -> HeavyHitters:
    return HeavyHitters(by=0, size=2, capacity=capacity, seconds=seconds)


streams = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 100)), min_size=1, max_size=300)


@settings(max_examples=tries(100))
@given(stream=streams, capacity=st.integers(2, 40))
def test_sums_are_exact_to_within_their_error_and_no_great_one_is_missed(
    stream: list[tuple[int, int]], capacity: int
) -> None:
    hitters, exact = sketch(capacity), Counter[str]()

    for number, amount in stream:
        hitters.add(str(number), "", (amount, 1.0), 0.0)
        exact[str(number)] += amount

    found = {each.name: each for each in hitters.top(capacity, 0.0)}
    assert len(hitters) <= capacity
    for name, each in found.items():
        assert each.sums[0] <= exact[name] + 1e-6 <= each.sums[0] + each.error + 2e-6
        assert each.error <= exact.total() / capacity + 1e-6
    for name, total in exact.items():
        assert name in found or total <= exact.total() / capacity + 1e-6
    if len(exact) <= capacity:
        assert {name: round(each.sums[0]) for name, each in found.items()} == exact
        assert [each.error for each in found.values()] == [0.0] * len(found)


def test_the_largest_come_first_with_their_latest_example() -> None:
    hitters = sketch()
    for name, example, amount in (("a", "/a?1", 1.0), ("b", "/b", 5.0), ("a", "/a?2", 2.0)):
        hitters.add(name, example, (amount, 1.0), 0.0)

    top = hitters.top(5, 0.0)

    assert [(each.name, each.example, list(each.sums)) for each in top] == [
        ("b", "/b", [5, 1]),
        ("a", "/a?2", [3, 2]),
    ]
    assert [each.name for each in hitters.top(1, 0.0)] == ["b"]


def test_a_name_without_any_of_what_counts_takes_no_place_but_its_other_sums_grow() -> None:
    hitters = sketch()

    hitters.add("a", "", (0.0, 1.0), 0.0)
    hitters.add("b", "", (1.0, 1.0), 0.0)
    hitters.add("b", "", (0.0, 1.0), 0.0)

    assert [(each.name, list(each.sums)) for each in hitters.top(5, 0.0)] == [("b", [1, 2])]


@pytest.mark.parametrize("step", [1.0, 7.0, 601.0])
def test_a_steady_rate_is_seen_as_that_and_is_forgotten_afterwards(step: float) -> None:
    hitters, now = sketch(seconds=600.0), 0.0
    while now < 6000.0:
        now += step
        hitters.add("a", "", (3.0 * step, 1.0), now)

    rate = hitters.top(1, now)[0].sums[0] / hitters.covered(now)
    later = hitters.top(1, now + 13_000.0)

    if step < 600.0:
        assert rate == pytest.approx(3.0, rel=0.02)
    assert later[0].sums[0] < 1e-3


def test_soon_after_the_start_rates_are_over_the_time_so_far() -> None:
    hitters = sketch(seconds=60.0)
    for second in range(11):
        hitters.add("a", "", (5.0, 1.0), 1000.0 + second)

    assert hitters.top(1, 1010.0)[0].sums[0] / hitters.covered(1010.0) == pytest.approx(5.0, rel=0.15)


def test_what_has_passed_gives_way_to_what_is_there_now() -> None:
    hitters = sketch(4, seconds=10.0)
    for number in range(4):
        hitters.add(f"old-{number}", "", (1000.0, 1.0), 0.0)

    for second in range(60, 90):
        hitters.add("new", "", (10.0, 1.0), float(second))

    top = hitters.top(4, 90.0)
    assert top[0].name == "new" and top[0].sums[0] > 20 * top[1].sums[0]
    assert all(math.isfinite(each.sums[0]) for each in top)


def test_workers_add_up() -> None:
    one = [Hitter("a", "/1", [3.0, 1.0], 0.0), Hitter("b", "/b", [2.0, 1.0], 1.0)]
    other = [Hitter("b", "/b", [2.0, 1.0], 0.5), Hitter("c", "/c", [1.0, 1.0], 0.0)]

    found = merged([one, other], by=0, count=2)

    assert [(each.name, list(each.sums), each.error) for each in found] == [("b", [4, 2], 1.5), ("a", [3, 1], 0)]
