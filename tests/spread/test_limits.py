"""Rate limits of a cluster: two nodes with cells of their own, and a bus that may be away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from shield.rate_cells import RateCells
from shield.rules.rate_limit import RequestPace, budget_of, divided
from shield.spread.limits import ClusterLimits
from tests.doubles.bus import MemoryBus, MemoryEngine
from tests.node import FakeClock

PACE = RequestPace.of(10, 1.0, burst=10)  # ten a second, ten at once
CLIENT = budget_of(b"a client")


class Nodes:
    def __init__(self, count: int) -> None:
        self.clock = FakeClock()
        self.engine = MemoryEngine(self.clock)
        self.cells = [RateCells() for _ in range(count)]
        self.parts = [memoryview(bytearray(8)).cast("q") for _ in range(count)]
        self.limits = [
            ClusterLimits(cells, part, alone=lambda: count, clock=self.clock)
            for cells, part in zip(self.cells, self.parts, strict=True)
        ]
        self.rounds()  # the first only looks

    def rounds(self) -> None:
        async def story() -> None:
            for limits in self.limits:
                await limits.round(MemoryBus(self.engine))

        asyncio.run(story())

    def admits(self, per_quarter: Sequence[int], seconds: int, budget: int = CLIENT) -> int:
        """Requests admitted, of so many each quarter of a second at each node."""
        admitted = 0
        for _ in range(4 * seconds):
            for cells, part, wanted in zip(self.cells, self.parts, per_quarter, strict=True):
                now = int(self.clock() * 1e9)
                pace = divided(PACE, part[0]) if part[0] else PACE
                admitted += sum(not cells.take(budget, now, pace) for _ in range(wanted))
            self.rounds()
            self.clock.advance(0.25)
        return admitted


def test_a_client_of_several_nodes_gets_what_one_would_give_it() -> None:
    nodes = Nodes(3)

    admitted = nodes.admits([20, 20, 20], seconds=20)

    assert 10 * 20 <= admitted <= 10 * 20 + 3 * PACE.burst  # its burst at each of them, before they know


def test_a_client_within_its_limit_is_never_refused_wherever_its_requests_go() -> None:
    nodes = Nodes(3)

    assert nodes.admits([1, 1, 0], seconds=20) == 2 * 4 * 20


def test_a_client_of_one_node_gets_all_of_its_limit() -> None:
    nodes = Nodes(3)

    assert 200 <= nodes.admits([20, 0, 0], seconds=20) <= 210


def test_clients_dont_share_a_budget() -> None:
    nodes = Nodes(2)
    nodes.admits([20, 20], seconds=2)

    assert nodes.admits([10, 0], seconds=1, budget=budget_of(b"another")) >= 10


def test_without_the_bus_each_node_gives_its_part() -> None:
    nodes = Nodes(4)
    nodes.engine.is_away = True

    admitted = nodes.admits([20] * 4, seconds=40)

    assert 0.7 * 400 <= admitted <= 400 + 4 * PACE.burst


def test_a_quiet_node_notices_that_the_bus_is_back() -> None:
    nodes = Nodes(2)
    nodes.engine.is_away = True
    nodes.admits([1, 1], seconds=1)
    nodes.clock.advance(60.0)
    nodes.rounds()
    assert [part[0] for part in nodes.parts] == [2, 2]

    nodes.engine.is_away = False
    nodes.rounds()
    assert [part[0] for part in nodes.parts] == [0, 0]


def test_once_the_bus_is_back_the_limit_is_common_again() -> None:
    nodes = Nodes(2)
    nodes.engine.is_away = True
    nodes.admits([20, 20], seconds=10)
    nodes.engine.is_away = False
    nodes.admits([20, 20], seconds=3)

    assert nodes.admits([20, 0], seconds=20) == pytest.approx(200, rel=0.1)


def test_a_cell_that_had_another_budget_meanwhile_starts_anew() -> None:
    cells, clock = RateCells(), FakeClock()
    limits = ClusterLimits(cells, memoryview(bytearray(8)).cast("q"), alone=lambda: 2, clock=clock)
    engine = MemoryEngine(clock)
    bus = MemoryBus(engine)
    now = int(clock() * 1e9)
    asyncio.run(limits.round(bus))
    for _ in range(3):
        cells.take(CLIENT, now, PACE)
    asyncio.run(limits.round(bus))
    mask = cells._mask + 1
    for number in range(1, 9):  # all of its neighbourhood, each used more
        for _ in range(5):
            cells.take(CLIENT + number * mask, now, PACE)
    cells.take(CLIENT, now, PACE)

    asyncio.run(limits.round(bus))

    assert engine.due[f"rate:{CLIENT & (1 << 64) - 1:x}"] - clock() * 1e6 == pytest.approx(4 * PACE.interval / 1000)
