"""Orders over sentinels' engines: a primary that dies with what its replica hasn't got."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from shield.bus.address import engine_address
from shield.bus.bus import BusError
from shield.bus.engine import EngineBus
from shield.spread.line import BusLine
from tests.bus.servers import WHY_NOT, Sentinels, are_there, programs
from tests.spread.parts import Cluster, ClusterNode

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not are_there(), reason=WHY_NOT)]


def test_orders_are_neither_lost_nor_carried_out_twice_by_a_failover(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, ["a", "b", "c"])
    nodes = list(cluster.nodes.values())
    a, b, c = nodes

    async def all_have(count: int) -> None:
        """Go on with all nodes until each has carried out so many orders."""
        end = time.monotonic() + 20.0
        while [len(node.carried_out) for node in nodes] != [count] * 3:
            assert time.monotonic() < end, [node.carried_out for node in nodes]
            for node in nodes:
                await one_turn(node)
            cluster.clock.advance(5.0)  # what can't be read back is appended again

    async def settled() -> None:
        for node in nodes * 3:
            await one_turn(node)

    async def one_turn(node: ClusterNode) -> None:
        try:
            if not node.line.state.is_up:
                await node.line.begin()
            await node.line.tick()
            await node.line.read()
            await node.line.publish()
        except BusError as error:
            node.line._lost(error)
            await asyncio.sleep(0.02)

    async def story(engines: Sentinels) -> None:
        buses = [EngineBus(engine_address(engines.url)) for _ in nodes]
        for node, bus in zip(nodes, buses, strict=True):
            node.line = BusLine(bus, node.journal, node.carry_out, say=dict, now=cluster.clock)
        a.does(a.gives("before"))
        await all_have(1)
        await settled()  # all know the engine

        engines.replica.freeze()
        engines.primary.says("CLIENT KILL TYPE replica")  # else it would find the order in its socket
        a.does(a.gives("its replica never gets it"))
        await all_have(2)
        await settled()  # all have read it, the first one as well
        engines.primary.kill()
        engines.replica.thaw()
        b.does(b.gives("while there is no primary"))
        await all_have(3)

        engines.primary.start()  # as a replica
        c.does(c.gives("afterwards"))
        await all_have(4)
        await settled()
        for bus in buses:
            await bus.close()

    with Sentinels(programs().get("redis") or next(iter(programs().values())), tmp_path, sentinels=1) as engines:
        asyncio.run(story(engines))

    places = sorted(a.carried_out)
    assert [node for node, _ in places] == ["a", "a", "b", "c"]
    assert [sorted(node.carried_out) for node in nodes] == [places] * 3
    assert sum(node.line.state.resets for node in nodes) >= 1  # the replica's lack was noticed
