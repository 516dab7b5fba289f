"""Fetching through the node that owns a key: three nodes in one process, over real TCP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shield.errors import OriginError
from shield.rules import peer_auth
from tests.client import Answer, Client, request
from tests.doubles.faults import preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Wait
from tests.node import FakeClock
from tests.peers.cluster import SECRET, ClusterNode, Three, three

BODY = Pattern(200_000)


@pytest.fixture
def cluster(origin: FaultyOrigin, clock: FakeClock) -> Iterator[Three]:
    with three(origin, clock) as made:
        yield made


def test_clients_of_all_nodes_share_one_fill(cluster: Three, origin: FaultyOrigin) -> None:
    path, gate = cluster.path(owner=0), origin.gate()
    origin.serves(path, BODY, lifetime=60)
    origin.spoils(path, preceded_by(Wait(gate)))
    clients = [node.client() for node in cluster.nodes for _ in range(4)]

    for client in clients:
        client.send(request(path))
    cluster.nodes[0].wait_for(lambda: cluster.nodes[0].node.state()["fills"]["collapsed"] >= 5)  # type: ignore[index]
    gate.open()
    answers = [client.read() for client in clients]
    for client in clients:
        client.close()

    assert all(answer.clean and BODY.check(answer.body) for answer in answers)
    assert origin.fetches(path) == 1
    assert [node.asked["owner"] for node in cluster.nodes] == [0, 1, 1]


def test_what_another_node_has_is_not_kept(cluster: Three, origin: FaultyOrigin) -> None:
    path = cluster.path(owner=0)
    origin.serves(path, BODY, lifetime=60)

    first, again = cluster.nodes[1].get(path), cluster.nodes[1].get(path)

    assert [answer.body == BODY[:] for answer in (first, again)] == [True] * 2
    assert origin.fetches(path) == 1
    assert cluster.nodes[1].asked == {"owner": 2, "second": 0, "without": 0, "hits": 1, "refused": 0}
    assert cluster.nodes[0].get(path).hit
    assert "stored" not in _said(first)[1]


def test_the_hops_are_named(cluster: Three, origin: FaultyOrigin) -> None:
    path = cluster.path(owner=0)
    origin.serves(path, b"x", lifetime=60)

    cluster.nodes[1].get(path)
    cluster.clock.advance(20)
    answer = cluster.nodes[1].get(path)

    assert _said(answer) == ["fra-0; hit; ttl=40", "fra-1; fwd=uri-miss; fwd-status=200; detail=peer-hit"]
    assert (answer.get("age"), [value for name, value in answer.fields if name == "via"]) == (
        "20",
        ["1.1 fra-0", "1.1 fra-1"],
    )


def test_the_second_is_asked_when_the_owner_is_gone(cluster: Three, origin: FaultyOrigin) -> None:
    path = cluster.path(owner=0, second=1)
    origin.serves(path, BODY, lifetime=60)
    cluster.nodes[0].vanish()

    answers = [cluster.nodes[2].get(path), cluster.nodes[1].get(path), cluster.nodes[2].get(path)]

    assert all(answer.body == BODY[:] for answer in answers)
    assert origin.fetches(path) == 1
    assert cluster.nodes[2].asked["second"] == 2


def test_without_owner_and_second_the_node_fetches_for_itself(cluster: Three, origin: FaultyOrigin) -> None:
    path = cluster.path(owner=0, second=1)
    origin.serves(path, BODY, lifetime=60)
    cluster.nodes[0].vanish()
    cluster.nodes[1].vanish()

    answers = [cluster.nodes[2].get(path), cluster.nodes[2].get(path)]

    assert all(answer.body == BODY[:] for answer in answers)
    assert [answer.hit for answer in answers] == [False, True]
    assert cluster.nodes[2].asked["without"] == 1


@pytest.mark.parametrize(
    ("fields", "span"), [([], slice(None)), ([("Range", "bytes=70000-499999")], slice(70000, 500000))]
)
def test_a_large_object_passes_through_in_slices_that_only_its_owner_keeps(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, fields: list[tuple[str, str]], span: slice
) -> None:
    body = Pattern(700_000)
    with three(origin, clock, disks=tmp_path, slice_bytes="64KiB") as cluster:
        path = cluster.path(owner=0)
        origin.serves(path, body, lifetime=60)

        answers = [cluster.nodes[1].get(path, fields) for _ in range(2)] + [cluster.nodes[0].get(path, fields)]
        assert all(answer.body == body[span] for answer in answers)
        assert len(origin.requests) == (2 if fields else 1)  # runs of four slices, of a range
        cluster.nodes[0].wait_for(lambda: _on_disk(cluster.nodes[0]) > 5)
        assert [_on_disk(node) for node in cluster.nodes[1:]] == [0, 0]


def test_an_absence_is_asked_for_once(cluster: Three, origin: FaultyOrigin) -> None:
    path = cluster.path(owner=0)

    answers = [node.get(path) for node in cluster.nodes]

    assert [answer.status for answer in answers] == [404] * 3
    assert origin.fetches(path) == 1


def test_what_does_not_prove_that_it_is_a_node_gets_nothing(cluster: Three, origin: FaultyOrigin) -> None:
    path = cluster.path(owner=0)
    origin.serves(path, b"x", lifetime=60)
    cluster.nodes[0].get(path)
    port = cluster.nodes[0].node_port
    now = cluster.clock.now

    def asked(secret: bytes, at: float, target: str = path, *, signed: str = path) -> int:
        said = peer_auth.proof(
            secret, sender=b"fra-1", ring=b"r", method=b"GET", target=signed.encode(), body=b"", now=at
        )
        with Client(port) as client:
            return client.ask(target, [("shield-auth", said.decode())]).status

    with Client(port) as client:
        assert client.ask(path).status == 403
    assert asked(b"another-secret-0123456789abcdef0123", now) == 403
    assert asked(SECRET.encode(), now - 31) == 403
    assert asked(SECRET.encode(), now, signed="/other") == 403
    assert asked(SECRET.encode(), now, target="*report", signed="*report") == 404
    assert cluster.nodes[0].state()["cluster"]["denied"] == {"no proof": 1, "wrong secret": 2, "clock or replay": 1}


def test_nodes_whose_rings_differ_never_wait_for_each_other(cluster: Three, origin: FaultyOrigin) -> None:
    path, gate = cluster.path(owner=0, second=1), origin.gate()
    origin.serves(path, BODY, lifetime=60)
    origin.spoils(path, preceded_by(Wait(gate)), preceded_by(Wait(gate)))
    believes_second, believes_first = cluster.nodes[0], cluster.nodes[1]
    believes_second.believe({"fra-1": 1e6, "fra-0": 1.0})  # each takes the other for the owner
    with believes_first.client() as one, believes_second.client() as other:
        one.send(request(path))
        other.send(request(path))
        origin.wait_for(lambda: origin.fetches(path))
        gate.open()
        answers = [one.read(), other.read()]

    assert all(answer.clean and BODY.check(answer.body) for answer in answers)
    assert 1 <= origin.fetches(path) <= 2


def test_orders_are_carried_out_by_another_node(cluster: Three) -> None:
    sender, receiver = (node.node.nodes for node in cluster.nodes[:2])
    assert sender is not None and receiver is not None
    body = bytes(range(256)) * 1000

    async def carry_out(name: str, given: bytes) -> bytes:
        if not given:
            raise ValueError("a test's own")
        return name.encode() + given

    receiver.orders[b"*test"] = carry_out

    assert cluster.nodes[0].run(sender.send("fra-1", b"*test", body)) == b"fra-0" + body
    for target, given in ((b"*test", b""), (b"*unknown", b"x")):
        with pytest.raises(OriginError):
            cluster.nodes[0].run(sender.send("fra-1", target, given))
    with pytest.raises(ValueError, match="too many"):
        cluster.nodes[0].run(sender.send("fra-1", b"*test", bytes(300_000)))


def _on_disk(node: ClusterNode) -> int:
    """Records."""
    return sum(directory.statistics().entries for directory in node.node.store.directories())


def _said(answer: Answer) -> list[str]:
    """The members of Cache-Status, that of the first hop last."""
    return [value for name, value in answer.fields if name.lower() == "cache-status"]
