"""The order in which origins are tried, by their health."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.health import HELD_BACK, Flag, HealthRecord, HealthState
from shield.rules.positions import are_all_bad, order
from tests.rules.test_health import NOW, OPEN, RECOVERING, SUSPECT, TRIAL, UP

DRAINED, CORRUPT = replace(UP, flags=Flag.DRAINED), replace(UP, flags=Flag.CORRUPT)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({}, "abc"),
        ({"a": SUSPECT}, "bca"),
        ({"a": OPEN, "b": SUSPECT}, "cba"),
        ({"a": OPEN, "b": replace(OPEN, bad_since=NOW - 9.0), "c": SUSPECT}, "cba"),
        ({"a": OPEN, "b": TRIAL, "c": OPEN}, "abc"),
        ({"a": replace(RECOVERING, since=NOW), "c": OPEN}, "bac"),
        ({"a": replace(RECOVERING, since=NOW - 29.0)}, "abc"),
    ],
)
def test_the_least_bad_goes_first(states: dict[str, HealthRecord], expected: str) -> None:
    assert "".join(order("abc", states, 0.5, NOW)) == expected


records_of_any_kind = st.builds(
    HealthRecord,
    state=st.sampled_from(HealthState),
    since=st.floats(0.0, 2000.0),
    until=st.floats(0.0, 2000.0),
    bad_since=st.floats(0.0, 2000.0),
    times=st.integers(0, 100),
    flags=st.sampled_from([Flag.NONE, Flag.THROTTLED, Flag.AUTH, Flag.DRAINED, Flag.CORRUPT, HELD_BACK]),
)


@given(st.lists(records_of_any_kind, max_size=6), st.floats(0.0, 1.0), st.floats(0.0, 2000.0))
def test_an_order_has_each_origin_once_and_begins_with_a_good_one_if_there_is_any(
    records: list[HealthRecord], spot: float, now: float
) -> None:
    named = {f"o{place}": record for place, record in enumerate(records)}

    ordered = order(list(named), named, spot, now)

    assert sorted(ordered) == sorted(named)
    can_serve = [record for record in records if record.is_good and not record.flags & HELD_BACK]
    if can_serve:
        assert named[ordered[0]] in can_serve


@given(st.floats(0.0, 1.0), st.floats(0.0, 30.0), st.floats(0.0, 30.0))
def test_a_key_that_has_come_back_stays(spot: float, earlier: float, later: float) -> None:
    earlier, later = sorted((earlier, later))
    had = order("ab", {"a": RECOVERING}, spot, NOW + earlier)[0] == "a"

    assert not had or order("ab", {"a": RECOVERING}, spot, NOW + later)[0] == "a"


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({"a": DRAINED}, "bca"),
        ({"a": DRAINED, "b": SUSPECT, "c": replace(RECOVERING, since=NOW)}, "cba"),
        ({"a": DRAINED, "b": OPEN, "c": TRIAL}, "abc"),  # it works, and they don't
        ({"a": OPEN, "b": replace(OPEN, flags=Flag.DRAINED)}, "cab"),
        ({"a": CORRUPT, "b": OPEN, "c": DRAINED}, "cba"),
        ({"a": replace(RECOVERING, flags=Flag.DRAINED, since=NOW - 29.0)}, "bca"),
        ({"a": DRAINED, "b": DRAINED, "c": DRAINED}, "abc"),
        ({"a": replace(CORRUPT, flags=HELD_BACK), "b": CORRUPT, "c": OPEN}, "cab"),
    ],
)
def test_one_that_is_held_back_goes_behind_all_that_can_serve(states: dict[str, HealthRecord], expected: str) -> None:
    assert "".join(order("abc", states, 0.05, NOW)) == expected


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([SUSPECT, OPEN, TRIAL], True),
        ([OPEN, UP], False),
        ([OPEN, RECOVERING], False),
        ([OPEN, DRAINED], False),  # it works
        ([OPEN, CORRUPT], True),
        ([SUSPECT], True),
    ],
)
def test_all_are_bad_if_none_is_expected_to_give_anything(records: list[HealthRecord], expected: bool) -> None:
    assert are_all_bad(records) is expected
