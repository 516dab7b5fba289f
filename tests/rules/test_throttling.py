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
    GROWTH,
    LEAST_CUT_SECONDS,
    LONGEST_PAUSE,
    LONGEST_RETRY_AFTER,
    SHRINK,
    START,
    FetchLimit,
    Lease,
    LimitEvidence,
    MissQueue,
    leases,
    pause,
    retry_after,
    shares,
    with_room,
)

MOST = 1000
BUSY = LimitEvidence(in_flight=10**6)
REFUSED = LimitEvidence(in_flight=10**6, throttled=1)

evidence = st.builds(
    LimitEvidence,
    in_flight=st.integers(0, 2000),
    throttled=st.integers(0, 3),
    share=st.floats(0.0, 1.0),
    closed_until=st.floats(-1.0, 10_000.0),
    p95=st.none() | st.floats(0.001, 5.0),
)
steps = st.lists(st.tuples(st.floats(0.01, 3.0), evidence), max_size=50)


def test_it_doubles_until_the_first_refusal_and_then_grows_slowly() -> None:
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
    assert limit.after(BUSY, 3.0 + GROW_SECONDS, most=MOST).limit == cut * (1.0 + GROWTH)
    small = limit.after(replace(REFUSED, in_flight=10), 4.0, most=MOST)
    assert small.after(BUSY, 4.0 + GROW_SECONDS, most=MOST).limit == small.limit + 1.0


def test_it_does_not_grow_while_half_of_it_is_unused() -> None:
    assert FetchLimit().after(LimitEvidence(in_flight=31), 1.0, most=MOST).limit == START
    assert FetchLimit().after(LimitEvidence(in_flight=32), 1.0, most=MOST).limit == 2 * START


def test_it_does_not_grow_while_the_origin_is_silent() -> None:
    assert FetchLimit().after(replace(BUSY, is_answering=False), 1.0, most=MOST).limit == START


def test_refusals_show_what_the_origin_bears_unless_they_are_few() -> None:
    seen = LimitEvidence(in_flight=64, throttled=44, share=0.5)
    assert FetchLimit().after(seen, 1.0, most=MOST).limit == 20.0
    assert FetchLimit().after(replace(seen, throttled=1), 1.0, most=MOST).limit == pytest.approx(64 * SHRINK)
    assert FetchLimit().after(replace(seen, throttled=500), 1.0, most=MOST).limit == FLOOR

    now_and_then = LimitEvidence(in_flight=3, throttled=1, share=0.01)
    assert FetchLimit().after(now_and_then, 1.0, most=MOST).limit == pytest.approx(START * SHRINK)
    assert FetchLimit().after(replace(now_and_then, share=0.05), 1.0, most=MOST).limit == FLOOR


def test_it_never_exceeds_the_connections() -> None:
    assert FetchLimit().after(LimitEvidence(), 1.0, most=10).limit == 10.0
    assert FetchLimit().after(REFUSED, 1.0, most=2).limit == 2.0
    grown = FetchLimit(limit=60.0).after(BUSY, 1.0, most=100)
    assert grown.limit == 100.0 and grown.after(BUSY, 3.0, most=100) is grown


def test_refusals_of_what_was_sent_before_a_cut_are_no_reason_for_another() -> None:
    seen = LimitEvidence(in_flight=100, throttled=5, p95=0.4)
    limit = FetchLimit(limit=100.0).after(seen, 1.0, most=MOST)
    assert limit.limit == pytest.approx(70.0)

    assert limit.after(seen, 1.39, most=MOST).limit == limit.limit
    assert limit.after(seen, 1.41, most=MOST).limit == pytest.approx(49.0)
    assert limit.after(replace(seen, p95=None), 1.0 + LEAST_CUT_SECONDS, most=MOST).limit == pytest.approx(49.0)


def test_further_refusals_of_the_same_requests_show_that_it_bore_less() -> None:
    seen = LimitEvidence(in_flight=40, throttled=8)
    limit = FetchLimit().after(seen, 1.0, most=MOST)
    assert limit.limit == pytest.approx(28.0)

    limit = limit.after(replace(seen, throttled=23), 1.25, most=MOST)
    assert limit.limit == 17.0 and limit.cut_at == 1.0
    assert limit.after(replace(seen, throttled=30, share=0.01), 1.25, most=MOST).limit == 17.0
    assert limit.after(replace(seen, throttled=60), 1.25, most=MOST).limit == FLOOR


