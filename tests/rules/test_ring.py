"""The order of a cluster's nodes for each key."""

from __future__ import annotations

import os
from collections import Counter

import pytest
import xxhash

from shield.rules.rendezvous import Rendezvous
from shield.rules.ring import NodeRing

DIGESTS = [xxhash.xxh3_128_digest(b"/object-%d" % number) for number in range(30_000)]


def shares(ring: NodeRing) -> dict[str, float]:
    counted = Counter(ring.order(digest)[0] for digest in DIGESTS)
    return {name: counted[name] / len(DIGESTS) for name in ring.names}


def test_members_own_keys_in_proportion_to_their_weights() -> None:
    found = shares(NodeRing({"a": 1.0, "b": 2.0, "c": 1.0}))

    assert found == pytest.approx({"a": 0.25, "b": 0.5, "c": 0.25}, abs=0.015)


def test_a_member_that_leaves_moves_only_its_own_keys_and_they_go_to_the_second() -> None:
    before, after = NodeRing({"a": 1, "b": 1, "c": 1}), NodeRing({"a": 1, "c": 1})

    for digest in DIGESTS[:5000]:
        order = before.order(digest)
        assert after.order(digest)[0] == (order[1] if order[0] == "b" else order[0])


def test_the_order_is_of_names_alone_and_stays_the_same_for_ever() -> None:
    one, other = NodeRing({"fra-1": 1, "fra-2": 2, "ams-1": 1}), NodeRing({"ams-1": 1.0, "fra-2": 2.0, "fra-1": 1.0})

    assert one.id == other.id == b"27f2f43572c43d90"
    assert one.order(DIGESTS[7]) == other.order(DIGESTS[7])
    assert (
        len({NodeRing({"a": 1}).id, NodeRing({"b": 1}).id, NodeRing({"a": 2}).id, NodeRing({"a": 1, "b": 1}).id}) == 4
    )


def test_each_worker_of_a_node_owns_its_share_of_the_nodes_keys() -> None:
    ring, workers = NodeRing({"a": 1, "b": 1, "c": 1}), Rendezvous([b"worker-%d" % number for number in range(4)])

    mine = [workers.owner(digest) for digest in DIGESTS if ring.order(digest)[0] == "a"]

    assert all(0.22 < mine.count(worker) / len(mine) < 0.28 for worker in range(4))


def test_only_the_first_three_are_known() -> None:
    assert len(NodeRing({str(number): 1 for number in range(9)}).order(os.urandom(16))) == 3
    assert NodeRing({"a": 1}).order(os.urandom(16)) == ("a",)


@pytest.mark.parametrize("weights", [{}, {"a": 0.0}, {"a": 1.0, "b": -1.0}])
def test_a_ring_needs_members_with_weights(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="needs members"):
        NodeRing(weights)
