"""Which origin is tried when, and for how long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.errors import Fault
from shield.rules.budget import ALLOWANCE, RetryBudget
from shield.rules.schedule import THROTTLED_SECONDS, Done, Schedule, Start, Wait, is_transient


def schedule_of(
    order: str, *, deadline: float, share: float = 0.0, chance: Callable[[], float] = lambda: 0.5, **changes: float
) -> Schedule:
    """A schedule of origins with names of one letter."""
    budgets = {origin: RetryBudget(share) for origin in order}
    return Schedule(tuple(order), deadline=deadline, budgets=budgets, chance=chance, **changes)


# failover in order


def test_each_origin_has_an_even_share_of_the_time_that_is_left() -> None:
    schedule = schedule_of("abc", deadline=109.0)

    assert schedule.next(100.0) == Start("a", 103.0)
    schedule.failed("a", Fault.MALFORMED, 101.0)
    assert schedule.next(101.0) == Start("b", 105.0)
    schedule.absent("b")
    assert schedule.next(108.0) == Start("c", 109.0)
    schedule.absent("c")
    assert schedule.next(108.5) == Done()


def test_nothing_is_started_while_an_answer_is_awaited() -> None:
    schedule = schedule_of("ab", deadline=10.0)
    schedule.next(0.0)

    assert schedule.next(1.0) == Wait(5.0)


def test_it_is_over_once_an_origin_gave_the_object() -> None:
    schedule = schedule_of("ab", deadline=10.0)
    schedule.next(0.0)
    schedule.fetched("a")

    assert schedule.next(0.1) == Done()


def test_it_is_over_when_time_is_up() -> None:
    schedule = schedule_of("a", deadline=10.0)

    assert schedule.next(9.99) == Done()
    assert not schedule.asked_all


def test_without_origins_there_is_nothing_to_do() -> None:
    assert schedule_of("", deadline=10.0).next(0.0) == Done()


# once more


def test_an_origin_that_stumbled_is_asked_once_more_after_a_moment_at_random() -> None:
    schedule = schedule_of("a", deadline=10.0, share=0.1, chance=lambda: 0.4)
    schedule.next(0.0)
    schedule.failed("a", Fault.SERVER, 1.0, status=500)

    assert schedule.next(1.0) == Wait(1.02)
    assert schedule.next(1.02) == Start("a", 10.0)
    schedule.failed("a", Fault.SERVER, 2.0, status=500)
    assert schedule.next(2.0) == Done()


def test_all_others_are_asked_before_one_is_asked_again() -> None:
    schedule = schedule_of("ab", deadline=10.0, share=0.1)
    schedule.next(0.0)
    schedule.failed("a", Fault.SERVER, 0.1, status=500)

    assert schedule.next(0.1) == Start("b", 10.0)
    schedule.failed("b", Fault.RESET, 0.2)
    assert schedule.next(0.3) == Start("a", 0.3 + 9.7 / 2)
    schedule.failed("a", Fault.SERVER, 0.4, status=500)
    assert schedule.next(0.4) == Start("b", 10.0)


def test_one_whose_failure_lasts_is_not_asked_again_and_the_others_are() -> None:
    schedule = schedule_of("ab", deadline=10.0, share=0.1, chance=lambda: 0.0)
    schedule.next(0.0)
    schedule.failed("a", Fault.AUTH, 0.1, status=403)
    schedule.next(0.1)
    schedule.failed("b", Fault.SERVER, 0.2, status=503)

    assert schedule.next(0.2) == Start("b", 10.0)


@pytest.mark.parametrize(
    ("fault", "status", "passes"),
    [
        (Fault.SERVER, 500, True),
        (Fault.SERVER, 503, True),
        (Fault.SERVER, 408, True),
        (Fault.SERVER, 400, True),  # RequestTimeout
        (Fault.SERVER, 501, False),
        (Fault.THROTTLED, 429, True),
        (Fault.RESET, None, True),
        (Fault.CONNECT, None, True),
        (Fault.FIRST_BYTE_TIMEOUT, None, False),
        (Fault.AUTH, 403, False),
        (Fault.FORBIDDEN, 403, False),
        (Fault.VALIDATOR, 412, False),
        (Fault.REFUSED, 301, False),
        (Fault.CANCELLED, None, False),
    ],
)
def test_which_failures_pass(fault: Fault, status: int | None, passes: bool) -> None:
    assert is_transient(fault, status) is passes


def test_an_origin_that_is_asked_too_much_is_given_more_time() -> None:
    schedule = schedule_of("a", deadline=10.0, share=0.1, chance=lambda: 0.5)
    schedule.next(0.0)
    schedule.failed("a", Fault.THROTTLED, 1.0, status=503)

    assert schedule.next(1.0) == Wait(1.0 + THROTTLED_SECONDS / 2)


@pytest.mark.parametrize(
    ("retry_after", "step"), [(2.0, Wait(3.0)), (8.9, Wait(9.9)), (8.96, Done()), (60.0, Done())]
)
def test_the_time_that_an_origin_asks_for_is_heeded_if_it_fits_the_deadline(
    retry_after: float, step: Wait | Done
) -> None:
    schedule = schedule_of("a", deadline=10.0, share=0.1, chance=lambda: 0.0)
    schedule.next(0.0)
    schedule.failed("a", Fault.THROTTLED, 1.0, status=503, retry_after=retry_after)

    assert schedule.next(1.0) == step


def test_nobody_waits_longer_than_their_patience() -> None:
    schedule = schedule_of("a", deadline=10.0, share=0.1, chance=lambda: 0.0, patience=1.0)
    schedule.next(0.0)
    schedule.failed("a", Fault.THROTTLED, 1.0, status=503, retry_after=2.0)

    assert schedule.next(1.0) == Done()


def test_an_outage_is_not_multiplied() -> None:
    budgets = {"a": RetryBudget(0.1)}
    asked = 0

    for _ in range(1000):
        schedule = Schedule(("a",), deadline=10.0, budgets=budgets, chance=lambda: 0.0)
        while isinstance(schedule.next(0.0), Start):
            asked += 1
            schedule.failed("a", Fault.SERVER, 0.0, status=503)

    assert 1100 <= asked <= 1100 + ALLOWANCE


# whatever origins do


def _play(schedule: Schedule, data: st.DataObject, *, deadline: float) -> list[Start]:
    """Carry a schedule out over origins that answer as they please; its attempts."""
    started: list[Start] = []
    now = 0.0
    for _ in range(100):
        step = schedule.next(now)
        if isinstance(step, Done):
            assert schedule.next(now) == Done()
            return started
        if isinstance(step, Wait):
            assert step.until > now, "it turns in circles"
            now = step.until
            continue
        assert now < step.deadline <= deadline
        started.append(step)
        now = min(now + data.draw(st.floats(0.0, step.deadline - now)), step.deadline)
        came = data.draw(st.sampled_from(["absent", "fetched", *Fault]))
        if came == "absent":
            schedule.absent(step.origin)
        elif came == "fetched":
            schedule.fetched(step.origin)
            assert schedule.next(now) == Done()
        else:
            assert isinstance(came, Fault)
            after = data.draw(st.none() | st.floats(0.0, 40.0))
            schedule.failed(step.origin, came, now, retry_after=after)
    raise AssertionError("it doesn't end")


@given(st.integers(0, 5), st.floats(0.0, 30.0), st.sampled_from([0.0, 0.1, 1.0]), st.data())
def test_it_ends_and_starts_nothing_after_the_deadline_and_no_origin_more_than_twice(
    count: int, deadline: float, share: float, data: st.DataObject
) -> None:
    order = "abcde"[:count]
    schedule = schedule_of(order, deadline=deadline, share=share, chance=lambda: data.draw(st.floats(0.0, 1.0)))

    asked = [step.origin for step in _play(schedule, data, deadline=deadline)]

    first = asked[:count]
    assert first == list(order[: len(first)])
    assert max(Counter(asked).values(), default=0) <= (2 if share else 1)
    assert max(Counter(asked[count:]).values(), default=0) <= 1