def test_a_limit_far_above_what_is_in_flight_holds_at_once() -> None:
    assert FetchLimit(limit=900.0).after(LimitEvidence(in_flight=20, throttled=1), 1.0, most=MOST).limit == 14.0


def test_a_pause_that_is_asked_for_is_kept_and_not_shortened() -> None:
    limit = FetchLimit().after(replace(REFUSED, closed_until=11.0), 1.0, most=MOST)

    assert limit.room(10.9) == 0 and limit.room(11.0) == int(limit.limit) > 0
    assert limit.after(replace(REFUSED, closed_until=3.0), 2.0, most=MOST).room(10.9) == 0
    far = FetchLimit().after(replace(REFUSED, closed_until=1e9), 0.0, most=MOST)
    assert far.room(LONGEST_PAUSE) > 0
    assert (pause(10.0), pause(1e9), pause(-1.0)) == (10.0, LONGEST_PAUSE, 0.0)


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
            slowly = before.limit + max(1.0, GROWTH * before.limit)
            assert limit.limit <= (slowly if before.was_refused else 2 * before.limit)
        if limit.cut_at != before.cut_at:
            assert seen.throttled and now - cut >= max(LEAST_CUT_SECONDS, seen.p95 or 0.0)
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
    assert max(later) <= capacity * (1.0 + GROWTH) + 1
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


def test_with_fewer_places_than_workers_each_is_leased_one_in_turn() -> None:
    held = [Lease(0, 0, 9)] * 5
    had = [0] * 5
    for turn in range(5):
        held = [Lease(granted, granted, 9) for granted in leases(2, held, turn=turn)]
        had = [sum(pair) for pair in zip(had, (lease.granted for lease in held), strict=True)]
        held = [Lease(lease.granted, 0, 9) for lease in held]
    assert min(had) >= 1

    assert leases(7, [Lease(4, 4, 9), Lease(3, 3, 9)], turn=1) == (4, 3)  # no turns where there are enough


def test_with_less_room_than_workers_each_has_its_turn() -> None:
    got = [0] * 5
    for turn in range(5):
        found = shares(2, [9, 9, 9, 9, 9], turn=turn)
        got = [sum(pair) for pair in zip(got, found, strict=True)]

    assert got == [2, 2, 2, 2, 2]


def test_an_idle_worker_has_room_for_its_next_miss_if_there_is_some() -> None:
    assert shares(10, [3, 0], turn=0) == (7, 3) or shares(10, [3, 0], turn=0) == (6, 4)
    assert shares(10, [30, 0], turn=0) == (10, 0)


