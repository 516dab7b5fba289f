"""Bodies of another node that dies, freezes or leaves while it sends them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.client import request
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Wait
from tests.node import FakeClock
from tests.peers.cluster import Three, three

BODY = Pattern(200_000)


@pytest.fixture
def cluster(origin: FaultyOrigin, clock: FakeClock) -> Iterator[Three]:
    with three(origin, clock) as made:
        yield made


@pytest.mark.parametrize("etag", ['"strong"', 'W/"weak"'])
def test_a_body_of_a_node_that_dies_continues_or_ends_visibly_broken(
    cluster: Three, origin: FaultyOrigin, etag: str
) -> None:
    path, gate = cluster.path(owner=0, second=1), origin.gate()
    owner, _, asker = cluster.nodes
    origin.serves(path, BODY, lifetime=60, fields={"etag": etag})
    origin.spoils(path, at_body(100_000, Wait(gate)), times=1)

    with asker.client() as client:
        client.send(request(path))
        asker.wait_for(lambda: asker.node.state()["fills"]["memory_used_bytes"])  # type: ignore[index]
        owner.vanish()
        answer = client.read()
    again = asker.get(path)
    gate.open()

    continues = etag == '"strong"'  # else the bytes may be those of another version
    assert (answer.clean, answer.body == BODY[:]) == (continues, continues) and BODY.check(answer.body)
    assert (again.clean, again.body == BODY[:]) == (True, True)


def test_a_body_of_a_node_that_freezes_continues_elsewhere(
    cluster: Three, origin: FaultyOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, gate, thawed = cluster.path(owner=0, second=1), origin.gate(), threading.Event()
    owner, _, asker = cluster.nodes
    origin.serves(path, BODY, lifetime=60)
    origin.spoils(path, at_body(100_000, Wait(gate)), times=1)
    monkeypatch.setattr("shield.peers.nodes._HELLO_SECONDS", 0.1)
    monkeypatch.setattr("shield.peers.nodes._SENDING_SECONDS", 0.0)
    monkeypatch.setattr("shield.peers.nodes._RETRY_SECONDS", 0.0)

    def was_broken_off() -> bool:
        asker.others.tick()
        return origin.fetches(path) > 1

    with asker.client() as client:
        client.send(request(path))
        asker.wait_for(lambda: asker.node.state()["fills"]["memory_used_bytes"])  # type: ignore[index]
        owner._loop.call_soon_threadsafe(thawed.wait)
        try:
            asker.wait_for(was_broken_off)
            answer = client.read()
        finally:
            thawed.set()
            gate.open()

    assert (answer.clean, answer.body == BODY[:]) == (True, True)


def test_bodies_of_a_node_that_leaves_the_cluster_come_to_their_end(cluster: Three, origin: FaultyOrigin) -> None:
    path, gate, asker = cluster.path(owner=0), origin.gate(), cluster.nodes[1]
    origin.serves(path, BODY, lifetime=60)
    origin.spoils(path, at_body(100_000, Wait(gate)), times=1)

    with asker.client() as client:
        client.send(request(path))
        asker.wait_for(lambda: asker.node.state()["fills"]["memory_used_bytes"])  # type: ignore[index]
        asker.believe({"fra-1": 1.0, "fra-2": 1.0})
        gate.open()
        answer = client.read()

    assert (answer.clean, answer.body == BODY[:]) == (True, True)
