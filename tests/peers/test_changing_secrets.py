"""A secret of the cluster takes the place of another one, on node after node."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from shield.rules.peer_secrets import OVERLAP, SETTLE
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock
from tests.peers.cluster import SECRET, ClusterNode, Three, three

OLD, NEW = SECRET.encode(), b"the-next-one-0123456789-0123456789-x"


@pytest.fixture
def cluster(origin: FaultyOrigin, clock: FakeClock) -> Iterator[Three]:
    with three(origin, clock) as made:
        yield made


def greet(cluster: Three) -> None:
    """All tell all of themselves."""

    async def all_of(node: ClusterNode) -> None:
        for name in node.others.others():
            assert await node.others.greet(name)

    for node in cluster.nodes:
        node.run(all_of(node))


def ask(cluster: Three, origin: FaultyOrigin) -> None:
    """All nodes are asked for new objects of all owners, and get them from those."""
    for owner in range(3):
        path = cluster.path(owner, number=ask_again.pop())
        origin.serves(path, b"x" * 100, lifetime=600)
        assert [node.get(path).status for node in cluster.nodes] == [200] * 3
        assert origin.fetches(path) == 1


ask_again = list(range(1000))


def test_all_nodes_answer_each_other_throughout(cluster: Three, origin: FaultyOrigin, clock: FakeClock) -> None:
    greet(cluster)
    for node in cluster.nodes:
        assert node.call(partial(node.others.use_secrets, [NEW]))
        ask(cluster, origin)
        clock.advance(SETTLE)
        ask(cluster, origin)  # before it has told
        greet(cluster)
        ask(cluster, origin)

    told = [
        other["accepts_newest_secret"]
        for node in cluster.nodes
        for other in node.state()["cluster"]["nodes"].values()
    ]
    assert told == [True] * 6
    clock.advance(OVERLAP)
    for node in cluster.nodes:
        node.call(node.others.tick)
        ask(cluster, origin)
    assert [node.others.secrets.accepted for node in cluster.nodes] == [(NEW,)] * 3
    assert [node.proxy_for_nodes.denied for node in cluster.nodes] == [{}] * 3


def test_a_node_that_began_with_the_new_one_alone_is_understood_after_a_refusal(
    cluster: Three, origin: FaultyOrigin
) -> None:
    greet(cluster)
    first, second, _ = cluster.nodes
    first.call(lambda: first.others.use_secrets([NEW, OLD]))
    second.call(lambda: setattr(second.others.secrets, "accepted", (NEW,)))  # as if it had just been started

    assert not first.run(first.others.greet(second.name))
    first.call(lambda: first.others._note_up(second.name, first.others._others[second.name].asked[0]))
    assert first.run(first.others.greet(second.name))
