"""The order of addresses by what attempts met there; then pools whose origin has an ill address beside a good one."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from shield.errors import Fault, OriginError
from shield.origin.dial import Endpoint
from shield.origin.health import ILL_SECONDS, LONGEST_SECONDS, TRIAL_SECONDS, Health
from shield.origin.pool import Pool
from shield.origin.resolver import Address, Resolver
from shield.origin.terms import PoolLimits, Timeouts
from shield.origin.tls import client_context
from shield.rules import attempts
from tests.doubles.certificates import Authority
from tests.origin.leg import (
    LoopFactory,
    Origin,
    Visit,
    body,
    fails,
    get,
    no_descriptor_left,
    on_both_loops,
    run,
)

ONE, TWO, THREE = (Address(socket.AF_INET, (f"10.0.0.{number}", 80)) for number in (1, 2, 3))
OK5 = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
AUTHORITY = Authority()


def test_an_ill_address_is_tried_last_and_the_others_keep_their_order() -> None:
    health = Health()
    assert health.order([ONE, TWO, THREE], 0.0) == [ONE, TWO, THREE]

    health.note_ill(ONE, 0.0)

    assert health.order([ONE, TWO, THREE], 1.0) == [TWO, THREE, ONE]
    assert health.order([THREE, ONE, TWO], 1.0) == [THREE, TWO, ONE]


def test_when_all_are_ill_all_are_tried_as_before() -> None:
    health = Health()
    for address in (ONE, TWO):
        health.note_ill(address, 0.0)

    assert health.order([TWO, ONE], 1.0) == [TWO, ONE]


def test_after_its_time_one_attempt_tries_it_first_and_the_others_wait_for_its_fate() -> None:
    health = Health()
    health.note_ill(ONE, 0.0)

    assert health.order([TWO, ONE], ILL_SECONDS) == [ONE, TWO]
    assert health.order([ONE, TWO], ILL_SECONDS) == [TWO, ONE]
    assert health.order([TWO, ONE], ILL_SECONDS + TRIAL_SECONDS) == [ONE, TWO]
    health.note_well(ONE)
    assert health.order([ONE, TWO], ILL_SECONDS + TRIAL_SECONDS) == [ONE, TWO]
    assert not health.ill


def test_each_failed_trial_doubles_the_time_up_to_a_limit_and_one_trouble_counts_once() -> None:
    health = Health()
    now, seconds = 0.0, ILL_SECONDS
    for _ in range(8):
        for _ in range(3):
            health.note_ill(ONE, now)  # by all who met it at once
        assert health.order([ONE, TWO], now + seconds - 0.1) == [TWO, ONE]
        now += seconds
        assert health.order([TWO, ONE], now) == [ONE, TWO]
        seconds = min(2 * seconds, LONGEST_SECONDS)


def test_of_many_ill_addresses_the_latest_are_known() -> None:
    health = Health()
    many = [Address(socket.AF_INET, ("10.0.1.1", port)) for port in range(1000)]
    for address in many:
        health.note_ill(address, 0.0)

    assert health.order([many[-1], ONE], 1.0) == [ONE, many[-1]]
    assert health.order([many[0], ONE], 1.0) == [many[0], ONE]


async def hello(visit: Visit) -> None:
    while await visit.asked():
        await visit.says(OK5 + b"hello")


async def resets_at_once(visit: Visit) -> None:
    visit.resets()


async def resets_when_asked(visit: Visit) -> None:
    await visit.asked()
    visit.resets()


async def closes_when_asked(visit: Visit) -> None:
    await visit.asked()


async def says_nothing(visit: Visit) -> None:
    await visit.left()


def pool_of(
    *origins: Origin, tls: ssl.SSLContext | None = None, timeouts: Timeouts | None = None, kept: float = -1.0
) -> Pool:
    """One origin at several addresses; each new connection begins with another one."""

    async def lookup(host: str, port: int) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, 1, 6, "", ("127.0.0.1", origin.port)) for origin in origins]

    pool = Pool(
        Endpoint("fra", "origin.test", 443, tls, "origin.test" if tls else None),
        resolver=Resolver("origin.test", 443, lookup=lookup),
        limits=PoolLimits(age=kept),
        timeouts=timeouts,
    )
    pool._dialer._stagger = 60.0  # however busy the machine is, only addresses that fail are passed over
    return pool


Ill = Callable[[Visit], Awaitable[None]]


@on_both_loops
@pytest.mark.parametrize("ill", [resets_at_once, resets_when_asked, closes_when_asked, says_nothing])
def test_a_request_that_meets_an_ill_address_goes_to_the_next_and_later_ones_begin_there(
    new_loop: LoopFactory, ill: Ill
) -> None:
    async def scenario() -> None:
        async with Origin(ill) as bad, Origin(hello) as good:
            pool = pool_of(bad, good, timeouts=Timeouts(first_byte=0.5))

            assert [await body(pool) for _ in range(10)] == [b"hello"] * 10

            assert (bad.visits, good.visits) == (1, 10)
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
def test_where_all_addresses_are_ill_the_error_is_that_of_the_last_and_comes_soon(new_loop: LoopFactory) -> None:
    async def scenario() -> None:
        async with Origin(resets_when_asked) as one, Origin(closes_when_asked) as two:
            pool = pool_of(one, two)

            for _ in range(3):
                await fails(pool, Fault.RESET)

            assert one.visits + two.visits <= 9
            now = pool.statistics()
            assert (now.busy, now.waiting) == (0, 0)
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
@pytest.mark.parametrize(("patience", "visits"), [(0.0, {1, 4}), (60.0, {3, 2})], ids=["after its time", "before"])
def test_an_address_that_was_silent_when_a_fetch_was_given_up_is_ill(
    new_loop: LoopFactory, patience: float, visits: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "PATIENCE_SECONDS", patience)

    async def scenario() -> None:
        asked = asyncio.Event()

        async def is_silent_at_first(visit: Visit) -> None:
            await visit.asked()
            if asked.is_set():
                await visit.says(OK5 + b"hello")
            asked.set()
            await visit.left()

        async with Origin(is_silent_at_first) as one, Origin(is_silent_at_first) as two:
            pool = pool_of(one, two)
            overtaken = asyncio.create_task(get(pool))
            await asked.wait()
            overtaken.cancel()
            await asyncio.wait([overtaken])

            assert [await body(pool) for _ in range(4)] == [b"hello"] * 4
            assert {one.visits, two.visits} == visits
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
def test_an_address_that_answers_others_is_slow_and_not_ill(new_loop: LoopFactory) -> None:
    async def scenario() -> None:
        async def is_slow_for_one(visit: Visit) -> None:
            while request := await visit.asked():
                if b"/slow" not in request:
                    await visit.says(OK5 + b"hello")

        async with Origin(is_slow_for_one) as one, Origin(is_slow_for_one) as two:
            pool = pool_of(one, two, timeouts=Timeouts(first_byte=0.3), kept=900.0)
            slow = asyncio.create_task(get(pool, "/slow"))
            while not slow.done():
                assert list(await asyncio.gather(body(pool), body(pool))) == [b"hello"] * 2  # at both addresses
            with pytest.raises(OriginError) as raised:
                await slow

            assert raised.value.fault is Fault.FIRST_BYTE_TIMEOUT
            assert one.visits + two.visits == 3
            await pool.close()

    run(new_loop, scenario)


@on_both_loops
@pytest.mark.parametrize("silent", [False, True], ids=["wrong certificate", "silent in the handshake"])
def test_a_handshake_that_fails_at_one_address_is_tried_at_the_next(
    new_loop: LoopFactory, silent: bool, tmp_path: Path
) -> None:
    async def scenario() -> None:
        trusting = client_context(AUTHORITY.write(tmp_path))
        wrong = None if silent else AUTHORITY.server("other.test")
        ill = says_nothing if silent else hello
        async with Origin(ill, tls=wrong) as bad, Origin(hello, tls=AUTHORITY.server("origin.test")) as good:
            pool = pool_of(bad, good, tls=trusting, timeouts=Timeouts(connect=1.0))

            assert [await body(pool) for _ in range(5)] == [b"hello"] * 5

            assert good.visits == 5
            assert bad.visits == (1 if silent else 0)  # one without a handshake isn't a visit
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)
