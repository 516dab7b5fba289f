"""The pool on real sockets: connections kept, handed on, limited, and made anew when they turn out stale."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from shield.errors import Fault, OriginError
from shield.origin.pool import Pool
from shield.origin.resolver import Resolver
from shield.origin.terms import PoolLimits
from tests.origin.leg import (
    LoopFactory,
    Origin,
    Taker,
    Visit,
    body,
    endpoint,
    fails,
    get,
    no_descriptor_left,
    on_both_loops,
    run,
    until,
)

OK5 = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"


async def hello(visit: Visit) -> None:
    while await visit.asked():
        await visit.says(OK5 + b"hello")


async def once(visit: Visit) -> None:
    """Answers as if it kept the connection, and closes it."""
    if await visit.asked():
        await visit.says(OK5 + b"hello")


class Turns:
    """An origin whose answers wait for the test."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[bytes] = asyncio.Queue()
        self.may_answer = asyncio.Semaphore(0)

    async def __call__(self, visit: Visit) -> None:
        while request := await visit.asked():
            self.asked.put_nowait(request.split(b" ")[1])
            await self.may_answer.acquire()
            await visit.says(OK5 + b"hello")


class Tick:
    """A timer that fires when the test says so."""

    def __init__(self, ticks: list[Callable[[], None]], tick: Callable[[], None]) -> None:
        ticks.append(tick)

    def cancel(self) -> None: ...


@on_both_loops
def test_fetches_one_after_the_other_share_a_connection(new_loop: LoopFactory) -> None:
    async def scenario() -> None:
        async with Origin(hello) as origin:
            pool = Pool(endpoint(origin.port))
            answers = [await body(pool) for _ in range(5)]

            now = pool.statistics()
            assert answers == [b"hello"] * 5
            assert (now.opened_total, now.reused_total, now.idle, now.busy) == (1, 4, 1, 0)
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
def test_a_kept_connection_found_closed_is_replaced_silently_and_only_once(new_loop: LoopFactory) -> None:
    async def scenario() -> None:
        kept: list[asyncio.Event] = []

        async def refuses_the_second(visit: Visit) -> None:
            await visit.asked()
            if len(kept) == 2:
                return
            kept.append(asyncio.Event())
            await visit.says(OK5 + b"hello")
            await visit.asked()  # the second request is received, and the connection closed

        async with Origin(refuses_the_second) as origin:
            pool = Pool(endpoint(origin.port))
            assert [await body(pool), await body(pool)] == [b"hello", b"hello"]
            assert pool.statistics().stale_retries_total == 1

            await fails(pool, Fault.RESET)

            now = pool.statistics()
            assert (now.stale_retries_total, now.idle, now.busy, now.opened_total) == (2, 0, 0, 3)
            await pool.close()

    run(new_loop, scenario)


@on_both_loops
def test_a_kept_connection_that_fails_after_one_byte_is_not_asked_again(new_loop: LoopFactory) -> None:
    async def scenario() -> None:
        async def says_a_byte(visit: Visit) -> None:
            await visit.asked()
            await visit.says(OK5 + b"hello")
            await visit.asked()
            await visit.says(b"H")

        async with Origin(says_a_byte) as origin:
            pool = Pool(endpoint(origin.port))
            await body(pool)

            await fails(pool, Fault.RESET)

            assert (origin.visits, pool.statistics().stale_retries_total) == (1, 0)
            await pool.close()

    run(new_loop, scenario)


@on_both_loops
def test_a_connection_closed_while_idle_is_forgotten(new_loop: LoopFactory) -> None:
    async def scenario() -> None:
        async with Origin(once) as origin:
            pool = Pool(endpoint(origin.port))
            await body(pool)
            await until(lambda: not pool.statistics().idle)

            assert await body(pool) == b"hello"
            assert pool.statistics().stale_retries_total == 0
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
def test_who_waits_longest_is_served_first(new_loop: LoopFactory) -> None:
    async def scenario() -> None:
        turns = Turns()
        async with Origin(turns) as origin:
            pool = Pool(endpoint(origin.port), limits=PoolLimits(connections=2))
            paths = [f"/{number}" for number in range(10)]
            tasks = []
            for path in paths:
                tasks.append(asyncio.create_task(body(pool, path)))
                await asyncio.sleep(0)
            first = {await turns.asked.get(), await turns.asked.get()}
            now = pool.statistics()
            assert (now.busy, now.waiting) == (2, 8)

            rest = []
            for _ in paths[2:]:
                turns.may_answer.release()
                rest.append((await turns.asked.get()).decode())
            turns.may_answer.release()
            turns.may_answer.release()
            await asyncio.gather(*tasks)

            assert first == {b"/0", b"/1"}
            assert rest == paths[2:]
            now = pool.statistics()
            assert (now.opened_total, now.idle, now.busy, now.waiting) == (2, 2, 0, 0)
            await pool.close()

    run(new_loop, scenario)


