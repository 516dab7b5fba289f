"""A purge on its way to all nodes: over a real engine, and from node to node; journals are in /dev/shm."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.cluster.shares import names
from shield.bus.bus import Bus
from shield.errors import Fault, OriginError
from shield.rules.spreading import SpreadKind, SpreadOrder, missing_at
from shield.spread.exchange import OrderExchange
from shield.spread.journal import OrderJournal, OrderWish
from shield.spread.line import BusLine


@dataclass(frozen=True, slots=True)
class FanOut:
    """Milliseconds until all nodes have an order and its node knows that; messages and bytes for each order."""

    median: float
    worst: float
    messages: float
    sent: float


class _Node:
    """`away` has the names of nodes that can't be reached."""

    def __init__(self, directory: Path, name: str, all_nodes: dict[str, _Node], away: set[str]) -> None:
        self.name = name
        self.journal = OrderJournal(directory / f"{name}.sqlite", name, clock=time.time)
        self.exchange = OrderExchange(self.journal, self, self.carry_out, now=time.monotonic)
        self._all = all_nodes
        self._away = away
        self.messages = self.sent = 0

    async def carry_out(self, orders: Sequence[SpreadOrder]) -> Sequence[SpreadOrder]:
        return orders

    def met(self, name: str, node: str) -> None:
        """They are called as they are."""

    def others(self) -> tuple[str, ...]:
        return tuple(name for name in self._all if name != self.name)

    async def send(self, name: str, target: bytes, body: bytes = b"", *, seconds: float = 2.0) -> bytes:
        if name in self._away:
            raise OriginError(name, Fault.CONNECT, "away")
        await asyncio.sleep(0.0005)
        answer = await self._all[name].exchange.answer(self.name, body)
        self.messages += 1
        self.sent += len(body) + len(answer)
        return answer

    async def gives(self, number: int) -> SpreadOrder:
        wish = OrderWish(f"order-{number}", SpreadKind.PURGE, '{"tags":["product-7"]}', "load test")
        (order,) = await asyncio.to_thread(self.journal.append, [wish])
        await asyncio.to_thread(self.journal.complete, [order])
        return order

    async def is_everywhere(self, order: SpreadOrder) -> None:
        while True:
            state = await asyncio.to_thread(self.journal.state)
            if not missing_at(self.others(), state.acknowledged, order.sequence):
                return
            await asyncio.sleep(0.002)


async def directly(count: int, orders: int) -> FanOut:
    """From node to node."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        nodes = _nodes(Path(directory), count)
        first, times = nodes["fra-0"], []
        for number in range(orders):
            order = await first.gives(number)
            began = time.perf_counter()
            await first.exchange.with_nodes(first.others())
            await first.is_everywhere(order)
            times.append(1000.0 * (time.perf_counter() - began))
        return FanOut(statistics.median(times), max(times), first.messages / orders, first.sent / orders)


async def by_bus(count: int, orders: int, make_bus: Callable[[], Bus]) -> FanOut:
    """Over an engine."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        nodes = _nodes(Path(directory), count)
        buses = [make_bus() for _ in nodes]
        lines = [
            BusLine(bus, node.journal, node.carry_out, say=dict, now=time.monotonic)
            for bus, node in zip(buses, nodes.values(), strict=True)
        ]
        running = [asyncio.ensure_future(line.run()) for line in lines]
        try:
            await asyncio.gather(*[line.caught_up.wait() for line in lines])
            first, times = nodes["fra-0"], []
            for number in range(orders):
                order = await first.gives(number)
                began = time.perf_counter()
                lines[0].ring()
                await first.is_everywhere(order)
                times.append(1000.0 * (time.perf_counter() - began))
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)
            await asyncio.gather(*[bus.close() for bus in buses])
        sent = len(order.encoded()) * count + 70 * (count - 1) * 2
        return FanOut(statistics.median(times), max(times), 1 + (count - 1) * 3, sent)


def _nodes(directory: Path, count: int) -> dict[str, _Node]:
    nodes: dict[str, _Node] = {}
    away: set[str] = set()
    for name in names(count):
        nodes[name] = _Node(directory, name, nodes, away)
    return nodes
