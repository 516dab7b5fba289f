"""When a failed fetch of a large object's next bytes is retried, and when it isn't."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.errors import Fault, OriginError
from shield.rules.attempts import THROTTLED_SECONDS, TRANSIENT_SECONDS
from shield.rules.persistence import (
    FORGIVEN_BYTES,
    GROWTH,
    MOST_IN_A_ROW,
    STRIKES,
    Breaks,
    continues_at,
    may_pass,
    next_wait,
)


def errors(*faults: Fault, status: int | None = None, retry_after: float | None = None) -> list[OriginError]:
    return [OriginError("fra", fault, "", status=status, retry_after=retry_after) for fault in faults]


PASSING = [
    Fault.SERVER,
    Fault.THROTTLED,
    Fault.OVER_LIMIT,
    Fault.RESET,
    Fault.CONNECT,
    Fault.RESOLVE,
    Fault.CONNECT_TIMEOUT,
    Fault.POOL_TIMEOUT,
    Fault.FIRST_BYTE_TIMEOUT,
    Fault.TOTAL_TIMEOUT,
]
LASTING = [Fault.REFUSED, Fault.MALFORMED, Fault.AUTH, Fault.COLD, Fault.DIFFERS, Fault.TLS, Fault.TOO_LARGE]


@pytest.mark.parametrize("fault", PASSING)
def test_an_origin_that_stumbles_or_is_late_may_answer_the_next_time(fault: Fault) -> None:
    assert may_pass(errors(fault))
    assert may_pass(errors(Fault.DIFFERS, fault)), "though a copy elsewhere is of no use"


@pytest.mark.parametrize("fault", LASTING)
def test_an_answer_that_will_be_the_same_the_next_time_is_final(fault: Fault) -> None:
    assert not may_pass(errors(fault))


@pytest.mark.parametrize("fault", [Fault.VALIDATOR, Fault.FORBIDDEN])
def test_another_version_or_a_refused_object_is_final_whoever_else_stumbles(fault: Fault) -> None:
    assert not may_pass(errors(Fault.SERVER, fault))


def test_what_an_origin_will_never_do_is_final() -> None:
    assert not may_pass(errors(Fault.SERVER, status=501))
    assert may_pass(errors(Fault.SERVER, status=503))


def test_no_answer_for_lack_of_time_may_be_one_the_next_time() -> None:
    assert may_pass([])


def test_waits_grow_and_are_spread_by_chance_until_it_is_no_use() -> None:
    waits = [next_wait(errors(Fault.SERVER), strikes, left=100.0, chance=1.0) for strikes in range(1, STRIKES)]
    early = next_wait(errors(Fault.SERVER), 1, left=100.0, chance=0.0)

    assert waits == [TRANSIENT_SECONDS * GROWTH**number for number in range(STRIKES - 1)]
    assert early == TRANSIENT_SECONDS / 2
    assert next_wait(errors(Fault.SERVER), STRIKES, left=100.0, chance=0.0) is None


def test_an_origin_that_is_asked_too_much_is_left_alone_for_longer_unless_another_only_stumbles() -> None:
    assert next_wait(errors(Fault.THROTTLED), 1, left=9.0, chance=1.0) == THROTTLED_SECONDS
    assert next_wait(errors(Fault.THROTTLED, Fault.SERVER), 1, left=9.0, chance=1.0) == TRANSIENT_SECONDS


def test_the_time_that_an_origin_asks_for_is_given_if_it_is_there() -> None:
    busy = errors(Fault.SERVER, status=503, retry_after=3.0)

    assert next_wait(busy, 1, left=10.0, chance=1.0) == 3.0 + TRANSIENT_SECONDS
    assert next_wait(busy, 1, left=3.0, chance=0.0) is None
    assert next_wait([], 1, left=0.0, chance=0.0) is None


@pytest.mark.parametrize(
    ("fault", "names"),
    [
        (Fault.SHORT_BODY, ["a", "b", "c"]),
        (Fault.RESET, ["a", "b", "c"]),
        (Fault.BETWEEN_BYTES_TIMEOUT, ["a", "c", "b"]),  # its own one last
        (Fault.TOTAL_TIMEOUT, ["a", "c"]),
        (Fault.MALFORMED, []),
        (Fault.CANCELLED, []),  # the origin is sound
        (Fault.VALIDATOR, []),
    ],
)
def test_a_body_continues_where_that_makes_sense(fault: Fault, names: list[str]) -> None:
    assert list(continues_at(fault, ("a", "b", "c"), "b")) == names


def test_a_single_origin_is_asked_again_unless_it_was_slow_for_too_long() -> None:
    assert list(continues_at(Fault.BETWEEN_BYTES_TIMEOUT, ("a",), "a")) == ["a"]
    assert list(continues_at(Fault.TOTAL_TIMEOUT, ("a",), "a")) == []


@given(st.lists(st.integers(0, FORGIVEN_BYTES - 1), min_size=MOST_IN_A_ROW + 1, max_size=20))
def test_a_body_that_breaks_off_within_little_is_given_up(places: list[int]) -> None:
    breaks = Breaks()
    answers = [breaks.may_continue(place) for place in sorted(places)]

    assert answers == [number < MOST_IN_A_ROW for number in range(len(places))]


def test_breaks_are_forgiven_by_what_comes_between_them() -> None:
    breaks = Breaks()

    assert all(breaks.may_continue(number * FORGIVEN_BYTES) for number in range(50))


def test_one_that_got_no_place_in_time_waits_for_one_again_at_once() -> None:
    over = errors(Fault.OVER_LIMIT, retry_after=60.0)

    assert next_wait(over, 1, left=10.0, chance=1.0) == TRANSIENT_SECONDS
