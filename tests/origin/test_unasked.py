"""What comes on a connection though nobody asked for it is nobody's answer: bodies behind HEAD and 304 above all."""

from __future__ import annotations

import asyncio

import pytest

from shield.errors import Fault
from shield.origin.pool import Pool
from shield.origin.terms import PoolLimits
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Bytes, Head, Wait
from tests.node import Shield
from tests.origin.bench import OK5, Bench, fault_of
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
    until,
)

FORGED = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"
HEAD_OF = {
    "HEAD": b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(FORGED),
    "GET": b"HTTP/1.1 304 Not Modified\r\ncontent-length: %d\r\n\r\n" % len(FORGED),
}
AT_ONCE = PoolLimits(watch=0.0)  # the origin is taken to be proven


class Belated:
    """Answers HEAD, or the first GET with 304, at once; its body comes when the test says so."""

    def __init__(self, method: str, late: bytes = FORGED) -> None:
        self.method = method
        self.late = late
        self.may_come = asyncio.Event()
        self.has_come = asyncio.Event()
        self.stray = 0

    async def __call__(self, visit: Visit) -> None:
        while request := await visit.asked():
            if request.startswith(f"{self.method} /bodiless ".encode()):
                await visit.says(HEAD_OF[self.method])
                await self.may_come.wait()
                await visit.says(self.late)
                self.has_come.set()
            else:
                await visit.says(OK5 + b"hello")


async def bodiless(pool: Pool, method: str) -> None:
    (await get(pool, "/bodiless", method=method)).close()


