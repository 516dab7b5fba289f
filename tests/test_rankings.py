"""Orders of origins in memory that workers share, and the sizes of a route's responses."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rankings import PLACES, Rankings, private, size_for
from shield.rules.ranking import MOST_RANKED
from shield.shared import Shared


@given(st.integers(1, MOST_RANKED).flatmap(lambda count: st.permutations([f"o{at}" for at in range(count)])))
def test_an_order_is_the_same_for_all_workers(order: list[str]) -> None:
    rankings, names = private(2), sorted(order)
    one, other = rankings.of(0, b"default"), rankings.of(1, b"default")
    assert other.order(names) == tuple(names) and other.word == 0

    one.publish(order, names)

    assert other.order(names) == tuple(order) and other.word == one.word != 0


def test_different_orders_are_different_words() -> None:
    place, names = private().of(0, b"default"), ["a", "b", "c"]
    words = set()
    for order in itertools.permutations(names):
        place.publish(order, names)
        words.add(place.word)

    assert len(words) == 6


def test_sizes_are_those_of_all_workers() -> None:
    rankings = private(2)
    one, other = rankings.of(0, b"default"), rankings.of(1, b"default")
    one.own[0] += 2
    other.own[0] += 3
    other.own[1] += 1000

    assert one.sizes() == ([5, 0, 0, 0], [1000, 0, 0, 0])
    assert rankings.of(0, b"another").sizes() == ([0] * 4, [0] * 4)


def test_a_route_that_stays_keeps_its_place_and_one_in_the_place_of_another_begins_anew() -> None:
    rankings = private(2)
    for each in (rankings.of(0, b"default"), rankings.of(0, b"images")):
        each.publish(["b", "a"], ["a", "b"])
        each.own[0] = 7

    rankings.free([b"images"])
    kept, fresh = rankings.of(1, b"images"), rankings.of(1, b"video")

    assert kept.order(["a", "b"]) == ("b", "a") and kept.sizes()[0][0] == 7
    assert fresh.order(["a", "b"]) == ("a", "b") and fresh.sizes()[0][0] == 0


def test_more_routes_than_places_work_for_each_worker_alone() -> None:
    rankings = private(2)
    made = [rankings.of(0, b"%d" % number) for number in range(PLACES + 1)]

    made[-1].publish(["b", "a"], ["a", "b"])

    assert [each.is_shared for each in made] == [True] * PLACES + [False]
    assert made[-1].order(["a", "b"]) == ("b", "a")
    assert rankings.of(1, b"%d" % PLACES).order(["a", "b"]) == ("a", "b")


def test_they_are_part_of_the_memory_that_a_node_s_workers_share() -> None:
    shared = Shared(workers=2)
    try:
        shared.rankings.of(0, b"default").publish(["b", "a"], ["a", "b"])
        assert shared.rankings.of(1, b"default").order(["a", "b"]) == ("b", "a")
        assert shared.records.of(0, b"fra").record().times == 0
    finally:
        shared.close()


@pytest.mark.parametrize("workers", [1, 256])
def test_it_takes_no_more_memory_than_it_says(workers: int) -> None:
    memory = bytearray(size_for(workers))
    last = Rankings(memoryview(memory), workers=workers).of(workers - 1, b"default")

    last.own[-1] = 1

    assert size_for(256) < 2 << 20
