"""Fetching through the node that owns a key: three nodes in one process, over real TCP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from shield.build.usage import usage_of
from shield.errors import OriginError
from shield.rules import peer_auth
from shield.rules.beyond import RegionOffer
from shield.rules.bill import FETCHED_ELSEWHERE, STORED_ELSEWHERE
from shield.rules.heritage import TRIED
from shield.rules.prices import Price
from shield.store.entry import OVERHEAD
from tests.client import Answer, Client, request
from tests.compiled import INTERPRETED_ONLY
from tests.doubles.faults import preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Bytes, Wait
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
    assert cluster.nodes[1].asked == {
        "owner": 2,
        "second": 0,
        "without": 0,
        "hits": 1,
        "beyond": 0,
        "beyond_hits": 0,
        "refused": 0,
        "behind": 0,
        "inherited": 0,
    }
    assert cluster.nodes[0].get(path).hit
    assert "stored" not in _said(first)[1]
    size = len(BODY)
    assert _served(cluster.nodes[1]) == {FETCHED_ELSEWHERE: (1, size), STORED_ELSEWHERE: (1, size)}
    assert _served(cluster.nodes[0]) == {"hit": (1, size)}


def _served(node: ClusterNode) -> Mapping[str, tuple[int, int]]:
    """What the node's ledger gets of its clients."""
    figures = node.node.figures
    served = usage_of(figures.origins, figures.counters)().served
    return {word: counts for word, counts in served.items() if any(counts)}


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


@INTERPRETED_ONLY
def test_nodes_whose_rings_differ_never_wait_for_each_other(cluster: Three, origin: FaultyOrigin) -> None:
    path, (one, other, _) = cluster.path(owner=0, second=1), cluster.nodes
    origin.serves(path, BODY, lifetime=60)
    one.believe({"fra-1": 1e6, "fra-0": 1.0})  # each takes the other for the owner
    release = [node.hold_requests_to_others() for node in (one, other)]
    with one.client() as first, other.client() as second:
        for client in (first, second):
            client.send(request(path))
        for node in (one, other):  # both have a fill, which is about to ask the other node
            node.wait_for(lambda of=node.node: of.state()["fills"]["in_flight"] == 1)  # type: ignore[misc]
        for each in release:
            each()
        answers = [first.read(), second.read()]

    assert all(answer.clean and BODY.check(answer.body) for answer in answers)
    assert [(node.asked["owner"], node.asked["without"]) for node in (one, other)] == [(1, 0), (1, 0)]
    assert origin.fetches(path) == 2


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


def test_the_third_hit_in_ten_seconds_makes_a_copy_with_its_age(cluster: Three, origin: FaultyOrigin) -> None:
    path, asker = cluster.path(owner=0), cluster.nodes[1]
    origin.serves(path, BODY, lifetime=60)

    asker.get(path)
    for _ in range(4):
        cluster.clock.advance(6)  # hits that are too far apart
        asker.get(path)
    seldom = asker.state()["cluster"]["copies"]["made"]
    asker.get(path)
    answer = asker.get(path)

    assert seldom == 0
    assert asker.state()["cluster"]["copies"] == {"made": 1, "entries": 1, "bytes": 200_000 + OVERHEAD, "refused": 0}
    assert (answer.hit, answer.get("age"), answer.body == BODY[:]) == (True, "24", True)
    assert _said(answer)[-1] == "fra-1; hit; ttl=36"


def test_no_copy_is_made_of_what_was_purged_lately(cluster: Three, origin: FaultyOrigin) -> None:
    path, asker = cluster.path(owner=0), cluster.nodes[1]
    origin.serves(path, b"before", lifetime=600)
    cluster.nodes[0].get(path)

    asker.purge(path)  # the owner doesn't know yet
    answers = [asker.get(path) for _ in range(5)]

    assert {_is_own_hit(answer) for answer in answers} == {False}
    assert asker.state()["cluster"]["copies"]["made"] == 0
    assert asker.state()["cluster"]["copies"]["refused"] > 0