@on_both_loops
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_body_that_has_come_behind_a_bodiless_answer_is_never_the_next_one(
    new_loop: LoopFactory, method: str
) -> None:
    async def scenario() -> None:
        belated = Belated(method)
        async with Origin(belated) as origin:
            pool = Pool(endpoint(origin.port), limits=AT_ONCE)
            await bodiless(pool, method)
            belated.may_come.set()
            await belated.has_come.wait()

            # In the same turn of the loop: the body waits in the kernel, or has been read already.
            assert await body(pool) == b"hello"

            await until(lambda: pool.statistics().idle == 1)
            assert origin.visits == 2
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_waiter_is_not_handed_a_connection_on_which_a_body_has_come(new_loop: LoopFactory, method: str) -> None:
    async def scenario() -> None:
        async def sends_it_all_at_once(visit: Visit) -> None:
            while request := await visit.asked():
                if b"/bodiless" in request:
                    await visit.says(HEAD_OF[method])
                    await visit.says(FORGED)
                else:
                    await visit.says(OK5 + b"hello")

        async with Origin(sends_it_all_at_once) as origin:
            pool = Pool(endpoint(origin.port), limits=PoolLimits(connections=1, watch=0.0))
            first = asyncio.create_task(bodiless(pool, method))
            others = [asyncio.create_task(body(pool)) for _ in range(5)]

            await asyncio.gather(first, *others)

            assert [task.result() for task in others] == [b"hello"] * 5
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_until_an_origin_is_proven_no_request_follows_an_answer_that_states_a_body(
    new_loop: LoopFactory, method: str
) -> None:
    async def scenario() -> None:
        belated = Belated(method)
        async with Origin(belated) as origin:
            pool = Pool(endpoint(origin.port))
            await bodiless(pool, method)

            assert await body(pool) == b"hello"  # sent before the body comes
            belated.may_come.set()
            await belated.has_come.wait()
            assert await body(pool) == b"hello"

            assert origin.visits == 2
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_an_origin_that_has_sent_a_body_behind_a_bodiless_answer_gets_no_request_behind_one_again(
    new_loop: LoopFactory, method: str
) -> None:
    async def scenario() -> None:
        belated = Belated(method)
        async with Origin(belated) as origin:
            pool = Pool(endpoint(origin.port), limits=AT_ONCE)
            await bodiless(pool, method)
            belated.may_come.set()
            await until(lambda: not pool.statistics().idle)
            belated.may_come.clear()

            await bodiless(pool, method)
            assert pool.statistics().idle == 0
            assert await body(pool) == b"hello"

            assert origin.visits == 3
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
def test_an_origin_that_stays_silent_behind_a_bodiless_answer_is_trusted_from_then_on(new_loop: LoopFactory) -> None:
    async def scenario() -> None:
        left = asyncio.Event()

        async def decent(visit: Visit) -> None:
            while request := await visit.asked():
                await visit.says(HEAD_OF["HEAD"] if request.startswith(b"HEAD") else OK5 + b"hello")
            left.set()

        async with Origin(decent) as origin:
            pool = Pool(endpoint(origin.port), limits=PoolLimits(watch=0.01))
            await bodiless(pool, "HEAD")
            await left.wait()

            for _ in range(3):
                await bodiless(pool, "HEAD")
                assert await body(pool) == b"hello"

            assert (origin.visits, pool.statistics().idle) == (2, 1)
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_chunks_announced_behind_a_bodiless_answer_end_its_connection(new_loop: LoopFactory, method: str) -> None:
    async def scenario() -> None:
        async def announces(visit: Visit) -> None:
            while request := await visit.asked():
                if b"/bodiless" in request:
                    line = b"200 OK" if method == "HEAD" else b"304 Not Modified"
                    await visit.says(b"HTTP/1.1 %b\r\ntransfer-encoding: chunked\r\n\r\n" % line)
                else:
                    await visit.says(OK5 + b"hello")

        async with Origin(announces) as origin:
            pool = Pool(endpoint(origin.port), limits=AT_ONCE)
            await bodiless(pool, method)

            assert pool.statistics().idle == 0
            assert await body(pool) == b"hello"
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
@pytest.mark.parametrize("left", [b"<html>no answer at all</html>", b"\r\n", b"HTT", b"\x00\x01\r\n\r\n"])
def test_the_rest_of_the_last_answer_on_a_kept_connection_sends_the_request_out_anew(
    new_loop: LoopFactory, left: bytes
) -> None:
    async def scenario() -> None:
        async def leaves_some(visit: Visit) -> None:
            await visit.asked()
            await visit.says(OK5 + b"hello")
            if origin.visits == 1:
                await visit.asked()
                await visit.says(left, b"P/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            await visit.left()

        async with Origin(leaves_some) as origin:
            pool = Pool(endpoint(origin.port))
            assert await body(pool) == b"hello"
            if left == b"HTT":  # may become an answer, and does
                assert await body(pool) == b""
            else:
                assert await body(pool) == b"hello"
                assert pool.statistics().stale_retries_total == 1
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
def test_garbage_on_a_new_connection_is_no_answer_and_no_reason_to_ask_again(new_loop: LoopFactory) -> None:
    async def scenario() -> None:
        async def talks_nonsense(visit: Visit) -> None:
            await visit.asked()
            if origin.visits == 1:
                await visit.says(OK5 + b"hello")
                await visit.asked()
            await visit.says(b"nonsense\r\n\r\n")

        async with Origin(talks_nonsense) as origin:
            pool = Pool(endpoint(origin.port))
            await body(pool)

            await fails(pool, Fault.MALFORMED)

            assert (origin.visits, pool.statistics().stale_retries_total) == (2, 1)
            await pool.close()

    run(new_loop, scenario)


def test_garbage_behind_an_interim_head_is_of_this_answer(bench: Bench) -> None:
    bench.ask()
    bench.says(OK5 + b"hello")
    again = bench.ask()

    bench.says(b"HTTP/1.1 102 Processing\r\n\r\n", b"nonsense")

    assert not again.stale
    assert fault_of(again) is Fault.MALFORMED


@pytest.mark.parametrize("late", [FORGED, b"<html>nonsense</html>"])
def test_no_key_is_answered_with_the_body_behind_anothers_head(
    shield: Shield, origin: FaultyOrigin, late: bytes
) -> None:
    gate = origin.gate()
    origin.serves("/b", b"b" * 10, lifetime=60)
    head = Head(200, {"content-length": str(len(late)), "cache-control": "max-age=60"})
    origin.script("/a", head, Wait(gate), Bytes(late))

    assert shield.get("/a", method="HEAD").status == 200
    first = shield.get("/b")
    gate.open()
    origin.wait_for(lambda: not origin.requests_active)
    answers = [first, shield.get("/b"), shield.get("/c"), shield.get("/c")]

    assert [(answer.status, answer.body) for answer in answers[:2]] == [(200, b"b" * 10)] * 2
    assert [answer.status for answer in answers[2:]] == [404, 404]
