"""What a node says that couldn't ask all others when it started."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.spread.parts import Cluster, quick_directory
from tests.spread.test_spreader import Spread


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with quick_directory() as directory:
        yield Cluster(Path(directory), ["a", "b"])


async def started(cluster: Cluster, *, is_empty: bool = False) -> Spread:
    """The first node after its start, while the other is down; the test makes its rounds."""
    cluster.down.add("b")
    spread = Spread(cluster.nodes["a"], is_empty=is_empty)
    await spread.spreader.open()
    assert spread.spreader._work is not None
    spread.spreader._work.cancel()
    return spread


def said(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


def test_nodes_that_start_together_alarm_nobody(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def story() -> None:
        spread = await started(cluster)
        await spread.rounds(count=2)
        cluster.down.clear()
        await spread.rounds(count=2)

        assert said(caplog) == []
        assert any("none was missing" in text for text in said(caplog, logging.INFO))

    asyncio.run(story())


def test_orders_that_came_too_late_are_told(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    a, b = cluster.nodes.values()

    async def story() -> None:
        b.does(b.gives("while a was away"))
        cluster.clock.advance(10.0)
        spread = await started(cluster)
        await spread.rounds(count=2)
        cluster.down.clear()
        b.does(b.gives("since a is there"))
        await spread.rounds(count=2)

        assert len(a.carried_out) == 2
        (text,) = [
            text for text in said(caplog) if text.startswith("orders that were given while this node was away")
        ]
        assert text.endswith(": 1")

    asyncio.run(story())


@pytest.mark.parametrize("is_empty", [False, True])
def test_a_node_that_stays_away_is_told_after_a_while_unless_nothing_can_be_missing(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, is_empty: bool
) -> None:
    async def story() -> None:
        spread = await started(cluster, is_empty=is_empty)
        await spread.rounds(count=5)
        assert said(caplog) == []

        await spread.rounds(count=5)
        await spread.rounds(count=5)
        found = [text for text in said(caplog) if "orders of these nodes may be missing" in text]
        assert len(found) == (0 if is_empty else 1)
        assert any("can't be exchanged with node b" in text for text in said(caplog))

    asyncio.run(story())
