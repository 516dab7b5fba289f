"""Nodes of a cluster in one process: their real journals and exchange, a network whose ways can be cut, no stores."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from shield.errors import Fault, OriginError
from shield.rules.spreading import SpreadKind, SpreadOrder
from shield.spread.exchange import OrderExchange
from shield.spread.journal import OrderJournal, OrderWish
from shield.spread.line import BusLine
from tests.doubles.bus import MemoryBus, MemoryEngine
from tests.node import FakeClock

T = TypeVar("T")


def quick_directory() -> tempfile.TemporaryDirectory[str]:
    """A directory in memory, where there is any: nothing is killed there, and fsync costs nothing."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)


class Cluster:
    """`cut` has pairs of nodes that can't reach each other."""

    def __init__(self, directory: Path, names: Sequence[str]) -> None:
        self.clock = FakeClock()
        self.engine = MemoryEngine(self.clock)
        self.cut: set[frozenset[str]] = set()
        self.down: set[str] = set()
        self.nodes: dict[str, ClusterNode] = {}
        self.directory = directory
        self._numbers = itertools.count(1)
        for name in names:
            self.nodes[name] = ClusterNode(self, name)

    def new_id(self) -> str:
        return f"order-{next(self._numbers)}"

    def reach(self, one: str, other: str) -> bool:
        return other not in self.down and frozenset((one, other)) not in self.cut


class ClusterNode:
    """`carried_out` has what this node did, by place, as its own disk does. A kill leaves that and the journal."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.own = name
        self.carried_out: list[tuple[str, int]] = []
        self.refuses = False  # orders, as if its disk were full
        self.start()

    def start(self) -> None:
        """What a start makes anew."""
        path = self.cluster.directory / f"{self.own}.sqlite"
        self.journal = OrderJournal(path, self.own, clock=self.cluster.clock)
        self.exchange = OrderExchange(self.journal, self, self.carry_out, now=self.cluster.clock)
        self.line = BusLine(
            MemoryBus(self.cluster.engine), self.journal, self.carry_out, say=dict, now=self.cluster.clock
        )

    def met(self, name: str, node: str) -> None:
        """They are called as they are."""

    def others(self) -> tuple[str, ...]:
        return tuple(sorted(self.cluster.nodes.keys() - {self.own}))

    async def send(self, name: str, target: bytes, body: bytes = b"", *, seconds: float = 2.0) -> bytes:
        if not self.cluster.reach(self.own, name):
            raise OriginError(name, Fault.CONNECT, "cut")
        answer = await self.cluster.nodes[name].exchange.answer(self.own, body)
        if not self.cluster.reach(name, self.own):
            raise OriginError(name, Fault.RESET, "cut")
        return answer

    async def carry_out(self, orders: Sequence[SpreadOrder]) -> Sequence[SpreadOrder]:
        if self.refuses:
            return ()
        self.carried_out += [order.place for order in orders]
        return orders

    def gives(self, order_id: str, text: str = "{}") -> SpreadOrder:
        """An order on the disk, and not carried out yet."""
        return self.journal.append([OrderWish(order_id, SpreadKind.PURGE, text, "test")])[0]

    def does(self, *orders: SpreadOrder) -> None:
        """Carry out orders of its own."""
        self.carried_out += [order.place for order in orders]
        self.journal.complete(orders)


def run(story: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(story)
