"""Everything becomes stale after orders were lost: bit by bit, each part once, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from shield.errors import StoreError
from shield.rules.purging import SHARES
from shield.spread.outdating import Outdating
from tests.spread.parts import Cluster, quick_directory


class Parts:
    """What became stale, and when."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.marked: list[int] = []
        self.is_full = False
        self.restart()

    def restart(self) -> None:
        journal = self.cluster.nodes["a"].journal
        self.outdating = Outdating(journal, self._mark, seconds=10.0 * SHARES, clock=self.cluster.clock)

    async def _mark(self, share: int) -> None:
        if self.is_full:
            raise StoreError("the disk is full")
        self.marked.append(share)

    async def go_on(self, seconds: int) -> None:
        for _ in range(seconds):
            await self.outdating.go_on()
            self.cluster.clock.advance(1.0)


@pytest.fixture
def parts() -> Iterator[Parts]:
    with quick_directory() as directory:
        yield Parts(Cluster(Path(directory), ["a"]))


def test_all_parts_become_stale_one_after_the_other_over_a_kill(parts: Parts) -> None:
    async def story() -> None:
        await parts.go_on(30)
        assert parts.marked == []

        await parts.outdating.begin("orders are lost")
        await parts.go_on(35)
        assert parts.marked == [0, 1, 2, 3]

        parts.restart()
        parts.cluster.clock.advance(1000.0)  # down for long: what it missed doesn't come at once
        await parts.go_on(15)
        assert parts.marked == [0, 1, 2, 3, 4, 5]
        assert (parts.outdating.state.left, parts.outdating.state.why) == (SHARES - 6, "orders are lost")

        await parts.go_on(10 * SHARES)
        assert parts.marked == list(range(SHARES))
        assert (parts.outdating.state.left, parts.outdating.state.why) == (0, "")

    asyncio.run(story())


def test_orders_lost_meanwhile_let_it_go_around(parts: Parts) -> None:
    async def story() -> None:
        await parts.outdating.begin("x")
        await parts.go_on(25)
        await parts.outdating.begin("y")
        await parts.go_on(10 * SHARES + 10)

        assert parts.marked == [*range(SHARES), 0, 1, 2]

    asyncio.run(story())


def test_a_part_that_cant_become_stale_is_tried_again(parts: Parts, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        await parts.outdating.begin("x")
        parts.is_full = True
        await parts.go_on(25)
        assert parts.marked == [] and "the disk is full" in caplog.text

        parts.is_full = False
        await parts.go_on(5)
        assert parts.marked == [0]

    asyncio.run(story())
