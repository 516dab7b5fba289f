"""The limit of an origin, learned by one worker for all; each has a lease, and that of a dead one is free again."""

from __future__ import annotations

import asyncio
import logging
from typing import cast

import pytest

from shield.leases import Leases
from shield.origin.gate import Gate
from shield.origin.limiting import Limiting
from shield.origin.origin import Origin
from shield.origin.want import Want
from shield.records import SILENT_SECONDS, Came, Records, Seen, private
from shield.rules.throttling import FLOOR, SHRINK
from tests.origin.bench import ManualLoop
from tests.origin.passing import Fetch

NOW = 1000.0
STEP = 0.25
WANT = Want(b"GET", b"/a")


class Worker:
    """The gate of one worker in front of the origin, and what it sees there."""

    def __init__(self, records: Records, number: int, loop: ManualLoop) -> None:
        self.number = number
        self.seen: Seen = records.of(number, b"fra", b"fra")
        self.gate = Gate("fra", cast(asyncio.AbstractEventLoop, loop))
        self.gate.attach(Leases(self.seen))
        self.limiting = Limiting()

    def fetches(self, count: int) -> int:
        """Begin so many; returns how many of them had a place."""
        begun = min(count, self.gate.room - self.gate.used)
        self.gate.used += begun
        return begun

    def gets(self, now: float, count: int) -> None:
        for _ in range(count):
            self.gate.used -= 1
            self.seen.succeeded(Came.OK, now, 0.01)

    def is_refused(self, now: float, count: int, retry_after: float | None = None) -> None:
        for _ in range(count):
            self.gate.refused(Want(b"GET", b"/a"), retry_after)
            self.seen.failed(Came.THROTTLED, now, b"/a")


class Crew:
    """All workers of a node, on a clock that the test moves; the first that lives conducts."""

    def __init__(self, count: int = 2, *, most: int = 64) -> None:
        self.loop = ManualLoop()
        self.records = private(count)
        self.workers = [Worker(self.records, number, self.loop) for number in range(count)]
        self.dead: set[int] = set()
        self.most = most
        self.is_throttling = False
        self.step(2)

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            self.loop.passes(STEP)
            now, living = self.loop.now, [each for each in self.workers if each.number not in self.dead]
            for worker in living:
                self.records.beat(worker.number, now, is_late=False)
                worker.gate.look(now)
                if worker is living[0]:
                    origin = cast(Origin, Fra(worker.seen, self.most))
                    self.is_throttling = worker.limiting.step(origin, now)
                    worker.gate.take_over(now)

    @property
    def limit(self) -> float:
        return Leases(self.workers[-1].seen).limit.limit

    @property
    def rooms(self) -> list[int]:
        return [worker.gate.room for worker in self.workers]


class Fra:
    """What a limit has to do with of an origin."""

    name = "fra"

    def __init__(self, seen: Seen, most: int) -> None:
        self.seen = seen
        self.most = most


def test_refusals_of_all_workers_make_one_limit_that_all_of_them_keep() -> None:
    crew = Crew()
    assert crew.rooms == [32, 32]
    one, other = crew.workers
    for worker in (one, other):
        assert worker.fetches(32) == 32
    other.is_refused(crew.loop.now, 30)
    one.is_refused(crew.loop.now, 14)
    crew.step(2)
    assert crew.limit == 20.0  # 64 at once, of which it bore as many

    one.gets(crew.loop.now, 18)
    other.gets(crew.loop.now, 2)
    crew.step(8)
    assert sum(crew.rooms) == int(crew.limit) == 20 and min(crew.rooms) == 10


def test_it_grows_again_while_it_is_used_and_nothing_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        crew = Crew(1)
        (one,) = crew.workers
        one.fetches(20)
        one.is_refused(crew.loop.now, 10)
        crew.step()
        assert crew.limit == 10.0 and crew.is_throttling

        for _ in range(80):
            one.fetches(64)
            crew.step()
            one.gets(crew.loop.now, one.gate.in_flight)

    assert crew.limit > 20.0 and not crew.is_throttling
    assert caplog.messages == [
        "origin fra: throttled: it refused 10 of 20 requests at once as too many; limit now 10",
        f"origin fra: recovered: it refused none of its requests for 10 s; limit now {_said(caplog)}",
    ]


def _said(caplog: pytest.LogCaptureFixture) -> int:
    return int(caplog.messages[-1].rpartition(" ")[2])


