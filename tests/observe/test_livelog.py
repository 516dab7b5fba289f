from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest

from shield.observe.accounting import Accounting
from shield.observe.counters import NEVER, Counters
from shield.observe.livelog import MOST_STREAMS, LiveLog, LogBatch, TooManyStreamsError
from shield.outcome import PLAIN_HIT, Exchange, Forward, Outcome
from shield.rules.log_query import LogQueryError
from tests.node import FakeClock

MISS = Outcome(forward=Forward.URI_MISS, forward_status=200, stored=True, origin="fra")


class Workers:
    """Several workers, whose streams go on as often as the test says."""

    def __init__(self, clock: FakeClock, number: int = 2) -> None:
        self.clock = clock
        self.accountings = [Accounting(Counters()) for _ in range(number)]
        self.logs = [
            LiveLog(accounting, self._others_of(place), clock=clock, pause=self._pause)
            for place, accounting in enumerate(self.accountings)
        ]

    def _others_of(self, own: int) -> Callable[[bytes], Awaitable[Sequence[bytes]]]:
        async def ask(query: bytes) -> Sequence[bytes]:
            return [log.answer(query) for place, log in enumerate(self.logs) if place != own]

        return ask

    async def _pause(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def ends(self, worker: int, outcome: Outcome, *, target: bytes = b"/a", at: float | None = None) -> None:
        exchange = Exchange(b"GET", target, "10.0.0.1", self.clock.now)
        exchange.answer_whole(200, outcome, 10, self.clock.now if at is None else at)
        self.accountings[worker].finished(exchange)

    @property
    def dues(self) -> list[int]:
        return [accounting.counters.due for accounting in self.accountings]


@pytest.fixture
def workers(clock: FakeClock) -> Workers:
    return Workers(clock)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_lines_of_all_workers_come_in_the_order_of_time(workers: Workers) -> None:
    async def work() -> None:
        stream = workers.logs[0].stream("miss")
        assert (await anext(stream)).lines == []
        now = workers.clock.now
        workers.ends(1, MISS, target=b"/2", at=now + 2)
        workers.ends(0, MISS, target=b"/3", at=now + 3)
        workers.ends(1, MISS, target=b"/1", at=now + 1)
        workers.ends(0, PLAIN_HIT)
        batch = await anext(stream)

        assert [line["target"] for line in batch.lines] == ["/1", "/2", "/3"]
        assert (batch.dropped, batch.unexamined) == (0, 0)
        assert (await anext(stream)).lines == []

    run(work())


def test_hits_are_looked_at_only_for_queries_that_are_about_them(workers: Workers) -> None:
    async def work() -> None:
        of_misses = workers.logs[0].stream("miss or status>=500 origin=fra")
        await anext(of_misses)
        assert workers.dues == [NEVER, NEVER]
        of_all = workers.logs[0].stream("")
        await anext(of_all)
        for worker in (0, 1):
            for _ in range(3):
                workers.ends(worker, PLAIN_HIT)

        assert len((await anext(of_all)).lines) == 6
        assert (await anext(of_misses)).lines == []

    run(work())


def test_a_worker_forgets_a_query_that_nobody_asks_for_any_more(workers: Workers) -> None:
    async def work() -> None:
        stream: Any = workers.logs[0].stream("")
        await anext(stream)
        assert NEVER not in workers.dues
        await stream.aclose()
        assert workers.dues[0] == NEVER != workers.dues[1]
        workers.clock.advance(6)
        for log in workers.logs:
            log.tick()

        assert workers.dues == [NEVER, NEVER]
        assert all(not accounting._observers for accounting in workers.accountings)

    run(work())


def test_a_worker_that_comes_later_joins_in(workers: Workers) -> None:
    async def work() -> None:
        stream = workers.logs[0].stream("miss")
        await anext(stream)
        workers.logs[1] = LiveLog(workers.accountings[1], workers._others_of(1), clock=workers.clock)
        await anext(stream)
        workers.ends(1, MISS)

        assert len((await anext(stream)).lines) == 1

    run(work())


def test_what_is_too_much_is_dropped_and_said(workers: Workers) -> None:
    async def work() -> None:
        stream = workers.logs[0].stream("")
        await anext(stream)
        for _ in range(3000):
            workers.ends(0, MISS)
        batch = await anext(stream)
        workers.ends(0, MISS)
        later = await anext(stream)

        assert (len(batch.lines), batch.dropped, batch.unexamined) == (500, 2000, 500)
        assert (len(later.lines), later.dropped, later.unexamined) == (1, 0, 0)

    run(work())


def test_it_ends_after_its_time_or_with_the_node(workers: Workers) -> None:
    async def work() -> None:
        timed = [batch async for batch in workers.logs[0].stream("", seconds=2.0)]
        endless = workers.logs[0].stream("")
        await anext(endless)
        await workers.logs[0].close()

        assert len(timed) == 5
        assert [batch async for batch in endless] == []
        assert workers.dues[0] == NEVER

    run(work())


def test_bad_queries_and_too_many_streams_are_refused(workers: Workers) -> None:
    async def work() -> None:
        log = workers.logs[0]
        with pytest.raises(LogQueryError):
            log.stream("status>>5")
        streams = [log.stream("") for _ in range(MOST_STREAMS)]
        for stream in streams:
            await anext(stream)
        with pytest.raises(TooManyStreamsError):
            log.stream("")
        last: Any = streams.pop()
        await last.aclose()

        await anext(log.stream(""))

    run(work())


@pytest.mark.parametrize("query", [b"", b"name=a", b"name=a&query=%28", b"\xff"])
def test_a_query_of_another_version_gets_nothing(query: bytes, workers: Workers) -> None:
    assert workers.logs[0].answer(query) == LogBatch().encoded()


def test_the_end_of_a_worker_does_not_wait_for_the_pause_of_its_streams(clock: FakeClock) -> None:
    paused = asyncio.Event()

    async def pause(seconds: float) -> None:
        paused.set()
        await asyncio.Event().wait()  # for ever

    async def none(query: bytes) -> Sequence[bytes]:
        return []

    async def work() -> None:
        log = LiveLog(Accounting(Counters()), none, clock=clock, pause=pause)
        stream = log.stream("miss")
        await anext(stream)
        rest = asyncio.ensure_future(anext(stream, None))
        await paused.wait()
        await log.close()

        assert await asyncio.wait_for(rest, 10) is None

    run(work())
