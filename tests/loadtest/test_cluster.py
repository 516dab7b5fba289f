"""The numbers on a cluster are computed with the real code, and say what they should."""

from __future__ import annotations

import asyncio

import pytest

from loadtest.cluster.fanout import directly
from loadtest.cluster.herd import herd
from loadtest.cluster.hot import hot_keys
from loadtest.cluster.popularity import distinct
from loadtest.cluster.shares import balance, movement


def test_shares_follow_weights_and_only_those_of_a_changed_node_move() -> None:
    two = {"a": 1.0, "b": 3.0}

    found, moved = balance(two, 10**8), movement(two, {**two, "c": 1.0})

    assert 0.95 < found.least <= found.greatest < 1.05
    assert moved.needless == 0 and moved.moved == pytest.approx(0.2, abs=0.02)


def test_hot_copies_take_load_off_the_busiest_owner() -> None:
    without, with_copies = [
        hot_keys(5, 10**8, exponent=1.1, rate=10_000.0, requests=5_000, with_copies=copies)
        for copies in (False, True)
    ]

    assert with_copies.busiest < without.busiest
    assert with_copies.crossing < without.crossing == pytest.approx(0.8, abs=0.05)


def test_distinct_keys_are_those_that_a_count_gives() -> None:
    assert distinct(100, 0.9, 1_000_000) == pytest.approx(100, rel=0.03)
    assert distinct(10**8, 0.9, 1) == pytest.approx(1, rel=0.05)


def test_a_cluster_asks_the_origin_less_than_nodes_by_themselves() -> None:
    shared, alone = [
        herd(10, 10**6, exponent=0.9, rate=1000.0, cold=0.25, bears=200, seconds=5.0, shared=shared)
        for shared in (True, False)
    ]

    assert shared.fetches < alone.fetches


def test_a_purge_reaches_all_nodes() -> None:
    found = asyncio.run(directly(3, 2))

    assert found.messages >= 2
