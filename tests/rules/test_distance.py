"""Fetches from one origin compared with probes of another, and a route's mean over its sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.distance import EXCESS_SECONDS, UNKNOWN, Sizes, Timing, Timings, measured_of, sizes_of
from shield.rules.ranking import SIZE_CLASSES, TYPICAL_BYTES, Measured

NOW = 50_000.0
SMALL = Sizes((1.0, 0.0, 0.0, 0.0), (1000.0, 0.0, 0.0, 0.0))
MIB = 1 << 20


def alike(timing: Timing) -> Timings:
    return [timing] * SIZE_CLASSES


def small(*timings: Timing, sizes: Sizes = SMALL, now: float = NOW) -> list[float | None]:
    """First bytes of origins with these timings in each size class."""
    found = measured_of({f"o{at}": alike(each) for at, each in enumerate(timings)}, sizes, now, penalties={})
    return [each.first_byte for each in found.values()]


def test_what_is_not_measured_stays_as_it_was() -> None:
    known = Timing(0.1, False, 0.04, NOW, 0.06, 1e6)

    assert known.after(fetched=None, probed=None, goodput=None, now=NOW + 9) == known
    assert UNKNOWN.after(fetched=None, probed=None, goodput=None, now=NOW) == UNKNOWN


@pytest.mark.parametrize(
    ("fetched", "probed", "after"),
    [
        (0.09, None, Timing(0.09, False, 0.04, NOW, 0.06, 1e6)),
        (None, 0.05, Timing(0.05, True, 0.04, NOW, 0.06, 1e6)),
        (0.09, 0.03, Timing(0.09, False, pytest.approx(0.06), NOW + 9, 0.03, 1e6)),  # type: ignore[arg-type]
    ],
)
def test_fetches_count_before_probes_and_both_tell_the_excess(
    fetched: float | None, probed: float | None, after: Timing
) -> None:
    assert (
        Timing(0.1, False, 0.04, NOW, 0.06, 1e6).after(fetched=fetched, probed=probed, goodput=None, now=NOW + 9)
        == after
    )


def test_an_origin_that_is_only_probed_is_compared_by_what_fetches_take_longer() -> None:
    near = Timing(0.080, False, 0.050, NOW)  # its probes take 30 ms
    far = Timing(0.070, True)

    assert small(near, far) == [0.080, pytest.approx(0.120)]
    assert small(near, Timing(0.020, True)) == [0.080, pytest.approx(0.040)], "twice the time of its probes at most"
    assert small(far) == [0.070]
    assert small(Timing(0.080, False, -0.5, NOW), far) == [0.080, pytest.approx(0.035)], "never less than half"


def test_an_excess_of_its_own_is_remembered_and_fades() -> None:
    was_cold = Timing(0.020, True, 0.180, NOW)
    near = Timing(0.080, False, 0.001, NOW)

    assert small(near, was_cold)[1] == pytest.approx(0.200)
    assert small(near, was_cold, now=NOW + EXCESS_SECONDS)[1] == pytest.approx(0.020 + 0.180 / math.e)
    assert small(near, was_cold, now=NOW - 5.0)[1] == pytest.approx(0.200)


def test_an_excess_shrinks_as_the_probes_get_faster_but_does_not_grow() -> None:
    def after(probed: float) -> float | None:
        return small(Timing(probed, True, 0.100, NOW, 0.200))[0]

    assert after(0.200) == pytest.approx(0.300)
    assert after(0.020) == pytest.approx(0.030)
    assert after(0.400) == pytest.approx(0.500)


def test_a_size_class_without_measurements_is_like_the_nearest_one_that_has_some() -> None:
    some = [UNKNOWN, Timing(0.1), UNKNOWN, Timing(0.4)]

    def of_class(each: int, timings: Timings) -> float | None:
        shares = tuple([float(at == each) for at in range(SIZE_CLASSES)])
        found = measured_of({"a": timings}, Sizes(shares, shares), NOW, penalties={})
        return found["a"].first_byte

    assert [of_class(each, some) for each in range(SIZE_CLASSES)] == [0.1, 0.1, 0.1, 0.4]
    assert of_class(0, alike(UNKNOWN)) is None
    probed = [Timing(0.02, True), Timing(0.09, False, 0.07, NOW), Timing(0.02, True), Timing(0.02, True)]
    assert of_class(0, probed) == pytest.approx(0.09)


def test_a_route_s_sizes_count_by_their_shares() -> None:
    sizes = sizes_of([30, 0, 10, 0], [30_000, 0, 40 * MIB, 0])
    timings = [Timing(0.04), Timing(0.05), Timing(0.20, goodput=8.0 * MIB), Timing(0.9)]

    found = measured_of({"a": timings}, sizes, NOW, penalties={"a": 0.3}, out=["a"])["a"]

    assert sizes.expected == pytest.approx(0.75 * 1000 + 0.25 * 4 * MIB)
    assert found.first_byte == pytest.approx(0.75 * 0.04 + 0.25 * 0.20)
    assert found.goodput is not None
    assert sizes.expected / found.goodput == pytest.approx(0.25 * 4 / 8 + 0.75 * 1000 / (8 * MIB))
    assert (found.penalty, found.is_out) == (0.3, True)


def test_a_route_without_responses_has_typical_ones() -> None:
    assert sizes_of([0] * SIZE_CLASSES, [0] * SIZE_CLASSES).expected == TYPICAL_BYTES


def test_an_unknown_goodput_is_neither_an_advantage_nor_a_drawback() -> None:
    large = Sizes((0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 4.0 * MIB, 0.0))
    known, other = alike(Timing(0.1, goodput=1e7)), alike(Timing(0.1, goodput=4e6))
    of_small_bodies = [UNKNOWN, Timing(0.1, goodput=1e5), Timing(0.1), Timing(0.1)]

    def goodputs(*timings: Timings) -> Sequence[float | None]:
        found = measured_of({f"o{at}": each for at, each in enumerate(timings)}, large, NOW, penalties={})
        return [None if each.goodput is None else round(each.goodput) for each in found.values()]

    assert goodputs(known, other, alike(Timing(0.1))) == [1e7, 4e6, 1e7]
    assert goodputs(known, of_small_bodies) == [1e7, 1e7]
    assert goodputs(alike(Timing(0.1))) == [None]


seconds = st.just(0.0) | st.floats(0.001, 10.0)
timing = st.builds(
    Timing,
    seconds,
    st.booleans(),
    st.floats(-5.0, 5.0),
    st.just(0.0) | st.floats(1.0, NOW),
    seconds,
    st.just(0.0) | st.floats(1e3, 1e9),
)
of_all = st.lists(timing, min_size=SIZE_CLASSES, max_size=SIZE_CLASSES)


@given(
    st.dictionaries(st.sampled_from("abcd"), of_all, max_size=4),
    st.lists(st.integers(0, 1000), min_size=SIZE_CLASSES, max_size=SIZE_CLASSES),
)
def test_every_origin_has_a_measurement_that_makes_sense(timings: dict[str, Timings], counts: list[int]) -> None:
    sizes = sizes_of(counts, [count * 1000 for count in counts])

    found = measured_of(timings, sizes, NOW, penalties={})

    assert found.keys() == timings.keys()
    for name, each in found.items():
        assert isinstance(each, Measured)
        is_known = any(value.first_byte for value in timings[name])
        assert (each.first_byte is not None and each.first_byte > 0.0) == is_known
        assert each.goodput is None or each.goodput > 0.0
