"""The order of origins: by settings, by cost, and the patience before the first place changes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.prices import GB, Price
from shield.rules.ranking import (
    BETTER_SECONDS,
    HOLD_SECONDS,
    MOST_RANKED,
    THROTTLED_SHARE,
    TYPICAL_BYTES,
    Hold,
    Measured,
    OriginFacts,
    OriginPlace,
    Placing,
    Strategy,
    by_cost,
    drawn,
    incomparable,
    order_of,
    seed_of,
    size_class,
    throttle_penalty,
    usual_strategy,
)

FRA, IAD, SGP = OriginFacts("fra", is_primary=True), OriginFacts("iad"), OriginFacts("sgp")
ALL = (IAD, FRA, SGP)
BY_SETTINGS = [strategy for strategy in Strategy if strategy is not Strategy.NEAREST]
MIB = 1 << 20

weights = st.lists(st.floats(0.0, 1000.0), min_size=1, max_size=6)
times = st.floats(0.001, 10.0)
measurements = st.builds(
    Measured,
    first_byte=st.none() | times,
    goodput=st.none() | st.floats(1e4, 1e9),
    penalty=st.floats(0.0, 5.0),
    is_out=st.booleans(),
)


def names(places: Sequence[OriginPlace]) -> list[str]:
    return [place.name for place in places]


def known(first_byte: float, **more: float) -> Measured:
    return Measured(first_byte, **more)  # type: ignore[arg-type]


def seeds(count: int) -> list[int]:
    return [seed_of(xxhash.xxh3_128_digest(b"/images/%d.webp" % number)) for number in range(count)]


def test_ordered_is_as_listed_and_primary_first_moves_the_primary_alone() -> None:
    assert names(order_of(Strategy.ORDERED, ALL)) == ["iad", "fra", "sgp"]

    found = order_of(Strategy.PRIMARY_FIRST, ALL)
    assert names(found) == ["fra", "iad", "sgp"]
    assert [place.placing for place in found] == [Placing.PRIMARY, Placing.LISTED, Placing.LISTED]


def test_cheapest_is_by_price_and_as_listed_where_prices_are_equal() -> None:
    dear, cheap, free = Price(0.09, 0.0004), Price(0.01), Price(0.0, 0.00036)
    origins = [replace(IAD, price=dear), replace(FRA, price=cheap), replace(SGP, price=free)]

    assert names(order_of(Strategy.CHEAPEST, origins)) == ["sgp", "fra", "iad"]
    assert names(order_of(Strategy.CHEAPEST, [replace(each, price=cheap) for each in ALL])) == ["iad", "fra", "sgp"]
    assert names(order_of(Strategy.CHEAPEST, [IAD, replace(FRA, price=dear)])) == ["fra", "iad"]


def test_requests_decide_where_bytes_are_free() -> None:
    one, other = Price(0.0, 0.00036), Price(0.0001, 0.0)

    assert one.of(TYPICAL_BYTES) > other.of(TYPICAL_BYTES)
    assert one.of(GB) < other.of(GB)


@pytest.mark.parametrize("strategy", BY_SETTINGS)
@given(listed=weights, seed=st.integers(0, 2**64 - 1))
def test_no_order_leaves_an_origin_out(strategy: Strategy, listed: list[float], seed: int) -> None:
    origins = [OriginFacts(f"o{at}", weight=weight) for at, weight in enumerate(listed)]

    assert sorted(names(order_of(strategy, origins, seed))) == sorted(origin.name for origin in origins)


def test_nearest_is_as_listed_until_something_is_measured() -> None:
    assert {place.placing for place in order_of(Strategy.NEAREST, ALL)} == {Placing.UNMEASURED}
    assert (
        names(order_of(Strategy.NEAREST, ALL))
        == names(by_cost(ALL, {}, size=1, exchange=0.0))
        == [
            "iad",
            "fra",
            "sgp",
        ]
    )


@pytest.mark.parametrize(
    ("origins", "strategy"),
    [
        (ALL, Strategy.ORDERED),
        ((IAD, replace(FRA, price=Price(0.0))), Strategy.NEAREST),
        ((IAD, replace(FRA, max_lag=0.0)), Strategy.NEAREST),
        ((replace(FRA, price=Price(0.09)),), Strategy.ORDERED),
        ([replace(IAD, name=f"o{at}", price=Price(1.0)) for at in range(MOST_RANKED)], Strategy.NEAREST),
        ([replace(IAD, name=f"o{at}", price=Price(1.0)) for at in range(MOST_RANKED + 1)], Strategy.ORDERED),
    ],
)
def test_without_a_word_origins_are_ordered_by_cost_once_they_differ(
    origins: Sequence[OriginFacts], strategy: Strategy
) -> None:
    assert usual_strategy(origins) is strategy


def test_prices_compare_if_all_have_one_in_one_currency() -> None:
    dollars, euros = replace(IAD, price=Price(0.09)), replace(FRA, price=Price(0.01, currency="EUR"))

    assert incomparable([dollars, dollars]) == ""
    assert incomparable([dollars, SGP]) == "sgp has no price"
    assert incomparable([dollars, euros]) == "its origins' prices are in EUR and USD"


def test_weights_are_shares_of_keys() -> None:
    listed = ["a", "b", "c"]
    count = 20_000

    first = Counter(drawn(listed, [50.0, 30.0, 20.0], seed)[0] for seed in seeds(count))

    assert {name: round(first[name] / count, 2) for name in listed} == {"a": 0.5, "b": 0.3, "c": 0.2}


def test_an_origin_without_weight_comes_last_and_the_same_key_has_the_same_order() -> None:
    for seed in seeds(200):
        order = drawn(["z", "a", "b"], [0.0, 1.0, 1000.0], seed)
        assert order[-1] == "z"
        assert order == drawn(["z", "a", "b"], [0.0, 1.0, 1000.0], seed)


@given(listed=st.lists(st.floats(1.0, 100.0), min_size=2, max_size=5), seed=st.integers(0, 2**64 - 1))
def test_an_origin_that_comes_takes_keys_and_moves_no_others(listed: list[float], seed: int) -> None:
    every = [f"o{at}" for at in range(len(listed))]

    before, after = drawn(every[:-1], listed[:-1], seed), drawn(every, listed, seed)

    assert [name for name in after if name != every[-1]] == list(before)


def test_a_growing_weight_only_takes_keys() -> None:
    listed = ["a", "b"]

    for seed in seeds(500):
        if drawn(listed, [10.0, 90.0], seed)[0] == "a":
            assert drawn(listed, [20.0, 90.0], seed)[0] == "a"


def test_the_cost_is_time_money_and_penalty() -> None:
    near = replace(IAD, price=Price(0.09))
    measured = {"iad": known(0.04, goodput=10e6), "fra": known(0.11), "sgp": known(0.2, penalty=5.0)}

    places = by_cost([near, FRA, SGP], measured, size=MIB, exchange=500.0)

    cost = places[-2].cost
    assert names(places) == ["fra", "iad", "sgp"] and cost is not None
    assert cost.first_byte == 0.04
    assert cost.transfer == pytest.approx(MIB / 10e6)
    assert cost.money == pytest.approx(500.0 * 0.09 * MIB / GB)
    assert places[-1].cost is not None and places[-1].cost.penalty == 5.0
    assert str(places[0]) == "fra: by cost of 110.0 ms (first byte 110.0)"
    assert names(by_cost([near, FRA], measured, size=MIB, exchange=0.0)) == ["fra", "iad"]
    assert names(by_cost([near, FRA], measured, size=1000, exchange=0.0)) == ["iad", "fra"]


def test_at_equal_cost_the_primary_is_first() -> None:
    assert names(by_cost([IAD, FRA], {"iad": known(0.04), "fra": known(0.04)}, size=1, exchange=0.0)) == [
        "fra",
        "iad",
    ]


def test_the_unmeasured_come_behind_and_what_is_out_comes_last() -> None:
    measured = {"iad": replace(known(0.001), is_out=True), "sgp": known(3.0)}

    places = by_cost(ALL, measured, size=1, exchange=0.0)

    assert [(place.name, place.placing) for place in places] == [
        ("sgp", Placing.COST),
        ("fra", Placing.UNMEASURED),
        ("iad", Placing.OUT),
    ]
    assert names(by_cost(ALL, {}, size=1, exchange=0.0)) == ["iad", "fra", "sgp"]
    assert names(by_cost(ALL, {"sgp": Measured(goodput=1e9)}, size=1, exchange=0.0)) == [
        "iad",
        "fra",
        "sgp",
    ]


@given(st.lists(measurements, min_size=1, max_size=5), st.integers(0, 1 << 30), st.floats(0.0, 1e4))
def test_an_order_by_cost_has_all_and_is_sorted(measured: list[Measured], size: int, exchange: float) -> None:
    origins = [OriginFacts(f"o{at}", price=Price(0.01 * at)) for at in range(len(measured))]

    places = by_cost(origins, {f"o{at}": each for at, each in enumerate(measured)}, size=size, exchange=exchange)

    assert sorted(names(places)) == sorted(origin.name for origin in origins)
    costs = [place.cost.total for place in places if place.placing is Placing.COST and place.cost is not None]
    assert costs == sorted(costs)
    ranks = [[Placing.COST, Placing.UNMEASURED, Placing.OUT].index(place.placing) for place in places]
    assert ranks == sorted(ranks)


def placed(**first_bytes: float) -> tuple[OriginPlace, ...]:
    """An order by cost of origins with these medians; a negative one is out."""
    measured = {name: replace(known(abs(value)), is_out=value < 0) for name, value in first_bytes.items()}
    return by_cost([OriginFacts(name) for name in first_bytes], measured, size=0, exchange=0.0)


def test_the_first_place_changes_only_after_another_was_clearly_better_for_some_time() -> None:
    hold, order = Hold().step(placed(a=0.100, b=0.200), 0.0)
    assert names(order) == ["a", "b"]

    hold, order = hold.step(placed(a=0.100, b=0.050), 10.0)
    assert names(order) == ["a", "b"] and order[0].placing is Placing.KEPT
    assert "b would cost 50.0 ms" in str(order[0])
    hold, order = hold.step(placed(a=0.100, b=0.050), 10.0 + HOLD_SECONDS - 0.1)
    assert names(order) == ["a", "b"]
    hold, order = hold.step(placed(a=0.100, b=0.050), 10.0 + HOLD_SECONDS)
    assert names(order) == ["b", "a"] and hold.order == ("b", "a")


def test_so_do_the_other_places_and_the_best_of_those_that_may_move_goes_first() -> None:
    hold, order = Hold().step(placed(a=0.010, b=0.100, c=0.200), 0.0)

    hold, order = hold.step(placed(a=0.010, b=0.100, c=0.050), 1.0)
    assert names(order) == ["a", "b", "c"] and order[1].placing is Placing.KEPT
    hold, order = hold.step(placed(a=0.010, b=0.100, c=0.050), 1.0 + HOLD_SECONDS)
    assert names(order) == ["a", "c", "b"]
    for now in (100.0, 100.0 + HOLD_SECONDS):
        hold, order = hold.step(placed(a=0.900, b=0.100, c=0.200), now)
    assert names(order)[0] == "b"
    hold, order = hold.step(placed(a=0.900, b=0.100, c=0.200), 101.0 + HOLD_SECONDS)
    assert names(order) == ["b", "c", "a"]


def test_an_interruption_begins_the_time_anew() -> None:
    hold, _ = Hold().step(placed(a=0.100, b=0.200), 0.0)
    for now, b in ((1.0, 0.05), (20.0, 0.09), (21.0, 0.05), (32.0, 0.05)):
        hold, order = hold.step(placed(a=0.100, b=b), now)
        assert names(order)[0] == "a"
    hold, order = hold.step(placed(a=0.100, b=0.05), 21.0 + HOLD_SECONDS)
    assert names(order)[0] == "b"


@pytest.mark.parametrize(
    ("a", "b", "changes"),
    [
        (0.100, 0.081, False),  # less than a fifth
        (0.100, 0.080, True),
        (0.020, 0.010001, False),  # half, but less than ten milliseconds
        (0.020, 0.020 - BETTER_SECONDS, True),
    ],
)
def test_clearly_better_is_a_share_and_an_amount(a: float, b: float, changes: bool) -> None:
    hold, _ = Hold().step(placed(a=a, b=9.0), 0.0)
    for now in (1.0, 1.0 + HOLD_SECONDS):
        hold, order = hold.step(placed(a=a, b=b), now)

    assert (names(order)[0] == "b") == changes


@pytest.mark.parametrize(
    ("replica", "primary", "first"),
    [(0.050, 0.050, "fra"), (0.050, 0.051, "iad"), (0.045, 0.050, "fra"), (0.050, 0.045, "fra"), (0.01, 0.05, "iad")],
)
def test_the_primary_is_before_a_replica_that_is_not_clearly_better_and_takes_that_place_at_equal_cost(
    replica: float, primary: float, first: str
) -> None:
    def ranked(iad: float, fra: float) -> tuple[OriginPlace, ...]:
        return by_cost([IAD, FRA], {"iad": known(iad), "fra": known(fra)}, size=0, exchange=0.0)

    began_behind = (replica, primary) == (0.050, 0.051)
    hold, _ = Hold(("iad", "fra") if began_behind or replica == primary else ("fra", "iad")).step(ranked(1, 2), 0.0)
    for now in (1.0, 1.0 + HOLD_SECONDS):
        hold, order = hold.step(ranked(replica, primary), now)

    assert names(order)[0] == first


def test_a_measured_origin_passes_one_that_is_not_after_the_same_time() -> None:
    hold = Hold(("a", "b"))
    ranked = by_cost([OriginFacts("a"), OriginFacts("b")], {"b": known(9.0)}, size=0, exchange=0.0)

    hold, order = hold.step(ranked, 0.0)
    assert names(order) == ["a", "b"]
    hold, order = hold.step(ranked, HOLD_SECONDS)
    assert names(order) == ["b", "a"]


def test_an_origin_that_is_out_is_last_and_its_place_is_kept_for_its_return() -> None:
    hold, _ = Hold().step(placed(a=0.010, b=0.200, c=0.300), 0.0)

    for now in (1.0, 1.0 + 2 * HOLD_SECONDS):
        hold, order = hold.step(placed(a=-0.010, b=0.200, c=0.300), now)
        assert names(order) == ["b", "c", "a"] and order[-1].placing is Placing.OUT
        assert hold.order == ("a", "b", "c")
    hold, order = hold.step(placed(a=0.010, b=0.200, c=0.300), 100.0)
    assert names(order) == ["a", "b", "c"]
    gone, order = hold.step(placed(b=0.200, c=0.300), 101.0)
    assert names(order) == ["b", "c"] and gone.order == ("b", "c")


@given(st.integers(0, 2**32), st.floats(0.02, 2.0))
def test_noise_of_a_tenth_never_changes_the_first_place(seed: int, median: float) -> None:
    chance = random.Random(seed)
    hold, _ = Hold().step(placed(a=median, b=2 * median), 0.0)

    for second in range(1, 300):
        a, b = (median * chance.uniform(0.9, 1.1) for _ in "ab")
        hold, order = hold.step(placed(a=a, b=b), float(second))
        assert names(order) == ["a", "b"]


costs = st.dictionaries(st.sampled_from("abcd"), times | times.map(lambda value: -value), min_size=1)


@given(st.lists(st.tuples(st.floats(0.1, 10.0), costs), max_size=60))
def test_an_order_has_all_and_no_origin_passes_another_before_its_time(
    steps: list[tuple[float, dict[str, float]]],
) -> None:
    hold, now = Hold(), 0.0
    better_since: dict[tuple[str, str], float] = {}
    for wait, found in steps:
        now += wait
        before = hold.order
        hold, order = hold.step(placed(**found), now)

        assert sorted(names(order)) == sorted(hold.order) == sorted(found)
        places = [place.placing is Placing.OUT for place in order]
        assert places == sorted(places)
        pairs = [(b, a) for at, a in enumerate(before) for b in before[at + 1 :] if {a, b} <= found.keys()]
        better = {pair for pair in pairs if found[pair[0]] > 0 and found[pair[0]] < found[pair[1]]}
        better_since = {pair: better_since.get(pair, now) for pair in better}
        for b, a in pairs:
            if hold.order.index(b) < hold.order.index(a):
                assert (b, a) in better and now - better_since[b, a] >= HOLD_SECONDS
                better_since.pop((b, a))


@given(costs.filter(lambda found: all(value > 0 for value in found.values())), st.permutations("abcd"))
def test_an_order_settles_so_that_nobody_is_clearly_better_than_one_before(
    found: dict[str, float], order: list[str]
) -> None:
    hold = Hold(tuple(order))
    for step in range(12):
        hold, places = hold.step(placed(**found), step * HOLD_SECONDS)

    totals = [place.cost.total for place in places if place.cost is not None]
    for at, total in enumerate(totals):
        for later in totals[at + 1 :]:
            assert total - later < max(BETTER_SECONDS, 0.2 * total)


def test_size_classes() -> None:
    assert [size_class(size) for size in (0, 64 << 10, (64 << 10) + 1, MIB, 16 * MIB, 1 << 40)] == [0, 0, 1, 1, 2, 3]


def test_throttling_costs_by_its_share_and_decays_with_time() -> None:
    assert throttle_penalty(THROTTLED_SHARE, 0.0, 0.0) == 0.0  # as large storages do at any time
    assert throttle_penalty(0.25, 0.0, 0.0) == pytest.approx(1.0)
    assert throttle_penalty(0.25, 3.0, 0.0) == 3.0
    assert throttle_penalty(0.0, 3.0, 10.0) == pytest.approx(3.0 / 2.718281828)
    assert throttle_penalty(0.0, 3.0, -1.0) == 3.0
