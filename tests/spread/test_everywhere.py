"""Orders given to one node hold at all of them: three nodes in one process, over real TCP, with a bus and without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.admin.calls import ask
from tests.bus.servers import WHY_NOT, Engine, are_there, programs
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield
from tests.peers.cluster import Three, three
from tests.purging import order


@pytest.fixture
def cluster(origin: FaultyOrigin, clock: FakeClock) -> Iterator[Three]:
    with three(origin, clock) as made:
        yield made


def keep_everywhere(cluster: Three, origin: FaultyOrigin, *paths: str, tags: str = "") -> None:
    """Have each node keep the objects, as if it owned them."""
    for path in paths:
        origin.serves(path, b"old", lifetime=600, fields={"Surrogate-Key": tags} if tags else None)
    for node in cluster.nodes:
        node.believe({each.name: 1000.0 if each is node else 0.001 for each in cluster.nodes})
        for path in paths:
            node.get(path)
            assert node.get(path).hit


def have(cluster: Three, path: str) -> list[bool]:
    """Whether each node has it stored."""

    def has(node: Shield) -> bool:
        return node.node.store.find(node.node.proxy.resolve(path.encode()).key) is not None

    return [node.call(lambda node=node: has(node)) for node in cluster.nodes]  # type: ignore[misc]


def posts(shield: Shield, path: str, **said: Any) -> tuple[int, dict[str, Any]]:
    answer = ask(shield, "POST", path, json=said)
    return answer.status_code, answer.json()


def test_a_purge_holds_at_all_nodes_once_it_is_answered(cluster: Three, origin: FaultyOrigin) -> None:
    keep_everywhere(cluster, origin, "/a", "/b", "/c", tags="x")

    receipt = order(cluster.nodes[0], paths=["/a"])
    assert (receipt["applied"], receipt["missing"]) == (["fra-0", "fra-1", "fra-2"], [])
    assert have(cluster, "/a") == [False] * 3
    assert have(cluster, "/b") == [True] * 3

    order(cluster.nodes[1], prefixes=["/b"])
    assert have(cluster, "/b") == [False] * 3
    order(cluster.nodes[2], tags=["x"])
    assert have(cluster, "/c") == [False] * 3


def test_the_method_purge_and_the_older_calls_hold_at_all_nodes(origin: FaultyOrigin, clock: FakeClock) -> None:
    with three(origin, clock, purge_method={"allow": ["127.0.0.1"]}) as cluster:
        keep_everywhere(cluster, origin, "/a", "/b", "/c/1", "/d")
        node = cluster.nodes[0]

        assert node.get("/a", method="PURGE").status == 200
        assert posts(node, "/store/remove", paths=["/b"]) == (200, {"removed": 1})
        assert posts(node, "/store/remove", prefix="/c/") == (200, {"removed": None})
        assert posts(node, "/announce", deleted=["/d"])[1]["removed"] == 1

        assert [have(cluster, path) for path in ("/a", "/b", "/c/1", "/d")] == [[False] * 3] * 4


def test_takedowns_and_their_ends_hold_at_all_nodes(cluster: Three, origin: FaultyOrigin) -> None:
    keep_everywhere(cluster, origin, "/a")
    taken = [node.node.purge._changes for node in cluster.nodes]

    posts(cluster.nodes[0], "/store/takedown", paths=["/a"])
    assert [each.taken_down > 0 for each in taken] == [True] * 3

    posts(cluster.nodes[1], "/store/takedown", lift=["/a"])
    assert [each.taken_down for each in taken] == [0] * 3


@pytest.mark.parametrize("taken_first", [True, False])
def test_a_takedown_and_its_end_that_cross_hold_by_their_time_at_both_nodes(
    cluster: Three, origin: FaultyOrigin, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, *, taken_first: bool
) -> None:
    monkeypatch.setattr("shield.spread.spreader.RECEIPT_SECONDS", 0.0)
    keep_everywhere(cluster, origin, "/a")
    first, second, _ = cluster.nodes
    ways = [node.others.orders.pop(b"*purge") for node in cluster.nodes]

    def take_down() -> None:
        assert posts(first, "/store/takedown", paths=["/a"])[0] == 200

    def lift() -> None:
        assert posts(second, "/store/takedown", lift=["/a"])[0] == 200

    for order_given in (take_down, lift) if taken_first else (lift, take_down):
        order_given()
        clock.advance(1.0)
    assert [node.node.purge._changes.taken_down for node in (first, second)] == [1, 0]
    assert have(cluster, "/a")[:2] == [False, True]

    for node, way in zip(cluster.nodes, ways, strict=True):
        node.others.orders[b"*purge"] = way
    spreader = second.node.spreader
    assert spreader is not None and second.run(spreader.exchange._with(first.name))

    assert [node.node.purge._changes.taken_down for node in (first, second)] == [0 if taken_first else 1] * 2
    assert have(cluster, "/a")[:2] == [False, False]  # though it isn't taken down any longer, it was removed


def test_a_node_that_cant_be_reached_is_missing_and_gets_it_later(
    cluster: Three, origin: FaultyOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shield.spread.spreader.RECEIPT_SECONDS", 0.2)
    keep_everywhere(cluster, origin, "/a")
    first, _, last = cluster.nodes
    first.call(lambda: first.node.nodes.orders.pop(b"*purge"))  # type: ignore[union-attr]
    last.call(lambda: last.node.nodes.orders.pop(b"*purge"))  # type: ignore[union-attr]

    status, receipt = posts(first, "/purge", id="job", paths=["/a"])
    assert (status, receipt["applied"], receipt["missing"]) == (202, ["fra-0", "fra-1"], ["fra-2"])
    assert have(cluster, "/a") == [False, False, True]

    spreader = last.node.spreader
    assert spreader is not None
    assert last.run(spreader.exchange._with("fra-1"))  # from another one than that which has it to give
    assert have(cluster, "/a") == [False] * 3


def test_a_node_that_becomes_blind_revalidates_what_it_has_until_it_sees(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    with three(origin, clock, cluster={"when_blind": "revalidate"}) as cluster:
        keep_everywhere(cluster, origin, "/a")
        node, before = cluster.nodes[0], origin.fetches("/a")
        spreader = node.node.spreader
        assert spreader is not None
        sight = spreader.sight
        node.call(lambda: spreader._work and spreader._work.cancel())  # its rounds see the others
        clock.advance(5.0)

        sight._met_at -= 1000.0
        node.run(sight.look(sees=False))
        answers = [node.get("/a"), node.get("/a")]
        assert ["fwd-status=304" in str(answer.get("cache-status")) for answer in answers] == [True, False]
        assert answers[1].hit and origin.fetches("/a") == before + 1

        clock.advance(5.0)
        node.run(sight.look(sees=True))
        assert node.get("/a").hit and not sight.is_blind


@pytest.mark.slow
@pytest.mark.skipif(not are_there(), reason=WHY_NOT)
def test_purges_hold_at_all_nodes_whatever_becomes_of_the_bus(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    program = next(iter(programs().values()))
    with Engine(program, tmp_path) as engine, three(origin, clock, cluster={"bus": engine.url}) as cluster:
        paths = [f"/{number}" for number in range(5)]
        keep_everywhere(cluster, origin, *paths)
        first = cluster.nodes[0]

        def is_up() -> bool:
            states = [node.node.spreader.statistics().bus for node in cluster.nodes if node.node.spreader]
            return all(state is not None and state.is_up for state in states)

        def purges(node: Shield, path: str) -> None:
            assert order(node, paths=[path])["missing"] == []
            assert have(cluster, path) == [False] * 3

        first.wait_for(is_up)
        purges(first, paths[0])

        engine.freeze()
        purges(cluster.nodes[1], paths[1])
        engine.thaw()

        engine.kill()
        purges(cluster.nodes[2], paths[2])

        engine.start()  # with nothing in it
        first.wait_for(is_up)
        purges(first, paths[3])

        first.call(lambda: first.node.nodes.orders.pop(b"*purge"))  # type: ignore[union-attr]
        purges(cluster.nodes[1], paths[4])  # this can only come by the bus