def test_refusals_that_are_reported_late_belong_to_the_same_storm() -> None:
    crew = Crew()
    one, other = crew.workers
    for worker in (one, other):
        worker.fetches(20)
    one.is_refused(crew.loop.now, 8)
    other.gate.look(crew.loop.now)
    crew.step()
    assert crew.limit == pytest.approx(40 * SHRINK)
    one.is_refused(crew.loop.now, 5)
    other.is_refused(crew.loop.now, 10)
    crew.step()

    assert crew.limit == 17.0


def test_a_few_refusals_among_many_fetches_leave_it_high() -> None:
    crew = Crew(1)
    (one,) = crew.workers
    for _ in range(8):
        one.fetches(30)
        one.gets(crew.loop.now, 30)
        crew.step()
    one.fetches(3)
    one.is_refused(crew.loop.now, 1)
    crew.step()

    assert crew.limit == pytest.approx(64 * SHRINK)


def test_the_lease_of_a_dead_worker_is_free_after_a_second() -> None:
    crew = Crew()
    one, other = crew.workers
    for worker in (one, other):
        worker.fetches(20)
        worker.is_refused(crew.loop.now, 10)
        worker.gets(crew.loop.now, 10)
    crew.step(8)
    assert crew.limit == 20.0 and crew.rooms == [10, 10]

    crew.dead = {0}
    crew.step(int(SILENT_SECONDS / STEP) - 1)
    assert other.gate.room == 10
    crew.step(3)
    assert other.gate.room == 20  # and it conducts


def test_a_worker_that_took_the_place_of_a_dead_one_gets_its_share() -> None:
    crew = Crew()
    other = crew.workers[1]
    other.fetches(32)
    other.is_refused(crew.loop.now, 12)
    crew.step(8)
    assert sum(crew.rooms) == 20

    crew.workers[0] = Worker(crew.records, 0, crew.loop)
    crew.workers[0].gate.look(crew.loop.now)
    assert crew.workers[0].gate.room == 1
    other.gets(crew.loop.now, 20)
    crew.step(4)
    assert sorted(crew.rooms) in ([10, 10], [10, 11])


def test_the_pause_that_one_worker_is_asked_for_is_kept_by_all(caplog: pytest.LogCaptureFixture) -> None:
    crew = Crew()
    one = crew.workers[0]
    one.fetches(8)
    with caplog.at_level(logging.WARNING):
        one.is_refused(crew.loop.now, 1, retry_after=20.0)
        assert one.gate.room == 0
        crew.step(2)
        one.gets(crew.loop.now, 7)

    assert crew.rooms == [0, 0] and crew.is_throttling
    assert caplog.messages == ["origin fra: throttled: it asks to be left alone for 20 s"]
    crew.step(int(20.0 / STEP) + 4)
    assert sum(crew.rooms) == int(crew.limit) == 5


def test_demand_moves_leases_and_never_more_are_in_use_than_the_limit() -> None:
    crew = Crew(4)
    busy = crew.workers[3]
    for worker in crew.workers:
        worker.fetches(16)
        worker.is_refused(crew.loop.now, 4)
    crew.step(4)
    limit = int(crew.limit)
    assert limit < 64
    for worker in crew.workers:
        worker.gets(crew.loop.now, worker.gate.in_flight)

    waiting = [Fetch(busy.gate) for _ in range(80)]
    for _ in range(12):
        crew.step()
        for each in waiting:
            each.go_on()
        assert sum(worker.gate.used for worker in crew.workers) <= int(crew.limit)
        assert sum(crew.rooms) <= int(crew.limit)
    assert busy.gate.used >= int(crew.limit) - 4  # the others keep one each
    for each in waiting:
        if each.waits:
            each.cancel()


def test_with_fewer_places_than_workers_all_have_their_turn() -> None:
    crew = Crew(8)
    for worker in crew.workers:
        worker.fetches(8)
        worker.is_refused(crew.loop.now, 8)
    crew.step(6)
    assert crew.limit == FLOOR

    had = [0] * 8
    for _ in range(13):
        for worker in crew.workers:
            had[worker.number] += worker.fetches(1)
        assert sum(worker.gate.in_flight for worker in crew.workers) <= int(crew.limit)
        crew.step()
        for worker in crew.workers:
            worker.gets(crew.loop.now, worker.gate.in_flight)
    assert crew.limit < 8
    assert min(had) >= 1
