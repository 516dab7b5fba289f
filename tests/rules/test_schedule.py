"""Which origin is asked when, and for how long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shield.errors import Fault
from shield.rules.schedule import Done, Schedule, Start, Wait


def test_each_origin_has_an_even_share_of_the_time_that_is_left() -> None:
    schedule = Schedule(("a", "b", "c"), deadline=109.0)

    assert schedule.next(100.0) == Start("a", 103.0)
    schedule.failed("a", Fault.MALFORMED, 101.0)
    assert schedule.next(101.0) == Start("b", 105.0)
    schedule.absent("b")
    assert schedule.next(108.0) == Start("c", 109.0)
    schedule.absent("c")
    assert schedule.next(108.5) == Done()


def test_nothing_is_started_while_an_answer_is_awaited() -> None:
    schedule = Schedule(("a", "b"), deadline=10.0)
    schedule.next(0.0)

    assert schedule.next(1.0) == Wait(5.0)


def test_it_is_over_once_an_origin_gave_the_object() -> None:
    schedule = Schedule(("a", "b"), deadline=10.0)
    schedule.next(0.0)
    schedule.fetched("a")

    assert schedule.next(0.1) == Done()


def test_it_is_over_when_time_is_up() -> None:
    schedule = Schedule(("a",), deadline=10.0)

    assert schedule.next(9.99) == Done()
    assert not schedule.asked_all


def test_without_origins_there_is_nothing_to_do() -> None:
    assert Schedule((), deadline=10.0).next(0.0) == Done()


def _play(schedule: Schedule, data: st.DataObject, *, deadline: float) -> list[Start]:
    """Carry a schedule out over origins that answer as they please; its attempts."""
    started: list[Start] = []
    now = 0.0
    for _ in range(100):
        step = schedule.next(now)
        if isinstance(step, Done):
            return started
        if isinstance(step, Wait):
            assert step.until > now, "it turns in circles"
            now = step.until
            continue
        assert now < deadline
        assert now < step.deadline <= deadline
        started.append(step)
        now += data.draw(st.floats(0.0, step.deadline - now))
        came = data.draw(st.sampled_from(["absent", "fetched", *Fault]))
        if came == "absent":
            schedule.absent(step.origin)
        elif came == "fetched":
            schedule.fetched(step.origin)
            assert schedule.next(now) == Done()
        else:
            assert isinstance(came, Fault)
            schedule.failed(step.origin, came, now)
    raise AssertionError("it doesn't end")


@given(st.integers(0, 5), st.floats(0.0, 30.0), st.data())
def test_it_ends_asks_each_origin_once_and_starts_nothing_after_the_deadline(
    count: int, deadline: float, data: st.DataObject
) -> None:
    order = "abcde"[:count]

    asked = [step.origin for step in _play(Schedule(order, deadline=deadline), data, deadline=deadline)]

    assert asked == list(order[: len(asked)])
