"""A node that lacks purges of this one has nothing to give: what was purged here isn't served through it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pytest

from tests.admin.calls import ask
from tests.client import request
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Wait
from tests.node import FakeClock
from tests.peers.cluster import ClusterNode, Three, three


@pytest.fixture
def cluster(origin: FaultyOrigin, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Three]:
    monkeypatch.setattr("shield.spread.spreader.RECEIPT_SECONDS", 0.2)
    with three(origin, clock) as made:
        yield made


@pytest.mark.parametrize("kind", ["paths", "prefixes", "tags"])
def test_what_was_purged_here_is_not_served_through_a_node_that_lacks_the_order(
    cluster: Three, origin: FaultyOrigin, kind: str
) -> None:
    asked, _, owner = cluster.nodes
    path, other = cluster.path(owner=2), cluster.path(owner=2, number=1)
    for each in (path, other):
        origin.serves(each, b"old", lifetime=600, fields={"Surrogate-Key": each.strip("/")})
        assert (asked.get(each).body, owner.get(each).body) == (b"old", b"old")
    for node in cluster.nodes:  # no order goes anywhere
        node.call(partial(node.others.orders.pop, b"*purge"))
    origin.serves(path, b"new", lifetime=600, fields={"Surrogate-Key": path.strip("/")})
    said: Mapping[str, Any] = {"paths": [path], "prefixes": [path], "tags": [path.strip("/")]}
    assert ask(asked, "POST", "/purge", json={kind: said[kind]}).json()["missing"] == ["fra-1", "fra-2"]
    for _ in range(3):
        asked.run(tick(asked))

    assert [asked.get(path).body for _ in range(2)] == [b"new", b"new"]
    assert asked.asked["behind"] >= 1
    if kind != "tags":  # they aren't known of a response
        before = origin.fetches(other)
        assert asked.get(other).body == b"old" and origin.fetches(other) == before


def test_nor_is_what_such_a_node_had_begun_to_fetch(cluster: Three, origin: FaultyOrigin) -> None:
    asked, _, owner = cluster.nodes
    path, gate = cluster.path(owner=2), origin.gate()
    for node in cluster.nodes:  # no order goes anywhere
        node.call(partial(node.others.orders.pop, b"*purge"))
    origin.serves(path, b"old" * 50_000, lifetime=600)
    origin.spoils(path, at_body(100_000, Wait(gate)), times=1)
    with owner.client() as client:
        client.send(request(path))
        gate.reached()
        origin.serves(path, b"new", lifetime=600)
        ask(asked, "POST", "/purge", json={"paths": [path]})
        for _ in range(3):
            asked.run(tick(asked))

        assert asked.get(path).body == b"new"
        gate.open()
        assert client.read().body[:3] == b"old"  # its own client asked before it knew


def test_nor_after_a_restart_of_this_node(cluster: Three, origin: FaultyOrigin) -> None:
    asked, _, owner = cluster.nodes
    path = cluster.path(owner=2)
    for node in cluster.nodes:  # no order goes anywhere
        node.call(partial(node.others.orders.pop, b"*purge"))
    origin.serves(path, b"old", lifetime=600)
    assert owner.get(path).body == b"old"
    origin.serves(path, b"new", lifetime=600)
    ask(asked, "POST", "/purge", json={"paths": [path]})

    as_after_a_restart(asked)

    assert asked.get(path).body == b"new" and asked.asked["behind"] == 1


def as_after_a_restart(node: ClusterNode) -> None:
    """Only what is on its disk is known."""
    spreader, behind = node.node.spreader, node.cluster.behind
    assert spreader is not None
    spreader.owed._newest = None
    node.call(behind._had_all.clear)
    behind._began = node.node.store.generation
    for _ in range(3):
        node.run(tick(node))


async def tick(node: ClusterNode) -> None:
    """What happens once a second."""
    assert node.node.spreader is not None
    await node.node.spreader._read_digests()
    node.cluster.behind.tick()
