"""The limit that an origin sets by its refusals, its shares, and the queue of misses in front of it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shield.rules.throttling import (
    FLOOR,
    GROW_SECONDS,
    LEAST_CUT_SECONDS,
    LONGEST_PAUSE,
    LONGEST_RETRY_AFTER,
    SHRINK,
    START,
    FetchLimit,
    LimitEvidence,
    MissQueue,
    retry_after,
    shares,
)

MOST = 1000
BUSY = LimitEvidence(in_flight=10**6)
REFUSED = LimitEvidence(in_flight=10**6, throttled=1)

evidence = st.builds(
    LimitEvidence,
    in_flight=st.integers(0, 2000),
    throttled=st.integers(0, 3),
    retry_after=st.none() | st.floats(-1.0, 10_000.0),
    p50=st.none() | st.floats(0.001, 5.0),
)
steps = st.lists(st.tuples(st.floats(0.01, 3.0), evidence), max_size=50)


def test_it_doubles_until_the_first_refusal_and_then_grows_by_one() -> None:
    limit = FetchLimit()
    for now, wanted in ((1.0, 2 * START), (2.0, 4 * START)):
        limit = limit.after(BUSY, now, most=MOST)
        assert limit.limit == wanted

    limit = limit.after(replace(REFUSED, in_flight=200), 3.0, most=MOST)
    assert limit.limit == pytest.approx(200 * SHRINK)
    cut = limit.limit
    for now in (3.5, 3.9):
        limit = limit.after(BUSY, now, most=MOST)
        assert limit.limit == cut
    assert limit.after(BUSY, 3.0 + GROW_SECONDS, most=MOST).limit == cut + 1.0


def test_it_does_not_grow_while_half_of_it_is_unused() -> None:
    assert FetchLimit().after(LimitEvidence(in_flight=31), 1.0, most=MOST).limit == START
    assert FetchLimit().after(LimitEvidence(in_flight=32), 1.0, most=MOST).limit == 2 * START


def test_refusals_of_what_was_sent_before_a_cut_are_no_reason_for_another() -> None:
    seen = LimitEvidence(in_flight=100, throttled=50, p50=0.2)
    limit = FetchLimit(limit=100.0).after(seen, 1.0, most=MOST)
    assert limit.limit == pytest.approx(70.0)

    assert limit.after(seen, 1.19, most=MOST).limit == limit.limit
    assert limit.after(seen, 1.21, most=MOST).limit == pytest.approx(49.0)
    assert limit.after(replace(seen, p50=None), 1.0 + LEAST_CUT_SECONDS, most=MOST).limit == pytest.approx(49.0)


def test_a_limit_far_above_what_is_in_flight_holds_at_once() -> None:
    assert FetchLimit(limit=900.0).after(LimitEvidence(in_flight=20, throttled=1), 1.0, most=MOST).limit == 14.0


def test_a_pause_that_is_asked_for_is_kept_and_not_shortened() -> None:
    limit = FetchLimit().after(replace(REFUSED, retry_after=10.0), 1.0, most=MOST)

    assert limit.room(10.9) == 0 and limit.room(11.0) == int(limit.limit) > 0
    assert limit.after(replace(REFUSED, retry_after=1.0), 2.0, most=MOST).room(10.9) == 0
    far = FetchLimit().after(replace(REFUSED, retry_after=1e9), 0.0, most=MOST)
    assert far.room(LONGEST_PAUSE) > 0
    assert FetchLimit().after(replace(BUSY, retry_after=10.0), 1.0, most=MOST).room(2.0) > 0  # it was no refusal


@given(steps, st.integers(4, MOST))
def test_it_stays_within_its_bounds_and_each_change_has_its_reason(
    given_steps: list[tuple[float, LimitEvidence]], most: int
) -> None:
    limit, now, cut = FetchLimit(), 0.0, -math.inf
    for wait, seen in given_steps:
        now += wait
        before, limit = limit, limit.after(seen, now, most=most)
        assert FLOOR <= limit.limit <= max(most, before.limit)
        assert limit.closed_until >= before.closed_until
        if limit.limit > before.limit:
            assert not seen.throttled and 2 * seen.in_flight >= before.limit
            assert limit.limit <= (before.limit + 1.0 if before.was_refused else 2 * before.limit)
        if seen.throttled and limit.limit < before.limit:
            assert now - cut >= max(LEAST_CUT_SECONDS, seen.p50 or 0.0)
            cut = now


@pytest.mark.parametrize("capacity", [10, 50, 300])
def test_it_settles_below_what_the_origin_bears(capacity: int) -> None:
    limit, seen = FetchLimit(), []
    for second in range(300):
        used = limit.room(float(second))
        limit = limit.after(
            LimitEvidence(in_flight=used, throttled=max(0, used - capacity)), float(second), most=MOST
        )
        seen.append(used)

    later = seen[20:]
    assert max(later) <= capacity + 1
    assert min(later) >= SHRINK * capacity - 1
    assert sum(used > capacity for used in later) < len(later) / 3


demands = st.lists(st.none() | st.integers(0, 50), min_size=1, max_size=12)


@given(st.integers(0, 200), demands, st.integers(0, 100))
def test_shares_are_exactly_the_room_and_fair(room: int, wanted: list[int | None], turn: int) -> None:
    found = shares(room, wanted, turn=turn)

    assert min(found) >= 0
    assert [share for share, demand in zip(found, wanted, strict=True) if demand is None and share] == []
    alive = [(share, demand) for share, demand in zip(found, wanted, strict=True) if demand is not None]
    assert sum(found) == (room if alive else 0)
    short = [share for share, demand in alive if share < demand]
    if short:  # nobody has more than those who got less than they need, by more than one for the remainder
        assert max(share for share, _ in alive) <= min(short) + 1
    if sum(demand for _, demand in alive) <= room:
        assert not short


def test_with_less_room_than_workers_each_has_its_turn() -> None:
    got = [0] * 5
    for turn in range(5):
        found = shares(2, [9, 9, 9, 9, 9], turn=turn)
        got = [sum(pair) for pair in zip(got, found, strict=True)]

    assert got == [2, 2, 2, 2, 2]


def test_an_idle_worker_has_room_for_its_next_miss_if_there_is_some() -> None:
    assert shares(10, [3, 0], turn=0) == (7, 3) or shares(10, [3, 0], turn=0) == (6, 4)
    assert shares(10, [30, 0], turn=0) == (10, 0)


def test_most_clients_come_first_then_the_oldest() -> None:
    queue = MissQueue()
    for at, (miss, clients) in enumerate([("a", 1), ("b", 5), ("c", 1), ("d", 5)]):
        assert queue.offer(miss, clients, float(at)) is None

    queue.set_clients("c", 2)
    assert [queue.take() for _ in range(5)] == ["b", "d", "c", "a", None]


def test_a_full_queue_refuses_the_least_wanted() -> None:
    queue = MissQueue(2)
    queue.offer("a", 2, 0.0)
    queue.offer("b", 1, 1.0)

    assert queue.offer("c", 1, 2.0) == "c"
    assert queue.offer("d", 3, 3.0) == "b"
    assert [queue.take(), queue.take()] == ["d", "a"]
    assert MissQueue(0).offer("a", 9, 0.0) == "a"


def test_misses_that_can_not_be_compared_wait_side_by_side() -> None:
    queue = MissQueue()
    for miss in (object(), object(), b"x", 1):
        queue.offer(miss, 1, 0.0)

    assert len({id(queue.take()) for _ in range(4)}) == 4


def test_what_waited_too_long_is_told() -> None:
    queue = MissQueue()
    queue.offer("a", 9, 0.0)
    queue.offer("b", 1, 3.0)

    assert queue.expire(4.9) == [] and queue.expire(5.0) == ["a"]
    assert "a" not in queue and "b" in queue and len(queue) == 1
    assert queue.withdraw("b") and not queue.withdraw("b")


class Waiting(RuleBasedStateMachine):
    """The queue beside a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = MissQueue(4)
        self.model: list[list[float | int]] = []  # clients, time, number
        self.now = 0.0
        self.number = 0

    @rule(clients=st.integers(1, 4), wait=st.floats(0.0, 3.0))
    def offer(self, clients: int, wait: float) -> None:
        self.now += wait
        self.number += 1
        refused = self.queue.offer(self.number, clients, self.now)
        self.model.append([clients, self.now, self.number])
        if len(self.model) > 4:
            last = max(self.model, key=_place)
            self.model.remove(last)
            assert refused == last[2]
        else:
            assert refused is None

    @precondition(lambda self: self.model)
    @rule(data=st.data(), clients=st.integers(0, 5))
    def change(self, data: st.DataObject, clients: int) -> None:
        chosen = data.draw(st.sampled_from(self.model))
        chosen[0] = clients
        self.queue.set_clients(chosen[2], clients)

    @rule()
    def take(self) -> None:
        first = min(self.model, key=_place) if self.model else None
        assert self.queue.take() == (None if first is None else first[2])
        if first is not None:
            self.model.remove(first)

    @rule(wait=st.floats(0.0, 6.0))
    def expire(self, wait: float) -> None:
        self.now += wait
        late = [each for each in self.model if self.now - each[1] >= 5.0]
        assert sorted(self.queue.expire(self.now)) == sorted(each[2] for each in late)  # type: ignore[type-var]
        self.model = [each for each in self.model if each not in late]

    @invariant()
    def holds_the_same(self) -> None:
        assert len(self.queue) == len(self.model) <= 4
        assert all(each[2] in self.queue for each in self.model)


def _place(each: list[float | int]) -> tuple[float, float, float]:
    return -each[0], each[1], each[2]


TestWaiting = Waiting.TestCase


def test_refused_clients_return_when_the_queue_is_done_with() -> None:
    assert retry_after(0, 10, 0.1) == 1.0
    assert retry_after(1000, 10, 0.1) == 10.0
    assert retry_after(10**6, 0, None) == LONGEST_RETRY_AFTER
