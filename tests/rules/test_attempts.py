"""Which origin is tried when, and for how long."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.errors import Fault
from shield.rules.attempts import (
    THROTTLED_SECONDS,
    Contender,
    Done,
    Extra,
    Schedule,
    Start,
    Wait,
    is_transient,
    patience,
)


class Purse:
    """A budget of so many extra fetches."""

    def __init__(self, saved: int) -> None:
        self.saved = saved

    def take(self) -> bool:
        if self.saved:
            self.saved -= 1
            return True
        return False


class HedgeAt(Purse):
    """Hedges, which are due at a time."""

    def __init__(self, at: float, saved: int = 1) -> None:
        super().__init__(saved)
        self.at = at


def schedule_of(
    order: str,
    *,
    deadline: float,
    saved: int = 0,
    chance: Callable[[], float] = lambda: 0.5,
    patience: float = 0.5,
    out: str = "",
    longest_wait: float = math.inf,
    resumes: str | None = None,
    held: str = "",
    hedge: HedgeAt | None = None,
) -> Schedule:
    """A schedule of origins with names of one letter."""
    budgets = {origin: Purse(saved) for origin in order}
    candidates = [Contender(origin, patience, is_out=origin in out, is_held=origin in held) for origin in order]
    return Schedule(
        candidates,
        deadline=deadline,
        budgets=budgets,
        chance=chance,
        longest_wait=longest_wait,
        resumes=resumes,
        hedge=hedge,
    )


# failover in order


def test_the_next_is_tried_as_soon_as_one_has_failed() -> None:
    schedule = schedule_of("abc", deadline=109.0)

    assert schedule.next(100.0) == Start("a", 109.0)
    schedule.failed("a", Fault.MALFORMED, 100.1)
    assert schedule.next(100.1) == Start("b", 109.0, Extra.FAILOVER)
    schedule.absent("b")
    assert schedule.next(100.2) == Start("c", 109.0, Extra.ABSENT)
    schedule.absent("c")
    assert schedule.next(100.3) == Done()


def test_the_next_is_tried_beside_one_that_uses_up_its_patience() -> None:
    schedule = schedule_of("abc", deadline=10.0)
    schedule.next(0.0)

    assert schedule.next(0.1) == Wait(0.5)
    assert schedule.next(0.5) == Start("b", 10.0, Extra.FAILOVER)
    assert schedule.next(0.5) == Wait(1.0)
    assert schedule.next(1.0) == Start("c", 10.0, Extra.FAILOVER)
    assert schedule.next(1.0) == Wait(math.inf)  # each ends by itself


def test_one_that_is_held_back_is_tried_beside_a_late_one_only_once_its_share_of_the_time_is_over() -> None:
    schedule = schedule_of("ab", deadline=10.0, held="b")
    schedule.next(0.0)

    assert schedule.next(0.5) == Wait(5.0)
    assert schedule.next(5.0) == Start("b", 10.0, Extra.FAILOVER)


def test_one_that_is_held_back_is_tried_at_once_after_an_absence_a_failure_or_a_suspicion() -> None:
    ends: list[tuple[Callable[[Schedule], None], Extra]] = [
        (lambda schedule: schedule.absent("a"), Extra.ABSENT),
        (lambda schedule: schedule.failed("a", Fault.SERVER, 0.1), Extra.FAILOVER),
        (lambda schedule: schedule.suspect("a"), Extra.RESCUE),
    ]
    for end, why in ends:
        schedule = schedule_of("ab", deadline=10.0, held="b")
        schedule.next(0.0)
        end(schedule)
        assert schedule.next(0.1) == Start("b", 10.0, why)


def test_one_that_fails_late_does_not_hasten_the_next() -> None:
    schedule = schedule_of("abc", deadline=10.0)
    schedule.next(0.0)
    schedule.next(0.5)
    schedule.failed("a", Fault.MALFORMED, 0.6)

    assert schedule.next(0.6) == Wait(1.0)  # b has just begun


def test_a_suspect_is_not_waited_for() -> None:
    schedule = schedule_of("ab", deadline=10.0)
    schedule.next(0.0)
    schedule.suspect("a")
    schedule.suspect("b")  # isn't under way

    assert schedule.next(0.1) == Start("b", 10.0, Extra.RESCUE)
    assert schedule.next(0.1) == Wait(math.inf)  # there is no other to be tried


def test_one_that_is_out_is_only_tried_briefly_unless_there_is_none_better() -> None:
    last, first = schedule_of("ab", deadline=10.0, out="b"), schedule_of("ab", deadline=10.0, out="ab")
    last.next(0.0)
    last.absent("a")

    assert last.next(0.1) == Start("b", 0.6, Extra.ABSENT)
    assert first.next(0.0) == Start("a", 10.0)
    assert first.next(0.5) == Start("b", 1.0, Extra.FAILOVER)


@pytest.mark.parametrize(("p95", "seconds"), [(None, 2.0), (0.02, 0.5), (0.3, 1.2)])
def test_patience_follows_the_times_of_an_origin(p95: float | None, seconds: float) -> None:
    assert patience(p95) == pytest.approx(seconds)


def test_moving_on_is_never_charged() -> None:
    budgets = {"a": Purse(0), "b": Purse(0)}
    for _ in range(1000):
        order = [Contender("a", 0.5), Contender("b", 0.5)]
        schedule = Schedule(order, deadline=10.0, budgets=budgets, chance=lambda: 0.0)
        schedule.next(0.0)
        schedule.suspect("a")
        assert schedule.next(0.3) == Start("b", 10.0, Extra.RESCUE)


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
    schedule = schedule_of("a", deadline=10.0, saved=5, chance=lambda: 0.4)
    schedule.next(0.0)
    schedule.failed("a", Fault.SERVER, 1.0, status=500)

    assert schedule.next(1.0) == Wait(1.02)
    assert schedule.next(1.02) == Start("a", 10.0, Extra.RETRY)
    schedule.failed("a", Fault.SERVER, 2.0, status=500)
    assert schedule.next(2.0) == Done()


def test_all_others_are_asked_before_one_is_asked_again() -> None:
    schedule = schedule_of("ab", deadline=10.0, saved=5)
    schedule.next(0.0)
    schedule.failed("a", Fault.SERVER, 0.1, status=500)

    assert schedule.next(0.1) == Start("b", 10.0, Extra.FAILOVER)
    schedule.failed("b", Fault.RESET, 0.2)
    assert schedule.next(0.3) == Start("a", 10.0, Extra.RETRY)
    schedule.failed("a", Fault.SERVER, 0.4, status=500)
    assert schedule.next(0.4) == Start("b", 10.0, Extra.RETRY)


def test_one_whose_failure_lasts_is_not_asked_again_and_the_others_are() -> None:
    schedule = schedule_of("ab", deadline=10.0, saved=5, chance=lambda: 0.0)
    schedule.next(0.0)
    schedule.failed("a", Fault.AUTH, 0.1, status=403)
    schedule.next(0.1)
    schedule.failed("b", Fault.SERVER, 0.2, status=503)

    assert schedule.next(0.2) == Start("b", 10.0, Extra.RETRY)


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
    schedule = schedule_of("a", deadline=10.0, saved=5, chance=lambda: 0.5)
    schedule.next(0.0)
    schedule.failed("a", Fault.THROTTLED, 1.0, status=503)

    assert schedule.next(1.0) == Wait(1.0 + THROTTLED_SECONDS / 2)


@pytest.mark.parametrize(
    ("retry_after", "step"), [(2.0, Wait(3.0)), (8.9, Wait(9.9)), (8.96, Done()), (60.0, Done())]
)
def test_the_time_that_an_origin_asks_for_is_heeded_if_it_fits_the_deadline(
    retry_after: float, step: Wait | Done
) -> None:
    schedule = schedule_of("a", deadline=10.0, saved=5, chance=lambda: 0.0)
    schedule.next(0.0)
    schedule.failed("a", Fault.THROTTLED, 1.0, status=503, retry_after=retry_after)

    assert schedule.next(1.0) == step


def test_nobody_waits_longer_than_their_patience() -> None:
    schedule = schedule_of("a", deadline=10.0, saved=5, chance=lambda: 0.0, longest_wait=1.0)
    schedule.next(0.0)
    schedule.failed("a", Fault.THROTTLED, 1.0, status=503, retry_after=2.0)

    assert schedule.next(1.0) == Done()


def test_retries_end_with_their_budget() -> None:
    budgets = {"a": Purse(10)}
    asked = 0

    for _ in range(1000):
        schedule = Schedule([Contender("a")], deadline=10.0, budgets=budgets, chance=lambda: 0.0)
        while isinstance(schedule.next(0.0), Start):
            asked += 1
            schedule.failed("a", Fault.SERVER, 0.0, status=503)

    assert asked == 1010


# the rest of a body


def test_the_rest_of_a_body_is_charged_to_the_origin_that_broke_it_off() -> None:
    purse = Purse(1)
    paid, unpaid = (
        Schedule([Contender("a")], deadline=10.0, budgets={"a": purse}, chance=lambda: 0.0, resumes="a")
        for _ in range(2)
    )

    assert paid.next(0.0) == Start("a", 10.0, Extra.RESUME)
    assert (unpaid.next(0.0), unpaid.unpaid, unpaid.asked_all) == (Done(), "a", False)
    paid.absent("a")
    assert (paid.next(0.1), paid.unpaid, paid.asked_all) == (Done(), None, True)


def test_at_another_origin_it_is_free() -> None:
    schedule = schedule_of("abc", deadline=10.0, resumes="b")

    assert schedule.next(0.0) == Start("a", 10.0, Extra.FAILOVER)
    schedule.absent("a")
    assert schedule.next(0.1) == Start("c", 10.0, Extra.ABSENT)
    schedule.absent("c")
    assert (schedule.next(0.2), schedule.unpaid, schedule.asked_all) == (Done(), "b", False)


# the reason for an attempt


def test_each_attempt_after_the_first_has_its_reason() -> None:
    late, down, absent, failed = (schedule_of("ab", deadline=10.0, saved=5, chance=lambda: 0.0) for _ in range(4))
    for each in (late, down, absent, failed):
        assert each.next(0.0) == Start("a", 10.0, None)
    down.suspect("a")
    absent.absent("a")
    failed.failed("a", Fault.SERVER, 0.0, status=500)

    assert late.next(0.5) == Start("b", 10.0, Extra.FAILOVER)
    assert down.next(0.1) == Start("b", 10.0, Extra.RESCUE)
    assert absent.next(0.1) == Start("b", 10.0, Extra.ABSENT)
    assert failed.next(0.1) == Start("b", 10.0, Extra.FAILOVER)
    failed.absent("b")
    assert failed.next(0.2) == Start("a", 10.0, Extra.RETRY)


# hedges


def test_a_late_fetch_is_hedged_and_its_origin_waited_for_all_the_same() -> None:
    schedule = schedule_of("abc", deadline=10.0, hedge=HedgeAt(0.1))
    schedule.next(0.0)

    assert schedule.next(0.05) == Wait(0.1)
    assert schedule.next(0.1) == Start("b", 10.0, Extra.HEDGE)
    assert schedule.next(0.1) == Wait(0.6)
    assert schedule.next(0.6) == Start("c", 10.0, Extra.FAILOVER)


def test_without_a_hedge_left_it_is_only_tried_elsewhere_when_patience_ends() -> None:
    schedule = schedule_of("ab", deadline=10.0, hedge=HedgeAt(0.1, saved=0))
    schedule.next(0.0)

    assert schedule.next(0.1) == Wait(0.5)
    assert schedule.next(0.5) == Start("b", 10.0, Extra.FAILOVER)


@pytest.mark.parametrize(("out", "held"), [("b", ""), ("", "b")])
def test_an_origin_in_doubt_gets_no_hedge(out: str, held: str) -> None:
    hedge = HedgeAt(0.1)
    schedule = schedule_of("ab", deadline=10.0, hedge=hedge, out=out, held=held)
    schedule.next(0.0)
    schedule.next(0.1)

    assert hedge.saved == 1


def test_a_second_attempt_is_never_hedged() -> None:
    hedge = HedgeAt(0.1)
    schedule = schedule_of("abc", deadline=10.0, hedge=hedge)
    schedule.next(0.0)
    schedule.failed("a", Fault.SERVER, 0.05)
    schedule.next(0.05)

    assert (schedule.next(0.2), hedge.saved) == (Wait(0.55), 1)


# whatever origins do


def _play(
    schedule: Schedule, data: st.DataObject, *, deadline: float, refused: list[str] | None = None
) -> list[Start]:
    """Carry a schedule out over origins that respond as they please; its attempts, and in `refused` those that were
    refused as too many."""
    started: list[Start] = []
    under_way: dict[str, Start] = {}
    now = 0.0
    for _ in range(100):
        step = schedule.next(now)
        if isinstance(step, Done):
            assert schedule.next(now) == Done()
            assert not under_way, "it ends while an origin may respond"
            return started
        if isinstance(step, Start):
            assert now < step.deadline <= deadline
            assert step.origin not in under_way
            started.append(step)
            under_way[step.origin] = step
            if data.draw(st.booleans()):
                schedule.suspect(data.draw(st.sampled_from("abcde")))
            continue
        assert step.until > now, "it turns in circles"
        if not under_way or (data.draw(st.booleans()) and step.until < math.inf):
            assert step.until < math.inf, "it waits for ever"
            now = step.until
            for origin in [each.origin for each in under_way.values() if each.deadline <= now]:
                schedule.failed(origin, Fault.TOTAL_TIMEOUT, now)
                del under_way[origin]
            continue
        origin = data.draw(st.sampled_from(sorted(under_way)))
        attempt = under_way.pop(origin)
        latest = min(step.until, attempt.deadline)
        now = min(now + data.draw(st.floats(0.0, max(0.0, latest - now))), latest) if latest > now else now
        came = data.draw(st.sampled_from(["absent", "fetched", *Fault]))
        if came == "absent":
            schedule.absent(origin)
        elif came == "fetched":
            schedule.fetched(origin)
            under_way.clear()
            assert schedule.next(now) == Done()
        else:
            assert isinstance(came, Fault)
            if came is Fault.THROTTLED and refused is not None:
                refused.append(origin)
            schedule.failed(origin, came, now, retry_after=data.draw(st.none() | st.floats(0.0, 40.0)))
    raise AssertionError("it doesn't end")


@given(
    st.integers(0, 5),
    st.floats(0.0, 30.0),
    st.sampled_from([0, 1, 5]),
    st.floats(0.01, 5.0),
    st.sets(st.sampled_from("abcde")),
    st.none() | st.builds(HedgeAt, st.floats(0.0, 3.0), st.integers(0, 2)),
    st.data(),
)
def test_it_ends_and_starts_nothing_after_the_deadline_and_no_origin_more_than_twice(
    count: int,
    deadline: float,
    saved: int,
    patience: float,
    out: set[str],
    hedge: HedgeAt | None,
    data: st.DataObject,
) -> None:
    order = "abcde"[:count]
    schedule = schedule_of(
        order,
        deadline=deadline,
        saved=saved,
        chance=lambda: data.draw(st.floats(0.0, 1.0)),
        patience=patience,
        out="".join(out),
        hedge=hedge,
    )

    refused: list[str] = []
    asked = [step.origin for step in _play(schedule, data, deadline=deadline, refused=refused)]

    first = list(dict.fromkeys(asked))
    assert first == list(order[: len(first)])
    again = Counter(asked) - Counter(refused)  # those that were refused as too many may be asked once more each time
    assert max(again.values(), default=0) <= (2 if saved else 1)
