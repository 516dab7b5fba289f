"""Another bus while a node runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.doubles.bus import MemoryBus, MemoryEngine
from tests.spread.parts import Cluster, quick_directory
from tests.spread.test_spreader import Spread


class ClosingBus(MemoryBus):
    """It notes that it was closed."""

    def __init__(self, engine: MemoryEngine, closed: list[MemoryEngine]) -> None:
        super().__init__(engine)
        self._of, self._closed = engine, closed

    async def close(self) -> None:
        self._closed.append(self._of)


def test_orders_go_to_another_bus_once_the_settings_have_it() -> None:
    with quick_directory() as directory:
        cluster = Cluster(Path(directory), ["a"])
        first, second = cluster.engine, MemoryEngine(cluster.clock)
        closed: list[MemoryEngine] = []
        node = cluster.nodes["a"]

        async def story() -> None:
            spread = Spread(node, bus=lambda: ClosingBus(first, closed))
            work = asyncio.ensure_future(spread.spreader._run())
            node.does(node.gives("one"))
            spread.spreader._wake()
            await _until(lambda: len(first.streams.get("orders", ())) == 1)

            spread.spreader.use_bus(lambda: ClosingBus(second, closed))
            await _until(lambda: len(second.streams.get("orders", ())) == 1)  # what the new one lacks
            node.does(node.gives("two"))
            spread.spreader._wake()
            await _until(lambda: len(second.streams.get("orders", ())) == 2)

            assert closed == [first] and len(first.streams["orders"]) == 1
            assert spread.spreader.statistics().bus is not None
            work.cancel()
            await asyncio.wait((work,))

        asyncio.run(story())


async def _until(condition: Any) -> None:
    async with asyncio.timeout(5.0):
        while not condition():  # noqa: ASYNC110  # it may be about anything
            await asyncio.sleep(0.005)


def test_without_a_bus_there_is_no_link(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, ["a"])

    async def story() -> None:
        spread = Spread(cluster.nodes["a"])
        await spread.spreader._link.keep(wanted=True)

        assert spread.spreader.statistics().bus is None
        assert not spread.spreader._link.speak() and spread.spreader._link.trouble(0.0) is None
        await asyncio.wait_for(spread.spreader._link.caught_up(), 1.0)

    asyncio.run(story())