def test_a_node_that_lacks_purges_of_this_one_is_not_copied(cluster: Three, origin: FaultyOrigin) -> None:
    path, (owner, asker, _) = cluster.path(owner=0), cluster.nodes
    origin.serves(path, b"x", lifetime=600)
    owner.proxy_for_nodes.position = lambda: b"7"
    asker.cluster.copies.covers = lambda told: told == b"8"

    before = [_is_own_hit(asker.get(path)) for _ in range(6)][-1]
    owner.proxy_for_nodes.position = lambda: b"8"
    after = [_is_own_hit(asker.get(path)) for _ in range(6)][-1]

    assert (before, after) == (False, True)


def test_copies_take_an_eighth_of_the_ram_and_go_to_no_disk(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    with three(origin, clock, disks=tmp_path) as cluster:
        asker = cluster.nodes[1]
        paths = [cluster.path(owner=0, number=number) for number in range(20)]
        for path in paths:
            origin.serves(path, BODY, lifetime=600)
            for _ in range(5):
                asker.get(path)

        copies = asker.state()["cluster"]["copies"]
        assert copies["made"] == 20
        assert copies["bytes"] <= (16 << 20) / 8
        assert [_is_own_hit(asker.get(path)) for path in (paths[0], paths[-1])] == [False, True]
    with three(origin, clock, disks=tmp_path) as cluster:
        assert _on_disk(cluster.nodes[1]) == 0


def test_what_many_ask_for_is_copied_by_the_owners_word(cluster: Three, origin: FaultyOrigin) -> None:
    path, (owner, asker, _) = cluster.path(owner=0), cluster.nodes
    origin.serves(path, b"x", lifetime=600)
    owner.get(path)
    owner.call(lambda: [owner.proxy_for_nodes.is_hot(path.encode(), cluster.clock.now) for _ in range(100)])

    answers = [_is_own_hit(asker.get(path)) for _ in range(2)]

    assert answers == [False, True]


@pytest.mark.parametrize("size", [20_000, 300_000])
def test_a_node_that_is_back_asks_the_one_that_stood_in_for_it(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, size: int
) -> None:
    with three(origin, clock, disks=tmp_path, slice_bytes="64KiB") as cluster:
        path, body = cluster.path(owner=0, second=1), Pattern(size)
        other = cluster.path(owner=0, second=1, number=1)
        back, stood_in, asker = cluster.nodes
        origin.serves(path, body, lifetime=600)
        origin.serves(other, body, lifetime=600)
        for each in (asker, stood_in):
            each.believe({"fra-1": 1.0, "fra-2": 1.0})  # as if fra-0 weren't there
        stood_in.get(path)
        stood_in.wait_for(lambda: _on_disk(stood_in) >= size // 65536 + 1)
        asker.believe({"fra-0": 1.0, "fra-1": 1.0, "fra-2": 1.0})

        first = asker.get(path)
        back.wait_for(lambda: _on_disk(back) >= size // 65536 + 1)
        again, not_there = back.get(path), asker.get(other)

        assert all(answer.body == body[:] for answer in (first, again, not_there))
        assert (origin.fetches(path), origin.fetches(other)) == (1, 1)
        assert _is_own_hit(again)
        assert back.asked["inherited"] == 1


def test_where_nothing_is_inherited_a_node_stops_asking(cluster: Three, origin: FaultyOrigin) -> None:
    origin.default(Bytes(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
    heritage = cluster.nodes[0].cluster.heritage

    for number in range(TRIED):
        cluster.nodes[0].get(cluster.path(owner=0, number=number))

    assert not heritage.is_open


def test_a_region_that_is_far_from_the_origin_asks_the_one_that_is_near(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    near = {"fra-0": ["fra"], "fra-1": ["fra"]}
    with three(origin, clock, regions=["fra", "fra", "iad"], near=near) as cluster:
        far, gate = cluster.nodes[2], origin.gate()
        path = cluster.path(owner=0)
        origin.serves(path, BODY, lifetime=60)
        origin.spoils(path, preceded_by(Wait(gate)))
        assert far.run(far.others.greet("fra-0")) and far.run(far.others.greet("fra-1"))

        with far.client() as one, cluster.nodes[1].client() as other:
            one.send(request(path))
            other.send(request(path))
            cluster.nodes[0].wait_for(lambda: cluster.nodes[0].node.state()["fills"]["readers"] == 2)  # type: ignore[index]
            gate.open()
            answers = [one.read(), other.read()]
        again = far.get(path)

        assert all(answer.body == BODY[:] for answer in (*answers, again))
        assert origin.fetches(path) == 1
        assert (_is_own_hit(again), far.asked["beyond"]) == (True, 1)
        assert {node.others.ring.names for node in cluster.nodes} == {("fra-0", "fra-1"), ("fra-2",)}


def test_a_region_is_not_asked_if_the_origin_is_nearer(origin: FaultyOrigin, clock: FakeClock) -> None:
    with three(origin, clock, regions=["fra", "fra", "iad"], near={"fra-0": ["fra"]}) as cluster:
        far = cluster.nodes[2]
        assert far.run(far.others.greet("fra-0"))
        far.take_to_be_away("fra-0", 0.02)
        far.cluster.distance = lambda name: 0.01
        origin.serves("/a", b"x", lifetime=60)

        answer = far.get("/a")

        assert answer.body == b"x"
        assert far.asked["beyond"] == 0


def test_a_region_that_is_farther_is_asked_where_it_is_cheaper_and_not_where_it_is_dearer(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    near, there = {"fra-0": ["fra"]}, RegionOffer({"fra": Price(0.0)}, Price(0.02))
    with three(
        origin, clock, regions=["fra", "fra", "iad"], near=near, cluster={"price": {"egress": 0.02}}
    ) as cluster:
        far, other = cluster.nodes[2], cluster.nodes[0]
        prices: dict[str, Price | None] = {"fra": Price(0.09)}
        other.cluster.prices = lambda: {"fra": Price(0.0)}
        far.cluster.prices, far.cluster.exchanges = lambda: prices, {"default": 1e9}
        far.cluster.distance = lambda name: 1e-9
        far.run(far.others.greet("fra-0"))
        assert far.others.offer("fra-0") == there
        for path in ("/a", "/b"):
            origin.serves(path, b"x" * 1000, lifetime=60)

        assert far.get("/a").status == 200 and far.asked["beyond"] == 1
        prices["fra"], far.cluster.distance = Price(0.01), lambda name: 60.0
        far.cluster.exchanges = {"default": 1e12}
        far.cluster._region_hits["fra"]._turns = 1  # this fetch doesn't explore
        assert far.get("/b").status == 200 and far.asked["beyond"] == 1


def test_regions_that_both_take_the_other_to_be_near_do_not_wait_for_each_other(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    with three(origin, clock, regions=["fra", "iad", "iad"], near={}) as cluster:
        one, other = cluster.nodes[:2]
        path = cluster.path(owner=0)  # in its region, fra-0 owns all
        origin.serves(path, BODY, lifetime=60)
        gate = origin.gate()
        origin.spoils(path, preceded_by(Wait(gate)), preceded_by(Wait(gate)))
        for node in cluster.nodes:
            node.take_others_to_be_near("fra")

        with one.client() as first, other.client() as second:
            first.send(request(path))
            second.send(request(path))
            origin.wait_for(lambda: origin.fetches(path))
            gate.open()
            answers = [first.read(), second.read()]

        assert all(answer.clean and answer.body == BODY[:] for answer in answers)
        assert origin.fetches(path) <= 2


def test_a_node_that_stops_hands_its_hottest_entries_over(cluster: Three, origin: FaultyOrigin) -> None:
    leaves, second, asker = cluster.nodes
    hot, cold = (cluster.path(owner=0, second=1, number=number) for number in range(2))
    others = cluster.path(owner=1)
    for path in (hot, cold, others):
        origin.serves(path, BODY, lifetime=60)
    for path in (hot, others):
        leaves.get(path)
    asker.get(cold)  # its clients didn't ask this node for it
    assert leaves.run(leaves.others.greet("fra-1"))

    leaves.run(leaves.node.hand_over())
    leaves.vanish()
    answers = [asker.get(path) for path in (hot, cold)]

    assert [answer.body == BODY[:] for answer in answers] == [True, True]
    assert [origin.fetches(path) for path in (hot, cold, others)] == [1, 2, 1]
    assert _is_own_hit(second.get(hot))


def _on_disk(node: ClusterNode) -> int:
    """Records."""
    return sum(directory.statistics().entries for directory in node.node.store.directories())


def _is_own_hit(answer: Answer) -> bool:
    """Whether the node that was asked had it."""
    return "; hit" in _said(answer)[-1]


def _said(answer: Answer) -> list[str]:
    """The members of Cache-Status, that of the first hop last."""
    return [value for name, value in answer.fields if name.lower() == "cache-status"]
