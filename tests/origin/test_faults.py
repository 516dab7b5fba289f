"""Faults on real sockets, and fetches given up at any moment: the pool is whole afterwards."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from shield.errors import Fault, OriginError
from shield.origin.dial import Endpoint
from shield.origin.pool import Pool
from shield.origin.terms import PoolLimits
from tests.doubles.certificates import Authority
from tests.garbage import cycles, uncollected
from tests.origin.leg import (
    LoopFactory,
    Origin,
    Visit,
    body,
    endpoint,
    fails,
    get,
    no_descriptor_left,
    on_both_loops,
    run,
    settled,
)

OK5 = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
BIG = 5_000_000


@on_both_loops
def test_a_reader_that_pauses_stops_the_origin(new_loop: LoopFactory) -> None:
    async def scenario() -> None:
        written = 0

        async def sends_much(visit: Visit) -> None:
            nonlocal written
            await visit.asked()
            await visit.says(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (BIG * 10))
            for _ in range(10):
                await visit.says(bytes(BIG))
                written += BIG

        async with Origin(sends_much) as origin:
            pool = Pool(endpoint(origin.port))
            response = await get(pool)
            response.pause()
            for _ in range(1000):
                await asyncio.sleep(0)
            assert written < BIG * 10

            response.resume()

            assert len(await response.read(BIG * 10)) == BIG * 10
            await pool.close()

    run(new_loop, scenario)


@on_both_loops
def test_a_body_that_breaks_off_leaves_no_cycle(new_loop: LoopFactory) -> None:
    async def breaks_off(visit: Visit) -> None:
        await visit.asked()
        await visit.says(OK5 + b"hell")

    async def scenario() -> None:
        async with Origin(breaks_off) as origin:
            pool = Pool(endpoint(origin.port))
            with suppress(OriginError):
                await (await get(pool)).read(10)
            assert cycles() == {}
            await pool.close()

    with uncollected():
        run(new_loop, scenario)


@on_both_loops
@pytest.mark.parametrize(
    ("says", "fault"),
    [
        (b"", Fault.RESET),
        (b"HTTP/1.1 200", Fault.RESET),
        (b"HTTP/0.9 200 OK\r\n\r\n", Fault.MALFORMED),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000, Fault.TOO_LARGE),
        (OK5 + b"hell", Fault.SHORT_BODY),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", Fault.SHORT_BODY),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello!\r\n", Fault.MALFORMED),
    ],
)
def test_every_fault_of_an_answer_gives_its_place_back(new_loop: LoopFactory, says: bytes, fault: Fault) -> None:
    async def scenario() -> None:
        async def spoils(visit: Visit) -> None:
            await visit.asked()
            await visit.says(says)

        async with Origin(spoils) as origin:
            pool = Pool(endpoint(origin.port), limits=PoolLimits(connections=1))
            for _ in range(3):
                await fails(pool, fault)

            now = pool.statistics()
            assert (now.busy, now.idle, now.waiting, now.opened_total) == (0, 0, 0, 3)
            await settled(pool)
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


# Given up at any moment: after each number of turns of the loop, until a fetch is through before it can be cancelled.


async def cancelled_at_every_turn(pool: Pool, fetch: Callable[[], Coroutine[Any, Any, bytes]]) -> int:
    for turns in itertools.count():
        task = asyncio.create_task(fetch())
        for _ in range(turns):
            await asyncio.sleep(0)
        through = task.done()
        task.cancel()
        await asyncio.wait((task,))
        await settled(pool)
        if through:
            assert task.result()
            return turns
    raise AssertionError


@on_both_loops
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("keeps", [False, True], ids=["new", "kept"])
def test_a_fetch_cancelled_at_any_turn_leaves_the_pool_whole(
    new_loop: LoopFactory, secure: bool, keeps: bool
) -> None:
    authority = Authority()

    async def scenario() -> None:
        async def answers(visit: Visit) -> None:
            while await visit.asked():
                await visit.says(b"HTTP/1.1 103 Early\r\n\r\n", OK5, b"hel", b"lo")
                if not keeps:
                    return

        async with Origin(answers, tls=authority.server("127.0.0.1") if secure else None) as origin:
            place = Endpoint("fra", "127.0.0.1", origin.port, authority.client() if secure else None)
            pool = Pool(place, limits=PoolLimits(connections=1))

            turns = await cancelled_at_every_turn(pool, lambda: body(pool))

            assert turns > 5
            assert await body(pool) == b"hello"
            await settled(pool)
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
def test_a_retry_cancelled_at_any_turn_leaves_the_pool_whole(new_loop: LoopFactory) -> None:
    async def scenario() -> None:
        async def closes_on_the_second_request(visit: Visit) -> None:
            await visit.asked()
            await visit.says(OK5 + b"hello")
            await visit.asked()

        async with Origin(closes_on_the_second_request) as origin:
            pool = Pool(endpoint(origin.port), limits=PoolLimits(connections=1))

            async def twice() -> bytes:
                await body(pool)
                return await body(pool)

            await cancelled_at_every_turn(pool, twice)

            assert pool.statistics().stale_retries_total > 0
            assert await body(pool) == b"hello"
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
def test_a_waiter_cancelled_at_any_turn_costs_no_place(new_loop: LoopFactory) -> None:
    async def scenario() -> None:
        async def hello(visit: Visit) -> None:
            while await visit.asked():
                await visit.says(OK5 + b"hello")

        async with Origin(hello) as origin:
            pool = Pool(endpoint(origin.port), limits=PoolLimits(connections=1))

            async def behind_another() -> bytes:
                first = asyncio.create_task(body(pool))
                try:
                    await asyncio.sleep(0)
                    return await body(pool)
                finally:
                    await asyncio.wait((first,))

            await cancelled_at_every_turn(pool, behind_another)

            assert await body(pool) == b"hello"
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
def test_a_pool_closed_at_any_turn_ends_everything(new_loop: LoopFactory) -> None:
    async def scenario() -> None:
        async def hello(visit: Visit) -> None:
            while await visit.asked():
                await visit.says(OK5 + b"hello")

        async with Origin(hello) as origin:
            for turns in range(40):
                pool = Pool(endpoint(origin.port), limits=PoolLimits(connections=2))
                tasks = [asyncio.create_task(body(pool)) for _ in range(4)]
                for _ in range(turns):
                    await asyncio.sleep(0)

                await pool.close()

                for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                    assert outcome == b"hello" or (
                        isinstance(outcome, OriginError) and outcome.fault is Fault.CANCELLED
                    )
                now = pool.statistics()
                assert (now.idle, now.busy, now.waiting) == (0, 0, 0)

    with no_descriptor_left():
        run(new_loop, scenario)
