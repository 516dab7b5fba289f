"""The bus on real engines and in memory: one contract; and what an engine may do that has none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from shield.bus.address import engine_address
from shield.bus.bus import BEGINNING, Bus, BusError, LeaseClaim, order_of
from shield.bus.clients import OneServer
from shield.bus.engine import EngineBus
from tests.bus.servers import WHY_NOT, Engine, are_there, programs
from tests.doubles.bus import MemoryBus, MemoryEngine

real = pytest.mark.skipif(not are_there(), reason=WHY_NOT)
KINDS = ["memory", *[pytest.param(name, marks=real) for name in ("redis", "valkey")]]


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Engine]]:
    running = {name: Engine(path, tmp_path_factory.mktemp(name)) for name, path in programs().items()}
    for engine in running.values():
        engine.start()
    yield running
    for engine in running.values():
        engine.kill()


def on(engines: dict[str, Engine], kind: str, story: Callable[[Bus], Awaitable[None]]) -> None:
    """The story on an engine of this kind, with names of its own there."""

    async def told() -> None:
        if kind == "memory":
            return await story(MemoryBus(MemoryEngine(time.time)))
        if kind not in engines:
            pytest.skip(WHY_NOT)
        bus = EngineBus(engine_address(engines[kind].url), prefix=f"test-{time.time_ns()}")
        try:
            await story(bus)
        finally:
            await bus.close()
        return None

    asyncio.run(told())


@pytest.mark.parametrize("kind", KINDS)
def test_entries_are_read_in_their_order_from_any_position(engines: dict[str, Engine], kind: str) -> None:
    async def story(bus: Bus) -> None:
        first = await bus.append("one", b"a")
        second = await bus.append("one", b"b\x00\xff")
        await bus.append("two", b"c")

        assert order_of(BEGINNING) < order_of(first) < order_of(second)
        found = await bus.read_from({"one": BEGINNING}, 0.0)
        assert [(entry.stream, entry.data) for entry in found] == [("one", b"a"), ("one", b"b\x00\xff")]
        assert [entry.position for entry in found] == [first, second]
        assert [entry.data for entry in await bus.read_from({"one": first, "two": BEGINNING}, 0.0)] == [
            b"b\x00\xff",
            b"c",
        ]
        assert await bus.read_from({"one": second, "none": BEGINNING}, 0.0) == []

    on(engines, kind, story)


@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_waits_for_an_entry(engines: dict[str, Engine], kind: str) -> None:
    async def story(bus: Bus) -> None:
        reading = asyncio.ensure_future(bus.read_from({"one": BEGINNING}, 1.0))
        await asyncio.sleep(0.02)
        await bus.append("one", b"a")

        assert [entry.data for entry in await reading] == [b"a"]

    on(engines, kind, story)


@pytest.mark.parametrize("kind", KINDS)
def test_ticks_tell_who_lives_and_what_the_engine_has(engines: dict[str, Engine], kind: str) -> None:
    async def story(bus: Bus) -> None:
        first = await bus.tick("a", b"one thing", 15.0, ["orders"])
        position = await bus.append("orders", b"x")
        await bus.tick("gone", b"soon", 0.001)
        await asyncio.sleep(0.005)
        second = await bus.tick("b", b"another", 15.0, ["orders", "none"])

        assert first.said == {"a": b"one thing"} and first.newest == {"orders": BEGINNING}
        assert second.said == {"a": b"one thing", "b": b"another"}
        assert second.newest == {"orders": position, "none": BEGINNING}
        assert first.epoch == second.epoch != ""

    on(engines, kind, story)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lease_is_granted_until_its_budget_is_spent(engines: dict[str, Engine], kind: str) -> None:
    async def story(bus: Bus) -> None:
        second = 1_000_000
        assert await bus.lease([]) == []
        first, other = await bus.lease([LeaseClaim("x", 60 * second, 0), LeaseClaim("y", second, 0)])
        again, free = await bus.lease([LeaseClaim("x", 60 * second, 0), LeaseClaim("z", 0)])
        spent = (await bus.lease([LeaseClaim("y", second)]))[0]

        assert first.is_granted and other.is_granted and not again.is_granted
        assert 59 * second < again.ahead <= 60 * second
        assert free == (True, 0)
        assert spent.is_granted and second < spent.ahead <= 2 * second

    on(engines, kind, story)


@real
def test_what_was_emptied_has_another_epoch(engines: dict[str, Engine]) -> None:
    async def story(bus: Bus) -> None:
        before = await bus.tick("a", b"", 15.0)
        assert isinstance(bus, EngineBus)
        await bus._clients.run(lambda client: client.flushall())
        assert (await bus.tick("a", b"", 15.0)).epoch != before.epoch

    on(engines, next(iter(engines)), story)


@real
def test_a_frozen_engine_costs_its_time_limit_once_and_no_retries(tmp_path: Path) -> None:
    program = next(iter(programs().values()))

    async def story(engine: Engine) -> None:
        bus = EngineBus(engine_address(engine.url), seconds=0.2)
        await bus.append("x", b"a")
        engine.freeze()
        try:
            async with asyncio.timeout(5.0):  # with retries it would take thirty times the limit
                with pytest.raises(BusError, match=f"bus 127.0.0.1:{engine.port}: Timeout"):
                    await bus.append("x", b"b")
        finally:
            engine.thaw()
        assert await bus.append("x", b"c")
        engine.kill()
        with pytest.raises(BusError):
            await bus.append("x", b"d")
        await bus.close()

    with Engine(program, tmp_path) as engine:
        asyncio.run(story(engine))


@real
def test_a_wrong_password_is_said_without_it(tmp_path: Path) -> None:
    program = next(iter(programs().values()))

    async def story(engine: Engine) -> None:
        wrong = EngineBus(engine_address(f"redis://:wrong-secret@127.0.0.1:{engine.port}"))
        with pytest.raises(BusError) as raised:
            await wrong.append("x", b"a")
        assert "wrong-secret" not in str(raised.value)
        await wrong.close()
        right = EngineBus(engine_address(f"redis://:right@127.0.0.1:{engine.port}"))
        assert await right.append("x", b"a")
        await right.close()

    with Engine(program, tmp_path, options=["--requirepass", "right"]) as engine:
        asyncio.run(story(engine))


def test_a_cancelled_task_ends_though_the_client_swallows_it() -> None:
    class Swallowing:
        async def xadd(self, *_: object, **__: object) -> bytes:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return b"1-0"
            return b"2-0"

    async def told() -> None:
        bus = EngineBus(engine_address("redis://127.0.0.1:1/0"))
        bus._clients = OneServer(Swallowing())
        task = asyncio.ensure_future(bus.append("orders", b""))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(told())
