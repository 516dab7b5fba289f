"""Budgets that all workers share: one spends, all have less; successes of all fill them."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.records import Came, Records, Seen, private
from shield.rules.budget import FetchAllowance
from shield.shared import Shared

NOW = 10_000.0
TENTH, FIFTIETH = FetchAllowance(0.1, most=3.0), FetchAllowance(0.02, most=2.0)


def seen_by(records: Records, worker: int, name: bytes = b"fra") -> Seen:
    seen = records.of(worker, name)
    seen.allow(TENTH, FIFTIETH)
    return seen


def pair() -> tuple[Seen, Seen]:
    records = private(2)
    return seen_by(records, 0), seen_by(records, 1)


def succeed(seen: Seen, times: int) -> None:
    for _ in range(times):
        seen.succeeded(Came.OK, NOW, 0.02)


def test_workers_spend_from_one_budget() -> None:
    one, other = pair()

    assert [each.repeats.take() for each in (one, other, one, other, one)] == [True, True, True, False, False]
    assert one.repeats.saved == other.repeats.saved == 0.0


def test_budgets_of_one_origin_and_those_of_another_are_apart() -> None:
    records = private(2)
    fra, iad = seen_by(records, 0), seen_by(records, 1, b"iad")
    while fra.repeats.take():
        pass

    assert [fra.hedges.take(), fra.hedges.take(), fra.hedges.take()] == [True, True, False]
    assert iad.repeats.saved == 3.0


def test_successes_of_all_workers_fill_it_once_the_conductor_has_counted_them() -> None:
    one, other = pair()
    while one.repeats.take():
        pass
    succeed(one, 5)
    succeed(other, 15)

    assert one.repeats.saved == 0.0
    one.measure(NOW)
    other.measure(NOW)  # another conductor counts none twice
    assert one.repeats.saved == other.repeats.saved == pytest.approx(2.0)
    succeed(other, 1000)
    other.measure(NOW)
    assert one.repeats.saved == 3.0


def test_it_is_low_once_half_is_spent() -> None:
    one, other = pair()
    one.repeats.take()
    before = other.repeats.is_low

    one.repeats.take()

    assert (before, other.repeats.is_low) == (False, True)


def test_a_worker_that_is_replaced_leaves_what_it_has_spent() -> None:
    records = private(2)
    one = seen_by(records, 0)
    while one.repeats.take():
        pass
    succeed(one, 10)
    one.measure(NOW)
    one.repeats.take()

    again = seen_by(records, 0)

    assert again.repeats.saved == pytest.approx(0.0)
    succeed(again, 10)
    again.measure(NOW)
    assert again.repeats.saved == pytest.approx(1.0)


def test_an_origin_in_the_place_of_another_begins_with_a_full_budget() -> None:
    records = private(2)
    while seen_by(records, 0).repeats.take():
        pass
    records.free([])

    assert seen_by(records, 0, b"iad").repeats.saved == 3.0


def test_another_allowance_holds_from_then_on() -> None:
    one, _ = pair()
    one.allow(FetchAllowance(0.0), FetchAllowance(0.0))
    refused = one.repeats.take()
    one.allow(TENTH, FIFTIETH)

    assert (refused, one.repeats.take()) == (False, True)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["success", "measure", "repeat", "hedge"])), max_size=80)
)
def test_no_order_of_events_overdraws_it(events: list[tuple[int, str]]) -> None:
    records = private(3)
    workers = [seen_by(records, number) for number in range(3)]
    successes = repeats = hedges = 0

    for number, event in events:
        seen = workers[number]
        if event == "success":
            succeed(seen, 7)
            successes += 7
        elif event == "measure":
            seen.measure(NOW)
        elif event == "repeat":
            repeats += seen.repeats.take()
        else:
            hedges += seen.hedges.take()
        assert repeats <= 3.0 + 0.1 * successes + 1e-6
        assert hedges <= 2.0 + 0.02 * successes + 1e-6


def test_it_holds_across_processes() -> None:
    shared = Shared(workers=2, slots=1 << 10, log_bytes=1 << 10)
    try:
        mine = seen_by(shared.records, 0)
        pid = os.fork()
        if pid == 0:
            theirs = seen_by(shared.records, 1)
            theirs.repeats.take()
            theirs.repeats.take()
            os._exit(0)
        os.waitpid(pid, 0)

        assert [mine.repeats.take(), mine.repeats.take()] == [True, False]
    finally:
        shared.close()
