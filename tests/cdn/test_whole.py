"""Everything at a CDN is purged once for all nodes that find wrong bytes of an origin: real files and sockets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shield.cdn.whole import PURGE_WHOLE, EdgeWhole
from shield.errors import Fault, OriginError
from shield.rules.edge_purge import EdgeProvider, PurgeEdge
from tests.cdn.test_passing import EDGE, Rig, in_a_loop
from tests.doubles.receiver import Receiver
from tests.node import FakeClock


class WholeNode:
    """A node with a CDN. `all` has all nodes by name, `down` those that can't be reached."""

    def __init__(self, own: str, rig: Rig, nodes: dict[str, WholeNode], down: set[str]) -> None:
        self.own = own
        self.rig = rig
        self.all, self.down = nodes, down
        nodes[own] = self

        async def rest(seconds: float) -> None:
            await rig.ticks()

        self.whole = EdgeWhole(rig.purges, self, clock=rig.clock, rest=rest)

    def others(self) -> tuple[str, ...]:
        return tuple(sorted(self.all.keys() - {self.own}))

    async def send(self, name: str, target: bytes, body: bytes = b"", *, seconds: float = 2.0) -> bytes:
        if name in self.down or target != PURGE_WHOLE:
            raise OriginError(name, Fault.CONNECT, "it is down")
        return await self.all[name].whole.answer(self.own, body)

    async def finds(self) -> str:
        """It finds that more is wrong than it may name; the node that purges everything, if it isn't this one."""
        node = await self.whole.purge("fra", "cdn", f"corrupt-fra-{self.own}")
        await self.rig.ticks()
        return node


class Three:
    """Of them `b` has another CDN under the same name, if it is told so."""

    def __init__(self, directory: Path, receiver: Receiver, clock: FakeClock, *, edge_of_a: PurgeEdge = EDGE) -> None:
        self.down: set[str] = set()
        self.nodes: dict[str, WholeNode] = {}
        for name in "abc":
            (directory / name).mkdir()
            rig = Rig(directory / name, receiver, clock, edge_of_a if name == "a" else EDGE)
            WholeNode(name, rig, self.nodes, self.down)

    async def later(self, clock: FakeClock, seconds: float) -> None:
        clock.advance(seconds)
        for node in self.nodes.values():
            await node.rig.ticks()

    async def close(self) -> None:
        for node in self.nodes.values():
            await node.rig.purges.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


def purges(receiver: Receiver) -> int:
    return sum(each.said.get("purge_everything") is True for each in receiver.got)


@in_a_loop
async def test_nodes_that_find_it_together_purge_once_and_once_more_later(
    tmp_path: Path, receiver: Receiver, clock: FakeClock
) -> None:
    clock.advance(-clock() % 60.0)  # the spans of `again` begin here
    three = Three(tmp_path, receiver, clock)

    assert [await three.nodes[name].finds() for name in "cba"] == ["a", "a", ""]
    assert purges(receiver) == 1
    await three.later(clock, 59.0)
    assert await three.nodes["b"].finds() == "a"
    assert purges(receiver) == 1  # the second comes after what was found last
    await three.later(clock, 1.0)
    assert purges(receiver) == 2
    assert await three.nodes["c"].finds() == "a"
    assert purges(receiver) == 3  # what is found after that needs another one
    await three.close()


@in_a_loop
async def test_a_node_that_gets_no_answer_purges_itself(tmp_path: Path, receiver: Receiver, clock: FakeClock) -> None:
    three = Three(tmp_path, receiver, clock)
    three.down |= {"a"}

    assert [await three.nodes[name].finds() for name in "bc"] == ["", "b"]
    assert purges(receiver) == 1
    three.down |= {"b"}
    assert await three.nodes["c"].finds() == ""
    assert purges(receiver) == 2
    await three.close()


@in_a_loop
async def test_another_cdn_under_the_same_name_is_no_substitute(
    tmp_path: Path, receiver: Receiver, clock: FakeClock
) -> None:
    other = PurgeEdge("cdn", EdgeProvider.CLOUDFLARE, "another zone", EDGE.base_urls)
    three = Three(tmp_path, receiver, clock, edge_of_a=other)

    assert await three.nodes["c"].finds() == "b"
    assert purges(receiver) == 1
    await three.close()


@in_a_loop
async def test_without_a_second_purge_each_node_makes_its_own(
    tmp_path: Path, receiver: Receiver, clock: FakeClock
) -> None:
    three = Three(tmp_path, receiver, clock)
    for node in three.nodes.values():
        node.rig.purges.use([replace(node.rig.purges._targets["cdn"], again=0.0)])

    assert [await three.nodes[name].finds() for name in "aab"] == ["", "", ""]
    assert purges(receiver) == 2
    await three.close()
