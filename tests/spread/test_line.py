"""The way of orders over the bus, and what becomes of them when an engine forgets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from shield.bus.bus import BusError
from shield.rules.spreading import missing_at
from tests.spread.parts import Cluster, ClusterNode, quick_directory, run


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with quick_directory() as directory:
        yield Cluster(Path(directory), ["a", "b", "c"])


async def turn(*nodes: ClusterNode) -> None:
    """Each connects if it has to, reads, and appends."""
    for node in nodes:
        if not node.line.state.is_up:
            await node.line.begin()
        await node.line.read()
        await node.line.publish()
    for node in nodes:
        await node.line.read()
        await node.line.tick()


def test_an_order_reaches_all_nodes_and_is_acknowledged_by_each(cluster: Cluster) -> None:
    a, b, c = cluster.nodes.values()
    order = a.gives("x")
    a.does(order)

    run(turn(a, b, c))
    run(turn(a, b, c))

    assert b.carried_out == c.carried_out == [order.place]
    assert missing_at(a.others(), a.journal.state().acknowledged, order.sequence) == ()


def test_an_order_is_carried_out_once_though_it_is_read_again(cluster: Cluster) -> None:
    a, b, _ = cluster.nodes.values()
    a.does(a.gives("x"))
    run(turn(a, b))
    b.journal.note({"cursor": "0-0"})
    b.start()

    run(turn(a, b))

    assert len(b.carried_out) == 1


@pytest.mark.parametrize("loss", ["empty", "rolled back"])
def test_what_an_engine_has_lost_is_appended_again(cluster: Cluster, loss: str) -> None:
    a, b, c = cluster.nodes.values()
    order = a.gives("x")
    a.does(order)
    run(turn(a))
    run(turn(a))
    if loss == "empty":
        cluster.engine.empty()
    else:
        cluster.engine.roll_back(1)
    with pytest.raises(BusError, match="lost"):
        run(a.line.tick())
    a.start()

    run(turn(a))
    run(turn(a, b, c))

    assert b.carried_out == c.carried_out == [order.place]


def test_the_orders_of_a_node_that_is_away_are_appended_again_by_one_other(cluster: Cluster) -> None:
    a, b, c = cluster.nodes.values()
    order = a.gives("x")
    a.does(order)
    run(a.exchange._with("b"))
    run(b.exchange._with("a"))
    cluster.down.add("a")

    run(turn(b))
    run(turn(b, c))

    assert c.carried_out == [order.place]
    assert len(cluster.engine.streams["orders"]) == 1


def test_an_order_that_cant_be_read_back_is_appended_again(cluster: Cluster) -> None:
    a, b, _ = cluster.nodes.values()

    async def story() -> None:
        await turn(a, b)
        first = a.gives("x")
        a.does(first)
        await a.line.publish()
        cluster.engine.streams["orders"].clear()  # before anybody has read it
        second = a.gives("y")
        a.does(second)
        await turn(a, b)
        assert b.carried_out == [second.place]
        assert b.journal.gaps() == {"a": first.sequence}

        cluster.clock.advance(5.0)
        await turn(a, b)
        await turn(a, b)
        assert set(b.carried_out) == {first.place, second.place}
        assert b.journal.gaps() == {}

    run(story())


def test_nobody_acknowledges_what_stands_behind_a_gap(cluster: Cluster) -> None:
    a, b, _ = cluster.nodes.values()
    a.does(a.gives("x"))
    second = a.gives("y")
    a.does(second)
    b.does(*b.journal.add([second]))

    run(turn(b))

    assert b.journal.state().positions == {}


def test_nobody_acknowledges_what_stands_behind_an_order_that_failed(cluster: Cluster) -> None:
    a, b, _ = cluster.nodes.values()

    async def story() -> None:
        b.refuses = True
        a.does(a.gives("x"))
        await turn(a, b)
        b.refuses = False
        a.does(a.gives("y"))
        await turn(a, b)
        await turn(a, b)

    run(story())

    assert len(b.carried_out) == 1
    assert b.journal.state().positions == {} and a.journal.state().acknowledged == {}


def test_garbage_in_the_stream_is_left_out(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    a, b, _ = cluster.nodes.values()

    async def story() -> None:
        await turn(a, b)
        await a.line._bus.append("orders", b"garbage")
        await a.line._bus.append(f"acks:{b.own}", json.dumps({"node": 1}).encode())
        a.does(a.gives("x"))
        await turn(a, b)

    run(story())

    assert len(b.carried_out) == 1
    assert "no message between nodes" in caplog.text


def test_an_engine_that_is_away_is_said_and_comes_back(cluster: Cluster) -> None:
    a = cluster.nodes["a"]
    cluster.engine.is_away = True
    with pytest.raises(BusError):
        run(a.line.begin())
    cluster.engine.is_away = False

    run(a.line.begin())

    assert a.line.state.is_up
