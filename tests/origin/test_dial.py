"""Opening: the race between addresses, with connects in the test's hand, and the limits around it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from shield.errors import Fault, OriginError
from shield.origin import dial
from shield.origin.dial import Endpoint, race
from shield.origin.pool import Pool
from shield.origin.resolver import Address, Resolver
from shield.origin.terms import PoolLimits, Timeouts
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
    until,
)

ONE, TWO, THREE = (Address(socket.AF_INET, (f"10.0.0.{number}", 80)) for number in (1, 2, 3))
NEVER = 3600.0


class Network:
    """Connects that are answered when the test says so."""

    def __init__(self) -> None:
        self.tried: dict[Address, asyncio.Future[None]] = {}
        self.order: list[Address] = []
        self.sockets: dict[Address, socket.socket] = {}

    async def connect(self, address: Address) -> socket.socket:
        sock = self.sockets[address] = socket.socket()
        self.order.append(address)
        self.tried[address] = asyncio.get_running_loop().create_future()
        try:
            await self.tried[address]
        except BaseException:
            sock.close()
            raise
        return sock

    def open(self) -> list[Address]:
        return [address for address, sock in self.sockets.items() if sock.fileno() >= 0]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    made = Network()
    monkeypatch.setattr(dial, "_connect", made.connect)
    with no_descriptor_left():
        yield made
        for sock in made.sockets.values():
            sock.close()


@on_both_loops
def test_the_next_address_is_tried_as_soon_as_one_fails(new_loop: LoopFactory, network: Network) -> None:
    async def scenario() -> None:
        racing = asyncio.create_task(race([ONE, TWO, THREE], stagger=NEVER))
        await until(lambda: network.order == [ONE])
        network.tried[ONE].set_exception(OSError("refused"))
        await until(lambda: network.order == [ONE, TWO])
        network.tried[TWO].set_result(None)

        sock, address = await racing

        assert (address, network.open()) == (TWO, [TWO])
        sock.close()

    run(new_loop, scenario)


@on_both_loops
def test_a_slow_address_gets_company_and_the_loser_is_closed(new_loop: LoopFactory, network: Network) -> None:
    async def scenario() -> None:
        racing = asyncio.create_task(race([ONE, TWO], stagger=0.0))
        await until(lambda: network.order == [ONE, TWO])
        network.tried[TWO].set_result(None)

        sock, address = await racing
        await until(lambda: network.open() == [TWO])

        assert address == TWO
        sock.close()

    run(new_loop, scenario)


@on_both_loops
def test_two_that_answer_at_once_leave_one(new_loop: LoopFactory, network: Network) -> None:
    async def scenario() -> None:
        racing = asyncio.create_task(race([ONE, TWO], stagger=0.0))
        await until(lambda: network.order == [ONE, TWO])
        network.tried[ONE].set_result(None)
        network.tried[TWO].set_result(None)

        sock, address = await racing
        await until(lambda: network.open() == [address])

        sock.close()

    run(new_loop, scenario)


@on_both_loops
def test_when_none_answers_every_reason_is_told(new_loop: LoopFactory, network: Network) -> None:
    async def scenario() -> None:
        racing = asyncio.create_task(race([ONE, TWO], stagger=0.0))
        await until(lambda: network.order == [ONE, TWO])
        network.tried[ONE].set_exception(OSError("one refused"))
        network.tried[TWO].set_exception(OSError("two unreachable"))

        with pytest.raises(OSError, match=r"one refused.*two unreachable|two unreachable.*one refused"):
            await racing
        assert network.open() == []

    run(new_loop, scenario)


@on_both_loops
def test_a_race_given_up_twice_over_leaves_no_socket(new_loop: LoopFactory, network: Network) -> None:
    async def scenario() -> None:
        racing = asyncio.create_task(race([ONE, TWO, THREE], stagger=0.0))
        await until(lambda: network.order == [ONE, TWO, THREE])

        racing.cancel()
        await asyncio.sleep(0)
        racing.cancel()
        await asyncio.wait((racing,))

        await until(lambda: not network.open())

    run(new_loop, scenario)


async def hello(visit: Visit) -> None:
    while await visit.asked():
        await visit.says(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")


@on_both_loops
def test_a_dead_address_before_a_live_one_is_passed_over(new_loop: LoopFactory) -> None:
    async def scenario() -> None:
        async with Origin(hello) as origin:

            async def lookup(host: str, port: int) -> list[tuple[object, ...]]:
                return [(socket.AF_INET, 1, 6, "", ("127.0.0.1", place)) for place in (closed_port(), origin.port)]

            resolver = Resolver("origin.test", origin.port, lookup=lookup)
            pool = Pool(Endpoint("fra", "origin.test", origin.port), resolver=resolver)

            assert await body(pool) == b"hello"
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@on_both_loops
def test_a_refused_connection_names_the_address_and_gives_its_place_back(new_loop: LoopFactory) -> None:
    async def scenario() -> None:
        port = closed_port()
        pool = Pool(endpoint(port), limits=PoolLimits(connections=1))
        for _ in range(3):
            with pytest.raises(OriginError, match=rf"127\.0\.0\.1:{port}: ") as raised:
                await get(pool)
            assert raised.value.fault is Fault.CONNECT
        now = pool.statistics()
        assert (now.busy, now.waiting, now.opened_total) == (0, 0, 0)
        await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
def test_a_connection_that_the_origin_ends_at_once_is_an_error_and_no_wait(new_loop: LoopFactory) -> None:
    async def scenario() -> None:
        async def resets(visit: Visit) -> None:
            visit.resets()

        async with Origin(resets) as origin:
            pool = Pool(endpoint(origin.port), limits=PoolLimits(connections=1), timeouts=Timeouts(first_byte=NEVER))
            for _ in range(5):
                with pytest.raises(OriginError) as raised:
                    await get(pool, patience=NEVER)
                assert raised.value.fault in (Fault.CONNECT, Fault.RESET)
            await settled(pool)
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
def test_an_opening_that_fails_leaves_no_cycle(new_loop: LoopFactory) -> None:
    async def scenario() -> None:
        pool = Pool(endpoint(closed_port()))
        with suppress(OriginError):
            await get(pool)
        assert cycles() == {}
        await pool.close()

    with uncollected():
        run(new_loop, scenario)


@on_both_loops
@pytest.mark.parametrize(
    ("timeouts", "patience", "fault"),
    [(Timeouts(connect=0.01), 10.0, Fault.RESOLVE), (Timeouts(), 0.01, Fault.RESOLVE)],
)
def test_a_resolver_that_hangs_is_not_waited_for(
    new_loop: LoopFactory, timeouts: Timeouts, patience: float, fault: Fault
) -> None:
    async def scenario() -> None:
        async def lookup(host: str, port: int) -> list[tuple[object, ...]]:
            await asyncio.Event().wait()
            return []

        resolver = Resolver("origin.test", 80, lookup=lookup)
        pool = Pool(Endpoint("fra", "origin.test", 80), timeouts=timeouts, resolver=resolver)

        await fails(pool, fault, patience=patience)

        assert pool.statistics().busy == 0
        await pool.close()

    run(new_loop, scenario)