@on_both_loops
def test_waiting_ends_at_the_deadline_and_the_place_goes_to_the_next(new_loop: LoopFactory) -> None:
    async def scenario() -> None:
        turns = Turns()
        async with Origin(turns) as origin:
            pool = Pool(endpoint(origin.port), limits=PoolLimits(connections=1))
            first = asyncio.create_task(body(pool))
            await turns.asked.get()

            await fails(pool, Fault.POOL_TIMEOUT, patience=0.001)
            assert pool.statistics().waiting == 0
            second = asyncio.create_task(body(pool))
            gone = asyncio.create_task(body(pool))
            third = asyncio.create_task(body(pool))
            await asyncio.sleep(0)
            gone.cancel()
            for _ in range(3):
                turns.may_answer.release()

            assert list(await asyncio.gather(first, second, third)) == [b"hello"] * 3
            assert pool.statistics().opened_total == 1
            await pool.close()

    run(new_loop, scenario)


@on_both_loops
def test_a_waiter_gets_the_place_of_a_connection_that_failed(new_loop: LoopFactory) -> None:
    async def scenario() -> None:
        async def resets_first(visit: Visit) -> None:
            await visit.asked()
            if origin.visits == 1:
                visit.resets()
            else:
                await visit.says(OK5 + b"hello")

        async with Origin(resets_first) as origin:
            pool = Pool(endpoint(origin.port), limits=PoolLimits(connections=1))
            outcomes = await asyncio.gather(body(pool), body(pool), return_exceptions=True)

            assert isinstance(outcomes[0], OriginError)
            assert outcomes[0].fault is Fault.RESET
            assert outcomes[1] == b"hello"
            await pool.close()

    run(new_loop, scenario)


@on_both_loops
@pytest.mark.parametrize("limits", [PoolLimits(idle=0.0), PoolLimits(age=-1.0)])
def test_connections_unused_or_old_are_closed(new_loop: LoopFactory, limits: PoolLimits) -> None:
    async def scenario() -> None:
        left = asyncio.Event()

        async def notices(visit: Visit) -> None:
            await hello(visit)
            left.set()

        async with Origin(notices) as origin:
            pool = Pool(endpoint(origin.port), limits=limits)
            assert await body(pool) == b"hello"

            await left.wait()

            assert pool.statistics().idle == 0
            await pool.close()

    run(new_loop, scenario)


@on_both_loops
def test_connections_to_an_address_the_origin_has_left_end_when_they_are_idle(new_loop: LoopFactory) -> None:
    async def scenario() -> None:
        async with Origin(hello) as origin:
            place = ("127.0.0.1", origin.port)
            found: list[tuple[object, ...]] = [(2, 1, 6, "", place)]

            async def lookup(host: str, port: int) -> list[tuple[object, ...]]:
                return found

            resolver = Resolver("origin.test", origin.port, misses=1, lookup=lookup)
            ticks: list[Callable[[], None]] = []
            resolver.later = lambda _, tick: Tick(ticks, tick)
            pool = Pool(endpoint(origin.port), resolver=resolver)
            await body(pool)
            assert pool.statistics().idle == 1

            found[0] = (2, 1, 6, "", ("127.0.0.2", origin.port))
            ticks[-1]()
            await until(lambda: not pool.statistics().idle)
            await pool.close()

    run(new_loop, scenario)


@on_both_loops
def test_closing_ends_what_waits_opens_and_streams(new_loop: LoopFactory) -> None:
    async def scenario() -> None:
        async def starts(visit: Visit) -> None:
            if await visit.asked():
                await visit.says(OK5 + b"he")
                await visit.left()

        async with Origin(starts) as origin:
            pool = Pool(endpoint(origin.port), limits=PoolLimits(connections=3))
            taker = Taker()
            streaming = await get(pool)
            streaming.start(taker)
            unstarted = await get(pool)
            opening = asyncio.create_task(body(pool))
            waiting = asyncio.create_task(body(pool))
            await asyncio.sleep(0)

            await asyncio.gather(pool.close(), pool.close())

            outcomes = await asyncio.gather(opening, waiting, unstarted.read(9), return_exceptions=True)
            assert [isinstance(error, OriginError) and error.fault for error in outcomes] == [Fault.CANCELLED] * 3
            assert [end and end.fault for end in taker.ends] == [Fault.CANCELLED]
            await fails(pool, Fault.CANCELLED)
            now = pool.statistics()
            assert (now.idle, now.busy, now.waiting) == (0, 0, 0)

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
def test_an_answer_with_ill_field_lines_and_padded_chunks_is_read_and_the_lines_are_counted(
    new_loop: LoopFactory,
) -> None:
    async def scenario() -> None:
        async def is_old(visit: Visit) -> None:
            while await visit.asked():
                await visit.says(b"HTTP/1.1 200 OK\r\nETag : x\r\nnot a field\r\ntransfer-encoding: chunked\r\n\r\n")
                await visit.says(b"5   \r\nhello\r\n000000000000000000000 ;a = b\r\n\r\n")

        async with Origin(is_old) as origin:
            pool = Pool(endpoint(origin.port))
            for _ in range(2):
                answer = await get(pool)
                assert answer.head.get(b"etag") == b"x"
                assert await answer.read(9) == b"hello"

            assert pool.statistics().fields_dropped_total == 2
            assert origin.visits == 1
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)