class Leasing(RuleBasedStateMachine):
    """Workers that learn of their leases late, and a conductor that knows of their use only by their reports."""

    WORKERS = 3

    def __init__(self) -> None:
        super().__init__()
        self.room = 12
        self.bound = 12  # in use at most: after a cut as many as before, until they are returned
        self.granted = [0] * self.WORKERS
        self.taken_over = [0] * self.WORKERS  # by each worker
        self.reported = [0] * self.WORKERS
        self.used = [0] * self.WORKERS
        self.waiting = [0] * self.WORKERS
        self.is_gone = [False] * self.WORKERS
        self.turn = 0

    @rule(worker=st.integers(0, 2), demand=st.integers(0, 20))
    def demand(self, worker: int, demand: int) -> None:
        if not self.is_gone[worker]:
            self.used[worker] = max(self.used[worker], min(demand, self.taken_over[worker]))
            self.waiting[worker] = max(0, demand - self.used[worker])

    @rule(worker=st.integers(0, 2), done=st.integers(1, 20))
    def end(self, worker: int, done: int) -> None:
        self.used[worker] = max(0, self.used[worker] - done)

    @rule(worker=st.integers(0, 2))
    def look(self, worker: int) -> None:
        if not self.is_gone[worker]:
            self.taken_over[worker] = self.granted[worker]
            self.reported[worker] = max(self.used[worker], self.granted[worker])

    @rule(worker=st.integers(0, 2))
    def die(self, worker: int) -> None:
        self.is_gone[worker] = True
        self.used[worker] = self.waiting[worker] = self.taken_over[worker] = self.reported[worker] = 0

    @rule(worker=st.integers(0, 2))
    def return_to_life(self, worker: int) -> None:
        if self.is_gone[worker]:
            self.is_gone[worker], self.granted[worker] = False, 0

    @rule(room=st.sampled_from([12, 12, 12, 0, 2, 7]))
    def step(self, room: int) -> None:
        self.room = room
        self.turn += 1
        held = [
            Lease(granted, wanted=None) if gone else Lease(granted, reported, used + waiting)
            for granted, reported, used, waiting, gone in zip(
                self.granted, self.reported, self.used, self.waiting, self.is_gone, strict=True
            )
        ]
        before = sum(max(lease.granted, lease.used) for lease in held if lease.wanted is not None)
        self.granted = list(leases(room, held, turn=self.turn))
        after = [max(granted, lease.used) for granted, lease in zip(self.granted, held, strict=True)]
        assert sum(after) <= max(room, before)
        assert all(not granted for granted, gone in zip(self.granted, self.is_gone, strict=True) if gone)

    @invariant()
    def never_exceeds_the_room(self) -> None:
        assert sum(max(used, may) for used, may in zip(self.used, self.taken_over, strict=True)) <= 12

    @precondition(lambda self: not any(self.is_gone))
    @rule()
    def calm(self) -> None:
        """Once all have looked and stepped often enough, nothing of the room is left over."""
        for _ in range(4):
            for worker in range(self.WORKERS):
                self.used[worker] = min(self.used[worker], self.granted[worker])
                self.look(worker)
            self.step(12)
        assert sum(self.granted) == 12


TestLeasing = Leasing.TestCase


def test_a_lease_is_passed_on_once_it_was_returned() -> None:
    assert leases(10, [Lease(5, 5, 1), Lease(5, 5, 9)], turn=0) == (1, 5)
    assert leases(10, [Lease(1, 1, 1), Lease(5, 5, 9)], turn=0) == (1, 9)
    assert leases(10, [Lease(5, 5, None), Lease(5, 5, 9)], turn=0) == (0, 10)
    assert leases(0, [Lease(5, 5, 5), Lease(5, 5, 5)], turn=0) == (0, 0)


def test_the_next_origin_with_a_place_comes_first() -> None:
    assert with_room(("a", "b", "c"), {"b": False, "c": True}.__getitem__) == ("c", "a", "b")
    assert with_room(("a", "b"), lambda name: False) == ("a", "b")
    assert with_room(("a",), lambda name: True) == ("a",)


def test_most_clients_come_first_then_the_oldest() -> None:
    queue = MissQueue()
    for at, (miss, clients) in enumerate([("a", 1), ("b", 5), ("c", 1), ("d", 5)]):
        assert queue.offer(miss, clients, float(at), 99.0) is None

    queue.set_clients("c", 2)
    assert list(queue) == ["b", "d", "c", "a"]
    assert [queue.take() for _ in range(5)] == ["b", "d", "c", "a", None]


def test_a_full_queue_refuses_the_least_wanted() -> None:
    queue = MissQueue(2)
    queue.offer("a", 2, 0.0, 99.0)
    queue.offer("b", 1, 1.0, 99.0)

    assert queue.offer("c", 1, 2.0, 99.0) == "c"
    assert queue.offer("d", 3, 3.0, 99.0) == "b"
    assert [queue.take(), queue.take()] == ["d", "a"]
    assert MissQueue(0).offer("a", 9, 0.0, 99.0) == "a"


def test_misses_that_can_not_be_compared_wait_side_by_side() -> None:
    queue = MissQueue()
    for miss in (object(), object(), b"x", 1):
        queue.offer(miss, 1, 0.0, 99.0)

    assert len({id(queue.take()) for _ in range(4)}) == 4


def test_what_waited_too_long_is_told() -> None:
    queue = MissQueue()
    queue.offer("a", 9, 0.0, 5.0)
    queue.offer("b", 1, 3.0, 8.0)

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
        refused = self.queue.offer(self.number, clients, self.now, self.now + 5.0)
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
        late = [each for each in self.model if each[1] + 5.0 <= self.now]
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
