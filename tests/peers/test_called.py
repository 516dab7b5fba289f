"""Members by DNS go by their addresses; orders and hints have the nodes' own names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from shield.errors import OriginError
from shield.peers.called import CalledNodes
from shield.peers.members import named
from shield.peers.other import NodeMember
from tests.admin.calls import ask
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock
from tests.peers.cluster import Three, three


@pytest.fixture
def cluster(origin: FaultyOrigin, clock: FakeClock) -> Iterator[Three]:
    """As `DnsMembers` has it."""
    with three(origin, clock) as made:
        members = {named("127.0.0.1", node.node_port): node.node_port for node in made.nodes}
        for node in made.nodes:
            nodes = node.others
            nodes.own = named("127.0.0.1", node.node_port)
            given = {name: NodeMember(name, "127.0.0.1", port) for name, port in members.items()}
            node.call(lambda nodes=nodes, given=given: nodes.use(given))  # type: ignore[misc]
        yield made


def test_purges_hold_at_all_nodes_though_members_are_addresses(cluster: Three, origin: FaultyOrigin) -> None:
    first, second, third = cluster.nodes
    origin.serves("/a", b"old", lifetime=600)
    assert [node.get("/a").body for node in cluster.nodes] == [b"old"] * 3
    origin.serves("/a", b"new", lifetime=600)

    receipt = ask(first, "POST", "/purge", json={"paths": ["/a"]})

    assert (receipt.status_code, receipt.json()["applied"]) == (200, ["fra-0", "fra-1", "fra-2"])
    assert [node.get("/a").body for node in cluster.nodes] == [b"new"] * 3
    assert ask(third, "POST", "/purge", json={"paths": ["/a"]}).json()["missing"] == []
    spreader = second.node.spreader
    assert spreader is not None and set(spreader.exchange.heard) == {"fra-0", "fra-2"}


def test_a_node_has_the_name_that_it_tells_or_else_its_address(cluster: Three) -> None:
    first, second, _ = cluster.nodes
    nodes, called = first.others, CalledNodes(first.others)
    before = first.call(called.others)
    assert set(before) <= {*nodes.others(), "fra-1", "fra-2"}

    async def greet() -> None:
        for member in nodes.others():
            assert await nodes.greet(member)

    first.run(greet())
    assert called.others() == ("fra-1", "fra-2")
    assert nodes.member_called("fra-1") == named("127.0.0.1", second.node_port)
    assert called.region("fra-1") == called.region("nobody") == ""
    with pytest.raises(OriginError):
        first.run(asyncio.wait_for(called.send("nobody", b"*purge"), 1.0))


def test_two_nodes_with_one_name_are_noticed(cluster: Three, caplog: pytest.LogCaptureFixture) -> None:
    first, second, _ = cluster.nodes
    spreader, other = first.node.spreader, second.node.spreader
    assert spreader is not None and other is not None
    other.journal.node = "fra-0"

    assert not first.run(spreader.exchange._with(named("127.0.0.1", second.node_port)))

    assert "a message of fra-0 came from fra-0: two nodes have the same name?" in caplog.text
